// SPDX-License-Identifier: Apache-2.0
//
// Google Benchmark behind C: it names, filters, orders and repeats the rows and hands them back; the times are ours.

#ifndef BENCH_GBENCH_H
#define BENCH_GBENCH_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

// Measures once. Returns the seconds of one call; < 0 = no number, and a sentence in error.
typedef double (*gbench_measure)(void *context, char error[256]);

typedef struct gbench_run {
  void *context;
  int family, repetition, repetitions;
} gbench_run;

// A row is finished (all its repetitions are).
typedef void (*gbench_report)(void *user, const gbench_run *run);

// false = out of memory, here and below. Reads the --benchmark_* flags; *unknown: the first one that it does not know, or NULL.
bool gbench_init(int argc, char **argv, const char **unknown);

bool gbench_add(const char *name, int repetitions, gbench_measure measure, void *context);

// Runs (or lists) what the filter lets through. Returns how many names matched, 0 also if the filter is none, -1 if out of
// memory.
int gbench_run_all(gbench_report report, void *user);

#ifdef __cplusplus
}
#endif

#endif
