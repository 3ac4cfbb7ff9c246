// SPDX-License-Identifier: Apache-2.0
//
// Plans: choice, packing, workspace, execution, measuring. Most on kernels made up here, which need not be in the registry.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "kernels/bb.h"
#include "kernels/common.h"
#include "kernels/memory.h"
#include "kernels/wisdom.h"

static bb_task conv_task(const char *text, int x_block, int y_block) {
  bb_task task;
  bb_error error = {"nothing said"};
  if (bb_conv_parse(text, &task, NULL, NULL, &error)) fail_msg("%s: %s", text, error.text);
  assert_int_equal(bb_task_views(&task, x_block, y_block), BB_OK);
  return task;
}

static const float some_floats[4096];
static const bb_weights all_weights = {some_floats, some_floats, some_floats, some_floats};

// ---- a made-up kernel ----------------------------------------------------------------------------------------------
//
// Its configs differ in q: 3, 1, 2. It says q*100 cycles and takes q*100 us. Two stages of 5 and 7 tiles.

static int runs[2], most_threads;
static size_t tiles_seen[2];
static bb_weights packed_from;
static bool slow;

static bool fake_accepts(const bb_task *task) { return task->problem.conv.G == 1; }

static bool machine_was_cold;

static int fake_configs(const bb_task *task, const bb_machine *machine, int threads, bb_config *out, int max) {
  (void)task;
  assert_non_null(machine);
  assert_true(threads >= 1 && max == BB_MAX_CONFIGS);
  const int q[] = {3, 1, 2};
  for (int i = 0; i < 3; i++) out[i] = (bb_config){.q = q[i]};
  return 3;
}

static double fake_cycles(const bb_task *task, const bb_machine *machine, const bb_config *config, int threads) {
  (void)task, (void)threads;
  machine_was_cold = machine->cold;
  return 100.0 * config->q;
}

static size_t fake_packed_bytes(const bb_task *task, const bb_config *config) {
  (void)task;
  return 1000 * (size_t)config->q;
}

static void fake_pack(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed) {
  (void)task;
  assert_int_equal((uintptr_t)packed % BB_ALIGN, 0);
  for (int i = 0; i < 250 * config->q; i++) assert_true(packed[i] == 0.0f);
  packed[0] = (float)config->q;
  packed_from = *weights;
}

// More of both with fewer threads: the largest of all thread counts must be there.
static bb_workspace fake_workspace(const bb_task *task, const bb_config *config, int threads) {
  (void)task, (void)config;
  return (bb_workspace){.shared = 1000 / (size_t)threads, .per_thread = 100};
}

static size_t five(const bb_task *task, const bb_config *config, int threads) {
  (void)task, (void)config, (void)threads;
  return 5;
}

static size_t seven(const bb_task *task, const bb_config *config, int threads) {
  (void)task, (void)config;
  most_threads = bb_max(most_threads, threads);
  return 7;
}

static void check_args(const bb_args *args) {
  assert_true(args->packed[0] == (float)args->config->q);
  assert_int_equal((uintptr_t)args->shared % BB_ALIGN, 0);
  assert_int_equal((uintptr_t)args->per_thread % BB_ALIGN, 0);
  const size_t shared = 1000 / (size_t)args->threads;
  assert_true(args->per_thread >= args->shared + shared);
}

// What a thread left in its workspace is there as long as the stage goes on, and no longer.
static void keep(const bb_args *args, char mark) {
  if (args->kept) assert_int_equal(args->per_thread[0], mark);
  memset(args->per_thread, mark, 100);
}

static void first_stage(const bb_args *args, size_t first, size_t last) {
  check_args(args);
  bb_part(args, 2);
  keep(args, 1);
  memset(args->shared, 1, 1000 / (size_t)args->threads);
  __atomic_fetch_add(&runs[0], first == 0, __ATOMIC_RELAXED);
  __atomic_fetch_add(&tiles_seen[0], last - first, __ATOMIC_RELAXED);
  if (!slow || first) return;
  struct timespec start, t;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do clock_gettime(CLOCK_MONOTONIC, &t);
  while ((t.tv_sec - start.tv_sec) * 1000000000L + t.tv_nsec - start.tv_nsec < args->config->q * 100000L);
}

