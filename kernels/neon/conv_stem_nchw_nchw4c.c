// SPDX-License-Identifier: Apache-2.0
//
// First layer, NCHW to NCHW4c, NEON. Pixels are loaded four at once and multiplied by lane. Sums + weights of a tap + pixels <=
// 32 q: 8x3 (24 + 3 + 2), 12x2 (24 + 2 + 3), 12x1.

#include "vec.h"

enum { STEM_NR = 3 };
BB_INLINE int stem_most(int nr) { return nr == 3 ? 8 : 12; }

// May read up to three pixels past the last one; the copied rows have room for them.
BB_INLINE void stem_tap(const float *x, const vf *w, vf (*sum)[4], int mr, int nr, bool in_fma) {
  (void)in_fma;
  BB_UNROLL
  for (int i = 0; i < mr; i += VL) {
    const vf v = vload(x + i);
    BB_UNROLL
    for (int j = 0; j < nr; j++) {
      sum[i][j] = vfmaq_laneq_f32(sum[i][j], w[j], v, 0);
      if (i + 1 < mr) sum[i + 1][j] = vfmaq_laneq_f32(sum[i + 1][j], w[j], v, 1);
      if (i + 2 < mr) sum[i + 2][j] = vfmaq_laneq_f32(sum[i + 2][j], w[j], v, 2);
      if (i + 3 < mr) sum[i + 3][j] = vfmaq_laneq_f32(sum[i + 3][j], w[j], v, 3);
    }
  }
}

BB_INLINE int stem_begin(const float *x, const int *offset, const float *w, int taps, vf (*sum)[4], int mr, int nr) {
  (void)x, (void)offset, (void)w, (void)taps;
  BB_UNROLL
  for (int i = 0; i < mr; i++) {
    BB_UNROLL
    for (int j = 0; j < nr; j++) sum[i][j] = vzero();
  }
  return 0;
}

#include "../simd/conv_stem.h"

const bb_kernel bb_conv_stem_nchw_nchw4c_neon = {
    .name = "conv_stem_nchw_nchw4c_neon",
    .op = BB_OP_CONV,
    .alg = BB_ALG_DIRECT,
    .isa = BB_ISA_NEON,
    .x_block = 1,
    .y_block = VL,
    .block = {.q = 8, .k = STEM_NR * VL, .c = 1},
    .accepts = stem_accepts,
    .configs = stem_configs,
    .cycles = stem_cycles,
    .packed_bytes = stem_packed_bytes,
    .pack = stem_pack,
    .workspace = stem_workspace,
    .stage = {{"rows", strip_tiles, stem_run}, {"means", strip_gap_tiles, strip_gap_run}},
};
