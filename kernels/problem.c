// SPDX-License-Identifier: Apache-2.0
//
// Problems: validation, text form, counts.
//
// The text form of a convolution is that of benchdnn, oneDNN's tester (tests/benchdnn/doc/knobs_desc.md), for two dimensions,
// so that a line can be pasted there and back:
//
//   line    = { blank } fields [ name ] [ { blank } fused ] { blank }
//   fields  = { field | "_" }                       in any order, each at most once
//   field   = ( "g" | "mb" | "ic" | "ih" | "iw" | "oc" | "oh" | "ow" | "kh" | "kw" | "sh" | "sw" | "ph" | "pw" | "dh" | "dw" )
//   number name    = "n" ( '"' text [ "*" count ] '"' | word [ "*" count ] ) fused   = { "+" token }                         in
//   any order, each at most once token   = "pre_scale" | "pre_bn" | "pre_relu"                                        what
//   happens to the input
//           | "bias" | "add" | activation | "leaky_relu:" slope | "scale" | "addafter" | "second" | "gap"
//   activation = "identity" | "relu" | "relu6" | "tanh" | "sigmoid" | "silu" | "mish" | "hard_sigmoid" | "hard_swish"
//
// At most one of add and addafter (they are the two places of one residual), at most one activation.
// Defaults, benchdnn's own:
//   - g1 mb2 sh1 sw1 dh0 dw0; dilation counts the gaps (dh0 = dense). ic, oc, and of each axis i and k, must be given.
//   - Without o: padding 0 if not given, o = (i + 2p - extent) / s + 1 rounded down. With o and without p:
//     p = ((o-1)*s + extent - i) / 2. With both, the padding at the bottom or right follows from o.
//   - An axis none of whose fields differs from "not given" (i, k, o absent; s1; d0; p0) is not given at all. Without the
//     width, it equals the height in everything; without the height, the problem is one-dimensional (ih1 kh1).
// Unlike benchdnn: zero sizes and repeated fields are refused, and an output that leaves part of the input unread by less than
// a stride means padding 0 where benchdnn would compute a negative one.
//
// Canonical paddings: what no window reaches is no padding. bb_task_print writes oh and ph, never the bottom padding, and
// bb_conv_parse returns the smallest bottom padding that gives this oh; problems that mean the same print the same.

#include "bb.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "error.h"

// Bounds of what is accepted; far beyond any memory, they keep all index arithmetic of kernels inside int (positions in an
// axis: padded size plus one stride or one extent; pixels of all images) and inside ptrdiff_t (element counts, 16 lanes per
// channel included).
static const int64_t max_dimension = (int64_t)1 << 28;
static const int64_t max_elements = PTRDIFF_MAX / 16 < ((int64_t)1 << 40) ? PTRDIFF_MAX / 16 : (int64_t)1 << 40;

static const char *const op_names[] = {"conv", "pool", "eltwise", "scale", "copy", "softmax", "resize"};
static const char *const act_names[] = {"identity", "relu", "relu6", "leaky_relu",   "tanh",
                                        "sigmoid",  "silu", "mish",  "hard_sigmoid", "hard_swish"};
static const char *const alg_names[] = {"auto", "direct", "wino23", "wino43", "wino63"};
static const char *const accuracy_names[] = {"default", "strict", "fast"};
_Static_assert(BB_COUNT(op_names) == BB_OP_COUNT, "a name per operation");
_Static_assert(BB_COUNT(act_names) == BB_ACT_COUNT, "a name per activation");
_Static_assert(BB_COUNT(alg_names) == BB_ALG_COUNT, "a name per algorithm");
_Static_assert(BB_COUNT(accuracy_names) == BB_ACCURACY_COUNT, "a name per accuracy");

const char *bb_op_name(bb_op op) { return (unsigned)op < BB_OP_COUNT ? op_names[op] : "unknown"; }
const char *bb_act_name(bb_act act) { return (unsigned)act < BB_ACT_COUNT ? act_names[act] : "unknown"; }
const char *bb_alg_name(bb_alg alg) { return (unsigned)alg < BB_ALG_COUNT ? alg_names[alg] : "unknown"; }
const char *bb_accuracy_name(bb_accuracy a) { return (unsigned)a < BB_ACCURACY_COUNT ? accuracy_names[a] : "unknown"; }

bool bb_accuracy_admits(bb_accuracy accuracy, bb_alg alg) {
  if (alg == BB_ALG_DIRECT) return true;
  return accuracy == BB_ACCURACY_FAST || (accuracy == BB_ACCURACY_DEFAULT && alg != BB_ALG_WINO63);
}

// ---- validation ----------------------------------------------------------------------------------------------------

static bb_status check_size(const char *name, int value, bb_error *error) {
  if (value < 1) return bb_fail(error, BB_INVALID, "%s is %d, expected at least 1", name, value);
  if (value > max_dimension)
    return bb_fail(error, BB_INVALID, "%s is %d, expected at most %lld", name, value, (long long)max_dimension);
  return BB_OK;
}

static bb_status check_count(const char *what, const int *dims, int count, bb_error *error) {
  int64_t elements = 1;
  for (int i = 0; i < count; i++) {
    if (elements > max_elements / dims[i])
      return bb_fail(error, BB_INVALID, "%s has more than %lld elements, its byte count would overflow", what,
                     (long long)max_elements);
    elements *= dims[i];
  }
  return BB_OK;
}

