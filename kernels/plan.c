// SPDX-License-Identifier: Apache-2.0
//
// Plans: which kernel, which config, the packed weights; and their execution.
//
// Choice, estimate mode: the kernels that accept, in the order of kernels.def. If the first of them has a cost model, the
// cheapest (kernel, config) of all that have one; otherwise the first with its first config. Measure mode: the fastest of the
// configs of all kernels of the strongest level that accepts. Wisdom, where it knows the task, comes before either; where it
// knows the bare convolution only, without what is fused to it, before the estimate.

#include "bb.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "common.h"
#include "error.h"
#include "machine.h"
#include "memory.h"
#include "wisdom.h"

struct bb_plan {
  bb_task task;  // its maps are the caller's: they outlive the plan
  const bb_kernel *kernel;
  bb_config config;
  size_t stages;
  size_t packed_bytes;
  float *packed;  // NULL if the kernel packs nothing
  bool moved;     // packed belongs to someone else
};

// ---- choice --------------------------------------------------------------------------------------------------------

static bool accepts(const bb_kernel *kernel, const bb_task *task) {
  return kernel->op == task->problem.op && (kernel->x_block == 0 || kernel->x_block == task->x.block) &&
         (kernel->y_block == 0 || kernel->y_block == task->y.block) && bb_isa_runs(kernel->isa) && kernel->accepts(task);
}

// The next kernel within the options that accepts, in order of preference, *i on; NULL at the end. A kernel asked for by name
// need not be within the cap, nor in the registry.
static const bb_kernel *next_kernel(const bb_task *task, const bb_plan_options *options, size_t *i) {
  if (options->kernel) return (*i)++ == 0 && accepts(options->kernel, task) ? options->kernel : NULL;
  while (*i < bb_kernel_count()) {
    const bb_kernel *kernel = bb_kernel_at((*i)++);
    const bool alg =
        kernel->op != BB_OP_CONV ||
        (options->alg == BB_ALG_AUTO ? bb_accuracy_admits(options->accuracy, kernel->alg) : kernel->alg == options->alg);
    if (alg && bb_isa_within(kernel->isa, options->isa) && accepts(kernel, task)) return kernel;
  }
  return NULL;
}

static bb_machine machine_of(const bb_plan_options *options) {
  bb_machine machine = *bb_machine_get();
  machine.cold = options->cold;
  return machine;
}

// The kernel's candidates, best guess first; at least one.
static int configs_of(const bb_kernel *kernel, const bb_task *task, const bb_plan_options *options,
                      bb_config configs[BB_MAX_CONFIGS]) {
  configs[0] = options->kernel && options->config ? *options->config : (bb_config){0};
  if (!kernel->configs || (options->kernel && options->config)) return 1;
  const bb_machine machine = machine_of(options);
  const int count = kernel->configs(task, &machine, options->threads, configs, BB_MAX_CONFIGS);
  assert(count >= 1 && count <= BB_MAX_CONFIGS);
  return count;
}

// The options in full. A cap above what the machine or BB_ISA allow says no more than they do.
static bb_plan_options complete(const bb_plan_options *given) {
  const bb_isa best = bb_isa_best();
  bb_plan_options options = {.isa = best};
  if (given) options = *given;
  if (bb_isa_within(best, options.isa)) options.isa = best;
  options.threads = bb_max(options.threads, 1);
  return options;
}

static const bb_kernel *estimate(const bb_task *task, const bb_plan_options *options, bb_config *config) {
  const bb_kernel *best = NULL, *kernel;
  double least = INFINITY;
  const bb_machine machine = machine_of(options);
  for (size_t i = 0; (kernel = next_kernel(task, options, &i));) {
    if (best && !kernel->cycles) continue;
    bb_config configs[BB_MAX_CONFIGS];
    const int count = configs_of(kernel, task, options, configs);
    if (!best) {
      best = kernel;
      *config = configs[0];
      if (!kernel->cycles) break;  // the first has no model: it is taken
    }
    for (int c = 0; c < count; c++) {
      const double cycles = kernel->cycles(task, &machine, &configs[c], options->threads);
      if (!(cycles < least)) continue;
      best = kernel;
      *config = configs[c];
      least = cycles;
    }
  }
  return best;
}

