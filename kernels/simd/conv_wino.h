// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(m x m, 3 x 3) over channel-blocked tensors (../winograd.h): 3x3, stride 1, any padding, size, batch, groups.
//
// The m x m outputs of a tile need alpha x alpha inputs. All channels of a tile go through the transform, so that for each of
// the alpha^2 frequencies f remains a matrix product over the tiles t, whose inner loop is that of a 1x1 convolution:
//
//   V[f][block of x][t][lane]  = B^T d B of each tile
//   M[f][block of y][t][lane]  = sum over x channels of V[f] U[f]       U = G g G^T, transformed in double when packed
//   y                          = A^T M A, and the epilogue
//
// Two variants of the same pieces:
//   fused   one stage. A block of tiles stays in L2 from input to output; for each k group its M, then its outputs. Each block
//           reads all of U: from L2 or L3, once per block.
//   staged  three stages with V and M of all tiles in shared memory (L3). Each U is read once: for few tiles and many channels.
//
// Tiles of one row of tiles come in segments, whose vertical transforms are made once per column, not once per tile:
// neighbouring tiles share alpha - m columns. Columns and rows outside the image are zero after the prologue.
//
// Sums run over at most SUM_CHANNELS channels in registers before they are added to M: 96 keep the rounding error of F(4,3)
// below 1e-6 for any number of channels (128: 1.1e-6 on N(0, 1); scripts/accuracy), 64 that of F(6,3) below 4e-6. Two sums in
// registers instead need tiles half as wide: 10 to 20 % slower.
//
// Not-finite input: every output of a tile takes part in sums with all of its inputs, so an Inf or NaN makes outputs of the
// whole tile NaN or Inf, no others.
//
// The file of an ISA defines before: WINO_M; NR_MAX, MR_MAX, the list TILES of its register tiles, nr_order; wide_tiles(),
// tiles beside NR_MAX blocks; wino_costs_of(); taps().

#ifndef BB_CONV_WINO_H
#define BB_CONV_WINO_H

#include <limits.h>

#include "../bb.h"
#include "conv.h"
#include "wino.h"

enum {
  ALPHA = WINO_M + 2,
  FREQS = ALPHA * ALPHA,
  SEGMENT_BYTES = 25 * 1024,  // of x, in L1 while its rows are read several times; more than 16 tiles gain nothing
  SEGMENT_COLS = SEGMENT_BYTES / (ALPHA * VL * (int)sizeof(float)),
  SEGMENT = SEGMENT_COLS < 16 * WINO_M ? SEGMENT_COLS / WINO_M : 16,
  LEAST_SEGMENT = 3,  // tiles of a segment that has been halved
  WIDTH = SEGMENT * WINO_M + ALPHA - WINO_M,
  SUM_CHANNELS = WINO_M == 2   ? 128
                 : WINO_M == 4 ? 96
                               : 64
};

static const bb_wino *const matrices = WINO_M == 2 ? &bb_wino23 : WINO_M == 4 ? &bb_wino43 : &bb_wino63;

// ---- tiles and segments --------------------------------------------------------------------------------------------

typedef struct grid {
  int rows, cols;  // tiles of an image
  int parts;       // segments of a row of tiles
  int segments;    // of all images
  int tiles;
} grid;

BB_INLINE grid grid_of(const bb_task *t) {
  const bb_conv *c = &t->problem.conv;
  grid g = {.rows = bb_ceil_div(c->P, WINO_M), .cols = bb_ceil_div(c->Q, WINO_M)};
  g.parts = bb_ceil_div(g.cols, SEGMENT);
  // An even number of segments: 7 or 13 rows of tiles are no two equal shares for two threads. For one thread too, since means
  // are added up by segment.
  if (c->N * g.rows * g.parts % 2 && g.cols >= 2 * LEAST_SEGMENT * g.parts) g.parts *= 2;
  g.segments = c->N * g.rows * g.parts;
  g.tiles = c->N * g.rows * g.cols;
  return g;
}

typedef struct segment {
  int n, row, part;
  int col, tiles;  // of the row of tiles
} segment;

BB_INLINE segment segment_at(const grid *g, int i) {
  const int part = i % g->parts, row = i / g->parts, col = cut(g->cols, g->parts, part);
  return (segment){row / g->rows, row % g->rows, part, col, cut(g->cols, g->parts, part + 1) - col};
}

// Tiles of all segments before i.
BB_INLINE int tiles_before(const grid *g, int i) { return i / g->parts * g->cols + cut(g->cols, g->parts, i % g->parts); }

// Floats from frequency to frequency: an odd number of lines, so that those of a tile fall into different sets of a cache.
BB_INLINE ptrdiff_t frequency_stride(int blocks, int tiles) {
  return (ptrdiff_t)((bb_align_up((size_t)blocks * (size_t)tiles * VL, LINE) / LINE) | 1) * LINE;
}

// ---- groups of output channel blocks, packed parameters --------------------------------------------------------------

// The blocks of x that hold the groups of these outputs are [b0, b1).
typedef struct kgroup {
  int k0, nr, b0, b1;
  size_t u;  // floats of all former k groups' weights, of one frequency
  size_t size;
} kgroup;

BB_INLINE bool keeps_groups(const bb_task *t) {
  const int groups = t->problem.conv.G;
  return map_keeps_groups(t->x.map, groups) && map_keeps_groups(t->y.map, groups);
}

BB_INLINE int kgroup_count(const bb_task *t, const bb_config *config) {
  const int groups = keeps_groups(t) ? t->problem.conv.G : 1;
  return groups * kgroups(t->y.map->blocks / groups, config->k);
}

// All but u.
static kgroup kgroup_at(const bb_task *t, const bb_config *config, int i) {
  const bb_conv *c = &t->problem.conv;
  const bb_map *mx = t->x.map, *my = t->y.map;
  const bool keeps = keeps_groups(t);
  const int groups = keeps ? c->G : 1, yb = my->blocks / groups, per_group = kgroups(yb, config->k);
  const int k0 = i / per_group * yb + cut(yb, per_group, i % per_group);
  kgroup g = {.k0 = k0, .nr = i / per_group * yb + cut(yb, per_group, i % per_group + 1) - k0};
  if (keeps) {
    g.b0 = i / per_group * (mx->blocks / groups);
    g.b1 = g.b0 + mx->blocks / groups;
  } else {
    int first = c->G, last = -1;
    for (int l = k0 * VL; l < (k0 + g.nr) * VL; l++) {
      if (my->lane[l] < 0) continue;
      first = bb_min(first, my->lane[l] / (c->K / c->G));
      last = bb_max(last, my->lane[l] / (c->K / c->G));
    }
    g.b0 = mx->blocks;
    for (int l = 0; l < bb_map_lanes(mx); l++) {
      if (mx->lane[l] < 0 || mx->lane[l] / (c->C / c->G) < first || mx->lane[l] / (c->C / c->G) > last) continue;
      g.b0 = bb_min(g.b0, l / VL);
      g.b1 = l / VL + 1;
    }
    g.b1 = bb_max(g.b0, g.b1);
  }
  for (int b = g.b0; b < g.b1; b++) g.size += (size_t)lanes_used(mx, b) * (size_t)g.nr * VL;
  return g;
}

