// SPDX-License-Identifier: Apache-2.0
//
// The 1-D transforms of Winograd's F(m,3), B^T d and A^T v of ../winograd.h, on vectors, and what the parts of a kernel made of
// them cost. Include vec.h first.
//
// The rows of +p and -p share their even and odd parts: e + o and e - o. All constants are exact in float.

#ifndef BB_SIMD_WINO_H
#define BB_SIMD_WINO_H

#include <math.h>

#include "cost.h"
#include "../winograd.h"

// v0 = d0 - d2 ; v1,2 = d2 +- d1 ; v3 = d3 - d1
BB_INLINE void wino23_input(const vf d[4], vf v[4]) {
  v[0] = vsub(d[0], d[2]);
  v[1] = vadd(d[2], d[1]);
  v[2] = vsub(d[2], d[1]);
  v[3] = vsub(d[3], d[1]);
}

// y0 = v0 + (v1 + v2) ; y1 = (v1 - v2) + v3
BB_INLINE void wino23_output(const vf v[4], vf y[2]) {
  y[0] = vadd(v[0], vadd(v[1], v[2]));
  y[1] = vadd(vsub(v[1], v[2]), v[3]);
}

// With a = 5/8, b = 3/2:
//   v0 = d4 - (a^2 + b^2) d2 + a^2 b^2 d0
//   v1,2 = (d4 - b^2 d2) +- a (d3 - b^2 d1)
//   v3,4 = (d4 - a^2 d2) +- b (d3 - a^2 d1)
//   v5 = d5 - (a^2 + b^2) d3 + a^2 b^2 d1
// Product and sum, not FMA, for the pairs: on Zen 4 stores compete with FMAs for pipes, additions do not (12 FMAs and 6 stores
// 20.8 cycles, 12 additions and 6 stores 12.0).
BB_INLINE void wino43_input(const vf d[6], vf v[6]) {
  const vf aa = vset1(25 / 64.0f), bb = vset1(9 / 4.0f), sum = vset1(169 / 64.0f), product = vset1(225 / 256.0f);
  const vf even_a = vfnma(bb, d[2], d[4]), odd_a = vmul(vset1(5 / 8.0f), vfnma(bb, d[1], d[3]));
  const vf even_b = vfnma(aa, d[2], d[4]), odd_b = vmul(vset1(3 / 2.0f), vfnma(aa, d[1], d[3]));
  v[0] = vfma(product, d[0], vfnma(sum, d[2], d[4]));
  v[1] = vadd(even_a, odd_a);
  v[2] = vsub(even_a, odd_a);
  v[3] = vadd(even_b, odd_b);
  v[4] = vsub(even_b, odd_b);
  v[5] = vfma(product, d[1], vfnma(sum, d[3], d[5]));
}

// With s = v1 + v2, t = v1 - v2, u = v3 + v4, w = v3 - v4:
//   y0 = v0 + s + u ; y1 = a t + b w ; y2 = a^2 s + b^2 u ; y3 = a^3 t + b^3 w + v5
BB_INLINE void wino43_output(const vf v[6], vf y[4]) {
  const vf s = vadd(v[1], v[2]), t = vsub(v[1], v[2]), u = vadd(v[3], v[4]), w = vsub(v[3], v[4]);
  y[0] = vadd(v[0], vadd(s, u));
  y[1] = vfma(vset1(5 / 8.0f), t, vmul(vset1(3 / 2.0f), w));
  y[2] = vfma(vset1(25 / 64.0f), s, vmul(vset1(9 / 4.0f), u));
  y[3] = vfma(vset1(125 / 512.0f), t, vfma(vset1(27 / 8.0f), w, v[5]));
}

// v0 = d0 - d6 + 21/4 (d4 - d2) ; v7 = d7 - d1 + 21/4 (d3 - d5)
//   +-1:   (d2 + d6 - 17/4 d4) +- (d1 + d5 - 17/4 d3)
//   +-2:   (d6 + 1/4 d2 - 5/4 d4) +- (1/2 d1 - 5/2 d3 + 2 d5)
//   +-1/2: (d6 + 4 d2 - 5 d4) +- (2 d1 - 5/2 d3 + 1/2 d5)
BB_INLINE void wino63_input(const vf d[8], vf v[8]) {
  const vf c = vset1(21 / 4.0f), f = vset1(17 / 4.0f), g = vset1(5 / 2.0f), two = vset1(2), half = vset1(0.5f);
  const vf even_1 = vfnma(f, d[4], vadd(d[2], d[6])), odd_1 = vfnma(f, d[3], vadd(d[1], d[5]));
  const vf even_2 = vfnma(vset1(5 / 4.0f), d[4], vfma(vset1(0.25f), d[2], d[6]));
  const vf odd_2 = vfnma(g, d[3], vfma(half, d[1], vmul(two, d[5])));
  const vf even_h = vfnma(vset1(5), d[4], vfma(vset1(4), d[2], d[6]));
  const vf odd_h = vfnma(g, d[3], vfma(two, d[1], vmul(half, d[5])));
  v[0] = vfma(c, vsub(d[4], d[2]), vsub(d[0], d[6]));
  v[1] = vadd(even_1, odd_1);
  v[2] = vsub(even_1, odd_1);
  v[3] = vadd(even_2, odd_2);
  v[4] = vsub(even_2, odd_2);
  v[5] = vadd(even_h, odd_h);
  v[6] = vsub(even_h, odd_h);
  v[7] = vfma(c, vsub(d[3], d[5]), vsub(d[7], d[1]));
}

