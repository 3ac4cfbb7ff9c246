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

#define STRIDES(t, mr, nr) t(mr, nr, 0) t(mr, nr, 1) t(mr, nr, 2)
// clang-format off
#define TILES(t) \
  STRIDES(t, 1, 1) STRIDES(t, 2, 1) STRIDES(t, 3, 1) STRIDES(t, 4, 1) STRIDES(t, 5, 1) \
  STRIDES(t, 6, 1) STRIDES(t, 7, 1) STRIDES(t, 8, 1) STRIDES(t, 9, 1) STRIDES(t, 10, 1) \
  STRIDES(t, 11, 1) STRIDES(t, 12, 1) STRIDES(t, 13, 1) STRIDES(t, 14, 1) \
  STRIDES(t, 1, 2) STRIDES(t, 2, 2) STRIDES(t, 3, 2) STRIDES(t, 4, 2) STRIDES(t, 5, 2) \
  STRIDES(t, 6, 2) STRIDES(t, 7, 2) STRIDES(t, 8, 2) STRIDES(t, 9, 2) STRIDES(t, 10, 2) \
  STRIDES(t, 11, 2) STRIDES(t, 12, 2) STRIDES(t, 13, 2) STRIDES(t, 14, 2) \
  STRIDES(t, 1, 3) STRIDES(t, 2, 3) STRIDES(t, 3, 3) STRIDES(t, 4, 3) STRIDES(t, 5, 3) \
  STRIDES(t, 6, 3) STRIDES(t, 7, 3) STRIDES(t, 8, 3) STRIDES(t, 9, 3) \
  STRIDES(t, 1, 4) STRIDES(t, 2, 4) STRIDES(t, 3, 4) STRIDES(t, 4, 4) STRIDES(t, 5, 4) \
  STRIDES(t, 6, 4)
// clang-format on

// On Zen 4, whose FMA unit is 256 bits wide, these take 21 cycles for 28, 22.5 for 27, 21 for 24.
// clang-format off
#define LOW_TILES(t) \
  t(1, 2) t(2, 2) t(3, 2) t(4, 2) t(5, 2) t(6, 2) t(7, 2) t(8, 2) t(9, 2) t(10, 2) t(11, 2) t(12, 2) t(13, 2) t(14, 2) \
  t(1, 3) t(2, 3) t(3, 3) t(4, 3) t(5, 3) t(6, 3) t(7, 3) t(8, 3) t(9, 3) \
  t(1, 4) t(2, 4) t(3, 4) t(4, 4) t(5, 4) t(6, 4)
// clang-format on

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
