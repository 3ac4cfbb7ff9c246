// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(2x2, 3x3) of a first layer: up to four input channels in plain NCHW, output in channel blocks (../winograd.h; 3x3,
// stride 1, any padding, size, batch, map of y). With so few channels the products are too short to leave registers: no M.
//
// A tile of work is a band of output rows, whose rows of x are copied as conv_strip.h says, even and odd columns apart. For
// each pair of output rows V = B^T d B of all its tiles, vectorised over neighbouring tiles,
//
//   V[segment][f][channel][tile of the segment]
//
// then for nr blocks of output channels at once T tiles at a time. Frequencies come in an order in which sums die early, rows
// of A^T in the inner loop, of A in the outer: 1 and 2, of which both outputs have the sum or the difference, then 0, 3. So
// 7*T*nr registers are the most that is alive beside U and a broadcast of V: T*nr = 4 of 32, 2 of 16.
//
// Against the 27 FMAs of a direct pixel of three channels stand 12, 4 additions, and 12/T + 12/nr loads.
//
// Not-finite input: as conv_wino.h.
//
// The file of an ISA defines before: WSTEM_NR, blocks of a register tile; WSTEM_T, tiles beside so many, and wstem_most(nr)
// beside nr = 1 or WSTEM_NR; wstem_products(), a frequency's sums.

#ifndef BB_CONV_WINO_STEM_H
#define BB_CONV_WINO_STEM_H

#include "../bb.h"
#include "conv_strip.h"
#include "wino.h"

enum {
  WSTEM_FREQS = 16,
  WSTEM_SEGMENT = 64,  // tiles: whole vectors; a constant, so that all of V is at constant offsets
  WSTEM_AHEAD = 16,    // pixels of y
};

// The order of rows and columns of V, U, and M, and the place of each in it.
static const int wstem_order[4] = {1, 2, 0, 3}, wstem_place[4] = {2, 0, 1, 3};

static bool wstem_accepts(const bb_task *t) {
  const bb_conv *c = &t->problem.conv;
  return c->R == 3 && c->S == 3 && c->stride_h == 1 && c->stride_w == 1 && c->dil_h == 1 && c->dil_w == 1 && c->G == 1 &&
         c->C <= STRIP_C && t->x.block == 1 && t->y.block == VL;
}

// ---- the memory of a thread ----------------------------------------------------------------------------------------

typedef struct wstem_memory {
  strip strip;
  int cols, segments;           // tiles of a row of tiles
  size_t segment;               // floats of V
  size_t rows, v, sums, bytes;  // byte offsets, behind a row of zeros: the copied rows, V, raw sums; all of it
} wstem_memory;

BB_INLINE wstem_memory wstem_memory_of(const bb_task *t, const bb_config *config) {
  const bb_conv *c = &t->problem.conv;
  wstem_memory m = {.cols = bb_ceil_div(c->Q, 2)};
  // The transform loads whole vectors, and the neighbours of their tiles.
  m.strip = strip_of(c, config->rows, 2, bb_round_up(m.cols + 1, VL));
  m.segments = bb_ceil_div(m.cols, WSTEM_SEGMENT);
  m.segment = (size_t)(WSTEM_FREQS * c->C * WSTEM_SEGMENT);
  m.rows = bb_align_up(((size_t)m.strip.row + VL) * sizeof(float), BB_ALIGN);
  m.v = m.rows + strip_bytes(c, &m.strip);
  m.sums = m.v + bb_align_up(((size_t)m.segments * m.segment + VL) * sizeof(float), BB_ALIGN);
  m.bytes = m.sums + (epilogue_needs_scratch(&t->epilogue) ? 2 * WSTEM_NR * (size_t)c->Q * VL * sizeof(float) : 0);
  return m;
}

// ---- V -------------------------------------------------------------------------------------------------------------