// In this order, each aligned to BB_ALIGN:
//   wino_packed, then one kgroup per k group
//   lanes   one byte per block of x: lanes_used
//   bias    one float per lane of y
//   scale, shift of the prologue, one float per lane of x
//   U       fused: [k group][f], staged: [f][k group], then [block of x][lane of x][block of the k group][lane of y]: read from
//           front to end
// Offsets in floats.
typedef struct wino_packed {
  size_t lanes, u, one;  // one: floats of one frequency
  size_t count;          // of k groups
  packed vectors;        // bias, scale, shift, floats
} wino_packed;

BB_INLINE wino_packed wino_layout(const bb_task *t, const bb_config *config) {
  const int count = kgroup_count(t, config);
  const size_t vector = t->prologue.scale_shift ? bb_align_up((size_t)bb_map_lanes(t->x.map), LINE) : 0;
  const size_t head = sizeof(wino_packed) + (size_t)count * sizeof(kgroup);
  wino_packed p = {.lanes = bb_align_up(head, BB_ALIGN) / sizeof(float), .count = (size_t)count};
  for (int i = 0; i < count; i++) p.one += kgroup_at(t, config, i).size;
  p.vectors.bias = p.lanes + bb_align_up((size_t)t->x.map->blocks, BB_ALIGN) / sizeof(float);
  p.vectors.scale = p.vectors.bias + bb_align_up((size_t)bb_map_lanes(t->y.map), LINE);
  p.vectors.shift = p.vectors.scale + vector;
  p.u = p.vectors.shift + vector;
  p.vectors.floats = p.u + FREQS * p.one;
  return p;
}

BB_INLINE const wino_packed *wino_head(const float *data) { return (const wino_packed *)(const void *)data; }
BB_INLINE const kgroup *wino_table(const float *data) { return (const kgroup *)(wino_head(data) + 1); }

// Weights of a frequency and k group.
BB_INLINE size_t u_offset(const kgroup *g, size_t one, bool staged, int f) {
  return staged ? (size_t)f * one + g->u : g->u * FREQS + (size_t)f * g->size;
}

static size_t wino_packed_bytes(const bb_task *t, const bb_config *config) {
  return wino_layout(t, config).vectors.floats * sizeof(float);
}

static void wino_pack(const bb_task *t, const bb_config *config, const bb_weights *weights, bool staged, float *out) {
  const bb_conv *c = &t->problem.conv;
  const bb_map *mx = t->x.map, *my = t->y.map;
  const wino_packed p = wino_layout(t, config);
  memset(out, 0, p.vectors.floats * sizeof(float));
  unsigned char *lanes = (unsigned char *)(out + p.lanes);
  for (int b = 0; b < mx->blocks; b++) lanes[b] = (unsigned char)lanes_used(mx, b);
  pack_vector(my, weights->b, out + p.vectors.bias);
  if (t->prologue.scale_shift) {
    pack_vector(mx, weights->scale, out + p.vectors.scale);
    pack_vector(mx, weights->shift, out + p.vectors.shift);
  }
  memcpy(out, &p, sizeof p);
  kgroup *table = (kgroup *)((wino_packed *)(void *)out + 1);
  const int cg = c->C / c->G, kg = c->K / c->G, count = kgroup_count(t, config);
  size_t before = 0;
  for (int i = 0; i < count; i++) {
    kgroup g = kgroup_at(t, config, i);
    g.u = before;
    before += g.size;
    table[i] = g;
    size_t at = 0;
    for (int b = g.b0; b < g.b1; b++) {
      for (int l = b * VL; l < b * VL + lanes[b]; l++) {
        for (int k = g.k0 * VL; k < (g.k0 + g.nr) * VL; k++, at++) {
          const int in = mx->lane[l], to = my->lane[k];
          if (in < 0 || to < 0 || in / cg != to / kg) continue;
          float u[FREQS];
          wino_filter(matrices, weights->w + ((size_t)to * (size_t)cg + (size_t)(in % cg)) * 9, u);
          for (int f = 0; f < FREQS; f++) out[p.u + u_offset(&g, p.one, staged, f) + at] = u[f];
        }
      }
    }
  }
}

// ---- input ---------------------------------------------------------------------------------------------------------

// Stands for what is outside the image.
static const float zeros[WIDTH * VL] __attribute__((aligned(BB_ALIGN)));

// The ALPHA rows of x that the tiles of a segment read, from its first column on; columns [q0, q1) are in the image.
typedef struct input_rows {
  const float *row[ALPHA];
  int q0, q1;
} input_rows;

// Rows [f0, f1) of B^T d for column q, which is column j of a tile.
BB_INLINE void input_column(const int f0, const int f1, const input_rows *x, const bool whole, int q, const int j,
                            vf half[ALPHA][ALPHA]) {
  const bool inside = whole || (q >= x->q0 && q < x->q1);
  vf d[ALPHA], v[ALPHA];
  BB_UNROLL
  for (int i = 0; i < ALPHA; i++) d[i] = vheld(vload(inside ? x->row[i] + q * VL : zeros));
  wino_input(WINO_M, d, v);
  BB_UNROLL
  for (int f = f0; f < f1; f++) half[f][j] = v[f];
}

// Rows [f0, f1) of V of a segment: so few that all of it stays in registers, and a pair of rows that shares its even and odd
// parts. What is not used of a 1-D transform is not computed. v: frequency 0 of the first tile.
BB_INLINE void input_tiles(const int f0, const int f1, const input_rows *x, int tiles, float *v, ptrdiff_t v_freq) {
  vf half[ALPHA][ALPHA];
  BB_UNROLL
  for (int j = WINO_M; j < ALPHA; j++) input_column(f0, f1, x, false, j - WINO_M, j, half);
  for (int tile = 0, q = ALPHA - WINO_M; tile < tiles; tile++, q += WINO_M, v += VL) {
    // The last columns of the tile before are the first of this one.
    BB_UNROLL
    for (int f = f0; f < f1; f++) {
      BB_UNROLL
      for (int j = 0; j < ALPHA - WINO_M; j++) half[f][j] = half[f][j + WINO_M];
    }
    if (q >= x->q0 && q + WINO_M <= x->q1) {
      BB_UNROLL
      for (int j = ALPHA - WINO_M; j < ALPHA; j++) input_column(f0, f1, x, true, q + j - (ALPHA - WINO_M), j, half);
    } else {
      BB_UNROLL
      for (int j = ALPHA - WINO_M; j < ALPHA; j++) input_column(f0, f1, x, false, q + j - (ALPHA - WINO_M), j, half);
    }
    BB_UNROLL
    for (int f = f0; f < f1; f++) {
      vf r[ALPHA];
      wino_input(WINO_M, half[f], r);
      BB_UNROLL
      for (int j = 0; j < ALPHA; j++) vstore(v + (f * ALPHA + j) * v_freq, r[j]);
    }
  }
}

