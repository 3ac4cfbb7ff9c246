// SPDX-License-Identifier: Apache-2.0
//
// The public interface: ISA and machine, problems, maps and views, the registry, plans, the pool.
//
// Functions that can fail return bb_status, put their result through a pointer (NULL on failure) and say in *error what, where
// and what was expected. Destroy functions accept NULL.

#ifndef BB_H
#define BB_H

#include "kernel.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_VERSION "0.1.0"

const char *bb_status_string(bb_status status);

// ---- ISA and machine -----------------------------------------------------------------------------------------------

// The strongest level that this CPU and OS support and this build contains, capped by the environment variable BB_ISA (a
// level's name; it can only take away; an unknown name is ignored here and refused by the command line).
bb_isa bb_isa_best(void);
// Does this build contain the level, and can it run here? BB_ISA is not considered.
bool bb_isa_runs(bb_isa isa);
// May a kernel of this level be used when the cap is `cap`?
bool bb_isa_within(bb_isa isa, bb_isa cap);
const char *bb_isa_name(bb_isa isa);
bool bb_isa_parse(const char *name, bb_isa *isa);
// Lanes per channel block of the level: 16, 8, 4; 1 for generic.
int bb_isa_block(bb_isa isa);

// Caches in bytes, 0 = unknown. Plain data, so that a plan can be made for another machine.
struct bb_machine {
  size_t l1d, l2, l3;
  int cores;          // processors that this process may use
  char cpu[96];       // brand string, blanks squeezed; family and model
  int fma512;         // 512-bit FMAs a core starts per cycle, 1 or 2
  bool blends_apart;  // blends are free beside FMAs
  // Constants of the cost models: what one core streams; what a stream from memory takes on all threads, of its time on one;
  // what each gets of L3 where several stream, of what one gets; cycles of a line that one core writes and another reads.
  double dram_bytes_per_cycle, l3_bytes_per_cycle, l2_bytes_per_cycle;
  double dram_share, l3_share;
  double transfer_cycles;
  bool cold;  // of the run that is planned: its packed weights are in no cache. False in bb_machine_get
};
const bb_machine *bb_machine_get(void);

// ---- problems ------------------------------------------------------------------------------------------------------

// BB_INVALID with a sentence if no implementation could do it: sizes, strides, dilations < 1, padding < 0 or >= the filter's
// extent, channels not divisible by groups, P or Q that contradict the rest, 2^31 pixels or more in all images of a tensor,
// byte counts that overflow.
bb_status bb_problem_validate(const bb_problem *problem, bb_error *error);
// Problem, then fused parts and views (shapes, maps, strides) against it.
bb_status bb_task_validate(const bb_task *task, bb_error *error);

// Text form of a convolution: benchdnn's grammar and defaults (dilation is written 0-based there), then optional fused parts:
//   g1mb1ic64ih56oc64oh56kh3ph1n"resnet50.layer1.0.conv2*3" +bias+add+relu
// Fused parts, each at most once, in any order: of the input +pre_scale +pre_bn +pre_relu; of the output +bias, +add (residual
// before the activation), +<bb_act_name> or +leaky_relu:0.1, +scale, +addafter, +second, +gap. The grammar and every default
// stand at the top of problem.c. Fills problem, prologue and epilogue, paddings canonical (none that no window reaches); the
// views are left to bb_task_views. name (empty if none) and count (1 if none) may be NULL.
bb_status bb_conv_parse(const char *text, bb_task *task, char name[64], int *count, bb_error *error);
// Canonical text of the problem and fused parts of any task (of other operations for people only); always NUL-terminated.
// bb_conv_parse makes the same task of it.
// Returns the length that it would have, as snprintf.
int bb_task_print(const bb_task *task, char *text, size_t size);

const char *bb_op_name(bb_op op);
const char *bb_act_name(bb_act act);  // "relu", "leaky_relu", ...
const char *bb_alg_name(bb_alg alg);  // "direct", "wino43", ...
const char *bb_accuracy_name(bb_accuracy accuracy);
bool bb_accuracy_admits(bb_accuracy accuracy, bb_alg alg);

// 2*MAC of the direct algorithm: taps on real pixels only / padding taps too.
double bb_conv_flops_valid(const bb_conv *conv);
double bb_conv_flops(const bb_conv *conv);
// kappa*u*sqrt(L), L = terms*(1 + 1/8): an unblocked chain of `terms` fp32 FMAs on random data, kappa = 0.5 (0.21 observed).
double bb_error_bound_direct(const bb_task *task, const bb_config *config);

// Shape of the input and the output of a problem.
void bb_problem_shape(const bb_problem *problem, int x[4], int y[4]);

