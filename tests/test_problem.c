// SPDX-License-Identifier: Apache-2.0
//
// Problems: text form there and back, refusals, validation, counts. BB_SEED repeats a random run.

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bb.h"
#include "kernels/common.h"

// splitmix64 (Steele, Lea, Flood 2014)
static uint64_t random_state;

static uint64_t random_bits(void) {
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static int random_int(int least, int most) { return least + (int)(random_bits() % (uint64_t)(most - least + 1)); }

static int seed_group(void **state) {
  (void)state;
  const char *seed = getenv("BB_SEED");
  random_state = seed ? strtoull(seed, NULL, 0) : 1;
  print_message("BB_SEED=%" PRIu64 "\n", random_state);
  return 0;
}

static bb_task parsed(const char *text) {
  bb_task task;
  bb_error error = {"nothing said"};
  if (bb_conv_parse(text, &task, NULL, NULL, &error)) fail_msg("%s: %s", text, error.text);
  return task;
}

static void assert_conv_equal(const bb_conv *a, const bb_conv *b) { assert_memory_equal(a, b, sizeof *a); }

static void assert_fused_equal(const bb_task *a, const bb_task *b) {
  assert_int_equal(a->prologue.dynamic_scale, b->prologue.dynamic_scale);
  assert_int_equal(a->prologue.scale_shift, b->prologue.scale_shift);
  assert_int_equal(a->prologue.relu, b->prologue.relu);
  assert_int_equal(a->epilogue.bias, b->epilogue.bias);
  assert_int_equal(a->epilogue.act, b->epilogue.act);
  assert_memory_equal(&a->epilogue.alpha, &b->epilogue.alpha, sizeof(float));
  assert_int_equal(a->epilogue.residual, b->epilogue.residual);
  assert_int_equal(a->epilogue.scale, b->epilogue.scale);
  assert_int_equal(a->epilogue.second, b->epilogue.second);
  assert_int_equal(a->epilogue.gap, b->epilogue.gap);
}

// ---- the text form -------------------------------------------------------------------------------------------------

static void benchdnn_lines_mean_what_they_mean_there(void **state) {
  (void)state;
  const struct {
    const char *text;
    bb_conv conv;  // G N C H W K P Q R S stride_h stride_w pad_t pad_b pad_l pad_r dil_h dil_w
  } cases[] = {
      {"g1mb1ic64ih56oc64oh56kh3ph1", {1, 1, 64, 56, 56, 64, 56, 56, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
      // no mb: 2; separators; AlexNet's first layer from benchdnn's own documentation
      {"ic3ih227iw227_oc96oh55ow55_kh11kw11_sh4sw4ph0pw0_n\"alexnet:conv1\"",
       {1, 2, 3, 227, 227, 96, 55, 55, 11, 11, 4, 4, 0, 0, 0, 0, 1, 1}},
      // no oh: computed; no ph: 0
      {"mb1ic8ih9oc8kh3", {1, 1, 8, 9, 9, 8, 7, 7, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1}},
      // oh without ph: the padding that gives it
      {"mb1ic8ih9oc8oh9kh3", {1, 1, 8, 9, 9, 8, 9, 9, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}},
      // a window that stops short of the bottom needs no padding there
      {"mb1ic3ih224oc64oh112kh7sh2ph3", {1, 1, 3, 224, 224, 64, 112, 112, 7, 7, 2, 2, 3, 2, 3, 2, 1, 1}},
      // oh and ph: the bottom follows (TensorFlow's "same" for stride 2)
      {"mb1ic3ih224oc32oh112kh3sh2ph0", {1, 1, 3, 224, 224, 32, 112, 112, 3, 3, 2, 2, 0, 1, 0, 1, 1, 1}},
      // dilation counts gaps
      {"mb1ic512ih28oc512oh28kh3ph2dh1", {1, 1, 512, 28, 28, 512, 28, 28, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2}},
      // a width once given is wholly given
      {"mb1ic128ih17iw17oc128kh1kw7ph0pw3", {1, 1, 128, 17, 17, 128, 17, 17, 1, 7, 1, 1, 0, 0, 3, 3, 1, 1}},
      {"mb1ic8ih9iw9oc8kh3kw3sh2ph1", {1, 1, 8, 9, 9, 8, 5, 7, 3, 3, 2, 1, 1, 1, 0, 0, 1, 1}},
      // widths that say nothing are as good as not given
      {"mb1ic8ih9oc8kh3sh2ph1sw1pw0dw0", {1, 1, 8, 9, 9, 8, 5, 5, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1}},
      // no height: one dimension
      {"mb1ic8iw32oc8kw5pw2", {1, 1, 8, 1, 32, 8, 1, 32, 1, 5, 1, 1, 0, 0, 2, 2, 1, 1}},
      {"g8mb3ic8ih5oc16kh5", {8, 3, 8, 5, 5, 16, 1, 1, 5, 5, 1, 1, 0, 0, 0, 0, 1, 1}},
      // part of the input is never read
      {"mb1ic3ih230oc96oh55kh11sh4", {1, 1, 3, 230, 230, 96, 55, 55, 11, 11, 4, 4, 0, 0, 0, 0, 1, 1}},
      {" \t oc8kh1ih4ic8mb1 \n", {1, 1, 8, 4, 4, 8, 4, 4, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1}},
  };
  for (size_t i = 0; i < BB_COUNT(cases); i++) {
    const bb_task task = parsed(cases[i].text);
    assert_int_equal(task.problem.op, BB_OP_CONV);
    assert_conv_equal(&task.problem.conv, &cases[i].conv);
  }
}

static void names_and_counts(void **state) {
  (void)state;
  const struct {
    const char *text, *name;
    int count;
  } cases[] = {
      {"ic8ih4oc8kh1", "", 1},
      {"ic8ih4oc8kh1n\"resnet50.layer1.0.conv2*3\" +bias+add+relu", "resnet50.layer1.0.conv2", 3},
      {"ic8ih4oc8kh1n\"a b*c\"", "a b*c", 1},
      {"ic8ih4oc8kh1n\"x*y*12\"", "x*y", 12},
      {"ic8ih4oc8kh1n\"*2\"", "", 2},
      {"ic8ih4oc8kh1nvgg:conv1*2 +relu", "vgg:conv1", 2},
      {"ic8ih4oc8kh1n\"012345678901234567890123456789012345678901234567890123456789012\"",
       "012345678901234567890123456789012345678901234567890123456789012", 1},
  };
  for (size_t i = 0; i < BB_COUNT(cases); i++) {
    bb_task task;
    char name[64];
    int count;
    assert_int_equal(bb_conv_parse(cases[i].text, &task, name, &count, NULL), BB_OK);
    assert_string_equal(name, cases[i].name);
    assert_int_equal(count, cases[i].count);
  }
}

static void canonical_text(void **state) {
  (void)state;
  const char *const cases[][2] = {
      {"g1mb1ic64ih56oc64oh56kh3ph1n\"resnet50.layer1.0.conv2*3\" +bias+add+relu",
       "g1mb1ic64ih56oc64oh56kh3ph1 +bias+add+relu"},
      {"ic3ih224oc64kh7sh2ph3", "g1mb2ic3ih224oc64oh112kh7sh2ph3"},
      {"mb1ic128ih17iw17oc128kh1kw7ph0pw3", "g1mb1ic128ih17iw17oc128oh17ow17kh1kw7ph0pw3"},
      {"mb1ic8ih28oc8kh3ph2dh1", "g1mb1ic8ih28oc8oh28kh3ph2dh1"},
      {"mb1ic8ih4oc8kh1+gap+second+addafter+scale+silu+bias+pre_relu+pre_bn+pre_scale",
       "g1mb1ic8ih4oc8oh4kh1ph0 +pre_scale+pre_bn+pre_relu+bias+silu+scale+addafter+second+gap"},
      {"mb1ic8ih4oc8kh1 +leaky_relu:0.10", "g1mb1ic8ih4oc8oh4kh1ph0 +leaky_relu:0.1"},
      {"mb1ic8ih4oc8kh1 +leaky_relu:-2.5E-3", "g1mb1ic8ih4oc8oh4kh1ph0 +leaky_relu:-0.0025"},
      {"mb1ic8ih4oc8kh1 +leaky_relu:1e+20+gap", "g1mb1ic8ih4oc8oh4kh1ph0 +leaky_relu:1e+20+gap"},
      {"mb1ic8ih4oc8kh1 +identity", "g1mb1ic8ih4oc8oh4kh1ph0"},
  };
  for (size_t i = 0; i < BB_COUNT(cases); i++) {
    const bb_task task = parsed(cases[i][0]);
    char text[256];
    const int length = bb_task_print(&task, text, sizeof text);
    assert_string_equal(text, cases[i][1]);
    assert_int_equal(length, strlen(text));
  }
}

static void printing_cuts_as_snprintf_does(void **state) {
  (void)state;
  const bb_task task = parsed("mb1ic8ih4oc8kh1 +bias+leaky_relu:0.1+gap");
  char whole[128];
  const int length = bb_task_print(&task, whole, sizeof whole);
  assert_int_equal(bb_task_print(&task, NULL, 0), length);
  for (int size = 1; size < length + 3; size++) {
    char *text = malloc((size_t)size);
    assert_int_equal(bb_task_print(&task, text, (size_t)size), length);
    assert_int_equal(strlen(text), bb_min(size - 1, length));
    assert_memory_equal(text, whole, (size_t)bb_min(size - 1, length));
    free(text);
  }
}

// An axis with random, consistent fields.
static void random_axis(int *in, int *window, int *out, int *stride, int *low, int *high, int *dil) {
  *window = random_int(1, 7);
  *dil = random_int(1, 3);
  *stride = random_int(1, 5);
  const int extent = (*window - 1) * *dil + 1;
  *low = random_int(0, extent - 1);
  *high = random_int(0, extent - 1);
  *in = random_int(bb_max(1, extent - *low - *high), random_int(0, 3) ? 40 : 3000);
  *out = (*in + *low + *high - extent) / *stride + 1;
}

static bb_task random_task(void) {
  bb_task task = {.problem.op = BB_OP_CONV};
  bb_conv *c = &task.problem.conv;
  c->G = random_int(0, 2) ? 1 : random_int(1, 32);
  c->N = random_int(1, 9);
  c->C = c->G * random_int(1, 70);
  c->K = c->G * random_int(1, 70);
  random_axis(&c->H, &c->R, &c->P, &c->stride_h, &c->pad_t, &c->pad_b, &c->dil_h);
  if (random_int(0, 1))
    random_axis(&c->W, &c->S, &c->Q, &c->stride_w, &c->pad_l, &c->pad_r, &c->dil_w);
  else
    c->W = c->H, c->S = c->R, c->Q = c->P, c->stride_w = c->stride_h, c->pad_l = c->pad_t, c->pad_r = c->pad_b,
    c->dil_w = c->dil_h;
  task.prologue = (bb_prologue){random_int(0, 3) == 0, random_int(0, 3) == 0, random_int(0, 3) == 0};
  task.epilogue = (bb_epilogue){.bias = random_int(0, 1),
                                .act = (bb_act)random_int(0, BB_ACT_COUNT - 1),
                                .residual = (bb_residual)random_int(0, BB_RESIDUAL_COUNT - 1),
                                .scale = random_int(0, 3) == 0,
                                .second = random_int(0, 3) == 0,
                                .gap = random_int(0, 3) == 0};
  if (task.epilogue.act == BB_ACT_LEAKY_RELU) {
    do {
      const uint32_t bits = (uint32_t)random_bits();
      memcpy(&task.epilogue.alpha, &bits, sizeof bits);
    } while (!isfinite(task.epilogue.alpha));
  }
  return task;
}

// Padding that no window reaches.
static int spare(int in, int window, int out, int stride, int low, int high, int dil) {
  const int reached = (out - 1) * stride + (window - 1) * dil + 1 - low - in;
  return high - bb_max(reached, 0);
}

static void text_round_trips(void **state) {
  (void)state;
  for (int i = 0; i < 50000; i++) {
    bb_task task = random_task(), back;
    bb_conv *c = &task.problem.conv;
    bb_error error = {""};
    char text[256], again[256];
    if (bb_task_print(&task, text, sizeof text) >= (int)sizeof text) fail_msg("longer than 255: %s", text);
    if (bb_problem_validate(&task.problem, &error)) fail_msg("%s: %s", text, error.text);
    if (bb_conv_parse(text, &back, NULL, NULL, &error)) fail_msg("%s: %s", text, error.text);
    c->pad_b -= spare(c->H, c->R, c->P, c->stride_h, c->pad_t, c->pad_b, c->dil_h);
    c->pad_r -= spare(c->W, c->S, c->Q, c->stride_w, c->pad_l, c->pad_r, c->dil_w);
    assert_int_equal(bb_problem_validate(&task.problem, NULL), BB_OK);
    assert_conv_equal(&back.problem.conv, c);
    assert_fused_equal(&back, &task);
    bb_task_print(&back, again, sizeof again);
    assert_string_equal(again, text);
  }
}

// ---- refusals ------------------------------------------------------------------------------------------------------

static void every_mistake_has_its_sentence(void **state) {
  (void)state;
  const char *const cases[][2] = {
      {"", "column 1 of \"\": expected a convolution"},
      {"   ", "column 4"},
      {"ic", "column 3 of \"ic\": expected a number after ic"},
      {"icx", "column 3 of \"icx\": expected a number after ic"},
      {"ic0ih4oc8kh1", "column 3 of \"ic0ih4oc8kh1\": ic must be at least 1"},
      {"mb0ic8ih4oc8kh1", "mb must be at least 1"},
      {"g0ic8ih4oc8kh1", "g must be at least 1"},
      {"ic8ih0oc8kh1", "column 6 of \"ic8ih0oc8kh1\": ih must be at least 1"},
      {"ic8ih4oh0oc8kh1", "oh must be at least 1"},
      {"ic8ih4oc8kh0", "kh must be at least 1"},
      {"ic8ih4oc8kh1sh0", "sh must be at least 1"},
      {"ic-8ih4oc8kh1", "column 3 of \"ic-8ih4oc8kh1\": ic must be at least 1"},
      {"ic8ih4oc8kh1ph-1", "ph must be at least 0"},
      {"ic+8ih4oc8kh1", "expected a number after ic"},
      {"ic8ih4oc8", "kh is missing"},
      {"ic8kh1oc8", "ih is missing"},
      {"ic8oc8", "ih and kh are missing"},
      {"ih4oc8kh1", "ic is missing"},
      {"ic8ih4kh1", "oc is missing"},
      {"ic8ih4iw4oc8kh1", "kw is missing"},
      {"ic8ih4oc8kh1pw1", "iw is missing"},
      {"ic8ic8ih4oc8kh1", "column 4 of \"ic8ic8ih4oc8kh1\": ic is given twice"},
      {"ic8ih4oc8kh1x3", "column 13 of \"ic8ih4oc8kh1x3\": unknown field"},
      {"ic8id4oc8kd1", "id belongs to a third dimension"},
      {"ic8ih4oc8kh5", "kh5 spans 5, more than the padded input ih4 + 2*0"},
      {"ic8ih4oc8kh3dh3", "kh3 spans 9"},
      {"ic8ih4oc8kh3ph3", "ph3 is not less than the 3 that kh3 spans"},
      {"g3ic8ih4oc9kh1", "ic8 is not divisible by g3"},
      {"g3ic9ih4oc8kh1", "oc8 is not divisible by g3"},
      {"ic8ih4oc8oh5kh1ph0", "oh5 contradicts ih4 kh1 sh1 ph0: expected 4 to 4"},
      {"ic8ih4oc8oh5kh1", "oh5 contradicts ih4 kh1 sh1 ph0: expected 4 to 4"},
      {"ic8ih4oc8oh50kh3", "oh50 contradicts ih4 kh3 sh1: expected at most 6"},
      {"ic8ih56oc8oh30kh3ph1", "oh30 contradicts ih56 kh3 sh1 ph1: expected 55 to 57"},
      {"ic8ih56iw56oc8oh56ow99kh3kw3ph1pw1", "ow99 contradicts iw56 kw3 sw1 pw1: expected 55 to 57"},
      {"ic8ih99999999999999999999oc8kh1", "ih is too large, expected at most 268435456"},
      {"ic8ih268435457oc8kh1", "ih is too large"},
      {"mb65535ic16ih400oc16kh3ph1", "more than 2147483647 pixels in all images"},
      {"mb268435456ic8ih268435456oc8kh1", "byte count would overflow"},
      {"ic268435456ih1oc268435456kh1", "the weight tensor has more than 1099511627776 elements"},
      {"ic8ih1oc8kh268435456dh268435455", "spans"},
      {"ic8ih1oh268435456oc8kh2sh268435456ph0", "contradicts"},
      {"ic8ih4oc8kh1n\"open", "column 14 of \"ic8ih4oc8kh1n\"open\": the name is not closed"},
      {"ic8ih4oc8kh1n\"a*0\"", "the count must be at least 1"},
      {"ic8ih4oc8kh1n\"a*99999999999\"", "the count is too large"},
      {"ic8ih4oc8kh1n\"0123456789012345678901234567890123456789012345678901234567890123\"", "longer than 63 bytes"},
      {"ic8ih4oc8kh1n\"a\x01\"", "control character in the name"},
      {"ic8ih4oc8kh1n\"a\"kw1", "unexpected characters"},
      {"ic8ih4oc8kh1 relu", "column 14 of \"ic8ih4oc8kh1 relu\": unexpected characters"},
      {"ic8ih4oc8kh1 +", "column 15 of \"ic8ih4oc8kh1 +\": unknown fused part"},
      {"ic8ih4oc8kh1 +relux", "unknown fused part"},
      {"ic8ih4oc8kh1 +Relu", "unknown fused part"},
      {"ic8ih4oc8kh1 +bias +relu", "unexpected characters"},
      {"ic8ih4oc8kh1 +bias+bias", "+bias is given twice"},
      {"ic8ih4oc8kh1 +relu+tanh", "column 20 of \"ic8ih4oc8kh1 +relu+tanh\": a second activation"},
      {"ic8ih4oc8kh1 +identity+relu", "a second activation"},
      {"ic8ih4oc8kh1 +add+addafter", "a second residual"},
      {"ic8ih4oc8kh1 +leaky_relu", "expected a slope"},
      {"ic8ih4oc8kh1 +leaky_relu:", "expected a decimal number"},
      {"ic8ih4oc8kh1 +leaky_relu:nan", "expected a decimal number"},
      {"ic8ih4oc8kh1 +leaky_relu:0x1", "unexpected characters"},
      {"ic8ih4oc8kh1 +leaky_relu:1.2.3", "expected a decimal number"},
      {"ic8ih4oc8kh1 +leaky_relu:1e999", "the slope is too large"},
      {"ic8ih4oc8kh1 +relu:0.1", "unexpected characters"},
  };
  for (size_t i = 0; i < BB_COUNT(cases); i++) {
    bb_task task;
    bb_error error = {""};
    char name[64] = "x";
    int count = 7;
    const bb_status status = bb_conv_parse(cases[i][0], &task, name, &count, &error);
    if (status != BB_INVALID) fail_msg("\"%s\" was accepted", cases[i][0]);
    if (!strstr(error.text, cases[i][1]))
      fail_msg("\"%s\": said \"%s\", expected \"%s\"", cases[i][0], error.text, cases[i][1]);
    if (strchr(error.text, '\n')) fail_msg("more than one line: %s", error.text);
    assert_string_equal(name, "");
    assert_int_equal(count, 1);
    assert_int_equal(task.problem.conv.C, 0);
    assert_int_equal(bb_conv_parse(cases[i][0], &task, NULL, NULL, NULL), BB_INVALID);
  }
}

// Whatever is typed: a valid task or one sentence, never anything else.
static void random_strings_do_no_harm(void **state) {
  (void)state;
  static const char *const pieces[] = {
      "ic",  "ih",   "kh",    "oh",    "n\"",   "*3\"", "+bias", "+leaky_relu:", "268435456", "-1",
      "0",   "1e38", "_",     " ",     "\xff",  "g",    "9",     "dh268435455",  "sh",        "id",
      "ph2", "iw7",  "kw268", "+relu", "+gap+", "mb",   "+",     "00000000000",  "n",         "\""};
  int valid = 0;
  for (int i = 0; i < 100000; i++) {
    char text[512];
    bb_task task = random_task();
    size_t length = (size_t)bb_task_print(&task, text, 256);
    for (int changes = random_int(1, 4); changes > 0; changes--) {
      const size_t at = (size_t)random_int(0, (int)length);
      switch (random_int(0, 3)) {
        case 0:  // overwrite
          if (at < length) text[at] = (char)random_int(1, 255);
          break;
        case 1:  // delete
          if (at < length) memmove(text + at, text + at + 1, length-- - at);
          break;
        case 2:  // cut
          if (random_int(0, 3) == 0) text[length = at] = 0;
          break;
        default: {  // insert
          const char *piece = pieces[random_int(0, (int)BB_COUNT(pieces) - 1)];
          const size_t n = strlen(piece);
          memmove(text + at + n, text + at, length - at + 1);
          memcpy(text + at, piece, n);
          length += n;
        }
      }
    }
    char *exact = malloc(length + 1);  // so that a byte read behind the end is seen
    memcpy(exact, text, length + 1);
    bb_error error = {""};
    bb_task back;
    const bb_status status = bb_conv_parse(exact, &back, NULL, NULL, &error);
    if (status == BB_OK) {
      valid++;
      assert_int_equal(bb_problem_validate(&back.problem, NULL), BB_OK);
    } else {
      assert_int_equal(status, BB_INVALID);
      assert_true(strlen(error.text) > 10);
    }
    free(exact);
  }
  assert_true(valid > 100);
}

// ---- validation ----------------------------------------------------------------------------------------------------

static void a_convolution_is_valid_or_named(void **state) {
  (void)state;
  const bb_conv good = parsed("g2mb1ic8ih9oc8oh9kh3ph1").problem.conv;
  const struct {
    size_t field;
    int value;
    const char *says;
  } cases[] = {
      {offsetof(bb_conv, N), 0, "mb is 0"},
      {offsetof(bb_conv, N), -3, "mb is -3"},
      {offsetof(bb_conv, G), 0, "groups g is 0"},
      {offsetof(bb_conv, G), 3, "not divisible"},
      {offsetof(bb_conv, C), 7, "ic7 is not divisible"},
      {offsetof(bb_conv, K), 9, "oc9 is not divisible"},
      {offsetof(bb_conv, H), 8, "oh is 9"},
      {offsetof(bb_conv, W), 0, "iw is 0"},
      {offsetof(bb_conv, R), 0, "kh is 0"},
      {offsetof(bb_conv, S), 12, "kw12 spans 12"},
      {offsetof(bb_conv, P), 10, "oh is 10"},
      {offsetof(bb_conv, Q), 0, "ow is 0"},
      {offsetof(bb_conv, stride_h), 0, "sh is 0"},
      {offsetof(bb_conv, stride_w), 2, "ow is 9"},
      {offsetof(bb_conv, dil_h), 0, "dh is 0"},
      {offsetof(bb_conv, dil_w), 9, "spans"},
      {offsetof(bb_conv, pad_t), -1, "ph is -1"},
      {offsetof(bb_conv, pad_b), 3, "padding 3 of axis h"},
      {offsetof(bb_conv, pad_l), 3, "padding 3 of axis w"},
      {offsetof(bb_conv, H), INT32_MAX, "at most 268435456"},
      {offsetof(bb_conv, stride_h), INT32_MAX, "at most 268435456"},
      {offsetof(bb_conv, pad_b), INT32_MAX, "at most 268435456"},
      {offsetof(bb_conv, dil_h), INT32_MAX, "at most 268435456"},
      {offsetof(bb_conv, N), 1 << 28, NULL},
      {offsetof(bb_conv, C), 1 << 28, NULL},
  };
  bb_problem problem = {.op = BB_OP_CONV, .conv = good};
  assert_int_equal(bb_problem_validate(&problem, NULL), BB_OK);
  for (size_t i = 0; i < BB_COUNT(cases); i++) {
    bb_error error = {""};
    problem.conv = good;
    memcpy((char *)&problem.conv + cases[i].field, &cases[i].value, sizeof(int));
    const bb_status status = bb_problem_validate(&problem, &error);
    if (!cases[i].says) continue;  // large, but not too large, or refused: must not overflow
    assert_int_equal(status, BB_INVALID);
    if (!strstr(error.text, cases[i].says)) fail_msg("said \"%s\", expected \"%s\"", error.text, cases[i].says);
  }
  problem.op = BB_OP_COUNT;
  assert_int_equal(bb_problem_validate(&problem, NULL), BB_INVALID);
}

static void bottom_padding_beyond_reach_is_valid_and_prints_the_same(void **state) {
  (void)state;
  bb_task task = parsed("mb1ic3ih224oc64oh112kh7sh2ph3");
  char text[128], other[128];
  bb_task_print(&task, text, sizeof text);
  assert_int_equal(task.problem.conv.pad_b, 2);
  task.problem.conv.pad_b = 3;  // torch's Conv2d(7, stride=2, padding=3)
  assert_int_equal(bb_problem_validate(&task.problem, NULL), BB_OK);
  bb_task_print(&task, other, sizeof other);
  assert_string_equal(text, other);
  task.problem.conv.pad_b = 4;
  assert_int_equal(bb_problem_validate(&task.problem, NULL), BB_INVALID);
}

static bb_problem pool(int H, int R, int stride, int pad, bool ceil_mode, int P) {
  return (bb_problem){.op = BB_OP_POOL,
                      .pool = {.kind = BB_POOL_MAX,
                               .N = 1,
                               .C = 5,
                               .H = H,
                               .W = H,
                               .P = P,
                               .Q = P,
                               .R = R,
                               .S = R,
                               .stride_h = stride,
                               .stride_w = stride,
                               .pad_t = pad,
                               .pad_b = pad,
                               .pad_l = pad,
                               .pad_r = pad,
                               .ceil_mode = ceil_mode}};
}

static void pooling_sizes(void **state) {
  (void)state;
  // H R stride pad ceil -> P, as torch.nn.MaxPool2d has them
  const int cases[][6] = {{112, 3, 2, 1, 0, 56}, {112, 3, 2, 0, 1, 56}, {112, 3, 2, 0, 0, 55}, {13, 2, 2, 0, 1, 7},
                          {13, 2, 2, 0, 0, 6},   {4, 2, 3, 1, 1, 2},    {3, 2, 2, 1, 1, 2},    {5, 1, 3, 0, 1, 2},
                          {7, 7, 1, 0, 0, 1},    {28, 3, 1, 1, 0, 28}};
  for (size_t i = 0; i < BB_COUNT(cases); i++) {
    const int *c = cases[i];
    for (int P = 1; P < 60; P++) {
      const bb_problem p = pool(c[0], c[1], c[2], c[3], c[4], P);
      if ((bb_problem_validate(&p, NULL) == BB_OK) != (P == c[5])) fail_msg("case %zu: P = %d", i, P);
    }
  }
  bb_problem p = pool(4, 7, 1, 0, true, 1);
  assert_int_equal(bb_problem_validate(&p, NULL), BB_INVALID);
  p = pool(4, 2, 1, 2, true, 7);
  assert_int_equal(bb_problem_validate(&p, NULL), BB_INVALID);
  p.pool.adaptive = true;  // then window, strides and paddings do not count, and the output may be larger
  assert_int_equal(bb_problem_validate(&p, NULL), BB_OK);
}

static void other_operations_validate_and_print(void **state) {
  (void)state;
  const struct {
    bb_problem problem;
    bb_status status;
    const char *text;
  } cases[] = {
      {{.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_ADD, 1, 8, 4, 5, 8, false}}, BB_OK, "add mb1ic8ih4iw5"},
      {{.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_MUL, 1, 8, 4, 5, 3, true}}, BB_OK, "mul mb1ic8ih4iw5 first3 broadcast"},
      {{.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_ADD, 1, 8, 4, 5, 9, false}}, BB_INVALID, NULL},
      {{.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_ADD, 1, 8, 4, 5, 0, false}}, BB_INVALID, NULL},
      {{.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_KIND_COUNT, 1, 8, 4, 5, 8, false}}, BB_INVALID, NULL},
      {{.op = BB_OP_SCALE, .scale = {2, 8, 4, 5}}, BB_OK, "scale mb2ic8ih4iw5"},
      {{.op = BB_OP_SCALE, .scale = {2, 8, 0, 5}}, BB_INVALID, NULL},
      {{.op = BB_OP_COPY, .copy = {2, 8, 4, 5}}, BB_OK, "copy mb2ic8ih4iw5"},
      {{.op = BB_OP_COPY, .copy = {1 << 20, 1 << 20, 1, 2}}, BB_INVALID, NULL},
      {{.op = BB_OP_SOFTMAX, .softmax = {2, 1000, 1, 1}}, BB_OK, "softmax mb2ic1000ih1iw1"},
      {{.op = BB_OP_RESIZE, .resize = {BB_RESIZE_NEAREST, 1, 8, 4, 5, 8, 10}}, BB_OK, "resize_nearest mb1ic8ih4iw5oh8ow10"},
      {{.op = BB_OP_RESIZE, .resize = {BB_RESIZE_BILINEAR_ALIGN, 1, 8, 4, 5, 0, 10}}, BB_INVALID, NULL},
      {{.op = BB_OP_POOL, .pool = {.kind = BB_POOL_AVG, .N = 1, .C = 8, .H = 7, .W = 7, .P = 1, .Q = 1, .adaptive = true}},
       BB_OK,
       "adaptive_avg_pool mb1ic8ih7iw7oh1ow1"},
      {pool(13, 2, 2, 0, true, 7), BB_OK, "max_pool mb1ic5ih13iw13oh7ow7kh2kw2sh2sw2pt0pb0pl0pr0 ceil"},
  };
  for (size_t i = 0; i < BB_COUNT(cases); i++) {
    bb_error error = {""};
    assert_int_equal(bb_problem_validate(&cases[i].problem, &error), cases[i].status);
    if (cases[i].status) assert_true(strlen(error.text) > 10);
    if (cases[i].status) continue;
    char text[128];
    const bb_task task = {.problem = cases[i].problem};
    bb_task_print(&task, text, sizeof text);
    assert_string_equal(text, cases[i].text);
  }
}

