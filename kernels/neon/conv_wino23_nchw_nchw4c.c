// SPDX-License-Identifier: Apache-2.0
//
// Winograd F(2x2, 3x3) of a first layer, NCHW to NCHW4c, NEON: three tiles beside a block: 21 sums + U + four tiles of V. With
// four tiles, 28 sums, gcc 12 spills (three channels: 197 instructions a tile, else 169).

#include "vec.h"

enum { WSTEM_NR = 1, WSTEM_T = 3 };
BB_INLINE int wstem_most(int nr) { return (void)nr, WSTEM_T; }

// Four tiles are loaded at once and multiplied by lane; may read up to three past the last one, for which V has room.
BB_INLINE void wstem_products(const float *v, const float *u, bool fresh, int C, int T, int nr, int pitch, vf *sum) {
  (void)nr;
  BB_UNROLL
  for (int c = 0; c < C; c++) {
    const vf w = vload(u + c * VL), x = vload(v + c * pitch);
    if (fresh && c == 0) {
      sum[0] = vmulq_laneq_f32(w, x, 0);
      if (T > 1) sum[1] = vmulq_laneq_f32(w, x, 1);
      if (T > 2) sum[2] = vmulq_laneq_f32(w, x, 2);
    } else {
      sum[0] = vfmaq_laneq_f32(sum[0], w, x, 0);
      if (T > 1) sum[1] = vfmaq_laneq_f32(sum[1], w, x, 1);
      if (T > 2) sum[2] = vfmaq_laneq_f32(sum[2], w, x, 2);
    }
  }
}

#include "../simd/conv_wino_stem.h"

const bb_kernel bb_conv_wino23_nchw_nchw4c_neon = WINO_STEM(BB_ISA_NEON, "conv_wino23_nchw_nchw4c_neon");
