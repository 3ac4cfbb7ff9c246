// SPDX-License-Identifier: Apache-2.0
//
// Copies between any two layouts and channel maps, portable C: the last resort where an ISA has no kernel for the pair.
//
// One tile = one row of one channel block of y, gathered and scattered lane by lane.

#include "generic.h"

static bool accepts(const bb_task *task) {
  (void)task;
  return true;
}

static size_t tiles(const bb_task *task, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return (size_t)task->y.N * (size_t)task->y.map->blocks * (size_t)task->y.H;
}

static void run(const bb_args *a, size_t first, size_t last) {
  const bb_task *task = a->task;
  const bb_view *x = &task->x, *y = &task->y;
  float row[CHUNK];
  for (size_t i = first; i < last; i++) {
    const int h = (int)(i % (size_t)y->H), k = (int)(i / (size_t)y->H % (size_t)y->map->blocks);
    const int n = (int)(i / (size_t)y->H / (size_t)y->map->blocks);
    float *to = a->io.y + n * y->n_stride + k * y->c_stride + h * y->h_stride;
    for (int l = 0; l < y->block; l++) {
      const int c = y->map->lane[k * y->block + l], lane = c < 0 ? 0 : lane_of(x->map, c);
      const float *from = a->io.x + n * x->n_stride + lane / x->block * x->c_stride + h * x->h_stride + lane % x->block;
      for (int w = 0; w < y->W; w += CHUNK) {
        const int count = bb_min(CHUNK, y->W - w);
        if (c < 0) {
          memset(row, 0, sizeof row);
        } else {
          for (int j = 0; j < count; j++) row[j] = from[(ptrdiff_t)(w + j) * x->block];
          act_row(&task->epilogue, row, count);
        }
        for (int j = 0; j < count; j++) to[(ptrdiff_t)(w + j) * y->block + l] = row[j];
      }
    }
  }
}

const bb_kernel bb_copy_direct_any_generic = {
    .name = "copy_direct_any_generic",
    .op = BB_OP_COPY,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_GENERIC,
    .x_block = 0,
    .y_block = 0,
    .block = {.q = CHUNK, .k = 1, .c = 1},
    .accepts = accepts,
    .stage = {{"copy", tiles, run}},
};
