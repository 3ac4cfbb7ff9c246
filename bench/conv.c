// SPDX-License-Identifier: Apache-2.0
//
// The verb conv: which problems, which rows, and how one is verified and timed.

#include "conv.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conv_work.h"
#include "peer.h"
#include "stats.h"
#include "suites.h"
#include "verb_test.h"

// ---- which problems ------------------------------------------------------------------------------------------------

exit_code case_add(case_list *list, const conv_case *c) {
  if (list->count == list->room) {
    conv_case *more = realloc(list->at, (2 * list->room + 64) * sizeof *more);
    if (!more) return fail(EXIT_SYSTEM, "out of memory for %zu problems", list->count);
    list->at = more;
    list->room = 2 * list->room + 64;
  }
  list->at[list->count++] = *c;
  return EXIT_OK;
}

void case_free(case_list *list) {
  free(list->at);
  *list = (case_list){0};
}

exit_code case_parse(const char *text, const char *where, conv_case *c) {
  bb_error error = {{0}};
  *c = (conv_case){0};
  const bb_status status = bb_conv_parse(text, &c->task, c->id, &c->count, &error);
  if (status != BB_OK) return fail(status == BB_NO_MEMORY ? EXIT_SYSTEM : EXIT_USAGE, "%s%s", where, error.text);
  if (!*c->id) {
    c->count = 0;
    bb_task_print(&c->task, c->id, sizeof c->id);
  }
  for (char *p = c->id; *p; p++)
    if (*p == '/' || *p == ' ' || *p == '"') *p = '_';  // it becomes a part of the row's name
  return EXIT_OK;
}

exit_code case_add_suite(case_list *list, const char *suite) {
  exit_code code = EXIT_OK;
  for (size_t i = 0; i < suite_count() && code == EXIT_OK; i++) {
    conv_case c;
    if (!suite_has(suite, suite_at(i))) continue;
    code = case_parse(suite_at(i)->problem, "", &c);
    c.count = 0;
    if (code == EXIT_OK) code = case_add(list, &c);
  }
  return code;
}

// One problem per line, # starts a comment, --batch=FILE (relative to this one) includes another, as in benchdnn's files.
static exit_code add_batch(case_list *list, const char *path, int depth) {
  enum { DEEPEST = 8 };
  if (depth > DEEPEST) return fail(EXIT_USAGE, "--batch %s: files include each other more than %d deep", path, DEEPEST);
  FILE *f = fopen(path, "re");
  if (!f) return fail(EXIT_USAGE, "--batch %s: cannot be read: %s", path, strerror(errno));
  char line[4096], where[400];
  exit_code code = EXIT_OK;
  const size_t before = list->count;
  for (int number = 1; code == EXIT_OK && fgets(line, sizeof line, f); number++) {
    char *hash = strchr(line, '#');
    if (hash) *hash = 0;
    char *text = line + strspn(line, " \t\r\n");
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1])) text[--n] = 0;
    if (!n) continue;
    snprintf(where, sizeof where, "%.300s:%d: ", path, number);
    if (!strncmp(text, "--batch=", 8)) {
      char nested[4200];
      const char *slash = strrchr(path, '/');
      const int dir = slash && text[8] != '/' ? (int)(slash - path) + 1 : 0;
      snprintf(nested, sizeof nested, "%.*s%.2000s", dir, path, text + 8);
      code = add_batch(list, nested, depth + 1);
      continue;
    }
    if (*text == '-') {
      code = fail(EXIT_USAGE, "%s\"%.80s\": a problem, a comment or --batch=FILE was expected", where, text);
      continue;
    }
    conv_case c;
    code = case_parse(text, where, &c);
    if (code == EXIT_OK) code = case_add(list, &c);
  }
  if (code == EXIT_OK && ferror(f))
    code = fail(errno == EISDIR ? EXIT_USAGE : EXIT_SYSTEM, "--batch %s: cannot be read: %s", path, strerror(errno));
  fclose(f);
  if (code == EXIT_OK && !depth && list->count == before) code = fail(EXIT_USAGE, "--batch %s: contains no problem", path);
  return code;
}

