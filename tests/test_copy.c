// SPDX-License-Identifier: Apache-2.0
//
// Copies out of a slice: the map of x names some of the channels of a tensor, and those that it leaves out must not get into
// the empty lanes of y, also where a block could be moved as it stands.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../kernels/bb.h"

enum { CHANNELS = 37, WIDTH = 19, FLOATS = 64 * WIDTH };

static float value(int c, int w) { return (float)(1 + c * WIDTH + w); }

static void copy_slice(const bb_kernel *kernel, int first, int count) {
  const bb_map *all = bb_map_identity(CHANNELS, kernel->x_block), *to = bb_map_identity(count, kernel->y_block);
  assert_non_null(all);
  assert_non_null(to);
  int lane[64];
  for (int l = 0; l < bb_map_lanes(all); l++) {
    const int c = all->lane[l] - first;
    lane[l] = all->lane[l] >= 0 && c >= 0 && c < count ? c : -1;
  }
  bb_map *slice;
  assert_int_equal(bb_map_create_lanes(lane, all->blocks, all->block, &slice), BB_OK);
  const bb_view tensor = bb_view_dense(1, CHANNELS, 1, WIDTH, all);
  bb_task task = {
      .problem = {.op = BB_OP_COPY, .copy = {1, count, 1, WIDTH}}, .x = tensor, .y = bb_view_dense(1, count, 1, WIDTH, to)};
  task.x.C = count;
  task.x.map = slice;
  bb_plan *plan;
  bb_exec *exec;
  bb_error error;
  if (bb_plan_create(&task, NULL, &(bb_plan_options){.isa = kernel->isa, .kernel = kernel, .threads = 1}, &plan, &error) !=
      BB_OK)
    fail_msg("%s", error.text);
  assert_int_equal(bb_exec_create((const bb_plan *const *)&plan, 1, 1, &exec), BB_OK);
  float *x = aligned_alloc(BB_ALIGN, FLOATS * sizeof *x), *y = aligned_alloc(BB_ALIGN, FLOATS * sizeof *y);
  assert_non_null(x);
  assert_non_null(y);
  for (int i = 0; i < FLOATS; i++) x[i] = y[i] = -1;
  for (int c = 0; c < CHANNELS; c++)
    for (int w = 0; w < WIDTH; w++) x[bb_view_offset(&tensor, 0, c, 0, w)] = value(c, w);
  bb_plan_run(plan, exec, NULL, &(bb_io){.x = x, .y = y});
  for (int l = 0; l < bb_map_lanes(to); l++) {
    for (int w = 0; w < WIDTH; w++) {
      const float got = y[l / to->block * task.y.c_stride + w * to->block + l % to->block];
      const float expected = to->lane[l] < 0 ? 0 : value(first + to->lane[l], w);
      if (got != expected)
        fail_msg("%s: channels %d to %d of %d, lane %d, pixel %d is %g, expected %g", kernel->name, first, first + count - 1,
                 CHANNELS, l, w, (double)got, (double)expected);
    }
  }
  free(x);
  free(y);
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
  bb_map_destroy(slice);
}

static void test_slices(void **state) {
  (void)state;
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const bb_kernel *kernel = bb_kernel_at(i);
    if (kernel->op != BB_OP_COPY || kernel->x_block < 2 || kernel->x_block != kernel->y_block || !bb_isa_runs(kernel->isa))
      continue;
    for (int first = 0; first < CHANNELS; first++)
      for (int count = 1; first + count <= CHANNELS; count++) copy_slice(kernel, first, count);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_slices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
