// SPDX-License-Identifier: Apache-2.0
//
// What test_kernels does not ask of Winograd kernels: where an infinity or a NaN goes, and what each stage leaves in memory.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"
#include "kernels/common.h"

static int tile_of(const bb_kernel *k) {
  return k->alg == BB_ALG_WINO23 ? 2 : k->alg == BB_ALG_WINO43 ? 4 : k->alg == BB_ALG_WINO63 ? 6 : 0;
}

// Next Winograd kernel that can run here, from *at on; NULL = no more.
static const bb_kernel *next(size_t *at) {
  while (*at < bb_kernel_count()) {
    const bb_kernel *k = bb_kernel_at((*at)++);
    if (tile_of(k) && bb_isa_runs(k->isa) && bb_isa_within(k->isa, bb_isa_best())) return k;
  }
  return NULL;
}

static bb_task task_of(const char *text, const bb_kernel *kernel) {
  bb_task task;
  bb_error error;
  if (bb_conv_parse(text, &task, NULL, NULL, &error)) fail_msg("%s", error.text);
  assert_int_equal(bb_task_views(&task, kernel->x_block ? kernel->x_block : 1, kernel->y_block ? kernel->y_block : 1), BB_OK);
  return task;
}

static bb_ref_data *data_of(const bb_task *task, bb_fill fill) {
  bb_ref_data *d;
  const bb_ref_options options = {.fill = fill, .seed = bb_test_seed()};
  assert_int_equal(bb_ref_data_create(&task->problem, &task->prologue, &task->epilogue, &options, &d), BB_OK);
  return d;
}

// ---- infinities and NaN --------------------------------------------------------------------------------------------

// y of the operands of d as they are now, in logical order.
static float *run(const bb_kernel *kernel, const bb_task *task, const bb_ref_data *d) {
  bb_verify *v;
  bb_config configs[2 * BB_MAX_CONFIGS];
  bb_all_configs(kernel, task, 1, configs);
  const bb_verify_options options = {.data = d};
  assert_int_equal(bb_verify_create(task, &options, &v, NULL), BB_OK);
  assert_int_equal(bb_run_kernel(kernel, task, &configs[0], &v->weights, &v->io, 1, BB_FLUSH_AFTER), 0);
  float *y = malloc(d->count * sizeof *y);
  assert_non_null(y);
  bb_verify_unpack(&task->y, v->io.y, y);
  bb_verify_destroy(v);
  return y;
}

typedef struct spot {
  int n, k, p, q;
} spot;

// An output is asked for its place; the direct sum there has the value in it if `direct`, it may be spoilt if `may`.
static void compare(const bb_kernel *kernel, const spot *s, const char *what, bool direct, bool may, float clean,
                    float spoilt) {
  if (direct && isfinite(spoilt))
    fail_msg("%s: %s is lost at n %d channel %d row %d column %d", kernel->name, what, s->n, s->k, s->p, s->q);
  if (!may && memcmp(&clean, &spoilt, sizeof clean))
    fail_msg("%s: %s reaches n %d channel %d row %d column %d: %g, was %g", kernel->name, what, s->n, s->k, s->p, s->q,
             (double)spoilt, (double)clean);
}

static const float values[] = {INFINITY, -INFINITY, NAN};

static spot spot_at(const bb_conv *v, size_t i) {
  const int q = (int)i % v->Q, p = (int)i / v->Q % v->P, k = (int)i / v->Q / v->P % v->K;
  return (spot){(int)i / v->Q / v->P / v->K, k, p, q};
}

// A value of x spoils the tiles whose inputs it is among, no others: of its group, or of all that share blocks with it.
static void of_the_input(const bb_kernel *kernel, const char *problem, bool sharing) {
  const bb_task task = task_of(problem, kernel);
  if (!bb_kernel_accepts(kernel, &task)) return;
  const bb_conv *v = &task.problem.conv;
  const int m = tile_of(kernel);
  bb_ref_data *d = data_of(&task, BB_FILL_NORMAL);
  float *clean = run(kernel, &task, d);
  for (int i = 0; i < v->H * v->W; i++) {
    const int n = i % v->N, c = 7 * i % v->C, h = i / v->W, w = i % v->W;
    float *x = &d->x[((n * v->C + c) * v->H + h) * v->W + w], was = *x;
    *x = values[i % 3];
    char what[96];
    snprintf(what, sizeof what, "%g in channel %d row %d column %d", (double)*x, c, h, w);
    float *spoilt = run(kernel, &task, d);
    for (size_t j = 0; j < d->count; j++) {
      const spot s = spot_at(v, j);
      const int r = h + v->pad_t - s.p, t = w + v->pad_l - s.q;
      const int first_r = h + v->pad_t - s.p / m * m, first_t = w + v->pad_l - s.q / m * m;
      const bool group = s.n == n && c / (v->C / v->G) == s.k / (v->K / v->G);
      const bool direct = group && r >= 0 && r < 3 && t >= 0 && t < 3;
      const bool tile = first_r >= 0 && first_r < m + 2 && first_t >= 0 && first_t < m + 2;
      compare(kernel, &s, what, direct, tile && s.n == n && (group || sharing), clean[j], spoilt[j]);
    }
    free(spoilt);
    *x = was;
  }
  free(clean);
  bb_ref_data_destroy(d);
}

