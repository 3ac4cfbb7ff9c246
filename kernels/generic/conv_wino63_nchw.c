// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(6x6, 3x3), NCHW, portable C: fused and staged (../simd/conv_wino.h).

enum { WINO_M = 6 };
#include "conv_wino.h"

const bb_kernel bb_conv_wino63_nchw_generic = WINO_FUSED(BB_ISA_GENERIC, BB_ALG_WINO63, "conv_wino63_nchw_generic");
const bb_kernel bb_conv_wino63staged_nchw_generic =
    WINO_STAGED(BB_ISA_GENERIC, BB_ALG_WINO63, "conv_wino63staged_nchw_generic");