// V of a segment and block of x. v: frequency 0 of its first tile.
static void input_segment(const bb_args *a, const packed *vectors, const segment *s, int b, float *v, ptrdiff_t v_freq) {
  const bb_task *t = a->task;
  const bb_conv *c = &t->problem.conv;
  // Rows i0 to i1 of the tiles and columns q0 to q1 of the segment are in the image.
  const int h = s->row * WINO_M - c->pad_t, w = s->col * WINO_M - c->pad_l, width = s->tiles * WINO_M + ALPHA - WINO_M;
  const int i0 = bb_max(0, -h), i1 = bb_min(ALPHA, c->H - h);
  input_rows rows = {.q0 = bb_min(width, bb_max(0, -w))};
  rows.q1 = bb_max(rows.q0, bb_min(width, c->W - w));
  const float *const x = a->io.x + s->n * t->x.n_stride + b * t->x.c_stride + h * t->x.h_stride + w * VL;
  for (int i = 0; i < ALPHA; i++) rows.row[i] = i >= i0 && i < i1 ? x + i * t->x.h_stride : zeros;
  __attribute__((aligned(BB_ALIGN))) float strip[ALPHA][WIDTH * VL];
  if (has_prologue(&t->prologue)) {
    for (int i = i0; i < i1; i++) {
      const float *const from = rows.row[i] + rows.q0 * VL;
      prologue_row(a, vectors, from, strip[i] + rows.q0 * VL, s->n, b, rows.q1 - rows.q0);
      rows.row[i] = strip[i];
    }
  }
  input_tiles(0, 1, &rows, s->tiles, v, v_freq);
  input_tiles(1, 3, &rows, s->tiles, v, v_freq);
  if (WINO_M >= 4) input_tiles(3, 5, &rows, s->tiles, v, v_freq);
  if (WINO_M >= 6) input_tiles(5, 7, &rows, s->tiles, v, v_freq);
  input_tiles(ALPHA - 1, ALPHA, &rows, s->tiles, v, v_freq);
}

// ---- fetching ahead ------------------------------------------------------------------------------------------------

// Large tensors do not stay in a last level of cache that others use too. Read and written in bursts, by the transforms, they
// cost as much again as the transforms; so the rows of x for the next block of tiles and those of y for this one come to L2
// line by line during the products, which leave memory idle. (Zen 4: about a cycle per line, with huge pages.)
typedef struct fetch {
  const grid *g;
  const bb_view *view;
  const float *tensor;
  int pad_t, pad_l, rows;   // of a segment
  int s0, s1, last;         // segments, end of the blocks
  int block, i, row;        // what comes next
  const float *line;        // of a row
  int lines;                // that remain of it
  int wait, every, bursts;  // slots before the next bursts, from one to the next, how many at once
} fetch;

// Lines of a burst: as many as cost one branch, some of them behind the end of a row.
enum { BURST = 4 };

// Goes on to the next row inside the image; false after the last.
static bool fetch_row(fetch *f) {
  while (f->block < f->last) {
    const segment s = segment_at(f->g, f->i);
    const int h = s.row * WINO_M - f->pad_t + f->row, w = bb_max(0, s.col * WINO_M - f->pad_l);
    const int end = bb_min(f->view->W, (s.col + s.tiles) * WINO_M);
    const ptrdiff_t row = s.n * f->view->n_stride + f->block * f->view->c_stride + h * f->view->h_stride;
    if (++f->row == f->rows) {
      f->row = 0;
      if (++f->i == f->s1) {
        f->i = f->s0;
        f->block++;
      }
    }
    if (h < 0 || h >= f->view->H || w >= end) continue;
    f->line = f->tensor + row + w * VL;
    f->lines = bb_ceil_div((end - w) * VL, LINE);
    return true;
  }
  f->wait = INT_MAX;
  return false;
}

// One slot: a register tile's products with one block of x.
BB_INLINE void fetch_lines(fetch *f) {
  if (--f->wait > 0) return;
  f->wait = f->every;
  for (int i = 0; i < f->bursts; i++) {
    BB_UNROLL
    for (int l = 0; l < BURST; l++) __builtin_prefetch(f->line + l * LINE, 0, 2);
    f->line += BURST * LINE;
    f->lines -= BURST;
    if (f->lines <= 0 && !fetch_row(f)) return;
  }
}

// As late as so many slots allow.
BB_INLINE void fetch_begin(fetch *f, int tiles, int slots) {
  // Each row is rounded up to bursts; those of x overlap the next segment's.
  const int segments = f->s1 - f->s0, cols = bb_ceil_div(tiles, segments) * WINO_M + (f->rows == ALPHA ? ALPHA - WINO_M : 0);
  const int bursts = (f->last - f->block) * segments * f->rows * bb_ceil_div(bb_ceil_div(cols * VL, LINE), BURST);
  f->bursts = bb_ceil_div(bursts, slots);
  f->every = bb_max(1, slots / bursts);
  f->wait = 1 + bb_max(0, slots - f->every * bb_ceil_div(bursts, f->bursts));
  fetch_row(f);
}

// ---- multiply ------------------------------------------------------------------------------------------------------

// What the register tiles of one panel of weights share.
enum { PACE = 4, PIECES = VL > 8 ? VL / PACE : 1 };
typedef struct product {
  const float *u;
  const unsigned char *lanes;  // of each block of x
  int blocks;
  ptrdiff_t v_block, m_block;
  bool add;              // to the sums in M
  weight_stream stream;  // a step every PACE channels
  fetch *x, *y;          // or NULL
} product;

// `count` register tiles beside each other.
typedef void product_fn(product *p, const float *v, float *m, int count);

BB_INLINE void multiply_tile(const int mr, const int nr, product *p, const float *v, float *m) {
  vf acc[MR_MAX][NR_MAX];
  ptrdiff_t at[MR_MAX];
  BB_UNROLL
  for (int i = 0; i < mr; i++) at[i] = i * VL;
  const float *u = p->u;
  int done = taps_begin(mr, nr, acc, v, at, u, p->blocks ? p->lanes[0] : 0);
  for (int b = 0; b < p->blocks; b++, v += p->v_block) {
    const int lanes = p->lanes[b];
    // The next register tile's pixels: short pieces of many streams. Processors find them where blocks are unrolled
    // (conv_taps.h).
    BB_UNROLL
    for (int i = 0; i < mr * VL && !UNROLL_TAPS; i += LINE) __builtin_prefetch(v + mr * VL + i, 0, 3);
    if (p->x) fetch_lines(p->x);
    if (p->y) fetch_lines(p->y);
    int c = done;
    do {
      fetch_weights(&p->stream);
      taps(mr, nr, acc, v + c, at, u + c * nr * VL, PIECES > 1 ? bb_min(PACE, lanes - c) : lanes - c);
      c += PACE;
    } while (PIECES > 1 && c < lanes);
    done = 0;
    u += lanes * nr * VL;
  }
  if (p->add) {
    BB_UNROLL
    for (int j = 0; j < nr; j++) {
      BB_UNROLL
      for (int i = 0; i < mr; i++) acc[i][j] = vadd(acc[i][j], vload(m + j * p->m_block + i * VL));
    }
  }
  BB_UNROLL
  for (int j = 0; j < nr; j++) {
    BB_UNROLL
    for (int i = 0; i < mr; i++) vstore(m + j * p->m_block + i * VL, acc[i][j]);
  }
}

