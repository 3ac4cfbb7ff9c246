// SPDX-License-Identifier: Apache-2.0
//
// y = act(x op x2) on blocked layouts; x2 may be a prefix of the channels, and one pixel for all (squeeze-excite). Where x2 has
// no channel that of x passes through. Channels may stand in other lanes in x, x2 and y: blocks that agree are read in place,
// others gathered into a chunk first.
//
// Packed: what x2 needs added to be neutral where it has no channel (1 for mul), in the lanes of y; then two lane tables.

#ifndef BB_SIMD_ELTWISE_H
#define BB_SIMD_ELTWISE_H

#include "lanes.h"

static bool eltwise_accepts(const bb_task *task) { return only_act(task, VL, VL) && task->x2.block == VL; }

static size_t eltwise_packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  const bb_map *y = task->y.map;
  return sizeof(float) * (size_t)bb_map_lanes(y) + lane_table_bytes(y, task->x.map) + lane_table_bytes(y, task->x2.map);
}

static void eltwise_pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config, (void)weights;
  const bb_map *y = task->y.map;
  const bool mul = task->problem.eltwise.kind == BB_ELTWISE_MUL;
  for (int l = 0; l < bb_map_lanes(y); l++) packed[l] = mul && y->lane[l] >= task->problem.eltwise.C2 ? 1 : 0;
  void *table = packed + bb_map_lanes(y);
  pack_lane_table(y, task->x.map, table);
  pack_lane_table(y, task->x2.map, (char *)table + lane_table_bytes(y, task->x.map));
}

BB_INLINE vf combine(bb_eltwise_kind kind, bool relu, vf a, vf b) {
  const vf v = kind == BB_ELTWISE_ADD ? vadd(a, b) : vmul(a, b);
  return relu ? vact_relu(v, v) : v;
}

// one: x2 is a single vector.
BB_INLINE void eltwise_sweep(bb_eltwise_kind kind, bool relu, bool one, const float *x, const float *x2, vf fill, float *y,
                             size_t vectors) {
  const vf b = vadd(vload(x2), fill);
#pragma GCC unroll 4
  for (size_t i = 0; i < vectors; i++)
    vstore(y + i * VL, combine(kind, relu, vload(x + i * VL), one ? b : vadd(vload(x2 + i * VL), fill)));
}

// An operand of one block of y: either in place or gathered chunk by chunk.
typedef struct operand {
  const float *in_place;  // NULL = gather
  const float *block0;
  const void *table;
  ptrdiff_t c_stride;
  int blocks, k;
} operand;

BB_INLINE operand operand_at(const void *table, int blocks, int k, const bb_view *v, const float *data, int n, int h) {
  const lane_head head = ((const lane_head *)table)[k];
  const float *block0 = data + row_offset(v, n, 0, h);
  return (operand){.in_place = head.whole < 0 ? NULL : block0 + head.whole * v->c_stride,
                   .block0 = block0,
                   .table = table,
                   .c_stride = v->c_stride,
                   .blocks = blocks,
                   .k = k};
}

BB_INLINE const float *operand_chunk(const operand *o, size_t first, size_t n, float *chunk, vf keep) {
  if (o->in_place) return o->in_place + first * VL;
  gather_lanes(o->table, o->blocks, o->k, o->block0 + first * VL, o->c_stride, chunk, n, keep);
  return chunk;
}

static void eltwise_span(const bb_task *task, const operand *x, const operand *x2, vf fill, float *y, size_t vectors, vf keep) {
  float chunk[CHUNK * VL] __attribute__((aligned(BB_ALIGN))), chunk2[CHUNK * VL] __attribute__((aligned(BB_ALIGN)));
  const bool add = task->problem.eltwise.kind == BB_ELTWISE_ADD, one = task->problem.eltwise.broadcast;
  const bool add_relu = add && !one && task->epilogue.act == BB_ACT_RELU;
  const float *single = one ? operand_chunk(x2, 0, 1, chunk2, keep) : NULL;
  for (size_t i = 0; i < vectors; i += CHUNK) {
    const size_t n = vectors - i < CHUNK ? vectors - i : CHUNK;
    const float *a = operand_chunk(x, i, n, chunk, keep), *b = one ? single : operand_chunk(x2, i, n, chunk2, keep);
    float *to = y + i * VL;
    if (add_relu) {
      eltwise_sweep(BB_ELTWISE_ADD, true, false, a, b, fill, to, n);
      continue;
    }
    if (add && one) {
      eltwise_sweep(BB_ELTWISE_ADD, false, true, a, b, fill, to, n);
    } else if (add) {
      eltwise_sweep(BB_ELTWISE_ADD, false, false, a, b, fill, to, n);
    } else if (one) {
      eltwise_sweep(BB_ELTWISE_MUL, false, true, a, b, fill, to, n);
    } else {
      eltwise_sweep(BB_ELTWISE_MUL, false, false, a, b, fill, to, n);
    }
    finish(&task->epilogue, to, n, keep);
  }
}

static void eltwise_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *x2 = &task->x2, *y = &task->y;
  const int blocks = y->map->blocks;
  const bool broadcast = task->problem.eltwise.broadcast;
  const bool flat = is_flat(x) && is_flat(y) && (broadcast || is_flat(x2));
  const void *table = args->packed + bb_map_lanes(y->map), *table2 = lane_table_end(table, blocks);
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(y, i);
    const vf keep = vlanes_used(y->map->lane + t.k * VL), fill = vload(args->packed + t.k * VL);
    const int rows = flat ? t.p1 - t.p0 : 1;
    for (int p = t.p0; p < t.p1; p += rows) {
      const operand a = operand_at(table, blocks, t.k, x, args->io.x, t.n, p);
      const operand b = operand_at(table2, blocks, t.k, x2, args->io.x2, t.n, broadcast ? 0 : p);
      eltwise_span(task, &a, &b, fill, args->io.y + row_offset(y, t.n, t.k, p), (size_t)rows * (size_t)y->W, keep);
    }
  }
}

#endif
