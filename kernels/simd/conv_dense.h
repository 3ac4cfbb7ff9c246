// SPDX-License-Identifier: Apache-2.0
//
// Dense convolution over channel-blocked tensors: the loops that direct, 1x1 and fully connected share.
//
// A register tile is mr pixels of one row x nr blocks of output channels; its sums stay in registers over all (block of input
// channels, r, s, lane) of an accumulation block:
//
//   item of work (image, group, range of rows, range of k groups)
//     k group                  nr blocks of output channels
//       strip                  a part of a row, or several short rows, whose partial sums wait in y; all, where none wait
//         accumulation block   its panel of weights is loaded once per strip: from L2, or ahead of time from where it is
//           row, tile          mr pixels
//             block of x, r, s, lane
//
// Weights are packed in that order, one linear stream (conv.h). Taps on padding are skipped, not multiplied: rows by the range
// of r, columns by a bit per pixel of the tile. Where rows fill tiles badly a tile goes on in the next row.
// After Georganas et al., SC'18 (arXiv:1808.05567), without their zero halo.
//
// The file of an ISA defines before: NR_MAX, MR_MAX, the list TILES of its register tiles, nr_order; the form's header
// (conv_direct.h, conv_1x1.h, conv_fc.h) ONE_TAP and geometry_of(). It may define TAIL_TILES: tiles of a 1x1 convolution of
// stride 1 for k groups whose last block is not full (avx512/conv_tail.h).

#ifndef BB_CONV_DENSE_H
#define BB_CONV_DENSE_H

#include "../bb.h"
#include "conv.h"
#include "cost.h"

enum {
  MAX_S = 64,      // taps of a row, or of a column, whose clipping is kept on the stack
  SEGMENT_Q = 56,  // pixels of a part of a long row, about: their partial sums, times nr blocks, are a quarter of L1
  STRIP_Q = 196    // of a strip of short rows whose sums wait: all of 14 x 14, so that its weights come once
};

// The convolution as a grid of rows x cols pixels per image and R x S taps, offsets in floats. Long rows are cut into segments.
typedef struct geometry {
  int images, rows, cols;
  bool flat;                                           // 1x1: the image as one row
  bool fc;                                             // "pixels" are images
  ptrdiff_t x_image, x_block, x_row, x_col, x_origin;  // from image to image, ..., output row to row, output pixel to pixel
  ptrdiff_t x_tap_row, x_tap_col;
  ptrdiff_t y_image, y_block, y_row, y_col;
  ptrdiff_t x2_image, x2_block, x2_row, x2_col;
  int tile;  // pixels of a tile of the widest kind: what segments are cut by
} geometry;

typedef struct span {
  int p, q0, q1;
} span;

BB_INLINE int parts_of_row(const geometry *g) { return bb_max(1, (g->cols + SEGMENT_Q / 2) / SEGMENT_Q); }
BB_INLINE int segments_of(const geometry *g) { return g->rows * parts_of_row(g); }

// Cut where tiles end.
BB_INLINE span segment(const geometry *g, int i) {
  const int parts = parts_of_row(g), part = i % parts, tiles = bb_ceil_div(g->cols, g->tile);
  if (parts == 1) return (span){i, 0, g->cols};
  return (span){i / parts, cut(g->cols, tiles, cut(tiles, parts, part)), cut(g->cols, tiles, cut(tiles, parts, part + 1))};
}

// 1x1 of unrolled blocks has no room to fetch pixels, and fetches weights once per tile (conv_taps.h).
enum { FETCH_BY_TILE = ONE_TAP && UNROLL_TAPS };

// ---- register tiles ------------------------------------------------------------------------------------------------

// What the tiles of one weights panel share.
typedef struct panel {
  const float *w;
  const unsigned char *lanes;  // of each block of x
  const float *bias;           // NULL: go on from the sums in y
  int blocks, R, S;
  ptrdiff_t x_block, x_tap_row, x_tap_col, x_col;
  ptrdiff_t y_block, x2_block;
  float low, high;
  weight_stream stream;  // every tap of a tile fetches a step; FETCH_BY_TILE: every tile does
} panel;

// Which taps the pixels of a tile meet, and where they lie if not side by side.
typedef struct reach {
  int r0, r1;                                  // rows of taps that meet the image
  bool clipped;                                // not every pixel meets all of these rows, or all columns:
  bool across;                                 // the pixels lie in several rows
  uint32_t column[MAX_S], row[MAX_S];          // the pixels that meet column s; row r, if across
  ptrdiff_t x[MR_MAX], y[MR_MAX], x2[MR_MAX];  // from pixel 0
} reach;

// The pixels that the next row of taps begins with: a core does not look far enough ahead to hide L3, and only just L2.
BB_INLINE void fetch_pixels(const int mr, const float *x, const ptrdiff_t *at) {
  BB_UNROLL
  for (int m = 0; m < mr; m++) __builtin_prefetch(x + at[m], 0, 3);
}

// x: pixel 0 at tap 0 of block 0; x2: residual or NULL; count: tiles side by side, 1 where pixels are not.
typedef void tile_fn(panel *p, const float *x, float *y, const float *x2, const reach *to, int count);

// Without tails: what avx512/conv_tail.h has, as nothing.
#ifndef TAIL_TILES
typedef char tail_sums;
enum { TAIL_KINDS = 0 };
#define tail_of(channels, kind) ((void)(channels), (void)(kind), 0)
#define tail_work(...)          0.0
#define taps_tail_begin(...)    0
#define taps_tail(...)          (void)0
#define tail_add(...)           (void)0
#define tail_add_all(...)       (void)0
#define tail_take(...)          vzero()
#endif