BB_INLINE void multiply_tiles(const int mr, const int nr, product *p, const float *v, float *m, int count) {
  for (; count > 0; count--, v += mr * VL, m += mr * VL) multiply_tile(mr, nr, p, v, m);
}

#define PRODUCT(mr, nr) \
  static void product_##mr##x##nr(product *p, const float *v, float *m, int count) { multiply_tiles(mr, nr, p, v, m, count); }
TILES(PRODUCT)
#undef PRODUCT

static product_fn *const product_of[NR_MAX + 1][MR_MAX + 1] = {
#define PRODUCT(mr, nr) [nr][mr] = product_##mr##x##nr,
    TILES(PRODUCT)
#undef PRODUCT
};

// Tiles of the widest register tile of nr blocks.
BB_INLINE int widest(int nr) {
  int mr = MR_MAX;
  while (!product_of[nr][mr]) mr--;
  return mr;
}

// Tiles of the widest register tile of nr blocks in use; q: of a config.
BB_INLINE int most_tiles(int q, int nr) { return nr == NR_MAX ? q : widest(nr); }

// How the products of a k group and run of tiles are cut: the same for all frequencies.
typedef struct product_shape {
  int sums, mr, runs, wide;  // of the register tiles `wide` have a tile more than mr
} product_shape;

BB_INLINE product_shape product_shape_of(const bb_config *config, const kgroup *g, int tiles) {
  const int runs = bb_ceil_div(tiles, most_tiles(config->q, g->nr));
  return (product_shape){.sums = bb_max(1, bb_ceil_div((g->b1 - g->b0) * VL, SUM_CHANNELS)),
                         .mr = tiles / runs,
                         .runs = runs,
                         .wide = tiles % runs};
}

// M of one frequency, k group and run of tiles. v: block 0 of x, u: the k group's; ahead: fetch the weights that follow; x, y:
// what else to fetch meanwhile, or NULL.
static void multiply(const product_shape *shape, const kgroup *g, const unsigned char *lanes, const float *u, const float *v,
                     float *m, int tiles, bool ahead, fetch *x, fetch *y) {
  const int blocks = g->b1 - g->b0, sums = shape->sums, mr = shape->mr, wide = shape->wide, runs = shape->runs;
  ptrdiff_t rest = (ptrdiff_t)g->size;
  for (int i = 0, b0 = g->b0, b1; i < sums; i++, b0 = b1) {
    b1 = i + 1 < sums ? g->b0 + cut(blocks, sums, i + 1) : g->b1;
    product p = {.u = u,
                 .lanes = lanes + b0,
                 .blocks = b1 - b0,
                 .v_block = (ptrdiff_t)tiles * VL,
                 .m_block = (ptrdiff_t)tiles * VL,
                 .add = i > 0,
                 .x = x,
                 .y = y};
    ptrdiff_t panel = rest;
    if (i + 1 < sums) {
      panel = 0;
      for (int b = b0; b < b1; b++) panel += lanes[b] * g->nr * VL;
      rest -= panel;
    }
    u += panel;
    if (ahead) {
      const int step = bb_ceil_div(bb_ceil_div((int)panel, LINE), bb_max(1, runs * p.blocks * PIECES)) * LINE;
      p.stream = (weight_stream){u, u + panel, step};
    }
    const float *from = v + b0 * p.v_block;
    if (wide) product_of[g->nr][mr + 1](&p, from, m, wide);
    product_of[g->nr][mr](&p, from + wide * (mr + 1) * VL, m + wide * (mr + 1) * VL, runs - wide);
  }
}

// ---- output --------------------------------------------------------------------------------------------------------

typedef struct finisher {
  vf bias, low, high;
  ptrdiff_t y_row, x2_row;
} finisher;

BB_INLINE vf finish_one(const bool clamps, const bool adds, const finisher *f, vf v, const float *x2) {
  v = vadd(v, f->bias);
  if (adds) v = vadd(v, vload(x2));
  return clamps ? vmin(f->high, vmax(f->low, v)) : v;
}

// A^T m A of a tile: m x m outputs.
BB_INLINE void output_tile(const bool quiet, const float *m, ptrdiff_t m_freq, vf y[WINO_M][WINO_M]) {
  vf half[WINO_M][ALPHA];
  BB_UNROLL
  for (int j = 0; j < ALPHA; j++) {
    vf v[ALPHA], r[WINO_M];
    BB_UNROLL
    for (int i = 0; i < ALPHA; i++) {
      const float *at = m + (i * ALPHA + j) * m_freq;
      v[i] = vheld(quiet ? vload_quiet(at) : vload(at));
    }
    wino_output(WINO_M, v, r);
    BB_UNROLL
    for (int i = 0; i < WINO_M; i++) half[i][j] = r[i];
  }
  BB_UNROLL
  for (int i = 0; i < WINO_M; i++) wino_output(WINO_M, half[i], y[i]);
}

// Tiles of a segment that has `rows` x `cols` pixels.
BB_INLINE void output_tiles(const bool quiet, const bool clamps, const bool adds, const finisher *f, const float *m,
                            ptrdiff_t m_freq, float *y, const float *x2, int tiles, int rows, int cols) {
  for (int tile = 0; tile < tiles; tile++, m += VL, y += WINO_M * VL) {
    vf v[WINO_M][WINO_M];
    output_tile(quiet, m, m_freq, v);
    if (rows == WINO_M && (tile + 1) * WINO_M <= cols) {
      BB_UNROLL
      for (int i = 0; i < WINO_M; i++) {
        BB_UNROLL
        for (int j = 0; j < WINO_M; j++) {
          const vf out = finish_one(clamps, adds, f, v[i][j], adds ? x2 + i * f->x2_row + j * VL : NULL);
          float *const to = y + i * f->y_row + j * VL;
          if (quiet)
            vstore_quiet(to, out);
          else
            vstore(to, out);
        }
      }
    } else {
      __attribute__((aligned(BB_ALIGN))) float edge[WINO_M][WINO_M * VL];
      BB_UNROLL
      for (int i = 0; i < WINO_M; i++) {
        BB_UNROLL
        for (int j = 0; j < WINO_M; j++) vstore(edge[i] + j * VL, v[i][j]);
      }
      for (int i = 0; i < rows; i++) {
        for (int j = 0; j < bb_min(WINO_M, cols - tile * WINO_M); j++) {
          const float *add = adds ? x2 + i * f->x2_row + j * VL : NULL;
          vstore(y + i * f->y_row + j * VL, finish_one(clamps, adds, f, vload(edge[i] + j * VL), add));
        }
      }
    }
    if (adds) x2 += WINO_M * VL;
  }
}

