// SPDX-License-Identifier: Apache-2.0

#include "builder.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/common.h"

enum { PATH = 256, DEPTH = 16 };

struct bb_builder {
  const char *model;
  bb_tensor *tensor;
  bb_param *param;
  bb_node *node;
  int *output;
  int tensors, params, nodes, outputs;
  int tensor_room, param_room, node_room, output_room;
  char path[PATH];     // "layer1.0." or ""
  size_t mark[DEPTH];  // its length before each push
  int depth;
  bb_status status;
  bb_error error;
};

// ---- failure and names ---------------------------------------------------------------------------------------------

static void fail_memory(bb_builder *b) {
  if (b->status) return;
  b->status = BB_NO_MEMORY;
  snprintf(b->error.text, sizeof b->error.text, "%s: out of memory while the graph was built", b->model);
}

void bb_nn_fail(bb_builder *b, const char *format, ...) {
  if (b->status) return;
  b->status = BB_INVALID;
  char text[160];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  snprintf(b->error.text, sizeof b->error.text, "%.64s: %s", b->model, text);
}

void bb_nn_push(bb_builder *b, const char *format, ...) {
  const size_t length = strlen(b->path);
  assert(b->depth < DEPTH);
  b->mark[b->depth++] = length;
  va_list args;
  va_start(args, format);
  const int added = vsnprintf(b->path + length, sizeof b->path - length, format, args);
  va_end(args);
  assert(added > 0 && length + (size_t)added + 2 <= sizeof b->path);
  b->path[length + (size_t)added] = '.';
  b->path[length + (size_t)added + 1] = 0;
}

void bb_nn_pop(bb_builder *b) {
  assert(b->depth > 0);
  b->path[b->mark[--b->depth]] = 0;
}

// path + name + suffix, of its own memory.
static char *full_name(bb_builder *b, const char *name, const char *suffix) {
  const size_t size = strlen(b->path) + strlen(name) + strlen(suffix) + 1;
  char *text = malloc(size);
  if (!text) {
    fail_memory(b);
    return NULL;
  }
  snprintf(text, size, "%s%s%s", b->path, name, suffix);
  return text;
}

// ---- growing -------------------------------------------------------------------------------------------------------

static bool grow(bb_builder *b, void **array, int count, int *room, size_t size) {
  if (b->status) return false;
  if (count < *room) return true;
  const int wanted = *room ? 2 * *room : 64;
  void *more = realloc(*array, (size_t)wanted * size);
  if (!more) {
    fail_memory(b);
    return false;
  }
  *array = more;
  *room = wanted;
  return true;
}

static int new_tensor(bb_builder *b, bb_tensor tensor) {
  if (!grow(b, (void **)&b->tensor, b->tensors, &b->tensor_room, sizeof *b->tensor)) return -1;
  b->tensor[b->tensors] = tensor;
  return b->tensors++;
}

static int find_param(const bb_builder *b, const char *name) {
  for (int i = 0; i < b->params; i++) {
    if (strcmp(b->param[i].name, name) == 0) return i;
  }
  return -1;
}

// Takes an existing parameter of that name if its shape agrees.
static int new_param(bb_builder *b, const char *name, const char *suffix, bb_param param) {
  if (b->status) return -1;
  char *full = full_name(b, name, suffix);
  if (!full) return -1;
  const int old = find_param(b, full);
  if (old >= 0) {
    if (b->param[old].rank != param.rank || memcmp(b->param[old].shape, param.shape, sizeof param.shape) != 0)
      bb_nn_fail(b, "parameter %s is used with two shapes", full);
    free(full);
    return b->status ? -1 : old;
  }
  if (!grow(b, (void **)&b->param, b->params, &b->param_room, sizeof *b->param)) {
    free(full);
    return -1;
  }
  param.name = full;
  param.count = 1;
  for (int i = 0; i < param.rank; i++) param.count *= (size_t)param.shape[i];
  b->param[b->params] = param;
  return b->params++;
}

static bool node_name_used(const bb_builder *b, const char *name) {
  for (int i = 0; i < b->nodes; i++) {
    if (strcmp(b->node[i].name, name) == 0) return true;
  }
  return false;
}

