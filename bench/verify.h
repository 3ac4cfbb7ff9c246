// SPDX-License-Identifier: Apache-2.0
//
// Puts one task's data in memory as its views ask, and judges what a kernel, a plan or a peer made of it. The program verifies
// with it before it times; the tests do with guard pages around each buffer.
//
//   bb_verify_create(&task, &options, &v, error);      reference computed here
//   bb_plan_create(&task, &v->weights, ...);           parameters in logical order
//   bb_verify_reset(v);                                before each run that is to be checked
//   bb_plan_run(plan, exec, pool, &v->io);
//   bb_verify_check(v, alg, bound, &result);           result.ok

#ifndef BB_VERIFY_H
#define BB_VERIFY_H

#include "../kernels/bb.h"
#include "../reference/ref_check.h"

// Where buffers come from. get returns at least `bytes` bytes aligned to BB_ALIGN if `aligned`, to a float otherwise.
typedef struct bb_verify_memory {
  void *(*get)(void *context, size_t bytes, bool aligned);
  void (*put)(void *context, void *memory, size_t bytes, bool aligned);
  void *context;
} bb_verify_memory;

typedef struct bb_verify_options {
  bb_ref_options ref;
  bool residual_in_place;          // the residual is y itself
  size_t margin;                   // floats of someone else before and after each view; a multiple of 16
  const bb_verify_memory *memory;  // NULL = aligned_alloc
  const bb_ref_data *data;         // NULL = made from ref; otherwise used as it is, and not destroyed
} bb_verify_options;

typedef struct bb_verify_buffer {
  float *memory;  // margin, view, margin
  float *data;    // the view
  size_t floats;  // of memory
  bool aligned;
} bb_verify_buffer;

typedef struct bb_verify {
  bb_task task;
  bb_verify_options options;
  const bb_ref_data *data;
  bb_ref_data *own;
  bb_weights weights;
  bb_io io;
  bb_verify_buffer x, x2, y, y2, x_scale, y_scale, gap;
  float *logical;  // y in NCHW, logical channels
} bb_verify;

typedef struct bb_verify_result {
  bb_ref_result ref;
  bool ok;
  char text[256];  // what is wrong: output or second output, index, expected, got, criterion; empty if ok
} bb_verify_result;

bb_status bb_verify_create(const bb_task *task, const bb_verify_options *options, bb_verify **verify, bb_error *error);
void bb_verify_destroy(bb_verify *verify);

// Poisons every byte that belongs to an output with NaN, and restores a residual that is y itself.
void bb_verify_reset(bb_verify *verify);

// Values of y, y2 and gap against the reference, +0 in empty lanes, poison untouched elsewhere. alg: of the kernel that made
// them. bound as in bb_ref_compare. BB_NO_MEMORY: not judged.
bb_status bb_verify_check(bb_verify *verify, bb_alg alg, double bound, bb_verify_result *result);

// The matrices of an algorithm as the reference takes them, in *to; NULL = it has none.
const bb_ref_wino *bb_verify_wino(bb_alg alg, bb_ref_wino *to);

// Data of a view in logical order, and back; empty lanes become +0. By the definition of bb_view, one element at a time.
void bb_verify_unpack(const bb_view *view, const float *data, float *nchw);
void bb_verify_pack(const bb_view *view, const float *nchw, float *data);

#endif
