// SPDX-License-Identifier: Apache-2.0
//
// 1x1 convolution, NCHW16c, AVX-512. Register tiles as in conv_direct_nchw16c.c.

#include "vec.h"

enum { NR_MAX = 4, MR_MAX = 14 };
// Blocks of a k group, best first.
static const int nr_order[] = {4, 3, 2};
// Measured on Zen 4: panels below 64 KB cost partial sums, above 160 KB misses in L2; with 512 channels the pixels of a 1x1
// tile fill L1.
enum { PANEL_BYTES = 160 * 1024, PANEL_C = 512 };

// clang-format off
#define UP_TO_4(each, t, nr)  each(t, 1, nr) each(t, 2, nr) each(t, 3, nr) each(t, 4, nr)
#define UP_TO_6(each, t, nr)  UP_TO_4(each, t, nr) each(t, 5, nr) each(t, 6, nr)
#define UP_TO_8(each, t, nr)  UP_TO_6(each, t, nr) each(t, 7, nr) each(t, 8, nr)
#define UP_TO_9(each, t, nr)  UP_TO_8(each, t, nr) each(t, 9, nr)
#define UP_TO_12(each, t, nr) UP_TO_9(each, t, nr) each(t, 10, nr) each(t, 11, nr) each(t, 12, nr)
#define UP_TO_14(each, t, nr) UP_TO_12(each, t, nr) each(t, 13, nr) each(t, 14, nr)

#define STRIDES(t, mr, nr) t(mr, nr, 0) t(mr, nr, 1) t(mr, nr, 2)
#define TILES(t) UP_TO_14(STRIDES, t, 1) UP_TO_14(STRIDES, t, 2) UP_TO_9(STRIDES, t, 3) UP_TO_6(STRIDES, t, 4)

// Sums + weights + three pixels: 14x2 with a tail of 8 (21 + 2 + 3), 8x3 (20 + 3 + 3), 6x4 (21 + 4 + 3); with a tail of 12 12x2
// (21 + 3 + 3), 8x3 (22 + 4 + 3), 4x4 (15 + 5 + 3). Narrow tails (16) fit all tiles.
#define TAIL_8(t, mr, nr)    t(mr, nr, 8)
#define NARROW(t, mr, nr)    t(mr, nr, 16)
#define TAIL_4_12(t, mr, nr) t(mr, nr, 4) t(mr, nr, 12)
#define TAIL_TILES(t) \
  UP_TO_14(TAIL_8, t, 1) UP_TO_14(TAIL_8, t, 2) UP_TO_8(TAIL_8, t, 3) UP_TO_6(TAIL_8, t, 4) \
  UP_TO_12(TAIL_4_12, t, 1) UP_TO_12(TAIL_4_12, t, 2) UP_TO_8(TAIL_4_12, t, 3) UP_TO_4(TAIL_4_12, t, 4) \
  UP_TO_14(NARROW, t, 1) UP_TO_14(NARROW, t, 2) UP_TO_9(NARROW, t, 3) UP_TO_6(NARROW, t, 4)
// clang-format on

#include "conv_tail.h"
#include "../simd/conv_taps.h"
#include "../simd/conv_1x1.h"

const bb_kernel bb_conv_1x1_nchw16c_avx512 = {
    .name = "conv_1x1_nchw16c_avx512",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX512,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = 6, .k = 4 * VL, .c = VL},
    .accepts = accepts,
    .configs = dense_configs,
    .cycles = dense_cycles,
    .packed_bytes = conv_packed_bytes,
    .pack = conv_pack,
    .workspace = dense_workspace,
    .stage = DENSE_STAGES,
};
