// SPDX-License-Identifier: Apache-2.0
//
// One line of a result: what was timed and everything that is known about it. NaN = not known, and not written.

#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include <math.h>

#include "bench.h"

struct cJSON;

// Stages, or the parts of the first, and what was spent between tiles.
enum { MOST_PHASES = BB_MAX_STAGES + BB_MAX_PARTS };

typedef enum row_state { ROW_PENDING, ROW_DONE, ROW_SKIPPED, ROW_FAILED } row_state;

typedef struct row {
  char name[256];
  char problem[320];   // conv rows
  char kernel[64];     // conv rows: a kernel's or a peer's name
  char algorithm[16];  // conv rows of ours
  char isa[16];
  int threads, mb;
  bool cold;
  int count;  // occurrences in the backbone; 0 = not of one
  row_state state;
  char message[256];  // why it was skipped or failed
  // As Google Benchmark counts.
  int family, repetition, repetitions;
  size_t iterations;
  double real_ns, cpu_ns;
  // Wall time of one call.
  double time_min, time_p10, time_p50, time_p90, time_p99;
  size_t samples;
  double *sample;  // with --samples
  size_t batches, batches_disturbed;
  // Work.
  double flops_valid, flops, flops_executed, bytes;
  double pct_peak, pct_peak_low, pct_peak_high, pct_executed, peak_gflops, probe_drift_pct;
  // Truth.
  bool checked;
  double err_l2, err_max_rms, err_bound;
  double weights_bytes, packed_bytes, workspace_bytes;
  int phases;
  struct {
    char name[32];
    double ns;
  } phase[MOST_PHASES];
  // Against a peer, from interleaved batches: rate / peer's rate.
  char peer[32];
  double peer_ratio, peer_ratio_low, peer_ratio_high;
  // Ours: rate / that of the direct algorithm, where it was measured together with it.
  double speedup, speedup_low, speedup_high;
  // Trust.
  double noise_pct, others_pct, steal_pct, cpu_share_pct, transfer_ns;
  bool pinned, disturbed;
  char disturbed_by[160];
  char grade;
  // What only some kinds of rows have; owned by the row, merged into its JSON object.
  struct cJSON *more;
  char *table;  // text for people, after the row
} row;

void row_init(row *r);
void row_free(row *r);
// Marks it and keeps the sentence.
void row_skip(row *r, const char *form, ...) __attribute__((format(printf, 2, 3)));
void row_fail(row *r, const char *form, ...) __attribute__((format(printf, 2, 3)));

static inline double row_gflops(const row *r) { return r->flops_valid / r->time_p50; }

#endif
