// SPDX-License-Identifier: Apache-2.0
//
// Every activation of every kernel that scales, on floats from all of the line: within 4 ulp of libm's doubles, and of SLEEF's
// (u10) as a second opinion, where |result| > 2^-100; not flushed below; right at NaN and the infinities; +0 in empty lanes.
// By default every 1024th float and the edges of each binade; all 2^32 if BB_TEST_FULL is set in the environment.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sleef.h>

#include "../kernels/bb.h"
#include "../reference/ref.h"

enum { BATCH = 1 << 16, MAX_KERNELS = 8, MAX_THREADS = 64 };

static const float SLOPE = 0.1f;

// Spacing of floats at `value`, which is in their range; denormals are 2^-149 apart.
static double ulp_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint64_t binade = bits & 0x7ffull << 52, lowest = (uint64_t)(1023 - 126) << 52;
  bits = (binade < lowest ? lowest : binade) - (23ull << 52);
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Below 2^-100 factors may already be denormal: e^-104 has one bit, and x*e^x inherits its half ulp times |x|. What is
// demanded there is that nothing is flushed.
static double allowed(double expected) { return fabs(expected) > 0x1p-100 ? 4 * ulp_of(expected) : 64 * ulp_of(expected); }

static double expected_of(bb_act act, float x) {
  if (isinf(x) && x < 0 && (act == BB_ACT_SILU || act == BB_ACT_MISH || act == BB_ACT_HARD_SWISH)) return 0;
  return bb_ref_act(act, SLOPE, x);
}

static double second_opinion(bb_act act, float x) {
  switch (act) {
    case BB_ACT_TANH:
      return Sleef_tanh_u10(x);
    case BB_ACT_SIGMOID:
      return 1 / (1 + Sleef_exp_u10(-(double)x));
    case BB_ACT_SILU:
      return x / (1 + Sleef_exp_u10(-(double)x));
    // From 80 on the factor is 1, and SLEEF's exp would overflow.
    case BB_ACT_MISH:
      return x > 80 ? x : x * Sleef_tanh_u10(Sleef_log1p_u10(Sleef_exp_u10(x)));
    default:
      return expected_of(act, x);
  }
}

static bool agrees(float got, double expected) {
  if (isnan(expected)) return isnan(got);
  // Where the double rounds to infinity.
  if (fabs(expected) >= 0x1.ffffffp127) return got == (float)expected;
  return fabs(got - expected) <= allowed(expected);
}

typedef struct engine {
  const bb_kernel *kernel;
  bb_plan *plan;
  bb_exec *exec[MAX_THREADS];
} engine;

typedef struct sweep {
  bb_act act;
  engine engine[MAX_KERNELS];
  int engines, threads;
  size_t total;
  float (*value)(size_t i);
  float *memory;  // x and y of each thread
  struct {
    bool failed;
    char text[320];
  } verdict[MAX_THREADS];
} sweep;

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float any_float(size_t i) { return float_of((uint32_t)i); }

// Every 1024th, then around the edges of each binade.
enum { GRID = 1 << 22, EDGE = 64, EDGES = 512 * 2 * EDGE };

static float sampled_float(size_t i) {
  if (i < GRID) return float_of((uint32_t)i << 10);
  i -= GRID;
  return float_of((uint32_t)(i / (2 * EDGE)) << 23 | (((uint32_t)(i % (2 * EDGE)) - EDGE) & 0x7fffff));
}

static void check(sweep *s, int thread, const bb_kernel *kernel, const float *x, const float *y, const double *expected,
                  size_t n) {
  for (size_t i = 0; i < n; i++) {
    double want = expected[i];
    bool ok = agrees(y[i], want);
    if (ok && i % 16 == 0 && isfinite(x[i])) {
      want = second_opinion(s->act, x[i]);
      ok = agrees(y[i], want);
    }
    if (ok) continue;
    snprintf(s->verdict[thread].text, sizeof s->verdict[thread].text, "%s: %s(%a) is %a, expected %a (%g), off by %.2f ulp",
             kernel->name, bb_act_name(s->act), (double)x[i], (double)y[i], want, want, fabs(y[i] - want) / ulp_of(want));
    s->verdict[thread].failed = true;
    return;
  }
}

static void run_batches(void *context, size_t first, size_t last, int thread) {
  sweep *s = context;
  float *x = s->memory + (size_t)thread * 2 * BATCH, *y = x + BATCH;
  double *expected = malloc(BATCH * sizeof *expected);
  for (size_t b = first; b < last && expected && !s->verdict[thread].failed; b++) {
    const size_t start = b * BATCH, n = s->total - start < BATCH ? s->total - start : BATCH;
    for (size_t i = 0; i < BATCH; i++) x[i] = i < n ? s->value(start + i) : 0;
    for (size_t i = 0; i < n; i++) expected[i] = expected_of(s->act, x[i]);
    for (int e = 0; e < s->engines; e++) {
      bb_plan_run(s->engine[e].plan, s->engine[e].exec[thread], NULL, &(bb_io){.x = x, .y = y});
      check(s, thread, s->engine[e].kernel, x, y, expected, n);
    }
  }
  if (!expected) {
    s->verdict[thread].failed = true;
    snprintf(s->verdict[thread].text, sizeof s->verdict[thread].text, "out of memory");
  }
  free(expected);
}

