// SPDX-License-Identifier: Apache-2.0
//
// What the operations that are not convolutions share: a tile of work is some rows of one channel block of one image, and most
// of them sweep such rows vector by vector. Include the ISA's vec.h first.
//
// All of them are bound by memory, so a tile is sized to give every thread several and to keep x, y and what is between in
// L1/L2.

#ifndef BB_SIMD_OP_H
#define BB_SIMD_OP_H

#include "../bb.h"
#include "act.h"

enum {
  // Floats of y in a tile: 16 KiB, some microseconds of copying, 1/50 of which is the overhead of a tile.
  TILE_FLOATS = 4096,
  // Vectors that are computed before the activation's loop sweeps them: 4 KiB, well inside L1.
  CHUNK = 64
};

typedef struct tile {
  int n, k, p0, p1;
} tile;

BB_INLINE int tile_rows(const bb_view *v) { return bb_max(1, bb_min(v->H, TILE_FLOATS / (v->W * v->block))); }

BB_INLINE size_t tiles_of(const bb_view *v) {
  return (size_t)v->N * (size_t)v->map->blocks * (size_t)bb_ceil_div(v->H, tile_rows(v));
}

BB_INLINE tile tile_at(const bb_view *v, size_t i) {
  const int rows = tile_rows(v);
  const size_t groups = (size_t)bb_ceil_div(v->H, rows), blocks = (size_t)v->map->blocks;
  const int p0 = (int)(i % groups) * rows;
  return (tile){.n = (int)(i / groups / blocks), .k = (int)(i / groups % blocks), .p0 = p0, .p1 = bb_min(p0 + rows, v->H)};
}

static inline size_t tiles_of_y(const bb_task *task, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return tiles_of(&task->y);
}

static inline size_t tiles_of_x(const bb_task *task, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return tiles_of(&task->x);
}

BB_INLINE ptrdiff_t row_offset(const bb_view *v, int n, int k, int h) {
  return n * v->n_stride + k * v->c_stride + h * v->h_stride;
}

// Do the rows of a block follow each other without gaps?
BB_INLINE bool is_flat(const bb_view *v) { return v->h_stride == (ptrdiff_t)v->W * v->block || v->H == 1; }

// Nothing fused but an activation, and both tensors in the layouts of this kernel.
BB_INLINE bool only_act(const bb_task *task, int x_block, int y_block) {
  const bb_prologue *pro = &task->prologue;
  const bb_epilogue *epi = &task->epilogue;
  return !pro->dynamic_scale && !pro->scale_shift && !pro->relu && !epi->bias && epi->residual == BB_RESIDUAL_NONE &&
         !epi->scale && !epi->second && !epi->gap && task->x.block == x_block && task->y.block == y_block;
}

// What follows the store of `vectors` vectors at y: nothing for identity, and for ReLU where the kernel has applied it itself.
BB_INLINE void finish(const bb_epilogue *epi, float *y, size_t vectors, vf keep) {
  if (epi->act != BB_ACT_IDENTITY) act_loop[epi->act](y, vectors, epi->alpha, keep);
}

// Estimate for what is bound by memory: all bytes, at the speed of the level that they fit in (half of it: others live there
// too).
static double memory_cycles(const bb_task *task, const bb_machine *machine, const bb_config *config, int threads) {
  (void)config;
  size_t floats = bb_view_size(&task->x) + bb_view_size(&task->y);
  if (task->problem.op == BB_OP_ELTWISE) floats += bb_view_size(&task->x2);
  const double bytes = (double)floats * sizeof(float);
  const double rate = bytes < (double)machine->l2 * threads / 2 ? machine->l2_bytes_per_cycle * threads
                      : bytes < (double)machine->l3 / 2         ? machine->l3_bytes_per_cycle * threads
                                                                : machine->dram_bytes_per_cycle;
  return rate > 0 ? bytes / rate : 0;
}

#endif