const bb_kernel *bb_kernel_choose(const bb_task *task, const bb_plan_options *given, bb_config *config) {
  const bb_plan_options options = complete(given);
  bb_config unused;
  return estimate(task, &options, config ? config : &unused);
}

int bb_plan_candidates(const bb_task *task, const bb_plan_options *given, bb_candidate *out, int max) {
  const bb_plan_options options = complete(given);
  const bb_machine machine = machine_of(&options);
  int count = 0;
  const bb_kernel *kernel, *first = NULL;
  for (size_t i = 0; (kernel = next_kernel(task, &options, &i));) {
    if (!first) first = kernel;
    if (kernel->isa != first->isa) continue;
    bb_config configs[BB_MAX_CONFIGS];
    const int n = configs_of(kernel, task, &options, configs);
    for (int c = 0; c < n; c++, count++) {
      if (count >= max) continue;
      const double cycles = kernel->cycles ? kernel->cycles(task, &machine, &configs[c], options.threads) : NAN;
      out[count] = (bb_candidate){kernel, configs[c], cycles};
    }
  }
  return count;
}

// What wisdom says, if it still holds: a new build may have other kernels or configs of the same names.
static const bb_kernel *remember(const bb_task *task, const bb_plan_options *options, bb_config *config) {
  bb_lesson lesson;
  if (!options->wisdom ||
      !(bb_wisdom_find(options->wisdom, task, options, BB_WISDOM_TASK, &lesson) ||
        (options->mode == BB_PLAN_ESTIMATE && bb_wisdom_find(options->wisdom, task, options, BB_WISDOM_BARE, &lesson))))
    return NULL;
  const bb_kernel *kernel;
  for (size_t i = 0; (kernel = next_kernel(task, options, &i));) {
    if (strcmp(kernel->name, lesson.kernel) != 0) continue;
    bb_config configs[BB_MAX_CONFIGS];
    const int count = configs_of(kernel, task, options, configs);
    for (int c = 0; c < count; c++) {
      if (memcmp(&configs[c], &lesson.config, sizeof *configs) != 0) continue;
      *config = configs[c];
      return kernel;
    }
  }
  return NULL;
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
  const char *missing = NULL;
  if (conv && scale && !(weights->scale && weights->shift)) missing = "scale and shift of its input";
  if (conv && task->epilogue.bias && !weights->b) missing = "a bias";
  if (conv && !weights->w) missing = "weights";
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

// Packs for a kernel and config that are chosen.
static bb_status make_plan(const bb_task *task, const bb_weights *weights, const bb_kernel *kernel, const bb_config *config,
                           bb_plan **out, bb_error *error) {
  *out = NULL;
  bb_plan *plan = malloc(sizeof *plan);
  if (!plan) return bb_fail(error, BB_NO_MEMORY, "out of memory for a plan");
  *plan = (bb_plan){.task = *task, .kernel = kernel, .config = *config};
  while (plan->stages < BB_MAX_STAGES && kernel->stage[plan->stages].run) plan->stages++;
  if (kernel->packed_bytes) plan->packed_bytes = kernel->packed_bytes(task, config);
  if (plan->packed_bytes) {
    plan->packed = bb_alloc(plan->packed_bytes);
    if (!plan->packed) {
      free(plan);
      return bb_fail(error, BB_NO_MEMORY, "out of memory for the packed weights of %s", kernel->name);
    }
    memset(plan->packed, 0, plan->packed_bytes);  // kernels may leave gaps
    kernel->pack(&plan->task, &plan->config, weights, plan->packed);
  }
  *out = plan;
  return BB_OK;
}

// With memory of its own.
static bb_status copy_plan(const bb_plan *plan, bb_plan **out, bb_error *error) {
  float *packed = bb_alloc(plan->packed_bytes);
  if (!packed || bb_plan_copy(plan, packed, out) != BB_OK) {
    free(packed);
    return bb_fail(error, BB_NO_MEMORY, "out of memory for a copy of the packed weights of %s", plan->kernel->name);
  }
  (*out)->moved = false;
  return BB_OK;
}

// ---- measuring -----------------------------------------------------------------------------------------------------

// Bounds of one measurement. A batch is long against the timer and against a thread's start; calls that are longer than
// `long_call` fill the caches by themselves. Rounds: at first as many as it takes to tell candidates apart, then more for those
// that are near each other, as long as that lets a network of 50 different layers be planned in two minutes.
enum { MAX_CANDIDATES = 256, MAX_RUNNERS = 32, MAX_ROUNDS = 255, LEAST_ROUNDS = 9 };
static const double batch_seconds = 500e-6, long_call = 10e-3, least_seconds = 0.2, near_seconds = 2, most_seconds = 4;
// Whose least time after so many rounds and seconds is more than so many times the least of all is out. A host may take a
// processor away for tens of milliseconds.
static const struct {
  int rounds;
  double seconds, limit;
} cuts[] = {{1, 0.05, 1.5}, {3, 0.1, 1.2}, {6, 0.15, 1.1}};
enum { SPREAD_AFTER = 2 };  // cuts: see spread
// Estimates are off by less than this factor: what is predicted to be slower does not run.
static const double hopeless = 2;
// Ratios below this are noise: no more rounds for them, and the least estimate wins, where there are none the first.
static const double near = 1.01;
static const size_t max_packed_bytes = (size_t)1 << 30;  // of all that run, copies included

// Where weights happen to lie makes up to 10 % of a call (cache sets, pages): batches go through copies of them in turn. Those
// that the first cuts send away need none.
enum { LEAST_COPIES = 3, MAX_COPIES = 8 };
static const size_t copied_bytes[] = {(size_t)16 << 20, (size_t)48 << 20};  // of a candidate's copies together, hot and cold
// Hot weights of more than this take a good part of a last cache: they are in it only after some calls.
static const size_t heavy_bytes = (size_t)8 << 20;
enum { HEAVY_CALLS = 5 };

typedef struct runner {
  bb_candidate candidate;
  bb_plan *plan[MAX_COPIES];
  int copies, next;
  int calls;  // in a batch
  bool out;
  double least, seconds[MAX_ROUNDS];  // of a call
} runner;

// Where activations and the workspace lie makes as much: rounds go through several of these.
enum { MAX_ARENAS = 3 };
static const size_t arena_bytes = (size_t)256 << 20;  // of all together, unless one has more

typedef struct arena {
  bb_io io;
  bb_exec *exec;
  void *memory;
  size_t bytes;  // of memory
} arena;

// What all candidates run on.
typedef struct ground {
  arena arena[MAX_ARENAS];
  int arenas;
  char *pages;  // for forget_pages; NULL: none
} ground;

// Weights that have not been used for long are in no TLB either, and walks of page tables take a good part of their time. A
// read of each of so many pages pushes all others out of any TLB; the pages are never written, so that all of them are the
// system's one page of zeros and take the place of no other line in the caches.
enum { PAGES = 8192, PAGE = 4096 };

// NULL if there are none: then translations stay warm.
static char *make_pages(void) {
  void *p = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return NULL;
#ifdef MADV_NOHUGEPAGE
  (void)madvise(p, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE);
#endif
  return p;
}

static void touch_pages(const void *memory, size_t bytes) {
  const volatile char *p = memory;
  for (size_t i = 0; i < bytes && i < (size_t)PAGES * PAGE; i += PAGE) (void)p[i];
}

typedef struct forgetting {
  const char *pages;
  const arena *keep;  // activations and workspace
} forgetting;

// Tiles for every thread, long enough for all to wake up.
static void forget_pages(void *context, size_t first, size_t last, int thread) {
  const forgetting *f = context;
  (void)thread;
  const double end = bb_seconds() + 10e-6 * (double)(last - first);
  if (f->pages) touch_pages(f->pages, (size_t)PAGES * PAGE);
  touch_pages(f->keep->memory, f->keep->bytes);
  touch_pages(f->keep->exec, bb_exec_bytes(f->keep->exec));
  while (bb_seconds() < end) {
  }
}

static size_t packed_bytes(const bb_task *task, const bb_candidate *c) {
  return c->kernel->packed_bytes ? c->kernel->packed_bytes(task, &c->config) : 0;
}

// The candidates worth a try, in order of preference: not hopeless, and if they are too many or their weights too large
// together, those with the least estimates.
static int line_up(const bb_task *task, const bb_plan_options *options, runner list[MAX_RUNNERS]) {
  bb_candidate all[MAX_CANDIDATES];
  bool taken[MAX_CANDIDATES] = {false};
  const int count = bb_min(bb_plan_candidates(task, options, all, MAX_CANDIDATES), MAX_CANDIDATES);
  double least = INFINITY;
  for (int i = 0; i < count; i++) least = fmin(least, all[i].cycles);  // fmin leaves NaN out
  size_t bytes = 0;
  int n = 0;
  for (; n < MAX_RUNNERS; n++) {
    int next = -1;
    for (int i = 0; i < count; i++)
      if (!taken[i] && !(all[i].cycles > hopeless * least) && (next < 0 || all[i].cycles < all[next].cycles)) next = i;
    if (next < 0) break;
    bytes += packed_bytes(task, &all[next]);
    if (n && bytes > max_packed_bytes) break;
    taken[next] = true;
  }
  for (int i = 0, k = 0; i < count; i++)
    if (taken[i]) list[k++] = (runner){.candidate = all[i], .calls = 1, .least = INFINITY};
  return n;
}

// Values of magnitude 1: denormals would be slow, zeros could be fast.
static void fill(float *p, size_t floats) {
  for (size_t i = 0; i < floats; i++) p[i] = (float)((i * 2654435761u >> 8) % 255) / 127 - 1;
}

// Memory of so many arrays of floats in one allocation, filled; NULL where an array has none.
static size_t bytes_of(const size_t *floats, size_t count) {
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++) bytes += bb_align_up(floats[i] * sizeof(float), BB_ALIGN);
  return bytes;
}

