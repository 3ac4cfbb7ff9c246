// SPDX-License-Identifier: Apache-2.0

#include "report.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stats.h"

struct report {
  const options *o;
  size_t width;
  cJSON *rows;
  char *text[FORMAT_CSV + 1];  // what each format has so far; JSON is made at the end
  size_t length[FORMAT_CSV + 1];
  FILE *stream[FORMAT_CSV + 1];
  bool header[FORMAT_CSV + 1];
  // For the summary.
  double *pct, *ratio;
  size_t pcts, ratios, room, failed, skipped, disturbed;
};

// ---- files ---------------------------------------------------------------------------------------------------------

format report_format(const char *path) {
  const char *dot = strrchr(path, '.') + 1;
  return !strcmp(dot, "json") ? FORMAT_JSON : !strcmp(dot, "csv") ? FORMAT_CSV : !strcmp(dot, "md") ? FORMAT_MD : FORMAT_TEXT;
}

static void beside(const char *path, char *out, size_t size) { snprintf(out, size, "%s.%ld.part", path, (long)getpid()); }

exit_code report_probe_file(const char *flag, const char *path) {
  char part[4096];
  struct stat info;
  if (!stat(path, &info) && S_ISDIR(info.st_mode))
    return fail(EXIT_USAGE, "%s %s: is a directory, a file was expected", flag, path);
  beside(path, part, sizeof part);
  FILE *f = fopen(part, "wxe");
  if (!f)
    return fail(errno == ENOSPC || errno == EIO ? EXIT_SYSTEM : EXIT_USAGE, "%s %s: cannot be written: %s", flag, path,
                strerror(errno));
  fclose(f);
  unlink(part);
  return EXIT_OK;
}

exit_code report_write_file(const char *path, const char *text) {
  char part[4096];
  beside(path, part, sizeof part);
  FILE *f = fopen(part, "we");
  bool ok = f && fputs(text, f) >= 0;
  if (f) ok = !fclose(f) && ok;
  if (ok && !rename(part, path)) return EXIT_OK;
  const int reason = errno;
  if (f) unlink(part);
  return fail(EXIT_SYSTEM, "%s: cannot be written: %s", path, strerror(reason));
}

// ---- text ----------------------------------------------------------------------------------------------------------

void report_time(double ns, char text[24]) {
  if (ns < 1e3)
    snprintf(text, 24, "%.1f ns", ns);
  else if (ns < 1e6)
    snprintf(text, 24, "%.2f us", ns * 1e-3);
  else if (ns < 1e9)
    snprintf(text, 24, "%.3f ms", ns * 1e-6);
  else
    snprintf(text, 24, "%.3f s", ns * 1e-9);
}

static void error_text(const row *w, char text[24]) {
  if (!w->checked)
    snprintf(text, 24, "unchecked");
  else
    snprintf(text, 24, "%.1e", w->err_l2);
}

__attribute__((format(printf, 3, 4))) static void note(char *text, size_t size, const char *form, ...) {
  const size_t n = strlen(text);
  if (n + 3 >= size) return;
  if (n) strcat(text, ", ");
  va_list list;
  va_start(list, form);
  vsnprintf(text + strlen(text), size - strlen(text), form, list);
  va_end(list);
}

// What a reader must know beyond the numbers.
static void notes(const row *w, char *text, size_t size) {
  text[0] = 0;
  if (w->count > 1) note(text, size, "x%d", w->count);
  if (*w->peer) note(text, size, "%.3fx %s [%.3f, %.3f]", w->peer_ratio, w->peer, w->peer_ratio_low, w->peer_ratio_high);
  if (isfinite(w->speedup)) note(text, size, "%.2fx direct", w->speedup);
  if (isfinite(w->flops_executed) && w->flops_executed != w->flops_valid)
    note(text, size, "executes %.1f %% of peak", w->pct_executed);
  if (isfinite(w->transfer_ns)) note(text, size, "transfer %.2f ns", w->transfer_ns);
  if (w->disturbed) note(text, size, "disturbed: %s", w->disturbed_by);
}