// The name of a node: the second of a name gets "_1", the third "_2" (as torchvision.models.feature_extraction names them).
static char *node_name(bb_builder *b, const char *name) {
  char *full = full_name(b, name, "");
  if (!full || !node_name_used(b, full)) return full;
  for (int use = 1;; use++) {
    char suffix[16];
    snprintf(suffix, sizeof suffix, "_%d", use);
    free(full);
    full = full_name(b, name, suffix);
    if (!full || !node_name_used(b, full)) return full;
  }
}

static int new_node(bb_builder *b, const char *name, bb_node node, const int *x, int inputs, bb_tensor shape) {
  if (b->status) return -1;
  char *full = node_name(b, name);
  int *input = malloc((size_t)inputs * sizeof *input);
  if (!full || !input || !grow(b, (void **)&b->node, b->nodes, &b->node_room, sizeof *b->node)) {
    fail_memory(b);
    free(full);
    free(input);
    return -1;
  }
  memcpy(input, x, (size_t)inputs * sizeof *input);
  const int y = new_tensor(b, shape);
  if (y < 0) {
    free(full);
    free(input);
    return -1;
  }
  node.name = full;
  node.inputs = inputs;
  node.input = input;
  node.output = y;
  b->node[b->nodes++] = node;
  return y;
}

static bb_node plain(bb_node_op op) { return (bb_node){.op = op, .param = {-1, -1, -1, -1}}; }

bb_tensor bb_nn_shape(const bb_builder *b, int x) {
  return b->status ? (bb_tensor){.rank = 4, .N = 1, .C = 1, .H = 1, .W = 1} : b->tensor[x];
}

// Refuses what no implementation could do, in the words of the network.
static bool valid(bb_builder *b, const char *name, const bb_problem *problem) {
  if (b->status) return false;
  bb_error error;
  if (bb_problem_validate(problem, &error)) {
    const bb_tensor in = b->tensor[0];
    bb_nn_fail(b, "input %dx%d does not work: %s%s: %.90s", in.H, in.W, b->path, name, error.text);
  }
  return !b->status;
}

// ---- modules -------------------------------------------------------------------------------------------------------

static bb_nn_conv_spec with_defaults(bb_nn_conv_spec spec) {
  if (spec.s == 0) spec.s = spec.r;
  if (spec.pad_w == 0) spec.pad_w = spec.pad == 0 ? spec.s / 2 : spec.pad;
  if (spec.pad == 0) spec.pad = spec.r / 2;
  spec.pad = bb_max(spec.pad, 0);
  spec.pad_w = bb_max(spec.pad_w, 0);
  if (spec.stride == 0) spec.stride = 1;
  if (spec.dilation == 0) spec.dilation = 1;
  if (spec.groups == 0) spec.groups = 1;
  if (spec.gain == 0) spec.gain = 2;
  return spec;
}

static void conv_params(bb_builder *b, int C, const char *name, const bb_nn_conv_spec *spec, int param[2]) {
  const int Cg = C / spec->groups;
  const double fan_in = (double)Cg * spec->r * spec->s;
  param[0] = new_param(b, name, ".weight",
                       (bb_param){.rank = 4, .shape = {spec->k, Cg, spec->r, spec->s}, .scale = sqrt(spec->gain / fan_in)});
  param[1] = -1;
  if (spec->bias) param[1] = new_param(b, name, ".bias", (bb_param){.rank = 1, .shape = {spec->k}, .scale = 0.1});
}

void bb_nn_declare_conv(bb_builder *b, int C, const char *name, bb_nn_conv_spec spec) {
  int param[2];
  spec = with_defaults(spec);
  conv_params(b, C, name, &spec, param);
}