static void second_stage(const bb_args *args, size_t first, size_t last) {
  check_args(args);
  assert_int_equal(__atomic_load_n(&tiles_seen[0], __ATOMIC_RELAXED) % 5, 0);  // the first is over
  keep(args, 2);
  assert_int_equal(args->shared[0], 1);
  __atomic_fetch_add(&runs[1], first == 0, __ATOMIC_RELAXED);
  __atomic_fetch_add(&tiles_seen[1], last - first, __ATOMIC_RELAXED);
}

// 20 us for five tiles.
static void some_work(const bb_args *args, size_t first, size_t last) {
  (void)args;
  struct timespec start, t;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do clock_gettime(CLOCK_MONOTONIC, &t);
  while ((t.tv_sec - start.tv_sec) * 1000000000L + t.tv_nsec - start.tv_nsec < (long)(last - first) * 4000L);
}

static const bb_kernel fake = {.name = "conv_fake_nchw_generic",
                               .op = BB_OP_CONV,
                               .alg = BB_ALG_DIRECT,
                               .isa = BB_ISA_GENERIC,
                               .x_block = 16,
                               .y_block = 16,
                               .accepts = fake_accepts,
                               .configs = fake_configs,
                               .cycles = fake_cycles,
                               .packed_bytes = fake_packed_bytes,
                               .pack = fake_pack,
                               .workspace = fake_workspace,
                               .stage = {{"first", five, first_stage}, {"second", seven, second_stage}}};

static int reset(void **state) {
  (void)state;
  memset(runs, 0, sizeof runs);
  memset(tiles_seen, 0, sizeof tiles_seen);
  most_threads = 0;
  slow = false;
  return 0;
}

static bb_plan *planned(const bb_task *task, const bb_plan_options *options) {
  bb_plan *plan;
  bb_error error = {"nothing said"};
  if (bb_plan_create(task, &all_weights, options, &plan, &error)) fail_msg("%s", error.text);
  assert_non_null(plan);
  return plan;
}

static void assert_refused(const bb_task *task, const bb_weights *weights, const bb_plan_options *options, bb_status status,
                           const char *says) {
  bb_plan *plan = (bb_plan *)8;
  bb_error error = {""};
  assert_int_equal(bb_plan_create(task, weights, options, &plan, &error), status);
  assert_null(plan);
  if (!strstr(error.text, says)) fail_msg("said \"%s\", expected \"%s\"", error.text, says);
  assert_int_equal(bb_plan_create(task, weights, options, &plan, NULL), status);
}

// ---- choice --------------------------------------------------------------------------------------------------------

static void the_cheapest_config_is_taken(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  bb_kernel kernel = fake;
  bb_plan_options options = {.kernel = &kernel};
  bb_config config;
  assert_ptr_equal(bb_kernel_choose(&task, &options, &config), &kernel);
  assert_int_equal(config.q, 1);
  assert_ptr_equal(bb_kernel_choose(&task, &options, NULL), &kernel);
  bb_plan *plan = planned(&task, &options);
  assert_int_equal(bb_plan_config(plan)->q, 1);
  assert_ptr_equal(bb_plan_kernel(plan), &kernel);
  assert_int_equal(bb_plan_packed_bytes(plan), 1000);
  bb_plan_destroy(plan);

  assert_false(machine_was_cold);
  options.cold = true;  // the model sees it
  assert_ptr_equal(bb_kernel_choose(&task, &options, NULL), &kernel);
  assert_true(machine_was_cold);
  assert_false(bb_machine_get()->cold);

  kernel.cycles = NULL;  // no model: the best guess
  assert_ptr_equal(bb_kernel_choose(&task, &options, &config), &kernel);
  assert_int_equal(config.q, 3);

  options.config = &(bb_config){.q = 7};
  plan = planned(&task, &options);
  assert_int_equal(bb_plan_config(plan)->q, 7);
  bb_plan_destroy(plan);

  kernel.configs = NULL;
  options.config = NULL;
  assert_ptr_equal(bb_kernel_choose(&task, &options, &config), &kernel);
  assert_int_equal(config.q, 0);
}