// Each stage with its share, and the rate of the one that only multiplies.
static void put_phases(FILE *f, int width, const row *w) {
  double total = 0;
  for (int i = 0; i < w->phases; i++) total += w->phase[i].ns;
  for (int i = 0; i < w->phases; i++) {
    char time[24];
    report_time(w->phase[i].ns, time);
    fprintf(f, "  %-*s %12s %8.1f%%", width - 2, w->phase[i].name, time, 100 * w->phase[i].ns / total);
    if (!strcmp(w->phase[i].name, "multiply"))
      fprintf(f, " %7.1f  executed, of peak", 100 * w->flops_executed / w->phase[i].ns / w->peak_gflops);
    fputc('\n', f);
  }
}

static void put_text(report *r, FILE *f, const row *w) {
  const int width = (int)r->width;
  if (!r->header[FORMAT_TEXT]) {
    fprintf(f, "%-*s %12s %9s %7s %9s %5s  %s\n", width, "name", "time", "GFLOP/s", "% peak", "error", "grade", "notes");
    r->header[FORMAT_TEXT] = true;
  }
  if (w->state != ROW_DONE) {
    fprintf(f, "%-*s %s: %s\n", width, w->name, w->state == ROW_FAILED ? "FAILED" : "skipped", w->message);
    return;
  }
  char time[24], error[24], beyond[400];
  report_time(w->time_p50, time);
  error_text(w, error);
  notes(w, beyond, sizeof beyond);
  fprintf(f, "%-*s %12s %9.2f %7.1f %9s %5c  %s\n", width, w->name, time, row_gflops(w), w->pct_peak, error, w->grade, beyond);
  put_phases(f, width, w);
  if (w->table) fputs(w->table, f);
}

static void put_md(report *r, FILE *f, const row *w) {
  if (!r->header[FORMAT_MD]) {
    fprintf(f, "| name | time | GFLOP/s | %% peak | error | grade | notes |\n|---|--:|--:|--:|--:|:-:|---|\n");
    r->header[FORMAT_MD] = true;
  }
  if (w->state != ROW_DONE) {
    fprintf(f, "| %s | | | | | | %s: %s |\n", w->name, w->state == ROW_FAILED ? "FAILED" : "skipped", w->message);
    return;
  }
  char time[24], error[24], beyond[400];
  report_time(w->time_p50, time);
  error_text(w, error);
  notes(w, beyond, sizeof beyond);
  fprintf(f, "| %s | %s | %.2f | %.1f | %s | %c | %s |\n", w->name, time, row_gflops(w), w->pct_peak, error, w->grade, beyond);
}

// RFC 4180: quotes around what contains a comma, a quote or a line end.
static void csv_field(FILE *f, const char *text) {
  if (!strpbrk(text, ",\"\n\r")) {
    fputs(text, f);
    return;
  }
  fputc('"', f);
  for (; *text; text++) {
    if (*text == '"') fputc('"', f);
    fputc(*text, f);
  }
  fputc('"', f);
}

void report_number(FILE *f, double x) {
  char text[32];
  snprintf(text, sizeof text, "%.15g", x);
  if (strtod(text, NULL) != x) snprintf(text, sizeof text, "%.17g", x);
  fputs(text, f);
}

static void csv_value(FILE *f, const cJSON *v) {
  if (cJSON_IsString(v))
    csv_field(f, v->valuestring);
  else if (cJSON_IsNumber(v))
    report_number(f, v->valuedouble);
  else if (cJSON_IsBool(v))
    fputs(cJSON_IsTrue(v) ? "true" : "false", f);
}

