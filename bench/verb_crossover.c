// SPDX-License-Identifier: Apache-2.0
//
// The verb crossover: where direct convolution, F(2,3), F(4,3) and F(6,3) win, over channels x size. The algorithms of a cell
// are measured together, batch by batch. What is found may go to a wisdom file, as lessons of the bare convolution: the table
// that planners read. A winner goes there if it was compared with all that a planner might choose instead, if its result was
// checked, and if a repetition would hardly name another.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/wisdom.h"
#include "conv.h"
#include "conv_work.h"
#include "planning.h"

// One algorithm in one cell.
typedef struct result {
  bb_task task;
  const bb_kernel *kernel;
  bb_config config;
  bb_isa isa;
  int threads;
  bool cold;
  double ns, error;
  double speedup, low, high;  // over direct convolution, with its interval; NaN = not measured together with it
  bool steady;                // grade A or B
} result;

typedef struct crossover {
  const options *o;
  result *at;
  size_t count, room;
  bool lost;  // out of memory for one of them
} crossover;

static void seen(void *context, const conv_done *done) {
  crossover *x = context;
  if (x->count == x->room) {
    result *more = realloc(x->at, (2 * x->room + 64) * sizeof *more);
    x->lost |= !more;
    if (!more) return;
    x->at = more;
    x->room = 2 * x->room + 64;
  }
  const row *r = done->row;
  const bool direct = done->kernel->alg == BB_ALG_DIRECT;
  x->at[x->count++] = (result){.task = *done->task,
                               .kernel = done->kernel,
                               .config = *done->config,
                               .isa = done->isa,
                               .threads = r->threads,
                               .cold = r->cold,
                               .ns = r->time_p50,
                               .error = r->err_l2,
                               .speedup = direct ? 1 : r->speedup,
                               .low = direct ? 1 : r->speedup_low,
                               .high = direct ? 1 : r->speedup_high,
                               .steady = r->grade != 'C'};
}

static bool same_setting(const result *a, const result *b) {
  return a->isa == b->isa && a->threads == b->threads && a->cold == b->cold && a->task.problem.conv.N == b->task.problem.conv.N;
}

static bool same_cell(const result *a, const result *b) {
  return same_setting(a, b) && a->task.problem.conv.C == b->task.problem.conv.C &&
         a->task.problem.conv.H == b->task.problem.conv.H;
}

// The gain over direct convolution comes from batches that ran together; where direct was left out, plain times must do.
static double gain(const result *a, const result *b) {
  return isfinite(a->speedup) && isfinite(b->speedup) ? a->speedup / b->speedup : b->ns / a->ns;
}

static bool competes(const result *r, const result *cell, bb_accuracy accuracy) {
  return same_cell(r, cell) && bb_accuracy_admits(accuracy, r->kernel->alg);
}

// The fastest of a cell that a class admits, and the fastest of another algorithm; NULL = none.
static const result *winner(const crossover *x, const result *cell, bb_accuracy accuracy, const result **next) {
  const result *best = NULL;
  *next = NULL;
  for (size_t i = 0; i < x->count; i++)
    if (competes(&x->at[i], cell, accuracy) && (!best || gain(&x->at[i], best) > 1)) best = &x->at[i];
  for (size_t i = 0; i < x->count; i++) {
    const result *r = &x->at[i];
    if (!competes(r, cell, accuracy) || r->kernel->alg == best->kernel->alg) continue;
    if (!*next || gain(r, *next) > 1) *next = r;
  }
  return best;
}

// ---- the map ---------------------------------------------------------------------------------------------------------

static const char *short_name(bb_alg alg) {
  static const char *const name[BB_ALG_COUNT] = {"?", "direct", "F2", "F4", "F6"};
  return name[alg];
}

// Darker = more gained; print_maps explains them.
static char shade(double speedup) { return " .:+#"[(speedup >= 1.05) + (speedup >= 1.5) + (speedup >= 2.2) + (speedup >= 3)]; }

