// SPDX-License-Identifier: Apache-2.0
//
// The verb explain: every convolution kernel on one problem: does it accept, what does its model predict, what does the clock
// say with hot and with cold weights, what does it err and cost; which is chosen, and by what.

#include <cjson/cJSON.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/wisdom.h"
#include "args.h"
#include "conv.h"
#include "conv_work.h"
#include "planning.h"
#include "report.h"

// Cycles per nanosecond: a chain of dependent additions takes one cycle each on every core that this program runs on.
static double clock_ghz(void) {
  double best = 0;
  for (int i = 0; i < 5; i++) {
    enum { ROUNDS = 100000 };
    uintptr_t x = (uintptr_t)i, step = 3;
    const double start = now_ns();
    for (int r = 0; r < ROUNDS; r++) {
#define ADD  \
  x += step; \
  __asm__ volatile("" : "+r"(x), "+r"(step));
      ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
#undef ADD
    }
    const double ghz = 10.0 * ROUNDS / (now_ns() - start);
    if (ghz > best) best = ghz;
  }
  return best;
}

// A kernel that refuses, or one of its configs.
typedef struct candidate {
  const bb_kernel *kernel;
  const char *refusal;  // NULL = it accepts
  bb_task task;
  bb_config config;
  double cycles;
  bool chosen;
  row result[2];  // hot, cold
} candidate;

typedef struct explanation {
  const options *o;
  bb_isa isa;
  int threads;
  conv_case c;
  const bb_kernel *chosen;
  bb_task task;  // with the views that were chosen
  bb_config config;
  char why[400];
  candidate *list;
  size_t count, room;
} explanation;

static bb_plan_options plan_options(const explanation *e) {
  return (bb_plan_options){
      .isa = e->isa, .alg = e->o->alg, .accuracy = e->o->accuracy, .threads = e->threads, .cold = e->o->cold};
}

// The weakest class that lets an algorithm be chosen.
static const char *class_of(bb_alg alg) {
  static const bb_accuracy order[] = {BB_ACCURACY_STRICT, BB_ACCURACY_DEFAULT, BB_ACCURACY_FAST};
  size_t i = 0;
  while (!bb_accuracy_admits(order[i], alg)) i++;
  return bb_accuracy_name(order[i]);
}

// ---- which -----------------------------------------------------------------------------------------------------------

static bool named(const options *o, const bb_kernel *k) {
  regex_t re;
  if (!o->impl || regcomp(&re, o->impl, REG_EXTENDED | REG_NOSUB)) return true;
  const bool matches = !regexec(&re, k->name, 0, NULL, 0);
  regfree(&re);
  return matches;
}

static const char *refusal(const explanation *e, const bb_kernel *k, bb_task *task) {
  const options *o = e->o;
  if (!bb_isa_runs(k->isa)) return "this CPU lacks its ISA";
  if (!bb_isa_within(k->isa, e->isa)) return "beyond --isa";
  if (o->alg != BB_ALG_AUTO && k->alg != o->alg) return "not the algorithm of --alg";
  if (!named(o, k)) return "not matched by --impl";
  const bb_plan_options po = {.isa = e->isa, .kernel = k, .threads = e->threads, .cold = e->o->cold};
  if (bb_task_views(task, k->x_block, k->y_block) != BB_OK || !bb_kernel_choose(task, &po, NULL))
    return "not its kind of problem";
  return NULL;
}

static bool add(explanation *e, const candidate *c) {
  if (e->count == e->room) {
    candidate *more = realloc(e->list, (2 * e->room + 32) * sizeof *more);
    if (!more) return false;
    e->list = more;
    e->room = 2 * e->room + 32;
  }
  e->list[e->count] = *c;
  for (int cold = 0; cold < 2; cold++) row_init(&e->list[e->count].result[cold]);
  e->count++;
  return true;
}