// N x C x H x W, channels counted in whole blocks of the widest layout.
static bb_status check_tensor(const char *what, int N, int C, int H, int W, bb_error *error) {
  const struct {
    const char *name;
    int value;
  } sizes[] = {{"images N", N}, {"channels", C}, {"height", H}, {"width", W}};
  for (size_t i = 0; i < BB_COUNT(sizes); i++) {
    char name[64];
    snprintf(name, sizeof name, "%s of the %s", sizes[i].name, what);
    const bb_status status = check_size(name, sizes[i].value, error);
    if (status) return status;
  }
  const bb_status status = check_count(what, (int[]){N, bb_round_up(C, BB_MAX_BLOCK), H, W}, 4, error);
  if (status || (int64_t)N * H <= INT32_MAX / W) return status;
  return bb_fail(error, BB_INVALID, "%s has more than %d pixels in all images", what, INT32_MAX);
}

// One axis of a sliding window. Names as in the text form, so that the sentence points into the string that was typed.
typedef struct axis {
  char letter;  // h or w
  int64_t in, window, out, stride, pad_low, pad_high, dil;
} axis;

static int64_t extent(const axis *a) { return (a->window - 1) * a->dil + 1; }

// All but the output size. low and high name the paddings.
static bb_status check_window(const axis *a, bb_error *error) {
  const char l = a->letter;
  const struct {
    const char *name;
    int64_t value, least;
  } fields[] = {{"i", a->in, 1},  {"k", a->window, 1},  {"o", a->out, 1},         {"s", a->stride, 1},
                {"d", a->dil, 1}, {"p", a->pad_low, 0}, {"far p", a->pad_high, 0}};
  for (size_t i = 0; i < BB_COUNT(fields); i++) {
    if (fields[i].value < fields[i].least)
      return bb_fail(error, BB_INVALID, "%s%c is %lld, expected at least %lld", fields[i].name, l, (long long)fields[i].value,
                     (long long)fields[i].least);
    if (fields[i].value > max_dimension)
      return bb_fail(error, BB_INVALID, "%s%c is %lld, expected at most %lld", fields[i].name, l, (long long)fields[i].value,
                     (long long)max_dimension);
  }
  const int64_t e = extent(a), padded = a->in + a->pad_low + a->pad_high;
  if (e > padded)
    return bb_fail(error, BB_INVALID, "k%c%lld spans %lld, more than the padded input i%c%lld + %lld + %lld", l,
                   (long long)a->window, (long long)e, l, (long long)a->in, (long long)a->pad_low, (long long)a->pad_high);
  if (padded > max_dimension)
    return bb_fail(error, BB_INVALID, "the padded input i%c is %lld, expected at most %lld", l, (long long)padded,
                   (long long)max_dimension);
  if (a->pad_low >= e || a->pad_high >= e)
    return bb_fail(error, BB_INVALID, "padding %lld of axis %c is not less than the %lld that k%c%lld spans",
                   (long long)(a->pad_low >= e ? a->pad_low : a->pad_high), l, (long long)e, l, (long long)a->window);
  return BB_OK;
}

static bb_status check_axis(const axis *a, bb_error *error) {
  const bb_status status = check_window(a, error);
  if (status) return status;
  const int64_t out = (a->in + a->pad_low + a->pad_high - extent(a)) / a->stride + 1;
  if (a->out != out)
    return bb_fail(error, BB_INVALID, "o%c is %lld, but i%c%lld k%c%lld s%c%lld with paddings %lld and %lld gives %lld",
                   a->letter, (long long)a->out, a->letter, (long long)a->in, a->letter, (long long)a->window, a->letter,
                   (long long)a->stride, (long long)a->pad_low, (long long)a->pad_high, (long long)out);
  return BB_OK;
}

static bb_status check_conv(const bb_conv *c, bb_error *error) {
  bb_status status;
  if ((status = check_size("groups g", c->G, error)) || (status = check_size("images mb", c->N, error)) ||
      (status = check_size("input channels ic", c->C, error)) || (status = check_size("output channels oc", c->K, error)))
    return status;
  const axis h = {'h', c->H, c->R, c->P, c->stride_h, c->pad_t, c->pad_b, c->dil_h};
  const axis w = {'w', c->W, c->S, c->Q, c->stride_w, c->pad_l, c->pad_r, c->dil_w};
  if ((status = check_axis(&h, error)) || (status = check_axis(&w, error))) return status;
  if (c->C % c->G != 0) return bb_fail(error, BB_INVALID, "ic%d is not divisible by g%d", c->C, c->G);
  if (c->K % c->G != 0) return bb_fail(error, BB_INVALID, "oc%d is not divisible by g%d", c->K, c->G);
  if ((status = check_tensor("input", c->N, c->C, c->H, c->W, error)) ||
      (status = check_tensor("output", c->N, c->K, c->P, c->Q, error)))
    return status;
  return check_count("the weight tensor", (int[]){c->K, c->C / c->G, c->R, c->S}, 4, error);
}

static int64_t pooled(const axis *a, bool ceil_mode) {
  const int64_t room = a->in + a->pad_low + a->pad_high - a->window;
  if (!ceil_mode) return room / a->stride + 1;
  const int64_t out = (room + a->stride - 1) / a->stride + 1;
  return (out - 1) * a->stride >= a->in + a->pad_low ? out - 1 : out;
}