// The columns are fixed, so that files of different runs can be put together.
static const char *const csv_columns[] = {
    "name",         "problem",         "kernel",
    "isa",          "threads",         "mb",
    "cache",        "count",           "repetition_index",
    "iterations",   "time_min_ns",     "time_p10_ns",
    "time_p50_ns",  "time_p90_ns",     "time_p99_ns",
    "samples",      "flops_valid",     "flops",
    "gflops",       "gflops_padded",   "gflops_executed",
    "pct_peak",     "pct_peak_low",    "pct_peak_high",
    "peak_gflops",  "probe_drift_pct", "bytes",
    "intensity",    "checked",         "err_l2",
    "err_max_rms",  "err_bound",       "weights_bytes",
    "packed_bytes", "workspace_bytes", "peer",
    "peer_ratio",   "peer_ratio_low",  "peer_ratio_high",
    "noise_pct",    "grade",           "disturbed",
    "disturbed_by", "images_per_s",    "error_message",
    "speedup",      "speedup_low",     "speedup_high",
    "algorithm",    "flops_executed",  "pct_executed",
    "transfer_ns",  "gbytes_per_s",
};

static void put_csv(report *r, FILE *f, const cJSON *w) {
  const size_t n = sizeof csv_columns / sizeof *csv_columns;
  if (!r->header[FORMAT_CSV]) {
    for (size_t i = 0; i < n; i++) fprintf(f, "%s%s", i ? "," : "", csv_columns[i]);
    fputs("\r\n", f);
    r->header[FORMAT_CSV] = true;
  }
  for (size_t i = 0; i < n; i++) {
    if (i) fputc(',', f);
    csv_value(f, cJSON_GetObjectItemCaseSensitive(w, csv_columns[i]));
  }
  fputs("\r\n", f);
}

// ---- JSON ----------------------------------------------------------------------------------------------------------

static void number(cJSON *o, const char *key, double x) {
  if (isfinite(x)) cJSON_AddNumberToObject(o, key, x);
}

