// SPDX-License-Identifier: Apache-2.0
//
// Memory plan: one arena; a value's place is taken from the operation that first writes it (or a part of it) to the last that
// reads it. Greedy by size (Pisarchyk, Lee 2020, arXiv:2001.03288): the largest first, each at the lowest offset that is free
// for as long as it lives.

#include <stdlib.h>

#include "../kernels/common.h"
#include "net.h"

int bb_value_root(const bb_program *p, int value) {
  while (p->value[value].parent != BB_NONE) value = p->value[value].parent;
  return value;
}

ptrdiff_t bb_value_offset(const bb_program *p, int value) {
  ptrdiff_t offset = 0;
  for (; value != BB_NONE; value = p->value[value].parent) offset += p->value[value].offset;
  return offset;
}

// Of one root.
typedef struct life {
  int value;
  int first, last;  // operations
  size_t bytes;     // 0 = no memory of the arena: the input, or what lies in another root's place
  size_t at;        // place
  int host;         // root in whose place it lies, or BB_NONE
  int color;
} life;

static int by_size(const void *a, const void *b) {
  const life *x = *(life *const *)a, *y = *(life *const *)b;
  if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
  return x->value - y->value;
}

static void touch(const bb_program *p, life *lives, int value, int when) {
  if (value == BB_NONE) return;
  life *l = &lives[bb_value_root(p, value)];
  l->first = bb_min(l->first, when);
  l->last = bb_max(l->last, when);
}

static void find_lives(const bb_program *p, life *lives) {
  for (int v = 0; v < p->values; v++) lives[v] = (life){.value = v, .first = p->opers, .last = -1, .host = BB_NONE};
  for (int i = 0; i < p->opers; i++) {
    const bb_oper *o = &p->oper[i];
    if (o->kind != BB_OPER_PLAN) continue;
    touch(p, lives, o->x, i);
    touch(p, lives, o->x2, i);
    touch(p, lives, o->x_scale, i);
    touch(p, lives, o->y, i);
    touch(p, lives, o->gap, i);
  }
  for (int i = 0; i < p->outputs; i++) touch(p, lives, p->output[i], p->opers);
  for (int v = 1; v < p->values; v++) {
    if (p->value[v].parent == BB_NONE && lives[v].last >= 0) lives[v].bytes = bb_view_size(&p->value[v].view) * sizeof(float);
  }
}

// A convolution may write over its residual, if that ends there: what it adds is in its cache already.
static void share_residuals(const bb_program *p, life *lives) {
  for (int i = 0; i < p->opers; i++) {
    const bb_oper *o = &p->oper[i];
    if (o->kind != BB_OPER_PLAN || !o->epilogue.residual) continue;
    const int x2 = o->x2, y = o->y;
    if (x2 == 0 || p->value[x2].parent != BB_NONE || p->value[y].parent != BB_NONE || lives[x2].last != i ||
        lives[y].first != i || !bb_view_equal(&p->value[x2].view, &p->value[y].view))
      continue;
    // A window of the input may lie in it: a slice of what is added.
    if (bb_value_root(p, o->x) == x2 || (o->x_scale != BB_NONE && bb_value_root(p, o->x_scale) == x2)) continue;
    int host = x2;
    while (lives[host].host != BB_NONE) host = lives[host].host;
    if (lives[host].last != i) continue;
    lives[y].host = host;
    lives[y].bytes = 0;
    lives[host].last = lives[y].last;
  }
}

// The lowest offset at or after `from` that falls on the value's line of a page: consecutive values get different ones, so that
// an operation's tensors do not start in the same sets of the L1.
static size_t colored(size_t from, int color) {
  const size_t page = 4096, line = (size_t)color * 5 % (page / BB_ALIGN) * BB_ALIGN;
  const size_t start = from / page * page + line;
  return start >= from ? start : start + page;
}

// Where l fits among the placed ones that live at the same time.
static size_t place(const life *l, life *const *placed, int count, bool reuse) {
  size_t at = colored(0, l->color);
  for (bool moved = true; moved;) {
    moved = false;
    for (int i = 0; i < count; i++) {
      const life *o = placed[i];
      const bool together = !reuse || (l->first <= o->last && o->first <= l->last);
      if (!together || at + l->bytes <= o->at || o->at + o->bytes <= at) continue;
      at = colored(o->at + o->bytes, l->color);
      moved = true;
    }
  }
  return at;
}

bb_status bb_program_memory(bb_program *p, bool reuse) {
  life *lives = malloc((size_t)p->values * sizeof *lives);
  life **order = malloc((size_t)p->values * sizeof(life *));
  if (!lives || !order) {
    free(lives);
    free(order);
    return BB_NO_MEMORY;
  }
  find_lives(p, lives);
  if (reuse) share_residuals(p, lives);
  int count = 0;
  for (int v = 0; v < p->values; v++) {
    if (!lives[v].bytes) continue;
    lives[v].color = count;
    order[count++] = &lives[v];
  }
  qsort(order, (size_t)count, sizeof *order, by_size);
  p->arena_bytes = 0;
  for (int i = 0; i < count; i++) {
    order[i]->at = place(order[i], order, i, reuse);
    const size_t end = order[i]->at + order[i]->bytes;
    if (end > p->arena_bytes) p->arena_bytes = end;
  }
  for (int v = 0; v < p->values; v++) {
    const life *l = &lives[v];
    if (p->value[v].parent != BB_NONE) continue;
    while (l->host != BB_NONE) l = &lives[l->host];
    p->value[v].offset = (ptrdiff_t)(l->at / sizeof(float));
  }
  free(lives);
  free(order);
  return BB_OK;
}
