// SPDX-License-Identifier: Apache-2.0
//
// Max, average, adaptive and global pooling, NCHW4c, NEON: the body in simd/pool.h as it is.

#include "vec.h"
#include "../simd/pool.h"

const bb_kernel bb_pool_direct_nchw4c_neon = {
    .name = "pool_direct_nchw4c_neon",
    .op = BB_OP_POOL,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_NEON,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = pool_accepts,
    .cycles = memory_cycles,
    .stage = {{.name = "pool", .tiles = tiles_of_y, .run = pool_run}},
};
