// SPDX-License-Identifier: Apache-2.0
//
// DenseNet-BC (Huang et al. 2016, arXiv:1608.06993), torchvision's names. Batch-norm and ReLU stand before each convolution and
// act on everything that the block has made so far, so that one feature passes a different batch-norm in every later layer.

#include <stdio.h>

#include "families.h"

static const double eps = 1e-5;

enum { MAX_LAYERS = 64 };

static int norm_relu(bb_builder *b, int x, const char *norm, const char *relu) {
  return bb_nn_relu(b, bb_nn_batch_norm(b, x, norm, eps, 1), relu);
}

// Each layer: concat, BN, ReLU, 1x1 to 4*growth, BN, ReLU, 3x3 to growth.
static int dense_block(bb_builder *b, int x, int number, int layers, int growth) {
  int features[MAX_LAYERS + 1] = {x};

  bb_nn_push(b, "features.denseblock%d", number);
  for (int i = 1; i <= layers; i++) {
    bb_nn_push(b, "denselayer%d", i);
    int y = i == 1 ? x : bb_nn_concat(b, features, i, "cat");
    y = norm_relu(b, y, "norm1", "relu1");
    y = bb_nn_conv(b, y, "conv1", (bb_nn_conv_spec){.k = 4 * growth, .r = 1});
    y = norm_relu(b, y, "norm2", "relu2");
    features[i] = bb_nn_conv(b, y, "conv2", (bb_nn_conv_spec){.k = growth, .r = 3});
    bb_nn_pop(b);
  }
  x = bb_nn_concat(b, features, layers + 1, "cat");
  bb_nn_pop(b);
  return x;
}

static int transition(bb_builder *b, int x, int number) {
  bb_nn_push(b, "features.transition%d", number);
  const int half = bb_nn_shape(b, x).C / 2;
  x = norm_relu(b, x, "norm", "relu");
  x = bb_nn_conv(b, x, "conv", (bb_nn_conv_spec){.k = half, .r = 1});
  x = bb_nn_avg_pool(b, x, "pool", (bb_nn_pool_spec){.r = 2});
  bb_nn_pop(b);
  return x;
}

static void densenet(bb_builder *b, int x, int growth, int stem, const int layers[4]) {
  bb_nn_push(b, "features");
  x = bb_nn_conv(b, x, "conv0", (bb_nn_conv_spec){.k = stem, .r = 7, .stride = 2, .gain = 1});
  x = norm_relu(b, x, "norm0", "relu0");
  x = bb_nn_max_pool(b, x, "pool0", (bb_nn_pool_spec){.r = 3, .stride = 2, .pad = 1});
  bb_nn_pop(b);
  for (int i = 1; i <= 4; i++) {
    x = dense_block(b, x, i, layers[i - 1], growth);
    if (i < 4) x = transition(b, x, i);
  }
  x = norm_relu(b, x, "features.norm5", "relu");
  x = bb_nn_adaptive_avg_pool(b, x, "adaptive_avg_pool2d", 1, 1);
  x = bb_nn_flatten(b, x, "flatten");
  x = bb_nn_fc(b, x, "classifier", 1000, true, 1);
  bb_nn_output(b, x);
}

void bb_build_densenet121(bb_builder *b, int x) { densenet(b, x, 32, 64, (const int[4]){6, 12, 24, 16}); }