static void portable_kernels_accept_every_operation(void **state) {
  (void)state;
  const bb_problem problems[] = {
      {.op = BB_OP_POOL,
       .pool = {.N = 1, .C = 5, .H = 4, .W = 4, .P = 2, .Q = 2, .R = 2, .S = 2, .stride_h = 2, .stride_w = 2}},
      {.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_MUL, 1, 5, 4, 4, 5, true}},
      {.op = BB_OP_SCALE, .scale = {1, 5, 4, 4}},
      {.op = BB_OP_COPY, .copy = {1, 5, 4, 4}},
      {.op = BB_OP_SOFTMAX, .softmax = {1, 5, 4, 4}},
      {.op = BB_OP_RESIZE, .resize = {BB_RESIZE_NEAREST, 1, 5, 4, 4, 8, 8}}};
  const bb_plan_options options = {.isa = BB_ISA_GENERIC};
  for (size_t i = 0; i < BB_COUNT(problems); i++) {
    bb_task task = {.problem = problems[i]};
    assert_int_equal(bb_task_views(&task, 1, 1), BB_OK);
    const bb_kernel *kernel = bb_kernel_choose(&task, &options, NULL);
    assert_non_null(kernel);
    assert_int_equal(kernel->isa, BB_ISA_GENERIC);
    bb_plan *plan;
    assert_int_equal(bb_plan_create(&task, NULL, &options, &plan, NULL), BB_OK);
    bb_plan_destroy(plan);
  }
}

static void the_registry_is_consistent(void **state) {
  (void)state;
  assert_true(bb_kernel_count() > 0);
  assert_null(bb_kernel_at(bb_kernel_count()));
  assert_null(bb_kernel_find("no such kernel"));
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const bb_kernel *k = bb_kernel_at(i);
    assert_ptr_equal(bb_kernel_find(k->name), k);  // names are unique
    assert_true(strlen(k->name) < 64);
    // <op>_..._<isa>
    const size_t op = strlen(bb_op_name(k->op));
    assert_memory_equal(k->name, bb_op_name(k->op), op);
    assert_int_equal(k->name[op], '_');
    const char *isa = strrchr(k->name, '_');
    assert_string_equal(isa + 1, bb_isa_name(k->isa));
    assert_true(k->alg != BB_ALG_AUTO && k->alg < BB_ALG_COUNT);
    if (k->op != BB_OP_CONV) assert_int_equal(k->alg, BB_ALG_DIRECT);
    assert_non_null(k->accepts);
    assert_non_null(k->stage[0].run);
    for (int s = 0; s < BB_MAX_STAGES && k->stage[s].run; s++) {
      assert_non_null(k->stage[s].name);
      assert_non_null(k->stage[s].tiles);
    }
    assert_int_equal(k->packed_bytes == NULL, k->pack == NULL);
  }
}

static void what_cannot_be_is_told(void **state) {
  (void)state;
  const bb_task good = conv_task("mb1ic8ih4oc8kh1 +bias", 16, 16);
  bb_plan_options options = {.kernel = &fake};
  bb_task bad = good;
  bad.problem.conv.P = 3;
  assert_refused(&bad, &all_weights, &options, BB_INVALID, "oh is 3");
  bad = good;
  bad.x.map = NULL;
  assert_refused(&bad, &all_weights, &options, BB_INVALID, "no channel map");
  assert_refused(&good, NULL, &options, BB_INVALID, "weights");
  assert_refused(&good, &(bb_weights){.w = some_floats}, &options, BB_INVALID, "bias");
  bad = conv_task("mb1ic8ih4oc8kh1 +pre_bn", 16, 16);
  assert_refused(&bad, &(bb_weights){.w = some_floats, .scale = some_floats}, &options, BB_INVALID, "scale and shift");
  bad = conv_task("g2mb1ic8ih4oc8kh1", 16, 16);
  assert_refused(&bad, &all_weights, &options, BB_UNSUPPORTED, "conv_fake_nchw_generic does not accept g2mb1ic8ih4oc8");
  bad = conv_task("mb1ic8ih4oc8kh1", 8, 16);
  assert_refused(&bad, &all_weights, &options, BB_UNSUPPORTED, "does not accept");
  options = (bb_plan_options){.isa = BB_ISA_GENERIC};
  assert_refused(&good, &all_weights, &options, BB_UNSUPPORTED, "no kernel within isa generic");
  assert_null(bb_kernel_choose(&good, &options, NULL));
  options = (bb_plan_options){.isa = BB_ISA_GENERIC, .alg = BB_ALG_WINO43};
  bad = conv_task("mb1ic8ih4oc8kh1", 1, 1);
  assert_refused(&bad, &all_weights, &options, BB_UNSUPPORTED, "algorithm wino43");
  bb_kernel foreign = fake;
  foreign.isa = bb_isa_runs(BB_ISA_NEON) ? BB_ISA_AVX2 : BB_ISA_NEON;
  options = (bb_plan_options){.kernel = &foreign};
  assert_refused(&good, &all_weights, &options, BB_UNSUPPORTED, "which this machine cannot run");
  bb_plan_destroy(NULL);
  bb_exec_destroy(NULL);
}

