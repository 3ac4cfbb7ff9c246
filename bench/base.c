// SPDX-License-Identifier: Apache-2.0
//
// What every program here needs: sentences on stderr, signals, the clock, memory, ISA levels asked for.

#include <cjson/cJSON.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../kernels/memory.h"
#include "bench.h"

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

void catch_signals(void) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
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
  void *p = bb_alloc(bytes);
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

const char isa_missing[] = "this CPU, this build or BB_ISA does not allow this ISA";

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

exit_code check_environment(void) {
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

void json_hooks(void) { cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = must_allocate, .free_fn = free}); }
