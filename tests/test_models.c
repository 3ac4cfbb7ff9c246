// SPDX-License-Identifier: Apache-2.0
//
// The fast executor: against the reference executor and PyTorch's records, on every ISA level, batch, input size and number of
// threads; what the plans of the networks are; every pass left out; graphs made to annoy.
//
// With BB_TEST_FULL set: native sizes and every level everywhere, all of VGG-19 too. BB_TEST_NETS names the networks to test,
// for where that takes minutes (sanitizers, emulators); graphs made to annoy always run.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/common.h"
#include "models/builder.h"

static const double bound = 1e-5, bound_fast = 3e-5;  // of ||y - ref|| / ||ref|| over a whole network; with F(6,3)

static bool full;

// ---- one network with its data -------------------------------------------------------------------------------------

typedef struct subject {
  bb_graph *graph;
  bb_params *params;
  float *input;
} subject;

static void make(subject *s, const bb_model *model, int N, int H, int W) {
  bb_error error;
  if (bb_graph_create(model, N, H, W, &s->graph, &error)) fail_msg("%s", error.text);
  if (bb_params_synthetic(s->graph, 1, &s->params, &error)) fail_msg("%s", error.text);
  const size_t n = bb_tensor_count(&s->graph->tensor[0]);
  s->input = malloc(n * sizeof *s->input);
  assert_non_null(s->input);
  bb_random_fill(s->input, n, 1, "input", 0, 1);
}

static void drop(subject *s) {
  free(s->input);
  bb_params_destroy(s->params);
  bb_graph_destroy(s->graph);
}

static bb_net *compile(const subject *s, bb_isa isa, int threads, const char *passes) {
  bb_net *net;
  bb_error error;
  if (bb_net_create(s->graph, s->params, &(bb_net_options){.isa = isa, .threads = threads, .passes = passes}, &net, &error))
    fail_msg("%s", error.text);
  return net;
}

static bb_pool *pool_of(int threads) {
  bb_pool *pool;
  bb_error error;
  if (bb_pool_create(&(bb_pool_options){.threads = threads, .spin_us = 50}, &pool, &error)) fail_msg("%s", error.text);
  return pool;
}

static double distance(const double *want, const float *got, size_t n) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < n; i++) {
    difference += (want[i] - got[i]) * (want[i] - got[i]);
    size += want[i] * want[i];
  }
  return size > 0 ? sqrt(difference / size) : sqrt(difference);
}

static void check_outputs(const subject *s, const bb_reference *ref, const bb_stream *stream, double limit, const char *what) {
  for (int i = 0; i < s->graph->outputs; i++) {
    const int t = s->graph->output[i];
    const double e = distance(bb_reference_tensor(ref, t), bb_stream_output(stream, i), bb_tensor_count(&s->graph->tensor[t]));
    if (!(e <= limit)) fail_msg("%s: output %d is off by %.3g, at most %.0e expected", what, i, e, limit);
  }
}

// Runs twice (memory that a run leaves behind must not matter; portable kernels are too slow for that) and compares.
static void check_net(const subject *s, const bb_reference *ref, bb_isa isa, const char *passes, const char *what) {
  bb_error error;
  bb_net *net = compile(s, isa, 1, passes);
  bb_stream *stream;
  if (bb_stream_create(net, 1, &stream, &error)) fail_msg("%s", error.text);
  for (int run = isa == BB_ISA_GENERIC; run < 2; run++) {
    bb_stream_run(stream, NULL, s->input, NULL);
    check_outputs(s, ref, stream, bound, what);
  }
  bb_stream_destroy(stream);
  bb_net_destroy(net);
}

static bb_reference *reference_of(const subject *s) {
  bb_reference *ref;
  bb_error error;
  bb_pool *pool = pool_of(2);
  if (bb_reference_run(s->graph, s->params, s->input, false, pool, &ref, &error)) fail_msg("%s", error.text);
  bb_pool_destroy(pool);
  return ref;
}

// ---- against the reference executor --------------------------------------------------------------------------------

typedef struct size_case {
  int N, H, W;
} size_case;

// Small, with maps of one pixel at the end; odd, with a batch; native only when asked for.
static const size_case size_cases[] = {{1, 33, 40}, {3, 51, 33}, {1, 0, 0}, {3, 0, 0}};