// ---- maps and views ------------------------------------------------------------------------------------------------

// Channels in order, the last block padded. The map lives until the end of the process and is shared; NULL if out of memory.
const bb_map *bb_map_identity(int channels, int block);
// Parts one after the other, each padded to whole blocks: what a concatenation without copies looks like. Owned by the caller.
bb_status bb_map_create(const int *part_channels, int parts, int block, bb_map **map);
// From explicit lanes (blocks*block entries, copied).
bb_status bb_map_create_lanes(const int *lane, int blocks, int block, bb_map **map);
void bb_map_destroy(bb_map *map);
bool bb_map_equal(const bb_map *a, const bb_map *b);

// Dense view: rows without gaps; in blocked layouts planes are padded to whole lines, and to one more line where their stride
// would be a multiple of 4096 bytes; a tensor of one pixel is packed, N x lanes.
bb_view bb_view_dense(int N, int C, int H, int W, const bb_map *map);
// Floats from the first to one past the last element of the view.
size_t bb_view_size(const bb_view *view);
// Offset in floats of a logical element.
size_t bb_view_offset(const bb_view *view, int n, int c, int h, int w);
bool bb_view_equal(const bb_view *a, const bb_view *b);

// Plain copies between any two views of one shape, for tests, weights and tools: simple, not fast. y's empty lanes become 0.
void bb_view_copy(const bb_view *x, const float *x_data, const bb_view *y, float *y_data);

// Fills task->x, y, x2, y2 with the dense views in the kernel's layouts and identity maps.
bb_status bb_task_views(bb_task *task, int x_block, int y_block);

// ---- registry ------------------------------------------------------------------------------------------------------

size_t bb_kernel_count(void);
const bb_kernel *bb_kernel_at(size_t i);  // in order of preference
const bb_kernel *bb_kernel_find(const char *name);
// The knobs of a config in the order of its fields, as in wisdom files; returns like snprintf.
int bb_config_print(const bb_config *config, char *text, size_t size);

// ---- pool ----------------------------------------------------------------------------------------------------------

typedef struct bb_pool bb_pool;

typedef struct bb_pool_options {
  int threads;      // >= 1, the caller is thread 0
  long spin_us;     // how long an idle worker spins before it sleeps; < 0 = for ever
  const int *cpus;  // processors to pin to, one per thread; NULL = those of the inherited affinity mask in turn
  bool pin;
} bb_pool_options;

typedef struct bb_pool_stats {
  uint64_t runs, tiles, steals;
  uint64_t idle_ns;
} bb_pool_stats;

// Workers that wait in the pool until it is destroyed. BB_NO_THREAD if one cannot be made (those made are joined).
bb_status bb_pool_create(const bb_pool_options *options, bb_pool **pool, bb_error *error);
void bb_pool_destroy(bb_pool *pool);
int bb_pool_threads(const bb_pool *pool);  // 1 for NULL

// Replaces
//   for (size_t i = 0; i < n; i++) fn(context, i, i + 1, 0);
// by calls fn(context, first, last, thread) on disjoint ranges that cover [0, n), each thread index at most once at a time.
// Thread t starts on the t-th contiguous share, so that the same tiles go to the same core from run to run; idle threads steal
// from the far end. Returns when all calls have. Workers run under the caller's floating-point control state. A NULL pool runs
// inline, and so does a call from inside fn, under the index of the thread it is on. One caller at a time. Allocates nothing,
// and makes no system call while workers spin.
typedef void (*bb_pool_fn)(void *context, size_t first, size_t last, int thread);
void bb_pool_run(bb_pool *pool, size_t n, bb_pool_fn fn, void *context);

// Counts since creation or the last reset.
void bb_pool_get_stats(const bb_pool *pool, int thread, bb_pool_stats *stats);
void bb_pool_reset_stats(bb_pool *pool);

// ---- plans ---------------------------------------------------------------------------------------------------------

typedef struct bb_plan bb_plan;
typedef struct bb_exec bb_exec;
typedef struct bb_wisdom bb_wisdom;

typedef enum bb_plan_mode { BB_PLAN_ESTIMATE, BB_PLAN_MEASURE } bb_plan_mode;

typedef struct bb_plan_options {
  bb_isa isa;               // cap; that of bb_isa_best holds too
  bb_alg alg;               // BB_ALG_AUTO = any that accuracy admits
  bb_accuracy accuracy;     // says nothing about an algorithm or a kernel that is asked for
  const bb_kernel *kernel;  // NULL = any; a kernel = this one or BB_UNSUPPORTED
  const bb_config *config;  // NULL = chosen; otherwise as given (with kernel only)
  bb_plan_mode mode;
  bool cold;          // for runs whose packed weights are in no cache
  int threads;        // that the plan is made for; it runs on any number
  bb_pool *pool;      // measure: runs on it
  bb_wisdom *wisdom;  // NULL = none
} bb_plan_options;