exit_code case_add_args(case_list *list, const options *o) {
  exit_code code = EXIT_OK;
  for (int i = 0; i < o->args.count && code == EXIT_OK; i++) {
    char text[1024];
    conv_case c;
    int n = snprintf(text, sizeof text, "%s", o->args.at[i]);
    // What is fused may be a word of its own.
    while (i + 1 < o->args.count && o->args.at[i + 1][0] == '+' && n < (int)sizeof text)
      n += snprintf(text + n, sizeof text - (size_t)n, " %s", o->args.at[++i]);
    if (n >= (int)sizeof text) return fail(EXIT_USAGE, "a problem of more than %zu characters", sizeof text - 1);
    code = case_parse(text, "", &c);
    if (code == EXIT_OK) code = case_add(list, &c);
  }
  return code;
}

static exit_code collect(const options *o, case_list *list) {
  exit_code code = case_add_args(list, o);
  if (code == EXIT_OK && o->suite) code = case_add_suite(list, o->suite);
  if (code == EXIT_OK && o->model) code = case_add_model(list, o->model);
  if (code == EXIT_OK && o->batch) code = add_batch(list, o->batch, 0);
  if (code == EXIT_OK && !list->count)
    code = fail(EXIT_USAGE, "conv needs a problem, --suite, --model or --batch; see backbench conv --help");
  return code;
}

exit_code case_with_batch(const conv_case *c, int mb, conv_case *out) {
  bb_error error = {{0}};
  *out = *c;
  out->task.problem.conv.N = mb;
  const bb_status status = bb_problem_validate(&out->task.problem, &error);
  return status == BB_OK ? EXIT_OK : fail(EXIT_USAGE, "%s with --mb %d: %s", c->id, mb, error.text);
}

// ---- rows ----------------------------------------------------------------------------------------------------------

// A problem at one batch size; its rows share the reference's data.
typedef struct group {
  conv_case c;
} group;

// One row. A peer's row is measured together with ours, batch by batch, and only waits here to be handed over.
typedef struct conv_row {
  conv_run *of;
  const group *group;
  bb_isa isa;
  const bb_kernel *kernel;  // NULL: a peer's
  bb_task task;             // with views
  bb_config config;
  bool fixed;  // the config is the planner's
  const peer *peer;
  int threads;
  bool cold;
  struct conv_row *with[4];  // ours: the peers' rows
  int withs;
  bool ready;
  row result;
} conv_row;

// Of the whole verb: the data of the problem that is being measured.
struct conv_run {
  const group *group;
  bb_ref_data *data;
  struct group **groups;
  size_t count;
};

static void fill_in(const conv_row *c, const options *o, row *r) {
  const bb_conv *p = &c->group->c.task.problem.conv;
  (void)o;
  bb_task_print(&c->group->c.task, r->problem, sizeof r->problem);
  snprintf(r->kernel, sizeof r->kernel, "%s%s", c->peer ? "peer:" : "", c->peer ? c->peer->name : c->kernel->name);
  snprintf(r->isa, sizeof r->isa, "%s", bb_isa_name(c->isa));
  r->threads = c->threads;
  r->mb = p->N;
  r->cold = c->cold;
  r->count = c->group->c.count;
  r->flops_valid = bb_conv_flops_valid(p);
  r->flops = bb_conv_flops(p);
  r->flops_executed = r->flops_valid;  // a peer's; ours are known when there is a plan
  if (c->kernel) snprintf(r->algorithm, sizeof r->algorithm, "%s", bb_alg_name(c->kernel->alg));
  const double x = (double)p->N * p->C * p->H * p->W, w = (double)p->K * (p->C / p->G) * p->R * p->S;
  const double y = (double)p->N * p->K * p->P * p->Q;
  r->bytes = 4 * (x + w + y);
  r->weights_bytes = 4 * w;
}

static void take_result(row *r, const bb_ref_result *result) {
  r->checked = true;
  r->err_l2 = result->err_l2;
  r->err_max_rms = result->err_max_rms;
}

static exit_code check_ours(conv_work *w, row *r) {
  bb_verify_result result;
  r->err_bound = conv_bound(w->plan[0]);
  bb_verify_reset(w->verify);
  bb_plan_run(w->plan[0], w->exec, w->pool, &w->verify->io);
  const bool ok = bb_verify_check(w->verify, bb_plan_kernel(w->plan[0])->alg, r->err_bound, &result);
  take_result(r, &result.ref);
  if (!ok) row_fail(r, "wrong result: %s", result.text);
  return EXIT_OK;
}

