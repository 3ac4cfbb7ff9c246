// SPDX-License-Identifier: Apache-2.0
//
// The tile scheduler: persistent threads, a contiguous range of tiles for each, stealing from the far end.
//
// A run is over when every tile is, not when every thread has reported: nobody waits for a worker that was never scheduled.
// What makes this safe is the order "claim, then look". A range is one 64-bit word; who takes tiles from it by compare-and-swap
// reads only then, beside the word, what to do with them. While a claimed tile is unfinished its run cannot end, so what is
// read belongs to it; a worker that slept through three runs and then succeeds in a claim has claimed a tile of the fourth,
// whatever it meant to do. Finished tiles are counted per thread, by its owner alone; the caller waits for the sum.
//
// With two threads a run costs two transfers of a cache line: the worker spins on the line that carries its range and the
// function, the caller on the one that carries the worker's count.

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bb.h"
#include "common.h"
#include "error.h"
#include "machine.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// Lines are fetched in pairs by the spatial prefetcher of Intel's L2, and are 128 bytes long on Apple's cores.
enum { LINE = 128 };

typedef struct slot {
  // The caller writes these between runs and `range` and `run` last; then all threads claim from `range`.
  alignas(LINE) _Atomic uint64_t range;  // first | last << 32, in units of `unit` tiles
  _Atomic uint32_t run;                  // number of the last run that gave this thread a share
  uint32_t number;                       // of the run that `range` belongs to, for who claims from it
  bb_pool_fn fn;
  void *context;
  size_t n, unit;
  uint64_t fp;             // the caller's floating-point control state
  _Atomic int caller_cpu;  // where it was when the run began

  // The owner writes these; the caller reads them when the tiles they speak of are done.
  alignas(LINE) _Atomic uint64_t done;  // units finished since creation
  _Atomic int cpu;                      // where a piece was begun; -1 between pieces
  uint32_t counted;                     // number of the last run in `runs`
  uint64_t runs, tiles, steals;
  uint64_t busy;  // ticks inside fn

  struct bb_pool *pool;
  pthread_t thread;
} slot;

_Static_assert(offsetof(slot, caller_cpu) + sizeof(int) <= 64, "one line carries all that a worker needs to start");
_Static_assert(offsetof(slot, done) == LINE && sizeof(slot) == 2 * LINE, "what the owner writes has its own lines");

struct bb_pool {
  int threads;
  bool yields;            // more threads than processors: spinning gives way
  uint64_t spin_ticks;    // UINT64_MAX = for ever
  uint64_t patience;      // ticks that the caller spins at least for tiles in flight
  uint64_t ticks0, ns0;   // at creation: the rate of the tick counter follows
  uint64_t run_ticks;     // length of all runs
  uint64_t total;         // units handed out since creation
  uint32_t run;           // number of the last run
  uint64_t runs;          // in which the caller stayed alone
  bb_pool_stats *before;  // of each thread at the last reset
  uint64_t before_ticks;
  bool pinned;  // the caller was, and gets its mask back
  pthread_t caller;
#if defined(__linux__)
  cpu_set_t mask;
#endif

  alignas(LINE) _Atomic uint32_t epoch;  // `run` again, for those who sleep
  _Atomic int sleepers;
  _Atomic bool stop;
  pthread_mutex_t mutex;
  pthread_cond_t wake;

  slot slots[];
};

// ---- small things ----------------------------------------------------------------------------------------------------

static inline void relax(void) {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");  // YIELD is a no-op on Arm's cores; ISB takes about as long as PAUSE
#endif
}

// Control bits only: rounding, flush to zero, traps. The sticky exception flags stay with each thread.
static uint64_t fp_get(void) {
#if defined(__x86_64__)
  uint16_t x87;
  __asm__ volatile("fnstcw %0" : "=m"(x87));
  return (_mm_getcsr() & ~(unsigned)_MM_EXCEPT_MASK) | (uint64_t)x87 << 32;
#elif defined(__aarch64__)
  uint64_t fpcr;
  __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
  return fpcr;
#else
  return 0;
#endif
}

