// SPDX-License-Identifier: Apache-2.0
//
// What Winograd's algorithm may err by. With |M| for a matrix of absolute values, output (i, j) of a tile d has
//   sum = sum over c of ( |A^T| [ (|G| |g_c| |G^T|) (.) (|B^T| |d_c| |B|) ] |A| )[i][j]
// which bounds everything that is added up on the way to it, in any order.

#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref_act.h"

enum { MAX_ALPHA = BB_REF_WINO_M + 2, MAX_SQUARE = MAX_ALPHA * MAX_ALPHA };

static const bb_prologue no_prologue;

// to (rows x rows) = |m| from |m^T|; m is rows x n with rows of `stride`, from is n x n.
static void both_sides(const double *m, int rows, int n, int stride, const double *from, double *to) {
  double left[MAX_SQUARE];
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < n; j++) {
      double sum = 0;
      for (int l = 0; l < n; l++) sum += fabs(m[i * stride + l]) * from[l * n + j];
      left[i * n + j] = sum;
    }
  }
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < rows; j++) {
      double sum = 0;
      for (int l = 0; l < n; l++) sum += left[i * n + l] * fabs(m[j * stride + l]);
      to[i * rows + j] = sum;
    }
  }
}

// |G| |g| |G^T| of input channel c of the group, for output channel k.
static void weights(const bb_conv *v, const bb_ref_io *io, const bb_ref_wino *w, int k, int c, double *u) {
  const float *g = io->w + ((size_t)k * (size_t)(v->C / v->G) + (size_t)c) * 9;
  double from[9];
  for (int i = 0; i < 9; i++) from[i] = fabs((double)g[i]);
  both_sides(w->g[0], w->m + 2, 3, 3, from, u);
}

// |B^T| |d| |B| of channel c of image n, for the tile in row tp and column tq of tiles.
static void input(const bb_conv *v, const bb_prologue *pro, const bb_ref_io *io, const bb_ref_wino *w, int n, int c, int tp,
                  int tq, double *to) {
  const int alpha = w->m + 2;
  double d[MAX_SQUARE];
  for (int i = 0; i < alpha; i++) {
    for (int j = 0; j < alpha; j++) {
      const int y = tp * w->m - v->pad_t + i, x = tq * w->m - v->pad_l + j;
      const bool inside = y >= 0 && y < v->H && x >= 0 && x < v->W;
      const size_t at =
          inside ? (((size_t)n * (size_t)v->C + (size_t)c) * (size_t)v->H + (size_t)y) * (size_t)v->W + (size_t)x : 0;
      d[i * alpha + j] = inside ? bb_ref_before_magnitude(v, pro, io, n, c, io->x[at]) : 0;
    }
  }
  both_sides(w->bt[0], alpha, alpha, BB_REF_WINO_M + 2, d, to);
}

static void output(const bb_ref_wino *w, const double *products, double *y) {
  both_sides(w->at[0], w->m, w->m + 2, BB_REF_WINO_M + 2, products, y);
}

// All tiles of plane (n, k); v holds the transformed input of the group, [tile][c].
static void plane(const bb_conv *p, const bb_ref_io *io, const bb_ref_wino *w, int n, int k, const double *v, double *u,
                  double *sum, double *unit) {
  const int m = w->m, alpha = m + 2, Cg = p->C / p->G, across = (p->Q + m - 1) / m, down = (p->P + m - 1) / m;
  const size_t square = (size_t)(alpha * alpha), first = ((size_t)n * (size_t)p->K + (size_t)k) * (size_t)p->P * (size_t)p->Q;
  double total[MAX_SQUARE] = {0}, of_units[BB_REF_WINO_M * BB_REF_WINO_M], of_tile[BB_REF_WINO_M * BB_REF_WINO_M];
  for (int c = 0; c < Cg; c++) {
    weights(p, io, w, k, c, u + (size_t)c * square);
    for (size_t i = 0; i < square; i++) total[i] += u[(size_t)c * square + i];
  }
  output(w, total, of_units);
  for (int t = 0; t < across * down; t++) {
    const double *of = v + (size_t)t * (size_t)Cg * square;
    double products[MAX_SQUARE] = {0};
    for (int c = 0; c < Cg; c++) {
      for (size_t i = 0; i < square; i++) products[i] += u[(size_t)c * square + i] * of[(size_t)c * square + i];
    }
    output(w, products, of_tile);
    for (int i = 0; i < m * m; i++) {
      const int row = t / across * m + i / m, column = t % across * m + i % m;
      if (row >= p->P || column >= p->Q) continue;
      const size_t at = first + (size_t)row * (size_t)p->Q + (size_t)column;
      sum[at] = of_tile[i];
      unit[at] = of_units[i];
    }
  }
}

bool bb_ref_wino_sums(const bb_conv *p, const bb_prologue *pro, const bb_ref_io *io, const bb_ref_wino *w, double *sum,
                      double *unit) {
  if (!pro) pro = &no_prologue;
  const int m = w->m, Cg = p->C / p->G, Kg = p->K / p->G, across = (p->Q + m - 1) / m, tiles = (p->P + m - 1) / m * across;
  const size_t square = (size_t)((m + 2) * (m + 2));
  double *v = malloc((size_t)tiles * (size_t)Cg * square * sizeof *v), *u = malloc((size_t)Cg * square * sizeof *u);
  for (int n = 0; u && v && n < p->N; n++) {
    for (int g = 0; g < p->G; g++) {
      for (int t = 0; t < tiles; t++) {
        for (int c = 0; c < Cg; c++)
          input(p, pro, io, w, n, g * Cg + c, t / across, t % across, v + ((size_t)t * (size_t)Cg + (size_t)c) * square);
      }
      for (int k = 0; k < Kg; k++) plane(p, io, w, n, g * Kg + k, v, u, sum, unit);
    }
  }
  const bool done = u && v;
  free(u), free(v);
  return done;
}

void bb_ref_wino_sums_at(const bb_conv *p, const bb_prologue *pro, const bb_ref_io *io, const bb_ref_wino *w, const size_t *at,
                         size_t count, double *sum, double *unit) {
  if (!pro) pro = &no_prologue;
  const int m = w->m, square = (m + 2) * (m + 2), Cg = p->C / p->G;
  for (size_t i = 0; i < count; i++) {
    const int q = (int)(at[i] % (size_t)p->Q), row = (int)(at[i] / (size_t)p->Q % (size_t)p->P);
    const size_t of = at[i] / (size_t)p->Q / (size_t)p->P;
    const int k = (int)(of % (size_t)p->K), n = (int)(of / (size_t)p->K), g = k / (p->K / p->G);
    double products[MAX_SQUARE] = {0}, total[MAX_SQUARE] = {0}, u[MAX_SQUARE], v[MAX_SQUARE], y[MAX_SQUARE];
    for (int c = 0; c < Cg; c++) {
      weights(p, io, w, k, c, u);
      input(p, pro, io, w, n, g * Cg + c, row / m, q / m, v);
      for (int j = 0; j < square; j++) {
        products[j] += u[j] * v[j];
        total[j] += u[j];
      }
    }
    output(w, products, y);
    sum[i] = y[row % m * m + q % m];
    output(w, total, y);
    unit[i] = y[row % m * m + q % m];
  }
}
