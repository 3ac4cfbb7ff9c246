// SPDX-License-Identifier: Apache-2.0
//
// What the portable kernels share. They work on planes of NCHW tensors, a stretch of at most CHUNK columns at a time: it stays
// in L1, and compilers turn the loops over it into whatever vectors the target has.

#ifndef BB_GENERIC_H
#define BB_GENERIC_H

#include <math.h>
#include <string.h>

#include "../common.h"
#include "../kernel.h"

enum { CHUNK = 128 };

// ---- activations ---------------------------------------------------------------------------------------------------

// expf, tanhf of glibc err by at most 1 and 2 ulp; what follows adds less than 2. Comparisons let a NaN pass.
BB_INLINE float act_one(bb_act act, float alpha, float x) {
  switch (act) {
    case BB_ACT_RELU:
      return x < 0 ? 0 : x;
    case BB_ACT_RELU6:
      return x < 0 ? 0 : x > 6 ? 6 : x;
    case BB_ACT_LEAKY_RELU:
      return x > 0 ? x : alpha * x;
    case BB_ACT_TANH:
      return tanhf(x);
    case BB_ACT_SIGMOID:
      // e^-x would overflow where the result is a denormal.
      return x < 0 ? expf(x) / (1 + expf(x)) : 1 / (1 + expf(-x));
    case BB_ACT_SILU: {
      // Below -150 the sigmoid is 0; the bound makes that of -inf 0 too, not NaN.
      const float f = x < -150 ? -150 : x;
      return f * act_one(BB_ACT_SIGMOID, 0, f);
    }
    case BB_ACT_MISH: {
      // tanh(log(1 + e)) = n / (n + 2) with n = e * (e + 2), which loses nothing where e is small. Above 20 it rounds to 1. In
      // double: expf and five roundings to float come to 4.02 ulp at -0x1.9e31b2p+1.
      const float f = x < -150 ? -150 : x;
      const double e = expf(x > 20 ? 20 : f), n = e * (e + 2);
      return (float)(f * (n / (n + 2)));
    }
    case BB_ACT_HARD_SIGMOID:
      return act_one(BB_ACT_RELU6, 0, x + 3) / 6;
    case BB_ACT_HARD_SWISH: {
      const float f = x < -3 ? -3 : x;
      return f * (act_one(BB_ACT_RELU6, 0, f + 3) / 6);
    }
    case BB_ACT_IDENTITY:
    case BB_ACT_COUNT:
      break;
  }
  return x;
}

BB_INLINE void act_each(bb_act act, float alpha, float *v, int n) {
  for (int i = 0; i < n; i++) v[i] = act_one(act, alpha, v[i]);
}

// One loop per activation.
static inline void act_row(const bb_epilogue *e, float *v, int n) {
  switch (e->act) {
    case BB_ACT_RELU:
      act_each(BB_ACT_RELU, 0, v, n);
      break;
    case BB_ACT_RELU6:
      act_each(BB_ACT_RELU6, 0, v, n);
      break;
    case BB_ACT_LEAKY_RELU:
      act_each(BB_ACT_LEAKY_RELU, e->alpha, v, n);
      break;
    case BB_ACT_TANH:
      act_each(BB_ACT_TANH, 0, v, n);
      break;
    case BB_ACT_SIGMOID:
      act_each(BB_ACT_SIGMOID, 0, v, n);
      break;
    case BB_ACT_SILU:
      act_each(BB_ACT_SILU, 0, v, n);
      break;
    case BB_ACT_MISH:
      act_each(BB_ACT_MISH, 0, v, n);
      break;
    case BB_ACT_HARD_SIGMOID:
      act_each(BB_ACT_HARD_SIGMOID, 0, v, n);
      break;
    case BB_ACT_HARD_SWISH:
      act_each(BB_ACT_HARD_SWISH, 0, v, n);
      break;
    case BB_ACT_IDENTITY:
    case BB_ACT_COUNT:
      break;
  }
}

// ---- views of block 1 ----------------------------------------------------------------------------------------------

BB_INLINE ptrdiff_t row_offset(const bb_view *v, int n, int lane, int h) {
  return n * v->n_stride + lane * v->c_stride + h * v->h_stride;
}

// The lane that holds channel c.
static inline int lane_of(const bb_map *map, int c) {
  if (c < bb_map_lanes(map) && map->lane[c] == c) return c;  // nearly always
  int lane = 0;
  while (map->lane[lane] != c) lane++;
  return lane;
}

static inline void zero_plane(const bb_view *v, float *data, int n, int lane) {
  for (int h = 0; h < v->H; h++) memset(data + row_offset(v, n, lane, h), 0, (size_t)v->W * sizeof *data);
}

// A tile is a plane of y.
static inline size_t plane_tiles(const bb_task *task, const bb_config *config, int threads) {
  (void)config, (void)threads;
  return (size_t)task->y.N * (size_t)bb_map_lanes(task->y.map);
}

typedef struct plane {
  int n, lane;
  int c;  // logical channel, -1 = none
} plane;

BB_INLINE plane plane_at(const bb_task *task, size_t tile) {
  const size_t lanes = (size_t)bb_map_lanes(task->y.map);
  const int lane = (int)(tile % lanes);
  return (plane){(int)(tile / lanes), lane, task->y.map->lane[lane]};
}

#endif
