// SPDX-License-Identifier: Apache-2.0
//
// Layout: the channel map and the view of every value.
//
// Values that must agree lane by lane (x and y of a pool, both operands of an addition, a convolution's output and its
// residual, the factors and the input that they scale) form a class. A concatenation fixes the map of its class: its parts'
// maps one after the other, each padded to whole blocks, so that every part is a view; a slice that starts and ends at blocks
// likewise. A class that nothing fixes has its channels in order. Where two concatenations want different maps of one class,
// one is copied; where no vector kernel takes an operation, it runs in NCHW between copies. After each such change layout
// starts again.

#include <stdlib.h>
#include <string.h>

#include "../kernels/common.h"
#include "../kernels/error.h"
#include "net.h"

typedef struct layout {
  bb_program *p;
  int *up;             // union-find over values
  const bb_map **map;  // of the class, at its root
  bool *busy;          // being found
  bool changed;        // the program was: start again
} layout;

static int find(layout *l, int v) {
  while (l->up[v] != v) v = l->up[v] = l->up[l->up[v]];
  return v;
}

static void unite(layout *l, int a, int b) {
  if (a == BB_NONE || b == BB_NONE || a == 0 || b == 0) return;  // the input stays NCHW
  l->up[find(l, a)] = find(l, b);
}

static void unite_operands(layout *l, const bb_oper *o) {
  if (o->kind != BB_OPER_PLAN) return;
  unite(l, o->gap, o->y);
  unite(l, o->x_scale, o->x);
  switch (o->problem.op) {
    case BB_OP_CONV: {
      const bb_conv *v = &o->problem.conv;
      unite(l, o->x2, o->y);
      if (v->G == v->C && v->K == v->C) unite(l, o->x, o->y);  // depthwise
      break;
    }
    case BB_OP_COPY:
      break;
    case BB_OP_ELTWISE:
      if (o->problem.eltwise.C2 == o->problem.eltwise.C) unite(l, o->x2, o->x);
      unite(l, o->x, o->y);
      break;
    default:
      unite(l, o->x, o->y);
  }
}

// ---- maps ----------------------------------------------------------------------------------------------------------

// Takes the map over; returns an equal one if there is one already.
static const bb_map *keep_map(bb_program *p, bb_map *map) {
  for (int i = 0; i < p->maps; i++) {
    if (!bb_map_equal(p->map[i], map)) continue;
    bb_map_destroy(map);
    return p->map[i];
  }
  if (p->maps == p->map_room) {
    const int room = p->map_room ? 2 * p->map_room : 64;
    bb_map **more = realloc(p->map, (size_t)room * sizeof(bb_map *));
    if (!more) {
      bb_map_destroy(map);
      return NULL;
    }
    p->map = more;
    p->map_room = room;
  }
  return p->map[p->maps++] = map;
}

static const bb_map *map_of_lanes(bb_program *p, const int *lane, int blocks, int block) {
  bb_map *map;
  return bb_map_create_lanes(lane, blocks, block, &map) ? NULL : keep_map(p, map);
}

static bb_status find_map(layout *l, int value);

static const bb_map *map_of(layout *l, int value) { return l->map[find(l, value)]; }

static bb_status concat_map(layout *l, const bb_oper *o, const bb_map **out) {
  int lanes = 0, channels = 0, block = 0;
  for (int i = 0; i < o->parts; i++) {
    const bb_status status = find_map(l, o->part[i]);
    if (status || l->changed) return status;
    block = map_of(l, o->part[i])->block;
    lanes += bb_map_lanes(map_of(l, o->part[i]));
  }
  int *lane = malloc((size_t)lanes * sizeof *lane);
  if (!lane) return BB_NO_MEMORY;
  lanes = 0;
  for (int i = 0; i < o->parts; i++) {
    const bb_map *m = map_of(l, o->part[i]);
    for (int k = 0; k < bb_map_lanes(m); k++) lane[lanes++] = m->lane[k] < 0 ? -1 : channels + m->lane[k];
    channels += m->channels;
  }
  *out = map_of_lanes(l->p, lane, lanes / block, block);
  free(lane);
  return *out ? BB_OK : BB_NO_MEMORY;
}

