// SPDX-License-Identifier: Apache-2.0
//
// The inner loop of the dense convolutions where a multiplicand is broadcast from memory (x86): one tap of one block of input
// channels on a register tile of mr pixels x nr blocks of output channels. Per channel: nr loads, mr broadcasts, mr*nr FMAs.

#ifndef BB_CONV_TAPS_H
#define BB_CONV_TAPS_H

#include "../common.h"

// Whether full blocks are unrolled: see taps_block(). A file may say otherwise before.
#ifndef UNROLL_TAPS
#define UNROLL_TAPS (VL == 8)
#endif

// Sanitizers check every load: with eight times as many ASan's build took 261 s, else 228 (Zen 3, two cores).
#if BB_SANITIZED
#define UNROLL_BLOCK
#else
#define UNROLL_BLOCK BB_UNROLL
#endif

BB_INLINE double tap_loads(double mr, int nr) { return mr + nr; }

// The VL channels of a full block, without a loop, where UNROLL_TAPS: two 256-bit FMAs per cycle leave room for little
// else, least of all while another thread runs on the same core. A loop adds three instructions to 19; and its loads stay in
// one line for long, where those of an unrolled block each advance by the same distance from block to block, which processors
// prefetch: fetching pixels ahead costs then. (Zen 3 beside such a thread, 1x1 of mb_pw14: a loop 60 % of peak, unrolled 66,
// without fetching 70, with vfma_bcast 83; oneDNN 83 to 88.)
BB_INLINE void taps_block(const int mr, const int nr, vf acc[][NR_MAX], const float *x, const ptrdiff_t *at, const float *w) {
  UNROLL_BLOCK
  for (int c = 0; c < VL; c++) {
    vf b[NR_MAX];
    BB_UNROLL
    for (int j = 0; j < nr; j++) b[j] = vheld(vload(w + (c * nr + j) * VL));
    BB_UNROLL
    for (int m = 0; m < mr; m++) vfma_bcast(nr, acc[m], x + at[m] + c, b);
  }
}

// x: pixel 0; at: from there to each pixel; w: [lane][nr*VL].
BB_INLINE void taps(const int mr, const int nr, vf acc[][NR_MAX], const float *x, const ptrdiff_t *at, const float *w,
                    int lanes) {
  if (UNROLL_TAPS && lanes == VL) {
    taps_block(mr, nr, acc, x, at, w);
    return;
  }
  for (int c = 0; c < lanes; c++, w += nr * VL) {
    vf b[NR_MAX];
    BB_UNROLL
    for (int j = 0; j < nr; j++) b[j] = vload(w + j * VL);
    if (FMA_BROADCASTS && mr * nr + nr == 32) {  // no register is left for the pixel
      BB_UNROLL
      for (int m = 0; m < mr; m++) {
        BB_UNROLL
        for (int j = 0; j < nr; j++) acc[m][j] = vfma_at(x + at[m] + c, b[j], acc[m][j]);
      }
      continue;
    }
    BB_UNROLL
    for (int m = 0; m < mr; m++) {
      const vf v = vbcast(x + at[m] + c);
      BB_UNROLL
      for (int j = 0; j < nr; j++) acc[m][j] = vfma(v, b[j], acc[m][j]);
    }
  }
}

// Sums begin with the products of the first channel, not with zeros; the channels done, 1 or, without any, 0. On Zen 4 FMAs
// wait for the stores of zmm before them, multiplications do not: a tile of 14 x 2 whose sums begin with zeros takes 66 cycles
// beside its FMAs, else 6. Not where blocks are unrolled: a first channel less would make a loop of the others.
BB_INLINE int taps_begin(const int mr, const int nr, vf acc[][NR_MAX], const float *x, const ptrdiff_t *at, const float *w,
                         int lanes) {
  if (lanes == 0 || UNROLL_TAPS) {
    BB_UNROLL
    for (int m = 0; m < mr; m++) {
      BB_UNROLL
      for (int j = 0; j < nr; j++) acc[m][j] = vzero();
    }
    return 0;
  }
  vf b[NR_MAX];
  BB_UNROLL
  for (int j = 0; j < nr; j++) b[j] = vload(w + j * VL);
  BB_UNROLL
  for (int m = 0; m < mr; m++) {
    const vf v = vbcast(x + at[m]);
    BB_UNROLL
    for (int j = 0; j < nr; j++) acc[m][j] = vmul(v, b[j]);
  }
  return 1;
}

// taps() for the pixels whose bit is set. The branches depend on nothing that changes in the loop, so they are predicted, and
// there is room for them beside mr*nr FMAs: padding costs no multiplication and needs no zeros in memory.
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