int bb_nn_conv(bb_builder *b, int x, const char *name, bb_nn_conv_spec spec) {
  if (b->status) return -1;
  spec = with_defaults(spec);
  const bb_tensor t = b->tensor[x];
  bb_node node = plain(BB_NODE_CONV);
  node.conv = (bb_conv){
      .G = spec.groups,
      .N = t.N,
      .C = t.C,
      .H = t.H,
      .W = t.W,
      .K = spec.k,
      .R = spec.r,
      .S = spec.s,
      .stride_h = spec.stride,
      .stride_w = spec.stride,
      .pad_t = spec.pad,
      .pad_b = spec.pad,
      .pad_l = spec.pad_w,
      .pad_r = spec.pad_w,
      .dil_h = spec.dilation,
      .dil_w = spec.dilation,
  };
  const int rows = t.H + 2 * spec.pad - (spec.dilation * (spec.r - 1) + 1);
  const int columns = t.W + 2 * spec.pad_w - (spec.dilation * (spec.s - 1) + 1);
  node.conv.P = rows < 0 ? 0 : rows / spec.stride + 1;
  node.conv.Q = columns < 0 ? 0 : columns / spec.stride + 1;
  if (!valid(b, name, &(bb_problem){.op = BB_OP_CONV, .conv = node.conv})) return -1;
  conv_params(b, t.C, name, &spec, node.param);
  return new_node(b, name, node, &x, 1, (bb_tensor){4, t.N, spec.k, node.conv.P, node.conv.Q});
}

int bb_nn_batch_norm(bb_builder *b, int x, const char *name, double eps, double gamma) {
  if (b->status) return -1;
  const bb_tensor t = b->tensor[x];
  bb_node node = plain(BB_NODE_BATCH_NORM);
  node.batch_norm.eps = eps;
  const double mean = gamma == 0 ? 1 : gamma;
  node.param[0] = new_param(b, name, ".weight", (bb_param){.rank = 1, .shape = {t.C}, .mean = mean, .scale = 0.1 * mean});
  node.param[1] = new_param(b, name, ".bias", (bb_param){.rank = 1, .shape = {t.C}, .scale = 0.1});
  node.param[2] = new_param(b, name, ".running_mean", (bb_param){.rank = 1, .shape = {t.C}, .running = true, .scale = 0.1});
  node.param[3] =
      new_param(b, name, ".running_var", (bb_param){.rank = 1, .shape = {t.C}, .running = true, .mean = 1, .scale = 0.1});
  return new_node(b, name, node, &x, 1, t);
}

int bb_nn_act(bb_builder *b, int x, const char *name, bb_act act, float alpha) {
  if (b->status) return -1;
  bb_node node = plain(BB_NODE_ACT);
  node.act.kind = act;
  node.act.alpha = alpha;
  return new_node(b, name, node, &x, 1, b->tensor[x]);
}

int bb_nn_relu(bb_builder *b, int x, const char *name) { return bb_nn_act(b, x, name, BB_ACT_RELU, 0); }

static int pooled(int in, const bb_nn_pool_spec *spec) {
  const int rest = in + 2 * spec->pad - spec->r;
  if (rest < 0) return 0;
  if (!spec->ceil_mode) return rest / spec->stride + 1;
  const int out = bb_ceil_div(rest, spec->stride) + 1;
  return (out - 1) * spec->stride >= in + spec->pad ? out - 1 : out;
}

static int pool(bb_builder *b, int x, const char *name, bb_nn_pool_spec spec, bb_pool_kind kind) {
  if (b->status) return -1;
  if (spec.stride == 0) spec.stride = spec.r;
  const bb_tensor t = b->tensor[x];
  bb_node node = plain(BB_NODE_POOL);
  node.pool = (bb_pooling){
      .kind = kind,
      .N = t.N,
      .C = t.C,
      .H = t.H,
      .W = t.W,
      .P = pooled(t.H, &spec),
      .Q = pooled(t.W, &spec),
      .R = spec.r,
      .S = spec.r,
      .stride_h = spec.stride,
      .stride_w = spec.stride,
      .pad_t = spec.pad,
      .pad_b = spec.pad,
      .pad_l = spec.pad,
      .pad_r = spec.pad,
      .ceil_mode = spec.ceil_mode,
      .count_include_pad = kind == BB_POOL_AVG,
  };
  if (!valid(b, name, &(bb_problem){.op = BB_OP_POOL, .pool = node.pool})) return -1;
  return new_node(b, name, node, &x, 1, (bb_tensor){4, t.N, t.C, node.pool.P, node.pool.Q});
}

