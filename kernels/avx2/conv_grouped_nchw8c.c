// SPDX-License-Identifier: Apache-2.0
//
// Grouped convolution, NCHW8c, AVX2: 8 sums + 3 or 5 weights + the vector of x at hand, moved with the help of three more.

#include "vec.h"

enum { ROWS_M = 8, ROWS_M_ANY = 8 };

#include "../simd/conv_grouped.h"

const bb_kernel bb_conv_grouped_nchw8c_avx2 = {
    .name = "conv_grouped_nchw8c_avx2",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX2,
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