static void accuracy_limits_the_choice(void **state) {
  (void)state;
  const bool admitted[BB_ACCURACY_COUNT][BB_ALG_COUNT] = {[BB_ACCURACY_STRICT] = {[BB_ALG_DIRECT] = true},
                                                          [BB_ACCURACY_DEFAULT] = {false, true, true, true, false},
                                                          [BB_ACCURACY_FAST] = {false, true, true, true, true}};
  for (int a = 0; a < BB_ACCURACY_COUNT; a++) {
    for (int alg = BB_ALG_DIRECT; alg < BB_ALG_COUNT; alg++)
      assert_int_equal(bb_accuracy_admits((bb_accuracy)a, (bb_alg)alg), admitted[a][alg]);
    for (int size = 4; size <= 64; size += 5) {
      char text[64];
      snprintf(text, sizeof text, "mb1ic%dih%doc64kh3ph1", 4 * size, size);
      const int block = bb_isa_block(bb_isa_best());
      const bb_task task = conv_task(text, block, block);
      bb_plan_options options = {.isa = bb_isa_best(), .accuracy = (bb_accuracy)a};
      assert_true(admitted[a][bb_kernel_choose(&task, &options, NULL)->alg]);
      for (int alg = BB_ALG_DIRECT; alg < BB_ALG_COUNT; alg++) {  // what is asked for is not limited
        options.alg = (bb_alg)alg;
        const bb_kernel *kernel = bb_kernel_choose(&task, &options, NULL);
        if (kernel) assert_int_equal(kernel->alg, alg);
        for (size_t i = 0; i < bb_kernel_count() && !kernel; i++)
          assert_false(bb_kernel_at(i)->alg == options.alg && bb_isa_within(bb_kernel_at(i)->isa, options.isa) &&
                       bb_kernel_at(i)->x_block == block && bb_kernel_at(i)->accepts(&task));
      }
    }
  }
  bb_kernel kernel = fake;
  kernel.alg = BB_ALG_WINO63;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  assert_ptr_equal(bb_kernel_choose(&task, &(bb_plan_options){.kernel = &kernel, .accuracy = BB_ACCURACY_STRICT}, NULL),
                   &kernel);
}

// Where a kernel is made for a kind of problem no estimate prefers a more general one.
static void the_special_kernel_is_taken(void **state) {
  (void)state;
  static const char *const cases[][2] = {{"g64mb1ic64ih112oc64kh3ph1", "conv_dw_"},
                                         {"g512mb1ic512ih14oc512kh3ph1", "conv_dw_"},
                                         {"g120mb1ic120ih28oc120oh14kh5sh2ph2", "conv_dw_"},
                                         {"g32mb1ic128ih56oc128kh3ph1", "conv_grouped_"},
                                         {"mb1ic64ih56oc256kh1", "conv_1x1_"}};
  for (int isa = BB_ISA_GENERIC + 1; isa < BB_ISA_COUNT; isa++) {
    if (!bb_isa_runs((bb_isa)isa) || !bb_isa_within((bb_isa)isa, bb_isa_best())) continue;
    const int block = bb_isa_block((bb_isa)isa);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      const bb_task task = conv_task(cases[i][0], block, block);
      for (int threads = 1; threads <= 2; threads++) {
        const bb_plan_options options = {.isa = (bb_isa)isa, .threads = threads, .cold = threads == 2};
        const char *const name = bb_kernel_choose(&task, &options, NULL)->name;
        if (strncmp(name, cases[i][1], strlen(cases[i][1])) != 0) fail_msg("%s: %s", cases[i][0], name);
      }
    }
  }
}

