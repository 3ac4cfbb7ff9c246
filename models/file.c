// SPDX-License-Identifier: Apache-2.0

#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../kernels/error.h"

bb_status bb_file_open(const char *path, FILE **file, uint64_t *size, bb_error *error) {
  *file = fopen(path, "rb");
  if (!*file) return bb_fail(error, BB_IO, "cannot open %s: %s", path, strerror(errno));
  struct stat info;
  if (fstat(fileno(*file), &info) == 0 && S_ISREG(info.st_mode)) {
    *size = (uint64_t)info.st_size;
    return BB_OK;
  }
  fclose(*file);
  *file = NULL;
  return bb_fail(error, BB_IO, "%s is not a regular file", path);
}

bb_status bb_file_read(FILE *file, const char *path, void *to, size_t bytes, const char *what, bb_error *error) {
  if (fread(to, 1, bytes, file) == bytes) return BB_OK;
  if (ferror(file)) return bb_fail(error, BB_IO, "cannot read %s: %s", path, strerror(errno));
  return bb_fail(error, BB_INVALID, "%s ends inside %s", path, what);
}

bb_status bb_file_begin(bb_file_writer *w, const char *path, bb_error *error) {
  *w = (bb_file_writer){0};
  struct stat info;
  if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) return bb_fail(error, BB_IO, "%s is not a regular file", path);
  const size_t size = strlen(path) + sizeof ".XXXXXX";
  w->path = strdup(path);
  w->temporary = malloc(size);
  if (!w->path || !w->temporary) {
    bb_file_abandon(w);
    return bb_fail(error, BB_NO_MEMORY, "out of memory while %s was to be written", path);
  }
  snprintf(w->temporary, size, "%s.XXXXXX", path);
  const int fd = mkstemp(w->temporary);
  int why = errno;
  if (fd < 0) {
    free(w->temporary);
    w->temporary = NULL;
  } else {
    // mkstemp gives 0600; a new file of anybody else has what the mask leaves of 0666.
    const mode_t mask = umask(0);
    umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
    w->file = fdopen(fd, "wb");
    why = errno;
    if (!w->file) close(fd);
  }
  if (w->file) return BB_OK;
  bb_file_abandon(w);
  return bb_fail(error, why == ENOMEM ? BB_NO_MEMORY : BB_IO, "cannot write %s: %s", path, strerror(why));
}

bb_status bb_file_write(bb_file_writer *w, const void *from, size_t bytes, bb_error *error) {
  if (fwrite(from, 1, bytes, w->file) == bytes) return BB_OK;
  return bb_fail(error, BB_IO, "cannot write %s: %s", w->path, strerror(errno));
}

bb_status bb_file_end(bb_file_writer *w, bb_error *error) {
  FILE *file = w->file;
  w->file = NULL;
  if (fclose(file) != 0 || rename(w->temporary, w->path) != 0) {
    const bb_status status = bb_fail(error, BB_IO, "cannot write %s: %s", w->path, strerror(errno));
    bb_file_abandon(w);
    return status;
  }
  free(w->temporary);
  w->temporary = NULL;
  bb_file_abandon(w);
  return BB_OK;
}

void bb_file_abandon(bb_file_writer *w) {
  if (w->file) fclose(w->file);
  if (w->temporary) unlink(w->temporary);
  free(w->temporary);
  free(w->path);
  *w = (bb_file_writer){0};
}