// stride: pixels of x from pixel to pixel if they lie side by side in y, 0 = anywhere. tail: see tail_of(), then stride is 1.
BB_INLINE void tile(const int mr, const int nr, const int stride, const int tail, panel *p, const float *x, float *y,
                    const float *x2, const reach *to) {
  vf acc[MR_MAX][NR_MAX];
  tail_sums tails;
  const int full = tail ? nr - 1 : nr;
  ptrdiff_t at[MR_MAX];
  (void)tails;
  BB_UNROLL
  for (int m = 0; m < mr; m++) at[m] = stride ? m * stride * VL : to->x[m];
  const float *w = p->w, *const right = x + at[mr - 1] + p->x_col;
  const int r0 = to->r0, r1 = to->r1;
  // Where there are many taps not all pixels may meet the first.
  int done = 0;
  if (tail)
    done = taps_tail_begin(mr, nr, tail, acc, &tails, x, at, w, p->lanes[0]);
  else if (ONE_TAP)
    done = taps_begin(mr, nr, acc, x, at, w, p->lanes[0]);
  const ptrdiff_t x2_block = p->x2_block;
  ptrdiff_t y_block = p->y_block;
  if (p->bias) {
    BB_UNROLL
    for (int j = 0; j < full; j++) {
      const vf bias = vload(p->bias + j * VL);
      BB_UNROLL
      for (int m = 0; m < mr; m++) acc[m][j] = ONE_TAP ? vadd(acc[m][j], bias) : bias;
    }
  } else {
    BB_UNROLL
    for (int j = 0; j < full; j++) {
      BB_UNROLL
      for (int m = 0; m < mr; m++) {
        const vf before = vload(y + j * y_block + (stride ? m * VL : to->y[m]));
        acc[m][j] = ONE_TAP ? vadd(acc[m][j], before) : before;
      }
    }
  }
  if (x2) {
    BB_UNROLL
    for (int j = 0; j < full; j++) {
      BB_UNROLL
      for (int m = 0; m < mr; m++) acc[m][j] = vadd(acc[m][j], vload(x2 + j * x2_block + (stride ? m * VL : to->x2[m])));
    }
  }
  if (tail) {
    if (p->bias)
      tail_add_all(mr, tail, &tails, p->bias + full * VL);
    else
      tail_add(mr, tail, &tails, y + full * y_block);
    if (x2) tail_add(mr, tail, &tails, x2 + full * x2_block);
  }

  if (FETCH_BY_TILE) fetch_weights(&p->stream);
  for (int b = 0; b < p->blocks; b++, x += p->x_block) {
    const int lanes = p->lanes[b], tap = lanes * nr * VL;
    const float *const next = b + 1 < p->blocks ? x + p->x_block : right;
    if (ONE_TAP) {
      if (!FETCH_BY_TILE) {
        fetch_pixels(mr, next, at);
        fetch_weights(&p->stream);
      }
      if (tail)
        taps_tail(mr, nr, tail, false, acc, &tails, x + done, at, w + done * nr * VL, lanes - done);
      else
        taps(mr, nr, acc, x + done, at, w + done * nr * VL, lanes - done);
      done = 0;
      w += tap;
      continue;
    }
    const float *row = x + r0 * p->x_tap_row, *wr = w + (ptrdiff_t)r0 * p->S * tap;
    for (int r = r0; r < r1; r++, row += p->x_tap_row) {
      const float *xs = row, *const ahead = r + 1 < r1 ? row + p->x_tap_row : next + r0 * p->x_tap_row;
      fetch_pixels(mr, ahead, at);
      if (stride != 1) fetch_pixels(mr, ahead + p->x_tap_col, at);
      // Lines of y that were driven out of the caches are back when the sums are done: a block per row of taps, so that they
      // are not in the way of x and weights; in the last block of x, so that they are not gone again. (AVX2: no gain.)
      if (VL == 16 && p->bias && b == p->blocks - 1) {
        for (int j = r - r0, end = r + 1 < r1 ? bb_min(full, j + 1) : full; j < end; j++) {
          BB_UNROLL
          for (int m = 0; m < mr; m++) __builtin_prefetch(y + j * y_block + (stride ? m * VL : to->y[m]), 1, 3);
        }
      }
      if (!to->clipped) {
        for (int s = 0; s < p->S; s++, xs += p->x_tap_col, wr += tap) {
          fetch_weights(&p->stream);
          taps(mr, nr, acc, xs, at, wr, lanes);
        }
      } else {
        for (int s = 0; s < p->S; s++, xs += p->x_tap_col, wr += tap) {
          const uint32_t mask = to->column[s] & (!stride && to->across ? to->row[r] : ~0u);
          fetch_weights(&p->stream);
          // AVX2 has hardly room for a branch per pixel: not where all pixels meet the tap after all. (AVX-512: no gain, even
          // beside two FMAs per cycle.)
          if (VL < 16 && mask == (1u << mr) - 1)
            taps(mr, nr, acc, xs, at, wr, lanes);
          else if (mask)
            taps_masked(mr, nr, acc, xs, at, wr, lanes, mask);
        }
      }
    }
    w += (ptrdiff_t)p->R * p->S * tap;
  }

  BB_UNROLL
  for (int m = 0; m < mr; m++) {
    if (tail) acc[m][nr - 1] = tail_take(m, tail, &tails);
  }
  // The addresses that gcc made for loading sums are not worth keeping (see bb_in_register).
  __asm__("" : "+r"(y_block), "+r"(y));
  if (p->low > -INFINITY) {
    const vf low_limit = vset1(p->low);
    BB_UNROLL
    for (int j = 0; j < nr; j++) {
      BB_UNROLL
      for (int m = 0; m < mr; m++) acc[m][j] = vmax(low_limit, acc[m][j]);
    }
  }
  if (p->high < INFINITY) {
    const vf high = vset1(p->high);
    BB_UNROLL
    for (int j = 0; j < nr; j++) {
      BB_UNROLL
      for (int m = 0; m < mr; m++) acc[m][j] = vmin(high, acc[m][j]);
    }
  }
  BB_UNROLL
  for (int j = 0; j < nr; j++) {
    BB_UNROLL
    for (int m = 0; m < mr; m++) vstore(y + j * y_block + (stride ? m * VL : to->y[m]), acc[m][j]);
  }
}

