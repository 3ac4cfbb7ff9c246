// SPDX-License-Identifier: Apache-2.0
//
// Rows on stdout and in files: text, markdown, CSV, and JSON in Google Benchmark's shape.

#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdio.h>

#include "row.h"

typedef struct report report;

// Says in *code why a file of --out cannot be written. name_width: of the longest row name.
report *report_open(const options *o, size_t name_width, exit_code *code);
// As soon as it is known: text, markdown and CSV go to stdout at once.
void report_row(report *r, const row *w);
// Rows of the verb peak, for JSON and CSV: moved to the report.
void report_peaks(report *r, struct cJSON *rows);
// Text before or after the rows: in markdown as it is.
void report_add(report *r, void (*print)(void *context, FILE *f), void *context);
// Files appear whole. context becomes the report's. Frees the report.
exit_code report_close(report *r, struct cJSON *context, bool complete);

// Of a file of --out, by its extension.
format report_format(const char *path);
// Can this file, the value of a flag, be written? A sentence and EXIT_SYSTEM or EXIT_USAGE if not.
exit_code report_probe_file(const char *flag, const char *path);
// Writes beside the target, then renames.
exit_code report_write_file(const char *path, const char *text);

struct cJSON *report_row_json(const row *w);
// "1.23 ms"
void report_time(double ns, char text[24]);
// With as many digits as it takes to read the same number again.
void report_number(FILE *f, double x);

// Prints a JSON value in one of the formats that lists use (text is the caller's own).
void report_print_json(const struct cJSON *value, FILE *out);
// Rows of an array of objects as CSV or as a markdown table; columns are all their keys, in the order of first sight.
void report_print_table(const struct cJSON *array, format f, FILE *out);
// To stdout in the format of --format, and to each file of --out in its own.
exit_code report_everywhere(const options *o, void (*put)(const struct cJSON *value, format f, FILE *out),
                            const struct cJSON *value);

#endif
