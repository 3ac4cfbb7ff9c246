// SPDX-License-Identifier: Apache-2.0
//
// The inner loop of the dense convolutions on NEON: one tap of one block of four input channels on a register tile of mr pixels
// x nr blocks of output channels. FMLA by lane takes the multiplicand from a lane, so that a pixel's four channels are one
// load: mr + 4*nr loads for 4*mr*nr FMLA. Registers: mr*nr sums + mr pixels + weights as they come.

#ifndef BB_CONV_TAPS_H
#define BB_CONV_TAPS_H

#include "../common.h"

#define UNROLL_TAPS 0

// b*a[lane] + c; lane is a constant once the loop around is gone.
BB_INLINE vf vfma_lane(vf a, const int lane, vf b, vf c) {
  return lane == 0   ? vfmaq_laneq_f32(c, b, a, 0)
         : lane == 1 ? vfmaq_laneq_f32(c, b, a, 1)
         : lane == 2 ? vfmaq_laneq_f32(c, b, a, 2)
                     : vfmaq_laneq_f32(c, b, a, 3);
}

// For each of the four channels.
BB_INLINE double tap_loads(double mr, int nr) { return mr / VL + nr; }

// Sums begin; the channels done: none, so that loads stay aligned to lanes.
BB_INLINE int taps_begin(const int mr, const int nr, vf acc[][NR_MAX], const float *x, const ptrdiff_t *at, const float *w,
                         int lanes) {
  (void)x, (void)at, (void)w, (void)lanes;
  BB_UNROLL
  for (int m = 0; m < mr; m++) {
    BB_UNROLL
    for (int j = 0; j < nr; j++) acc[m][j] = vzero();
  }
  return 0;
}

// x: pixel 0; at: from there to each pixel; w: [lane][nr*VL].
BB_INLINE void taps(const int mr, const int nr, vf acc[][NR_MAX], const float *x, const ptrdiff_t *at, const float *w,
                    int lanes) {
  vf v[MR_MAX];
  BB_UNROLL
  for (int m = 0; m < mr; m++) v[m] = vload(x + at[m]);
  BB_UNROLL
  for (int c = 0; c < VL; c++) {
    if (c > 0 && c >= lanes) break;
    BB_UNROLL
    for (int j = 0; j < nr; j++) {
      const vf b = vload(w + (c * nr + j) * VL);
      BB_UNROLL
      for (int m = 0; m < mr; m++) acc[m][j] = vfma_lane(v[m], c, b, acc[m][j]);
    }
  }
}

// The same for the pixels whose bit is set: padding costs no multiplication and needs no zeros in memory.
BB_INLINE void taps_masked(const int mr, const int nr, vf acc[][NR_MAX], const float *x, const ptrdiff_t *at, const float *w,
                           int lanes, uint32_t mask) {
  for (int c = 0; c < lanes; c++, w += nr * VL) {
    // Keeps the compiler from making a loop for every mask.
    __asm__("" : "+r"(mask));
    vf b[NR_MAX];
    BB_UNROLL
    for (int j = 0; j < nr; j++) b[j] = vload(w + j * VL);
    BB_UNROLL
    for (int m = 0; m < mr; m++) {
      if (!(mask >> m & 1)) continue;
      const vf v = vbcast(x + at[m] + c);
      BB_UNROLL
      for (int j = 0; j < nr; j++) acc[m][j] = vfma(v, b[j], acc[m][j]);
    }
  }
}

#endif
