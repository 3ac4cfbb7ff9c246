// SPDX-License-Identifier: Apache-2.0
//
// Values of a graph's parameters: synthetic, or from a .safetensors file.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "../kernels/error.h"
#include "../kernels/memory.h"
#include "file.h"
#include "models.h"

struct bb_params {
  int count;
  float *memory;  // all of them
  float *data[];
};

static bb_status create(const bb_graph *graph, bb_params **out, bb_error *error) {
  *out = NULL;
  size_t values = 0;
  for (int i = 0; i < graph->params; i++) values += graph->param[i].count;
  bb_params *p = malloc(sizeof *p + (size_t)graph->params * sizeof *p->data);
  float *memory = bb_alloc(values * sizeof *memory);
  if (!p || !memory) {
    free(p);
    free(memory);
    return bb_fail(error, BB_NO_MEMORY, "out of memory for the %zu parameter values of %s", values, graph->name);
  }
  p->count = graph->params;
  p->memory = memory;
  for (int i = 0; i < graph->params; i++) {
    p->data[i] = memory;
    memory += graph->param[i].count;
  }
  *out = p;
  return BB_OK;
}

void bb_params_destroy(bb_params *params) {
  if (!params) return;
  free(params->memory);
  free(params);
}

const float *bb_params_data(const bb_params *params, int param) { return params->data[param]; }

// ---- synthetic -----------------------------------------------------------------------------------------------------

// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
static uint64_t mix(uint64_t z) {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

void bb_random_fill(float *out, size_t count, uint64_t seed, const char *name, double mean, double scale) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char *c = name; *c; c++) h = (h ^ (unsigned char)*c) * 0x100000001b3;
  const uint64_t key = mix(seed + h);
  const double step = scale / 37837;  // 37837.23 = sqrt(4*(65536^2 - 1)/12), the deviation of a sum of four 16-bit uniforms
  for (size_t i = 0; i < count; i++) {
    const uint64_t r = mix(key + (i + 1) * 0x9e3779b97f4a7c15);
    const int sum = (int)((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
    out[i] = (float)(mean + (sum - 131070) * step);
  }
}

bb_status bb_params_synthetic(const bb_graph *graph, uint64_t seed, bb_params **params, bb_error *error) {
  const bb_status status = create(graph, params, error);
  if (status) return status;
  for (int i = 0; i < graph->params; i++) {
    const bb_param *p = &graph->param[i];
    bb_random_fill((*params)->data[i], p->count, seed, p->name, p->mean, p->scale);
  }
  return BB_OK;
}

// ---- safetensors ---------------------------------------------------------------------------------------------------
//
// 8 bytes: length of the header; the header: JSON, {"name": {"dtype", "shape", "data_offsets": [first, end]}, ...}, offsets
// counted from its end; the values.  https://huggingface.co/docs/safetensors

enum { MAX_HEADER = 100000000 };  // the format's own limit

typedef enum dtype { F32, F64, F16, BF16, DTYPES } dtype;
static const struct {
  const char *name;
  size_t width;
} dtypes[DTYPES] = {[F32] = {"F32", 4}, [F64] = {"F64", 8}, [F16] = {"F16", 2}, [BF16] = {"BF16", 2}};

static float from_half(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
  const uint32_t exponent = h >> 10 & 31, fraction = h & 0x3ff;
  uint32_t bits;
  if (exponent == 31)
    bits = sign | 0x7f800000 | fraction << 13;
  else if (exponent)
    bits = sign | (exponent + 112) << 23 | fraction << 13;
  else
    return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static float widened(dtype type, const unsigned char *from) {
  double d;
  uint32_t bits = 0;
  uint16_t half;
  float f;
  switch (type) {
    case F64:
      memcpy(&d, from, sizeof d);
      return (float)d;
    case F16:
      memcpy(&half, from, sizeof half);
      return from_half(half);
    case BF16:
      memcpy((char *)&bits + 2, from, 2);
      break;
    default:
      memcpy(&bits, from, 4);
  }
  memcpy(&f, &bits, sizeof f);
  return f;
}

static bb_status read_values(FILE *file, const char *path, const char *name, dtype type, float *out, size_t count,
                             bb_error *error) {
  char what[96];
  snprintf(what, sizeof what, "the values of %.70s", name);
  if (type == F32) return bb_file_read(file, path, out, count * sizeof *out, what, error);
  unsigned char part[8192];
  const size_t width = dtypes[type].width, most = sizeof part / width;
  for (size_t i = 0; i < count; i += most) {
    const size_t n = count - i < most ? count - i : most;
    const bb_status status = bb_file_read(file, path, part, n * width, what, error);
    if (status) return status;
    for (size_t k = 0; k < n; k++) out[i + k] = widened(type, part + k * width);
  }
  return BB_OK;
}

// A whole number that a double holds exactly.
static bool whole(const cJSON *number, uint64_t *value) {
  if (!cJSON_IsNumber(number)) return false;
  const double d = number->valuedouble;
  if (!(d >= 0 && d < 9007199254740992.0)) return false;
  *value = (uint64_t)d;
  return (double)*value == d;
}

typedef struct range {
  uint64_t first, end;
  const char *name;
} range;

static int by_first(const void *a, const void *b) {
  const range *x = a, *y = b;
  if (x->first != y->first) return x->first < y->first ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}

// The range of every tensor of the file, checked: inside the file, none overlapping another, nothing behind the last.
static bb_status check_ranges(const cJSON *header, const char *path, uint64_t data_bytes, bb_error *error) {
  size_t count = 0;
  for (const cJSON *t = header->child; t; t = t->next) count++;
  range *ranges = malloc((count ? count : 1) * sizeof *ranges);
  if (!ranges) return bb_fail(error, BB_NO_MEMORY, "out of memory for the header of %s", path);
  bb_status status = BB_OK;
  count = 0;
  for (const cJSON *t = header->child; t && !status; t = t->next) {
    if (strcmp(t->string, "__metadata__") == 0) continue;
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(t, "data_offsets");
    range r = {.name = t->string};
    if (cJSON_GetArraySize(offsets) != 2 || !whole(cJSON_GetArrayItem(offsets, 0), &r.first) ||
        !whole(cJSON_GetArrayItem(offsets, 1), &r.end) || r.first > r.end)
      status = bb_fail(error, BB_INVALID, "%s: tensor %.80s has no data_offsets of the form [first, end]", path, t->string);
    else if (r.end > data_bytes)
      status = bb_fail(error, BB_INVALID, "%s: tensor %.80s ends at byte %llu of %llu: the file is truncated or damaged", path,
                       t->string, (unsigned long long)r.end, (unsigned long long)data_bytes);
    ranges[count++] = r;
  }
  if (!status) qsort(ranges, count, sizeof *ranges, by_first);
  for (size_t i = 1; i < count && !status; i++) {
    if (ranges[i].first < ranges[i - 1].end)
      status = bb_fail(error, BB_INVALID, "%s: tensors %.80s and %.80s overlap", path, ranges[i - 1].name, ranges[i].name);
  }
  const uint64_t end = count ? ranges[count - 1].end : 0;
  if (!status && end < data_bytes)
    status = bb_fail(error, BB_INVALID, "%s: %llu bytes behind the last tensor: the file is damaged", path,
                     (unsigned long long)(data_bytes - end));
  free(ranges);
  return status;
}

static bb_status read_header(FILE *file, const char *path, uint64_t size, cJSON **header, uint64_t *start, bb_error *error) {
  uint64_t length;
  *start = 0;
  if (size < sizeof length) return bb_fail(error, BB_INVALID, "%s is no .safetensors file: it is shorter than 8 bytes", path);
  bb_status status = bb_file_read(file, path, &length, sizeof length, "the length of its header", error);
  if (status) return status;
  if (length > MAX_HEADER || length > size - sizeof length)
    return bb_fail(error, BB_INVALID, "%s is no .safetensors file, or truncated: a header of %llu bytes in a file of %llu",
                   path, (unsigned long long)length, (unsigned long long)size);
  char *text = malloc((size_t)length + 1);
  if (!text) return bb_fail(error, BB_NO_MEMORY, "out of memory for the header of %s", path);
  status = bb_file_read(file, path, text, (size_t)length, "its header", error);
  if (!status) {
    errno = 0;
    *header = cJSON_ParseWithLength(text, (size_t)length);
    if (!*header && errno == ENOMEM)
      status = bb_fail(error, BB_NO_MEMORY, "out of memory for the header of %s", path);
    else if (!cJSON_IsObject(*header))
      status = bb_fail(error, BB_INVALID, "%s: the header is no JSON object", path);
  }
  free(text);
  *start = sizeof length + length;
  return status;
}

static bb_status load_param(FILE *file, const char *path, uint64_t start, const cJSON *header, const bb_param *p, float *out,
                            bb_error *error) {
  const cJSON *tensor = cJSON_GetObjectItemCaseSensitive(header, p->name);
  if (!cJSON_IsObject(tensor)) return bb_fail(error, BB_INVALID, "%s has no tensor %s", path, p->name);
  const char *type_name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tensor, "dtype"));
  int type = 0;
  while (type < DTYPES && (!type_name || strcmp(type_name, dtypes[type].name) != 0)) type++;
  if (type == DTYPES)
    return bb_fail(error, BB_INVALID, "%s: tensor %s has the dtype %.20s, F32, F64, F16 or BF16 expected", path, p->name,
                   type_name ? type_name : "(none)");

  const cJSON *shape = cJSON_GetObjectItemCaseSensitive(tensor, "shape");
  bool same = cJSON_IsArray(shape) && cJSON_GetArraySize(shape) == p->rank;
  for (int i = 0; i < p->rank && same; i++) {
    uint64_t n;
    same = whole(cJSON_GetArrayItem(shape, i), &n) && n == (uint64_t)p->shape[i];
  }
  if (!same) {
    char wanted[64] = "";
    for (int i = 0, n = 0; i < p->rank; i++)
      n += snprintf(wanted + n, sizeof wanted - (size_t)n, i ? ", %d" : "%d", p->shape[i]);
    return bb_fail(error, BB_INVALID, "%s: tensor %s has another shape than [%s]", path, p->name, wanted);
  }

  uint64_t first = 0, end = 0;  // check_ranges has seen them
  const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(tensor, "data_offsets");
  whole(cJSON_GetArrayItem(offsets, 0), &first);
  whole(cJSON_GetArrayItem(offsets, 1), &end);
  if (end - first != p->count * dtypes[type].width)
    return bb_fail(error, BB_INVALID, "%s: tensor %s has %llu bytes, its shape and dtype want %zu", path, p->name,
                   (unsigned long long)(end - first), p->count * dtypes[type].width);
  if (fseeko(file, (off_t)(start + first), SEEK_SET) != 0)
    return bb_fail(error, BB_IO, "cannot read %s: %s", path, strerror(errno));
  return read_values(file, path, p->name, (dtype)type, out, p->count, error);
}

