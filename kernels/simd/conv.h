// SPDX-License-Identifier: Apache-2.0
//
// What the dense convolution kernels share: how work is cut, what the packed parameters look like. Include vec.h first.

#ifndef BB_CONV_H
#define BB_CONV_H

#include <string.h>

#include "../kernel.h"
#include "epilogue.h"

// Part i of [0, n) cut into `parts` parts that differ by one at most starts here.
BB_INLINE int cut(int n, int parts, int i) { return (int)((long long)n * i / parts); }

// A cut of n: into `least` parts of equal size at most, or a few more to make their number a multiple of `of` if that can be.
BB_INLINE int chunks_of(int n, int least, int of) {
  for (int chunks = least; chunks <= n; chunks++) {
    const int made = bb_ceil_div(n, bb_ceil_div(n, chunks));
    if (made % of == 0) return made;
  }
  return bb_min(n, least);
}

// What the thread with most to do has of all work: its own range of n items, or, since others steal, an even share and an item.
static inline __attribute__((unused)) double largest_share(size_t n, int threads, double (*size)(const void *, size_t),
                                                           const void *context) {
  const size_t share = n / (size_t)threads, longer = n % (size_t)threads;
  double most = 0, item = 0, total = 0;
  if (threads == 1) return 1;
  for (size_t thread = 0, i = 0; thread < (size_t)threads; thread++) {
    double mine = 0;
    for (const size_t last = i + share + (thread < longer); i < last; i++) {
      const double one = size(context, i);
      mine += one;
      if (one > item) item = one;
    }
    total += mine;
    if (mine > most) most = mine;
  }
  const double stolen = total / threads + item;
  return (stolen < most ? stolen : most) / total;
}

// Lanes up to the last one that holds a channel.
BB_INLINE int lanes_used(const bb_map *m, int block) {
  int n = m->block;
  while (n > 0 && m->lane[block * m->block + n - 1] < 0) n--;
  return n;
}

// ---- groups of output channel blocks -------------------------------------------------------------------------------

// Groups of about nr blocks, none of one block unless there is only one: pairs become pairs and a triple, wider groups are
// evened out.
BB_INLINE int kgroups(int blocks, int nr) { return nr == 2 ? bb_max(1, blocks / 2) : bb_ceil_div(blocks, nr); }
// Blocks of the widest of them.
BB_INLINE int kgroup_width(int blocks, int nr) { return bb_ceil_div(blocks, kgroups(blocks, nr)); }
// Does an earlier width of `order` make the same groups as width i?
BB_INLINE bool width_repeats(const int *order, int i, int blocks) {
  for (int j = 0; j < i; j++)
    if (kgroups(blocks, order[j]) == kgroups(blocks, order[i])) return true;
  return false;
}

// ---- fetching weights ----------------------------------------------------------------------------------------------

enum { LINE = BB_ALIGN / (int)sizeof(float) };

// The panel of weights that is used after this one comes to L2 as one stream, `step` floats at a time: in one go they would
// keep the loads waiting. All zero: nothing is fetched.
typedef struct weight_stream {
  const float *next, *end;
  int step;
} weight_stream;

BB_INLINE void fetch_weights(weight_stream *s) {
  const float *const end = s->end - s->next > s->step ? s->next + s->step : s->end;
  for (; s->next < end; s->next += LINE) __builtin_prefetch(s->next, 0, 2);
}

// ---- packed parameters ---------------------------------------------------------------------------------------------

// In this order, each aligned to BB_ALIGN:
//   lanes   one byte per block of x: lanes_used
//   bias    one float per lane of y
//   scale, shift of the prologue, one float per lane of x
//   w       [group][k group][block of x][r][s][lane of x][block of the k group][lane of y], without the unused lanes of x:
//           read from front to end, whatever the loops above do
// Offsets in floats.
typedef struct packed {
  size_t bias, scale, shift, w, floats;
} packed;

// Taps that all blocks [first, last) of x contribute to one output channel.
BB_INLINE size_t taps_of(const bb_task *t, int first, int last) {
  size_t lanes = 0;
  for (int b = first; b < last; b++) lanes += (size_t)lanes_used(t->x.map, b);
  return lanes * (size_t)t->problem.conv.R * (size_t)t->problem.conv.S;
}

BB_INLINE packed packed_layout(const bb_task *t) {
  const size_t line = BB_ALIGN / sizeof(float);
  const size_t vector = t->prologue.scale_shift ? bb_align_up((size_t)bb_map_lanes(t->x.map), line) : 0;
  packed p;
  p.bias = bb_align_up((size_t)t->x.map->blocks, BB_ALIGN) / sizeof(float);
  p.scale = p.bias + bb_align_up((size_t)bb_map_lanes(t->y.map), line);
  p.shift = p.scale + vector;
  p.w = p.shift + vector;
  p.floats = p.w + taps_of(t, 0, t->x.map->blocks) * (size_t)(bb_map_lanes(t->y.map) / t->problem.conv.G);
  return p;
}

