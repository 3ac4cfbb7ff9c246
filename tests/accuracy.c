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

// Whole tiles of every size: 24 is a multiple of 2, 4 and 6.
enum { SIDE = 24, OUTPUTS = 16, LEAST = 16, MOST = 1024 };

typedef struct error {
  double l2, max_rms;
} error;

static bb_task task_of(int C) {
  return (bb_task){.problem = {.op = BB_OP_CONV,
                               .conv = {.G = 1,
                                        .N = 1,
                                        .C = C,
                                        .H = SIDE,
                                        .W = SIDE,
                                        .K = OUTPUTS,
                                        .P = SIDE,
                                        .Q = SIDE,
                                        .R = 3,
                                        .S = 3,
                                        .stride_h = 1,
                                        .stride_w = 1,
                                        .pad_t = 1,
                                        .pad_b = 1,
                                        .pad_l = 1,
                                        .pad_r = 1,
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
  float *y = malloc(d->count * sizeof *y);
  if (!y) die("out of memory");
  for (int k = 0; k < v->K; k++) {
    float *plane = y + (size_t)k * SIDE * SIDE;
    memset(plane, 0, SIDE * SIDE * sizeof *plane);
    for (int i = 0; i < v->C * 9; i++) {
      const int r = i % 9 / 3 - 1, s = i % 3 - 1;
      const float w = d->w[k * v->C * 9 + i], *x = d->x + (size_t)(i / 9) * SIDE * SIDE;
      for (int p = r < 0; p < SIDE - (r > 0); p++) {
        for (int q = s < 0; q < SIDE - (s > 0); q++) plane[p * SIDE + q] += w * x[(p + r) * SIDE + q + s];
      }
    }
  }
  bb_ref_result result;
  bb_ref_compare(d, NULL, y, 0, &result);
  free(y);
  return (error){result.err_l2, result.err_max_rms};
}

// The best kernel of an algorithm here; false = there is none.
static bool of_kernel(const bb_ref_data *d, bb_alg alg, error *e) {
  bb_task task = task_of(d->problem.conv.C);
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
  bb_verify_check(v, alg, 0, &result);
  *e = (error){result.ref.err_l2, result.ref.err_max_rms};
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
  bb_verify_destroy(v);
  return true;
}

// What kernels/README.md promises of err_l2 on normal data, and behind a ReLU, as networks have it.
static double promise(bb_alg alg, int C) {
  return alg == BB_ALG_DIRECT ? INFINITY : alg == BB_ALG_WINO63 ? 4e-6 : alg == BB_ALG_WINO43 && C > 512 ? 2e-6 : 1e-6;
}

int main(void) {
  static const bb_alg algs[] = {BB_ALG_DIRECT, BB_ALG_WINO23, BB_ALG_WINO43, BB_ALG_WINO63};
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
      const bb_ref_options options = {.fill = kinds[f].fill, .seed = 1};
      const bb_task task = task_of(C);
      bb_ref_data *d;
      if (bb_ref_data_create(&task.problem, NULL, NULL, &options, &d)) die("out of memory");
      error e = plain(d);
      printf("| %s | %d |", C == LEAST ? kinds[f].name : "", C);
      print(&e);
      for (size_t a = 0; a < BB_COUNT(algs); a++) {
        if (!of_kernel(d, algs[a], &e)) {
          printf(" – |");
          continue;
        }
        print(&e);
        if (f > 1 || e.l2 <= promise(algs[a], C)) continue;
        fprintf(stderr, "accuracy: %s, %s, C = %d: l2 error %.2e, promised %.0e\n", bb_alg_name(algs[a]), kinds[f].name, C,
                e.l2, promise(algs[a], C));
        kept = false;
      }
      printf("\n");
      bb_ref_data_destroy(d);
    }
  }
  return kept ? 0 : 1;
}
