// SPDX-License-Identifier: Apache-2.0
//
// The verb peak: what the machine can do at most, by probes of a few milliseconds, median of many.

#include "peak.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "report.h"
#include "stats.h"
#include "team.h"

enum { PROBES = 25 };

static cJSON *peak_row(const char *name, const char *isa, int threads) {
  cJSON *x = cJSON_CreateObject();
  cJSON_AddStringToObject(x, "name", name);
  cJSON_AddStringToObject(x, "run_name", name);
  cJSON_AddStringToObject(x, "run_type", "iteration");
  cJSON_AddNumberToObject(x, "threads", threads);
  cJSON_AddStringToObject(x, "isa", isa);
  return x;
}

static void add_rate(cJSON *x, const char *key, double *rate, size_t n) {
  char low[48], high[48];
  const stats_median m = stats_of_median(rate, n);
  snprintf(low, sizeof low, "%s_low", key);
  snprintf(high, sizeof high, "%s_high", key);
  cJSON_AddNumberToObject(x, key, m.median);
  cJSON_AddNumberToObject(x, low, m.low);
  cJSON_AddNumberToObject(x, high, m.high);
}

static void add_time(cJSON *x, double ns) {
  cJSON_AddNumberToObject(x, "iterations", PROBES);
  cJSON_AddNumberToObject(x, "real_time", ns);
  cJSON_AddNumberToObject(x, "cpu_time", ns);
  cJSON_AddStringToObject(x, "time_unit", "ns");
}

void peak_fma(const team *t, bb_isa isa, cJSON *rows) {
  double rate[PROBES];
  size_t rounds = 0;
  team_probe(t, bb_probe_get(isa), &rounds);
  const double start = now_ns();
  for (int i = 0; i < PROBES; i++) rate[i] = team_probe(t, bb_probe_get(isa), &rounds) * 1e-9;
  char name[64];
  snprintf(name, sizeof name, "peak/fma/%s/t%d", bb_isa_name(isa), t->threads);
  cJSON *x = peak_row(name, bb_isa_name(isa), t->threads);
  add_time(x, (now_ns() - start) / PROBES);
  add_rate(x, "gflops", rate, PROBES);
  cJSON_AddItemToArray(rows, x);
}

// ---- bandwidth -----------------------------------------------------------------------------------------------------

typedef struct stream_job {
  const bb_probe *probe;
  float *from, *to;  // to NULL: read
  size_t each;       // floats per thread
  size_t passes;
} stream_job;

static void stream_tiles(void *context, size_t first, size_t last, int thread) {
  const stream_job *j = context;
  (void)thread;
  for (size_t t = first; t < last; t++)
    for (size_t i = 0; i < j->passes; i++) {
      float *from = j->from + t * j->each;
      if (j->to) {
        j->probe->copy(from, j->to + t * j->each, j->each);
      } else {
        const volatile float sum = j->probe->read(from, j->each);
        (void)sum;
      }
    }
}

// Bytes of a level that the streams of all threads may fill: half of it, so that nothing else has to leave.
static void add_bandwidth(const team *t, bb_isa isa, const char *level, size_t bytes, float *memory, cJSON *rows) {
  const size_t threads = (size_t)t->threads;
  for (int copy = 0; copy < 2; copy++) {
    const size_t each = bytes / sizeof(float) / threads / (copy ? 2 : 1) / 1024 * 1024;
    if (!each) continue;
    stream_job j = {bb_probe_get(isa), memory, copy ? memory + each * threads : NULL, each, 1};
    bb_pool_run(t->pool, threads, stream_tiles, &j);
    double took = 0;
    for (j.passes = 1; took < 2e6 && j.passes < (size_t)1 << 30; j.passes *= 2) {
      const double start = now_ns();
      bb_pool_run(t->pool, threads, stream_tiles, &j);
      took = now_ns() - start;
    }
    double rate[PROBES];
    const size_t n = took > 2e7 ? 9 : PROBES;
    const double moved = (double)(each * sizeof(float) * threads * j.passes) * (copy ? 2 : 1);
    const double begin = now_ns();
    for (size_t i = 0; i < n; i++) {
      const double start = now_ns();
      bb_pool_run(t->pool, threads, stream_tiles, &j);
      rate[i] = moved / (now_ns() - start);
    }
    char name[64];
    snprintf(name, sizeof name, "peak/%s/%s/t%d", copy ? "copy" : "read", level, t->threads);
    cJSON *x = peak_row(name, bb_isa_name(isa), t->threads);
    add_time(x, (now_ns() - begin) / (double)n);
    cJSON_AddNumberToObject(x, "bytes", (double)(each * sizeof(float) * threads) * (copy ? 2 : 1));
    add_rate(x, "gbytes_per_s", rate, n);
    cJSON_AddItemToArray(rows, x);
  }
}

