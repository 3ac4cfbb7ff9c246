// SPDX-License-Identifier: Apache-2.0
//
// Max, average, adaptive and global pooling, NCHW8c, AVX2: the body in simd/pool.h as it is.

#include "vec.h"
#include "../simd/pool.h"

const bb_kernel bb_pool_direct_nchw8c_avx2 = {
    .name = "pool_direct_nchw8c_avx2",
    .op = BB_OP_POOL,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX2,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = pool_accepts,
    .cycles = memory_cycles,
    .stage = {{.name = "pool", .tiles = tiles_of_y, .run = pool_run}},
};
