// SPDX-License-Identifier: Apache-2.0

#include "team.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../kernels/memory.h"
#include "args.h"

// ---- processors ----------------------------------------------------------------------------------------------------

// Position of a processor among the hyper-threads of its core; 0 if the system does not say.
static int sibling_rank(int cpu) {
  char path[96], text[256];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  const bool read = fgets(text, sizeof text, f) != NULL;
  fclose(f);
  if (!read) return 0;
  text[strcspn(text, "\n")] = 0;
  static int_list list;
  bb_error error;
  if (!args_int_list(text, 0, 65535, &list, &error)) return 0;
  for (int i = 0; i < list.count; i++)
    if (list.at[i] == cpu) return i;
  return 0;
}

static cpu_set_t mask;

static const int_list *processors(void) {
  static int_list list;
  if (list.count) return &list;
  if (sched_getaffinity(0, sizeof mask, &mask)) CPU_ZERO(&mask);
  static int rank[CPU_SETSIZE];
  int ranks = 0;
  for (int i = 0; i < CPU_SETSIZE; i++) {
    rank[i] = CPU_ISSET((size_t)i, &mask) ? sibling_rank(i) : -1;
    if (rank[i] >= ranks) ranks = rank[i] + 1;
  }
  for (int r = 0; r < ranks; r++)
    for (int i = 0; i < CPU_SETSIZE && list.count < LIST_MAX; i++)
      if (rank[i] == r) list.at[list.count++] = i;
  return &list;
}

int team_processors(int cpu[LIST_MAX]) {
  const int_list *list = processors();
  memcpy(cpu, list->at, sizeof list->at);
  return list->count;
}

exit_code team_check(const options *o) {
  processors();
  for (int i = 0; i < o->cpus.count; i++)
    if (o->cpus.at[i] >= CPU_SETSIZE || !CPU_ISSET((size_t)o->cpus.at[i], &mask))
      return fail(EXIT_USAGE, "--cpus: this process may not run on processor %d", o->cpus.at[i]);
  return EXIT_OK;
}

void team_unpin(void) {
  if (processors()->count) sched_setaffinity(0, sizeof mask, &mask);
}

void team_pin(const team *t) {
  if (!t->pinned) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((size_t)t->cpu[0], &one);
  sched_setaffinity(0, sizeof one, &one);
}

exit_code team_create(const options *o, int threads, team *t) {
  const int_list *from = o->cpus.count ? &o->cpus : processors();
  memset(t, 0, sizeof *t);
  t->threads = threads;
  t->pinned = from->count >= threads;  // two threads pinned to one processor would wait for each other's time slices
  t->cpus = t->pinned ? threads : from->count;
  memcpy(t->cpu, from->at, (size_t)t->cpus * sizeof *t->cpu);
  team_unpin();
  const bb_pool_options po = {.threads = threads, .spin_us = TEAM_SPIN_US, .cpus = t->pinned ? t->cpu : NULL, .pin = t->pinned};
  bb_error error = {{0}};
  const bb_status status = bb_pool_create(&po, &t->pool, &error);
  if (status != BB_OK) return fail_status(status, &error);
  team_pin(t);
  return EXIT_OK;
}

void team_destroy(team *t) {
  bb_pool_destroy(t->pool);
  t->pool = NULL;
  team_unpin();
}

void team_settle(const team *t) {
  if (t->threads == 1) return;
  const double end = now_ns() + 2e3 * TEAM_SPIN_US;
  while (now_ns() < end) {
  }
}

// ---- the probe -----------------------------------------------------------------------------------------------------

typedef struct probe_job {
  const bb_probe *probe;
  size_t rounds;
} probe_job;

static void probe_tiles(void *context, size_t first, size_t last, int thread) {
  const probe_job *job = context;
  (void)thread;
  for (size_t i = first; i < last; i++) job->probe->fma(job->rounds);
}

// Tiles per thread: if one core is busy with something else, the others take over, as they do in a kernel.
enum { PROBE_TILES = 8 };

double team_probe(const team *t, const bb_probe *probe, size_t *rounds) {
  const double target = 2e6 / PROBE_TILES;  // ns per tile
  if (!*rounds) {
    double took = 0;
    for (*rounds = 64; took < target; *rounds *= 2) {
      const double start = now_ns();
      probe->fma(*rounds);
      took = now_ns() - start;
    }
    // The loop has doubled once more than it timed.
    *rounds = (size_t)((double)*rounds / 2 * target / took) + 1;
  }
  const size_t tiles = (size_t)t->threads * PROBE_TILES;
  probe_job job = {probe, *rounds / 16 + 1};
  bb_pool_run(t->pool, tiles, probe_tiles, &job);  // wakes the workers and their vector units
  job.rounds = *rounds;
  const double flops = probe->fma(1) * (double)*rounds * (double)tiles;
  const double start = now_ns();
  bb_pool_run(t->pool, tiles, probe_tiles, &job);
  return flops / (now_ns() - start) * 1e9;
}

