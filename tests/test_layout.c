// SPDX-License-Identifier: Apache-2.0
//
// Channel maps, views, plain copies.

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bb.h"
#include "kernels/common.h"

static const int blocks[] = {1, 4, 8, 16};

static void identity_maps_pad_the_last_block(void **state) {
  (void)state;
  for (size_t b = 0; b < BB_COUNT(blocks); b++)
    for (int channels = 1; channels < 70; channels++) {
      const bb_map *map = bb_map_identity(channels, blocks[b]);
      assert_non_null(map);
      assert_int_equal(map->channels, channels);
      assert_int_equal(map->block, blocks[b]);
      assert_int_equal(map->blocks, bb_ceil_div(channels, blocks[b]));
      for (int l = 0; l < bb_map_lanes(map); l++) assert_int_equal(map->lane[l], l < channels ? l : -1);
      assert_ptr_equal(map, bb_map_identity(channels, blocks[b]));
    }
  assert_null(bb_map_identity(0, 16));
  assert_null(bb_map_identity(-1, 16));
  assert_null(bb_map_identity(8, 3));
}

static void *ask_for_maps(void *first) {
  static const bb_map *seen[2][64];
  const bb_map **mine = seen[first != NULL];
  for (int i = 0; i < 64; i++) mine[i] = bb_map_identity(1000 + i, 8);
  return mine;
}

static void threads_share_identity_maps(void **state) {
  (void)state;
  pthread_t thread;
  void *theirs;
  int other;
  assert_int_equal(pthread_create(&thread, NULL, ask_for_maps, &other), 0);
  const bb_map **mine = ask_for_maps(NULL);
  assert_int_equal(pthread_join(thread, &theirs), 0);
  assert_memory_equal(mine, theirs, 64 * sizeof *mine);
}

static void parts_keep_their_own_blocks(void **state) {
  (void)state;
  const int parts[] = {5, 8, 1};
  const int expected[] = {0, 1, 2, 3, 4, -1, -1, -1, 5, 6, 7, 8, 9, 10, 11, 12, 13, -1, -1, -1, -1, -1, -1, -1};
  bb_map *map;
  assert_int_equal(bb_map_create(parts, 3, 8, &map), BB_OK);
  assert_int_equal(map->channels, 14);
  assert_int_equal(map->blocks, 3);
  assert_memory_equal(map->lane, expected, sizeof expected);
  bb_map *same;
  assert_int_equal(bb_map_create_lanes(expected, 3, 8, &same), BB_OK);
  assert_true(bb_map_equal(map, same));
  assert_false(bb_map_equal(map, bb_map_identity(14, 8)));
  bb_map_destroy(same);
  bb_map_destroy(map);
  bb_map_destroy(NULL);
}

static void maps_that_cannot_be_are_refused(void **state) {
  (void)state;
  bb_map *map = (bb_map *)8;
  const int zero = 0, huge[] = {INT32_MAX / 16, INT32_MAX / 16}, one = 1;
  assert_int_equal(bb_map_create(&zero, 1, 8, &map), BB_INVALID);
  assert_null(map);
  assert_int_equal(bb_map_create(&one, 0, 8, &map), BB_INVALID);
  assert_int_equal(bb_map_create(&one, 1, 7, &map), BB_INVALID);
  assert_int_equal(bb_map_create(huge, 2, 1, &map), BB_INVALID);
  const int lanes[][4] = {{0, 1, 2, 2}, {0, 1, 2, 4}, {-1, -1, -1, -1}, {0, 1, 3, -1}, {0, 1, 2, -2}, {0, 1, 2, 100}};
  for (size_t i = 0; i < BB_COUNT(lanes); i++) {
    map = (bb_map *)8;
    assert_int_equal(bb_map_create_lanes(lanes[i], 1, 4, &map), BB_INVALID);
    assert_null(map);
  }
  const int good[] = {2, -1, 0, 1};
  assert_int_equal(bb_map_create_lanes(good, 1, 4, &map), BB_OK);
  bb_map_destroy(map);
}

static void dense_views_are_aligned_and_off_4096(void **state) {
  (void)state;
  const int sizes[] = {1, 2, 3, 7, 8, 14, 16, 28, 32, 56, 64, 112, 128, 256};
  for (size_t b = 0; b < BB_COUNT(blocks); b++)
    for (size_t i = 0; i < BB_COUNT(sizes); i++)
      for (size_t j = 0; j < BB_COUNT(sizes); j++) {
        const int H = sizes[i], W = sizes[j], block = blocks[b];
        const bb_view v = bb_view_dense(2, 50, H, W, bb_map_identity(50, block));
        assert_int_equal(v.h_stride, W * block);
        assert_int_equal(v.n_stride, v.map->blocks * v.c_stride);
        assert_true(v.c_stride >= H * v.h_stride);
        if (block == 1) {
          assert_int_equal(v.c_stride, H * W);
          continue;
        }
        assert_int_equal(v.c_stride % (H * W == 1 ? block : 16), 0);
        assert_true(v.c_stride % 1024 != 0);
        assert_true(v.c_stride - H * v.h_stride < 32);
        assert_int_equal(bb_view_size(&v), v.n_stride + (v.map->blocks - 1) * v.c_stride + (H - 1) * v.h_stride + W * block);
      }
}

