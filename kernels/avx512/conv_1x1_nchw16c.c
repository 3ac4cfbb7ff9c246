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
#define TAILS(t, mr, nr)   t(mr, nr, 4) t(mr, nr, 8) t(mr, nr, 12)
// clang-format off
#define SIZES(each, t) \
  each(t, 1, 1) each(t, 2, 1) each(t, 3, 1) each(t, 4, 1) each(t, 5, 1) each(t, 6, 1) each(t, 7, 1) \
  each(t, 8, 1) each(t, 9, 1) each(t, 10, 1) each(t, 11, 1) each(t, 12, 1) each(t, 13, 1) each(t, 14, 1) \
  each(t, 1, 2) each(t, 2, 2) each(t, 3, 2) each(t, 4, 2) each(t, 5, 2) each(t, 6, 2) each(t, 7, 2) \
  each(t, 8, 2) each(t, 9, 2) each(t, 10, 2) each(t, 11, 2) each(t, 12, 2) each(t, 13, 2) each(t, 14, 2) \
  each(t, 1, 3) each(t, 2, 3) each(t, 3, 3) each(t, 4, 3) each(t, 5, 3) each(t, 6, 3) each(t, 7, 3) \
  each(t, 8, 3) each(t, 9, 3) \
  each(t, 1, 4) each(t, 2, 4) each(t, 3, 4) each(t, 4, 4) each(t, 5, 4) each(t, 6, 4)
// clang-format on
#define TILES(t)      SIZES(STRIDES, t)
#define TAIL_TILES(t) SIZES(TAILS, t)

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
