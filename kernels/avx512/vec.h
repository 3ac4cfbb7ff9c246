// SPDX-License-Identifier: Apache-2.0
//
// The vector vocabulary of AVX-512 for the bodies in kernels/simd. Same names and meaning in every ISA folder.

#ifndef BB_VEC_H
#define BB_VEC_H

#if !defined(__AVX512F__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__) || !defined(__AVX512BW__)
#error "compiling avx512/vec.h without AVX-512 F, VL, DQ, BW"
#endif

#include <immintrin.h>

#include "../bb.h"
#include "../common.h"

#define BB_ISA_SUFFIX avx512
#define BB_THIS_ISA   BB_ISA_AVX512
enum { VL = 16 };
typedef __m512 vf;
typedef __m512i vi;
// FMAs, and loads, of vectors that a core starts per cycle: one on Zen 4, two on Zen 5 and Intel's servers.
BB_INLINE int fma_per_cycle(const bb_machine *m) { return m->fma512 == 2 ? 2 : 1; }

BB_INLINE vf vload(const float *p) { return _mm512_loadu_ps(p); }
BB_INLINE void vstore(float *p, vf x) { _mm512_storeu_ps(p, x); }
// The same, but no core prefetches on their account. Zen 5 prefetches by the distance from one access of an instruction to its
// next: behind the plain stores of an unrolled 4x4 tile 12 to 16 KB beyond the last, behind masked ones nothing.
enum { QUIET = 1 };
BB_INLINE __mmask16 all_lanes(void) {
  __mmask16 mask = 0xffff;
  __asm__("" : "+k"(mask));  // else the compiler leaves the mask out
  return mask;
}
BB_INLINE vf vload_quiet(const float *p) { return _mm512_maskz_loadu_ps(all_lanes(), p); }
BB_INLINE void vstore_quiet(float *p, vf x) { _mm512_mask_storeu_ps(p, all_lanes(), x); }
// The first n lanes (0 <= n <= VL); the others read as zero, are not written and not touched.
BB_INLINE vf vload_n(const float *p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
BB_INLINE void vstore_n(float *p, vf x, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x); }
BB_INLINE vf vbcast(const float *p) { return _mm512_set1_ps(*p); }
// x in a register: gcc would make a load an operand of each use, and so load as often as it is used.
BB_INLINE vf vheld(vf x) {
  __asm__("" : "+v"(x));
  return x;
}
BB_INLINE vf vset1(float x) { return _mm512_set1_ps(x); }
BB_INLINE vf vzero(void) { return _mm512_setzero_ps(); }
BB_INLINE vf vadd(vf a, vf b) { return _mm512_add_ps(a, b); }
BB_INLINE vf vsub(vf a, vf b) { return _mm512_sub_ps(a, b); }
BB_INLINE vf vmul(vf a, vf b) { return _mm512_mul_ps(a, b); }
BB_INLINE vf vdiv(vf a, vf b) { return _mm512_div_ps(a, b); }
BB_INLINE vf vfma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }  // a*b + c
// sum[j] += *a * b[j], j < nr; see avx2/vec.h.
BB_INLINE void vfma_bcast(const int nr, vf *sum, const float *a, const vf *b) {
  for (int j = 0; j < nr; j++) sum[j] = vfma(vbcast(a), b[j], sum[j]);
}
// *a*b + c without a register for *a: as fast where loads leave room (Zen 4: 28 of them and 4 loads of zmm in 28 cycles).
enum { FMA_BROADCASTS = 1 };
BB_INLINE vf vfma_at(const float *a, vf b, vf c) {
  __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(b), "m"(*a));
  return c;
}
BB_INLINE vf vfnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a*b
// If either is NaN the result is b (NEON: NaN): write vmax(limit, x) to let a NaN of x through.
BB_INLINE vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); }
BB_INLINE vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); }
BB_INLINE vf vand(vf a, vf mask) { return _mm512_and_ps(a, mask); }
BB_INLINE vf vandnot(vf a, vf mask) { return _mm512_andnot_ps(mask, a); }  // a & ~mask
BB_INLINE vf vabs(vf a) { return _mm512_abs_ps(a); }
BB_INLINE vf vcopysign(vf a, vf sign) {
  const __m512i minus = _mm512_set1_epi32(INT32_MIN);
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(minus, _mm512_castps_si512(sign), _mm512_castps_si512(a), 0xca));
}
// To the nearest integer, ties to even.
BB_INLINE vf vround(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// 2^n and a * 2^n for integers n: -126 <= n <= 127, |n| <= 252; the latter overflows and underflows as a multiplication does.
BB_INLINE vf vpow2(vf n) { return _mm512_scalef_ps(_mm512_set1_ps(1), n); }
BB_INLINE vf vldexp(vf a, vf n) { return _mm512_scalef_ps(a, n); }
// a < b ? x : y
BB_INLINE vf vselect_lt(vf a, vf b, vf x, vf y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
BB_INLINE float vsum(vf a) { return _mm512_reduce_add_ps(a); }
BB_INLINE vi vloadi(const int *p) { return _mm512_loadu_si512(p); }
// All bits set in the lanes whose channel is not -1 (see bb_map.lane).
BB_INLINE vf vlanes_used(const int *lane) {
  return _mm512_castsi512_ps(_mm512_movm_epi32(_mm512_cmpge_epi32_mask(vloadi(lane), _mm512_setzero_si512())));
}
// Lane l of the result is lane index[l] of a, or of a followed by b (0 <= index < 2*VL).
BB_INLINE vf vperm(vf a, vi index) { return _mm512_permutexvar_ps(index, a); }
BB_INLINE vf vperm2(vf a, vf b, vi index) { return _mm512_permutex2var_ps(a, index, b); }

// Vector l becomes lane l of all: pairs, then quads within 128 bits, then the 4 x 4 matrix of 128-bit quarters.
BB_INLINE void vtranspose(vf v[VL]) {
  vf t[VL];
#pragma GCC unroll 16
  for (int i = 0; i < VL; i += 2) {
    t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  vf u[VL];
#pragma GCC unroll 16
  for (int i = 0; i < VL; i += 4) {
    u[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  // u[4*a + b]: in quarter q lanes 4*a .. 4*a+3 of result 4*q + b.
#pragma GCC unroll 16
  for (int b = 0; b < 4; b++) {
    const vf lo02 = _mm512_shuffle_f32x4(u[b], u[4 + b], 0x88), lo13 = _mm512_shuffle_f32x4(u[b], u[4 + b], 0xdd);
    const vf hi02 = _mm512_shuffle_f32x4(u[8 + b], u[12 + b], 0x88), hi13 = _mm512_shuffle_f32x4(u[8 + b], u[12 + b], 0xdd);
    v[b] = _mm512_shuffle_f32x4(lo02, hi02, 0x88);
    v[4 + b] = _mm512_shuffle_f32x4(lo13, hi13, 0x88);
    v[8 + b] = _mm512_shuffle_f32x4(lo02, hi02, 0xdd);
    v[12 + b] = _mm512_shuffle_f32x4(lo13, hi13, 0xdd);
  }
}

#endif
