// SPDX-License-Identifier: Apache-2.0
//
// Activations, and every operation that is not a convolution.

#include "ref.h"

#include <math.h>

#include "ref_act.h"

// ---- activations ---------------------------------------------------------------------------------------------------

// Comparisons are written so that a NaN passes. x * f(x) at -inf, where the formula has no value, is its limit 0.
double bb_ref_act(bb_act act, double alpha, double x) {
  if (x == -INFINITY && (act == BB_ACT_SILU || act == BB_ACT_MISH || act == BB_ACT_HARD_SWISH)) return 0;
  switch (act) {
    case BB_ACT_IDENTITY:
      return x;
    case BB_ACT_RELU:
      return x < 0 ? 0 : x;
    case BB_ACT_RELU6:
      return x < 0 ? 0 : x > 6 ? 6 : x;
    case BB_ACT_LEAKY_RELU:
      return x > 0 ? x : alpha * x;
    case BB_ACT_TANH:
      return tanh(x);
    case BB_ACT_SIGMOID:
      return 1 / (1 + exp(-x));
    case BB_ACT_SILU:
      return x / (1 + exp(-x));
    case BB_ACT_MISH:
      return x * tanh(log1p(exp(x)));
    case BB_ACT_HARD_SIGMOID:
      return bb_ref_act(BB_ACT_RELU6, 0, x + 3) / 6;
    case BB_ACT_HARD_SWISH:
      return x * (bb_ref_act(BB_ACT_RELU6, 0, x + 3) / 6);
    case BB_ACT_COUNT:
      break;
  }
  return NAN;
}

double bb_ref_act_magnitude(bb_act act, double alpha, double x, double m) {
  // max |act'|: silu's 1.0998 at x = 2.40, mish's 1.0885 at x = 1.49, hard-swish's 1.5 at x = 3.
  const double own = 2 * fabs(bb_ref_act(act, alpha, x));
  switch (act) {
    case BB_ACT_IDENTITY:
    case BB_ACT_RELU:
    case BB_ACT_RELU6:
      return m;
    case BB_ACT_LEAKY_RELU:
      return fmax(1, fabs(alpha)) * m;
    case BB_ACT_TANH:
      return m + own;
    case BB_ACT_SIGMOID:
      return 0.25 * m + own;
    case BB_ACT_SILU:
      return 1.1 * m + own;
    case BB_ACT_MISH:
      return 1.1 * m + own;
    // x + 3 is rounded where x is near -3: an absolute error of 3 * 2^-24, which hard-swish multiplies by |x|/6.
    case BB_ACT_HARD_SIGMOID:
      return m / 6 + own + (fabs(x) <= 4 ? 0.5 : 0);
    case BB_ACT_HARD_SWISH:
      return 1.5 * m + own + (fabs(x) <= 4 ? 0.5 * fabs(x) : 0);
    case BB_ACT_COUNT:
      break;
  }
  return NAN;
}

// y[i] = act(v), its magnitude from that of v.
static void put(const bb_ref_io *io, const bb_epilogue *epi, size_t i, double v, double magnitude) {
  io->y[i] = epi ? bb_ref_act(epi->act, epi->alpha, v) : v;
  if (io->magnitude) io->magnitude[i] = epi ? bb_ref_act_magnitude(epi->act, epi->alpha, v, magnitude) : magnitude;
}

static size_t index4(int n, int c, int h, int w, int C, int H, int W) {
  return (((size_t)n * (size_t)C + (size_t)c) * (size_t)H + (size_t)h) * (size_t)W + (size_t)w;
}

// ---- pooling -------------------------------------------------------------------------------------------------------

typedef struct range {
  int from, to;  // inside the input
  int padded;    // length inside the padded input
} range;

static range window(int p, int in, int out, int size, int stride, int pad_before, int pad_after, bool adaptive) {
  if (adaptive) {
    const int from = (int)((int64_t)p * in / out);                  // floor(p*in/out)
    const int to = (int)((((int64_t)p + 1) * in + out - 1) / out);  // ceil((p+1)*in/out)
    return (range){from, to, to - from};
  }
  const int from = p * stride - pad_before, to = from + size;
  const int padded_to = to < in + pad_after ? to : in + pad_after;
  return (range){from > 0 ? from : 0, to < in ? to : in, padded_to - from};
}