exit_code peak_bandwidth(const team *t, bb_isa isa, cJSON *rows) {
  const bb_machine *m = bb_machine_get();
  const size_t threads = (size_t)t->threads, last = m->l3 ? m->l3 : m->l2 ? m->l2 : (size_t)8 << 20;
  // Memory: eight times the last level, so that at most an eighth of a pass can hit.
  const size_t dram = 8 * last;
  float *memory = xalloc(dram + 4096);
  if (!memory) return fail(EXIT_SYSTEM, "out of memory for %zu bytes of streams", dram);
  if (m->l1d) add_bandwidth(t, isa, "L1", m->l1d / 2 * threads, memory, rows);
  if (m->l2) add_bandwidth(t, isa, "L2", m->l2 / 2 * threads, memory, rows);
  // Not half of an L3 that all cores of a large package share, of which we have a part: 16 L2 are far beyond any.
  if (m->l3) add_bandwidth(t, isa, "L3", m->l2 && m->l3 > 32 * m->l2 ? 16 * m->l2 : m->l3 / 2, memory, rows);
  add_bandwidth(t, isa, "DRAM", dram, memory, rows);
  free(memory);
  return EXIT_OK;
}

// ---- the verb ------------------------------------------------------------------------------------------------------

void peak_print(const cJSON *rows, FILE *out) {
  const cJSON *x;
  cJSON_ArrayForEach(x, rows) {
    const cJSON *why = cJSON_GetObjectItem(x, "error_message");
    if (why) {
      fprintf(out, "%-24s skipped: %s\n", cJSON_GetObjectItem(x, "name")->valuestring, why->valuestring);
      continue;
    }
    const cJSON *flops = cJSON_GetObjectItem(x, "gflops");
    const char *key = flops ? "gflops" : "gbytes_per_s";
    char low[32], high[32];
    snprintf(low, sizeof low, "%s_low", key);
    snprintf(high, sizeof high, "%s_high", key);
    fprintf(out, "%-24s %9.1f %-8s [%.1f, %.1f]\n", cJSON_GetObjectItem(x, "name")->valuestring,
            cJSON_GetObjectItem(x, key)->valuedouble, flops ? "GFLOP/s" : "GB/s", cJSON_GetObjectItem(x, low)->valuedouble,
            cJSON_GetObjectItem(x, high)->valuedouble);
  }
}

void peak_to_context(const cJSON *rows, context_peaks *peaks) {
  const cJSON *x;
  cJSON_ArrayForEach(x, rows) if (cJSON_HasObjectItem(x, "gflops"))
      context_peak(peaks, cJSON_GetObjectItem(x, "isa")->valuestring, (int)cJSON_GetObjectItem(x, "threads")->valuedouble,
                   cJSON_GetObjectItem(x, "gflops")->valuedouble);
}

static void put(const cJSON *all, format f, FILE *out) {
  const cJSON *rows = cJSON_GetObjectItemCaseSensitive(all, "benchmarks");
  if (f == FORMAT_TEXT) peak_print(rows, out);
  if (f == FORMAT_JSON) report_print_json(all, out);
  if (f == FORMAT_MD || f == FORMAT_CSV) report_print_table(rows, f, out);
}

static void add_missing(bb_isa isa, int threads, cJSON *rows) {
  char name[64];
  snprintf(name, sizeof name, "peak/fma/%s/t%d", bb_isa_name(isa), threads);
  cJSON *x = peak_row(name, bb_isa_name(isa), threads);
  cJSON_AddBoolToObject(x, "error_occurred", true);
  cJSON_AddStringToObject(x, "error_message", isa_missing);
  cJSON_AddStringToObject(x, "status", "skipped");
  cJSON_AddItemToArray(rows, x);
}

exit_code verb_peak(const options *o) {
  exit_code code = team_check(o);
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  if (code == EXIT_OK) code = isas_asked(o, isa, &isas, missing, &missings);
  for (int i = 0; i < o->outs.count && code == EXIT_OK; i++) code = report_probe_file("--out", o->outs.at[i]);
  if (code != EXIT_OK) return code;
  if (!o->isas.count)  // every level, not the best alone
    for (int i = isas = 0; i < BB_ISA_COUNT; i++)
      if (bb_isa_runs((bb_isa)i) && bb_isa_within((bb_isa)i, bb_isa_best())) isa[isas++] = (bb_isa)i;
  static int cpu[LIST_MAX];
  const int cpus = o->cpus.count ? o->cpus.count : team_processors(cpu);
  int_list threads = o->threads;
  if (!args_given(o, "--threads") && cpus > 1) threads = (int_list){.count = 2, .at = {1, cpus}};

  cJSON *context = context_create(o), *rows = cJSON_CreateArray(), *all = cJSON_CreateObject();
  context_peaks peaks = {0};
  for (int t = 0; t < threads.count && code == EXIT_OK && !interrupted(); t++) {
    team crew;
    code = team_create(o, threads.at[t], &crew);
    if (code != EXIT_OK) break;
    progress((size_t)t, (size_t)threads.count, "FMA, bandwidth");
    for (int i = 0; i < isas; i++) peak_fma(&crew, isa[i], rows);
    for (int i = 0; i < missings; i++) add_missing(missing[i], threads.at[t], rows);
    code = peak_bandwidth(&crew, isa[isas - 1], rows);
    team_destroy(&crew);
  }
  progress(0, 0, NULL);
  peak_to_context(rows, &peaks);
  context_add_peaks(context, &peaks);
  cJSON_AddBoolToObject(context, "complete", code == EXIT_OK && !interrupted());
  cJSON_AddItemToObject(all, "context", context);
  cJSON_AddItemToObject(all, "benchmarks", rows);
  if (code == EXIT_OK) code = report_everywhere(o, put, all);
  cJSON_Delete(all);
  return code == EXIT_OK && interrupted() ? EXIT_INTERRUPTED : code;
}
