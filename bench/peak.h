// SPDX-License-Identifier: Apache-2.0
//
// Measured peaks as rows {name, isa, threads, gflops | gbytes_per_s, with their intervals}.

#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <stdio.h>

#include "context.h"
#include "team.h"

struct cJSON;

void peak_fma(const team *t, bb_isa isa, struct cJSON *rows);
exit_code peak_bandwidth(const team *t, bb_isa isa, struct cJSON *rows);
// The FMA peaks among them, for the context of a result.
void peak_to_context(const struct cJSON *rows, context_peaks *peaks);
void peak_print(const struct cJSON *rows, FILE *out);

#endif
