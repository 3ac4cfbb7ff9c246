// SPDX-License-Identifier: Apache-2.0
//
// Convolution lane by lane: the common body of the depthwise and grouped kernels. Include the ISA's vec.h first.
//
//   y[p][q] = sum over rows r, terms t, taps s of w[r][t][s] * move_t(x[p*stride_h + r*dil_h][q*stride_w + s*dil_w])
//
// for one block of output channels. A term brings to every lane the one input channel that its group multiplies there: a
// vector of x as it is (depthwise), one lane of it broadcast (the whole block lies in one group), its lanes permuted, or those
// of two vectors. A register tile is M pixels of one output row. A row of x is walked once per term: each vector is loaded and
// moved once (MOVE_IN_FMA: again for each tap) and serves all S taps, whose weights wait in registers, so that (M-1)*stride + S
// moves and S loads stand against M*S FMAs. Rows and columns outside the image are not visited.

#ifndef BB_CONV_ROWS_H
#define BB_CONV_ROWS_H

#include "../bb.h"
#include "conv.h"

// Lane l of what a term multiplies: MOVE_NONE lane l of block a, MOVE_BCAST lane index[0] of it (MOVE_IN_FMA too, but each FMA
// broadcasts it anew: FMA_BROADCASTS only), MOVE_PERM its lane index[l], MOVE_PERM2 lane index[l] of block a followed by block
// b.
typedef enum move { MOVE_NONE, MOVE_BCAST, MOVE_IN_FMA, MOVE_PERM, MOVE_PERM2 } move;

typedef struct term {
  int move, a, b;
  int index[VL];
} term;

// One image of x, or the strip that holds its rows after the prologue: where pixel 0 of row 0 of block 0 is or would be.
typedef struct rows_source {
  const float *x;
  ptrdiff_t c_stride, h_stride;
} rows_source;

// One output row of one block.
typedef struct rows_target {
  float *y;           // the row, or the scratch that raw sums go to
  const float *x2;    // residual that comes before the activation, or NULL
  const float *bias;  // VL
  const float *x;     // row r0 of the filter, column 0 of block 0
  const float *w;     // of row r0
  int r0, r1;         // rows of the filter that meet the image
  bool clamp;
  float low, high;
} rows_target;

BB_INLINE vf moved(move m, const float *a, const float *b, vi index) {
  switch (m) {
    case MOVE_BCAST:
      return vheld(vbcast(a));
    case MOVE_PERM:
      return vperm(vload(a), index);
    case MOVE_PERM2:
      return vperm2(vload(a), vload(b), index);
    default:
      return vheld(vload(a));
  }
}

// Is column `at` inside the image? Opaque: gcc 12 would thread jumps from one such question to the next and copy all that lies
// between, once for each combination of answers.
BB_INLINE bool inside(int at, int W) {
  __asm__("" : "+r"(at));
  return (unsigned)at < (unsigned)W;
}

// One row of x through one term into M pixels. a and b point at column `col`. Padding being smaller than the filter, only the
// first and last S - 1 columns can lie outside [0, W).
BB_INLINE void walk(move m, const float *a, const float *b, vi index, const float *w, int S, int stride, int M, int col, int W,
                    vf *sum) {
  vf ws[8];
  BB_UNROLL
  for (int s = 0; s < S; s++) ws[s] = vload(w + s * VL);
  BB_UNROLL
  for (int i = 0; i < (M - 1) * stride + S; i++) {
    if ((i < S - 1 || i > (M - 1) * stride) && !inside(col + i, W)) continue;
    const vf v = m == MOVE_IN_FMA ? vzero() : moved(m, a + i * VL, b + i * VL, index);
    BB_UNROLL
    for (int s = 0; s < S; s++) {
      const int q = (i - s) / stride;
      if (i >= s && q < M && q * stride == i - s)
        sum[q] = m == MOVE_IN_FMA ? vfma_at(a + i * VL, ws[s], sum[q]) : vfma(v, ws[s], sum[q]);
    }
  }
}

