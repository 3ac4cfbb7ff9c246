// SPDX-License-Identifier: Apache-2.0

#ifndef BENCH_VERB_TEST_H
#define BENCH_VERB_TEST_H

#include "bench.h"

// Verifies every convolution kernel within the options on the tails suite.
exit_code test_tails(const options *o);

#endif
