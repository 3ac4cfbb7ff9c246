// SPDX-License-Identifier: Apache-2.0
//
// Copies between channel maps and strides, NCHW4c, NEON: the body in simd/copy_blocked.h as it is.

#include "vec.h"
#include "../simd/copy_blocked.h"

const bb_kernel bb_copy_direct_nchw4c_neon = {
    .name = "copy_direct_nchw4c_neon",
    .op = BB_OP_COPY,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_NEON,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = blocked_accepts,
    .cycles = memory_cycles,
    .packed_bytes = blocked_packed_bytes,
    .pack = blocked_pack,
    .stage = {{.name = "copy", .tiles = tiles_of_y, .run = blocked_run}},
};