// One function per tile and stride 0, 1, 2, and per tail.
#define TILE_NAME(mr, nr, stride) tile_##mr##x##nr##_s##stride
#define TILE(mr, nr, stride)      TILE_FN(TILE_NAME(mr, nr, stride), mr, nr, stride, 0)
#define TILE_FN(name, mr, nr, stride, tail)                                                           \
  static void name(panel *p, const float *x, float *y, const float *x2, const reach *to, int count) { \
    do {                                                                                              \
      tile(mr, nr, stride, tail, p, x, y, x2, to);                                                    \
      x += mr * stride * VL, y += mr * VL;                                                            \
      if (x2) x2 += mr * VL;                                                                          \
    } while (stride && --count > 0);                                                                  \
  }
TILES(TILE)
#undef TILE
#ifdef TAIL_TILES
#define TILE(mr, nr, tail) TILE_FN(tail_tile_##mr##x##nr##_##tail, mr, nr, 1, tail)
TAIL_TILES(TILE)
#undef TILE
#endif
#undef TILE_FN

static tile_fn *const tile_of[NR_MAX + 1][MR_MAX + 1][3] = {
#define TILE(mr, nr, stride) [nr][mr][stride] = TILE_NAME(mr, nr, stride),
    TILES(TILE)
#undef TILE
};

#ifdef TAIL_TILES
static tile_fn *const tail_tile_of[NR_MAX + 1][MR_MAX + 1][5] = {
#define TILE(mr, nr, tail) [nr][mr][tail / 4] = tail_tile_##mr##x##nr##_##tail,
    TAIL_TILES(TILE)
#undef TILE
};
#endif

// Pixels that share vectors: none do beside a narrow tail.
BB_INLINE int tail_pixels(int tail) { return tail & 4 ? 4 : tail & 8 ? 2 : 1; }

// Pixels of the widest tile of nr blocks; beside a tail one that leaves no part of a vector empty.
BB_INLINE int widest(int nr, int tail) {
  int mr = MR_MAX;
  while (!tile_of[nr][mr][0]) mr--;
  return mr - mr % tail_pixels(tail);
}

// The tail of the k group that ends with block k of y.
BB_INLINE int tail_at(const bb_task *t, const bb_config *config, int k) {
  return t->problem.conv.stride_w == 1 ? tail_of(lanes_used(t->y.map, k), config->tile) : 0;
}

// ---- items of work -------------------------------------------------------------------------------------------------

static geometry geometry_of(const bb_task *t, const bb_config *config);

typedef struct items {
  int images, groups, kchunks, rchunks;
  int kgroups, segments;
} items;

BB_INLINE items items_of(const bb_task *t, const bb_config *config) {
  const geometry g = geometry_of(t, config);
  const int blocks = t->y.map->blocks / t->problem.conv.G;
  items i = {.images = g.images, .groups = t->problem.conv.G, .segments = segments_of(&g)};
  i.kgroups = kgroups(blocks, config->k);
  i.kchunks = bb_min(i.kgroups, bb_ceil_div(blocks, config->kt));
  i.rchunks = bb_ceil_div(i.segments, config->rows);
  return i;
}

static size_t dense_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  const items i = items_of(t, config);
  return (size_t)i.images * (size_t)i.groups * (size_t)i.kchunks * (size_t)i.rchunks;
}

// Rows and columns of x that item row chunk rc reads; fc: all, of every image.
typedef struct window {
  int h0, h1, w0, w1, images;
} window;

static window window_of(const bb_task *t, const geometry *g, int seg0, int seg1) {
  const bb_conv *c = &t->problem.conv;
  if (g->fc) return (window){0, c->H, 0, c->W, c->N};
  if (g->flat) return (window){0, 1, segment(g, seg0).q0, segment(g, seg1 - 1).q1, 1};
  const int p0 = segment(g, seg0).p, p1 = segment(g, seg1 - 1).p;
  const int h0 = bb_max(0, p0 * c->stride_h - c->pad_t);
  const int h1 = bb_min(c->H, p1 * c->stride_h - c->pad_t + (c->R - 1) * c->dil_h + 1);
  return (window){h0, bb_max(h0, h1), 0, c->W, 1};
}

BB_INLINE size_t window_floats(const bb_task *t, const window *w) {
  return (size_t)w->images * (size_t)(w->h1 - w->h0) * (size_t)(w->w1 - w->w0) *
         (size_t)(bb_map_lanes(t->x.map) / t->problem.conv.G);
}

