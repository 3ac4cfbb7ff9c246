// SPDX-License-Identifier: Apache-2.0
//
// How much longer the planner's choices take than the best candidates: for those who change a cost model or the way plans
// are measured. Takes the flags and problems of "backbench conv".
//
//   regret --suite core40 --threads 1,2 --cache hot,cold                  of estimates
//   regret --suite core40 --threads 1,2 --cache hot,cold --plan measure   of measurements, each in a process of its own
//   regret --suite core40 --threads 1,2 --cache hot,cold --wisdom F       of what a program has learned before
//
// For each problem and setting: the choice; then a race of the candidates of each algorithm by itself (the planner's own, so
// that a model that is wrong about an algorithm hides nothing); then the winners of these races that are near against the
// choice, batch by batch in turn, with samples of their own. Where memory happens to lie makes several per cent of a time, the
// same in all its batches: after some batches everything is allocated anew. The regret is the median of the batch-wise ratios
// of rates to the best of them, with its 95 % interval; 1 if the choice is the best, or equal to it in kernel and config.
//
// On a virtual machine the host may move processors closer to or farther from each other during the choice or the verdict,
// and which candidate is the best on two threads depends on that: such a row is done again.

#include <cjson/cJSON.h>
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "args.h"
#include "conv.h"
#include "conv_work.h"
#include "planning.h"
#include "report.h"
#include "stats.h"

// Winners that take so much longer in a first try do not come near.
static const double near = 1.3;
// Allocations that a contest goes through: more than the least while its interval is wider than this.
static const double wide = 1.03;
enum { LEAST_PLACES = 4, MOST_PLACES = 12 };
// A row during which processors moved is done again, at most so often.
enum { MOST_TRIES = 5 };

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
  double transfer_ns[2];  // the least and the most that were seen; NaN with one thread
} verdict;

static void seen(double range[2], const double transfer_ns[2]) {
  range[0] = fmin(range[0], fmin(transfer_ns[0], transfer_ns[1]));
  range[1] = fmax(range[1], fmax(transfer_ns[0], transfer_ns[1]));
}

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

// What a fork measures, and has to say: both are the same program, with the same kernels at the same addresses.
typedef struct message {
  exit_code code;
  bb_status status;
  entrant chosen;
  double transfer_ns[2];  // before and after
  bb_error error;
} message;

static message measure(const study *s, bb_task task, bb_plan_options po) {
  message m = {0};
  team t;
  m.code = team_create(s->o, po.threads, &t);
  if (m.code != EXIT_OK) return m;
  po.pool = t.pool;
  m.transfer_ns[0] = team_transfer(&t);
  m.status = conv_choose(&task, &po, &m.chosen.kernel, &m.chosen.config, &m.error);
  m.transfer_ns[1] = team_transfer(&t);
  team_destroy(&t);
  return m;
}

// Called while this process has no other threads.
static message measure_apart(const study *s, const bb_task *task, bb_plan_options po) {
  message m = {.code = EXIT_SYSTEM};
  int ends[2];
  if (pipe(ends)) return m.code = fail(EXIT_SYSTEM, "no pipe to a process that measures"), m;
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    m = measure(s, *task, po);
    _exit(write(ends[1], &m, sizeof m) != sizeof m);
  }
  close(ends[1]);
  const bool told = child > 0 && read(ends[0], &m, sizeof m) == sizeof m;
  close(ends[0]);
  if (child > 0) waitpid(child, NULL, 0);
  if (!told) m.code = interrupted() ? EXIT_INTERRUPTED : fail(EXIT_SYSTEM, "no answer from a process that measures");
  return m;
}

