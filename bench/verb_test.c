// SPDX-License-Identifier: Apache-2.0
//
// The verb test: every kernel that can run here against the reference, on integer data at zero tolerance and on real data
// within the kernel's bound.

#include "verb_test.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/common.h"
#include "args.h"
#include "conv.h"
#include "conv_work.h"
#include "model.h"
#include "tails.h"

typedef struct tester {
  const options *o;
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  bb_isa cap;  // one of isa
  bool by_name, filtered;
  regex_t name, filter;
  team team;
  size_t passed, failed, refused;  // of one kernel
  size_t all_passed, all_failed, kernels;
} tester;

// One kernel on one task with one kind of data. The views are set here.
static exit_code check(tester *t, const bb_kernel *k, const bb_task *given, bb_fill fill) {
  bb_task task = *given;
  bb_error error = {{0}};
  char text[200], name[320];
  bb_task_print(&task, text, sizeof text);
  snprintf(name, sizeof name, "%s/%s/%s", k->name, text, bb_fill_name(fill));
  if (t->filtered && regexec(&t->filter, name, 0, NULL, 0)) return EXIT_OK;
  // A kernel of any layout: from plain to the strongest level's blocks.
  const int x_block = k->x_block ? k->x_block : 1, y_block = k->y_block ? k->y_block : bb_isa_block(t->cap);
  if (bb_task_views(&task, x_block, y_block) != BB_OK) return fail(EXIT_SYSTEM, "out of memory for the views of %s", text);
  const bb_plan_options po = {.isa = t->cap, .kernel = k, .threads = t->team.threads};
  if (!bb_kernel_choose(&task, &po, NULL)) {
    t->refused++;
    return EXIT_OK;
  }
  const bb_verify_options vo = {.ref = {.fill = fill, .seed = t->o->seed}, .margin = 64};
  bb_verify *v = NULL;
  bb_plan *plan = NULL;
  bb_exec *exec = NULL;
  bb_status status = bb_verify_create(&task, &vo, &v, &error);
  if (status == BB_OK) status = bb_plan_create(&task, &v->weights, &po, &plan, &error);
  if (status == BB_OK) status = bb_exec_create((const bb_plan *const *)&plan, 1, t->team.threads, &exec);
  if (status == BB_OK) {
    const double bound = (k->error_bound ? k->error_bound : bb_error_bound_direct)(&task, bb_plan_config(plan));
    bb_verify_result result;
    bb_verify_reset(v);
    bb_plan_run(plan, exec, t->team.pool, &v->io);
    status = bb_verify_check(v, k->alg, task.problem.op == BB_OP_CONV ? bound : 0, &result);
    if (status == BB_OK && result.ok) {
      t->passed++;
      if (t->o->verbose > 1) fprintf(stderr, "ok %s\n", name);
    } else if (status == BB_OK) {
      t->failed++;
      printf("FAILED %s --seed %llu: %s\n", name, (unsigned long long)t->o->seed, result.text);
    }
  }
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
  bb_verify_destroy(v);
  return status == BB_OK ? EXIT_OK : fail_status(status, &error);
}

static exit_code check_both(tester *t, const bb_kernel *k, const bb_task *task) {
  const exit_code code = check(t, k, task, BB_FILL_INT);
  return code != EXIT_OK || t->o->exact ? code : check(t, k, task, BB_FILL_NORMAL);
}

// ---- tasks ---------------------------------------------------------------------------------------------------------

// Fused parts, in turn over the convolutions: each alone, and what networks use together.
static const struct {
  bb_prologue prologue;
  bb_epilogue epilogue;
} fused[] = {
    {.epilogue = {0}},
    {.epilogue = {.bias = true}},
    {.epilogue = {.bias = true, .act = BB_ACT_RELU}},
    {.epilogue = {0}},
    {.epilogue = {.bias = true, .residual = BB_RESIDUAL_BEFORE_ACT, .act = BB_ACT_RELU}},
    {.epilogue = {.act = BB_ACT_LEAKY_RELU, .alpha = 0.1f, .residual = BB_RESIDUAL_AFTER_ACT}},
    {.epilogue = {.bias = true, .act = BB_ACT_SILU, .scale = true}},
    {.epilogue = {.bias = true, .second = true, .act = BB_ACT_RELU6}},
    {.epilogue = {.gap = true, .act = BB_ACT_HARD_SWISH}},
    {.prologue = {.scale_shift = true, .relu = true}, .epilogue = {0}},
    {.prologue = {.dynamic_scale = true}, .epilogue = {.act = BB_ACT_SIGMOID}},
    {.epilogue = {.bias = true, .act = BB_ACT_MISH}},
    {.epilogue = {.act = BB_ACT_TANH}},
    {.epilogue = {.act = BB_ACT_HARD_SIGMOID}},
};

