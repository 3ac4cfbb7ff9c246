// SPDX-License-Identifier: Apache-2.0
//
// Backbones end to end: rows model/<name>/<isa>/t<threads>/mb<n>.

#ifndef BENCH_MODEL_H
#define BENCH_MODEL_H

#include "../models/models.h"
#include "session.h"

typedef struct model_run model_run;

// Registers the rows of a backbone for the ISAs, thread counts and batch sizes of the options. Several calls may share *u,
// which is NULL at first; model_free after the session is gone.
exit_code model_rows(session *s, const options *o, const char *name, model_run **u);
void model_free(model_run *u);
// EXIT_USAGE if --alg names an algorithm that none of these ISA levels has a kernel for: the planner would take another one.
exit_code model_check_alg(const options *o, const bb_isa *isa, int isas);

// One inference against the reference executor, no timing: r gets the error, and state ROW_FAILED if it is too large.
exit_code model_test(const options *o, const bb_model *model, const team *t, bb_isa isa, int mb, row *r);

#endif