bb_status bb_params_load(const bb_graph *graph, const char *path, bb_params **params, bb_error *error) {
  *params = NULL;
  FILE *file = NULL;
  cJSON *header = NULL;
  uint64_t size, start;
  bb_status status;
  if ((status = bb_file_open(path, &file, &size, error))) return status;
  if ((status = read_header(file, path, size, &header, &start, error))) goto done;
  if ((status = check_ranges(header, path, size - start, error))) goto done;
  if ((status = create(graph, params, error))) goto done;
  for (int i = 0; i < graph->params && !status; i++)
    status = load_param(file, path, start, header, &graph->param[i], (*params)->data[i], error);
done:
  if (status) {
    bb_params_destroy(*params);
    *params = NULL;
  }
  cJSON_Delete(header);
  fclose(file);
  return status;
}

// {"name":{"dtype":"F32","shape":[..],"data_offsets":[..]},..}, padded so that the values start at a multiple of 8 bytes.
static char *header_text(const bb_graph *graph, size_t *length) {
  char *text = NULL;
  FILE *out = open_memstream(&text, length);
  if (!out) return NULL;
  size_t at = 0;
  for (int i = 0; i < graph->params; i++) {
    const bb_param *p = &graph->param[i];
    fprintf(out, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? ',' : '{', p->name);
    for (int d = 0; d < p->rank; d++) fprintf(out, d ? ",%d" : "%d", p->shape[d]);
    fprintf(out, "],\"data_offsets\":[%zu,%zu]}", at, at + p->count * sizeof(float));
    at += p->count * sizeof(float);
  }
  fputc('}', out);
  while (ftello(out) % 8) fputc(' ', out);
  const bool failed = ferror(out);
  if (fclose(out) != 0 || failed) {
    free(text);
    return NULL;
  }
  return text;
}

bb_status bb_params_save(const bb_graph *graph, const bb_params *params, const char *path, bb_error *error) {
  size_t length;
  char *header = header_text(graph, &length);
  if (!header) return bb_fail(error, BB_NO_MEMORY, "out of memory for the header of %s", path);
  const uint64_t stored = length;
  bb_file_writer w;
  bb_status status = bb_file_begin(&w, path, error);
  if (status) goto done;
  status = bb_file_write(&w, &stored, sizeof stored, error);
  if (!status) status = bb_file_write(&w, header, length, error);
  for (int i = 0; i < graph->params && !status; i++)
    status = bb_file_write(&w, params->data[i], graph->param[i].count * sizeof(float), error);
  if (status)
    bb_file_abandon(&w);
  else
    status = bb_file_end(&w, error);
done:
  free(header);
  return status;
}
