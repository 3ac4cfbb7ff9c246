// SPDX-License-Identifier: Apache-2.0
//
// First layer of a network: a few input channels in plain NCHW, output in channel blocks. The file that includes this has
// vec.h, STEM_NR (blocks of a register tile at most), stem_most() (pixels of one of nr blocks), stem_tap() that
// does sum[i][j] += x[i] * w[j] (in_fma: see conv_stem_tap.h, with FMA_BROADCASTS only), and stem_begin(), how sums begin.
//
// Vectorised over output channels, so that nothing is wasted on 3 input channels. A tile of work is a band of output rows; the
// rows of x that it meets are copied first, after the prologue, with zero columns for the padding and, where the stride is s,
// column i*s + phase at place i of row `phase`: then the pixels of a register tile are neighbours whatever the stride, every
// tap (r, c, s) is one constant offset from them, and the inner loop over taps has no other index. Rows of the filter outside
// the image are left out by starting later and ending earlier in the list of taps.

#ifndef BB_CONV_STEM_H
#define BB_CONV_STEM_H

#include "../bb.h"
#include "conv_strip.h"

enum {
  STEM_AHEAD = 2,                   // tiles; 1 and 4 are no better
  STEM_KINDS = 1 + FMA_BROADCASTS,  // bb_config.tile: 1 = in_fma
  STEM_ROWS = VL == 8,              // rows of a filter are unrolled: two FMAs of 256 bits leave room for little else
};

#if BB_SANITIZED
#define UNROLL_ROW
#else
#define UNROLL_ROW BB_UNROLL
#endif

BB_INLINE int stem_row_kind(const bb_conv *c) {
  const int kind = c->dil_w == 1 && c->stride_w <= 2 ? 10 * c->S + c->stride_w : 0;
  return kind == 31 || kind == 32 || kind == 72 ? kind : 0;
}

static bool stem_accepts(const bb_task *t) {
  const bb_conv *c = &t->problem.conv;
  return c->G == 1 && c->C <= STRIP_C && t->x.block == 1 && t->y.block == VL;
}

// ---- the memory of a thread ----------------------------------------------------------------------------------------

typedef struct stem_memory {
  strip strip;
  size_t taps;  // of the whole filter
  // Byte offsets, behind the taps' places: what they fetch, the rows, raw sums; and all of it.
  size_t ahead, rows, sums, bytes;
} stem_memory;

BB_INLINE stem_memory stem_memory_of(const bb_task *t, const bb_config *config) {
  const bb_conv *c = &t->problem.conv;
  stem_memory s = {.strip = strip_of(c, config->rows, c->stride_w, c->Q + (c->S - 1) * c->dil_w / c->stride_w)};
  s.taps = (size_t)(c->R * c->C * c->S);
  s.ahead = bb_align_up(s.taps * sizeof(int), BB_ALIGN);
  s.rows = s.ahead + bb_align_up(s.taps * sizeof(ptrdiff_t), BB_ALIGN);
  s.sums = s.rows + strip_bytes(c, &s.strip);
  s.bytes = s.sums + (epilogue_needs_scratch(&t->epilogue) ? (size_t)config->k * (size_t)c->Q * VL * sizeof(float) : 0);
  return s;
}

// ---- register tiles ------------------------------------------------------------------------------------------------

typedef struct stem_target {
  const float *w;          // [tap][block][VL], from the first tap on that meets the image
  const int *offset;       // of the taps
  const ptrdiff_t *ahead;  // what a tap fetches, from a tile's first pixel in y: see stem_run()
  int taps;
  int row;            // 10 * S + stride, if stem_rows() does that
  const float *bias;  // [block][VL]
  float *y;           // block 0 of the group
  ptrdiff_t y_block;  // stride of blocks
  const float *x2;    // residual that comes before the activation, or NULL
  ptrdiff_t x2_block;
  bool in_fma, clamp;
  float low, high;
} stem_target;

BB_INLINE void stem_one_tap(const float *x, const stem_target *to, int t, const float *w, vf (*sum)[4], int mr, int nr,
                            bool in_fma) {
  vf ws[4];
  BB_UNROLL
  for (int j = 0; j < nr; j++) ws[j] = vload(w + j * VL);
  stem_tap(bb_in_register(x + to->offset[t]), ws, sum, mr, nr, in_fma);
}