static void *allocate(const size_t *floats, float **at, size_t count) {
  const size_t bytes = bytes_of(floats, count);
  char *memory = bb_alloc(bytes), *next = memory;
  if (!memory) return NULL;
  fill((float *)(void *)memory, bytes / sizeof(float));
  for (size_t i = 0; i < count; i++) {
    at[i] = floats[i] ? (float *)(void *)next : NULL;
    next += bb_align_up(floats[i] * sizeof(float), BB_ALIGN);
  }
  return memory;
}

// Buffers of all arguments.
static bb_status make_arena(const bb_task *task, const bb_plan *const *plans, int count, int threads, arena *a) {
  const bool two = task->problem.op == BB_OP_ELTWISE || task->epilogue.residual;
  const size_t x_lanes = (size_t)task->x.N * (size_t)bb_map_lanes(task->x.map);
  const size_t y_lanes = (size_t)task->y.N * (size_t)bb_map_lanes(task->y.map);
  float *at[7];
  const size_t floats[7] = {bb_view_size(&task->x),
                            two ? bb_view_size(&task->x2) : 0,
                            task->prologue.dynamic_scale ? x_lanes : 0,
                            task->epilogue.scale ? y_lanes : 0,
                            bb_view_size(&task->y),
                            task->epilogue.second ? bb_view_size(&task->y2) : 0,
                            task->epilogue.gap ? y_lanes : 0};
  *a = (arena){.memory = allocate(floats, at, BB_COUNT(floats))};
  if (!a->memory) return BB_NO_MEMORY;
  a->io = (bb_io){.x = at[0], .x2 = at[1], .x_scale = at[2], .y_scale = at[3], .y = at[4], .y2 = at[5], .gap = at[6]};
  const bb_status status = bb_exec_create(plans, (size_t)count, threads, &a->exec);
  if (status) free(a->memory);
  a->bytes = bytes_of(floats, BB_COUNT(floats));
  return status;
}