static void fp_set(uint64_t fp) {
#if defined(__x86_64__)
  const uint16_t x87 = (uint16_t)(fp >> 32);
  __asm__ volatile("fldcw %0" ::"m"(x87));
  _mm_setcsr((unsigned)fp);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" ::"r"(fp));
#else
  (void)fp;
#endif
}

// The processor this thread is on, -1 if unknown. glibc >= 2.35 reads it from memory that the kernel keeps up to date (rseq).
static int current_cpu(void) {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

static double ticks_per_ns(const bb_pool *pool) {
  const uint64_t ticks = bb_ticks() - pool->ticks0, ns = bb_now_ns() - pool->ns0;
  return ns ? (double)ticks / (double)ns : 1;
}

// Inside which pools' functions this thread is.
typedef struct frame {
  const bb_pool *pool;
  int thread;
  const struct frame *outer;
} frame;

static _Thread_local const frame *inside;

static const frame *find_frame(const bb_pool *pool) {
  const frame *f = inside;
  while (f && f->pool != pool) f = f->outer;
  return f;
}

// ---- claiming ----------------------------------------------------------------------------------------------------------

static uint64_t pack(uint64_t first, uint64_t last) { return first | last << 32; }

// Takes a quarter of what is left: few calls for long ranges, and a thread that loses its core in the midst of a piece holds
// back little. The owner takes from the front, thieves from the far end.
static bool claim(slot *s, bool owner, uint64_t *first, uint64_t *last) {
  uint64_t range = atomic_load_explicit(&s->range, memory_order_relaxed);
  for (;;) {
    const uint64_t f = range & UINT32_MAX, l = range >> 32;
    if (f >= l) return false;
    const uint64_t piece = (l - f + 3) / 4;
    const uint64_t left = owner ? pack(f + piece, l) : pack(f, l - piece);
    if (atomic_compare_exchange_weak_explicit(&s->range, &range, left, memory_order_acquire, memory_order_relaxed)) {
      *first = owner ? f : l - piece;
      *last = *first + piece;
      return true;
    }
  }
}

// Works on whatever run is going on until nothing is left to claim. Returns the ticks of the longest piece.
static uint64_t work(bb_pool *pool, int me, uint64_t *fp) {
  slot *mine = &pool->slots[me];
  uint64_t longest = 0;
  for (int i = 0; i < pool->threads; i++) {
    slot *s = &pool->slots[me + i < pool->threads ? me + i : me + i - pool->threads];
    uint64_t first, last;
    while (claim(s, i == 0, &first, &last)) {
      // The next run may begin while this thread still looks around for tiles of the last.
      if (mine->counted != s->number) mine->runs++;
      mine->counted = s->number;
      if (*fp != s->fp) fp_set(*fp = s->fp);
      const size_t from = (size_t)first * s->unit, rest = s->n - from, want = (size_t)(last - first) * s->unit;
      const size_t tiles = want < rest ? want : rest;

      atomic_store_explicit(&mine->cpu, current_cpu(), memory_order_relaxed);
      const uint64_t start = bb_ticks();
      s->fn(s->context, from, from + tiles, me);
      const uint64_t piece = bb_ticks() - start;

      if (piece > longest) longest = piece;
      mine->busy += piece;
      mine->tiles += tiles;
      if (i) mine->steals++;
      atomic_store_explicit(&mine->cpu, -1, memory_order_relaxed);
      const uint64_t done = atomic_load_explicit(&mine->done, memory_order_relaxed);
      atomic_store_explicit(&mine->done, done + (last - first), memory_order_release);
    }
  }
  return longest;
}

// ---- workers -----------------------------------------------------------------------------------------------------------

// Sleeps unless a run began since `epoch` was read.
static void sleep_since(bb_pool *pool, uint32_t epoch) {
  pthread_mutex_lock(&pool->mutex);
  // Either the caller sees this sleeper and takes the mutex to wake it, or the sleeper sees the caller's epoch.
  atomic_fetch_add(&pool->sleepers, 1);
  while (atomic_load(&pool->epoch) == epoch) pthread_cond_wait(&pool->wake, &pool->mutex);
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->mutex);
}

