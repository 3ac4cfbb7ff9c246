// SPDX-License-Identifier: Apache-2.0
//
// The truth itself: against the formula written another way, against values that PyTorch 1.13 gives in float64, and the checker
// against results that are wrong by a little.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/tails.h"
#include "bench/verify.h"
#include "kernels/common.h"
#include "reference/ref.h"
#include "reference/ref_check.h"

static void near(double got, double expected) {
  if (!(fabs(got - expected) <= 1e-9 * fmax(1, fabs(expected)))) fail_msg("expected %.17g, got %.17g", expected, got);
}

// 1, 4, 9 ... 625 in a 5x5 plane.
static void squares(double x[25]) {
  for (int i = 0; i < 25; i++) x[i] = (i + 1) * (i + 1);
}

// ---- convolution ---------------------------------------------------------------------------------------------------

// Scatter instead of gather: each product goes to the outputs that it belongs to.
static void scatter(const bb_conv *v, const bb_ref_data *d, double *y) {
  const int Cg = v->C / v->G, Kg = v->K / v->G;
  memset(y, 0, sizeof *y * (size_t)(v->N * v->K * v->P * v->Q));
  for (int n = 0; n < v->N; n++) {
    for (int c = 0; c < v->C; c++) {
      for (int h = 0; h < v->H; h++) {
        for (int w = 0; w < v->W; w++) {
          for (int k = c / Cg * Kg; k < (c / Cg + 1) * Kg; k++) {
            for (int r = 0; r < v->R; r++) {
              for (int s = 0; s < v->S; s++) {
                const int p = h + v->pad_t - r * v->dil_h, q = w + v->pad_l - s * v->dil_w;
                if (p < 0 || q < 0 || p % v->stride_h || q % v->stride_w) continue;
                if (p / v->stride_h >= v->P || q / v->stride_w >= v->Q) continue;
                y[((n * v->K + k) * v->P + p / v->stride_h) * v->Q + q / v->stride_w] +=
                    (double)d->x[((n * v->C + c) * v->H + h) * v->W + w] *
                    (double)d->w[((k * Cg + c % Cg) * v->R + r) * v->S + s];
              }
            }
          }
        }
      }
    }
  }
}

static void conv_equals_scattered_products(void **state) {
  (void)state;
  static bb_conv list[400];
  assert_true(bb_tails_select(7, BB_COUNT(list), list));
  for (size_t i = 0; i < BB_COUNT(list); i++) {
    bb_conv *v = &list[i];
    v->N = 1 + (int)(i % 2);
    if (i % 3 == 0) {  // dilated, and more padding on one side
      v->dil_h = 2, v->pad_b += 2, v->stride_w = 3;
      v->P = (v->H + v->pad_t + v->pad_b - 2 * (v->R - 1) - 1) / v->stride_h + 1;
      v->Q = (v->W + v->pad_l + v->pad_r - v->S) / v->stride_w + 1;
      if (v->H + v->pad_t + v->pad_b < 2 * (v->R - 1) + 1) continue;
    }
    bb_ref_data *d;
    const bb_ref_options options = {.fill = BB_FILL_INT, .seed = i};
    assert_int_equal(bb_ref_data_create(&(bb_problem){.op = BB_OP_CONV, .conv = *v}, NULL, NULL, &options, &d), BB_OK);
    double *y = malloc(d->count * sizeof *y);
    assert_non_null(y);
    scatter(v, d, y);
    for (size_t j = 0; j < d->count; j++) assert_true(y[j] == d->y[j]);
    // The plain float sum is exact too, as the fill promises, and so is twice its magnitude.
    for (size_t j = 0; j < d->count; j++) assert_true(d->magnitude[j] < 0x1p22);
    free(y);
    bb_ref_data_destroy(d);
  }
}

static void conv_equals_pytorch(void **state) {
  (void)state;
  const bb_conv v = {.G = 1,
                     .N = 1,
                     .C = 1,
                     .H = 3,
                     .W = 4,
                     .K = 2,
                     .P = 2,
                     .Q = 2,
                     .R = 2,
                     .S = 2,
                     .stride_h = 2,
                     .stride_w = 1,
                     .pad_t = 1,
                     .pad_b = 1,
                     .dil_h = 1,
                     .dil_w = 2};
  const double x[] = {1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14}, b[] = {0.5, -1};
  const float w[] = {1, 2, 3, 4, -1, 0, 2, 1};
  static const double expected[] = {15.5, 22.5, 107.5, 117.5, 4, 7, 28, 30};
  double y[8];
  bb_ref_conv(&v, NULL, &(bb_epilogue){.bias = true}, &(bb_ref_io){.x = x, .w = w, .b = b, .y = y});
  for (size_t i = 0; i < BB_COUNT(expected); i++) near(y[i], expected[i]);
}

