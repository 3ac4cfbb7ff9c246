// SPDX-License-Identifier: Apache-2.0

#include "session.h"

#include <cjson/cJSON.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gbench.h"

typedef struct family {
  session *session;
  char name[256];
  session_measure measure;
  void *context;
  void (*release)(void *);
  row *row;  // one per repetition
  int rows;
} family;

struct session {
  const options *o;
  family **family;
  size_t families, room;
  regex_t filter;
  bool filtered;
  report *report;
  team team;
  exit_code code;  // of the row that ended the run
  bool failed, noisy;
  size_t done, skipped;
  context_peaks peaks;
  session_start start;                    // or NULL
  void (*print)(void *context, FILE *f);  // at the end; or NULL
  void *print_context;
};

const options *session_options(const session *s) { return s->o; }

static bool has_flag(const options *o, const char *name) {
  const size_t n = strlen(name);
  for (int i = 0; i < o->benchmark.count; i++) {
    const char *flag = o->benchmark.at[i];
    if (!strncmp(flag, name, n) && (!flag[n] || (flag[n] == '=' && strcmp(flag + n, "=false") && strcmp(flag + n, "=0"))))
      return true;
  }
  return false;
}

exit_code session_create(const options *o, session **out) {
  *out = NULL;
  exit_code code = team_check(o);
  if (code != EXIT_OK) return code;
  char *argv[STRINGS_MAX + 2] = {(char *)"backbench"};
  for (int i = 0; i < o->benchmark.count; i++) argv[i + 1] = (char *)(uintptr_t)o->benchmark.at[i];
  const char *unknown;
  if (!gbench_init(o->benchmark.count + 1, argv, &unknown)) return fail(EXIT_SYSTEM, "out of memory");
  if (unknown) return fail(EXIT_USAGE, "%s: not a flag of Google Benchmark, or its value is wrong", unknown);
  for (int i = 0; i < o->outs.count; i++)
    if ((code = report_probe_file("--out", o->outs.at[i])) != EXIT_OK) return code;
  const char *own = getenv("BENCHMARK_OUT");  // Google Benchmark takes its flags from there, too
  for (int i = 0; i < o->benchmark.count; i++)
    if (!strncmp(o->benchmark.at[i], "--benchmark_out=", 16)) own = o->benchmark.at[i] + 16;
  if (own && *own && (code = report_probe_file("--benchmark_out", own)) != EXIT_OK) return code;
  if (has_flag(o, "--benchmark_format"))
    return fail(EXIT_USAGE,
                "--benchmark_format: what goes to stdout is not Google Benchmark's: --format text, md, json or csv");
  session *s = calloc(1, sizeof *s);
  if (!s) return fail(EXIT_SYSTEM, "out of memory");
  s->o = o;
  if (o->filter) s->filtered = !regcomp(&s->filter, o->filter, REG_EXTENDED | REG_NOSUB);
  *out = s;
  return EXIT_OK;
}

void session_destroy(session *s) {
  if (!s) return;
  for (size_t i = 0; i < s->families; i++) {
    family *f = s->family[i];
    for (int k = 0; k < f->rows; k++) row_free(&f->row[k]);
    if (f->release) f->release(f->context);
    free(f->row);
    free(f);
  }
  if (s->filtered) regfree(&s->filter);
  if (s->team.pool) team_destroy(&s->team);
  free(s->family);
  free(s);
}

exit_code session_team(session *s, int threads, team **t) {
  *t = &s->team;
  if (s->team.pool && s->team.threads == threads) return EXIT_OK;
  if (s->team.pool) team_destroy(&s->team);
  return team_create(s->o, threads, &s->team);
}

void session_at_start(session *s, session_start start) { s->start = start; }

void session_at_end(session *s, void (*print)(void *context, FILE *f), void *context) {
  s->print = print;
  s->print_context = context;
}

// Two problems may have one name: the second becomes name#2.
static void unique_name(const session *s, const char *name, char out[256]) {
  snprintf(out, 256, "%s", name);
  for (int copy = 2;; copy++) {
    bool taken = false;
    for (size_t i = 0; i < s->families && !taken; i++) taken = !strcmp(s->family[i]->name, out);
    if (!taken) return;
    snprintf(out, 256, "%.240s#%d", name, copy);
  }
}

bool session_wants(const session *s, const char *name) { return !s->filtered || !regexec(&s->filter, name, 0, NULL, 0); }

static family *new_family(session *s) {
  if (s->families == s->room) {
    family **more = realloc(s->family, (2 * s->room + 64) * sizeof *more);
    if (!more) return NULL;
    s->family = more;
    s->room = 2 * s->room + 64;
  }
  return calloc(1, sizeof(family));
}

