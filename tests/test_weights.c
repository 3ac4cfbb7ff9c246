// SPDX-License-Identifier: Apache-2.0
//
// Parameters: synthetic values are the stated function, .safetensors files load as written, damaged ones are refused.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "models/builder.h"
#include "reference/ref_check.h"

static void tiny_build(bb_builder *b, int x) {
  x = bb_nn_conv(b, x, "c", (bb_nn_conv_spec){.k = 2, .r = 1, .bias = true});
  bb_nn_output(b, x);
}

static const bb_model tiny = {"tiny", "test", "", 1, 4, 4, tiny_build};  // c.weight 2x1x1x1, c.bias 2

static char path[] = "/tmp/backbench_weights_XXXXXX";

static int make_path(void **state) {
  (void)state;
  const int fd = mkstemp(path);
  if (fd < 0) return -1;
  close(fd);
  return 0;
}

static int remove_path(void **state) {
  (void)state;
  unlink(path);
  return 0;
}

static void write_bytes(const void *bytes, size_t size) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, size, f), size);
  assert_int_equal(fclose(f), 0);
}

// A file of this header and these values.
static size_t compose(char *file, const char *header, const void *values, size_t bytes) {
  const uint64_t length = strlen(header);
  memcpy(file, &length, 8);
  memcpy(file + 8, header, length);
  memcpy(file + 8 + length, values, bytes);
  return 8 + length + bytes;
}

static bb_graph *graph_of(const bb_model *model) {
  bb_graph *g;
  bb_error error;
  if (bb_graph_create(model, 1, 0, 0, &g, &error)) fail_msg("%s", error.text);
  return g;
}

// Computed by NumPy from the text in models.h.
static void synthetic_values_are_exact(void **state) {
  (void)state;
  static const float first[] = {0x1.70a84ap-6f, 0x1.fba7bcp-6f, 0x1.62296p-8f, 0x1.25ee5p-4f, 0x1.a02f72p-4f, 0x1.1bb3fap-5f};
  static const float second[] = {0x1.f3a386p-1f, 0x1.ea7ed2p-1f, 0x1.0db606p+0f};
  float got[6];
  bb_random_fill(got, 6, 1, "conv1.weight", 0, sqrt(2.0 / 147));
  assert_memory_equal(got, first, sizeof first);
  bb_random_fill(got, 3, UINT64_MAX, "bn1.running_var", 1, 0.1);
  assert_memory_equal(got, second, sizeof second);
}

static void synthetic_variances_are_positive(void **state) {
  (void)state;
  bb_error error;
  for (size_t i = 0; i < bb_model_count(); i++) {
    if (strcmp(bb_model_at(i)->family, "vgg") == 0) continue;  // no batch-norm, half a gigabyte
    bb_graph *g = graph_of(bb_model_at(i));
    bb_params *p;
    if (bb_params_synthetic(g, 7, &p, &error)) fail_msg("%s", error.text);
    for (int n = 0; n < g->nodes; n++) {
      const int var = g->node[n].param[3];
      if (g->node[n].op != BB_NODE_BATCH_NORM) continue;
      for (size_t k = 0; k < g->param[var].count; k++) assert_true(bb_params_data(p, var)[k] > 0.5f);
    }
    bb_params_destroy(p);
    bb_graph_destroy(g);
  }
}

static void saved_weights_load(void **state) {
  (void)state;
  bb_error error;
  bb_graph *g = graph_of(bb_model_find("ghostnet_100"));
  bb_params *p, *q;
  if (bb_params_synthetic(g, 3, &p, &error)) fail_msg("%s", error.text);
  if (bb_params_save(g, p, path, &error)) fail_msg("%s", error.text);
  if (bb_params_load(g, path, &q, &error)) fail_msg("%s", error.text);
  for (int i = 0; i < g->params; i++)
    assert_memory_equal(bb_params_data(p, i), bb_params_data(q, i), g->param[i].count * sizeof(float));
  bb_params_destroy(q);
  // Another network's file.
  bb_graph *other = graph_of(bb_model_find("resnet50"));
  assert_int_equal(bb_params_load(other, path, &q, &error), BB_INVALID);
  assert_non_null(strstr(error.text, "has no tensor conv1.weight"));
  bb_graph_destroy(other);
  bb_params_destroy(p);
  bb_graph_destroy(g);
}

static void every_dtype_is_converted(void **state) {
  (void)state;
  bb_graph *g = graph_of(&tiny);
  bb_params *p;
  bb_error error;
  char file[512];
  // bias F64 {0.1, -2}, a tensor that nobody wants, weight F16 {1.5, 2^-24 (the least denormal)}
  const unsigned char values[] = {0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f, 0, 0,    0,    0,
                                  0,    0,    0,    0xc0, 9,    9,    9,    9,    0, 0x3e, 0x01, 0x00};
  size_t size = compose(file,
                        "{\"__metadata__\":{\"format\":\"pt\"},\"c.bias\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,"
                        "16]},\"num_batches_tracked\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[16,20]},\"c.weight\":{"
                        "\"dtype\":\"F16\",\"shape\":[2,1,1,1],\"data_offsets\":[20,24]}}",
                        values, sizeof values);
  write_bytes(file, size);
  if (bb_params_load(g, path, &p, &error)) fail_msg("%s", error.text);
  assert_true(bb_params_data(p, 0)[0] == 1.5f && bb_params_data(p, 0)[1] == 0x1p-24f);
  assert_true(bb_params_data(p, 1)[0] == 0.1f && bb_params_data(p, 1)[1] == -2.0f);
  bb_params_destroy(p);
  const unsigned char brain[] = {0xc0, 0x3f, 0x00, 0xc0, 0, 0x7c, 0, 0xfc};  // BF16 {1.5, -2}, F16 {inf, -inf}
  size = compose(file,
                 "{\"c.weight\":{\"dtype\":\"BF16\",\"shape\":[2,1,1,1],\"data_offsets\":[0,4]},\"c.bias\":{\"dtype\":\"F16\","
                 "\"shape\":[2],\"data_offsets\":[4,8]}}",
                 brain, sizeof brain);
  write_bytes(file, size);
  if (bb_params_load(g, path, &p, &error)) fail_msg("%s", error.text);
  assert_true(bb_params_data(p, 0)[0] == 1.5f && bb_params_data(p, 0)[1] == -2.0f);
  assert_true(bb_params_data(p, 1)[0] > 1e38f && bb_params_data(p, 1)[1] < -1e38f);
  bb_params_destroy(p);
  bb_graph_destroy(g);
}