static void padding_is_zero_after_the_prologue(void **state) {
  (void)state;
  const bb_conv v = {.G = 1,
                     .N = 1,
                     .C = 1,
                     .H = 1,
                     .W = 1,
                     .K = 1,
                     .P = 3,
                     .Q = 3,
                     .R = 3,
                     .S = 3,
                     .stride_h = 1,
                     .stride_w = 1,
                     .pad_t = 2,
                     .pad_b = 2,
                     .pad_l = 2,
                     .pad_r = 2,
                     .dil_h = 1,
                     .dil_w = 1};
  const double x[] = {3}, scale[] = {-2}, shift[] = {10}, x_scale[] = {0.5};
  const float w[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  double y[9];
  const bb_ref_io io = {.x = x, .w = w, .scale = scale, .shift = shift, .x_scale = x_scale, .y = y};
  // x' = max(-2 * (3 * 0.5) + 10, 0) = 7; the one pixel meets each tap once.
  bb_ref_conv(&v, &(bb_prologue){true, true, true}, NULL, &io);
  for (int i = 0; i < 9; i++) near(y[i], 7.0 * (9 - i));
}

static void epilogue_comes_in_its_order(void **state) {
  (void)state;
  const bb_conv v = {.G = 1,
                     .N = 1,
                     .C = 1,
                     .H = 1,
                     .W = 2,
                     .K = 1,
                     .P = 1,
                     .Q = 2,
                     .R = 1,
                     .S = 1,
                     .stride_h = 1,
                     .stride_w = 1,
                     .dil_h = 1,
                     .dil_w = 1};
  const double x[] = {1, -4}, b[] = {1}, residual[] = {10, 20}, y_scale[] = {3};
  const float w[] = {2};
  double y[2], gap[1];
  const bb_ref_io io = {.x = x, .x2 = residual, .w = w, .b = b, .y_scale = y_scale, .y = y, .gap = gap};
  bb_epilogue e = {.bias = true, .act = BB_ACT_RELU, .residual = BB_RESIDUAL_AFTER_ACT, .scale = true, .gap = true};
  bb_ref_conv(&v, NULL, &e, &io);
  near(y[0], (2 + 1) * 3 + 10);
  near(y[1], 0 * 3 + 20);
  near(gap[0], (19 + 20) / 2.0);
  e.residual = BB_RESIDUAL_BEFORE_ACT;
  bb_ref_conv(&v, NULL, &e, &io);
  near(y[0], (2 + 1 + 10) * 3);
  near(y[1], (-8 + 1 + 20) * 3);
}

static void parts_of_a_conv_equal_the_whole(void **state) {
  (void)state;
  const bb_problem v = {.op = BB_OP_CONV,
                        .conv = {.G = 2,
                                 .N = 2,
                                 .C = 6,
                                 .H = 9,
                                 .W = 8,
                                 .K = 4,
                                 .P = 5,
                                 .Q = 4,
                                 .R = 3,
                                 .S = 3,
                                 .stride_h = 2,
                                 .stride_w = 2,
                                 .pad_t = 1,
                                 .pad_b = 1,
                                 .pad_l = 1,
                                 .pad_r = 1,
                                 .dil_h = 1,
                                 .dil_w = 1}};
  const bb_epilogue e = {.bias = true, .act = BB_ACT_MISH, .residual = BB_RESIDUAL_AFTER_ACT, .scale = true};
  const bb_prologue pro = {.scale_shift = true, .relu = true};
  bb_ref_data *all, *some;
  assert_int_equal(bb_ref_data_create(&v, &pro, &e, &(bb_ref_options){BB_FILL_NORMAL, 3, 0, false, false}, &all), BB_OK);
  assert_int_equal(bb_ref_data_create(&v, &pro, &e, &(bb_ref_options){BB_FILL_NORMAL, 3, 20, false, false}, &some), BB_OK);
  assert_null(all->at);
  assert_non_null(some->at);
  assert_true(some->count >= 20 && some->count < all->count);
  for (size_t i = 0; i < some->count; i++) {
    assert_true(some->y[i] == all->y[some->at[i]]);
    assert_true(some->magnitude[i] == all->magnitude[some->at[i]]);
  }
  bb_ref_data_destroy(all);
  bb_ref_data_destroy(some);
}

// ---- the other operations ------------------------------------------------------------------------------------------

static void pool_one(bb_pooling v, const double *expected) {
  double x[25], y[25];
  squares(x);
  v.N = v.C = 1;
  if (!v.H) v.H = v.W = 5;
  bb_ref_pool(&v, NULL, &(bb_ref_io){.x = x, .y = y});
  for (int i = 0; i < v.P * v.Q; i++) near(y[i], expected[i]);
}

static void pooling_equals_pytorch(void **state) {
  (void)state;
  bb_pooling v = {.kind = BB_POOL_AVG,
                  .P = 3,
                  .Q = 3,
                  .R = 3,
                  .S = 3,
                  .stride_h = 2,
                  .stride_w = 2,
                  .pad_t = 1,
                  .pad_b = 1,
                  .pad_l = 1,
                  .pad_r = 1,
                  .ceil_mode = true,
                  .count_include_pad = true};
  pool_one(v, (double[]){10, 223 / 9.0, 222 / 9.0, 895 / 9.0, 1677 / 9.0, 1363 / 9.0, 1470 / 9.0, 2563 / 9.0, 218});
  v.R = v.S = 2, v.pad_t = v.pad_b = v.pad_l = v.pad_r = 0;
  pool_one(v, (double[]){22.5, 42.5, 62.5, 202.5, 262.5, 312.5, 462.5, 552.5, 625});  // the last windows hang out
  v.kind = BB_POOL_MAX;
  pool_one(v, (double[]){49, 81, 100, 289, 361, 400, 484, 576, 625});
  v.kind = BB_POOL_AVG, v.pad_t = v.pad_b = v.pad_l = v.pad_r = 1;
  pool_one(v, (double[]){0.25, 3.25, 10.25, 39.25, 106.5, 150.5, 174.25, 406.5, 490.5});
  v.count_include_pad = false;
  pool_one(v, (double[]){1, 6.5, 20.5, 78.5, 106.5, 150.5, 348.5, 406.5, 490.5});
  v.R = v.S = 4, v.stride_h = v.stride_w = 3, v.pad_t = v.pad_b = v.pad_l = v.pad_r = 2, v.count_include_pad = true;
  // The last window reaches beyond the padded input: 3 x 4 or 3 x 3 of it count.
  pool_one(v, (double[]){5.625, 21.75, 125 / 12.0, 113.75, 288.5, 112.5, 925 / 12.0, 184.5, 625 / 9.0});
  v = (bb_pooling){.kind = BB_POOL_AVG, .P = 3, .Q = 2, .adaptive = true};
  pool_one(v, (double[]){163 / 6.0, 295 / 6.0, 1452 / 9.0, 1920 / 9.0, 2323 / 6.0, 2815 / 6.0});
  v.kind = BB_POOL_MAX;
  pool_one(v, (double[]){64, 100, 324, 400, 529, 625});
}

static void resize_equals_pytorch(void **state) {
  (void)state;
  double x[25], y[25];
  squares(x);
  bb_resize v = {.kind = BB_RESIZE_NEAREST, .N = 1, .C = 1, .H = 5, .W = 5, .P = 3, .Q = 7};
  static const double nearest[] = {1, 1, 4, 9, 9, 16, 25, 36, 36, 49, 64, 64, 81, 100, 256, 256, 289, 324, 324, 361, 400};
  bb_ref_resize(&v, NULL, &(bb_ref_io){.x = x, .y = y});
  for (size_t i = 0; i < BB_COUNT(nearest); i++) near(y[i], nearest[i]);
  v.kind = BB_RESIZE_BILINEAR_ALIGN, v.Q = 4;
  static const double bilinear[] = {1, 17 / 3.0, 41 / 3.0, 25, 121, 457 / 3.0, 187, 225, 441, 499, 1681 / 3.0, 625};
  bb_ref_resize(&v, NULL, &(bb_ref_io){.x = x, .y = y});
  for (size_t i = 0; i < BB_COUNT(bilinear); i++) near(y[i], bilinear[i]);
  v.P = 1, v.Q = 2;
  bb_ref_resize(&v, NULL, &(bb_ref_io){.x = x, .y = y});
  near(y[0], 1);
  near(y[1], 25);
}

static void activations_equal_pytorch(void **state) {
  (void)state;
  static const double x[] = {-20, -3.5, -3, -1, -0.5, 0, 0.5, 1, 3, 7};
  static const double expected[BB_ACT_COUNT][10] = {
      [BB_ACT_IDENTITY] = {-20, -3.5, -3, -1, -0.5, 0, 0.5, 1, 3, 7},
      [BB_ACT_RELU] = {0, 0, 0, 0, 0, 0, 0.5, 1, 3, 7},
      [BB_ACT_RELU6] = {0, 0, 0, 0, 0, 0, 0.5, 1, 3, 6},
      [BB_ACT_LEAKY_RELU] = {-2, -0.35, -0.3, -0.1, -0.05, 0, 0.5, 1, 3, 7},
      [BB_ACT_TANH] = {-1, -0.99817789761119868, -0.99505475368673046, -0.76159415595576485, -0.46211715726000974, 0,
                       0.46211715726000974, 0.76159415595576485, 0.99505475368673046, 0.99999833694394469},
      [BB_ACT_SIGMOID] = {2.0611536181902037e-09, 0.029312230751356319, 0.047425873177566781, 0.2689414213699951,
                          0.37754066879814541, 0.5, 0.62245933120185459, 0.7310585786300049, 0.95257412682243336,
                          0.9990889488055994},
      [BB_ACT_SILU] = {-4.1223072363804073e-08, -0.10259280762974712, -0.14227761953270035, -0.2689414213699951,
                       -0.1887703343990727, 0, 0.3112296656009273, 0.7310585786300049, 2.8577223804672998, 6.9936226416391962},
      [BB_ACT_MISH] = {-4.1223072406287619e-08, -0.10409575448637122, -0.14564746127562461, -0.30340146137410895,
                       -0.22074377465173001, 0, 0.37524521130489513, 0.86509838826731034, 2.9865350049679575,
                       6.9999883798097411},
      [BB_ACT_HARD_SIGMOID] = {0, 0, 0, 1 / 3.0, 2.5 / 6, 0.5, 3.5 / 6, 2 / 3.0, 1, 1},
      [BB_ACT_HARD_SWISH] = {0, 0, 0, -1 / 3.0, -1.25 / 6, 0, 1.75 / 6, 2 / 3.0, 3, 7},
  };
  for (int act = 0; act < BB_ACT_COUNT; act++) {
    for (size_t i = 0; i < BB_COUNT(x); i++) {
      const double got = bb_ref_act((bb_act)act, 0.1, x[i]), want = expected[act][i];
      if (!(fabs(got - want) <= 1e-14 * fabs(want)))
        fail_msg("activation %d of %g: %.17g, expected %.17g", act, x[i], got, want);
    }
    assert_true(isnan(bb_ref_act((bb_act)act, 0.1, NAN)));
  }
}

static void others_by_hand(void **state) {
  (void)state;
  const double x[] = {1, 2, 3, 4, 5, 6, 7, 8}, x2[] = {10, 20}, pair[] = {2, 3}, shift[] = {-1, 1};
  double y[8];
  // A prefix of the channels, broadcast.
  const bb_eltwise mul = {BB_ELTWISE_MUL, 2, 2, 1, 2, 1, true};
  bb_ref_eltwise(&mul, NULL, &(bb_ref_io){.x = x, .x2 = x2, .y = y});
  static const double product[] = {10, 20, 3, 4, 100, 120, 7, 8};
  for (int i = 0; i < 8; i++) near(y[i], product[i]);
  const bb_eltwise sum = {BB_ELTWISE_ADD, 1, 2, 2, 2, 2, false};
  bb_ref_eltwise(&sum, &(bb_epilogue){.act = BB_ACT_RELU6}, &(bb_ref_io){.x = x, .x2 = x, .y = y});
  for (int i = 0; i < 8; i++) near(y[i], fmin(2 * x[i], 6));
  const bb_scale scale = {1, 2, 2, 2};
  bb_ref_scale(&scale, NULL, &(bb_ref_io){.x = x, .scale = pair, .shift = shift, .y = y});
  for (int i = 0; i < 8; i++) near(y[i], pair[i / 4] * x[i] + shift[i / 4]);
  bb_ref_scale(&scale, NULL, &(bb_ref_io){.x = x, .y = y});
  for (int i = 0; i < 8; i++) near(y[i], x[i]);
  // Two pixels of two channels; and nothing overflows.
  const double large[] = {1000, -2000, 1001, -2000};
  bb_ref_softmax(&(bb_softmax){1, 2, 1, 2}, NULL, &(bb_ref_io){.x = large, .y = y});
  near(y[0], 1 / (1 + exp(1)));
  near(y[1], 0.5);
  near(y[2], 1 / (1 + exp(-1)));
  near(y[3], 0.5);
}

// ---- the checker ---------------------------------------------------------------------------------------------------

static const bb_conv small = {.G = 1,
                              .N = 1,
                              .C = 64,
                              .H = 8,
                              .W = 8,
                              .K = 16,
                              .P = 8,
                              .Q = 8,
                              .R = 3,
                              .S = 3,
                              .stride_h = 1,
                              .stride_w = 1,
                              .pad_t = 1,
                              .pad_b = 1,
                              .pad_l = 1,
                              .pad_r = 1,
                              .dil_h = 1,
                              .dil_w = 1};

// As a kernel would: in float, one term after the other.
static float *in_float(const bb_ref_data *d) {
  const bb_conv *v = &d->problem.conv;
  float *y = malloc(d->count * sizeof *y);
  assert_non_null(y);
  for (int i = 0; i < (int)d->count; i++) {
    const int q = i % v->Q, p = i / v->Q % v->P, k = i / (v->Q * v->P);
    float sum = 0;
    for (int c = 0; c < v->C; c++) {
      for (int r = 0; r < v->R; r++) {
        for (int s = 0; s < v->S; s++) {
          const int h = p - v->pad_t + r, w = q - v->pad_l + s;
          if (h < 0 || h >= v->H || w < 0 || w >= v->W) continue;
          sum += d->x[(c * v->H + h) * v->W + w] * d->w[((k * v->C + c) * v->R + r) * v->S + s];
        }
      }
    }
    y[i] = sum;
  }
  return y;
}

static const double bound = 0.5 * 0x1p-24 * 25.4558441227;  // kappa u sqrt(9*64 * 9/8)

static void honest_results_pass(void **state) {
  (void)state;
  for (int fill = 0; fill < BB_FILL_COUNT; fill++) {
    bb_ref_data *d;
    const bb_ref_options options = {.fill = (bb_fill)fill, .seed = 5};
    assert_int_equal(bb_ref_data_create(&(bb_problem){.op = BB_OP_CONV, .conv = small}, NULL, NULL, &options, &d), BB_OK);
    float *y = in_float(d);
    bb_ref_result r;
    if (!bb_ref_compare(d, NULL, y, bound, &r))
      fail_msg("%s: %s at %zu: %g, %g", bb_fill_name((bb_fill)fill), r.criterion, r.first, r.expected, r.got);
    if (fill != BB_FILL_DENORMAL) assert_true(r.err_l2 <= 1e-6);
    free(y);
    bb_ref_data_destroy(d);
  }
}

static void wrong_results_are_told(void **state) {
  (void)state;
  bb_ref_result r;
  bb_ref_data *d;
  const bb_problem problem = {.op = BB_OP_CONV, .conv = small};
  assert_int_equal(bb_ref_data_create(&problem, NULL, NULL, &(bb_ref_options){.fill = BB_FILL_INT}, &d), BB_OK);
  float *y = in_float(d);
  y[777] = nextafterf(y[777], 1e9f);  // one ulp
  assert_false(bb_ref_compare(d, NULL, y, bound, &r));
  assert_string_equal(r.criterion, "exact");
  assert_int_equal(r.first, 777);
  assert_int_equal(r.at[1], 777 / 64);
  assert_int_equal(r.wrong, 1);
  y[777] = NAN;
  assert_false(bb_ref_compare(d, NULL, y, bound, &r));
  free(y);
  bb_ref_data_destroy(d);

  assert_int_equal(bb_ref_data_create(&problem, NULL, NULL, &(bb_ref_options){.fill = BB_FILL_NORMAL}, &d), BB_OK);
  y = in_float(d);
  y[100] += 1e-4f;
  assert_false(bb_ref_compare(d, NULL, y, bound, &r));
  assert_int_equal(r.first, 100);
  y[100] = INFINITY;
  assert_false(bb_ref_compare(d, NULL, y, bound, &r));
  free(y);
  y = in_float(d);
  for (size_t i = 0; i < d->count; i++) y[i] *= 1 + 0x1p-19f;  // within every output's own bound, but all the same way
  assert_false(bb_ref_compare(d, NULL, y, bound, &r));
  assert_string_equal(r.criterion, "l2");
  free(y);
  bb_ref_data_destroy(d);
}

// ---- Winograd ------------------------------------------------------------------------------------------------------

// to (rows x columns) = a b in float; a is rows x n with rows of `stride`, b likewise, or its transpose.
static void product(const double *a, int rows, int n, int stride, const float *b, int columns, bool right, float *to) {
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < columns; j++) {
      float sum = 0;
      for (int l = 0; l < n; l++) sum += (float)a[i * stride + l] * (right ? b[j * n + l] : b[l * columns + j]);
      to[right ? j * rows + i : i * columns + j] = sum;
    }
  }
}

