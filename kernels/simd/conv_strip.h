// SPDX-License-Identifier: Apache-2.0
//
// Rows of plain NCHW as the first layer's kernels read them: copied, after the prologue, with zero columns for the padding, and
// cut into phases: column i*phases + f of the padded row stands at place i of phase f. Include vec.h first.

#ifndef BB_CONV_STRIP_H
#define BB_CONV_STRIP_H

#include "../bb.h"
#include "conv.h"

enum { STRIP_C = 4 };  // more input channels are better off in blocks

// [c][row][phase][pitch]
typedef struct strip {
  int rows, phases, pitch;  // input rows of a band; places of a phase
  ptrdiff_t row, channel;   // strides
} strip;

// For `band` rows of y.
BB_INLINE strip strip_of(const bb_conv *c, int band, int phases, int pitch) {
  strip s = {.rows = (bb_min(band, c->P) - 1) * c->stride_h + (c->R - 1) * c->dil_h + 1, .phases = phases, .pitch = pitch};
  s.row = (ptrdiff_t)phases * pitch;
  s.channel = s.rows * s.row;
  return s;
}

// A vector of pixels may be loaded where the last of them only is wanted.
BB_INLINE size_t strip_bytes(const bb_conv *c, const strip *s) {
  return bb_align_up(((size_t)c->C * (size_t)s->channel + VL) * sizeof(float), BB_ALIGN);
}

// Lanes first, first + 2, ... of two vectors.
BB_INLINE vi every_second(int first) {
  int lanes[VL];
  for (int l = 0; l < VL; l++) lanes[l] = 2 * l + first;
  return vloadi(lanes);
}

// The first `left` of VL pixels, `step` apart.
BB_INLINE vf strip_pixels(const float *x, int step, int left, vi even) {
  if (step == 1) return left < VL ? vload_n(x, left) : vload(x);
  // The neighbour of the last pixel may not be there to be read.
  if (left > VL) return vperm2(vload(x), vload(x + VL), even);
  const int n = 2 * left - 1;
  return vperm2(vload_n(x, bb_min(n, VL)), vload_n(x + VL, bb_max(n - VL, 0)), even);
}

BB_INLINE void strip_copy(const float *x, float *out, int n, int step, vf scale, vf shift, vf low) {
  const vi even = every_second(0);
  // Without masks where none is needed.
  int i = 0;
  for (; i + VL < n; i += VL) vstore(out + i, vmax(low, vfma(strip_pixels(x + i * step, step, VL + 1, even), scale, shift)));
  vstore_n(out + i, vmax(low, vfma(strip_pixels(x + i * step, step, n - i, even), scale, shift)), n - i);
}

static void strip_copy_any(const float *x, float *out, int n, int step, float scale, float shift, float low) {
  for (int i = 0; i < n; i++) {
    const float v = __builtin_fmaf(x[(ptrdiff_t)i * step], scale, shift);
    out[i] = low > v ? low : v;  // lets a NaN through
  }
}

// What the prologue does to a channel.
typedef struct strip_prologue {
  float scale, shift, low;
} strip_prologue;

// A phase of `rows` rows of a channel.
static void strip_copy_phase(const bb_conv *c, const strip *s, const float *x, ptrdiff_t h_stride, float *out, int rows,
                             int phase, strip_prologue pro) {
  // Places [i0, i1) hold columns of the image.
  const int before = c->pad_l - phase, after = c->W - 1 + before, step = s->phases;
  const int i0 = before > 0 ? bb_min(s->pitch, bb_ceil_div(before, step)) : 0;
  const int i1 = after < 0 ? i0 : bb_max(i0, bb_min(s->pitch, after / step + 1)), n = i1 - i0;
  x += (ptrdiff_t)i0 * step - before;
  const vf scale = vset1(pro.scale), shift = vset1(pro.shift), low = vset1(pro.low);
  for (int h = 0; h < rows; h++, x += h_stride, out += s->row) {
    for (int i = 0; i < i0; i++) out[i] = 0;
    for (int i = i1; i < s->pitch; i++) out[i] = 0;
    if (n == 0) continue;
    if (step == 1)
      strip_copy(x, out + i0, n, 1, scale, shift, low);
    else if (step == 2)
      strip_copy(x, out + i0, n, 2, scale, shift, low);
    else
      strip_copy_any(x, out + i0, n, step, pro.scale, pro.shift, pro.low);
  }
}