static bb_status check_pool(const bb_pooling *p, bb_error *error) {
  bb_status status;
  if ((unsigned)p->kind >= BB_POOL_KIND_COUNT) return bb_fail(error, BB_INVALID, "unknown kind of pooling %d", (int)p->kind);
  if ((status = check_tensor("input", p->N, p->C, p->H, p->W, error)) ||
      (status = check_tensor("output", p->N, p->C, p->P, p->Q, error)) || p->adaptive)
    return status;
  const axis axes[] = {{'h', p->H, p->R, p->P, p->stride_h, p->pad_t, p->pad_b, 1},
                       {'w', p->W, p->S, p->Q, p->stride_w, p->pad_l, p->pad_r, 1}};
  for (size_t i = 0; i < BB_COUNT(axes); i++) {
    if ((status = check_window(&axes[i], error))) return status;
    const int64_t out = pooled(&axes[i], p->ceil_mode);
    if (axes[i].out != out)
      return bb_fail(error, BB_INVALID, "o%c of a pooling is %lld, but the rest gives %lld", axes[i].letter,
                     (long long)axes[i].out, (long long)out);
  }
  return BB_OK;
}

static bb_status check_eltwise(const bb_eltwise *e, bb_error *error) {
  if ((unsigned)e->kind >= BB_ELTWISE_KIND_COUNT)
    return bb_fail(error, BB_INVALID, "unknown kind of element-wise operation %d", (int)e->kind);
  const bb_status status = check_tensor("input", e->N, e->C, e->H, e->W, error);
  if (status) return status;
  if (e->C2 < 1 || e->C2 > e->C)
    return bb_fail(error, BB_INVALID, "the second operand has %d channels, expected 1 to %d", e->C2, e->C);
  return BB_OK;
}

static bb_status check_resize(const bb_resize *r, bb_error *error) {
  if ((unsigned)r->kind >= BB_RESIZE_KIND_COUNT) return bb_fail(error, BB_INVALID, "unknown kind of resizing %d", (int)r->kind);
  const bb_status status = check_tensor("input", r->N, r->C, r->H, r->W, error);
  return status ? status : check_tensor("output", r->N, r->C, r->P, r->Q, error);
}

bb_status bb_problem_validate(const bb_problem *problem, bb_error *error) {
  switch (problem->op) {
    case BB_OP_CONV:
      return check_conv(&problem->conv, error);
    case BB_OP_POOL:
      return check_pool(&problem->pool, error);
    case BB_OP_ELTWISE:
      return check_eltwise(&problem->eltwise, error);
    case BB_OP_RESIZE:
      return check_resize(&problem->resize, error);
    case BB_OP_SCALE:
    case BB_OP_COPY:
    case BB_OP_SOFTMAX: {
      int x[4], y[4];
      bb_problem_shape(problem, x, y);
      return check_tensor("input", x[0], x[1], x[2], x[3], error);
    }
    case BB_OP_COUNT:
      break;
  }
  return bb_fail(error, BB_INVALID, "unknown operation %d", (int)problem->op);
}

void bb_problem_shape(const bb_problem *problem, int x[4], int y[4]) {
  int shape[2][4] = {{0}};
  switch (problem->op) {
    case BB_OP_CONV: {
      const bb_conv *c = &problem->conv;
      memcpy(shape, (int[2][4]){{c->N, c->C, c->H, c->W}, {c->N, c->K, c->P, c->Q}}, sizeof shape);
      break;
    }
    case BB_OP_POOL: {
      const bb_pooling *p = &problem->pool;
      memcpy(shape, (int[2][4]){{p->N, p->C, p->H, p->W}, {p->N, p->C, p->P, p->Q}}, sizeof shape);
      break;
    }
    case BB_OP_RESIZE: {
      const bb_resize *r = &problem->resize;
      memcpy(shape, (int[2][4]){{r->N, r->C, r->H, r->W}, {r->N, r->C, r->P, r->Q}}, sizeof shape);
      break;
    }
    case BB_OP_ELTWISE: {
      const bb_eltwise *e = &problem->eltwise;
      memcpy(shape, (int[2][4]){{e->N, e->C, e->H, e->W}, {e->N, e->C, e->H, e->W}}, sizeof shape);
      break;
    }
    case BB_OP_SCALE: {
      const bb_scale *s = &problem->scale;
      memcpy(shape, (int[2][4]){{s->N, s->C, s->H, s->W}, {s->N, s->C, s->H, s->W}}, sizeof shape);
      break;
    }
    case BB_OP_COPY: {
      const bb_copy *c = &problem->copy;
      memcpy(shape, (int[2][4]){{c->N, c->C, c->H, c->W}, {c->N, c->C, c->H, c->W}}, sizeof shape);
      break;
    }
    case BB_OP_SOFTMAX: {
      const bb_softmax *s = &problem->softmax;
      memcpy(shape, (int[2][4]){{s->N, s->C, s->H, s->W}, {s->N, s->C, s->H, s->W}}, sizeof shape);
      break;
    }
    case BB_OP_COUNT:
      break;
  }
  memcpy(x, shape[0], sizeof shape[0]);
  memcpy(y, shape[1], sizeof shape[1]);
}

// ---- tasks ---------------------------------------------------------------------------------------------------------

// stride * (count - 1), added to *floats; false on overflow. Strides of axes of one element are never used.
static bool add_span(int64_t *floats, int count, ptrdiff_t stride) {
  int64_t span;
  return !__builtin_mul_overflow((int64_t)(count - 1), (int64_t)stride, &span) &&
         !__builtin_add_overflow(*floats, span, floats);
}

