// SPDX-License-Identifier: Apache-2.0
//
// Max and average pooling on blocked layouts, any window, adaptive and global too. Both are separable: a row of outputs first
// combines the rows of its window column by column into a strip (kept in L1), then the columns of each window. Windows are
// clipped to the input. The maximum does not promise to pass NaN on. Every output is summed in one order, rows of a column
// first, whatever the tiles.

#ifndef BB_SIMD_POOL_H
#define BB_SIMD_POOL_H

#include "op.h"

enum {
  STRIP = 128  // columns of a strip: 8 KiB at most
};

typedef struct window {
  int first, end;  // clipped to the input
  int size;        // what the average divides by in this direction
} window;

BB_INLINE window pool_window(const bb_pooling *pool, int o, int in, int out, int extent, int stride, int before, int after) {
  if (pool->adaptive) {
    const int first = (int)((int64_t)o * in / out), end = (int)(((int64_t)(o + 1) * in + out - 1) / out);
    return (window){first, end, end - first};
  }
  const int start = o * stride - before, first = bb_max(start, 0), end = bb_min(start + extent, in);
  return (window){first, end, pool->count_include_pad ? bb_min(start + extent, in + after) - start : end - first};
}

BB_INLINE window pool_rows(const bb_pooling *pool, int p) {
  return pool_window(pool, p, pool->H, pool->P, pool->R, pool->stride_h, pool->pad_t, pool->pad_b);
}

BB_INLINE window pool_columns(const bb_pooling *pool, int q) {
  return pool_window(pool, q, pool->W, pool->Q, pool->S, pool->stride_w, pool->pad_l, pool->pad_r);
}

BB_INLINE vf pool_op(bool max, vf a, vf b) { return max ? vmax(a, b) : vadd(a, b); }

static bool pool_accepts(const bb_task *task) { return only_act(task, VL, VL) && bb_map_equal(task->x.map, task->y.map); }

// strip[c] = rows [0, rows) of column c, for n columns.
BB_INLINE void strip_of_rows(bool max, const float *x, ptrdiff_t h_stride, int rows, int n, float *strip) {
  for (int c = 0; c < n; c++) {
    const float *at = x + c * VL;
    vf v = vload(at);
    for (int r = 1; r < rows; r++) v = pool_op(max, v, vload(at + r * h_stride));
    vstore(strip + c * VL, v);
  }
}

// n windows of `columns` columns of the strip, `stride` apart; each divided by `size` if average.
BB_INLINE void windows_of_strip(bool max, const float *strip, int columns, int stride, int n, float size, float *y) {
  for (int q = 0; q < n; q++) {
    const float *at = strip + (ptrdiff_t)q * stride * VL;
    vf v = vload(at);
    for (int j = 1; j < columns; j++) v = pool_op(max, v, vload(at + j * VL));
    vstore(y + q * VL, max ? v : vdiv(v, vset1(size)));
  }
}

// Constant counts, where they are usual ones, make straight code of both.
BB_INLINE void strip_of(bool max, const float *x, ptrdiff_t h_stride, int rows, int n, float *strip) {
  if (rows == 3) {
    strip_of_rows(max, x, h_stride, 3, n, strip);
  } else if (rows == 5) {
    strip_of_rows(max, x, h_stride, 5, n, strip);
  } else {
    strip_of_rows(max, x, h_stride, rows, n, strip);
  }
}

BB_INLINE void windows_of(bool max, const float *strip, int columns, int stride, int n, float size, float *y) {
  if (columns == 3) {
    windows_of_strip(max, strip, 3, stride, n, size, y);
  } else if (columns == 5) {
    windows_of_strip(max, strip, 5, stride, n, size, y);
  } else {
    windows_of_strip(max, strip, columns, stride, n, size, y);
  }
}

// A window wider than a strip, piece by piece.
BB_INLINE void wide_window(bool max, const float *x, ptrdiff_t h_stride, int rows, window cols, float size, float *y,
                           float *strip) {
  vf v = vzero();
  for (int c = cols.first; c < cols.end; c += STRIP) {
    const int n = bb_min(STRIP, cols.end - c);
    strip_of(max, x + c * VL, h_stride, rows, n, strip);
    for (int j = 0; j < n; j++) v = c == cols.first && j == 0 ? vload(strip) : pool_op(max, v, vload(strip + j * VL));
  }
  vstore(y, max ? v : vdiv(v, vset1(size)));
}

static void pool_row_of(bool max, const bb_pooling *pool, const float *x, ptrdiff_t h_stride, window rows, float *y) {
  float strip[STRIP * VL] __attribute__((aligned(BB_ALIGN)));
  const int height = rows.end - rows.first;
  const float *from = x + rows.first * h_stride;
  // Outputs [q0, q1) have windows that padding does not clip.
  const int q0 = pool->adaptive ? pool->Q : bb_min(pool->Q, bb_first_valid(0, 1, pool->pad_l, pool->stride_w));
  const int q1 = pool->adaptive ? pool->Q : bb_end_valid(pool->S - 1, 1, pool->pad_l, pool->stride_w, pool->W, pool->Q);
  for (int q = 0; q < pool->Q;) {
    // As many outputs as a strip holds columns for.
    const int start = pool_columns(pool, q).first;
    int end_q = q, end = start;
    for (; end_q < pool->Q; end_q++) {
      const int e = pool_columns(pool, end_q).end;
      if (e - start > STRIP) break;
      end = e;
    }
    if (end_q == q) {
      const window cols = pool_columns(pool, q);
      wide_window(max, from, h_stride, height, cols, (float)rows.size * (float)cols.size, y + q * VL, strip);
      q++;
      continue;
    }
    strip_of(max, from + start * VL, h_stride, height, end - start, strip);
    while (q < end_q) {
      const window cols = pool_columns(pool, q);
      const int n = q >= q0 && q < q1 ? bb_min(q1, end_q) - q : 1;
      windows_of(max, strip + (cols.first - start) * VL, cols.end - cols.first, pool->stride_w, n,
                 (float)rows.size * (float)cols.size, y + q * VL);
      q += n;
    }
  }
}