static exit_code check_peer(const peer *p, peer_conv *conv, const bb_ref_data *data, row *r) {
  const int *s = data->y_shape;
  float *y = xalloc((size_t)s[0] * (size_t)s[1] * (size_t)s[2] * (size_t)s[3] * sizeof *y);
  bb_ref_result result = {0};
  p->run(conv);
  if (!y || !p->output(conv, y)) {
    free(y);
    return fail(EXIT_SYSTEM, "out of memory for the output of %s", r->problem);
  }
  // It claims no bound: what any direct float computation keeps.
  const bool ok = bb_ref_compare(data, NULL, y, 0, &result);
  free(y);
  take_result(r, &result);
  if (!ok)
    row_fail(r, "wrong result: %s at n %d, channel %d, row %d, column %d: expected %.9g, got %.9g", result.criterion,
             result.at[0], result.at[1], result.at[2], result.at[3], result.expected, result.got);
  return EXIT_OK;
}

// A rate above the probe's means that the probe does not show the peak; unless something else ran, and only now and then.
static void check_probe(row *r) {
  const double above = 103;
  if (r->state == ROW_DONE && !r->disturbed && r->pct_executed > above &&
      r->batches - r->batches_disturbed >= SAMPLER_UNDISTURBED)
    row_fail(r, "executed %.1f %% of the probed peak: the probe is wrong", r->pct_executed);
}

// Time of each stage, as the executor sees it from inside (mean over the threads), and the rest of a call: handing out tiles,
// waiting for each other. Medians over as many calls as fit half a second, at least five.
static bb_status time_phases(conv_work *w, row *r) {
  enum { MOST = 200, LEAST = 5 };
  const bb_plan *plan = w->plan[0];
  const int stages = (int)bb_plan_stages(plan);
  double(*ns)[MOST] = calloc(BB_MAX_STAGES + 1, sizeof *ns);
  if (!ns) return BB_NO_MEMORY;
  bb_times times;
  bb_exec_time(w->exec, &times);
  size_t n = 0;
  for (const double start = now_ns(); n < MOST && (n < LEAST || now_ns() - start < 5e8); n++) {
    memset(&times, 0, sizeof times);
    const double from = now_ns();
    conv_work_run(w);
    const double wall = now_ns() - from, per_tick = wall / (double)times.run / bb_pool_threads(w->pool);
    ns[stages][n] = wall;
    for (int i = 0; i < stages; i++) {
      ns[i][n] = (double)times.busy[i] * per_tick;
      ns[stages][n] -= ns[i][n];
    }
  }
  bb_exec_time(w->exec, NULL);
  r->phases = 0;
  for (int i = 0; i <= stages; i++) {
    const double median = stats_of_median(ns[i], n).median;
    if (i < stages && median == 0) continue;  // nothing to do in this problem
    r->phase[r->phases].ns = median;
    snprintf(r->phase[r->phases++].name, sizeof r->phase->name, "%s",
             i < stages ? bb_plan_kernel(plan)->stage[i].name : "scheduling");
  }
  free(ns);
  return BB_OK;
}

static exit_code prepare_data(conv_run *u, const options *o, const group *g) {
  if (u->group == g && u->data) return EXIT_OK;
  bb_ref_data_destroy(u->data);
  u->data = NULL;
  u->group = g;
  bb_error error = {{0}};
  const bb_status status = conv_data(o, &g->c.task, !o->no_check, &u->data, &error);
  return status == BB_OK ? EXIT_OK : fail_status(status, &error);
}

