// SPDX-License-Identifier: Apache-2.0
//
// One tap of a first layer's register tile, by broadcasts from memory: once per pixel to a register or, where the ISA can
// (FMA_BROADCASTS), again in each FMA.

#ifndef BB_CONV_STEM_TAP_H
#define BB_CONV_STEM_TAP_H

BB_INLINE void stem_tap(const float *x, const vf *w, vf (*sum)[4], int mr, int nr, bool in_fma) {
  if (in_fma) {
    BB_UNROLL
    for (int i = 0; i < mr; i++) {
      BB_UNROLL
      for (int j = 0; j < nr; j++) sum[i][j] = vfma_at(x + i, w[j], sum[i][j]);
    }
    return;
  }
  if (!FMA_BROADCASTS) {
    BB_UNROLL
    for (int i = 0; i < mr; i++) vfma_bcast(nr, sum[i], x + i, w);
    return;
  }
  BB_UNROLL
  for (int i = 0; i < mr; i++) {
    const vf v = vbcast(x + i);
    BB_UNROLL
    for (int j = 0; j < nr; j++) sum[i][j] = vfma(v, w[j], sum[i][j]);
  }
}

// Sums begin with the products of the first tap, not with zeros (see taps_begin() in conv_taps.h); the taps done.
BB_INLINE int stem_begin(const float *x, const int *offset, const float *w, int taps, vf (*sum)[4], int mr, int nr) {
  if (taps == 0) {
    BB_UNROLL
    for (int i = 0; i < mr; i++) {
      BB_UNROLL
      for (int j = 0; j < nr; j++) sum[i][j] = vzero();
    }
    return 0;
  }
  vf ws[4];
  BB_UNROLL
  for (int j = 0; j < nr; j++) ws[j] = vload(w + j * VL);
  x = bb_in_register(x + offset[0]);
  BB_UNROLL
  for (int i = 0; i < mr; i++) {
    const vf v = vbcast(x + i);
    BB_UNROLL
    for (int j = 0; j < nr; j++) sum[i][j] = vmul(v, ws[j]);
  }
  return 1;
}

#endif