// All taps of a tile whose filter has rows of S, without a loop over a row's: see taps_block() in conv_taps.h. Lines of y come
// back one per row.
BB_INLINE void stem_rows(const float *x, const stem_target *to, const float *y, vf (*sum)[4], int mr, int nr, int S,
                         int stride) {
  const float *w = to->w;
  const int *offset = to->offset, *const end = offset + to->taps;
  const ptrdiff_t *ahead = to->ahead;
  for (; offset < end; offset += S, w += S * nr * VL, ahead += LINE / VL) {
    __builtin_prefetch(y + *ahead, 1, 3);
    const float *const even = bb_in_register(x + offset[0]), *const odd = bb_in_register(x + offset[1]);  // phases of stride 2
    UNROLL_ROW
    for (int s = 0; s < S; s++) {
      vf ws[4];
      BB_UNROLL
      for (int j = 0; j < nr; j++) ws[j] = vheld(vload(w + (s * nr + j) * VL));
      stem_tap((s % stride ? odd : even) + s / stride, ws, sum, mr, nr, false);
    }
  }
}

// mr pixels of nr blocks; x points at the first pixel's place in the strip.
BB_INLINE void stem_tile(const float *x, const stem_target *to, ptrdiff_t q, int mr, int nr, bool in_fma) {
  vf sum[16][4];
  const float *w = to->w;
  float *y = to->y + q * VL;
  int t = STEM_ROWS ? 0 : stem_begin(x, to->offset, w, to->taps, sum, mr, nr);
  BB_UNROLL
  for (int j = 0; j < nr; j++) {
    const vf bias = vload(to->bias + j * VL);
    BB_UNROLL
    for (int i = 0; i < mr; i++) sum[i][j] = STEM_ROWS ? bias : vadd(sum[i][j], bias);
  }
  w += t * nr * VL;
  if (STEM_ROWS && mr == stem_most(nr) && to->row) {
    if (to->row == 31)
      stem_rows(x, to, y, sum, mr, nr, 3, 1);
    else if (to->row == 32)
      stem_rows(x, to, y, sum, mr, nr, 3, 2);
    else
      stem_rows(x, to, y, sum, mr, nr, 7, 2);
    t = to->taps;
  }
  // Lines of y that were driven out of the caches are back in time: one per tap, so that they are not in the way of the weights
  // (all at the end of a tile: 7x7 -2 %). A filter of fewer taps than the tile has lines leaves the rest to the core.
  for (const int quiet = to->taps - mr * nr; t < quiet; t++, w += nr * VL) stem_one_tap(x, to, t, w, sum, mr, nr, in_fma);
  for (; t < to->taps; t++, w += nr * VL) {
    __builtin_prefetch(y + to->ahead[t], 1, 3);
    stem_one_tap(x, to, t, w, sum, mr, nr, in_fma);
  }
  if (to->x2) {
    BB_UNROLL
    for (int j = 0; j < nr; j++) {
      BB_UNROLL
      for (int i = 0; i < mr; i++) sum[i][j] = vadd(sum[i][j], vload(to->x2 + j * to->x2_block + (q + i) * VL));
    }
  }
  // Not for nothing: on Zen 4 maxima and minima are work of the FMA unit.
  if (to->clamp) {
    const vf low = vset1(to->low), high = vset1(to->high);
    BB_UNROLL
    for (int j = 0; j < nr; j++) {
      BB_UNROLL
      for (int i = 0; i < mr; i++) sum[i][j] = vclamp(sum[i][j], low, high);
    }
  }
  BB_UNROLL
  for (int j = 0; j < nr; j++, y += to->y_block) {
    BB_UNROLL
    for (int i = 0; i < mr; i++) vstore(y + i * VL, sum[i][j]);
  }
}

#define STEM_TILES(mr)                                                                                       \
  case mr:                                                                                                   \
    for (; mr <= stem_most(nr) && count > 0; count--, x += mr, q += mr) stem_tile(x, to, q, mr, nr, in_fma); \
    break

// A row in the least number of tiles, of as equal size as there can be: those of one size in one loop.
BB_INLINE void stem_row_of(const float *x, const stem_target *to, int Q, int nr, bool in_fma) {
  const int tiles = bb_ceil_div(Q, stem_most(nr)), few = Q / tiles, wide = Q % tiles;
  ptrdiff_t q = 0;
  for (int more = 1; more >= 0; more--) {
    int count = more ? wide : tiles - wide;
    switch (few + more) {
      STEM_TILES(1);
      STEM_TILES(2);
      STEM_TILES(3);
      STEM_TILES(4);
      STEM_TILES(5);
      STEM_TILES(6);
      STEM_TILES(7);
      STEM_TILES(8);
      STEM_TILES(9);
      STEM_TILES(10);
      STEM_TILES(11);
      STEM_TILES(12);
      STEM_TILES(13);
      STEM_TILES(14);
    }
  }
}

#undef STEM_TILES

