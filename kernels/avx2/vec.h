// SPDX-License-Identifier: Apache-2.0
//
// The vector vocabulary of AVX2 + FMA for the bodies in kernels/simd. Same names and meaning in every ISA folder.

#ifndef BB_VEC_H
#define BB_VEC_H

#if !defined(__AVX2__) || !defined(__FMA__)
#error "compiling avx2/vec.h without AVX2 and FMA"
#endif

#include <immintrin.h>

#include "../bb.h"
#include "../common.h"

#define BB_ISA_SUFFIX avx2
#define BB_THIS_ISA   BB_ISA_AVX2
enum { VL = 8 };
typedef __m256 vf;
typedef __m256i vi;
// FMAs, and loads, of vectors that a core starts per cycle: Zen 2 and newer, Haswell and newer.
BB_INLINE int fma_per_cycle(const bb_machine *m) { return (void)m, 2; }

BB_INLINE vi first_lanes(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }

BB_INLINE vf vload(const float *p) { return _mm256_loadu_ps(p); }
BB_INLINE void vstore(float *p, vf x) { _mm256_storeu_ps(p, x); }
enum { QUIET = 0 };  // see avx512
BB_INLINE vf vload_quiet(const float *p) { return vload(p); }
BB_INLINE void vstore_quiet(float *p, vf x) { vstore(p, x); }
// The first n lanes, 0 <= n <= 4; the others are zero.
BB_INLINE __m128 load_n4(const float *p, int n) {
  if (n <= 0) return _mm_setzero_ps();
  if (n == 1) return _mm_load_ss(p);
  if (n >= 4) return _mm_loadu_ps(p);
  const __m128 two = _mm_loadl_pi(_mm_setzero_ps(), (const __m64 *)(const void *)p);
  return n == 2 ? two : _mm_movelh_ps(two, _mm_load_ss(p + 2));
}
// The first n lanes (0 <= n <= VL); the others read as zero, are not written and not touched.
// Not vmaskmovps: QEMU 7.2 reads the lanes that are masked out, and faults where they are not there.
BB_INLINE vf vload_n(const float *p, int n) { return _mm256_set_m128(load_n4(p + 4, n - 4), load_n4(p, n)); }
BB_INLINE void vstore_n(float *p, vf x, int n) { _mm256_maskstore_ps(p, first_lanes(n), x); }
BB_INLINE vf vbcast(const float *p) { return _mm256_broadcast_ss(p); }
// x in a register: gcc would make a load an operand of each use, and so load as often as it is used.
BB_INLINE vf vheld(vf x) {
  __asm__("" : "+x"(x));
  return x;
}
BB_INLINE vf vset1(float x) { return _mm256_set1_ps(x); }
BB_INLINE vf vzero(void) { return _mm256_setzero_ps(); }
BB_INLINE vf vadd(vf a, vf b) { return _mm256_add_ps(a, b); }
BB_INLINE vf vsub(vf a, vf b) { return _mm256_sub_ps(a, b); }
BB_INLINE vf vmul(vf a, vf b) { return _mm256_mul_ps(a, b); }
BB_INLINE vf vdiv(vf a, vf b) { return _mm256_div_ps(a, b); }
BB_INLINE vf vfma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }  // a*b + c
// sum[j] += *a * b[j], j < nr <= 3. As instructions: gcc moves and spills where 4x3 sums, 3 weights and a pixel are all
// registers.
BB_INLINE void vfma_bcast(const int nr, vf *sum, const float *a, const vf *b) {
  vf v;
  if (nr == 1) {
    __asm__("vbroadcastss %2, %1\n\tvfmadd231ps %3, %1, %0" : "+x"(sum[0]), "=&x"(v) : "m"(*a), "x"(b[0]));
  } else if (nr == 2) {
    __asm__("vbroadcastss %3, %2\n\tvfmadd231ps %4, %2, %0\n\tvfmadd231ps %5, %2, %1"
            : "+x"(sum[0]), "+x"(sum[1]), "=&x"(v)
            : "m"(*a), "x"(b[0]), "x"(b[1]));
  } else {
    __asm__("vbroadcastss %4, %3\n\tvfmadd231ps %5, %3, %0\n\tvfmadd231ps %6, %3, %1\n\tvfmadd231ps %7, %3, %2"
            : "+x"(sum[0]), "+x"(sum[1]), "+x"(sum[2]), "=&x"(v)
            : "m"(*a), "x"(b[0]), "x"(b[1]), "x"(b[2]));
  }
}
// *a*b + c. AVX-512 broadcasts in the FMA.
enum { FMA_BROADCASTS = 0 };
BB_INLINE vf vfma_at(const float *a, vf b, vf c) { return vfma(vbcast(a), b, c); }
BB_INLINE vf vfnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a*b
// If either is NaN the result is b (NEON: NaN): write vmax(limit, x) to let a NaN of x through.
BB_INLINE vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
BB_INLINE vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
BB_INLINE vf vand(vf a, vf mask) { return _mm256_and_ps(a, mask); }
BB_INLINE vf vandnot(vf a, vf mask) { return _mm256_andnot_ps(mask, a); }  // a & ~mask
BB_INLINE vf vabs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
BB_INLINE vf vcopysign(vf a, vf sign) {
  const vf minus = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_andnot_ps(minus, a), _mm256_and_ps(minus, sign));
}
// To the nearest integer, ties to even.
BB_INLINE vf vround(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// 2^n and a * 2^n for integers n: -126 <= n <= 127, |n| <= 252; the latter overflows and underflows as a multiplication does.
BB_INLINE vf pow2_of_int(vi n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
BB_INLINE vf vpow2(vf n) { return pow2_of_int(_mm256_cvtps_epi32(n)); }
BB_INLINE vf vldexp(vf a, vf n) {
  const vi i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1);
  return vmul(vmul(a, pow2_of_int(half)), pow2_of_int(_mm256_sub_epi32(i, half)));
}
// a < b ? x : y
BB_INLINE vf vselect_lt(vf a, vf b, vf x, vf y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
BB_INLINE float vsum(vf a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
BB_INLINE vi vloadi(const int *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
// All bits set in the lanes whose channel is not -1 (see bb_map.lane).
BB_INLINE vf vlanes_used(const int *lane) {
  return _mm256_castsi256_ps(_mm256_cmpgt_epi32(vloadi(lane), _mm256_set1_epi32(-1)));
}
// Lane l of the result is lane index[l] of a, or of a followed by b (0 <= index < 2*VL).
BB_INLINE vf vperm(vf a, vi index) { return _mm256_permutevar8x32_ps(a, index); }
BB_INLINE vf vperm2(vf a, vf b, vi index) {
  const vf from_b = _mm256_castsi256_ps(_mm256_cmpgt_epi32(index, _mm256_set1_epi32(VL - 1)));
  return _mm256_blendv_ps(vperm(a, index), vperm(b, index), from_b);
}

// Vector l becomes lane l of all: pairs, then quads within 128 bits, then halves.
BB_INLINE void vtranspose(vf v[VL]) {
  vf t[VL];
#pragma GCC unroll 8
  for (int i = 0; i < VL; i += 2) {
    t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  vf u[VL];
#pragma GCC unroll 8
  for (int i = 0; i < VL; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 8
  for (int b = 0; b < 4; b++) {
    v[b] = _mm256_permute2f128_ps(u[b], u[4 + b], 0x20);
    v[4 + b] = _mm256_permute2f128_ps(u[b], u[4 + b], 0x31);
  }
}

#endif
