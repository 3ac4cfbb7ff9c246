// SPDX-License-Identifier: Apache-2.0
//
// Direct convolution of every kind, NCHW, portable C: the floor that every CPU has.
//
// One tile = one plane of y. Order: stretch of columns > c > r > s > q, so that the sums of a stretch stay in L1 and the loop
// over q is a plain vector loop. Taps that meet padding are clipped, one (r, s) at a time. A 1x1 convolution over dense planes
// is one long row.

#include "../bb.h"
#include "generic.h"

typedef struct params {
  const float *w;              // K x C/G x R x S
  const float *b;              // K
  const float *scale, *shift;  // C
  const float *lane;           // C: lane of x that holds the channel (exact: below 2^24)
} params;

static size_t weight_count(const bb_conv *v) { return (size_t)v->K * (size_t)(v->C / v->G) * (size_t)v->R * (size_t)v->S; }

static size_t packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  const bb_conv *v = &task->problem.conv;
  return (weight_count(v) + (size_t)v->K + 3 * (size_t)v->C) * sizeof(float);
}

static params unpack(const bb_conv *v, const float *packed) {
  const float *b = packed + weight_count(v);
  return (params){packed, b, b + v->K, b + v->K + v->C, b + v->K + 2 * v->C};
}

static void pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config;
  const bb_conv *v = &task->problem.conv;
  const bool scale = task->prologue.scale_shift && weights->scale, shift = task->prologue.scale_shift && weights->shift;
  memcpy(packed, weights->w, weight_count(v) * sizeof *packed);
  packed += weight_count(v);
  for (int k = 0; k < v->K; k++) *packed++ = task->epilogue.bias ? weights->b[k] : 0;
  for (int c = 0; c < v->C; c++) *packed++ = scale ? weights->scale[c] : 1;
  for (int c = 0; c < v->C; c++) *packed++ = shift ? weights->shift[c] : 0;
  for (int c = 0; c < v->C; c++) *packed++ = (float)lane_of(task->x.map, c);
}

static bool accepts(const bb_task *task) { return task->x.block == 1 && task->y.block == 1; }

// A 1x1 convolution whose tensors have no gaps between rows: P x Q outputs are one row of them.
static bool is_flat(const bb_task *t) {
  const bb_conv *v = &t->problem.conv;
  return v->R == 1 && v->S == 1 && v->stride_h == 1 && v->stride_w == 1 && !v->pad_t && !v->pad_b && !v->pad_l && !v->pad_r &&
         t->x.h_stride == v->W && t->y.h_stride == v->Q && (!t->epilogue.residual || t->x2.h_stride == v->Q) &&
         (!t->epilogue.second || t->y2.h_stride == v->Q);
}

static bool is_plain(const bb_prologue *pro) { return !pro->dynamic_scale && !pro->scale_shift && !pro->relu; }

// Every stride-th of n pixels of channel c through the prologue.
static void prologue_row(const bb_prologue *pro, float factor, float scale, float shift, const float *restrict x,
                         ptrdiff_t stride, int n, float *restrict out) {
  for (int i = 0; i < n; i++) out[i] = x[i * stride];
  if (pro->dynamic_scale) {
    for (int i = 0; i < n; i++) out[i] *= factor;
  }
  if (pro->scale_shift) {
    for (int i = 0; i < n; i++) out[i] = scale * out[i] + shift;
  }
  if (pro->relu) {
    for (int i = 0; i < n; i++) out[i] = out[i] < 0 ? 0 : out[i];
  }
}

BB_INLINE void accumulate(float *restrict sum, float w, const float *restrict x, ptrdiff_t stride, int n) {
  for (int i = 0; i < n; i++) sum[i] += w * x[i * stride];
}

// Sums of outputs (p, q0 + i), 0 <= i < count, of plane t.
static void sums(const bb_args *a, const bb_conv *v, const params *m, plane t, int p, int q0, int count, float *sum) {
  const bb_prologue *pro = &a->task->prologue;
  const bb_view *view = &a->task->x;
  const bool plain = is_plain(pro);
  const int Cg = v->C / v->G, c0 = t.c / (v->K / v->G) * Cg, lanes = bb_map_lanes(view->map);
  const float *w = m->w + (size_t)t.c * (size_t)Cg * (size_t)v->R * (size_t)v->S;
  float row[CHUNK];

  for (int i = 0; i < count; i++) sum[i] = m->b[t.c];
  for (int c = c0; c < c0 + Cg; c++) {
    const int lane = (int)m->lane[c];
    const float factor = pro->dynamic_scale ? a->io.x_scale[(size_t)t.n * (size_t)lanes + (size_t)lane] : 1;
    for (int r = 0; r < v->R; r++, w += v->S) {
      const int h = p * v->stride_h - v->pad_t + r * v->dil_h;
      if (h < 0 || h >= v->H) continue;
      const float *x = a->io.x + row_offset(view, t.n, lane, h);
      for (int s = 0; s < v->S; s++) {
        const int from = bb_max(q0, bb_first_valid(s, v->dil_w, v->pad_l, v->stride_w));
        const int to = bb_min(q0 + count, bb_end_valid(s, v->dil_w, v->pad_l, v->stride_w, v->W, v->Q));
        if (from >= to) continue;
        const float *at = x + (from * v->stride_w - v->pad_l + s * v->dil_w);
        if (!plain) {
          prologue_row(pro, factor, m->scale[c], m->shift[c], at, v->stride_w, to - from, row);
          accumulate(sum + (from - q0), w[s], row, 1, to - from);
        } else if (v->stride_w == 1) {
          accumulate(sum + (from - q0), w[s], at, 1, to - from);
        } else {
          accumulate(sum + (from - q0), w[s], at, v->stride_w, to - from);
        }
      }
    }
  }
}

