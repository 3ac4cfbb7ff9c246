// SPDX-License-Identifier: Apache-2.0
//
// Softmax over channels, NCHW4c, NEON: the body in simd/softmax.h as it is.

#include "vec.h"
#include "../simd/softmax.h"

const bb_kernel bb_softmax_direct_nchw4c_neon = {
    .name = "softmax_direct_nchw4c_neon",
    .op = BB_OP_SOFTMAX,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_NEON,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = softmax_accepts,
    .cycles = memory_cycles,
    .stage = {{.name = "softmax", .tiles = softmax_tiles, .run = softmax_run}},
};
