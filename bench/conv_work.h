// SPDX-License-Identifier: Apache-2.0
//
// One convolution ready to be checked and timed: data, plan, execution.

#ifndef BENCH_CONV_WORK_H
#define BENCH_CONV_WORK_H

#include "row.h"
#include "sampler.h"
#include "verify.h"

typedef struct conv_work {
  bb_verify *verify;
  bb_plan **plan;  // copies of one plan, so many that their weights together are in no cache; one if hot
  size_t plans, next;
  float *memory;  // of the weights of all but the first, close together: plans' own would be huge pages each
  bb_exec *exec;
  bb_pool *pool;
} conv_work;

// The reference's data of a case, shared by all kernels and peers that are timed on it. Sampled above 0.5 GMAC. check: it will
// be compared with; otherwise the expectation is left out as far as it goes.
bb_status conv_data(const options *o, const bb_task *task, bool check, bb_ref_data **data, bb_error *error);

// The planner's choice, as the options say (by wisdom, estimated, measured). Sets the task's views to the layouts in which it
// is estimated to be fastest, considering every layout that some kernel within the options has. *kernel is NULL if none
// accepts.
bb_status conv_choose(bb_task *task, const bb_plan_options *po, const bb_kernel **kernel, bb_config *config, bb_error *error);

// How many copies of packed weights, used in turn, are in no cache together.
size_t conv_copies(size_t packed);

// The task's views are set. cold: as many plans as it takes.
bb_status conv_work_create(const bb_task *task, const bb_ref_data *data, const bb_plan_options *po, bool cold, bb_pool *pool,
                           conv_work *w, bb_error *error);
void conv_work_destroy(conv_work *w);
double conv_work_bytes(const bb_task *task, const bb_kernel *kernel, const bb_config *config, bool cold);  // about
void conv_work_run(void *work);                                                                            // one call

double conv_bound(const bb_plan *plan);     // of the error that its kernel claims
double conv_executed(const bb_plan *plan);  // flops that its kernel does

#endif