static bb_status check_view(const char *name, const bb_view *v, const int shape[4], bb_error *error) {
  if (!v->map) return bb_fail(error, BB_INVALID, "view %s has no channel map", name);
  if (v->N != shape[0] || v->C != shape[1] || v->H != shape[2] || v->W != shape[3])
    return bb_fail(error, BB_INVALID, "view %s is %d x %d x %d x %d, the problem wants %d x %d x %d x %d", name, v->N, v->C,
                   v->H, v->W, shape[0], shape[1], shape[2], shape[3]);
  if (v->block != 1 && v->block != 4 && v->block != 8 && v->block != 16)
    return bb_fail(error, BB_INVALID, "view %s has blocks of %d channels, expected 1, 4, 8 or 16", name, v->block);
  if (v->map->block != v->block)
    return bb_fail(error, BB_INVALID, "view %s has blocks of %d channels, its map blocks of %d", name, v->block, v->map->block);
  if (v->map->channels != v->C)
    return bb_fail(error, BB_INVALID, "view %s has %d channels, its map %d", name, v->C, v->map->channels);

  const int blocks = v->map->blocks;
  // A tensor of one pixel may be packed, so that it can serve as a vector of factors or means (bb_io).
  const ptrdiff_t unit = v->block > 1 && (v->H > 1 || v->W > 1) ? BB_ALIGN / (ptrdiff_t)sizeof(float) : v->block;
  const struct {
    const char *name;
    int count;
    ptrdiff_t stride, unit;
  } axes[] = {{"row", v->H, v->h_stride, v->block}, {"channel", blocks, v->c_stride, unit}, {"image", v->N, v->n_stride, unit}};
  int64_t floats = (int64_t)v->W * v->block;  // what lies below the axis: elements must not overlap
  for (size_t i = 0; i < BB_COUNT(axes); i++) {
    if (axes[i].count == 1) continue;
    if (axes[i].stride < floats)
      return bb_fail(error, BB_INVALID, "%s stride %td of view %s is too small, expected at least %lld floats", axes[i].name,
                     axes[i].stride, name, (long long)floats);
    if (axes[i].stride % axes[i].unit != 0)
      return bb_fail(error, BB_INVALID, "%s stride %td of view %s is no multiple of %td floats", axes[i].name, axes[i].stride,
                     name, axes[i].unit);
    if (!add_span(&floats, axes[i].count, axes[i].stride) || floats > PTRDIFF_MAX / 16)
      return bb_fail(error, BB_INVALID, "the byte count of view %s overflows", name);
  }
  return BB_OK;
}

static bb_status check_fused(const bb_task *task, bb_error *error) {
  const bb_epilogue *e = &task->epilogue;
  const bb_prologue *p = &task->prologue;
  if ((unsigned)e->act >= BB_ACT_COUNT) return bb_fail(error, BB_INVALID, "unknown activation %d", (int)e->act);
  if ((unsigned)e->residual >= BB_RESIDUAL_COUNT) return bb_fail(error, BB_INVALID, "unknown residual %d", (int)e->residual);
  if (e->act == BB_ACT_LEAKY_RELU && !isfinite(e->alpha))
    return bb_fail(error, BB_INVALID, "the slope of leaky_relu is not a finite number");
  if (task->problem.op == BB_OP_CONV) return BB_OK;
  const char *fused = e->bias            ? "a bias"
                      : e->residual      ? "a residual"
                      : e->scale         ? "a scale"
                      : e->second        ? "a second output"
                      : e->gap           ? "global average pooling"
                      : p->dynamic_scale ? "a scale of its input"
                      : p->scale_shift   ? "batch normalisation of its input"
                      : p->relu          ? "an activation of its input"
                                         : NULL;
  if (fused)
    return bb_fail(error, BB_INVALID, "%s cannot have %s fused to it, only convolutions can", bb_op_name(task->problem.op),
                   fused);
  return BB_OK;
}

// Does the task read x2, and of what shape?
static bool second_operand(const bb_task *task, int shape[4]) {
  int x[4], y[4];
  bb_problem_shape(&task->problem, x, y);
  if (task->problem.op == BB_OP_ELTWISE) {
    const bb_eltwise *e = &task->problem.eltwise;
    memcpy(shape, (int[4]){e->N, e->C2, e->broadcast ? 1 : e->H, e->broadcast ? 1 : e->W}, 4 * sizeof *shape);
    return true;
  }
  memcpy(shape, y, 4 * sizeof *shape);
  return task->problem.op == BB_OP_CONV && task->epilogue.residual != BB_RESIDUAL_NONE;
}

bb_status bb_task_validate(const bb_task *task, bb_error *error) {
  bb_status status;
  if ((status = bb_problem_validate(&task->problem, error)) || (status = check_fused(task, error))) return status;
  int x[4], y[4], x2[4];
  bb_problem_shape(&task->problem, x, y);
  if ((status = check_view("x", &task->x, x, error)) || (status = check_view("y", &task->y, y, error))) return status;
  const bool conv = task->problem.op == BB_OP_CONV;
  if (second_operand(task, x2)) {
    if ((status = check_view("x2", &task->x2, x2, error))) return status;
    if (conv && !bb_map_equal(task->x2.map, task->y.map))
      return bb_fail(error, BB_INVALID, "the residual has another channel map than the output");
  }
  if (task->epilogue.second) {
    if ((status = check_view("y2", &task->y2, y, error))) return status;
    if (!bb_map_equal(task->y2.map, task->y.map))
      return bb_fail(error, BB_INVALID, "the second output has another channel map than the first");
  }
  return BB_OK;
}

