// SPDX-License-Identifier: Apache-2.0
//
// Files in and out of the models: whole reads with a check of the size, writes that appear whole.

#ifndef BB_FILE_H
#define BB_FILE_H

#include <stdint.h>
#include <stdio.h>

#include "../kernels/types.h"

// Both formats are little-endian, and so is every machine this runs on.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "npy and safetensors are read and written as they lie in memory");

// Opens a regular file to read; *size: its bytes.
bb_status bb_file_open(const char *path, FILE **file, uint64_t *size, bb_error *error);
// Exactly `bytes` bytes; what: what they are, for the sentence.
bb_status bb_file_read(FILE *file, const char *path, void *to, size_t bytes, const char *what, bb_error *error);

// A file that is written beside its target and renamed when it is whole.
typedef struct bb_file_writer {
  FILE *file;
  char *path, *temporary;
} bb_file_writer;

bb_status bb_file_begin(bb_file_writer *w, const char *path, bb_error *error);
bb_status bb_file_write(bb_file_writer *w, const void *from, size_t bytes, bb_error *error);
// Renames. Whatever the status, the writer is done with and nothing half-written is left.
bb_status bb_file_end(bb_file_writer *w, bb_error *error);
void bb_file_abandon(bb_file_writer *w);

#endif
