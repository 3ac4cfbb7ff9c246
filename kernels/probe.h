// SPDX-License-Identifier: Apache-2.0
//
// Short loops that show what a core can do at most on an ISA level. A speed is stated relative to them.

#ifndef BB_PROBE_H
#define BB_PROBE_H

#include <stddef.h>

#include "kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bb_probe {
  // Multiply-adds on independent chains in registers, nothing else. Returns the flops done (an FMA is two).
  double (*fma)(size_t rounds);
  // Streams over n floats, n a multiple of 128.
  float (*read)(const float *x, size_t n);
  void (*copy)(const float *x, float *y, size_t n);
} bb_probe;

// The probe of a level; NULL if this build does not contain it. Run it only where bb_isa_runs(isa).
const bb_probe *bb_probe_get(bb_isa isa);

extern const bb_probe bb_probe_generic, bb_probe_avx2, bb_probe_avx512, bb_probe_neon;

#ifdef __cplusplus
}
#endif

#endif
