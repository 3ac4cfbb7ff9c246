// SPDX-License-Identifier: Apache-2.0
//
// Winograd's minimal filtering F(m x m, 3 x 3): the matrices, stated once.
//
//   Y = A^T [ (G g G^T) (.) (B^T d B) ] A
//
// computes m x m outputs of a 3 x 3 correlation from a tile d of alpha x alpha inputs, alpha = m + 2, with alpha^2 instead of
// 9 m^2 multiplications. Winograd 1980; Lavin and Gray, arXiv:1509.09308. The matrices follow from alpha - 1 distinct points
// p_i and infinity (Toom and Cook):
//
//   B^T row i: coefficients of prod_{k != i} (x - p_k), that of infinity of prod_k (x - p_k)
//   G   row i: (1, p_i, p_i^2) / N_i with N_i = prod_{k != i} (p_i - p_k), that of infinity (0, 0, 1)
//   A^T row j: p_i^j; infinity stands in the last row only
//
// where a row of B^T and the same of G may change sign together. Points:
//   F(2,3)  0, +-1               the classic
//   F(4,3)  0, +-5/8, +-3/2      B and A exact in float; error amplification 4.8 (0, +-1, +-2: 10.8; the optimum: 4.75)
//   F(6,3)  0, +-1, +-2, +-1/2   20.6, the optimum of symmetric points (0, +-1, +-2, +-4: 1481)
// with amplification = mean over outputs of sum_i A_i^2 |G_i|^2 |B_i|^2 / 3, which the rounding error on random data follows.
//
// B^T and A^T are executed as inline functions (simd/wino.h); tests prove in rational arithmetic that those are these matrices,
// and that these matrices are the convolution. G is applied in double when weights are packed.

#ifndef BB_WINOGRAD_H
#define BB_WINOGRAD_H

enum { BB_WINO_MAX_M = 6, BB_WINO_MAX_ALPHA = 8 };

typedef struct bb_ratio {
  int num, den;
} bb_ratio;

typedef struct bb_wino {
  int m;                                              // alpha = m + 2
  bb_ratio bt[BB_WINO_MAX_ALPHA][BB_WINO_MAX_ALPHA];  // alpha x alpha
  bb_ratio g[BB_WINO_MAX_ALPHA][3];                   // alpha x 3
  bb_ratio at[BB_WINO_MAX_M][BB_WINO_MAX_ALPHA];      // m x alpha
} bb_wino;

// clang-format off
#define R(n, d) {n, d}
#define I(n) {n, 1}

static const bb_wino bb_wino23 __attribute__((unused)) = {
    .m = 2,
    .bt = {{I(1), I(0), I(-1), I(0)},
           {I(0), I(1), I(1), I(0)},
           {I(0), I(-1), I(1), I(0)},
           {I(0), I(-1), I(0), I(1)}},
    .g = {{I(1), I(0), I(0)},
          {R(1, 2), R(1, 2), R(1, 2)},
          {R(1, 2), R(-1, 2), R(1, 2)},
          {I(0), I(0), I(1)}},
    .at = {{I(1), I(1), I(1), I(0)},
           {I(0), I(1), I(-1), I(1)}},
};

static const bb_wino bb_wino43 __attribute__((unused)) = {
    .m = 4,
    .bt = {{R(225, 256), I(0), R(-169, 64), I(0), I(1), I(0)},
           {I(0), R(-45, 32), R(-9, 4), R(5, 8), I(1), I(0)},
           {I(0), R(45, 32), R(-9, 4), R(-5, 8), I(1), I(0)},
           {I(0), R(-75, 128), R(-25, 64), R(3, 2), I(1), I(0)},
           {I(0), R(75, 128), R(-25, 64), R(-3, 2), I(1), I(0)},
           {I(0), R(225, 256), I(0), R(-169, 64), I(0), I(1)}},
    .g = {{R(256, 225), I(0), I(0)},
          {R(-2048, 2975), R(-256, 595), R(-32, 119)},
          {R(-2048, 2975), R(256, 595), R(-32, 119)},
          {R(128, 1071), R(64, 357), R(32, 119)},
          {R(128, 1071), R(-64, 357), R(32, 119)},
          {I(0), I(0), I(1)}},
    .at = {{I(1), I(1), I(1), I(1), I(1), I(0)},
           {I(0), R(5, 8), R(-5, 8), R(3, 2), R(-3, 2), I(0)},
           {I(0), R(25, 64), R(25, 64), R(9, 4), R(9, 4), I(0)},
           {I(0), R(125, 512), R(-125, 512), R(27, 8), R(-27, 8), I(1)}},
};

static const bb_wino bb_wino63 __attribute__((unused)) = {
    .m = 6,
    .bt = {{I(1), I(0), R(-21, 4), I(0), R(21, 4), I(0), I(-1), I(0)},
           {I(0), I(1), I(1), R(-17, 4), R(-17, 4), I(1), I(1), I(0)},
           {I(0), I(-1), I(1), R(17, 4), R(-17, 4), I(-1), I(1), I(0)},
           {I(0), R(1, 2), R(1, 4), R(-5, 2), R(-5, 4), I(2), I(1), I(0)},
           {I(0), R(-1, 2), R(1, 4), R(5, 2), R(-5, 4), I(-2), I(1), I(0)},
           {I(0), I(2), I(4), R(-5, 2), I(-5), R(1, 2), I(1), I(0)},
           {I(0), I(-2), I(4), R(5, 2), I(-5), R(-1, 2), I(1), I(0)},
           {I(0), I(-1), I(0), R(21, 4), I(0), R(-21, 4), I(0), I(1)}},
    .g = {{I(1), I(0), I(0)},
          {R(-2, 9), R(-2, 9), R(-2, 9)},
          {R(-2, 9), R(2, 9), R(-2, 9)},
          {R(1, 90), R(1, 45), R(2, 45)},
          {R(1, 90), R(-1, 45), R(2, 45)},
          {R(32, 45), R(16, 45), R(8, 45)},
          {R(32, 45), R(-16, 45), R(8, 45)},
          {I(0), I(0), I(1)}},
    .at = {{I(1), I(1), I(1), I(1), I(1), I(1), I(1), I(0)},
           {I(0), I(1), I(-1), I(2), I(-2), R(1, 2), R(-1, 2), I(0)},
           {I(0), I(1), I(1), I(4), I(4), R(1, 4), R(1, 4), I(0)},
           {I(0), I(1), I(-1), I(8), I(-8), R(1, 8), R(-1, 8), I(0)},
           {I(0), I(1), I(1), I(16), I(16), R(1, 16), R(1, 16), I(0)},
           {I(0), I(1), I(-1), I(32), I(-32), R(1, 32), R(-1, 32), I(1)}},
};

#undef R
#undef I
// clang-format on

#endif