// Creates and checks a peer's convolution. NULL in *conv if it is out of the race; the row says why.
static exit_code prepare_peer(conv_row *c, const options *o, const team *t, peer_conv **conv, row *r) {
  bb_error error = {{0}};
  *conv = NULL;
  fill_in(c, o, r);
  team_unpin();
  // Its threads stand where those of the largest team would; they are placed once, when it is loaded.
  static int_list all;
  all.count = team_processors(all.at);
  const int_list *cpus = o->cpus.count ? &o->cpus : &all;
  const char *missing = c->peer->missing(cpus->at, cpus->count);
  bb_status status = BB_OK;
  if (!missing) status = c->peer->create(&c->group->c.task, c->of->data, c->isa, c->threads, c->cold, conv, &error);
  team_pin(t);
  if (missing) return row_skip(r, "%s", missing), EXIT_OK;
  if (status == BB_UNSUPPORTED) return row_skip(r, "%s", error.text), EXIT_OK;
  if (status != BB_OK) return fail_status(status, &error);
  r->packed_bytes = (double)c->peer->packed_bytes(*conv);
  if (o->no_check) return EXIT_OK;
  team_settle(t);
  const exit_code code = check_peer(c->peer, *conv, c->of->data, r);
  if (code != EXIT_OK || r->state == ROW_FAILED) {
    c->peer->destroy(*conv);
    *conv = NULL;
  }
  return code;
}

enum { TOGETHER = 5 };

// Times one kernel and the peers' rows with it.
static exit_code measure_row(session *s, void *context, row *r) {
  conv_row *c = context;
  const options *o = session_options(s);
  if (c->ready) {  // measured with ours
    const row mine = *r;
    *r = c->result;
    memcpy(r->name, mine.name, sizeof r->name);
    row_init(&c->result);
    c->ready = false;
    return EXIT_OK;
  }
  fill_in(c, o, r);
  team *t;
  exit_code code = session_team(s, c->threads, &t);
  if (code == EXIT_OK) code = prepare_data(c->of, o, c->group);
  if (code != EXIT_OK) return code;

  conv_work w = {0};
  row *rows[TOGETHER] = {r};
  conv_row *who[TOGETHER] = {c};
  peer_conv *conv[TOGETHER] = {NULL};
  subject subjects[TOGETHER];
  samples out[TOGETHER];
  size_t n = 0;
  memset(out, 0, sizeof out);

  if (c->kernel) {
    const bb_plan_options po = {.isa = c->isa,
                                .alg = o->alg,
                                .kernel = c->kernel,
                                .config = c->fixed ? &c->config : NULL,
                                .threads = c->threads,
                                .pool = t->pool,
                                .cold = c->cold};
    bb_error error = {{0}};
    const bb_status status = conv_work_create(&c->task, c->of->data, &po, c->cold, t->pool, &w, &error);
    if (status != BB_OK) return fail_status(status, &error);
    c->config = *bb_plan_config(w.plan[0]);
    r->flops_executed = conv_executed(w.plan[0]);
    r->packed_bytes = (double)bb_plan_packed_bytes(w.plan[0]);
    r->workspace_bytes = (double)bb_exec_bytes(w.exec);
    if (!o->no_check) code = check_ours(&w, r);
    if (r->state == ROW_PENDING) subjects[n++] = (subject){.run = conv_work_run, .context = &w};
  }
  for (int i = 0; i < (c->peer ? 1 : c->withs) && code == EXIT_OK && (n || c->peer); i++) {
    conv_row *p = c->peer ? c : c->with[i];
    row *pr = c->peer ? r : &p->result;
    if (pr != r) row_free(pr);
    code = prepare_peer(p, o, t, &conv[n], pr);
    p->ready = p != c;
    if (code != EXIT_OK || pr->state != ROW_PENDING) continue;
    rows[n] = pr;
    who[n] = p;
    subjects[n] = (subject){.run = p->peer->run, .context = conv[n], .own_threads = true};
    n++;
  }

  if (code == EXIT_OK && n) {
    const sampler sm = {.team = t, .probe = bb_probe_get(c->isa), .min_time = o->min_time, .max_noise = o->max_noise};
    bb_status status = sampler_run(&sm, subjects, n, out);
    for (size_t i = 0; i < n && status == BB_OK; i++) {
      rows[i]->state = ROW_DONE;
      status = samples_to_row(&out[i], t, o->samples, !subjects[i].own_threads, rows[i]);
      check_probe(rows[i]);
      if (status != BB_OK || !i || subjects[0].own_threads) continue;
      double ratio[3];
      status = samples_ratio(&out[0], rows[0]->flops_valid, &out[i], rows[i]->flops_valid, ratio);
      if (i > 1) continue;  // the row has room for one
      snprintf(r->peer, sizeof r->peer, "%s", who[i]->peer->name);
      r->peer_ratio = ratio[0], r->peer_ratio_low = ratio[1], r->peer_ratio_high = ratio[2];
    }
    if (status == BB_OK && o->phases && c->kernel) status = time_phases(&w, r);
    if (status != BB_OK) code = fail(EXIT_SYSTEM, "out of memory for the samples of %s", r->name);
  }
  for (size_t i = 0; i < TOGETHER; i++) {
    samples_free(&out[i]);
    if (conv[i]) who[i]->peer->destroy(conv[i]);
  }
  conv_work_destroy(&w);
  return code;
}

