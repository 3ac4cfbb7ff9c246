// SPDX-License-Identifier: Apache-2.0

#include "harness.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

// ---- guarded memory ------------------------------------------------------------------------------------------------

// Regions are kept: a test of a small kernel would spend most of its time in mmap.
typedef struct region {
  struct region *next;
  char *memory;  // without the guard pages
  size_t bytes;  // a power of two of pages
  bool used;
} region;

static region *regions;

static region *region_of(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t size = page;
  while (size < bytes) size *= 2;
  for (region *r = regions; r; r = r->next) {
    if (!r->used && r->bytes == size) return r;
  }
  region *r = malloc(sizeof *r);
  char *p = mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!r || p == MAP_FAILED || mprotect(p + page, size, PROT_READ | PROT_WRITE)) {
    fprintf(stderr, "harness: no memory for a guarded buffer of %zu bytes\n", bytes);
    abort();
  }
  *r = (region){regions, p + page, size, false};
  return regions = r;
}

void *bb_guard_get(size_t bytes, size_t align, bb_flush flush) {
  region *r = region_of(bytes);
  r->used = true;
  return flush == BB_FLUSH_BEFORE ? r->memory : r->memory + (r->bytes - (bytes + align - 1) / align * align);
}

void bb_guard_put(void *memory) {
  if (!memory) return;
  for (region *r = regions; r; r = r->next) {
    // A buffer of no bytes may start where its region ends.
    if (r->used && (char *)memory >= r->memory && (char *)memory <= r->memory + r->bytes) {
      r->used = false;
      return;
    }
  }
  fprintf(stderr, "harness: released memory that is not guarded\n");
  abort();
}

void bb_guard_put_all(void) {
  for (region *r = regions; r; r = r->next) r->used = false;
}

static void *get_before(void *context, size_t bytes, bool aligned) {
  (void)context;
  return bb_guard_get(bytes, aligned ? BB_ALIGN : sizeof(float), BB_FLUSH_BEFORE);
}

static void *get_after(void *context, size_t bytes, bool aligned) {
  (void)context;
  return bb_guard_get(bytes, aligned ? BB_ALIGN : sizeof(float), BB_FLUSH_AFTER);
}

static void put(void *context, void *memory, size_t bytes, bool aligned) {
  (void)context, (void)bytes, (void)aligned;
  bb_guard_put(memory);
}

const bb_verify_memory bb_guard_before = {get_before, put, NULL};
const bb_verify_memory bb_guard_after = {get_after, put, NULL};

// ---- trap ----------------------------------------------------------------------------------------------------------

static sigjmp_buf trap_exit;

static void on_signal(int signal) { siglongjmp(trap_exit, signal); }

int bb_trap(void (*fn)(void *context), void *context) {
  static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  enum { COUNT = sizeof signals / sizeof *signals };
  if (SANITIZED) {
    fn(context);
    return 0;
  }
  struct sigaction old[COUNT], action = {.sa_handler = on_signal};
  for (int i = 0; i < COUNT; i++) sigaction(signals[i], &action, &old[i]);
  const int caught = sigsetjmp(trap_exit, 1);
  if (!caught) fn(context);
  for (int i = 0; i < COUNT; i++) sigaction(signals[i], &old[i], NULL);
  return caught;
}

// ---- running a kernel ----------------------------------------------------------------------------------------------

enum { MAX_THREADS = 7 };

typedef struct job {
  const bb_kernel *kernel;
  const bb_task *task;
  const bb_config *config;
  const bb_weights *weights;
  const bb_io *io;
  int threads;
  float *to;
  const float *packed;
  char *shared, *per_thread[MAX_THREADS];
} job;

static void run_tiles(const job *j, const bb_stage *stage, bb_args *args, size_t thread, bool *used, size_t first,
                      size_t last) {
  args->per_thread = j->per_thread[thread];
  args->kept = used[thread];
  used[thread] = true;
  stage->run(args, first, last);
}

// Each thread's share, last thread first; of a share the second half first, and its last tile is stolen by the next thread.
static void run_stage(const job *j, const bb_stage *stage) {
  bb_args args = {
      .task = j->task, .config = j->config, .packed = j->packed, .io = *j->io, .shared = j->shared, .threads = j->threads};
  const size_t tiles = stage->tiles(j->task, j->config, j->threads), threads = (size_t)j->threads;
  bool used[MAX_THREADS] = {false};
  for (size_t t = threads; t-- > 0;) {
    const size_t first = tiles * t / threads, last = tiles * (t + 1) / threads;
    const size_t middle = first + (last - first) / 2, stolen = last - first > 2 ? last - 1 : last;
    if (middle < stolen) run_tiles(j, stage, &args, t, used, middle, stolen);
    if (stolen < last) run_tiles(j, stage, &args, (t + 1) % threads, used, stolen, last);
    if (first < middle) run_tiles(j, stage, &args, t, used, first, middle);
  }
}