// Per-thread scratch: the strip of x behind the prologue, then the raw sums of a segment.
static size_t strip_floats(const bb_task *t, const bb_config *config) {
  if (!has_prologue(&t->prologue)) return 0;
  const geometry g = geometry_of(t, config);
  const int chunks = bb_ceil_div(segments_of(&g), config->rows);
  size_t most = 0;
  for (int rc = 0; rc < chunks; rc++) {
    const window w = window_of(t, &g, cut(segments_of(&g), chunks, rc), cut(segments_of(&g), chunks, rc + 1));
    const size_t floats = window_floats(t, &w);
    if (floats > most) most = floats;
  }
  return most;
}

static bb_workspace dense_workspace(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  const geometry g = geometry_of(t, config);
  size_t floats = strip_floats(t, config);
  if (epilogue_needs_scratch(&t->epilogue)) floats += (size_t)g.cols * NR_MAX * VL;
  return (bb_workspace){.shared = gap_bytes(t, g.fc ? 1 : segments_of(&g)), .per_thread = floats * sizeof(float)};
}

// Runs the prologue over the window of x and points g at the result.
static const float *fill_strip(const bb_args *a, geometry *g, const packed *pk, float *strip, int n, int group, int seg0,
                               int seg1) {
  const bb_task *t = a->task;
  const bb_conv *c = &t->problem.conv;
  const window w = window_of(t, g, seg0, seg1);
  const int blocks = t->x.map->blocks / c->G, cols = w.w1 - w.w0;
  const ptrdiff_t row = (ptrdiff_t)cols * VL, block = row * (w.h1 - w.h0);
  for (int i = 0; i < w.images; i++) {
    for (int b = 0; b < blocks; b++) {
      for (int h = w.h0; h < w.h1; h++) {
        const float *x = a->io.x + (n + i) * t->x.n_stride + (group * blocks + b) * t->x.c_stride;
        prologue_row(a, pk, x + h * t->x.h_stride + w.w0 * VL, strip + (i * blocks + b) * block + (h - w.h0) * row, n + i,
                     group * blocks + b, cols);
      }
    }
  }
  g->x_block = block;
  if (g->fc) {
    g->x_col = block * blocks;
    g->x_tap_row = row;
    return strip;
  }
  g->x_row = row * c->stride_h;
  g->x_tap_row = row * c->dil_h;
  return strip - (c->pad_t + w.h0) * row - (c->pad_l + w.w0) * VL;
}

// Epilogue of a segment whose raw sums are at `sum`.
static void finish(const bb_args *a, const geometry *g, float *sum, ptrdiff_t block, ptrdiff_t col, int n, int row, span s,
                   int k0, int k1) {
  for (int k = k0; k < k1; k++) {
    float *v = sum + (k - k0) * block;
    if (g->fc) {
      for (int i = s.q0; i < s.q1; i++) epilogue_row(a, v + (i - s.q0) * col, i, k, 0, 0, 1, gap_row(a, 1, i, 0, k));
    } else {
      epilogue_row(a, v, n, k, s.p, s.q0, s.q1 - s.q0, gap_row(a, segments_of(g), n, row, k));
    }
  }
}

// Columns of the output that tap s of a row meets, and those that all meet.
typedef struct columns {
  int first[MAX_S], end[MAX_S], inner0, inner1;
} columns;

static void columns_of(const bb_conv *c, const geometry *g, columns *col) {
  col->inner0 = 0, col->inner1 = g->cols;
  for (int s = 0; s < c->S && !g->fc && !g->flat; s++) {
    col->first[s] = bb_first_valid(s, c->dil_w, c->pad_l, c->stride_w);
    col->end[s] = bb_end_valid(s, c->dil_w, c->pad_l, c->stride_w, c->W, c->Q);
    col->inner0 = bb_max(col->inner0, col->first[s]);
    col->inner1 = bb_min(col->inner1, col->end[s]);
  }
}

// Rows of taps of output row p that meet the image.
typedef struct tap_rows {
  int r0, r1;
} tap_rows;

BB_INLINE tap_rows tap_rows_of(const bb_conv *c, const geometry *g, int p) {
  if (g->fc || g->flat) return (tap_rows){0, c->R};
  const int h = p * c->stride_h - c->pad_t;
  return (tap_rows){h >= 0 ? 0 : bb_ceil_div(-h, c->dil_h), bb_min(c->R, c->H > h ? bb_ceil_div(c->H - h, c->dil_h) : 0)};
}

// Pixels of a strip under one panel.
typedef struct walk {
  const bb_conv *c;
  const geometry *g;
  const columns *columns;
  panel panel;
  int nr, stride, tail, widest;
  // Pixel (0, 0) of the first block.
  const float *x, *x2;
  float *y;
} walk;

// Bits of the pixels [q0, q1) that [first, end) meets, pixel q0 being the lowest.
BB_INLINE uint32_t meets(int q0, int q1, int first, int end) {
  const int lo = bb_min(q1, bb_max(q0, first)), hi = bb_min(q1, bb_max(lo, end));
  return (1u << (hi - q0)) - (1u << (lo - q0));
}

// mr pixels from (p, q) on, to the end of the row at most.
BB_INLINE void place_in_row(const walk *s, int q, int mr, reach *to) {
  const columns *col = s->columns;
  to->clipped = q < col->inner0 || q + mr > col->inner1;
  for (int t = 0; to->clipped && t < s->c->S; t++) to->column[t] = meets(q, q + mr, col->first[t], col->end[t]);
  to->across = false;
  if (s->stride) return;
  const geometry *g = s->g;
  for (int m = 0; m < mr; m++) {
    to->x[m] = m * g->x_col;
    to->y[m] = m * g->y_col;
    to->x2[m] = m * g->x2_col;
  }
}

