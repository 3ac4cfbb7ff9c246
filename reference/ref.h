// SPDX-License-Identifier: Apache-2.0
//
// The truth: every operation of kernels/types.h on dense NCHW tensors of doubles, by the plainest loops that say the formula.
//
// Channels are logical (no maps, no blocks), sums are doubles, functions are libm's. Nothing here is shared with a kernel but
// the problem structs, so that no bug can be. Tensors must not overlap. The caller has validated the problem.
//
// Only the convolution's weights are floats: they are stored so, and those of VGG-16 would take 1.1 GB as doubles.

#ifndef BB_REF_H
#define BB_REF_H

#include "../kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

// Those that the operation has no use for are ignored.
typedef struct bb_ref_io {
  const double *x;        // N x C x H x W
  const double *x2;       // eltwise: N x C2 x H x W (or x 1 x 1 if broadcast); conv with a residual: N x K x P x Q, not y
  const float *w;         // conv: K x C/G x R x S
  const double *b;        // conv: K
  const double *scale;    // prologue.scale_shift or BB_OP_SCALE: C, NULL = ones
  const double *shift;    // likewise, NULL = zeros
  const double *x_scale;  // N x C
  const double *y_scale;  // N x K
  double *y;              // N x K x P x Q; a second output would be its copy
  double *gap;            // N x K
  // If not NULL, of y's (gap's) shape: the same formula with every term replaced by its absolute value and every activation by
  // its steepest slope. A float computation of L terms errs by no more than about L * 2^-24 * magnitude whatever the data.
  double *magnitude;
  double *gap_magnitude;
} bb_ref_io;

double bb_ref_act(bb_act act, double alpha, double x);

// All of y. prologue and epilogue may be NULL = nothing fused; of the epilogue, operations other than bb_ref_conv take the
// activation only.
void bb_ref_conv(const bb_conv *conv, const bb_prologue *prologue, const bb_epilogue *epilogue, const bb_ref_io *io);
void bb_ref_pool(const bb_pooling *pool, const bb_epilogue *epilogue, const bb_ref_io *io);
void bb_ref_eltwise(const bb_eltwise *eltwise, const bb_epilogue *epilogue, const bb_ref_io *io);
void bb_ref_scale(const bb_scale *scale, const bb_epilogue *epilogue, const bb_ref_io *io);
void bb_ref_copy(const bb_copy *copy, const bb_epilogue *epilogue, const bb_ref_io *io);
void bb_ref_softmax(const bb_softmax *softmax, const bb_epilogue *epilogue, const bb_ref_io *io);
void bb_ref_resize(const bb_resize *resize, const bb_epilogue *epilogue, const bb_ref_io *io);

// Whichever of these the problem is.
void bb_ref_run(const bb_problem *problem, const bb_prologue *prologue, const bb_epilogue *epilogue, const bb_ref_io *io);

// Part of a convolution: the planes n*K + k in [first, last) of y (and of gap), at their place. Different planes may be
// computed by different threads.
void bb_ref_conv_planes(const bb_conv *conv, const bb_prologue *prologue, const bb_epilogue *epilogue, const bb_ref_io *io,
                        size_t first, size_t last);

// Part of a convolution: output at[i] (an index into N x K x P x Q) goes to y[i], its magnitude to magnitude[i]. No gap.
void bb_ref_conv_at(const bb_conv *conv, const bb_prologue *prologue, const bb_epilogue *epilogue, const bb_ref_io *io,
                    const size_t *at, size_t count);

// Winograd's algorithm F(m x m, 3 x 3), Y = A^T [(G g G^T) (.) (B^T d B)] A on tiles of alpha = m + 2 inputs that begin at the
// outputs 0, m, 2m, ... of each axis; of each matrix the first rows and columns are used. Data that the caller hands over: the
// kernels' own matrices, which a test proves by themselves.
enum { BB_REF_WINO_M = 6 };
typedef struct bb_ref_wino {
  int m;
  double bt[BB_REF_WINO_M + 2][BB_REF_WINO_M + 2];
  double g[BB_REF_WINO_M + 2][3];
  double at[BB_REF_WINO_M][BB_REF_WINO_M + 2];
} bb_ref_wino;

// Of a 3 x 3 convolution of stride and dilation 1, before its epilogue: to that algorithm what magnitude is to the direct sum.
// sum: every term of everything that is added up on the way to an output replaced by its absolute value; unit: the same for an
// input of ones, without padding. Of all outputs, false = out of memory; or of the outputs at[] only.
bool bb_ref_wino_sums(const bb_conv *conv, const bb_prologue *prologue, const bb_ref_io *io, const bb_ref_wino *wino,
                      double *sum, double *unit);
void bb_ref_wino_sums_at(const bb_conv *conv, const bb_prologue *prologue, const bb_ref_io *io, const bb_ref_wino *wino,
                         const size_t *at, size_t count, double *sum, double *unit);

void bb_ref_widen(const float *from, size_t count, double *to);

#ifdef __cplusplus
}
#endif

#endif