static void free_ground(ground *g) {
  for (int i = 0; i < g->arenas; i++) {
    bb_exec_destroy(g->arena[i].exec);
    free(g->arena[i].memory);
  }
  if (g->pages) munmap(g->pages, (size_t)PAGES * PAGE);
}

static bb_status make_ground(const bb_task *task, const bb_plan *const *plans, int count, const bb_plan_options *options,
                             ground *g) {
  *g = (ground){.pages = options->cold ? make_pages() : NULL};
  bb_status status;
  size_t bytes;
  do {
    arena *a = &g->arena[g->arenas];
    status = make_arena(task, plans, count, options->threads, a);
    g->arenas += !status;
    bytes = status ? 0 : a->bytes + bb_exec_bytes(a->exec);
  } while (!status && g->arenas < MAX_ARENAS && (size_t)(g->arenas + 1) * bytes <= arena_bytes);
  if (status) free_ground(g);
  return status;
}

// Plans of all runners, of weights made up: speed does not depend on them.
static bb_status pack_all(const bb_task *task, runner *list, int count, bb_error *error) {
  float *at[4];
  size_t floats[4] = {0};
  const int C = task->x.C;
  if (task->problem.op == BB_OP_CONV) {
    const bb_conv *c = &task->problem.conv;
    floats[0] = (size_t)c->K * (size_t)(c->C / c->G) * (size_t)c->R * (size_t)c->S;
    floats[1] = task->epilogue.bias ? (size_t)c->K : 0;
  }
  if (task->prologue.scale_shift || task->problem.op == BB_OP_SCALE) floats[2] = floats[3] = (size_t)C;
  void *memory = allocate(floats, at, BB_COUNT(floats));
  if (!memory) return bb_fail(error, BB_NO_MEMORY, "out of memory for the weights of a measurement");
  const bb_weights weights = {.w = at[0], .b = at[1], .scale = at[2], .shift = at[3]};
  bb_status status = BB_OK;
  for (int i = 0; i < count && !status; i++) {
    runner *r = &list[i];
    status = make_plan(task, &weights, r->candidate.kernel, &r->candidate.config, &r->plan[0], error);
    r->copies = !status;
  }
  free(memory);
  return status;
}

