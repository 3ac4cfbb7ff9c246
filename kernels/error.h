// SPDX-License-Identifier: Apache-2.0
//
// How a function that can fail says why: `return bb_fail(error, BB_INVALID, "what, where, what was expected", ...)`.

#ifndef BB_ERROR_H
#define BB_ERROR_H

#include <stdarg.h>
#include <stdio.h>

#include "types.h"

// Writes the sentence if somebody wants it (error may be NULL) and hands the status back.
__attribute__((format(printf, 3, 4))) static inline bb_status bb_fail(bb_error *error, bb_status status, const char *format,
                                                                      ...) {
  if (error) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
  }
  return status;
}

#endif