int bb_nn_max_pool(bb_builder *b, int x, const char *name, bb_nn_pool_spec spec) { return pool(b, x, name, spec, BB_POOL_MAX); }

int bb_nn_avg_pool(bb_builder *b, int x, const char *name, bb_nn_pool_spec spec) { return pool(b, x, name, spec, BB_POOL_AVG); }

int bb_nn_adaptive_avg_pool(bb_builder *b, int x, const char *name, int P, int Q) {
  if (b->status) return -1;
  const bb_tensor t = b->tensor[x];
  bb_node node = plain(BB_NODE_POOL);
  node.pool = (bb_pooling){.kind = BB_POOL_AVG, .N = t.N, .C = t.C, .H = t.H, .W = t.W, .P = P, .Q = Q, .adaptive = true};
  if (!valid(b, name, &(bb_problem){.op = BB_OP_POOL, .pool = node.pool})) return -1;
  return new_node(b, name, node, &x, 1, (bb_tensor){4, t.N, t.C, P, Q});
}

int bb_nn_add(bb_builder *b, int x, int x2, const char *name) {
  if (b->status) return -1;
  const bb_tensor t = b->tensor[x], t2 = b->tensor[x2];
  if (t.N != t2.N || t2.C > t.C || t.H != t2.H || t.W != t2.W) {
    bb_nn_fail(b, "%s%s: %dx%dx%d cannot be added to %dx%dx%d", b->path, name, t2.C, t2.H, t2.W, t.C, t.H, t.W);
    return -1;
  }
  return new_node(b, name, plain(BB_NODE_ADD), (int[]){x, x2}, 2, t);
}

int bb_nn_mul(bb_builder *b, int x, int x2, const char *name) {
  if (b->status) return -1;
  const bb_tensor t = b->tensor[x], t2 = b->tensor[x2];
  const bool same = t.H == t2.H && t.W == t2.W, broadcast = t2.H == 1 && t2.W == 1;
  if (t.N != t2.N || t.C != t2.C || (!same && !broadcast)) {
    bb_nn_fail(b, "%s%s: %dx%dx%d cannot be multiplied by %dx%dx%d", b->path, name, t.C, t.H, t.W, t2.C, t2.H, t2.W);
    return -1;
  }
  return new_node(b, name, plain(BB_NODE_MUL), (int[]){x, x2}, 2, t);
}

int bb_nn_concat(bb_builder *b, const int *x, int count, const char *name) {
  if (b->status) return -1;
  bb_tensor t = b->tensor[x[0]];
  for (int i = 1; i < count; i++) {
    const bb_tensor part = b->tensor[x[i]];
    if (part.N != t.N || part.H != t.H || part.W != t.W) {
      bb_nn_fail(b, "%s%s: part %d is %dx%d, the first is %dx%d", b->path, name, i, part.H, part.W, t.H, t.W);
      return -1;
    }
    t.C += part.C;
  }
  return new_node(b, name, plain(BB_NODE_CONCAT), x, count, t);
}

int bb_nn_slice(bb_builder *b, int x, const char *name, int first, int channels) {
  if (b->status) return -1;
  bb_tensor t = b->tensor[x];
  if (first < 0 || channels < 1 || first > t.C - channels) {
    bb_nn_fail(b, "%s%s: channels %d..%d of %d", b->path, name, first, first + channels - 1, t.C);
    return -1;
  }
  bb_node node = plain(BB_NODE_SLICE);
  node.slice.first = first;
  t.C = channels;
  return new_node(b, name, node, &x, 1, t);
}

int bb_nn_resize(bb_builder *b, int x, int like, const char *name, bb_resize_kind kind) {
  if (b->status) return -1;
  const bb_tensor t = b->tensor[x], to = b->tensor[like];
  bb_node node = plain(BB_NODE_RESIZE);
  node.resize = (bb_resize){.kind = kind, .N = t.N, .C = t.C, .H = t.H, .W = t.W, .P = to.H, .Q = to.W};
  if (!valid(b, name, &(bb_problem){.op = BB_OP_RESIZE, .resize = node.resize})) return -1;
  return new_node(b, name, node, &x, 1, (bb_tensor){4, t.N, t.C, to.H, to.W});
}

