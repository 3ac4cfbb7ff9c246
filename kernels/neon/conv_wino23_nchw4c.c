// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(2x2, 3x3), NCHW4c, NEON: fused and staged (../simd/conv_wino.h).

enum { WINO_M = 2 };
#include "conv_wino.h"

const bb_kernel bb_conv_wino23_nchw4c_neon = WINO_FUSED(BB_ISA_NEON, BB_ALG_WINO23, "conv_wino23_nchw4c_neon");
const bb_kernel bb_conv_wino23staged_nchw4c_neon = WINO_STAGED(BB_ISA_NEON, BB_ALG_WINO23, "conv_wino23staged_nchw4c_neon");
