// SPDX-License-Identifier: Apache-2.0
//
// How the verbs plan: --plan and --wisdom.

#ifndef BENCH_PLANNING_H
#define BENCH_PLANNING_H

#include "bench.h"

typedef struct planning {
  bb_plan_mode mode;
  bb_wisdom *wisdom;  // NULL = none
  const char *path;   // where what is learned goes; NULL = nowhere
} planning;

// Reads the file. One that is damaged, of another version or of another machine is reported and not used. writes: the verb will
// add to it whatever --plan says. A file that can be neither read nor written is refused, and so is writing over one that is no
// wisdom at all.
exit_code planning_open(const options *o, bool writes, planning *p);
// Writes the file, if it is to be written.
exit_code planning_save(const planning *p);
void planning_close(planning *p);

#endif
