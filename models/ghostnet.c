// SPDX-License-Identifier: Apache-2.0
//
// GhostNet (Han et al. 2019, arXiv:1911.11907), the authors' code (CVPR form) and names.
//
// A ghost module computes half of its maps by a 1x1 convolution and the other half from them by a depthwise 3x3: concat of the
// two, cut to the wanted number of channels (one too many if that is odd).

#include <stdio.h>

#include "families.h"

static const double eps = 1e-5;

static int conv_bn(bb_builder *b, int x, const char *conv, const char *bn, bb_nn_conv_spec spec, double gamma) {
  return bb_nn_batch_norm(b, bb_nn_conv(b, x, conv, spec), bn, eps, gamma);
}

// gain: 2 if x comes from a ReLU, 1 otherwise. gamma: of both batch-norms.
static int ghost(bb_builder *b, int x, const char *name, int out, bool relu, double gain, double gamma) {
  const int primary = (out + 1) / 2;
  int part[2];

  bb_nn_push(b, "%s", name);
  x = conv_bn(b, x, "primary_conv.0", "primary_conv.1", (bb_nn_conv_spec){.k = primary, .r = 1, .gain = gain}, gamma);
  part[0] = relu ? bb_nn_relu(b, x, "primary_conv.2") : x;
  // Its input has the second moment 1/2 after a ReLU, gamma^2 without.
  const double cheap_gain = relu ? 2 : 1 / (gamma * gamma);
  x = conv_bn(b, part[0], "cheap_operation.0", "cheap_operation.1",
              (bb_nn_conv_spec){.k = primary, .r = 3, .groups = primary, .gain = cheap_gain}, gamma);
  part[1] = relu ? bb_nn_relu(b, x, "cheap_operation.2") : x;
  x = bb_nn_concat(b, part, 2, "cat");
  x = bb_nn_slice(b, x, "slice", 0, out);
  bb_nn_pop(b);
  return x;
}

// make_divisible(v, 4): to the nearest multiple of 4, at least 4, not below 0.9 v.
static int divisible(double v) {
  const int rounded = (int)(v + 2) / 4 * 4;
  const int d = rounded < 4 ? 4 : rounded;
  return d < 0.9 * v ? d + 4 : d;
}

static int squeeze_excite(bb_builder *b, int x, int squeeze) {
  const int C = bb_nn_shape(b, x).C;
  bb_nn_push(b, "se");
  int s = bb_nn_adaptive_avg_pool(b, x, "avg_pool", 1, 1);
  s = bb_nn_conv(b, s, "conv_reduce", (bb_nn_conv_spec){.k = squeeze, .r = 1, .bias = true});
  s = bb_nn_relu(b, s, "act1");
  s = bb_nn_conv(b, s, "conv_expand", (bb_nn_conv_spec){.k = C, .r = 1, .bias = true});
  s = bb_nn_act(b, s, "gate", BB_ACT_HARD_SIGMOID, 0);
  x = bb_nn_mul(b, x, s, "mul");
  bb_nn_pop(b);
  return x;
}

typedef struct bottleneck {
  int stage, block;
  int k, exp, out;
  bool se;
  int stride;
} bottleneck;

static int ghost_bottleneck(bb_builder *b, int x, const bottleneck *v) {
  const int in = bb_nn_shape(b, x).C;

  bb_nn_push(b, "blocks.%d.%d", v->stage, v->block);
  int y = ghost(b, x, "ghost1", v->exp, true, 1, 1);
  const bool down = v->stride > 1;
  if (down)
    y = conv_bn(b, y, "conv_dw", "bn_dw", (bb_nn_conv_spec){.k = v->exp, .r = v->k, .stride = v->stride, .groups = v->exp}, 1);
  if (v->se) y = squeeze_excite(b, y, divisible(v->exp / 4.0));
  // The gate is about 1/2: its square 1/4.
  y = ghost(b, y, "ghost2", v->out, false, (down ? 1 : 2) * (v->se ? 4 : 1), 0.25);
  if (down || in != v->out) {
    x = conv_bn(b, x, "shortcut.0", "shortcut.1",
                (bb_nn_conv_spec){.k = in, .r = v->k, .stride = v->stride, .groups = in, .gain = 1}, 1);
    x = conv_bn(b, x, "shortcut.2", "shortcut.3", (bb_nn_conv_spec){.k = v->out, .r = 1, .gain = 1}, 1);
  }
  y = bb_nn_add(b, y, x, "add");
  bb_nn_pop(b);
  return y;
}

void bb_build_ghostnet_100(bb_builder *b, int x) {
  static const bottleneck table[] = {
      // stage, block, kernel, expansion, out, SE, stride
      {0, 0, 3, 16, 16, false, 1},   {1, 0, 3, 48, 24, false, 2},  {2, 0, 3, 72, 24, false, 1},   {3, 0, 5, 72, 40, true, 2},
      {4, 0, 5, 120, 40, true, 1},   {5, 0, 3, 240, 80, false, 2}, {6, 0, 3, 200, 80, false, 1},  {6, 1, 3, 184, 80, false, 1},
      {6, 2, 3, 184, 80, false, 1},  {6, 3, 3, 480, 112, true, 1}, {6, 4, 3, 672, 112, true, 1},  {7, 0, 5, 672, 160, true, 2},
      {8, 0, 5, 960, 160, false, 1}, {8, 1, 5, 960, 160, true, 1}, {8, 2, 5, 960, 160, false, 1}, {8, 3, 5, 960, 160, true, 1},
  };

  x = conv_bn(b, x, "conv_stem", "bn1", (bb_nn_conv_spec){.k = 16, .r = 3, .stride = 2, .gain = 1}, 1);
  x = bb_nn_relu(b, x, "act1");
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) x = ghost_bottleneck(b, x, &table[i]);
  bb_nn_push(b, "blocks.9.0");
  x = conv_bn(b, x, "conv", "bn1", (bb_nn_conv_spec){.k = 960, .r = 1, .gain = 1}, 1);
  x = bb_nn_relu(b, x, "act1");
  bb_nn_pop(b);
  x = bb_nn_adaptive_avg_pool(b, x, "global_pool", 1, 1);
  x = bb_nn_conv(b, x, "conv_head", (bb_nn_conv_spec){.k = 1280, .r = 1, .bias = true});
  x = bb_nn_relu(b, x, "act2");
  x = bb_nn_flatten(b, x, "flatten");
  x = bb_nn_fc(b, x, "classifier", 1000, true, 2);
  bb_nn_output(b, x);
}