// A gigabyte of weights and their packing.
static bool heavy(const bb_model *model) { return strcmp(model->family, "vgg") == 0; }

static void equals_reference(void **state) {
  const bb_model *model = *state;
  for (size_t c = 0; c < (full ? BB_COUNT(size_cases) : heavy(model) ? 1 : 2); c++) {
    const size_case *v = &size_cases[c];
    subject s;
    make(&s, model, v->N, v->H, v->W);
    bb_reference *ref = reference_of(&s);
    for (int isa = 0; isa < BB_ISA_COUNT; isa++) {
      if (!bb_isa_runs((bb_isa)isa) || (heavy(model) && isa == BB_ISA_GENERIC && !full)) continue;
      char what[96];
      snprintf(what, sizeof what, "%s mb%d %dx%d %s", model->name, v->N, v->H, v->W, bb_isa_name((bb_isa)isa));
      check_net(&s, ref, (bb_isa)isa, NULL, what);
    }
    bb_reference_destroy(ref);
    drop(&s);
  }
}

// F(6,3) may be chosen, and is where it is asked for: then the looser bound holds, otherwise the other one.
static void fast_accuracy(void **state) {
  const bb_model *model = *state;
  subject s;
  bb_error error;
  make(&s, model, 1, full ? 0 : 65, full ? 0 : 50);
  bb_reference *ref = reference_of(&s);
  for (int isa = full ? 0 : (int)bb_isa_best(); isa < BB_ISA_COUNT; isa++) {
    if (!bb_isa_runs((bb_isa)isa)) continue;
    for (int asked = 0; asked < 2; asked++) {
      const bb_net_options options = {
          .isa = (bb_isa)isa, .threads = 1, .accuracy = BB_ACCURACY_FAST, .alg = asked ? BB_ALG_WINO63 : BB_ALG_AUTO};
      char what[96];
      bb_net *net;
      bb_stream *stream;
      if (bb_net_create(s.graph, s.params, &options, &net, &error)) fail_msg("%s", error.text);
      int convs = 0, six = 0;
      for (int i = 0; i < bb_net_steps(net); i++) {
        const bb_plan *plan = bb_net_step(net, i)->plan;
        const bb_problem *p = &bb_plan_task(plan)->problem;
        const bb_conv *c = &p->conv;
        convs += p->op == BB_OP_CONV && c->R == 3 && c->S == 3 && c->stride_h == 1 && c->G == 1 && c->C > 4;
        six += bb_plan_kernel(plan)->alg == BB_ALG_WINO63;
      }
      if (asked && six < convs) fail_msg("%s: %d of %d convolutions by F(6,3)", model->name, six, convs);
      if (bb_stream_create(net, 1, &stream, &error)) fail_msg("%s", error.text);
      bb_stream_run(stream, NULL, s.input, NULL);
      snprintf(what, sizeof what, "%s %s, %d by F(6,3)", model->name, bb_isa_name((bb_isa)isa), six);
      check_outputs(&s, ref, stream, six ? bound_fast : bound, what);
      bb_stream_destroy(stream);
      bb_net_destroy(net);
    }
  }
  bb_reference_destroy(ref);
  drop(&s);
}

static void every_pass_can_be_left_out(void **state) {
  const bb_model *model = *state;
  subject s;
  make(&s, model, 2, 33, 40);
  bb_reference *ref = reference_of(&s);
  char all[256] = "";
  for (size_t i = 0; i < bb_pass_count(); i++) {
    char one[32];
    snprintf(one, sizeof one, "-%s", bb_pass_name(i));
    check_net(&s, ref, bb_isa_best(), one, one);
    strcat(strcat(all, i ? "," : ""), one);
  }
  check_net(&s, ref, bb_isa_best(), all, all);
  check_net(&s, ref, BB_ISA_GENERIC, all, all);
  bb_reference_destroy(ref);
  drop(&s);
}

