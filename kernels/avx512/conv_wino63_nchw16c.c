// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(6x6, 3x3), NCHW16c, AVX-512: fused and staged (../simd/conv_wino.h).

enum { WINO_M = 6 };
#include "conv_wino.h"

const bb_kernel bb_conv_wino63_nchw16c_avx512 = WINO_FUSED(BB_ISA_AVX512, BB_ALG_WINO63, "conv_wino63_nchw16c_avx512");
const bb_kernel bb_conv_wino63staged_nchw16c_avx512 =
    WINO_STAGED(BB_ISA_AVX512, BB_ALG_WINO63, "conv_wino63staged_nchw16c_avx512");
