// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/common.h"
#include "net.h"

// ---- edits ---------------------------------------------------------------------------------------------------------

static bool grow(void **array, int count, int *room, size_t size) {
  if (count < *room) return true;
  const int wanted = *room ? 2 * *room : 256;
  void *more = realloc(*array, (size_t)wanted * size);
  if (!more) return false;
  *array = more;
  *room = wanted;
  return true;
}

int bb_program_value(bb_program *p, int N, int C, int H, int W) {
  if (!grow((void **)&p->value, p->values, &p->value_room, sizeof *p->value)) return BB_NONE;
  p->value[p->values] = (bb_value){.N = N, .C = C, .H = H, .W = W, .parent = BB_NONE};
  return p->values++;
}

static void oper_free(bb_oper *oper) {
  free(oper->part);
  free(oper->fold);
  free(oper->affine);
  free(oper->fused);
}

bb_oper *bb_program_insert(bb_program *p, int at, const bb_oper *oper) {
  if (!grow((void **)&p->oper, p->opers, &p->oper_room, sizeof *p->oper)) {
    bb_oper owned = *oper;
    oper_free(&owned);
    return NULL;
  }
  memmove(p->oper + at + 1, p->oper + at, (size_t)(p->opers - at) * sizeof *p->oper);
  p->oper[at] = *oper;
  p->opers++;
  return &p->oper[at];
}

void bb_program_remove(bb_program *p, int at) {
  oper_free(&p->oper[at]);
  p->opers--;
  memmove(p->oper + at, p->oper + at + 1, (size_t)(p->opers - at) * sizeof *p->oper);
}

static bb_oper plain(int node, int x, int y) {
  return (bb_oper){.kind = BB_OPER_PLAN, .node = node, .x = x, .x2 = BB_NONE, .x_scale = BB_NONE, .y = y, .gap = BB_NONE};
}

int bb_program_copy(bb_program *p, int at, int x) {
  const bb_value v = p->value[x];
  const int y = bb_program_value(p, v.N, v.C, v.H, v.W);
  if (y == BB_NONE) return BB_NONE;
  const int producer = bb_program_producer(p, x);
  bb_oper copy = plain(producer == BB_NONE ? 0 : p->oper[producer].node, x, y);
  copy.inserted = true;
  copy.problem = (bb_problem){.op = BB_OP_COPY, .copy = {v.N, v.C, v.H, v.W}};
  return bb_program_insert(p, at, &copy) ? y : BB_NONE;
}

bool bb_program_note_fused(bb_program *p, bb_oper *into, const bb_oper *from) {
  const char *name = p->graph->node[from->node].name, *others = from->fused ? from->fused : "";
  const size_t old = into->fused ? strlen(into->fused) + 1 : 0;
  char *text = realloc(into->fused, old + strlen(name) + 1 + strlen(others) + 1);
  if (!text) return false;
  if (old) text[old - 1] = ' ';
  strcpy(text + old, name);
  if (*others) strcat(strcat(text + old, " "), others);
  into->fused = text;
  return true;
}

// ---- questions -----------------------------------------------------------------------------------------------------

int bb_program_producer(const bb_program *p, int value) {
  for (int i = 0; i < p->opers; i++) {
    if (p->oper[i].y == value || p->oper[i].gap == value) return i;
  }
  return BB_NONE;
}

bool bb_oper_reads(const bb_oper *o, int value) {
  for (int i = 0; i < o->parts; i++) {
    if (o->part[i] == value) return true;
  }
  return o->x == value || o->x2 == value || o->x_scale == value;
}

bool bb_program_is_output(const bb_program *p, int value) {
  for (int i = 0; i < p->outputs; i++) {
    if (p->output[i] == value) return true;
  }
  return false;
}

int bb_program_only_user(const bb_program *p, int value) {
  int user = BB_NONE;
  if (bb_program_is_output(p, value)) return BB_NONE;
  for (int i = 0; i < p->opers; i++) {
    if (!bb_oper_reads(&p->oper[i], value)) continue;
    if (user != BB_NONE) return BB_NONE;
    user = i;
  }
  return user;
}

static void replace_one(int *at, int value, int by) {
  if (*at == value) *at = by;
}

void bb_program_replace(bb_program *p, int from_oper, int value, int by) {
  for (int i = from_oper; i < p->opers; i++) {
    bb_oper *o = &p->oper[i];
    replace_one(&o->x, value, by);
    replace_one(&o->x2, value, by);
    replace_one(&o->x_scale, value, by);
    for (int k = 0; k < o->parts; k++) replace_one(&o->part[k], value, by);
  }
  for (int i = 0; i < p->outputs; i++) replace_one(&p->output[i], value, by);
}