// The configs of a kernel: the chosen one and, with -v, all; otherwise the one with the least estimate.
static bool consider(explanation *e, const bb_kernel *k) {
  candidate c = {.kernel = k, .task = e->c.task, .cycles = NAN};
  c.refusal = refusal(e, k, &c.task);
  if (c.refusal) return add(e, &c);
  bb_candidate all[BB_MAX_CONFIGS];
  const bb_plan_options po = {.isa = e->isa, .kernel = k, .threads = e->threads, .cold = e->o->cold};
  const int count = bb_plan_candidates(&c.task, &po, all, BB_MAX_CONFIGS);
  bb_config best;
  bb_kernel_choose(&c.task, &po, &best);
  if (k == e->chosen) best = e->config;
  for (int i = 0; i < count; i++) {
    const bool one = !memcmp(&all[i].config, &best, sizeof best);
    if (!one && !e->o->verbose) continue;
    c.config = all[i].config;
    c.cycles = all[i].cycles;
    c.chosen = one && k == e->chosen;
    if (!add(e, &c)) return false;
  }
  return true;
}

// ---- why -------------------------------------------------------------------------------------------------------------

// What the estimate says: the chosen one's and the next kernel's.
static void why_estimated(explanation *e, double ghz) {
  const bb_plan_options po = plan_options(e);
  bb_candidate all[256];
  int count = bb_plan_candidates(&e->task, &po, all, 256);
  if (count > 256) count = 256;
  double least = INFINITY, next = INFINITY;
  const bb_kernel *second = NULL;
  for (int i = 0; i < count; i++) {
    if (all[i].kernel == e->chosen) least = fmin(least, all[i].cycles);
    if (all[i].kernel == e->chosen || !(all[i].cycles < next)) continue;
    next = all[i].cycles;
    second = all[i].kernel;
  }
  char time[24];
  if (!e->chosen->cycles) {
    snprintf(e->why, sizeof e->why, "the first in order of preference that accepts, within the strongest ISA");
    return;
  }
  report_time(least / ghz, time);
  const int n = snprintf(e->why, sizeof e->why, "the least predicted time (%s) of %d candidates that %s%s admits", time, count,
                         e->o->alg == BB_ALG_AUTO ? "accuracy " : "--alg ",
                         e->o->alg == BB_ALG_AUTO ? bb_accuracy_name(e->o->accuracy) : bb_alg_name(e->o->alg));
  if (second)
    snprintf(e->why + n, sizeof e->why - (size_t)n, "; the next kernel, %s, is predicted to take %.2f times as long",
             second->name, next / least);
}

// Of the kernels that --impl names, whatever the accuracy, the one with the least estimate.
static void choose_named(explanation *e) {
  const bb_kernel *planned = e->chosen;
  const bb_config config = e->config;
  double least = INFINITY;
  e->chosen = NULL;
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const bb_kernel *k = bb_kernel_at(i);
    bb_task task = e->c.task;
    if (k->op != BB_OP_CONV || refusal(e, k, &task)) continue;
    bb_plan_options po = plan_options(e);
    po.kernel = k;
    bb_candidate all[BB_MAX_CONFIGS];
    const int count = bb_plan_candidates(&task, &po, all, BB_MAX_CONFIGS);
    for (int c = 0; c < count; c++) {
      if (e->chosen && !(all[c].cycles < least)) continue;
      if (all[c].cycles < least) least = all[c].cycles;
      e->chosen = k;
      e->task = task;
      e->config = all[c].config;
    }
  }
  if (e->chosen == planned && !memcmp(&e->config, &config, sizeof config)) return;
  snprintf(e->why, sizeof e->why, "the least predicted time of those that --impl names; the planner takes %s",
           planned ? planned->name : "none");
}

