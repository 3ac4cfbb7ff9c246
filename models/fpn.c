// SPDX-License-Identifier: Apache-2.0
//
// Feature pyramid (Lin et al. 2016, arXiv:1612.03144) on ResNet-50:
//   M5 = 1x1(C5);  M_i = up(M_i+1) + 1x1(C_i);  P_i = 3x3(M_i)
// One 3x3 (MtoP) serves all four levels (the paper has one per level), and M5 goes through it too. Upsampling goes to the
// lateral's size, bilinear with aligned corners.

#include "families.h"

enum { WIDTH = 256 };

void bb_build_fpn_resnet50(bb_builder *b, int x) {
  const bb_nn_conv_spec lateral = {.k = WIDTH, .r = 1, .bias = true, .gain = 1};
  const bb_nn_conv_spec smooth = {.k = WIDTH, .r = 3, .bias = true, .gain = 1};
  int c[4], m[4], p[4];

  bb_nn_push(b, "resnet");
  bb_resnet50_body(b, x, c);
  bb_nn_pop(b);

  bb_nn_declare_conv(b, WIDTH, "MtoP", smooth);
  bb_nn_declare_conv(b, 256, "C2toM2", lateral);
  bb_nn_declare_conv(b, 512, "C3toM3", lateral);
  bb_nn_declare_conv(b, 1024, "C4toM4", lateral);
  bb_nn_declare_conv(b, 2048, "C5toM5", lateral);

  m[3] = bb_nn_conv(b, c[3], "C5toM5", lateral);
  m[2] = bb_nn_conv(b, c[2], "C4toM4", lateral);
  m[2] = bb_nn_add(b, bb_nn_resize(b, m[3], m[2], "up4", BB_RESIZE_BILINEAR_ALIGN), m[2], "M4");
  m[1] = bb_nn_conv(b, c[1], "C3toM3", lateral);
  m[1] = bb_nn_add(b, bb_nn_resize(b, m[2], m[1], "up3", BB_RESIZE_BILINEAR_ALIGN), m[1], "M3");
  m[0] = bb_nn_conv(b, c[0], "C2toM2", lateral);
  m[0] = bb_nn_add(b, bb_nn_resize(b, m[1], m[0], "up2", BB_RESIZE_BILINEAR_ALIGN), m[0], "M2");
  for (int i = 3; i >= 0; i--) p[i] = bb_nn_conv(b, m[i], "MtoP", smooth);
  for (int i = 0; i < 4; i++) bb_nn_output(b, p[i]);
}
