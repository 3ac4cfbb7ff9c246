// SPDX-License-Identifier: Apache-2.0
//
// Winograd's matrices and transforms in exact arithmetic: kernels/winograd.h is the convolution, and the inline functions of
// kernels/simd/wino.h are its matrices, compiled here for vectors of another kind: linear forms with rational coefficients.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/common.h"
#include "kernels/winograd.h"

// ---- fractions -----------------------------------------------------------------------------------------------------

__extension__ typedef __int128 wide;

typedef struct fraction {
  int64_t num, den;  // lowest terms, den > 0
} fraction;

static fraction reduced(wide num, wide den) {
  wide a = num < 0 ? -num : num, b = den;
  while (b) {
    const wide rest = a % b;
    a = b, b = rest;
  }
  if (a > 1) num /= a, den /= a;
  assert_true(den > 0 && den <= INT64_MAX && num <= INT64_MAX && num >= -INT64_MAX);
  return (fraction){(int64_t)num, (int64_t)den};
}

static fraction of(bb_ratio r) { return reduced(r.num, r.den); }
static fraction whole(int i) { return (fraction){i, 1}; }
static fraction plus(fraction a, fraction b) { return reduced((wide)a.num * b.den + (wide)b.num * a.den, (wide)a.den * b.den); }
static fraction times(fraction a, fraction b) { return reduced((wide)a.num * b.num, (wide)a.den * b.den); }
static fraction minus(fraction a) { return (fraction){-a.num, a.den}; }
static bool equal(fraction a, fraction b) { return a.num == b.num && a.den == b.den; }
static double number(fraction a) { return (double)a.num / (double)a.den; }

// ---- vectors that are linear forms ---------------------------------------------------------------------------------

// of[i] times input i, and a constant. The product of two inputs is no such form: the test fails.
typedef struct vf {
  fraction of[BB_WINO_MAX_ALPHA], constant;
} vf;

// Exactly the number that the float holds.
static vf vset1(float a) {
  vf v = {.constant = {0, 1}};
  for (int i = 0; i < BB_WINO_MAX_ALPHA; i++) v.of[i] = whole(0);
  int exponent;
  const double mantissa = frexp((double)a, &exponent);
  const int64_t num = (int64_t)(mantissa * 0x1p24);
  exponent -= 24;
  assert_true(exponent > -60 && exponent < 36);
  v.constant = exponent < 0 ? reduced(num, (wide)1 << -exponent) : reduced((wide)num << exponent, 1);
  return v;
}

static vf vmul(vf a, vf b) {
  bool fixed = true;
  for (int i = 0; i < BB_WINO_MAX_ALPHA; i++) fixed &= a.of[i].num == 0;
  const vf factor = fixed ? a : b, form = fixed ? b : a;
  for (int i = 0; i < BB_WINO_MAX_ALPHA; i++) assert_true(factor.of[i].num == 0);
  vf v = {.constant = times(factor.constant, form.constant)};
  for (int i = 0; i < BB_WINO_MAX_ALPHA; i++) v.of[i] = times(factor.constant, form.of[i]);
  return v;
}

static vf vadd(vf a, vf b) {
  vf v = {.constant = plus(a.constant, b.constant)};
  for (int i = 0; i < BB_WINO_MAX_ALPHA; i++) v.of[i] = plus(a.of[i], b.of[i]);
  return v;
}

static vf vsub(vf a, vf b) { return vadd(a, vmul(vset1(-1), b)); }
static vf vfma(vf a, vf b, vf c) { return vadd(vmul(a, b), c); }   // a b + c
static vf vfnma(vf a, vf b, vf c) { return vsub(c, vmul(a, b)); }  // c - a b

static vf input_number(int i) {
  vf v = vset1(0);
  v.of[i] = whole(1);
  return v;
}

#include "kernels/simd/wino.h"

// ---- tests ---------------------------------------------------------------------------------------------------------

static const bb_wino *const all[] = {&bb_wino23, &bb_wino43, &bb_wino63};

// A^T rows are powers of the points; those are distinct, infinity comes last.
static void points_are_distinct(void **state) {
  (void)state;
  for (size_t f = 0; f < BB_COUNT(all); f++) {
    const bb_wino *w = all[f];
    const int points = w->m + 1;
    for (int i = 0; i < points; i++) {
      const fraction p = of(w->at[1][i]);
      fraction power = whole(1);
      for (int j = 0; j < w->m; j++) {
        assert_true(equal(of(w->at[j][i]), power));
        power = times(power, p);
      }
      for (int k = 0; k < i; k++) assert_false(equal(p, of(w->at[1][k])));
    }
    for (int j = 0; j < w->m; j++) assert_true(equal(of(w->at[j][points]), whole(j == w->m - 1)));
  }
}

