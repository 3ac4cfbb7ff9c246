// SPDX-License-Identifier: Apache-2.0
//
// A picture as a network's input.

#ifndef BENCH_IMAGE_H
#define BENCH_IMAGE_H

#include "bench.h"

// JPEG, PNG, PPM, BMP, ... to 3 x H x W: the shorter side resized to 256/224 of the input's (bilinear, antialiased, as Pillow
// and torchvision do), the centre cut out, scaled to 0..1, ImageNet's mean subtracted, divided by its deviation.
exit_code image_load(const char *path, int H, int W, float *x);

#endif
