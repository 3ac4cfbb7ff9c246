// SPDX-License-Identifier: Apache-2.0
//
// Errors of the algorithms against fp64 over channels and kinds of data, as a table for kernels/README.md (scripts/accuracy),
// and the promise that they stay below what README.md says: exit status 1 if they do not.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/verify.h"
#include "kernels/bb.h"
#include "kernels/common.h"
#include "tests/harness.h"

// Whole tiles of every size: 24 is a multiple of 2, 4 and 6.
enum { SIDE = 24, OUTPUTS = 16, LEAST = 16, MOST = 1024 };
// Of the smallest images, where a tile may hold little but a corner: enough outputs for the error to be that of their shape.
enum { SMALL_SIDE = 10, SMALL_OUTPUTS = 256 };

typedef struct error {
  double l2, max_rms;
} error;

static bb_task task_of(int C, int K, int H, int W, int pad) {
  return (bb_task){.problem = {.op = BB_OP_CONV,
                               .conv = {.G = 1,
                                        .N = 1,
                                        .C = C,
                                        .H = H,
                                        .W = W,
                                        .K = K,
                                        .P = H + 2 * pad - 2,
                                        .Q = W + 2 * pad - 2,
                                        .R = 3,
                                        .S = 3,
                                        .stride_h = 1,
                                        .stride_w = 1,
                                        .pad_t = pad,
                                        .pad_b = pad,
                                        .pad_l = pad,
                                        .pad_r = pad,
                                        .dil_h = 1,
                                        .dil_w = 1}}};
}

// "1.2e-7 / 3e-6": a digit of an exponent is enough.
static void print(const error *e) {
  char text[2][16];
  for (int i = 0; i < 2; i++) {
    snprintf(text[i], sizeof text[i], i ? "%.0e" : "%.1e", i ? e->max_rms : e->l2);
    char *zero = strstr(text[i], "e-0");
    if (zero) memmove(zero + 2, zero + 3, strlen(zero + 3) + 1);
  }
  printf(" %s / %s |", text[0], text[1]);
}

static _Noreturn void die(const char *what) {
  fprintf(stderr, "accuracy: %s\n", what);
  exit(5);
}

// The plainest program: one float sum per output, product by product.
static error plain(const bb_ref_data *d) {
  const bb_conv *v = &d->problem.conv;
  float *y = calloc(d->count, sizeof *y);
  if (!y) die("out of memory");
  for (int k = 0; k < v->K; k++) {
    float *plane = y + (size_t)k * (size_t)(v->P * v->Q);
    for (int i = 0; i < v->C * 9; i++) {
      const int r = i % 9 / 3 - v->pad_t, s = i % 3 - v->pad_l;
      const float w = d->w[k * v->C * 9 + i], *x = d->x + (size_t)(i / 9) * (size_t)(v->H * v->W);
      for (int p = bb_max(0, -r); p < bb_min(v->P, v->H - r); p++) {
        for (int q = bb_max(0, -s); q < bb_min(v->Q, v->W - s); q++) plane[p * v->Q + q] += w * x[(p + r) * v->W + q + s];
      }
    }
  }
  bb_ref_result result;
  bb_ref_compare(d, NULL, y, 0, &result);
  free(y);
  return (error){result.err_l2, result.err_max_rms};
}

// The best kernel of an algorithm here, and what it claims of err_l2; false = there is none.
static bool of_kernel(const bb_ref_data *d, bb_alg alg, error *e, double *claim) {
  bb_task task = {.problem = d->problem};
  const int block = bb_isa_block(bb_isa_best());
  const bb_plan_options po = {.isa = bb_isa_best(), .alg = alg, .threads = 1};
  if (bb_task_views(&task, block, block)) die("out of memory");
  if (!bb_kernel_choose(&task, &po, NULL)) return false;
  const bb_verify_options vo = {.data = d};
  bb_verify *v;
  bb_plan *plan;
  bb_exec *exec;
  bb_error why;
  if (bb_verify_create(&task, &vo, &v, &why) || bb_plan_create(&task, &v->weights, &po, &plan, &why)) die(why.text);
  if (bb_exec_create((const bb_plan *const[]){plan}, 1, 1, &exec)) die("out of memory");
  bb_verify_reset(v);
  bb_plan_run(plan, exec, NULL, &v->io);
  bb_verify_result result;
  if (bb_verify_check(v, alg, 0, &result)) die("out of memory");
  *e = (error){result.ref.err_l2, result.ref.err_max_rms};
  *claim = bb_claimed_bound(bb_plan_kernel(plan), &task, bb_plan_config(plan));
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
  bb_verify_destroy(v);
  return true;
}

