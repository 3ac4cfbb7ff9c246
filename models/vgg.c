// SPDX-License-Identifier: Apache-2.0
//
// VGG (Simonyan, Zisserman 2014, arXiv:1409.1556): 3x3 convolutions with bias, a max pool after each stage, three fully
// connected layers. torchvision's layout and names; its adaptive pool to 7x7 does nothing at the native size.

#include <stdio.h>

#include "families.h"

static void vgg(bb_builder *b, int x, const int convs[5]) {
  static const int width[5] = {64, 128, 256, 512, 512};
  char name[16];

  bb_nn_push(b, "features");
  int module = 0;  // torchvision counts convolutions, ReLUs and pools in one sequence
  for (int stage = 0; stage < 5; stage++) {
    for (int i = 0; i < convs[stage]; i++) {
      snprintf(name, sizeof name, "%d", module++);
      x = bb_nn_conv(b, x, name, (bb_nn_conv_spec){.k = width[stage], .r = 3, .bias = true, .gain = module == 1 ? 1 : 2});
      snprintf(name, sizeof name, "%d", module++);
      x = bb_nn_relu(b, x, name);
    }
    snprintf(name, sizeof name, "%d", module++);
    x = bb_nn_max_pool(b, x, name, (bb_nn_pool_spec){.r = 2});
  }
  bb_nn_pop(b);
  x = bb_nn_adaptive_avg_pool(b, x, "avgpool", 7, 7);
  x = bb_nn_flatten(b, x, "flatten");

  bb_nn_push(b, "classifier");
  x = bb_nn_fc(b, x, "0", 4096, true, 2);
  x = bb_nn_relu(b, x, "1");
  x = bb_nn_fc(b, x, "3", 4096, true, 2);
  x = bb_nn_relu(b, x, "4");
  x = bb_nn_fc(b, x, "6", 1000, true, 2);
  bb_nn_pop(b);
  bb_nn_output(b, x);
}

void bb_build_vgg16(bb_builder *b, int x) { vgg(b, x, (const int[5]){2, 2, 3, 3, 3}); }
void bb_build_vgg19(bb_builder *b, int x) { vgg(b, x, (const int[5]){2, 2, 4, 4, 4}); }
