// SPDX-License-Identifier: Apache-2.0
//
// Every kernel of the registry that can run here against the reference: one named test per (kernel, case), the name being
// <kernel>/<problem>, made from cases.def, from the kernel's own blocks and from the tails suite.
//
// Each test: integer data at zero tolerance, buffers flush against the page behind; then normal data within the bounds, buffers
// flush against the page in front, with 1, 2 and 7 threads to the same bits. Candidates of the kernel take turns; all of them
// are tried on what is not of the tails suite.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <getopt.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/tails.h"
#include "harness.h"
#include "kernels/common.h"

// ---- cases ---------------------------------------------------------------------------------------------------------

typedef enum place {
  DENSE,
  PARTS,     // channels of two tensors one after the other, each padded to whole blocks
  SHUFFLED,  // the lanes of y hold other channels than those of x, some in the middle are empty
  SLICED,    // views of something bigger
  IN_PLACE,  // the residual is y
} place;

static const char *const place_names[] = {"", "@parts", "@shuffled", "@sliced", "@in_place"};

typedef struct test_case {
  bb_task task;  // without views
  place place;
  bool no_scale, no_shift;  // BB_OP_SCALE
  bool every_fill;
  bool tail;      // candidates take turns: of the tails suite, or many of a kind
  bool winograd;  // for kernels of that algorithm only
  int p, q;       // 1 to 12: one of the residues of Winograd's tiles
  const bb_kernel *only;
} test_case;

static struct {
  test_case *at;
  size_t count, room;
} cases;

static void *more(void *old, size_t count, size_t *room, size_t size) {
  if (count < *room) return old;
  *room = *room ? 2 * *room : 1024;
  void *p = realloc(old, *room * size);
  if (!p) {
    fprintf(stderr, "test_kernels: out of memory\n");
    exit(5);
  }
  return p;
}

static void add(test_case c) {
  bb_error error;
  if (bb_problem_validate(&c.task.problem, &error)) {
    fprintf(stderr, "test_kernels: impossible case: %s\n", error.text);
    exit(2);
  }
  cases.at = more(cases.at, cases.count, &cases.room, sizeof *cases.at);
  cases.at[cases.count++] = c;
}

static bb_task parse(const char *text) {
  bb_task task;
  bb_error error;
  if (bb_conv_parse(text, &task, NULL, NULL, &error)) {
    fprintf(stderr, "cases.def: %s\n", error.text);
    exit(2);
  }
  return task;
}

// The identity, each part of epilogue and prologue alone, and what networks combine.
static void add_fused(const char *text) {
  static const char *const parts[] = {"",
                                      "+bias",
                                      "+add",
                                      "+addafter",
                                      "+scale",
                                      "+second",
                                      "+gap",
                                      "+pre_bn",
                                      "+pre_relu",
                                      "+pre_scale",
                                      "+bias+add+relu",
                                      "+bias+add+relu6",
                                      "+bias+relu+addafter",
                                      "+bias+add+silu",
                                      "+bias+mish+addafter",
                                      "+bias+sigmoid+scale",
                                      "+bias+hard_swish+second",
                                      "+bias+relu+gap",
                                      "+bias+silu+gap+second",
                                      "+bias+hard_sigmoid+scale+addafter+second+gap",
                                      "+add+leaky_relu:0.25+scale+second+gap",
                                      "+bias+leaky_relu:0.1",
                                      "+leaky_relu:-0.5",
                                      "+pre_bn+pre_relu",
                                      "+pre_scale+pre_bn+pre_relu",
                                      "+pre_scale+pre_relu+bias+relu",
                                      "+pre_scale+bias",
                                      "+pre_bn+pre_relu+bias+add+hard_swish+scale+second+gap"};
  char whole[256];
  for (size_t i = 0; i < BB_COUNT(parts); i++) {
    snprintf(whole, sizeof whole, "%s%s", text, parts[i]);
    const bb_task task = parse(whole);
    add((test_case){.task = task});
    if (task.epilogue.residual) add((test_case){.task = task, .place = IN_PLACE});
  }
  for (int act = 0; act < BB_ACT_COUNT; act++) {
    if (act == BB_ACT_IDENTITY || act == BB_ACT_LEAKY_RELU) continue;
    snprintf(whole, sizeof whole, "%s+bias+%s", text, bb_act_name((bb_act)act));
    add((test_case){.task = parse(whole)});
  }
}

static void add_placed(bb_task task) {
  for (int p = DENSE; p <= SLICED; p++) add((test_case){.task = task, .place = (place)p});
  if (task.epilogue.residual) add((test_case){.task = task, .place = IN_PLACE});
}

// Operations that are not convolutions: everywhere; with an activation where all lies dense.
static void add_other(bb_problem problem, bool no_scale, bool no_shift) {
  const bb_task task = {.problem = problem};
  for (int p = DENSE; p <= SLICED; p++)
    add((test_case){.task = task, .place = (place)p, .no_scale = no_scale, .no_shift = no_shift});
  for (int act = 1; act < BB_ACT_COUNT; act++) {
    const bb_epilogue epilogue = {.act = (bb_act)act, .alpha = act == BB_ACT_LEAKY_RELU ? 0.25f : 0};
    add((test_case){.task = {.problem = problem, .epilogue = epilogue},
                    .place = act == BB_ACT_SIGMOID || act == BB_ACT_HARD_SIGMOID ? SHUFFLED : DENSE,
                    .no_scale = no_scale,
                    .no_shift = no_shift});
  }
}

static int pooled(int in, int size, int stride, int before, int behind, bool ceil_mode) {
  const int room = in + before + behind - size;
  if (!ceil_mode) return room / stride + 1;
  const int out = bb_ceil_div(room, stride) + 1;
  return (out - 1) * stride >= in + before ? out - 1 : out;
}