// ---- distance ------------------------------------------------------------------------------------------------------

typedef struct relay {
  _Alignas(BB_ALIGN) atomic_uint turn;  // odd: the other thread's
  _Alignas(BB_ALIGN) atomic_bool over;
  char *lines;
} relay;

enum { RELAY_BYTES = 512 << 10, RELAY_ROUNDS = 12 };

static void *write_lines(void *context) {
  relay *r = context;
  for (unsigned turn = 1; !atomic_load_explicit(&r->over, memory_order_relaxed);) {
    if (atomic_load_explicit(&r->turn, memory_order_acquire) != turn) continue;
    memset(r->lines, (int)turn, RELAY_BYTES);
    atomic_store_explicit(&r->turn, turn + 1, memory_order_release);
    turn += 2;
  }
  return NULL;
}

// Gives the other thread a turn and reads what it wrote. NaN if it does not answer for some 100 ms.
static double read_lines(relay *r, unsigned turn) {
  enum { PATIENCE = 100000000 };
  int waited = 0;
  atomic_store_explicit(&r->turn, turn, memory_order_release);
  while (atomic_load_explicit(&r->turn, memory_order_acquire) != turn + 1)
    if (waited++ == PATIENCE) return NAN;
  const double start = now_ns();
  for (size_t i = 0; i < RELAY_BYTES; i += BB_ALIGN) (void)*(const volatile char *)(r->lines + i);
  return (now_ns() - start) * BB_ALIGN / RELAY_BYTES;
}

double team_transfer(const team *t) {
  if (t->threads < 2 || !t->pinned) return NAN;
  relay r = {.lines = bb_alloc(RELAY_BYTES)};
  cpu_set_t there;
  CPU_ZERO(&there);
  CPU_SET((size_t)t->cpu[1], &there);
  pthread_attr_t attributes;
  pthread_t other;
  double least = NAN;
  if (!r.lines || pthread_attr_init(&attributes)) goto done;
  team_settle(t);
  const bool made =
      !pthread_attr_setaffinity_np(&attributes, sizeof there, &there) && !pthread_create(&other, &attributes, write_lines, &r);
  pthread_attr_destroy(&attributes);
  if (!made) goto done;
  for (unsigned i = 0; i < RELAY_ROUNDS; i++) {
    const double ns = read_lines(&r, 2 * i + 1);
    least = fmin(least, ns);
    if (isnan(ns)) break;
  }
  atomic_store(&r.over, true);
  pthread_join(other, NULL);
done:
  free(r.lines);
  return least;
}

bool team_moved(const double transfer_ns[2]) {
  return fmax(transfer_ns[0], transfer_ns[1]) > 1.5 * fmin(transfer_ns[0], transfer_ns[1]);
}

// ---- what else runs here -------------------------------------------------------------------------------------------

load load_now(const int *cpu, int cpus) {
  load l = {.wall = now_ns(), .busy = -1, .steal = -1};
  struct timespec own;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
  l.own = (double)own.tv_sec * 1e9 + (double)own.tv_nsec;
  FILE *f = fopen("/proc/stat", "re");
  if (!f) return l;
  const double tick = 1e9 / (double)sysconf(_SC_CLK_TCK);
  char line[512];
  while (fgets(line, sizeof line, f)) {
    int number;
    double user, nice, system, idle, wait, irq, soft, steal;
    if (sscanf(line, "cpu%d %lf %lf %lf %lf %lf %lf %lf %lf", &number, &user, &nice, &system, &idle, &wait, &irq, &soft,
               &steal) != 9)
      continue;
    for (int i = 0; i < cpus; i++) {
      if (cpu[i] != number) continue;
      if (l.busy < 0) l.busy = l.steal = 0;
      l.busy += (user + nice + system + irq + soft) * tick;
      l.steal += steal * tick;
      break;
    }
  }
  fclose(f);
  return l;
}

void load_since(const load *start, const int *cpu, int cpus, double *others_pct, double *steal_pct) {
  const load end = load_now(cpu, cpus);
  const double total = (end.wall - start->wall) * cpus;
  *others_pct = *steal_pct = -1;
  if (start->busy < 0 || end.busy < 0 || total <= 0) return;
  const double others = (end.busy - start->busy) - (end.own - start->own);
  *others_pct = others > 0 ? 100 * others / total : 0;
  *steal_pct = 100 * (end.steal - start->steal) / total;
}