static void threads_change_nothing(void **state) {
  const bb_model *model = *state;
  static const int threads[] = {1, 2, 5};
  subject s;
  bb_error error;
  make(&s, model, 1, full ? 0 : 75, full ? 0 : 97);
  for (int isa = full ? 0 : (int)bb_isa_best(); isa < BB_ISA_COUNT; isa++) {
    if (!bb_isa_runs((bb_isa)isa)) continue;
    // One net on any number of threads: the same kernels and configs.
    bb_net *net = compile(&s, (bb_isa)isa, 1, NULL);
    float *first[8] = {0};
    for (size_t t = 0; t < BB_COUNT(threads); t++) {
      bb_pool *pool = pool_of(threads[t]);
      bb_stream *stream;
      if (bb_stream_create(net, threads[t], &stream, &error)) fail_msg("%s", error.text);
      bb_stream_run(stream, pool, s.input, NULL);
      for (int i = 0; i < s.graph->outputs; i++) {
        const size_t bytes = bb_tensor_count(&s.graph->tensor[s.graph->output[i]]) * sizeof(float);
        if (t == 0) {
          first[i] = malloc(bytes);
          assert_non_null(first[i]);
          memcpy(first[i], bb_stream_output(stream, i), bytes);
        } else if (memcmp(first[i], bb_stream_output(stream, i), bytes) != 0) {
          fail_msg("%s on %s: output %d differs between 1 and %d threads", model->name, bb_isa_name((bb_isa)isa), i,
                   threads[t]);
        }
      }
      bb_stream_destroy(stream);
      bb_pool_destroy(pool);
    }
    for (int i = 0; i < s.graph->outputs; i++) free(first[i]);
    bb_net_destroy(net);
  }
  drop(&s);
}

// ---- what the plans are --------------------------------------------------------------------------------------------

// Native size: on vector levels no portable kernel; nothing is copied but the input from NCHW (where no kernel reads it so)
// and outputs to it; nothing is left that a pass removes.
static void plans_of(const bb_model *model, int N, bb_isa isa) {
  subject s;
  make(&s, model, N, 0, 0);
  bb_net *net = compile(&s, isa, 1, NULL);
  int copies = 0, scales = 0;  // copies: other than of the input
  for (int i = 0; i < bb_net_steps(net); i++) {
    const bb_step *step = bb_net_step(net, i);
    const bb_kernel *kernel = bb_plan_kernel(step->plan);
    const bb_task *task = bb_plan_task(step->plan);
    if (isa != BB_ISA_GENERIC && kernel->isa == BB_ISA_GENERIC)
      fail_msg("%s on %s: %s falls back to %s", model->name, bb_isa_name(isa), step->name, kernel->name);
    assert_int_equal(step->inserted, task->problem.op == BB_OP_COPY);
    if (step->inserted && task->x.block != 1 && task->y.block != 1)
      fail_msg("%s on %s: %s is copied", model->name, bb_isa_name(isa), step->name);
    copies += step->inserted && i > 0;
    scales += task->problem.op == BB_OP_SCALE;
  }
  assert_true(copies <= s.graph->outputs);
  // DenseNet's last batch-norm and ReLU stand before a mean; all others, and all other activations, are in convolutions.
  assert_int_equal(scales, strcmp(model->family, "densenet") == 0 ? 1 : 0);
  const bb_net_bytes bytes = bb_net_memory(net);
  assert_int_equal(bytes.weights % sizeof(float), 0);
  assert_true(bytes.packed > bytes.weights / 2 && bytes.arena > 0);
  bb_net_destroy(net);
  drop(&s);
}

static void plans_are_vector_plans(void **state) {
  const bb_model *model = *state;
  for (int isa = full ? 0 : 1; isa < BB_ISA_COUNT; isa++) {
    if (!bb_isa_runs((bb_isa)isa)) continue;
    plans_of(model, 1, (bb_isa)isa);
    if (full) plans_of(model, 3, (bb_isa)isa);
  }
}

// ---- PyTorch's records ---------------------------------------------------------------------------------------------

#ifndef BB_GOLDEN
#define BB_GOLDEN "tests/golden"
#endif

typedef struct record {
  int N, H, W, outputs;
  int output;  // the one whose samples follow
  size_t elements;
  double norm;
  int samples;
} record;

