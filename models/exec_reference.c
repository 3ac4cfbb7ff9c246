// SPDX-License-Identifier: Apache-2.0
//
// The reference executor: one node after the other, as built, by reference/. Dense NCHW tensors of doubles; a tensor is
// released after its last use.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/error.h"
#include "../reference/ref.h"
#include "models.h"

struct bb_reference {
  int tensors;
  double *data[];
};

typedef struct run {
  const bb_graph *graph;
  const bb_params *params;
  bb_pool *pool;
  double **data;  // of each tensor
} run;

static const float *param(const run *r, const bb_node *node, int i) {
  return node->param[i] < 0 ? NULL : bb_params_data(r->params, node->param[i]);
}

// ---- nodes ---------------------------------------------------------------------------------------------------------

typedef struct conv_planes {
  const bb_conv *conv;
  const bb_epilogue *epilogue;
  const bb_ref_io *io;
} conv_planes;

static void run_planes(void *context, size_t first, size_t last, int thread) {
  const conv_planes *c = context;
  (void)thread;
  bb_ref_conv_planes(c->conv, NULL, c->epilogue, c->io, first, last);
}

static bb_status conv(const run *r, const bb_node *node, bb_ref_io io) {
  const bb_conv *v = &node->conv;
  const float *bias = param(r, node, 1);
  double *b = NULL;
  if (bias) {
    b = malloc((size_t)v->K * sizeof *b);
    if (!b) return BB_NO_MEMORY;
    bb_ref_widen(bias, (size_t)v->K, b);
  }
  io.w = param(r, node, 0);
  io.b = b;
  const bb_epilogue epilogue = {.bias = b != NULL};
  bb_pool_run(r->pool, (size_t)v->N * (size_t)v->K, run_planes, &(conv_planes){v, &epilogue, &io});
  free(b);
  return BB_OK;
}

// y = gamma*(x - mean)/sqrt(var + eps) + beta
static bb_status batch_norm(const run *r, const bb_node *node, bb_ref_io io) {
  const bb_tensor t = r->graph->tensor[node->output];
  const float *gamma = param(r, node, 0), *beta = param(r, node, 1), *mean = param(r, node, 2), *var = param(r, node, 3);
  double *scale = malloc(2 * (size_t)t.C * sizeof *scale), *shift = scale + t.C;
  if (!scale) return BB_NO_MEMORY;
  for (int c = 0; c < t.C; c++) {
    scale[c] = gamma[c] / sqrt(var[c] + node->batch_norm.eps);
    shift[c] = beta[c] - mean[c] * scale[c];
  }
  io.scale = scale;
  io.shift = shift;
  bb_ref_scale(&(bb_scale){t.N, t.C, t.H, t.W}, NULL, &io);
  free(scale);
  return BB_OK;
}

static void eltwise(const run *r, const bb_node *node, const bb_ref_io *io) {
  const bb_tensor t = r->graph->tensor[node->output], t2 = r->graph->tensor[node->input[1]];
  const bb_eltwise e = {
      .kind = node->op == BB_NODE_ADD ? BB_ELTWISE_ADD : BB_ELTWISE_MUL,
      .N = t.N,
      .C = t.C,
      .H = t.H,
      .W = t.W,
      .C2 = t2.C,
      .broadcast = t2.H == 1 && t2.W == 1,
  };
  bb_ref_eltwise(&e, NULL, io);
}

static void concat(const run *r, const bb_node *node, double *y) {
  const bb_tensor t = r->graph->tensor[node->output];
  for (int n = 0; n < t.N; n++) {
    for (int i = 0; i < node->inputs; i++) {
      const bb_tensor part = r->graph->tensor[node->input[i]];
      const size_t image = (size_t)part.C * (size_t)part.H * (size_t)part.W;
      memcpy(y, r->data[node->input[i]] + (size_t)n * image, image * sizeof *y);
      y += image;
    }
  }
}

static void slice(const run *r, const bb_node *node, const double *x, double *y) {
  const bb_tensor t = r->graph->tensor[node->output], from = r->graph->tensor[node->input[0]];
  const size_t plane = (size_t)t.H * (size_t)t.W;
  for (int n = 0; n < t.N; n++) {
    const size_t first = (size_t)n * (size_t)from.C + (size_t)node->slice.first;
    memcpy(y + (size_t)n * (size_t)t.C * plane, x + first * plane, (size_t)t.C * plane * sizeof *y);
  }
}

