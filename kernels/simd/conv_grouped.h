// SPDX-License-Identifier: Apache-2.0
//
// Grouped convolution for any number and width of groups and any channel maps, vectorised over output channels whatever groups
// they belong to. The file that includes this sets ROWS_M.
//
// For each block of y and each input j of a group, lane l wants the channel of x that is the j-th of its own group. Where these
// channels lie is worked out once, when weights are packed, into a list of terms (conv_rows.h). With C/G = K/G and channels in
// order they lie in one block of x if the width divides the block, in two at most otherwise, and are one and the same channel
// where the width is a multiple of the block. Where more than two blocks are needed, several terms share a j, each with zero
// weights in the lanes that another one serves.

#ifndef BB_CONV_GROUPED_H
#define BB_CONV_GROUPED_H

#include "conv_rows.h"

BB_INLINE bool grouped_accepts(const bb_task *t) { return t->x.block == VL && t->y.block == VL && t->problem.conv.G > 1; }

// The lane that holds a channel; the search starts at lane `from`, where a map in order has it.
BB_INLINE int lane_of(const bb_map *m, int channel, int from) {
  const int lanes = bb_map_lanes(m);
  for (int i = 0, l = from < lanes ? from : 0; i < lanes; i++, l = l + 1 < lanes ? l + 1 : 0)
    if (m->lane[l] == channel) return l;
  return 0;
}

// The term that serves lanes of `todo`, whose inputs lie in lanes at[] of x; takes them out of it.
static term next_term(const int *at, unsigned *todo) {
  const int lead = at[__builtin_ctz(*todo)];
  term t = {.a = lead / VL, .b = lead / VL};
  bool same_lane = true, in_place = true;
  unsigned served = 0;
  for (int l = 0; l < VL; l++) {
    if (!(*todo >> l & 1)) continue;
    const int block = at[l] / VL;
    if (block != t.a && t.b == t.a) t.b = block;
    if (block != t.a && block != t.b) continue;
    served |= 1u << l;
    t.index[l] = at[l] % VL + (block == t.a ? 0 : VL);
    same_lane &= at[l] == lead;
    in_place &= t.index[l] == l;
  }
  *todo &= ~served;
  for (int l = 0; l < VL; l++)
    if (!(served >> l & 1)) t.index[l] = lead % VL;
  t.move = same_lane ? MOVE_BCAST : t.a != t.b ? MOVE_PERM2 : in_place ? MOVE_NONE : MOVE_PERM;
  return t;
}

// The terms of block k of y, at most `count` of them to terms[], their weights to w[r][term][s][VL] (both or none). Returns how
// many there are.
static int block_terms(const bb_task *t, int k, int count, term *terms, const float *weights, float *w) {
  const bb_conv *c = &t->problem.conv;
  const int cg = c->C / c->G, kg = c->K / c->G, *const channel = t->y.map->lane + k * VL;
  int at[VL], n = 0;
  for (int l = 0; l < VL; l++) at[l] = channel[l] < 0 ? 0 : channel[l] / kg * cg - 1;
  for (int j = 0; j < cg; j++) {
    unsigned todo = 0;
    for (int l = 0; l < VL; l++) {
      if (channel[l] < 0) continue;
      at[l] = lane_of(t->x.map, channel[l] / kg * cg + j, at[l] + 1);
      todo |= 1u << l;
    }
    for (; todo; n++) {
      const unsigned before = todo;
      const term next = next_term(at, &todo);
      if (n >= count) continue;
      terms[n] = next;
      for (int l = 0; l < VL; l++) {
        if (!((before & ~todo) >> l & 1)) continue;
        const float *from = weights + ((size_t)channel[l] * (size_t)cg + (size_t)j) * (size_t)(c->R * c->S);
        for (int r = 0; r < c->R; r++)
          for (int s = 0; s < c->S; s++) w[((r * count + n) * c->S + s) * VL + l] = from[r * c->S + s];
      }
    }
  }
  return n;
}