static void add_pool(bb_pooling v) {
  if (!v.adaptive) {
    v.P = pooled(v.H, v.R, v.stride_h, v.pad_t, v.pad_b, v.ceil_mode);
    v.Q = pooled(v.W, v.S, v.stride_w, v.pad_l, v.pad_r, v.ceil_mode);
  }
  add_other((bb_problem){.op = BB_OP_POOL, .pool = v}, false, false);
}

static void add_listed(void) {
#define BB_CONV(text)   add((test_case){.task = parse(text)});
#define BB_FUSED(text)  add_fused(text);
#define BB_PLACED(text) add_placed(parse(text));
#define BB_FILLED(text) add((test_case){.task = parse(text), .every_fill = true});
#define BB_POOL(kind, N, C, H, W, R, S, sh, sw, pt, pb, pl, pr, ceil_mode, include) \
  add_pool((bb_pooling){BB_POOL_##kind, N, C, H, W, 0, 0, R, S, sh, sw, pt, pb, pl, pr, ceil_mode, include, false});
#define BB_ADAPTIVE(kind, N, C, H, W, P, Q) \
  add_pool((bb_pooling){BB_POOL_##kind, N, C, H, W, P, Q, .stride_h = 1, .stride_w = 1, .adaptive = true});
#define BB_ELTWISE(kind, N, C, H, W, C2, broadcast) \
  add_other((bb_problem){.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_##kind, N, C, H, W, C2, broadcast}}, false, false);
#define BB_SCALE(N, C, H, W, scale_given, shift_given) \
  add_other((bb_problem){.op = BB_OP_SCALE, .scale = {N, C, H, W}}, !scale_given, !shift_given);
#define BB_COPY(N, C, H, W)    add_other((bb_problem){.op = BB_OP_COPY, .copy = {N, C, H, W}}, false, false);
#define BB_SOFTMAX(N, C, H, W) add_other((bb_problem){.op = BB_OP_SOFTMAX, .softmax = {N, C, H, W}}, false, false);
#define BB_RESIZE(kind, N, C, H, W, P, Q) \
  add_other((bb_problem){.op = BB_OP_RESIZE, .resize = {BB_RESIZE_##kind, N, C, H, W, P, Q}}, false, false);
#include "cases.def"
}

// B-1, B, B+1 of each block of a kernel. block.k and block.c are tried as channels, and where they are fewer than the lanes of
// a block, as blocks of channels too.
static void add_edges(const bb_kernel *kernel) {
  if (kernel->op != BB_OP_CONV) return;
  static const char *const shapes[] = {
      "g%dmb1ic%dih%diw%doc%doh%dow%dkh3kw3ph1pw1", "g%dmb1ic%dih%diw%doc%doh%dow%dkh1kw1ph0pw0",
      "g%dmb2ic%dih%diw%doc%doh%dow%dkh3kw3sh2sw2ph1pw1", "g%dmb1ic%dih%diw%doc%doh%dow%dkh1kw1sh2sw2ph0pw0"};
  const int q0 = bb_max(kernel->block.q, 1), k0 = bb_max(kernel->block.k, 1), c0 = bb_max(kernel->block.c, 1);
  const int k1 = k0 < kernel->y_block ? k0 * kernel->y_block : k0, c1 = c0 < kernel->x_block ? c0 * kernel->x_block : c0;
  for (int i = 0; i < 27; i++) {
    const int q = bb_max(q0 + i % 3 - 1, 1), k = bb_max(k1 + i / 3 % 3 - 1, 1), c = bb_max(c1 + i / 9 - 1, 1);
    for (size_t s = 0; s < BB_COUNT(shapes); s++) {
      const int stride = s < 2 ? 1 : 2;
      char text[160];
      for (int kind = 0; kind < 4; kind++) {
        // dense; narrow input; depthwise; two outputs rows more than columns need
        const int C = kind == 1 ? 1 + i % 4 : kind == 2 ? k : c, G = kind == 2 ? k : 1, P = kind == 3 ? 3 : 2;
        if (kind == 3 && i % 2) continue;
        snprintf(text, sizeof text, shapes[s], G, C, P * stride, q * stride, k, P, q);
        add((test_case){.task = parse(text), .only = kernel});
      }
      // The image is the kernel: fully connected.
      if (s == 1) {
        snprintf(text, sizeof text, "mb%dic%dih2oc%dkh2", 1 + i % 3, c, k);
        add((test_case){.task = parse(text), .only = kernel});
      }
    }
  }
}

// 1x1 with channels left over: 4, 8 or 12, or fewer of their last four, beside none, one, two and three whole blocks, times
// every number of pixels that a register tile can have; flat, of several images, as a slice, of two strides. 530 channels of x
// are two blocks of sums.
static void add_1x1(void) {
  static const char *const fused[] = {"", "+bias+relu6", "+bias+add+relu", "+bias+addafter", "+pre_scale+silu"};
  char text[200];
  for (int i = 0; i < 4 * 3 * 14; i++) {
    const int pixels = 1 + i % 14, K = i / 14 % 3 * 4 + 4 - i % 4 + i / 14 / 3 * 16, C = i % 7 ? 5 + i % 32 : 530;
    snprintf(text, sizeof text, "mb%dic%dih1iw%doc%doh1ow%dkh1kw1%s", i % 5 ? 1 : 3, C, pixels, K, pixels,
             fused[i % (int)BB_COUNT(fused)]);
    add((test_case){.task = parse(text)});
    snprintf(text, sizeof text, "mb1ic%dih5iw%doc%doh%dow%dkh1kw1sh%dsw1ph0pw0%s", C, pixels, K, i % 2 ? 3 : 5, pixels,
             1 + i % 2, fused[(i + 1) % (int)BB_COUNT(fused)]);
    if (i % 3 == 0) add((test_case){.task = parse(text), .place = (place)(i % (SLICED + 1))});
  }
}

enum { RESIDUES = 12 };  // a multiple of every tile

// All pairs of what may be left of a tile below and beside, with all paddings of two sides, what is fused and where tensors lie
// taking turns. Then images of one, two and three segments of a row of tiles, and channels around the blocks of lanes and
// around the 128 that are summed in one go.
static void add_winograd(void) {
  static const char *const fused[] = {"",
                                      "+bias+relu",
                                      "+bias+add+relu",
                                      "+pre_bn+pre_relu",
                                      "+bias+silu",
                                      "+bias+gap+relu6",
                                      "+pre_scale+bias",
                                      "+bias+hard_sigmoid+second+gap",
                                      "+addafter",
                                      "+pre_bn+bias+relu+gap+scale"};
  static const int wide[] = {31, 33, 47, 49, 61, 64, 66, 67, 95, 97, 129, 133, 193};
  static const int channels[] = {15, 16, 17, 31, 33, 64, 127, 128, 129, 257};
  char text[200];
  int turn = 0;
  for (int P = 1; P <= RESIDUES; P++) {
    for (int Q = 1; Q <= RESIDUES; Q++, turn++) {
      const int top = turn % 3, bottom = bb_min(turn / 3 % 3, P + 1 - top);
      const int left = turn / 9 % 3, right = bb_min(turn / 27 % 3, Q + 1 - left);
      const int H = P + 2 - top - bottom, W = Q + 2 - left - right;
      const bool grouped = turn % 5 == 4;
      snprintf(text, sizeof text, "g%dmb%dic%dih%diw%doc%doh%dow%dkh3kw3ph%dpw%d%s", grouped ? 3 : 1, turn % 4 == 3 ? 3 : 1,
               grouped ? 36 : 19, H, W, grouped ? 48 : 21, P, Q, top, left, fused[turn % (int)BB_COUNT(fused)]);
      const int where = turn % 7 <= SLICED ? turn % 7 : DENSE;
      add((test_case){.task = parse(text), .tail = true, .winograd = true, .place = (place)where, .p = P, .q = Q});
    }
  }
  for (int i = 0; i < (int)BB_COUNT(wide); i++) {
    snprintf(text, sizeof text, "mb%dic18ih7iw%doc17oh7ow%dkh3kw3ph1pw1%s", 1 + i % 2, wide[i], wide[i],
             fused[i % (int)BB_COUNT(fused)]);
    add((test_case){.task = parse(text), .winograd = true});
  }
  for (int i = 0; i < (int)BB_COUNT(channels); i++) {
    for (int k = 0; k < 2; k++) {
      snprintf(text, sizeof text, "mb1ic%dih%doc%dkh3ph1", channels[k ? 9 - i : i], 5 + i % 3, channels[i]);
      add((test_case){.task = parse(text), .winograd = true, .place = (place)(i % (SLICED + 1))});
    }
    // Two groups, of whole blocks or not.
    snprintf(text, sizeof text, "g2mb1ic%dih6oc%dkh3ph1+bias", 2 * channels[i], 2 * channels[9 - i]);
    add((test_case){.task = parse(text), .winograd = true});
  }
}

// The same of a first layer's Winograd: the residues of its tile with one to four channels, then widths around its register
// tiles, vectors of tiles and segments of 128 pixels.
static void add_winograd_stem(const bb_kernel *kernel) {
  static const char *const fused[] = {"",
                                      "+bias+relu",
                                      "+bias+add+relu6",
                                      "+pre_bn+pre_relu",
                                      "+bias+silu",
                                      "+bias+gap+relu",
                                      "+pre_scale+bias",
                                      "+addafter",
                                      "+add",
                                      "+bias+silu+second+gap",
                                      "+pre_bn+bias+gap+scale"};
  static const int wide[] = {7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 126, 127, 128, 129, 130, 145, 161, 255, 257};
  char text[200];
  if (kernel->alg == BB_ALG_DIRECT || kernel->x_block != 1 || kernel->y_block <= 1) return;
  for (int i = 0; i < 4 * 9 * 9; i++) {
    const int C = 1 + i % 4, top = i / 4 % 3, left = i / 12 % 3, P = 1 + i / 36 % 3, Q = 1 + i / 108 % 3;
    const int H = P + 2 - top - i % 3, W = Q + 2 - left - (i + 1) % 3;
    if (H < 1 || W < 1) continue;
    snprintf(text, sizeof text, "mb%dic%dih%diw%doc%doh%dow%dkh3kw3ph%dpw%d%s", 1 + i / 7 % 2, C, H, W, 1 + 7 * i % 37, P, Q,
             top, left, fused[i % (int)BB_COUNT(fused)]);
    add((test_case){
        .task = parse(text), .only = kernel, .tail = i % 5 != 0, .place = (place)((i / 4 + i / 36) % (SLICED + 1))});
  }
  for (int i = 0; i < 2 * (int)BB_COUNT(wide); i++) {
    const int Q = wide[i / 2], P = 4 + i % 3;
    snprintf(text, sizeof text, "mb1ic%dih%diw%doc%doh%dow%dkh3kw3ph1pw1%s", i % 2 ? 3 : 1 + i / 2 % 4, P, Q, 17 + i, P, Q,
             fused[i % (int)BB_COUNT(fused)]);
    add((test_case){.task = parse(text), .only = kernel});
  }
}

static void add_tails(uint64_t seed) {
  static bb_conv list[BB_TAILS_SELECTED];
  if (!bb_tails_select(seed, BB_TAILS_SELECTED, list)) exit(5);
  for (int i = 0; i < BB_TAILS_SELECTED; i++)
    add((test_case){.task.problem = {.op = BB_OP_CONV, .conv = list[i]}, .tail = true});
}

// Members of the tails suite with everything else drawn too: batch, dilation, unequal strides and paddings, what is fused,
// placement. What becomes impossible is left out.
static void add_mixed(uint64_t of, size_t count) {
  bb_conv *list = malloc(count * sizeof *list);
  if (!list || !bb_tails_select(of + 1, count, list)) exit(5);
  for (size_t i = 0; i < count; i++) {
    enum { BATCH, DILATION, STRIDE, PADDING, FUSED, ACT, PRE, PLACE };
    uint64_t draw[PLACE + 1];
    for (uint64_t j = 0; j <= PLACE; j++) draw[j] = bb_ref_random(of, 1000 + i, j) >> 8;
    test_case c = {.task.problem = {.op = BB_OP_CONV, .conv = list[i]}};
    bb_conv *v = &c.task.problem.conv;
    v->N = draw[BATCH] % 4 ? 1 : 3;
    if (draw[DILATION] % 4 == 0) v->dil_h = 1 + (int)(draw[DILATION] / 4 % 3), v->dil_w = 1 + (int)(draw[DILATION] / 16 % 3);
    if (draw[STRIDE] % 4 == 0) v->stride_h = 1 + (int)(draw[STRIDE] / 4 % 3), v->stride_w = 1 + (int)(draw[STRIDE] / 16 % 3);
    const int extent_h = (v->R - 1) * v->dil_h + 1, extent_w = (v->S - 1) * v->dil_w + 1;
    if (draw[PADDING] % 2) {
      v->pad_t = (int)(draw[PADDING] / 2 % 4), v->pad_b = (int)(draw[PADDING] / 8 % 4);
      v->pad_l = (int)(draw[PADDING] / 32 % 4), v->pad_r = (int)(draw[PADDING] / 128 % 4);
    }
    v->P = (v->H + v->pad_t + v->pad_b - extent_h) / v->stride_h + 1;
    v->Q = (v->W + v->pad_l + v->pad_r - extent_w) / v->stride_w + 1;
    if (v->H + v->pad_t + v->pad_b < extent_h || v->W + v->pad_l + v->pad_r < extent_w) continue;
    bb_epilogue *e = &c.task.epilogue;
    e->bias = draw[FUSED] & 1;
    e->residual = (bb_residual)(draw[FUSED] / 2 % 5 % BB_RESIDUAL_COUNT);
    e->scale = draw[FUSED] / 16 % 4 == 0;
    e->second = draw[FUSED] / 64 % 4 == 0;
    e->gap = draw[FUSED] / 256 % 4 == 0;
    e->act = (bb_act)(draw[ACT] % BB_ACT_COUNT);
    if (e->act == BB_ACT_LEAKY_RELU) e->alpha = 0.25f;
    bb_prologue *pro = &c.task.prologue;
    if (draw[PRE] % 3 == 0) {
      pro->dynamic_scale = draw[PRE] / 4 % 2;
      pro->scale_shift = draw[PRE] / 8 % 2;
      pro->relu = draw[PRE] / 16 % 2;
    }
    c.place = (place)(draw[PLACE] % 5);
    if (c.place == IN_PLACE && !e->residual) c.place = DENSE;
    if (!bb_problem_validate(&c.task.problem, NULL)) add(c);
  }
  free(list);
}

// ---- views ---------------------------------------------------------------------------------------------------------

typedef struct placed_task {
  bb_task task;
  bb_map *map[3];  // owned: of x, y, x2
} placed_task;

static bb_map *parts_map(int C, int first, int block) {
  bb_map *map;
  const int part[2] = {first, C - first};
  assert_int_equal(bb_map_create(part, first < C ? 2 : 1, block, &map), BB_OK);
  return map;
}

// Channels in steps of 7 (or of 1 if 7 divides C) with an empty lane after every fifth.
static bb_map *shuffled_map(int C, int block) {
  const int step = C % 7 ? 7 : 1, blocks = bb_ceil_div(C + C / 5, block);
  int *lane = malloc((size_t)(blocks * block) * sizeof *lane);
  bb_map *map;
  assert_non_null(lane);
  int c = 0;
  for (int i = 0; i < blocks * block; i++) lane[i] = i % 6 == 5 || c >= C ? -1 : (int)((int64_t)c++ * step % C);
  while (c < C) {  // the last ones into what is still free, from the end
    for (int i = blocks * block; i-- > 0 && c < C;) {
      if (lane[i] < 0) lane[i] = (int)((int64_t)c++ * step % C);
    }
  }
  assert_int_equal(bb_map_create_lanes(lane, blocks, block, &map), BB_OK);
  free(lane);
  return map;
}

static bb_view remap(const bb_view *v, const bb_map *map) { return bb_view_dense(v->N, v->C, v->H, v->W, map); }

// As if columns, rows and channels of somebody else lay between: `gap` units more of each stride.
static void spread(bb_view *v, int gap) {
  const ptrdiff_t unit = v->block > 1 ? BB_ALIGN / (ptrdiff_t)sizeof(float) : 1;
  v->h_stride += (v->block > 1 ? v->block : 3) * gap;
  v->c_stride = (v->H * v->h_stride + unit - 1) / unit * unit + 3 * gap * unit;
  v->n_stride = v->map->blocks * v->c_stride + gap * unit;
}

static void place_task(const test_case *c, int x_block, int y_block, placed_task *p) {
  *p = (placed_task){.task = c->task};
  bb_task *t = &p->task;
  assert_int_equal(bb_task_views(t, x_block, y_block), BB_OK);
  const bool eltwise = t->problem.op == BB_OP_ELTWISE;
  // A second operand of fewer channels is the first part.
  const int C2 = eltwise ? t->problem.eltwise.C2 : 0, first = C2 && C2 < t->x.C ? C2 : (t->x.C + 1) / 2;
  if (c->place == PARTS) {
    p->map[0] = parts_map(t->x.C, first, x_block);
    p->map[1] = parts_map(t->y.C, t->y.C == t->x.C ? first : (t->y.C + 2) / 3, y_block);
    if (eltwise) p->map[2] = parts_map(C2, C2 < t->x.C ? C2 : first, x_block);
  } else if (c->place == SHUFFLED) {
    // Only a convolution shuffles the input too; elsewhere y gets another map than x.
    if (t->problem.op == BB_OP_CONV) p->map[0] = shuffled_map(t->x.C, x_block);
    p->map[1] = shuffled_map(t->y.C, y_block);
  }
  if (p->map[0]) t->x = remap(&t->x, p->map[0]);
  if (p->map[1]) {
    t->y = remap(&t->y, p->map[1]);
    if (t->epilogue.second) t->y2 = remap(&t->y2, p->map[1]);
    if (t->epilogue.residual) t->x2 = remap(&t->x2, p->map[1]);
  }
  if (p->map[2]) t->x2 = remap(&t->x2, p->map[2]);
  if (c->place == SLICED) {
    spread(&t->x, 1);
    spread(&t->y, 2);
    if (t->x2.map) spread(&t->x2, 3);
    if (t->y2.map) spread(&t->y2, 1);
  }
  bb_error error;
  if (bb_task_validate(t, &error)) fail_msg("%s", error.text);
}

static void unplace_task(placed_task *p) {
  for (size_t i = 0; i < BB_COUNT(p->map); i++) bb_map_destroy(p->map[i]);
}

// ---- data ----------------------------------------------------------------------------------------------------------

static uint64_t seed;

// The reference's answer is the same for every kernel, and kernels are the inner loop.
static const bb_ref_data *data_of(const test_case *c, bb_fill fill) {
  static const test_case *of;
  static bb_ref_data *kept[BB_FILL_COUNT];
  if (of != c) {
    for (int i = 0; i < BB_FILL_COUNT; i++) {
      bb_ref_data_destroy(kept[i]);
      kept[i] = NULL;
    }
    of = c;
  }
  if (!kept[fill]) {
    const bb_ref_options options = {.fill = fill, .seed = seed, .no_scale = c->no_scale, .no_shift = c->no_shift};
    assert_int_equal(bb_ref_data_create(&c->task.problem, &c->task.prologue, &c->task.epilogue, &options, &kept[fill]), BB_OK);
  }
  return kept[fill];
}

// ---- tests ---------------------------------------------------------------------------------------------------------

typedef struct pair {
  const test_case *c;
  const bb_kernel *kernel;
  int x_block, y_block;
  size_t index;  // of the case
} pair;

static int print_config(char *text, size_t size, const bb_config *g) {
  return snprintf(text, size, "q%d k%d c%d rows%d kt%d tile%d ahead%d", g->q, g->k, g->c, g->rows, g->kt, g->tile, g->ahead);
}

static void report(const pair *p, const bb_task *task, const bb_config *config, bb_fill fill, int threads, const char *what) {
  char problem[256], knobs[96];
  bb_task_print(task, problem, sizeof problem);
  print_config(knobs, sizeof knobs, config);
  fail_msg("%s: %s%s: seed %llu, %s data, %d threads, config %s: %s", p->kernel->name, problem, place_names[p->c->place],
           (unsigned long long)seed, bb_fill_name(fill), threads, knobs, what);
}

static bb_verify *prepare(const pair *p, const bb_task *task, bb_fill fill, const bb_verify_memory *memory) {
  const bb_verify_options options = {.residual_in_place = p->c->place == IN_PLACE,
                                     .margin = p->c->place == SLICED ? 64 : 0,
                                     .memory = memory,
                                     .data = data_of(p->c, fill)};
  bb_verify *v;
  bb_error error;
  if (bb_verify_create(task, &options, &v, &error)) fail_msg("%s", error.text);
  return v;
}

static void survive(const pair *p, const bb_task *task, const bb_config *config, bb_fill fill, int threads, bb_flush flush,
                    int signal) {
  if (!signal) return;
  char text[128];
  snprintf(text, sizeof text, "died of signal %d (%s) with buffers flush %s", signal, strsignal(signal),
           flush == BB_FLUSH_BEFORE ? "against the page in front" : "against the page behind");
  report(p, task, config, fill, threads, text);
}

static void run(const pair *p, const bb_task *task, bb_verify *v, const bb_config *config, bb_fill fill, int threads,
                bb_flush flush) {
  bb_verify_reset(v);
  const int signal = bb_run_kernel(p->kernel, task, config, &v->weights, &v->io, threads, flush);
  survive(p, task, config, fill, threads, flush, signal);
}

static void check(const pair *p, const bb_task *task, bb_verify *v, const bb_config *config, bb_fill fill, int threads) {
  bb_verify_result result;
  assert_int_equal(bb_verify_check(v, p->kernel->alg, bb_claimed_bound(p->kernel, task, config), &result), BB_OK);
  if (!result.ok) report(p, task, config, fill, threads, result.text);
}

static void test_fill(const pair *p, const bb_task *task, const bb_config *config, bb_fill fill, int threads, bb_flush flush) {
  bb_verify *v = prepare(p, task, fill, flush == BB_FLUSH_BEFORE ? &bb_guard_before : &bb_guard_after);
  run(p, task, v, config, fill, threads, flush);
  check(p, task, v, config, fill, threads);
  bb_verify_destroy(v);
}

static float *snapshot(const bb_verify_buffer *b) {
  if (!b->memory) return NULL;
  float *copy = malloc(b->floats * sizeof *copy);
  assert_non_null(copy);
  return memcpy(copy, b->memory, b->floats * sizeof *copy);
}

static void same(const pair *p, const bb_task *task, const bb_config *config, const bb_verify_buffer *b, float *copy,
                 int threads, const char *what) {
  for (size_t i = 0; copy && i < b->floats; i++) {
    if (!memcmp(&copy[i], &b->memory[i], sizeof *copy)) continue;
    char text[128];
    snprintf(text, sizeof text, "%s: float %zu is %.9g, with one thread it was %.9g", what, i, (double)b->memory[i],
             (double)copy[i]);
    report(p, task, config, BB_FILL_NORMAL, threads, text);
  }
  if (threads == 7) free(copy);
}

// Normal data, and the same bits for every number of threads.
static void test_threads(const pair *p, const bb_task *task, const bb_config *config) {
  bb_verify *v = prepare(p, task, BB_FILL_NORMAL, &bb_guard_before);
  float *packed, *y = NULL, *y2 = NULL, *gap = NULL;
  int signal = bb_pack_kernel(p->kernel, task, config, &v->weights, BB_FLUSH_BEFORE, &packed);
  survive(p, task, config, BB_FILL_NORMAL, 1, BB_FLUSH_BEFORE, signal);
  for (int threads = 1; threads <= 7; threads += threads == 1 ? 1 : 5) {
    bb_verify_reset(v);
    signal = bb_run_packed(p->kernel, task, config, packed, &v->io, threads, BB_FLUSH_BEFORE);
    survive(p, task, config, BB_FILL_NORMAL, threads, BB_FLUSH_BEFORE, signal);
    if (threads == 1) {
      y = snapshot(&v->y), y2 = snapshot(&v->y2), gap = snapshot(&v->gap);
      check(p, task, v, config, BB_FILL_NORMAL, 1);
    } else {
      same(p, task, config, &v->y, y, threads, "y");
      same(p, task, config, &v->y2, y2, threads, "y2");
      same(p, task, config, &v->gap, gap, threads, "gap");
    }
  }
  bb_guard_put(packed);
  bb_verify_destroy(v);
}

static void test_pair(void **state) {
  const pair *p = *state;
  bb_guard_put_all();
  placed_task placed;
  place_task(p->c, p->x_block, p->y_block, &placed);
  const bb_task *task = &placed.task;
  bb_config configs[2 * BB_MAX_CONFIGS];
  const int count = bb_all_configs(p->kernel, task, 1, configs);

  test_fill(p, task, &configs[0], BB_FILL_INT, 1, BB_FLUSH_AFTER);
  test_threads(p, task, &configs[p->index % (size_t)count]);
  for (int i = 1; i < count && !p->c->tail; i++) test_fill(p, task, &configs[i], BB_FILL_INT, 2, BB_FLUSH_AFTER);
  for (int f = 0; f < BB_FILL_COUNT && p->c->every_fill; f++)
    test_fill(p, task, &configs[f % count], (bb_fill)f, 1, f % 2 ? BB_FLUSH_BEFORE : BB_FLUSH_AFTER);
  unplace_task(&placed);
}

// ---- plans on real threads -----------------------------------------------------------------------------------------

// What a user gets: the kernel that a plan chooses under a cap, on real pools.
typedef struct planned {
  const test_case *c;
  bb_isa isa;
  int x_block, y_block;
  const bb_kernel *kernel;  // NULL: the plan chooses
} planned;

static bb_pool *pool_of(int threads) {
  static bb_pool *pools[8];
  // Spins shortly: there may be fewer processors than threads.
  const bb_pool_options options = {.threads = threads, .spin_us = 20};
  if (threads > 1 && !pools[threads]) assert_int_equal(bb_pool_create(&options, &pools[threads], NULL), BB_OK);
  return pools[threads];
}

static void test_plan(void **state) {
  const planned *t = *state;
  pair p = {t->c, NULL, t->x_block, t->y_block, 0};
  placed_task placed;
  place_task(t->c, t->x_block, t->y_block, &placed);
  const bb_task *task = &placed.task;
  float *y = NULL, *y2 = NULL, *gap = NULL;
  bb_verify *v = prepare(&p, task, BB_FILL_NORMAL, NULL);
  bb_plan *plan;
  bb_exec *exec;
  bb_error error;
  // Made for two threads, it runs on any number.
  const bb_plan_options options = {.isa = t->isa, .threads = 2, .kernel = t->kernel};
  if (bb_plan_create(task, &v->weights, &options, &plan, &error)) fail_msg("%s", error.text);
  assert_int_equal(bb_exec_create((const bb_plan *const[]){plan}, 1, 7, &exec), BB_OK);
  p.kernel = bb_plan_kernel(plan);
  for (int threads = 1; threads <= 7; threads += threads == 1 ? 1 : 5) {
    bb_verify_reset(v);
    bb_plan_run(plan, exec, pool_of(threads), &v->io);
    if (threads == 1) {
      y = snapshot(&v->y), y2 = snapshot(&v->y2), gap = snapshot(&v->gap);
      check(&p, task, v, bb_plan_config(plan), BB_FILL_NORMAL, threads);
    } else {
      same(&p, task, bb_plan_config(plan), &v->y, y, threads, "y");
      same(&p, task, bb_plan_config(plan), &v->y2, y2, threads, "y2");
      same(&p, task, bb_plan_config(plan), &v->gap, gap, threads, "gap");
    }
  }
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
  bb_verify_destroy(v);
  unplace_task(&placed);
}

// ---- full product of the tails suite -------------------------------------------------------------------------------

// One test per kernel and slice of the product.
typedef struct slice {
  const bb_kernel *kernel;
  size_t first, last;
} slice;

static void test_slice(void **state) {
  const slice *s = *state;
  bb_guard_put_all();
  for (size_t i = s->first; i < s->last; i++) {
    test_case c = {.task.problem.op = BB_OP_CONV, .tail = true};
    if (!bb_tails_at(i, &c.task.problem.conv)) continue;
    pair p = {&c, s->kernel, s->kernel->x_block, s->kernel->y_block, i};
    placed_task placed;
    place_task(&c, p.x_block, p.y_block, &placed);
    if (bb_kernel_accepts(s->kernel, &placed.task)) {
      bb_config configs[2 * BB_MAX_CONFIGS];
      const int count = bb_all_configs(s->kernel, &placed.task, 1, configs);
      bb_ref_data *data;
      const bb_ref_options options = {.fill = BB_FILL_INT, .seed = seed + i};
      assert_int_equal(bb_ref_data_create(&c.task.problem, NULL, NULL, &options, &data), BB_OK);
      const bool after = i % 2;
      const bb_verify_options how = {.memory = after ? &bb_guard_after : &bb_guard_before, .data = data};
      bb_verify *v;
      assert_int_equal(bb_verify_create(&placed.task, &how, &v, NULL), BB_OK);
      const bb_config *config = &configs[i / 2 % (size_t)count];
      run(&p, &placed.task, v, config, BB_FILL_INT, 1 + (int)(i % 3), after ? BB_FLUSH_AFTER : BB_FLUSH_BEFORE);
      check(&p, &placed.task, v, config, BB_FILL_INT, 1 + (int)(i % 3));
      bb_verify_destroy(v);
      bb_ref_data_destroy(data);
    }
    unplace_task(&placed);
  }
}

// ---- list ----------------------------------------------------------------------------------------------------------

static struct {
  struct CMUnitTest *at;
  size_t count, room;
} tests;

static regex_t filter;
static bool filtered;

static bool wanted(const char *name) { return !filtered || !regexec(&filter, name, 0, NULL, 0); }

static void add_test(const char *name, CMUnitTestFunction function, const void *state, size_t size) {
  char *copy = strdup(name);
  void *kept = malloc(size);
  if (!copy || !kept) exit(5);
  memcpy(kept, state, size);
  tests.at = more(tests.at, tests.count, &tests.room, sizeof *tests.at);
  tests.at[tests.count++] = (struct CMUnitTest){.name = copy, .test_func = function, .initial_state = kept};
}

static void add_pair(size_t index, const bb_kernel *kernel, int x_block, int y_block) {
  const test_case *c = &cases.at[index];
  char problem[256], name[400], blocks[32] = "";
  placed_task placed;
  place_task(c, x_block, y_block, &placed);
  if (bb_kernel_accepts(kernel, &placed.task)) {
    bb_task_print(&c->task, problem, sizeof problem);
    if (!kernel->x_block || !kernel->y_block) snprintf(blocks, sizeof blocks, "@%dto%d", x_block, y_block);
    snprintf(name, sizeof name, "%s/%s%s%s%s%s", kernel->name, problem, c->no_scale ? "@no_scale" : "",
             c->no_shift ? "@no_shift" : "", place_names[c->place], blocks);
    if (wanted(name)) add_test(name, test_pair, &(pair){c, kernel, x_block, y_block, index}, sizeof(pair));
  }
  unplace_task(&placed);
}

static bool runs(const bb_kernel *kernel) { return bb_isa_runs(kernel->isa) && bb_isa_within(kernel->isa, bb_isa_best()); }

static bool full;

// One of `of` parts of whatever is listed, from 0.
typedef struct share {
  size_t index, of;
} share;

// Every part has every pair of residues of a kernel's tile: of the (RESIDUES / m)^2 cases of a pair one, or a share; all parts
// together have all.
static bool takes_residue(share mine, const test_case *c, const bb_kernel *kernel) {
  const size_t m = kernel->alg == BB_ALG_WINO23 ? 2 : kernel->alg == BB_ALG_WINO43 ? 4 : 6, repeats = RESIDUES / m;
  const size_t p = (size_t)c->p - 1, q = (size_t)c->q - 1, shares = mine.of < repeats * repeats ? mine.of : repeats * repeats;
  return (p / m * repeats + q / m + p % m * m + q % m) % shares == mine.index % shares;
}

// The Winograd kernels of an ISA, one body for three tiles in two modes, take turns on the tails suite, and on everything but
// residues where only a part of the cases is asked for; with --full they do not.
static bool takes(share mine, const bb_kernel *kernel, size_t k, size_t i) {
  const test_case *c = &cases.at[i];
  if (c->only && c->only != kernel) return false;
  if (c->winograd && kernel->alg == BB_ALG_DIRECT) return false;
  if (c->p) return takes_residue(mine, c, kernel);
  if (i % mine.of != mine.index) return false;
  const bool every = full || c->only || (mine.of == 1 && (!c->tail || c->winograd));
  return every || kernel->alg == BB_ALG_DIRECT || (i / mine.of + k) % 3 == 0;
}

static void list_pairs(share mine) {
  static const int blocks[] = {1, 4, 8, 16};
  for (size_t i = 0; i < cases.count; i++) {
    for (size_t k = 0; k < bb_kernel_count(); k++) {
      const bb_kernel *kernel = bb_kernel_at(k);
      if (!runs(kernel) || kernel->op != cases.at[i].task.problem.op || !takes(mine, kernel, k, i)) continue;
      // A block of 0 means any.
      for (size_t x = 0; x < (kernel->x_block ? 1 : BB_COUNT(blocks)); x++) {
        for (size_t y = 0; y < (kernel->y_block ? 1 : BB_COUNT(blocks)); y++)
          add_pair(i, kernel, kernel->x_block ? kernel->x_block : blocks[x], kernel->y_block ? kernel->y_block : blocks[y]);
      }
    }
  }
}

static void add_planned(const test_case *c, bb_isa isa, int x_block, int y_block) {
  placed_task placed;
  place_task(c, x_block, y_block, &placed);
  const bb_plan_options options = {.isa = isa, .threads = 2};
  if (bb_kernel_choose(&placed.task, &options, NULL)) {
    char problem[256], name[400];
    bb_task_print(&c->task, problem, sizeof problem);
    snprintf(name, sizeof name, "plan_%s/%s%s%s%s@%dto%d", bb_isa_name(isa), problem, c->no_scale ? "@no_scale" : "",
             c->no_shift ? "@no_shift" : "", place_names[c->place], x_block, y_block);
    if (wanted(name)) add_test(name, test_plan, &(planned){c, isa, x_block, y_block, NULL}, sizeof(planned));
  }
  unplace_task(&placed);
}

// Every Winograd kernel, whether it would be chosen or not, on problems that have tiles, segments and blocks of channels for
// seven threads. Every part has all kernels.
static void list_planned_winograd(share mine) {
  static const char *const problems[] = {"mb1ic35ih26oc40kh3ph1+bias+add+relu",
                                         "mb3ic20ih13oc70kh3ph1+pre_bn+pre_relu+bias+gap", "g2mb1ic280ih14oc36kh3ph1+bias+silu",
                                         "mb1ic19ih9iw99oc17oh9ow99kh3kw3ph1pw1+second"};
  static test_case kept[BB_COUNT(problems)];
  const size_t shares = mine.of < BB_COUNT(problems) ? mine.of : BB_COUNT(problems);
  for (size_t i = 0; i < BB_COUNT(problems); i++) {
    kept[i] = (test_case){.task = parse(problems[i])};
    for (size_t k = 0; k < bb_kernel_count(); k++) {
      const bb_kernel *kernel = bb_kernel_at(k);
      if (kernel->op != BB_OP_CONV || kernel->alg == BB_ALG_DIRECT || !runs(kernel) || (i + k) % shares != mine.index % shares)
        continue;
      placed_task placed;
      place_task(&kept[i], kernel->x_block, kernel->y_block, &placed);
      char name[400];
      snprintf(name, sizeof name, "plan_of_%s/%s", kernel->name, problems[i]);
      if (wanted(name) && bb_kernel_accepts(kernel, &placed.task))
        add_test(name, test_plan, &(planned){&kept[i], kernel->isa, kernel->x_block, kernel->y_block, kernel}, sizeof(planned));
      unplace_task(&placed);
    }
  }
}

static void list_planned(share mine) {
  for (size_t i = mine.index; i < cases.count; i += mine.of) {
    if (cases.at[i].tail || cases.at[i].winograd || cases.at[i].only) continue;
    for (int isa = 0; isa < BB_ISA_COUNT; isa++) {
      if (!bb_isa_runs((bb_isa)isa) || !bb_isa_within((bb_isa)isa, bb_isa_best())) continue;
      const int block = bb_isa_block((bb_isa)isa);
      add_planned(&cases.at[i], (bb_isa)isa, block, block);
      if (block > 1) add_planned(&cases.at[i], (bb_isa)isa, 1, block);  // first layers, and into the layout
    }
  }
}

static void list_slices(share mine) {
  enum { SLICES = 60 };
  for (size_t i = mine.index; i < SLICES; i += mine.of) {
    for (size_t k = 0; k < bb_kernel_count(); k++) {
      const bb_kernel *kernel = bb_kernel_at(k);
      if (!runs(kernel) || kernel->op != BB_OP_CONV) continue;
      const slice s = {kernel, (size_t)BB_TAILS_PRODUCT * i / SLICES, (size_t)BB_TAILS_PRODUCT * (i + 1) / SLICES};
      char name[160];
      snprintf(name, sizeof name, "%s/tails %zu to %zu", kernel->name, s.first, s.last);
      if (wanted(name)) add_test(name, test_slice, &s, sizeof s);
    }
  }
}

static const char usage[] =
    "usage: test_kernels [options]\n"
    "  --full          all of the tails suite, not a selection of 3,000; ten times the drawn cases [if BB_TEST_FULL is set]\n"
    "  --filter REGEX  only tests whose name, <kernel>/<problem>, matches (POSIX extended)\n"
    "  --seed N        of data and selection [BB_SEED, or 1]\n"
    "  --part I/N      the I-th of N parts of the cases; in each all kernels and all residues of their tiles [BB_TEST_PART, or "
    "1/1]\n"
    "  --list          names only\n";

int main(int argc, char **argv) {
  static const struct option options[] = {{"full", no_argument, NULL, 'a'},
                                          {"filter", required_argument, NULL, 'f'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"part", required_argument, NULL, 'p'},
                                          {"list", no_argument, NULL, 'l'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  bool list = false;
  size_t shard = 1, shards = 1;
  seed = bb_test_seed();
  full = getenv("BB_TEST_FULL") != NULL;
  const char *part = getenv("BB_TEST_PART");
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    bool good = true;
    switch (o) {
      case 'a':
        full = true;
        break;
      case 'f':
        good = filtered = !regcomp(&filter, optarg, REG_EXTENDED | REG_NOSUB);
        break;
      case 's':
        seed = strtoull(optarg, NULL, 0);
        break;
      case 'p':
        part = optarg;
        break;
      case 'l':
        list = true;
        break;
      default:
        good = false;
    }
    if (!good) {
      fputs(usage, o == 'h' ? stdout : stderr);
      return o == 'h' ? 0 : 2;
    }
  }
  if (part && (sscanf(part, "%zu/%zu", &shard, &shards) != 2 || shard < 1 || shard > shards)) {
    fprintf(stderr, "test_kernels: part %s, expected I/N with 1 <= I <= N\n", part);
    return 2;
  }
  add_listed();
  for (size_t k = 0; k < bb_kernel_count(); k++) {
    if (!runs(bb_kernel_at(k))) continue;
    add_edges(bb_kernel_at(k));
    add_winograd_stem(bb_kernel_at(k));
  }
  add_1x1();
  add_winograd();
  add_tails(seed);
  add_mixed(seed, full ? 20000 : 2000);
  const share mine = {shard - 1, shards};
  list_pairs(mine);
  list_planned(mine);
  list_planned_winograd(mine);
  if (full) list_slices(mine);
  if (list) {
    for (size_t i = 0; i < tests.count; i++) puts(tests.at[i].name);
    return 0;
  }
  fprintf(stderr, "test_kernels: %zu tests, ISA %s, seed %llu\n", tests.count, bb_isa_name(bb_isa_best()),
          (unsigned long long)seed);
  return _cmocka_run_group_tests("kernels", tests.at, tests.count, NULL, NULL) ? 1 : 0;
}