static exit_code test_conv(tester *t, const bb_kernel *k, const bb_conv *conv, size_t count, bool plain) {
  for (size_t i = 0; i < count; i++) {
    if (interrupted()) return EXIT_INTERRUPTED;
    bb_task task = {.problem = {.op = BB_OP_CONV, .conv = conv[i]}};
    if (!plain) {
      task.prologue = fused[i % (sizeof fused / sizeof *fused)].prologue;
      task.epilogue = fused[i % (sizeof fused / sizeof *fused)].epilogue;
    }
    const exit_code code = check_both(t, k, &task);
    if (code != EXIT_OK) return code;
  }
  return EXIT_OK;
}

// Other operations: channels around every block, maps from a pixel to a few vectors.
static const int channels[] = {1, 3, 4, 5, 8, 9, 15, 16, 17, 24, 33}, sizes[] = {1, 2, 5, 7, 14};

static exit_code test_other(tester *t, const bb_kernel *k) {
  exit_code code = EXIT_OK;
  for (size_t a = 0; a < BB_COUNT(channels) && code == EXIT_OK; a++)
    for (size_t b = 0; b < BB_COUNT(sizes) && code == EXIT_OK; b++)
      for (int variant = 0; variant < 8 && code == EXIT_OK; variant++) {
        if (interrupted()) return EXIT_INTERRUPTED;
        const int N = variant % 2 + 1, C = channels[a], H = sizes[b], W = sizes[(b + (size_t)variant) % BB_COUNT(sizes)];
        bb_task task = {.problem = {.op = k->op}};
        bb_problem *p = &task.problem;
        task.epilogue.act = variant % 3 == 2 ? BB_ACT_RELU : BB_ACT_IDENTITY;
        switch (k->op) {
          case BB_OP_POOL: {
            const int R = variant % 4 < 2 ? 3 : 2, stride = variant < 4 ? 2 : 1, pad = variant & 1;
            p->pool = (bb_pooling){.kind = variant & 2 ? BB_POOL_AVG : BB_POOL_MAX,
                                   .N = N,
                                   .C = C,
                                   .H = H,
                                   .W = W,
                                   .R = R,
                                   .S = R,
                                   .stride_h = stride,
                                   .stride_w = stride,
                                   .pad_t = pad,
                                   .pad_b = pad,
                                   .pad_l = pad,
                                   .pad_r = pad,
                                   .count_include_pad = variant & 4};
            p->pool.P = (H + 2 * pad - R) / stride + 1;
            p->pool.Q = (W + 2 * pad - R) / stride + 1;
            if (H + 2 * pad < R || W + 2 * pad < R)
              p->pool = (bb_pooling){.kind = BB_POOL_AVG,
                                     .N = N,
                                     .C = C,
                                     .H = H,
                                     .W = W,
                                     .P = 1,
                                     .Q = 1,
                                     .R = 1,
                                     .S = 1,
                                     .stride_h = 1,
                                     .stride_w = 1,
                                     .adaptive = true};
            break;
          }
          case BB_OP_ELTWISE:
            p->eltwise = (bb_eltwise){.kind = variant & 1 ? BB_ELTWISE_MUL : BB_ELTWISE_ADD,
                                      .N = N,
                                      .C = C,
                                      .H = H,
                                      .W = W,
                                      .C2 = variant & 2 ? (C + 1) / 2 : C,
                                      .broadcast = variant & 4};
            break;
          case BB_OP_SCALE:
            p->scale = (bb_scale){N, C, H, W};
            task.epilogue.act = (bb_act)(((size_t)variant + a) % BB_ACT_COUNT);
            task.epilogue.alpha = 0.1f;
            break;
          case BB_OP_COPY:
            p->copy = (bb_copy){N, C, H, W};
            task.epilogue.act = BB_ACT_IDENTITY;
            break;
          case BB_OP_SOFTMAX:
            p->softmax = (bb_softmax){N, C, H, W};
            task.epilogue.act = BB_ACT_IDENTITY;
            break;
          case BB_OP_RESIZE:
            p->resize = (bb_resize){.kind = variant & 1 ? BB_RESIZE_BILINEAR_ALIGN : BB_RESIZE_NEAREST,
                                    .N = N,
                                    .C = C,
                                    .H = H,
                                    .W = W,
                                    .P = H + variant,
                                    .Q = 2 * W};
            task.epilogue.act = BB_ACT_IDENTITY;
            break;
          default:
            return EXIT_OK;
        }
        if (bb_problem_validate(p, NULL) == BB_OK) code = check_both(t, k, &task);
      }
  return code;
}