static void pack(void *context) {
  const job *j = context;
  j->kernel->pack(j->task, j->config, j->weights, j->to);
}

static void run_stages(void *context) {
  const job *j = context;
  for (int s = 0; s < BB_MAX_STAGES && j->kernel->stage[s].run; s++) run_stage(j, &j->kernel->stage[s]);
}

int bb_pack_kernel(const bb_kernel *kernel, const bb_task *task, const bb_config *config, const bb_weights *weights,
                   bb_flush flush, float **packed) {
  job j = {.kernel = kernel, .task = task, .config = config, .weights = weights};
  const size_t bytes = kernel->packed_bytes ? kernel->packed_bytes(task, config) : 0;
  *packed = NULL;
  if (!bytes) return 0;
  *packed = j.to = bb_guard_get(bytes, BB_ALIGN, flush);
  memset(j.to, 0xff, bytes);  // NaN
  return bb_trap(pack, &j);
}

int bb_run_packed(const bb_kernel *kernel, const bb_task *task, const bb_config *config, const float *packed, const bb_io *io,
                  int threads, bb_flush flush) {
  job j = {.kernel = kernel, .task = task, .config = config, .packed = packed, .io = io, .threads = threads};
  const bb_workspace w = kernel->workspace ? kernel->workspace(task, config, threads) : (bb_workspace){0, 0};
  if (w.shared) {
    j.shared = bb_guard_get(w.shared, BB_ALIGN, flush);
    memset(j.shared, 0xa5, w.shared);
  }
  for (int t = 0; t < threads && w.per_thread; t++) {
    j.per_thread[t] = bb_guard_get(w.per_thread, BB_ALIGN, flush);
    memset(j.per_thread[t], 0xa5, w.per_thread);
  }
  const int signal = bb_trap(run_stages, &j);
  bb_guard_put(j.shared);
  for (int t = 0; t < threads; t++) bb_guard_put(j.per_thread[t]);
  return signal;
}

int bb_run_kernel(const bb_kernel *kernel, const bb_task *task, const bb_config *config, const bb_weights *weights,
                  const bb_io *io, int threads, bb_flush flush) {
  float *packed;
  int signal = bb_pack_kernel(kernel, task, config, weights, flush, &packed);
  if (!signal) signal = bb_run_packed(kernel, task, config, packed, io, threads, flush);
  bb_guard_put(packed);
  return signal;
}

static int add_configs(const bb_kernel *kernel, const bb_task *task, const bb_machine *machine, int threads, bb_config *configs,
                       int count) {
  bb_config own[BB_MAX_CONFIGS];
  const int more = kernel->configs(task, machine, threads, own, BB_MAX_CONFIGS);
  for (int i = 0; i < more; i++) {
    bool known = false;
    for (int k = 0; k < count; k++) known |= !memcmp(&own[i], &configs[k], sizeof own[i]);
    if (!known) configs[count++] = own[i];
  }
  return count;
}

int bb_all_configs(const bb_kernel *kernel, const bb_task *task, int threads, bb_config *configs) {
  configs[0] = (bb_config){0};
  if (!kernel->configs) return 1;
  bb_machine toy = *bb_machine_get();
  toy.l1d = 2 << 10, toy.l2 = 8 << 10, toy.l3 = 64 << 10;
  toy.fma512 = 3 - toy.fma512;  // the other register tiles
  const int count = add_configs(kernel, task, bb_machine_get(), threads, configs, 0);
  return add_configs(kernel, task, &toy, threads, configs, count);
}

double bb_claimed_bound(const bb_kernel *kernel, const bb_task *task, const bb_config *config) {
  if (kernel->op != BB_OP_CONV) return 0;
  return kernel->error_bound ? kernel->error_bound(task, config) : bb_error_bound_direct(task, config);
}

bool bb_kernel_accepts(const bb_kernel *kernel, const bb_task *task) {
  return kernel->op == task->problem.op && (!kernel->x_block || kernel->x_block == task->x.block) &&
         (!kernel->y_block || kernel->y_block == task->y.block) && kernel->accepts(task);
}

uint64_t bb_test_seed(void) {
  const char *text = getenv("BB_SEED");
  return text && *text ? strtoull(text, NULL, 0) : 1;
}