void bb_ref_pool(const bb_pooling *v, const bb_epilogue *epi, const bb_ref_io *io) {
  for (int n = 0; n < v->N; n++) {
    for (int c = 0; c < v->C; c++) {
      for (int p = 0; p < v->P; p++) {
        for (int q = 0; q < v->Q; q++) {
          const range rows = window(p, v->H, v->P, v->R, v->stride_h, v->pad_t, v->pad_b, v->adaptive);
          const range columns = window(q, v->W, v->Q, v->S, v->stride_w, v->pad_l, v->pad_r, v->adaptive);
          double max = -INFINITY, sum = 0, magnitude = 0;
          for (int h = rows.from; h < rows.to; h++) {
            for (int w = columns.from; w < columns.to; w++) {
              const double x = io->x[index4(n, c, h, w, v->C, v->H, v->W)];
              if (x > max || isnan(x)) max = x;
              sum += x;
              magnitude += fabs(x);
            }
          }
          const double real = (double)(rows.to - rows.from) * (columns.to - columns.from);
          const double count = v->count_include_pad ? (double)rows.padded * columns.padded : real;
          const size_t y = index4(n, c, p, q, v->C, v->P, v->Q);
          if (v->kind == BB_POOL_MAX) {
            put(io, epi, y, max, 0);  // exact
          } else {
            put(io, epi, y, sum / count, magnitude / count);
          }
        }
      }
    }
  }
}

// ---- element by element --------------------------------------------------------------------------------------------

void bb_ref_eltwise(const bb_eltwise *v, const bb_epilogue *epi, const bb_ref_io *io) {
  for (int n = 0; n < v->N; n++) {
    for (int c = 0; c < v->C; c++) {
      for (int h = 0; h < v->H; h++) {
        for (int w = 0; w < v->W; w++) {
          const size_t i = index4(n, c, h, w, v->C, v->H, v->W);
          const double a = io->x[i];
          if (c >= v->C2) {
            put(io, epi, i, a, 0);  // exact
            continue;
          }
          const double b =
              v->broadcast ? io->x2[index4(n, c, 0, 0, v->C2, 1, 1)] : io->x2[index4(n, c, h, w, v->C2, v->H, v->W)];
          if (v->kind == BB_ELTWISE_ADD) {
            put(io, epi, i, a + b, fabs(a) + fabs(b));
          } else {
            put(io, epi, i, a * b, fabs(a * b));
          }
        }
      }
    }
  }
}

void bb_ref_scale(const bb_scale *v, const bb_epilogue *epi, const bb_ref_io *io) {
  for (int n = 0; n < v->N; n++) {
    for (int c = 0; c < v->C; c++) {
      const double scale = io->scale ? io->scale[c] : 1, shift = io->shift ? io->shift[c] : 0;
      const bool exact = !io->scale && !io->shift;
      for (int h = 0; h < v->H; h++) {
        for (int w = 0; w < v->W; w++) {
          const size_t i = index4(n, c, h, w, v->C, v->H, v->W);
          put(io, epi, i, scale * io->x[i] + shift, exact ? 0 : fabs(scale * io->x[i]) + fabs(shift));
        }
      }
    }
  }
}

void bb_ref_copy(const bb_copy *v, const bb_epilogue *epi, const bb_ref_io *io) {
  const size_t count = (size_t)v->N * (size_t)v->C * (size_t)v->H * (size_t)v->W;
  for (size_t i = 0; i < count; i++) put(io, epi, i, io->x[i], 0);  // exact
}

