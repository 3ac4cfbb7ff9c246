// SPDX-License-Identifier: Apache-2.0
//
// Status code -> sentence.

#include "bb.h"
#include "common.h"

static const char *const sentences[] = {
    [BB_OK] = "done",
    [BB_INVALID] = "invalid argument: no implementation could do it",
    [BB_UNSUPPORTED] = "well-formed, but no kernel here does it",
    [BB_NO_MEMORY] = "out of memory",
    [BB_NO_THREAD] = "the system refused a thread",
    [BB_IO] = "a file could not be read or written",
};
_Static_assert(BB_COUNT(sentences) == BB_STATUS_COUNT, "one sentence per status");

const char *bb_status_string(bb_status status) {
  return (unsigned)status < BB_STATUS_COUNT ? sentences[status] : "unknown status";
}
