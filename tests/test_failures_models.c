// SPDX-License-Identifier: Apache-2.0
//
// As test_failures, for graphs, parameters, files and executors, on a small network that has every kind of node.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "failures.h"
#include "kernels/common.h"
#include "models/builder.h"
#include "models/models.h"

static void build(bb_builder *b, int x) {
  bb_nn_push(b, "stem");
  x = bb_nn_relu(b, bb_nn_batch_norm(b, bb_nn_conv(b, x, "conv", (bb_nn_conv_spec){.k = 16, .r = 3}), "bn", 1e-5, 0), "relu");
  bb_nn_pop(b);
  const int pooled = bb_nn_max_pool(b, x, "pool", (bb_nn_pool_spec){.r = 2});
  const int wide = bb_nn_conv(b, pooled, "wide", (bb_nn_conv_spec){.k = 24, .r = 1, .bias = true});
  const int deep = bb_nn_conv(b, pooled, "deep", (bb_nn_conv_spec){.k = 16, .r = 3, .groups = 16});
  const int up = bb_nn_resize(b, deep, x, "up", BB_RESIZE_NEAREST);
  bb_nn_output(b, bb_nn_add(b, up, x, "lateral"));
  const int joined = bb_nn_concat(b, (int[]){wide, deep}, 2, "joined");
  const int part = bb_nn_slice(b, joined, "part", 3, 30);
  const int mean = bb_nn_adaptive_avg_pool(b, part, "mean", 1, 1);
  const int gate = bb_nn_act(b, mean, "gate", BB_ACT_HARD_SIGMOID, 0);
  const int gated = bb_nn_mul(b, part, gate, "gated");
  const int flat = bb_nn_flatten(b, bb_nn_avg_pool(b, gated, "shrink", (bb_nn_pool_spec){.r = 2}), "flat");
  bb_nn_output(b, bb_nn_softmax(b, bb_nn_fc(b, flat, "fc", 10, true, 1), "softmax"));
}

enum { H = 8, W = 8 };
static const bb_model model = {.name = "small", .family = "test", .source = "here", .C = 3, .H = H, .W = W, .build = build};

static bb_graph *graph;
static bb_params *params;
static float input[3 * H * W];
static char path[] = "/tmp/bb_failures_XXXXXX";

static int make_graph(void **state) {
  (void)state;
  bb_machine_get();  // made once, kept
  const int file = mkstemp(path);
  if (file < 0) return -1;
  close(file);
  bb_error error = {""};
  if (bb_graph_create(&model, 1, 0, 0, &graph, &error) || bb_params_synthetic(graph, 1, &params, &error)) {
    print_error("%s\n", error.text);
    return -1;
  }
  return bb_params_save(graph, params, path, &error) ? -1 : 0;
}

static int destroy_graph(void **state) {
  (void)state;
  bb_params_destroy(params);
  bb_graph_destroy(graph);
  return unlink(path);
}

static bb_status make_one(void *context, bb_error *error) {
  (void)context;
  bb_graph *g;
  const bb_status status = bb_graph_create(&model, 1, 0, 0, &g, error);
  if (status) assert_null(g);
  bb_graph_destroy(g);
  return status;
}

static void graphs(void **state) {
  (void)state;
  fail_everywhere("a graph", make_one, NULL, true);
}

static bb_status make_params(void *context, bb_error *error) {
  bb_params *p;
  const bb_status status = context ? bb_params_load(graph, context, &p, error) : bb_params_synthetic(graph, 1, &p, error);
  if (status) assert_null(p);
  bb_params_destroy(p);
  return status;
}

static bb_status save_params(void *context, bb_error *error) { return bb_params_save(graph, params, context, error); }

static void parameters(void **state) {
  (void)state;
  fail_everywhere("synthetic parameters", make_params, NULL, true);
  fail_everywhere("parameters to a file", save_params, path, true);
  fail_everywhere("parameters from a file", make_params, path, true);
}

static bb_status write_and_read(void *context, bb_error *error) {
  (void)context;
  char npy_path[sizeof path + 4];
  snprintf(npy_path, sizeof npy_path, "%s.npy", path);
  bb_status status = bb_npy_save(npy_path, 4, (size_t[]){1, 3, H, W}, input, error);
  bb_npy npy = {0};
  if (!status) status = bb_npy_load(npy_path, &npy, error);
  if (status) assert_null(npy.data);
  bb_npy_free(&npy);
  unlink(npy_path);
  return status;
}

static void npy_files(void **state) {
  (void)state;
  fail_everywhere("a .npy file", write_and_read, NULL, true);
}

static bb_status run_reference(void *context, bb_error *error) {
  bb_reference *reference;
  bb_pool *pool;
  bb_status status = bb_pool_create(&(bb_pool_options){.threads = 2, .spin_us = 50}, &pool, error);
  if (status) return status;
  status = bb_reference_run(graph, params, input, context != NULL, pool, &reference, error);
  if (status) assert_null(reference);
  bb_reference_destroy(reference);
  bb_pool_destroy(pool);
  return status;
}

static void reference_executor(void **state) {
  (void)state;
  fail_everywhere("the reference executor", run_reference, NULL, true);
  fail_everywhere("the reference executor, keeping all", run_reference, path, true);
}

static bb_status make_net(void *context, bb_error *error) {
  const bb_net_options *options = context;
  bb_net *net;
  bb_status status = bb_net_create(graph, params, options, &net, error);
  if (status) {
    assert_null(net);
    return status;
  }
  bb_stream *stream;
  status = bb_stream_create(net, 2, &stream, error);
  if (status) assert_null(stream);
  bb_stream_destroy(stream);
  bb_net_destroy(net);
  return status;
}

static void fast_executor(void **state) {
  (void)state;
  for (int isa = 0; isa < BB_ISA_COUNT; isa++) {
    if (!bb_isa_runs((bb_isa)isa)) continue;
    bb_net_options options = {.isa = (bb_isa)isa, .threads = 2};
    fail_everywhere(bb_isa_name((bb_isa)isa), make_net, &options, true);
  }
}

static void a_run_allocates_nothing(void **state) {
  (void)state;
  const bb_net_options options = {.isa = bb_isa_best(), .threads = 2};
  bb_net *net;
  bb_stream *stream;
  bb_pool *pool;
  assert_int_equal(bb_net_create(graph, params, &options, &net, NULL), BB_OK);
  assert_int_equal(bb_stream_create(net, 2, &stream, NULL), BB_OK);
  assert_int_equal(bb_pool_create(&(bb_pool_options){.threads = 2, .spin_us = 50}, &pool, NULL), BB_OK);
  uint64_t *ns = malloc(((size_t)bb_net_steps(net) + 1) * sizeof *ns);
  const long before = allocation_count();
  bb_stream_run(stream, NULL, input, NULL);
  bb_stream_run(stream, pool, input, ns);
  assert_int_equal(allocation_count(), before);
  free(ns);
  bb_pool_destroy(pool);
  bb_stream_destroy(stream);
  bb_net_destroy(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(graphs),        cmocka_unit_test(parameters),
      cmocka_unit_test(npy_files),     cmocka_unit_test(reference_executor),
      cmocka_unit_test(fast_executor), cmocka_unit_test(a_run_allocates_nothing),
  };
  return cmocka_run_group_tests_name("failures of models", tests, make_graph, destroy_graph);
}
