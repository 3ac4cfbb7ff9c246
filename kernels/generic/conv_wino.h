// SPDX-License-Identifier: Apache-2.0
//
// Winograd in portable C: the body of the vector ISAs with vectors of one lane, NCHW. Compilers vectorise the products over the
// channels of y.

#ifndef BB_GENERIC_CONV_WINO_H
#define BB_GENERIC_CONV_WINO_H

#include "vec.h"
#include "../simd/wino.h"

enum { NR_MAX = 8, MR_MAX = 4 };
BB_INLINE int wide_tiles(const bb_machine *m) { return (void)m, 4; }
static const int nr_order[] = {8};

// As fitted on Zen 5 with gcc 12, one thread, to 20 shapes from 1 to 512 channels, dense, grouped and depthwise: 0.8 to 1.3 of
// the measured time, staged up to 1.8 where V and M are large, 0.6 of calls of a microsecond. Few of 32 sums find a register.
static const wino_costs every_core = {
    .input = {22, 90, 215},
    .output = {8, 60, 190},
    .sum = 0.15,
    .line = 1,
    .load = 1.5,
    .l2 = 0.4,
    .evicted = 0.25,
    .staged = 4,
    .stream = 0.25,
};
BB_INLINE const wino_costs *wino_costs_of(const bb_machine *m) { return (void)m, &every_core; }

// clang-format off
#define TILES(t) \
  t(1, 1) t(2, 1) t(3, 1) t(4, 1) t(1, 2) t(2, 2) t(3, 2) t(4, 2) t(1, 3) t(2, 3) t(3, 3) t(4, 3) t(1, 4) t(2, 4) t(3, 4) t(4, 4) \
  t(1, 5) t(2, 5) t(3, 5) t(4, 5) t(1, 6) t(2, 6) t(3, 6) t(4, 6) t(1, 7) t(2, 7) t(3, 7) t(4, 7) t(1, 8) t(2, 8) t(3, 8) t(4, 8)
// clang-format on

#include "../simd/conv_taps.h"
#include "../simd/conv_wino.h"

#endif