bb_view bb_program_any_view(const bb_program *p, int value) {
  const bb_value *v = &p->value[value];
  return bb_view_dense(v->N, v->C, v->H, v->W, bb_map_identity(v->C, value == 0 || v->nchw ? 1 : p->block));
}

bb_task bb_program_task(const bb_program *p, const bb_oper *o, bool laid_out) {
  bb_task task = {.problem = o->problem, .prologue = o->prologue, .epilogue = o->epilogue};
  task.x = laid_out ? p->value[o->x].view : bb_program_any_view(p, o->x);
  task.y = laid_out ? p->value[o->y].view : bb_program_any_view(p, o->y);
  if (o->slice) {
    task.x.map = o->slice;
    task.x.C = o->slice->channels;
  }
  if (o->x2 != BB_NONE) task.x2 = laid_out ? p->value[o->x2].view : bb_program_any_view(p, o->x2);
  return task;
}

static bool has_kernel(const bb_program *p, const bb_task *task) {
  if (bb_task_validate(task, NULL)) return false;
  bb_plan_options options = p->options;
  options.alg = BB_ALG_AUTO;
  const bb_kernel *kernel = bb_kernel_choose(task, &options, NULL);
  return kernel && (kernel->isa != BB_ISA_GENERIC || p->block == 1);
}

bool bb_program_can_as_is(const bb_program *p, const bb_oper *o) {
  const bb_task task = bb_program_task(p, o, false);
  return has_kernel(p, &task);
}

bool bb_program_can(const bb_program *p, const bb_oper *o) {
  bb_task task = bb_program_task(p, o, false);
  if (has_kernel(p, &task)) return true;
  if (o->x != 0) return false;
  const bb_value *in = &p->value[0];
  task.x = bb_view_dense(in->N, in->C, in->H, in->W, bb_map_identity(in->C, p->block));
  return has_kernel(p, &task);
}

const bb_kernel *bb_program_kernel(const bb_program *p, const bb_oper *o, bb_plan_options *options) {
  const bb_task task = bb_program_task(p, o, true);
  *options = p->options;
  if (bb_task_validate(&task, NULL)) return NULL;
  const bb_kernel *kernel = bb_kernel_choose(&task, options, NULL);
  if (!kernel && options->alg != BB_ALG_AUTO) {
    options->alg = BB_ALG_AUTO;
    kernel = bb_kernel_choose(&task, options, NULL);
  }
  return kernel;
}

// ---- lowering ------------------------------------------------------------------------------------------------------

// y = scale*x + shift in double; it is rounded once, when the plan is made.
static double *batch_norm(const bb_params *params, const bb_node *node, int C) {
  const float *gamma = bb_params_data(params, node->param[0]), *beta = bb_params_data(params, node->param[1]);
  const float *mean = bb_params_data(params, node->param[2]), *var = bb_params_data(params, node->param[3]);
  double *affine = malloc(2 * (size_t)C * sizeof *affine);
  for (int c = 0; c < C && affine; c++) {
    affine[c] = gamma[c] / sqrt(var[c] + node->batch_norm.eps);
    affine[C + c] = beta[c] - mean[c] * affine[c];
  }
  return affine;
}

// A fully connected layer on a flattened map is a convolution over the whole map.
static void full_map_conv(bb_program *p, const int *of_tensor, const bb_node *node, bb_oper *o) {
  const bb_graph *g = p->graph;
  for (int i = 0; i < g->nodes; i++) {
    const bb_node *flatten = &g->node[i];
    if (flatten->op != BB_NODE_FLATTEN || flatten->output != node->input[0]) continue;
    const bb_tensor map = g->tensor[flatten->input[0]];
    if (map.rank != 4 || map.H * map.W == 1) return;
    bb_conv *v = &o->problem.conv;
    v->C = map.C;
    v->H = v->R = map.H;
    v->W = v->S = map.W;
    o->x = of_tensor[flatten->input[0]];
    return;
  }
}