// A weight spoils its output channel, no other.
static void of_the_weights(const bb_kernel *kernel, const char *problem) {
  const bb_task task = task_of(problem, kernel);
  if (!bb_kernel_accepts(kernel, &task)) return;
  const bb_conv *v = &task.problem.conv;
  bb_ref_data *d = data_of(&task, BB_FILL_NORMAL);
  float *clean = run(kernel, &task, d);
  for (int i = 0; i < 9; i++) {
    const int k = 5 * i % v->K, c = 3 * i % (v->C / v->G), r = i / 3, t = i % 3;
    float *w = &d->w[(k * (v->C / v->G) + c) * 9 + i], was = *w;
    *w = values[i % 3];
    char what[96];
    snprintf(what, sizeof what, "weight %g of channel %d tap %d", (double)*w, k, i);
    float *spoilt = run(kernel, &task, d);
    for (size_t j = 0; j < d->count; j++) {
      const spot s = spot_at(v, j);
      const int h = s.p - v->pad_t + r, x = s.q - v->pad_l + t;
      const bool direct = s.k == k && h >= 0 && h < v->H && x >= 0 && x < v->W;
      compare(kernel, &s, what, direct, s.k == k, clean[j], spoilt[j]);
    }
    free(spoilt);
    *w = was;
  }
  free(clean);
  bb_ref_data_destroy(d);
}

static void not_finite_input_spoils_its_tiles(void **state) {
  (void)state;
  size_t at = 0;
  for (const bb_kernel *k; (k = next(&at));) {
    of_the_input(k, "mb2ic20ih9iw8oc19oh9ow8kh3kw3ph1pw1", false);
    of_the_input(k, "mb2ic3ih9iw21oc19oh9ow21kh3kw3ph1pw1+bias", false);
    of_the_input(k, "mb1ic5ih7iw9oc6oh8ow7kh3kw3ph2pw0+bias", false);
    of_the_input(k, "g2mb1ic32ih8iw7oc32oh8ow7kh3kw3ph1pw1", false);
    of_the_input(k, "g3mb1ic15ih8iw7oc12oh8ow7kh3kw3ph1pw1", true);
  }
}

static void not_finite_weight_spoils_its_channel(void **state) {
  (void)state;
  size_t at = 0;
  for (const bb_kernel *k; (k = next(&at));) {
    of_the_weights(k, "mb2ic20ih9iw8oc19oh9ow8kh3kw3ph1pw1");
    of_the_weights(k, "mb2ic3ih9iw21oc19oh9ow21kh3kw3ph1pw1");
    of_the_weights(k, "g2mb1ic10ih6oc18kh3ph1+bias");
  }
}

// ---- stages --------------------------------------------------------------------------------------------------------

// Memory of a staged kernel without a mean, as kernels/simd/conv_wino.h says it: V[f][block of x][tile][lane], then
// M[f][block of y][tile][lane]; from frequency to frequency an odd number of lines of 64 bytes.
typedef struct stages {
  const bb_kernel *kernel;
  bb_task task;
  bb_config config;
  bb_ref_data *d;
  bb_verify *v;
  bb_ref_wino wino;
  bb_args args;
  int m, alpha, rows, cols, tiles;  // tiles of all images, row by row
  size_t v_freq, m_freq;            // floats
  float *V, *M;
} stages;

static size_t frequency_floats(const bb_map *map, int tiles) {
  const size_t floats = (size_t)(bb_map_lanes(map) * tiles), line = BB_ALIGN / sizeof(float);
  return ((floats + line - 1) / line | 1) * line;
}

static float *v_at(const stages *s, int f, int tile, int lane) {
  const int VL = s->kernel->x_block;
  return s->V + (size_t)f * s->v_freq + (size_t)((lane / VL * s->tiles + tile) * VL + lane % VL);
}

static float *m_at(const stages *s, int f, int tile, int lane) {
  const int VL = s->kernel->y_block;
  return s->M + (size_t)f * s->m_freq + (size_t)((lane / VL * s->tiles + tile) * VL + lane % VL);
}

