// SPDX-License-Identifier: Apache-2.0
//
// Batch-norm at inference and lone activations, NCHW16c, AVX-512: the body in simd/scale.h as it is.

#include "vec.h"
#include "../simd/scale.h"

const bb_kernel bb_scale_direct_nchw16c_avx512 = {
    .name = "scale_direct_nchw16c_avx512",
    .op = BB_OP_SCALE,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX512,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = scale_accepts,
    .cycles = memory_cycles,
    .packed_bytes = scale_packed_bytes,
    .pack = scale_pack,
    .stage = {{.name = "scale", .tiles = tiles_of_y, .run = scale_run}},
};
