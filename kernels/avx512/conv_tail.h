// SPDX-License-Identifier: Apache-2.0
//
// 1x1 convolution where the last block of output channels is not full. A vector per pixel would multiply empty lanes: a quarter
// of the work of 24 channels. Here the channels that are left over share vectors across the pixels of a tile: the first eight
// of two pixels in `half`, four more (or all, if there are no more than four) of four pixels in `quarter`. A pixel's inputs are
// broadcast anyway; blends of broadcasts make the other multiplicand. Weights and y lie as everywhere.
//
// Blends are free beside FMAs on Zen 5 (24 of each take 12 cycles), not on Zen 4, and on Intel both want the same ports
// (bb_machine.blends_apart). Where two FMAs of 256 bits start in the time of one of 512 (Zen 4; not Intel with one such unit,
// where nothing is lost) a vector of half the width does for up to eight channels: TAIL_NARROW.
//
// Include after NR_MAX and MR_MAX. conv_dense.h asks for all of this where TAIL_TILES is defined.

#ifndef BB_CONV_TAIL_H
#define BB_CONV_TAIL_H

#include <math.h>

#include "../bb.h"
#include "vec.h"

// bb_config.tile, 0 = no tails.
enum { KIND_SHARED = 1, KIND_NARROW, TAIL_KINDS = KIND_NARROW };

// A tail is 4, 8 or 12, the lanes that its pixels have of shared vectors, or TAIL_NARROW: each has one of eight lanes.
enum { TAIL_NARROW = 16 };
// That of so many channels, 0 = none, a whole vector.
BB_INLINE int tail_of(int channels, int kind) {
  if (kind == KIND_NARROW) return channels > 8 ? 0 : TAIL_NARROW;
  return kind != KIND_SHARED || channels > 12 ? 0 : (channels + 3) / 4 * 4;
}

// What a tap of mr pixels on nr - 1 full blocks and a tail costs, in FMAs. Where one FMA of 512 bits starts per cycle,
// broadcasts and blends start beside it, on Zen 4 1.6 of all of these (14x2 with a tail of 8: 42 take 25.4 cycles, 12x2 with 4:
// 36 take 23).
BB_INLINE double tail_work(int mr, int nr, int tail, const bb_machine *machine) {
  const int full = mr * (nr - 1);
  const bool one_fma = fma_per_cycle(machine) == 1;
  if (tail == TAIL_NARROW) return full + (one_fma ? 0.5 * mr : mr);
  const int vectors = full + (tail & 8 ? (mr + 1) / 2 : 0) + (tail & 4 ? (mr + 3) / 4 : 0);
  const int blends = mr / 2 + (tail & 4 ? (mr + 1) / 4 : 0);
  if (one_fma) return fmax(vectors, (mr + vectors + blends) / 1.6);
  return vectors + (machine->blends_apart ? 0 : blends);
}

// Four pixels, a blend of two blended pairs, come in the order 0, 2, 1, 3. What the lanes of pixels that are not there hold is
// never taken.
typedef struct tail_sums {
  vf half[(MR_MAX + 1) / 2], quarter[(MR_MAX + 3) / 4];
  vf narrow[MR_MAX];  // written as ymm, which leaves zeros above
} tail_sums;

// The tail that lies at p, for each pixel.
typedef struct tail_vector {
  vf half, quarter;
} tail_vector;

BB_INLINE tail_vector tail_load(const int tail, const float *p) {
  tail_vector v = {vzero(), vzero()};
  if (tail & 8) v.half = _mm512_broadcast_f32x8(_mm256_loadu_ps(p));
  if (tail & 4) v.quarter = _mm512_broadcast_f32x4(_mm_loadu_ps(p + (tail & 8)));
  return v;
}

// Sums += the tails of the pixels, of which p is the first.
BB_INLINE void tail_add(const int mr, const int tail, tail_sums *sums, const float *p) {
  if (tail == TAIL_NARROW) {
    BB_UNROLL
    for (int m = 0; m < mr; m++) sums->narrow[m] = vadd(sums->narrow[m], _mm512_zextps256_ps512(_mm256_loadu_ps(p + m * VL)));
    return;
  }
  BB_UNROLL
  for (int m = 0; m < mr; m += 2) {
    vf v = vzero();
    if (tail & 8) v = _mm512_zextps256_ps512(_mm256_loadu_ps(p + m * VL));
    if (tail & 8 && m + 1 < mr) v = _mm512_insertf32x8(v, _mm256_loadu_ps(p + (m + 1) * VL), 1);
    if (tail & 8) sums->half[m / 2] = vadd(sums->half[m / 2], v);
  }
  p += tail & 8;
  BB_UNROLL
  for (int m = 0; m < mr; m += 4) {
    vf v = vzero();
    if (tail & 4) v = _mm512_zextps128_ps512(_mm_loadu_ps(p + m * VL));
    if (tail & 4 && m + 1 < mr) v = _mm512_insertf32x4(v, _mm_loadu_ps(p + (m + 1) * VL), 2);
    if (tail & 4 && m + 2 < mr) v = _mm512_insertf32x4(v, _mm_loadu_ps(p + (m + 2) * VL), 1);
    if (tail & 4 && m + 3 < mr) v = _mm512_insertf32x4(v, _mm_loadu_ps(p + (m + 3) * VL), 3);
    if (tail & 4) sums->quarter[m / 4] = vadd(sums->quarter[m / 4], v);
  }
}