// Chooses, and says by what.
static exit_code choose(explanation *e, const team *t, double ghz) {
  const options *o = e->o;
  planning how;
  exit_code code = planning_open(o, false, &how);
  if (code != EXIT_OK) return code;
  bb_plan_options po = plan_options(e);
  bb_error error = {{0}};
  e->task = e->c.task;
  bool estimated = true;
  bb_status status = conv_choose(&e->task, &po, &e->chosen, &e->config, &error);
  if (status == BB_OK && e->chosen) {
    po.mode = how.mode;
    po.wisdom = how.wisdom;
    po.pool = t->pool;
    bb_lesson lesson;
    const bool task = how.wisdom && bb_wisdom_find(how.wisdom, &e->task, &po, BB_WISDOM_TASK, &lesson);
    const bool bare = how.wisdom && !task && how.mode == BB_PLAN_ESTIMATE &&
                      bb_wisdom_find(how.wisdom, &e->task, &po, BB_WISDOM_BARE, &lesson);
    status = bb_plan_choose(&e->task, &po, &e->chosen, &e->config, &error);
    const bool known = (task || bare) && status == BB_OK && !strcmp(lesson.kernel, e->chosen->name) &&
                       !memcmp(&lesson.config, &e->config, sizeof e->config);
    estimated = !known && how.mode == BB_PLAN_ESTIMATE;
    if (status == BB_OK && known)
      snprintf(e->why, sizeof e->why, "%.200s says that it was the fastest %s", o->wisdom,
               task ? "on this task" : "on this convolution with nothing fused to it");
    else if (status == BB_OK && how.mode == BB_PLAN_MEASURE)
      snprintf(e->why, sizeof e->why, "the fastest of all that might win, timed in turn with %s weights",
               o->cold ? "cold" : "hot");
    else if (status == BB_OK)
      why_estimated(e, ghz);
  }
  if (status == BB_OK && o->impl && (estimated || !e->chosen || !named(o, e->chosen))) choose_named(e);
  if (status != BB_OK) code = fail_status(status, &error);
  if (code == EXIT_OK) code = planning_save(&how);
  planning_close(&how);
  if (code == EXIT_OK && !e->chosen) snprintf(e->why, sizeof e->why, "no kernel accepts it");
  return code;
}

// ---- how fast --------------------------------------------------------------------------------------------------------

static bb_status verify(const candidate *c, conv_work *w, row *r) {
  bb_verify_result result;
  bb_verify_reset(w->verify);
  bb_plan_run(w->plan[0], w->exec, w->pool, &w->verify->io);
  r->checked = true;
  r->err_bound = conv_bound(w->plan[0]);
  const bb_status status = bb_verify_check(w->verify, c->kernel->alg, r->err_bound, &result);
  if (status != BB_OK) return status;
  r->err_l2 = result.ref.err_l2;
  r->err_max_rms = result.ref.err_max_rms;
  if (!result.ok) row_fail(r, "wrong result: %s", result.text);
  r->flops_valid = bb_conv_flops_valid(&c->task.problem.conv);
  r->flops_executed = conv_executed(w->plan[0]);
  r->packed_bytes = (double)bb_plan_packed_bytes(w->plan[0]);
  r->workspace_bytes = (double)bb_exec_bytes(w->exec);
  return BB_OK;
}

// Times, rates and errors of candidates, batch by batch in turn.
static exit_code time_together(explanation *e, const team *t, candidate *const *list, size_t count, bool cold,
                               const bb_ref_data *data) {
  conv_work *w = calloc(count, sizeof *w);
  subject *s = calloc(count, sizeof *s);
  samples *out = calloc(count, sizeof *out);
  row **r = calloc(count, sizeof *r);
  bb_status status = w && s && out && r ? BB_OK : BB_NO_MEMORY;
  bb_error error = {{0}};
  size_t n = 0;
  for (size_t i = 0; i < count && status == BB_OK; i++) {
    const candidate *c = list[i];
    const bb_plan_options po = {
        .isa = e->isa, .kernel = c->kernel, .config = &c->config, .threads = t->threads, .pool = t->pool, .cold = cold};
    status = conv_work_create(&c->task, data, &po, cold, t->pool, &w[n], &error);
    if (status != BB_OK) break;
    r[n] = &list[i]->result[cold];
    status = verify(c, &w[n], r[n]);
    s[n] = (subject){.run = conv_work_run, .context = &w[n]};
    if (status == BB_OK && r[n]->state == ROW_PENDING)
      n++;
    else
      conv_work_destroy(&w[n]);
  }
  const sampler sm = {.team = t, .probe = bb_probe_get(e->isa), .min_time = e->o->min_time / 4};
  if (status == BB_OK && n) status = sampler_run(&sm, s, n, out);
  for (size_t i = 0; i < n; i++) {
    if (status == BB_OK) status = samples_to_row(&out[i], t, false, true, r[i]);
    if (status == BB_OK) r[i]->state = ROW_DONE;
    samples_free(&out[i]);
  }
  for (size_t i = 0; i < n; i++) conv_work_destroy(&w[i]);
  free(w), free(s), free(out), free(r);
  return status == BB_OK ? EXIT_OK : fail_status(status, &error);
}

