// SPDX-License-Identifier: Apache-2.0
//
// The verb table.

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "bench.h"

// In the order of the bits in args.c; the quick run comes first.
static const verb verbs[] = {
    // clang-format off
    {"", "", "quick run (under 60 s): machine, measured peaks, twelve convolutions, ResNet-50 end to end", "", 1u << 0, 0, 0, verb_quick},
    {"machine", "", "this CPU, its caches and settings, and what will make timings unreliable", "", 1u << 1, 0, 0, verb_machine},
    {"peak", "", "measured FMA peak per ISA and thread count, bandwidth of each cache level and of memory", "", 1u << 2, 0, 0, verb_peak},
    {"list", "kernels|models|cases|isas|peers|parameters", "what there is, one per line",
     "list parameters --model NAME: name, shape, mean and scale of each synthetic parameter.\n"
     "list cases: the rows of all suites but tails.", 1u << 3, 1, 1, verb_list},
    {"test", "", "verifies every kernel that can run here against the reference, on integer and on real data", "", 1u << 4, 0, 0, verb_test},
    {"conv", "[PROBLEM...]", "times convolutions: problem strings, a suite, a backbone's layers or a file",
     "A problem is written as oneDNN's benchdnn writes it, then what is fused to it:\n"
     "  g1mb1ic64ih56oc64oh56kh3ph1n\"name*3\" +bias+add+relu", 1u << 5, 0, STRINGS_MAX, verb_conv},
    {"model", "[NAME...]", "times backbones end to end: latency, images/s, GFLOP/s", "", 1u << 6, 0, STRINGS_MAX, verb_model},
    {"run", "NAME", "one inference on real data", "", 1u << 7, 1, 1, verb_run},
    {"explain", "PROBLEM", "which kernels accept a problem, which is chosen and why, predicted and measured time", "", 1u << 8, 1, STRINGS_MAX, verb_explain},
    {"crossover", "", "where direct, F(2,3), F(4,3) and F(6,3) win, over channels x size, with the error of each",
     "Cells are 3x3 convolutions of padding 1 with as many outputs as inputs. --wisdom FILE keeps the winner of each cell for\n"
     "every accuracy: with it, conv, model, run and explain choose what won here, whatever is fused to the convolution.",
     1u << 9, 0, 0, verb_crossover},
    // clang-format on
};

exit_code fail(exit_code code, const char *form, ...) {
  va_list list;
  progress(0, 0, NULL);
  fputs("backbench: ", stderr);
  va_start(list, form);
  vfprintf(stderr, form, list);
  va_end(list);
  fputc('\n', stderr);
  return code;
}

void warn(const char *form, ...) {
  va_list list;
  progress(0, 0, NULL);
  fputs("backbench: warning: ", stderr);
  va_start(list, form);
  vfprintf(stderr, form, list);
  va_end(list);
  fputc('\n', stderr);
}

exit_code fail_status(bb_status status, const bb_error *error) {
  static const exit_code code[BB_STATUS_COUNT] = {
      [BB_INVALID] = EXIT_USAGE,    [BB_UNSUPPORTED] = EXIT_USAGE, [BB_NO_MEMORY] = EXIT_SYSTEM,
      [BB_NO_THREAD] = EXIT_SYSTEM, [BB_IO] = EXIT_SYSTEM,
  };
  return fail(code[status], "%s", error && *error->text ? error->text : bb_status_string(status));
}

static volatile sig_atomic_t stop;

// The first one asks, the second one kills.
static void on_signal(int number) {
  stop = 1;
  signal(number, SIG_DFL);
}

bool interrupted(void) { return stop; }

double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double memory_available(void) {
  FILE *f = fopen("/proc/meminfo", "re");
  char line[256];
  double kib = 0;
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "MemAvailable: %lf", &kib) == 1) break;
  if (f) fclose(f);
  return kib * 1024;
}

void *xalloc(size_t bytes) {
  void *p = aligned_alloc(BB_ALIGN, (bytes + BB_ALIGN) / BB_ALIGN * BB_ALIGN);
  if (p) memset(p, 0, bytes);
  return p;
}

