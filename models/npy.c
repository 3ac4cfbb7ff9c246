// SPDX-License-Identifier: Apache-2.0
//
// NumPy's array files: 6 magic bytes, version, length of the header (2 bytes in version 1, 4 from 2 on), the header (a Python
// dictionary as text), the values.  https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

#include <stdlib.h>
#include <string.h>

#include "../kernels/error.h"
#include "file.h"
#include "models.h"

static const unsigned char magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

enum { MAX_HEADER = 65536 };  // NumPy's own headers of plain arrays stay far below

typedef struct header {
  bool has_descr, has_order, has_shape;
  bool fortran;
  char descr[16];
  int rank;
  size_t shape[BB_NPY_RANK];
} header;

static const char *skip(const char *p) {
  while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
  return p;
}

// 'text' to out; NULL if it is no string or does not fit.
static const char *string(const char *p, char *out, size_t size) {
  const char quote = *p;
  if (quote != '\'' && quote != '"') return NULL;
  size_t n = 0;
  for (p++; *p && *p != quote; p++) {
    if (n + 1 >= size || *p == '\\') return NULL;
    out[n++] = *p;
  }
  out[n] = 0;
  return *p == quote ? p + 1 : NULL;
}

// (a, b, c)
static const char *tuple(const char *p, header *h) {
  if (*p != '(') return NULL;
  p = skip(p + 1);
  while (*p != ')') {
    if (*p < '0' || *p > '9' || h->rank == BB_NPY_RANK) return NULL;
    char *end;
    const unsigned long long n = strtoull(p, &end, 10);
    if (n > PTRDIFF_MAX) return NULL;
    h->shape[h->rank++] = (size_t)n;
    p = skip(*end == 'L' ? end + 1 : end);  // Python 2 wrote 3L
    if (*p == ',')
      p = skip(p + 1);
    else if (*p != ')')
      return NULL;
  }
  return p + 1;
}

static const char *boolean(const char *p, bool *value) {
  if (strncmp(p, "True", 4) == 0) {
    *value = true;
    return p + 4;
  }
  *value = false;
  return strncmp(p, "False", 5) == 0 ? p + 5 : NULL;
}

static bool parse(const char *p, header *h) {
  p = skip(p);
  if (*p != '{') return false;
  p = skip(p + 1);
  while (*p != '}') {
    char key[16];
    bool *seen;
    p = string(p, key, sizeof key);
    if (!p || *(p = skip(p)) != ':') return false;
    p = skip(p + 1);
    if (strcmp(key, "descr") == 0) {
      p = string(p, h->descr, sizeof h->descr);
      seen = &h->has_descr;
    } else if (strcmp(key, "fortran_order") == 0) {
      p = boolean(p, &h->fortran);
      seen = &h->has_order;
    } else if (strcmp(key, "shape") == 0) {
      p = tuple(p, h);
      seen = &h->has_shape;
    } else {
      return false;
    }
    if (!p || *seen) return false;
    *seen = true;
    p = skip(p);
    if (*p == ',')
      p = skip(p + 1);
    else if (*p != '}')
      return false;
  }
  return *skip(p + 1) == 0 && h->has_descr && h->has_order && h->has_shape;
}

static bb_status read_header(FILE *file, const char *path, uint64_t size, header *h, uint64_t *start, bb_error *error) {
  unsigned char head[12] = {0};
  *start = 0;
  bb_status status = bb_file_read(file, path, head, 10, "its first 10 bytes", error);
  if (status) return status;
  if (memcmp(head, magic, sizeof magic) != 0) return bb_fail(error, BB_INVALID, "%s is no .npy file: its magic is wrong", path);
  if (head[6] < 1 || head[6] > 3)
    return bb_fail(error, BB_INVALID, "%s: .npy version %d.%d, 1 to 3 expected", path, head[6], head[7]);
  size_t length = head[8] | (size_t)head[9] << 8;
  *start = 10;
  if (head[6] > 1) {
    if ((status = bb_file_read(file, path, head + 10, 2, "the length of its header", error))) return status;
    length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    *start = 12;
  }
  if (length > size - *start) return bb_fail(error, BB_INVALID, "%s ends inside its header of %zu bytes", path, length);
  if (length > MAX_HEADER)
    return bb_fail(error, BB_INVALID, "%s: a header of %zu bytes, at most %d expected", path, length, MAX_HEADER);
  char *text = malloc(length + 1);
  if (!text) return bb_fail(error, BB_NO_MEMORY, "out of memory for the header of %s", path);
  status = bb_file_read(file, path, text, length, "its header", error);
  text[length] = 0;
  *h = (header){0};
  if (!status && (strlen(text) != length || !parse(text, h)))
    status = bb_fail(error, BB_INVALID, "%s: the header is no dictionary of descr, fortran_order and shape (at most %d sizes)",
                     path, BB_NPY_RANK);
  free(text);
  *start += length;
  return status;
}

