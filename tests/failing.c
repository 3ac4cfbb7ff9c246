// SPDX-License-Identifier: Apache-2.0
//
// Makes of the program one whose n-th allocation fails, or whose n-th thread cannot be created: BB_FAIL_MEMORY=n,
// BB_FAIL_THREAD=n, from 0. With BB_FAIL_COUNT=FILE it writes there at its end how many allocations there were. test_cli.py
// runs it.

#include <stdio.h>
#include <stdlib.h>

#include "failures.h"

static void write_count(void) {
  FILE *f = fopen(getenv("BB_FAIL_COUNT"), "w");
  if (!f) return;
  fprintf(f, "%ld\n", allocation_count());
  fclose(f);
}

__attribute__((constructor)) static void read_environment(void) {
  const char *memory = getenv("BB_FAIL_MEMORY"), *thread = getenv("BB_FAIL_THREAD");
  if (getenv("BB_FAIL_COUNT")) atexit(write_count);
  if (memory) fail_allocation(atol(memory));
  if (thread) fail_thread(atol(thread));
}