// tests/golden/<net>.txt, made by scripts/check_pytorch.py:
//   case N H W outputs
//   output i elements norm samples
//   index value          (samples lines)
static void equals_pytorch(void **state) {
  const bb_model *model = *state;
  char path[256], line[128];
  snprintf(path, sizeof path, "%s/%s.txt", BB_GOLDEN, model->name);
  FILE *f = fopen(path, "r");
  if (!f) fail_msg("cannot open %s", path);
  subject s = {0};
  bb_reference *ref = NULL;
  bb_net *net = NULL;
  bb_stream *stream = NULL;
  record r = {0};
  int checked = 0;
  bb_error error;
  while (fgets(line, sizeof line, f)) {
    if (line[0] == '#') continue;
    if (sscanf(line, "case %d %d %d %d", &r.N, &r.H, &r.W, &r.outputs) == 4) {
      bb_stream_destroy(stream);
      bb_net_destroy(net);
      bb_reference_destroy(ref);
      if (s.graph) drop(&s);
      make(&s, model, r.N, r.H, r.W);
      assert_int_equal(s.graph->outputs, r.outputs);
      // The reference executor takes long at native sizes.
      ref = full || r.H < model->H ? reference_of(&s) : NULL;
      net = compile(&s, bb_isa_best(), 1, NULL);
      if (bb_stream_create(net, 1, &stream, &error)) fail_msg("%s", error.text);
      bb_stream_run(stream, NULL, s.input, NULL);
      continue;
    }
    assert_int_equal(sscanf(line, "output %d %zu %lf %d", &r.output, &r.elements, &r.norm, &r.samples), 4);
    assert_true(s.graph && r.output < r.outputs);
    const int t = s.graph->output[r.output];
    assert_int_equal(bb_tensor_count(&s.graph->tensor[t]), r.elements);
    const float *fast = bb_stream_output(stream, r.output);
    const double *slow = ref ? bb_reference_tensor(ref, t) : NULL;
    double fast_sum = 0, slow_sum = 0, fast_off = 0, slow_off = 0, size = 0;
    for (size_t i = 0; i < r.elements; i++) {
      fast_sum += (double)fast[i] * fast[i];
      if (slow) slow_sum += slow[i] * slow[i];
    }
    for (int i = 0; i < r.samples; i++) {
      size_t at;
      double want;
      assert_non_null(fgets(line, sizeof line, f));
      assert_int_equal(sscanf(line, "%zu %lf", &at, &want), 2);
      assert_true(at < r.elements);
      size += want * want;
      fast_off += (fast[at] - want) * (fast[at] - want);
      if (slow) slow_off += (slow[at] - want) * (slow[at] - want);
    }
    const double fast_e = sqrt(fast_off / size), slow_e = sqrt(slow_off / size);
    if (!(fast_e <= bound)) fail_msg("%s mb%d %dx%d output %d: off by %.3g", model->name, r.N, r.H, r.W, r.output, fast_e);
    assert_true(fabs(sqrt(fast_sum) / r.norm - 1) <= bound);
    if (slow) {
      if (!(slow_e <= 1e-12)) fail_msg("%s, reference: output %d off by %.3g", model->name, r.output, slow_e);
      assert_true(fabs(sqrt(slow_sum) / r.norm - 1) <= 1e-12);
    }
    checked++;
  }
  fclose(f);
  assert_true(checked >= 2);
  bb_stream_destroy(stream);
  bb_net_destroy(net);
  bb_reference_destroy(ref);
  drop(&s);
}

// ---- graphs made to annoy ------------------------------------------------------------------------------------------

static int conv(bb_builder *b, int x, const char *name, int k) {
  return bb_nn_conv(b, x, name, (bb_nn_conv_spec){.k = k, .r = 3, .bias = true});
}

// Everything reads the input, and the input is an output.
static void input_everywhere(bb_builder *b, int x) {
  const int r = bb_nn_relu(b, x, "relu");
  const int c = conv(b, x, "c", 7);
  bb_nn_output(b, bb_nn_concat(b, (const int[]){x, c, x, r, c}, 5, "cat"));
  bb_nn_output(b, bb_nn_add(b, x, r, "add"));
  bb_nn_output(b, bb_nn_slice(b, x, "slice", 1, 2));
  bb_nn_output(b, bb_nn_max_pool(b, x, "pool", (bb_nn_pool_spec){.r = 3, .stride = 2, .pad = 1, .ceil_mode = true}));
  bb_nn_output(b, bb_nn_resize(b, x, bb_nn_max_pool(b, r, "like", (bb_nn_pool_spec){.r = 2}), "resize", BB_RESIZE_NEAREST));
  bb_nn_output(b, bb_nn_flatten(b, x, "flatten"));
  bb_nn_output(b, x);
}