// All candidates that are worth it, so many at a time as a quarter of the memory holds.
static exit_code time_all(explanation *e, const team *t, const bb_ref_data *data) {
  candidate **list = calloc(e->count, sizeof *list);
  if (!list) return fail(EXIT_SYSTEM, "out of memory for the candidates");
  size_t n = 0;
  for (size_t i = 0; i < e->count; i++) {
    candidate *c = &e->list[i];
    // Portable C next to vector code says nothing and takes long, unless it is asked for.
    const bool worth = e->chosen && (e->o->impl || c->kernel == e->chosen || c->kernel->isa != BB_ISA_GENERIC ||
                                     e->chosen->isa == BB_ISA_GENERIC);
    if (!c->refusal && worth) list[n++] = c;
  }
  exit_code code = EXIT_OK;
  for (int cold = 0; cold < 2; cold++) {
    for (size_t i = 0, k; i < n && code == EXIT_OK && !interrupted(); i += k) {
      double bytes = 0;
      const double there = memory_available() / 4;
      for (k = 0; i + k < n; k++) {
        bytes += conv_work_bytes(&list[i + k]->task, list[i + k]->kernel, &list[i + k]->config, cold);
        if (k && there > 0 && bytes > there) break;
      }
      progress(i + n * (size_t)cold, 2 * n, cold ? "cold" : "hot");
      code = time_together(e, t, list + i, k, cold, data);
    }
  }
  progress(0, 0, NULL);
  free(list);
  return code;
}

// How much longer the chosen one takes than the fastest measured here that might have been chosen; 0 = not known.
static double behind(const explanation *e, bool cold, const candidate **fastest) {
  const candidate *chosen = NULL;
  *fastest = NULL;
  for (size_t i = 0; i < e->count; i++) {
    const candidate *c = &e->list[i];
    const bool admitted = e->o->alg != BB_ALG_AUTO || e->o->impl || bb_accuracy_admits(e->o->accuracy, c->kernel->alg);
    if (c->result[cold].state != ROW_DONE || c->kernel->isa != e->chosen->isa) continue;
    if (c->chosen) chosen = c;
    if (!admitted || c->task.x.block != e->task.x.block) continue;
    if (!*fastest || c->result[cold].time_p50 < (*fastest)->result[cold].time_p50) *fastest = c;
  }
  return chosen && *fastest ? chosen->result[cold].time_p50 / (*fastest)->result[cold].time_p50 : 0;
}

// ---- report ----------------------------------------------------------------------------------------------------------

static void number(cJSON *x, const char *key, double value) {
  if (isfinite(value)) cJSON_AddNumberToObject(x, key, value);
}