// m from m^T in float: m is rows x n.
static void sandwich(const double *m, int rows, int n, int stride, const float *from, float *to) {
  float left[64];
  product(m, rows, n, stride, from, n, false, left);
  product(m, rows, n, stride, left, rows, true, to);
}

static const bb_conv odd = {.G = 2,
                            .N = 2,
                            .C = 10,
                            .H = 13,
                            .W = 9,
                            .K = 6,
                            .P = 13,
                            .Q = 8,
                            .R = 3,
                            .S = 3,
                            .stride_h = 1,
                            .stride_w = 1,
                            .pad_t = 2,
                            .pad_l = 1,
                            .dil_h = 1,
                            .dil_w = 1};

// As a kernel would: in float, weights in double. wrong: a factor of the second coefficient of G.
static float *wino_in_float(const bb_ref_data *d, const bb_ref_wino *w, double wrong) {
  const bb_conv *v = &d->problem.conv;
  const int m = w->m, alpha = m + 2, Cg = v->C / v->G, Kg = v->K / v->G;
  const size_t outputs = (size_t)(v->N * v->K * v->P * v->Q);
  float *y = malloc(outputs * sizeof *y);
  assert_non_null(y);
  for (int plane = 0; plane < v->N * v->K; plane++) {
    const int n = plane / v->K, k = plane % v->K;
    for (int tile = 0; tile < (v->P + m - 1) / m * ((v->Q + m - 1) / m); tile++) {
      const int p0 = tile / ((v->Q + m - 1) / m) * m, q0 = tile % ((v->Q + m - 1) / m) * m;
      float sum[64] = {0}, out[36];
      for (int c = 0; c < Cg; c++) {
        float in[64], transformed[64];
        double left[24], g[8][3];
        memcpy(g, w->g, sizeof g);
        g[1][0] *= wrong;
        const float *weight = d->w + (k * Cg + c) * 9;
        for (int i = 0; i < alpha; i++) {
          for (int j = 0; j < 3; j++) {
            left[i * 3 + j] = 0;
            for (int l = 0; l < 3; l++) left[i * 3 + j] += g[i][l] * (double)weight[l * 3 + j];
          }
          for (int j = 0; j < alpha; j++) {
            const int h = p0 - v->pad_t + i, x = q0 - v->pad_l + j;
            const bool inside = h >= 0 && h < v->H && x >= 0 && x < v->W;
            in[i * alpha + j] = inside ? d->x[((n * v->C + k / Kg * Cg + c) * v->H + h) * v->W + x] : 0;
          }
        }
        sandwich(w->bt[0], alpha, alpha, 8, in, transformed);
        for (int i = 0; i < alpha * alpha; i++) {
          double u = 0;
          for (int l = 0; l < 3; l++) u += left[i / alpha * 3 + l] * g[i % alpha][l];
          sum[i] += (float)u * transformed[i];
        }
      }
      sandwich(w->at[0], m, alpha, 8, sum, out);
      for (int i = 0; i < m * m; i++) {
        if (p0 + i / m < v->P && q0 + i % m < v->Q) y[(plane * v->P + p0 + i / m) * v->Q + q0 + i % m] = out[i];
      }
    }
  }
  return y;
}

