// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolution, NCHW4c, NEON: 14 sums + 3 or 5 weights + the vector of x at hand.

#include "vec.h"

enum { ROWS_M = 14, ROWS_M_ANY = 8 };

#include "../simd/conv_dw.h"

const bb_kernel bb_conv_dw_nchw4c_neon = {
    .name = "conv_dw_nchw4c_neon",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_NEON,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = ROWS_M, .k = VL, .c = VL},
    .accepts = dw_accepts,
    .configs = dw_configs,
    .cycles = dw_cycles,
    .packed_bytes = dw_packed_bytes,
    .pack = dw_pack,
    .workspace = dw_workspace,
    .stage = {{"rows", rows_tiles, dw_run}, {"means", rows_gap_tiles, rows_gap_run}},
};
