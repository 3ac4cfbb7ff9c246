// SPDX-License-Identifier: Apache-2.0
//
// The tile scheduler.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bb.h"

enum { MAX_TILES = 5000 };
static unsigned char hits[MAX_TILES];

static void hit(void *context, size_t first, size_t last, int thread) {
  (void)context, (void)thread;
  for (size_t i = first; i < last; i++) hits[i]++;
}

static void each_tile_exactly_once(void **state) {
  (void)state;
  static const size_t n[] = {0, 1, 2, 3, 7, 64, 1000, MAX_TILES};
  for (int threads = 1; threads <= 7; threads++) {
    bb_pool *pool;
    assert_int_equal(bb_pool_create(&(bb_pool_options){.threads = threads, .spin_us = 20}, &pool, NULL), BB_OK);
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
      memset(hits, 0, sizeof hits);
      bb_pool_run(pool, n[i], hit, NULL);
      for (size_t k = 0; k < MAX_TILES; k++) assert_int_equal(hits[k], k < n[i]);
    }
    bb_pool_destroy(pool);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_tile_exactly_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