// mr pixels from (p, q) on, row after row.
static void place_across(const walk *s, int p, int q, int mr, reach *to) {
  const bb_conv *c = s->c;
  const geometry *g = s->g;
  const columns *col = s->columns;
  const int q0 = q;
  *to = (reach){.r0 = c->R, .across = true};
  for (int m = 0, row = 0; m < mr; row++) {
    const int n = bb_min(mr - m, g->cols - q);
    const uint32_t pixels = (1u << (m + n)) - (1u << m);
    const tap_rows r = tap_rows_of(c, g, p + row);
    // The rows of taps of the first row begin and end last.
    to->clipped |= q < col->inner0 || q + n > col->inner1 || (row > 0 && (r.r0 != to->r0 || r.r1 != to->r1));
    to->r0 = r.r0;
    if (row == 0) to->r1 = r.r1;
    for (int i = r.r0; i < r.r1; i++) to->row[i] |= pixels;
    for (int t = 0; t < c->S; t++) to->column[t] |= meets(q, q + n, col->first[t], col->end[t]) << m;
    for (int i = 0; i < n; i++, m++) {
      to->x[m] = row * g->x_row + (q + i - q0) * g->x_col;
      to->y[m] = row * g->y_row + (q + i - q0) * g->y_col;
      to->x2[m] = row * g->x2_row + (q + i - q0) * g->x2_col;
    }
    q = 0;
  }
}

// `pixels` from (p, q) on, in the least number of tiles, of as equal size as there can be; pixels that share vectors stay
// together.
static void walk_pixels(walk *s, int p, int q, int pixels) {
  const geometry *g = s->g;
  const int tiles = bb_ceil_div(pixels, s->widest), together = tail_pixels(s->tail), units = bb_ceil_div(pixels, together);
  const int few = units / tiles, wide = units % tiles;
  panel *const pn = &s->panel;
  reach to;
  int row = -1, count;
  for (int j = 0, left = pixels; j < tiles; j += count) {
    const int mr = bb_min(left, (few + (j < wide)) * together);
    int stride = s->stride;
    count = 1;
    if (q + mr <= g->cols) {
      if (row != p) {
        const tap_rows r = tap_rows_of(s->c, g, p);
        to.r0 = r.r0, to.r1 = r.r1;
        row = p;
      }
      place_in_row(s, q, mr, &to);
      // Those of the same size to the right that all taps meet need not be looked at one by one.
      const int same = bb_min((j < wide ? wide : tiles) - j, left / mr), end = bb_min(g->cols, s->columns->inner1);
      if (stride && !to.clipped) count = bb_min(same, (end - q) / mr);
    } else {
      place_across(s, p, q, mr, &to);
      stride = 0;
      row = -1;
    }
    tile_fn *fn = tile_of[s->nr][mr][stride];
#ifdef TAIL_TILES
    if (s->tail && stride == 1) fn = tail_tile_of[s->nr][mr][s->tail / 4];
#endif
    fn(pn, s->x + p * g->x_row + q * g->x_col, s->y + p * g->y_row + q * g->y_col,
       s->x2 ? s->x2 + p * g->x2_row + q * g->x2_col : NULL, &to, count);
    left -= count * mr;
    for (q += count * mr; q >= g->cols; q -= g->cols) p++;
  }
}

// Is it worth it to go on in the next row over `rows` rows: where row by row tiles are so narrow that weights come in faster
// than L2 gives them beside all else, and a tenth of the tiles goes. `block`: bytes of weights of as many FMAs as start per
// cycle, two of AVX2 and NEON, one of AVX-512 (where two start, L2 gives twice as much).
enum { STREAM_BYTES = 8 };  // per cycle
BB_INLINE bool goes_across(const bb_task *t, const geometry *g, int rows, int widest) {
  const int tiles = bb_ceil_div(g->cols, widest), block = bb_min(2 * VL, 16) * (int)sizeof(float);
  return !g->fc && !g->flat && t->problem.conv.R <= MAX_S && !epilogue_needs_scratch(&t->epilogue) && parts_of_row(g) == 1 &&
         block * tiles > STREAM_BYTES * g->cols && 10LL * bb_ceil_div(rows * g->cols, widest) <= 9LL * rows * tiles;
}

// Nothing waits in y, neither for more channels nor for an epilogue: a strip can be as long as it likes.
BB_INLINE bool nothing_waits(const bb_task *t, int cblocks) { return cblocks == 1 && epilogue_is_clamp(&t->epilogue); }

// Segments of a strip, of an item of `rows` segments: several where rows are short; scratch for sums holds one only.
BB_INLINE int strip_segments(const bb_task *t, const geometry *g, int cblocks, int rows) {
  if (nothing_waits(t, cblocks)) return rows;
  return bb_min(rows, epilogue_needs_scratch(&t->epilogue) ? 1 : bb_max(1, STRIP_Q / g->cols));
}

// How a strip of `rows` segments becomes tiles of the k group that ends with block k of y.
typedef struct tiling {
  bool across;
  int tail, widest;
} tiling;

BB_INLINE tiling tiling_of(const bb_task *t, const bb_config *config, const geometry *g, int nr, int k, int rows) {
  const bool across = goes_across(t, g, rows, widest(nr, 0));
  const int tail = across ? 0 : tail_at(t, config, k);
  return (tiling){across, tail, widest(nr, tail)};
}

