// SPDX-License-Identifier: Apache-2.0
//
// The verb explain: every convolution kernel on one problem: does it accept, what does its model predict, what does the clock
// say.

#include <cjson/cJSON.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "conv.h"
#include "conv_work.h"
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

typedef struct candidate {
  const bb_kernel *kernel;
  const char *refusal;  // NULL = it accepts
  bb_task task;
  bb_config config;
  double cycles;
} candidate;

static void consider(const options *o, const bb_task *given, bb_isa isa, const bb_kernel *k, candidate *c) {
  *c = (candidate){.kernel = k, .task = *given, .cycles = NAN};
  regex_t re;
  bool named = true;
  if (o->impl && !regcomp(&re, o->impl, REG_EXTENDED | REG_NOSUB)) {
    named = !regexec(&re, k->name, 0, NULL, 0);
    regfree(&re);
  }
  const bb_plan_options po = {.isa = isa, .kernel = k, .threads = o->threads.at[0]};
  if (!bb_isa_runs(k->isa))
    c->refusal = "this CPU lacks its ISA";
  else if (!bb_isa_within(k->isa, isa))
    c->refusal = "beyond --isa";
  else if (o->alg != BB_ALG_AUTO && k->alg != o->alg)
    c->refusal = "not the algorithm of --alg";
  else if (!named)
    c->refusal = "not matched by --impl";
  else if (bb_task_views(&c->task, k->x_block, k->y_block) != BB_OK || !bb_kernel_choose(&c->task, &po, &c->config))
    c->refusal = "not its kind of problem";
  else if (k->cycles)
    c->cycles = k->cycles(&c->task, bb_machine_get(), &c->config, o->threads.at[0]);
}

// Time, rate and error of a candidate, as the verb conv finds them.
static exit_code time_candidate(const options *o, const team *t, bb_isa isa, const candidate *c, const bb_ref_data *data,
                                row *r) {
  bb_error error = {{0}};
  conv_work w;
  const bb_plan_options po = {
      .isa = isa, .kernel = c->kernel, .config = &c->config, .threads = t->threads, .pool = t->pool, .cold = o->cold};
  bb_status status = conv_work_create(&c->task, data, &po, o->cold, t->pool, &w, &error);
  if (status != BB_OK) return fail_status(status, &error);
  bb_verify_result result;
  bb_verify_reset(w.verify);
  conv_work_run(&w);
  r->checked = true;
  r->err_bound = conv_bound(w.plan[0]);
  const bool ok = bb_verify_check(w.verify, c->kernel->alg, r->err_bound, &result);
  r->err_l2 = result.ref.err_l2;
  if (!ok) row_fail(r, "wrong result: %s", result.text);
  if (ok) {
    const sampler sm = {.team = t, .probe = bb_probe_get(isa), .min_time = o->min_time / 4};
    const subject s = {.run = conv_work_run, .context = &w};
    samples out;
    r->flops_valid = bb_conv_flops_valid(&c->task.problem.conv);
    r->flops_executed = conv_executed(w.plan[0]);
    status = sampler_run(&sm, &s, 1, &out);
    if (status == BB_OK) status = samples_to_row(&out, t, false, true, r);
    samples_free(&out);
    r->state = ROW_DONE;
  }
  conv_work_destroy(&w);
  return status == BB_OK ? EXIT_OK : fail(EXIT_SYSTEM, "out of memory for the samples");
}

static cJSON *to_json(const candidate *c, const row *r, double ghz, bool chosen) {
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "kernel", c->kernel->name);
  cJSON_AddBoolToObject(x, "accepts", !c->refusal);
  cJSON_AddStringToObject(x, "reason", c->refusal ? c->refusal : "");
  cJSON_AddBoolToObject(x, "chosen", chosen);
  if (c->refusal) return x;
  cJSON *config = cJSON_AddObjectToObject(x, "config");
  const struct {
    const char *name;
    int value;
  } knob[] = {{"q", c->config.q},       {"k", c->config.k},   {"c", c->config.c},
              {"rows", c->config.rows}, {"kt", c->config.kt}, {"tile", c->config.tile}};
  for (size_t i = 0; i < sizeof knob / sizeof *knob; i++) cJSON_AddNumberToObject(config, knob[i].name, knob[i].value);
  if (isfinite(c->cycles)) {
    cJSON_AddNumberToObject(x, "predicted_cycles", c->cycles);
    cJSON_AddNumberToObject(x, "predicted_ns", c->cycles / ghz);
  }
  if (r->state == ROW_DONE) {
    cJSON_AddNumberToObject(x, "measured_ns", r->time_p50);
    cJSON_AddNumberToObject(x, "gflops", row_gflops(r));
    cJSON_AddNumberToObject(x, "pct_peak", r->pct_peak);
    cJSON_AddNumberToObject(x, "err_l2", r->err_l2);
  }
  return x;
}

