// SPDX-License-Identifier: Apache-2.0
//
// Winograd on NEON: register tiles of the products, tiles x blocks of output channels: 5x4 (20 + 5 + 4 q), 7x3 (21 + 7 + 3),
// 10x2 (20 + 10 + 2).

#ifndef BB_NEON_CONV_WINO_H
#define BB_NEON_CONV_WINO_H

#include "vec.h"
#include "../simd/wino.h"

enum { NR_MAX = 4, MR_MAX = 14 };
BB_INLINE int wide_tiles(const bb_machine *m) { return (void)m, 5; }
// Blocks of a k group, best first.
static const int nr_order[] = {4, 3, 2};
// Those of AVX2, whose vectors are twice as long but whose pipes are as many.
static const wino_costs every_core = {
    .input = {40, 110, 265},
    .output = {24, 90, 235},
    WINO_FACTORS,
};
BB_INLINE const wino_costs *wino_costs_of(const bb_machine *m) { return (void)m, &every_core; }

// clang-format off
#define TILES(t) \
  t(1, 1) t(2, 1) t(3, 1) t(4, 1) t(5, 1) t(6, 1) t(7, 1) t(8, 1) t(9, 1) t(10, 1) t(11, 1) t(12, 1) t(13, 1) t(14, 1) \
  t(1, 2) t(2, 2) t(3, 2) t(4, 2) t(5, 2) t(6, 2) t(7, 2) t(8, 2) t(9, 2) t(10, 2) \
  t(1, 3) t(2, 3) t(3, 3) t(4, 3) t(5, 3) t(6, 3) t(7, 3) \
  t(1, 4) t(2, 4) t(3, 4) t(4, 4) t(5, 4)
// clang-format on

#include "conv_taps.h"
#include "../simd/conv_wino.h"

#endif
