// SPDX-License-Identifier: Apache-2.0
//
// How a speed is measured: batches of at most 20 ms (or one call), a probe of what the same threads can do right before and
// right after each. Several subjects take turns, batch by batch, so that they meet the same machine.

#ifndef BENCH_SAMPLER_H
#define BENCH_SAMPLER_H

#include "row.h"
#include "team.h"

enum { SAMPLER_BATCHES = 15, SAMPLER_UNDISTURBED = 10 };

typedef struct subject {
  void (*run)(void *context);  // one call
  void *context;
  bool own_threads;     // it does not run on the team
  const double *count;  // NULL, or a sum that the calls increase: nanoseconds of a part of them
} subject;

typedef struct batch {
  double ns;
  size_t calls;
  double before, after;  // probes, flop/s
  double cpu_ns;         // CPU time of the process
  double count;          // what the calls added to subject.count
  bool disturbed;        // the probes differ by more than 3 %
} batch;

typedef struct samples {
  batch *batch;
  size_t batches, undisturbed;
  double *call_ns;  // wall time of one call each (mean over a few microseconds of calls if they are shorter)
  size_t count, capacity;
  double others_pct, steal_pct;  // of the processors in use; -1 = unknown
  double transfer_ns[2];         // team_transfer before the first batch and after the last
} samples;

typedef struct sampler {
  const team *team;
  const bb_probe *probe;
  double min_time;   // seconds per subject
  double max_noise;  // per cent; 0 = do not care
} sampler;

// BB_OK or BB_NO_MEMORY. samples_free in any case.
bb_status sampler_run(const sampler *s, const subject *subjects, size_t count, samples *out);
void samples_free(samples *s);
// Adds the batches and calls of `more`. BB_OK or BB_NO_MEMORY.
bb_status samples_append(samples *s, const samples *more);

// Times, rates, spread, grade of a row from its samples. The flops of the row are set before. keep: the samples too. on_team:
// it ran on the threads of the team, so that their CPU time tells whether they were kept from running.
bb_status samples_to_row(const samples *s, const team *t, bool keep, bool on_team, row *r);
// Fails a row that was executed faster than the probe: the probe does not show the peak. Unless something else ran, and only
// now and then, or the time slices of others fell into step with the probes of a short row.
void samples_check_probe(row *r);
// Median and interval over the batches that count of rate / probe, where a batch did `flops` per call in its count nanoseconds.
bb_status samples_part(const samples *s, double flops, double pct[3]);
// Median over batches of (rate of a / rate of b), and its interval; a and b ran together.
bb_status samples_ratio(const samples *a, double flops_a, const samples *b, double flops_b, double ratio[3]);

#endif
