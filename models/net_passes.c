// SPDX-License-Identifier: Apache-2.0
//
// Passes on the list of operations. Each may be left out: the rest still works, slower.

#include <stdlib.h>
#include <string.h>

#include "../kernels/common.h"
#include "net.h"

static bool is_op(const bb_oper *o, bb_op op) { return o->kind == BB_OPER_PLAN && o->problem.op == op; }

// A lone activation.
static bool is_act(const bb_oper *o) { return is_op(o, BB_OP_SCALE) && !o->affine && o->epilogue.act != BB_ACT_IDENTITY; }

static bool has_prologue(const bb_oper *o) { return o->prologue.dynamic_scale || o->prologue.scale_shift || o->prologue.relu; }

// ---- identity ------------------------------------------------------------------------------------------------------

// What changes nothing: a mean over windows of one pixel, a slice of all channels.
static bool changes_nothing(const bb_program *p, const bb_oper *o) {
  const bb_value *x = &p->value[o->x], *y = &p->value[o->y];
  if (o->kind == BB_OPER_SLICE) return x->C == y->C;
  return is_op(o, BB_OP_POOL) && o->problem.pool.adaptive && x->H == y->H && x->W == y->W && o->epilogue.act == BB_ACT_IDENTITY;
}

bb_status bb_pass_identity(bb_program *p) {
  for (int i = p->opers - 1; i >= 0; i--) {
    const bb_oper *o = &p->oper[i];
    if (o->x == BB_NONE || !changes_nothing(p, o)) continue;
    bb_program_replace(p, i + 1, o->y, o->x);
    bb_program_remove(p, i);
  }
  return BB_OK;
}

// ---- fold_bn, fuse_act, fuse_add -----------------------------------------------------------------------------------

// The operation at `from` is done by the one at `into`, whose result it alone reads.
static bb_status absorb(bb_program *p, int into, int from) {
  p->oper[into].y = p->oper[from].y;
  if (!bb_program_note_fused(p, &p->oper[into], &p->oper[from])) return BB_NO_MEMORY;
  bb_program_remove(p, from);
  return BB_OK;
}

// conv, then scale*x + shift: into weights and bias.
bb_status bb_pass_fold_bn(bb_program *p) {
  for (int i = 0; i < p->opers; i++) {
    bb_oper *conv = &p->oper[i];
    if (!is_op(conv, BB_OP_CONV) || conv->fold || conv->epilogue.act != BB_ACT_IDENTITY || conv->epilogue.residual) continue;
    const int user = bb_program_only_user(p, conv->y);
    if (user == BB_NONE || !is_op(&p->oper[user], BB_OP_SCALE) || !p->oper[user].affine) continue;
    bb_oper *bn = &p->oper[user];
    conv->fold = bn->affine;
    bn->affine = NULL;
    conv->epilogue.bias = true;
    conv->epilogue.act = bn->epilogue.act;
    conv->epilogue.alpha = bn->epilogue.alpha;
    const bb_status status = absorb(p, i, user);
    if (status) return status;
  }
  return BB_OK;
}

bb_status bb_pass_fuse_act(bb_program *p) {
  for (int i = 0; i < p->opers; i++) {
    const bb_oper *o = &p->oper[i];
    if (o->kind != BB_OPER_PLAN || o->epilogue.act != BB_ACT_IDENTITY || o->epilogue.residual == BB_RESIDUAL_AFTER_ACT ||
        o->problem.op == BB_OP_SOFTMAX)
      continue;
    const int user = bb_program_only_user(p, o->y);
    if (user == BB_NONE || !is_act(&p->oper[user])) continue;
    bb_oper with = *o;
    with.epilogue.act = p->oper[user].epilogue.act;
    with.epilogue.alpha = p->oper[user].epilogue.alpha;
    if (!bb_program_can(p, &with)) continue;
    p->oper[i].epilogue = with.epilogue;
    const bb_status status = absorb(p, i, user);
    if (status) return status;
  }
  return BB_OK;
}

// Is `add` done if the convolution that makes one of its operands adds the other?
static bool try_add(bb_program *p, int add, int operand, int other) {
  const bb_oper *a = &p->oper[add];
  const int conv = bb_program_producer(p, operand), before = bb_program_producer(p, other);
  if (conv == BB_NONE || before == BB_NONE || before > conv) return false;  // the residual must be there when conv runs
  if (bb_program_only_user(p, operand) != add || operand == other) return false;
  const bb_oper *c = &p->oper[conv];
  if (!is_op(c, BB_OP_CONV) || c->epilogue.residual || c->y != operand || c->x == other) return false;
  bb_oper with = *c;
  with.epilogue.residual = c->epilogue.act == BB_ACT_IDENTITY ? BB_RESIDUAL_BEFORE_ACT : BB_RESIDUAL_AFTER_ACT;
  if (with.epilogue.residual == BB_RESIDUAL_AFTER_ACT && a->epilogue.act != BB_ACT_IDENTITY) return false;
  if (with.epilogue.residual == BB_RESIDUAL_BEFORE_ACT) {
    with.epilogue.act = a->epilogue.act;
    with.epilogue.alpha = a->epilogue.alpha;
  }
  with.x2 = other;
  if (!bb_program_can(p, &with)) return false;
  p->oper[conv] = with;
  return true;
}

