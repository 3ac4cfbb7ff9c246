// SPDX-License-Identifier: Apache-2.0
//
// Failures on demand: the linker sends malloc and its family, and pthread_create, to failures.c (--wrap), which counts them and
// can let the n-th fail.

#ifndef BB_FAILURES_H
#define BB_FAILURES_H

#include "kernels/bb.h"

// Makes and destroys something; its results must be NULL where it fails.
typedef bb_status operation(void *context, bb_error *error);

// Runs it, then again with the n-th allocation failing, for every n until none is left, then likewise with every thread: the
// status must be BB_NO_MEMORY or BB_NO_THREAD, no block may stay behind, and with says_why *error must hold a sentence.
void fail_everywhere(const char *what, operation *run, void *context, bool says_why);

// Lets the n-th allocation, the n-th thread from now fail, once; < 0 = none.
void fail_allocation(long n);
void fail_thread(long n);
// Calls so far; blocks that are not freed.
long allocation_count(void);
long live_blocks(void);

#endif
