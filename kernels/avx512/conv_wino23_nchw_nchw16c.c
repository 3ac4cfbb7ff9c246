// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(2x2, 3x3) of a first layer, NCHW to NCHW16c, AVX-512: four tiles beside a block, 28 sums + U; broadcasts are
// operands of the FMAs.

#include "vec.h"

enum { WSTEM_NR = 1, WSTEM_T = 4 };
BB_INLINE int wstem_most(int nr) { return (void)nr, WSTEM_T; }

#include "../simd/conv_wino_stem_products.h"
#include "../simd/conv_wino_stem.h"

const bb_kernel bb_conv_wino23_nchw_nchw16c_avx512 = WINO_STEM(BB_ISA_AVX512, "conv_wino23_nchw_nchw16c_avx512");