static inline __attribute__((unused)) size_t conv_packed_bytes(const bb_task *t, const bb_config *config) {
  (void)config;
  return packed_layout(t).floats * sizeof(float);
}

// out[lane] = v[channel of the lane], 0 where there is none.
BB_INLINE void pack_vector(const bb_map *m, const float *v, float *out) {
  for (int l = 0; l < bb_map_lanes(m); l++) out[l] = v && m->lane[l] >= 0 ? v[m->lane[l]] : 0;
}

static inline __attribute__((unused)) void conv_pack(const bb_task *t, const bb_config *config, const bb_weights *weights,
                                                     float *out) {
  const bb_conv *c = &t->problem.conv;
  const bb_map *mx = t->x.map, *my = t->y.map;
  const packed p = packed_layout(t);
  memset(out, 0, p.floats * sizeof(float));
  unsigned char *lanes = (unsigned char *)out;
  for (int b = 0; b < mx->blocks; b++) lanes[b] = (unsigned char)lanes_used(mx, b);
  pack_vector(my, weights->b, out + p.bias);
  if (t->prologue.scale_shift) {
    pack_vector(mx, weights->scale, out + p.scale);
    pack_vector(mx, weights->shift, out + p.shift);
  }
  float *w = out + p.w;
  const int xb = mx->blocks / c->G, yb = my->blocks / c->G, groups = kgroups(yb, config->k), cg = c->C / c->G;
  for (int g = 0; g < c->G; g++) {
    for (int kg = 0; kg < groups; kg++) {
      const int k0 = g * yb + cut(yb, groups, kg), k1 = g * yb + cut(yb, groups, kg + 1);
      for (int b = g * xb; b < (g + 1) * xb; b++) {
        for (int rs = 0; rs < c->R * c->S; rs++) {
          for (int l = b * VL; l < b * VL + lanes[b]; l++) {
            for (int k = k0 * VL; k < k1 * VL; k++, w++) {
              if (mx->lane[l] < 0 || my->lane[k] < 0) continue;
              const size_t row = (size_t)my->lane[k] * (size_t)cg + (size_t)(mx->lane[l] - g * cg);
              *w = weights->w[row * (size_t)(c->R * c->S) + (size_t)rs];
            }
          }
        }
      }
    }
  }
}

// Do blocks [g*n/G, (g+1)*n/G) hold group g's channels and no other's?
BB_INLINE bool map_keeps_groups(const bb_map *m, int groups) {
  if (m->blocks % groups) return false;
  const int per_group = m->channels / groups, lanes = m->blocks / groups * m->block;
  for (int l = 0; groups > 1 && l < bb_map_lanes(m); l++)
    if (m->lane[l] >= 0 && m->lane[l] / per_group != l / lanes) return false;
  return true;
}

// ---- prologue ------------------------------------------------------------------------------------------------------

BB_INLINE bool has_prologue(const bb_prologue *p) { return p->dynamic_scale || p->scale_shift || p->relu; }

// What the prologue does to the lanes of block b of image n: max(scale*x + shift, 0 if relu).
typedef struct lane_prologue {
  vf scale, shift;
  bool relu;
} lane_prologue;

BB_INLINE lane_prologue prologue_of(const bb_args *a, const packed *p, int n, int b) {
  const bb_prologue *pro = &a->task->prologue;
  const size_t lane = (size_t)b * VL;
  // Both factors fold into one. An unused lane may hold anything in x_scale: keep it zero.
  vf scale = pro->scale_shift ? vload(a->packed + p->scale + lane) : vset1(1);
  const vf shift = pro->scale_shift ? vload(a->packed + p->shift + lane) : vzero();
  if (pro->dynamic_scale) {
    const vf keep = vlanes_used(a->task->x.map->lane + lane);
    scale = vmul(scale, vand(vload(a->io.x_scale + (size_t)n * (size_t)bb_map_lanes(a->task->x.map) + lane), keep));
  }
  return (lane_prologue){scale, shift, pro->relu};
}

// out = the prologue of `pixels` vectors of block b of image n.
static inline __attribute__((unused)) void prologue_row(const bb_args *a, const packed *p, const float *x, float *out, int n,
                                                        int b, int pixels) {
  const lane_prologue pro = prologue_of(a, p, n, b);
  if (pro.relu) {
    for (int i = 0; i < pixels; i++) vstore(out + i * VL, vmax(vzero(), vfma(vload(x + i * VL), pro.scale, pro.shift)));
  } else {
    for (int i = 0; i < pixels; i++) vstore(out + i * VL, vfma(vload(x + i * VL), pro.scale, pro.shift));
  }
}

#endif
