// SPDX-License-Identifier: Apache-2.0
//
// Activations on vectors, and loops of them over memory. Include the ISA's vec.h first.
//
// All are exact to 4 ulp where |result| > 2^-100, for every float: worst of all 2^32 (AVX-512 and AVX2) tanh 2.57,
// sigmoid 2.40, SiLU 3.19, Mish 3.93 ulp. Below that they lose relative accuracy (x*e^x inherits the denormal's) but are not
// flushed.
//
// SLEEF's u10 functions in the same formulas and loops are slower, so they are not used here; tests compare with them. Theirs
// over ours, median of 201 interleaved pairs, 16 KiB in L1, Zen 4 with one core busy: AVX-512 tanh 5.3, sigmoid 1.41,
// SiLU 1.42, Mish 1.54; AVX2 4.7, 1.62, 1.64, 1.70. Ours alone, cycles per element (tenth percentile): AVX-512 0.91, 0.95,
// 0.97, 0.97; AVX2 1.10, 1.33, 1.74, 1.49.
//
// NaN stays NaN, infinities give the limits. The transcendental ones stand on one exponential: e^x = 2^n * e^r, n = round(x/ln
// 2), r = x - n*ln 2 in two steps, e^r - 1 as a polynomial. Rewritten so that nothing cancels and nothing overflows:
//   sigmoid(x) = (x < 0 ? z : 1) / (1 + z), z = e^-|x|
//   mish(x) = x * n / (n + 2), n = e^x * (e^x + 2)       as tanh(log(1 + e)) = ((1 + e)^2 - 1) / ((1 + e)^2 + 1)
//   tanh(x) = sign(x) * t / (t + 2), t = e^(2|x|) - 1, which the polynomial gives without the 1

#ifndef BB_ACT_H
#define BB_ACT_H

#include "../types.h"

// Below LOWEST_EXP and e^x underflows to 0 whatever the rounding; above HIGHEST_EXP it overflows.
#define LOWEST_EXP  (-150.0f)
#define HIGHEST_EXP 130.0f

// e^r - 1 and n for x = n*ln 2 + r, |r| <= ln 2 / 2. Relative error of e^r: 2^-27.7 of the polynomial (minimax of
// (e^r - 1 - r)/r^2, degree 4, computed by us; coefficients rounded to float) + its last rounding. ln 2 = 16 bits + the rest,
// so that n*LN2_HI is exact.
BB_INLINE vf expm1_reduced(vf x, vf *n) {
  const vf LN2_HI = vset1(0x1.62e4p-1f), LN2_LO = vset1(0x1.7f7d1cp-20f);
  *n = vround(vmul(x, vset1(0x1.715476p+0f)));  // log2(e)
  const vf r = vfnma(*n, LN2_LO, vfnma(*n, LN2_HI, x));
  vf q = vfma(r, vset1(0x1.6db4e4p-10f), vset1(0x1.123bdcp-7f));
  q = vfma(r, q, vset1(0x1.55545ep-5f));
  q = vfma(r, q, vset1(0x1.55548ep-3f));
  q = vfma(r, q, vset1(0.5f));
  return vfma(vmul(r, r), q, r);
}

// e^x for LOWEST_EXP <= x <= HIGHEST_EXP or NaN.
BB_INLINE vf vexp_bounded(vf x) {
  vf n;
  const vf p = expm1_reduced(x, &n);
  return vldexp(vadd(p, vset1(1)), n);
}

BB_INLINE vf vexp(vf x) { return vexp_bounded(vmax(vset1(LOWEST_EXP), vmin(vset1(HIGHEST_EXP), x))); }

BB_INLINE vf vact_identity(vf x, vf alpha) {
  (void)alpha;
  return x;
}

BB_INLINE vf vact_relu(vf x, vf alpha) {
  (void)alpha;
  return vmax(vzero(), x);
}

BB_INLINE vf vact_relu6(vf x, vf alpha) {
  (void)alpha;
  return vmin(vset1(6), vmax(vzero(), x));
}

// Written so that +0 stays +0 for a negative slope too.
BB_INLINE vf vact_leaky_relu(vf x, vf alpha) { return vselect_lt(x, vzero(), vmul(alpha, x), x); }

BB_INLINE vf vact_tanh(vf x, vf alpha) {
  (void)alpha;
  // tanh(10) rounds to 1.
  const vf a = vmin(vset1(10), vabs(x));
  vf n;
  const vf p = expm1_reduced(vadd(a, a), &n);
  const vf s = vpow2(n);
  const vf t = vfma(s, p, vsub(s, vset1(1)));
  return vcopysign(vdiv(t, vadd(t, vset1(2))), x);
}

BB_INLINE vf vact_sigmoid(vf x, vf alpha) {
  (void)alpha;
  const vf z = vexp_bounded(vmax(vset1(LOWEST_EXP), vsub(vzero(), vabs(x))));
  return vdiv(vselect_lt(x, vzero(), z, vset1(1)), vadd(z, vset1(1)));
}

// The factor x is bounded below so that -inf gives -inf*0 = -0, not NaN.
BB_INLINE vf vact_silu(vf x, vf alpha) {
  const vf f = vmax(vset1(LOWEST_EXP), x);
  return vmul(f, vact_sigmoid(f, alpha));
}

