// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(2x2, 3x3) of a first layer, NCHW to NCHW8c, AVX2: one tile beside two blocks, 14 sums + a broadcast, U being
// operands of the FMAs; or two tiles beside one block, 14 sums + U + a broadcast.

#include "vec.h"

enum { WSTEM_NR = 2, WSTEM_T = 1 };
BB_INLINE int wstem_most(int nr) { return 2 / nr; }

#include "../simd/conv_wino_stem_products.h"
#include "../simd/conv_wino_stem.h"

const bb_kernel bb_conv_wino23_nchw_nchw8c_avx2 = WINO_STEM(BB_ISA_AVX2, "conv_wino23_nchw_nchw8c_avx2");