cJSON *report_row_json(const row *w) {
  cJSON *o = cJSON_CreateObject();
  // Google Benchmark's own fields.
  cJSON_AddStringToObject(o, "name", w->name);
  cJSON_AddNumberToObject(o, "family_index", w->family);
  cJSON_AddNumberToObject(o, "per_family_instance_index", 0);
  cJSON_AddStringToObject(o, "run_name", w->name);
  cJSON_AddStringToObject(o, "run_type", "iteration");
  cJSON_AddNumberToObject(o, "repetitions", w->repetitions);
  cJSON_AddNumberToObject(o, "repetition_index", w->repetition);
  cJSON_AddNumberToObject(o, "threads", w->threads);
  if (w->state != ROW_DONE) {
    cJSON_AddBoolToObject(o, "error_occurred", true);
    cJSON_AddStringToObject(o, "error_message", w->message);
    cJSON_AddStringToObject(o, "status", w->state == ROW_FAILED ? "failed" : "skipped");
  } else {
    cJSON_AddNumberToObject(o, "iterations", (double)w->iterations);
    number(o, "real_time", w->real_ns);
    number(o, "cpu_time", w->cpu_ns);
    cJSON_AddStringToObject(o, "time_unit", "ns");
    cJSON_AddStringToObject(o, "status", "ok");
  }
  if (*w->problem) cJSON_AddStringToObject(o, "problem", w->problem);
  if (*w->kernel) cJSON_AddStringToObject(o, "kernel", w->kernel);
  if (*w->algorithm) cJSON_AddStringToObject(o, "algorithm", w->algorithm);
  if (*w->isa) cJSON_AddStringToObject(o, "isa", w->isa);
  cJSON_AddNumberToObject(o, "mb", w->mb);
  if (*w->problem) cJSON_AddStringToObject(o, "cache", w->cold ? "cold" : "hot");
  if (w->count) cJSON_AddNumberToObject(o, "count", w->count);
  number(o, "flops_valid", w->flops_valid);
  number(o, "flops", w->flops);
  number(o, "flops_executed", w->flops_executed);
  number(o, "bytes", w->bytes);
  number(o, "intensity", w->flops_valid / w->bytes);
  number(o, "weights_bytes", w->weights_bytes);
  number(o, "packed_bytes", w->packed_bytes);
  number(o, "workspace_bytes", w->workspace_bytes);
  if (w->state == ROW_DONE || w->state == ROW_FAILED) cJSON_AddBoolToObject(o, "checked", w->checked);
  if (w->checked) {
    number(o, "err_l2", w->err_l2);
    number(o, "err_max_rms", w->err_max_rms);
  }
  number(o, "err_bound", w->err_bound);
  if (w->state == ROW_DONE) {
    number(o, "time_min_ns", w->time_min);
    number(o, "time_p10_ns", w->time_p10);
    number(o, "time_p50_ns", w->time_p50);
    number(o, "time_p90_ns", w->time_p90);
    number(o, "time_p99_ns", w->time_p99);
    cJSON_AddNumberToObject(o, "samples", (double)w->samples);
    number(o, "gflops", row_gflops(w));
    number(o, "gflops_padded", w->flops / w->time_p50);
    number(o, "gflops_executed", w->flops_executed / w->time_p50);
    number(o, "pct_executed", w->pct_executed);
    number(o, "pct_peak", w->pct_peak);
    number(o, "pct_peak_low", w->pct_peak_low);
    number(o, "pct_peak_high", w->pct_peak_high);
    number(o, "peak_gflops", w->peak_gflops);
    number(o, "probe_drift_pct", w->probe_drift_pct);
    cJSON_AddNumberToObject(o, "batches", (double)w->batches);
    cJSON_AddNumberToObject(o, "batches_disturbed", (double)w->batches_disturbed);
    if (*w->peer) {
      cJSON_AddStringToObject(o, "peer", w->peer);
      number(o, "peer_ratio", w->peer_ratio);
      number(o, "peer_ratio_low", w->peer_ratio_low);
      number(o, "peer_ratio_high", w->peer_ratio_high);
    }
    number(o, "speedup", w->speedup);
    number(o, "speedup_low", w->speedup_low);
    number(o, "speedup_high", w->speedup_high);
    number(o, "noise_pct", w->noise_pct);
    number(o, "others_pct", w->others_pct);
    number(o, "steal_pct", w->steal_pct);
    number(o, "cpu_share_pct", w->cpu_share_pct);
    number(o, "transfer_ns", w->transfer_ns);
    cJSON_AddBoolToObject(o, "pinned", w->pinned);
    cJSON_AddBoolToObject(o, "disturbed", w->disturbed);
    if (w->disturbed) cJSON_AddStringToObject(o, "disturbed_by", w->disturbed_by);
    const char grade[2] = {w->grade, 0};
    cJSON_AddStringToObject(o, "grade", grade);
    if (w->phases) {
      cJSON *phases = cJSON_AddObjectToObject(o, "phases");
      for (int i = 0; i < w->phases; i++) cJSON_AddNumberToObject(phases, w->phase[i].name, w->phase[i].ns);
    }
    if (w->sample) cJSON_AddItemToObject(o, "samples_ns", cJSON_CreateDoubleArray(w->sample, (int)w->samples));
  }
  for (const cJSON *item = w->more ? w->more->child : NULL; item; item = item->next)
    cJSON_AddItemToObject(o, item->string, cJSON_Duplicate(item, true));
  return o;
}

void report_print_json(const cJSON *value, FILE *out) {
  char *text = cJSON_Print(value);
  if (text) fprintf(out, "%s\n", text);
  free(text);
}

static void put_cell(const cJSON *item, format f, FILE *out) {
  char *nested = cJSON_IsArray(item) || cJSON_IsObject(item) ? cJSON_PrintUnformatted(item) : NULL;
  const char *text = nested ? nested : cJSON_GetStringValue(item);
  if (!text)
    csv_value(out, item);
  else if (f == FORMAT_CSV)
    csv_field(out, text);
  else
    for (; *text; text++) fprintf(out, "%s%c", *text == '|' ? "\\" : "", *text);
  free(nested);
}

