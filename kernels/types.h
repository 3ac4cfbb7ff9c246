// SPDX-License-Identifier: Apache-2.0
//
// What is asked: one struct per operation, what is fused to it, and where its tensors lie in memory.
// The only header that reference/ may see, so it holds data and one-line formulas, no algorithm.
//
// Letters: N C H W input, K P Q output, R S filter, G groups; x input, w weights, b bias, y output.

#ifndef BB_TYPES_H
#define BB_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum bb_status {
  BB_OK,
  BB_INVALID,      // the caller's mistake: no implementation could do it
  BB_UNSUPPORTED,  // well-formed, but nothing here does it
  BB_NO_MEMORY,
  BB_NO_THREAD,  // the system refused a thread
  BB_IO,         // a file could not be read or written
  BB_STATUS_COUNT
} bb_status;

// One sentence for a person: what, where, what was expected. Functions that take one accept NULL.
typedef struct bb_error {
  char text[256];
} bb_error;

typedef enum bb_op {
  BB_OP_CONV,  // fully connected too: a valid convolution over the whole map
  BB_OP_POOL,
  BB_OP_ELTWISE,
  BB_OP_SCALE,  // batch-norm at inference, and lone activations
  BB_OP_COPY,   // between layouts and channel maps
  BB_OP_SOFTMAX,
  BB_OP_RESIZE,
  BB_OP_COUNT
} bb_op;

// ---- problems ------------------------------------------------------------------------------------------------------

// w is K x C/G x R x S. P and Q are stored, and validation demands that they follow from the rest:
// P = (H + pad_t + pad_b - (dil_h*(R-1) + 1)) / stride_h + 1, rounded down; Q likewise.
typedef struct bb_conv {
  int G, N, C, H, W, K, P, Q, R, S;
  int stride_h, stride_w;
  int pad_t, pad_b, pad_l, pad_r;
  int dil_h, dil_w;  // 1 = dense
} bb_conv;

typedef enum bb_pool_kind { BB_POOL_MAX, BB_POOL_AVG, BB_POOL_KIND_COUNT } bb_pool_kind;

// Window of output p: rows [p*stride - pad_t, + R), clipped to the input. Max ignores padding (-inf); average divides by the
// window's rows x columns inside the padded input [-pad_t, H + pad_b) if count_include_pad, inside the input otherwise.
// Ceil mode is a larger P: ceil((H + pad_t + pad_b - R) / stride) + 1, minus one if the last window starts at or after H +
// pad_t. adaptive: R, S, strides and paddings are unused, the window of p is rows [floor(p*H/P), ceil((p+1)*H/P)); global =
// adaptive to 1x1.
typedef struct bb_pooling {
  bb_pool_kind kind;
  int N, C, H, W, P, Q, R, S;
  int stride_h, stride_w;
  int pad_t, pad_b, pad_l, pad_r;
  bool ceil_mode, count_include_pad, adaptive;
} bb_pooling;

typedef enum bb_eltwise_kind { BB_ELTWISE_ADD, BB_ELTWISE_MUL, BB_ELTWISE_KIND_COUNT } bb_eltwise_kind;

// y = act(x op x2). x2 has the first C2 <= C channels (the others of x pass through op unchanged) and, if broadcast, H = W = 1.
typedef struct bb_eltwise {
  bb_eltwise_kind kind;
  int N, C, H, W;
  int C2;
  bool broadcast;
} bb_eltwise;

// y = act(scale[c]*x + shift[c]); either vector may be absent.
typedef struct bb_scale {
  int N, C, H, W;
} bb_scale;

typedef struct bb_copy {
  int N, C, H, W;
} bb_copy;

// Over channels, for each image and pixel.
typedef struct bb_softmax {
  int N, C, H, W;
} bb_softmax;

typedef enum bb_resize_kind {
  BB_RESIZE_NEAREST,         // source = floor(p*H/P)
  BB_RESIZE_BILINEAR_ALIGN,  // source = p*(H-1)/(P-1), 0 if P = 1: torch's align_corners=True
  BB_RESIZE_KIND_COUNT
} bb_resize_kind;

typedef struct bb_resize {
  bb_resize_kind kind;
  int N, C, H, W, P, Q;
} bb_resize;

typedef struct bb_problem {
  bb_op op;
  union {
    bb_conv conv;
    bb_pooling pool;
    bb_eltwise eltwise;
    bb_scale scale;
    bb_copy copy;
    bb_softmax softmax;
    bb_resize resize;
  };
} bb_problem;