// The same for any S, stride and dilation, tap by tap.
BB_INLINE void walk_taps(move m, const bb_conv *c, const float *a, const float *b, vi index, const float *w, int M, int col,
                         vf *sum) {
  for (int s = 0; s < c->S; s++) {
    const vf ws = vload(w + s * VL);
    BB_UNROLL
    for (int i = 0; i < M; i++) {
      const int j = s * c->dil_w + i * c->stride_w;
      if (inside(col + j, c->W)) sum[i] = vfma(moved(m, a + j * VL, b + j * VL, index), ws, sum[i]);
    }
  }
}

// S = 0: any.
BB_INLINE void walk_any(move m, const bb_conv *c, const float *a, const float *b, const int *lanes, const float *w, int S,
                        int stride, int M, int col, vf *sum) {
  const int bcast = m == MOVE_BCAST || m == MOVE_IN_FMA ? lanes[0] : 0;
  const vi index = m == MOVE_PERM || m == MOVE_PERM2 ? vloadi(lanes) : (vi){0};
  if (S > 0)
    walk(m, a + bcast, b, index, w, S, stride, M, col, c->W, sum);
  else
    walk_taps(m == MOVE_IN_FMA ? MOVE_BCAST : m, c, a + bcast, b, index, w, M, col, sum);
}

// M pixels from q on. one: a single term, that moves nothing.
BB_INLINE void tile(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to, int S,
                    int stride, bool one, int q, int M) {
  vf sum[16];
  const vf bias = vload(to->bias);
  BB_UNROLL
  for (int i = 0; i < M; i++) sum[i] = bias;

  const int col = q * c->stride_w - c->pad_l;
  const float *x = to->x + (ptrdiff_t)col * VL, *w = to->w;
  for (int r = to->r0; r < to->r1; r++) {
    if (one) {
      walk_any(MOVE_NONE, c, x, x, NULL, w, S, stride, M, col, sum);
      w += c->S * VL;
    } else {
      for (int t = 0; t < count; t++) {
        const float *a = x + terms[t].a * from->c_stride, *b = x + terms[t].b * from->c_stride;
        switch (terms[t].move) {
          case MOVE_NONE:
            walk_any(MOVE_NONE, c, a, b, terms[t].index, w, S, stride, M, col, sum);
            break;
          case MOVE_BCAST:
            walk_any(MOVE_BCAST, c, a, b, terms[t].index, w, S, stride, M, col, sum);
            break;
          case MOVE_IN_FMA:
            if (FMA_BROADCASTS) walk_any(MOVE_IN_FMA, c, a, b, terms[t].index, w, S, stride, M, col, sum);
            break;
          case MOVE_PERM:
            walk_any(MOVE_PERM, c, a, b, terms[t].index, w, S, stride, M, col, sum);
            break;
          default:
            walk_any(MOVE_PERM2, c, a, b, terms[t].index, w, S, stride, M, col, sum);
        }
        w += c->S * VL;
      }
    }
    x += c->dil_h * from->h_stride;
  }

  if (to->x2) {
    BB_UNROLL
    for (int i = 0; i < M; i++) sum[i] = vadd(sum[i], vload(to->x2 + (q + i) * VL));
  }
  if (to->clamp) {
    const vf low = vset1(to->low), high = vset1(to->high);
    BB_UNROLL
    for (int i = 0; i < M; i++) sum[i] = vclamp(sum[i], low, high);
  }
  BB_UNROLL
  for (int i = 0; i < M; i++) vstore(to->y + (q + i) * VL, sum[i]);
}

// The least number of tiles of at most `most` pixels, of as equal size as there can be.
#define TILE(m)                                                           \
  case m:                                                                 \
    if (m <= most) tile(c, from, terms, count, to, S, stride, one, q, m); \
    break

BB_INLINE void row(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to, int S,
                   int stride, bool one) {
  const int most = S > 0 ? ROWS_M : ROWS_M_ANY, tiles = bb_ceil_div(c->Q, most);
  for (int i = 0, q = 0; i < tiles; i++) {
    const int m = (c->Q - q) / (tiles - i);
    switch (m) {
      TILE(1);
      TILE(2);
      TILE(3);
      TILE(4);
      TILE(5);
      TILE(6);
      TILE(7);
      TILE(8);
      TILE(9);
      TILE(10);
      TILE(11);
      TILE(12);
      TILE(13);
      TILE(14);
    }
    q += m;
  }
}

