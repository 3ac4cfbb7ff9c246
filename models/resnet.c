// SPDX-License-Identifier: Apache-2.0
//
// ResNet (He et al. 2015, arXiv:1512.03385), bottleneck form, as torchvision has it: the stride stands on the 3x3 ("v1.5").

#include <stdio.h>

#include "families.h"

static const double eps = 1e-5;

// 1x1 down to `width`, 3x3, 1x1 up to 4*width, and the input (or its 1x1 projection where the shape changes) added.
static int bottleneck(bb_builder *b, int x, int width, int stride) {
  const int out = 4 * width;

  int y = bb_nn_conv(b, x, "conv1", (bb_nn_conv_spec){.k = width, .r = 1});
  y = bb_nn_batch_norm(b, y, "bn1", eps, 1);
  y = bb_nn_relu(b, y, "relu");
  y = bb_nn_conv(b, y, "conv2", (bb_nn_conv_spec){.k = width, .r = 3, .stride = stride});
  y = bb_nn_batch_norm(b, y, "bn2", eps, 1);
  y = bb_nn_relu(b, y, "relu");
  y = bb_nn_conv(b, y, "conv3", (bb_nn_conv_spec){.k = out, .r = 1});
  y = bb_nn_batch_norm(b, y, "bn3", eps, 0.25);
  if (stride != 1 || bb_nn_shape(b, x).C != out) {
    x = bb_nn_conv(b, x, "downsample.0", (bb_nn_conv_spec){.k = out, .r = 1, .stride = stride, .gain = 1});
    x = bb_nn_batch_norm(b, x, "downsample.1", eps, 1);
  }
  y = bb_nn_add(b, y, x, "add");
  return bb_nn_relu(b, y, "relu");
}

static int stage(bb_builder *b, int x, int number, int blocks, int width) {
  for (int i = 0; i < blocks; i++) {
    bb_nn_push(b, "layer%d.%d", number, i);
    x = bottleneck(b, x, width, i == 0 && number > 1 ? 2 : 1);
    bb_nn_pop(b);
  }
  return x;
}

void bb_resnet50_body(bb_builder *b, int x, int c[4]) {
  x = bb_nn_conv(b, x, "conv1", (bb_nn_conv_spec){.k = 64, .r = 7, .stride = 2, .gain = 1});
  x = bb_nn_batch_norm(b, x, "bn1", eps, 1);
  x = bb_nn_relu(b, x, "relu");
  x = bb_nn_max_pool(b, x, "maxpool", (bb_nn_pool_spec){.r = 3, .stride = 2, .pad = 1});
  c[0] = stage(b, x, 1, 3, 64);
  c[1] = stage(b, c[0], 2, 4, 128);
  c[2] = stage(b, c[1], 3, 6, 256);
  c[3] = stage(b, c[2], 4, 3, 512);
}

void bb_build_resnet50(bb_builder *b, int x) {
  int c[4];
  bb_resnet50_body(b, x, c);
  x = bb_nn_adaptive_avg_pool(b, c[3], "avgpool", 1, 1);
  x = bb_nn_flatten(b, x, "flatten");
  x = bb_nn_fc(b, x, "fc", 1000, true, 1);
  bb_nn_output(b, x);
}