static const struct {
  bb_alg alg;
  double bound;
} winos[] = {{BB_ALG_WINO23, 4e-7}, {BB_ALG_WINO43, 1e-6}, {BB_ALG_WINO63, 4e-6}};

static bb_ref_data *wino_data(bb_fill fill, size_t samples) {
  bb_ref_data *d;
  const bb_ref_options options = {.fill = fill, .seed = 5, .samples = samples};
  const bb_problem problem = {.op = BB_OP_CONV, .conv = odd};
  assert_int_equal(bb_ref_data_create(&problem, NULL, NULL, &options, &d), BB_OK);
  return d;
}

static void honest_winograd_passes(void **state) {
  (void)state;
  for (size_t a = 0; a < 3; a++) {
    bb_ref_wino matrices;
    const bb_ref_wino *w = bb_verify_wino(winos[a].alg, &matrices);
    for (int fill = 0; fill < BB_FILL_COUNT; fill++) {
      for (size_t samples = 0; samples <= 100; samples += 100) {
        bb_ref_data *d = wino_data((bb_fill)fill, samples);
        float *y = wino_in_float(d, w, 1);
        bb_ref_result r;
        if (!bb_ref_compare(d, w, y, winos[a].bound, &r))
          fail_msg("F(%d,3), %s: %s at %zu: expected %g, got %g, allowed %g", w->m, bb_fill_name((bb_fill)fill), r.criterion,
                   r.first, r.expected, r.got, r.allowed);
        // Exact it is only if the arithmetic is.
        if (w->m == 2 && fill == BB_FILL_INT) assert_true(r.err_l2 == 0);
        free(y);
        bb_ref_data_destroy(d);
      }
    }
  }
  bb_ref_wino none;
  assert_null(bb_verify_wino(BB_ALG_DIRECT, &none));
}