static bb_task scale_task(const bb_kernel *kernel, bb_act act, int channels, int width) {
  bb_task task = {.problem = {.op = BB_OP_SCALE, .scale = {.N = 1, .C = channels, .H = 1, .W = width}},
                  .epilogue = {.act = act, .alpha = SLOPE}};
  assert_int_equal(bb_task_views(&task, kernel->x_block, kernel->y_block), BB_OK);
  return task;
}

static void plan_for(const bb_kernel *kernel, const bb_task *task, bb_plan **plan) {
  bb_error error;
  const bb_plan_options options = {.isa = kernel->isa, .kernel = kernel, .threads = 1};
  if (bb_plan_create(task, NULL, &options, plan, &error) != BB_OK) fail_msg("%s", error.text);
}

static bool wanted(const bb_kernel *kernel) { return kernel->op == BB_OP_SCALE && bb_isa_runs(kernel->isa); }

static void test_floats(void **state) {
  const bb_act act = *(const bb_act *)*state;
  const bool full = getenv("BB_TEST_FULL") != NULL;
  static sweep s;
  s = (sweep){.act = act,
              .threads = bb_machine_get()->cores < MAX_THREADS ? bb_machine_get()->cores : MAX_THREADS,
              .total = full ? (size_t)1 << 32 : (size_t)GRID + EDGES,
              .value = full ? any_float : sampled_float};
  s.memory = aligned_alloc(BB_ALIGN, (size_t)s.threads * 2 * BATCH * sizeof(float));
  assert_non_null(s.memory);
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const bb_kernel *kernel = bb_kernel_at(i);
    if (!wanted(kernel)) continue;
    assert_true(s.engines < MAX_KERNELS);
    engine *e = &s.engine[s.engines++];
    e->kernel = kernel;
    const bb_task task = scale_task(kernel, act, kernel->x_block, BATCH / kernel->x_block);
    plan_for(kernel, &task, &e->plan);
    for (int t = 0; t < s.threads; t++)
      assert_int_equal(bb_exec_create((const bb_plan *const *)&e->plan, 1, 1, &e->exec[t]), BB_OK);
  }
  bb_pool *pool;
  bb_error error;
  if (bb_pool_create(&(bb_pool_options){.threads = s.threads}, &pool, &error) != BB_OK) fail_msg("%s", error.text);
  bb_pool_run(pool, (s.total + BATCH - 1) / BATCH, run_batches, &s);
  bb_pool_destroy(pool);
  for (int e = 0; e < s.engines; e++) {
    for (int t = 0; t < s.threads; t++) bb_exec_destroy(s.engine[e].exec[t]);
    bb_plan_destroy(s.engine[e].plan);
  }
  free(s.memory);
  for (int t = 0; t < s.threads; t++)
    if (s.verdict[t].failed) fail_msg("%s", s.verdict[t].text);
}

// Lanes without a channel, whatever the function makes of 0.
static void test_empty_lanes(void **state) {
  const bb_act act = *(const bb_act *)*state;
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const bb_kernel *kernel = bb_kernel_at(i);
    const int block = kernel->x_block, width = 37;
    if (!wanted(kernel) || block == 1) continue;
    const bb_task task = scale_task(kernel, act, 1, width);
    bb_plan *plan;
    bb_exec *exec;
    plan_for(kernel, &task, &plan);
    assert_int_equal(bb_exec_create((const bb_plan *const *)&plan, 1, 1, &exec), BB_OK);
    float *x = aligned_alloc(BB_ALIGN, BATCH), *y = aligned_alloc(BB_ALIGN, BATCH);
    assert_non_null(x);
    assert_non_null(y);
    memset(x, 0, BATCH);
    memset(y, 0xff, BATCH);
    for (int w = 0; w < width; w++) x[w * block] = 1;
    bb_plan_run(plan, exec, NULL, &(bb_io){.x = x, .y = y});
    for (int j = 0; j < width * block; j++) {
      if (j % block == 0) {
        assert_true(y[j] > 0);
      } else {
        assert_true(y[j] == 0 && !signbit(y[j]));
      }
    }
    free(x);
    free(y);
    bb_exec_destroy(exec);
    bb_plan_destroy(plan);
  }
}

int main(void) {
  static bb_act act[BB_ACT_COUNT];
  static char name[2 * BB_ACT_COUNT][64];
  struct CMUnitTest tests[2 * BB_ACT_COUNT];
  for (int a = 0; a < BB_ACT_COUNT; a++) {
    act[a] = (bb_act)a;
    snprintf(name[2 * a], sizeof name[0], "floats/%s", bb_act_name(act[a]));
    snprintf(name[2 * a + 1], sizeof name[0], "empty_lanes/%s", bb_act_name(act[a]));
    tests[2 * a] = (struct CMUnitTest){name[2 * a], test_floats, NULL, NULL, &act[a]};
    tests[2 * a + 1] = (struct CMUnitTest){name[2 * a + 1], test_empty_lanes, NULL, NULL, &act[a]};
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