// One value in two concatenations, nested ones, runs in the middle of another.
static void concats(bb_builder *b, int x) {
  const int a = conv(b, x, "a", 5), c = conv(b, x, "c", 18), d = conv(b, a, "d", 3), e = conv(b, x, "e", 16);
  const int inner = bb_nn_concat(b, (const int[]){a, c}, 2, "inner");
  const int outer = bb_nn_concat(b, (const int[]){inner, d, e}, 3, "outer");
  const int other = bb_nn_concat(b, (const int[]){d, e, a}, 3, "other");
  const int run = bb_nn_concat(b, (const int[]){d, e}, 2, "run");
  bb_nn_output(b, conv(b, outer, "of_outer", 6));
  bb_nn_output(b, conv(b, other, "of_other", 6));
  bb_nn_output(b, conv(b, run, "of_run", 6));
  bb_nn_output(b, inner);
  bb_nn_output(b, bb_nn_batch_norm(b, run, "bn", 1e-3, 1));
}

// Two concatenations of different parts must agree lane by lane.
static void disagreeing_concats(bb_builder *b, int x) {
  const int a = conv(b, x, "a", 5), c = conv(b, x, "c", 7), d = conv(b, x, "d", 8), e = conv(b, x, "e", 4);
  const int left = bb_nn_concat(b, (const int[]){a, c}, 2, "left"), right = bb_nn_concat(b, (const int[]){d, e}, 2, "right");
  const int sum = bb_nn_add(b, left, right, "sum");
  bb_nn_output(b, bb_nn_mul(b, sum, left, "product"));
  bb_nn_output(b, conv(b, sum, "f", 3));
  bb_nn_output(b, bb_nn_concat(b, (const int[]){sum, left, sum}, 3, "cat"));
}

static void slices(bb_builder *b, int x) {
  const int a = conv(b, x, "a", 40);
  bb_nn_output(b, conv(b, bb_nn_slice(b, a, "whole_blocks", 16, 16), "c", 5));
  bb_nn_output(b, conv(b, bb_nn_slice(b, a, "odd", 3, 22), "d", 5));
  bb_nn_output(b, bb_nn_slice(b, a, "last", 32, 8));
  const int s = bb_nn_slice(b, bb_nn_concat(b, (const int[]){a, conv(b, x, "e", 9)}, 2, "cat"), "second_part", 40, 9);
  bb_nn_output(b, bb_nn_relu(b, s, "relu"));
  bb_nn_output(b, bb_nn_slice(b, bb_nn_slice(b, a, "outer", 16, 24), "inner", 1, 2));
  bb_nn_output(b, bb_nn_concat(b, (const int[]){s, s}, 2, "twice"));
  // A convolution of some channels, added to all: its output must not take the place of what it reads.
  const int t = conv(b, x, "f", 32);
  bb_nn_output(b, bb_nn_add(b, conv(b, bb_nn_slice(b, t, "half", 0, 16), "g", 32), t, "onto_itself"));
}

// CSPResNet-50's addition on the first channels; additions that read one value twice; outputs that others read.
static void additions(bb_builder *b, int x) {
  const int a = conv(b, x, "a", 20), c = conv(b, x, "c", 9), d = conv(b, a, "d", 20);
  const int prefix = bb_nn_add(b, a, c, "prefix");
  const int twice = bb_nn_add(b, d, d, "twice");
  const int sum = bb_nn_relu(b, bb_nn_add(b, prefix, twice, "sum"), "relu");
  bb_nn_output(b, d);
  bb_nn_output(b, sum);
  bb_nn_output(b, sum);
  const int late = bb_nn_act(b, conv(b, sum, "e", 20), "mish", BB_ACT_MISH, 0);
  bb_nn_output(b, bb_nn_add(b, sum, late, "after_act"));
}

