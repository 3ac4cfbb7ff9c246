// SPDX-License-Identifier: Apache-2.0
//
// Copies to NCHW, NCHW8c, AVX2: the body in simd/copy_from_blocked.h as it is.

#include "vec.h"
#include "../simd/copy_from_blocked.h"

const bb_kernel bb_copy_direct_nchw8c_nchw_avx2 = {
    .name = "copy_direct_nchw8c_nchw_avx2",
    .op = BB_OP_COPY,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX2,
    .x_block = VL,
    .y_block = 1,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = from_blocked_accepts,
    .cycles = memory_cycles,
    .packed_bytes = from_blocked_packed_bytes,
    .pack = from_blocked_pack,
    .stage = {{.name = "copy", .tiles = tiles_of_x, .run = from_blocked_run}},
};
