// SPDX-License-Identifier: Apache-2.0
//
// Order statistics. All take unsorted data and sort it in place; n >= 1.

#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>

void stats_sort(double *x, size_t n);
// Linear between the neighbours, of sorted data; 0 <= q <= 1.
double stats_quantile(const double *sorted, size_t n, double q);

typedef struct stats_median {
  double median, low, high;  // with its 95 % interval
} stats_median;

// The interval is distribution-free: order statistics around the median, ranks by the normal approximation of the binomial
// n/2 -+ 1.96*sqrt(n)/2 (Conover, Practical Nonparametric Statistics, ch. 3).
stats_median stats_of_median(double *x, size_t n);

double stats_geomean(const double *x, size_t n);

#endif