// y[c] = e^x[c] / sum over j of e^x[j], with the largest x taken off first. The magnitude allows a float exponential 4 ulp and
// the two sides of the division as many again, the rounding of its argument x - max, |x - max| * 2^-24 in the result, and what
// the sum of C terms loses.
void bb_ref_softmax(const bb_softmax *v, const bb_epilogue *epi, const bb_ref_io *io) {
  for (int n = 0; n < v->N; n++) {
    for (int h = 0; h < v->H; h++) {
      for (int w = 0; w < v->W; w++) {
        double max = -INFINITY, sum = 0;
        for (int c = 0; c < v->C; c++) max = fmax(max, io->x[index4(n, c, h, w, v->C, v->H, v->W)]);
        for (int c = 0; c < v->C; c++) sum += exp(io->x[index4(n, c, h, w, v->C, v->H, v->W)] - max);
        for (int c = 0; c < v->C; c++) {
          const size_t i = index4(n, c, h, w, v->C, v->H, v->W);
          const double y = exp(io->x[i] - max) / sum;
          put(io, epi, i, y, y * (3 + 0.5 * fabs(io->x[i] - max) + sqrt(v->C) / 8));
        }
      }
    }
  }
}

// ---- resize --------------------------------------------------------------------------------------------------------

void bb_ref_resize(const bb_resize *v, const bb_epilogue *epi, const bb_ref_io *io) {
  for (int n = 0; n < v->N; n++) {
    for (int c = 0; c < v->C; c++) {
      for (int p = 0; p < v->P; p++) {
        for (int q = 0; q < v->Q; q++) {
          const size_t y = index4(n, c, p, q, v->C, v->P, v->Q);
          if (v->kind == BB_RESIZE_NEAREST) {
            const int h = (int)((int64_t)p * v->H / v->P), w = (int)((int64_t)q * v->W / v->Q);
            put(io, epi, y, io->x[index4(n, c, h, w, v->C, v->H, v->W)], 0);  // exact
            continue;
          }
          const double h = v->P > 1 ? (double)p * (v->H - 1) / (v->P - 1) : 0;
          const double w = v->Q > 1 ? (double)q * (v->W - 1) / (v->Q - 1) : 0;
          const int h0 = (int)h, w0 = (int)w;  // >= 0: rounds down
          const int h1 = h0 + 1 < v->H ? h0 + 1 : h0, w1 = w0 + 1 < v->W ? w0 + 1 : w0;
          const double dh = h - h0, dw = w - w0;
          const double a = io->x[index4(n, c, h0, w0, v->C, v->H, v->W)], b = io->x[index4(n, c, h0, w1, v->C, v->H, v->W)];
          const double d = io->x[index4(n, c, h1, w0, v->C, v->H, v->W)], e = io->x[index4(n, c, h1, w1, v->C, v->H, v->W)];
          // A coordinate rounded to float errs by up to 2^-24 of itself, which moves the result by that times the difference of
          // the neighbours.
          put(io, epi, y, (1 - dh) * ((1 - dw) * a + dw * b) + dh * ((1 - dw) * d + dw * e),
              (2 + 0.5 * (h + w)) * (fabs(a) + fabs(b) + fabs(d) + fabs(e)));
        }
      }
    }
  }
}

// ---- any -----------------------------------------------------------------------------------------------------------

void bb_ref_run(const bb_problem *v, const bb_prologue *prologue, const bb_epilogue *epilogue, const bb_ref_io *io) {
  switch (v->op) {
    case BB_OP_CONV:
      bb_ref_conv(&v->conv, prologue, epilogue, io);
      break;
    case BB_OP_POOL:
      bb_ref_pool(&v->pool, epilogue, io);
      break;
    case BB_OP_ELTWISE:
      bb_ref_eltwise(&v->eltwise, epilogue, io);
      break;
    case BB_OP_SCALE:
      bb_ref_scale(&v->scale, epilogue, io);
      break;
    case BB_OP_COPY:
      bb_ref_copy(&v->copy, epilogue, io);
      break;
    case BB_OP_SOFTMAX:
      bb_ref_softmax(&v->softmax, epilogue, io);
      break;
    case BB_OP_RESIZE:
      bb_ref_resize(&v->resize, epilogue, io);
      break;
    case BB_OP_COUNT:
      break;
  }
}

void bb_ref_widen(const float *from, size_t count, double *to) {
  for (size_t i = 0; i < count; i++) to[i] = from[i];
}