#undef TILE

// ---- rows of one block ---------------------------------------------------------------------------------------------

// What differs between depthwise and grouped.
typedef struct rows_block {
  const term *terms;  // NULL: one, that moves nothing
  int count;
  int first, last;  // blocks of x that it reads: [first, last)
  const float *w;   // [r][term][s][VL]
} rows_block;

typedef void rows_row_fn(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to);

// One function per row of taps that is worth its own code.
typedef struct rows_fns {
  rows_row_fn *s1_1, *s3_1, *s3_2, *s5_1, *s5_2, *any;
} rows_fns;

// Which of these; 0: any.
BB_INLINE int rows_kind(const bb_conv *c) {
  const int kind = c->dil_w == 1 && c->stride_w <= 2 ? 10 * c->S + c->stride_w : 0;
  return kind == 11 || kind == 31 || kind == 32 || kind == 51 || kind == 52 ? kind : 0;
}

BB_INLINE rows_row_fn *rows_pick(const rows_fns *f, const bb_conv *c) {
  const int kind = rows_kind(c);
  return kind == 11   ? f->s1_1
         : kind == 31 ? f->s3_1
         : kind == 32 ? f->s3_2
         : kind == 51 ? f->s5_1
         : kind == 52 ? f->s5_2
                      : f->any;
}

// Rows of x that `rows` rows of y meet, at most.
BB_INLINE int strip_rows(const bb_conv *c, int rows) {
  return bb_min(c->H, (bb_min(rows, c->P) - 1) * c->stride_h + (c->R - 1) * c->dil_h + 1);
}

BB_INLINE int rows_bands(const bb_task *t, const bb_config *config) { return bb_ceil_div(t->problem.conv.P, config->rows); }

// A tile of work: a band of rows of one block of one image.
static size_t rows_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  return (size_t)t->y.N * (size_t)t->y.map->blocks * (size_t)rows_bands(t, config);
}

// Per thread: a row of raw sums if they may not lie in y, and the strip behind the prologue.
BB_INLINE bb_workspace rows_workspace(const bb_task *t, const bb_config *config, int x_blocks) {
  const bb_conv *c = &t->problem.conv;
  const size_t sums = epilogue_needs_scratch(&t->epilogue) ? (size_t)c->Q * VL : 0;
  const size_t strip =
      has_prologue(&t->prologue) ? (size_t)x_blocks * (size_t)strip_rows(c, config->rows) * (size_t)c->W * VL : 0;
  return (bb_workspace){gap_bytes(t, c->P), (bb_align_up(sums, BB_MAX_BLOCK) + strip) * sizeof(float)};
}

// Image n of x as block b wants it for rows [p0, p1) of y.
BB_INLINE rows_source rows_from(const bb_args *a, const packed *pk, const rows_block *b, int n, int p0, int p1, float *strip) {
  const bb_task *t = a->task;
  const bb_conv *c = &t->problem.conv;
  const float *x = a->io.x + n * t->x.n_stride;
  if (!has_prologue(&t->prologue)) return (rows_source){x, t->x.c_stride, t->x.h_stride};
  const int h0 = bb_max(0, p0 * c->stride_h - c->pad_t);
  const int h1 = bb_min(c->H, (p1 - 1) * c->stride_h - c->pad_t + (c->R - 1) * c->dil_h + 1);
  const ptrdiff_t h_stride = (ptrdiff_t)c->W * VL, c_stride = bb_max(0, h1 - h0) * h_stride;
  for (int k = b->first; k < b->last; k++)
    for (int h = h0; h < h1; h++)
      prologue_row(a, pk, x + k * t->x.c_stride + h * t->x.h_stride, strip + (k - b->first) * c_stride + (h - h0) * h_stride, n,
                   k, c->W);
  return (rows_source){strip - b->first * c_stride - h0 * h_stride, c_stride, h_stride};
}