// A planner that forgot Winograd would be right everywhere, and slow.
static void winograd_is_chosen_where_it_pays(void **state) {
  (void)state;
  static const struct {
    const char *problem;
    bool direct;
  } cases[] = {{"mb1ic64ih56oc64kh3ph1", false},
               {"mb1ic256ih28oc256kh3ph1", false},
               {"g64mb1ic64ih56oc64kh3ph1", true},
               {"mb1ic64ih56oc64oh28kh3sh2ph1", true}};
  for (int isa = BB_ISA_GENERIC; isa < BB_ISA_COUNT; isa++) {
    if (!bb_isa_runs((bb_isa)isa) || !bb_isa_within((bb_isa)isa, bb_isa_best())) continue;
    const int block = bb_isa_block((bb_isa)isa);
    for (size_t i = 0; i < BB_COUNT(cases); i++) {
      const bb_task task = conv_task(cases[i].problem, block, block);
      for (int threads = 1; threads <= 2; threads++) {
        const bb_plan_options options = {.isa = (bb_isa)isa, .threads = threads, .cold = threads == 2};
        const bb_kernel *kernel = bb_kernel_choose(&task, &options, NULL);
        if ((kernel->alg == BB_ALG_DIRECT) != cases[i].direct) fail_msg("%s: %s", cases[i].problem, kernel->name);
      }
    }
  }
}

static void the_environment_caps_every_plan(void **state) {
  (void)state;
  bb_task task = {.problem = {.op = BB_OP_COPY, .copy = {1, 16, 4, 4}}};
  const int block = bb_isa_block(bb_isa_best());
  assert_int_equal(bb_task_views(&task, block, block), BB_OK);
  const bb_plan_options options = {.isa = bb_isa_best()};
  assert_int_equal(bb_kernel_choose(&task, &options, NULL)->isa, options.isa);
  char *const before = getenv("BB_ISA");
  char saved[32];
  snprintf(saved, sizeof saved, "%s", before ? before : "");
  setenv("BB_ISA", "generic", 1);
  assert_int_equal(bb_kernel_choose(&task, &options, NULL)->isa, BB_ISA_GENERIC);
  assert_int_equal(bb_kernel_choose(&task, NULL, NULL)->isa, BB_ISA_GENERIC);
  if (before)
    setenv("BB_ISA", saved, 1);
  else
    unsetenv("BB_ISA");
}

static void packing_sees_what_the_task_uses(void **state) {
  (void)state;
  const bb_plan_options options = {.kernel = &fake};
  bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  bb_plan_destroy(planned(&task, &options));
  assert_ptr_equal(packed_from.w, some_floats);
  assert_null(packed_from.b);
  assert_null(packed_from.scale);
  assert_null(packed_from.shift);
  task = conv_task("mb1ic8ih4oc8kh1 +pre_bn+bias", 16, 16);
  bb_plan_destroy(planned(&task, &options));
  assert_memory_equal(&packed_from, &all_weights, sizeof packed_from);
}

static void large_packed_weights_are_aligned_to_huge_pages(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  const bb_plan_options options = {.kernel = &fake, .config = &(bb_config){.q = 3000}};
  bb_plan *plan = planned(&task, &options);
  assert_int_equal(bb_plan_packed_bytes(plan), 3000000);
  assert_int_equal((uintptr_t)bb_plan_packed(plan) % (2 << 20), 0);
  bb_plan_destroy(plan);
}

// ---- execution -----------------------------------------------------------------------------------------------------

