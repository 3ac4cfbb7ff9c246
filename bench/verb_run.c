// SPDX-License-Identifier: Apache-2.0
//
// The verb run: one inference on the user's data, by the fast or by the reference executor.

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../models/models.h"
#include "args.h"
#include "image.h"
#include "model.h"
#include "planning.h"
#include "report.h"
#include "team.h"

// Input as N x C x H x W in npy->data, from whichever file was given.
static exit_code load_input(const options *o, const bb_model *m, bb_npy *npy) {
  if (o->image) {
    *npy = (bb_npy){.rank = 4, .shape = {1, 3, (size_t)m->H, (size_t)m->W}};
    if (m->C != 3) return fail(EXIT_USAGE, "--image: %s takes %d channels, a picture has 3", m->name, m->C);
    npy->count = 3 * (size_t)m->H * (size_t)m->W;
    npy->data = malloc(npy->count * sizeof *npy->data);
    return npy->data ? image_load(o->image, m->H, m->W, npy->data) : fail(EXIT_SYSTEM, "out of memory for the input");
  }
  bb_error error = {{0}};
  const bb_status status = bb_npy_load(o->input, npy, &error);
  // A file that cannot be read is the user's mistake here.
  if (status != BB_OK) return fail(status == BB_NO_MEMORY ? EXIT_SYSTEM : EXIT_USAGE, "%s", error.text);
  if (npy->rank == 3) {  // one image
    memmove(npy->shape + 1, npy->shape, 3 * sizeof *npy->shape);
    npy->shape[0] = 1;
    npy->rank = 4;
  }
  if (npy->rank != 4 || npy->shape[1] != (size_t)m->C)
    return fail(EXIT_USAGE, "--input %s: shape N x %d x H x W was expected, rank %d with %zu channels was found", o->input,
                m->C, npy->rank, npy->rank > 1 ? npy->shape[1] : 0);
  for (int i = 0; i < 4; i++)
    if (!npy->shape[i] || npy->shape[i] > 65536)
      return fail(EXIT_USAGE, "--input %s: a dimension of %zu", o->input, npy->shape[i]);
  return EXIT_OK;
}

// The K best of each image: place, class, score, softmax.
static void print_top(const float *y, size_t images, size_t classes, size_t top) {
  if (top > classes) top = classes;
  for (size_t n = 0; n < images; n++, y += classes) {
    double sum = 0, most = -INFINITY;
    for (size_t i = 0; i < classes; i++)
      if ((double)y[i] > most) most = (double)y[i];
    for (size_t i = 0; i < classes; i++) sum += exp((double)y[i] - most);
    size_t last = classes;  // the one printed before
    for (size_t k = 0; k < top; k++) {
      size_t best = classes;
      for (size_t i = 0; i < classes; i++) {
        const bool after = last == classes || y[i] < y[last] || (y[i] == y[last] && i > last);
        if (after && (best == classes || y[i] > y[best])) best = i;
      }
      if (best == classes) break;  // NaN
      printf("image %zu  #%zu  class %zu  score %.6g  softmax %.4f\n", n, k + 1, best, (double)y[best],
             exp((double)y[best] - most) / sum);
      last = best;
    }
  }
}

static void output_path(const char *dir, int i, char path[4096]) { snprintf(path, 4096, "%s/output_%d.npy", dir, i); }

static exit_code save(const options *o, int i, const bb_tensor *t, const float *y) {
  char path[4096];
  bb_error error = {{0}};
  const size_t shape[] = {(size_t)t->N, (size_t)t->C, (size_t)t->H, (size_t)t->W};
  output_path(o->output, i, path);
  const bb_status status = bb_npy_save(path, t->rank, shape, y, &error);
  return status == BB_OK ? EXIT_OK : fail_status(status, &error);
}

typedef struct job {
  const options *o;
  bb_graph *graph;
  bb_params *params;
  bb_npy npy;
  team team;
  planning how;
  bb_net *net;
  bb_stream *stream;
  bb_reference *reference;
} job;

static exit_code infer(job *j) {
  const options *o = j->o;
  bb_error error = {{0}};
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  exit_code code = isas_asked(o, isa, &isas, missing, &missings);
  if (code != EXIT_OK) return code;
  bb_status status;
  if (o->reference) {
    status = bb_reference_run(j->graph, j->params, j->npy.data, false, j->team.pool, &j->reference, &error);
    return status == BB_OK ? EXIT_OK : fail_status(status, &error);
  }
  code = planning_open(o, false, &j->how);
  if (code != EXIT_OK) return code;
  const bb_net_options no = {.isa = isa[0],
                             .alg = o->alg,
                             .accuracy = o->accuracy,
                             .threads = j->team.threads,
                             .passes = o->passes,
                             .mode = j->how.mode,
                             .cold = true,
                             .wisdom = j->how.wisdom,
                             .pool = j->team.pool};
  status = bb_net_create(j->graph, j->params, &no, &j->net, &error);
  if (status == BB_OK) status = bb_stream_create(j->net, j->team.threads, &j->stream, &error);
  if (status != BB_OK) return fail_status(status, &error);
  bb_stream_run(j->stream, j->team.pool, j->npy.data, NULL);
  return EXIT_OK;
}

