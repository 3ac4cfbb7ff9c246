// SPDX-License-Identifier: Apache-2.0
//
// Grouped convolution, NCHW4c, NEON: 14 sums + 3 or 5 weights + the vector of x at hand + the permutation.

#include "vec.h"

enum { ROWS_M = 14, ROWS_M_ANY = 8 };

#include "../simd/conv_grouped.h"

const bb_kernel bb_conv_grouped_nchw4c_neon = {
    .name = "conv_grouped_nchw4c_neon",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_NEON,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = ROWS_M, .k = VL, .c = VL},
    .accepts = grouped_accepts,
    .configs = grouped_configs,
    .cycles = grouped_cycles,
    .packed_bytes = grouped_packed_bytes,
    .pack = grouped_pack,
    .workspace = grouped_workspace,
    .stage = {{"rows", rows_tiles, grouped_run}, {"means", rows_gap_tiles, rows_gap_run}},
};
