// SPDX-License-Identifier: Apache-2.0

#include "stats.h"

#include <math.h>
#include <stdlib.h>

static int order(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void stats_sort(double *x, size_t n) { qsort(x, n, sizeof *x, order); }

double stats_quantile(const double *sorted, size_t n, double q) {
  const double at = q * (double)(n - 1);
  const size_t low = (size_t)at;
  return low + 1 < n ? sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low]) : sorted[n - 1];
}

stats_median stats_of_median(double *x, size_t n) {
  stats_sort(x, n);
  const double half = 0.98 * sqrt((double)n);
  const double low = floor((double)n / 2 - half), high = ceil((double)n / 2 + half);
  return (stats_median){
      .median = stats_quantile(x, n, 0.5),
      .low = x[low < 1 ? 0 : (size_t)low - 1],
      .high = x[high > (double)n ? n - 1 : (size_t)high - 1],
  };
}

double stats_geomean(const double *x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += log(x[i]);
  return exp(sum / (double)n);
}