// After the choice, the winner of each algorithm, none twice. The task gets its layout.
static bb_status entrants(const study *s, bb_task *task, bb_plan_options po, entrant list[BB_ALG_COUNT], int *count,
                          bb_error *error) {
  entrant chosen = list[0];
  bb_status status = conv_choose(task, &po, &list[0].kernel, &list[0].config, error);
  if (chosen.kernel) list[0] = chosen;
  *count = status == BB_OK && list[0].kernel;
  if (!*count) return status;
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

typedef struct contest {
  const bb_task *task;
  bb_isa isa;
  const entrant *list;
  int count;
  bool behind[BB_ALG_COUNT];  // too far to be of interest
  samples out[BB_ALG_COUNT];
  double least;  // ns of a first try
} contest;

// The contest in one place more, which is made from the first entrant to the last or, every other time, the other way round.
static bb_status hold(const study *s, verdict *v, const bb_ref_data *data, int place, contest *c, bb_error *error) {
  conv_work w[BB_ALG_COUNT] = {{0}};
  double tries[BB_ALG_COUNT];
  bb_status status = BB_OK;
  for (int k = 0; k < c->count && status == BB_OK; k++) {
    const int i = place % 2 ? c->count - 1 - k : k;
    if (c->behind[i]) continue;
    const bb_plan_options po = {.isa = c->isa,
                                .kernel = c->list[i].kernel,
                                .config = &c->list[i].config,
                                .threads = v->threads,
                                .pool = s->team.pool,
                                .cold = v->cold};
    status = conv_work_create(c->task, data, &po, v->cold, s->team.pool, &w[i], error);
    if (status == BB_OK && place == 0) c->least = fmin(c->least, tries[i] = first_try(&w[i]));
  }
  subject subjects[BB_ALG_COUNT];
  int who[BB_ALG_COUNT], n = 0;
  for (int i = 0; i < c->count && status == BB_OK; i++) {
    if (place == 0) c->behind[i] = i && tries[i] > near * c->least;
    if (c->behind[i]) continue;
    who[n] = i;
    subjects[n++] = (subject){.run = conv_work_run, .context = &w[i]};
  }
  if (n > 1) {
    const sampler sm = {.team = &s->team, .probe = bb_probe_get(c->isa), .min_time = s->o->min_time / LEAST_PLACES};
    samples more[BB_ALG_COUNT];
    status = sampler_run(&sm, subjects, (size_t)n, more);
    seen(v->transfer_ns, more[0].transfer_ns);
    for (int k = 0; k < n; k++) {
      if (status == BB_OK) status = samples_append(&c->out[who[k]], &more[k]);
      samples_free(&more[k]);
    }
  }
  for (int i = 0; i < c->count; i++) conv_work_destroy(&w[i]);
  return status;
}

// Fills best, ratio and its interval. *clear: more samples would change little.
static bb_status weigh(const contest *c, verdict *v, bool *clear) {
  const double flops = bb_conv_flops_valid(&c->task->problem.conv);
  bb_status status = BB_OK;
  v->best = c->list[0];
  v->ratio = v->low = v->high = 1;
  *clear = true;
  for (int i = 1; i < c->count && status == BB_OK; i++) {
    double ratio[3];
    if (c->behind[i]) continue;
    status = samples_ratio(&c->out[i], flops, &c->out[0], flops, ratio);
    *clear &= (ratio[2] < wide * ratio[1] || ratio[2] < 1) && 3 * c->out[i].undisturbed >= 2 * c->out[i].batches;
    if (status != BB_OK || !(ratio[0] > v->ratio)) continue;
    v->best = c->list[i];
    v->ratio = ratio[0], v->low = ratio[1], v->high = ratio[2];
  }
  return status;
}

// Fills best, ns, ratio and its interval.
static bb_status decide(const study *s, const bb_task *task, bb_isa isa, const entrant *list, int count, verdict *v,
                        bb_error *error) {
  bb_ref_data *data = NULL;
  contest c = {.task = task, .isa = isa, .list = list, .count = count, .least = INFINITY};
  bool clear = count < 2;
  bb_status status = conv_data(s->o, task, false, &data, error);
  for (int place = 0; place < MOST_PLACES && status == BB_OK && !(place >= LEAST_PLACES && clear); place++) {
    status = hold(s, v, data, place, &c, error);
    if (status == BB_OK) status = weigh(&c, v, &clear);
    if (!c.out[0].batches) break;  // nobody is near
  }
  v->ns = c.least;
  if (status == BB_OK && c.out[0].batches) {
    row r;
    row_init(&r);
    r.flops_valid = r.flops_executed = bb_conv_flops_valid(&task->problem.conv);
    status = samples_to_row(&c.out[0], &s->team, false, true, &r);
    v->ns = r.time_p50;
  }
  for (int i = 0; i < count; i++) samples_free(&c.out[i]);
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
  printf("%-36s %11s  %.3f [%.3f, %.3f]  %s%s%s", v->name, time, v->ratio, v->low, v->high, chosen, *best ? "  best: " : "",
         best);
  if (team_moved(v->transfer_ns))
    printf("  transfer %.2f to %.2f ns", v->transfer_ns[0], v->transfer_ns[1]);
  else if (v->threads > 1)
    printf("  transfer %.2f ns", v->transfer_ns[1]);
  puts("");
  fflush(stdout);
}

static exit_code judge_once(study *s, const conv_case *c, bb_isa isa, verdict *v, bool *applies) {
  const options *o = s->o;
  bb_plan_options po = {
      .isa = isa, .alg = o->alg, .accuracy = o->accuracy, .threads = v->threads, .cold = v->cold, .mode = s->how.mode};
  bb_task task = c->task;
  entrant list[BB_ALG_COUNT] = {{0}};
  int count = 0;
  exit_code code = team_create(o, v->threads, &s->team);
  if (code != EXIT_OK) return code;
  v->transfer_ns[0] = v->transfer_ns[1] = team_transfer(&s->team);
  if (po.mode == BB_PLAN_MEASURE) {
    team_destroy(&s->team);
    const message m = measure_apart(s, &task, po);
    if (m.code != EXIT_OK) return m.code;
    if (m.status != BB_OK) return fail_status(m.status, &m.error);
    list[0] = m.chosen;
    seen(v->transfer_ns, m.transfer_ns);
    po.mode = BB_PLAN_ESTIMATE;
    if ((code = team_create(o, v->threads, &s->team)) != EXIT_OK) return code;
  }
  po.wisdom = s->how.wisdom;
  po.pool = s->team.pool;
  bb_error error = {{0}};
  bb_status status = entrants(s, &task, po, list, &count, &error);
  *applies = count > 0;
  v->chosen = list[0];
  if (status == BB_OK && count) status = decide(s, &task, isa, list, count, v, &error);
  const double last = team_transfer(&s->team);
  seen(v->transfer_ns, (const double[]){last, last});
  team_destroy(&s->team);
  return status == BB_OK ? EXIT_OK : fail_status(status, &error);
}

static exit_code judge(study *s, const conv_case *c, bb_isa isa, int threads, bool cold) {
  const options *o = s->o;
  verdict v = {.threads = threads, .cold = cold};
  snprintf(v.name, sizeof v.name, "%s/%s/t%d/mb%d/%s", c->id, bb_isa_name(isa), threads, c->task.problem.conv.N,
           cold ? "cold" : "hot");
  if (o->filter && regexec(&s->filter, v.name, 0, NULL, 0)) return EXIT_OK;
  bool applies = false;
  exit_code code;
  for (int i = 0; i < MOST_TRIES; i++) {
    code = judge_once(s, c, isa, &v, &applies);
    if (code != EXIT_OK || !applies || !team_moved(v.transfer_ns) || interrupted()) break;
  }
  if (code != EXIT_OK || !applies) return code;
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
    if (v->threads > 1)
      cJSON_AddNumberToObject(x, "transfer_ns", v->transfer_ns[1]);
    else
      cJSON_AddNullToObject(x, "transfer_ns");
    cJSON_AddBoolToObject(x, "moved", team_moved(v->transfer_ns));
    cJSON_AddItemToArray(list, x);
  }
  if (s->o->format == FORMAT_JSON)
    report_print_json(list, stdout);
  else
    report_print_table(list, s->o->format, stdout);
  cJSON_Delete(list);
}