static bb_ref_data *data_of(const bb_task *task, bb_fill fill) {
  const bb_ref_options options = {.fill = fill, .seed = 1};
  bb_ref_data *d;
  if (bb_ref_data_create(&task->problem, NULL, NULL, &options, &d)) die("out of memory");
  return d;
}

static const bb_alg algs[] = {BB_ALG_DIRECT, BB_ALG_WINO23, BB_ALG_WINO43, BB_ALG_WINO63};

// The worst of all images of up to 10 x 10 pixels and paddings of up to 2; false if a kernel claims less.
static bool small_images(int C) {
  error worst[1 + BB_COUNT(algs)] = {{0}};  // the first: of the plain loop
  bool found[1 + BB_COUNT(algs)] = {true};
  bool kept = true;
  for (int i = 0; i < SMALL_SIDE * SMALL_SIDE * 3; i++) {
    const int H = 1 + i % SMALL_SIDE, W = 1 + i / SMALL_SIDE % SMALL_SIDE, pad = i / SMALL_SIDE / SMALL_SIDE;
    if (bb_min(H, W) + 2 * pad < 3) continue;
    const bb_task task = task_of(C, SMALL_OUTPUTS, H, W, pad);
    bb_ref_data *d = data_of(&task, BB_FILL_NORMAL);
    for (size_t a = 0; a <= BB_COUNT(algs); a++) {
      error e = {0};
      double claim = INFINITY;
      if (a == 0) e = plain(d);
      if (a > 0 && !of_kernel(d, algs[a - 1], &e, &claim)) continue;
      found[a] = true;
      worst[a] = (error){fmax(worst[a].l2, e.l2), fmax(worst[a].max_rms, e.max_rms)};
      if (a == 0 || e.l2 <= claim) continue;
      fprintf(stderr, "accuracy: %s, C = %d, %d x %d pixels, padding %d: l2 error %.2e, the kernel claims %.2e\n",
              bb_alg_name(algs[a - 1]), C, H, W, pad, e.l2, claim);
      kept = false;
    }
    bb_ref_data_destroy(d);
  }
  printf("| %s | %d |", C == 1 ? "smallest images" : "", C);
  for (size_t a = 0; a <= BB_COUNT(algs); a++) {
    if (found[a])
      print(&worst[a]);
    else
      printf(" – |");
  }
  printf("\n");
  return kept;
}

// What kernels/README.md promises of err_l2 on normal data, and behind a ReLU, as networks have it.
static double promise(bb_alg alg, int C) {
  return alg == BB_ALG_DIRECT ? INFINITY : alg == BB_ALG_WINO63 ? 4e-6 : alg == BB_ALG_WINO43 && C > 512 ? 2e-6 : 1e-6;
}

int main(void) {
  static const struct {
    bb_fill fill;
    const char *name;
  } kinds[] = {{BB_FILL_NORMAL, "N(0, 1)"},
               {BB_FILL_RELU, "ReLU of it"},
               {BB_FILL_POSITIVE, "x, w in [½, 1½)"},
               {BB_FILL_WIDE, "N(0, 1)·10^±3"},
               {BB_FILL_CONSTANT, "x constant"}};
  bool kept = true;
  printf("| data | C | plain loop | direct | F(2,3) | F(4,3) | F(6,3) |\n|---|---|---|---|---|---|---|\n");
  for (size_t f = 0; f < BB_COUNT(kinds); f++) {
    for (int C = LEAST; C <= MOST; C *= 2) {
      const bb_task task = task_of(C, OUTPUTS, SIDE, SIDE, 1);
      bb_ref_data *d = data_of(&task, kinds[f].fill);
      error e = plain(d);
      double claim;
      printf("| %s | %d |", C == LEAST ? kinds[f].name : "", C);
      print(&e);
      for (size_t a = 0; a < BB_COUNT(algs); a++) {
        if (!of_kernel(d, algs[a], &e, &claim)) {
          printf(" – |");
          continue;
        }
        print(&e);
        if (f > 1 || e.l2 <= fmin(claim, promise(algs[a], C))) continue;
        fprintf(stderr, "accuracy: %s, %s, C = %d: l2 error %.2e, promised %.0e, claimed %.2e\n", bb_alg_name(algs[a]),
                kinds[f].name, C, e.l2, promise(algs[a], C), claim);
        kept = false;
      }
      printf("\n");
      bb_ref_data_destroy(d);
    }
  }
  kept &= small_images(1);
  kept &= small_images(3);
  return kept ? 0 : 1;
}