static void wrong_winograd_is_told(void **state) {
  (void)state;
  for (size_t a = 0; a < 3; a++) {
    bb_ref_wino matrices;
    const bb_ref_wino *w = bb_verify_wino(winos[a].alg, &matrices);
    bb_ref_result r;
    // A coefficient that is wrong in its fourth digit; in its second where single outputs are all there is to judge.
    static const bb_fill fills[] = {BB_FILL_INT,      BB_FILL_NORMAL,      BB_FILL_RELU,        BB_FILL_POSITIVE,
                                    BB_FILL_CONSTANT, BB_FILL_DELTA_IMAGE, BB_FILL_DELTA_WEIGHT};
    for (size_t f = 0; f < BB_COUNT(fills); f++) {
      bb_ref_data *d = wino_data(fills[f], 0);
      float *y = wino_in_float(d, w, 1 + (f < 3 ? 0x1p-13 : 0x1p-6));
      if (bb_ref_compare(d, w, y, winos[a].bound, &r)) fail_msg("F(%d,3), %s: a wrong G passes", w->m, bb_fill_name(fills[f]));
      free(y);
      bb_ref_data_destroy(d);
    }
    // Where the tiles are not, nothing may stand, be it ever so small.
    bb_ref_data *d = wino_data(BB_FILL_DELTA_IMAGE, 0);
    float *y = wino_in_float(d, w, 1);
    size_t at = 0;
    while (d->y[at] != 0 || bb_ref_compare(d, w, y, 0, &r)) {
      assert_true(at < d->count);
      y[at++] = 0x1p-60f;
    }
    assert_string_equal(r.criterion, "exact");
    free(y);
    bb_ref_data_destroy(d);
    // One unit in the last place of F(2,3) on integers.
    d = wino_data(BB_FILL_INT, 0);
    y = wino_in_float(d, w, 1);
    y[77] = nextafterf(y[77], 1e9f);
    assert_int_equal(!bb_ref_compare(d, w, y, 0, &r), w->m == 2);
    free(y);
    bb_ref_data_destroy(d);
  }
}

