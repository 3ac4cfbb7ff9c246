// SPDX-License-Identifier: Apache-2.0
//
// Sum and product of two tensors, the second possibly narrower or one value per plane; NCHW, portable C. One tile = one plane.

#include "generic.h"

static bool accepts(const bb_task *task) { return task->x.block == 1 && task->x2.block == 1 && task->y.block == 1; }

// step 0: x2 is one value.
BB_INLINE void combine(bb_eltwise_kind kind, const float *restrict x, const float *restrict x2, ptrdiff_t step, int n,
                       float *restrict out) {
  if (kind == BB_ELTWISE_ADD) {
    for (int i = 0; i < n; i++) out[i] = x[i] + x2[i * step];
  } else {
    for (int i = 0; i < n; i++) out[i] = x[i] * x2[i * step];
  }
}

static void run(const bb_args *a, size_t first, size_t last) {
  const bb_task *task = a->task;
  const bb_eltwise *v = &task->problem.eltwise;
  float out[CHUNK];
  for (size_t i = first; i < last; i++) {
    const plane t = plane_at(task, i);
    if (t.c < 0) {
      zero_plane(&task->y, a->io.y, t.n, t.lane);
      continue;
    }
    const int lane = lane_of(task->x.map, t.c), lane2 = t.c < v->C2 ? lane_of(task->x2.map, t.c) : -1;
    for (int h = 0; h < v->H; h++) {
      for (int w = 0; w < v->W; w += CHUNK) {
        const int count = bb_min(CHUNK, v->W - w);
        const float *x = a->io.x + row_offset(&task->x, t.n, lane, h) + w;
        if (lane2 < 0) {
          memcpy(out, x, (size_t)count * sizeof *out);
        } else if (v->broadcast) {
          combine(v->kind, x, a->io.x2 + row_offset(&task->x2, t.n, lane2, 0), 0, count, out);
        } else {
          combine(v->kind, x, a->io.x2 + row_offset(&task->x2, t.n, lane2, h) + w, 1, count, out);
        }
        act_row(&task->epilogue, out, count);
        memcpy(a->io.y + row_offset(&task->y, t.n, t.lane, h) + w, out, (size_t)count * sizeof *out);
      }
    }
  }
}

const bb_kernel bb_eltwise_direct_nchw_generic = {
    .name = "eltwise_direct_nchw_generic",
    .op = BB_OP_ELTWISE,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_GENERIC,
    .x_block = 1,
    .y_block = 1,
    .block = {.q = CHUNK, .k = 1, .c = 1},
    .accepts = accepts,
    .stage = {{"eltwise", plane_tiles, run}},
};
