// SPDX-License-Identifier: Apache-2.0
//
// The fast executor: a graph through the passes, one plan per operation that is left, and runs.

#include "net.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../kernels/common.h"
#include "../kernels/error.h"
#include "../kernels/memory.h"

struct bb_net {
  const char *name;
  int threads;
  bb_program program;  // owns the maps that plans point to
  int steps;
  bb_step *step;
  const bb_oper **oper;  // of each step
  bb_plan **plan;        // of each step
  char **names;          // of each step: the node's name, NUL, the fused ones
  char *packed;          // the weights of all plans
  bb_net_bytes bytes;
  int outputs;
};

// ---- passes --------------------------------------------------------------------------------------------------------

typedef struct pass {
  const char *name, *text;
  bb_status (*run)(bb_program *p);  // NULL: bb_net_create asks for it by name
} pass;

static const pass passes[] = {
    {"identity", "leaves out what changes nothing: a mean over one pixel, a slice of all channels", bb_pass_identity},
    {"fold_bn", "batch-norm behind a convolution into its weights and bias, in double, rounded once", bb_pass_fold_bn},
    {"fuse_act", "activations into the operation before them", bb_pass_fuse_act},
    {"fuse_add", "additions into the convolution that makes one of the operands", bb_pass_fuse_add},
    {"prologue", "batch-norm and ReLU that stand before convolutions into their reading of the input", bb_pass_prologue},
    {"se", "the multiplication of squeeze-and-excite into the convolutions behind it", bb_pass_se},
    {"gap", "a global mean into the convolution before it", bb_pass_gap},
    {"dead_code", "leaves out what nobody reads", bb_pass_dead_code},
    {"concat", "producers write straight into concatenations", bb_pass_concat},
    {"reuse", "values that do not live at the same time share memory", NULL},
};

size_t bb_pass_count(void) { return BB_COUNT(passes); }
const char *bb_pass_name(size_t i) { return passes[i].name; }
const char *bb_pass_text(size_t i) { return passes[i].text; }

// "-fuse_act,-se" -> bits of the passes that are left.
static bb_status parse_passes(const char *text, unsigned *mask, bb_error *error) {
  *mask = (1u << BB_COUNT(passes)) - 1;
  while (text && *text) {
    const size_t length = strcspn(text, ",");
    size_t i = 0;
    while (i < BB_COUNT(passes) &&
           (text[0] != '-' || strlen(passes[i].name) + 1 != length || memcmp(passes[i].name, text + 1, length - 1) != 0))
      i++;
    if (i == BB_COUNT(passes)) {
      char known[160] = "";
      for (size_t k = 0; k < BB_COUNT(passes); k++) strcat(strcat(known, k ? " -" : "-"), passes[k].name);
      return bb_fail(error, BB_INVALID, "unknown pass switch '%.*s', expected a list of: %s", (int)bb_min((int)length, 40),
                     text, known);
    }
    *mask &= ~(1u << i);
    text += length;
    if (*text == ',') text++;
  }
  return BB_OK;
}

static bool wanted(unsigned mask, const char *name) {
  size_t i = 0;
  while (strcmp(passes[i].name, name) != 0) i++;
  return mask >> i & 1;
}

// ---- plans ---------------------------------------------------------------------------------------------------------

// w*scale and b*scale + shift, rounded once. *w, *b: own memory.
static bb_status folded(const bb_oper *o, float **w, float **b) {
  const bb_conv *v = &o->problem.conv;
  const size_t each = (size_t)(v->C / v->G) * (size_t)v->R * (size_t)v->S, K = (size_t)v->K;
  *w = malloc(K * each * sizeof **w);
  *b = malloc(K * sizeof **b);
  if (!*w || !*b) return BB_NO_MEMORY;
  for (size_t k = 0; k < K; k++) {
    const double scale = o->fold[k], shift = o->fold[K + k];
    for (size_t i = 0; i < each; i++) (*w)[k * each + i] = (float)(scale * o->w[k * each + i]);
    (*b)[k] = (float)(scale * (o->b ? o->b[k] : 0) + shift);
  }
  return BB_OK;
}

static bb_status make_plan(const bb_program *p, const bb_oper *o, const bb_task *task, bb_plan **plan, bb_error *error) {
  bb_plan_options options;
  bb_program_kernel(p, o, &options);
  float *w = NULL, *b = NULL, *affine = NULL;
  bb_status status = BB_OK;
  if (o->fold) status = folded(o, &w, &b);
  if (o->affine && !status) {
    const size_t n = 2 * (size_t)p->value[o->x].C;
    affine = malloc(n * sizeof *affine);
    if (!affine) status = BB_NO_MEMORY;
    for (size_t i = 0; i < n && affine; i++) affine[i] = (float)o->affine[i];
  }
  if (status) {
    status = bb_fail(error, status, "%s: out of memory for folded weights", p->graph->node[o->node].name);
  } else {
    const bb_weights weights = {
        .w = w ? w : o->w, .b = b ? b : o->b, .scale = affine, .shift = affine ? affine + p->value[o->x].C : NULL};
    status = bb_plan_create(task, &weights, &options, plan, error);
  }
  free(w);
  free(b);
  free(affine);
  return status;
}

