// SPDX-License-Identifier: Apache-2.0
//
// The vector vocabulary of AArch64 NEON for the bodies in kernels/simd. Same names and meaning in every ISA folder.

#ifndef BB_VEC_H
#define BB_VEC_H

#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "compiling neon/vec.h for something else than AArch64"
#endif

#include <arm_neon.h>

#include "../bb.h"
#include "../common.h"

#define BB_ISA_SUFFIX neon
#define BB_THIS_ISA   BB_ISA_NEON
enum { VL = 4 };
typedef float32x4_t vf;
typedef int32x4_t vi;
// FMAs, and loads, of vectors that a core starts per cycle: Neoverse N1; V1 starts twice as many FMAs.
BB_INLINE int fma_per_cycle(const bb_machine *m) { return (void)m, 2; }

BB_INLINE vf vload(const float *p) { return vld1q_f32(p); }
BB_INLINE void vstore(float *p, vf x) { vst1q_f32(p, x); }
enum { QUIET = 0 };  // see avx512
BB_INLINE vf vload_quiet(const float *p) { return vload(p); }
BB_INLINE void vstore_quiet(float *p, vf x) { vstore(p, x); }
// The first n lanes (0 <= n <= VL); the others read as zero, are not written and not touched.
BB_INLINE vf vload_n(const float *p, int n) {
  float t[4] = {0};
  for (int i = 0; i < n; i++) t[i] = p[i];
  return vld1q_f32(t);
}
BB_INLINE void vstore_n(float *p, vf x, int n) {
  float t[4];
  vst1q_f32(t, x);
  for (int i = 0; i < n; i++) p[i] = t[i];
}
BB_INLINE vf vbcast(const float *p) { return vld1q_dup_f32(p); }
// x in a register, as it always is where instructions have no operands in memory.
BB_INLINE vf vheld(vf x) { return x; }
BB_INLINE vf vset1(float x) { return vdupq_n_f32(x); }
BB_INLINE vf vzero(void) { return vdupq_n_f32(0); }
BB_INLINE vf vadd(vf a, vf b) { return vaddq_f32(a, b); }
BB_INLINE vf vsub(vf a, vf b) { return vsubq_f32(a, b); }
BB_INLINE vf vmul(vf a, vf b) { return vmulq_f32(a, b); }
BB_INLINE vf vdiv(vf a, vf b) { return vdivq_f32(a, b); }
BB_INLINE vf vfma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }  // a*b + c
// *a*b + c. AVX-512 broadcasts in the FMA.
enum { FMA_BROADCASTS = 0 };
BB_INLINE vf vfma_at(const float *a, vf b, vf c) { return vfma(vbcast(a), b, c); }
BB_INLINE vf vfnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }  // c - a*b
// If either is NaN the result is NaN (x86: b): write vmax(limit, x) to let a NaN of x through.
BB_INLINE vf vmin(vf a, vf b) { return vminq_f32(a, b); }
BB_INLINE vf vmax(vf a, vf b) { return vmaxq_f32(a, b); }
BB_INLINE vf vand(vf a, vf mask) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(mask)));
}
BB_INLINE vf vandnot(vf a, vf mask) {  // a & ~mask
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(mask)));
}
BB_INLINE vf vabs(vf a) { return vabsq_f32(a); }
BB_INLINE vf vcopysign(vf a, vf sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, a); }
// To the nearest integer, ties to even.
BB_INLINE vf vround(vf a) { return vrndnq_f32(a); }
// 2^n and a * 2^n for integers n: -126 <= n <= 127, |n| <= 252; the latter overflows and underflows as a multiplication does.
BB_INLINE vf pow2_of_int(vi n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
BB_INLINE vf vpow2(vf n) { return pow2_of_int(vcvtq_s32_f32(n)); }
BB_INLINE vf vldexp(vf a, vf n) {
  const vi i = vcvtq_s32_f32(n), half = vshrq_n_s32(i, 1);
  return vmul(vmul(a, pow2_of_int(half)), pow2_of_int(vsubq_s32(i, half)));
}
// a < b ? x : y
BB_INLINE vf vselect_lt(vf a, vf b, vf x, vf y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
BB_INLINE float vsum(vf a) { return vaddvq_f32(a); }
BB_INLINE vi vloadi(const int *p) { return vld1q_s32(p); }
// All bits set in the lanes whose channel is not -1 (see bb_map.lane).
BB_INLINE vf vlanes_used(const int *lane) { return vreinterpretq_f32_u32(vcgezq_s32(vloadi(lane))); }
// Lane l of the result is lane index[l] of a, or of a followed by b (0 <= index < 2*VL).
BB_INLINE uint8x16_t byte_index(vi index) {
  const uint32x4_t first = vmulq_n_u32(vreinterpretq_u32_s32(index), 0x04040404u);
  return vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100u)));
}
BB_INLINE vf vperm(vf a, vi index) { return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(a), byte_index(index))); }
BB_INLINE vf vperm2(vf a, vf b, vi index) {
  const uint8x16x2_t table = {{vreinterpretq_u8_f32(a), vreinterpretq_u8_f32(b)}};
  return vreinterpretq_f32_u8(vqtbl2q_u8(table, byte_index(index)));
}

// Vector l becomes lane l of all.
BB_INLINE void vtranspose(vf v[VL]) {
  const float32x4x2_t a = vtrnq_f32(v[0], v[1]), b = vtrnq_f32(v[2], v[3]);
  v[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  v[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  v[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  v[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

#endif
