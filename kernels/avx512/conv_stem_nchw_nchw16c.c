// SPDX-License-Identifier: Apache-2.0
//
// First layer, NCHW to NCHW16c, AVX-512. Sums + weights of a tap + one pixel <= 32 zmm: 6x4 (24 + 4 + 1), 9x3 (27 + 3 + 1),
// 14x2 (28 + 2 + 1), 14x1.

#include "vec.h"

enum { STEM_NR = 4 };
BB_INLINE int stem_most(int nr) { return nr == 4 ? 6 : nr == 3 ? 9 : 14; }

#include "../simd/conv_stem_tap.h"
#include "../simd/conv_stem.h"

const bb_kernel bb_conv_stem_nchw_nchw16c_avx512 = {
    .name = "conv_stem_nchw_nchw16c_avx512",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_AVX512,
    .x_block = 1,
    .y_block = VL,
    .block = {.q = 6, .k = STEM_NR * VL, .c = 1},
    .accepts = stem_accepts,
    .configs = stem_configs,
    .cycles = stem_cycles,
    .packed_bytes = stem_packed_bytes,
    .pack = stem_pack,
    .workspace = stem_workspace,
    .stage = {{"rows", strip_tiles, stem_run}, {"means", strip_gap_tiles, strip_gap_run}},
};