// VL tiles of a channel; d: their rows, even columns; odd ones a pitch behind. From row to row of V a pitch of its own.
BB_INLINE void wstem_input(const float *const *d, ptrdiff_t odd, float *v, ptrdiff_t pitch) {
  vf half[4][4];
  BB_UNROLL
  for (int j = 0; j < 4; j++) {
    vf column[4], out[4];
    BB_UNROLL
    for (int i = 0; i < 4; i++) column[i] = vload(d[i] + (j % 2 ? odd : 0) + j / 2);
    wino23_input(column, out);
    BB_UNROLL
    for (int i = 0; i < 4; i++) half[i][j] = out[i];
  }
  BB_UNROLL
  for (int i = 0; i < 4; i++) {
    vf out[4];
    wino23_input(half[i], out);
    BB_UNROLL
    for (int j = 0; j < 4; j++) vstore(v + (wstem_place[j] * 4 + wstem_place[i]) * pitch, out[j]);
  }
}

// Of the pair of output rows that begins with p; `rows` are those of the band that begins with p0.
static void wstem_transform(const bb_conv *c, const wstem_memory *m, const float *zeros, const float *rows, float *v, int p0,
                            int p) {
  for (int ch = 0; ch < c->C; ch++) {
    const float *d[4];
    for (int r = 0; r < 4; r++) {
      const int h = p - c->pad_t + r;
      d[r] = h >= 0 && h < c->H ? rows + ch * m->strip.channel + (p - p0 + r) * m->strip.row : zeros;
    }
    for (int t = 0; t < m->cols; t += VL) {
      const float *const from[4] = {d[0] + t, d[1] + t, d[2] + t, d[3] + t};
      float *const to = v + (size_t)(t / WSTEM_SEGMENT) * m->segment + (size_t)(ch * WSTEM_SEGMENT + t % WSTEM_SEGMENT);
      wstem_input(from, m->strip.pitch, to, (ptrdiff_t)c->C * WSTEM_SEGMENT);
    }
  }
}

// ---- register tiles ------------------------------------------------------------------------------------------------

// A segment of a pair of rows of a few blocks.
typedef struct wstem_target {
  const float *v, *u;  // [f][channel][WSTEM_SEGMENT], [block][f][channel][VL]
  const float *bias;   // [block][VL]
  float *y;            // its first pixel
  const float *x2;     // residual that comes before the activation, or NULL
  ptrdiff_t y_row, y_block, x2_row, x2_block;
  bool floor, cap;  // is there one?
  vf low, high;
} wstem_target;

// A^T M A of T tiles from t on, of nr blocks: wino23_output() in both directions, sum by sum; whatever is added to a sum is
// where its products begin.
BB_INLINE void wstem_tile(const wstem_target *to, int t, int C, int T, int nr) {
  enum { MOST = WSTEM_T * WSTEM_NR };
  const int lines = bb_max(1, 2 * T * VL / LINE), count = T * nr;  // of y, of a row of a block; sums [tile][block]
  const float *const v = bb_in_register(to->v + t), *u = to->u;
  float *const y = to->y + 2 * t * VL, *const ahead = y + WSTEM_AHEAD * VL;
  // volatile: the loop over tiles leaves U in memory, where there is room for it.
  __asm__ volatile("" : "+r"(u));
  vf out[2][2][MOST];  // column, row
  BB_UNROLL
  for (int j = 0; j < 4; j++) {
    vf m[2][MOST];
    BB_UNROLL
    for (int i = 0; i < 4; i++) {
      const int f = 4 * j + i, row = f / lines % 2, block = f / lines / 2;
      // Lines of y that were driven out of the caches are back in time, one per frequency.
      if (block < nr) __builtin_prefetch(ahead + row * to->y_row + block * to->y_block + f % lines * LINE, 1, 3);
      BB_UNROLL
      for (int k = 0; k < count && f == 0; k++) m[0][k] = vload(to->bias + k % nr * VL);  // a term of all four outputs
      wstem_products(v + f * C * WSTEM_SEGMENT, u + f * C * VL, i < 2 && f > 0, C, T, nr, WSTEM_SEGMENT, m[i % 2]);
      BB_UNROLL
      for (int k = 0; k < count && i == 1; k++) {
        const vf sum = vadd(m[0][k], m[1][k]), difference = vsub(m[0][k], m[1][k]);
        m[0][k] = j < 2 ? sum : vadd(sum, out[j - 2][0][k]);
        m[1][k] = j < 2 ? difference : vadd(difference, out[j - 2][1][k]);
      }
    }
    BB_UNROLL
    for (int k = 0; k < 2 * count; k++) {
      const vf x = m[k / count][k % count];
      vf *const left = &out[0][k / count][k % count], *const right = &out[1][k / count][k % count];
      if (j == 1) *right = vsub(*left, x), *left = vadd(*left, x);
      if (j == 0 || j == 2) *left = x;
      if (j == 3) *right = x;
    }
  }
  if (to->x2) {
    BB_UNROLL
    for (int k = 0; k < 4 * count; k++) {
      const int column = k % 2, row = k / 2 % 2, at = k / 4, tile = at / nr, block = at % nr;
      const float *const x2 = to->x2 + (2 * (t + tile) + column) * VL + row * to->x2_row + block * to->x2_block;
      out[column][row][at] = vadd(out[column][row][at], vload(x2));
    }
  }
  if (to->floor) {
    BB_UNROLL
    for (int k = 0; k < 4 * count; k++) out[k % 2][k / 2 % 2][k / 4] = vmax(to->low, out[k % 2][k / 2 % 2][k / 4]);
  }
  if (to->cap) {
    BB_UNROLL
    for (int k = 0; k < 4 * count; k++) out[k % 2][k / 2 % 2][k / 4] = vmin(to->high, out[k % 2][k / 2 % 2][k / 4]);
  }
  BB_UNROLL
  for (int k = 0; k < 4 * count; k++) {
    const int column = k % 2, row = k / 2 % 2, at = k / 4, tile = at / nr, block = at % nr;
    vstore(y + (2 * tile + column) * VL + row * to->y_row + block * to->y_block, out[column][row][at]);
  }
}