static exit_code hand_out(const job *j) {
  const options *o = j->o;
  exit_code code = EXIT_OK;
  if (o->output && mkdir(o->output, 0777) && errno != EEXIST)
    return fail(EXIT_SYSTEM, "--output %s: cannot be made: %s", o->output, strerror(errno));
  for (int i = 0; i < j->graph->outputs && code == EXIT_OK; i++) {
    const bb_tensor *t = &j->graph->tensor[j->graph->output[i]];
    const size_t n = bb_tensor_count(t);
    float *narrowed = NULL;
    const float *y = j->stream ? bb_stream_output(j->stream, i) : NULL;
    if (j->reference) {
      const double *wide = bb_reference_tensor(j->reference, j->graph->output[i]);
      if (!(narrowed = malloc(n * sizeof *narrowed))) return fail(EXIT_SYSTEM, "out of memory for output %d", i);
      for (size_t k = 0; k < n; k++) narrowed[k] = (float)wide[k];
      y = narrowed;
    }
    if (o->output) code = save(o, i, t, y);
    const bool classes = t->rank == 2;
    if (code == EXIT_OK && !i && classes && (o->top || !o->output))
      print_top(y, (size_t)t->N, (size_t)t->C, (size_t)(o->top ? o->top : 5));
    if (code == EXIT_OK && !o->output && !classes)
      printf("output %d: %d x %d x %d x %d (--output DIR writes it)\n", i, t->N, t->C, t->H, t->W);
    free(narrowed);
  }
  return code;
}

// Can there be files in it? Made for good it is when there are.
static exit_code check_output(const char *dir) {
  char path[4096];
  const bool made = !mkdir(dir, 0777);
  if (!made && errno != EEXIST) return fail(EXIT_USAGE, "--output %s: cannot be made: %s", dir, strerror(errno));
  output_path(dir, 0, path);
  const exit_code code = report_probe_file("--output", path);
  if (made) rmdir(dir);
  return code;
}

static exit_code check_usage(const options *o, const bb_model *m) {
  if (!m) return fail(EXIT_USAGE, "unknown model \"%.80s\"; \"backbench list models\" shows the names", o->args.at[0]);
  if (!o->input == !o->image) return fail(EXIT_USAGE, "run needs one of --input X.npy and --image F");
  exit_code code = args_single(o, "run");
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  if (code == EXIT_OK) code = isas_asked(o, isa, &isas, missing, &missings);
  if (code == EXIT_OK) code = model_check_alg(o, isa, isas);
  if (code != EXIT_OK) return code;
  if (o->output) code = check_output(o->output);
  return code == EXIT_OK ? team_check(o) : code;
}

exit_code verb_run(const options *o) {
  const bb_model *m = bb_model_find(o->args.at[0]);
  job j = {.o = o};
  bb_error error = {{0}};
  exit_code code = check_usage(o, m);
  stop_at_once(true);
  progress(0, 1, o->args.at[0]);
  if (code == EXIT_OK) code = load_input(o, m, &j.npy);
  bb_status status = BB_OK;
  if (code == EXIT_OK)
    status = bb_graph_create(m, (int)j.npy.shape[0], (int)j.npy.shape[2], (int)j.npy.shape[3], &j.graph, &error);
  if (code == EXIT_OK && status == BB_OK)
    status = o->weights ? bb_params_load(j.graph, o->weights, &j.params, &error)
                        : bb_params_synthetic(j.graph, o->seed, &j.params, &error);
  // A file of weights that cannot be read or is damaged is bad input.
  if (status != BB_OK) code = fail(status == BB_NO_MEMORY ? EXIT_SYSTEM : EXIT_USAGE, "%s", error.text);
  if (code == EXIT_OK) code = team_create(o, o->threads.at[0], &j.team);
  if (code == EXIT_OK) code = infer(&j);
  stop_at_once(false);
  progress(0, 0, NULL);
  if (code == EXIT_OK) code = planning_save(&j.how);
  if (code == EXIT_OK) code = hand_out(&j);
  bb_reference_destroy(j.reference);
  bb_stream_destroy(j.stream);
  bb_net_destroy(j.net);
  planning_close(&j.how);
  bb_params_destroy(j.params);
  bb_graph_destroy(j.graph);
  bb_npy_free(&j.npy);
  if (j.team.pool) team_destroy(&j.team);
  return code == EXIT_OK && interrupted() ? EXIT_INTERRUPTED : code;
}