bb_status bb_task_views(bb_task *task, int x_block, int y_block) {
  bb_status status = bb_problem_validate(&task->problem, NULL);
  if (status) return status;
  int x[4], y[4], x2[4];
  bb_problem_shape(&task->problem, x, y);
  const bool reads_second = second_operand(task, x2);
  const int x2_block = task->problem.op == BB_OP_ELTWISE ? x_block : y_block;
  const struct {
    bb_view *view;
    const int *shape;
    int block;
    bool used;
  } views[] = {{&task->x, x, x_block, true},
               {&task->y, y, y_block, true},
               {&task->x2, x2, x2_block, reads_second},
               {&task->y2, y, y_block, task->epilogue.second}};
  for (size_t i = 0; i < BB_COUNT(views); i++) {
    *views[i].view = (bb_view){0};
    if (!views[i].used) continue;
    if (views[i].block != 1 && views[i].block != 4 && views[i].block != 8 && views[i].block != 16) return BB_INVALID;
    const int *s = views[i].shape;
    const bb_map *map = bb_map_identity(s[1], views[i].block);
    if (!map) return BB_NO_MEMORY;
    *views[i].view = bb_view_dense(s[0], s[1], s[2], s[3], map);
  }
  return BB_OK;
}

// ---- parsing -------------------------------------------------------------------------------------------------------

typedef enum field { G, MB, IC, IH, IW, OC, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW, FIELD_COUNT } field;

static const char field_names[][3] = {"g",  "mb", "ic", "ih", "iw", "oc", "oh", "ow",
                                      "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw"};
_Static_assert(BB_COUNT(field_names) == FIELD_COUNT, "a name per field");

typedef struct parser {
  const char *text, *at;
  bb_error *error;
} parser;

