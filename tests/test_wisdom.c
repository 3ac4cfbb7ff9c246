// SPDX-License-Identifier: Apache-2.0
//
// Wisdom files: there and back; damaged, foreign and unreadable ones.

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/bb.h"
#include "kernels/common.h"
#include "kernels/wisdom.h"

static char folder[] = "/tmp/bb_wisdom_XXXXXX";
static char path[64], other_path[64];

static int make_folder(void **state) {
  (void)state;
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/wisdom", folder);
  snprintf(other_path, sizeof other_path, "%s/other", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  unlink(path);
  unlink(other_path);
  return rmdir(folder);
}

static const bb_kernel kernel_a = {.name = "conv_a_nchw_generic"}, kernel_b = {.name = "conv_b_nchw_generic"};
static const bb_config config = {14, 2, 64, 1, 3, 0, 1};
static const bb_plan_options options = {.isa = BB_ISA_GENERIC, .threads = 2};

static bb_task task_of(const char *text) {
  bb_task task;
  assert_int_equal(bb_conv_parse(text, &task, NULL, NULL, NULL), BB_OK);
  assert_int_equal(bb_task_views(&task, 16, 16), BB_OK);
  return task;
}

static bb_wisdom *new_wisdom(void) {
  bb_wisdom *wisdom;
  assert_int_equal(bb_wisdom_create(&wisdom), BB_OK);
  return wisdom;
}

static bool knows(bb_wisdom *wisdom, const char *text, const char *kernel) {
  const bb_task task = task_of(text);
  bb_lesson lesson;
  if (!bb_wisdom_find(wisdom, &task, &options, BB_WISDOM_TASK, &lesson)) return false;
  assert_string_equal(lesson.kernel, kernel);
  assert_memory_equal(&lesson.config, &config, sizeof config);
  return true;
}

static void learn(bb_wisdom *wisdom, const char *text, const bb_kernel *kernel) {
  const bb_task task = task_of(text);
  assert_int_equal(bb_wisdom_add(wisdom, &task, &options, BB_WISDOM_TASK, kernel, &config), BB_OK);
}

static char *read_all(const char *from, size_t *bytes) {
  FILE *file = fopen(from, "rb");
  assert_non_null(file);
  char *text = calloc(1, 1 << 20);
  *bytes = fread(text, 1, (1 << 20) - 1, file);
  fclose(file);
  return text;
}

static void write_all(const char *to, const char *text, size_t bytes) {
  FILE *file = fopen(to, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
}

// Puts the right last line under the text.
static void sign(char *text, size_t lessons) {
  uint64_t sum = 0xcbf29ce484222325u;
  for (const unsigned char *p = (unsigned char *)text; *p; p++) sum = (sum ^ *p) * 0x100000001b3u;
  sprintf(text + strlen(text), "end %zu %016llx\n", lessons, (unsigned long long)sum);
}

static const char one[] = "mb1ic8ih4oc8kh1", two[] = "mb1ic8ih4oc8kh1 +relu", three[] = "mb2ic8ih4oc8kh1";

static void make_file(void) {
  bb_wisdom *wisdom = new_wisdom();
  learn(wisdom, one, &kernel_a);
  learn(wisdom, two, &kernel_a);
  learn(wisdom, two, &kernel_b);  // the last counts
  assert_int_equal(bb_wisdom_save(wisdom, path, NULL), BB_OK);
  bb_wisdom_destroy(wisdom);
}

static void assert_load_refused(bb_wisdom *wisdom, const char *from, bb_status status, const char *says) {
  bb_error error = {""};
  assert_int_equal(bb_wisdom_load(wisdom, from, &error), status);
  if (!strstr(error.text, says)) fail_msg("said \"%s\", expected \"%s\"", error.text, says);
  assert_true(knows(wisdom, three, kernel_a.name));  // as it was
  assert_false(knows(wisdom, one, kernel_a.name));
}

static void what_is_saved_is_loaded(void **state) {
  (void)state;
  make_file();
  bb_wisdom *wisdom = new_wisdom();
  assert_false(knows(wisdom, one, kernel_a.name));
  learn(wisdom, one, &kernel_b);
  learn(wisdom, three, &kernel_b);
  assert_int_equal(bb_wisdom_load(wisdom, path, NULL), BB_OK);
  assert_true(knows(wisdom, one, kernel_a.name));  // the file's
  assert_true(knows(wisdom, two, kernel_b.name));
  assert_true(knows(wisdom, three, kernel_b.name));
  assert_int_equal(bb_wisdom_save(wisdom, path, NULL), BB_OK);
  bb_wisdom_destroy(wisdom);
  wisdom = new_wisdom();
  assert_int_equal(bb_wisdom_load(wisdom, path, NULL), BB_OK);
  assert_true(knows(wisdom, three, kernel_b.name));
  bb_wisdom_destroy(wisdom);

  size_t entries = 0;  // nothing beside it
  DIR *dir = opendir(folder);
  for (struct dirent *e; (e = readdir(dir));) entries += e->d_name[0] != '.';
  closedir(dir);
  assert_int_equal(entries, 1);
}

static void the_key_holds_what_matters(void **state) {
  (void)state;
  bb_wisdom *wisdom = new_wisdom();
  learn(wisdom, one, &kernel_a);
  const bb_task task = task_of(one);
  bb_lesson lesson;
  assert_true(bb_wisdom_find(wisdom, &task, &options, BB_WISDOM_TASK, &lesson));
  bb_plan_options other = options;
  other.threads = 3;
  assert_false(bb_wisdom_find(wisdom, &task, &other, BB_WISDOM_TASK, &lesson));
  other = options;
  other.cold = true;
  assert_false(bb_wisdom_find(wisdom, &task, &other, BB_WISDOM_TASK, &lesson));
  other = options;
  other.isa = BB_ISA_AVX2;
  assert_false(bb_wisdom_find(wisdom, &task, &other, BB_WISDOM_TASK, &lesson));
  other = options;
  other.alg = BB_ALG_DIRECT;
  assert_false(bb_wisdom_find(wisdom, &task, &other, BB_WISDOM_TASK, &lesson));
  other = options;
  other.accuracy = BB_ACCURACY_FAST;
  assert_false(bb_wisdom_find(wisdom, &task, &other, BB_WISDOM_TASK, &lesson));
  other = options;
  other.kernel = &kernel_a;
  assert_false(bb_wisdom_find(wisdom, &task, &other, BB_WISDOM_TASK, &lesson));
  bb_task elsewhere = task;
  elsewhere.y.h_stride += 16;
  assert_false(bb_wisdom_find(wisdom, &elsewhere, &options, BB_WISDOM_TASK, &lesson));
  other = options;
  other.alg = BB_ALG_WINO43;  // accuracy says nothing about an algorithm that is asked for
  assert_int_equal(bb_wisdom_add(wisdom, &task, &other, BB_WISDOM_TASK, &kernel_b, &config), BB_OK);
  other.accuracy = BB_ACCURACY_STRICT;
  assert_true(bb_wisdom_find(wisdom, &task, &other, BB_WISDOM_TASK, &lesson));
  bb_map *map;
  assert_int_equal(bb_map_create((int[]){3, 5}, 2, 16, &map), BB_OK);
  elsewhere = task;
  elsewhere.x = bb_view_dense(1, 8, 4, 4, map);
  assert_false(bb_wisdom_find(wisdom, &elsewhere, &options, BB_WISDOM_TASK, &lesson));
  bb_map_destroy(map);
  bb_wisdom_destroy(wisdom);
}

static void lessons_of_the_bare_problem(void **state) {
  (void)state;
  bb_wisdom *wisdom = new_wisdom();
  const bb_task plain = task_of(one), fused = task_of(two);
  bb_lesson lesson;
  assert_int_equal(bb_wisdom_add(wisdom, &fused, &options, BB_WISDOM_BARE, &kernel_a, &config), BB_OK);
  assert_false(bb_wisdom_find(wisdom, &fused, &options, BB_WISDOM_TASK, &lesson));
  assert_true(bb_wisdom_find(wisdom, &fused, &options, BB_WISDOM_BARE, &lesson));
  assert_true(bb_wisdom_find(wisdom, &plain, &options, BB_WISDOM_BARE, &lesson));
  assert_string_equal(lesson.kernel, kernel_a.name);
  size_t all, usable;
  bb_wisdom_count(wisdom, &all, &usable);
  assert_int_equal(all, 1);
  assert_int_equal(usable, 1);
  bb_wisdom_destroy(wisdom);
}

static void cut_files_are_refused(void **state) {
  (void)state;
  make_file();
  bb_wisdom *wisdom = new_wisdom();
  learn(wisdom, three, &kernel_a);
  size_t bytes;
  char *text = read_all(path, &bytes);
  for (size_t n = 0; n < bytes; n++) {
    write_all(other_path, text, n);
    assert_load_refused(wisdom, other_path, BB_INVALID, other_path);
  }
  for (size_t n = 0; n < bytes; n++) {  // or changed in one bit
    const char flip = (char)(1 << n % 8);
    text[n] = (char)(text[n] ^ flip);
    write_all(other_path, text, bytes);
    assert_load_refused(wisdom, other_path, BB_INVALID, other_path);
    text[n] = (char)(text[n] ^ flip);
  }
  text[bytes] = 'x';
  write_all(other_path, text, bytes + 1);
  assert_load_refused(wisdom, other_path, BB_INVALID, "damaged");
  free(text);
  bb_wisdom_destroy(wisdom);
}

static void signed_nonsense_is_refused(void **state) {
  (void)state;
  const struct {
    const char *text;
    size_t lessons;
    const char *says;
  } cases[] = {
      {"", 0, "no wisdom file"},
      {"{\"json\": 1}\n", 0, "no wisdom file"},
      {"backbench wisdom 4\n", 0, "another version, expected 5"},
      {"backbench wisdom 5x\n", 0, "another version"},
      {"backbench wisdom 5\n\n", 1, "line 2 is no lesson"},
      {"backbench wisdom 5\na\tb\tc\td\te\tf\tg\th\ti\tj\tkernel\n", 1, "line 2 is no lesson"},
      {"backbench wisdom 5\na\tb\tc\td\te\tf\tg\th\ti\tj\tkernel\t1 2 3 4 5 6\n", 1, "line 2 is no lesson"},
      {"backbench wisdom 5\na\tb\tc\td\te\tf\tg\th\ti\tj\tkernel\t1 2 3 4 5 6 -7\n", 1, "line 2 is no lesson"},
      {"backbench wisdom 5\na\tb\tc\td\te\tf\tg\th\ti\tj\tkernel\t1 2 3 4 5 6 7 8\n", 1, "line 2 is no lesson"},
      {"backbench wisdom 5\na\tb\tc\td\te\tf\tg\th\ti\tj\tkernel\t1 2 3 4 5 6 99999999999\n", 1, "line 2 is no lesson"},
      {"backbench wisdom 5\na\tb\tc\td\te\tf\tg\th\ti\tj\t\t1 2 3 4 5 6 7\n", 1, "line 2 is no lesson"},
      {"backbench wisdom 5\na\tb\tc\td\te\tf\tg\th\ti\tj\tkernel\t1 2 3 4 5 6 7\n", 2, "1 lessons, its last line says 2"},
  };
  bb_wisdom *wisdom = new_wisdom();
  learn(wisdom, three, &kernel_a);
  for (size_t i = 0; i < BB_COUNT(cases); i++) {
    char text[512];
    strcpy(text, cases[i].text);
    sign(text, cases[i].lessons);
    write_all(other_path, text, strlen(text));
    assert_load_refused(wisdom, other_path, BB_INVALID, cases[i].says);
  }
  bb_wisdom_destroy(wisdom);
}

static void lessons_of_another_cpu_stay_and_say_nothing(void **state) {
  (void)state;
  make_file();
  size_t bytes;
  char *text = read_all(path, &bytes);
  *strstr(text, "\nend ") = 0;
  strcat(text, "\n");
  char *cpu = strchr(text, '\n') + 1;
  *cpu = *cpu == '?' ? '!' : '?';  // the first lesson is of another machine now
  sign(text, 2);
  write_all(other_path, text, strlen(text));
  bb_wisdom *wisdom = new_wisdom();
  assert_int_equal(bb_wisdom_load(wisdom, other_path, NULL), BB_OK);
  assert_false(knows(wisdom, one, kernel_a.name));
  assert_true(knows(wisdom, two, kernel_b.name));
  size_t all, usable;
  bb_wisdom_count(wisdom, &all, &usable);
  assert_int_equal(all, 2);
  assert_int_equal(usable, 1);
  assert_int_equal(bb_wisdom_save(wisdom, path, NULL), BB_OK);
  size_t again;
  char *kept = read_all(path, &again);
  assert_string_equal(kept, text);
  free(kept);
  free(text);
  bb_wisdom_destroy(wisdom);
}

static void files_that_cannot_be_used(void **state) {
  (void)state;
  bb_wisdom *wisdom = new_wisdom();
  learn(wisdom, three, &kernel_a);
  assert_load_refused(wisdom, "/nonexistent/wisdom", BB_IO, "cannot open /nonexistent/wisdom: ");
  assert_load_refused(wisdom, folder, BB_IO, "cannot ");
  unlink(other_path);
  assert_int_equal(mkfifo(other_path, 0600), 0);
  assert_load_refused(wisdom, other_path, BB_IO, "it is no regular file");  // and not waited for
  unlink(other_path);
  assert_int_equal(bb_wisdom_load(wisdom, "/nonexistent/wisdom", NULL), BB_IO);
  bb_error error = {""};
  assert_int_equal(bb_wisdom_save(wisdom, "/nonexistent/wisdom", &error), BB_IO);
  assert_non_null(strstr(error.text, "/nonexistent/wisdom"));
  make_file();
  size_t bytes, again;
  char *text = read_all(path, &bytes);
  assert_int_equal(bb_wisdom_save(wisdom, folder, &error), BB_IO);  // a folder cannot be replaced
  char *after = read_all(path, &again);
  assert_string_equal(text, after);
  free(text);
  free(after);
  bb_wisdom_destroy(wisdom);
  bb_wisdom_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_saved_is_loaded),     cmocka_unit_test(the_key_holds_what_matters),
      cmocka_unit_test(lessons_of_the_bare_problem), cmocka_unit_test(cut_files_are_refused),
      cmocka_unit_test(signed_nonsense_is_refused),  cmocka_unit_test(lessons_of_another_cpu_stay_and_say_nothing),
      cmocka_unit_test(files_that_cannot_be_used),
  };
  return cmocka_run_group_tests_name("wisdom", tests, make_folder, remove_folder);
}