// ---- what is fused -------------------------------------------------------------------------------------------------

typedef enum bb_act {
  BB_ACT_IDENTITY,
  BB_ACT_RELU,
  BB_ACT_RELU6,
  BB_ACT_LEAKY_RELU,  // x > 0 ? x : alpha*x
  BB_ACT_TANH,
  BB_ACT_SIGMOID,
  BB_ACT_SILU,          // x * sigmoid(x)
  BB_ACT_MISH,          // x * tanh(log(1 + e^x))
  BB_ACT_HARD_SIGMOID,  // min(max(x + 3, 0), 6) / 6
  BB_ACT_HARD_SWISH,    // x * hard_sigmoid(x)
  BB_ACT_COUNT
} bb_act;

typedef enum bb_residual { BB_RESIDUAL_NONE, BB_RESIDUAL_BEFORE_ACT, BB_RESIDUAL_AFTER_ACT, BB_RESIDUAL_COUNT } bb_residual;

// In this order: v = sum (+ bias[k]) (+ residual if before) ; v = act(v) ; v *= scale[n][k] ; (+ residual if after) ;
// y = v ; y2 = v ; gap[n][k] = mean over P x Q of v.
// Every operation takes act; convolutions take all of it.
typedef struct bb_epilogue {
  bool bias;
  bb_act act;
  float alpha;           // slope of leaky ReLU
  bb_residual residual;  // a tensor of y's shape and channel map; may be y itself
  bool scale;            // squeeze-excite: N x K factors known when the node runs, in the lanes of y
  bool second;           // a second output view of y's shape and map
  bool gap;              // N x K means, in the lanes of y
} bb_epilogue;

// x' = x * x_scale[n][c] (dynamic, known when the node runs) ; x' = scale[c]*x' + shift[c] ; x' = max(x', 0).
// Padding is zero after the prologue.
typedef struct bb_prologue {
  bool dynamic_scale;  // squeeze-excite of the input: N x C factors in the lanes of x
  bool scale_shift;    // batch-norm of the input, constants of the plan
  bool relu;
} bb_prologue;

// ---- where tensors lie ---------------------------------------------------------------------------------------------

enum { BB_MAX_BLOCK = 16, BB_ALIGN = 64 };

// Which logical channel stands in each lane; -1 = none (the lane always holds +0). Every channel stands in exactly one lane.
typedef struct bb_map {
  int channels;  // logical channels
  int block;     // lanes per block
  int blocks;
  const int *lane;  // blocks*block entries
} bb_map;

// A tensor in memory but for its address. Layout NCHW (block 1) or NCHW[c]c: element (n, channel in lane l of block k, h, w) is
// data[n*n_stride + k*c_stride + h*h_stride + w*block + l]. Slices and halos are views with other strides or another address.
// Blocked tensors are aligned to BB_ALIGN bytes at every (n, k) and to a block of lanes at every row; of one pixel (H = W = 1),
// to a block of lanes at every (n, k); NCHW ones to a float.
// Strides grow outwards (h, channel, image); an axis of one element has no stride to speak of. Empty lanes hold zero.
typedef struct bb_view {
  int N, C, H, W;
  int block;                               // 1, 4, 8 or 16
  const bb_map *map;                       // never NULL; its block is the view's
  ptrdiff_t n_stride, c_stride, h_stride;  // in floats
} bb_view;

// All that a kernel needs to know to say whether it can, how, and how fast.
typedef struct bb_task {
  bb_problem problem;
  bb_prologue prologue;
  bb_epilogue epilogue;
  bb_view x, y;
  bb_view x2;  // eltwise: second operand; conv with residual: the residual
  bb_view y2;  // with epilogue.second
} bb_task;

// Parameters in logical channel order; those that the task has no use for are NULL. Read by bb_plan_create only.
typedef struct bb_weights {
  const float *w;      // conv: K x C/G x R x S
  const float *b;      // conv: K
  const float *scale;  // prologue.scale_shift or BB_OP_SCALE: C
  const float *shift;  // likewise
} bb_weights;

// Addresses of one execution; those that the task has no use for are NULL. x and y never overlap; residual may be y.
typedef struct bb_io {
  const float *x;
  const float *x2;       // eltwise operand or residual
  const float *x_scale;  // N x (lanes of x), image after image
  const float *y_scale;  // N x (lanes of y)
  float *y;
  float *y2;
  float *gap;  // N x (lanes of y)
} bb_io;

static inline int bb_map_lanes(const bb_map *m) { return m->blocks * m->block; }

#endif