// Squeeze-and-excite whose product has several readers, whose factors are read twice; sigmoid in empty lanes.
static void gates(bb_builder *b, int x) {
  const int a = bb_nn_act(b, conv(b, x, "a", 21), "silu", BB_ACT_SILU, 0);
  int g = bb_nn_adaptive_avg_pool(b, a, "mean", 1, 1);
  g = bb_nn_act(b, bb_nn_conv(b, g, "g", (bb_nn_conv_spec){.k = 21, .r = 1}), "sigmoid", BB_ACT_SIGMOID, 0);
  const int y = bb_nn_mul(b, a, g, "mul");
  bb_nn_output(b, conv(b, y, "c", 6));
  bb_nn_output(b, bb_nn_conv(b, y, "d", (bb_nn_conv_spec){.k = 21, .r = 3, .groups = 21}));
  bb_nn_output(b, bb_nn_conv(b, g, "e", (bb_nn_conv_spec){.k = 4, .r = 1}));
  const int h = bb_nn_mul(b, bb_nn_relu(b, y, "relu"), g, "again");
  bb_nn_output(b, bb_nn_batch_norm(b, h, "bn", 1e-5, 1));
  bb_nn_output(b, bb_nn_softmax(b, g, "softmax"));
}

// Flattened maps that others than fully connected layers read; groups, dilation, rectangular filters.
static void odds_and_ends(bb_builder *b, int x) {
  int a = bb_nn_conv(b, x, "a", (bb_nn_conv_spec){.k = 12, .r = 1, .s = 7, .dilation = 1});
  a = bb_nn_conv(b, a, "c", (bb_nn_conv_spec){.k = 20, .r = 3, .groups = 4, .dilation = 2, .pad = 2, .stride = 2});
  a = bb_nn_act(b, a, "leaky", BB_ACT_LEAKY_RELU, 0.1f);
  const int p = bb_nn_adaptive_avg_pool(b, a, "p", 3, 2);
  const int flat = bb_nn_flatten(b, p, "flat");
  bb_nn_output(b, bb_nn_softmax(b, flat, "softmax"));
  bb_nn_output(b, bb_nn_fc(b, flat, "fc", 10, true, 1));
  bb_nn_output(b, bb_nn_softmax(b, bb_nn_fc(b, bb_nn_relu(b, flat, "relu"), "fc2", 33, false, 1), "softmax2"));
  bb_nn_relu(b, conv(b, a, "dead", 9), "dead_relu");
}

static const bb_model annoying[] = {
    {"input_everywhere", "test", "", 3, 9, 11, input_everywhere},
    {"concats", "test", "", 3, 9, 11, concats},
    {"disagreeing_concats", "test", "", 3, 9, 11, disagreeing_concats},
    {"slices", "test", "", 3, 9, 11, slices},
    {"additions", "test", "", 3, 9, 11, additions},
    {"gates", "test", "", 5, 9, 11, gates},
    {"odds_and_ends", "test", "", 3, 17, 19, odds_and_ends},
};

static void annoying_graphs(void **state) {
  const bb_model *model = *state;
  for (int N = 1; N <= 3; N += 2) {
    subject s;
    make(&s, model, N, 0, 0);
    bb_reference *ref = reference_of(&s);
    for (int isa = 0; isa < BB_ISA_COUNT; isa++) {
      if (!bb_isa_runs((bb_isa)isa)) continue;
      check_net(&s, ref, (bb_isa)isa, NULL, bb_isa_name((bb_isa)isa));
      for (size_t i = 0; i < bb_pass_count(); i++) {
        char one[32];
        snprintf(one, sizeof one, "-%s", bb_pass_name(i));
        check_net(&s, ref, (bb_isa)isa, one, one);
      }
    }
    bb_reference_destroy(ref);
    drop(&s);
  }
}

// ---- the interface -------------------------------------------------------------------------------------------------