static bb_status lower(bb_program *p, const bb_params *params, int *of_tensor, int index) {
  const bb_node *node = &p->graph->node[index];
  const bb_tensor t = p->graph->tensor[node->output], tx = p->graph->tensor[node->input[0]];
  const int x = of_tensor[node->input[0]];
  if (node->op == BB_NODE_FLATTEN && tx.H * tx.W == 1) {
    of_tensor[node->output] = x;
    return BB_OK;
  }
  const int y = of_tensor[node->output] = bb_program_value(p, t.N, t.C, t.H, t.W);
  if (y == BB_NONE) return BB_NO_MEMORY;

  bb_oper o = plain(index, x, y);
  switch (node->op) {
    case BB_NODE_CONV:
    case BB_NODE_FC:
      o.problem = (bb_problem){.op = BB_OP_CONV, .conv = node->conv};
      if (node->op == BB_NODE_FC) full_map_conv(p, of_tensor, node, &o);
      o.w = bb_params_data(params, node->param[0]);
      o.epilogue.bias = node->param[1] >= 0;
      if (o.epilogue.bias) o.b = bb_params_data(params, node->param[1]);
      break;
    case BB_NODE_BATCH_NORM:
      o.problem = (bb_problem){.op = BB_OP_SCALE, .scale = {t.N, t.C, t.H, t.W}};
      o.affine = batch_norm(params, node, t.C);
      if (!o.affine) return BB_NO_MEMORY;
      break;
    case BB_NODE_ACT:
      o.problem = (bb_problem){.op = BB_OP_SCALE, .scale = {t.N, t.C, t.H, t.W}};
      o.epilogue.act = node->act.kind;
      o.epilogue.alpha = node->act.alpha;
      break;
    case BB_NODE_POOL:
      o.problem = (bb_problem){.op = BB_OP_POOL, .pool = node->pool};
      break;
    case BB_NODE_ADD:
    case BB_NODE_MUL: {
      const bb_tensor t2 = p->graph->tensor[node->input[1]];
      o.x2 = of_tensor[node->input[1]];
      o.problem = (bb_problem){
          .op = BB_OP_ELTWISE,
          .eltwise = {.kind = node->op == BB_NODE_ADD ? BB_ELTWISE_ADD : BB_ELTWISE_MUL,
                      .N = t.N,
                      .C = t.C,
                      .H = t.H,
                      .W = t.W,
                      .C2 = t2.C,
                      .broadcast = t2.H == 1 && t2.W == 1 && t.H * t.W > 1},
      };
      break;
    }
    case BB_NODE_CONCAT:
      o.kind = BB_OPER_CONCAT;
      o.x = BB_NONE;
      o.parts = node->inputs;
      o.part = malloc((size_t)node->inputs * sizeof *o.part);
      if (!o.part) return BB_NO_MEMORY;
      for (int i = 0; i < node->inputs; i++) o.part[i] = of_tensor[node->input[i]];
      break;
    case BB_NODE_SLICE:
      o.kind = BB_OPER_SLICE;
      o.first = node->slice.first;
      break;
    case BB_NODE_RESIZE:
      o.problem = (bb_problem){.op = BB_OP_RESIZE, .resize = node->resize};
      break;
    case BB_NODE_FLATTEN:
      o.kind = BB_OPER_FLATTEN;
      break;
    case BB_NODE_SOFTMAX:
      o.problem = (bb_problem){.op = BB_OP_SOFTMAX, .softmax = {t.N, t.C, t.H, t.W}};
      break;
    default:
      return BB_UNSUPPORTED;
  }
  return bb_program_insert(p, p->opers, &o) ? BB_OK : BB_NO_MEMORY;
}

bb_status bb_program_create(const bb_graph *graph, const bb_params *params, const bb_plan_options *options, bb_program *p) {
  *p = (bb_program){.graph = graph, .options = *options, .block = bb_isa_block(options->isa), .outputs = graph->outputs};
  bb_status status = BB_NO_MEMORY;
  int *of_tensor = malloc((size_t)graph->tensors * sizeof *of_tensor);
  p->output = malloc((size_t)graph->outputs * sizeof *p->output);
  if (!of_tensor || !p->output) goto done;
  const bb_tensor in = graph->tensor[0];
  of_tensor[0] = bb_program_value(p, in.N, in.C, in.H, in.W);
  if (of_tensor[0] == BB_NONE) goto done;
  p->value[0].nchw = true;
  status = BB_OK;
  for (int i = 0; i < graph->nodes && !status; i++) status = lower(p, params, of_tensor, i);
  for (int i = 0; i < graph->outputs && !status; i++) p->output[i] = of_tensor[graph->output[i]];
  // The maps that bb_program_any_view will ask for exist from here on: questions cannot fail.
  for (int v = 0; v < p->values && !status; v++) {
    if (!bb_map_identity(p->value[v].C, 1) || !bb_map_identity(p->value[v].C, p->block)) status = BB_NO_MEMORY;
  }
done:
  free(of_tensor);
  if (status) bb_program_destroy(p);
  return status;
}

void bb_program_destroy(bb_program *p) {
  for (int i = 0; i < p->opers; i++) oper_free(&p->oper[i]);
  for (int i = 0; i < p->maps; i++) bb_map_destroy(p->map[i]);
  free(p->oper);
  free(p->value);
  free(p->output);
  free(p->map);
  *p = (bb_program){0};
}
