// SPDX-License-Identifier: Apache-2.0
//
// Fully connected, NCHW4c, NEON. One image: eight chains of FMLAs. Sums + images + weights <= 32 q.

#include "vec.h"

enum { NR_MAX = 8, MR_MAX = 14 };
// Blocks of a k group, best first.
static const int nr_order[] = {4};
// A quarter of the 512 KB of L2 that an N1 may have; 1x1 panels stay in L1.
enum { PANEL_BYTES = 64 * 1024, PANEL_C = 128 };

// clang-format off
#define TILES(t) \
  t(1, 1, 0) t(2, 1, 0) t(3, 1, 0) t(4, 1, 0) t(5, 1, 0) t(6, 1, 0) t(7, 1, 0) t(8, 1, 0) t(9, 1, 0) t(10, 1, 0) \
  t(11, 1, 0) t(12, 1, 0) t(13, 1, 0) t(14, 1, 0) \
  t(1, 2, 0) t(2, 2, 0) t(3, 2, 0) t(4, 2, 0) t(5, 2, 0) t(6, 2, 0) t(7, 2, 0) t(8, 2, 0) t(9, 2, 0) t(10, 2, 0) \
  t(1, 3, 0) t(2, 3, 0) t(3, 3, 0) t(4, 3, 0) t(5, 3, 0) t(6, 3, 0) t(7, 3, 0) \
  t(1, 4, 0) t(2, 4, 0) t(3, 4, 0) t(4, 4, 0) t(5, 4, 0) \
  t(1, 5, 0) t(2, 5, 0) t(3, 5, 0) t(4, 5, 0) \
  t(1, 6, 0) t(2, 6, 0) t(3, 6, 0) \
  t(1, 7, 0) t(2, 7, 0) t(3, 7, 0) \
  t(1, 8, 0) t(2, 8, 0)
// clang-format on

#include "conv_taps.h"
#include "../simd/conv_fc.h"

const bb_kernel bb_conv_fc_nchw4c_neon = {
    .name = "conv_fc_nchw4c_neon",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_NEON,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = 5, .k = 4 * VL, .c = VL},
    .accepts = accepts,
    .configs = fc_configs,
    .cycles = dense_cycles,
    .packed_bytes = conv_packed_bytes,
    .pack = conv_pack,
    .workspace = dense_workspace,
    .stage = DENSE_STAGES,
};