BB_INLINE void output_any(const bool quiet, const finisher *f, bool clamps, const float *m, ptrdiff_t m_freq, float *y,
                          const float *x2, int tiles, int rows, int cols) {
  if (x2 && clamps)
    output_tiles(quiet, true, true, f, m, m_freq, y, x2, tiles, rows, cols);
  else if (x2)
    output_tiles(quiet, false, true, f, m, m_freq, y, x2, tiles, rows, cols);
  else if (clamps)
    output_tiles(quiet, true, false, f, m, m_freq, y, NULL, tiles, rows, cols);
  else
    output_tiles(quiet, false, false, f, m, m_freq, y, NULL, tiles, rows, cols);
}

// Outputs of a segment and block k of y. m: frequency 0 of its first tile; sums: scratch for raw sums, NULL if they go to y;
// quiet: nothing is to be prefetched.
static void output_segment(const bb_args *a, const packed *vectors, const grid *g, const segment *s, int k, const float *m,
                           ptrdiff_t m_freq, float *sums, bool quiet) {
  const bb_task *t = a->task;
  const bb_epilogue *e = &t->epilogue;
  const int p0 = s->row * WINO_M, q0 = s->col * WINO_M;
  const int rows = bb_min(WINO_M, t->y.H - p0), cols = bb_min(s->tiles * WINO_M, t->y.W - q0);
  const bool clamp = epilogue_is_clamp(e), clamps = clamp && e->act != BB_ACT_IDENTITY;
  float *y = a->io.y + s->n * t->y.n_stride + k * t->y.c_stride + p0 * t->y.h_stride + q0 * VL;
  const finisher f = {.bias = vload(a->packed + vectors->bias + k * VL),
                      .low = vset1(clamp_low(e->act)),
                      .high = vset1(clamp_high(e->act)),
                      .y_row = sums ? SEGMENT * WINO_M * VL : t->y.h_stride,
                      .x2_row = t->x2.h_stride};
  float *to = sums ? sums : y;
  const float *x2 = e->residual == BB_RESIDUAL_BEFORE_ACT
                        ? a->io.x2 + s->n * t->x2.n_stride + k * t->x2.c_stride + p0 * t->x2.h_stride + q0 * VL
                        : NULL;
  if (QUIET && quiet)
    output_any(true, &f, clamps, m, m_freq, to, x2, s->tiles, rows, cols);
  else
    output_any(false, &f, clamps, m, m_freq, to, x2, s->tiles, rows, cols);
  if (clamp) return;
  for (int i = 0; i < rows; i++) {
    const int p = p0 + i;
    epilogue_row(a, to + i * f.y_row, s->n, k, p, q0, cols, gap_row(a, t->y.H * g->parts, s->n, p * g->parts + s->part, k));
  }
}

BB_INLINE size_t sums_bytes(const bb_task *t) {
  return epilogue_needs_scratch(&t->epilogue) ? WINO_M * SEGMENT * WINO_M * VL * sizeof(float) : 0;
}

// ---- fused ---------------------------------------------------------------------------------------------------------

// Items of work: blocks of tiles x chunks of k groups. One block's chunks follow each other and share its V.
typedef struct fused_items {
  int blocks, kchunks;
  int kgroups;
  int tiles;  // of the largest block, at most
} fused_items;

BB_INLINE fused_items fused_items_of(const bb_task *t, const bb_config *config, int count) {
  const grid g = grid_of(t);
  fused_items i = {.kgroups = count};
  i.blocks = bb_min(g.segments, bb_ceil_div(g.tiles, config->tile));
  i.kchunks = bb_min(i.kgroups, bb_ceil_div(t->y.map->blocks, config->kt));
  i.tiles = bb_ceil_div(g.segments, i.blocks) * bb_ceil_div(g.cols, g.parts);
  return i;
}

static size_t fused_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  const fused_items i = fused_items_of(t, config, kgroup_count(t, config));
  return (size_t)i.blocks * (size_t)i.kchunks;
}

BB_INLINE size_t fused_v_floats(const bb_task *t, int tiles) {
  return FREQS * (size_t)frequency_stride(t->x.map->blocks, tiles);
}

// What V holds: blocks [b0, b1) of x of a block of tiles. It stands before V, so that the next chunk of k groups finds it.
typedef struct v_state {
  int block, b0, b1;
} v_state;

static bb_workspace fused_workspace(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  const grid g = grid_of(t);
  const int tiles = fused_items_of(t, config, kgroup_count(t, config)).tiles;
  const size_t floats = fused_v_floats(t, tiles) + FREQS * (size_t)frequency_stride(NR_MAX, tiles);
  return (bb_workspace){.shared = gap_bytes(t, t->y.H * g.parts),
                        .per_thread = BB_ALIGN + floats * sizeof(float) + sums_bytes(t)};
}

