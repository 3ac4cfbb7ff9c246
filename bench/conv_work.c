// SPDX-License-Identifier: Apache-2.0

#include "conv_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/common.h"
#include "../kernels/memory.h"

// Above this many multiplications the check looks at so many outputs, every edge and corner among them.
static const double sample_above = 0.5e9;
enum { SAMPLES = 4000 };

bb_status conv_data(const options *o, const bb_task *task, bool check, bb_ref_data **data, bb_error *error) {
  *data = NULL;
  char text[200];
  bb_task_print(task, text, sizeof text);
  // Asked for more than there is, the system would not refuse but kill: data in logical order, in the layout, and in double.
  const bb_conv *c = &task->problem.conv;
  const double x = (double)c->N * c->C * c->H * c->W, y = (double)c->N * c->K * c->P * c->Q,
               w = (double)c->K * (c->C / c->G) * c->R * c->S;
  const double needed = 4 * (2 * x + 3 * y + 3 * w) + 16 * (x + y), there = memory_available();
  if (there > 0 && needed > there) {
    snprintf(error->text, sizeof error->text, "out of memory: the data of %s takes %.1f GiB, %.1f are there", text,
             needed / 1073741824, there / 1073741824);
    return BB_NO_MEMORY;
  }
  static const bb_fill fill[] = {[DATA_NORMAL] = BB_FILL_NORMAL,
                                 [DATA_INT] = BB_FILL_INT,
                                 [DATA_ZEROS] = BB_FILL_ZERO,
                                 [DATA_DENORMAL] = BB_FILL_DENORMAL};
  const bool sample = bb_conv_flops(&task->problem.conv) / 2 > sample_above && !task->epilogue.gap;
  const bb_ref_options ro = {.fill = fill[o->data], .seed = o->seed, .samples = !check ? 1 : sample ? SAMPLES : 0};
  const bb_status status = bb_ref_data_create(&task->problem, &task->prologue, &task->epilogue, &ro, data);
  if (status != BB_OK) snprintf(error->text, sizeof error->text, "out of memory for the data of %s", text);
  return status;
}

static const bb_kernel *choose_layout(bb_task *task, const bb_plan_options *po, bb_config *config) {
  bb_machine machine = *bb_machine_get();
  machine.cold = po->cold;
  const bb_kernel *best = NULL;
  bb_task best_task = *task;
  double least = NAN;
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const bb_kernel *layout = bb_kernel_at(i);
    if (layout->op != BB_OP_CONV || !bb_isa_within(layout->isa, po->isa) || !bb_isa_runs(layout->isa)) continue;
    if (best && !bb_isa_within(best->isa, layout->isa)) break;  // a weaker level: only if no stronger one can
    // A first layer reads the image as it comes: in another layout it would owe a reorder that its own time does not show.
    if (best && best_task.x.block == 1 && layout->x_block != 1) continue;
    bb_task t = *task;
    bb_config c;
    if (bb_task_views(&t, layout->x_block, layout->y_block) != BB_OK) continue;
    const bb_kernel *kernel = bb_kernel_choose(&t, po, &c);
    if (!kernel || (best && kernel == best)) continue;
    const double cycles = kernel->cycles ? kernel->cycles(&t, &machine, &c, po->threads) : NAN;
    if (best && !(cycles < least)) continue;
    best = kernel;
    best_task = t;
    least = cycles;
    *config = c;
  }
  *task = best_task;
  return best;
}

bb_status conv_choose(bb_task *task, const bb_plan_options *po, const bb_kernel **kernel, bb_config *config, bb_error *error) {
  *kernel = choose_layout(task, po, config);
  if (!*kernel || (po->mode == BB_PLAN_ESTIMATE && !po->wisdom)) return BB_OK;
  return bb_plan_choose(task, po, kernel, config, error);
}

size_t conv_copies(size_t packed) {
  // Twice the last level in all; tiny weights: enough copies that each is long gone from the inner levels.
  enum { MOST = 16384 };
  const bb_machine *m = bb_machine_get();
  const size_t found = m->l3 ? m->l3 : m->l2 ? m->l2 : (size_t)32 << 20;
  const size_t last = BB_SANITIZED ? (size_t)8 << 20 : found;  // nothing is measured, and some CPUs have 300 MiB of L3
  const size_t n = 2 * last / (packed ? packed : 1) + 2;
  return n < MOST ? n : MOST;
}

bb_status conv_work_create(const bb_task *task, const bb_ref_data *data, const bb_plan_options *po, bool cold, bb_pool *pool,
                           conv_work *w, bb_error *error) {
  memset(w, 0, sizeof *w);
  w->pool = pool;
  const bb_verify_options vo = {.data = data};
  bb_status status = bb_verify_create(task, &vo, &w->verify, error);
  bb_plan *first = NULL;
  if (status == BB_OK) status = bb_plan_create(task, &w->verify->weights, po, &first, error);
  if (status != BB_OK) return conv_work_destroy(w), status;
  const size_t copies = cold ? conv_copies(bb_plan_packed_bytes(first)) : 1;
  w->plan = calloc(copies, sizeof *w->plan);
  if (!w->plan) {
    bb_plan_destroy(first);
    conv_work_destroy(w);
    return BB_NO_MEMORY;
  }
  w->plan[w->plans++] = first;
  const size_t each = bb_align_up(bb_plan_packed_bytes(first), BB_ALIGN);
  if (copies > 1 && !(w->memory = bb_alloc((copies - 1) * each))) status = BB_NO_MEMORY;
  while (w->plans < copies && status == BB_OK) {
    status = bb_plan_copy(first, w->memory + (w->plans - 1) * (each / sizeof(float)), &w->plan[w->plans]);
    w->plans += status == BB_OK;
  }
  if (status == BB_OK) status = bb_exec_create((const bb_plan *const *)w->plan, 1, po->threads, &w->exec);
  if (status != BB_OK) conv_work_destroy(w);
  return status;
}

double conv_work_bytes(const bb_task *task, const bb_kernel *kernel, const bb_config *config, bool cold) {
  const size_t packed = kernel->packed_bytes ? kernel->packed_bytes(task, config) : 0;
  const bb_workspace w = kernel->workspace ? kernel->workspace(task, config, 1) : (bb_workspace){0};
  return (double)packed * (double)(cold ? conv_copies(packed) : 1) + (double)w.shared + (double)w.per_thread +
         4.0 * (double)(bb_view_size(&task->x) + bb_view_size(&task->y));
}

void conv_work_destroy(conv_work *w) {
  for (size_t i = 0; i < w->plans; i++) bb_plan_destroy(w->plan[i]);
  free(w->plan);
  free(w->memory);
  bb_exec_destroy(w->exec);
  bb_verify_destroy(w->verify);
  memset(w, 0, sizeof *w);
}

void conv_work_run(void *work) {
  conv_work *w = work;
  bb_plan_run(w->plan[w->next], w->exec, w->pool, &w->verify->io);
  if (++w->next == w->plans) w->next = 0;
}

double conv_bound(const bb_plan *plan) {
  const bb_kernel *k = bb_plan_kernel(plan);
  return (k->error_bound ? k->error_bound : bb_error_bound_direct)(bb_plan_task(plan), bb_plan_config(plan));
}

double conv_executed(const bb_plan *plan) {
  const bb_kernel *k = bb_plan_kernel(plan);
  const bb_task *task = bb_plan_task(plan);
  return k->executed_flops ? k->executed_flops(task, bb_plan_config(plan)) : bb_conv_flops_valid(&task->problem.conv);
}
