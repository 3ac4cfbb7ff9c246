// SPDX-License-Identifier: Apache-2.0
//
// Peak probes, portable C: what the compiler's baseline can do (x86-64: SSE2, a multiplication and an addition). Vectors of
// four by GCC's extension, which needs no ISA flag; contraction is off, as in the portable kernels.

#include "../probe.h"

#include "../common.h"

typedef float v4 __attribute__((vector_size(16)));

// 12 chains: multiplication plus addition take 6 to 8 cycles, 16 registers hold them and the constants.
enum { CHAINS = 12 };

// v = c - v*m, as in simd/probe.h.
static double fma_rounds(size_t rounds) {
  static const volatile float multiplier = -0x1.fffffep-1f, addend = 0x1.3c6ef4p0f, start = 0.6180340f;
  v4 v[CHAINS];
  const float m0 = multiplier, c0 = addend, v0 = start;
  const v4 m = {m0, m0, m0, m0}, c = {c0, c0, c0, c0};
#pragma GCC unroll 32
  for (int i = 0; i < CHAINS; i++) v[i] = (v4){v0, v0, v0, v0} + 0.01f * (float)i;
  for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS; i++) v[i] = v[i] * m + c;
  }
  v4 sum = v[0];
  for (int i = 1; i < CHAINS; i++) sum += v[i];
  __asm__ volatile("" : : "r"(&sum) : "memory");
  return (double)rounds * CHAINS * 4 * 2;
}

static float read_stream(const float *x, size_t n) {
  v4 s[8] = {{0}};
  for (size_t at = 0; at < n; at += 32) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) s[i] += *(const v4 *)(x + at + i * 4);
  }
  v4 sum = s[0];
  for (int i = 1; i < 8; i++) sum += s[i];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

static void copy_stream(const float *x, float *y, size_t n) {
  for (size_t at = 0; at < n; at += 32) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) *(v4 *)(y + at + i * 4) = *(const v4 *)(x + at + i * 4);
  }
}

const bb_probe bb_probe_generic = {fma_rounds, read_stream, copy_stream};
