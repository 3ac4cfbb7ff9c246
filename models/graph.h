// SPDX-License-Identifier: Apache-2.0
//
// A network as published: a list of plain operations on tensors, in an order in which they can run.
//
// Read-only outside of models/: made by bb_graph_create from a builder function. Tensors, parameters and nodes are known by
// their index. Parameters stand apart from nodes: several nodes may use one (FPN applies one convolution four times).

#ifndef BB_GRAPH_H
#define BB_GRAPH_H

#include "../kernels/types.h"

typedef enum bb_node_op {
  BB_NODE_CONV,
  BB_NODE_BATCH_NORM,
  BB_NODE_ACT,
  BB_NODE_POOL,  // max, average, adaptive, global
  BB_NODE_ADD,   // the second input may have fewer channels: the first ones of the first input's
  BB_NODE_MUL,   // the second input may be N x C x 1 x 1
  BB_NODE_CONCAT,
  BB_NODE_SLICE,   // of channels
  BB_NODE_RESIZE,  // to another tensor's height and width
  BB_NODE_FLATTEN,
  BB_NODE_FC,
  BB_NODE_SOFTMAX,
  BB_NODE_LRN,      // no network here yet: the executors refuse it
  BB_NODE_SHUFFLE,  // likewise
  BB_NODE_OP_COUNT
} bb_node_op;

// N x C x H x W, or N x C (rank 2, H = W = 1): what flatten, fc and softmax make.
typedef struct bb_tensor {
  int rank;
  int N, C, H, W;
} bb_tensor;

// Learnable, or a running statistic of batch-norm (which params do not count). Synthetic values have this mean and standard
// deviation.
typedef struct bb_param {
  const char *name;  // as in the published state dict
  int rank;
  int shape[4];
  size_t count;
  bool running;
  double mean, scale;
} bb_param;

enum { BB_NODE_PARAMS = 4 };

typedef struct bb_node {
  const char *name;  // as published: "layer1.0.conv2"; the second use of a module has "_1" at its end, and so on
  bb_node_op op;
  int inputs;
  const int *input;  // tensors
  int output;
  int param[BB_NODE_PARAMS];  // conv, fc: weight, bias; batch-norm: gamma, beta, mean, variance; -1 = none
  union {
    bb_conv conv;  // conv, and fc as the convolution that it is: 1x1 on N x C x 1 x 1
    bb_pooling pool;
    bb_resize resize;
    struct {
      bb_act kind;
      float alpha;
    } act;
    struct {
      double eps;
    } batch_norm;
    struct {
      int first;  // channel
    } slice;
    struct {
      int size;  // window: channels c - size/2 .. c + (size-1)/2
      double alpha, beta, k;
    } lrn;
    struct {
      int groups;
      bool inverse;  // out[j*groups + i] = in[i*(C/groups) + j] if not, in and out exchanged if
    } shuffle;
  };
} bb_node;

typedef struct bb_graph {
  const char *name;
  int tensors, params, nodes, outputs;
  const bb_tensor *tensor;  // 0 is the input
  const bb_param *param;    // in the order of the published state dict
  const bb_node *node;
  const int *output;  // tensors
} bb_graph;

#endif
