// SPDX-License-Identifier: Apache-2.0
//
// Batch-norm at inference and lone activations, NCHW8c, AVX2: the body in simd/scale.h as it is.

#include "vec.h"
#include "../simd/scale.h"

const bb_kernel bb_scale_direct_nchw8c_avx2 = {
    .name = "scale_direct_nchw8c_avx2",
    .op = BB_OP_SCALE,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX2,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = scale_accepts,
    .cycles = memory_cycles,
    .packed_bytes = scale_packed_bytes,
    .pack = scale_pack,
    .stage = {{.name = "scale", .tiles = tiles_of_y, .run = scale_run}},
};
