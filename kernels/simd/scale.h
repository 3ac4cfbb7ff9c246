// SPDX-License-Identifier: Apache-2.0
//
// y = act(scale[c]*x + shift[c]) on blocked layouts: batch-norm at inference, and lone activations.
// Packed: the scales in the lanes of x, then the shifts; zero in empty lanes, so that they stay +0.

#ifndef BB_SIMD_SCALE_H
#define BB_SIMD_SCALE_H

#include "op.h"

static bool scale_accepts(const bb_task *task) { return only_act(task, VL, VL) && bb_map_equal(task->x.map, task->y.map); }

static size_t scale_packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  return 2 * sizeof(float) * (size_t)bb_map_lanes(task->x.map);
}

static void scale_pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config;
  const bb_map *map = task->x.map;
  const int lanes = bb_map_lanes(map);
  for (int l = 0; l < lanes; l++) {
    const int c = map->lane[l];
    packed[l] = c < 0 ? 0 : weights->scale ? weights->scale[c] : 1;
    packed[lanes + l] = c < 0 || !weights->shift ? 0 : weights->shift[c];
  }
}

BB_INLINE void scale_sweep(bool relu, const float *x, vf scale, vf shift, float *y, size_t vectors) {
#pragma GCC unroll 4
  for (size_t i = 0; i < vectors; i++) {
    const vf v = vfma(vload(x + i * VL), scale, shift);
    vstore(y + i * VL, relu ? vact_relu(v, v) : v);
  }
}

static void scale_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *y = &task->y;
  const bool flat = is_flat(x) && is_flat(y), relu = task->epilogue.act == BB_ACT_RELU;
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(y, i);
    const vf keep = vlanes_used(y->map->lane + t.k * VL);
    const vf scale = vload(args->packed + t.k * VL), shift = vload(args->packed + bb_map_lanes(x->map) + t.k * VL);
    const int step = flat ? t.p1 - t.p0 : 1;
    for (int p = t.p0; p < t.p1; p += step) {
      const float *from = args->io.x + row_offset(x, t.n, t.k, p);
      float *to = args->io.y + row_offset(y, t.n, t.k, p);
      size_t left = (size_t)step * (size_t)y->W;
      for (; left;) {
        const size_t n = left < CHUNK ? left : CHUNK;
        if (relu) {
          scale_sweep(true, from, scale, shift, to, n);
        } else {
          scale_sweep(false, from, scale, shift, to, n);
          finish(&task->epilogue, to, n, keep);
        }
        from += n * VL, to += n * VL, left -= n;
      }
    }
  }
}

#endif
