// SPDX-License-Identifier: Apache-2.0
//
// The verb conv: which problems, which rows, and how one is verified and timed.

#include "conv.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "conv_work.h"
#include "peer.h"
#include "planning.h"
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

exit_code case_collect(case_list *list, const options *o) {
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

// Rows that are measured together, batch by batch.
enum { TOGETHER = 5 };

// One row. One that is measured with another only waits here to be handed over.
typedef struct conv_row {
  conv_run *of;
  const group *group;
  bb_isa isa;
  const bb_kernel *kernel;  // NULL: a peer's
  bb_task task;             // with views
  bb_config config;
  const peer *peer;
  int threads;
  bool cold;
  struct conv_row *with[TOGETHER - 1];  // rows that are measured with this one
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
  void (*seen)(void *context, const conv_done *done);  // or NULL
  void *context;
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
  const bb_status status = bb_verify_check(w->verify, bb_plan_kernel(w->plan[0])->alg, r->err_bound, &result);
  if (status != BB_OK) return fail(EXIT_SYSTEM, "out of memory for the check of %s", r->problem);
  take_result(r, &result.ref);
  if (!result.ok) row_fail(r, "wrong result: %s", result.text);
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

// Time of each stage, or of its parts, as the executor sees it from inside (mean over the threads), and the rest of a call:
// handing out tiles, waiting for each other. Medians over as many calls as fit half a second, at least five.
static bb_status time_phases(conv_work *w, row *r) {
  enum { MOST = 200, LEAST = 5 };
  const bb_plan *plan = w->plan[0];
  const bb_kernel *const k = bb_plan_kernel(plan);
  double(*ns)[MOST] = calloc(MOST_PHASES, sizeof *ns);
  if (!ns) return BB_NO_MEMORY;
  bb_times times;
  const char *name[MOST_PHASES];
  const uint64_t *ticks[MOST_PHASES];
  int phases = 0;
  for (int i = 0; i < (int)bb_plan_stages(plan); i++) {
    const bool parts = i == 0 && k->part[0];
    for (int part = 0; part < (parts ? BB_MAX_PARTS : 1); part++, phases++) {
      name[phases] = parts ? k->part[part] : k->stage[i].name;
      ticks[phases] = parts ? &times.part[part] : &times.busy[i];
    }
  }
  name[phases] = "scheduling";
  bb_exec_time(w->exec, &times);
  size_t n = 0;
  for (const double start = now_ns(); n < MOST && (n < LEAST || now_ns() - start < 5e8); n++) {
    memset(&times, 0, sizeof times);
    const double from = now_ns();
    conv_work_run(w);
    const double wall = now_ns() - from, per_tick = wall / (double)times.run / bb_pool_threads(w->pool);
    ns[phases][n] = wall;
    for (int i = 0; i < phases; i++) {
      ns[i][n] = (double)*ticks[i] * per_tick;
      ns[phases][n] -= ns[i][n];
    }
  }
  bb_exec_time(w->exec, NULL);
  r->phases = 0;
  for (int i = 0; i <= phases; i++) {
    const double median = stats_of_median(ns[i], n).median;
    if (i < phases && median == 0) continue;  // nothing to do in this problem
    r->phase[r->phases].ns = median;
    snprintf(r->phase[r->phases++].name, sizeof r->phase->name, "%s", name[i]);
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

// Creates and checks one of our kernels. The row says if it is out of the race.
static exit_code prepare_ours(conv_row *c, const options *o, const team *t, conv_work *w, row *r) {
  fill_in(c, o, r);
  const bb_plan_options po = {
      .isa = c->isa, .kernel = c->kernel, .config = &c->config, .threads = c->threads, .pool = t->pool, .cold = c->cold};
  bb_error error = {{0}};
  const bb_status status = conv_work_create(&c->task, c->of->data, &po, c->cold, t->pool, w, &error);
  if (status != BB_OK) return fail_status(status, &error);
  r->flops_executed = conv_executed(w->plan[0]);
  r->packed_bytes = (double)bb_plan_packed_bytes(w->plan[0]);
  r->workspace_bytes = (double)bb_exec_bytes(w->exec);
  return o->no_check ? EXIT_OK : check_ours(w, r);
}

// One of those that are measured together.
typedef struct racer {
  conv_row *row;
  row *result;
  conv_work work;
  peer_conv *conv;
} racer;

static exit_code prepare(conv_row *c, const options *o, const team *t, racer *one, subject *s) {
  if (c->peer) {
    *s = (subject){.run = c->peer->run, .own_threads = true};
    const exit_code code = prepare_peer(c, o, t, &one->conv, one->result);
    s->context = one->conv;
    return code;
  }
  *s = (subject){.run = conv_work_run, .context = &one->work};
  return prepare_ours(c, o, t, &one->work, one->result);
}

// What the others' batches say beside ours: a peer's rate goes to our row, the gain over the direct algorithm to all of ours.
static bb_status compare_rows(const racer *list, const samples *out, size_t n) {
  bb_status status = BB_OK;
  double ratio[3];
  for (size_t i = 0; i < n && status == BB_OK; i++) {
    row *r = list[i].result;
    const bb_kernel *k = list[i].row->kernel;
    if (!k) {  // the row has room for one
      row *ours = list[0].result;
      if (!list[0].row->kernel || *ours->peer) continue;
      status = samples_ratio(&out[0], ours->flops_valid, &out[i], r->flops_valid, ratio);
      snprintf(ours->peer, sizeof ours->peer, "%s", list[i].row->peer->name);
      ours->peer_ratio = ratio[0], ours->peer_ratio_low = ratio[1], ours->peer_ratio_high = ratio[2];
      continue;
    }
    for (size_t d = 0; d < n && status == BB_OK; d++) {
      if (d == i || !list[d].row->kernel || list[d].row->kernel->alg != BB_ALG_DIRECT || k->alg == BB_ALG_DIRECT) continue;
      status = samples_ratio(&out[i], r->flops_valid, &out[d], r->flops_valid, ratio);
      r->speedup = ratio[0], r->speedup_low = ratio[1], r->speedup_high = ratio[2];
    }
  }
  return status;
}

// Times a row and those that are measured with it.
static exit_code measure_row(session *s, void *context, row *r) {
  conv_row *c = context;
  const options *o = session_options(s);
  if (c->ready) {  // measured with another
    const row mine = *r;
    *r = c->result;
    memcpy(r->name, mine.name, sizeof r->name);
    row_init(&c->result);
    c->ready = false;
    return EXIT_OK;
  }
  team *t;
  exit_code code = session_team(s, c->threads, &t);
  if (code == EXIT_OK) code = prepare_data(c->of, o, c->group);
  if (code != EXIT_OK) return code;

  racer list[TOGETHER] = {{0}};
  subject subjects[TOGETHER];
  samples out[TOGETHER];
  size_t n = 0;
  memset(out, 0, sizeof out);
  for (int i = 0; i <= c->withs && code == EXIT_OK; i++) {
    conv_row *p = i ? c->with[i - 1] : c;
    if (i) row_free(&p->result);
    list[n] = (racer){.row = p, .result = i ? &p->result : r};
    code = prepare(p, o, t, &list[n], &subjects[n]);
    p->ready = i;
    if (list[n].result->state == ROW_PENDING)
      n++;
    else
      conv_work_destroy(&list[n].work);
  }
  if (code == EXIT_OK && n) {
    const sampler sm = {.team = t, .probe = bb_probe_get(c->isa), .min_time = o->min_time, .max_noise = o->max_noise};
    bb_status status = sampler_run(&sm, subjects, n, out);
    for (size_t i = 0; i < n && status == BB_OK; i++) {
      row *w = list[i].result;
      w->state = ROW_DONE;
      status = samples_to_row(&out[i], t, o->samples, !subjects[i].own_threads, w);
      samples_check_probe(w);
      if (status == BB_OK && o->phases && list[i].row->kernel) status = time_phases(&list[i].work, w);
    }
    if (status == BB_OK) status = compare_rows(list, out, n);
    // The session would take only the first of them: who sees them gets all or none.
    if (interrupted() && c->of->seen) code = EXIT_INTERRUPTED;
    for (size_t i = 0; i < n && status == BB_OK && code == EXIT_OK && c->of->seen; i++) {
      const conv_row *w = list[i].row;
      const conv_done done = {&w->task, w->kernel, &w->config, w->isa, list[i].result};
      if (list[i].result->state == ROW_DONE) c->of->seen(c->of->context, &done);
    }
    if (status != BB_OK) code = fail(EXIT_SYSTEM, "out of memory for the samples of %s", r->name);
  }
  for (size_t i = 0; i < TOGETHER; i++) {
    samples_free(&out[i]);
    if (list[i].conv) list[i].row->peer->destroy(list[i].conv);
    conv_work_destroy(&list[i].work);
  }
  return code;
}

static void release_row(void *context) {
  conv_row *c = context;
  row_free(&c->result);
  free(c);
}

// Which kernels a problem's rows are for: the planner's choice, the best of each algorithm, or all that --impl names.
typedef struct picker {
  const options *o;
  const planning *how;
  bool by_name, by_algorithm;
  regex_t name;
} picker;

// The next kernel for a task, *at on; *kernel is NULL at the end. Sets the task's views.
static bb_status pick(const picker *p, bb_task *task, const bb_plan_options *po, size_t *at, const bb_kernel **kernel,
                      bb_config *config, bb_error *error) {
  *kernel = NULL;
  if (!p->by_name && !p->by_algorithm) return (*at)++ ? BB_OK : conv_choose(task, po, kernel, config, error);
  bb_status status = BB_OK;
  while (p->by_algorithm && *at + BB_ALG_DIRECT < BB_ALG_COUNT && !*kernel && status == BB_OK) {
    bb_plan_options one = *po;
    one.alg = (bb_alg)(BB_ALG_DIRECT + (*at)++);
    const bool wanted = po->alg == BB_ALG_AUTO ? bb_accuracy_admits(po->accuracy, one.alg) : one.alg == po->alg;
    bb_task t = *task;
    if (wanted) status = conv_choose(&t, &one, kernel, config, error);
    if (*kernel) *task = t;
  }
  while (p->by_name && *at < bb_kernel_count()) {
    const bb_kernel *k = bb_kernel_at((*at)++);
    if (k->op != BB_OP_CONV || !bb_isa_within(k->isa, po->isa) || !bb_isa_runs(k->isa)) continue;
    if (po->alg != BB_ALG_AUTO && k->alg != po->alg) continue;
    if (regexec(&p->name, k->name, 0, NULL, 0)) continue;
    bb_task t = *task;
    bb_plan_options one = *po;
    one.kernel = k;
    if (bb_task_views(&t, k->x_block, k->y_block) != BB_OK || !bb_kernel_choose(&t, &one, NULL)) continue;
    *task = t;
    return bb_plan_choose(&t, &one, kernel, config, error);
  }
  return status;
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

static exit_code skip_all(session *s, const options *o, const group *g, bb_isa isa, int threads, bool cold) {
  char name[256], why[160];
  snprintf(why, sizeof why, "no kernel within --isa %s%s%s%s%s accepts it", bb_isa_name(isa),
           o->alg != BB_ALG_AUTO ? " --alg " : "", o->alg != BB_ALG_AUTO ? bb_alg_name(o->alg) : "", o->impl ? " --impl " : "",
           o->impl ? o->impl : "");
  name_row(name, g, o->impl ? "impl" : bb_alg_name(o->alg), threads, cold);
  return session_add_skipped(s, name, why);
}

// Registers a row; it is measured with *leader, if that is given and has room, or becomes it.
static exit_code add_row(session *s, conv_row *c, const char *kernel, conv_row **leader) {
  char name[256];
  name_row(name, c->group, kernel, c->threads, c->cold);
  if (leader && session_wants(s, name)) {
    if (!*leader)
      *leader = c;
    else if ((*leader)->withs < TOGETHER - 1)
      (*leader)->with[(*leader)->withs++] = c;
  }
  return session_add(s, name, measure_row, c, release_row);
}

// All rows of a problem on one ISA, thread count and cache mode. *rows counts those that will be timed.
static exit_code add_rows(session *s, conv_run *u, const picker *p, const group *g, bb_isa isa, int threads, bool cold,
                          size_t *rows) {
  const options *o = p->o;
  bb_plan_options po = {.isa = isa,
                        .alg = o->alg,
                        .accuracy = o->accuracy,
                        .threads = threads,
                        .cold = cold,
                        .mode = p->how->mode,
                        .wisdom = p->how->wisdom};
  exit_code code = EXIT_OK;
  if (po.mode == BB_PLAN_MEASURE) {
    team *t;
    code = session_team(s, threads, &t);
    if (code != EXIT_OK) return code;
    po.pool = t->pool;
  }
  conv_row *leader = NULL;
  size_t at = 0;
  for (bool any = false; code == EXIT_OK; any = true) {
    bb_task task = g->c.task;
    bb_config config;
    const bb_kernel *kernel;
    bb_error error = {{0}};
    const bb_status status = pick(p, &task, &po, &at, &kernel, &config, &error);
    if (status != BB_OK) return fail_status(status, &error);
    if (interrupted()) return EXIT_INTERRUPTED;
    if (!kernel && !any) return skip_all(s, o, g, isa, threads, cold);
    if (!kernel) break;
    conv_row *c = new_row(u, g, isa, threads, cold);
    if (!c) return fail(EXIT_SYSTEM, "out of memory for the rows");
    c->kernel = kernel;
    c->task = task;
    c->config = config;
    // Kernels of one algorithm are timed one after the other; peers with the first of them.
    code = add_row(s, c, kernel->name, p->by_algorithm || !leader ? &leader : NULL);
    ++*rows;
  }
  for (int i = 0; i < o->peers.count && code == EXIT_OK; i++) {
    conv_row *c = new_row(u, g, isa, threads, cold);
    if (!c) return fail(EXIT_SYSTEM, "out of memory for the rows");
    c->peer = peer_find(o->peers.at[i]);
    char kernel[40];
    snprintf(kernel, sizeof kernel, "peer:%s", c->peer->name);
    code = add_row(s, c, kernel, leader ? &leader : NULL);
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
      if (p->how->mode == BB_PLAN_MEASURE) progress(i, list->count, g->c.id);
      for (int a = 0; a < isas && code == EXIT_OK; a++)
        for (int t = 0; t < o->threads.count && code == EXIT_OK; t++)
          for (int cold = !o->hot; cold <= o->cold && code == EXIT_OK; cold++)
            code = add_rows(s, u, p, g, isa[a], o->threads.at[t], cold, &rows);
      for (int a = 0; a < missings && code == EXIT_OK; a++) {
        char name[256];
        name_row(name, g, bb_isa_name(missing[a]), o->threads.at[0], !o->hot);
        code = session_add_skipped(s, name, isa_missing);
      }
      if (code != EXIT_OK) return code;
    }
  if (!rows && (o->impl || o->alg != BB_ALG_AUTO))
    return fail(EXIT_USAGE, "%s %s accepts none of the problems; \"backbench list kernels\" shows those that exist",
                o->impl ? "--impl" : "--alg", o->impl ? o->impl : bb_alg_name(o->alg));
  return code;
}

static exit_code add_rows_of(session *s, picker *p, const case_list *list, conv_run *u) {
  const options *o = p->o;
  if (u) u->groups = calloc(list->count * (size_t)(o->mb.count ? o->mb.count : 1), sizeof *u->groups);
  if (!u || !u->groups) return fail(EXIT_SYSTEM, "out of memory for the problems");
  if (o->impl) p->by_name = !regcomp(&p->name, o->impl, REG_EXTENDED | REG_NOSUB);
  const exit_code code = add_all(s, u, p, list);
  if (p->by_name) regfree(&p->name);
  return code;
}

exit_code conv_rows(session *s, const options *o, const case_list *list, conv_run **u) {
  planning how;
  *u = NULL;
  exit_code code = planning_open(o, false, &how);
  if (code != EXIT_OK) return code;
  picker p = {.o = o, .how = &how};
  code = add_rows_of(s, &p, list, *u = calloc(1, sizeof **u));
  const exit_code saved = code == EXIT_OK || code == EXIT_INTERRUPTED ? planning_save(&how) : EXIT_OK;
  planning_close(&how);
  return code == EXIT_OK ? saved : code;
}

exit_code conv_rows_by_algorithm(session *s, const options *o, const case_list *list, const planning *how,
                                 void (*seen)(void *context, const conv_done *done), void *context, conv_run **u) {
  picker p = {.o = o, .how = how, .by_algorithm = true};
  *u = calloc(1, sizeof **u);
  if (*u) **u = (conv_run){.seen = seen, .context = context};
  return add_rows_of(s, &p, list, *u);
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
    const exit_code code = args_tails(o);
    return code == EXIT_OK ? test_tails(o) : code;
  }
  case_list list = {0};
  exit_code code = o->full ? fail(EXIT_USAGE, "--full goes with --suite tails") : case_collect(&list, o);
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
