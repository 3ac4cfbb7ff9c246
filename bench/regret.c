// SPDX-License-Identifier: Apache-2.0
//
// How much longer the planner's choices take than the best candidates: for those who change a cost model or the way plans
// are measured. Takes the flags and problems of "backbench conv".
//
//   regret --suite core40 --threads 1,2 --cache hot,cold                    of estimates
//   backbench conv --suite core40 --threads 1,2 --cache hot,cold --plan measure --wisdom F --benchmark_list_tests
//   regret --suite core40 --threads 1,2 --cache hot,cold --wisdom F         of measurements, which another process made
//
// For each problem and setting: the choice; then a race of the candidates of each algorithm by itself (the planner's own, so
// that a model that is wrong about an algorithm hides nothing); then the winners of these races that are near against the
// choice, batch by batch in turn, with samples of their own. The regret is the median of the batch-wise ratios of rates to the
// best of them, with its 95 % interval; 1 if the choice is the best, or equal to it in kernel and config.

#include <cjson/cJSON.h>
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "conv.h"
#include "conv_work.h"
#include "planning.h"
#include "report.h"
#include "stats.h"

// Winners that take so much longer in a first try do not come near.
static const double near = 1.3;
// A contest with a wider interval is repeated with more samples, at most so often.
static const double wide = 1.03;
enum { TURNS = 3 };

typedef struct entrant {
  const bb_kernel *kernel;
  bb_config config;
} entrant;

typedef struct verdict {
  char name[256];
  int threads;
  bool cold;
  entrant chosen, best;
  double ns, ratio, low, high;
} verdict;

typedef struct study {
  const options *o;
  planning how;
  team team;
  regex_t filter;
  verdict *at;
  size_t count, room;
} study;

static bool same(const entrant *a, const entrant *b) {
  return a->kernel == b->kernel && !memcmp(&a->config, &b->config, sizeof a->config);
}

// The choice first, then the winner of each algorithm, none twice.
static bb_status entrants(const study *s, bb_task *task, bb_plan_options po, entrant list[BB_ALG_COUNT], int *count,
                          bb_error *error) {
  *count = 0;
  bb_status status = conv_choose(task, &po, &list[0].kernel, &list[0].config, error);
  if (status != BB_OK || !list[0].kernel) return status;
  *count = 1;
  const bb_accuracy accuracy = po.accuracy;
  const bb_alg only = po.alg;
  po.mode = BB_PLAN_MEASURE;
  po.wisdom = NULL;
  po.pool = s->team.pool;
  for (int alg = BB_ALG_DIRECT; alg < BB_ALG_COUNT && status == BB_OK; alg++) {
    entrant *e = &list[*count];
    po.alg = (bb_alg)alg;
    if (only == BB_ALG_AUTO ? !bb_accuracy_admits(accuracy, po.alg) : only != po.alg) continue;
    if (!bb_plan_candidates(task, &po, NULL, 0)) continue;
    status = bb_plan_choose(task, &po, &e->kernel, &e->config, error);
    bool known = false;
    for (int i = 0; i < *count; i++) known |= same(e, &list[i]);
    *count += status == BB_OK && !known;
  }
  return status;
}

// The least of three calls.
static double first_try(conv_work *w) {
  double least = INFINITY;
  for (int i = 0; i < 3; i++) {
    const double start = now_ns();
    conv_work_run(w);
    least = fmin(least, now_ns() - start);
  }
  return least;
}

