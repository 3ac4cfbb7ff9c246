// SPDX-License-Identifier: Apache-2.0
//
// Between channel maps: a vector of y takes its lanes from the blocks of x that hold them, one step per block. What goes where
// is a table in the packed blob: a head for each block of y, then all steps.

#ifndef BB_SIMD_LANES_H
#define BB_SIMD_LANES_H

#include <string.h>

#include "op.h"

typedef struct lane_head {
  int first, steps;
  int whole;  // the block of x that is this block of y as it stands; -1 = none
} lane_head;

// index[l] = l keeps what is in lane l, VL + j takes lane j of the block.
typedef struct lane_step {
  int block;
  int index[VL];
} lane_step;

// Lane of the map that holds channel c, -1 if none does.
BB_INLINE int lane_of(const bb_map *map, int c) {
  for (int l = 0; l < bb_map_lanes(map); l++)
    if (map->lane[l] == c) return l;
  return -1;
}

// Steps of block k of y, at most VL; channels that x does not have leave their lane +0.
BB_INLINE lane_head lane_steps(const bb_map *y, int k, const bb_map *x, lane_step step[VL]) {
  int source[VL], count = 0;
  for (int l = 0; l < VL; l++) {
    const int c = y->lane[k * VL + l];
    source[l] = c < 0 ? -1 : lane_of(x, c);
    if (source[l] < 0) continue;
    const int block = source[l] / VL;
    int s = 0;
    while (s < count && step[s].block != block) s++;
    if (s == count) {
      step[count++].block = block;
      for (int j = 0; j < VL; j++) step[s].index[j] = j;
    }
    step[s].index[l] = VL + source[l] % VL;
  }
  // As it stands: every channel in its own lane, and nothing where y has nothing.
  bool whole = count == 1;
  for (int l = 0; l < VL && whole; l++) {
    const int at = step[0].block * VL + l;
    whole = source[l] >= 0 ? source[l] == at : x->lane[at] < 0;
  }
  return (lane_head){.steps = count, .whole = whole ? step[0].block : -1};
}

BB_INLINE size_t lane_table_bytes(const bb_map *y, const bb_map *x) {
  lane_step step[VL];
  size_t steps = 0;
  for (int k = 0; k < y->blocks; k++) steps += (size_t)lane_steps(y, k, x, step).steps;
  return sizeof(lane_head) * (size_t)y->blocks + sizeof(lane_step) * steps;
}

BB_INLINE const void *lane_table_end(const void *table, int blocks) {
  const lane_head *head = table;
  return (const char *)(head + blocks) + (size_t)(head[blocks - 1].first + head[blocks - 1].steps) * sizeof(lane_step);
}

BB_INLINE void pack_lane_table(const bb_map *y, const bb_map *x, void *table) {
  lane_head *head = table;
  char *steps = (char *)(head + y->blocks);
  int first = 0;
  for (int k = 0; k < y->blocks; k++) {
    lane_step step[VL];
    head[k] = lane_steps(y, k, x, step);
    head[k].first = first;
    memcpy(steps + (size_t)first * sizeof *step, step, (size_t)head[k].steps * sizeof *step);
    first += head[k].steps;
  }
}

// n vectors of block k of y from the same pixels of x, which points into block 0. Takes nothing but y's channels (keep: their
// lanes), so that x may be a slice whose map leaves out channels that stand between.
BB_INLINE void gather_lanes(const void *table, int blocks, int k, const float *x, ptrdiff_t c_stride, float *y, size_t n,
                            vf keep) {
  const lane_head *heads = table;
  const lane_head head = heads[k];
  const lane_step *step = (const lane_step *)(const void *)(heads + blocks) + head.first;
  if (head.whole >= 0) {
    const float *from = x + head.whole * c_stride;
    for (size_t j = 0; j < n; j++) vstore(y + j * VL, vand(vload(from + j * VL), keep));
    return;
  }
  for (size_t j = 0; j < n; j++) {
    vf v = vzero();
    for (int s = 0; s < head.steps; s++)
      v = vperm2(v, vload(x + step[s].block * c_stride + (ptrdiff_t)j * VL), vloadi(step[s].index));
    vstore(y + j * VL, v);
  }
}

#endif
