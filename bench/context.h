// SPDX-License-Identifier: Apache-2.0
//
// Everything about this machine, this build and this run that a published number needs.

#ifndef BENCH_CONTEXT_H
#define BENCH_CONTEXT_H

#include <stdio.h>

#include "bench.h"

struct cJSON;

enum { SCHEMA_VERSION = 1 };

// The highest probe of each ISA and thread count that a run has met.
enum { PEAKS_MAX = 64 };
typedef struct context_peaks {
  int count;
  struct {
    char isa[16];
    int threads;
    double gflops;
  } at[PEAKS_MAX];
} context_peaks;
void context_peak(context_peaks *p, const char *isa, int threads, double gflops);

// context{} of a result; NULL if out of memory.
struct cJSON *context_create(const options *o);
void context_add_peaks(struct cJSON *context, const context_peaks *p);

// The machine alone (cpu, caches, topology, settings), as JSON and as text for people.
struct cJSON *context_machine(void);
void context_print_card(const struct cJSON *machine, FILE *f);

// What will make timings unreliable: objects {name, problem, fix}.
struct cJSON *context_doctor(const struct cJSON *machine);

#endif
