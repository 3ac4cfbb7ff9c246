// SPDX-License-Identifier: Apache-2.0
//
// The table of kernels that this build contains: kernels.def, read once for the declarations and once for the table.

#include "bb.h"

#include <stdio.h>
#include <string.h>

#include "common.h"

#define BB_KERNEL(name) extern const bb_kernel bb_##name;
#include "kernels.def"
#undef BB_KERNEL

// Ends with NULL, so that a build without kernels is a table too.
static const bb_kernel *const kernels[] = {
#define BB_KERNEL(name) &bb_##name,
#include "kernels.def"
#undef BB_KERNEL
    NULL};

size_t bb_kernel_count(void) { return BB_COUNT(kernels) - 1; }

const bb_kernel *bb_kernel_at(size_t i) { return i < bb_kernel_count() ? kernels[i] : NULL; }

const bb_kernel *bb_kernel_find(const char *name) {
  for (size_t i = 0; kernels[i]; i++)
    if (strcmp(kernels[i]->name, name) == 0) return kernels[i];
  return NULL;
}

int bb_config_print(const bb_config *c, char *text, size_t size) {
  return snprintf(text, size, "%d %d %d %d %d %d %d", c->q, c->k, c->c, c->rows, c->kt, c->tile, c->ahead);
}
