// SPDX-License-Identifier: Apache-2.0
//
// The descriptor that stands at the foot of every kernel file, and what a kernel is handed when it runs.
//
// A kernel is a stateless function over a range of tiles of work: no malloc, no threads, no timers, no printing, no globals.
// To add one: its file, its line in CMakeLists.txt, its line in kernels.def.

#ifndef BB_KERNEL_H
#define BB_KERNEL_H

#include "types.h"

typedef struct bb_machine bb_machine;
typedef struct bb_clock bb_clock;

typedef enum bb_alg { BB_ALG_AUTO, BB_ALG_DIRECT, BB_ALG_WINO23, BB_ALG_WINO43, BB_ALG_WINO63, BB_ALG_COUNT } bb_alg;

// What a choice may fall on: strict, direct algorithms only; default, F(2,3) and F(4,3) too; fast, F(6,3) too.
typedef enum bb_accuracy { BB_ACCURACY_DEFAULT, BB_ACCURACY_STRICT, BB_ACCURACY_FAST, BB_ACCURACY_COUNT } bb_accuracy;

// Levels, weakest first: a level says what the code may use. Generic is 0: always there.
typedef enum bb_isa { BB_ISA_GENERIC, BB_ISA_AVX2, BB_ISA_AVX512, BB_ISA_NEON, BB_ISA_COUNT } bb_isa;

// One candidate blocking, plain data: it is written to the wisdom file and handed to every callback. 0 = the kernel has no such
// knob.
typedef struct bb_config {
  int q;      // output pixels of a register tile; Winograd: tiles beside the most blocks
  int k;      // output channel blocks of a register tile
  int c;      // input channels summed in one go before they are added to what is in memory
  int rows;   // output rows of a tile of work
  int kt;     // output channel blocks of a tile of work
  int tile;   // Winograd: tiles per cache block; 1x1: kind of tail; first layer, grouped: 1 = FMAs broadcast from memory
  int ahead;  // Winograd, fetched during the products: 1 = the next weights, 2 = x of the next block and y of this one too
} bb_config;

typedef struct bb_workspace {
  size_t shared;      // bytes, one for all threads
  size_t per_thread;  // bytes
} bb_workspace;

typedef struct bb_args {
  const bb_task *task;
  const bb_config *config;
  const float *packed;
  bb_io io;
  char *shared;      // workspace.shared bytes, BB_ALIGN aligned
  char *per_thread;  // of this thread: workspace.per_thread bytes, BB_ALIGN aligned; set by the runner for each call
  bool kept;         // per_thread is as an earlier call of this run of this stage left it; set by the runner for each call
  bb_clock *clock;   // of this thread, NULL unless somebody wants to know; set by the runner for each call
  int threads;
} bb_args;

enum { BB_MAX_STAGES = 4, BB_MAX_PARTS = 3, BB_MAX_CONFIGS = 32 };

// A barrier stands between stages. tiles may depend on threads, the order of any summation may not.
typedef struct bb_stage {
  const char *name;
  size_t (*tiles)(const bb_task *task, const bb_config *config, int threads);
  void (*run)(const bb_args *args, size_t first, size_t last);
} bb_stage;

// Part i of the first stage begins (bb_kernel.part). Each costs a read of the clock where there is one: for what takes
// microseconds.
void bb_clock_part(bb_clock *clock, int i);
static inline void bb_part(const bb_args *args, int i) {
  if (args->clock) bb_clock_part(args->clock, i);
}

typedef struct bb_kernel {
  const char
      *name;  // <op>_<algorithm>_<layout>_<isa>; the symbol is bb_<name>, the file kernels/<isa>/<op>_<algorithm>_<layout>.c
  bb_op op;
  bb_alg alg;  // of convolutions; otherwise BB_ALG_DIRECT
  bb_isa isa;
  int x_block, y_block;  // layouts; 0 = any
  struct {
    int q, k, c;
  } block;  // register and channel blocks, from which tests make B-1, B, B+1

  // false = not my problem, never an error. The task is valid. Strides and maps of the views count.
  bool (*accepts)(const bb_task *task);
  // Candidates, best guess first; at least one, at most max. NULL = one config of zeros.
  int (*configs)(const bb_task *task, const bb_machine *machine, int threads, bb_config *out, int max);
  // Estimated core cycles of one run. NULL = unknown: only the order of kernels.def decides.
  double (*cycles)(const bb_task *task, const bb_machine *machine, const bb_config *config, int threads);
  // Packed parameters (weights, bias, prologue), BB_ALIGN aligned. NULL = none.
  size_t (*packed_bytes)(const bb_task *task, const bb_config *config);
  void (*pack)(const bb_task *task, const bb_config *config, const bb_weights *weights, float *packed);
  bb_workspace (*workspace)(const bb_task *task, const bb_config *config, int threads);  // NULL = none
  double (*executed_flops)(const bb_task *task, const bb_config *config);                // NULL = bb_conv_flops_valid
  // Bound of ||y - ref||_2 / ||ref||_2 on real data, before activation: from theory. NULL = bb_error_bound_direct.
  double (*error_bound)(const bb_task *task, const bb_config *config);
  bb_stage stage[BB_MAX_STAGES];   // ends at the first without run
  const char *part[BB_MAX_PARTS];  // what the tiles of the first stage do in turn, if it calls bb_part()
} bb_kernel;

#endif