static void run_stage(stages *s, int i) {
  const bb_stage *stage = &s->kernel->stage[i];
  const size_t tiles = stage->tiles(&s->task, &s->config, 2);
  s->args.threads = 2;
  for (size_t t = 2; t-- > 0;) {
    if (tiles * t / 2 < tiles * (t + 1) / 2) stage->run(&s->args, tiles * t / 2, tiles * (t + 1) / 2);
  }
}

static bool stages_create(const bb_kernel *kernel, const char *problem, stages *s) {
  if (strcmp(kernel->stage[0].name, "input") != 0) return false;
  *s = (stages){.kernel = kernel, .task = task_of(problem, kernel), .m = tile_of(kernel)};
  if (!bb_kernel_accepts(kernel, &s->task)) return false;
  const bb_conv *v = &s->task.problem.conv;
  bb_config configs[2 * BB_MAX_CONFIGS];
  bb_all_configs(kernel, &s->task, 2, configs);
  s->config = configs[0];
  s->d = data_of(&s->task, BB_FILL_INT);
  const bb_verify_options options = {.data = s->d};
  assert_int_equal(bb_verify_create(&s->task, &options, &s->v, NULL), BB_OK);
  assert_non_null(bb_verify_wino(kernel->alg, &s->wino));
  s->alpha = s->m + 2;
  s->rows = (v->P + s->m - 1) / s->m, s->cols = (v->Q + s->m - 1) / s->m, s->tiles = v->N * s->rows * s->cols;
  s->v_freq = frequency_floats(s->task.x.map, s->tiles), s->m_freq = frequency_floats(s->task.y.map, s->tiles);
  const bb_workspace w = kernel->workspace(&s->task, &s->config, 2);
  const size_t squares = (size_t)(s->alpha * s->alpha), packed = kernel->packed_bytes(&s->task, &s->config);
  if (w.shared != squares * (s->v_freq + s->m_freq) * sizeof(float))
    fail_msg("%s: V and M are not where this test looks for them", kernel->name);
  float *weights = bb_guard_get(packed, BB_ALIGN, BB_FLUSH_AFTER);
  kernel->pack(&s->task, &s->config, &s->v->weights, weights);
  s->args = (bb_args){.task = &s->task, .config = &s->config, .packed = weights, .io = s->v->io};
  s->args.shared = bb_guard_get(w.shared, BB_ALIGN, BB_FLUSH_AFTER);
  s->args.per_thread = bb_guard_get(w.per_thread + BB_ALIGN, BB_ALIGN, BB_FLUSH_AFTER);
  memset(s->args.shared, 0xff, w.shared);  // NaN
  s->V = (float *)(void *)s->args.shared;
  s->M = s->V + squares * s->v_freq;
  return true;
}

static void stages_destroy(stages *s) {
  bb_verify_destroy(s->v);
  bb_ref_data_destroy(s->d);
  bb_guard_put_all();
}

// left x from x right^T, element (i, j); from is n x n.
static double sandwich(const double *left, const double *right, int n, const double *from) {
  double sum = 0;
  for (int a = 0; a < n; a++) {
    for (int b = 0; b < n; b++) sum += left[a] * from[a * n + b] * right[b];
  }
  return sum;
}

// B^T d B of integers of at most 8: all is a multiple of 2^-16 and below 2^8, so floats hold it exactly.
static void check_input(const stages *s) {
  const bb_conv *v = &s->task.problem.conv;
  for (int lane = 0; lane < bb_map_lanes(s->task.x.map); lane++) {
    const int c = s->task.x.map->lane[lane];
    for (int t = 0; t < s->tiles; t++) {
      const int n = t / s->cols / s->rows, p = t / s->cols % s->rows * s->m - v->pad_t, q = t % s->cols * s->m - v->pad_l;
      double d[64];
      for (int i = 0; i < s->alpha * s->alpha; i++) {
        const int h = p + i / s->alpha, w = q + i % s->alpha;
        const bool inside = c >= 0 && h >= 0 && h < v->H && w >= 0 && w < v->W;
        d[i] = inside ? (double)s->d->x[((n * v->C + c) * v->H + h) * v->W + w] : 0;
      }
      for (int f = 0; f < s->alpha * s->alpha; f++) {
        const double expected = sandwich(s->wino.bt[f / s->alpha], s->wino.bt[f % s->alpha], s->alpha, d);
        if ((double)*v_at(s, f, t, lane) != expected)
          fail_msg("%s: V of frequency %d, tile %d, lane %d is %g, expected %g", s->kernel->name, f, t, lane,
                   (double)*v_at(s, f, t, lane), expected);
      }
    }
  }
}

