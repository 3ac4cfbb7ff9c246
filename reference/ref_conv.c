// SPDX-License-Identifier: Apache-2.0
//
// Convolution:
//   y[n][k][p][q] = epilogue( sum over c, r, s of w[k][c][r][s] * x'[n][group(k)*C/G + c][p*stride_h - pad_t + r*dil_h]
//                                                                                    [q*stride_w - pad_l + s*dil_w] )
// where x' is the prologue of x inside the image and 0 outside.
//
// The loop over q is the innermost one only so that compilers vectorise it.

#include "ref.h"

#include <math.h>

#include "ref_act.h"

static const bb_prologue no_prologue;
static const bb_epilogue no_epilogue;

// x' of channel c of image n.
static double before(const bb_conv *v, const bb_prologue *pro, const bb_ref_io *io, int n, int c, double x) {
  if (pro->dynamic_scale) x *= io->x_scale[(size_t)n * (size_t)v->C + (size_t)c];
  if (pro->scale_shift) x = (io->scale ? io->scale[c] : 1) * x + (io->shift ? io->shift[c] : 0);
  if (pro->relu) x = x < 0 ? 0 : x;
  return x;
}

double bb_ref_before_magnitude(const bb_conv *v, const bb_prologue *pro, const bb_ref_io *io, int n, int c, double x) {
  x = fabs(x);
  if (pro->dynamic_scale) x *= fabs(io->x_scale[(size_t)n * (size_t)v->C + (size_t)c]);
  if (pro->scale_shift) x = fabs(io->scale ? io->scale[c] : 1) * x + fabs(io->shift ? io->shift[c] : 0);
  return x;
}

// Outputs q0 <= q < q1 of row (n, k, p) to y[q - q0], before the epilogue.
static void row(const bb_conv *v, const bb_prologue *pro, const bb_ref_io *io, int n, int k, int p, int q0, int q1,
                double *restrict y, double *restrict magnitude) {
  const int Cg = v->C / v->G, group = k / (v->K / v->G);
  const bool plain = !pro->dynamic_scale && !pro->scale_shift && !pro->relu;

  for (int q = q0; q < q1; q++) y[q - q0] = 0;
  if (magnitude) {
    for (int q = q0; q < q1; q++) magnitude[q - q0] = 0;
  }
  for (int i = 0; i < Cg; i++) {
    const int c = group * Cg + i;
    for (int r = 0; r < v->R; r++) {
      const int h = p * v->stride_h - v->pad_t + r * v->dil_h;
      if (h < 0 || h >= v->H) continue;
      const double *x = io->x + (((size_t)n * (size_t)v->C + (size_t)c) * (size_t)v->H + (size_t)h) * (size_t)v->W;
      for (int s = 0; s < v->S; s++) {
        const double w = io->w[(((size_t)k * (size_t)Cg + (size_t)i) * (size_t)v->R + (size_t)r) * (size_t)v->S + (size_t)s];
        // Column of q: q*stride_w + offset. Those outside the image are zero and left out.
        const ptrdiff_t stride = v->stride_w, offset = (ptrdiff_t)s * v->dil_w - v->pad_l;
        ptrdiff_t from = q0, to = q1;
        while (from < to && from * stride + offset < 0) from++;
        while (from < to && (to - 1) * stride + offset >= v->W) to--;
        if (plain) {
          for (ptrdiff_t q = from; q < to; q++) y[q - q0] += w * x[q * stride + offset];
        } else {
          for (ptrdiff_t q = from; q < to; q++) y[q - q0] += w * before(v, pro, io, n, c, x[q * stride + offset]);
        }
        if (magnitude) {
          for (ptrdiff_t q = from; q < to; q++)
            magnitude[q - q0] += fabs(w) * bb_ref_before_magnitude(v, pro, io, n, c, x[q * stride + offset]);
        }
      }
    }
  }
}

