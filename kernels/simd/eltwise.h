// SPDX-License-Identifier: Apache-2.0
//
// y = act(x op x2) on blocked layouts; x2 may be a prefix of the channels, and one pixel for all (squeeze-excite). The channels
// of x, x2 and y stand in the same lanes; where x2 has an empty lane or no block the channel of x passes through.

#ifndef BB_SIMD_ELTWISE_H
#define BB_SIMD_ELTWISE_H

#include "op.h"

static bool eltwise_accepts(const bb_task *task) {
  if (!only_act(task, VL, VL) || task->x2.block != VL || !bb_map_equal(task->x.map, task->y.map)) return false;
  const bb_map *map = task->x.map, *map2 = task->x2.map;
  if (map2->blocks > map->blocks) return false;
  for (int l = 0; l < bb_map_lanes(map2); l++)
    if (map2->lane[l] >= 0 && map2->lane[l] != map->lane[l]) return false;
  return true;
}

BB_INLINE vf combine(bb_eltwise_kind kind, bool relu, vf a, vf b) {
  const vf v = kind == BB_ELTWISE_ADD ? vadd(a, b) : vmul(a, b);
  return relu ? vact_relu(v, v) : v;
}

BB_INLINE void eltwise_sweep(bb_eltwise_kind kind, bool relu, bool one, const float *x, const float *x2, vf fill, float *y,
                             size_t vectors) {
  const vf b = vadd(vload(x2), fill);
#pragma GCC unroll 4
  for (size_t i = 0; i < vectors; i++)
    vstore(y + i * VL, combine(kind, relu, vload(x + i * VL), one ? b : vadd(vload(x2 + i * VL), fill)));
}

// A block that x2 does not have.
BB_INLINE void eltwise_pass(const float *x, float *y, size_t vectors) {
  for (size_t i = 0; i < vectors; i++) vstore(y + i * VL, vload(x + i * VL));
}

static void eltwise_span(const bb_task *task, const float *x, const float *x2, vf fill, float *y, size_t vectors, vf keep) {
  const bb_eltwise *e = &task->problem.eltwise;
  const bool relu = task->epilogue.act == BB_ACT_RELU;
  for (size_t i = 0; i < vectors; i += CHUNK) {
    const size_t n = vectors - i < CHUNK ? vectors - i : CHUNK;
    const float *from = x + i * VL;
    float *to = y + i * VL;
    if (!x2) {
      eltwise_pass(from, to, n);
      finish(&task->epilogue, to, n, keep);
      continue;
    }
    const float *from2 = e->broadcast ? x2 : x2 + i * VL;
    if (e->kind == BB_ELTWISE_ADD) {
      if (e->broadcast)
        eltwise_sweep(BB_ELTWISE_ADD, false, true, from, from2, fill, to, n);
      else if (relu)
        eltwise_sweep(BB_ELTWISE_ADD, true, false, from, from2, fill, to, n);
      else
        eltwise_sweep(BB_ELTWISE_ADD, false, false, from, from2, fill, to, n);
    } else if (e->broadcast)
      eltwise_sweep(BB_ELTWISE_MUL, false, true, from, from2, fill, to, n);
    else
      eltwise_sweep(BB_ELTWISE_MUL, false, false, from, from2, fill, to, n);
    if (!relu || e->kind != BB_ELTWISE_ADD || e->broadcast) finish(&task->epilogue, to, n, keep);
  }
}

static void eltwise_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *x2 = &task->x2, *y = &task->y;
  const bool broadcast = task->problem.eltwise.broadcast, mul = task->problem.eltwise.kind == BB_ELTWISE_MUL;
  const bool flat = is_flat(x) && is_flat(y) && (broadcast || is_flat(x2));
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(y, i);
    const vf keep = vlanes_used(y->map->lane + t.k * VL);
    const bool has2 = t.k < x2->map->blocks;
    // Lanes that x2 does not have are zero there: right for add, and made 1 for mul.
    vf fill = vzero();
    if (has2 && mul) fill = vsub(vset1(1), vand(vset1(1), vlanes_used(x2->map->lane + t.k * VL)));
    const int step = flat ? t.p1 - t.p0 : 1;
    for (int p = t.p0; p < t.p1; p += step) {
      const float *b = !has2 ? NULL : args->io.x2 + row_offset(x2, t.n, t.k, broadcast ? 0 : p);
      eltwise_span(task, args->io.x + row_offset(x, t.n, t.k, p), b, fill, args->io.y + row_offset(y, t.n, t.k, p),
                   (size_t)step * (size_t)y->W, keep);
    }
  }
}

#endif