// Two phases in one go: each line is read once. Zeros of the padding come from masked loads, which a prologue
// would not leave zeros.
static void strip_copy_pairs(const bb_conv *c, const strip *s, const float *x, ptrdiff_t h_stride, float *out, int rows) {
  const vi even = every_second(0), odd = every_second(1);
  // Place i holds columns 2*i - pad_l and the next; in the first `lead` places the former lies left of the image.
  const int lead = bb_min(s->pitch, (c->pad_l + 1) / 2);
  for (int h = 0; h < rows; h++, x += h_stride, out += s->row) {
    float *const second = out + s->pitch;
    for (int i = 0; i < lead; i++) {
      const int w = 2 * i - c->pad_l;
      out[i] = w >= 0 && w < c->W ? x[w] : 0;
      second[i] = w + 1 >= 0 && w + 1 < c->W ? x[w + 1] : 0;
    }
    int i = lead, w = 2 * lead - c->pad_l;
    for (; i + VL <= s->pitch && w + 2 * VL <= c->W; i += VL, w += 2 * VL) {
      const vf a = vload(x + w), b = vload(x + w + VL);
      vstore(out + i, vperm2(a, b, even));
      vstore(second + i, vperm2(a, b, odd));
    }
    for (; i < s->pitch; i += VL, w += 2 * VL) {
      const int left = bb_max(0, c->W - w), n = bb_min(VL, s->pitch - i);
      const vf a = left ? vload_n(x + w, bb_min(VL, left)) : vzero();
      const vf b = left > VL ? vload_n(x + w + VL, bb_min(VL, left - VL)) : vzero();
      vstore_n(out + i, vperm2(a, b, even), n);
      vstore_n(second + i, vperm2(a, b, odd), n);
    }
  }
}

// Rows of image n that output rows [p0, p1) meet.
static void strip_fill(const bb_args *a, const packed *pk, const strip *s, float *rows, int n, int p0, int p1) {
  const bb_task *t = a->task;
  const bb_conv *c = &t->problem.conv;
  const int first = p0 * c->stride_h - c->pad_t;
  const int h0 = bb_max(0, first), h1 = bb_min(c->H, (p1 - 1) * c->stride_h - c->pad_t + (c->R - 1) * c->dil_h + 1);
  for (int l = 0; l < bb_map_lanes(t->x.map); l++) {
    const int ch = t->x.map->lane[l];
    if (ch < 0) continue;
    const float *x = a->io.x + n * t->x.n_stride + l * t->x.c_stride + h0 * t->x.h_stride;
    float *const out = rows + ch * s->channel + (h0 - first) * s->row;
    if (s->phases == 2 && !has_prologue(&t->prologue)) {
      strip_copy_pairs(c, s, x, t->x.h_stride, out, h1 - h0);
      continue;
    }
    strip_prologue pro = {.scale = 1, .low = t->prologue.relu ? 0 : -INFINITY};
    if (t->prologue.scale_shift) pro.scale = a->packed[pk->scale + (size_t)l], pro.shift = a->packed[pk->shift + (size_t)l];
    if (t->prologue.dynamic_scale) pro.scale *= a->io.x_scale[(size_t)n * (size_t)bb_map_lanes(t->x.map) + (size_t)l];
    for (int phase = 0; phase < s->phases; phase++)
      strip_copy_phase(c, s, x, t->x.h_stride, out + phase * s->pitch, h1 - h0, phase, pro);
  }
}

// ---- what first layers share beside -----------------------------------------------------------------------------------

// Packed: bias, scale, shift, then `each` weights for each lane of y.
BB_INLINE packed strip_layout(const bb_task *t, int each) {
  const size_t ylanes = bb_align_up((size_t)bb_map_lanes(t->y.map), BB_MAX_BLOCK);
  const size_t xlanes = t->prologue.scale_shift ? bb_align_up((size_t)bb_map_lanes(t->x.map), BB_MAX_BLOCK) : 0;
  packed p = {.bias = 0, .scale = ylanes, .shift = ylanes + xlanes, .w = ylanes + 2 * xlanes};
  p.floats = p.w + (size_t)each * (size_t)bb_map_lanes(t->y.map);
  return p;
}

// All but the weights.
static void strip_pack_vectors(const bb_task *t, const packed *p, const bb_weights *weights, float *out) {
  pack_vector(t->y.map, weights->b, out + p->bias);
  if (!t->prologue.scale_shift) return;
  pack_vector(t->x.map, weights->scale, out + p->scale);
  pack_vector(t->x.map, weights->shift, out + p->shift);
}

// A band of rows of y is a tile of work.
BB_INLINE int strip_bands(const bb_task *t, const bb_config *config) { return bb_ceil_div(t->problem.conv.P, config->rows); }

static size_t strip_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  return (size_t)t->y.N * (size_t)strip_bands(t, config);
}

static size_t strip_gap_tiles(const bb_task *t, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return gap_tiles(t);
}

static void strip_gap_run(const bb_args *a, size_t first, size_t last) { gap_reduce(a, a->task->problem.conv.P, first, last); }

// y leaves for the first cache that holds it.
BB_INLINE double strip_y_cycles(const bb_machine *machine, double vectors) {
  const double bytes = vectors * VL * sizeof(float) * 2;  // read for ownership, write
  const double rate = bytes < (double)machine->l2   ? machine->l2_bytes_per_cycle
                      : bytes < (double)machine->l3 ? machine->l3_bytes_per_cycle
                                                    : machine->dram_bytes_per_cycle;
  return rate > 0 ? bytes / rate : 0;
}

#endif
