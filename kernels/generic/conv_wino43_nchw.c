// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(4x4, 3x3), NCHW, portable C: fused and staged (../simd/conv_wino.h).

enum { WINO_M = 4 };
#include "conv_wino.h"

const bb_kernel bb_conv_wino43_nchw_generic = WINO_FUSED(BB_ISA_GENERIC, BB_ALG_WINO43, "conv_wino43_nchw_generic");
const bb_kernel bb_conv_wino43staged_nchw_generic =
    WINO_STAGED(BB_ISA_GENERIC, BB_ALG_WINO43, "conv_wino43staged_nchw_generic");