#define WSTEM_TILES(T)                                                                     \
  case T:                                                                                  \
    for (; T <= wstem_most(nr) && count > 0; count--, t += T) wstem_tile(to, t, C, T, nr); \
    break

// In the least number of register tiles, of as equal size as there can be.
BB_INLINE void wstem_segment_of(const wstem_target *to, int cols, int C, int nr) {
  const int tiles = bb_ceil_div(cols, wstem_most(nr)), few = tiles ? cols / tiles : 0, wide = tiles ? cols % tiles : 0;
  int t = 0;
  for (int more = 1; more >= 0; more--) {
    int count = more ? wide : tiles - wide;
    switch (few + more) {
      WSTEM_TILES(1);
      WSTEM_TILES(2);
      WSTEM_TILES(3);
      WSTEM_TILES(4);
    }
  }
}

#undef WSTEM_TILES

#define WSTEM_SEGMENTS(C)                      \
  case C:                                      \
    if (nr == 1)                               \
      wstem_segment_of(to, cols, C, 1);        \
    else if (WSTEM_NR > 1)                     \
      wstem_segment_of(to, cols, C, WSTEM_NR); \
    break

static void wstem_segment(const wstem_target *to, int cols, int C, int nr) {
  switch (C) {
    WSTEM_SEGMENTS(1);
    WSTEM_SEGMENTS(2);
    WSTEM_SEGMENTS(3);
    WSTEM_SEGMENTS(4);
  }
}

#undef WSTEM_SEGMENTS

// Tile t, of which some rows or columns are outside y.
static void wstem_partial(const wstem_target *to, int t, int rows, int columns, int C, int nr) {
  float all[WSTEM_NR][2][2][VL];
  const wstem_target whole = {
      .v = to->v + t, .u = to->u, .bias = to->bias, .y = all[0][0][0], .y_row = 2 * VL, .y_block = 4 * VL};
  wstem_segment(&whole, 1, C, nr);
  for (int j = 0; j < nr; j++) {
    for (int i = 0; i < rows * columns; i++) {
      const ptrdiff_t row = i / columns, q = 2 * t + i % columns;
      vf x = vload(all[j][row][i % columns]);
      if (to->x2) x = vadd(x, vload(to->x2 + q * VL + row * to->x2_row + j * to->x2_block));
      if (to->floor) x = vmax(to->low, x);
      if (to->cap) x = vmin(to->high, x);
      vstore(to->y + q * VL + row * to->y_row + j * to->y_block, x);
    }
  }
}

// ---- packed parameters: bias, scale, shift, U[block][f][c][VL] -------------------------------------------------------

BB_INLINE packed wstem_layout(const bb_task *t) { return strip_layout(t, WSTEM_FREQS * t->problem.conv.C); }

