// SPDX-License-Identifier: Apache-2.0
//
// One tap of a first layer's register tile, by broadcasts from memory.

#ifndef BB_CONV_STEM_TAP_H
#define BB_CONV_STEM_TAP_H

enum { STEM_STEP = 1 };

BB_INLINE void stem_tap(const float *x, const vf *w, vf (*sum)[4], int mr, int nr) {
  BB_UNROLL
  for (int i = 0; i < mr; i++) {
    const vf v = vbcast(x + i);
    BB_UNROLL
    for (int j = 0; j < nr; j++) sum[i][j] = vfma(v, w[j], sum[i][j]);
  }
}

#endif
