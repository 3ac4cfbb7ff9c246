// SPDX-License-Identifier: Apache-2.0
//
// scale*x + shift of each channel, and lone activations; NCHW, portable C. One tile = one plane.
//
// Packed: C scales, C shifts. An absent vector packs ones or minus zeros, which change no bit of x.

#include "generic.h"

static bool accepts(const bb_task *task) { return task->x.block == 1 && task->y.block == 1; }

static size_t packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  return 2 * (size_t)task->problem.scale.C * sizeof(float);
}

static void pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config;
  const int C = task->problem.scale.C;
  for (int c = 0; c < C; c++) {
    packed[c] = weights->scale ? weights->scale[c] : 1;
    packed[C + c] = weights->shift ? weights->shift[c] : -0.0f;
  }
}

static void run(const bb_args *a, size_t first, size_t last) {
  const bb_task *task = a->task;
  const bb_scale *v = &task->problem.scale;
  float out[CHUNK];
  for (size_t i = first; i < last; i++) {
    const plane t = plane_at(task, i);
    if (t.c < 0) {
      zero_plane(&task->y, a->io.y, t.n, t.lane);
      continue;
    }
    const int lane = lane_of(task->x.map, t.c);
    const float scale = a->packed[t.c], shift = a->packed[v->C + t.c];
    for (int h = 0; h < v->H; h++) {
      for (int w = 0; w < v->W; w += CHUNK) {
        const int count = bb_min(CHUNK, v->W - w);
        const float *x = a->io.x + row_offset(&task->x, t.n, lane, h) + w;
        for (int j = 0; j < count; j++) out[j] = scale * x[j] + shift;
        act_row(&task->epilogue, out, count);
        memcpy(a->io.y + row_offset(&task->y, t.n, t.lane, h) + w, out, (size_t)count * sizeof *out);
      }
    }
  }
}

const bb_kernel bb_scale_direct_nchw_generic = {
    .name = "scale_direct_nchw_generic",
    .op = BB_OP_SCALE,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_GENERIC,
    .x_block = 1,
    .y_block = 1,
    .block = {.q = CHUNK, .k = 1, .c = 1},
    .accepts = accepts,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .stage = {{"scale", plane_tiles, run}},
};