static size_t wstem_packed_bytes(const bb_task *t, const bb_config *config) {
  (void)config;
  return wstem_layout(t).floats * sizeof(float);
}

static void wstem_pack(const bb_task *t, const bb_config *config, const bb_weights *weights, float *out) {
  const int C = t->problem.conv.C;
  const packed p = wstem_layout(t);
  (void)config;
  memset(out, 0, p.floats * sizeof(float));
  strip_pack_vectors(t, &p, weights, out);
  for (int l = 0; l < bb_map_lanes(t->y.map); l++) {
    const int k = t->y.map->lane[l];
    for (int c = 0; k >= 0 && c < C; c++) {
      float u[WSTEM_FREQS];
      wino_filter(&bb_wino23, weights->w + (size_t)(k * C + c) * 9, u);
      for (int f = 0; f < WSTEM_FREQS; f++) {
        const int at = wstem_order[f % 4] * 4 + wstem_order[f / 4];
        out[p.w + (size_t)(((l / VL * WSTEM_FREQS + f) * C + c) * VL + l % VL)] = u[at];
      }
    }
  }
}

// ---- callbacks -----------------------------------------------------------------------------------------------------

static int wstem_configs(const bb_task *t, const bb_machine *machine, int threads, bb_config *out, int max) {
  const bb_conv *c = &t->problem.conv;
  (void)max;
  // Pairs of rows. The more in a band, the fewer are copied twice; L1 for the copied ones.
  bb_config config = {.q = WSTEM_T, .k = WSTEM_NR, .rows = 2};
  const size_t l1 = machine->l1d ? machine->l1d : 32768;
  for (; config.rows < c->P; config.rows *= 2) {
    const bb_config next = {.rows = 2 * config.rows};
    const wstem_memory m = wstem_memory_of(t, &next);
    if (m.v - m.rows > l1) break;
  }
  // Enough bands for stealing to even them out.
  if (threads > 1) config.rows = bb_max(2, bb_min(config.rows, c->P * c->N / (4 * threads) / 2 * 2));
  *out = config;
  return 1;
}

static bb_workspace wstem_workspace(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  return (bb_workspace){gap_bytes(t, t->problem.conv.P), wstem_memory_of(t, config).bytes};
}

// Rows p and, if it is there, p + 1 of image n, whose V is there.
static void wstem_pair(const bb_args *a, const packed *pk, const wstem_memory *m, const float *v, float *sums, int n, int p) {
  const bb_task *t = a->task;
  const bb_conv *c = &t->problem.conv;
  const bb_epilogue *e = &t->epilogue;
  const bool clamp = epilogue_is_clamp(e), before = e->residual == BB_RESIDUAL_BEFORE_ACT;
  const int blocks = t->y.map->blocks, rows = bb_min(2, c->P - p);
  wstem_target to = {.y_row = sums ? (ptrdiff_t)c->Q * VL : t->y.h_stride,
                     .y_block = sums ? 2 * (ptrdiff_t)c->Q * VL : t->y.c_stride,
                     .x2_row = before ? t->x2.h_stride : 0,
                     .x2_block = before ? t->x2.c_stride : 0,
                     .floor = clamp && e->act != BB_ACT_IDENTITY,
                     .cap = clamp && e->act == BB_ACT_RELU6,
                     .low = vset1(clamp_low(e->act)),
                     .high = vset1(clamp_high(e->act))};
  for (int k = 0, nr; k < blocks; k += nr) {
    nr = blocks - k < WSTEM_NR ? 1 : WSTEM_NR;
    float *const y = sums ? sums : a->io.y + n * t->y.n_stride + k * t->y.c_stride + p * t->y.h_stride;
    const float *const x2 = before ? a->io.x2 + n * t->x2.n_stride + k * t->x2.c_stride + p * t->x2.h_stride : NULL;
    to.u = a->packed + pk->w + (size_t)(k * WSTEM_FREQS * c->C) * VL;
    to.bias = a->packed + pk->bias + (size_t)k * VL;
    for (int s = 0; s < m->segments; s++) {
      const int first = s * WSTEM_SEGMENT, cols = bb_min(m->cols - first, WSTEM_SEGMENT);
      const int whole = rows == 2 ? bb_min(cols, c->Q / 2 - first) : 0;
      to.v = v + (size_t)s * m->segment;
      to.y = y + 2 * first * VL;
      to.x2 = x2 ? x2 + 2 * first * VL : NULL;
      wstem_segment(&to, whole, c->C, nr);
      for (int i = whole; i < cols; i++) wstem_partial(&to, i, rows, bb_min(2, c->Q - 2 * (first + i)), c->C, nr);
    }
    for (int i = 0; !clamp && i < nr * rows; i++) {
      const int block = k + i / rows, row = i % rows;
      epilogue_row(a, y + i / rows * to.y_block + row * to.y_row, n, block, p + row, 0, c->Q,
                   e->gap ? gap_row(a, c->P, n, p + row, block) : NULL);
    }
  }
}