// Weights of a k group that are still in L2 when the next strip begins: as much as PANEL_BYTES supposes.
enum { KEPT_BYTES = 2 * PANEL_BYTES };

static void dense_run(const bb_args *a, size_t first_item, size_t last_item) {
  const bb_task *t = a->task;
  const bb_conv *c = &t->problem.conv;
  const bb_config *config = a->config;
  const items all = items_of(t, config);
  const packed pk = packed_layout(t);
  const unsigned char *lanes = (const unsigned char *)a->packed;
  const int xb = t->x.map->blocks / c->G, yb = t->y.map->blocks / c->G;
  const bool clamp = epilogue_is_clamp(&t->epilogue), before = t->epilogue.residual == BB_RESIDUAL_BEFORE_ACT;
  float *strip = (float *)(void *)a->per_thread;
  float *sums = epilogue_needs_scratch(&t->epilogue) ? strip + strip_floats(t, config) : NULL;
  geometry base = geometry_of(t, config);
  if (sums) base.y_block = (ptrdiff_t)base.cols * VL, base.y_col = VL, base.y_row = 0;
  const int cblocks = bb_ceil_div(xb, bb_max(1, config->c / VL));
  columns col;
  columns_of(c, &base, &col);
  geometry g = base;
  const float *x = NULL;

  for (size_t item = first_item; item < last_item; item++) {
    const int kc = (int)(item % (size_t)all.kchunks), rc = (int)(item / (size_t)all.kchunks % (size_t)all.rchunks);
    const int ng = (int)(item / (size_t)all.kchunks / (size_t)all.rchunks), group = ng % c->G, n = ng / c->G;
    const int seg0 = cut(all.segments, all.rchunks, rc), seg1 = cut(all.segments, all.rchunks, rc + 1);
    const bool one_go = base.flat && nothing_waits(t, cblocks);
    const int strips = bb_ceil_div(seg1 - seg0, strip_segments(t, &base, cblocks, seg1 - seg0));
    if (kc == 0 || item == first_item) {
      g = base;
      x = a->io.x + n * g.x_image + group * xb * g.x_block - g.x_origin;
      if (has_prologue(&t->prologue)) x = fill_strip(a, &g, &pk, strip, n, group, seg0, seg1);
    }
    const float *w_group = a->packed + pk.w + taps_of(t, 0, group * xb) * (size_t)yb * VL;
    const size_t taps_group = taps_of(t, group * xb, (group + 1) * xb);

    for (int kg = cut(all.kgroups, all.kchunks, kc); kg < cut(all.kgroups, all.kchunks, kc + 1); kg++) {
      const int k_in = cut(yb, all.kgroups, kg), nr = cut(yb, all.kgroups, kg + 1) - k_in, k0 = group * yb + k_in;
      const size_t floats_kg = taps_group * (size_t)nr * VL;
      const float *const w_kg = w_group + (size_t)k_in * taps_group * VL;
      walk s = {
          .c = c,
          .g = &g,
          .columns = &col,
          .panel = {.R = c->R,
                    .S = c->S,
                    .x_block = g.x_block,
                    .x_tap_row = g.x_tap_row,
                    .x_tap_col = g.x_tap_col,
                    .x_col = g.x_col,
                    .y_block = g.y_block,
                    .x2_block = g.x2_block},
          .nr = nr,
          .stride = g.fc || c->stride_w > 2 ? 0 : c->stride_w,
      };
      tiling how = {0};
      for (int i = 0, rows = 0; i < strips; i++) {
        const int strip0 = seg0 + cut(seg1 - seg0, strips, i), strip1 = seg0 + cut(seg1 - seg0, strips, i + 1);
        if (rows != strip1 - strip0) {
          rows = strip1 - strip0;
          how = tiling_of(t, config, &g, nr, k0 + nr - 1, rows);
        }
        const span from = segment(&g, strip0);
        const int pixels = (one_go ? segment(&g, strip1 - 1).q1 : from.q1) - from.q0;
        const int tiles = one_go       ? bb_ceil_div(pixels, how.widest)
                          : how.across ? bb_ceil_div(rows * pixels, how.widest)
                                       : rows * bb_ceil_div(pixels, how.widest);
        panel *const p = &s.panel;
        s.tail = how.tail;
        s.widest = how.widest;
        s.y = sums ? sums - from.q0 * VL : a->io.y + n * g.y_image + k0 * g.y_block;
        p->w = w_kg;
        p->stream.step = bb_ceil_div(nr * VL * VL / LINE, tiles) * LINE;
        for (int cb = 0; cb < cblocks; cb++) {
          const int b0 = cut(xb, cblocks, cb), b1 = cut(xb, cblocks, cb + 1);
          const bool last = cb == cblocks - 1;
          p->lanes = lanes + group * xb + b0;
          p->bias = cb == 0 ? a->packed + pk.bias + k0 * VL : NULL;
          p->blocks = b1 - b0;
          p->low = last && clamp ? clamp_low(t->epilogue.act) : -INFINITY;
          p->high = last && clamp ? clamp_high(t->epilogue.act) : INFINITY;
          const size_t floats = taps_of(t, group * xb + b0, group * xb + b1) * (size_t)nr * VL;
          if (FETCH_BY_TILE) p->stream.step = bb_ceil_div((int)(floats / LINE), tiles) * LINE;
          // The panel that comes next, if it has not been read before or is gone again.
          const bool over = last && i + 1 < strips;
          const bool in_l2 = (over || (i > 0 && !last)) && floats_kg * sizeof(float) <= KEPT_BYTES;
          p->stream.next = over ? w_kg : p->w + floats;
          p->stream.end = p->stream.next + (in_l2 ? 0 : floats);
          s.x = x + b0 * g.x_block;
          s.x2 = cb == 0 && before ? a->io.x2 + n * g.x2_image + k0 * g.x2_block : NULL;
          if (how.across) walk_pixels(&s, from.p, 0, rows * pixels);
          if (one_go) walk_pixels(&s, from.p, from.q0, pixels);
          for (int seg = strip0; !one_go && seg < strip1; seg++) {
            const span at = segment(&g, seg);
            if (!how.across) walk_pixels(&s, at.p, at.q0, at.q1 - at.q0);
            if (last && !clamp)
              finish(a, &g, s.y + at.p * g.y_row + at.q0 * g.y_col, g.y_block, g.y_col, n, seg, at, k0, k0 + nr);
          }
          p->w += floats;
        }
      }
    }
  }
}

