// SPDX-License-Identifier: Apache-2.0
//
// What the tests of kernels stand on: memory between two unreadable pages, a trap for crashes, and a runner that hands a kernel
// nothing but such memory.

#ifndef BB_HARNESS_H
#define BB_HARNESS_H

#include "bench/verify.h"
#include "kernels/bb.h"

// ---- guarded memory ------------------------------------------------------------------------------------------------

// Which end of the buffer touches an unreadable page. An aligned buffer that must end at one leaves up to BB_ALIGN - 4 bytes.
typedef enum bb_flush { BB_FLUSH_BEFORE, BB_FLUSH_AFTER } bb_flush;

// Aborts if there is no memory: a test could not go on.
void *bb_guard_get(size_t bytes, size_t align, bb_flush flush);
void bb_guard_put(void *memory);  // NULL is allowed
void bb_guard_put_all(void);      // what a trapped function left behind

// The same as the memory of bb_verify.
extern const bb_verify_memory bb_guard_before, bb_guard_after;

// ---- trap ----------------------------------------------------------------------------------------------------------

// Calls fn(context). Returns 0, or the signal (SIGSEGV, SIGBUS, SIGILL, SIGFPE) that ended it. Under a sanitizer the signal is
// the sanitizer's.
int bb_trap(void (*fn)(void *context), void *context);

// ---- running a kernel ----------------------------------------------------------------------------------------------

// Packs into guarded memory (bb_guard_put), that starts as NaN. Returns 0 or the signal; *packed is NULL if there is nothing to
// pack.
int bb_pack_kernel(const bb_kernel *kernel, const bb_task *task, const bb_config *config, const bb_weights *weights,
                   bb_flush flush, float **packed);

// Runs a kernel on guarded memory in this thread, with tiles shared out as if among `threads` threads: each with
// its own workspace, in an order that no pool would choose, some tiles stolen. Workspaces start as 0xA5. Returns 0 or the
// signal.
int bb_run_packed(const bb_kernel *kernel, const bb_task *task, const bb_config *config, const float *packed, const bb_io *io,
                  int threads, bb_flush flush);

// Both.
int bb_run_kernel(const bb_kernel *kernel, const bb_task *task, const bb_config *config, const bb_weights *weights,
                  const bb_io *io, int threads, bb_flush flush);

// The kernel's candidates on this machine and on one with toy caches, where even small problems are cut into blocks; distinct,
// the best guess first. configs has room for 2 * BB_MAX_CONFIGS.
int bb_all_configs(const bb_kernel *kernel, const bb_task *task, int threads, bb_config *configs);

// Claim of the kernel about err_l2, 0 where there is none.
double bb_claimed_bound(const bb_kernel *kernel, const bb_task *task, const bb_config *config);

// kernel->accepts, and the layouts are the kernel's.
bool bb_kernel_accepts(const bb_kernel *kernel, const bb_task *task);

// BB_SEED, or 1.
uint64_t bb_test_seed(void);

#endif