static void samples_reach_everything(void **state) {
  (void)state;
  enum { N = 2, K = 40, P = 30, Q = 20, WANT = 4000 };
  size_t *at = malloc(bb_ref_samples_max(WANT, N, K, P, Q) * sizeof *at);
  assert_non_null(at);
  const size_t count = bb_ref_samples(WANT, 1, N, K, P, Q, at);
  assert_true(count >= WANT / 2 && count <= bb_ref_samples_max(WANT, N, K, P, Q));
  bool channel[K] = {false}, row[P] = {false}, column[Q] = {false}, zone[N][9] = {{false}};
  for (size_t i = 0; i < count; i++) {
    assert_true(!i || at[i] > at[i - 1]);
    const int q = (int)(at[i] % Q), p = (int)(at[i] / Q % P), k = (int)(at[i] / Q / P % K), n = (int)(at[i] / Q / P / K);
    assert_true(n < N);
    channel[k] = row[p] = column[q] = true;
    zone[n][(p == 0 ? 0 : p == P - 1 ? 2 : 1) * 3 + (q == 0 ? 0 : q == Q - 1 ? 2 : 1)] = true;
  }
  for (int i = 0; i < K; i++) assert_true(channel[i]);
  for (int i = 0; i < P; i++) assert_true(row[i]);
  for (int i = 0; i < Q; i++) assert_true(column[i]);
  for (int i = 0; i < N * 9; i++) assert_true(zone[i / 9][i % 9]);
  free(at);
  size_t few[12 + 9 + 1 + 3 + 4];
  assert_int_equal(bb_ref_samples(12, 1, 1, 1, 3, 4, few), 12);  // no more than there are
}