// ---- candidates ----------------------------------------------------------------------------------------------------

// The file of an ISA says how many bytes the weights of one k group and accumulation block should be (PANEL_BYTES; this panel
// and the next, which is being fetched, stay in L2) and how many channels of x it has at most (PANEL_C).

// Rows of x that all k groups walk over before the next rows: half of an L2 of 1 MB. Weights are read again for each such slab,
// but that is a linear stream that is fetched ahead.
enum { SLAB_BYTES = 512 * 1024 };
// Items of work per thread, so that stealing can even out a disturbed core.
enum { ITEMS_PER_THREAD = 8 };
// Each thread has rows of its own, as in the layers before and behind: pixels that two caches hold are slow to write over (7 ns
// a line on Zen 4, 28 ns across CCXs). Not where a part of the rows has fewer pixels than this: each part reads all weights, of
// which a line lasts for as many cycles.
enum { PART_PIXELS = 64 };

static bb_config dense_config(const bb_task *t, int nr, int threads) {
  const bb_conv *c = &t->problem.conv;
  const int xb = t->x.map->blocks / c->G, yb = t->y.map->blocks / c->G;
  const int width = kgroup_width(yb, nr);
  bb_config f = {.k = bb_min(nr, yb), .q = widest(width, 0)};
  const int fit = PANEL_BYTES / (int)sizeof(float) / VL / width / (c->R * c->S) / VL;
  f.c = bb_min(bb_min(xb, PANEL_C / VL), bb_max(1, fit)) * VL;

  const geometry g = geometry_of(t, &f);
  const int images = g.images * c->G, segments = segments_of(&g);
  int parts = images % threads == 0 || g.fc ? 1 : threads;
  while (threads % parts || (parts > 1 && g.rows * g.cols < PART_PIXELS * parts)) parts--;
  const double slab = (double)t->x.H * (double)t->x.W * xb * VL * sizeof(float);
  int least = bb_max(parts, bb_min(segments, (int)(slab / SLAB_BYTES) + 1));
  // Items of the same rows would each fill their strip.
  const bool fills = has_prologue(&t->prologue) && parts > 1;
  if (fills) least = bb_max(least, bb_min(segments, ITEMS_PER_THREAD * threads / images));
  const int rchunks = chunks_of(segments, least, parts);
  const int wanted = threads > 1 && !fills ? bb_ceil_div(ITEMS_PER_THREAD * threads, images * rchunks) : 1;
  const int kchunks = chunks_of(yb, bb_min(kgroups(yb, f.k), wanted), images * rchunks % threads ? threads : 1);
  f.rows = bb_ceil_div(segments, rchunks);
  f.kt = bb_ceil_div(yb, kchunks);
  return f;
}

// Has any k group a tail? Those of the first group of channels stand for all.
BB_INLINE bool has_tail(const bb_task *t, const bb_config *config) {
  const int yb = t->y.map->blocks / t->problem.conv.G, groups = kgroups(yb, config->k);
  for (int kg = 1; kg <= groups; kg++)
    if (tail_at(t, config, cut(yb, groups, kg) - 1)) return true;
  return false;
}

// One candidate for each width of k groups in nr_order, and one more for each kind of tail where channels are left over.
static inline __attribute__((unused)) int dense_configs(const bb_task *t, const bb_machine *machine, int threads,
                                                        bb_config *out, int max) {
  (void)machine;
  int n = 0;
  for (int i = 0; i < (int)BB_COUNT(nr_order) && n < max; i++) {
    if (width_repeats(nr_order, i, t->y.map->blocks / t->problem.conv.G)) continue;
    out[n++] = dense_config(t, nr_order[i], threads);
    bb_config tail = out[n - 1];
    for (tail.tile = 1; tail.tile <= TAIL_KINDS; tail.tile++)
      if (n < max && has_tail(t, &tail)) out[n++] = tail;
  }
  return n;
}

// ---- cost ----------------------------------------------------------------------------------------------------------

// Cycles of a tile beside its FMAs, on Zen 4: its beginning; two of its sums' way to y; a line of x's way from L2, which many
// taps hide. Where sums begin with the bias, not with products (taps_begin), FMAs wait for the stores of the tile before.
enum { TILE_CYCLES = ONE_TAP ? 10 : 80, TWO_SUMS_CYCLES = ONE_TAP, LINE_CYCLES = 1 };
// Of an FMA on all cores we know: fewer sums than it takes to cover that leave cycles empty.
enum { FMA_LATENCY = 4 };