// Fills best, ns, ratio and its interval.
static bb_status contest(const study *s, const bb_task *task, bb_isa isa, const entrant *list, int count, verdict *v,
                         bb_error *error) {
  bb_ref_data *data = NULL;
  conv_work w[BB_ALG_COUNT] = {{0}};
  subject subjects[BB_ALG_COUNT];
  const entrant *who[BB_ALG_COUNT];
  samples out[BB_ALG_COUNT];
  memset(out, 0, sizeof out);
  double tries[BB_ALG_COUNT], least = INFINITY;
  const double flops = bb_conv_flops_valid(&task->problem.conv);
  bb_status status = conv_data(s->o, task, false, &data, error);
  for (int i = 0; i < count && status == BB_OK; i++) {
    const bb_plan_options po = {.isa = isa,
                                .kernel = list[i].kernel,
                                .config = &list[i].config,
                                .threads = v->threads,
                                .pool = s->team.pool,
                                .cold = v->cold};
    status = conv_work_create(task, data, &po, v->cold, s->team.pool, &w[i], error);
    if (status == BB_OK) least = fmin(least, tries[i] = first_try(&w[i]));
  }
  int n = 0;
  for (int i = 0; i < count && status == BB_OK; i++) {
    if (i && tries[i] > near * least) continue;
    who[n] = &list[i];
    subjects[n++] = (subject){.run = conv_work_run, .context = &w[i]};
  }
  v->best = list[0];
  v->ns = least;
  v->ratio = v->low = v->high = 1;
  if (status == BB_OK && n > 1) {
    sampler sm = {.team = &s->team, .probe = bb_probe_get(isa), .min_time = s->o->min_time};
    for (int turn = 0; turn < TURNS && status == BB_OK; turn++, sm.min_time *= 2) {
      bool clear = true;
      for (int i = 0; i < n; i++) samples_free(&out[i]);
      status = sampler_run(&sm, subjects, (size_t)n, out);
      v->best = list[0];
      v->ratio = v->low = v->high = 1;
      for (int i = 1; i < n && status == BB_OK; i++) {
        double ratio[3];
        status = samples_ratio(&out[i], flops, &out[0], flops, ratio);
        clear &= (ratio[2] < wide * ratio[1] || ratio[2] < 1) && out[i].undisturbed >= SAMPLER_UNDISTURBED;
        if (status != BB_OK || !(ratio[0] > v->ratio)) continue;
        v->best = *who[i];
        v->ratio = ratio[0], v->low = ratio[1], v->high = ratio[2];
      }
      if (clear) break;
    }
    row r;
    row_init(&r);
    r.flops_valid = r.flops_executed = flops;
    if (status == BB_OK) status = samples_to_row(&out[0], &s->team, false, true, &r);
    v->ns = r.time_p50;
  }
  for (int i = 0; i < count; i++) samples_free(&out[i]), conv_work_destroy(&w[i]);
  bb_ref_data_destroy(data);
  return status;
}

static void print_entrant(const entrant *e, char text[128]) {
  char config[64];
  bb_config_print(&e->config, config, sizeof config);
  snprintf(text, 128, "%.60s (%s)", e->kernel->name, config);
}

static void print_verdict(const verdict *v) {
  char chosen[128], best[128] = "", time[24];
  print_entrant(&v->chosen, chosen);
  if (!same(&v->chosen, &v->best)) print_entrant(&v->best, best);
  report_time(v->ns, time);
  printf("%-36s %11s  %.3f [%.3f, %.3f]  %s%s%s\n", v->name, time, v->ratio, v->low, v->high, chosen, *best ? "  best: " : "",
         best);
  fflush(stdout);
}

static exit_code judge(study *s, const conv_case *c, bb_isa isa, bool cold) {
  const options *o = s->o;
  verdict v = {.threads = s->team.threads, .cold = cold};
  snprintf(v.name, sizeof v.name, "%s/%s/t%d/mb%d/%s", c->id, bb_isa_name(isa), v.threads, c->task.problem.conv.N,
           cold ? "cold" : "hot");
  if (o->filter && regexec(&s->filter, v.name, 0, NULL, 0)) return EXIT_OK;
  const bb_plan_options po = {.isa = isa,
                              .alg = o->alg,
                              .accuracy = o->accuracy,
                              .threads = v.threads,
                              .cold = cold,
                              .mode = s->how.mode,
                              .wisdom = s->how.wisdom,
                              .pool = s->team.pool};
  bb_task task = c->task;
  entrant list[BB_ALG_COUNT];
  int count;
  bb_error error = {{0}};
  bb_status status = entrants(s, &task, po, list, &count, &error);
  if (status == BB_OK && !count) return EXIT_OK;
  v.chosen = list[0];
  if (status == BB_OK) status = contest(s, &task, isa, list, count, &v, &error);
  if (status != BB_OK) return fail_status(status, &error);
  if (s->count == s->room) {
    verdict *more = realloc(s->at, (2 * s->room + 64) * sizeof *more);
    if (!more) return fail(EXIT_SYSTEM, "out of memory for the verdicts");
    s->at = more;
    s->room = 2 * s->room + 64;
  }
  s->at[s->count++] = v;
  if (o->format == FORMAT_TEXT) print_verdict(&v);
  return EXIT_OK;
}

