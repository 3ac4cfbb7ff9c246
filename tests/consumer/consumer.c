// SPDX-License-Identifier: Apache-2.0
//
// A program of somebody else's: plans and runs one convolution through the installed library, and checks it.
//
//   cc consumer.c $(pkg-config --cflags --libs backbench) -o consumer

#include <backbench/bb.h>

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, bb_status status, const bb_error *error) {
  fprintf(stderr, "consumer: %s: %s: %s\n", what, bb_status_string(status), error->text);
  return 1;
}

int main(void) {
  // 3x3, 16 -> 32 channels, 14x14, every input 1 and every weight 2: an output is 2 * 16 * (taps on the image), plus the bias.
  bb_error error = {{0}};
  bb_task task;
  bb_status status = bb_conv_parse("mb1ic16ih14oc32oh14kh3ph1 +bias+relu", &task, NULL, NULL, &error);
  if (status) return fail("parse", status, &error);

  static float w[32 * 16 * 3 * 3], b[32];
  for (size_t i = 0; i < sizeof w / sizeof *w; i++) w[i] = 2;
  for (int k = 0; k < 32; k++) b[k] = (float)k;

  // Direct algorithms only: exact on these numbers. The default admits Winograd's F(4,3), which is faster and rounds.
  const bb_plan_options options = {.isa = bb_isa_best(), .accuracy = BB_ACCURACY_STRICT};
  // Both tensors in the layout that this CPU's kernels like best; plain NCHW works everywhere.
  const int blocks[] = {bb_isa_block(bb_isa_best()), 1};
  bb_plan *plan = NULL;
  for (int i = 0; i < 2 && !plan; i++) {
    status = bb_task_views(&task, blocks[i], blocks[i]);
    if (status) return fail("views", status, &error);
    status = bb_plan_create(&task, &(bb_weights){.w = w, .b = b}, &options, &plan, &error);
    if (status && status != BB_UNSUPPORTED) return fail("plan", status, &error);
  }
  if (!plan) return fail("plan", status, &error);

  bb_exec *exec;
  status = bb_exec_create((const bb_plan *const[]){plan}, 1, 2, &exec);
  if (status) return fail("exec", status, &error);
  bb_pool *pool;
  status = bb_pool_create(&(bb_pool_options){.threads = 2, .spin_us = 100}, &pool, &error);
  if (status) return fail("pool", status, &error);

  const size_t x_bytes = bb_view_size(&task.x) * sizeof(float), y_bytes = bb_view_size(&task.y) * sizeof(float);
  float *x = aligned_alloc(BB_ALIGN, (x_bytes + BB_ALIGN - 1) / BB_ALIGN * BB_ALIGN);
  float *y = aligned_alloc(BB_ALIGN, (y_bytes + BB_ALIGN - 1) / BB_ALIGN * BB_ALIGN);
  if (!x || !y) return fail("memory", BB_NO_MEMORY, &error);
  for (size_t i = 0; i < bb_view_size(&task.x); i++) x[i] = 1;
  bb_plan_run(plan, exec, pool, &(bb_io){.x = x, .y = y});

  int wrong = 0;
  for (int k = 0; k < 32; k++)
    for (int p = 0; p < 14; p++)
      for (int q = 0; q < 14; q++) {
        const int rows = 3 - (p == 0 || p == 13), columns = 3 - (q == 0 || q == 13);
        const float expected = (float)(2 * 16 * rows * columns + k);
        wrong += y[bb_view_offset(&task.y, 0, k, p, q)] != expected;
      }
  printf("%s: %d wrong outputs\n", bb_plan_kernel(plan)->name, wrong);

  free(x);
  free(y);
  bb_pool_destroy(pool);
  bb_exec_destroy(exec);
  bb_plan_destroy(plan);
  return wrong != 0;
}