// Every block of y lies in one group, if channels are in order: its terms are broadcasts.
BB_INLINE bool whole_blocks(const bb_task *t) { return t->problem.conv.K / t->problem.conv.G % VL == 0; }

// Packed: counts[blocks of y + 1] (where the terms of a block begin), then terms, then floats at the offsets of `packed`.
typedef struct grouped_layout {
  size_t terms;
  packed p;
} grouped_layout;

BB_INLINE grouped_layout grouped_offsets(const bb_task *t, int count) {
  const bb_conv *c = &t->problem.conv;
  const size_t ylanes = bb_align_up((size_t)bb_map_lanes(t->y.map), BB_MAX_BLOCK);
  const size_t xlanes = t->prologue.scale_shift ? bb_align_up((size_t)bb_map_lanes(t->x.map), BB_MAX_BLOCK) : 0;
  grouped_layout o = {.terms = bb_align_up((size_t)t->y.map->blocks + 1, BB_MAX_BLOCK)};
  o.p.bias = bb_align_up(o.terms + (size_t)count * sizeof(term) / sizeof(float), BB_MAX_BLOCK);
  o.p.scale = o.p.bias + ylanes;
  o.p.shift = o.p.scale + xlanes;
  o.p.w = o.p.shift + xlanes;
  o.p.floats = o.p.w + (size_t)count * (size_t)(c->R * c->S) * VL;
  return o;
}

static int all_terms(const bb_task *t) {
  int n = 0;
  for (int k = 0; k < t->y.map->blocks; k++) n += block_terms(t, k, 0, NULL, NULL, NULL);
  return n;
}

static size_t grouped_packed_bytes(const bb_task *t, const bb_config *config) {
  (void)config;
  return grouped_offsets(t, all_terms(t)).p.floats * sizeof(float);
}

// config->tile: 1 = broadcasts in FMAs.
static void grouped_pack(const bb_task *t, const bb_config *config, const bb_weights *weights, float *out) {
  const bb_conv *c = &t->problem.conv;
  const int blocks = t->y.map->blocks;
  const grouped_layout o = grouped_offsets(t, all_terms(t));
  memset(out, 0, o.p.floats * sizeof(float));
  int *const begin = (int *)(void *)out;
  term *const terms = (term *)(void *)(out + o.terms);
  pack_vector(t->y.map, weights->b, out + o.p.bias);
  if (t->prologue.scale_shift) {
    pack_vector(t->x.map, weights->scale, out + o.p.scale);
    pack_vector(t->x.map, weights->shift, out + o.p.shift);
  }
  for (int k = 0; k < blocks; k++) {
    const int n = block_terms(t, k, 0, NULL, NULL, NULL);
    begin[k + 1] = begin[k] + n;
    block_terms(t, k, n, terms + begin[k], weights->w, out + o.p.w + (size_t)begin[k] * (size_t)(c->R * c->S) * VL);
  }
  for (int i = 0; i < begin[blocks]; i++)
    if (FMA_BROADCASTS && config->tile == 1 && terms[i].move == MOVE_BCAST) terms[i].move = MOVE_IN_FMA;
}

static rows_block grouped_block(const bb_args *a, int k) {
  const bb_conv *c = &a->task->problem.conv;
  const int *const begin = (const int *)(const void *)a->packed;
  const grouped_layout o = grouped_offsets(a->task, begin[a->task->y.map->blocks]);
  rows_block b = {.terms = (const term *)(const void *)(a->packed + o.terms) + begin[k], .count = begin[k + 1] - begin[k]};
  b.w = a->packed + o.p.w + (size_t)begin[k] * (size_t)(c->R * c->S) * VL;
  if (!has_prologue(&a->task->prologue)) return b;
  b.first = a->task->x.map->blocks;
  for (int i = 0; i < b.count; i++) {
    b.first = bb_min(b.first, bb_min(b.terms[i].a, b.terms[i].b));
    b.last = bb_max(b.last, bb_max(b.terms[i].a, b.terms[i].b) + 1);
  }
  return b;
}