// Channels [first, first + count) alone, the lanes of the others empty.
static const bb_map *restricted_map(bb_program *p, const bb_map *m, int first, int count) {
  const int lanes = bb_map_lanes(m);
  int *lane = malloc((size_t)lanes * sizeof *lane);
  if (!lane) return NULL;
  for (int k = 0; k < lanes; k++) lane[k] = m->lane[k] >= first && m->lane[k] < first + count ? m->lane[k] - first : -1;
  const bb_map *map = map_of_lanes(p, lane, m->blocks, m->block);
  free(lane);
  return map;
}

// A view if whole blocks hold exactly these channels; otherwise the slice becomes a copy, and *out is NULL.
static bb_status slice_map(layout *l, bb_oper *o, const bb_map **out) {
  bb_program *p = l->p;
  const bb_status status = find_map(l, o->x);
  if (status || l->changed) return status;
  const bb_map *m = map_of(l, o->x);
  const int count = p->value[o->y].C;
  int from = m->blocks, to = 0;
  bool whole = !p->value[o->x].nchw || p->block == 1;
  for (int b = 0; b < m->blocks; b++) {
    int inside = 0, others = 0;
    for (int k = b * m->block; k < (b + 1) * m->block; k++) {
      const bool in = m->lane[k] >= o->first && m->lane[k] < o->first + count;
      inside += in;
      others += m->lane[k] >= 0 && !in;
    }
    if (inside == 0) continue;
    whole = whole && others == 0 && (from == m->blocks || to == b);
    from = bb_min(from, b);
    to = b + 1;
  }
  const bb_map *restricted = restricted_map(p, m, o->first, count);
  if (!restricted) return BB_NO_MEMORY;
  if (!whole || o->x == 0) {
    const bb_value y = p->value[o->y];
    o->kind = BB_OPER_PLAN;
    o->inserted = true;
    o->problem = (bb_problem){.op = BB_OP_COPY, .copy = {y.N, y.C, y.H, y.W}};
    l->changed = true;
    return BB_OK;
  }
  p->value[o->y].parent = o->x;
  p->value[o->y].block = from;
  *out = map_of_lanes(p, restricted->lane + from * m->block, to - from, m->block);
  return *out ? BB_OK : BB_NO_MEMORY;
}

// The value that operation `at` makes gets memory of its own: all others read a copy.
static bb_status separate(layout *l, int at) {
  bb_program *p = l->p;
  const int y = p->oper[at].y, copy = bb_program_copy(p, at + 1, y);
  if (copy == BB_NONE) return BB_NO_MEMORY;
  p->value[copy].parent = p->value[y].parent;
  p->value[copy].part = p->value[y].part;
  p->value[y].parent = BB_NONE;
  bb_program_replace(p, at + 2, y, copy);
  l->changed = true;
  return BB_OK;
}

// The map of a value's class.
static bb_status find_map(layout *l, int value) {
  bb_program *p = l->p;
  const int root = find(l, value);
  if (l->map[root]) return BB_OK;
  l->busy[root] = true;
  bool nchw = false;
  for (int v = 0; v < p->values; v++) nchw |= p->value[v].nchw && find(l, v) == root;
  const bb_map *map = nchw ? bb_map_identity(p->value[value].C, 1) : NULL;
  if (nchw && !map) return BB_NO_MEMORY;
  for (int i = 0; i < p->opers; i++) {
    bb_oper *o = &p->oper[i];
    if ((o->kind != BB_OPER_CONCAT && o->kind != BB_OPER_SLICE) || find(l, o->y) != root) continue;
    const bb_map *wanted = NULL;
    bool circular = o->kind == BB_OPER_SLICE && l->busy[find(l, o->x)];
    for (int k = 0; k < o->parts; k++) circular |= l->busy[find(l, o->part[k])];
    if (circular) return separate(l, i);
    const bb_status status = o->kind == BB_OPER_CONCAT ? concat_map(l, o, &wanted) : slice_map(l, o, &wanted);
    if (status || l->changed) return status;
    if (map && !bb_map_equal(map, wanted)) return separate(l, i);
    map = wanted;
  }
  if (!map) map = bb_map_identity(p->value[value].C, p->block);
  if (!map) return BB_NO_MEMORY;
  l->map[root] = map;
  l->busy[root] = false;
  return BB_OK;
}

// ---- views ---------------------------------------------------------------------------------------------------------

