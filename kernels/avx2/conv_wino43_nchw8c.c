// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(4x4, 3x3), NCHW8c, AVX2 + FMA: fused and staged (../simd/conv_wino.h).

enum { WINO_M = 4 };
#include "conv_wino.h"

const bb_kernel bb_conv_wino43_nchw8c_avx2 = WINO_FUSED(BB_ISA_AVX2, BB_ALG_WINO43, "conv_wino43_nchw8c_avx2");
const bb_kernel bb_conv_wino43staged_nchw8c_avx2 = WINO_STAGED(BB_ISA_AVX2, BB_ALG_WINO43, "conv_wino43staged_nchw8c_avx2");
