// SPDX-License-Identifier: Apache-2.0
//
// Nearest and bilinear resize, NCHW8c, AVX2: the body in simd/resize.h as it is.

#include "vec.h"
#include "../simd/resize.h"

const bb_kernel bb_resize_direct_nchw8c_avx2 = {
    .name = "resize_direct_nchw8c_avx2",
    .op = BB_OP_RESIZE,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX2,
    .x_block = VL,
    .y_block = VL,
    .block = {.q = VL, .k = VL, .c = VL},
    .accepts = resize_accepts,
    .cycles = memory_cycles,
    .packed_bytes = resize_packed_bytes,
    .pack = resize_pack,
    .stage = {{.name = "resize", .tiles = tiles_of_y, .run = resize_run}},
};