// "column 5 of "g1mbx...": ..." for the given place, without a column for NULL. Unprintable bytes are shown as '?', long
// strings are cut.
static bb_status complain(const parser *p, const char *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bb_status complain(const parser *p, const char *at, const char *format, ...) {
  if (!p->error) return BB_INVALID;
  char shown[64], what[160];
  size_t n = 0;
  for (; p->text[n] && n < sizeof shown - 1; n++) shown[n] = isprint((unsigned char)p->text[n]) ? p->text[n] : '?';
  if (p->text[n]) memset(shown + n - 3, '.', 3);
  shown[n] = 0;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  if (!at) return bb_fail(p->error, BB_INVALID, "\"%s\": %s", shown, what);
  return bb_fail(p->error, BB_INVALID, "column %td of \"%s\": %s", at - p->text + 1, shown, what);
}

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static bool prefix(const char *text, const char *word) { return strncmp(text, word, strlen(word)) == 0; }

static bb_status parse_number(parser *p, const char *name, int least, int *value) {
  const char *start = p->at;
  if (*start == '-' && digit(start[1])) return complain(p, start, "%s must be at least %d", name, least);
  if (!digit(*start)) return complain(p, start, "expected a number after %s", name);
  int64_t v = 0;
  for (; digit(*p->at); p->at++) {
    v = v * 10 + (*p->at - '0');
    if (v > max_dimension) return complain(p, start, "%s is too large, expected at most %lld", name, (long long)max_dimension);
  }
  if (v < least) return complain(p, start, "%s must be at least %d", name, least);
  *value = (int)v;
  return BB_OK;
}

static bb_status parse_fields(parser *p, int value[FIELD_COUNT], bool given[FIELD_COUNT]) {
  for (;;) {
    while (*p->at == '_') p->at++;
    if (!*p->at || blank(*p->at) || *p->at == '+' || *p->at == 'n') return BB_OK;
    int f = 0;
    while (f < FIELD_COUNT && !prefix(p->at, field_names[f])) f++;
    if (f == FIELD_COUNT) {
      if (strchr("iokspd", *p->at) && p->at[1] == 'd')
        return complain(p, p->at, "%.2s belongs to a third dimension, expected g mb or i o k s p d with c h w", p->at);
      return complain(p, p->at, "unknown field, expected one of g mb ic ih iw oc oh ow kh kw sh sw ph pw dh dw n");
    }
    if (given[f]) return complain(p, p->at, "%s is given twice", field_names[f]);
    p->at += strlen(field_names[f]);
    const bool may_be_zero = f == PH || f == PW || f == DH || f == DW;
    const bb_status status = parse_number(p, field_names[f], may_be_zero ? 0 : 1, &value[f]);
    if (status) return status;
    given[f] = true;
  }
}

static bb_status parse_name(parser *p, char name[64], int *count) {
  const char *start = ++p->at;  // behind the n
  const bool quoted = *start == '"';
  const char *end;
  if (quoted) {
    start++;
    end = strchr(start, '"');
    if (!end) return complain(p, start - 1, "the name is not closed, expected a second \"");
    p->at = end + 1;
  } else {
    for (end = start; *end && !blank(*end);) end++;
    p->at = end;
  }
  // A count is a last "*" followed by nothing but digits.
  const char *digits = end;
  while (digits > start && digit(digits[-1])) digits--;
  if (digits < end && digits > start && digits[-1] == '*') {
    parser number = {p->text, digits, p->error};
    const bb_status status = parse_number(&number, "the count", 1, count);
    if (status) return status;
    end = digits - 1;
  }
  for (const char *c = start; c < end; c++)
    if (iscntrl((unsigned char)*c)) return complain(p, c, "control character in the name");
  if (end - start > 63) return complain(p, start, "the name is longer than 63 bytes");
  memcpy(name, start, (size_t)(end - start));
  name[end - start] = 0;
  return BB_OK;
}

// A decimal number; strtof would also take blanks, hexadecimals, infinities.
static bb_status parse_slope(parser *p, float *slope) {
  char number[48];
  size_t n = 0;
  if (*p->at == '-') number[n++] = *p->at;
  const char *c = p->at + n;
  bool digits = false;
  for (; (digit(*c) || *c == '.') && n < sizeof number - 1; c++) {
    digits |= digit(*c);
    number[n++] = *c;
  }
  if (digits && (*c == 'e' || *c == 'E') && (digit(c[1]) || ((c[1] == '-' || c[1] == '+') && digit(c[2])))) {
    for (const char *exponent = c; n < sizeof number - 1 && (c < exponent + 2 || digit(*c)); c++) number[n++] = *c;
  }
  number[n] = 0;
  char *end;
  *slope = strtof(number, &end);
  if (!digits || *end || n == sizeof number - 1) return complain(p, p->at, "expected a decimal number, as in +leaky_relu:0.1");
  if (!isfinite(*slope)) return complain(p, p->at, "the slope is too large");
  p->at = c;
  return BB_OK;
}

static bb_status parse_token(parser *p, bb_prologue *prologue, bb_epilogue *epilogue, bool *activated) {
  const char *start = p->at;
  size_t n = 0;
  while (islower((unsigned char)start[n]) || digit(start[n]) || start[n] == '_') n++;
  p->at += n;
  const struct {
    const char *name;
    bool *flag;
  } flags[] = {{"pre_scale", &prologue->dynamic_scale},
               {"pre_bn", &prologue->scale_shift},
               {"pre_relu", &prologue->relu},
               {"bias", &epilogue->bias},
               {"scale", &epilogue->scale},
               {"second", &epilogue->second},
               {"gap", &epilogue->gap}};
  for (size_t i = 0; i < BB_COUNT(flags); i++) {
    if (strlen(flags[i].name) != n || memcmp(flags[i].name, start, n) != 0) continue;
    if (*flags[i].flag) return complain(p, start, "+%s is given twice", flags[i].name);
    *flags[i].flag = true;
    return BB_OK;
  }
  const bool add = n == 3 && prefix(start, "add"), addafter = n == 8 && prefix(start, "addafter");
  if (add || addafter) {
    if (epilogue->residual) return complain(p, start, "a second residual, expected +add or +addafter once");
    epilogue->residual = add ? BB_RESIDUAL_BEFORE_ACT : BB_RESIDUAL_AFTER_ACT;
    return BB_OK;
  }
  for (int a = 0; a < BB_ACT_COUNT; a++) {
    if (strlen(act_names[a]) != n || memcmp(act_names[a], start, n) != 0) continue;
    if (*activated) return complain(p, start, "a second activation, expected one");
    *activated = true;
    epilogue->act = (bb_act)a;
    if (a != BB_ACT_LEAKY_RELU) return BB_OK;
    if (*p->at != ':') return complain(p, p->at, "expected a slope, as in +leaky_relu:0.1");
    p->at++;
    return parse_slope(p, &epilogue->alpha);
  }
  return complain(p, start, "unknown fused part, expected bias, add, addafter, an activation, scale, second, gap, pre_*");
}

// Completes an axis by benchdnn's rules (top of this file); 0 = not given, pad_low -1 = not given. The far padding becomes the
// smallest that gives the output size.
static bb_status complete_axis(const parser *p, axis *a) {
  const char l = a->letter;
  if (!a->in) return complain(p, NULL, "i%c is missing", l);
  if (!a->window) return complain(p, NULL, "k%c is missing", l);
  const int64_t e = extent(a);
  if (!a->out) {
    if (a->pad_low < 0) a->pad_low = 0;
    const int64_t room = a->in + 2 * a->pad_low - e;
    if (room < 0)
      return complain(p, NULL, "k%c%lld spans %lld, more than the padded input i%c%lld + 2*%lld", l, (long long)a->window,
                      (long long)e, l, (long long)a->in, (long long)a->pad_low);
    a->out = room / a->stride + 1;
  } else if (a->pad_low < 0) {
    a->pad_low = ((a->out - 1) * a->stride + e - a->in) / 2;
    if (a->pad_low < 0) a->pad_low = 0;
    if (a->pad_low >= e)
      return complain(p, NULL, "o%c%lld contradicts i%c%lld k%c%lld s%c%lld: expected at most %lld", l, (long long)a->out, l,
                      (long long)a->in, l, (long long)a->window, l, (long long)a->stride,
                      (long long)((a->in + e - 2) / a->stride + 1));
  }
  if (a->pad_low >= e)
    return complain(p, NULL, "p%c%lld is not less than the %lld that k%c%lld spans", l, (long long)a->pad_low, (long long)e, l,
                    (long long)a->window);
  const int64_t far = (a->out - 1) * a->stride + e - a->in - a->pad_low;
  a->pad_high = far > 0 ? far : 0;
  if (far <= -a->stride || far >= e) {
    const int64_t least = a->in + a->pad_low < e ? 1 : (a->in + a->pad_low - e) / a->stride + 1;
    const int64_t most = (a->in + a->pad_low - 1) / a->stride + 1;
    return complain(p, NULL, "o%c%lld contradicts i%c%lld k%c%lld s%c%lld p%c%lld: expected %lld to %lld", l, (long long)a->out,
                    l, (long long)a->in, l, (long long)a->window, l, (long long)a->stride, l, (long long)a->pad_low,
                    (long long)least, (long long)most);
  }
  return BB_OK;
}

static bool absent(const axis *a) {
  return !a->in && !a->window && !a->out && a->dil == 1 && a->stride == 1 && a->pad_low <= 0;
}

static bb_status parse_conv(parser *p, bb_task *task, char name[64], int *count) {
  int v[FIELD_COUNT] = {[G] = 1, [MB] = 2, [SH] = 1, [SW] = 1, [PH] = -1, [PW] = -1};
  bool given[FIELD_COUNT] = {false};
  bb_status status;
  while (blank(*p->at)) p->at++;
  if (!*p->at) return complain(p, p->at, "expected a convolution, as in g1mb1ic64ih56oc64oh56kh3ph1");
  if ((status = parse_fields(p, v, given))) return status;
  if (*p->at == 'n' && (status = parse_name(p, name, count))) return status;
  bool activated = false;
  while (blank(*p->at)) p->at++;
  while (*p->at == '+') {
    p->at++;
    if ((status = parse_token(p, &task->prologue, &task->epilogue, &activated))) return status;
  }
  while (blank(*p->at)) p->at++;
  if (*p->at) return complain(p, p->at, "unexpected characters, expected +<fused part> or the end");

  if (!given[IC]) return complain(p, NULL, "ic is missing");
  if (!given[OC]) return complain(p, NULL, "oc is missing");
  axis h = {'h', v[IH], v[KH], v[OH], v[SH], v[PH], 0, v[DH] + 1};
  axis w = {'w', v[IW], v[KW], v[OW], v[SW], v[PW], 0, v[DW] + 1};
  const bool no_h = absent(&h), no_w = absent(&w);
  if (no_h && no_w) return complain(p, NULL, "ih and kh are missing");
  if (!no_h && (status = complete_axis(p, &h))) return status;
  if (!no_w && (status = complete_axis(p, &w))) return status;
  if (no_w) {
    w = h;
    w.letter = 'w';
  }
  if (no_h) h = (axis){'h', 1, 1, 1, 1, 0, 0, 1};
  // A size that does not fit is cut to one that validation refuses.
  const int64_t derived[] = {h.out, h.pad_low, h.pad_high, w.out, w.pad_low, w.pad_high};
  for (size_t i = 0; i < BB_COUNT(derived); i++)
    if (derived[i] > max_dimension) return complain(p, NULL, "sizes or paddings above %lld follow", (long long)max_dimension);
  task->problem = (bb_problem){.op = BB_OP_CONV,
                               .conv = {.G = v[G],
                                        .N = v[MB],
                                        .C = v[IC],
                                        .H = (int)h.in,
                                        .W = (int)w.in,
                                        .K = v[OC],
                                        .P = (int)h.out,
                                        .Q = (int)w.out,
                                        .R = (int)h.window,
                                        .S = (int)w.window,
                                        .stride_h = (int)h.stride,
                                        .stride_w = (int)w.stride,
                                        .pad_t = (int)h.pad_low,
                                        .pad_b = (int)h.pad_high,
                                        .pad_l = (int)w.pad_low,
                                        .pad_r = (int)w.pad_high,
                                        .dil_h = (int)h.dil,
                                        .dil_w = (int)w.dil}};
  bb_error why;
  if (bb_problem_validate(&task->problem, &why)) return complain(p, NULL, "%s", why.text);
  return BB_OK;
}

bb_status bb_conv_parse(const char *text, bb_task *task, char name[64], int *count, bb_error *error) {
  char own_name[64] = "";
  int own_count = 1;
  parser p = {text, text, error};
  *task = (bb_task){0};
  const bb_status status = parse_conv(&p, task, own_name, &own_count);
  if (status) *task = (bb_task){0};
  if (name) memcpy(name, status ? "" : own_name, status ? 1 : sizeof own_name);
  if (count) *count = status ? 1 : own_count;
  return status;
}

// ---- printing ------------------------------------------------------------------------------------------------------

typedef struct printer {
  char *text;
  size_t size, length;
} printer;

static void put(printer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(printer *p, const char *format, ...) {
  const size_t used = p->length < p->size ? p->length : p->size;
  va_list arguments;
  va_start(arguments, format);
  const int n = vsnprintf(p->size > used ? p->text + used : NULL, p->size - used, format, arguments);
  va_end(arguments);
  p->length += n > 0 ? (size_t)n : 0;
}

static void put_conv(printer *p, const bb_conv *c) {
  const bool square = c->H == c->W && c->P == c->Q && c->R == c->S && c->stride_h == c->stride_w && c->pad_t == c->pad_l &&
                      c->dil_h == c->dil_w;
  // h and w of one letter; a height alone stands for both.
  const struct {
    char letter;
    int h, w, unless;
  } fields[] = {{'k', c->R, c->S, 0},
                {'s', c->stride_h, c->stride_w, 1},
                {'p', c->pad_t, c->pad_l, -1},
                {'d', c->dil_h - 1, c->dil_w - 1, 0}};
  put(p, "g%dmb%dic%dih%d", c->G, c->N, c->C, c->H);
  if (!square) put(p, "iw%d", c->W);
  put(p, "oc%doh%d", c->K, c->P);
  if (!square) put(p, "ow%d", c->Q);
  for (size_t i = 0; i < BB_COUNT(fields); i++) {
    if (fields[i].h == fields[i].unless && fields[i].w == fields[i].unless) continue;
    put(p, "%ch%d", fields[i].letter, fields[i].h);
    if (!square) put(p, "%cw%d", fields[i].letter, fields[i].w);
  }
}

static void put_pool(printer *p, const bb_pooling *o) {
  put(p, "%s%s_pool mb%dic%dih%diw%doh%dow%d", o->adaptive ? "adaptive_" : "", o->kind == BB_POOL_MAX ? "max" : "avg", o->N,
      o->C, o->H, o->W, o->P, o->Q);
  if (o->adaptive) return;
  put(p, "kh%dkw%dsh%dsw%dpt%dpb%dpl%dpr%d", o->R, o->S, o->stride_h, o->stride_w, o->pad_t, o->pad_b, o->pad_l, o->pad_r);
  if (o->ceil_mode) put(p, " ceil");
  if (o->kind == BB_POOL_AVG && o->count_include_pad) put(p, " include_pad");
}

static void put_problem(printer *p, const bb_problem *problem) {
  int x[4], y[4];
  bb_problem_shape(problem, x, y);
  switch (problem->op) {
    case BB_OP_CONV:
      put_conv(p, &problem->conv);
      return;
    case BB_OP_POOL:
      put_pool(p, &problem->pool);
      return;
    case BB_OP_ELTWISE:
      put(p, "%s mb%dic%dih%diw%d", problem->eltwise.kind == BB_ELTWISE_ADD ? "add" : "mul", x[0], x[1], x[2], x[3]);
      if (problem->eltwise.C2 != x[1]) put(p, " first%d", problem->eltwise.C2);
      if (problem->eltwise.broadcast) put(p, " broadcast");
      return;
    case BB_OP_RESIZE:
      put(p, "resize_%s mb%dic%dih%diw%doh%dow%d", problem->resize.kind == BB_RESIZE_NEAREST ? "nearest" : "bilinear", x[0],
          x[1], x[2], x[3], y[2], y[3]);
      return;
    case BB_OP_SCALE:
    case BB_OP_COPY:
    case BB_OP_SOFTMAX:
    case BB_OP_COUNT:
      put(p, "%s mb%dic%dih%diw%d", bb_op_name(problem->op), x[0], x[1], x[2], x[3]);
      return;
  }
}

// The shortest decimal that reads back as the same float.
static void put_float(printer *p, float x) {
  char text[32];
  for (int digits = 1; digits <= 9; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, (double)x);
    if (strtof(text, NULL) == x) break;
  }
  put(p, "%s", text);
}

int bb_task_print(const bb_task *task, char *text, size_t size) {
  printer p = {text, size, 0};
  const bb_prologue *pro = &task->prologue;
  const bb_epilogue *epi = &task->epilogue;
  if (size) *text = 0;
  put_problem(&p, &task->problem);
  // In the order in which they happen.
  const struct {
    bool on;
    const char *name;
  } parts[] = {{pro->dynamic_scale, "pre_scale"},
               {pro->scale_shift, "pre_bn"},
               {pro->relu, "pre_relu"},
               {epi->bias, "bias"},
               {epi->residual == BB_RESIDUAL_BEFORE_ACT, "add"},
               {epi->act != BB_ACT_IDENTITY, bb_act_name(epi->act)},
               {epi->scale, "scale"},
               {epi->residual == BB_RESIDUAL_AFTER_ACT, "addafter"},
               {epi->second, "second"},
               {epi->gap, "gap"}};
  bool first = true;
  for (size_t i = 0; i < BB_COUNT(parts); i++) {
    if (!parts[i].on) continue;
    put(&p, "%s+%s", first ? " " : "", parts[i].name);
    first = false;
    if (parts[i].name == act_names[BB_ACT_LEAKY_RELU]) {
      put(&p, ":");
      put_float(&p, epi->alpha);
    }
  }
  return (int)p.length;
}

// ---- counts --------------------------------------------------------------------------------------------------------

// Pairs of an output and a tap that meet a pixel, along one axis.
static double valid_taps(int in, int out, int taps, int dil, int pad, int stride) {
  double sum = 0;
  for (int r = 0; r < taps; r++)
    sum += bb_max(0, bb_end_valid(r, dil, pad, stride, in, out) - bb_first_valid(r, dil, pad, stride));
  return sum;
}

double bb_conv_flops_valid(const bb_conv *c) {
  return 2.0 * c->N * c->K * (c->C / c->G) * valid_taps(c->H, c->P, c->R, c->dil_h, c->pad_t, c->stride_h) *
         valid_taps(c->W, c->Q, c->S, c->dil_w, c->pad_l, c->stride_w);
}

double bb_conv_flops(const bb_conv *c) {
  return 2.0 * c->N * c->K * (c->C / c->G) * ((double)c->P * c->R) * ((double)c->Q * c->S);
}

double bb_error_bound_direct(const bb_task *task, const bb_config *config) {
  (void)config;
  double terms = 1;
  if (task->problem.op == BB_OP_CONV) {
    const bb_conv *c = &task->problem.conv;
    terms = (double)(c->C / c->G) * c->R * c->S + (task->epilogue.bias ? 1 : 0);
  } else if (task->problem.op == BB_OP_POOL && task->problem.pool.kind == BB_POOL_AVG) {
    const bb_pooling *p = &task->problem.pool;
    terms = p->adaptive ? ((double)p->H / p->P + 2) * ((double)p->W / p->Q + 2) : (double)p->R * p->S;
  }
  const double kappa = 0.5, unit = 0x1p-24;
  return kappa * unit * sqrt(terms * (1 + 1.0 / 8));
}
