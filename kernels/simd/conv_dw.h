// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolution: C = K = G, the same channel map for x and y, so that each block of channels meets itself only. Rows
// are walked as conv_rows.h says, each row of x being read R times from L1. The file that includes this sets ROWS_M.
//
// 3x3: R*S FMAs per output vector against (3*(ROWS_M + 2) + 9)/ROWS_M loads and one store; the rest is memory: per output pixel
// one line of x comes from L2 (or beyond) and one of y comes and goes.

#ifndef BB_CONV_DW_H
#define BB_CONV_DW_H

#include "conv_rows.h"

BB_INLINE bool dw_accepts(const bb_task *t) {
  const bb_conv *c = &t->problem.conv;
  if (t->x.block != VL || t->y.block != VL || c->G != c->C || c->K != c->C) return false;
  const bb_map *mx = t->x.map, *my = t->y.map;
  return mx == my || (mx->blocks == my->blocks && !memcmp(mx->lane, my->lane, sizeof(int) * (size_t)bb_map_lanes(mx)));
}

// Offsets in floats: bias, scale, shift (one per lane), w[block][r][s][VL].
BB_INLINE packed dw_layout(const bb_task *t) {
  const size_t lanes = bb_align_up((size_t)bb_map_lanes(t->y.map), BB_MAX_BLOCK);
  const size_t prologue = t->prologue.scale_shift ? lanes : 0;
  packed p = {.bias = 0, .scale = lanes, .shift = lanes + prologue, .w = lanes + 2 * prologue};
  p.floats = p.w + (size_t)(t->problem.conv.R * t->problem.conv.S) * (size_t)bb_map_lanes(t->y.map);
  return p;
}

static size_t dw_packed_bytes(const bb_task *t, const bb_config *config) {
  (void)config;
  return dw_layout(t).floats * sizeof(float);
}

static void dw_pack(const bb_task *t, const bb_config *config, const bb_weights *weights, float *out) {
  (void)config;
  const packed p = dw_layout(t);
  const bb_map *m = t->y.map;
  const int taps = t->problem.conv.R * t->problem.conv.S;
  memset(out, 0, p.floats * sizeof(float));
  pack_vector(m, weights->b, out + p.bias);
  if (t->prologue.scale_shift) {
    pack_vector(m, weights->scale, out + p.scale);
    pack_vector(m, weights->shift, out + p.shift);
  }
  for (int l = 0; l < bb_map_lanes(m); l++)
    for (int rs = 0; rs < taps && m->lane[l] >= 0; rs++)
      out[p.w + (size_t)((l / VL * taps + rs) * VL + l % VL)] = weights->w[(size_t)m->lane[l] * (size_t)taps + (size_t)rs];
}

static int dw_configs(const bb_task *t, const bb_machine *machine, int threads, bb_config *out, int max) {
  (void)machine;
  return rows_configs(t, threads, out, max);
}

static bb_workspace dw_workspace(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  return rows_workspace(t, config, 1);
}

static double dw_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, int threads) {
  const bb_conv *c = &t->problem.conv;
  (void)config;
  const double pixels = (double)c->N * c->P * c->Q * t->y.map->blocks;
  const double compute = pixels * (c->R * c->S + 2) / fma_per_cycle(machine);
  const double bytes = ((double)c->N * c->H * c->W * t->x.map->blocks + 2 * pixels) * VL * sizeof(float);
  return compute / threads + rows_memory_cycles(machine, bytes) / threads;
}

static rows_block dw_block(const bb_args *a, int k) {
  const packed p = dw_layout(a->task);
  const int taps = a->task->problem.conv.R * a->task->problem.conv.S;
  return (rows_block){.count = 1, .first = k, .last = k + 1, .w = a->packed + p.w + (size_t)k * (size_t)taps * VL};
}

static void dw_row_3_1(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  (void)terms, (void)count;
  row(c, from, NULL, 1, to, 3, 1, true);
}
static void dw_row_3_2(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  (void)terms, (void)count;
  row(c, from, NULL, 1, to, 3, 2, true);
}
static void dw_row_5_1(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  (void)terms, (void)count;
  row(c, from, NULL, 1, to, 5, 1, true);
}
static void dw_row_5_2(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  (void)terms, (void)count;
  row(c, from, NULL, 1, to, 5, 2, true);
}
static void dw_row_1_1(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  (void)terms, (void)count;
  row(c, from, NULL, 1, to, 1, 1, true);
}
static void dw_row_any(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  (void)terms, (void)count;
  row(c, from, NULL, 1, to, 0, 0, true);
}

static void dw_run(const bb_args *a, size_t first, size_t last) {
  static const rows_fns fns = {dw_row_1_1, dw_row_3_1, dw_row_3_2, dw_row_5_1, dw_row_5_2, dw_row_any};
  const packed p = dw_layout(a->task);
  rows_run(a, &p, first, last, dw_block, rows_pick(&fns, &a->task->problem.conv));
}

#endif