#define STEM_ROW(nr)                            \
  case nr:                                      \
    if (STEM_KINDS > 1 && nr > 1 && to->in_fma) \
      stem_row_of(x, to, Q, nr, true);          \
    else if (nr <= STEM_NR)                     \
      stem_row_of(x, to, Q, nr, false);         \
    break

static void stem_row(const float *x, const stem_target *to, int Q, int nr) {
  switch (nr) {
    STEM_ROW(1);
    STEM_ROW(2);
    STEM_ROW(3);
    STEM_ROW(4);
  }
}

#undef STEM_ROW

// ---- packed parameters: bias, scale, shift, w[k group][r][c][s][block][VL] ------------------------------------------

BB_INLINE packed stem_layout(const bb_task *t) {
  const bb_conv *c = &t->problem.conv;
  return strip_layout(t, c->R * c->S * c->C);
}

static size_t stem_packed_bytes(const bb_task *t, const bb_config *config) {
  (void)config;
  return stem_layout(t).floats * sizeof(float);
}

static void stem_pack(const bb_task *t, const bb_config *config, const bb_weights *weights, float *out) {
  const bb_conv *c = &t->problem.conv;
  const packed p = stem_layout(t);
  strip_pack_vectors(t, &p, weights, out);
  float *w = out + p.w;
  const int blocks = t->y.map->blocks, groups = bb_ceil_div(blocks, config->k);
  for (int g = 0; g < groups; g++)
    for (int r = 0; r < c->R; r++)
      for (int ch = 0; ch < c->C; ch++)
        for (int s = 0; s < c->S; s++)
          for (int l = cut(blocks, groups, g) * VL; l < cut(blocks, groups, g + 1) * VL; l++, w++) {
            const int k = t->y.map->lane[l];
            *w = k < 0
                     ? 0
                     : weights
                           ->w[(((size_t)k * (size_t)c->C + (size_t)ch) * (size_t)c->R + (size_t)r) * (size_t)c->S + (size_t)s];
          }
}

// ---- callbacks -----------------------------------------------------------------------------------------------------

static int stem_configs(const bb_task *t, const bb_machine *machine, int threads, bb_config *out, int max) {
  const bb_conv *c = &t->problem.conv;
  // Twice L1 for the copied rows, of which a row of y meets a few; the more rows in a band, the fewer are copied twice.
  bb_config config = {.k = bb_min(t->y.map->blocks, STEM_NR), .rows = 1};
  const size_t l1 = machine->l1d ? machine->l1d : 32768;
  while (config.rows < c->P) {
    bb_config next = config;
    next.rows *= 2;
    const stem_memory s = stem_memory_of(t, &next);
    if (s.sums - s.rows > 2 * l1 && config.rows * c->stride_h >= c->R) break;
    config = next;
  }
  // Enough bands for stealing to even them out.
  if (threads > 1) config.rows = bb_max(1, bb_min(config.rows, c->P * c->N / (4 * threads)));
  config.rows = bb_min(config.rows, c->P);
  config.q = stem_most(config.k);
  int n = 0;
  for (; config.tile < (config.k > 1 ? STEM_KINDS : 1) && n < max; config.tile++) out[n++] = config;
  return n;
}

static bb_workspace stem_workspace(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  return (bb_workspace){gap_bytes(t, t->problem.conv.P), stem_memory_of(t, config).bytes};
}

