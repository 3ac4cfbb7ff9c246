// SPDX-License-Identifier: Apache-2.0
//
// Softmax over channels, NCHW, portable C. One tile = one row of one image. Three passes over the channels: largest value,
// exponentials (kept in y) and their sum, division.

#include "generic.h"

static bool accepts(const bb_task *task) { return task->x.block == 1 && task->y.block == 1; }

static size_t tiles(const bb_task *task, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return (size_t)task->y.N * (size_t)task->y.H;
}

static void run(const bb_args *a, size_t first, size_t last) {
  const bb_task *task = a->task;
  const bb_view *x = &task->x, *y = &task->y;
  const int lanes = bb_map_lanes(y->map);
  float max[CHUNK], sum[CHUNK];
  for (size_t i = first; i < last; i++) {
    const int n = (int)(i / (size_t)y->H), h = (int)(i % (size_t)y->H);
    for (int w = 0; w < y->W; w += CHUNK) {
      const int count = bb_min(CHUNK, y->W - w);
      for (int j = 0; j < count; j++) max[j] = -INFINITY, sum[j] = 0;
      for (int lane = 0; lane < bb_map_lanes(x->map); lane++) {
        if (x->map->lane[lane] < 0) continue;
        const float *from = a->io.x + row_offset(x, n, lane, h) + w;
        for (int j = 0; j < count; j++) max[j] = from[j] > max[j] ? from[j] : max[j];
      }
      for (int lane = 0; lane < lanes; lane++) {
        float *to = a->io.y + row_offset(y, n, lane, h) + w;
        const int c = y->map->lane[lane];
        if (c < 0) {
          memset(to, 0, (size_t)count * sizeof *to);
          continue;
        }
        const float *from = a->io.x + row_offset(x, n, lane_of(x->map, c), h) + w;
        for (int j = 0; j < count; j++) sum[j] += to[j] = expf(from[j] - max[j]);
      }
      for (int lane = 0; lane < lanes; lane++) {
        if (y->map->lane[lane] < 0) continue;
        float *to = a->io.y + row_offset(y, n, lane, h) + w;
        for (int j = 0; j < count; j++) to[j] /= sum[j];
        act_row(&task->epilogue, to, count);
      }
    }
  }
}

const bb_kernel bb_softmax_direct_nchw_generic = {
    .name = "softmax_direct_nchw_generic",
    .op = BB_OP_SOFTMAX,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_GENERIC,
    .x_block = 1,
    .y_block = 1,
    .block = {.q = CHUNK, .k = 1, .c = 1},
    .accepts = accepts,
    .stage = {{"softmax", tiles, run}},
};