// Errors that only the border has do not count more because half of the samples stand there.
static void samples_estimate_the_whole(void **state) {
  (void)state;
  const bb_problem problem = {.op = BB_OP_CONV,
                              .conv = {.G = 1,
                                       .N = 1,
                                       .C = 4,
                                       .H = 60,
                                       .W = 60,
                                       .K = 16,
                                       .P = 60,
                                       .Q = 60,
                                       .R = 3,
                                       .S = 3,
                                       .stride_h = 1,
                                       .stride_w = 1,
                                       .pad_t = 1,
                                       .pad_b = 1,
                                       .pad_l = 1,
                                       .pad_r = 1,
                                       .dil_h = 1,
                                       .dil_w = 1}};
  bb_ref_result whole, sampled;
  bb_ref_data *d, *some;
  assert_int_equal(bb_ref_data_create(&problem, NULL, NULL, &(bb_ref_options){.fill = BB_FILL_NORMAL}, &d), BB_OK);
  assert_int_equal(bb_ref_data_create(&problem, NULL, NULL, &(bb_ref_options){.fill = BB_FILL_NORMAL, .samples = 4000}, &some),
                   BB_OK);
  float *y = malloc(d->count * sizeof *y);
  assert_non_null(y);
  for (size_t i = 0; i < d->count; i++) {
    const size_t p = i / 60 % 60, q = i % 60;
    y[i] = (float)d->y[i] * (p == 0 || q == 0 || p == 59 || q == 59 ? 1.01f : 1.001f);
  }
  bb_ref_compare(d, NULL, y, 0, &whole);
  bb_ref_compare(some, NULL, y, 0, &sampled);
  assert_true(fabs(sampled.err_l2 / whole.err_l2 - 1) < 0.1);
  assert_true(fabs(sampled.err_max_rms / whole.err_max_rms - 1) < 0.5);
  free(y);
  bb_ref_data_destroy(some);
  bb_ref_data_destroy(d);
}