// ---- kernels -------------------------------------------------------------------------------------------------------

static bool wanted(const tester *t, const bb_kernel *k) {
  if (!bb_isa_runs(k->isa) || !bb_isa_within(k->isa, t->cap)) return false;
  if (t->by_name && regexec(&t->name, k->name, 0, NULL, 0)) return false;
  const options *o = t->o;
  if (o->alg != BB_ALG_AUTO) return k->op == BB_OP_CONV && k->alg == o->alg;
  return o->impl || k->op != BB_OP_CONV || !args_given(o, "--accuracy") || bb_accuracy_admits(o->accuracy, k->alg);
}

static exit_code test_kernel(tester *t, const bb_kernel *k, const bb_conv *conv, size_t count, bool plain) {
  t->passed = t->failed = t->refused = 0;
  const exit_code code = k->op == BB_OP_CONV ? test_conv(t, k, conv, count, plain) : test_other(t, k);
  t->all_passed += t->passed;
  t->all_failed += t->failed;
  t->kernels++;
  if (t->passed + t->failed || t->o->verbose) {
    progress(0, 0, NULL);
    printf("%-44s %6zu passed  %s%zu failed%s", k->name, t->passed, t->failed ? "**" : "", t->failed, t->failed ? "**" : "");
    if (t->refused) printf("  %zu not its problem", t->refused);
    putchar('\n');
    fflush(stdout);
  }
  return code;
}

static exit_code tester_create(const options *o, tester *t) {
  *t = (tester){.o = o};
  exit_code code = team_check(o);
  if (code == EXIT_OK) code = isas_asked(o, t->isa, &t->isas, t->missing, &t->missings);
  if (code != EXIT_OK) return code;
  if (o->impl) t->by_name = !regcomp(&t->name, o->impl, REG_EXTENDED | REG_NOSUB);
  if (o->filter) t->filtered = !regcomp(&t->filter, o->filter, REG_EXTENDED | REG_NOSUB);
  return EXIT_OK;
}

static void tester_destroy(tester *t) {
  if (t->by_name) regfree(&t->name);
  if (t->filtered) regfree(&t->filter);
}

// Each ISA with each thread count.
static int runs(const tester *t) { return t->isas * t->o->threads.count; }

static exit_code begin_run(tester *t, int i) {
  const options *o = t->o;
  t->cap = t->isa[i / o->threads.count];
  return team_create(o, o->threads.at[i % o->threads.count], &t->team);
}

static exit_code test_kernels(tester *t, const bb_conv *conv, size_t count, bool only_conv) {
  const options *o = t->o;
  exit_code code = EXIT_OK;
  size_t total = 0, done = 0;
  for (int a = 0; a < t->isas; a++) {
    t->cap = t->isa[a];
    for (size_t i = 0; i < bb_kernel_count(); i++) total += wanted(t, bb_kernel_at(i));
  }
  for (int n = 0; n < runs(t) && code == EXIT_OK; n++) {
    code = begin_run(t, n);
    if (code != EXIT_OK) return code;
    if (t->isas > 1) printf("-- %s\n", bb_isa_name(t->cap));
    if (o->threads.count > 1) printf("-- %d threads\n", t->team.threads);
    for (size_t i = 0; i < bb_kernel_count() && code == EXIT_OK; i++) {
      const bb_kernel *k = bb_kernel_at(i);
      if (!wanted(t, k) || (only_conv && k->op != BB_OP_CONV)) continue;
      progress(done++, total * (size_t)o->threads.count, k->name);
      code = test_kernel(t, k, conv, count, only_conv);
    }
    team_destroy(&t->team);
  }
  if (code == EXIT_OK && !t->kernels)
    return fail(EXIT_USAGE, "no kernel matches --impl %s%s%s", o->impl ? o->impl : "(any)",
                o->alg != BB_ALG_AUTO ? " --alg " : "", o->alg != BB_ALG_AUTO ? bb_alg_name(o->alg) : "");
  if (code == EXIT_OK && !t->all_passed && !t->all_failed && !o->filter)
    return fail(EXIT_USAGE, "--%s: these kernels accept none of the problems", o->impl ? "impl" : "alg");
  return code;
}