static void wstem_run(const bb_args *a, size_t first, size_t last) {
  const bb_conv *c = &a->task->problem.conv;
  const wstem_memory m = wstem_memory_of(a->task, a->config);
  const packed pk = wstem_layout(a->task);
  assert(a->config->rows % 2 == 0);
  float *const zeros = (float *)(void *)a->per_thread, *const rows = (float *)(void *)(a->per_thread + m.rows);
  float *const v = (float *)(void *)(a->per_thread + m.v);
  float *const sums = epilogue_needs_scratch(&a->task->epilogue) ? (float *)(void *)(a->per_thread + m.sums) : NULL;
  memset(zeros, 0, m.rows);
  const int bands = strip_bands(a->task, a->config);
  for (size_t i = first; i < last; i++) {
    const int n = (int)(i / (size_t)bands), band = (int)(i % (size_t)bands);
    const int p0 = band * a->config->rows, p1 = bb_min(c->P, p0 + a->config->rows);
    strip_fill(a, &pk, &m.strip, rows, n, p0, p1);
    for (int p = p0; p < p1; p += 2) {
      wstem_transform(c, &m, zeros, rows, v, p0, p);
      wstem_pair(a, &pk, &m, v, sums, n, p);
    }
  }
}

// The 16 additions of a tile are taken for 24 FMAs, on the safe side: on Zen 3 direct convolution of three channels then takes
// 1.30 times as long by prediction, 1.1 to 1.2 times by measurement. Stores and y as in stem_cycles().
static double wstem_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, int threads) {
  const bb_conv *c = &t->problem.conv;
  const double tiles = (double)c->N * bb_ceil_div(c->P, 2) * bb_ceil_div(c->Q, 2), blocks = t->y.map->blocks;
  const double vectors = (double)c->N * c->P * c->Q * blocks;
  const double fmas = WSTEM_FREQS * c->C, loads = fmas * (1.0 / WSTEM_NR + 1.0 / WSTEM_T);
  (void)config;
  const double input = 48.0 * c->C / VL;
  return (tiles * (blocks * fmax(fmas + 24, loads) + input) / fma_per_cycle(machine) + vectors * 2 / fma_per_cycle(machine) +
          strip_y_cycles(machine, vectors)) /
         threads;
}

static double wstem_executed_flops(const bb_task *t, const bb_config *config) {
  const bb_conv *c = &t->problem.conv;
  (void)config;
  return 2.0 * WSTEM_FREQS * c->N * bb_ceil_div(c->P, 2) * bb_ceil_div(c->Q, 2) * (double)c->K * c->C;
}

static double wstem_error_bound(const bb_task *t, const bb_config *config) {
  (void)config;
  return wino_bound(2, t->problem.conv.C, STRIP_C);
}

#define WINO_STEM(isa_level, full_name)                                                                           \
  {                                                                                                               \
    .name = full_name, .op = BB_OP_CONV, .alg = BB_ALG_WINO23, .isa = isa_level, .x_block = 1, .y_block = VL,     \
    .block = {.q = 2 * WSTEM_T, .k = WSTEM_NR * VL, .c = 1}, .accepts = wstem_accepts, .configs = wstem_configs,  \
    .cycles = wstem_cycles, .packed_bytes = wstem_packed_bytes, .pack = wstem_pack, .workspace = wstem_workspace, \
    .executed_flops = wstem_executed_flops, .error_bound = wstem_error_bound, .stage = {                          \
      {"rows", strip_tiles, wstem_run},                                                                           \
      {"means", strip_gap_tiles, strip_gap_run}                                                                   \
    }                                                                                                             \
  }

#endif