static void stages_run_in_order_on_every_pool(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  const bb_plan_options options = {.kernel = &fake};
  bb_plan *plan = planned(&task, &options);
  assert_int_equal(bb_plan_stages(plan), 2);
  assert_memory_equal(bb_plan_task(plan), &task, sizeof task);
  bb_exec *exec;
  assert_int_equal(bb_exec_create((const bb_plan *const[]){plan}, 1, 3, &exec), BB_OK);
  assert_true(bb_exec_bytes(exec) >= 1000 + 3 * 100);
  const bb_io io = {0};
  for (int threads = 0; threads <= 3; threads++) {
    bb_pool *pool = NULL;
    if (threads) assert_int_equal(bb_pool_create(&(bb_pool_options){.threads = threads, .spin_us = 50}, &pool, NULL), BB_OK);
    for (int i = 1; i <= 20; i++) {
      reset(NULL);
      bb_plan_run(plan, exec, pool, &io);
      assert_int_equal(runs[0], 1);
      assert_int_equal(runs[1], 1);
      assert_int_equal(tiles_seen[0], 5);
      assert_int_equal(tiles_seen[1], 7);
      assert_int_equal(most_threads, bb_max(threads, 1));
      bb_plan_run_stage(plan, 0, exec, pool, &io);
      assert_int_equal(tiles_seen[0], 10);
      assert_int_equal(tiles_seen[1], 7);
      bb_plan_run_stage(plan, 1, exec, pool, &io);
      assert_int_equal(tiles_seen[1], 14);
    }
    bb_pool_destroy(pool);
  }
  bb_exec_destroy(exec);
  assert_int_equal(bb_exec_create(NULL, 0, 0, &exec), BB_INVALID);
  assert_int_equal(bb_exec_create(NULL, 0, 2, &exec), BB_OK);
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
}

static void runs_can_be_timed_from_inside(void **state) {
  (void)state;
  slow = true;  // the first stage takes 100 us
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  const bb_plan_options options = {.kernel = &fake};
  bb_plan *plan = planned(&task, &options);
  bb_exec *exec;
  assert_int_equal(bb_exec_create((const bb_plan *const[]){plan}, 1, 2, &exec), BB_OK);
  const bb_io io = {0};
  for (int threads = 0; threads <= 2; threads++) {
    bb_pool *pool = NULL;
    if (threads) assert_int_equal(bb_pool_create(&(bb_pool_options){.threads = threads, .spin_us = 50}, &pool, NULL), BB_OK);
    bb_times times = {{0}, 0, {0}};
    bb_exec_time(exec, &times);
    for (int i = 0; i < 3; i++) bb_plan_run(plan, exec, pool, &io);
    assert_true(times.busy[0] > times.busy[1]);
    assert_int_equal(times.busy[2], 0);
    assert_true(times.part[2] > times.part[0]);
    assert_int_equal(times.part[0] + times.part[1] + times.part[2], times.busy[0]);
    if (threads < 2) assert_true(times.busy[0] + times.busy[1] <= times.run);
    bb_exec_time(exec, NULL);
    const bb_times before = times;
    bb_plan_run(plan, exec, pool, &io);
    assert_memory_equal(&times, &before, sizeof times);
    bb_pool_destroy(pool);
  }
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
}

static void a_portable_convolution_comes_out_right(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic2ih3oc1kh3ph1 +bias+relu", 1, 1);
  float w[18], x[18], y[9];
  const float b = -20;
  for (int i = 0; i < 18; i++) w[i] = (float)(i % 3 - 1), x[i] = (float)i;
  bb_plan *plan;
  assert_int_equal(
      bb_plan_create(&task, &(bb_weights){.w = w, .b = &b}, &(bb_plan_options){.isa = BB_ISA_GENERIC}, &plan, NULL), BB_OK);
  memset(w, 0, sizeof w);  // the plan has its own copy
  float *memory = bb_alloc(bb_plan_packed_bytes(plan));
  bb_plan *copy;
  assert_non_null(memory);
  assert_int_equal(bb_plan_copy(plan, memory, &copy), BB_OK);
  assert_ptr_equal(bb_plan_packed(copy), memory);
  bb_plan_destroy(plan);  // and so has a copy of it
  bb_exec *exec;
  assert_int_equal(bb_exec_create((const bb_plan *const[]){copy}, 1, 1, &exec), BB_OK);
  bb_plan_run(copy, exec, NULL, &(bb_io){.x = x, .y = y});
  for (int p = 0; p < 3; p++)
    for (int q = 0; q < 3; q++) {
      float sum = b;
      for (int c = 0; c < 2; c++)
        for (int r = 0; r < 3; r++)
          for (int s = 0; s < 3; s++) {
            const int h = p + r - 1, v = q + s - 1;
            if (h >= 0 && h < 3 && v >= 0 && v < 3) sum += x[(c * 3 + h) * 3 + v] * (float)(s - 1);
          }
      assert_true(y[p * 3 + q] == fmaxf(sum, 0));
    }
  bb_exec_destroy(exec);
  bb_plan_destroy(copy);
  free(memory);
}

// ---- measuring -----------------------------------------------------------------------------------------------------