static cJSON *to_json(const explanation *e, const candidate *c, double ghz) {
  const row *hot = &c->result[0], *cold = &c->result[1], *asked = &c->result[e->o->cold];
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "kernel", c->kernel->name);
  cJSON_AddStringToObject(x, "algorithm", bb_alg_name(c->kernel->alg));
  cJSON_AddStringToObject(x, "accuracy", class_of(c->kernel->alg));
  cJSON_AddBoolToObject(x, "accepts", !c->refusal);
  cJSON_AddStringToObject(x, "reason", c->refusal ? c->refusal : "");
  cJSON_AddBoolToObject(x, "chosen", c->chosen);
  if (c->refusal) return x;
  cJSON *config = cJSON_AddObjectToObject(x, "config");
  const struct {
    const char *name;
    int value;
  } knob[] = {{"q", c->config.q},   {"k", c->config.k},       {"c", c->config.c},        {"rows", c->config.rows},
              {"kt", c->config.kt}, {"tile", c->config.tile}, {"ahead", c->config.ahead}};
  for (size_t i = 0; i < sizeof knob / sizeof *knob; i++) cJSON_AddNumberToObject(config, knob[i].name, knob[i].value);
  number(x, "predicted_cycles", c->cycles);
  number(x, "predicted_ns", c->cycles / ghz);
  number(x, "hot_ns", hot->time_p50);
  number(x, "cold_ns", cold->time_p50);
  number(x, "measured_ns", asked->time_p50);
  number(x, "gflops", row_gflops(asked));
  number(x, "pct_peak", asked->pct_peak);
  number(x, "pct_executed", asked->pct_executed);
  number(x, "err_l2", hot->err_l2);
  number(x, "err_max_rms", hot->err_max_rms);
  number(x, "err_bound", hot->err_bound);
  number(x, "packed_bytes", hot->packed_bytes);
  number(x, "workspace_bytes", hot->workspace_bytes);
  return x;
}

static void time_or_dash(double ns, char text[24]) {
  snprintf(text, 24, "-");
  if (isfinite(ns)) report_time(ns, text);
}

static void print_text(const explanation *e, const char *problem, double ghz) {
  printf("problem  %s\nchosen   %s: %s\n", problem, e->chosen ? e->chosen->name : "none", e->why);
  for (int cold = 0; cold < 2 && e->chosen; cold++) {
    const candidate *fastest;
    const double ratio = behind(e, cold, &fastest);
    char config[64];
    if (ratio == 0) continue;
    bb_config_print(&fastest->config, config, sizeof config);
    printf("%-8s %s: it takes %.3f times as long as the fastest measured here", "", cold ? "cold" : "hot", ratio);
    if (!fastest->chosen) printf(", %s (%s)", fastest->kernel->name, config);
    puts("");
  }
  printf("\n%-40s %-22s %-8s %11s %11s %11s %7s %8s %8s %9s %9s\n", "kernel", "config q k c rows kt t", "accuracy", "predicted",
         "hot", "cold", "% peak", "error", "bound", "packed", "workspace");
  for (size_t i = 0; i < e->count; i++) {
    const candidate *c = &e->list[i];
    const row *hot = &c->result[0], *asked = &c->result[e->o->cold];
    if (c->refusal) {
      printf("%-40s no: %s\n", c->kernel->name, c->refusal);
      continue;
    }
    char config[64], predicted[24], warm[24], cold[24];
    bb_config_print(&c->config, config, sizeof config);
    time_or_dash(c->cycles / ghz, predicted);
    time_or_dash(hot->time_p50, warm);
    time_or_dash(c->result[1].time_p50, cold);
    printf("%-40s %-22s %-8s %11s %11s %11s", c->kernel->name, config, class_of(c->kernel->alg), predicted, warm, cold);
    if (hot->checked)
      printf(" %7.1f %8.1e %8.1e %5.1f MiB %5.1f MiB", asked->pct_peak, hot->err_l2, hot->err_bound,
             hot->packed_bytes / 1048576, hot->workspace_bytes / 1048576);
    printf("%s\n", c->chosen ? "  <- chosen" : "");
  }
}