// ---- tasks ---------------------------------------------------------------------------------------------------------

static void assert_task_refused(const bb_task *task, const char *says) {
  bb_error error = {""};
  assert_int_equal(bb_task_validate(task, &error), BB_INVALID);
  if (!strstr(error.text, says)) fail_msg("said \"%s\", expected \"%s\"", error.text, says);
  assert_int_equal(bb_task_validate(task, NULL), BB_INVALID);
}

static void views_of_a_task(void **state) {
  (void)state;
  const int blocks[] = {1, 4, 8, 16};
  for (size_t i = 0; i < BB_COUNT(blocks); i++) {
    bb_task good = parsed("mb2ic20ih9oc40oh9kh3ph1 +bias+add+relu+second");
    assert_int_equal(bb_task_views(&good, blocks[i], blocks[i]), BB_OK);
    assert_int_equal(bb_task_validate(&good, NULL), BB_OK);
    bb_task bad = good;
    bad.x.map = NULL;
    assert_task_refused(&bad, "view x has no channel map");
    bad = good;
    bad.y.H = 8;
    assert_task_refused(&bad, "view y is 2 x 40 x 8 x 9, the problem wants 2 x 40 x 9 x 9");
    bad = good;
    bad.x2.h_stride -= blocks[i];
    assert_task_refused(&bad, "row stride");
    bad = good;
    bad.y2.n_stride = bad.y2.c_stride;
    assert_task_refused(&bad, "image stride");
    bad = good;
    bad.x.c_stride = -bad.x.c_stride;
    assert_task_refused(&bad, "channel stride");
    bad = good;
    bad.x.n_stride = PTRDIFF_MAX / 16 * 16;
    assert_task_refused(&bad, "overflows");
    bad = good;
    bad.x.map = good.y.map;
    assert_task_refused(&bad, "its map 40");
    bad = good;
    bad.x.block = 2;
    assert_task_refused(&bad, "blocks of 2 channels");
    bad = good;
    bad.x.map = bb_map_identity(20, blocks[(i + 1) % 4]);
    assert_task_refused(&bad, "its map blocks of");
    if (blocks[i] == 1) continue;
    bad = good;
    bad.x.n_stride += 4;
    assert_task_refused(&bad, "no multiple of 16");
    bad = good;
    bad.y.h_stride += 1;
    assert_task_refused(&bad, "row stride");
    const int parts[] = {17, 23};
    bb_map *map;
    assert_int_equal(bb_map_create(parts, 2, blocks[i], &map), BB_OK);
    bad = good;
    bad.x2 = bb_view_dense(2, 40, 9, 9, map);
    assert_task_refused(&bad, "residual has another channel map");
    bad = good;
    bad.y2 = bb_view_dense(2, 40, 9, 9, map);
    assert_task_refused(&bad, "second output has another channel map");
    bad = good;
    bad.x2 = bad.y2 = bad.y = bb_view_dense(2, 40, 9, 9, map);
    assert_int_equal(bb_task_validate(&bad, NULL), BB_OK);
    bb_map_destroy(map);
  }
  bb_task task = parsed("mb2ic20ih9oc40oh9kh3ph1");
  assert_int_equal(bb_task_views(&task, 2, 16), BB_INVALID);
  task.problem.conv.P = 3;
  assert_int_equal(bb_task_views(&task, 16, 16), BB_INVALID);
}