static int grouped_configs(const bb_task *t, const bb_machine *machine, int threads, bb_config *out, int max) {
  (void)machine;
  int n = rows_configs(t, threads, out, max);
  if (FMA_BROADCASTS && whole_blocks(t) && rows_kind(&t->problem.conv) && n < max) {
    out[n] = out[0];
    out[n++].tile = 1;
  }
  return n;
}

static bb_workspace grouped_workspace(const bb_task *t, const bb_config *config, int threads) {
  (void)threads;
  return rows_workspace(t, config, t->x.map->blocks);
}

static void grouped_row_1_1(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  row(c, from, terms, count, to, 1, 1, false);
}
static void grouped_row_3_1(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  row(c, from, terms, count, to, 3, 1, false);
}
static void grouped_row_3_2(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  row(c, from, terms, count, to, 3, 2, false);
}
static void grouped_row_5_1(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  row(c, from, terms, count, to, 5, 1, false);
}
static void grouped_row_5_2(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  row(c, from, terms, count, to, 5, 2, false);
}
static void grouped_row_any(const bb_conv *c, const rows_source *from, const term *terms, int count, const rows_target *to) {
  row(c, from, terms, count, to, 0, 0, false);
}

static void grouped_run(const bb_args *a, size_t first, size_t last) {
  static const rows_fns fns = {grouped_row_1_1, grouped_row_3_1, grouped_row_3_2,
                               grouped_row_5_1, grouped_row_5_2, grouped_row_any};
  const int *const begin = (const int *)(const void *)a->packed;
  const packed p = grouped_offsets(a->task, begin[a->task->y.map->blocks]).p;
  rows_run(a, &p, first, last, grouped_block, rows_pick(&fns, &a->task->problem.conv));
}

// Moves and FMAs go to different ports, but not all to free ones: half of a move is taken to be in the way. Where whole blocks
// lie in one group it is a load, which is not if there are pixels enough to hide a chain of S FMAs on each sum; nor, but on
// Zen 4, a broadcast to a register (88.2 % of peak with groups of 16, 95.2 with broadcasts by each FMA, which where two FMAs
// start per cycle leave no load for the weights). 0.5, 0.2 and 0.35 are by fit.
static double grouped_cycles(const bb_task *t, const bb_machine *machine, const bb_config *config, int threads) {
  const bb_conv *c = &t->problem.conv;
  const double moves = c->S == 1 ? 1 : (c->S + (ROWS_M - 1.0) * c->stride_w) / ROWS_M;
  const bool in_fma = config->tile == 1, one_fma = FMA_BROADCASTS && fma_per_cycle(machine) == 1;
  double in_the_way = 0.5 * moves;
  if (whole_blocks(t) && ROWS_M > 8) in_the_way = in_fma ? (one_fma ? 0 : (double)c->S / ROWS_M) : one_fma ? 0.2 * moves : 0;
  const double valid = bb_conv_flops_valid(c) / bb_conv_flops(c);
  const double per_term = c->R * (c->S + in_the_way) * valid / fma_per_cycle(machine);
  const double pixels = (double)c->N * c->P * c->Q;
  const double compute = pixels * (all_terms(t) * per_term + 2.0 * t->y.map->blocks / fma_per_cycle(machine));
  const double vectors = (double)c->N * c->H * c->W * t->x.map->blocks + 2 * pixels * t->y.map->blocks;
  const double memory = rows_memory_cycles(machine, vectors * VL * sizeof(float));
  // Beside all the products of whole blocks two thirds are hidden; of weights from memory, which come once whatever the number
  // of threads, nothing is.
  const double bytes = machine->cold ? (double)grouped_packed_bytes(t, config) : 0, dram = machine->dram_bytes_per_cycle;
  const double cold = dram > 0 ? bytes / dram * (threads > 1 ? machine->dram_share : 1) : 0;
  return (whole_blocks(t) ? fmax(compute, memory) + 0.35 * fmin(compute, memory) : compute + memory) / threads + cold;
}

#endif