static void print_cell(const crossover *x, const result *setting, int channels, int size, bb_accuracy accuracy, FILE *f) {
  result cell = *setting;
  cell.task.problem.conv.C = channels;
  cell.task.problem.conv.H = size;
  const result *next, *best = winner(x, &cell, accuracy, &next);
  char ahead[16] = "";
  if (!best) {
    fprintf(f, " | %-30s", "-");
    return;
  }
  if (next) snprintf(ahead, sizeof ahead, "+%.0f%%", 100 * (gain(best, next) - 1));
  char by[16] = "";
  if (isfinite(best->speedup)) snprintf(by, sizeof by, "%.2fx", best->speedup);
  char error[16] = "unchecked";
  if (isfinite(best->error)) snprintf(error, sizeof error, "%.0e", best->error);
  fprintf(f, " | %c %-6s %6s %6s %7s", shade(best->speedup), short_name(best->kernel->alg), by, ahead, error);
}

// A map for each setting and each class that lets something be chosen.
static void print_maps(void *context, FILE *f) {
  const crossover *x = context;
  for (size_t i = 0; i < x->count; i++) {
    const result *s = &x->at[i];
    bool first = true;
    for (size_t k = 0; k < i && first; k++) first = !same_setting(s, &x->at[k]);
    if (!first) continue;
    for (int fast = 0; fast < 2; fast++) {
      const bb_accuracy accuracy = fast ? BB_ACCURACY_FAST : BB_ACCURACY_DEFAULT;
      fprintf(
          f,
          "\nfastest at accuracy %s, %s, %d thread%s, batch %d, %s weights: algorithm, rate / direct's, ahead of the next, l2 "
          "error\n%8s",
          bb_accuracy_name(accuracy), bb_isa_name(s->isa), s->threads, s->threads == 1 ? "" : "s", s->task.problem.conv.N,
          s->cold ? "cold" : "hot", "channels");
      for (int h = 0; h < x->o->sizes.count; h++) {
        char text[32];
        snprintf(text, sizeof text, "%dx%d", x->o->sizes.at[h], x->o->sizes.at[h]);
        fprintf(f, " | %-30s", text);
      }
      fputc('\n', f);
      for (int c = 0; c < x->o->channels.count; c++) {
        fprintf(f, "%8d", x->o->channels.at[c]);
        for (int h = 0; h < x->o->sizes.count; h++) print_cell(x, s, x->o->channels.at[c], x->o->sizes.at[h], accuracy, f);
        fputc('\n', f);
      }
    }
  }
  if (x->count) fputs("\nrate / direct's: . from 1.05x, : from 1.5x, + from 2.2x, # from 3x\n", f);
}

// ---- the table -------------------------------------------------------------------------------------------------------

// Has each algorithm that the class admits and that some kernel has for this convolution been timed? A filter, a failed check
// or an interruption may have kept it away.
static bool met_all(const crossover *x, const result *cell, bb_accuracy accuracy) {
  for (int alg = BB_ALG_DIRECT; alg < BB_ALG_COUNT; alg++) {
    bool met = !bb_accuracy_admits(accuracy, (bb_alg)alg);
    for (size_t i = 0; i < x->count && !met; i++) met = same_cell(&x->at[i], cell) && (int)x->at[i].kernel->alg == alg;
    if (met) continue;
    const bb_plan_options po = {.isa = cell->isa, .alg = (bb_alg)alg, .threads = cell->threads, .cold = cell->cold};
    bb_task task = {.problem = cell->task.problem};
    const bb_kernel *kernel;
    bb_config config;
    bb_error error;
    if (conv_choose(&task, &po, &kernel, &config, &error) != BB_OK || kernel) return false;
  }
  return true;
}

// Is it ahead of every other algorithm without doubt: both undisturbed, or their intervals apart?
static bool clearly_ahead(const crossover *x, const result *best, bb_accuracy accuracy) {
  for (size_t i = 0; i < x->count; i++) {
    const result *r = &x->at[i];
    if (!competes(r, best, accuracy) || r->kernel->alg == best->kernel->alg) continue;
    if (!(best->steady && r->steady) && !(best->low > r->high)) return false;
  }
  return true;
}

