// SPDX-License-Identifier: Apache-2.0
//
// Wisdom: what measuring found, kept between runs.

#include "bb.h"

#include <stdlib.h>

#include "error.h"

struct bb_wisdom {
  size_t count;
};

bb_status bb_wisdom_create(bb_wisdom **out) {
  *out = calloc(1, sizeof **out);
  return *out ? BB_OK : BB_NO_MEMORY;
}

void bb_wisdom_destroy(bb_wisdom *wisdom) { free(wisdom); }

bb_status bb_wisdom_load(bb_wisdom *wisdom, const char *path, bb_error *error) {
  (void)wisdom;
  return bb_fail(error, BB_UNSUPPORTED, "%s cannot be read: this build keeps no wisdom", path);
}

bb_status bb_wisdom_save(const bb_wisdom *wisdom, const char *path, bb_error *error) {
  (void)wisdom;
  return bb_fail(error, BB_UNSUPPORTED, "%s cannot be written: this build keeps no wisdom", path);
}