static void print_text(const cJSON *list, const char *problem, const char *why) {
  const cJSON *x;
  printf("problem  %s\n%s\n\n%-44s %-12s %-12s %7s  %s\n", problem, why, "kernel", "predicted", "measured", "% peak", "");
  cJSON_ArrayForEach(x, list) {
    char predicted[24] = "-", measured[24] = "-";
    const cJSON *p = cJSON_GetObjectItem(x, "predicted_ns"), *m = cJSON_GetObjectItem(x, "measured_ns"),
                *pct = cJSON_GetObjectItem(x, "pct_peak");
    if (p) report_time(p->valuedouble, predicted);
    if (m) report_time(m->valuedouble, measured);
    printf("%-44s ", cJSON_GetObjectItem(x, "kernel")->valuestring);
    if (!cJSON_IsTrue(cJSON_GetObjectItem(x, "accepts"))) {
      printf("no: %s\n", cJSON_GetObjectItem(x, "reason")->valuestring);
      continue;
    }
    printf("%-12s %-12s ", predicted, measured);
    if (pct)
      printf("%7.1f", pct->valuedouble);
    else
      printf("%7s", "-");
    printf("%s\n", cJSON_IsTrue(cJSON_GetObjectItem(x, "chosen")) ? "  <- chosen" : "");
  }
}

static exit_code explain(const options *o, const conv_case *given) {
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  exit_code code = isas_asked(o, isa, &isas, missing, &missings);
  conv_case c = *given;
  if (code == EXIT_OK && o->mb.count) code = case_with_batch(given, o->mb.at[0], &c);
  if (code != EXIT_OK) return code;

  bb_error error = {{0}};
  bb_task best = c.task;
  bb_config config;
  const bb_plan_options po = {
      .isa = isa[0], .alg = o->alg, .accuracy = o->accuracy, .threads = o->threads.at[0], .cold = o->cold};
  const bb_kernel *chosen;
  const bb_status found = conv_choose(&best, &po, &chosen, &config, &error);
  if (found != BB_OK) return fail_status(found, &error);
  if (!chosen && o->alg != BB_ALG_AUTO) return fail(EXIT_USAGE, "--alg %s accepts none of the problems", bb_alg_name(o->alg));

  team t;
  bb_ref_data *data = NULL;
  code = team_create(o, o->threads.at[0], &t);
  if (code != EXIT_OK) return code;
  const bb_status status = conv_data(o, &c.task, true, &data, &error);
  if (status != BB_OK) code = fail_status(status, &error);
  const double ghz = clock_ghz();
  cJSON *list = cJSON_CreateArray();
  bool wrong = false, named = !o->impl;
  for (size_t i = 0; i < bb_kernel_count() && code == EXIT_OK && !interrupted(); i++) {
    if (bb_kernel_at(i)->op != BB_OP_CONV) continue;
    candidate k;
    row r;
    row_init(&r);
    consider(o, &c.task, isa[0], bb_kernel_at(i), &k);
    named |= !k.refusal;
    // Portable C next to vector code says nothing and takes long.
    const bool worth = chosen && (k.kernel == chosen || k.kernel->isa != BB_ISA_GENERIC || chosen->isa == BB_ISA_GENERIC);
    if (!k.refusal && worth) code = time_candidate(o, &t, isa[0], &k, data, &r);
    wrong |= r.state == ROW_FAILED;
    if (r.state == ROW_FAILED) fail(EXIT_CHECK, "%s: %s", k.kernel->name, r.message);
    cJSON_AddItemToArray(list, to_json(&k, &r, ghz, k.kernel == chosen));
    row_free(&r);
  }
  bb_ref_data_destroy(data);
  team_destroy(&t);
  if (code == EXIT_OK && !named)
    code =
        fail(EXIT_USAGE, "--impl %s accepts none of the problems; \"backbench list kernels\" shows those that exist", o->impl);
  if (code == EXIT_OK) {
    char problem[320], why[200];
    bb_task_print(&c.task, problem, sizeof problem);
    snprintf(why, sizeof why, "chosen   %s: %s", chosen ? chosen->name : "none",
             !chosen          ? "no kernel accepts it"
             : chosen->cycles ? "the least predicted time of those that accept, within the strongest ISA"
                              : "the first in order of preference that accepts, within the strongest ISA");
    if (o->format == FORMAT_TEXT) print_text(list, problem, why);
    if (o->format == FORMAT_CSV || o->format == FORMAT_MD) report_print_table(list, o->format, stdout);
    if (o->format == FORMAT_JSON) {
      cJSON *all = cJSON_CreateObject();
      cJSON_AddStringToObject(all, "problem", problem);
      cJSON_AddStringToObject(all, "chosen", chosen ? chosen->name : "");
      cJSON_AddStringToObject(all, "why", why + 9);
      cJSON_AddNumberToObject(all, "clock_ghz", ghz);
      cJSON_AddItemToObject(all, "kernels", cJSON_Duplicate(list, true));
      report_print_json(all);
      cJSON_Delete(all);
    }
  }
  cJSON_Delete(list);
  return code == EXIT_OK && wrong ? EXIT_CHECK : code;
}

exit_code verb_explain(const options *o) {
  case_list list = {0};
  exit_code code = args_single(o, "explain");
  if (code == EXIT_OK) code = team_check(o);
  if (code == EXIT_OK) code = case_add_args(&list, o);
  if (code == EXIT_OK && list.count > 1) code = fail(EXIT_USAGE, "explain takes one problem");
  if (code == EXIT_OK) code = explain(o, &list.at[0]);
  case_free(&list);
  return code;
}