// The maximum of 3 rows of column c.
BB_INLINE vf max3(const float *a, const float *b, const float *c, ptrdiff_t at) {
  return vmax(vmax(vload(a + at), vload(b + at)), vload(c + at));
}

// Windows 3 wide that start inside the row at column c0: `n` outputs; columns shared by neighbours are combined once. A row
// that lies outside is replaced by one inside: the maximum does not mind seeing it twice.
BB_INLINE void max_3(int stride, const float *a, const float *b, const float *c, float *y, int n) {
  vf left = max3(a, b, c, 0), middle = stride == 1 ? max3(a, b, c, VL) : left;
  for (int q = 0; q < n; q++) {
    const ptrdiff_t at = (ptrdiff_t)q * stride * VL;
    if (stride == 2) middle = max3(a, b, c, at + VL);
    const vf right = max3(a, b, c, at + 2 * VL);
    vstore(y + q * VL, vmax(vmax(left, middle), right));
    left = stride == 1 ? middle : right;
    middle = right;
  }
}

// One output at a border, any number of rows and columns.
BB_INLINE vf max_window(const float *x, ptrdiff_t h_stride, window rows, window cols) {
  vf v = vset1(-__builtin_inff());
  for (int h = rows.first; h < rows.end; h++)
    for (int w = cols.first; w < cols.end; w++) v = vmax(v, vload(x + h * h_stride + w * VL));
  return v;
}

BB_INLINE void max_row_3(int stride, const bb_pooling *pool, const float *x, ptrdiff_t h_stride, window rows, float *y) {
  const int q0 = bb_min(pool->Q, bb_first_valid(0, 1, pool->pad_l, stride));
  const int q1 = bb_max(q0, bb_end_valid(2, 1, pool->pad_l, stride, pool->W, pool->Q));
  for (int q = 0; q < q0; q++) vstore(y + q * VL, max_window(x, h_stride, rows, pool_columns(pool, q)));
  if (q1 > q0) {
    const float *a = x + rows.first * h_stride + (q0 * stride - pool->pad_l) * VL,
                *c = a + (rows.end - 1 - rows.first) * h_stride;
    const float *b = rows.end - rows.first > 1 ? a + h_stride : a;
    max_3(stride, a, b, c, y + q0 * VL, q1 - q0);
  }
  for (int q = q1; q < pool->Q; q++) vstore(y + q * VL, max_window(x, h_stride, rows, pool_columns(pool, q)));
}

// 2x2, stride 2, no window clipped.
BB_INLINE void pool_2(bool max, const float *a, const float *b, float *y, int n) {
#pragma GCC unroll 2
  for (int q = 0; q < n; q++) {
    const ptrdiff_t at = (ptrdiff_t)q * 2 * VL;
    const vf left = pool_op(max, vload(a + at), vload(b + at)), right = pool_op(max, vload(a + at + VL), vload(b + at + VL));
    const vf v = pool_op(max, left, right);
    vstore(y + q * VL, max ? v : vmul(v, vset1(0.25f)));
  }
}

static void pool_row(const bb_pooling *pool, const float *x, ptrdiff_t h_stride, int p, float *y) {
  const window rows = pool_rows(pool, p);
  const bool max = pool->kind == BB_POOL_MAX,
             square = !pool->adaptive && pool->R == pool->S && pool->stride_h == pool->stride_w;
  // In ceil mode the last window may be clipped though there is no padding.
  if (square && pool->R == 2 && pool->stride_w == 2 && !pool->pad_l && pool->Q * 2 <= pool->W && rows.end - rows.first == 2) {
    const float *a = x + rows.first * h_stride;
    if (max)
      pool_2(true, a, a + h_stride, y, pool->Q);
    else
      pool_2(false, a, a + h_stride, y, pool->Q);
  } else if (square && max && pool->R == 3 && pool->stride_w == 2) {
    max_row_3(2, pool, x, h_stride, rows, y);
  } else if (square && max && pool->R == 3 && pool->stride_w == 1) {
    max_row_3(1, pool, x, h_stride, rows, y);
  } else if (max) {
    pool_row_of(true, pool, x, h_stride, rows, y);
  } else {
    pool_row_of(false, pool, x, h_stride, rows, y);
  }
}

static void pool_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *y = &task->y;
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(y, i);
    const vf keep = vlanes_used(y->map->lane + t.k * VL);
    for (int p = t.p0; p < t.p1; p++) {
      float *to = args->io.y + row_offset(y, t.n, t.k, p);
      pool_row(&task->problem.pool, args->io.x + row_offset(x, t.n, t.k, 0), x->h_stride, p, to);
      finish(&task->epilogue, to, (size_t)y->W, keep);
    }
  }
}

#endif