static size_t rows_gap_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return gap_tiles(t);
}

static void rows_gap_run(const bb_args *a, size_t first, size_t last) { gap_reduce(a, a->task->problem.conv.P, first, last); }

// Compulsory traffic: out of L2 at least, from the first cache that can hold all of it.
BB_INLINE double rows_memory_cycles(const bb_machine *m, double bytes) {
  const double size = bytes * 1.2;
  const double rate = size < (double)m->l2   ? m->l2_bytes_per_cycle
                      : size < (double)m->l3 ? m->l3_bytes_per_cycle
                                             : m->dram_bytes_per_cycle;
  return rate > 0 ? bytes / rate : 0;
}

// Tiles of work: a few per thread, so that stealing can even them out, of rows that share their input in L1.
BB_INLINE int rows_configs(const bb_task *t, int threads, bb_config *out, int max) {
  const bb_conv *c = &t->problem.conv;
  (void)max;
  const int blocks = t->y.N * t->y.map->blocks;
  const int bands = threads > 1 ? bb_ceil_div(4 * threads, blocks) : 1;
  int rows = bb_max(1, c->P / bands);
  // A strip is written and read again at once: rows of one block in a quarter of a 32 KiB L1.
  if (has_prologue(&t->prologue)) rows = bb_min(rows, bb_max(1, 2048 / (c->W * VL) / c->stride_h));
  out[0] = (bb_config){.q = ROWS_M, .rows = rows};
  return 1;
}

BB_INLINE void rows_run(const bb_args *a, const packed *pk, size_t first, size_t last,
                        rows_block (*block)(const bb_args *a, int k), rows_row_fn *row_fn) {
  const bb_task *t = a->task;
  const bb_conv *c = &t->problem.conv;
  const bb_epilogue *e = &t->epilogue;
  const int bands = rows_bands(t, a->config), blocks = t->y.map->blocks;
  float *const sums = epilogue_needs_scratch(e) ? (float *)(void *)a->per_thread : NULL;
  float *const strip = (float *)(void *)a->per_thread + (sums ? bb_align_up((size_t)c->Q * VL, BB_MAX_BLOCK) : 0);
  rows_target to = {
      .clamp = epilogue_is_clamp(e) && e->act != BB_ACT_IDENTITY, .low = clamp_low(e->act), .high = clamp_high(e->act)};
  for (size_t i = first; i < last; i++) {
    const int band = (int)(i % (size_t)bands), k = (int)(i / (size_t)bands % (size_t)blocks);
    const int n = (int)(i / (size_t)bands / (size_t)blocks);
    const int p0 = cut(c->P, bands, band), p1 = cut(c->P, bands, band + 1);
    const rows_block b = block(a, k);
    const rows_source from = rows_from(a, pk, &b, n, p0, p1, strip);
    to.bias = a->packed + pk->bias + (size_t)k * VL;
    for (int p = p0; p < p1; p++) {
      const int h = p * c->stride_h - c->pad_t;
      to.r0 = h < 0 ? bb_ceil_div(-h, c->dil_h) : 0;
      to.r1 = h < c->H ? bb_min(c->R, (c->H - 1 - h) / c->dil_h + 1) : 0;
      to.x = from.x + (b.terms ? 0 : k * from.c_stride) + (h + to.r0 * c->dil_h) * from.h_stride;
      to.w = b.w + (size_t)to.r0 * (size_t)b.count * (size_t)c->S * VL;
      float *const y = a->io.y + n * t->y.n_stride + k * t->y.c_stride + p * t->y.h_stride;
      to.y = sums ? sums : y;
      to.x2 = e->residual == BB_RESIDUAL_BEFORE_ACT ? a->io.x2 + n * t->x2.n_stride + k * t->x2.c_stride + p * t->x2.h_stride
                                                    : NULL;
      row_fn(c, &from, b.terms, b.count, &to);
      if (!epilogue_is_clamp(e)) epilogue_row(a, to.y, n, k, p, 0, c->Q, e->gap ? gap_row(a, c->P, n, p, k) : NULL);
    }
  }
}

#endif
