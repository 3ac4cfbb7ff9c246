// SPDX-License-Identifier: Apache-2.0
//
// Addition and multiplication of two tensors, NCHW16c, AVX-512: the body in simd/eltwise.h as it is.

#include "vec.h"
#include "../simd/eltwise.h"

const bb_kernel bb_eltwise_direct_nchw16c_avx512 = {
    .name = "eltwise_direct_nchw16c_avx512",
    .op = BB_OP_ELTWISE,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX512,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = eltwise_accepts,
    .cycles = memory_cycles,
    .packed_bytes = eltwise_packed_bytes,
    .pack = eltwise_pack,
    .stage = {{.name = "eltwise", .tiles = tiles_of_y, .run = eltwise_run}},
};