// Sums += the tail at p.
BB_INLINE void tail_add_all(const int mr, const int tail, tail_sums *sums, const float *p) {
  const tail_vector v = tail_load(tail, p);
  BB_UNROLL
  for (int m = 0; m < mr; m++) {
    if (tail == TAIL_NARROW) sums->narrow[m] = vadd(sums->narrow[m], _mm512_zextps256_ps512(_mm256_loadu_ps(p)));
    if (tail & 8 && m % 2 == 0) sums->half[m / 2] = vadd(sums->half[m / 2], v.half);
    if (tail & 4 && m % 4 == 0) sums->quarter[m / 4] = vadd(sums->quarter[m / 4], v.quarter);
  }
}

// The half, the quarter of pixel m. (An index that the optimiser has to find out is none for gcc at -O1.)
BB_INLINE __m256 half_of(vf v, int m) { return m % 2 ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v); }
BB_INLINE __m128 quarter_of(vf v, int m) {
  switch (m % 4) {
    case 0:
      return _mm512_castps512_ps128(v);
    case 1:
      return _mm512_extractf32x4_ps(v, 2);
    case 2:
      return _mm512_extractf32x4_ps(v, 1);
    default:
      return _mm512_extractf32x4_ps(v, 3);
  }
}

// The tail of pixel m, zeros in the other lanes.
BB_INLINE vf tail_take(const int m, const int tail, const tail_sums *sums) {
  if (tail == TAIL_NARROW) return sums->narrow[m];
  const __m128 quarter = tail & 4 ? quarter_of(sums->quarter[m / 4], m) : _mm_setzero_ps();
  if (!(tail & 8)) return _mm512_zextps128_ps512(quarter);
  const vf half = _mm512_zextps256_ps512(half_of(sums->half[m / 2], m));
  return tail & 4 ? _mm512_insertf32x4(half, quarter, 2) : half;
}

// Of a pixel and channel: the full blocks and a narrow vector. The channel is broadcast by each FMA: beside a register that all
// share Zen 4 is at 90 % of its peak with 14x2, so at 100 %.
BB_INLINE void tap_narrow(const int nr, const bool begin, vf *acc, vf *narrow, const float *x, const vf *b, __m256 t) {
  if (begin) {
    const vf v = vbcast(x);
    BB_UNROLL
    for (int j = 0; j < nr - 1; j++) acc[j] = vmul(v, b[j]);
    *narrow = _mm512_zextps256_ps512(_mm256_mul_ps(_mm512_castps512_ps256(v), t));
    return;
  }
  BB_UNROLL
  for (int j = 0; j < nr - 1; j++) acc[j] = vfma_at(x, b[j], acc[j]);
  __asm__("vfmadd231ps %2%{1to8%}, %1, %t0" : "+v"(*narrow) : "v"(t), "m"(*x));
}

// taps() of conv_taps.h on nr - 1 blocks and a tail. begin: sums are not read, they begin with the products of the one lane.
BB_INLINE void taps_tail(const int mr, const int nr, const int tail, const bool begin, vf acc[][NR_MAX], tail_sums *sums,
                         const float *x, const ptrdiff_t *at, const float *w, int lanes) {
  for (int c = 0; c < lanes; c++, w += nr * VL) {
    vf b[NR_MAX];
    BB_UNROLL
    for (int j = 0; j < nr - 1; j++) b[j] = vload(w + j * VL);
    if (tail == TAIL_NARROW) {
      const __m256 t = _mm256_loadu_ps(w + (nr - 1) * VL);
      BB_UNROLL
      for (int m = 0; m < mr; m++) tap_narrow(nr, begin, acc[m], &sums->narrow[m], x + at[m] + c, b, t);
      continue;
    }
    const tail_vector t = tail_load(tail, w + (nr - 1) * VL);
    vf one = vzero(), two = vzero();  // the pixel before; the two before those
    BB_UNROLL
    for (int m = 0; m < mr; m++) {
      const vf v = vbcast(x + at[m] + c);
      BB_UNROLL
      for (int j = 0; j < nr - 1; j++) acc[m][j] = begin ? vmul(v, b[j]) : vfma(v, b[j], acc[m][j]);
      const bool last = m == mr - 1;
      const vf pair = m % 2 ? _mm512_mask_blend_ps(0xff00, one, v) : v;
      one = v;
      if (m % 2 == 0 && !last) continue;
      vf *const half = &sums->half[m / 2], *const quarter = &sums->quarter[m / 4];
      if (tail & 8) *half = begin ? vmul(pair, t.half) : vfma(pair, t.half, *half);
      const vf four = m % 4 < 2 ? pair : _mm512_mask_blend_ps(0xf0f0, two, pair);
      two = pair;
      if (m % 4 < 2 && !last) continue;
      if (tail & 4) *quarter = begin ? vmul(four, t.quarter) : vfma(four, t.quarter, *quarter);
    }
  }
}

// taps_begin() of conv_taps.h.
BB_INLINE int taps_tail_begin(const int mr, const int nr, const int tail, vf acc[][NR_MAX], tail_sums *sums, const float *x,
                              const ptrdiff_t *at, const float *w, int lanes) {
  if (lanes > 0) {
    taps_tail(mr, nr, tail, true, acc, sums, x, at, w, 1);
    return 1;
  }
  BB_UNROLL
  for (int m = 0; m < mr; m++) {
    BB_UNROLL
    for (int j = 0; j < nr - 1; j++) acc[m][j] = vzero();
    sums->half[m / 2] = sums->quarter[m / 4] = vzero();
    sums->narrow[m] = vzero();
  }
  return 0;
}

#endif
