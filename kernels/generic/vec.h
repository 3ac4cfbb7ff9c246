// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary of kernels/simd for vectors of one lane, as far as portable Winograd needs it: the same body, so that there is
// one statement of the algorithm. Products and sums are rounded apart: fmaf without the instruction would be a library call.

#ifndef BB_VEC_H
#define BB_VEC_H

#include "../bb.h"
#include "generic.h"

enum { VL = 1 };
typedef float vf;
// Products and sums of one lane, and loads, that a core starts per cycle: compilers hardly find the lanes.
BB_INLINE int fma_per_cycle(const bb_machine *m) { return (void)m, 2; }

BB_INLINE vf vload(const float *p) { return *p; }
BB_INLINE void vstore(float *p, vf x) { *p = x; }
enum { QUIET = 0 };  // see avx512
BB_INLINE vf vload_quiet(const float *p) { return vload(p); }
BB_INLINE void vstore_quiet(float *p, vf x) { vstore(p, x); }
BB_INLINE vf vbcast(const float *p) { return *p; }
BB_INLINE vf vheld(vf x) { return x; }
BB_INLINE vf vset1(float x) { return x; }
BB_INLINE vf vzero(void) { return 0; }
BB_INLINE vf vadd(vf a, vf b) { return a + b; }
BB_INLINE vf vsub(vf a, vf b) { return a - b; }
BB_INLINE vf vmul(vf a, vf b) { return a * b; }
BB_INLINE vf vfma(vf a, vf b, vf c) { return a * b + c; }
BB_INLINE void vfma_bcast(const int nr, vf *sum, const float *a, const vf *b) {
  for (int j = 0; j < nr; j++) sum[j] = vfma(*a, b[j], sum[j]);
}
enum { FMA_BROADCASTS = 0 };
BB_INLINE vf vfma_at(const float *a, vf b, vf c) { return vfma(*a, b, c); }
BB_INLINE vf vfnma(vf a, vf b, vf c) { return c - a * b; }
// If either is NaN the result is b.
BB_INLINE vf vmin(vf a, vf b) { return a < b ? a : b; }
BB_INLINE vf vmax(vf a, vf b) { return a > b ? a : b; }
// Masks are 1 and 0 here.
BB_INLINE vf vlanes_used(const int *lane) { return *lane >= 0 ? 1 : 0; }
BB_INLINE vf vand(vf a, vf mask) { return mask > 0 ? a : 0; }

#define BB_OWN_ACT_SWEEP 1
BB_INLINE void act_sweep(bb_act act, float *y, size_t n, float alpha, vf keep) {
  if (keep > 0)
    act_row(&(bb_epilogue){.act = act, .alpha = alpha}, y, (int)n);
  else
    memset(y, 0, n * sizeof *y);
}

#endif
