// SPDX-License-Identifier: Apache-2.0
//
// 1x1 convolution, NCHW4c, NEON. Register tiles as in conv_direct_nchw4c.c, but 9x2: gcc 12 spills ten vectors of 10x2.

#include "vec.h"

enum { NR_MAX = 4, MR_MAX = 14 };
// Blocks of a k group, best first.
static const int nr_order[] = {4, 3, 2};
// A quarter of the 512 KB of L2 that an N1 may have; 1x1 panels stay in L1.
enum { PANEL_BYTES = 64 * 1024, PANEL_C = 128 };

#define STRIDES(t, mr, nr) t(mr, nr, 0) t(mr, nr, 1) t(mr, nr, 2)
// clang-format off
#define TILES(t) \
  STRIDES(t, 1, 1) STRIDES(t, 2, 1) STRIDES(t, 3, 1) STRIDES(t, 4, 1) STRIDES(t, 5, 1) \
  STRIDES(t, 6, 1) STRIDES(t, 7, 1) STRIDES(t, 8, 1) STRIDES(t, 9, 1) STRIDES(t, 10, 1) \
  STRIDES(t, 11, 1) STRIDES(t, 12, 1) STRIDES(t, 13, 1) STRIDES(t, 14, 1) \
  STRIDES(t, 1, 2) STRIDES(t, 2, 2) STRIDES(t, 3, 2) STRIDES(t, 4, 2) STRIDES(t, 5, 2) \
  STRIDES(t, 6, 2) STRIDES(t, 7, 2) STRIDES(t, 8, 2) STRIDES(t, 9, 2) \
  STRIDES(t, 1, 3) STRIDES(t, 2, 3) STRIDES(t, 3, 3) STRIDES(t, 4, 3) STRIDES(t, 5, 3) \
  STRIDES(t, 6, 3) STRIDES(t, 7, 3) \
  STRIDES(t, 1, 4) STRIDES(t, 2, 4) STRIDES(t, 3, 4) STRIDES(t, 4, 4) STRIDES(t, 5, 4)
// clang-format on

#include "conv_taps.h"
#include "../simd/conv_1x1.h"

const bb_kernel bb_conv_1x1_nchw4c_neon = {
    .name = "conv_1x1_nchw4c_neon",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_NEON,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = 5, .k = 4 * VL, .c = VL},
    .accepts = accepts,
    .configs = dense_configs,
    .cycles = dense_cycles,
    .packed_bytes = conv_packed_bytes,
    .pack = conv_pack,
    .workspace = dense_workspace,
    .stage = DENSE_STAGES,
};