static void wait_for_run(bb_pool *pool, slot *mine, uint32_t *seen) {
  uint64_t start = 0;
  for (uint32_t spins = 1;; spins++) {
    const uint32_t run = atomic_load_explicit(&mine->run, memory_order_acquire);
    if (run != *seen) {
      *seen = run;
      return;
    }
    relax();
    if (spins % 64) continue;
    // On the caller's processor every moment of spinning is one that the caller does not run.
    const int cpu = current_cpu();
    if (pool->yields || (cpu >= 0 && cpu == atomic_load_explicit(&mine->caller_cpu, memory_order_relaxed))) sched_yield();
    if (pool->spin_ticks == UINT64_MAX) continue;
    const uint64_t now = bb_ticks();
    if (!start) start = now;
    if (now - start < pool->spin_ticks) continue;
    const uint32_t epoch = atomic_load(&pool->epoch);
    if (atomic_load_explicit(&mine->run, memory_order_acquire) != *seen) continue;
    sleep_since(pool, epoch);
    *seen = atomic_load_explicit(&mine->run, memory_order_acquire);
    return;  // even without a share of its own: there may be something to steal
  }
}

static void *worker(void *arg) {
  slot *mine = arg;
  bb_pool *pool = mine->pool;
  const int me = (int)(mine - pool->slots);
  const frame here = {pool, me, NULL};
  inside = &here;
  uint64_t fp = fp_get();
  uint32_t seen = 0;
  for (;;) {
    wait_for_run(pool, mine, &seen);
    if (atomic_load_explicit(&pool->stop, memory_order_relaxed)) return NULL;
    work(pool, me, &fp);
  }
}

// ---- the caller ----------------------------------------------------------------------------------------------------------

static void announce(bb_pool *pool) {
  if (pool->spin_ticks == UINT64_MAX) return;  // nobody sleeps
  atomic_store(&pool->epoch, pool->run);
  if (atomic_load(&pool->sleepers)) {
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
  }
}

static bool all_done(const bb_pool *pool) {
  uint64_t done = 0;
  for (int t = 0; t < pool->threads; t++) done += atomic_load_explicit(&pool->slots[t].done, memory_order_acquire);
  return done == pool->total;
}

// Does a thread hold a tile that cannot proceed because this thread sits on its processor?
static bool in_the_way(const bb_pool *pool) {
  const int cpu = current_cpu();
  for (int t = 1; cpu >= 0 && t < pool->threads; t++)
    if (atomic_load_explicit(&pool->slots[t].cpu, memory_order_relaxed) == cpu) return true;
  return false;
}

// Only tiles in flight are left. A thread that takes much longer for one than this thread took for its longest has most likely
// lost its processor: then spinning keeps it from getting another one.
static void wait_for_tiles(bb_pool *pool, uint64_t longest) {
  const uint64_t start = bb_ticks();
  for (uint32_t spins = 1; !all_done(pool); spins++) {
    relax();
    if (spins % 64) continue;
    if (pool->yields || in_the_way(pool)) sched_yield();
    if (bb_ticks() - start > pool->patience + 4 * longest) break;
  }
  for (int i = 0; !all_done(pool); i++) {
    if (i < 16)
      sched_yield();
    else
      nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);  // Linux adds 50 us of slack: an order below a time slice
  }
}

static void run_alone(bb_pool *pool, size_t n, bb_pool_fn fn, void *context) {
  slot *mine = &pool->slots[0];
  const uint64_t start = bb_ticks();
  fn(context, 0, n, 0);
  const uint64_t ticks = bb_ticks() - start;
  mine->busy += ticks;
  mine->tiles += n;
  mine->runs++;
  pool->run_ticks += ticks;
}

