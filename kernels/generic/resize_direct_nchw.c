// SPDX-License-Identifier: Apache-2.0
//
// Resize to another plane, nearest or bilinear, NCHW, portable C. One tile = one plane of y; where the columns of a stretch
// come from is worked out once and used for all rows.

#include "generic.h"

static bool accepts(const bb_task *task) { return task->x.block == 1 && task->y.block == 1; }

// Output i lies between inputs a and b, the share of b is t. In double: a float coordinate would be off by up to in * 2^-24.
typedef struct source {
  int a, b;
  float t;
} source;

static source source_of(bb_resize_kind kind, int i, int in, int out) {
  if (kind == BB_RESIZE_NEAREST) {
    const int a = (int)((int64_t)i * in / out);
    return (source){a, a, 0};
  }
  const double at = out > 1 ? (double)i * (in - 1) / (out - 1) : 0;
  const int a = (int)at;
  return (source){a, bb_min(a + 1, in - 1), (float)(at - a)};
}

static void run(const bb_args *a, size_t first, size_t last) {
  const bb_task *task = a->task;
  const bb_resize *v = &task->problem.resize;
  source column[CHUNK];
  float out[CHUNK];
  for (size_t i = first; i < last; i++) {
    const plane t = plane_at(task, i);
    if (t.c < 0) {
      zero_plane(&task->y, a->io.y, t.n, t.lane);
      continue;
    }
    const float *x = a->io.x + row_offset(&task->x, t.n, lane_of(task->x.map, t.c), 0);
    for (int q = 0; q < v->Q; q += CHUNK) {
      const int count = bb_min(CHUNK, v->Q - q);
      for (int j = 0; j < count; j++) column[j] = source_of(v->kind, q + j, v->W, v->Q);
      for (int p = 0; p < v->P; p++) {
        const source row = source_of(v->kind, p, v->H, v->P);
        const float *top = x + row.a * task->x.h_stride, *bottom = x + row.b * task->x.h_stride;
        if (v->kind == BB_RESIZE_NEAREST) {
          for (int j = 0; j < count; j++) out[j] = top[column[j].a];
        } else {
          for (int j = 0; j < count; j++) {
            const source s = column[j];
            const float above = (1 - s.t) * top[s.a] + s.t * top[s.b];
            const float below = (1 - s.t) * bottom[s.a] + s.t * bottom[s.b];
            out[j] = (1 - row.t) * above + row.t * below;
          }
        }
        act_row(&task->epilogue, out, count);
        memcpy(a->io.y + row_offset(&task->y, t.n, t.lane, p) + q, out, (size_t)count * sizeof *out);
      }
    }
  }
}

const bb_kernel bb_resize_direct_nchw_generic = {
    .name = "resize_direct_nchw_generic",
    .op = BB_OP_RESIZE,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_GENERIC,
    .x_block = 1,
    .y_block = 1,
    .block = {.q = CHUNK, .k = 1, .c = 1},
    .accepts = accepts,
    .stage = {{"resize", plane_tiles, run}},
};