static void find_view(bb_program *p, int value) {
  bb_value *v = &p->value[value];
  if (v->view.map) return;
  if (v->parent == BB_NONE || v->reshape) {
    v->view = bb_view_dense(v->N, v->C, v->H, v->W, v->map);
    v->offset = 0;
    return;
  }
  find_view(p, v->parent);
  const bb_value *parent = &p->value[v->parent];
  const bb_oper *producer = &p->oper[bb_program_producer(p, v->parent)];
  int block = v->block;
  if (producer->kind == BB_OPER_CONCAT && bb_program_producer(p, value) != BB_NONE &&
      p->oper[bb_program_producer(p, value)].kind != BB_OPER_SLICE) {
    block = 0;
    for (int i = 0; i < v->part; i++) block += p->value[producer->part[i]].map->blocks;
  }
  v->view = parent->view;
  v->view.C = v->C;
  v->view.map = v->map;
  v->offset = block * parent->view.c_stride;
}

// ---- kernels that there are ----------------------------------------------------------------------------------------

// Reads of the input that need another layout.
static bb_status settle_input(layout *l) {
  bb_program *p = l->p;
  for (int i = 0; i < p->opers; i++) {
    const bb_oper *o = &p->oper[i];
    if (!bb_oper_reads(o, 0) || (o->kind == BB_OPER_PLAN && o->problem.op == BB_OP_COPY)) continue;
    if (o->kind == BB_OPER_PLAN && p->block == 1) continue;
    if (o->kind == BB_OPER_PLAN && o->problem.op == BB_OP_CONV && o->x == 0 && o->x2 != 0 && bb_program_can_as_is(p, o))
      continue;
    const int copy = bb_program_copy(p, i, 0);
    if (copy == BB_NONE) return BB_NO_MEMORY;
    bb_oper *reader = &p->oper[i + 1];
    if (reader->x == 0) reader->x = copy;
    if (reader->x2 == 0) reader->x2 = copy;
    for (int k = 0; k < reader->parts; k++) {
      if (reader->part[k] == 0) reader->part[k] = copy;
    }
  }
  return BB_OK;
}

// Flatten of more than one pixel, NCHW order: a copy of its own, looked at as one pixel.
static bb_status settle_flatten(bb_program *p) {
  for (int i = 0; i < p->opers; i++) {
    if (p->oper[i].kind != BB_OPER_FLATTEN) continue;
    const int y = p->oper[i].y, x = bb_program_copy(p, i, p->oper[i].x);
    if (x == BB_NONE) return BB_NO_MEMORY;
    p->value[x].nchw = true;
    const bb_value v = p->value[y];
    const int flat = bb_program_value(p, v.N, v.C, 1, 1);
    if (flat == BB_NONE) return BB_NO_MEMORY;
    p->value[flat].nchw = true;
    p->value[flat].parent = x;
    p->value[flat].reshape = true;
    bb_oper *o = &p->oper[i + 1];
    o->kind = BB_OPER_PLAN;
    o->inserted = true;
    o->x = flat;
    o->problem = (bb_problem){.op = BB_OP_COPY, .copy = {v.N, v.C, 1, 1}};
  }
  return BB_OK;
}

// Operation `at` runs in NCHW, between copies.
static bb_status to_nchw(bb_program *p, int at) {
  for (int field = 0; field < 3; field++) {
    const bb_oper *o = &p->oper[at];
    const int value = field == 0 ? o->x : field == 1 ? o->x2 : o->x_scale;
    if (value == BB_NONE || p->value[value].nchw) continue;
    const int copy = bb_program_copy(p, at, value);
    if (copy == BB_NONE) return BB_NO_MEMORY;
    p->value[copy].nchw = true;
    bb_oper *moved = &p->oper[++at];
    *(field == 0 ? &moved->x : field == 1 ? &moved->x2 : &moved->x_scale) = copy;
  }
  for (int field = 0; field < 2; field++) {
    const int value = field == 0 ? p->oper[at].y : p->oper[at].gap;
    if (value == BB_NONE || p->value[value].nchw) continue;
    const int copy = bb_program_copy(p, at + 1, value);  // from `value` to a new one: exchanged below
    if (copy == BB_NONE) return BB_NO_MEMORY;
    p->value[copy].nchw = true;
    p->oper[at + 1].x = copy;
    p->oper[at + 1].y = value;
    *(field == 0 ? &p->oper[at].y : &p->oper[at].gap) = copy;
  }
  return BB_OK;
}