static void run_shared(bb_pool *pool, size_t n, bb_pool_fn fn, void *context) {
  const uint64_t start = bb_ticks();
  uint64_t fp = fp_get();
  const size_t unit = n / UINT32_MAX + 1, units = n / unit + (n % unit != 0);
  const int cpu = current_cpu();
  const size_t threads = (size_t)pool->threads, share = units / threads, longer = units % threads;
  pool->total += units;
  pool->run++;
  for (size_t i = 1; i <= threads; i++) {  // the caller's own share last
    const size_t t = i % threads;
    const size_t first = t * share + (t < longer ? t : longer), last = first + share + (t < longer);
    if (first == last) continue;
    slot *s = &pool->slots[t];
    s->number = pool->run;
    s->fn = fn;
    s->context = context;
    s->n = n;
    s->unit = unit;
    s->fp = fp;
    atomic_store_explicit(&s->caller_cpu, cpu, memory_order_relaxed);
    atomic_store_explicit(&s->range, pack(first, last), memory_order_release);
    atomic_store_explicit(&s->run, pool->run, memory_order_release);
  }
  announce(pool);
  wait_for_tiles(pool, work(pool, 0, &fp));
  pool->run_ticks += bb_ticks() - start;
}

void bb_pool_run(bb_pool *pool, size_t n, bb_pool_fn fn, void *context) {
  if (!n) return;
  if (!pool) {
    fn(context, 0, n, 0);
    return;
  }
  const frame *nested = find_frame(pool);
  if (nested) {
    fn(context, 0, n, nested->thread);
    return;
  }
  const frame here = {pool, 0, inside};
  inside = &here;
  (n == 1 || pool->threads == 1 ? run_alone : run_shared)(pool, n, fn, context);
  inside = here.outer;
}

int bb_pool_threads(const bb_pool *pool) { return pool ? pool->threads : 1; }

// ---- statistics ----------------------------------------------------------------------------------------------------------

// Counts are final when a run returns, but for busy ticks in idle_ns; nothing here is written by a thread without a tile.
static bb_pool_stats count(const bb_pool *pool, int thread) {
  const slot *s = &pool->slots[thread];
  return (bb_pool_stats){.runs = s->runs, .tiles = s->tiles, .steals = s->steals, .idle_ns = s->busy};
}

void bb_pool_get_stats(const bb_pool *pool, int thread, bb_pool_stats *stats) {
  *stats = (bb_pool_stats){0};
  if (!pool || thread < 0 || thread >= pool->threads) return;
  const bb_pool_stats now = count(pool, thread), *before = &pool->before[thread];
  const uint64_t length = pool->run_ticks - pool->before_ticks, busy = now.idle_ns - before->idle_ns;
  stats->runs = now.runs - before->runs;
  stats->tiles = now.tiles - before->tiles;
  stats->steals = now.steals - before->steals;
  stats->idle_ns = length > busy ? (uint64_t)((double)(length - busy) / ticks_per_ns(pool)) : 0;
}

void bb_pool_reset_stats(bb_pool *pool) {
  if (!pool) return;
  for (int t = 0; t < pool->threads; t++) pool->before[t] = count(pool, t);
  pool->before_ticks = pool->run_ticks;
}

// ---- creation ------------------------------------------------------------------------------------------------------------

static void join(bb_pool *pool, int threads) {
  atomic_store(&pool->stop, true);
  pool->run++;
  for (int t = 1; t < threads; t++) atomic_store_explicit(&pool->slots[t].run, pool->run, memory_order_release);
  announce(pool);
  for (int t = 1; t < threads; t++) pthread_join(pool->slots[t].thread, NULL);
}

#if defined(__linux__)

static int cpu_of(const bb_pool_options *options, int thread) {
  return options->cpus ? options->cpus[thread] : bb_machine_cpu(thread);
}

static cpu_set_t only(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET((size_t)cpu, &set);
  return set;
}

#endif

// Makes worker t, on its processor from its first instruction on.
static int make_thread(bb_pool *pool, const bb_pool_options *options, int t) {
  pthread_attr_t attr;
  int error = pthread_attr_init(&attr);
  if (error) return error;
#if defined(__linux__)
  if (options->pin) {
    const cpu_set_t set = only(cpu_of(options, t));
    error = pthread_attr_setaffinity_np(&attr, sizeof set, &set);
  }
#else
  (void)options;
#endif
  if (!error) error = pthread_create(&pool->slots[t].thread, &attr, worker, &pool->slots[t]);
  pthread_attr_destroy(&attr);
  return error;
}