static void elements_do_not_meet(void **state) {
  (void)state;
  const int parts[] = {3, 9};
  for (size_t b = 0; b < BB_COUNT(blocks); b++) {
    bb_map *map;
    assert_int_equal(bb_map_create(parts, 2, blocks[b], &map), BB_OK);
    const bb_view v = bb_view_dense(2, 12, 4, 5, map);
    const size_t size = bb_view_size(&v);
    char *used = calloc(size, 1);
    for (int n = 0; n < 2; n++)
      for (int c = 0; c < 12; c++)
        for (int h = 0; h < 4; h++)
          for (int w = 0; w < 5; w++) {
            const size_t at = bb_view_offset(&v, n, c, h, w);
            assert_true(at < size);
            assert_int_equal(used[at]++, 0);
          }
    free(used);
    bb_map_destroy(map);
  }
}

static void copies_between_all_layouts(void **state) {
  (void)state;
  enum { N = 2, C = 21, H = 3, W = 5 };
  int reversed[48];
  for (int l = 0; l < 48; l++) reversed[l] = l % 2 || l / 2 >= C ? -1 : C - 1 - l / 2;
  bb_map *maps[12] = {NULL};
  const bb_map *all[12];
  size_t count = 0;
  for (size_t b = 0; b < BB_COUNT(blocks); b++) {
    all[count++] = bb_map_identity(C, blocks[b]);
    assert_int_equal(bb_map_create((int[]){1, 15, 5}, 3, blocks[b], &maps[count]), BB_OK);
    all[count] = maps[count];
    count++;
    assert_int_equal(bb_map_create_lanes(reversed, 48 / blocks[b], blocks[b], &maps[count]), BB_OK);
    all[count] = maps[count];
    count++;
  }
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < count; j++) {
      const bb_view x = bb_view_dense(N, C, H, W, all[i]);
      bb_view y = bb_view_dense(N, C, H, W, all[j]);
      y.h_stride += 16;  // a view inside something wider
      y.c_stride += 16 * H;
      y.n_stride = y.c_stride * y.map->blocks;
      float *from = malloc(bb_view_size(&x) * sizeof *from), *to = malloc(bb_view_size(&y) * sizeof *to);
      for (size_t k = 0; k < bb_view_size(&x); k++) from[k] = -1;  // what stands in empty lanes is not copied
      for (size_t k = 0; k < bb_view_size(&y); k++) to[k] = -2;
      for (int n = 0; n < N; n++)
        for (int c = 0; c < C; c++)
          for (int h = 0; h < H; h++)
            for (int w = 0; w < W; w++) from[bb_view_offset(&x, n, c, h, w)] = (float)(((n * C + c) * H + h) * W + w + 1);
      bb_view_copy(&x, from, &y, to);
      size_t data = 0, zeros = 0, untouched = 0;
      for (int n = 0; n < N; n++)
        for (int c = 0; c < C; c++)
          for (int h = 0; h < H; h++)
            for (int w = 0; w < W; w++)
              assert_true(to[bb_view_offset(&y, n, c, h, w)] == (float)(((n * C + c) * H + h) * W + w + 1));
      for (size_t k = 0; k < bb_view_size(&y); k++) {
        data += to[k] > 0;
        zeros += to[k] == 0;
        untouched += to[k] == -2;
      }
      assert_int_equal(data, N * C * H * W);
      assert_int_equal(zeros, N * (bb_map_lanes(all[j]) - C) * H * W);
      assert_int_equal(untouched, bb_view_size(&y) - data - zeros);
      free(from);
      free(to);
    }
  for (size_t i = 0; i < count; i++) bb_map_destroy(maps[i]);
}

static void equality_ignores_strides_nobody_walks(void **state) {
  (void)state;
  const bb_view a = bb_view_dense(1, 12, 1, 5, bb_map_identity(12, 16));
  bb_view b = a;
  b.n_stride = b.c_stride = b.h_stride = 0;
  assert_true(bb_view_equal(&a, &b));
  b = bb_view_dense(1, 12, 1, 5, bb_map_identity(12, 8));
  assert_false(bb_view_equal(&a, &b));
  const bb_view c = bb_view_dense(2, 12, 3, 5, bb_map_identity(12, 8));
  b = c;
  b.c_stride += 16;
  assert_false(bb_view_equal(&b, &c));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(identity_maps_pad_the_last_block),     cmocka_unit_test(threads_share_identity_maps),
      cmocka_unit_test(parts_keep_their_own_blocks),          cmocka_unit_test(maps_that_cannot_be_are_refused),
      cmocka_unit_test(dense_views_are_aligned_and_off_4096), cmocka_unit_test(elements_do_not_meet),
      cmocka_unit_test(copies_between_all_layouts),           cmocka_unit_test(equality_ignores_strides_nobody_walks),
  };
  return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