// With s, t = v1 +- v2, u, w = v3 +- v4, p, q = v5 +- v6:
//   y0 = v0 + s + u + p    ; y1 = t + 2 w + q/2   ; y2 = s + 4 u + p/4 ; y3 = t + 8 w + q/8
//   y4 = s + 16 u + p/16   ; y5 = t + 32 w + q/32 + v7
BB_INLINE void wino63_output(const vf v[8], vf y[6]) {
  const vf s = vadd(v[1], v[2]), t = vsub(v[1], v[2]), u = vadd(v[3], v[4]), w = vsub(v[3], v[4]);
  const vf p = vadd(v[5], v[6]), q = vsub(v[5], v[6]);
  y[0] = vadd(vadd(v[0], s), vadd(u, p));
  y[1] = vfma(vset1(0.5f), q, vfma(vset1(2), w, t));
  y[2] = vfma(vset1(0.25f), p, vfma(vset1(4), u, s));
  y[3] = vfma(vset1(0.125f), q, vfma(vset1(8), w, t));
  y[4] = vfma(vset1(1 / 16.0f), p, vfma(vset1(16), u, s));
  y[5] = vfma(vset1(1 / 32.0f), q, vfma(vset1(32), w, vadd(t, v[7])));
}

// By m, a constant.
BB_INLINE void wino_input(const int m, const vf *d, vf *v) {
  if (m == 2)
    wino23_input(d, v);
  else if (m == 4)
    wino43_input(d, v);
  else
    wino63_input(d, v);
}
BB_INLINE void wino_output(const int m, const vf *v, vf *y) {
  if (m == 2)
    wino23_output(v, y);
  else if (m == 4)
    wino43_output(v, y);
  else
    wino63_output(v, y);
}

// U = G g G^T of one filter, alpha x alpha, in double.
static inline __attribute__((unused)) void wino_filter(const bb_wino *of, const float *w, float *u) {
  double g[BB_WINO_MAX_ALPHA][3], half[BB_WINO_MAX_ALPHA][3];
  const int alpha = of->m + 2;
  for (int i = 0; i < alpha; i++) {
    for (int j = 0; j < 3; j++) g[i][j] = (double)of->g[i][j].num / of->g[i][j].den;
  }
  for (int i = 0; i < alpha; i++) {
    for (int s = 0; s < 3; s++) half[i][s] = g[i][0] * (double)w[s] + g[i][1] * (double)w[3 + s] + g[i][2] * (double)w[6 + s];
  }
  for (int i = 0; i < alpha; i++) {
    for (int j = 0; j < alpha; j++)
      u[i * alpha + j] = (float)(half[i][0] * g[j][0] + half[i][1] * g[j][1] + half[i][2] * g[j][2]);
  }
}

// kappa*u*sqrt(L), L = 9*(min(C, B) + T)*(1 + C/(8*B)) for sums of B channels added up; kappa = 0.5, 1, 4: 0.17, 0.48, 2.1 is
// how errors grow with C on random data. The transforms round with one channel already, as T = 14, 26, 25 more would: one
// channel errs by 1.7, 5.2, 22 u on images of 60x60, and by 1.9, 7.5, 32 u on the worst of the small ones, where a tile holds
// little but a corner (4x4 pixels and a padding of 2): simulated, the mean of 400 images and filters. Of one image with 256
// filters tests/accuracy.c shows up to 2.2, 9.1, 44 u.
BB_INLINE double wino_bound(int m, double c, double b) {
  const double kappa = m == 2 ? 0.5 : m == 4 ? 1 : 4, transforms = m == 2 ? 14 : m == 4 ? 26 : 25;
  return kappa * 0x1p-24 * sqrt(9 * ((c < b ? c : b) + transforms) * (1 + c / (8 * b)));
}

// What the parts take in cycles, for the cost model.
typedef struct wino_costs {
  double input[3], output[3];  // transform of a tile and block of channels, V and M in L2; F(2,3), F(4,3), F(6,3)
  double sum;                  // a vector of sums on its way to memory, beside FMAs
  double line;                 // a line of V on its way from L2
  double panel;                // a line of weights, once for each block of tiles
  double load;                 // of a vector or broadcast, beside FMAs that hide most of it
  double l2, evicted;          // part of L2 that V and M may fill; of what is beyond, the part that comes from L3 again
  double staged;               // how often what V and M of all tiles exceed two L2 of each thread by (a far L3: all of it)
                               // crosses to L3 and back
  double stream;               // of the shorter of products and the stream of weights: what the longer does not hide
} wino_costs;

// All but the transforms, as fitted on Zen 4; for cores that nothing else is known of.
#define WINO_FACTORS .sum = 0.5, .line = 1, .load = 0.05, .l2 = 0.4, .evicted = 0.25, .staged = 4, .stream = 0.25

#endif