int bb_nn_flatten(bb_builder *b, int x, const char *name) {
  if (b->status) return -1;
  const bb_tensor t = b->tensor[x];
  return new_node(b, name, plain(BB_NODE_FLATTEN), &x, 1, (bb_tensor){2, t.N, t.C * t.H * t.W, 1, 1});
}

int bb_nn_fc(bb_builder *b, int x, const char *name, int k, bool bias, double gain) {
  if (b->status) return -1;
  const bb_tensor t = b->tensor[x];
  bb_node node = plain(BB_NODE_FC);
  node.conv = (bb_conv){.G = 1,
                        .N = t.N,
                        .C = t.C,
                        .H = 1,
                        .W = 1,
                        .K = k,
                        .P = 1,
                        .Q = 1,
                        .R = 1,
                        .S = 1,
                        .stride_h = 1,
                        .stride_w = 1,
                        .dil_h = 1,
                        .dil_w = 1};
  if (t.rank != 2) bb_nn_fail(b, "%s%s: a fully connected layer wants a flattened tensor", b->path, name);
  if (!valid(b, name, &(bb_problem){.op = BB_OP_CONV, .conv = node.conv})) return -1;
  node.param[0] =
      new_param(b, name, ".weight", (bb_param){.rank = 2, .shape = {k, t.C}, .scale = sqrt((gain == 0 ? 2 : gain) / t.C)});
  if (bias) node.param[1] = new_param(b, name, ".bias", (bb_param){.rank = 1, .shape = {k}, .scale = 0.1});
  return new_node(b, name, node, &x, 1, (bb_tensor){2, t.N, k, 1, 1});
}

int bb_nn_softmax(bb_builder *b, int x, const char *name) {
  if (b->status) return -1;
  return new_node(b, name, plain(BB_NODE_SOFTMAX), &x, 1, b->tensor[x]);
}

void bb_nn_output(bb_builder *b, int x) {
  if (!grow(b, (void **)&b->output, b->outputs, &b->output_room, sizeof *b->output)) return;
  b->output[b->outputs++] = x;
}

// ---- graphs --------------------------------------------------------------------------------------------------------

static void free_parts(bb_tensor *tensor, bb_param *param, int params, bb_node *node, int nodes, int *output) {
  for (int i = 0; i < params; i++) free((char *)param[i].name);
  for (int i = 0; i < nodes; i++) {
    free((char *)node[i].name);
    free((int *)node[i].input);
  }
  free(tensor);
  free(param);
  free(node);
  free(output);
}

bb_status bb_graph_create(const bb_model *model, int N, int H, int W, bb_graph **graph, bb_error *error) {
  *graph = NULL;
  bb_builder b = {.model = model->name};
  const bb_tensor input = {4, N, model->C, H == 0 ? model->H : H, W == 0 ? model->W : W};
  if (N < 1 || H < 0 || W < 0) {
    bb_nn_fail(&b, "batch %d and input %dx%d: positive sizes expected", N, H, W);
  } else if (bb_problem_validate(&(bb_problem){.op = BB_OP_COPY, .copy = {input.N, input.C, input.H, input.W}}, &b.error)) {
    b.status = BB_INVALID;
  } else {
    const int x = new_tensor(&b, input);
    if (x >= 0) model->build(&b, x);
  }
  bb_graph *g = b.status ? NULL : malloc(sizeof *g);
  if (!g) {
    fail_memory(&b);
    if (error) *error = b.error;
    free_parts(b.tensor, b.param, b.params, b.node, b.nodes, b.output);
    return b.status;
  }
  assert(b.path[0] == 0 && b.outputs > 0);
  *g = (bb_graph){
      .name = model->name,
      .tensors = b.tensors,
      .params = b.params,
      .nodes = b.nodes,
      .outputs = b.outputs,
      .tensor = b.tensor,
      .param = b.param,
      .node = b.node,
      .output = b.output,
  };
  *graph = g;
  return BB_OK;
}

void bb_graph_destroy(bb_graph *graph) {
  if (!graph) return;
  free_parts((bb_tensor *)graph->tensor, (bb_param *)graph->param, graph->params, (bb_node *)graph->node, graph->nodes,
             (int *)graph->output);
  free(graph);
}

