// SPDX-License-Identifier: Apache-2.0
//
// .npy files: what is written loads, what NumPy writes loads, damaged files are refused.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "models/models.h"
#include "reference/ref_check.h"

static char path[] = "/tmp/backbench_npy_XXXXXX";

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

static size_t compose(char *file, int version, const char *header, const void *values, size_t bytes) {
  const size_t length = strlen(header);
  memcpy(file, "\x93NUMPY", 6);
  file[6] = (char)version;
  file[7] = 0;
  file[8] = (char)(length & 255);
  file[9] = (char)(length >> 8);
  file[10] = file[11] = 0;
  const size_t start = version == 1 ? 10 : 12;
  memcpy(file + start, header, length);
  memcpy(file + start + length, values, bytes);
  return start + length + bytes;
}

static void what_is_written_loads(void **state) {
  (void)state;
  static const float data[24] = {1, -2, 0.5f, 3e-39f};
  static const size_t shapes[][4] = {{24}, {2, 12}, {1, 2, 3, 4}, {4, 1, 1, 6}};
  static const int ranks[] = {1, 2, 4, 4};
  bb_error error;
  for (size_t i = 0; i < 4; i++) {
    bb_npy npy;
    if (bb_npy_save(path, ranks[i], shapes[i], data, &error)) fail_msg("%s", error.text);
    if (bb_npy_load(path, &npy, &error)) fail_msg("%s", error.text);
    assert_int_equal(npy.rank, ranks[i]);
    assert_memory_equal(npy.shape, shapes[i], (size_t)ranks[i] * sizeof(size_t));
    assert_int_equal(npy.count, 24);
    assert_memory_equal(npy.data, data, sizeof data);
    bb_npy_free(&npy);
  }
  FILE *f = fopen(path, "rb");  // values aligned to 64 bytes
  char head[11] = {0};
  assert_non_null(f);
  assert_int_equal(fread(head, 1, 10, f), 10);
  fclose(f);
  assert_int_equal((10 + (unsigned char)head[8] + 256 * (unsigned char)head[9]) % 64, 0);
}

static void doubles_and_versions(void **state) {
  (void)state;
  char file[512];
  const double values[3] = {0.1, -2, 1e300};
  bb_npy npy;
  bb_error error;
  for (int version = 1; version <= 3; version++) {
    write_bytes(file, compose(file, version, "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }   \n", values, 24));
    if (bb_npy_load(path, &npy, &error)) fail_msg("%s", error.text);
    assert_true(npy.data[0] == 0.1f && npy.data[1] == -2.0f && npy.data[2] > 3e38f);
    bb_npy_free(&npy);
  }
  // Any order of keys, double quotes, Python 2's long numbers, a scalar.
  const float one = 7;
  write_bytes(file, compose(file, 1, "{\"shape\":(1L,1),\"fortran_order\":False,\"descr\":\"<f4\"}", &one, 4));
  assert_int_equal(bb_npy_load(path, &npy, &error), BB_OK);
  assert_int_equal(npy.rank, 2);
  bb_npy_free(&npy);
  write_bytes(file, compose(file, 1, "{'shape': (), 'fortran_order': False, 'descr': '<f4'}", &one, 4));
  assert_int_equal(bb_npy_load(path, &npy, &error), BB_OK);
  assert_int_equal(npy.rank, 0);
  assert_int_equal(npy.count, 1);
  bb_npy_free(&npy);
}

static void damaged_files_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *header, *word;
    size_t bytes;
  } cases[] = {
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", "wants 16 bytes", 15},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", "wants 16 bytes", 17},
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }", "'>f4'", 16},
      {"{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2), }", "'<i4'", 16},
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", "Fortran", 16},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, -2), }", "dictionary", 16},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2) ", "dictionary", 16},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,4)}", "dictionary", 16},
      {"{'descr': '<f4', 'fortran_order': False}", "dictionary", 16},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", "dictionary", 16},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}", "dictionary", 16},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000)}", "more bytes", 16},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}", "dictionary", 16},
      {"", "dictionary", 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    static const char values[64];
    char file[512];
    bb_npy npy;
    bb_error error = {""};
    write_bytes(file, compose(file, 1, cases[i].header, values, cases[i].bytes));
    const bb_status status = bb_npy_load(path, &npy, &error);
    if (status != BB_INVALID || npy.data || !strstr(error.text, cases[i].word))
      fail_msg("%s: status %d, '%s' (wanted '%s')", cases[i].header, status, error.text, cases[i].word);
  }
  bb_npy npy;
  bb_error error;
  write_bytes("PK\x03\x04zzzzzzzzzz", 14);
  assert_int_equal(bb_npy_load(path, &npy, &error), BB_INVALID);
  assert_non_null(strstr(error.text, "magic"));
  write_bytes("\x93NUMPY\x09\x00zz", 10);
  assert_int_equal(bb_npy_load(path, &npy, &error), BB_INVALID);
  assert_non_null(strstr(error.text, "version"));
  write_bytes("\x93NUMPY\x01\x00\xff\xff", 10);
  assert_int_equal(bb_npy_load(path, &npy, &error), BB_INVALID);
  write_bytes("", 0);
  assert_int_equal(bb_npy_load(path, &npy, &error), BB_INVALID);
  assert_int_equal(bb_npy_load("/nonexistent/x.npy", &npy, &error), BB_IO);
  assert_non_null(strstr(error.text, "/nonexistent/x.npy"));
  assert_int_equal(bb_npy_load("/tmp", &npy, &error), BB_IO);
}

// Whatever a bit flip or a cut does to a file, loading ends with a status, and sanitizers find nothing.
static void fuzz(void **state) {
  (void)state;
  char whole[512], file[512];
  static const float values[4] = {1, 2, 3, 4};
  const size_t size = compose(whole, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n", values, 16);
  int loaded = 0;
  for (uint64_t i = 0; i < 3000; i++) {
    memcpy(file, whole, size);
    size_t length = size;
    for (uint64_t k = 0; k <= i % 3; k++) {
      const uint64_t r = bb_ref_random(2, i, k);
      if (r % 8 == 0)
        length = (size_t)(r >> 8) % (size + 1);
      else
        file[(r >> 8) % size] ^= (char)(1 << (r >> 4) % 8);
    }
    write_bytes(file, length);
    bb_npy npy;
    bb_error error = {""};
    const bb_status status = bb_npy_load(path, &npy, &error);
    assert_true((status == BB_OK) == (npy.data != NULL));
    assert_true(status == BB_OK || error.text[0]);
    loaded += status == BB_OK;
    bb_npy_free(&npy);
  }
  assert_true(loaded > 0 && loaded < 3000);
}

static void unwritable_target(void **state) {
  (void)state;
  const float one = 1;
  bb_error error;
  assert_int_equal(bb_npy_save("/nonexistent/x.npy", 1, (const size_t[]){1}, &one, &error), BB_IO);
  assert_non_null(strstr(error.text, "/nonexistent/x.npy"));
  assert_int_equal(bb_npy_save("/dev/null", 1, (const size_t[]){1}, &one, &error), BB_IO);
  assert_int_equal(bb_npy_save(path, 9, (const size_t[9]){1}, &one, &error), BB_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_loads),     cmocka_unit_test(doubles_and_versions),
      cmocka_unit_test(damaged_files_are_refused), cmocka_unit_test(fuzz),
      cmocka_unit_test(unwritable_target),
  };
  return cmocka_run_group_tests(tests, make_path, remove_path);
}
