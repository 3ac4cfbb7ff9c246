// SPDX-License-Identifier: Apache-2.0
//
// Softmax over channels, NCHW16c, AVX-512: the body in simd/softmax.h as it is.

#include "vec.h"
#include "../simd/softmax.h"

const bb_kernel bb_softmax_direct_nchw16c_avx512 = {
    .name = "softmax_direct_nchw16c_avx512",
    .op = BB_OP_SOFTMAX,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX512,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = softmax_accepts,
    .cycles = memory_cycles,
    .stage = {{.name = "softmax", .tiles = softmax_tiles, .run = softmax_run}},
};