static void second_operand_of_eltwise(void **state) {
  (void)state;
  bb_task task = {.problem = {.op = BB_OP_ELTWISE, .eltwise = {BB_ELTWISE_MUL, 2, 20, 4, 5, 7, true}}};
  assert_int_equal(bb_task_views(&task, 16, 16), BB_OK);
  assert_int_equal(task.x2.C, 7);
  assert_int_equal(task.x2.H, 1);
  assert_int_equal(bb_task_validate(&task, NULL), BB_OK);
  task.epilogue.act = BB_ACT_RELU;
  assert_int_equal(bb_task_validate(&task, NULL), BB_OK);
  task.x2.H = 4;
  assert_task_refused(&task, "view x2 is 2 x 7 x 4 x 1, the problem wants 2 x 7 x 1 x 1");
}

static void only_convolutions_fuse(void **state) {
  (void)state;
  bb_task good = {.problem = {.op = BB_OP_SCALE, .scale = {1, 8, 4, 4}}, .epilogue.act = BB_ACT_MISH};
  assert_int_equal(bb_task_views(&good, 16, 16), BB_OK);
  assert_int_equal(bb_task_validate(&good, NULL), BB_OK);
  bb_task bad = good;
  bad.epilogue.bias = true;
  assert_task_refused(&bad, "scale cannot have a bias fused");
  bad = good;
  bad.epilogue.gap = true;
  assert_task_refused(&bad, "global average pooling");
  bad = good;
  bad.prologue.relu = true;
  assert_task_refused(&bad, "an activation of its input");
  bad = good;
  bad.epilogue.act = BB_ACT_COUNT;
  assert_task_refused(&bad, "unknown activation");
  bad = good;
  bad.epilogue.act = BB_ACT_LEAKY_RELU;
  bad.epilogue.alpha = NAN;
  assert_task_refused(&bad, "slope");
}