bb_status bb_pass_fuse_add(bb_program *p) {
  for (int i = 0; i < p->opers; i++) {
    const bb_oper *o = &p->oper[i];
    if (!is_op(o, BB_OP_ELTWISE) || o->problem.eltwise.kind != BB_ELTWISE_ADD || o->problem.eltwise.broadcast ||
        o->problem.eltwise.C2 != o->problem.eltwise.C)
      continue;
    const int x = o->x, x2 = o->x2;
    const int done = try_add(p, i, x, x2) ? x : try_add(p, i, x2, x) ? x2 : BB_NONE;
    if (done == BB_NONE) continue;
    const bb_status status = absorb(p, bb_program_producer(p, done), i);
    if (status) return status;
    i--;
  }
  return BB_OK;
}

// ---- prologue, se --------------------------------------------------------------------------------------------------

// Are all readers of the value convolutions that can take `add` in front of them?
static bool all_convs_can(const bb_program *p, int value, bb_prologue add) {
  if (bb_program_is_output(p, value)) return false;
  int users = 0;
  for (int i = 0; i < p->opers; i++) {
    if (!bb_oper_reads(&p->oper[i], value)) continue;
    bb_oper with = p->oper[i];
    if (!is_op(&with, BB_OP_CONV) || with.x != value || with.x2 == value) return false;
    // The order in a prologue is: dynamic scale, scale and shift, ReLU.
    if (with.prologue.dynamic_scale || (!add.dynamic_scale && has_prologue(&with))) return false;
    with.prologue.dynamic_scale |= add.dynamic_scale;
    with.prologue.scale_shift |= add.scale_shift;
    with.prologue.relu |= add.relu;
    if (!bb_program_can(p, &with)) return false;
    users++;
  }
  return users > 0;
}

// Batch-norm and ReLU that stand before convolutions and nothing else.
bb_status bb_pass_prologue(bb_program *p) {
  for (int i = p->opers - 1; i >= 0; i--) {
    const bb_oper *o = &p->oper[i];
    const bool relu = o->epilogue.act == BB_ACT_RELU;
    if (!is_op(o, BB_OP_SCALE) || (!relu && o->epilogue.act != BB_ACT_IDENTITY)) continue;
    const bb_prologue add = {.scale_shift = o->affine != NULL, .relu = relu};
    if (!all_convs_can(p, o->y, add)) continue;
    const int value = o->y;
    const size_t bytes = 2 * (size_t)p->value[value].C * sizeof *o->affine;
    for (int k = i + 1; k < p->opers; k++) {
      bb_oper *conv = &p->oper[k];
      if (conv->x != value) continue;
      if (o->affine) {
        conv->affine = malloc(bytes);
        if (!conv->affine) return BB_NO_MEMORY;
        memcpy(conv->affine, o->affine, bytes);
      }
      conv->prologue = add;
      conv->x = o->x;
      if (!bb_program_note_fused(p, conv, o)) return BB_NO_MEMORY;
    }
    bb_program_remove(p, i);
  }
  return BB_OK;
}

// The multiplication of squeeze-and-excite: a factor of each input channel of the convolutions behind it.
bb_status bb_pass_se(bb_program *p) {
  for (int i = p->opers - 1; i >= 0; i--) {
    const bb_oper *o = &p->oper[i];
    if (!is_op(o, BB_OP_ELTWISE) || o->problem.eltwise.kind != BB_ELTWISE_MUL || !o->problem.eltwise.broadcast ||
        o->epilogue.act != BB_ACT_IDENTITY || !all_convs_can(p, o->y, (bb_prologue){.dynamic_scale = true}))
      continue;
    const int value = o->y;
    for (int k = i + 1; k < p->opers; k++) {
      bb_oper *conv = &p->oper[k];
      if (conv->x != value) continue;
      conv->prologue.dynamic_scale = true;
      conv->x = o->x;
      conv->x_scale = o->x2;
      if (!bb_program_note_fused(p, conv, o)) return BB_NO_MEMORY;
    }
    bb_program_remove(p, i);
  }
  return BB_OK;
}

// ---- gap -----------------------------------------------------------------------------------------------------------

