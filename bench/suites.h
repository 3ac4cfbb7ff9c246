// SPDX-License-Identifier: Apache-2.0
//
// The shapes that are timed: one list of convolutions, and which of them make a suite.

#ifndef BENCH_SUITES_H
#define BENCH_SUITES_H

#include "bench.h"

typedef struct suite_case {
  const char *problem;  // with its id as the name
  bool quick;           // in quick12
  bool extended;        // not in core40
  const char *what;     // which network it stands for
} suite_case;

size_t suite_count(void);
const suite_case *suite_at(size_t i);
// quick12, core40, extended.
bool suite_has(const char *suite, const suite_case *c);

#endif
