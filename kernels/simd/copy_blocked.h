// SPDX-License-Identifier: Apache-2.0
//
// Copies between blocked tensors: other strides, other channel maps. Lanes of y that hold no channel get +0.

#ifndef BB_SIMD_COPY_BLOCKED_H
#define BB_SIMD_COPY_BLOCKED_H

#include "lanes.h"

static bool blocked_accepts(const bb_task *task) { return only_act(task, VL, VL); }

static size_t blocked_packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  return lane_table_bytes(task->y.map, task->x.map);
}

static void blocked_pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config, (void)weights;
  pack_lane_table(task->y.map, task->x.map, packed);
}

static void blocked_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *y = &task->y;
  const bool flat = is_flat(x) && is_flat(y);
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(y, i);
    const vf keep = vlanes_used(y->map->lane + t.k * VL);
    const int rows = flat ? t.p1 - t.p0 : 1;
    for (int p = t.p0; p < t.p1; p += rows) {
      float *to = args->io.y + row_offset(y, t.n, t.k, p);
      const size_t n = (size_t)rows * (size_t)y->W;
      gather_lanes(args->packed, y->map->blocks, t.k, args->io.x + row_offset(x, t.n, 0, p), x->c_stride, to, n, keep);
      finish(&task->epilogue, to, n, keep);
    }
  }
}

#endif
