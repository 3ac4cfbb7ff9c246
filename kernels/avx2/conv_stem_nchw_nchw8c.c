// SPDX-License-Identifier: Apache-2.0
//
// First layer, NCHW to NCHW8c, AVX2. Sums + weights of a tap + one pixel <= 16 ymm: 4x3 (12 + 3 + 1), 6x2 (12 + 2 + 1), 12x1.

#include "vec.h"

enum { STEM_NR = 3 };
BB_INLINE int stem_most(int nr) { return 12 / nr; }

#include "../simd/conv_stem_tap.h"
#include "../simd/conv_stem.h"

const bb_kernel bb_conv_stem_nchw_nchw8c_avx2 = {
    .name = "conv_stem_nchw_nchw8c_avx2",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX2,
    .x_block = 1,
    .y_block = VL,
    .block = {.q = 4, .k = STEM_NR * VL, .c = 1},
    .accepts = stem_accepts,
    .configs = stem_configs,
    .cycles = stem_cycles,
    .packed_bytes = stem_packed_bytes,
    .pack = stem_pack,
    .workspace = stem_workspace,
    .stage = {{"rows", strip_tiles, stem_run}, {"means", strip_gap_tiles, strip_gap_run}},
};
