// SPDX-License-Identifier: Apache-2.0
//
// What plan.c asks of wisdom.

#ifndef BB_WISDOM_H
#define BB_WISDOM_H

#include "bb.h"

typedef struct bb_lesson {
  char kernel[64];
  bb_config config;
} bb_lesson;

// What was found fastest for this task under these options on this machine.
bool bb_wisdom_find(bb_wisdom *wisdom, const bb_task *task, const bb_plan_options *options, bb_lesson *lesson);
// BB_NO_MEMORY, and then nothing has changed.
bb_status bb_wisdom_add(bb_wisdom *wisdom, const bb_task *task, const bb_plan_options *options, const bb_kernel *kernel,
                        const bb_config *config);

#endif
