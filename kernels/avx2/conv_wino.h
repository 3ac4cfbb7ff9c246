// SPDX-License-Identifier: Apache-2.0
//
// Winograd on AVX2 + FMA: register tiles of the products, tiles x blocks of output channels: 4x3 (12 + 3 + 1 ymm), 6x2 (12 + 2
// + 1).

#ifndef BB_AVX2_CONV_WINO_H
#define BB_AVX2_CONV_WINO_H

#include "vec.h"
#include "../simd/wino.h"

enum { NR_MAX = 3, MR_MAX = 12 };
BB_INLINE int wide_tiles(const bb_machine *m) { return (void)m, 4; }
// Blocks of a k group, best first.
static const int nr_order[] = {3, 2};
// The transforms between those of Zen 4, before they stayed in registers, and of Zen 5 (28, 92, 243; 20, 81, 217).
static const wino_costs every_core = {
    .input = {40, 110, 265},
    .output = {24, 90, 235},
    WINO_FACTORS,
};
BB_INLINE const wino_costs *wino_costs_of(const bb_machine *m) { return (void)m, &every_core; }

// clang-format off
#define TILES(t) \
  t(1, 1) t(2, 1) t(3, 1) t(4, 1) t(5, 1) t(6, 1) t(7, 1) t(8, 1) t(9, 1) t(10, 1) t(11, 1) t(12, 1) \
  t(1, 2) t(2, 2) t(3, 2) t(4, 2) t(5, 2) t(6, 2) \
  t(1, 3) t(2, 3) t(3, 3) t(4, 3)
// clang-format on

#include "../simd/conv_taps.h"
#include "../simd/conv_wino.h"

#endif