static bb_status load(FILE *file, const char *path, uint64_t size, bb_npy *npy, bb_error *error) {
  header h;
  uint64_t start;
  const bb_status status = read_header(file, path, size, &h, &start, error);
  if (status) return status;
  const bool wide = strcmp(h.descr, "<f8") == 0;
  if (!wide && strcmp(h.descr, "<f4") != 0)
    return bb_fail(error, BB_INVALID, "%s holds values of type '%s', '<f4' or '<f8' expected", path, h.descr);
  if (h.fortran) return bb_fail(error, BB_INVALID, "%s is in Fortran order, C order expected", path);
  const uint64_t width = wide ? 8 : 4, stored = size - start;
  size_t count = 1;
  for (int i = 0; i < h.rank; i++) {
    if (h.shape[i] && count > PTRDIFF_MAX / width / h.shape[i])
      return bb_fail(error, BB_INVALID, "%s: a shape of more bytes than memory can hold", path);
    count *= h.shape[i];
  }
  if (stored != count * width)
    return bb_fail(error, BB_INVALID, "%s: its shape wants %zu bytes of values, the file has %llu", path,
                   (size_t)(count * width), (unsigned long long)stored);

  float *data = malloc(count ? (size_t)(count * width) : 1);
  if (!data) return bb_fail(error, BB_NO_MEMORY, "out of memory for %zu values of %s", count, path);
  const bb_status read = bb_file_read(file, path, data, (size_t)(count * width), "its values", error);
  if (read) {
    free(data);
    return read;
  }
  // In place: the float of index i ends before the double of index i + 1 begins.
  for (size_t i = 0; wide && i < count; i++) {
    double value;
    memcpy(&value, (const char *)data + 8 * i, sizeof value);
    const float narrow = (float)value;
    memcpy((char *)data + 4 * i, &narrow, sizeof narrow);
  }
  *npy = (bb_npy){.rank = h.rank, .count = count, .data = data};
  memcpy(npy->shape, h.shape, sizeof npy->shape);
  return BB_OK;
}

bb_status bb_npy_load(const char *path, bb_npy *npy, bb_error *error) {
  *npy = (bb_npy){0};
  FILE *file;
  uint64_t size;
  bb_status status = bb_file_open(path, &file, &size, error);
  if (status) return status;
  status = load(file, path, size, npy, error);
  fclose(file);
  return status;
}

void bb_npy_free(bb_npy *npy) {
  free(npy->data);
  *npy = (bb_npy){0};
}

bb_status bb_npy_save(const char *path, int rank, const size_t *shape, const float *data, bb_error *error) {
  // The values start at a multiple of 64 bytes, as NumPy's do.
  char head[256];
  size_t count = 1;
  int n = snprintf(head + 10, sizeof head - 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
  if (rank < 0 || rank > BB_NPY_RANK)
    return bb_fail(error, BB_INVALID, "an array of rank %d, 0 to %d expected", rank, BB_NPY_RANK);
  for (int i = 0; i < rank; i++) {
    n += snprintf(head + 10 + n, sizeof head - 10 - (size_t)n, rank == 1 ? "%zu," : i ? ", %zu" : "%zu", shape[i]);
    count *= shape[i];
  }
  n += snprintf(head + 10 + n, sizeof head - 10 - (size_t)n, "), }");
  while ((10 + n + 1) % 64) head[10 + n++] = ' ';
  head[10 + n++] = '\n';
  memcpy(head, magic, sizeof magic);
  head[6] = 1;
  head[7] = 0;
  head[8] = (char)(n & 0xff);
  head[9] = (char)(n >> 8);

  bb_file_writer w;
  bb_status status = bb_file_begin(&w, path, error);
  if (status) return status;
  if ((status = bb_file_write(&w, head, 10 + (size_t)n, error)) ||
      (status = bb_file_write(&w, data, count * sizeof *data, error))) {
    bb_file_abandon(&w);
    return status;
  }
  return bb_file_end(&w, error);
}