// Sums of U V over the channels of the group: exact with F(2,3), whose U are quarters; otherwise to a rounding of U, of the
// product and of each sum.
static void check_products(const stages *s) {
  const bb_conv *v = &s->task.problem.conv;
  const int Cg = v->C / v->G;
  for (int lane = 0; lane < bb_map_lanes(s->task.y.map); lane++) {
    const int k = s->task.y.map->lane[lane];
    for (int f = 0; f < s->alpha * s->alpha; f++) {
      const double *g = s->wino.g[f / s->alpha], *h = s->wino.g[f % s->alpha];
      for (int t = 0; t < s->tiles; t++) {
        double sum = 0, magnitude = 0;
        for (int l = 0; l < bb_map_lanes(s->task.x.map) && k >= 0; l++) {
          const int c = s->task.x.map->lane[l];
          if (c < 0 || c / Cg != k / (v->K / v->G)) continue;
          double w[9], u;
          for (int i = 0; i < 9; i++) w[i] = (double)s->d->w[(k * Cg + c % Cg) * 9 + i];
          u = sandwich(g, h, 3, w) * (double)*v_at(s, f, t, l);
          sum += u;
          magnitude += fabs(u);
        }
        const double got = (double)*m_at(s, f, t, lane), allowed = s->m == 2 ? 0 : (Cg + 2) * 0x1p-24 * magnitude;
        if (!(fabs(got - sum) <= allowed))
          fail_msg("%s: M of frequency %d, tile %d, lane %d is %.9g, expected %.9g within %g", s->kernel->name, f, t, lane, got,
                   sum, allowed);
      }
    }
  }
}

// One integer of at most 7 in each tile and lane, the frequency going round: a product of two entries of A is exact in float.
static double planted(const stages *s, int f, int tile, int lane) {
  const uint64_t bits = bb_ref_random(bb_test_seed(), 77, (uint64_t)(tile * 64 + lane));
  return (int)(bits % (uint64_t)(s->alpha * s->alpha)) == f ? (double)(int)(1 + (bits >> 32) % 7) : 0;
}

static void plant(const stages *s) {
  for (int f = 0; f < s->alpha * s->alpha; f++) {
    for (int t = 0; t < s->tiles; t++) {
      for (int lane = 0; lane < bb_map_lanes(s->task.y.map); lane++)
        *m_at(s, f, t, lane) = s->task.y.map->lane[lane] < 0 ? 0 : (float)planted(s, f, t, lane);
    }
  }
}

static void check_output(const stages *s) {
  const bb_view *y = &s->task.y;
  for (int lane = 0; lane < bb_map_lanes(y->map); lane++) {
    const int k = y->map->lane[lane];
    for (int i = 0; i < y->N * y->H * y->W; i++) {
      const int n = i / y->W / y->H, p = i / y->W % y->H, q = i % y->W;
      const int tile = (n * s->rows + p / s->m) * s->cols + q / s->m;
      double expected = 0;
      for (int f = 0; f < s->alpha * s->alpha && k >= 0; f++)
        expected += s->wino.at[p % s->m][f / s->alpha] * planted(s, f, tile, lane) * s->wino.at[q % s->m][f % s->alpha];
      const float got =
          s->v->io.y[n * y->n_stride + lane / y->block * y->c_stride + p * y->h_stride + q * y->block + lane % y->block];
      if ((double)got != expected)
        fail_msg("%s: y of image %d, lane %d, row %d, column %d is %g, expected %g", s->kernel->name, n, lane, p, q,
                 (double)got, expected);
    }
  }
}

static void each_stage_is_its_matrix(void **state) {
  (void)state;
  static const char *const problems[] = {"mb2ic19ih9iw13oc21oh9ow13kh3kw3ph1pw1", "mb1ic5ih3iw50oc40oh5ow49kh3kw3ph2pw0",
                                         "g3mb1ic15ih7oc24kh3ph1", "g2mb1ic64ih6oc32kh3ph1", "mb1ic260ih4oc9kh3ph1"};
  size_t at = 0;
  for (const bb_kernel *k; (k = next(&at));) {
    for (size_t i = 0; i < BB_COUNT(problems); i++) {
      stages s;
      if (!stages_create(k, problems[i], &s)) continue;
      run_stage(&s, 0);
      check_input(&s);
      run_stage(&s, 1);
      check_products(&s);
      plant(&s);
      run_stage(&s, 2);
      check_output(&s);
      stages_destroy(&s);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(not_finite_input_spoils_its_tiles),
      cmocka_unit_test(not_finite_weight_spoils_its_channel),
      cmocka_unit_test(each_stage_is_its_matrix),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
