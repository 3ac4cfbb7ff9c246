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

// What a lesson is about: a task with all that is fused to it and its views; or its problem alone, however it is used.
typedef enum bb_wisdom_about { BB_WISDOM_TASK, BB_WISDOM_BARE } bb_wisdom_about;

// What was found fastest for this task under these options on this machine.
bool bb_wisdom_find(bb_wisdom *wisdom, const bb_task *task, const bb_plan_options *options, bb_wisdom_about about,
                    bb_lesson *lesson);
// BB_NO_MEMORY, and then nothing has changed.
bb_status bb_wisdom_add(bb_wisdom *wisdom, const bb_task *task, const bb_plan_options *options, bb_wisdom_about about,
                        const bb_kernel *kernel, const bb_config *config);

// How many lessons there are, and how many of them this machine and this build may use.
void bb_wisdom_count(bb_wisdom *wisdom, size_t *all, size_t *usable);

#endif