static exit_code judge_all(study *s, const case_list *list) {
  const options *o = s->o;
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  exit_code code = isas_asked(o, isa, &isas, missing, &missings);
  for (int t = 0; t < o->threads.count && code == EXIT_OK; t++)
    for (size_t i = 0; i < list->count && code == EXIT_OK; i++)
      for (int m = 0; m < (o->mb.count ? o->mb.count : 1) && code == EXIT_OK; m++) {
        conv_case c = list->at[i];
        progress(i, list->count, c.id);
        if (o->mb.count) code = case_with_batch(&list->at[i], o->mb.at[m], &c);
        for (int a = 0; a < isas && code == EXIT_OK; a++)
          for (int cold = !o->hot; cold <= o->cold && code == EXIT_OK; cold++)
            code = interrupted() ? EXIT_INTERRUPTED : judge(s, &c, isa[a], o->threads.at[t], cold);
      }
  return code;
}

static exit_code run(const options *o) {
  study s = {.o = o};
  case_list list = {0};
  if (o->plan == BB_PLAN_MEASURE && o->wisdom)
    return fail(EXIT_USAGE, "--wisdom with --plan measure: each choice is measured anew; without --plan, wisdom is judged");
  exit_code code = team_check(o);
  if (code == EXIT_OK) code = planning_open(o, false, &s.how);
  if (code == EXIT_OK) code = case_collect(&list, o);
  const bool filtered = o->filter && !regcomp(&s.filter, o->filter, REG_EXTENDED | REG_NOSUB);
  if (code == EXIT_OK) code = judge_all(&s, &list);
  progress(0, 0, NULL);
  if (code == EXIT_OK || code == EXIT_INTERRUPTED) print_all(&s);
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