static void release_row(void *context) {
  conv_row *c = context;
  row_free(&c->result);
  free(c);
}

// Which kernels a row of the verb is for: the planner's choice, or all that --impl names.
typedef struct picker {
  const options *o;
  bool by_name;
  regex_t name;
} picker;

// The i-th kernel for a task, or NULL. Sets the task's views.
static const bb_kernel *pick(const picker *p, bb_task *task, bb_isa isa, int threads, bool cold, size_t i, bb_config *config) {
  const bb_plan_options po = {.isa = isa, .alg = p->o->alg, .accuracy = p->o->accuracy, .threads = threads, .cold = cold};
  if (!p->by_name) return i ? NULL : conv_choose(task, &po, config);
  for (size_t k = 0; k < bb_kernel_count(); k++) {
    const bb_kernel *kernel = bb_kernel_at(k);
    if (kernel->op != BB_OP_CONV || !bb_isa_within(kernel->isa, isa) || !bb_isa_runs(kernel->isa)) continue;
    if (po.alg != BB_ALG_AUTO && kernel->alg != po.alg) continue;
    if (regexec(&p->name, kernel->name, 0, NULL, 0)) continue;
    bb_task t = *task;
    if (bb_task_views(&t, kernel->x_block, kernel->y_block) != BB_OK) continue;
    bb_plan_options one = po;
    one.kernel = kernel;
    if (!bb_kernel_choose(&t, &one, config) || i--) continue;
    *task = t;
    return kernel;
  }
  return NULL;
}

static void name_row(char name[256], const group *g, const char *kernel, int threads, bool cold) {
  snprintf(name, 256, "conv/%s/%s/t%d/mb%d/%s", g->c.id, kernel, threads, g->c.task.problem.conv.N, cold ? "cold" : "hot");
}

static conv_row *new_row(conv_run *u, const group *g, bb_isa isa, int threads, bool cold) {
  conv_row *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  *c = (conv_row){.of = u, .group = g, .isa = isa, .threads = threads, .cold = cold, .task = g->c.task};
  row_init(&c->result);
  return c;
}

// All rows of a problem on one ISA, thread count and cache mode. *rows counts those that will be timed.
static exit_code add_rows(session *s, conv_run *u, const picker *p, const group *g, bb_isa isa, int threads, bool cold,
                          size_t *rows) {
  const options *o = p->o;
  char name[256];
  conv_row *ours = NULL;
  exit_code code = EXIT_OK;
  for (size_t i = 0; code == EXIT_OK; i++) {
    bb_task task = g->c.task;
    bb_config config;
    const bb_kernel *kernel = pick(p, &task, isa, threads, cold, i, &config);
    if (!kernel && i) break;
    if (!kernel) {
      char why[160];
      snprintf(why, sizeof why, "no kernel within --isa %s%s%s%s%s accepts it", bb_isa_name(isa),
               o->alg != BB_ALG_AUTO ? " --alg " : "", o->alg != BB_ALG_AUTO ? bb_alg_name(o->alg) : "",
               o->impl ? " --impl " : "", o->impl ? o->impl : "");
      name_row(name, g, o->impl ? "impl" : bb_alg_name(o->alg), threads, cold);
      return session_add_skipped(s, name, why);
    }
    conv_row *c = new_row(u, g, isa, threads, cold);
    if (!c) return fail(EXIT_SYSTEM, "out of memory for the rows");
    c->kernel = kernel;
    c->task = task;
    c->config = config;
    c->fixed = true;
    name_row(name, g, kernel->name, threads, cold);
    if (!ours && session_wants(s, name)) ours = c;
    code = session_add(s, name, measure_row, c, release_row);
    ++*rows;
  }
  for (int i = 0; i < o->peers.count && code == EXIT_OK && i < TOGETHER - 1; i++) {
    conv_row *c = new_row(u, g, isa, threads, cold);
    if (!c) return fail(EXIT_SYSTEM, "out of memory for the rows");
    c->peer = peer_find(o->peers.at[i]);
    char kernel[40];
    snprintf(kernel, sizeof kernel, "peer:%s", c->peer->name);
    name_row(name, g, kernel, threads, cold);
    if (ours && session_wants(s, name)) ours->with[ours->withs++] = c;
    code = session_add(s, name, measure_row, c, release_row);
  }
  return code;
}