exit_code session_add(session *s, const char *name, session_measure measure, void *context, void (*release)(void *)) {
  const bool wanted = session_wants(s, name);
  family *f = wanted ? new_family(s) : NULL;
  if (!f) {
    if (release) release(context);
    return wanted ? fail(EXIT_SYSTEM, "out of memory for %zu rows", s->families) : EXIT_OK;
  }
  *f = (family){.session = s, .measure = measure, .context = context, .release = release};
  unique_name(s, name, f->name);
  s->family[s->families++] = f;
  return EXIT_OK;
}

static exit_code measure_skipped(session *s, void *context, row *r) {
  (void)s;
  row_skip(r, "%s", (const char *)context);
  return EXIT_OK;
}

exit_code session_add_skipped(session *s, const char *name, const char *why) {
  char *copy = strdup(why);
  if (!copy) return fail(EXIT_SYSTEM, "out of memory");
  return session_add(s, name, measure_skipped, copy, free);
}

// Called by Google Benchmark, once per repetition.
static double measure(void *context, char error[256]) {
  family *f = context;
  session *s = f->session;
  if (interrupted() || s->code != EXIT_OK) {
    snprintf(error, 256, "interrupted");
    return -1;
  }
  if (s->o->verbose) fprintf(stderr, "%s\n", f->name);
  progress(s->done, s->families * (size_t)s->o->repetitions, f->name);
  row *more = realloc(f->row, (size_t)(f->rows + 1) * sizeof *more);
  if (!more) {
    s->code = fail(EXIT_SYSTEM, "out of memory for a row");
    return -1;
  }
  f->row = more;
  row *r = &f->row[f->rows];
  row_init(r);
  snprintf(r->name, sizeof r->name, "%s", f->name);
  s->code = f->measure(s, f->context, r);
  if (s->code != EXIT_OK) {
    row_free(r);
    snprintf(error, 256, "not measured");
    return -1;
  }
  f->rows++;
  s->done++;
  if (r->state == ROW_DONE) return r->real_ns * 1e-9;
  snprintf(error, 256, "%s", r->message);
  return -1;
}

static void reported(void *user, const gbench_run *run) {
  session *s = user;
  const family *f = run->context;
  if (run->repetition >= f->rows) return;  // interrupted
  row *r = &f->row[run->repetition];
  r->family = run->family;
  r->repetition = run->repetition;
  r->repetitions = run->repetitions;
  s->failed |= r->state == ROW_FAILED;
  s->skipped += r->state == ROW_SKIPPED;
  if (r->state == ROW_DONE) {
    s->noisy |= s->o->max_noise > 0 && !(r->noise_pct <= s->o->max_noise);
    context_peak(&s->peaks, r->isa, r->threads, r->peak_gflops);
  }
  if (s->report) report_row(s->report, r);
}

exit_code session_run(session *s) {
  const options *o = s->o;
  if (!s->families)
    return o->filter ? fail(EXIT_USAGE, "--filter %s: matches none of the rows", o->filter) : fail(EXIT_USAGE, "nothing to do");
  size_t width = 4;
  for (size_t i = 0; i < s->families; i++) {
    const size_t n = strlen(s->family[i]->name);
    if (n > width) width = n;
    if (!gbench_add(s->family[i]->name, o->repetitions, measure, s->family[i]))
      return fail(EXIT_SYSTEM, "out of memory for the rows");
  }
  const bool list = has_flag(o, "--benchmark_list_tests");
  cJSON *context = NULL;
  if (!list) {
    context = context_create(o);
    exit_code code = context ? EXIT_OK : fail(EXIT_SYSTEM, "out of memory");
    if (code == EXIT_OK) s->report = report_open(o, width, &code);
    if (code != EXIT_OK) return cJSON_Delete(context), code;
    if (s->start) s->code = s->start(o, s->report, &s->peaks);
  }
  const int matched = gbench_run_all(reported, s);
  if (matched < 0 && s->code == EXIT_OK) s->code = fail(EXIT_SYSTEM, "out of memory");
  if (!matched) s->code = fail(EXIT_USAGE, "--benchmark_filter: is no regular expression, or matches none of the rows");
  if (list) return s->code;
  context_add_peaks(context, &s->peaks);
  const bool complete = !interrupted() && s->code == EXIT_OK;
  if (s->print) report_add(s->report, s->print, s->print_context);
  const exit_code written = report_close(s->report, context, complete);
  s->report = NULL;
  if (s->code != EXIT_OK) return s->code;
  if (interrupted()) return EXIT_INTERRUPTED;
  if (written != EXIT_OK) return written;
  if (s->failed) return EXIT_CHECK;
  return s->noisy ? fail(EXIT_NOISY, "the spread of some rows is above --max-noise %g %%", o->max_noise) : EXIT_OK;
}
