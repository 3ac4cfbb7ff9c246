// SPDX-License-Identifier: Apache-2.0
//
// What a builder function is written with: one call per published module, so that models/<family>.c reads like the paper.
//
// Tensors are ints. Names are paths: bb_nn_push("layer%d", i) ... bb_nn_pop() put "layer1." before every name between. The
// first mistake or failed allocation is remembered, everything after it does nothing, and bb_graph_create reports it: builder
// functions check nothing.
//
// Synthetic parameters. A convolution's weights have mean 0 and scale sqrt(gain/fan_in): with the default gain 2 (He et al.
// 2015, arXiv:1502.01852) it keeps the second moment of what a ReLU leaves of N(0, 1); where the input has not been through a
// ReLU the builder says gain 1. Batch-norm: gamma 1 +- 0.1, beta 0 +- 0.1, running mean 0 +- 0.1, running variance 1 +- 0.1 (it
// cannot reach 0.65). The last batch-norm of a residual branch has a smaller gamma, so that sums over many blocks stay O(1).

#ifndef BB_BUILDER_H
#define BB_BUILDER_H

#include "models.h"

#define BB_PRINTF(at, first) __attribute__((format(printf, at, first)))

void bb_nn_push(bb_builder *b, const char *format, ...) BB_PRINTF(2, 3);
void bb_nn_pop(bb_builder *b);
// The network does not work on this input: a sentence.
void bb_nn_fail(bb_builder *b, const char *format, ...) BB_PRINTF(2, 3);

bb_tensor bb_nn_shape(const bb_builder *b, int x);

enum { BB_NO_PAD = -1 };

typedef struct bb_nn_conv_spec {
  int k;           // output channels
  int r, s;        // filter; s 0 = r
  int stride;      // 0 = 1
  int pad, pad_w;  // 0 = half the filter: r/2, s/2; BB_NO_PAD = none; pad_w 0 = as pad where s = r
  int dilation;    // 0 = 1
  int groups;      // 0 = 1
  bool bias;
  double gain;  // 0 = 2
} bb_nn_conv_spec;

// Parameters name.weight, name.bias: made here unless they exist already (one module used several times).
int bb_nn_conv(bb_builder *b, int x, const char *name, bb_nn_conv_spec spec);
// Declares the parameters only, where their order in the state dict is not that of the first use.
void bb_nn_declare_conv(bb_builder *b, int C, const char *name, bb_nn_conv_spec spec);

// Parameters name.weight, .bias, .running_mean, .running_var. gamma: mean of the weight, 0 = 1.
int bb_nn_batch_norm(bb_builder *b, int x, const char *name, double eps, double gamma);

int bb_nn_act(bb_builder *b, int x, const char *name, bb_act act, float alpha);
int bb_nn_relu(bb_builder *b, int x, const char *name);

typedef struct bb_nn_pool_spec {
  int r;       // window, square
  int stride;  // 0 = r
  int pad;
  bool ceil_mode;
} bb_nn_pool_spec;

int bb_nn_max_pool(bb_builder *b, int x, const char *name, bb_nn_pool_spec spec);
int bb_nn_avg_pool(bb_builder *b, int x, const char *name, bb_nn_pool_spec spec);  // padding counts in the divisor
int bb_nn_adaptive_avg_pool(bb_builder *b, int x, const char *name, int P, int Q);
int bb_nn_add(bb_builder *b, int x, int x2, const char *name);  // x2: as many channels as x, or the first ones
int bb_nn_mul(bb_builder *b, int x, int x2, const char *name);  // x2: x's shape, or its N x C x 1 x 1
int bb_nn_concat(bb_builder *b, const int *x, int count, const char *name);
int bb_nn_slice(bb_builder *b, int x, const char *name, int first, int channels);
int bb_nn_resize(bb_builder *b, int x, int like, const char *name, bb_resize_kind kind);
int bb_nn_flatten(bb_builder *b, int x, const char *name);
int bb_nn_fc(bb_builder *b, int x, const char *name, int k, bool bias, double gain);
int bb_nn_softmax(bb_builder *b, int x, const char *name);

void bb_nn_output(bb_builder *b, int x);

#endif
