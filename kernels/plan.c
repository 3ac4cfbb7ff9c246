// SPDX-License-Identifier: Apache-2.0
//
// Plans: which kernel, which config, the packed weights; and their execution.
//
// Choice, estimate mode: the kernels that accept, in the order of kernels.def. If the first of them has a cost model, the
// cheapest (kernel, config) of all that have one; otherwise the first. Of one kernel without a model, its first config.

#include "bb.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "error.h"
#include "memory.h"

struct bb_plan {
  bb_task task;  // its maps are the caller's: they outlive the plan
  const bb_kernel *kernel;
  bb_config config;
  size_t stages;
  size_t packed_bytes;
  float *packed;  // NULL if the kernel packs nothing
};

// ---- choice --------------------------------------------------------------------------------------------------------

static bool within(const bb_kernel *kernel, const bb_task *task, const bb_plan_options *options) {
  if (options->kernel) return kernel == options->kernel;
  if (!bb_isa_within(kernel->isa, options->isa)) return false;
  return options->alg == BB_ALG_AUTO || task->problem.op != BB_OP_CONV || kernel->alg == options->alg;
}

static bool accepts(const bb_kernel *kernel, const bb_task *task) {
  return kernel->op == task->problem.op && (kernel->x_block == 0 || kernel->x_block == task->x.block) &&
         (kernel->y_block == 0 || kernel->y_block == task->y.block) && bb_isa_runs(kernel->isa) && kernel->accepts(task);
}

// The kernel's candidates, best guess first; at least one.
static int configs_of(const bb_kernel *kernel, const bb_task *task, int threads, bb_config configs[BB_MAX_CONFIGS]) {
  configs[0] = (bb_config){0};
  if (!kernel->configs) return 1;
  const int count = kernel->configs(task, bb_machine_get(), threads, configs, BB_MAX_CONFIGS);
  assert(count >= 1 && count <= BB_MAX_CONFIGS);
  return count;
}

// Cheapest config by the kernel's model, its first if it has none. Returns the cycles, NAN if unknown.
static double estimate(const bb_kernel *kernel, const bb_task *task, int threads, bb_config *best) {
  bb_config configs[BB_MAX_CONFIGS];
  const int count = configs_of(kernel, task, threads, configs);
  *best = configs[0];
  if (!kernel->cycles) return NAN;
  double least = kernel->cycles(task, bb_machine_get(), &configs[0], threads);
  for (int i = 1; i < count; i++) {
    const double cycles = kernel->cycles(task, bb_machine_get(), &configs[i], threads);
    if (cycles < least) {
      least = cycles;
      *best = configs[i];
    }
  }
  return least;
}

static bb_plan_options defaults(const bb_plan_options *given) {
  bb_plan_options options = {.isa = bb_isa_best(), .threads = 1};
  if (given) options = *given;
  options.threads = bb_max(options.threads, 1);
  return options;
}

static const bb_kernel *choose(const bb_task *task, const bb_plan_options *options, bb_config *config) {
  const bb_kernel *best = NULL;
  double least = NAN;
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const bb_kernel *kernel = bb_kernel_at(i);
    if (!within(kernel, task, options) || !accepts(kernel, task)) continue;
    if (best && isnan(least)) break;  // the first has no model: it is taken
    if (best && !kernel->cycles) continue;
    bb_config candidate;
    const double cycles = estimate(kernel, task, options->threads, &candidate);
    if (best && !(cycles < least)) continue;
    best = kernel;
    least = cycles;
    *config = candidate;
  }
  if (best && options->kernel && options->config) *config = *options->config;
  return best;
}

const bb_kernel *bb_kernel_choose(const bb_task *task, const bb_plan_options *given, bb_config *config) {
  const bb_plan_options options = defaults(given);
  bb_config unused;
  return choose(task, &options, config ? config : &unused);
}

// ---- creation ------------------------------------------------------------------------------------------------------

// What the task uses of the weights, the rest NULL.
static bb_status take_weights(const bb_task *task, const bb_weights *given, bb_weights *weights, bb_error *error) {
  const bb_weights none = {0};
  if (!given) given = &none;
  const bool conv = task->problem.op == BB_OP_CONV;
  const bool scale = conv ? task->prologue.scale_shift : task->problem.op == BB_OP_SCALE;
  *weights = (bb_weights){.w = conv ? given->w : NULL,
                          .b = conv && task->epilogue.bias ? given->b : NULL,
                          .scale = scale ? given->scale : NULL,
                          .shift = scale ? given->shift : NULL};
  const char *missing = conv && !weights->w                                                         ? "weights"
                        : conv && task->epilogue.bias && !weights->b                                ? "bias"
                        : conv && task->prologue.scale_shift && !(weights->scale && weights->shift) ? "scale and shift"
                                                                                                    : NULL;
  if (missing) return bb_fail(error, BB_INVALID, "the task uses %s, but none are given", missing);
  return BB_OK;
}

static bb_status refuse(const bb_task *task, const bb_plan_options *options, bb_error *error) {
  char text[160];
  bb_task_print(task, text, sizeof text);
  if (options->kernel && !bb_isa_runs(options->kernel->isa))
    return bb_fail(error, BB_UNSUPPORTED, "%s needs %s, which this machine cannot run", options->kernel->name,
                   bb_isa_name(options->kernel->isa));
  if (options->kernel) return bb_fail(error, BB_UNSUPPORTED, "%s does not accept %s", options->kernel->name, text);
  return bb_fail(error, BB_UNSUPPORTED, "no kernel within isa %s, algorithm %s and layouts c%d to c%d accepts %s",
                 bb_isa_name(options->isa), bb_alg_name(options->alg), task->x.block, task->y.block, text);
}

