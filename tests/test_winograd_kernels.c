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
    of_the_weights(k, "g2mb1ic10ih6oc18kh3ph1+bias");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(not_finite_input_spoils_its_tiles),
      cmocka_unit_test(not_finite_weight_spoils_its_channel),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
