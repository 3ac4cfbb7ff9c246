// SPDX-License-Identifier: Apache-2.0
//
// The threads of a run: a pool, the processors it is pinned to, and the probe that says what they can do.

#ifndef BENCH_TEAM_H
#define BENCH_TEAM_H

#include "../kernels/probe.h"
#include "bench.h"

// How long idle workers spin before they sleep. Longer than any gap within a batch; a peer's threads start after it.
enum { TEAM_SPIN_US = 200 };

typedef struct team {
  int threads;
  bb_pool *pool;
  bool pinned;
  int cpu[LIST_MAX];  // of each thread if pinned; otherwise those of the mask
  int cpus;           // processors in use: entries of cpu
} team;

// The processors that this process may use: the mask at the start of the program. Whole cores first, their second hyper-threads
// after them.
int team_processors(int cpu[LIST_MAX]);
// Refuses --cpus that are not in the mask.
exit_code team_check(const options *o);

exit_code team_create(const options *o, int threads, team *t);
void team_destroy(team *t);

// Lets the calling thread run everywhere again / only where thread 0 of the team runs.
void team_unpin(void);
void team_pin(const team *t);

// FMA rate of all threads at once, flop/s, over about 2 ms. *rounds is 0 at first and remembers the calibration.
double team_probe(const team *t, const bb_probe *probe, size_t *rounds);

// Nanoseconds that thread 0 takes to read a cache line that thread 1 has just written, in a stream of them; NaN if there is one
// thread, if they are not pinned or if the other does not answer. Says whether they share a last-level cache: a host may move
// virtual processors at any time. Between batches only.
double team_transfer(const team *t);
// Do two of these differ so much that the processors were moved in between?
bool team_moved(const double transfer_ns[2]);

// Returns after the workers have gone to sleep.
void team_settle(const team *t);

// ---- what else runs here -------------------------------------------------------------------------------------------

typedef struct load {
  double wall, own, busy, steal;  // ns: clock, CPU time of this process, of everybody on these processors, stolen by the host
} load;

load load_now(const int *cpu, int cpus);
// Shares of the processors' time since then, in per cent; -1 = unknown.
void load_since(const load *start, const int *cpu, int cpus, double *others_pct, double *steal_pct);

#endif
