// SPDX-License-Identifier: Apache-2.0
//
// Softmax over the channels of each pixel, on blocked layouts: maximum, exponentials (kept in y) and their sum, division.
// Empty lanes take no part and stay +0.

#ifndef BB_SIMD_SOFTMAX_H
#define BB_SIMD_SOFTMAX_H

#include "op.h"

static bool softmax_accepts(const bb_task *task) { return only_act(task, VL, VL) && bb_map_equal(task->x.map, task->y.map); }

// A tile is one row of pixels with all its channels.
static size_t softmax_tiles(const bb_task *task, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return (size_t)task->y.N * (size_t)task->y.H;
}

BB_INLINE float max_lane(vf v) {
  float lane[VL];
  vstore(lane, v);
  float m = lane[0];
  for (int l = 1; l < VL; l++) m = lane[l] > m ? lane[l] : m;
  return m;
}

static void softmax_pixel(const bb_task *task, const float *x, float *y) {
  const bb_map *map = task->y.map;
  const ptrdiff_t xs = task->x.c_stride, ys = task->y.c_stride;
  const vf lowest = vset1(-__builtin_inff());
  vf m = lowest;
  // A NaN may get lost here, but it comes back through its exponential and the sum.
  for (int k = 0; k < map->blocks; k++) {
    const vf unused = vandnot(vlanes_used(map->lane + k * VL), lowest);
    m = vmax(m, vadd(vload(x + k * xs), unused));
  }
  m = vset1(max_lane(m));
  vf sum = vzero();
  for (int k = 0; k < map->blocks; k++) {
    const vf e = vexp_bounded(vmax(vset1(LOWEST_EXP), vsub(vload(x + k * xs), m)));
    const vf v = vand(e, vlanes_used(map->lane + k * VL));
    vstore(y + k * ys, v);
    sum = vadd(sum, v);
  }
  sum = vset1(vsum(sum));
  for (int k = 0; k < map->blocks; k++) {
    vstore(y + k * ys, vdiv(vload(y + k * ys), sum));
    finish(&task->epilogue, y + k * ys, 1, vlanes_used(map->lane + k * VL));
  }
}

static void softmax_run(const bb_args *args, size_t first, size_t last) {
  const bb_view *x = &args->task->x, *y = &args->task->y;
  for (size_t i = first; i < last; i++) {
    const int n = (int)(i / (size_t)y->H), h = (int)(i % (size_t)y->H);
    for (int w = 0; w < y->W; w++)
      softmax_pixel(args->task, args->io.x + row_offset(x, n, 0, h) + w * VL, args->io.y + row_offset(y, n, 0, h) + w * VL);
  }
}

#endif