static bool all_nchw(const bb_program *p, const bb_oper *o) {
  return p->value[o->x].nchw && p->value[o->y].nchw && (o->x2 == BB_NONE || p->value[o->x2].nchw);
}

static bb_status settle_kernels(layout *l, bb_error *error) {
  bb_program *p = l->p;
  for (int i = 0; i < p->opers; i++) {
    const bb_oper *o = &p->oper[i];
    if (o->kind != BB_OPER_PLAN) continue;
    bb_plan_options unused;
    const bb_kernel *kernel = bb_program_kernel(p, o, &unused);
    if (kernel) continue;
    if (o->problem.op == BB_OP_COPY || p->block == 1 || all_nchw(p, o)) {
      const bb_task task = bb_program_task(p, o, true);
      char text[160];
      if (bb_task_validate(&task, error)) return BB_INVALID;
      bb_task_print(&task, text, sizeof text);
      return bb_fail(error, BB_UNSUPPORTED, "%s: no kernel accepts %s", p->graph->node[o->node].name, text);
    }
    l->changed = true;
    return to_nchw(p, i);
  }
  return BB_OK;
}

// ---- the pass ------------------------------------------------------------------------------------------------------

static bb_status attempt(layout *l, bb_error *error) {
  bb_program *p = l->p;
  bb_status status;
  const size_t values = (size_t)p->values;
  l->up = malloc(values * sizeof *l->up);
  l->map = calloc(values, sizeof *l->map);
  l->busy = calloc(values, sizeof *l->busy);
  if (!l->up || !l->map || !l->busy) return BB_NO_MEMORY;
  for (int v = 0; v < p->values; v++) l->up[v] = v;
  for (int i = 0; i < p->opers; i++) unite_operands(l, &p->oper[i]);
  for (int v = 0; v < p->values; v++) {
    if ((status = find_map(l, v)) || l->changed) return status;
  }
  for (int v = 0; v < p->values; v++) {
    p->value[v].map = map_of(l, v);
    p->value[v].view = (bb_view){0};
  }
  for (int i = 0; i < p->opers; i++) {
    bb_oper *o = &p->oper[i];
    if (o->kind != BB_OPER_PLAN || o->problem.op != BB_OP_COPY || p->value[o->x].C == p->value[o->y].C) continue;
    o->slice = restricted_map(p, p->value[o->x].map, o->first, p->value[o->y].C);
    if (!o->slice) return BB_NO_MEMORY;
  }
  for (int v = 0; v < p->values; v++) find_view(p, v);
  return settle_kernels(l, error);
}

// Is the value in memory what a reader of NCHW floats expects?
static bool reads_as_nchw(const bb_program *p, int value) {
  const bb_value *v = &p->value[value];
  if (value == 0 || v->parent != BB_NONE) return false;
  if (v->view.block == 1) return true;
  if (v->H * v->W > 1 || (v->N > 1 && v->view.n_stride != v->C)) return false;
  for (int c = 0; c < v->C; c++) {
    if (v->map->lane[c] != c) return false;
  }
  return true;
}

static bb_status copy_outputs(bb_program *p) {
  for (int i = 0; i < p->outputs; i++) {
    const int value = p->output[i];
    if (reads_as_nchw(p, value)) continue;
    const int copy = bb_program_copy(p, p->opers, value);
    if (copy == BB_NONE) return BB_NO_MEMORY;
    bb_value *v = &p->value[copy];
    v->nchw = true;
    v->map = bb_map_identity(v->C, 1);
    if (!v->map) return BB_NO_MEMORY;
    v->view = bb_view_dense(v->N, v->C, v->H, v->W, v->map);
    p->output[i] = copy;
  }
  return BB_OK;
}

bb_status bb_program_layout(bb_program *p, bb_error *error) {
  if (error) error->text[0] = 0;
  layout l = {.p = p};
  bb_status status;
  if ((status = settle_input(&l)) || (status = settle_flatten(p))) return status;
  do {
    l.changed = false;
    status = attempt(&l, error);
    free(l.up);
    free(l.map);
    free(l.busy);
  } while (l.changed && !status);
  return status ? status : copy_outputs(p);
}