// The winner of a cell and class becomes a lesson on the bare convolution: a guess that estimates may take, which does not keep
// anybody from measuring.
static exit_code teach(const crossover *x, const planning *how) {
  bb_status status = BB_OK;
  size_t winners = 0, alone = 0, unchecked = 0, doubtful = 0;
  bool cold = false;
  for (size_t i = 0; i < x->count && how->wisdom; i++) {
    const result *r = &x->at[i], *next;
    cold |= r->cold;
    for (int a = 0; a < BB_ACCURACY_COUNT && status == BB_OK; a++) {
      const bb_accuracy accuracy = (bb_accuracy)a;
      if (winner(x, r, accuracy, &next) != r) continue;
      winners++;
      if (!met_all(x, r, accuracy)) {
        alone++;
      } else if (!isfinite(r->error)) {
        unchecked++;
      } else if (!clearly_ahead(x, r, accuracy)) {
        doubtful++;
      } else {
        const bb_plan_options po = {.isa = r->isa, .accuracy = accuracy, .threads = r->threads, .cold = r->cold};
        status = bb_wisdom_add(how->wisdom, &r->task, &po, BB_WISDOM_BARE, r->kernel, &r->config);
      }
    }
  }
  if (status != BB_OK || x->lost) return fail(EXIT_SYSTEM, "out of memory for the table");
  const size_t left_out = alone + unchecked + doubtful;
  if (left_out)
    warn(
        "--wisdom: %zu of %zu winners were not written: %zu did not meet every algorithm, %zu were not checked, %zu were "
        "disturbed and not clearly ahead",
        left_out, winners, alone, unchecked, doubtful);
  if (winners > left_out && !cold)
    warn("--wisdom: lessons of hot weights only; networks plan with cold ones: --cache hot,cold");
  return x->count ? planning_save(how) : EXIT_OK;
}

static exit_code add_grid(case_list *list, const options *o) {
  exit_code code = EXIT_OK;
  for (int c = 0; c < o->channels.count; c++)
    for (int h = 0; h < o->sizes.count && code == EXIT_OK; h++) {
      char text[96];
      conv_case one;
      const int C = o->channels.at[c], H = o->sizes.at[h];
      snprintf(text, sizeof text, "mb1ic%dih%doc%doh%dkh3ph1n\"c%dh%d\"", C, H, C, H, C, H);
      code = case_parse(text, "", &one);
      one.count = 0;
      if (code == EXIT_OK) code = case_add(list, &one);
    }
  return code;
}

exit_code verb_crossover(const options *given) {
  options o = *given;
  if (!o.channels.count) o.channels = (int_list){.count = 5, .at = {32, 64, 128, 256, 512}};
  if (!o.sizes.count) o.sizes = (int_list){.count = 4, .at = {7, 14, 28, 56}};
  o.accuracy = BB_ACCURACY_FAST;  // all of them
  crossover x = {.o = &o};
  planning how;
  exit_code code = planning_open(&o, true, &how);
  if (code != EXIT_OK) return code;
  case_list list = {0};
  session *s = NULL;
  conv_run *u = NULL;
  code = add_grid(&list, &o);
  if (code == EXIT_OK) code = session_create(&o, &s);
  if (code == EXIT_OK) session_at_end(s, print_maps, &x);
  if (code == EXIT_OK) code = conv_rows_by_algorithm(s, &o, &list, &how, seen, &x, &u);
  if (code == EXIT_OK) code = session_run(s);
  if (code == EXIT_OK || code == EXIT_INTERRUPTED || code == EXIT_NOISY) {
    const exit_code taught = teach(&x, &how);
    if (taught != EXIT_OK) code = taught;
  }
  session_destroy(s);
  conv_free(u);
  case_free(&list);
  planning_close(&how);
  free(x.at);
  return code;
}