// A global mean: sums that the convolution before it makes while its output is in registers.
bb_status bb_pass_gap(bb_program *p) {
  for (int i = 0; i < p->opers; i++) {
    const bb_oper *o = &p->oper[i];
    if (!is_op(o, BB_OP_POOL) || !o->problem.pool.adaptive || o->problem.pool.kind != BB_POOL_AVG || o->problem.pool.P != 1 ||
        o->problem.pool.Q != 1 || o->epilogue.act != BB_ACT_IDENTITY)
      continue;
    const int producer = bb_program_producer(p, o->x);
    if (producer == BB_NONE || !is_op(&p->oper[producer], BB_OP_CONV) || p->oper[producer].epilogue.gap ||
        p->oper[producer].y != o->x)
      continue;
    bb_oper with = p->oper[producer];
    with.epilogue.gap = true;
    if (!bb_program_can(p, &with)) continue;
    with.gap = o->y;
    p->oper[producer] = with;
    if (!bb_program_note_fused(p, &p->oper[producer], o)) return BB_NO_MEMORY;
    bb_program_remove(p, i--);
  }
  return BB_OK;
}

// ---- dead_code -----------------------------------------------------------------------------------------------------

static bool is_read(const bb_program *p, int value) {
  if (value == BB_NONE) return false;
  for (int i = 0; i < p->opers; i++) {
    if (bb_oper_reads(&p->oper[i], value)) return true;
  }
  return bb_program_is_output(p, value);
}

bb_status bb_pass_dead_code(bb_program *p) {
  for (int i = p->opers - 1; i >= 0; i--) {  // readers stand behind: one sweep finds whole dead chains
    if (!is_read(p, p->oper[i].y) && !is_read(p, p->oper[i].gap)) bb_program_remove(p, i);
  }
  return BB_OK;
}

// ---- concat --------------------------------------------------------------------------------------------------------

// May the value be written straight into a concatenation?
static bool can_move(const bb_program *p, const bb_oper *concat, int index) {
  const int value = concat->part[index];
  const bb_value *v = &p->value[value];
  if (value == 0 || v->nchw || v->parent != BB_NONE) return false;
  for (int i = 0; i < index; i++) {
    if (concat->part[i] == value) return false;
  }
  const bb_oper *producer = &p->oper[bb_program_producer(p, value)];
  return producer->y == value && (producer->kind == BB_OPER_PLAN || producer->kind == BB_OPER_CONCAT);
}

// Are all parts neighbours inside one other concatenation already?
static bool is_run(const bb_program *p, const bb_oper *concat) {
  const bb_value *first = &p->value[concat->part[0]];
  if (first->parent == BB_NONE || first->reshape) return false;
  for (int i = 1; i < concat->parts; i++) {
    const bb_value *v = &p->value[concat->part[i]];
    if (v->parent != first->parent || v->part != first->part + i) return false;
  }
  return true;
}

// Producers write into the concatenation. The last concatenation goes first, so that those whose parts are the beginning of a
// later one's (a dense block's) become views of it.
bb_status bb_pass_concat(bb_program *p) {
  for (int i = p->opers - 1; i >= 0; i--) {
    const bb_oper *o = &p->oper[i];
    if (o->kind != BB_OPER_CONCAT) continue;
    bb_value *y = &p->value[o->y];
    if (y->parent == BB_NONE && is_run(p, o)) {
      y->parent = p->value[o->part[0]].parent;
      y->part = p->value[o->part[0]].part;
      continue;
    }
    for (int k = 0; k < o->parts; k++) {
      if (!can_move(p, o, k)) continue;
      p->value[o->part[k]].parent = o->y;
      p->value[o->part[k]].part = k;
    }
  }
  return BB_OK;
}

bb_status bb_program_copy_parts(bb_program *p) {
  for (int i = 0; i < p->opers; i++) {
    if (p->oper[i].kind != BB_OPER_CONCAT) continue;
    const int y = p->oper[i].y;
    const bool run =
        p->value[y].parent != BB_NONE && is_run(p, &p->oper[i]) && p->value[y].parent == p->value[p->oper[i].part[0]].parent;
    for (int k = 0; k < p->oper[i].parts && !run; k++) {
      const int part = p->oper[i].part[k];
      bool seen = false;
      for (int j = 0; j < k; j++) seen |= p->oper[i].part[j] == part;
      if (!seen && p->value[part].parent == y && p->value[part].part == k) continue;
      const int copy = bb_program_copy(p, i, part);
      if (copy == BB_NONE) return BB_NO_MEMORY;
      i++;  // the concatenation has moved
      p->oper[i].part[k] = copy;
      p->value[copy].parent = y;
      p->value[copy].part = k;
    }
  }
  return BB_OK;
}