// Every backbone, one inference for each ISA and thread count.
static exit_code test_models(tester *t) {
  const options *o = t->o;
  exit_code code = EXIT_OK;
  for (int n = 0; n < runs(t) && code == EXIT_OK; n++) {
    code = begin_run(t, n);
    const size_t batches = (size_t)(o->mb.count ? o->mb.count : 1), count = bb_model_count() * batches;
    for (size_t k = 0; k < count && code == EXIT_OK; k++) {
      char name[128];
      const size_t i = k / batches;
      const int mb = o->mb.count ? o->mb.at[k % batches] : 1;
      snprintf(name, sizeof name, "model/%s/%s/t%d/mb%d", bb_model_at(i)->name, bb_isa_name(t->cap), t->team.threads, mb);
      if (t->filtered && regexec(&t->filter, name, 0, NULL, 0)) continue;
      if (interrupted()) code = EXIT_INTERRUPTED;
      if (code != EXIT_OK) break;
      progress(k, count, name);
      row r;
      row_init(&r);
      code = model_test(o, bb_model_at(i), &t->team, t->cap, mb, &r);
      progress(0, 0, NULL);
      if (code == EXIT_OK && r.state == ROW_FAILED)
        printf("FAILED %s --seed %llu: %s\n", name, (unsigned long long)o->seed, r.message);
      if (code == EXIT_OK && r.state != ROW_FAILED) printf("%-44s passed  l2 error %.1e\n", name, r.err_l2);
      *(r.state == ROW_FAILED ? &t->all_failed : &t->all_passed) += code == EXIT_OK;
      fflush(stdout);
      row_free(&r);
    }
    if (t->team.pool) team_destroy(&t->team);
  }
  return code;
}

static exit_code finish(tester *t, exit_code code) {
  if (code == EXIT_OK && !t->all_passed && !t->all_failed)  // without a filter it has been refused already
    code = fail(EXIT_USAGE, "--filter %s: matches no test", t->o->filter);
  for (int i = 0; i < t->missings && code == EXIT_OK; i++)
    printf("%-44s skipped: %s\n", bb_isa_name(t->missing[i]), isa_missing);
  if (code == EXIT_OK || code == EXIT_INTERRUPTED)
    printf("%zu passed, %zu failed, seed %llu%s\n", t->all_passed, t->all_failed, (unsigned long long)t->o->seed,
           code == EXIT_OK ? "" : ", interrupted");
  if (code == EXIT_OK && t->all_failed) code = EXIT_CHECK;
  tester_destroy(t);
  return code;
}

// The whole suite in *conv; how many in *count.
static exit_code tails(const options *o, size_t selected, bb_conv **conv, size_t *count) {
  const size_t room = o->full ? BB_TAILS_PRODUCT : selected;
  *conv = malloc(room * sizeof **conv);
  *count = 0;
  if (!*conv) return fail(EXIT_SYSTEM, "out of memory for the tails suite");
  if (o->full) {
    for (size_t i = 0; i < BB_TAILS_PRODUCT; i++) *count += bb_tails_at(i, &(*conv)[*count]);
    return EXIT_OK;
  }
  *count = selected;
  return bb_tails_select(o->seed, selected, *conv) ? EXIT_OK : fail(EXIT_SYSTEM, "out of memory for the tails suite");
}

exit_code test_tails(const options *o) {
  tester t;
  bb_conv *conv = NULL;
  size_t count;
  exit_code code = tester_create(o, &t);
  if (code != EXIT_OK) return code;
  code = tails(o, BB_TAILS_SELECTED, &conv, &count);
  if (code == EXIT_OK) code = test_kernels(&t, conv, count, true);
  free(conv);
  return finish(&t, code);
}

exit_code verb_test(const options *o) {
  enum { SELECTED = 400 };
  tester t;
  bb_conv *conv = NULL;
  size_t count;
  exit_code code = o->mb.count && !o->models ? fail(EXIT_USAGE, "--mb goes with --models") : tester_create(o, &t);
  if (code != EXIT_OK) return code;
  options selected = *o;
  selected.full = false;
  code = tails(&selected, o->full ? BB_TAILS_SELECTED : SELECTED, &conv, &count);
  if (code == EXIT_OK) code = test_kernels(&t, conv, count, false);
  free(conv);
  if (code == EXIT_OK && o->models) code = test_models(&t);
  return finish(&t, code);
}