void report_print_table(const cJSON *array, format f, FILE *out) {
  const char *const first = f == FORMAT_MD ? "| " : "", *const next = f == FORMAT_MD ? " | " : ",";
  const char *const end = f == FORMAT_MD ? " |\n" : "\r\n";
  cJSON *columns = cJSON_CreateObject();  // each with the first value it has
  const cJSON *line, *item, *column;
  cJSON_ArrayForEach(line, array) cJSON_ArrayForEach(item, line) if (!cJSON_GetObjectItemCaseSensitive(columns, item->string))
      cJSON_AddItemReferenceToObject(columns, item->string, (cJSON *)(uintptr_t)item);
  cJSON_ArrayForEach(column, columns) fprintf(out, "%s%s", column == columns->child ? first : next, column->string);
  if (columns->child) fputs(end, out);
  if (f == FORMAT_MD && columns->child) {
    cJSON_ArrayForEach(column, columns) fputs(cJSON_IsNumber(column) ? "|--:" : "|---", out);
    fputs("|\n", out);
  }
  cJSON_ArrayForEach(line, array) {
    cJSON_ArrayForEach(column, columns) {
      fputs(column == columns->child ? first : next, out);
      put_cell(cJSON_GetObjectItemCaseSensitive(line, column->string), f, out);
    }
    fputs(end, out);
  }
  cJSON_Delete(columns);
}

exit_code report_everywhere(const options *o, void (*put)(const cJSON *value, format f, FILE *out), const cJSON *value) {
  exit_code code = EXIT_OK;
  put(value, o->format, stdout);
  for (int i = 0; i < o->outs.count && code == EXIT_OK; i++) {
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    if (!stream) return fail(EXIT_SYSTEM, "out of memory for %s", o->outs.at[i]);
    put(value, report_format(o->outs.at[i]), stream);
    code = fclose(stream) ? fail(EXIT_SYSTEM, "out of memory for %s", o->outs.at[i]) : report_write_file(o->outs.at[i], text);
    free(text);
  }
  return code;
}

// ---- the whole -----------------------------------------------------------------------------------------------------

report *report_open(const options *o, size_t name_width, exit_code *code) {
  for (int i = 0; i < o->outs.count; i++)
    if ((*code = report_probe_file("--out", o->outs.at[i])) != EXIT_OK) return NULL;
  report *r = calloc(1, sizeof *r);
  if (r) {
    r->o = o;
    r->width = name_width;
    r->rows = cJSON_CreateArray();
    bool streams = true;
    for (int i = 0; i <= FORMAT_CSV; i++) streams &= (r->stream[i] = open_memstream(&r->text[i], &r->length[i])) != NULL;
    if (!streams) cJSON_Delete(r->rows), r->rows = NULL;
  }
  *code = r && r->rows ? EXIT_OK : fail(EXIT_SYSTEM, "out of memory for the report");
  return *code == EXIT_OK ? r : NULL;
}

static void remember(report *r, const row *w) {
  r->failed += w->state == ROW_FAILED;
  r->skipped += w->state == ROW_SKIPPED;
  r->disturbed += w->disturbed;
  if (r->pcts + 1 > r->room) {
    const size_t room = 2 * r->room + 64;
    double *pct = realloc(r->pct, room * sizeof *pct);
    if (pct) r->pct = pct;
    double *ratio = realloc(r->ratio, room * sizeof *ratio);
    if (ratio) r->ratio = ratio;
    if (!pct || !ratio) return;
    r->room = room;
  }
  if (w->state == ROW_DONE && strncmp(w->kernel, "peer:", 5)) r->pct[r->pcts++] = w->pct_peak;
  if (w->state == ROW_DONE && *w->peer) r->ratio[r->ratios++] = w->peer_ratio;
}