// Row (n, k, p) again: what is fused behind the sum.
static void after(const bb_conv *v, const bb_epilogue *epi, const bb_ref_io *io, int n, int k, int p, int q0, int q1, double *y,
                  double *magnitude) {
  const double bias = epi->bias ? io->b[k] : 0;
  const double scale = epi->scale ? io->y_scale[(size_t)n * (size_t)v->K + (size_t)k] : 1;
  for (int q = q0; q < q1; q++) {
    const size_t at = (((size_t)n * (size_t)v->K + (size_t)k) * (size_t)v->P + (size_t)p) * (size_t)v->Q + (size_t)q;
    double sum = y[q - q0];
    if (epi->bias) sum += bias;
    if (epi->residual == BB_RESIDUAL_BEFORE_ACT) sum += io->x2[at];
    double out = bb_ref_act(epi->act, epi->alpha, sum);
    if (epi->scale) out *= scale;
    if (epi->residual == BB_RESIDUAL_AFTER_ACT) out += io->x2[at];
    y[q - q0] = out;

    if (magnitude) {
      double m = magnitude[q - q0] + fabs(bias);
      if (epi->residual == BB_RESIDUAL_BEFORE_ACT) m += fabs(io->x2[at]);
      m = bb_ref_act_magnitude(epi->act, epi->alpha, sum, m) * fabs(scale);
      if (epi->residual == BB_RESIDUAL_AFTER_ACT) m += fabs(io->x2[at]);
      magnitude[q - q0] = m;
    }
  }
}

void bb_ref_conv_planes(const bb_conv *v, const bb_prologue *pro, const bb_epilogue *epi, const bb_ref_io *io, size_t first,
                        size_t last) {
  if (!pro) pro = &no_prologue;
  if (!epi) epi = &no_epilogue;
  const size_t plane = (size_t)v->P * (size_t)v->Q;
  for (size_t i = first; i < last; i++) {
    const int n = (int)(i / (size_t)v->K), k = (int)(i % (size_t)v->K);
    double *y = io->y + i * plane, *magnitude = io->magnitude ? io->magnitude + i * plane : NULL;
    for (int p = 0; p < v->P; p++) {
      double *y_row = y + (size_t)p * (size_t)v->Q, *m_row = magnitude ? magnitude + (size_t)p * (size_t)v->Q : NULL;
      row(v, pro, io, n, k, p, 0, v->Q, y_row, m_row);
      after(v, epi, io, n, k, p, 0, v->Q, y_row, m_row);
    }
    if (epi->gap) {
      double sum = 0, sum_m = 0;
      for (size_t j = 0; j < plane; j++) sum += y[j];
      for (size_t j = 0; magnitude && j < plane; j++) sum_m += magnitude[j];
      io->gap[i] = sum / (double)plane;
      if (io->gap_magnitude) io->gap_magnitude[i] = sum_m / (double)plane;
    }
  }
}

void bb_ref_conv(const bb_conv *v, const bb_prologue *pro, const bb_epilogue *epi, const bb_ref_io *io) {
  bb_ref_conv_planes(v, pro, epi, io, 0, (size_t)v->N * (size_t)v->K);
}

void bb_ref_conv_at(const bb_conv *v, const bb_prologue *pro, const bb_epilogue *epi, const bb_ref_io *io, const size_t *at,
                    size_t count) {
  if (!pro) pro = &no_prologue;
  if (!epi) epi = &no_epilogue;
  for (size_t i = 0; i < count; i++) {
    const int q = (int)(at[i] % (size_t)v->Q), p = (int)(at[i] / (size_t)v->Q % (size_t)v->P);
    const size_t plane = at[i] / (size_t)v->Q / (size_t)v->P;
    const int k = (int)(plane % (size_t)v->K), n = (int)(plane / (size_t)v->K);
    double *magnitude = io->magnitude ? io->magnitude + i : NULL;
    row(v, pro, io, n, k, p, q, q + 1, io->y + i, magnitude);
    after(v, epi, io, n, k, p, q, q + 1, io->y + i, magnitude);
  }
}
