// SPDX-License-Identifier: Apache-2.0
//
// Pooling of every kind, NCHW, portable C. One tile = one plane of y.

#include "generic.h"

static bool accepts(const bb_task *task) { return task->x.block == 1 && task->y.block == 1; }

// Rows or columns of the input under output i.
typedef struct range {
  int from, to;  // inside the input
  int padded;    // how many inside the padded input
} range;

static range window(int i, int in, int out, int size, int stride, int before, int behind, bool adaptive) {
  if (adaptive) {
    const int from = (int)((int64_t)i * in / out), to = (int)((((int64_t)i + 1) * in + out - 1) / out);
    return (range){from, to, to - from};
  }
  const int from = i * stride - before;
  return (range){bb_max(from, 0), bb_min(from + size, in), bb_min(from + size, in + behind) - from};
}

static range rows_of(const bb_pooling *v, int p) {
  return window(p, v->H, v->P, v->R, v->stride_h, v->pad_t, v->pad_b, v->adaptive);
}

static range columns_of(const bb_pooling *v, int q) {
  return window(q, v->W, v->Q, v->S, v->stride_w, v->pad_l, v->pad_r, v->adaptive);
}

BB_INLINE float larger(float a, float b) { return b > a || b != b ? b : a; }  // a NaN wins

static float pool_one(const bb_pooling *v, const float *x, ptrdiff_t h_stride, range rows, range columns) {
  if (v->kind == BB_POOL_MAX) {
    float max = -INFINITY;
    for (int h = rows.from; h < rows.to; h++) {
      for (int w = columns.from; w < columns.to; w++) max = larger(max, x[h * h_stride + w]);
    }
    return max;
  }
  // Two levels keep the chain of additions short over a whole map.
  float sum = 0;
  for (int h = rows.from; h < rows.to; h++) {
    float row = 0;
    for (int w = columns.from; w < columns.to; w++) row += x[h * h_stride + w];
    sum += row;
  }
  return v->count_include_pad ? sum / ((float)rows.padded * (float)columns.padded)
                              : sum / ((float)(rows.to - rows.from) * (float)(columns.to - columns.from));
}

// Outputs q0 + i, 0 <= i < count, of a fixed window: tap by tap, so that columns are the inner loop.
static void pool_row(const bb_pooling *v, const float *x, ptrdiff_t h_stride, range rows, int q0, int count, float *out) {
  const bool max = v->kind == BB_POOL_MAX;
  for (int i = 0; i < count; i++) out[i] = max ? -INFINITY : 0;
  for (int h = rows.from; h < rows.to; h++) {
    for (int s = 0; s < v->S; s++) {
      const int from = bb_max(q0, bb_first_valid(s, 1, v->pad_l, v->stride_w));
      const int to = bb_min(q0 + count, bb_end_valid(s, 1, v->pad_l, v->stride_w, v->W, v->Q));
      const ptrdiff_t stride = v->stride_w, offset = h * h_stride + s - v->pad_l;
      if (max) {
        for (int q = from; q < to; q++) out[q - q0] = larger(out[q - q0], x[q * stride + offset]);
      } else {
        for (int q = from; q < to; q++) out[q - q0] += x[q * stride + offset];
      }
    }
  }
  if (max) return;
  for (int i = 0; i < count; i++) {
    const range columns = columns_of(v, q0 + i);
    out[i] /= v->count_include_pad ? (float)rows.padded * (float)columns.padded
                                   : (float)(rows.to - rows.from) * (float)(columns.to - columns.from);
  }
}

static void run(const bb_args *a, size_t first, size_t last) {
  const bb_task *task = a->task;
  const bb_pooling *v = &task->problem.pool;
  float out[CHUNK];
  for (size_t i = first; i < last; i++) {
    const plane t = plane_at(task, i);
    if (t.c < 0) {
      zero_plane(&task->y, a->io.y, t.n, t.lane);
      continue;
    }
    const float *x = a->io.x + row_offset(&task->x, t.n, lane_of(task->x.map, t.c), 0);
    for (int p = 0; p < v->P; p++) {
      const range rows = rows_of(v, p);
      for (int q = 0; q < v->Q; q += CHUNK) {
        const int count = bb_min(CHUNK, v->Q - q);
        if (v->adaptive) {
          for (int j = 0; j < count; j++) out[j] = pool_one(v, x, task->x.h_stride, rows, columns_of(v, q + j));
        } else {
          pool_row(v, x, task->x.h_stride, rows, q, count, out);
        }
        act_row(&task->epilogue, out, count);
        memcpy(a->io.y + row_offset(&task->y, t.n, t.lane, p) + q, out, (size_t)count * sizeof *out);
      }
    }
  }
}

const bb_kernel bb_pool_direct_nchw_generic = {
    .name = "pool_direct_nchw_generic",
    .op = BB_OP_POOL,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_GENERIC,
    .x_block = 1,
    .y_block = 1,
    .block = {.q = CHUNK, .k = 1, .c = 1},
    .accepts = accepts,
    .stage = {{"pool", plane_tiles, run}},
};
