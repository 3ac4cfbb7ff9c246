// SPDX-License-Identifier: Apache-2.0
//
// Winograd on AVX-512: register tiles of the products, tiles x blocks of output channels: 14x2 (28 + 2 + 1 zmm), 9x3 (27 + 3 +
// 1), 7x4 (28 + 4; broadcasts are operands of the FMAs).

#ifndef BB_AVX512_CONV_WINO_H
#define BB_AVX512_CONV_WINO_H

#include "vec.h"

enum { NR_MAX = 4, MR_MAX = 14 };
// Blocks of a k group, best first.
static const int nr_order[] = {4, 3, 2};
// Of zmm registers on Zen 4; cores with two 512-bit FMA units have twice as much of both.
enum { FMA_PER_CYCLE = 1, LOADS_PER_CYCLE = 1 };
// Transforms of a tile and block of channels, V and M in L2: measured on Zen 4.
enum { INPUT_CYCLES = WINO_M == 2 ? 80 : WINO_M == 4 ? 230 : 520, OUTPUT_CYCLES = WINO_M == 2 ? 47 : WINO_M == 4 ? 140 : 366 };

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