static bb_status pin_caller(bb_pool *pool, const bb_pool_options *options, bb_error *error) {
#if defined(__linux__)
  if (!options->pin) return BB_OK;
  pool->caller = pthread_self();
  const cpu_set_t set = only(cpu_of(options, 0));
  pool->pinned = !pthread_getaffinity_np(pool->caller, sizeof pool->mask, &pool->mask);
  const int code = pthread_setaffinity_np(pool->caller, sizeof set, &set);
  if (!code) return BB_OK;
  pool->pinned = false;
  if (error)
    snprintf(error->text, sizeof error->text, "pool: cannot pin thread 0 to processor %d: %s", cpu_of(options, 0),
             strerror(code));
  return BB_INVALID;
#else
  (void)pool, (void)options, (void)error;
  return BB_OK;
#endif
}

static void release(bb_pool *pool) {
#if defined(__linux__)
  if (pool->pinned && pthread_equal(pool->caller, pthread_self()))
    pthread_setaffinity_np(pool->caller, sizeof pool->mask, &pool->mask);
#endif
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->mutex);
  free(pool->before);
  free(pool);
}

bb_status bb_pool_create(const bb_pool_options *options, bb_pool **out, bb_error *error) {
  *out = NULL;
  enum { MAX_THREADS = 1 << 14 };
  const int threads = options->threads;
  if (threads < 1 || threads > MAX_THREADS)
    return bb_fail(error, BB_INVALID, "pool: %d threads: expected 1 to %d", threads, MAX_THREADS);
  const size_t bytes = bb_align_up(sizeof(bb_pool) + (size_t)threads * sizeof(slot), LINE);
  bb_pool *pool = aligned_alloc(LINE, bytes);
  bb_pool_stats *before = calloc((size_t)threads, sizeof *before);
  if (!pool || !before) {
    free(pool);
    free(before);
    return bb_fail(error, BB_NO_MEMORY, "pool: no memory for %d threads", threads);
  }
  memset(pool, 0, bytes);
  pool->threads = threads;
  pool->before = before;
  pool->yields = threads > bb_machine_get()->cores;
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);

  // 100 us of both clocks tell one from the other to better than a percent.
  pool->ticks0 = bb_ticks();
  pool->ns0 = bb_now_ns();
  while (bb_now_ns() - pool->ns0 < 100000) relax();
  const double ticks_per_us = 1000 * ticks_per_ns(pool);
  pool->spin_ticks = options->spin_us < 0 ? UINT64_MAX : (uint64_t)(ticks_per_us * (double)options->spin_us);
  // A time slice is 1.5 ms or more (Linux, CFS, 2 processors). Who asked for no system call gets most of that.
  pool->patience = (uint64_t)(ticks_per_us * (options->spin_us < 0 ? 1000 : 50));

  // Workers take no signals: those are for the program's own threads.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int made = 1, code = 0;
  for (; made < threads; made++) {
    pool->slots[made].pool = pool;
    pool->slots[made].cpu = pool->slots[made].caller_cpu = -1;
    code = make_thread(pool, options, made);
    if (code) break;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);

  bb_status status;
  if (code == EINVAL && options->pin)
    status = bb_fail(error, BB_INVALID, "pool: cannot pin thread %d to its processor: %s", made, strerror(code));
  else if (code)
    status = bb_fail(error, BB_NO_THREAD, "pool: cannot make thread %d of %d: %s", made, threads, strerror(code));
  else
    status = pin_caller(pool, options, error);
  if (status) {
    join(pool, made);
    release(pool);
    return status;
  }
  *out = pool;
  return BB_OK;
}

void bb_pool_destroy(bb_pool *pool) {
  if (!pool) return;
  join(pool, pool->threads);
  release(pool);
}
