// SPDX-License-Identifier: Apache-2.0

#include "image.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<stb/stb_image.h>)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wimplicit-int-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#include <stb/stb_image.h>
#pragma GCC diagnostic pop
#define HAVE_STB 1
#endif

#if HAVE_STB

// One axis of an antialiased bilinear resize: output i is the mean of the input under a triangle as wide as the step (at least
// two pixels), centred on the output's centre. from: `count` lines of `in` values, value k of line j at j*line + k*step.
static void resize_axis(const float *from, int in, size_t step, size_t line, size_t count, float *to, int out, size_t to_step,
                        size_t to_line) {
  const double scale = (double)in / out, support = scale > 1 ? scale : 1;
  for (int i = 0; i < out; i++) {
    const double centre = (i + 0.5) * scale;
    int first = (int)floor(centre - support + 0.5), last = (int)floor(centre + support + 0.5);
    if (first < 0) first = 0;
    if (last > in) last = in;
    double total = 0;
    for (int k = first; k < last; k++) total += fmax(0, 1 - fabs((k + 0.5 - centre) / support));
    for (size_t j = 0; j < count; j++) {
      double sum = 0;
      for (int k = first; k < last; k++)
        sum += fmax(0, 1 - fabs((k + 0.5 - centre) / support)) * (double)from[j * line + (size_t)k * step];
      to[j * to_line + (size_t)i * to_step] = (float)(sum / total);
    }
  }
}

exit_code image_load(const char *path, int H, int W, float *x) {
  static const double mean[] = {0.485, 0.456, 0.406},
                      deviation[] = {0.229, 0.224, 0.225};  // of ImageNet, as torchvision has them
  int h, w, channels;
  FILE *file = fopen(path, "rbe");
  if (!file) return fail(EXIT_USAGE, "--image %s: cannot be read: %s", path, strerror(errno));
  unsigned char *pixel = stbi_load_from_file(file, &w, &h, &channels, 3);
  fclose(file);
  if (!pixel) return fail(EXIT_USAGE, "--image %s: is no picture that can be decoded: %s", path, stbi_failure_reason());

  // A strip would be enlarged without bound, for a crop that shows a hundredth of it.
  enum { LONGEST = 100 };
  if (w / LONGEST >= h || h / LONGEST >= w) {
    stbi_image_free(pixel);
    return fail(EXIT_USAGE, "--image %s: %d x %d pixels, at most %d times as long as wide expected", path, w, h, LONGEST);
  }
  const double shorter = (double)(H > W ? H : W) * 256 / 224, scale = shorter / (h < w ? h : w);
  const int h2 = h <= w ? (int)shorter : (int)(h * scale), w2 = w <= h ? (int)shorter : (int)(w * scale);
  const size_t plane = (size_t)h * (size_t)w, rows = (size_t)h * (size_t)w2, done = (size_t)h2 * (size_t)w2;
  float *plain = malloc(plane * sizeof *plain), *narrow = malloc(rows * sizeof *narrow), *small = malloc(done * sizeof *small);
  const bool ok = plain && narrow && small;
  for (int c = 0; c < 3 && ok; c++) {
    for (size_t i = 0; i < plane; i++) plain[i] = pixel[3 * i + (size_t)c];
    resize_axis(plain, w, 1, (size_t)w, (size_t)h, narrow, w2, 1, (size_t)w2);
    resize_axis(narrow, h, (size_t)w2, 1, (size_t)w2, small, h2, (size_t)w2, 1);
    const int top = (h2 - H) / 2, left = (w2 - W) / 2;
    for (int r = 0; r < H; r++)
      for (int q = 0; q < W; q++)
        x[((size_t)c * (size_t)H + (size_t)r) * (size_t)W + (size_t)q] =
            (float)(((double)small[(size_t)(top + r) * (size_t)w2 + (size_t)(left + q)] / 255 - mean[c]) / deviation[c]);
  }
  free(plain);
  free(narrow);
  free(small);
  stbi_image_free(pixel);
  return ok ? EXIT_OK : fail(EXIT_SYSTEM, "out of memory for the picture %s", path);
}

#else

exit_code image_load(const char *path, int H, int W, float *x) {
  (void)H, (void)W, (void)x;
  return fail(EXIT_USAGE,
              "--image %s: this build cannot decode pictures (Debian: apt-get install libstb-dev, then build again)", path);
}

#endif
