// SPDX-License-Identifier: Apache-2.0
//
// Winograd on AVX-512: register tiles of the products, tiles x blocks of output channels: 14x2 (28 + 2 + 1 zmm), 9x3 (27 + 3 +
// 1), 6x4 (24 + 4 + 1), 7x4 (28 + 4; broadcasts are operands of the FMAs).

#ifndef BB_AVX512_CONV_WINO_H
#define BB_AVX512_CONV_WINO_H

#include "vec.h"
#include "../simd/wino.h"

enum { NR_MAX = 4, MR_MAX = 14 };
// Tiles beside NR_MAX blocks: a broadcast for each FMA is one load too many where each load of a vector comes with an FMA (Zen
// 5: 7x4 83 %, 6x4 97 % of peak); Zen 4 has two loads of less than a vector for each FMA.
BB_INLINE int wide_tiles(const bb_machine *m) { return fma_per_cycle(m) == 1 ? 7 : 6; }
// Blocks of a k group, best first.
static const int nr_order[] = {4, 3, 2};
// Fitted on Zen 4, with the input transform that it had then, on Zen 5, and on Emerald Rapids.
static const wino_costs one_fma = {
    .input = {80, 230, 520},
    .output = {47, 140, 366},
    WINO_FACTORS,
};
static const wino_costs two_fmas = {
    .input = {45, 130, 330},
    .output = {36, 110, 310},
    .sum = 1,
    .line = 0.25,
    .load = 0,
    .l2 = 0.5,
    .evicted = 0.65,
    .staged = 3,
    .stream = 0.3,
};
static const wino_costs mesh = {
    .input = {70, 200, 480},
    .output = {50, 130, 400},
    .sum = 1,
    .line = 0.25,
    .panel = 0.5,
    .load = 0,
    .l2 = 0.35,
    .evicted = 0.65,
    .staged = 0.5,
    .stream = 0.45,
};
BB_INLINE const wino_costs *wino_costs_of(const bb_machine *m) {
  return fma_per_cycle(m) == 1 ? &one_fma : far_l3(m) ? &mesh : &two_fmas;
}

// clang-format off
#define TILES(t) \
  t(1, 1) t(2, 1) t(3, 1) t(4, 1) t(5, 1) t(6, 1) t(7, 1) t(8, 1) t(9, 1) t(10, 1) t(11, 1) t(12, 1) t(13, 1) t(14, 1) \
  t(1, 2) t(2, 2) t(3, 2) t(4, 2) t(5, 2) t(6, 2) t(7, 2) t(8, 2) t(9, 2) t(10, 2) t(11, 2) t(12, 2) t(13, 2) t(14, 2) \
  t(1, 3) t(2, 3) t(3, 3) t(4, 3) t(5, 3) t(6, 3) t(7, 3) t(8, 3) t(9, 3) \
  t(1, 4) t(2, 4) t(3, 4) t(4, 4) t(5, 4) t(6, 4) t(7, 4)
// clang-format on

#include "../simd/conv_taps.h"
#include "../simd/conv_wino.h"

#endif
