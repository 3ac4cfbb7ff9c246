// SPDX-License-Identifier: Apache-2.0
//
// Small helpers, static inline only: safe to include in a unit built for any ISA.

#ifndef BB_COMMON_H
#define BB_COMMON_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define BB_INLINE static inline __attribute__((always_inline, unused))
// Before a loop of a constant number of turns (at most 32) that must vanish, so that arrays indexed in it become registers.
#ifdef __clang__
#define BB_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BB_UNROLL _Pragma("GCC unroll 32")
#endif
// Sanitizers check every access and keep several bytes for each: what is only there for speed is left out.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BB_SANITIZED 1
#else
#define BB_SANITIZED 0
#endif
#define BB_COUNT(array) (sizeof(array) / sizeof *(array))

// p in a general register of its own: gcc would make a register of each p + constant that a loop uses, has not enough of them,
// and then keeps addresses in vector registers, from where they come back behind all arithmetic in flight.
BB_INLINE const float *bb_in_register(const float *p) {
  __asm__("" : "+r"(p));
  return p;
}

BB_INLINE int bb_min(int a, int b) { return a < b ? a : b; }
BB_INLINE int bb_max(int a, int b) { return a > b ? a : b; }
BB_INLINE int bb_ceil_div(int a, int b) { return (a + b - 1) / b; }
BB_INLINE int bb_round_up(int a, int b) { return bb_ceil_div(a, b) * b; }
BB_INLINE size_t bb_align_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// First output index whose input index out*stride - pad + tap*dil is >= 0.
BB_INLINE int bb_first_valid(int tap, int dil, int pad, int stride) {
  const int d = pad - tap * dil;
  return d > 0 ? bb_ceil_div(d, stride) : 0;
}

// One past the last output index (<= out) whose input index is < in; may be below bb_first_valid: then the tap meets no pixel.
BB_INLINE int bb_end_valid(int tap, int dil, int pad, int stride, int in, int out) {
  const int d = in - 1 + pad - tap * dil;
  return d < 0 ? 0 : bb_min(out, d / stride + 1);
}

#endif