// The same line to stdout as soon as it is there.
static void flush_stdout(report *r, size_t from) {
  const format f = r->o->format;
  if (f == FORMAT_JSON) return;
  fflush(r->stream[f]);
  progress(0, 0, NULL);
  fwrite(r->text[f] + from, 1, r->length[f] - from, stdout);
  fflush(stdout);
}

void report_row(report *r, const row *w) {
  cJSON *json = report_row_json(w);
  fflush(r->stream[r->o->format]);
  const size_t from = r->length[r->o->format];
  put_text(r, r->stream[FORMAT_TEXT], w);
  put_md(r, r->stream[FORMAT_MD], w);
  put_csv(r, r->stream[FORMAT_CSV], json);
  cJSON_AddItemToArray(r->rows, json);
  remember(r, w);
  flush_stdout(r, from);
}

void report_peaks(report *r, cJSON *rows) {
  fflush(r->stream[r->o->format]);
  const size_t from = r->length[r->o->format];
  for (cJSON *x; (x = cJSON_DetachItemFromArray(rows, 0)); cJSON_AddItemToArray(r->rows, x))
    put_csv(r, r->stream[FORMAT_CSV], x);
  flush_stdout(r, from);
}

void report_add(report *r, void (*print)(void *context, FILE *f), void *context) {
  const format f = r->o->format;
  fflush(r->stream[f]);
  const size_t from = r->length[f];
  print(context, r->stream[FORMAT_TEXT]);
  fputs("\n```\n", r->stream[FORMAT_MD]);
  print(context, r->stream[FORMAT_MD]);
  fputs("```\n", r->stream[FORMAT_MD]);
  flush_stdout(r, from);
}

static void summary(report *r, FILE *f) {
  if (r->pcts > 1) fprintf(f, "%zu rows, geometric mean %.1f %% of peak", r->pcts, stats_geomean(r->pct, r->pcts));
  if (r->ratios > 1) fprintf(f, ", %.3f x peer", stats_geomean(r->ratio, r->ratios));
  if (r->pcts > 1) fputc('\n', f);
  if (r->failed) fprintf(f, "%zu FAILED\n", r->failed);
  if (r->skipped) fprintf(f, "%zu skipped\n", r->skipped);
  if (r->disturbed) fprintf(f, "%zu disturbed: something else ran at the same time\n", r->disturbed);
}

exit_code report_close(report *r, cJSON *context, bool complete) {
  exit_code code = EXIT_OK;
  fflush(r->stream[FORMAT_TEXT]);
  const size_t from = r->length[FORMAT_TEXT];
  summary(r, r->stream[FORMAT_TEXT]);
  if (r->o->format == FORMAT_TEXT) flush_stdout(r, from);

  cJSON *all = cJSON_CreateObject();
  cJSON_AddBoolToObject(context, "complete", complete);
  cJSON_AddItemToObject(all, "context", context);
  cJSON_AddItemToObject(all, "benchmarks", r->rows);
  char *json = cJSON_Print(all);
  for (int i = 0; i <= FORMAT_CSV; i++) fclose(r->stream[i]);
  if (r->o->format == FORMAT_JSON && json) puts(json);
  for (int i = 0; i < r->o->outs.count; i++) {
    const format f = report_format(r->o->outs.at[i]);
    char *with_end = NULL;
    const char *text = r->text[f];
    if (f == FORMAT_JSON && json && asprintf(&with_end, "%s\n", json) >= 0) text = with_end;
    const exit_code one = report_write_file(r->o->outs.at[i], text);
    if (one != EXIT_OK) code = one;
    free(with_end);
  }
  if (!json) code = fail(EXIT_SYSTEM, "out of memory for the JSON");
  free(json);
  cJSON_Delete(all);
  for (int i = 0; i <= FORMAT_CSV; i++) free(r->text[i]);
  free(r->pct);
  free(r->ratio);
  free(r);
  return code;
}