// Of one setting, or of all.
static void print_summary(const study *s, int threads, int cold) {
  double log_sum = 0;
  size_t n = 0, above = 0, best = 0;
  const verdict *worst = NULL;
  for (size_t i = 0; i < s->count; i++) {
    const verdict *v = &s->at[i];
    if ((threads && v->threads != threads) || (cold >= 0 && v->cold != cold)) continue;
    n++;
    log_sum += log(v->ratio);
    above += v->low > 1.03;
    best += same(&v->chosen, &v->best);
    if (!worst || v->ratio > worst->ratio) worst = v;
  }
  if (!n) return;
  char setting[32] = "all";
  if (threads) snprintf(setting, sizeof setting, "%d thread%s, %s", threads, threads == 1 ? "" : "s", cold ? "cold" : "hot");
  printf("%-16s %3zu rows, %3zu chose the best; geometric mean %.2f %%, worst %.2f %% (%s); %zu wholly above 3 %%\n", setting,
         n, best, 100 * (exp(log_sum / (double)n) - 1), 100 * (worst->ratio - 1), worst->name, above);
}

static void print_all(const study *s) {
  if (s->o->format == FORMAT_TEXT) {
    puts("");
    for (int t = 0; t < s->o->threads.count; t++)
      for (int cold = 0; cold < 2; cold++) print_summary(s, s->o->threads.at[t], cold);
    print_summary(s, 0, -1);
    return;
  }
  cJSON *list = cJSON_CreateArray();
  for (size_t i = 0; i < s->count; i++) {
    const verdict *v = &s->at[i];
    char chosen[128], best[128];
    print_entrant(&v->chosen, chosen);
    print_entrant(&v->best, best);
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", v->name);
    cJSON_AddStringToObject(x, "chosen", chosen);
    cJSON_AddStringToObject(x, "best", best);
    cJSON_AddNumberToObject(x, "time_ns", v->ns);
    cJSON_AddNumberToObject(x, "ratio", v->ratio);
    cJSON_AddNumberToObject(x, "ratio_low", v->low);
    cJSON_AddNumberToObject(x, "ratio_high", v->high);
    cJSON_AddItemToArray(list, x);
  }
  if (s->o->format == FORMAT_JSON)
    report_print_json(list);
  else
    report_print_table(list, s->o->format, stdout);
  cJSON_Delete(list);
}

static exit_code judge_all(study *s, const case_list *list) {
  const options *o = s->o;
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  exit_code code = isas_asked(o, isa, &isas, missing, &missings);
  for (int t = 0; t < o->threads.count && code == EXIT_OK; t++) {
    code = team_create(o, o->threads.at[t], &s->team);
    for (size_t i = 0; i < list->count && code == EXIT_OK; i++)
      for (int m = 0; m < (o->mb.count ? o->mb.count : 1) && code == EXIT_OK; m++) {
        conv_case c = list->at[i];
        progress(i, list->count, c.id);
        if (o->mb.count) code = case_with_batch(&list->at[i], o->mb.at[m], &c);
        for (int a = 0; a < isas && code == EXIT_OK; a++)
          for (int cold = !o->hot; cold <= o->cold && code == EXIT_OK; cold++)
            code = interrupted() ? EXIT_INTERRUPTED : judge(s, &c, isa[a], cold);
      }
    if (s->team.pool) team_destroy(&s->team);
  }
  return code;
}

static exit_code run(const options *o) {
  study s = {.o = o};
  case_list list = {0};
  exit_code code = team_check(o);
  if (code == EXIT_OK) code = planning_open(o, false, &s.how);
  if (code == EXIT_OK) code = case_collect(&list, o);
  const bool filtered = o->filter && !regcomp(&s.filter, o->filter, REG_EXTENDED | REG_NOSUB);
  if (code == EXIT_OK) code = judge_all(&s, &list);
  progress(0, 0, NULL);
  if (code == EXIT_OK || code == EXIT_INTERRUPTED) print_all(&s);
  if (code == EXIT_OK) code = planning_save(&s.how);
  if (filtered) regfree(&s.filter);
  planning_close(&s.how);
  case_free(&list);
  free(s.at);
  return code;
}

int main(int argc, char **argv) {
  static const verb conv = {.name = "conv", .usage = "[PROBLEM...]", .bit = 1u << 5, .max_args = STRINGS_MAX, .run = run};
  static options o;
  o = options_default();
  json_hooks();
  bool help;
  exit_code code = check_environment();
  if (code == EXIT_OK) code = args_parse(&conv, argc - 1, argv + 1, &o, &help);
  if (code != EXIT_OK) return (int)code;
  if (help) {
    puts(
        "usage: regret [PROBLEM...] [flags of backbench conv]\n\nhow much longer the planner's choices take than the best "
        "candidates");
    return 0;
  }
  catch_signals();
  return (int)run(&o);
}
