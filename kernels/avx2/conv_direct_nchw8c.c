// SPDX-License-Identifier: Apache-2.0
//
// Direct convolution, NCHW8c, AVX2 + FMA. Sums + weights of a tap + one broadcast <= 16 ymm: 4x3 (12 + 3 + 1), 6x2 (12 + 2 +
// 1); 12x1 where there is one block of outputs only.

#include "vec.h"

enum { NR_MAX = 3, MR_MAX = 12 };
// Blocks of a k group: 6x2 tiles are up to 4 % slower.
static const int nr_order[] = {3};
// Narrow tiles read 16 bytes of weights per cycle, which L2 hardly gives: 128 channels of a 1x1 panel stay in L1. Measured on
// Zen 4: 256 channels are 5 % slower, 64 KB for larger filters as good as any.
enum { PANEL_BYTES = 64 * 1024, PANEL_C = 128 };

#define STRIDES(t, mr, nr) t(mr, nr, 0) t(mr, nr, 1) t(mr, nr, 2)
// clang-format off
#define TILES(t) \
  STRIDES(t, 1, 1) STRIDES(t, 2, 1) STRIDES(t, 3, 1) STRIDES(t, 4, 1) STRIDES(t, 5, 1) \
  STRIDES(t, 6, 1) STRIDES(t, 7, 1) STRIDES(t, 8, 1) STRIDES(t, 9, 1) STRIDES(t, 10, 1) \
  STRIDES(t, 11, 1) STRIDES(t, 12, 1) \
  STRIDES(t, 1, 2) STRIDES(t, 2, 2) STRIDES(t, 3, 2) STRIDES(t, 4, 2) STRIDES(t, 5, 2) \
  STRIDES(t, 6, 2) \
  STRIDES(t, 1, 3) STRIDES(t, 2, 3) STRIDES(t, 3, 3) STRIDES(t, 4, 3)
// clang-format on

#include "../simd/conv_taps.h"
#include "../simd/conv_direct.h"

const bb_kernel bb_conv_direct_nchw8c_avx2 = {
    .name = "conv_direct_nchw8c_avx2",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX2,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = 4, .k = 3 * VL, .c = VL},
    .accepts = accepts,
    .configs = dense_configs,
    .cycles = dense_cycles,
    .packed_bytes = conv_packed_bytes,
    .pack = conv_pack,
    .workspace = dense_workspace,
    .stage = DENSE_STAGES,
};