// ---- counts --------------------------------------------------------------------------------------------------------

static void flops_are_what_loops_count(void **state) {
  (void)state;
  for (int i = 0; i < 500; i++) {
    bb_conv c = random_task().problem.conv;
    if (c.H > 40 || c.W > 40) continue;
    double valid = 0, all = 0;
    for (int p = 0; p < c.P; p++)
      for (int q = 0; q < c.Q; q++)
        for (int r = 0; r < c.R; r++)
          for (int s = 0; s < c.S; s++) {
            const int h = p * c.stride_h - c.pad_t + r * c.dil_h, w = q * c.stride_w - c.pad_l + s * c.dil_w;
            all++;
            valid += h >= 0 && h < c.H && w >= 0 && w < c.W;
          }
    const double each = 2.0 * c.N * c.K * (c.C / c.G);
    assert_true(bb_conv_flops_valid(&c) == each * valid);
    assert_true(bb_conv_flops(&c) == each * all);
  }
}

static void names_of_enumerators(void **state) {
  (void)state;
  assert_string_equal(bb_op_name(BB_OP_RESIZE), "resize");
  assert_string_equal(bb_act_name(BB_ACT_HARD_SWISH), "hard_swish");
  assert_string_equal(bb_alg_name(BB_ALG_WINO63), "wino63");
  assert_string_equal(bb_act_name(BB_ACT_COUNT), "unknown");
}