// Pixels of a tile that goes on in the next row lie anywhere: each has an address to be loaded and a branch of its own (7x7x512
// on Zen 5, tiles of 14x2, 9x3, 6x4: 80, 83, 89 % of peak).
static const double pixel_cycles = 1.1;

// Cycles of one input channel and tap of a tile: FMAs, loads, latency, or weights that come from L2.
BB_INLINE double tap_cycles(double mr, int nr, int tail, bool across, bool from_l2, const bb_machine *machine) {
  // mr is a mean of two sizes.
  const int least = (int)mr;
  const double more = mr - least;
  double work = mr * nr;
  if (tail) work = (1 - more) * tail_work(least, nr, tail, machine) + more * tail_work(least + 1, nr, tail, machine);
  double most = work / fma_per_cycle(machine);
  // Of vectors as many start as FMAs (vec.h), of pixels two at least.
  const double loads = tap_loads(0, nr) / fma_per_cycle(machine) + tap_loads(mr, 0) / fmax(2, fma_per_cycle(machine));
  if (loads > most) most = loads;
  // Emerald Rapids: 14x2 takes 4 to 7 % longer than 6x4 or 9x3, whose FMAs share more of their loads.
  if (far_l3(machine)) most += 0.3 * loads;
  if (across && pixel_cycles * mr > most) most = pixel_cycles * mr;
  if (FMA_LATENCY > most) most = FMA_LATENCY;
  const double stream =
      from_l2 && machine->l2_bytes_per_cycle > 0 ? nr * VL * (double)sizeof(float) / machine->l2_bytes_per_cycle : 0;
  return stream > most ? stream : most;
}

// What largest_share() asks: output blocks x segments of an item.
typedef struct dense_share {
  items all;
  int yb;  // of a group
} dense_share;

static double dense_size(const void *context, size_t i) {
  const dense_share *s = context;
  const items *all = &s->all;
  const int kc = (int)(i % (size_t)all->kchunks), rc = (int)(i / (size_t)all->kchunks % (size_t)all->rchunks);
  const int k0 = cut(all->kgroups, all->kchunks, kc), k1 = cut(all->kgroups, all->kchunks, kc + 1);
  const int blocks = cut(s->yb, all->kgroups, k1) - cut(s->yb, all->kgroups, k0);
  return blocks * (double)(cut(all->segments, all->rchunks, rc + 1) - cut(all->segments, all->rchunks, rc));
}

static double dense_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, int threads) {
  const bb_conv *c = &t->problem.conv;
  const geometry g = geometry_of(t, config);
  const items all = items_of(t, config);
  const int xb = t->x.map->blocks / c->G, yb = t->y.map->blocks / c->G;
  const int cblocks = bb_ceil_div(xb, bb_max(1, config->c / VL)), segments = segments_of(&g);
  // Of a strip, and how many strips an image is.
  const bool one_go = g.flat && nothing_waits(t, cblocks);
  const int rows = strip_segments(t, &g, cblocks, bb_min(segments, config->rows));
  const double strips = (double)segments / rows, row = (double)g.rows * g.cols / segments, pixels = rows * row;
  const double taps = (double)taps_of(t, 0, xb) * bb_conv_flops_valid(c) / bb_conv_flops(c);
  const size_t panel_taps = taps_of(t, 0, bb_ceil_div(xb, cblocks));
  const double lines = c->R * c->S == 1 ? (double)xb * VL / LINE : 0;  // of a pixel
  double cycles = 0;
  for (int kg = 0; kg < all.kgroups; kg++) {
    const int end = cut(yb, all.kgroups, kg + 1), nr = end - cut(yb, all.kgroups, kg);
    const tiling how = tiling_of(t, config, &g, nr, end - 1, rows);
    const double tiles = one_go || how.across ? ceil(pixels / how.widest) : rows * ceil(row / how.widest);
    const double mr = pixels / tiles, beside = TILE_CYCLES + TWO_SUMS_CYCLES * mr * nr / 2;
    // Half of L1 is for pixels.
    const bool from_l2 = 2 * panel_taps * (size_t)nr * VL * sizeof(float) > machine->l1d;
    const double tap = tap_cycles(mr, nr, how.tail, how.across, from_l2, machine);
    cycles += tiles * (taps * tap + cblocks * beside + LINE_CYCLES * lines * mr);
  }
  cycles *= (double)g.images * c->G * strips;
  const dense_share share = {.all = all, .yb = yb};
  cycles *= largest_share(dense_tiles(t, config, threads), threads, dense_size, &share);
  // Weights come from memory once, whatever the number of threads; a third of the shorter of both is not hidden (Zen 5).
  const double bytes = (double)packed_layout(t).floats * sizeof(float);
  const bool streams = machine->dram_bytes_per_cycle > 0 && (machine->cold || bytes > (double)machine->l3);
  double least = streams ? bytes / machine->dram_bytes_per_cycle * (threads > 1 ? machine->dram_share : 1) : 0;
  if (!streams && far_l3(machine) && bytes > (double)machine->l2)
    least = bytes / stream_rate(machine, bytes, threads) / threads;
  return fmax(cycles, least) + 0.35 * fmin(cycles, least);
}

static size_t dense_gap_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return gap_tiles(t);
}

static void dense_gap(const bb_args *a, size_t first, size_t last) {
  const geometry g = geometry_of(a->task, a->config);
  gap_reduce(a, g.fc ? 1 : segments_of(&g), first, last);
}

#define DENSE_STAGES                                                             \
  {                                                                              \
    {"convolve", dense_tiles, dense_run}, { "mean", dense_gap_tiles, dense_gap } \
  }

#endif
