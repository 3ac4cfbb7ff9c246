// SPDX-License-Identifier: Apache-2.0
//
// Resize on blocked layouts, nearest and bilinear with aligned corners, between any sizes. Source coordinates are fractions of
// integers and computed as such: exact. Packed: for each output column the offset of its source column(s) in a row, in floats,
// and the weight of the second.

#ifndef BB_SIMD_RESIZE_H
#define BB_SIMD_RESIZE_H

#include "op.h"

typedef struct resize_tap {
  int first, second;  // offsets; equal where the weight is zero, so that what is not asked for is not read
  float weight;       // of the second
} resize_tap;

// Output position o of `out` over `in` input positions that lie `step` floats apart.
BB_INLINE resize_tap resize_source(bb_resize_kind kind, int o, int in, int out, int step) {
  if (kind == BB_RESIZE_NEAREST) {
    const int i = (int)((int64_t)o * in / out) * step;
    return (resize_tap){i, i, 0};
  }
  if (out == 1) return (resize_tap){0, 0, 0};
  const int64_t at = (int64_t)o * (in - 1);
  const int first = (int)(at / (out - 1)), rest = (int)(at % (out - 1));
  return (resize_tap){first * step, (first + (rest != 0)) * step, (float)((double)rest / (out - 1))};
}

static bool resize_accepts(const bb_task *task) { return only_act(task, VL, VL) && bb_map_equal(task->x.map, task->y.map); }

static size_t resize_packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  return sizeof(resize_tap) * (size_t)task->y.W;
}

static void resize_pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config, (void)weights;
  resize_tap *tap = (resize_tap *)(void *)packed;
  for (int q = 0; q < task->y.W; q++) tap[q] = resize_source(task->problem.resize.kind, q, task->x.W, task->y.W, VL);
}

BB_INLINE vf mix(vf a, vf b, vf weight) { return vfma(vsub(b, a), weight, a); }

static void resize_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *y = &task->y;
  const bb_resize_kind kind = task->problem.resize.kind;
  const resize_tap *tap = (const resize_tap *)(const void *)args->packed;
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(y, i);
    const vf keep = vlanes_used(y->map->lane + t.k * VL);
    for (int p = t.p0; p < t.p1; p++) {
      const resize_tap row = resize_source(kind, p, x->H, y->H, 1);
      const float *a = args->io.x + row_offset(x, t.n, t.k, row.first), *b = args->io.x + row_offset(x, t.n, t.k, row.second);
      float *to = args->io.y + row_offset(y, t.n, t.k, p);
      if (kind == BB_RESIZE_NEAREST) {
        for (int q = 0; q < y->W; q++) vstore(to + q * VL, vload(a + tap[q].first));
      } else {
        const vf down = vset1(row.weight);
        for (int q = 0; q < y->W; q++) {
          const vf right = vset1(tap[q].weight);
          const vf above = mix(vload(a + tap[q].first), vload(a + tap[q].second), right);
          const vf below = mix(vload(b + tap[q].first), vload(b + tap[q].second), right);
          vstore(to + q * VL, mix(above, below, down));
        }
      }
      finish(&task->epilogue, to, (size_t)y->W, keep);
    }
  }
}

#endif