static char *step_names(const bb_program *p, const bb_oper *o) {
  const char *name = p->graph->node[o->node].name, *fused = o->fused ? o->fused : "";
  const size_t length = strlen(name) + 1;
  char *names = malloc(length + strlen(fused) + 1);
  if (!names) return NULL;
  memcpy(names, name, length);
  strcpy(names + length, fused);
  return names;
}

static bb_status make_steps(bb_net *net, bb_error *error) {
  const bb_program *p = &net->program;
  const size_t most = (size_t)bb_max(p->opers, 1);
  net->step = calloc(most, sizeof *net->step);
  net->oper = calloc(most, sizeof *net->oper);
  net->plan = calloc(most, sizeof *net->plan);
  net->names = calloc(most, sizeof *net->names);
  if (!net->step || !net->oper || !net->plan || !net->names) return BB_NO_MEMORY;
  for (int i = 0; i < p->opers; i++) {
    const bb_oper *o = &p->oper[i];
    if (o->kind != BB_OPER_PLAN) continue;
    const int s = net->steps++;
    const bb_task task = bb_program_task(p, o, true);
    net->oper[s] = o;
    net->names[s] = step_names(p, o);
    if (!net->names[s]) return BB_NO_MEMORY;
    const bb_status status = make_plan(p, o, &task, &net->plan[s], error);
    if (status) return status;
    const char *name = net->names[s];
    net->step[s] = (bb_step){.name = name, .fused = name + strlen(name) + 1, .inserted = o->inserted, .plan = net->plan[s]};
    net->bytes.packed += bb_plan_packed_bytes(net->plan[s]);
  }
  return BB_OK;
}

// All packed weights in one piece, in huge pages: by the time a layer runs again its page translations are gone, and with small
// pages that is 5 % of a 1x1 layer with 1 MB of weights. Each begins a page: prefetchers of the hardware stop at their ends.
static bb_status gather_weights(bb_net *net) {
  enum { PAGE = 4096 };
  size_t bytes = 0;
  for (int i = 0; i < net->steps; i++) bytes += bb_align_up(bb_plan_packed_bytes(net->plan[i]), PAGE);
  net->packed = bb_alloc(bytes);
  if (!net->packed) return BB_NO_MEMORY;
  char *next = net->packed;
  for (int i = 0; i < net->steps; i++) {
    bb_plan_move(net->plan[i], (float *)(void *)next);
    next += bb_align_up(bb_plan_packed_bytes(net->plan[i]), PAGE);
  }
  return BB_OK;
}

// ---- creation ------------------------------------------------------------------------------------------------------

static bb_status compile(bb_net *net, const bb_graph *graph, const bb_params *params, const bb_plan_options *options,
                         unsigned mask, bb_error *error) {
  bb_program *p = &net->program;
  bb_status status = bb_program_create(graph, params, options, p);
  if (status == BB_UNSUPPORTED) return bb_fail(error, status, "%s has an operation that the fast executor lacks", graph->name);
  for (size_t i = 0; i < BB_COUNT(passes) && !status; i++) {
    if ((mask >> i & 1) && passes[i].run) status = passes[i].run(p);
  }
  if (!status) status = bb_program_copy_parts(p);
  if (!status) status = bb_program_layout(p, error);
  if (!status) status = bb_program_memory(p, wanted(mask, "reuse"));
  if (!status) status = make_steps(net, error);
  if (!status) status = gather_weights(net);
  return status;
}