static void print(const explanation *e, double ghz) {
  char problem[320];
  bb_task_print(&e->c.task, problem, sizeof problem);
  if (e->o->format == FORMAT_TEXT) {
    print_text(e, problem, ghz);
    return;
  }
  cJSON *list = cJSON_CreateArray();
  for (size_t i = 0; i < e->count; i++) cJSON_AddItemToArray(list, to_json(e, &e->list[i], ghz));
  if (e->o->format == FORMAT_JSON) {
    cJSON *all = cJSON_CreateObject();
    cJSON_AddStringToObject(all, "problem", problem);
    cJSON_AddStringToObject(all, "chosen", e->chosen ? e->chosen->name : "");
    cJSON_AddStringToObject(all, "why", e->why);
    cJSON_AddNumberToObject(all, "clock_ghz", ghz);
    for (int cold = 0; cold < 2 && e->chosen; cold++) {
      const candidate *fastest;
      const double ratio = behind(e, cold, &fastest);
      if (ratio > 0) cJSON_AddNumberToObject(all, cold ? "behind_cold" : "behind_hot", ratio);
    }
    cJSON_AddItemToObject(all, "kernels", list);
    report_print_json(all, stdout);
    cJSON_Delete(all);
    return;
  }
  report_print_table(list, e->o->format, stdout);
  cJSON_Delete(list);
}

static exit_code explain(explanation *e, const team *t) {
  const options *o = e->o;
  bb_error error = {{0}};
  bb_ref_data *data = NULL;
  const double ghz = clock_ghz();
  exit_code code = choose(e, t, ghz);
  if (code == EXIT_OK && !e->chosen && !o->impl && o->alg != BB_ALG_AUTO)
    code = fail(EXIT_USAGE, "--alg %s accepts none of the problems", bb_alg_name(o->alg));
  bool any = !o->impl;
  for (size_t i = 0; i < bb_kernel_count() && code == EXIT_OK; i++) {
    if (bb_kernel_at(i)->op != BB_OP_CONV) continue;
    if (!consider(e, bb_kernel_at(i))) code = fail(EXIT_SYSTEM, "out of memory for the candidates");
    if (code == EXIT_OK) any |= !e->list[e->count - 1].refusal;
  }
  if (code == EXIT_OK && !any)
    code =
        fail(EXIT_USAGE, "--impl %s accepts none of the problems; \"backbench list kernels\" shows those that exist", o->impl);
  if (code == EXIT_OK) {
    const bb_status status = conv_data(o, &e->c.task, true, &data, &error);
    if (status != BB_OK) code = fail_status(status, &error);
  }
  if (code == EXIT_OK) code = time_all(e, t, data);
  bb_ref_data_destroy(data);
  if (code != EXIT_OK) return code;
  print(e, ghz);
  for (size_t i = 0; i < e->count; i++)
    for (int cold = 0; cold < 2; cold++)
      if (e->list[i].result[cold].state == ROW_FAILED)
        code = fail(EXIT_CHECK, "%s: %s", e->list[i].kernel->name, e->list[i].result[cold].message);
  return code == EXIT_OK && interrupted() ? EXIT_INTERRUPTED : code;
}

static exit_code explain_case(const options *o, const conv_case *given) {
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  exit_code code = isas_asked(o, isa, &isas, missing, &missings);
  if (code != EXIT_OK) return code;
  explanation e = {.o = o, .isa = isa[0], .threads = o->threads.at[0], .c = *given};
  if (o->mb.count) code = case_with_batch(given, o->mb.at[0], &e.c);
  team t;
  if (code == EXIT_OK) code = team_create(o, e.threads, &t);
  if (code != EXIT_OK) return code;
  code = explain(&e, &t);
  for (size_t i = 0; i < e.count; i++) row_free(&e.list[i].result[0]), row_free(&e.list[i].result[1]);
  free(e.list);
  team_destroy(&t);
  return code;
}

exit_code verb_explain(const options *o) {
  case_list list = {0};
  exit_code code = args_single(o, "explain");
  if (code == EXIT_OK) code = team_check(o);
  if (code == EXIT_OK) code = case_add_args(&list, o);
  if (code == EXIT_OK && list.count > 1) code = fail(EXIT_USAGE, "explain takes one problem");
  if (code == EXIT_OK) code = explain_case(o, &list.at[0]);
  case_free(&list);
  return code;
}