static void fused_run(const bb_args *a, size_t first, size_t last) {
  const bb_task *t = a->task;
  const wino_packed pk = *wino_head(a->packed);
  const grid g = grid_of(t);
  const fused_items all = fused_items_of(t, a->config, (int)pk.count);
  const kgroup *table = wino_table(a->packed);
  const unsigned char *lanes = (const unsigned char *)(a->packed + pk.lanes);
  v_state *const has = (v_state *)(void *)a->per_thread;
  float *v = (float *)(void *)(a->per_thread + BB_ALIGN), *m = v + fused_v_floats(t, all.tiles);
  float *sums = sums_bytes(t) ? m + FREQS * frequency_stride(NR_MAX, all.tiles) : NULL;
  if (!a->kept) has->block = -1;
  // What is small is in L2: prefetching finds nothing for this thread, but lines of y that another is writing (28x28x128 on two
  // cores without a common L3: outputs 16 of 150 us, quiet 8 of 137). What is large gains by it.
  const bool quiet = a->config->ahead <= 1;

  for (size_t item = first; item < last; item++) {
    const int kc = (int)(item % (size_t)all.kchunks), at = (int)(item / (size_t)all.kchunks);
    const int s0 = cut(g.segments, all.blocks, at), s1 = cut(g.segments, all.blocks, at + 1);
    const int kg0 = cut(all.kgroups, all.kchunks, kc), kg1 = cut(all.kgroups, all.kchunks, kc + 1);
    const int before = tiles_before(&g, s0), tiles = tiles_before(&g, s1) - before;
    const ptrdiff_t v_block = (ptrdiff_t)tiles * VL, v_freq = frequency_stride(t->x.map->blocks, tiles);
    if (at != has->block) has->b0 = has->b1 = table[kg0].b0;
    has->block = at;
    for (int kg = kg0; kg < kg1; kg++) {
      const kgroup *k = &table[kg];
      if (k->b0 < has->b0 || k->b0 > has->b1) has->b0 = has->b1 = k->b0;
      bb_part(a, 0);
      for (int b = has->b1; b < k->b1; b++) {
        for (int i = s0; i < s1; i++) {
          const segment s = segment_at(&g, i);
          input_segment(a, &pk.vectors, &s, b, v + b * v_block + (tiles_before(&g, i) - before) * VL, v_freq);
        }
      }
      if (has->b1 < k->b1) has->b1 = k->b1;
      const ptrdiff_t m_freq = frequency_stride(k->nr, tiles);
      const int slots = FREQS * bb_ceil_div(tiles, most_tiles(a->config->q, k->nr)) * (k->b1 - k->b0);
      fetch x = {0}, y = {0};
      if (a->config->ahead > 1 && slots) {
        y = (fetch){.g = &g, .view = &t->y, .tensor = a->io.y, .rows = WINO_M};
        y.s0 = y.i = s0, y.s1 = s1, y.block = k->k0, y.last = k->k0 + k->nr;
        fetch_begin(&y, tiles, slots);
        if (kg == kg1 - 1 && kc == all.kchunks - 1 && at + 1 < all.blocks) {
          x = (fetch){.g = &g, .view = &t->x, .tensor = a->io.x, .rows = ALPHA};
          x.pad_t = t->problem.conv.pad_t, x.pad_l = t->problem.conv.pad_l;
          x.s0 = x.i = s1, x.s1 = cut(g.segments, all.blocks, at + 2), x.block = table[0].b0, x.last = table[0].b1;
          fetch_begin(&x, tiles, slots);
        }
      }
      const product_shape shape = product_shape_of(a->config, k, tiles);
      bb_part(a, 1);
      for (int f = 0; f < FREQS; f++) {
        const float *u = a->packed + pk.u + u_offset(k, pk.one, false, f);
        multiply(&shape, k, lanes, u, v + f * v_freq, m + f * m_freq, tiles, a->config->ahead > 0, x.every ? &x : NULL,
                 y.every ? &y : NULL);
      }
      bb_part(a, 2);
      for (int j = 0; j < k->nr; j++) {
        for (int i = s0; i < s1; i++) {
          const segment s = segment_at(&g, i);
          output_segment(a, &pk.vectors, &g, &s, k->k0 + j, m + j * v_block + (tiles_before(&g, i) - before) * VL, m_freq, sums,
                         quiet);
        }
      }
    }
  }
}

static void fused_pack(const bb_task *t, const bb_config *config, const bb_weights *weights, float *out) {
  wino_pack(t, config, weights, false, out);
}

// ---- staged --------------------------------------------------------------------------------------------------------

// Shared memory: sums of rows for the mean, V, M of all tiles.
typedef struct staged {
  grid g;
  ptrdiff_t v_freq, m_freq;
  size_t v, m, bytes;  // offsets in bytes
} staged;

BB_INLINE staged staged_of(const bb_task *t) {
  staged s = {.g = grid_of(t)};
  s.v_freq = frequency_stride(t->x.map->blocks, s.g.tiles);
  s.m_freq = frequency_stride(t->y.map->blocks, s.g.tiles);
  s.v = bb_align_up(gap_bytes(t, t->y.H * s.g.parts), BB_ALIGN);
  s.m = s.v + FREQS * (size_t)s.v_freq * sizeof(float);
  s.bytes = s.m + FREQS * (size_t)s.m_freq * sizeof(float);
  return s;
}

BB_INLINE float *shared_at(const bb_args *a, size_t bytes) { return (float *)(void *)(a->shared + bytes); }

static bb_workspace staged_workspace(const bb_task *t, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return (bb_workspace){.shared = staged_of(t).bytes, .per_thread = sums_bytes(t)};
}

static size_t staged_input_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return (size_t)t->x.map->blocks * (size_t)grid_of(t).segments;
}

static void staged_input(const bb_args *a, size_t first, size_t last) {
  const staged w = staged_of(a->task);
  const wino_packed pk = *wino_head(a->packed);
  for (size_t item = first; item < last; item++) {
    const int i = (int)(item % (size_t)w.g.segments), b = (int)(item / (size_t)w.g.segments);
    const segment s = segment_at(&w.g, i);
    float *v = shared_at(a, w.v) + ((ptrdiff_t)b * w.g.tiles + tiles_before(&w.g, i)) * VL;
    input_segment(a, &pk.vectors, &s, b, v, w.v_freq);
  }
}

static size_t staged_multiply_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  return (size_t)FREQS * (size_t)kgroup_count(t, config);
}

static void staged_multiply(const bb_args *a, size_t first, size_t last) {
  const staged w = staged_of(a->task);
  const wino_packed pk = *wino_head(a->packed);
  const kgroup *table = wino_table(a->packed);
  const unsigned char *lanes = (const unsigned char *)(a->packed + pk.lanes);
  const size_t count = pk.count;
  for (size_t item = first; item < last; item++) {
    const kgroup *k = &table[item % count];
    const int f = (int)(item / count);
    const product_shape shape = product_shape_of(a->config, k, w.g.tiles);
    multiply(&shape, k, lanes, a->packed + pk.u + u_offset(k, pk.one, true, f), shared_at(a, w.v) + f * w.v_freq,
             shared_at(a, w.m) + f * w.m_freq + (ptrdiff_t)k->k0 * w.g.tiles * VL, w.g.tiles, true, NULL, NULL);
  }
}

static size_t staged_output_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return (size_t)t->y.map->blocks * (size_t)grid_of(t).segments;
}

static void staged_output(const bb_args *a, size_t first, size_t last) {
  const staged w = staged_of(a->task);
  const wino_packed pk = *wino_head(a->packed);
  float *sums = sums_bytes(a->task) ? (float *)(void *)a->per_thread : NULL;
  for (size_t item = first; item < last; item++) {
    const int i = (int)(item % (size_t)w.g.segments), k = (int)(item / (size_t)w.g.segments);
    const segment s = segment_at(&w.g, i);
    const float *m = shared_at(a, w.m) + ((ptrdiff_t)k * w.g.tiles + tiles_before(&w.g, i)) * VL;
    output_segment(a, &pk.vectors, &w.g, &s, k, m, w.m_freq, sums, false);
  }
}

static void staged_pack(const bb_task *t, const bb_config *config, const bb_weights *weights, float *out) {
  wino_pack(t, config, weights, true, out);
}

static size_t wino_gap_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return gap_tiles(t);
}

static void wino_gap(const bb_args *a, size_t first, size_t last) {
  gap_reduce(a, a->task->y.H * grid_of(a->task).parts, first, last);
}

// ---- candidates ----------------------------------------------------------------------------------------------------