void progress(size_t done, size_t total, const char *what) {
  static double start, shown;
  static bool line;
  if (!isatty(STDERR_FILENO)) return;
  const double t = now_ns();
  if (start == 0) start = t;
  if (!total) {
    if (line) fputs("\r\033[K", stderr);
    line = false;
    return;
  }
  if (!done) start = t;
  if (t - start < 2e9 || t - shown < 1e8) return;  // 2 s before the first, ten per second
  shown = t;
  line = true;
  fprintf(stderr, "\r\033[K%zu/%zu %.60s", done, total, what);
  if (done) fprintf(stderr, ", %.0f s left", (t - start) * 1e-9 * (double)(total - done) / (double)done);
  fflush(stderr);
}

exit_code isas_asked(const options *o, bb_isa isa[BB_ISA_COUNT], int *count, bb_isa missing[BB_ISA_COUNT], int *missing_count) {
  *count = *missing_count = 0;
  if (!o->isas.count) {
    isa[(*count)++] = bb_isa_best();
    return EXIT_OK;
  }
  for (int i = 0; i < o->isas.count; i++) {
    bb_isa level = BB_ISA_GENERIC;
    bb_isa_parse(o->isas.at[i], &level);
    bool known = false;
    for (int k = 0; k < *count; k++) known |= isa[k] == level;
    for (int k = 0; k < *missing_count; k++) known |= missing[k] == level;
    if (known) continue;
    if (bb_isa_runs(level) && bb_isa_within(level, bb_isa_best()))
      isa[(*count)++] = level;
    else
      missing[(*missing_count)++] = level;
  }
  if (*count) return EXIT_OK;
  return fail(EXIT_NOTHING, "%s cannot run here: this CPU%s", bb_isa_name(missing[0]),
              " or this build lacks it, or BB_ISA forbids it");
}

static exit_code check_environment(void) {
  const char *cap = getenv("BB_ISA");
  bb_isa isa;
  if (cap && *cap && !bb_isa_parse(cap, &isa))
    return fail(EXIT_USAGE, "BB_ISA=%.40s is not one of generic, avx2, avx512, neon", cap);
  return EXIT_OK;
}

// For the small pieces that JSON is made of: nothing has been written when one of them fails.
static void *must_allocate(size_t bytes) {
  void *p = malloc(bytes);
  if (!p) exit((int)fail(EXIT_SYSTEM, "out of memory for %zu bytes of the report", bytes));
  return p;
}

static exit_code run_program(int argc, char **argv) {
  cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = must_allocate, .free_fn = free});
  static options o = {.hot = true, .min_time = 0.4, .repetitions = 1, .seed = 1, .streams = 1};
  o.argc = argc;
  o.argv = argv;
  const verb *v = &verbs[0];
  int first = 1;
  if (argc > 1 && argv[1][0] != '-') {
    v = NULL;
    first = 2;
    for (size_t i = 1; i < sizeof verbs / sizeof *verbs; i++)
      if (!strcmp(argv[1], verbs[i].name)) v = &verbs[i];
    if (!v) return fail(EXIT_USAGE, "unknown verb \"%.80s\"; \"backbench --help\" lists those that exist", argv[1]);
  }
  if (argc > 1 && !strcmp(argv[1], "--version")) return printf("backbench %s\n", BB_VERSION), EXIT_OK;
  if (check_environment() != EXIT_OK) return EXIT_USAGE;

  bool help;
  exit_code code = args_parse(v, argc - first, argv + first, &o, &help);
  if (code != EXIT_OK) return code;
  if (help) {
    if (v == &verbs[0])
      args_help_main(verbs, sizeof verbs / sizeof *verbs);
    else
      args_help(v);
  } else {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    code = v->run(&o);
    progress(0, 0, NULL);
  }
  if ((fflush(stdout) || ferror(stdout)) && code == EXIT_OK) code = fail(EXIT_SYSTEM, "stdout: %s", strerror(errno));
  return code;
}

int main(int argc, char **argv) { return (int)run_program(argc, argv); }