static void unknown_pass_is_refused(void **state) {
  (void)state;
  subject s;
  bb_net *net;
  bb_error error;
  make(&s, &annoying[0], 1, 0, 0);
  static const char *const bad[] = {"-fuse", "fold_bn", "-fold_bn,-x", "-", "-fold_bn -se"};
  for (size_t i = 0; i < BB_COUNT(bad); i++) {
    assert_int_equal(bb_net_create(s.graph, s.params, &(bb_net_options){.passes = bad[i]}, &net, &error), BB_INVALID);
    assert_null(net);
    assert_non_null(strstr(error.text, "unknown pass"));
  }
  drop(&s);
}

// Streams of one net do not see each other; times rise.
static void streams_and_times(void **state) {
  (void)state;
  subject s;
  bb_error error;
  make(&s, bb_model_find("ghostnet_100"), 1, 64, 64);
  bb_net *net = compile(&s, bb_isa_best(), 1, NULL);
  bb_stream *a, *b;
  if (bb_stream_create(net, 1, &a, &error) || bb_stream_create(net, 1, &b, &error)) fail_msg("%s", error.text);
  uint64_t *ns = malloc(((size_t)bb_net_steps(net) + 1) * sizeof *ns);
  assert_non_null(ns);
  bb_stream_run(a, NULL, s.input, ns);
  for (int i = 0; i < bb_net_steps(net); i++) assert_true(ns[i] <= ns[i + 1]);
  float first[1000];
  memcpy(first, bb_stream_output(a, 0), sizeof first);
  const float kept = s.input[0];
  s.input[0] = 100;
  bb_stream_run(b, NULL, s.input, NULL);
  assert_memory_equal(first, bb_stream_output(a, 0), sizeof first);
  assert_memory_not_equal(first, bb_stream_output(b, 0), sizeof first);
  s.input[0] = kept;
  bb_stream_run(b, NULL, s.input, NULL);
  assert_memory_equal(first, bb_stream_output(b, 0), sizeof first);
  free(ns);
  bb_stream_destroy(a);
  bb_stream_destroy(b);
  bb_net_destroy(net);
  drop(&s);
}

// ---- the list ------------------------------------------------------------------------------------------------------

enum { MAX_TESTS = 128 };
static struct CMUnitTest tests[MAX_TESTS];
static char names[MAX_TESTS][64];
static size_t count;

// Is the network in this variable, a list with commas? All are where it is not set.
static bool wanted(const char *variable, const char *network) {
  const char *list = getenv(variable);
  if (!list) return true;
  const size_t n = strlen(network);
  for (const char *at = list; (at = strstr(at, network)); at += n)
    if ((at == list || at[-1] == ',') && (at[n] == ',' || !at[n])) return true;
  return false;
}

static void add(const char *name, const char *subject_name, CMUnitTestFunction fn, const void *state) {
  snprintf(names[count], sizeof names[count], "%s%s%s", subject_name, *subject_name ? ": " : "", name);
  tests[count] = (struct CMUnitTest){.name = names[count], .test_func = fn, .initial_state = (void *)(uintptr_t)state};
  count++;
}

int main(void) {
  full = getenv("BB_TEST_FULL") != NULL;
  add("unknown pass is refused", "", unknown_pass_is_refused, NULL);
  add("streams and times", "", streams_and_times, NULL);
  for (size_t i = 0; i < BB_COUNT(annoying); i++) add("all levels and passes", annoying[i].name, annoying_graphs, &annoying[i]);
  for (size_t i = 0; i < bb_model_count(); i++) {
    const bb_model *m = bb_model_at(i);
    if (!wanted("BB_TEST_NETS", m->name)) {
      printf("left out by BB_TEST_NETS: %s\n", m->name);
      continue;
    }
    add("equals the reference executor", m->name, equals_reference, m);
    if (strcmp(m->name, "vgg19") == 0 && !full) continue;  // otherwise as VGG-16
    if (strcmp(m->name, "resnet50") == 0 || full) add("fast accuracy", m->name, fast_accuracy, m);
    add("plans", m->name, plans_are_vector_plans, m);
    add("threads change nothing", m->name, threads_change_nothing, m);
    add("equals PyTorch", m->name, equals_pytorch, m);
    if (!full && !wanted("BB_TEST_PASSES", m->name))
      printf("passes not left out, by BB_TEST_PASSES: %s\n", m->name);
    else if (!heavy(m) || full)
      add("every pass can be left out", m->name, every_pass_can_be_left_out, m);
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