// Copies of the packed weights of all that are not out, in other places. Cold weights need some, see time_batch; hot ones that
// take a good part of the last cache only get hot when they are used again and again.
static bb_status spread(runner *list, int count, bool cold, bb_error *error) {
  bb_status status = BB_OK;
  size_t all = 0;
  for (int i = 0; i < count; i++) all += list[i].plan[0]->packed_bytes;
  for (int i = 0; i < count; i++) {
    runner *r = &list[i];
    const size_t bytes = r->plan[0]->packed_bytes;
    int wanted = 1;
    if (bytes && bytes <= copied_bytes[cold])
      wanted = bb_max(cold ? LEAST_COPIES : 1, bb_min(MAX_COPIES, (int)(copied_bytes[cold] / bytes)));
    for (; !status && !r->out && r->copies < wanted && all + bytes <= max_packed_bytes; all += bytes) {
      status = copy_plan(r->plan[0], &r->plan[r->copies], error);
      r->copies += !status;
    }
  }
  return status;
}

// Seconds of a call. Hot: a batch of calls after one or HEAVY_CALLS that fill the caches again, unless calls are long. Cold:
// each call with its weights in no cache and no TLB, and all else as a call with other weights left it, as the layers before it
// do in a network. Weights are evicted one call ahead, and are not those of the call before: lines that eviction left free
// would be filled sooner.
static double time_batch(runner *r, const ground *g, int round, const bb_plan_options *options) {
  double seconds = 0;
  const arena *a = &g->arena[round % g->arenas];
  forgetting forget = {g->pages, a};
  if (!options->cold) {
    const bb_plan *plan = r->plan[r->next++ % r->copies];
    const int before = r->least >= long_call ? 0 : plan->packed_bytes > heavy_bytes ? HEAVY_CALLS : 1;
    for (int i = 0; i < before; i++) bb_plan_run(plan, a->exec, options->pool, &a->io);
    const double start = bb_seconds();
    for (int i = 0; i < r->calls; i++) bb_plan_run(plan, a->exec, options->pool, &a->io);
    seconds = bb_seconds() - start;
  }
  for (int i = r->least < long_call ? -1 : 0; i < r->calls && options->cold; i++) {
    const bb_plan *plan = r->plan[r->next++ % r->copies], *next = r->plan[r->next % r->copies];
    bb_evict(next->packed, next->packed_bytes);
    if (i >= 0) bb_pool_run(options->pool, options->threads > 1 ? 4 * (size_t)options->threads : 1, forget_pages, &forget);
    const double start = bb_seconds();
    bb_plan_run(plan, a->exec, options->pool, &a->io);
    seconds += i >= 0 ? bb_seconds() - start : 0;
  }
  return seconds / r->calls;
}