static void measuring_finds_the_fastest(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1 +pre_scale+add+scale+second+gap", 16, 16);
  for (int cold = 0; cold < 2; cold++)
    for (int threads = 1; threads <= 2; threads++) {
      reset(NULL);
      slow = true;
      bb_kernel kernel = fake;
      kernel.cycles = NULL;  // estimating would take q = 3
      bb_plan_options options = {.kernel = &kernel, .mode = BB_PLAN_MEASURE, .cold = cold, .threads = threads};
      if (threads > 1)
        assert_int_equal(bb_pool_create(&(bb_pool_options){.threads = threads, .spin_us = 50}, &options.pool, NULL), BB_OK);
      assert_int_equal(bb_wisdom_create(&options.wisdom), BB_OK);
      bb_plan *plan = planned(&task, &options);
      assert_int_equal(bb_plan_config(plan)->q, 1);
      assert_true(bb_plan_packed(plan)[0] == 1.0f);
      assert_true(runs[0] > 3);
      bb_plan_destroy(plan);

      const int before = runs[0];  // now it is known
      plan = planned(&task, &options);
      assert_int_equal(bb_plan_config(plan)->q, 1);
      options.mode = BB_PLAN_ESTIMATE;
      bb_plan *again = planned(&task, &options);
      assert_int_equal(bb_plan_config(again)->q, 1);
      assert_int_equal(runs[0], before);
      bb_plan_destroy(plan);
      bb_plan_destroy(again);

      options.cold = !options.cold;  // of this nothing is known
      plan = planned(&task, &options);
      assert_int_equal(bb_plan_config(plan)->q, 3);
      bb_plan_destroy(plan);
      options.cold = !options.cold;
      kernel.configs = NULL;  // the config that is known is none of the kernel's any more
      plan = planned(&task, &options);
      assert_int_equal(bb_plan_config(plan)->q, 0);
      bb_plan_destroy(plan);
      bb_wisdom_destroy(options.wisdom);
      bb_pool_destroy(options.pool);
    }
}

static void candidates_are_listed(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  bb_candidate list[4] = {{0}};
  assert_int_equal(bb_plan_candidates(&task, &(bb_plan_options){.kernel = &fake}, list, 2), 3);
  assert_null(list[2].kernel);
  assert_int_equal(bb_plan_candidates(&task, &(bb_plan_options){.kernel = &fake}, list, 4), 3);
  for (int i = 0; i < 3; i++) {
    assert_ptr_equal(list[i].kernel, &fake);
    assert_true(list[i].cycles == 100.0 * list[i].config.q);
  }
  assert_int_equal(list[0].config.q, 3);
  assert_int_equal(bb_plan_candidates(&task, &(bb_plan_options){.isa = BB_ISA_GENERIC}, list, 4), 0);
  const bb_task real = conv_task("mb1ic32ih9oc64kh3ph1", bb_isa_block(bb_isa_best()), bb_isa_block(bb_isa_best()));
  bb_candidate all[64];
  const bb_plan_options options = {.isa = bb_isa_best(), .accuracy = BB_ACCURACY_FAST};
  const int count = bb_plan_candidates(&real, &options, all, 64);
  assert_in_range(count, 1, 64);
  for (int i = 0; i < count; i++) assert_int_equal(all[i].kernel->isa, all[0].kernel->isa);
}

// Says that q = 1 is hopeless and 2 the best.
static double wrong_cycles(const bb_task *task, const bb_machine *machine, const bb_config *config, int threads) {
  (void)task, (void)machine, (void)threads;
  return config->q == 1 ? 250 : 100.0 + config->q;
}

static void hopeless_candidates_are_not_tried(void **state) {
  (void)state;
  slow = true;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  bb_kernel kernel = fake;
  kernel.cycles = wrong_cycles;
  const bb_kernel *chosen;
  bb_config config;
  const bb_plan_options options = {.kernel = &kernel, .mode = BB_PLAN_MEASURE};
  assert_int_equal(bb_plan_choose(&task, &options, &chosen, &config, NULL), BB_OK);
  assert_ptr_equal(chosen, &kernel);
  assert_int_equal(config.q, 2);  // faster than 3
}

