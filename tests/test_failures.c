// SPDX-License-Identifier: Apache-2.0
//
// Every allocation and every thread creation fails once, the n-th for every n: a clean status, a sentence, nothing left behind.
// And: running allocates nothing.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "failures.h"
#include "kernels/bb.h"
#include "kernels/common.h"
#include "kernels/wisdom.h"

// ---- maps and views ------------------------------------------------------------------------------------------------

static bb_status make_maps(void *context, bb_error *error) {
  (void)context, (void)error;
  bb_map *map;
  bb_status status = bb_map_create((int[]){3, 9}, 2, 8, &map);
  if (status) {
    assert_null(map);
    return status;
  }
  bb_map *copy;
  status = bb_map_create_lanes(map->lane, map->blocks, map->block, &copy);
  bb_map_destroy(map);
  if (status) assert_null(copy);
  bb_map_destroy(copy);
  return status;
}

static void maps(void **state) {
  (void)state;
  fail_everywhere("maps", make_maps, NULL, false);
  for (long n = 0; n < 2; n++) {  // a cached map is two allocations
    const long before = live_blocks();
    fail_allocation(n);
    assert_null(bb_map_identity(777, 16));
    assert_int_equal(live_blocks(), before);
  }
  assert_non_null(bb_map_identity(777, 16));
  bb_task task = {.problem = {.op = BB_OP_SCALE, .scale = {1, 778, 1, 1}}};
  fail_allocation(0);
  assert_int_equal(bb_task_views(&task, 16, 16), BB_NO_MEMORY);
  fail_allocation(-1);
}

// ---- plans ---------------------------------------------------------------------------------------------------------

