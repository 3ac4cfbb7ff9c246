// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(2x2, 3x3), NCHW, portable C: fused and staged (../simd/conv_wino.h).

enum { WINO_M = 2 };
#include "conv_wino.h"

const bb_kernel bb_conv_wino23_nchw_generic = WINO_FUSED(BB_ISA_GENERIC, BB_ALG_WINO23, "conv_wino23_nchw_generic");
const bb_kernel bb_conv_wino23staged_nchw_generic =
    WINO_STAGED(BB_ISA_GENERIC, BB_ALG_WINO23, "conv_wino23staged_nchw_generic");
