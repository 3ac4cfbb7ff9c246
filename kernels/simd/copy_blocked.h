// SPDX-License-Identifier: Apache-2.0
//
// Copies between blocked tensors: other strides, other channel maps. Lanes of y that hold no channel get +0.

#ifndef BB_SIMD_COPY_BLOCKED_H
#define BB_SIMD_COPY_BLOCKED_H

#include <string.h>

#include "op.h"

// A vector of y takes its lanes from the `sources` blocks of x that hold them, one after the other: index[l] = l keeps what is
// there, VL + j takes lane j of the block. Packed: for each block of y a head, then all the steps.
typedef struct lane_head {
  int first, sources;
  int whole;  // the block of x that is this block of y lane by lane; -1 = none
  int unused;
} lane_head;

typedef struct lane_step {
  int block;
  int index[VL];
} lane_step;

static bool blocked_accepts(const bb_task *task) { return only_act(task, VL, VL); }

// Steps of block k of y, at most VL; returns how many.
static int lane_steps(const bb_map *x, const bb_map *y, int k, lane_step step[VL]) {
  int count = 0;
  for (int l = 0; l < VL; l++) {
    const int c = y->lane[k * VL + l];
    if (c < 0) continue;
    const int from = lane_of(x, c), block = from / VL;
    int s = 0;
    while (s < count && step[s].block != block) s++;
    if (s == count) {
      step[count++].block = block;
      for (int j = 0; j < VL; j++) step[s].index[j] = j;
    }
    step[s].index[l] = VL + from % VL;
  }
  return count;
}

static size_t blocked_packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  lane_step step[VL];
  size_t steps = 0;
  for (int k = 0; k < task->y.map->blocks; k++) steps += (size_t)lane_steps(task->x.map, task->y.map, k, step);
  return sizeof(lane_head) * (size_t)task->y.map->blocks + sizeof(lane_step) * steps;
}

static void blocked_pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config, (void)weights;
  const bb_map *x = task->x.map, *y = task->y.map;
  lane_head *head = (lane_head *)(void *)packed;
  char *steps = (char *)(head + y->blocks);
  int first = 0;
  for (int k = 0; k < y->blocks; k++) {
    lane_step step[VL];
    const int count = lane_steps(x, y, k, step);
    const bool same = count == 1 && memcmp(x->lane + step[0].block * VL, y->lane + k * VL, VL * sizeof(int)) == 0;
    head[k] = (lane_head){.first = first, .sources = count, .whole = same ? step[0].block : -1};
    memcpy(steps + (size_t)first * sizeof *step, step, (size_t)count * sizeof *step);
    first += count;
  }
}

static void blocked_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *y = &task->y;
  const bool flat = is_flat(x) && is_flat(y);
  const lane_head *heads = (const lane_head *)(const void *)args->packed;
  const lane_step *steps = (const lane_step *)(const void *)(heads + y->map->blocks);
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(y, i);
    const lane_head head = heads[t.k];
    const lane_step *step = steps + head.first;
    const vf keep = vlanes_used(y->map->lane + t.k * VL);
    const int rows = flat ? t.p1 - t.p0 : 1;
    for (int p = t.p0; p < t.p1; p += rows) {
      float *to = args->io.y + row_offset(y, t.n, t.k, p);
      const size_t n = (size_t)rows * (size_t)y->W;
      if (head.whole >= 0) {
        const float *from = args->io.x + row_offset(x, t.n, head.whole, p);
        for (size_t j = 0; j < n; j++) vstore(to + j * VL, vload(from + j * VL));
      } else {
        const float *from = args->io.x + row_offset(x, t.n, 0, p);
        for (size_t j = 0; j < n; j++) {
          vf v = vzero();
          for (int s = 0; s < head.sources; s++)
            v = vperm2(v, vload(from + step[s].block * x->c_stride + (ptrdiff_t)j * VL), vloadi(step[s].index));
          vstore(to + j * VL, v);
        }
      }
      finish(&task->epilogue, to, n, keep);
    }
  }
}

#endif