static int compare_seconds(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Ratios of the times of r to those of `to`, round by round, sorted.
static void ratios(const runner *r, const runner *to, int rounds, double sorted[MAX_ROUNDS]) {
  for (int i = 0; i < rounds; i++) sorted[i] = r->seconds[i] / to->seconds[i];
  qsort(sorted, (size_t)rounds, sizeof *sorted, compare_seconds);
}

// The lower quartile of the times: what disturbs a call makes it longer, seldom shorter.
static double typical(const runner *r, int rounds) {
  double sorted[MAX_ROUNDS];
  memcpy(sorted, r->seconds, (size_t)rounds * sizeof *sorted);
  qsort(sorted, (size_t)rounds, sizeof *sorted, compare_seconds);
  return sorted[(rounds - 1) / 4];
}

// Where the 95 % interval of the median of so many sorted values begins.
static int least_rank(int rounds) { return bb_max(0, (int)(0.5 * rounds - 0.98 * sqrt(rounds))); }

static int leader_of(const runner *list, int count, int rounds) {
  int leader = -1;
  for (int i = 0; i < count; i++)
    if (!list[i].out && (leader < 0 || typical(&list[i], rounds) < typical(&list[leader], rounds))) leader = i;
  return leader;
}

static void cut(runner *list, int count, double limit) {
  double least = INFINITY;
  for (int i = 0; i < count; i++) least = list[i].out ? least : fmin(least, list[i].least);
  for (int i = 0; i < count; i++) list[i].out |= list[i].least > limit * least;
}

// Rounds over all candidates, so that a change of the clock or a busy neighbour meets them all. The first cuts send away what
// is far behind even at its best; then those leave whose ratio to the leader, round by round, is not near with 95 % confidence
// (order statistics around the median, as bench/stats.h has them). Ends when the others are near or out, or time is up.
static bb_status race(runner *list, int count, const ground *g, const bb_plan_options *options, int *winner, bb_error *error) {
  const double start = bb_seconds();
  int rounds = 0, leader = 0;
  size_t cut_so_far = 0;
  for (int i = 0; i < count; i++) {  // warm up
    list[i].least = time_batch(&list[i], g, 0, options);
    list[i].calls = 1 + (int)(batch_seconds / fmax(list[i].least, 1e-7));
  }
  for (bool open = true; open && rounds < MAX_ROUNDS;) {
    for (int i = 0; i < count; i++) {
      if (list[i].out) continue;
      const double seconds = time_batch(&list[i], g, rounds, options);
      list[i].seconds[rounds] = seconds;
      list[i].least = fmin(list[i].least, seconds);
    }
    rounds++;
    const double spent = bb_seconds() - start;
    if (cut_so_far < BB_COUNT(cuts) && rounds >= cuts[cut_so_far].rounds && spent >= cuts[cut_so_far].seconds) {
      cut(list, count, cuts[cut_so_far++].limit);
      const bb_status status = cut_so_far == SPREAD_AFTER ? spread(list, count, options->cold, error) : BB_OK;
      if (status) return status;
    }
    leader = leader_of(list, count, rounds);
    double sorted[MAX_ROUNDS];
    open = false;
    for (int i = 0; i < count; i++) {
      if (list[i].out || i == leader) continue;
      if (rounds >= LEAST_ROUNDS && spent >= least_seconds) {
        ratios(&list[i], &list[leader], rounds, sorted);
        const int below = least_rank(rounds);
        list[i].out |= sorted[below] > near;
        if (sorted[rounds - 1 - below] < near) continue;
      }
      open |= !list[i].out;
    }
    open &= spent < (rounds < LEAST_ROUNDS ? most_seconds : near_seconds);
  }
  *winner = leader;
  for (int i = 0; i < count; i++) {
    double sorted[MAX_ROUNDS];
    if (list[i].out || i == leader) continue;
    ratios(&list[i], &list[leader], rounds, sorted);
    if (sorted[rounds / 2] > near) continue;
    const double cycles = list[i].candidate.cycles, least = list[*winner].candidate.cycles;
    if (cycles < least || (isnan(cycles) && isnan(least) && i < *winner)) *winner = i;
  }
  return BB_OK;
}

// The fastest candidate.
static bb_status measure(const bb_task *task, const bb_plan_options *options, const bb_kernel **kernel, bb_config *config,
                         bb_error *error) {
  if (bb_pool_threads(options->pool) != options->threads)
    return bb_fail(error, BB_INVALID, "measuring for %d threads on a pool of %d", options->threads,
                   bb_pool_threads(options->pool));
  runner *list = malloc(MAX_RUNNERS * sizeof *list);
  if (!list) return bb_fail(error, BB_NO_MEMORY, "out of memory for a measurement");
  const int count = line_up(task, options, list);
  int winner = 0;
  bb_status status = count ? BB_OK : refuse(task, options, error);
  if (count > 1) {
    const bb_plan *plans[MAX_RUNNERS];
    ground g;
    status = pack_all(task, list, count, error);
    for (int i = 0; i < count; i++) plans[i] = list[i].plan[0];
    if (!status && (status = make_ground(task, plans, count, options, &g)))
      bb_fail(error, status, "out of memory for the buffers of a measurement");
    if (!status) {
      status = race(list, count, &g, options, &winner, error);
      free_ground(&g);
    }
    for (int i = 0; i < count; i++)
      for (int k = 0; k < list[i].copies; k++) bb_plan_destroy(list[i].plan[k]);
  }
  if (!status) {
    *kernel = list[winner].candidate.kernel;
    *config = list[winner].candidate.config;
    if (count > 1 && options->wisdom && bb_wisdom_add(options->wisdom, task, options, BB_WISDOM_TASK, *kernel, config))
      status = bb_fail(error, BB_NO_MEMORY, "out of memory for a line of wisdom");
  }
  free(list);
  return status;
}

static bb_status choose(const bb_task *task, const bb_plan_options *options, const bb_kernel **kernel, bb_config *config,
                        bb_error *error) {
  *kernel = remember(task, options, config);
  if (*kernel) return BB_OK;
  if (options->mode == BB_PLAN_MEASURE) return measure(task, options, kernel, config, error);
  *kernel = estimate(task, options, config);
  return *kernel ? BB_OK : refuse(task, options, error);
}

bb_status bb_plan_choose(const bb_task *task, const bb_plan_options *given, const bb_kernel **kernel, bb_config *config,
                         bb_error *error) {
  *kernel = NULL;
  const bb_plan_options options = complete(given);
  const bb_status status = bb_task_validate(task, error);
  return status ? status : choose(task, &options, kernel, config, error);
}

bb_status bb_plan_create(const bb_task *task, const bb_weights *given, const bb_plan_options *given_options, bb_plan **out,
                         bb_error *error) {
  *out = NULL;
  bb_weights weights;
  bb_status status;
  if ((status = bb_task_validate(task, error)) || (status = take_weights(task, given, &weights, error))) return status;
  const bb_plan_options options = complete(given_options);
  bb_config config;
  const bb_kernel *kernel;
  status = choose(task, &options, &kernel, &config, error);
  return status ? status : make_plan(task, &weights, kernel, &config, out, error);
}

void bb_plan_destroy(bb_plan *plan) {
  if (!plan) return;
  if (!plan->moved) free(plan->packed);
  free(plan);
}

void bb_plan_move(bb_plan *plan, float *memory) {
  if (!plan->packed) return;
  memcpy(memory, plan->packed, plan->packed_bytes);
  if (!plan->moved) free(plan->packed);
  plan->packed = memory;
  plan->moved = true;
}

bb_status bb_plan_copy(const bb_plan *plan, float *memory, bb_plan **copy) {
  *copy = malloc(sizeof **copy);
  if (!*copy) return BB_NO_MEMORY;
  **copy = *plan;
  if (!plan->packed) return BB_OK;
  memcpy(memory, plan->packed, plan->packed_bytes);
  (*copy)->packed = memory;
  (*copy)->moved = true;
  return BB_OK;
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

// One allocation: this struct, then at `shared` the area of all threads, then at `per_thread` one area per thread, behind a
// line with the number of the last run of a stage that used it.
struct bb_exec {
  int threads;
  size_t bytes;  // of the whole allocation
  size_t per_thread_stride;
  char *shared, *per_thread;
  uint64_t runs;    // of stages
  bb_times *times;  // NULL: nobody wants to know
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
  const size_t stride = BB_ALIGN + bb_align_up(per_thread, BB_ALIGN);
  const size_t bytes = header + shared_bytes + stride * (size_t)threads;
  char *memory = bb_alloc(bytes);
  if (!memory) return BB_NO_MEMORY;
  bb_exec *exec = (bb_exec *)memory;
  *exec = (bb_exec){.threads = threads,
                    .bytes = bytes,
                    .per_thread_stride = stride,
                    .shared = memory + header,
                    .per_thread = memory + header + shared_bytes};
  for (int t = 0; t < threads; t++) memset(exec->per_thread + (size_t)t * stride, 0, sizeof exec->runs);
  *out = exec;
  return BB_OK;
}

void bb_exec_destroy(bb_exec *exec) { free(exec); }
size_t bb_exec_bytes(const bb_exec *exec) { return exec->bytes; }
void bb_exec_time(bb_exec *exec, bb_times *times) { exec->times = times; }

// Of a call of a stage: ticks of its parts; begins with part 0.
struct bb_clock {
  uint64_t since, ticks[BB_MAX_PARTS];
  int part;
};

void bb_clock_part(bb_clock *clock, int i) {
  const uint64_t now = bb_ticks();
  clock->ticks[clock->part] += now - clock->since;
  clock->since = now;
  clock->part = i;
}

typedef struct stage_context {
  bb_args args;
  void (*run)(const bb_args *args, size_t first, size_t last);
  size_t per_thread_stride;
  uint64_t number;  // of this run
  uint64_t *busy, *part;
} stage_context;

static void call_stage(const stage_context *c, size_t first, size_t last, int thread, bb_clock *clock) {
  bb_args args = c->args;
  args.clock = clock;
  char *const area = args.per_thread + (size_t)thread * c->per_thread_stride;
  uint64_t *const last_run = (uint64_t *)(void *)area;
  args.kept = *last_run == c->number;
  *last_run = c->number;
  args.per_thread = area + BB_ALIGN;
  c->run(&args, first, last);
}

static void run_tiles(void *context, size_t first, size_t last, int thread) { call_stage(context, first, last, thread, NULL); }

static void time_tiles(void *context, size_t first, size_t last, int thread) {
  const stage_context *c = context;
  const uint64_t start = bb_ticks();
  bb_clock clock = {.since = start};
  call_stage(context, first, last, thread, &clock);
  bb_clock_part(&clock, 0);
  __atomic_fetch_add(c->busy, clock.since - start, __ATOMIC_RELAXED);
  for (int i = 0; c->part && i < BB_MAX_PARTS; i++) __atomic_fetch_add(&c->part[i], clock.ticks[i], __ATOMIC_RELAXED);
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
                           .per_thread_stride = exec->per_thread_stride,
                           .number = ++exec->runs,
                           .busy = exec->times ? &exec->times->busy[stage] : NULL,
                           .part = exec->times && stage == 0 ? exec->times->part : NULL};
  bb_pool_run(pool, s->tiles(&plan->task, &plan->config, threads), exec->times ? time_tiles : run_tiles, &context);
}

void bb_plan_run(const bb_plan *plan, bb_exec *exec, bb_pool *pool, const bb_io *io) {
  const uint64_t start = exec->times ? bb_ticks() : 0;
  for (size_t stage = 0; stage < plan->stages; stage++) bb_plan_run_stage(plan, stage, exec, pool, io);
  if (exec->times) exec->times->run += bb_ticks() - start;
}
