// SPDX-License-Identifier: Apache-2.0
//
// A run of rows: what the verbs register, Google Benchmark drives, and the report prints.

#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include <stdio.h>

#include "context.h"
#include "report.h"
#include "team.h"

typedef struct session session;

// Fills a row (the name is there) and sets its state. Anything but EXIT_OK ends the run with that code: the row does not count.
typedef exit_code (*session_measure)(session *s, void *context, row *r);

// EXIT_OK, or why there is none (a file of --out, a --benchmark_ flag).
exit_code session_create(const options *o, session **s);
void session_destroy(session *s);
const options *session_options(const session *s);

// Does --filter let this name through?
bool session_wants(const session *s, const char *name);
// Registers a row; release, if not NULL, frees the context: in the end, or at once if the row is not wanted or memory is short.
exit_code session_add(session *s, const char *name, session_measure measure, void *context, void (*release)(void *));
// A row that says why it is none.
exit_code session_add_skipped(session *s, const char *name, const char *why);

// The team of so many threads: made when first asked for, kept until another is.
exit_code session_team(session *s, int threads, team **t);

// What is measured before the rows: reports it, and adds to the peaks of the context.
typedef exit_code (*session_start)(const options *o, report *r, context_peaks *peaks);
void session_at_start(session *s, session_start start);
// What is printed after the rows, in text and markdown.
void session_at_end(session *s, void (*print)(void *context, FILE *f), void *context);

// Runs, reports, writes. The exit code of the program.
exit_code session_run(session *s);

#endif