BB_INLINE vf vact_mish(vf x, vf alpha) {
  (void)alpha;
  const vf f = vmax(vset1(LOWEST_EXP), x);
  // From 20 on n/(n + 2) rounds to 1.
  const vf e = vexp_bounded(vmin(vset1(20), f));
  const vf n = vfma(e, e, vadd(e, e));
  return vmul(f, vdiv(n, vadd(n, vset1(2))));
}

BB_INLINE vf vact_hard_sigmoid(vf x, vf alpha) {
  (void)alpha;
  return vmul(vmin(vset1(6), vmax(vzero(), vadd(x, vset1(3)))), vset1(1.0f / 6));
}

// 6 * float(1/6) rounds to 1.
BB_INLINE vf vact_hard_swish(vf x, vf alpha) {
  (void)alpha;
  const vf f = vmax(vset1(-3), x);
  return vmul(f, vmul(vmin(vset1(6), vadd(f, vset1(3))), vset1(1.0f / 6)));
}

// Where act is a constant, only its formula remains.
BB_INLINE vf vact(bb_act act, vf x, vf alpha) {
  switch (act) {
    case BB_ACT_RELU:
      return vact_relu(x, alpha);
    case BB_ACT_RELU6:
      return vact_relu6(x, alpha);
    case BB_ACT_LEAKY_RELU:
      return vact_leaky_relu(x, alpha);
    case BB_ACT_TANH:
      return vact_tanh(x, alpha);
    case BB_ACT_SIGMOID:
      return vact_sigmoid(x, alpha);
    case BB_ACT_SILU:
      return vact_silu(x, alpha);
    case BB_ACT_MISH:
      return vact_mish(x, alpha);
    case BB_ACT_HARD_SIGMOID:
      return vact_hard_sigmoid(x, alpha);
    case BB_ACT_HARD_SWISH:
      return vact_hard_swish(x, alpha);
    default:
      return x;
  }
}

// f(0) = 0: empty lanes stay +0 by themselves.
BB_INLINE bool act_keeps_zero(bb_act act) { return act != BB_ACT_SIGMOID && act != BB_ACT_HARD_SIGMOID; }

// ---- loops over memory ----------------------------------------------------------------------------------------------

// y[i] = act(y[i]) for `vectors` vectors in place; keep has all bits set in the lanes that hold a channel (vlanes_used), the
// others become +0. The exponentials need about four vectors in flight to hide their latency of about 60 cycles: on the CPUs we
// know the reorder buffer finds them across iterations.
BB_INLINE void sweep(bb_act act, float *y, size_t vectors, float alpha, vf keep) {
  const vf a = vset1(alpha);
#pragma GCC unroll 2
  for (size_t i = 0; i < vectors; i++) {
    const vf v = vact(act, vload(y + i * VL), a);
    vstore(y + i * VL, act_keeps_zero(act) ? v : vand(v, keep));
  }
}

typedef void act_loop_fn(float *y, size_t vectors, float alpha, vf keep);

static inline void sweep_identity(float *y, size_t n, float alpha, vf keep) { (void)y, (void)n, (void)alpha, (void)keep; }
static inline void sweep_relu(float *y, size_t n, float alpha, vf keep) { sweep(BB_ACT_RELU, y, n, alpha, keep); }
static inline void sweep_relu6(float *y, size_t n, float alpha, vf keep) { sweep(BB_ACT_RELU6, y, n, alpha, keep); }
static inline void sweep_leaky_relu(float *y, size_t n, float alpha, vf keep) { sweep(BB_ACT_LEAKY_RELU, y, n, alpha, keep); }
static inline void sweep_tanh(float *y, size_t n, float alpha, vf keep) { sweep(BB_ACT_TANH, y, n, alpha, keep); }
static inline void sweep_sigmoid(float *y, size_t n, float alpha, vf keep) { sweep(BB_ACT_SIGMOID, y, n, alpha, keep); }
static inline void sweep_silu(float *y, size_t n, float alpha, vf keep) { sweep(BB_ACT_SILU, y, n, alpha, keep); }
static inline void sweep_mish(float *y, size_t n, float alpha, vf keep) { sweep(BB_ACT_MISH, y, n, alpha, keep); }
static inline void sweep_hard_sigmoid(float *y, size_t n, float alpha, vf keep) {
  sweep(BB_ACT_HARD_SIGMOID, y, n, alpha, keep);
}
static inline void sweep_hard_swish(float *y, size_t n, float alpha, vf keep) { sweep(BB_ACT_HARD_SWISH, y, n, alpha, keep); }

static act_loop_fn *const act_loop[BB_ACT_COUNT] __attribute__((unused)) = {
    [BB_ACT_IDENTITY] = sweep_identity,
    [BB_ACT_RELU] = sweep_relu,
    [BB_ACT_RELU6] = sweep_relu6,
    [BB_ACT_LEAKY_RELU] = sweep_leaky_relu,
    [BB_ACT_TANH] = sweep_tanh,
    [BB_ACT_SIGMOID] = sweep_sigmoid,
    [BB_ACT_SILU] = sweep_silu,
    [BB_ACT_MISH] = sweep_mish,
    [BB_ACT_HARD_SIGMOID] = sweep_hard_sigmoid,
    [BB_ACT_HARD_SWISH] = sweep_hard_swish,
};

BB_INLINE void act_sweep(bb_act act, float *y, size_t vectors, float alpha, vf keep) { act_loop[act](y, vectors, alpha, keep); }

#endif