// Rows of B^T and G as Toom and Cook make them of these points, but for a sign that both change.
static void rows_follow_from_the_points(void **state) {
  (void)state;
  for (size_t f = 0; f < BB_COUNT(all); f++) {
    const bb_wino *w = all[f];
    const int points = w->m + 1;
    for (int i = 0; i <= points; i++) {
      fraction polynomial[BB_WINO_MAX_ALPHA + 1] = {{1, 1}}, scale = whole(1);
      for (int k = 1; k <= BB_WINO_MAX_ALPHA; k++) polynomial[k] = whole(0);
      for (int k = 0; k < points; k++) {
        if (k == i) continue;
        const fraction p = of(w->at[1][k]);
        for (int l = BB_WINO_MAX_ALPHA; l >= 0; l--)
          polynomial[l] = plus(times(minus(p), polynomial[l]), l ? polynomial[l - 1] : whole(0));
        if (i < points) scale = times(scale, plus(of(w->at[1][i]), minus(p)));
      }
      fraction sign = whole(1);
      for (int l = 0; l <= points; l++) {
        if (polynomial[l].num && !equal(polynomial[l], of(w->bt[i][l]))) sign = whole(-1);
      }
      for (int l = 0; l <= points; l++) assert_true(equal(times(sign, polynomial[l]), of(w->bt[i][l])));
      fraction power = i < points ? sign : whole(0);
      for (int l = 0; l < 3; l++) {
        if (i == points && l == 2) power = sign;
        assert_true(equal(times(scale, of(w->g[i][l])), power));
        if (i < points) power = times(power, of(w->at[1][i]));
      }
    }
  }
}

// A^T [(G g) (.) (B^T d)] for d = e_a, g = e_b is e_{a-b}.
static void one_dimension_is_the_correlation(void **state) {
  (void)state;
  for (size_t f = 0; f < BB_COUNT(all); f++) {
    const bb_wino *w = all[f];
    for (int a = 0; a < w->m + 2; a++) {
      for (int b = 0; b < 3; b++) {
        for (int j = 0; j < w->m; j++) {
          fraction y = whole(0);
          for (int i = 0; i < w->m + 2; i++) y = plus(y, times(of(w->at[j][i]), times(of(w->g[i][b]), of(w->bt[i][a]))));
          assert_true(equal(y, whole(a - b == j)));
        }
      }
    }
  }
}

// A^T [(G g G^T) (.) (B^T d B)] A, d = e_{a,b}, g = e_{r,s}, step by step as a kernel does it.
static void two_dimensions_are_the_correlation(void **state) {
  (void)state;
  for (size_t f = 0; f < BB_COUNT(all); f++) {
    const bb_wino *w = all[f];
    const int m = w->m, alpha = m + 2;
    for (int pair = 0; pair < alpha * alpha * 9; pair++) {
      const int a = pair / 9 / alpha, b = pair / 9 % alpha, r = pair % 9 / 3, s = pair % 3;
      fraction product[BB_WINO_MAX_ALPHA][BB_WINO_MAX_ALPHA], half[BB_WINO_MAX_M][BB_WINO_MAX_ALPHA];
      for (int i = 0; i < alpha; i++) {
        for (int j = 0; j < alpha; j++) {
          const fraction u = times(of(w->g[i][r]), of(w->g[j][s])), v = times(of(w->bt[i][a]), of(w->bt[j][b]));
          product[i][j] = times(u, v);
        }
      }
      for (int i = 0; i < m; i++) {
        for (int j = 0; j < alpha; j++) {
          half[i][j] = whole(0);
          for (int l = 0; l < alpha; l++) half[i][j] = plus(half[i][j], times(of(w->at[i][l]), product[l][j]));
        }
      }
      for (int i = 0; i < m; i++) {
        for (int j = 0; j < m; j++) {
          fraction y = whole(0);
          for (int l = 0; l < alpha; l++) y = plus(y, times(half[i][l], of(w->at[j][l])));
          assert_true(equal(y, whole(a - r == i && b - s == j)));
        }
      }
    }
  }
}

static void assert_row(const vf *form, const bb_ratio *row, int count) {
  for (int i = 0; i < count; i++) assert_true(equal(form->of[i], of(row[i])));
  for (int i = count; i < BB_WINO_MAX_ALPHA; i++) assert_true(form->of[i].num == 0);
  assert_true(form->constant.num == 0);
}