// Picks kernel and config, packs the weights (its own copy). Immutable afterwards; one plan may run in several streams at once.
// The task is copied, the channel maps of its views are not: they must outlive the plan. NULL options: the best ISA, one
// thread. BB_UNSUPPORTED if no kernel within the options accepts the task.
bb_status bb_plan_create(const bb_task *task, const bb_weights *weights, const bb_plan_options *options, bb_plan **plan,
                         bb_error *error);
void bb_plan_destroy(bb_plan *plan);
const bb_task *bb_plan_task(const bb_plan *plan);
const bb_kernel *bb_plan_kernel(const bb_plan *plan);
const bb_config *bb_plan_config(const bb_plan *plan);
size_t bb_plan_packed_bytes(const bb_plan *plan);
const float *bb_plan_packed(const bb_plan *plan);
// Moves the packed weights to `memory`, BB_ALIGN aligned and bb_plan_packed_bytes large, which must outlive the plan: for who
// wants those of many plans in one piece. Not while the plan runs.
void bb_plan_move(bb_plan *plan, float *memory);
// Another plan of the same task, kernel and config, whose packed weights lie in such memory. BB_NO_MEMORY.
bb_status bb_plan_copy(const bb_plan *plan, float *memory, bb_plan **copy);
bb_workspace bb_plan_workspace(const bb_plan *plan, int threads);

// The kernel and config that bb_plan_create takes under these options, without weights: measuring makes some up.
bb_status bb_plan_choose(const bb_task *task, const bb_plan_options *options, const bb_kernel **kernel, bb_config *config,
                         bb_error *error);

// What a choice may fall on: the configs of the kernels of the strongest level that accepts, in order of preference. Writes the
// first max of them and returns how many there are.
typedef struct bb_candidate {
  const bb_kernel *kernel;
  bb_config config;
  double cycles;  // estimated core cycles; NaN if the kernel has no model
} bb_candidate;
int bb_plan_candidates(const bb_task *task, const bb_plan_options *options, bb_candidate *out, int max);

// The kernel and config that estimate mode takes without wisdom; NULL if no kernel within the options accepts. config may be
// NULL. Packs and allocates nothing.
const bb_kernel *bb_kernel_choose(const bb_task *task, const bb_plan_options *options, bb_config *config);

// Workspace of one stream of executions, large enough for each of the plans on `threads` threads.
bb_status bb_exec_create(const bb_plan *const *plans, size_t count, int threads, bb_exec **exec);
void bb_exec_destroy(bb_exec *exec);
size_t bb_exec_bytes(const bb_exec *exec);

// Computes y. Allocates nothing and never fails on valid input; pool must not have more threads than exec was made for.
void bb_plan_run(const bb_plan *plan, bb_exec *exec, bb_pool *pool, const bb_io *io);
// The same, one stage: for per-stage times. Stages must run in order.
size_t bb_plan_stages(const bb_plan *plan);
void bb_plan_run_stage(const bb_plan *plan, size_t stage, bb_exec *exec, bb_pool *pool, const bb_io *io);

// Where the time of a run goes. Ticks are of a constant but unknown rate: what counts is their ratio.
typedef struct bb_times {
  uint64_t busy[BB_MAX_STAGES];  // inside the tiles of each stage, all threads together
  uint64_t run;                  // from the start of runs to their end
  uint64_t part[BB_MAX_PARTS];   // of busy[0], if the first stage has parts
} bb_times;
// Adds up the times of all runs on exec from now on; NULL: no more. What is not busy on one of the threads was spent on
// handing out tiles and waiting for each other.
void bb_exec_time(bb_exec *exec, bb_times *times);

// Line-oriented text keyed by CPU, ISA, accuracy, threads, cache mode, problem, fused parts and kernel-set version. A file that
// is damaged or of another version is BB_IO or BB_INVALID with a sentence and is not trusted; entries of another CPU are kept
// and not used.
bb_status bb_wisdom_create(bb_wisdom **wisdom);
bb_status bb_wisdom_load(bb_wisdom *wisdom, const char *path, bb_error *error);
bb_status bb_wisdom_save(const bb_wisdom *wisdom, const char *path, bb_error *error);  // written beside, then renamed
void bb_wisdom_destroy(bb_wisdom *wisdom);

#ifdef __cplusplus
}
#endif

#endif