// A seed that someone pasted must mean the same data for ever.
static void random_numbers_never_change(void **state) {
  (void)state;
  assert_true(bb_ref_random(0, 0, 0) == 0xa706dd2f4d197e6full);
  assert_true(bb_ref_random(1, 2, 3) == bb_ref_random(1, 2, 3));
  assert_true(bb_ref_random(1, 2, 3) != bb_ref_random(1, 3, 2));
  double sum = 0, sum2 = 0;
  bb_ref_data *d;
  const bb_problem copy = {.op = BB_OP_COPY, .copy = {1, 10, 100, 100}};
  assert_int_equal(bb_ref_data_create(&copy, NULL, NULL, &(bb_ref_options){.fill = BB_FILL_NORMAL, .seed = 9}, &d), BB_OK);
  for (int i = 0; i < 100000; i++) sum += (double)d->x[i], sum2 += (double)d->x[i] * (double)d->x[i];
  assert_true(fabs(sum / 100000) < 0.02 && fabs(sum2 / 100000 - 1) < 0.02);
  bb_ref_data_destroy(d);
}

// ---- the tails suite -----------------------------------------------------------------------------------------------

static void tails_hold_every_value(void **state) {
  (void)state;
  static bb_conv list[BB_TAILS_SELECTED], again[BB_TAILS_SELECTED];
  assert_true(bb_tails_select(1, BB_TAILS_SELECTED, list) && bb_tails_select(1, BB_TAILS_SELECTED, again));
  assert_memory_equal(list, again, sizeof list);
  int wide_pairs = 0, grouped_pairs = 0;
  for (int i = 0; i < BB_TAILS_SELECTED; i++) {
    wide_pairs += list[i].C == 33 && list[i].W == 17;
    grouped_pairs += list[i].G == 31 && list[i].stride_h == 2;
  }
  assert_true(wide_pairs > 0 && grouped_pairs > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(conv_equals_scattered_products),
      cmocka_unit_test(conv_equals_pytorch),
      cmocka_unit_test(padding_is_zero_after_the_prologue),
      cmocka_unit_test(epilogue_comes_in_its_order),
      cmocka_unit_test(parts_of_a_conv_equal_the_whole),
      cmocka_unit_test(pooling_equals_pytorch),
      cmocka_unit_test(resize_equals_pytorch),
      cmocka_unit_test(activations_equal_pytorch),
      cmocka_unit_test(others_by_hand),
      cmocka_unit_test(honest_results_pass),
      cmocka_unit_test(wrong_results_are_told),
      cmocka_unit_test(honest_winograd_passes),
      cmocka_unit_test(wrong_winograd_is_told),
      cmocka_unit_test(samples_reach_everything),
      cmocka_unit_test(samples_estimate_the_whole),
      cmocka_unit_test(random_numbers_never_change),
      cmocka_unit_test(tails_hold_every_value),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