// Rows [p0, p1) of image n, their rows of x being in the strip.
static void stem_band(const bb_args *a, const packed *pk, const stem_memory *s, int n, int p0, int p1) {
  const bb_task *t = a->task;
  const bb_conv *c = &t->problem.conv;
  const bb_epilogue *e = &t->epilogue;
  const int *offset = (const int *)(const void *)a->per_thread;
  const float *rows = (const float *)(const void *)(a->per_thread + s->rows);
  float *sums = epilogue_needs_scratch(e) ? (float *)(void *)(a->per_thread + s->sums) : NULL;
  const bool clamp = epilogue_is_clamp(e);
  stem_target to = {.ahead = (const ptrdiff_t *)(const void *)(a->per_thread + s->ahead),
                    .in_fma = a->config->tile == 1,
                    .row = stem_row_kind(c),
                    .clamp = clamp && e->act != BB_ACT_IDENTITY,
                    .low = clamp ? clamp_low(e->act) : -INFINITY,
                    .high = clamp ? clamp_high(e->act) : INFINITY};
  const int blocks = t->y.map->blocks, groups = bb_ceil_div(blocks, a->config->k);
  for (int p = p0; p < p1; p++) {
    const int h = p * c->stride_h - c->pad_t;
    const int r0 = h < 0 ? bb_ceil_div(-h, c->dil_h) : 0, r1 = h < c->H ? bb_min(c->R, (c->H - 1 - h) / c->dil_h + 1) : 0;
    to.offset = offset + r0 * c->C * c->S;
    to.taps = bb_max(0, r1 - r0) * c->C * c->S;
    for (int g = 0; g < groups; g++) {
      const int k0 = cut(blocks, groups, g), nr = cut(blocks, groups, g + 1) - k0;
      to.w = a->packed + pk->w + ((size_t)k0 * s->taps + (size_t)(r0 * c->C * c->S * nr)) * VL;
      to.bias = a->packed + pk->bias + (size_t)k0 * VL;
      to.y = sums ? sums : a->io.y + n * t->y.n_stride + k0 * t->y.c_stride + p * t->y.h_stride;
      to.y_block = sums ? (ptrdiff_t)c->Q * VL : t->y.c_stride;
      if (e->residual == BB_RESIDUAL_BEFORE_ACT) {
        to.x2 = a->io.x2 + n * t->x2.n_stride + k0 * t->x2.c_stride + p * t->x2.h_stride;
        to.x2_block = t->x2.c_stride;
      }
      stem_row(rows + (p - p0) * c->stride_h * s->strip.row, &to, c->Q, nr);
      for (int j = 0; !clamp && j < nr; j++)
        epilogue_row(a, to.y + j * to.y_block, n, k0 + j, p, 0, c->Q, e->gap ? gap_row(a, c->P, n, p, k0 + j) : NULL);
    }
  }
}

static void stem_run(const bb_args *a, size_t first, size_t last) {
  const bb_conv *c = &a->task->problem.conv;
  const stem_memory s = stem_memory_of(a->task, a->config);
  const packed pk = stem_layout(a->task);
  int *offset = (int *)(void *)a->per_thread;
  ptrdiff_t *ahead = (ptrdiff_t *)(void *)(a->per_thread + s.ahead);
  const ptrdiff_t y_block = epilogue_needs_scratch(&a->task->epilogue) ? (ptrdiff_t)c->Q * VL : a->task->y.c_stride;
  // Any mr*nr taps that follow each other fetch all lines of a tile of the widest kind, of narrower ones nearly all.
  const int blocks = a->task->y.map->blocks, nr = bb_ceil_div(blocks, bb_ceil_div(blocks, a->config->k)), mr = stem_most(nr);
  for (int i = 0; i < (int)s.taps; i++) ahead[i] = i / mr % nr * y_block + (STEM_AHEAD * mr + i % mr) * VL;
  for (int r = 0; r < c->R; r++)
    for (int ch = 0; ch < c->C; ch++)
      for (int i = 0; i < c->S; i++)
        *offset++ = (int)(r * c->dil_h * s.strip.row + ch * s.strip.channel) + i * c->dil_w % c->stride_w * s.strip.pitch +
                    i * c->dil_w / c->stride_w;
  const int bands = strip_bands(a->task, a->config);
  for (size_t i = first; i < last; i++) {
    const int n = (int)(i / (size_t)bands), band = (int)(i % (size_t)bands);
    const int p0 = band * a->config->rows, p1 = bb_min(c->P, p0 + a->config->rows);
    strip_fill(a, &pk, &s.strip, (float *)(void *)(a->per_thread + s.rows), n, p0, p1);
    stem_band(a, &pk, &s, n, p0, p1);
  }
}

// How many times as long FMAs take. Two loads start per cycle at least, which is not enough for two FMAs that both load and
// for weights; where one FMA of 512 bits starts per cycle, broadcasts to registers are in their way (3x3 on Zen 4: 64
// channels 95.2 and 96.3 % of peak, 32 channels and a stride of 2 86.5 and 88.3).
BB_INLINE double stem_slower(const bb_machine *machine, const bb_config *config) {
  if (!FMA_BROADCASTS) return 1;
  const bool in_fma = config->tile == 1;
  return fma_per_cycle(machine) == 1 ? (in_fma ? 1 : 1.015) : in_fma ? 1 + 1.0 / stem_most(config->k) : 1;
}

// Stores cost two cycles a vector on Zen 4 and hide behind FMAs in part; y leaves for the first cache that holds it.
static double stem_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, int threads) {
  const bb_conv *c = &t->problem.conv;
  const double vectors = (double)c->N * c->P * c->Q * t->y.map->blocks;
  const double taps = c->R * c->S * c->C * stem_slower(machine, config);
  return (vectors * (taps + 2) / fma_per_cycle(machine) + strip_y_cycles(machine, vectors)) / threads;
}

#endif