#define WEIGHT "\"c.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,1,1],\"data_offsets\":[0,8]}"
#define BIAS   "\"c.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}"

static void damaged_files_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *header, *word;
    size_t bytes;
  } cases[] = {
      {"{" WEIGHT "," BIAS "}", "", 16},  // whole
      {"{" WEIGHT "," BIAS, "JSON", 16},
      {"[1]", "JSON", 0},
      {"7", "JSON", 0},
      {"", "JSON", 0},
      {"{" WEIGHT "}", "no tensor c.bias", 8},
      {"{" WEIGHT "," BIAS "}", "truncated", 15},
      {"{" WEIGHT "," BIAS "}", "truncated", 0},
      {"{" WEIGHT "," BIAS "}", "1 bytes behind", 17},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", "overlap", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,8]}}", "data_offsets", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8.5,16]}}", "data_offsets", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,16]}}", "data_offsets", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,1e300]}}", "data_offsets", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[2]}}", "data_offsets", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,20]}}", "12 bytes", 20},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[8,16]}}", "I32", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":3,\"shape\":[2],\"data_offsets\":[8,16]}}", "dtype", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]}}", "shape", 16},
      {"{" WEIGHT ",\"c.bias\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[8,16]}}", "shape", 16},
      {"{" WEIGHT ",\"c.bias\":5}", "data_offsets", 16},
  };
  bb_graph *g = graph_of(&tiny);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    static const char values[64];
    char file[512];
    bb_params *p;
    bb_error error = {""};
    write_bytes(file, compose(file, cases[i].header, values, cases[i].bytes));
    const bb_status status = bb_params_load(g, path, &p, &error);
    if ((status == BB_OK) != (i == 0) || (i && status != BB_INVALID) || (p == NULL) != (i > 0) ||
        !strstr(error.text, cases[i].word))
      fail_msg("%s: status %d, '%s' (wanted '%s')", cases[i].header, status, error.text, cases[i].word);
    bb_params_destroy(p);
  }
  bb_params *p;
  bb_error error;
  write_bytes("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
  assert_int_equal(bb_params_load(g, path, &p, &error), BB_INVALID);
  write_bytes("abc", 3);
  assert_int_equal(bb_params_load(g, path, &p, &error), BB_INVALID);
  assert_int_equal(bb_params_load(g, "/nonexistent/x.safetensors", &p, &error), BB_IO);
  assert_int_equal(bb_params_load(g, "/tmp", &p, &error), BB_IO);
  bb_graph_destroy(g);
}

// Whatever a bit flip or a cut does to a file, loading ends with a status, and sanitizers find nothing.
static void fuzz(void **state) {
  (void)state;
  bb_graph *g = graph_of(&tiny);
  char whole[512], file[512];
  static const float values[4] = {1, 2, 3, 4};
  const size_t size = compose(whole, "{" WEIGHT "," BIAS "}", values, sizeof values);
  int loaded = 0;
  for (uint64_t i = 0; i < 3000; i++) {
    memcpy(file, whole, size);
    size_t length = size;
    for (uint64_t k = 0; k <= i % 3; k++) {
      const uint64_t r = bb_ref_random(1, i, k);
      if (r % 8 == 0)
        length = (size_t)(r >> 8) % (size + 1);
      else
        file[(r >> 8) % size] ^= (char)(1 << (r >> 4) % 8);
    }
    write_bytes(file, length);
    bb_params *p;
    bb_error error = {""};
    const bb_status status = bb_params_load(g, path, &p, &error);
    assert_true((status == BB_OK) == (p != NULL));
    assert_true(status == BB_OK || error.text[0]);
    loaded += status == BB_OK;
    bb_params_destroy(p);
  }
  assert_true(loaded > 0 && loaded < 3000);  // flips in the values load
  bb_graph_destroy(g);
}

static void unwritable_target(void **state) {
  (void)state;
  bb_graph *g = graph_of(&tiny);
  bb_params *p;
  bb_error error;
  assert_int_equal(bb_params_synthetic(g, 1, &p, &error), BB_OK);
  assert_int_equal(bb_params_save(g, p, "/nonexistent/x.safetensors", &error), BB_IO);
  assert_non_null(strstr(error.text, "/nonexistent/x.safetensors"));
  assert_int_equal(bb_params_save(g, p, "/dev/null", &error), BB_IO);
  bb_params_destroy(p);
  bb_graph_destroy(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(synthetic_values_are_exact), cmocka_unit_test(synthetic_variances_are_positive),
      cmocka_unit_test(saved_weights_load),         cmocka_unit_test(every_dtype_is_converted),
      cmocka_unit_test(damaged_files_are_refused),  cmocka_unit_test(fuzz),
      cmocka_unit_test(unwritable_target),
  };
  return cmocka_run_group_tests(tests, make_path, remove_path);
}
