// SPDX-License-Identifier: Apache-2.0
//
// Fully connected, NCHW16c, AVX-512. One image: eight chains of FMAs, weights as memory operands. Sums + weights + one
// broadcast
// <= 32 zmm.

#include "vec.h"

enum { NR_MAX = 8, MR_MAX = 14 };
// Blocks of a k group, best first.
static const int nr_order[] = {2};
// Measured on Zen 4: panels below 64 KB cost partial sums, above 160 KB misses in L2; with 512 channels the pixels of a 1x1
// tile fill L1.
enum { PANEL_BYTES = 160 * 1024, PANEL_C = 512 };

// clang-format off
#define TILES(t) \
  t(1, 1, 0) t(2, 1, 0) t(3, 1, 0) t(4, 1, 0) t(5, 1, 0) t(6, 1, 0) t(7, 1, 0) t(8, 1, 0) t(9, 1, 0) t(10, 1, 0) \
  t(11, 1, 0) t(12, 1, 0) t(13, 1, 0) t(14, 1, 0) \
  t(1, 2, 0) t(2, 2, 0) t(3, 2, 0) t(4, 2, 0) t(5, 2, 0) t(6, 2, 0) t(7, 2, 0) t(8, 2, 0) t(9, 2, 0) t(10, 2, 0) \
  t(11, 2, 0) t(12, 2, 0) t(13, 2, 0) t(14, 2, 0) \
  t(1, 3, 0) t(2, 3, 0) t(3, 3, 0) t(4, 3, 0) t(5, 3, 0) t(6, 3, 0) t(7, 3, 0) t(8, 3, 0) t(9, 3, 0) \
  t(1, 4, 0) t(2, 4, 0) t(3, 4, 0) t(4, 4, 0) t(5, 4, 0) t(6, 4, 0) \
  t(1, 5, 0) t(2, 5, 0) t(3, 5, 0) t(4, 5, 0) \
  t(1, 6, 0) t(2, 6, 0) t(3, 6, 0) t(4, 6, 0) \
  t(1, 7, 0) t(2, 7, 0) t(3, 7, 0) \
  t(1, 8, 0) t(2, 8, 0)
// clang-format on

#include "../simd/conv_taps.h"
#include "../simd/conv_fc.h"

const bb_kernel bb_conv_fc_nchw16c_avx512 = {
    .name = "conv_fc_nchw16c_avx512",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX512,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = 14, .k = 2 * VL, .c = VL},
    .accepts = accepts,
    .configs = fc_configs,
    .cycles = dense_cycles,
    .packed_bytes = conv_packed_bytes,
    .pack = conv_pack,
    .workspace = dense_workspace,
    .stage = DENSE_STAGES,
};
