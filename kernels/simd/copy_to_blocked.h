// SPDX-License-Identifier: Apache-2.0
//
// Copies from NCHW to a blocked layout: VL pixels of VL planes are a matrix to transpose. Lanes of y that hold no channel get
// +0.

#ifndef BB_SIMD_COPY_TO_BLOCKED_H
#define BB_SIMD_COPY_TO_BLOCKED_H

#include "lanes.h"

static bool to_blocked_accepts(const bb_task *task) { return only_act(task, 1, VL); }

static size_t to_blocked_packed_bytes(const bb_task *task, const bb_config *config) {
  (void)config;
  return sizeof(int) * (size_t)bb_map_lanes(task->y.map);
}

static void to_blocked_pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)config, (void)weights;
  const bb_map *map = task->y.map;
  int *lane = (int *)(void *)packed;
  for (int l = 0; l < bb_map_lanes(map); l++) lane[l] = map->lane[l] < 0 ? -1 : lane_of(task->x.map, map->lane[l]);
}

// `pixels` <= VL pixels of the planes into as many vectors.
BB_INLINE void planes_to_vectors(const float *const plane[VL], size_t at, int pixels, float *y) {
  vf v[VL];
#pragma GCC unroll 16
  for (int l = 0; l < VL; l++)
    v[l] = !plane[l] ? vzero() : pixels == VL ? vload(plane[l] + at) : vload_n(plane[l] + at, pixels);
  vtranspose(v);
  if (pixels == VL) {
#pragma GCC unroll 16
    for (int j = 0; j < VL; j++) vstore(y + (at + (size_t)j) * VL, v[j]);
  } else {
    for (int j = 0; j < pixels; j++) vstore(y + (at + (size_t)j) * VL, v[j]);
  }
}

static void to_blocked_run(const bb_args *args, size_t first, size_t last) {
  const bb_task *task = args->task;
  const bb_view *x = &task->x, *y = &task->y;
  const bool flat = is_flat(x) && is_flat(y);
  const int *lane = (const int *)(const void *)args->packed;
  for (size_t i = first; i < last; i++) {
    const tile t = tile_at(y, i);
    const vf keep = vlanes_used(y->map->lane + t.k * VL);
    const int step = flat ? t.p1 - t.p0 : 1;
    for (int p = t.p0; p < t.p1; p += step) {
      const float *plane[VL];
      for (int l = 0; l < VL; l++) {
        const int from = lane[t.k * VL + l];
        plane[l] = from < 0 ? NULL : args->io.x + row_offset(x, t.n, from, p);
      }
      float *to = args->io.y + row_offset(y, t.n, t.k, p);
      const size_t n = (size_t)step * (size_t)y->W;
      size_t at = 0;
      for (; at + VL <= n; at += VL) planes_to_vectors(plane, at, VL, to);
      if (at < n) planes_to_vectors(plane, at, (int)(n - at), to);
      finish(&task->epilogue, to, n, keep);
    }
  }
}

#endif
