// SPDX-License-Identifier: Apache-2.0
//
// What one family builds on another, and every network's builder function.

#ifndef BB_FAMILIES_H
#define BB_FAMILIES_H

#include "builder.h"

#define BB_MODEL(name, family, C, H, W, source) void bb_build_##name(bb_builder *b, int x);
#include "models.def"
#undef BB_MODEL

// ResNet-50 without its head; c[0..3]: the outputs of layer1..layer4.
void bb_resnet50_body(bb_builder *b, int x, int c[4]);

#endif