static void inline_transforms_are_the_matrices(void **state) {
  (void)state;
  static void (*const input[])(const vf *, vf *) = {wino23_input, wino43_input, wino63_input};
  static void (*const output[])(const vf *, vf *) = {wino23_output, wino43_output, wino63_output};
  vf in[BB_WINO_MAX_ALPHA], out[BB_WINO_MAX_ALPHA];
  for (int i = 0; i < BB_WINO_MAX_ALPHA; i++) in[i] = input_number(i);
  for (int f = 0; f < 3; f++) {
    const bb_wino *w = all[f];
    for (int by_m = 0; by_m < 2; by_m++) {
      by_m ? wino_input(w->m, in, out) : input[f](in, out);
      for (int i = 0; i < w->m + 2; i++) assert_row(&out[i], w->bt[i], w->m + 2);
      by_m ? wino_output(w->m, in, out) : output[f](in, out);
      for (int i = 0; i < w->m; i++) assert_row(&out[i], w->at[i], w->m + 2);
    }
  }
}

// What the kernels execute: B^T and A^T lose nothing when they become floats, nor does the square of one, a constant of the two
// dimensions together. G is applied in double.
static void constants_are_exact_in_float(void **state) {
  (void)state;
  for (size_t f = 0; f < BB_COUNT(all); f++) {
    const bb_wino *w = all[f];
    for (int i = 0; i < w->m + 2; i++) {
      for (int j = 0; j < w->m + 2; j++) {
        const double b = (double)w->bt[i][j].num / w->bt[i][j].den,
                     a = i < w->m ? (double)w->at[i][j].num / w->at[i][j].den : 0;
        assert_true((double)(float)b == b && (double)(float)a == a);
        assert_true((double)(float)(b * b) == b * b && (double)(float)(a * a) == a * a);
      }
    }
  }
}

// ---- error amplification -------------------------------------------------------------------------------------------

// Mean over outputs of sum_i A_i^2 |G_i|^2 |B_i|^2 / 3, for Toom and Cook's matrices of these points and infinity.
static double amplification(const double *points, int count) {
  const int m = count - 1;
  double sum = 0;
  for (int i = 0; i <= count; i++) {
    double polynomial[BB_WINO_MAX_ALPHA + 1] = {1}, scale = 1, a = 0, b = 0, g = 1;
    for (int k = 0; k < count; k++) {
      if (k == i) continue;
      for (int l = BB_WINO_MAX_ALPHA; l >= 0; l--) polynomial[l] = (l ? polynomial[l - 1] : 0) - points[k] * polynomial[l];
      if (i < count) scale *= points[i] - points[k];
    }
    for (int l = 0; l <= count; l++) b += polynomial[l] * polynomial[l];
    if (i < count) {
      const double p2 = points[i] * points[i];
      g = (1 + p2 + p2 * p2) / (scale * scale);
      for (int j = 0; j < m; j++) a += pow(p2, j);
    } else {
      a = 1;
    }
    sum += a * b * g;
  }
  return sum / m / 3;
}

static double amplification_of(const bb_wino *w) {
  double points[BB_WINO_MAX_ALPHA];
  for (int i = 0; i <= w->m; i++) points[i] = number(of(w->at[1][i]));
  return amplification(points, w->m + 1);
}

static bool about(double value, double stated) { return fabs(value / stated - 1) < 0.01; }

static void amplification_is_as_stated(void **state) {
  (void)state;
  assert_true(about(amplification_of(&bb_wino23), 1.67));
  assert_true(about(amplification_of(&bb_wino43), 4.78));
  assert_true(about(amplification_of(&bb_wino63), 20.6));
  assert_true(about(amplification((const double[]){0, 1, -1, 2, -2}, 5), 10.8));
  assert_true(about(amplification((const double[]){0, 1, -1, 2, -2, 4, -4}, 7), 1481));
  // No symmetric points do much better; for F(6,3) none do better at all.
  double best4 = INFINITY, best6 = INFINITY;
  for (double a = 0.3; a < 1.2; a += 0.01) {
    for (double b = a + 0.1; b < 2.5; b += 0.01) best4 = fmin(best4, amplification((const double[]){0, a, -a, b, -b}, 5));
  }
  for (double a = 0.3; a < 0.8; a += 0.05) {
    for (double b = 0.8; b < 1.3; b += 0.05) {
      for (double c = 1.3; c < 2.6; c += 0.05) best6 = fmin(best6, amplification((const double[]){0, a, -a, b, -b, c, -c}, 7));
    }
  }
  assert_true(about(best4, 4.746));
  assert_true(best6 > 0.99 * amplification_of(&bb_wino63));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(points_are_distinct),
      cmocka_unit_test(rows_follow_from_the_points),
      cmocka_unit_test(one_dimension_is_the_correlation),
      cmocka_unit_test(two_dimensions_are_the_correlation),
      cmocka_unit_test(inline_transforms_are_the_matrices),
      cmocka_unit_test(constants_are_exact_in_float),
      cmocka_unit_test(amplification_is_as_stated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
