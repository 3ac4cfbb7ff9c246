// SPDX-License-Identifier: Apache-2.0
//
// Runs networks on as many spinning threads as there are processors (two at most), each run between two calls of getppid() that
// a tracer can see (tests/quiet), with a getpgid() behind where a thread lost its processor. Counts the allocations between
// them itself: linked with --wrap.

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kernels/bb.h"
#include "models/models.h"

static atomic_int allocations;

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__wrap_malloc(size_t size) {
  allocations++;
  return __real_malloc(size);
}
void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_calloc(size_t n, size_t size) {
  allocations++;
  return __real_calloc(n, size);
}
void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_realloc(void *p, size_t size) {
  allocations++;
  return __real_realloc(p, size);
}
void *__real_aligned_alloc(size_t, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void *__wrap_aligned_alloc(size_t align, size_t size) {
  allocations++;
  return __real_aligned_alloc(align, size);
}
int __real_posix_memalign(void **, size_t, size_t);
int __wrap_posix_memalign(void **, size_t, size_t);
int __wrap_posix_memalign(void **p, size_t align, size_t size) {
  allocations++;
  return __real_posix_memalign(p, align, size);
}

enum { RUNS = 10 };

// How often threads of this process have lost their processor.
static long switches(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return r.ru_nivcsw;
}

static int run(const char *name) {
  bb_error error = {{0}};
  bb_graph *graph = NULL;
  bb_params *params = NULL;
  bb_net *net = NULL;
  bb_pool *pool = NULL;
  bb_stream *stream = NULL;
  float *input = NULL;
  const int threads = bb_machine_get()->cores >= 2 ? 2 : 1, side = 97;
  const bb_model *model = bb_model_find(name);
  int bad = 1;
  if (!model || bb_graph_create(model, 1, side, side, &graph, &error) || bb_params_synthetic(graph, 1, &params, &error) ||
      bb_net_create(graph, params, &(bb_net_options){.isa = bb_isa_best(), .threads = threads}, &net, &error) ||
      bb_pool_create(&(bb_pool_options){.threads = threads, .spin_us = -1, .pin = true}, &pool, &error) ||
      bb_stream_create(net, threads, &stream, &error) || !(input = calloc((size_t)(3 * side * side), sizeof *input))) {
    fprintf(stderr, "%s: %s\n", name, error.text);
    goto out;
  }
  // Pages, first touch; and on a busy machine the last thread, which makes system calls while it starts, may not have run yet.
  bb_pool_stats last;
  for (int i = 0; i < 1000; i++) {
    bb_stream_run(stream, pool, input, NULL);
    bb_pool_get_stats(pool, threads - 1, &last);
    if (last.tiles) break;
  }

  int counted[RUNS];
  for (int i = 0; i < RUNS; i++) {
    const int before = allocations;
    const long lost = switches();
    (void)getppid();
    bb_stream_run(stream, pool, input, NULL);
    (void)getppid();
    if (switches() != lost) (void)getpgid(0);
    counted[i] = allocations - before;
  }
  bad = 0;
  for (int i = 0; i < RUNS; i++) bad += counted[i];
  printf("%s: %d threads, %d runs, %d allocations\n", name, threads, RUNS, bad);

out:
  free(input);
  bb_stream_destroy(stream);
  bb_pool_destroy(pool);
  bb_net_destroy(net);
  bb_params_destroy(params);
  bb_graph_destroy(graph);
  return bad;
}

int main(void) {
  static const char *const names[] = {"vgg16", "resnet50", "densenet121", "ghostnet_100", "fpn_resnet50"};
  int bad = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) bad += run(names[i]);
  return bad != 0;
}