size_t bb_tensor_count(const bb_tensor *tensor) {
  return (size_t)tensor->N * (size_t)tensor->C * (size_t)tensor->H * (size_t)tensor->W;
}

int bb_graph_find_param(const bb_graph *graph, const char *name) {
  for (int i = 0; i < graph->params; i++) {
    if (strcmp(graph->param[i].name, name) == 0) return i;
  }
  return -1;
}

static bool same_conv(const bb_conv *a, const bb_conv *b) {
  return memcmp(a, b, sizeof *a) == 0;  // ints only: no padding between them
}

int bb_graph_layers(const bb_graph *graph, bb_layer *layers, int max) {
  int found = 0;
  for (int i = 0; i < graph->nodes; i++) {
    const bb_node *node = &graph->node[i];
    if (node->op != BB_NODE_CONV) continue;
    int first = 0;
    while (graph->node[first].op != BB_NODE_CONV || !same_conv(&graph->node[first].conv, &node->conv)) first++;
    if (first == i) {
      if (found < max) layers[found] = (bb_layer){.name = node->name, .conv = node->conv, .count = 1};
      found++;
      continue;
    }
    for (int l = 0; l < bb_min(found, max); l++) {
      if (same_conv(&layers[l].conv, &node->conv)) layers[l].count++;
    }
  }
  return found;
}

bb_counts bb_graph_count(const bb_graph *graph) {
  bb_counts counts = {.distinct = bb_graph_layers(graph, NULL, 0)};
  for (int i = 0; i < graph->params; i++) {
    if (!graph->param[i].running) counts.params += graph->param[i].count;
  }
  for (int i = 0; i < graph->nodes; i++) {
    const bb_node *node = &graph->node[i];
    if (node->op != BB_NODE_CONV && node->op != BB_NODE_FC) continue;
    const bb_conv *v = &node->conv;
    const uint64_t elements = bb_tensor_count(&graph->tensor[node->output]);
    counts.macs += elements * (uint64_t)(v->C / v->G) * (uint64_t)v->R * (uint64_t)v->S;
    if (node->op != BB_NODE_CONV) continue;
    counts.activations += elements;
    counts.convs++;
  }
  return counts;
}

const char *bb_node_op_name(bb_node_op op) {
  static const char *const name[] = {
      [BB_NODE_CONV] = "conv",     [BB_NODE_BATCH_NORM] = "batch_norm",
      [BB_NODE_ACT] = "act",       [BB_NODE_POOL] = "pool",
      [BB_NODE_ADD] = "add",       [BB_NODE_MUL] = "mul",
      [BB_NODE_CONCAT] = "concat", [BB_NODE_SLICE] = "slice",
      [BB_NODE_RESIZE] = "resize", [BB_NODE_FLATTEN] = "flatten",
      [BB_NODE_FC] = "fc",         [BB_NODE_SOFTMAX] = "softmax",
      [BB_NODE_LRN] = "lrn",       [BB_NODE_SHUFFLE] = "shuffle",
  };
  _Static_assert(BB_COUNT(name) == BB_NODE_OP_COUNT, "one name per operation");
  return name[op];
}

int bb_node_print(const bb_graph *graph, int node, char *text, size_t size) {
  const bb_node *n = &graph->node[node];
  const bb_tensor x = graph->tensor[n->input[0]], y = graph->tensor[n->output];
  const char *op = bb_node_op_name(n->op);
  if (n->op == BB_NODE_CONV || n->op == BB_NODE_FC) {
    char problem[192];
    bb_task_print(&(bb_task){.problem = {.op = BB_OP_CONV, .conv = n->conv}, .epilogue = {.bias = n->param[1] >= 0}}, problem,
                  sizeof problem);
    return snprintf(text, size, "%s %s", op, problem);
  }
  if (n->op == BB_NODE_ACT) op = bb_act_name(n->act.kind);
  return snprintf(text, size, "%s %dx%dx%dx%d -> %dx%dx%dx%d", op, x.N, x.C, x.H, x.W, y.N, y.C, y.H, y.W);
}
