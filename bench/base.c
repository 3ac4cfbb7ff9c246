// SPDX-License-Identifier: Apache-2.0
//
// What every program here needs: sentences on stderr, signals, the clock, memory, ISA levels asked for.

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
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

// ---- signals, progress ---------------------------------------------------------------------------------------------

static volatile sig_atomic_t stop, at_once;

// The line of progress; the alarm writes it if nobody comes back before it is due.
static char due_line[160];
static volatile sig_atomic_t line_shown;
static const char clear_line[] = "\r\033[K";

static void show_line(int number) {
  (void)number;
  line_shown = 1;
  (void)!write(STDERR_FILENO, due_line, strlen(due_line));
}

// The first one asks, the second one kills.
static void on_signal(int number) {
  if (at_once && line_shown) (void)!write(STDERR_FILENO, clear_line, strlen(clear_line));
  if (at_once) _exit(EXIT_INTERRUPTED);
  stop = 1;
  signal(number, SIG_DFL);
}

void catch_signals(void) {
  struct sigaction action = {.sa_handler = on_signal}, due = {.sa_handler = show_line, .sa_flags = SA_RESTART};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGALRM, &due, NULL);
}

bool interrupted(void) { return stop; }
void stop_at_once(bool yes) {
  at_once = yes;
  if (yes && stop) _exit(EXIT_INTERRUPTED);  // it came just before
}

// 0: none.
static void set_alarm(double ns) {
  const long us = (long)(ns * 1e-3);
  setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {us / 1000000, us % 1000000}}, NULL);
}

void progress(size_t done, size_t total, const char *what) {
  static double start, shown;
  if (!isatty(STDERR_FILENO)) return;
  const double t = now_ns();
  set_alarm(0);
  if (!total) {
    if (line_shown) fputs(clear_line, stderr);
    line_shown = 0;
    return;
  }
  if (start == 0 || !done) start = t;
  const int n = snprintf(due_line, sizeof due_line, "%s%zu/%zu %.60s", clear_line, done, total, what);
  if (done)
    snprintf(due_line + n, sizeof due_line - (size_t)n, ", %.0f s left",
             (t - start) * 1e-9 * (double)(total - done) / (double)done);
  const double due = fmax(start + 2e9, shown + 1e8);  // 2 s before the first, ten per second
  if (t < due) {
    set_alarm(due - t + 1e3);  // a microsecond at least: 0 is none
  } else {
    shown = t;
    show_line(0);
  }
}

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
