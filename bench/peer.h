// SPDX-License-Identifier: Apache-2.0
//
// Other libraries on the same rows, loaded at run time where they are installed.

#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "../reference/ref_check.h"
#include "bench.h"

typedef struct peer_conv peer_conv;

typedef struct peer {
  const char *name, *what;
  // NULL if it is here, otherwise why it is not. Loads it; cpu: the processors its threads are bound to.
  const char *(*missing)(const int *cpu, int cpus);
  const char *(*version)(void);
  // The convolution of the data on so many threads. BB_UNSUPPORTED with a sentence if it has no direct algorithm for it.
  bb_status (*create)(const bb_task *task, const bb_ref_data *data, bb_isa isa, int threads, bool cold, peer_conv **conv,
                      bb_error *error);
  void (*destroy)(peer_conv *conv);
  void (*run)(void *conv);  // one call
  // The output of the last run in NCHW; false if out of memory or refused.
  bool (*output)(peer_conv *conv, float *nchw);
  // Bytes of its weights as it stores them.
  size_t (*packed_bytes)(const peer_conv *conv);
  const char *(*implementation)(const peer_conv *conv);
} peer;

extern const peer peer_onednn;

size_t peer_count(void);
const peer *peer_at(size_t i);
const peer *peer_find(const char *name);

#endif