static const bb_problem problems[] = {
    {.op = BB_OP_CONV, .conv = {1, 1, 16, 5, 5, 16, 5, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
    {.op = BB_OP_CONV, .conv = {1, 1, 16, 5, 5, 16, 5, 5, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1}},
    {.op = BB_OP_CONV, .conv = {1, 1, 3, 6, 6, 16, 3, 3, 3, 3, 2, 2, 1, 0, 1, 0, 1, 1}},
    {.op = BB_OP_CONV, .conv = {16, 1, 16, 5, 5, 16, 5, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
    {.op = BB_OP_CONV, .conv = {4, 1, 16, 5, 5, 16, 5, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
    {.op = BB_OP_POOL, .pool = {.N = 1, .C = 16, .H = 4, .W = 4, .P = 2, .Q = 2, .R = 2, .S = 2, .stride_h = 2, .stride_w = 2}},
    {.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_ADD, 1, 16, 4, 4, 16, false}},
    {.op = BB_OP_SCALE, .scale = {1, 16, 4, 4}},
    {.op = BB_OP_COPY, .copy = {1, 16, 4, 4}},
    {.op = BB_OP_SOFTMAX, .softmax = {1, 16, 1, 1}},
    {.op = BB_OP_RESIZE, .resize = {BB_RESIZE_NEAREST, 1, 16, 4, 4, 8, 8}},
};

static float zeros[16 * 16 * 9];
static const bb_weights weights = {zeros, zeros, zeros, zeros};

typedef struct planning {
  bb_task task;
  bb_plan_options options;
} planning;

static bb_status make_plan(void *context, bb_error *error) {
  const planning *p = context;
  bb_plan_options options = p->options;
  bb_status status;
  if (options.mode == BB_PLAN_MEASURE) {
    const bb_pool_options pool = {.threads = options.threads, .spin_us = 50};
    if ((status = bb_pool_create(&pool, &options.pool, error))) {
      assert_null(options.pool);
      return status;
    }
    if ((status = bb_wisdom_create(&options.wisdom))) {
      snprintf(error->text, sizeof error->text, "no memory for wisdom");
      assert_null(options.wisdom);
      bb_pool_destroy(options.pool);
      return status;
    }
  }
  bb_plan *plan;
  bb_exec *exec = NULL;
  status = bb_plan_create(&p->task, &weights, &options, &plan, error);
  if (status) {
    assert_null(plan);
  } else {
    status = bb_exec_create((const bb_plan *const[]){plan}, 1, 2, &exec);
    if (status) snprintf(error->text, sizeof error->text, "no memory for a workspace");
    if (status) assert_null(exec);
  }
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
  bb_wisdom_destroy(options.wisdom);
  bb_pool_destroy(options.pool);
  return status;
}

// Does the kernel take the problem in its layouts?
static bool fits(const bb_kernel *kernel, const bb_problem *problem, bb_task *task) {
  *task = (bb_task){.problem = *problem, .epilogue.act = BB_ACT_RELU};
  if (kernel->op != problem->op || !bb_isa_runs(kernel->isa)) return false;
  assert_int_equal(bb_task_views(task, bb_max(kernel->x_block, 1), bb_max(kernel->y_block, 1)), BB_OK);
  return kernel->accepts(task);
}

static void plans_of_every_kernel(void **state) {
  (void)state;
  for (size_t i = 0; i < bb_kernel_count(); i++)
    for (size_t j = 0; j < BB_COUNT(problems); j++) {
      planning p = {.options.kernel = bb_kernel_at(i)};
      if (fits(bb_kernel_at(i), &problems[j], &p.task)) fail_everywhere(bb_kernel_at(i)->name, make_plan, &p, true);
    }
}

static void measured_plans(void **state) {
  (void)state;
  for (size_t j = 0; j < 2; j++) {
    planning p = {.options = {.isa = bb_isa_best(), .mode = BB_PLAN_MEASURE, .threads = 3, .cold = j}};
    p.task = (bb_task){.problem = problems[j], .epilogue.act = BB_ACT_RELU};
    assert_int_equal(bb_task_views(&p.task, bb_isa_block(p.options.isa), bb_isa_block(p.options.isa)), BB_OK);
    if (!bb_kernel_choose(&p.task, &p.options, NULL)) assert_int_equal(bb_task_views(&p.task, 1, 1), BB_OK);
    fail_everywhere("a measured plan", make_plan, &p, true);
  }
}

static void running_allocates_nothing(void **state) {
  (void)state;
  bb_pool *pool;
  assert_int_equal(bb_pool_create(&(bb_pool_options){.threads = 2, .spin_us = 50}, &pool, NULL), BB_OK);
  for (size_t i = 0; i < bb_kernel_count(); i++)
    for (size_t j = 0; j < BB_COUNT(problems); j++) {
      const bb_plan_options options = {.kernel = bb_kernel_at(i)};
      bb_task task;
      if (!fits(bb_kernel_at(i), &problems[j], &task)) continue;
      bb_plan *plan;
      bb_exec *exec;
      assert_int_equal(bb_plan_create(&task, &weights, &options, &plan, NULL), BB_OK);
      assert_int_equal(bb_exec_create((const bb_plan *const[]){plan}, 1, 2, &exec), BB_OK);
      static _Alignas(BB_ALIGN) float x[1 << 14], x2[1 << 14], y[1 << 14];
      assert_true(bb_view_size(&task.x) <= BB_COUNT(x) && bb_view_size(&task.y) <= BB_COUNT(y));
      const bb_io io = {.x = x, .x2 = x2, .y = y};
      const long before = allocation_count();
      bb_plan_run(plan, exec, NULL, &io);
      bb_plan_run(plan, exec, pool, &io);
      assert_int_equal(allocation_count(), before);
      bb_exec_destroy(exec);
      bb_plan_destroy(plan);
    }
  bb_pool_destroy(pool);
}

// ---- pool, wisdom --------------------------------------------------------------------------------------------------

static bb_status make_pool(void *context, bb_error *error) {
  bb_pool *pool;
  const bb_status status = bb_pool_create(context, &pool, error);
  if (status) assert_null(pool);
  bb_pool_destroy(pool);
  return status;
}

static void pools(void **state) {
  (void)state;
  bb_pool_options options = {.threads = 4, .spin_us = 50};
  fail_everywhere("a pool", make_pool, &options, true);
  options.pin = true;
  fail_everywhere("a pinned pool", make_pool, &options, true);
}

static bb_status write_and_read(void *context, bb_error *error) {
  bb_wisdom *wisdom;
  bb_status status = bb_wisdom_create(&wisdom);
  if (status) {
    assert_null(wisdom);
  } else {
    bb_task task = {.problem = problems[0]};
    const bb_plan_options options = {.threads = 1};
    status = bb_task_views(&task, 1, 1);
    if (!status) status = bb_wisdom_add(wisdom, &task, &options, BB_WISDOM_TASK, bb_kernel_at(0), &(bb_config){0});
  }
  if (status) {
    snprintf(error->text, sizeof error->text, "no memory for wisdom");
  } else {
    status = bb_wisdom_save(wisdom, context, error);
    if (!status) status = bb_wisdom_load(wisdom, context, error);
  }
  bb_wisdom_destroy(wisdom);
  return status;
}

static void wisdom_files(void **state) {
  (void)state;
  char path[] = "/tmp/bb_failures_XXXXXX";
  const int file = mkstemp(path);
  assert_true(file >= 0);
  close(file);
  fail_everywhere("a wisdom file", write_and_read, path, true);
  unlink(path);
}

int main(void) {
  bb_machine_get();  // made once, kept
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(maps),  cmocka_unit_test(plans_of_every_kernel), cmocka_unit_test(measured_plans),
      cmocka_unit_test(pools), cmocka_unit_test(wisdom_files),          cmocka_unit_test(running_allocates_nothing),
  };
  return cmocka_run_group_tests_name("failures", tests, NULL, NULL);
}
