// SPDX-License-Identifier: Apache-2.0
//
// Lists of convolutions, and rows that time them.

#ifndef BENCH_CONV_H
#define BENCH_CONV_H

#include "planning.h"
#include "session.h"

typedef struct conv_case {
  char id[64];   // for the name of the row
  bb_task task;  // without views
  int count;     // in the backbone; 0 = not said
} conv_case;

typedef struct case_list {
  conv_case *at;
  size_t count, room;
} case_list;

exit_code case_add(case_list *list, const conv_case *c);
void case_free(case_list *list);

// Refusals say where: "" or "file:line: ".
exit_code case_parse(const char *text, const char *where, conv_case *c);
exit_code case_add_args(case_list *list, const options *o);  // the words of the command line
exit_code case_add_suite(case_list *list, const char *suite);
exit_code case_add_model(case_list *list, const char *model);
exit_code case_collect(case_list *list, const options *o);  // all that the flags and words of conv name
exit_code case_with_batch(const conv_case *c, int mb, conv_case *out);

// Registers rows that verify and time them as the options say. conv_free after the session is gone.
typedef struct conv_run conv_run;
exit_code conv_rows(session *s, const options *o, const case_list *list, conv_run **u);
void conv_free(conv_run *u);

// The same, but a row for the best kernel of each algorithm; those of one problem are measured together. seen is told of each
// row that was timed.
typedef struct conv_done {
  const bb_task *task;
  const bb_kernel *kernel;
  const bb_config *config;
  bb_isa isa;  // cap
  const row *row;
} conv_done;
exit_code conv_rows_by_algorithm(session *s, const options *o, const case_list *list, const planning *how,
                                 void (*seen)(void *context, const conv_done *done), void *context, conv_run **u);

#endif
