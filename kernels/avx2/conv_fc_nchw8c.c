// SPDX-License-Identifier: Apache-2.0
//
// Fully connected, NCHW8c, AVX2 + FMA. One image: eight chains of FMAs, weights as memory operands. Otherwise sums + weights +
// one broadcast <= 16 ymm.

#include "vec.h"

enum { NR_MAX = 8, MR_MAX = 12 };
// Blocks of a k group, best first.
static const int nr_order[] = {3};
// Narrow tiles read 16 bytes of weights per cycle, which L2 hardly gives: 128 channels of a 1x1 panel stay in L1. Measured on
// Zen 4: 256 channels are 5 % slower, 64 KB for larger filters as good as any.
enum { PANEL_BYTES = 64 * 1024, PANEL_C = 128 };

// clang-format off
#define TILES(t) \
  t(1, 1, 0) t(2, 1, 0) t(3, 1, 0) t(4, 1, 0) t(5, 1, 0) t(6, 1, 0) t(7, 1, 0) t(8, 1, 0) t(9, 1, 0) t(10, 1, 0) \
  t(11, 1, 0) t(12, 1, 0) \
  t(1, 2, 0) t(2, 2, 0) t(3, 2, 0) t(4, 2, 0) t(5, 2, 0) t(6, 2, 0) \
  t(1, 3, 0) t(2, 3, 0) t(3, 3, 0) t(4, 3, 0) \
  t(1, 4, 0) t(2, 4, 0) \
  t(1, 5, 0) \
  t(1, 6, 0) \
  t(1, 7, 0) \
  t(1, 8, 0)
// clang-format on

// Weights come from memory, and in a loop's single stream sooner: 4096 -> 1000 for 8 images 39 % of peak, unrolled 27 (Zen 3).
#define UNROLL_TAPS 0
#include "../simd/conv_taps.h"
#include "../simd/conv_fc.h"

const bb_kernel bb_conv_fc_nchw8c_avx2 = {
    .name = "conv_fc_nchw8c_avx2",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX2,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = 4, .k = 3 * VL, .c = VL},
    .accepts = accepts,
    .configs = fc_configs,
    .cycles = dense_cycles,
    .packed_bytes = conv_packed_bytes,
    .pack = conv_pack,
    .workspace = dense_workspace,
    .stage = DENSE_STAGES,
};