static void the_error_bound_is_the_stated_formula(void **state) {
  (void)state;
  const bb_task task = parsed("g2mb1ic128ih9oc8oh9kh3ph1");
  const double expected = 0.5 * 0x1p-24 * sqrt(64 * 9 * 1.125);
  assert_true(fabs(bb_error_bound_direct(&task, NULL) / expected - 1) < 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(benchdnn_lines_mean_what_they_mean_there),
      cmocka_unit_test(names_and_counts),
      cmocka_unit_test(canonical_text),
      cmocka_unit_test(printing_cuts_as_snprintf_does),
      cmocka_unit_test(text_round_trips),
      cmocka_unit_test(every_mistake_has_its_sentence),
      cmocka_unit_test(random_strings_do_no_harm),
      cmocka_unit_test(a_convolution_is_valid_or_named),
      cmocka_unit_test(bottom_padding_beyond_reach_is_valid_and_prints_the_same),
      cmocka_unit_test(pooling_sizes),
      cmocka_unit_test(other_operations_validate_and_print),
      cmocka_unit_test(views_of_a_task),
      cmocka_unit_test(second_operand_of_eltwise),
      cmocka_unit_test(only_convolutions_fuse),
      cmocka_unit_test(flops_are_what_loops_count),
      cmocka_unit_test(names_of_enumerators),
      cmocka_unit_test(the_error_bound_is_the_stated_formula),
  };
  return cmocka_run_group_tests_name("problem", tests, seed_group, NULL);
}
