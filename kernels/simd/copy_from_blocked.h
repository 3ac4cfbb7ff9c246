// SPDX-License-Identifier: Apache-2.0
//
// Copies from a blocked layout to NCHW: VL pixels of a block are a matrix to transpose.

#ifndef BB_SIMD_COPY_FROM_BLOCKED_H
#define BB_SIMD_COPY_FROM_BLOCKED_H

#include "lanes.h"

static bool from_blocked_accepts(const bb_task *task) {
  if (!only_act(task, VL, 1) || task->epilogue.act != BB_ACT_IDENTITY) return false;
  // A plane of y without a channel would have to be zeroed by somebody.
  return task->y.map->blocks == task->y.map->channels;
}

static size_t from_blocked_packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  return sizeof(int) * (size_t)bb_map_lanes(task->x.map);
}

static void from_blocked_pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config, (void)weights;
  const bb_map *map = task->x.map;
  int *lane = (int *)(void *)packed;
  for (int l = 0; l < bb_map_lanes(map); l++) lane[l] = map->lane[l] < 0 ? -1 : lane_of(task->y.map, map->lane[l]);
}

BB_INLINE void vectors_to_planes(const float *x, size_t at, int pixels, float *const plane[VL]) {
  vf v[VL];
#pragma GCC unroll 16
  for (int j = 0; j < VL; j++) v[j] = j < pixels ? vload(x + (at + (size_t)j) * VL) : vzero();
  vtranspose(v);
#pragma GCC unroll 16
  for (int l = 0; l < VL; l++) {
    if (!plane[l]) continue;
    if (pixels == VL)
      vstore(plane[l] + at, v[l]);
    else
      vstore_n(plane[l] + at, v[l], pixels);
  }
}

static void from_blocked_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *y = &task->y;
  const bool flat = is_flat(x) && is_flat(y);
  const int *lane = (const int *)(const void *)args->packed;
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(x, i);
    const int step = flat ? t.p1 - t.p0 : 1;
    for (int p = t.p0; p < t.p1; p += step) {
      float *plane[VL];
      for (int l = 0; l < VL; l++) {
        const int to = lane[t.k * VL + l];
        plane[l] = to < 0 ? NULL : args->io.y + row_offset(y, t.n, to, p);
      }
      const float *from = args->io.x + row_offset(x, t.n, t.k, p);
      const size_t n = (size_t)step * (size_t)x->W;
      size_t at = 0;
      for (; at + VL <= n; at += VL) vectors_to_planes(from, at, VL, plane);
      if (at < n) vectors_to_planes(from, at, (int)(n - at), plane);
    }
  }
}

#endif