// Tiles are counted in int.
static bool fused_accepts(const bb_task *t) {
  if (t->problem.op != BB_OP_CONV || t->x.block != VL || t->y.block != VL) return false;
  const bb_conv *c = &t->problem.conv;
  if ((double)c->N * bb_ceil_div(c->P, WINO_M) * bb_ceil_div(c->Q, WINO_M) > INT_MAX / 2) return false;
  return c->R == 3 && c->S == 3 && c->stride_h == 1 && c->stride_w == 1 && c->dil_h == 1 && c->dil_w == 1;
}

// V and M live in the last level of cache or lose: far beyond any there is no point.
static bool staged_accepts(const bb_task *t) { return fused_accepts(t) && staged_of(t).bytes <= (size_t)256 << 20; }

// Items of work per thread, so that stealing can even out a disturbed core.
enum { ITEMS_PER_THREAD = 4 };

// Of x, y and U.
BB_INLINE size_t fused_bytes(const bb_task *t, const bb_config *config) {
  const size_t pixels = (size_t)t->x.N * (size_t)t->x.H * (size_t)t->x.W * (size_t)t->x.map->blocks;
  const size_t outputs = (size_t)t->y.N * (size_t)t->y.H * (size_t)t->y.W * (size_t)t->y.map->blocks;
  return ((pixels + outputs) * VL + FREQS * wino_layout(t, config).one) * sizeof(float);
}

// What may come and go without being fetched ahead.
BB_INLINE size_t near_bytes(const bb_machine *machine) {
  if (far_l3(machine)) return (machine->l2 ? machine->l2 : (size_t)512 << 10) / 2;
  return (machine->l3 ? machine->l3 : (size_t)8 << 20) / 8;
}

// Blocks of 6 to 56 tiles, as long as V is not much more than L2, for each width of k groups; one more for each thread to have
// blocks of its own.
static int fused_configs(const bb_task *t, const bb_machine *machine, int threads, bb_config *out, int max) {
  const grid g = grid_of(t);
  const int yb = t->y.map->blocks, per_tile = FREQS * t->x.map->blocks * VL * (int)sizeof(float);
  const int fit = (int)((machine->l2 ? machine->l2 : 512 * 1024) * 9 / 8) / per_tile;
  const bool large = fused_bytes(t, &(bb_config){.k = 1}) > near_bytes(machine);
  const int ahead = large ? 2 : machine->cold ? 1 : 0;
  const int q = wide_tiles(machine);
  int n = 0;
  for (int i = 0; i < (int)BB_COUNT(nr_order); i++) {
    if (width_repeats(nr_order, i, yb)) continue;
    const int nr = bb_min(nr_order[i], yb), first = n, width = kgroup_width(yb, nr);
    const int mr = most_tiles(q, width);
    for (int turns = bb_ceil_div(6, mr), own = 0; !own; turns *= 2) {
      own = turns * mr > 56;
      int blocks = bb_max(1, bb_min(g.segments, (g.tiles + turns * mr / 2) / (turns * mr)));
      if (own) blocks = bb_min(g.segments, threads);
      const int tile = bb_ceil_div(g.tiles, blocks);
      bool skip = n == max || (n > first && tile > fit) || (own && threads == 1);
      for (int j = first; j < n; j++) skip |= out[j].tile == tile;
      if (skip) continue;
      const int wanted = threads > 1 ? bb_min(yb, bb_ceil_div(ITEMS_PER_THREAD * threads, blocks)) : 1;
      const int kchunks = chunks_of(yb, wanted, blocks % threads ? threads : 1);
      out[n++] = (bb_config){.q = q, .k = nr, .c = SUM_CHANNELS, .kt = bb_ceil_div(yb, kchunks), .tile = tile, .ahead = ahead};
    }
  }
  return n;
}

static int staged_configs(const bb_task *t, const bb_machine *machine, int threads, bb_config *out, int max) {
  (void)threads;
  int n = 0;
  for (int i = 0; i < (int)BB_COUNT(nr_order) && n < max; i++) {
    if (width_repeats(nr_order, i, t->y.map->blocks)) continue;
    out[n++] = (bb_config){.q = wide_tiles(machine), .k = bb_min(nr_order[i], t->y.map->blocks), .c = SUM_CHANNELS};
  }
  return n;
}

// ---- cost ----------------------------------------------------------------------------------------------------------

// Beside the FMAs of a register tile: its beginning.
enum { TILE_CYCLES = 10, FMA_LATENCY = 4, BARRIER_CYCLES = 2000 };

// Cycles of all products over blocks of `tiles` tiles, `blocks` times. late: cycles per byte of weights that the first
// register tile of a k group waits for, 0 if they are fetched ahead.
static double multiply_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, double tiles, double blocks,
                              double late) {
  const int count = kgroup_count(t, config);
  const wino_costs *costs = wino_costs_of(machine);
  double cycles = 0;
  for (int i = 0; i < count; i++) {
    const kgroup k = kgroup_at(t, config, i);
    const double runs = ceil(tiles / most_tiles(config->q, k.nr)), mr = tiles / runs, taps = (double)k.size / (k.nr * VL);
    const double fma = mr * k.nr / fma_per_cycle(machine), loads = tap_loads(mr, k.nr) / fma_per_cycle(machine);
    const double sums = bb_max(1, bb_ceil_div((k.b1 - k.b0) * VL, SUM_CHANNELS));
    const double run = taps * (fmax(fmax(fma, loads), FMA_LATENCY) + costs->load * loads) +
                       sums * (TILE_CYCLES + costs->sum * mr * k.nr) + costs->line * mr * taps / LINE;
    cycles += fmax(run, late * (double)(k.size * sizeof(float))) + (runs - 1) * run + costs->panel * (double)k.size / LINE;
  }
  return FREQS * blocks * cycles;
}

// What largest_share() asks: output blocks x segments of an item.
typedef struct fused_share {
  grid g;
  fused_items all;
  int yb, each;  // blocks and k groups of a group
} fused_share;

static double fused_size(const void *context, size_t i) {
  const fused_share *s = context;
  const int kc = (int)(i % (size_t)s->all.kchunks), at = (int)(i / (size_t)s->all.kchunks), yb = s->yb, each = s->each;
  const int k0 = cut(s->all.kgroups, s->all.kchunks, kc), k1 = cut(s->all.kgroups, s->all.kchunks, kc + 1);
  const int blocks = k1 / each * yb + cut(yb, each, k1 % each) - k0 / each * yb - cut(yb, each, k0 % each);
  return blocks * (double)(cut(s->g.segments, s->all.blocks, at + 1) - cut(s->g.segments, s->all.blocks, at));
}