bb_status bb_net_create(const bb_graph *graph, const bb_params *params, const bb_net_options *given, bb_net **out,
                        bb_error *error) {
  *out = NULL;
  const bb_net_options o = given ? *given : (bb_net_options){.isa = bb_isa_best(), .threads = 1};
  bb_plan_options options = {
      .isa = o.isa,
      .alg = o.alg,
      .accuracy = o.accuracy,
      .mode = o.mode,
      .cold = o.cold,
      .threads = bb_max(o.threads, 1),
      .pool = o.pool,
      .wisdom = o.wisdom,
  };
  unsigned mask;
  bb_status status = parse_passes(o.passes, &mask, error);
  if (status) return status;
  if (!bb_isa_runs(o.isa))
    return bb_fail(error, BB_UNSUPPORTED, "%s: this machine cannot run %s", graph->name, bb_isa_name(o.isa));

  bb_net *net = calloc(1, sizeof *net);
  if (!net) return bb_fail(error, BB_NO_MEMORY, "%s: out of memory", graph->name);
  net->name = graph->name;
  net->threads = options.threads;
  net->outputs = graph->outputs;
  for (int i = 0; i < graph->params; i++) net->bytes.weights += graph->param[i].count * sizeof(float);
  if (error) error->text[0] = 0;
  // Of equal layers one is measured.
  bb_wisdom *own = NULL;
  if (options.mode == BB_PLAN_MEASURE && !options.wisdom) status = bb_wisdom_create(&own);
  if (own) options.wisdom = own;
  if (!status) status = compile(net, graph, params, &options, mask, error);
  bb_wisdom_destroy(own);
  bb_exec *exec = NULL;
  if (!status) status = bb_exec_create((const bb_plan *const *)net->plan, (size_t)net->steps, net->threads, &exec);
  if (status) {
    bb_net_destroy(net);
    if (error && !error->text[0]) bb_fail(error, status, "%s: %s", graph->name, bb_status_string(status));
    return status;
  }
  net->bytes.workspace = bb_exec_bytes(exec);
  net->bytes.arena = net->program.arena_bytes;
  bb_exec_destroy(exec);
  *out = net;
  return BB_OK;
}

void bb_net_destroy(bb_net *net) {
  if (!net) return;
  for (int i = 0; i < net->steps; i++) {
    if (net->plan) bb_plan_destroy(net->plan[i]);
    if (net->names) free(net->names[i]);
  }
  free(net->packed);
  free(net->step);
  free(net->oper);
  free(net->plan);
  free(net->names);
  bb_program_destroy(&net->program);
  free(net);
}

int bb_net_steps(const bb_net *net) { return net->steps; }
const bb_step *bb_net_step(const bb_net *net, int i) { return &net->step[i]; }
bb_net_bytes bb_net_memory(const bb_net *net) { return net->bytes; }

// ---- streams -------------------------------------------------------------------------------------------------------

struct bb_stream {
  const bb_net *net;
  bb_exec *exec;
  float *arena;
  const float **output;
  bb_io io[];  // of each step; x NULL = the input
};

bb_status bb_stream_create(const bb_net *net, int threads, bb_stream **out, bb_error *error) {
  *out = NULL;
  const bb_program *p = &net->program;
  bb_stream *s = calloc(1, sizeof *s + (size_t)net->steps * sizeof *s->io);
  if (!s) goto fail;
  s->net = net;
  s->output = calloc((size_t)net->outputs, sizeof *s->output);
  s->arena = bb_alloc(p->arena_bytes);
  if (!s->output || !s->arena) goto fail;
  if (bb_exec_create((const bb_plan *const *)net->plan, (size_t)net->steps, threads, &s->exec)) goto fail;
  memset(s->arena, 0, p->arena_bytes);  // touched, so that no run meets a page that is not there
  for (int i = 0; i < net->steps; i++) {
    const bb_oper *o = net->oper[i];
    s->io[i] = (bb_io){
        .x = o->x == 0 ? NULL : s->arena + bb_value_offset(p, o->x),
        .x2 = o->x2 == BB_NONE ? NULL : s->arena + bb_value_offset(p, o->x2),
        .x_scale = o->x_scale == BB_NONE ? NULL : s->arena + bb_value_offset(p, o->x_scale),
        .y = s->arena + bb_value_offset(p, o->y),
        .gap = o->gap == BB_NONE ? NULL : s->arena + bb_value_offset(p, o->gap),
    };
  }
  for (int i = 0; i < net->outputs; i++) s->output[i] = s->arena + bb_value_offset(p, p->output[i]);
  *out = s;
  return BB_OK;

fail:
  bb_stream_destroy(s);
  return bb_fail(error, BB_NO_MEMORY, "%s: out of memory for a stream: arena of %zu bytes and workspace of %zu", net->name,
                 net->bytes.arena, net->bytes.workspace);
}

void bb_stream_destroy(bb_stream *stream) {
  if (!stream) return;
  bb_exec_destroy(stream->exec);
  free(stream->arena);
  free(stream->output);
  free(stream);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bb_io bb_stream_step_io(const bb_stream *s, const float *input, int i) {
  bb_io io = s->io[i];
  if (!io.x) io.x = input;
  return io;
}

void bb_stream_run_step(bb_stream *s, bb_pool *pool, const float *input, int i) {
  const bb_io io = bb_stream_step_io(s, input, i);
  bb_plan_run(s->net->plan[i], s->exec, pool, &io);
}

void bb_stream_run(bb_stream *s, bb_pool *pool, const float *input, uint64_t *ns) {
  const bb_net *net = s->net;
  for (int i = 0; i < net->steps; i++) {
    if (ns) ns[i] = now();
    bb_stream_run_step(s, pool, input, i);
  }
  if (ns) ns[net->steps] = now();
}

const float *bb_stream_output(const bb_stream *stream, int i) { return stream->output[i]; }
