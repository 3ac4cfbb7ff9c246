// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(6x6, 3x3), NCHW8c, AVX2 + FMA: fused and staged (../simd/conv_wino.h).

enum { WINO_M = 6 };
#include "conv_wino.h"

const bb_kernel bb_conv_wino63_nchw8c_avx2 = WINO_FUSED(BB_ISA_AVX2, BB_ALG_WINO63, "conv_wino63_nchw8c_avx2");
const bb_kernel bb_conv_wino63staged_nchw8c_avx2 = WINO_STAGED(BB_ISA_AVX2, BB_ALG_WINO63, "conv_wino63staged_nchw8c_avx2");