static exit_code add_all(session *s, conv_run *u, const picker *p, const case_list *list) {
  const options *o = p->o;
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  exit_code code = isas_asked(o, isa, &isas, missing, &missings);
  size_t rows = 0;
  for (size_t i = 0; i < list->count; i++)
    for (int m = 0; m < (o->mb.count ? o->mb.count : 1); m++) {
      group *g = calloc(1, sizeof *g);
      if (!g) return fail(EXIT_SYSTEM, "out of memory for the problems");
      u->groups[u->count++] = g;
      g->c = list->at[i];
      if (code == EXIT_OK && o->mb.count) code = case_with_batch(&list->at[i], o->mb.at[m], &g->c);
      for (int a = 0; a < isas && code == EXIT_OK; a++)
        for (int t = 0; t < o->threads.count && code == EXIT_OK; t++)
          for (int cold = !o->hot; cold <= o->cold && code == EXIT_OK; cold++)
            code = add_rows(s, u, p, g, isa[a], o->threads.at[t], cold, &rows);
      for (int a = 0; a < missings && code == EXIT_OK; a++) {
        char name[256];
        name_row(name, g, bb_isa_name(missing[a]), o->threads.at[0], !o->hot);
        code = session_add_skipped(s, name, "this CPU, this build or BB_ISA does not allow this ISA");
      }
      if (code != EXIT_OK) return code;
    }
  if (!rows && (o->impl || o->alg != BB_ALG_AUTO))
    return fail(EXIT_USAGE, "%s %s accepts none of the problems; \"backbench list kernels\" shows those that exist",
                o->impl ? "--impl" : "--alg", o->impl ? o->impl : bb_alg_name(o->alg));
  return code;
}

exit_code conv_rows(session *s, const options *o, const case_list *list, conv_run **out) {
  picker p = {.o = o};
  conv_run *u = *out = calloc(1, sizeof *u);
  if (u) u->groups = calloc(list->count * (size_t)(o->mb.count ? o->mb.count : 1), sizeof *u->groups);
  if (!u || !u->groups) return fail(EXIT_SYSTEM, "out of memory for the problems");
  if (o->impl) p.by_name = !regcomp(&p.name, o->impl, REG_EXTENDED | REG_NOSUB);
  const exit_code code = add_all(s, u, &p, list);
  if (p.by_name) regfree(&p.name);
  return code;
}

void conv_free(conv_run *u) {
  if (!u) return;
  bb_ref_data_destroy(u->data);
  for (size_t i = 0; i < u->count; i++) free(u->groups[i]);
  free(u->groups);
  free(u);
}

exit_code verb_conv(const options *o) {
  if (o->suite && !strcmp(o->suite, "tails")) {
    if (o->args.count || o->model || o->batch)
      return fail(EXIT_USAGE, "--suite tails checks and times nothing: it takes no other problems");
    return test_tails(o);
  }
  case_list list = {0};
  exit_code code = collect(o, &list);
  session *s = NULL;
  conv_run *u = NULL;
  if (code == EXIT_OK) code = session_create(o, &s);
  if (code == EXIT_OK) code = conv_rows(s, o, &list, &u);
  if (code == EXIT_OK) code = session_run(s);
  session_destroy(s);
  conv_free(u);
  case_free(&list);
  return code;
}