// Finishes and stores the sums; returns their total for the mean.
static double finish(const bb_args *a, plane t, int p, int q0, int count, float *sum) {
  const bb_task *task = a->task;
  const bb_epilogue *e = &task->epilogue;
  const float *residual = e->residual ? a->io.x2 + row_offset(&task->x2, t.n, t.lane, p) + q0 : NULL;
  if (e->residual == BB_RESIDUAL_BEFORE_ACT) {
    for (int i = 0; i < count; i++) sum[i] += residual[i];
  }
  act_row(e, sum, count);
  if (e->scale) {
    const float scale = a->io.y_scale[(size_t)t.n * (size_t)bb_map_lanes(task->y.map) + (size_t)t.lane];
    for (int i = 0; i < count; i++) sum[i] *= scale;
  }
  if (e->residual == BB_RESIDUAL_AFTER_ACT) {
    for (int i = 0; i < count; i++) sum[i] += residual[i];
  }
  memcpy(a->io.y + row_offset(&task->y, t.n, t.lane, p) + q0, sum, (size_t)count * sizeof *sum);
  if (e->second) memcpy(a->io.y2 + row_offset(&task->y2, t.n, t.lane, p) + q0, sum, (size_t)count * sizeof *sum);
  double total = 0;
  if (e->gap) {
    for (int i = 0; i < count; i++) total += (double)sum[i];
  }
  return total;
}

static void run(const bb_args *a, size_t first, size_t last) {
  const bb_task *task = a->task;
  bb_conv v = task->problem.conv;
  const params m = unpack(&v, a->packed);
  const double pixels = (double)v.P * v.Q;
  if (is_flat(task)) {
    v.W *= v.H, v.H = 1;
    v.Q *= v.P, v.P = 1;
  }
  float sum[CHUNK];
  for (size_t i = first; i < last; i++) {
    const plane t = plane_at(task, i);
    double total = 0;
    if (t.c < 0) {
      zero_plane(&task->y, a->io.y, t.n, t.lane);
      if (task->epilogue.second) zero_plane(&task->y2, a->io.y2, t.n, t.lane);
    } else {
      for (int p = 0; p < v.P; p++) {
        for (int q = 0; q < v.Q; q += CHUNK) {
          const int count = bb_min(CHUNK, v.Q - q);
          sums(a, &v, &m, t, p, q, count, sum);
          total += finish(a, t, p, q, count, sum);
        }
      }
    }
    if (task->epilogue.gap) a->io.gap[i] = (float)(total / pixels);
  }
}

// Each tap, and the beginning and the end of the sums, is a pass over a stretch of columns. Its cycles are by fit on Zen 5 (gcc
// 12), one thread, to 37 shapes, dense, grouped, depthwise and strided: 0.75 to 1.3 of the measured time, 0.67 of the one whose
// x comes from L3 for each plane of y. A prologue is applied again in each pass, which then takes 3.5 to 4.2 times as long.
static double cycles(const bb_task *task, const bb_machine *machine, const bb_config *config, int threads) {
  (void)machine;
  const bb_conv *v = &task->problem.conv;
  const double begin = 17, column = v->stride_w == 1 ? 0.4 : 0.9, prologue = is_plain(&task->prologue) ? 1 : 4;
  const double stretches = is_flat(task) ? ceil((double)v->P * v->Q / CHUNK) : (double)v->P * bb_ceil_div(v->Q, CHUNK);
  const double taps = (double)(v->C / v->G) * v->R * v->S, planes = (double)v->N * v->K;
  const double columns = bb_conv_flops_valid(v) / 2 + 2 * planes * v->P * v->Q;
  const double tiles = (double)plane_tiles(task, config, threads);
  return prologue * (planes * stretches * (taps + 2) * begin + columns * column) * ceil(tiles / threads) / tiles;
}

const bb_kernel bb_conv_direct_nchw_generic = {
    .name = "conv_direct_nchw_generic",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_GENERIC,
    .x_block = 1,
    .y_block = 1,
    .block = {.q = CHUNK, .k = 1, .c = 1},
    .accepts = accepts,
    .cycles = cycles,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .stage = {{"conv", plane_tiles, run}},
};