// The factors without a derivation are by fit to the 3x3 layers of core40, hot and cold, on Zen 4 and Zen 5.
static double wino_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, int threads, bool is_staged) {
  const grid g = grid_of(t);
  const double xb = t->x.map->blocks, yb = t->y.map->blocks, vector = VL * sizeof(float);
  const double l2 = machine->l2 ? (double)machine->l2 : 512e3, l3 = machine->l3 ? (double)machine->l3 : 8e6;
  const wino_costs *costs = wino_costs_of(machine);
  const double per_tile = FREQS * vector;  // V or M of a tile and block
  const double u = (double)(FREQS * wino_layout(t, config).one * sizeof(float));

  double blocks = 1, inputs = 1, share, products, lost = 0, gone = 0;  // gone: of U, before the next block of tiles
  if (is_staged) {
    const double items = (double)staged_multiply_tiles(t, config, threads);
    share = ceil(items / threads) / items;
    // Lines of V and M that one thread writes and another reads.
    lost += machine->transfer_cycles * g.tiles * (xb + yb) * FREQS * VL / LINE * (threads - 1) / threads;
    products = multiply_cycles(t, machine, config, g.tiles, 1, 0);
    const double all = g.tiles * (xb + yb) * per_tile;
    const double over = all - (far_l3(machine) ? 0 : 2 * l2 * threads);
    if (over > 0) lost += costs->staged * over / stream_rate(machine, all, threads);
  } else {
    const fused_items f = fused_items_of(t, config, kgroup_count(t, config));
    blocks = f.blocks;
    const int groups = keeps_groups(t) ? t->problem.conv.G : 1;
    const fused_share parts = {.g = g, .all = f, .yb = t->y.map->blocks / groups, .each = f.kgroups / groups};
    share = largest_share((size_t)f.blocks * (size_t)f.kchunks, threads, fused_size, &parts);
    // Threads that meet in a block each make its V, but for that of other groups.
    inputs = blocks < threads ? fmin(f.kchunks, threads / blocks) : f.blocks % threads ? 1 + (threads - 1) / blocks : 1;
    if (keeps_groups(t)) inputs = fmax(1, inputs / t->problem.conv.G);
    // U passes through L2 too; what it displaces of V is read again for each k group.
    const double all = g.tiles / blocks * (xb / t->problem.conv.G + config->k) * per_tile;
    const double over = all - costs->l2 * l2;
    if (over > 0) lost += costs->evicted * blocks * f.kgroups * over / stream_rate(machine, all, threads);
    // None while U, V and M fill half of L2, all when they fill it. (Fitted on Zen 5, as `late`; elsewhere not measured.)
    gone = fmin(1, fmax(0, (u + all - l2 / 2) / (l2 / 2)));
    const double late = config->ahead ? 0 : gone / stream_rate(machine, u, threads);
    products = multiply_cycles(t, machine, config, g.tiles / blocks, blocks, late);
  }
  const double dram = stream_rate(machine, INFINITY, threads), again = stream_rate(machine, u, threads);
  // All threads together take at least dram_share of the time of one; wide k groups get less of what there is.
  const double mine = blocks < threads ? share : 1;  // of U
  const double wide = 1 + 0.07 * bb_max(0, config->k - 2);
  const double once = machine->cold ? u / dram * fmax(mine, machine->dram_share) * wide : u / again * share;
  const double stream = once + (blocks - 1) * gone * u / again * share;
  // Where each k group has inputs of its own, what comes from memory stops during their transforms, too often to hide anything.
  const bool stops = machine->cold && !is_staged && t->problem.conv.G > 1 && keeps_groups(t);
  const double apart = stops ? once : 0, behind = stream - apart;
  // Activations that do not stay: read, fetched to be written, written; two thirds of it during the products, if fetched ahead.
  const double pixels = (double)t->x.N * t->x.H * t->x.W * xb, outputs = (double)t->y.N * t->y.H * t->y.W * yb;
  const double activations = (pixels + outputs) * vector, leaves = (pixels + 2 * outputs) * vector;
  if (activations > l3 / 4)
    lost += (config->ahead > 1 ? 0.35 : 1) * leaves / (1.25 * dram);
  else if (far_l3(machine) && activations > l2 / 2)
    lost += (config->ahead > 1 ? 0.2 : 1) * leaves / stream_rate(machine, activations, threads);

  const double transforms = g.tiles * (xb * inputs * costs->input[WINO_M / 2 - 1] + yb * costs->output[WINO_M / 2 - 1]);
  const double both = apart + fmax(products * share, behind) + costs->stream * fmin(products * share, behind);
  return both + (transforms + lost) * share + (threads > 1 ? (is_staged ? 3 : 1) * BARRIER_CYCLES : 0);
}

static double fused_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, int threads) {
  return wino_cycles(t, machine, config, threads, false);
}

static double staged_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, int threads) {
  return wino_cycles(t, machine, config, threads, true);
}

static double wino_executed_flops(const bb_task *t, const bb_config *config) {
  (void)config;
  const bb_conv *c = &t->problem.conv;
  return 2.0 * FREQS * grid_of(t).tiles * (double)c->K * (double)(c->C / c->G);
}

static double wino_error_bound(const bb_task *t, const bb_config *config) {
  (void)config;
  return wino_bound(WINO_M, t->problem.conv.C / t->problem.conv.G, SUM_CHANNELS);
}

#define WINO_FUSED(isa_level, alg_name, full_name)                                                                        \
  {                                                                                                                       \
    .name = full_name, .op = BB_OP_CONV, .alg = alg_name, .isa = isa_level, .x_block = VL, .y_block = VL,                 \
    .block = {.q = WINO_M, .k = VL, .c = VL}, .accepts = fused_accepts, .configs = fused_configs, .cycles = fused_cycles, \
    .packed_bytes = wino_packed_bytes, .pack = fused_pack, .workspace = fused_workspace,                                  \
    .executed_flops = wino_executed_flops, .error_bound = wino_error_bound, .part = {"input", "multiply", "output"},      \
    .stage = {                                                                                                            \
      {"fused", fused_tiles, fused_run},                                                                                  \
      {"mean", wino_gap_tiles, wino_gap}                                                                                  \
    }                                                                                                                     \
  }

#define WINO_STAGED(isa_level, alg_name, full_name)                                                                          \
  {                                                                                                                          \
    .name = full_name, .op = BB_OP_CONV, .alg = alg_name, .isa = isa_level, .x_block = VL, .y_block = VL,                    \
    .block = {.q = WINO_M, .k = VL, .c = VL}, .accepts = staged_accepts, .configs = staged_configs, .cycles = staged_cycles, \
    .packed_bytes = wino_packed_bytes, .pack = staged_pack, .workspace = staged_workspace,                                   \
    .executed_flops = wino_executed_flops, .error_bound = wino_error_bound, .stage = {                                       \
      {"input", staged_input_tiles, staged_input},                                                                           \
      {"multiply", staged_multiply_tiles, staged_multiply},                                                                  \
      {"output", staged_output_tiles, staged_output},                                                                        \
      {"mean", wino_gap_tiles, wino_gap}                                                                                     \
    }                                                                                                                        \
  }

#endif