static void equal_candidates_go_by_preference(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  bb_kernel kernel = fake;
  kernel.stage[0].run = some_work;  // all alike
  kernel.stage[1].run = NULL;
  kernel.cycles = NULL;
  int first = 0;
  for (int i = 0; i < 5; i++) {
    const bb_kernel *chosen;
    bb_config config;
    const bb_plan_options options = {.kernel = &kernel, .mode = BB_PLAN_MEASURE};
    assert_int_equal(bb_plan_choose(&task, &options, &chosen, &config, NULL), BB_OK);
    first += config.q == 3;
  }
  assert_true(first >= 2);  // noise may have its way now and then
}

static void lessons_of_the_bare_problem_serve_estimates(void **state) {
  (void)state;
  const bb_task bare = conv_task("mb1ic8ih4oc8kh1", 16, 16), fused = conv_task("mb1ic8ih4oc8kh1 +bias+relu", 16, 16);
  bb_plan_options options = {.kernel = &fake, .isa = bb_isa_best(), .threads = 1};
  assert_int_equal(bb_wisdom_create(&options.wisdom), BB_OK);
  assert_int_equal(bb_wisdom_add(options.wisdom, &bare, &options, BB_WISDOM_BARE, &fake, &(bb_config){.q = 2}), BB_OK);
  const bb_kernel *kernel;
  bb_config config;
  assert_int_equal(bb_plan_choose(&fused, &options, &kernel, &config, NULL), BB_OK);
  assert_int_equal(config.q, 2);
  options.mode = BB_PLAN_MEASURE;  // wants to know exactly
  assert_int_equal(bb_plan_choose(&fused, &options, &kernel, &config, NULL), BB_OK);
  assert_true(runs[0] > 0);
  bb_wisdom_destroy(options.wisdom);
}

static void measuring_needs_the_pool_it_plans_for(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic8ih4oc8kh1", 16, 16);
  const bb_plan_options options = {.kernel = &fake, .mode = BB_PLAN_MEASURE, .threads = 2};
  assert_refused(&task, &all_weights, &options, BB_INVALID, "measuring for 2 threads on a pool of 1");
}

static void measuring_walks_the_registry(void **state) {
  (void)state;
  const bb_task task = conv_task("mb1ic3ih9oc5kh3ph1 +bias", 1, 1);
  bb_plan *plan = planned(&task, &(bb_plan_options){.isa = BB_ISA_GENERIC, .mode = BB_PLAN_MEASURE});
  assert_int_equal(bb_plan_kernel(plan)->isa, BB_ISA_GENERIC);
  bb_plan_destroy(plan);
  plan = planned(&task, &(bb_plan_options){.isa = bb_isa_best(), .mode = BB_PLAN_MEASURE, .cold = true});
  bb_plan_destroy(plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(the_cheapest_config_is_taken, reset),
      cmocka_unit_test_setup(portable_kernels_accept_every_operation, reset),
      cmocka_unit_test_setup(the_registry_is_consistent, reset),
      cmocka_unit_test_setup(what_cannot_be_is_told, reset),
      cmocka_unit_test_setup(accuracy_limits_the_choice, reset),
      cmocka_unit_test_setup(the_special_kernel_is_taken, reset),
      cmocka_unit_test_setup(winograd_is_chosen_where_it_pays, reset),
      cmocka_unit_test_setup(the_environment_caps_every_plan, reset),
      cmocka_unit_test_setup(packing_sees_what_the_task_uses, reset),
      cmocka_unit_test_setup(large_packed_weights_are_aligned_to_huge_pages, reset),
      cmocka_unit_test_setup(stages_run_in_order_on_every_pool, reset),
      cmocka_unit_test_setup(runs_can_be_timed_from_inside, reset),
      cmocka_unit_test_setup(a_portable_convolution_comes_out_right, reset),
      cmocka_unit_test_setup(measuring_finds_the_fastest, reset),
      cmocka_unit_test_setup(candidates_are_listed, reset),
      cmocka_unit_test_setup(hopeless_candidates_are_not_tried, reset),
      cmocka_unit_test_setup(equal_candidates_go_by_preference, reset),
      cmocka_unit_test_setup(lessons_of_the_bare_problem_serve_estimates, reset),
      cmocka_unit_test_setup(measuring_needs_the_pool_it_plans_for, reset),
      cmocka_unit_test_setup(measuring_walks_the_registry, reset),
  };
  return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
