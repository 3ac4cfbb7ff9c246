// SPDX-License-Identifier: Apache-2.0
//
// What follows the sums of a convolution. Include the ISA's vec.h first. Portable C brings an act_sweep of its own.
//
// Where epilogue_is_clamp() holds the kernel clamps its accumulators to [clamp_low, clamp_high] and is done. Otherwise it
// stores raw sums (bias and a residual that comes before the activation already in them) of a row segment, which stay in L1,
// and calls epilogue_row on that segment of each channel block. A residual after the activation may be y itself: then the raw
// sums must lie elsewhere (epilogue_needs_scratch).

#ifndef BB_EPILOGUE_H
#define BB_EPILOGUE_H

#include <math.h>

#include "../kernel.h"
#ifndef BB_OWN_ACT_SWEEP
#include "act.h"
#endif

// Identity, ReLU and ReLU6 with nothing behind them: two instructions on an accumulator.
BB_INLINE bool epilogue_is_clamp(const bb_epilogue *e) {
  return e->act <= BB_ACT_RELU6 && e->residual != BB_RESIDUAL_AFTER_ACT && !e->scale && !e->second && !e->gap;
}
BB_INLINE float clamp_low(bb_act act) { return act == BB_ACT_RELU || act == BB_ACT_RELU6 ? 0 : -INFINITY; }
BB_INLINE float clamp_high(bb_act act) { return act == BB_ACT_RELU6 ? 6 : INFINITY; }
// A NaN of x passes through.
BB_INLINE vf vclamp(vf x, vf low, vf high) { return vmin(high, vmax(low, x)); }

BB_INLINE bool epilogue_needs_scratch(const bb_epilogue *e) { return e->residual == BB_RESIDUAL_AFTER_ACT; }

// Finishes the raw sums at `sum` (may be where they belong in y; overwritten) of `pixels` pixels from (row p, column q) of
// block k of image n. row_sum: if the task wants means, where the VL sums over these pixels go, otherwise unused.
static inline __attribute__((unused)) void epilogue_row(const bb_args *a, float *sum, int n, int k, int p, int q, int pixels,
                                                        float *row_sum) {
  const bb_task *t = a->task;
  const bb_epilogue *e = &t->epilogue;
  const vf keep = vlanes_used(t->y.map->lane + k * VL);
  act_sweep(e->act, sum, (size_t)pixels, e->alpha, keep);

  float *y = a->io.y + n * t->y.n_stride + k * t->y.c_stride + p * t->y.h_stride + q * VL;
  const bool after = e->residual == BB_RESIDUAL_AFTER_ACT;
  if (y == sum && !e->scale && !after && !e->second && !e->gap) return;
  const float *x2 = after ? a->io.x2 + n * t->x2.n_stride + k * t->x2.c_stride + p * t->x2.h_stride + q * VL : NULL;
  float *y2 = e->second ? a->io.y2 + n * t->y2.n_stride + k * t->y2.c_stride + p * t->y2.h_stride + q * VL : NULL;
  const size_t lane = (size_t)n * (size_t)bb_map_lanes(t->y.map) + (size_t)k * VL;
  // Whatever an empty lane of the factors holds (a NaN, say), that of y stays +0.
  const vf scale = e->scale ? vand(vload(a->io.y_scale + lane), keep) : vset1(1);
  vf total = vzero();
  for (int i = 0; i < pixels; i++) {
    vf v = vmul(vload(sum + i * VL), scale);
    if (x2) v = vadd(v, vload(x2 + i * VL));
    vstore(y + i * VL, v);
    if (y2) vstore(y2 + i * VL, v);
    total = vadd(total, v);
  }
  if (e->gap) vstore(row_sum, total);
}

// Row sums live in the shared workspace, [image][row][lane]; a last stage of gap_tiles tiles, one per image, adds them up in
// the order of the rows.
BB_INLINE size_t gap_bytes(const bb_task *t, int rows) {
  return t->epilogue.gap ? sizeof(float) * (size_t)t->y.N * (size_t)rows * (size_t)bb_map_lanes(t->y.map) : 0;
}
BB_INLINE float *gap_row(const bb_args *a, int rows, int n, int row, int k) {
  return (float *)(void *)a->shared + ((size_t)n * (size_t)rows + (size_t)row) * (size_t)bb_map_lanes(a->task->y.map) +
         (size_t)k * VL;
}
BB_INLINE size_t gap_tiles(const bb_task *t) { return t->epilogue.gap ? (size_t)t->y.N : 0; }
static inline __attribute__((unused)) void gap_reduce(const bb_args *a, int rows, size_t first, size_t last) {
  const bb_view *y = &a->task->y;
  const vf mean = vset1(1.0f / ((float)y->H * (float)y->W));
  for (size_t n = first; n < last; n++) {
    for (int k = 0; k < y->map->blocks; k++) {
      vf sum = vzero();
      for (int row = 0; row < rows; row++) sum = vadd(sum, vload(gap_row(a, rows, (int)n, row, k)));
      vstore(a->io.gap + n * (size_t)bb_map_lanes(y->map) + (size_t)k * VL, vmul(sum, mean));
    }
  }
}

#endif