bb_status bb_plan_create(const bb_task *task, const bb_weights *given, const bb_plan_options *given_options, bb_plan **out,
                         bb_error *error) {
  *out = NULL;
  bb_weights weights;
  bb_status status;
  if ((status = bb_task_validate(task, error)) || (status = take_weights(task, given, &weights, error))) return status;
  const bb_plan_options options = defaults(given_options);
  bb_config config;
  const bb_kernel *kernel = choose(task, &options, &config);
  if (!kernel) return refuse(task, &options, error);

  bb_plan *plan = malloc(sizeof *plan);
  if (!plan) return bb_fail(error, BB_NO_MEMORY, "out of memory for a plan");
  *plan = (bb_plan){.task = *task, .kernel = kernel, .config = config};
  while (plan->stages < BB_MAX_STAGES && kernel->stage[plan->stages].run) plan->stages++;
  if (kernel->packed_bytes) plan->packed_bytes = kernel->packed_bytes(task, &config);
  if (plan->packed_bytes) {
    plan->packed = bb_alloc(plan->packed_bytes);
    if (!plan->packed) {
      const size_t bytes = plan->packed_bytes;
      bb_plan_destroy(plan);
      return bb_fail(error, BB_NO_MEMORY, "out of memory for %zu bytes of packed weights", bytes);
    }
    memset(plan->packed, 0, plan->packed_bytes);
    kernel->pack(&plan->task, &plan->config, &weights, plan->packed);
  }
  *out = plan;
  return BB_OK;
}

void bb_plan_destroy(bb_plan *plan) {
  if (!plan) return;
  free(plan->packed);
  free(plan);
}

const bb_task *bb_plan_task(const bb_plan *plan) { return &plan->task; }
const bb_kernel *bb_plan_kernel(const bb_plan *plan) { return plan->kernel; }
const bb_config *bb_plan_config(const bb_plan *plan) { return &plan->config; }
size_t bb_plan_packed_bytes(const bb_plan *plan) { return plan->packed_bytes; }
const float *bb_plan_packed(const bb_plan *plan) { return plan->packed; }
size_t bb_plan_stages(const bb_plan *plan) { return plan->stages; }

bb_workspace bb_plan_workspace(const bb_plan *plan, int threads) {
  if (!plan->kernel->workspace) return (bb_workspace){0};
  return plan->kernel->workspace(&plan->task, &plan->config, threads);
}

// ---- execution -----------------------------------------------------------------------------------------------------

// One allocation: this struct, then at `shared` the area of all threads, then at `per_thread` one area per thread.
struct bb_exec {
  int threads;
  size_t bytes;  // of the whole allocation
  size_t per_thread_stride;
  char *shared, *per_thread;
};

bb_status bb_exec_create(const bb_plan *const *plans, size_t count, int threads, bb_exec **out) {
  *out = NULL;
  if (threads < 1) return BB_INVALID;
  size_t shared = 0, per_thread = 0;
  for (size_t i = 0; i < count; i++)
    for (int t = 1; t <= threads && plans[i]->kernel->workspace; t++) {  // a smaller pool may need more shared memory
      const bb_workspace w = bb_plan_workspace(plans[i], t);
      if (w.shared > shared) shared = w.shared;
      if (w.per_thread > per_thread) per_thread = w.per_thread;
    }
  if (shared > PTRDIFF_MAX / 2 || per_thread > PTRDIFF_MAX / 4 / (size_t)threads) return BB_NO_MEMORY;
  const size_t header = bb_align_up(sizeof(bb_exec), BB_ALIGN);
  const size_t shared_bytes = bb_align_up(shared, BB_ALIGN);
  const size_t stride = bb_align_up(per_thread, BB_ALIGN);
  const size_t bytes = header + shared_bytes + stride * (size_t)threads;
  char *memory = bb_alloc(bytes);
  if (!memory) return BB_NO_MEMORY;
  bb_exec *exec = (bb_exec *)memory;
  *exec = (bb_exec){.threads = threads,
                    .bytes = bytes,
                    .per_thread_stride = stride,
                    .shared = memory + header,
                    .per_thread = memory + header + shared_bytes};
  *out = exec;
  return BB_OK;
}

void bb_exec_destroy(bb_exec *exec) { free(exec); }
size_t bb_exec_bytes(const bb_exec *exec) { return exec->bytes; }

typedef struct stage_context {
  bb_args args;
  void (*run)(const bb_args *args, size_t first, size_t last);
  size_t per_thread_stride;
} stage_context;

static void run_tiles(void *context, size_t first, size_t last, int thread) {
  const stage_context *c = context;
  bb_args args = c->args;
  args.per_thread += (size_t)thread * c->per_thread_stride;
  c->run(&args, first, last);
}

void bb_plan_run_stage(const bb_plan *plan, size_t stage, bb_exec *exec, bb_pool *pool, const bb_io *io) {
  const int threads = bb_pool_threads(pool);
  const bb_stage *s = &plan->kernel->stage[stage];
  assert(stage < plan->stages && threads <= exec->threads);
  stage_context context = {.args = {.task = &plan->task,
                                    .config = &plan->config,
                                    .packed = plan->packed,
                                    .io = *io,
                                    .shared = exec->shared,
                                    .per_thread = exec->per_thread,
                                    .threads = threads},
                           .run = s->run,
                           .per_thread_stride = exec->per_thread_stride};
  bb_pool_run(pool, s->tiles(&plan->task, &plan->config, threads), run_tiles, &context);
}

void bb_plan_run(const bb_plan *plan, bb_exec *exec, bb_pool *pool, const bb_io *io) {
  for (size_t stage = 0; stage < plan->stages; stage++) bb_plan_run_stage(plan, stage, exec, pool, io);
}
