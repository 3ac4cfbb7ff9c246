// SPDX-License-Identifier: Apache-2.0
//
// What a core can do at most, for all vector ISAs: FMAs that touch nothing but registers, and plain streams through memory.
// Included after vec.h by kernels/<isa>/probe.c.
//
// 12 chains hide an FMA latency of up to 6 cycles at two per cycle (x86 and N1: 4) and, with two constants, fit the 16
// registers of AVX2. PROBE_CHAINS says otherwise where an ISA starts four per cycle and has 32.

#ifndef PROBE_CHAINS
#define PROBE_CHAINS 12
#endif

#define PROBE_NAME_(isa) bb_probe_##isa
#define PROBE_NAME(isa)  PROBE_NAME_(isa)

// Each round is two FMAs on every chain: v = c - v*m. With m just below 1 the values alternate between two numbers with full
// mantissas, so that the multipliers switch as much as they do on real data; they neither grow nor become denormal.
static double fma_rounds(size_t rounds) {
  static const volatile float multiplier = 0x1.fffffep-1f, addend = 0x1.3c6ef4p0f,
                              start = 0.6180340f;  // opaque to the compiler
  vf v[PROBE_CHAINS];
  const vf m = vset1(multiplier), c = vset1(addend);
#pragma GCC unroll 32
  for (int i = 0; i < PROBE_CHAINS; i++) v[i] = vset1(start + 0.01f * (float)i);
  for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
    for (int i = 0; i < PROBE_CHAINS; i++) v[i] = vfnma(v[i], m, c);
#pragma GCC unroll 32
    for (int i = 0; i < PROBE_CHAINS; i++) v[i] = vfnma(v[i], m, c);
  }
  vf sum = v[0];
  for (int i = 1; i < PROBE_CHAINS; i++) sum = vadd(sum, v[i]);
  // A result that nobody reads would be no work at all.
  float sink[VL];
  vstore(sink, sum);
  __asm__ volatile("" : : "r"(sink) : "memory");
  return (double)rounds * 2 * PROBE_CHAINS * VL * 2;
}

// Sum of n floats, n a multiple of 8*VL: eight chains, one load each.
static float read_stream(const float *x, size_t n) {
  vf s[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) s[i] = vzero();
  for (size_t at = 0; at < n; at += 8 * VL) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) s[i] = vadd(s[i], vload(x + at + i * VL));
  }
  return vsum(vadd(vadd(vadd(s[0], s[1]), vadd(s[2], s[3])), vadd(vadd(s[4], s[5]), vadd(s[6], s[7]))));
}

static void copy_stream(const float *x, float *y, size_t n) {
  for (size_t at = 0; at < n; at += 8 * VL) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) vstore(y + at + i * VL, vload(x + at + i * VL));
  }
}

const bb_probe PROBE_NAME(BB_ISA_SUFFIX) = {fma_rounds, read_stream, copy_stream};
