// SPDX-License-Identifier: Apache-2.0
//
// Direct convolution, NCHW16c, AVX-512. Sums + weights of a tap + one broadcast <= 32 zmm: 14x2 (28 + 2 + 1), 9x3 (27 + 3 + 1),
// 6x4 (24 + 4 + 1); 14x1 where there is one block of outputs only.

#include "vec.h"

enum { NR_MAX = 4, MR_MAX = 14 };
// Blocks of a k group, best first.
static const int nr_order[] = {2, 3, 4};
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

#include "../simd/conv_taps.h"
#include "../simd/conv_direct.h"

const bb_kernel bb_conv_direct_nchw16c_avx512 = {
    .name = "conv_direct_nchw16c_avx512",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX512,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = 14, .k = 2 * VL, .c = VL},
    .accepts = accepts,
    .configs = dense_configs,
    .cycles = dense_cycles,
    .packed_bytes = conv_packed_bytes,
    .pack = conv_pack,
    .workspace = dense_workspace,
    .stage = DENSE_STAGES,
};