static bb_status run_node(const run *r, const bb_node *node) {
  const bb_tensor t = r->graph->tensor[node->output];
  const bb_ref_io io = {
      .x = r->data[node->input[0]],
      .x2 = node->inputs > 1 ? r->data[node->input[1]] : NULL,
      .y = r->data[node->output],
  };
  switch (node->op) {
    case BB_NODE_CONV:
    case BB_NODE_FC:
      return conv(r, node, io);
    case BB_NODE_BATCH_NORM:
      return batch_norm(r, node, io);
    case BB_NODE_ACT:
      for (size_t i = 0; i < bb_tensor_count(&t); i++) io.y[i] = bb_ref_act(node->act.kind, (double)node->act.alpha, io.x[i]);
      return BB_OK;
    case BB_NODE_POOL:
      bb_ref_pool(&node->pool, NULL, &io);
      return BB_OK;
    case BB_NODE_ADD:
    case BB_NODE_MUL:
      eltwise(r, node, &io);
      return BB_OK;
    case BB_NODE_CONCAT:
      concat(r, node, io.y);
      return BB_OK;
    case BB_NODE_SLICE:
      slice(r, node, io.x, io.y);
      return BB_OK;
    case BB_NODE_RESIZE:
      bb_ref_resize(&node->resize, NULL, &io);
      return BB_OK;
    case BB_NODE_FLATTEN:
      memcpy(io.y, io.x, bb_tensor_count(&t) * sizeof *io.y);
      return BB_OK;
    case BB_NODE_SOFTMAX:
      bb_ref_softmax(&(bb_softmax){t.N, t.C, t.H, t.W}, NULL, &io);
      return BB_OK;
    default:
      return BB_UNSUPPORTED;
  }
}

// ---- the run -------------------------------------------------------------------------------------------------------

// Index of the last node that reads each tensor; outputs are read after the last one.
static int *last_uses(const bb_graph *graph) {
  int *last = malloc((size_t)graph->tensors * sizeof *last);
  if (!last) return NULL;
  for (int t = 0; t < graph->tensors; t++) last[t] = -1;
  for (int i = 0; i < graph->nodes; i++) {
    last[graph->node[i].output] = i;  // what nobody reads goes at once
    for (int k = 0; k < graph->node[i].inputs; k++) last[graph->node[i].input[k]] = i;
  }
  for (int i = 0; i < graph->outputs; i++) last[graph->output[i]] = graph->nodes;
  return last;
}

bb_status bb_reference_run(const bb_graph *graph, const bb_params *params, const float *input, bool keep, bb_pool *pool,
                           bb_reference **out, bb_error *error) {
  *out = NULL;
  int *last = last_uses(graph);
  bb_reference *ref = calloc(1, sizeof *ref + (size_t)graph->tensors * sizeof *ref->data);
  if (!last || !ref) goto no_memory;
  ref->tensors = graph->tensors;

  const size_t inputs = bb_tensor_count(&graph->tensor[0]);
  ref->data[0] = malloc(inputs * sizeof *ref->data[0]);
  if (!ref->data[0]) goto no_memory;
  bb_ref_widen(input, inputs, ref->data[0]);

  const run r = {graph, params, pool, ref->data};
  for (int i = 0; i < graph->nodes; i++) {
    const bb_node *node = &graph->node[i];
    double *y = ref->data[node->output] = malloc(bb_tensor_count(&graph->tensor[node->output]) * sizeof *y);
    if (!y) goto no_memory;
    const bb_status status = run_node(&r, node);
    if (status == BB_NO_MEMORY) goto no_memory;
    if (status) {
      free(last);
      bb_reference_destroy(ref);
      return bb_fail(error, status, "%s: the reference executor has no %s (%s)", graph->name, bb_node_op_name(node->op),
                     node->name);
    }
    for (int t = 0; t < graph->tensors && !keep; t++) {
      if (last[t] != i) continue;
      free(ref->data[t]);
      ref->data[t] = NULL;
    }
  }
  free(last);
  *out = ref;
  return BB_OK;

no_memory:
  free(last);
  bb_reference_destroy(ref);
  return bb_fail(error, BB_NO_MEMORY, "%s: out of memory for the tensors of the reference executor", graph->name);
}

const double *bb_reference_tensor(const bb_reference *reference, int tensor) { return reference->data[tensor]; }

void bb_reference_destroy(bb_reference *reference) {
  if (!reference) return;
  for (int i = 0; i < reference->tensors; i++) free(reference->data[i]);
  free(reference);
}
