// SPDX-License-Identifier: Apache-2.0

#include "tails.h"

#include <stdlib.h>

#include "../reference/ref_check.h"

enum { KERNEL, IC, OC, IH, IW, PAD, STRIDE, GROUPS, FACTORS, MOST_VALUES = 11 };

static const int kernels[6][2] = {{1, 1}, {3, 3}, {5, 5}, {7, 7}, {1, 7}, {7, 1}};
static const int channels[10] = {1, 3, 7, 8, 9, 15, 16, 17, 31, 33};
static const int sizes[11] = {1, 2, 3, 5, 6, 7, 8, 12, 13, 14, 17};
static const int values[FACTORS] = {6, 10, 10, 11, 11, 3, 2, 3};

static void split(size_t i, int at[FACTORS]) {
  for (int f = FACTORS - 1; f >= 0; f--) {
    at[f] = (int)(i % (size_t)values[f]);
    i /= (size_t)values[f];
  }
}

static size_t join(const int at[FACTORS]) {
  size_t i = 0;
  for (int f = 0; f < FACTORS; f++) i = i * (size_t)values[f] + (size_t)at[f];
  return i;
}

bool bb_tails_at(size_t i, bb_conv *conv) {
  int at[FACTORS];
  split(i, at);
  const int R = kernels[at[KERNEL]][0], S = kernels[at[KERNEL]][1], pad = at[PAD], stride = at[STRIDE] + 1;
  const int C = channels[at[IC]], K = channels[at[OC]], H = sizes[at[IH]], W = sizes[at[IW]];
  const int G = at[GROUPS] == 0 ? 1 : at[GROUPS] == 1 ? 2 : C;
  const int pad_h = R > 1 ? pad : 0, pad_w = S > 1 ? pad : 0;
  if (pad && !pad_h && !pad_w) return false;    // the same as without padding
  if (at[GROUPS] == 2 && C == 1) return false;  // the same as without groups
  if (C % G || K % G || H + 2 * pad_h < R || W + 2 * pad_w < S) return false;
  *conv = (bb_conv){.G = G,
                    .N = 1,
                    .C = C,
                    .H = H,
                    .W = W,
                    .K = K,
                    .P = (H + 2 * pad_h - R) / stride + 1,
                    .Q = (W + 2 * pad_w - S) / stride + 1,
                    .R = R,
                    .S = S,
                    .stride_h = stride,
                    .stride_w = stride,
                    .pad_t = pad_h,
                    .pad_b = pad_h,
                    .pad_l = pad_w,
                    .pad_r = pad_w,
                    .dil_h = 1,
                    .dil_w = 1};
  return true;
}

typedef struct pairs {
  bool seen[FACTORS][MOST_VALUES][FACTORS][MOST_VALUES];
} pairs;

static bool new_pair(const pairs *p, const int at[FACTORS]) {
  for (int f = 0; f < FACTORS; f++) {
    for (int g = 0; g < f; g++) {
      if (!p->seen[f][at[f]][g][at[g]]) return true;
    }
  }
  return false;
}

static void mark(pairs *p, const int at[FACTORS]) {
  for (int f = 0; f < FACTORS; f++) {
    for (int g = 0; g < f; g++) p->seen[f][at[f]][g][at[g]] = true;
  }
}

bool bb_tails_select(uint64_t seed, size_t count, bb_conv *conv) {
  bool *taken = calloc(BB_TAILS_PRODUCT, sizeof *taken);
  pairs *p = calloc(1, sizeof *p);
  size_t have = 0;
  // So many candidates without a new pair in a row, and the pairs that are left are taken for impossible. The rarest possible
  // one (a given ic with groups = ic) turns up once in a few hundred.
  const int patience = 20000;
  int barren = 0;
  for (uint64_t i = 0; taken && p && have < count; i++) {
    int at[FACTORS];
    // The number of groups first and for good: most groups fit few channel counts and would nearly always be turned down.
    at[GROUPS] = (int)(bb_ref_random(seed, i, GROUPS) % 3);
    for (uint64_t attempt = 1;; attempt++) {
      for (int f = 0; f < GROUPS; f++)
        at[f] = (int)(bb_ref_random(seed, i, attempt * FACTORS + (uint64_t)f) % (uint64_t)values[f]);
      if (bb_tails_at(join(at), &conv[have])) break;
    }
    const size_t number = join(at);
    if (taken[number] || (barren < patience && !new_pair(p, at))) {
      barren++;
      continue;
    }
    if (barren < patience) barren = 0;
    mark(p, at);
    taken[number] = true;
    have++;
  }
  const bool done = taken && p;
  free(taken);
  free(p);
  return done;
}
