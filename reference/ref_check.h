// SPDX-License-Identifier: Apache-2.0
//
// Data to feed a kernel with, what the reference says to it, and the verdict on what the kernel made of it.

#ifndef BB_REF_CHECK_H
#define BB_REF_CHECK_H

#include "../kernels/types.h"
#include "ref.h"

#ifdef __cplusplus
extern "C" {
#endif

// 64 random bits that depend on nothing but the arguments: splitmix64 (Steele, Lea, Flood, OOPSLA 2014) used as a hash.
uint64_t bb_ref_random(uint64_t seed, uint64_t stream, uint64_t index);

typedef enum bb_fill {
  BB_FILL_INT,           // small integers; every partial sum in any order is below 2^24, so float results are exact
  BB_FILL_NORMAL,        // about N(0, 1); weights scaled so that outputs are too
  BB_FILL_RELU,          // the same, negative x replaced by zero
  BB_FILL_POSITIVE,      // x and w in [0.5, 1.5): nothing cancels, rounding errors grow most
  BB_FILL_WIDE,          // N(0, 1) times a power of ten of each channel, 10^-3 to 10^3
  BB_FILL_CONSTANT,      // one value in all of x, normal weights
  BB_FILL_DENORMAL,      // x below 2^-126
  BB_FILL_ZERO,          // x zero
  BB_FILL_DELTA_IMAGE,   // x zero but for one 1 per image, integer weights: exact, also in what transforms the image
  BB_FILL_DELTA_WEIGHT,  // w zero but for one 1 per output channel, integer x
  BB_FILL_COUNT
} bb_fill;

const char *bb_fill_name(bb_fill fill);  // "int", "normal", ...
bool bb_fill_parse(const char *name, bb_fill *fill);

typedef struct bb_ref_options {
  bb_fill fill;
  uint64_t seed;
  size_t samples;           // 0 = every output; otherwise about so many of a convolution (bb_ref_samples)
  bool no_scale, no_shift;  // BB_OP_SCALE: leave that vector out
} bb_ref_options;

// What bb_ref_wino_sums says, of the expected values.
typedef struct bb_ref_sums {
  double *sum, *unit;  // NULL until someone asks
} bb_ref_sums;

// Operands of one problem in logical order, NULL where it has no use for them, and the expected result.
typedef struct bb_ref_data {
  bb_problem problem;
  bb_prologue prologue;
  bb_epilogue epilogue;
  bb_ref_options options;
  int x_shape[4], x2_shape[4], y_shape[4];  // N C H W; x2's is zero if there is none
  float *x, *x2;
  float *w, *b, *scale, *shift, *x_scale, *y_scale;
  bool exact;    // a right kernel returns exactly the expected values
  bool random;   // data on which the normwise bound holds
  double terms;  // of the longest sum of an output, and roundings of what is fused to it
  size_t count;  // expected values
  size_t *at;    // NULL = all, in order; otherwise where in NCHW they stand
  double *y, *magnitude;
  double *gap, *gap_magnitude;  // NULL with samples
  bb_ref_sums *wino;            // by m, filled when a result of that algorithm is compared for the first time
} bb_ref_data;

// BB_NO_MEMORY is the only failure. The problem must be valid.
bb_status bb_ref_data_create(const bb_problem *problem, const bb_prologue *prologue, const bb_epilogue *epilogue,
                             const bb_ref_options *options, bb_ref_data **data);
void bb_ref_data_destroy(bb_ref_data *data);

// Fills at[] with ascending distinct outputs of an N x K x P x Q tensor: every channel, row and column, all four corners and
// edges many times, and random ones, about `want` together. at has room for bb_ref_samples_max(want, ...) entries; returns how
// many.
size_t bb_ref_samples_max(size_t want, int N, int K, int P, int Q);
size_t bb_ref_samples(size_t want, uint64_t seed, int N, int K, int P, int Q, size_t *at);

typedef struct bb_ref_result {
  bool ok;
  const char *criterion;          // what was violated first: "exact", "componentwise", "l2", "max", "gap",
                                  // "memory"; or "" if ok
  double err_l2;                  // ||y - ref||_2 / ||ref||_2; from samples: estimates for the whole tensor
  double err_max_rms;             // max |y - ref| / rms(ref)
  double bound;                   // of err_l2, what is fused considered; 0 if exact
  size_t wrong;                   // outputs that violate "exact" or "componentwise"
  size_t first;                   // the first of them (or the worst, for "l2" and "max"): index into NCHW
  int at[4];                      // the same as n, channel, row, column
  double expected, got, allowed;  // there: |got - expected| must not exceed allowed
} bb_ref_result;

// y: dense NCHW in logical channel order. wino: the algorithm that made it, NULL = the direct sum. bound: the kernel's claim of
// err_l2 for the convolution alone (kernel->error_bound or bb_error_bound_direct), 0 = none: componentwise only.
//
// Criteria: exact data must match exactly, with Winograd where its arithmetic is exact too (README.md). Otherwise always
// |y - ref| <= 4 u sqrt(terms) magnitude, u = 2^-24; and on random data with at least 256 outputs err_l2 <= bound and
// err_max_rms <= 15 bound, the bound widened by the roundings of what is fused.
//
// The first comparison for a Winograd keeps its sums in data: not from two threads at once. Out of memory: criterion "memory".
bool bb_ref_compare(const bb_ref_data *data, const bb_ref_wino *wino, const float *y, double bound, bb_ref_result *result);

// gap: N x K in logical order.
bool bb_ref_compare_gap(const bb_ref_data *data, const bb_ref_wino *wino, const float *gap, bb_ref_result *result);

#ifdef __cplusplus
}
#endif

#endif
