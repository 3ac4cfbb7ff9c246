// SPDX-License-Identifier: Apache-2.0
//
// The verb model. A row is one inference: its latency, what the convolutions in it reach, what the rest costs. Its outputs are
// compared with the reference executor's first.

#include "model.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/memory.h"
#include "../models/models.h"
#include "conv_work.h"
#include "planning.h"
#include "report.h"
#include "stats.h"

// Outputs may differ from the reference's by this much, in l2: float sums through a hundred layers on activations of O(1);
// and if F(6,3), whose transforms lose more, takes part in them.
static const double output_bound = 1e-5, output_bound_fast = 3e-5;

static double bound_of(const bb_net *net) {
  for (int i = 0; i < bb_net_steps(net); i++)
    if (bb_plan_kernel(bb_net_step(net, i)->plan)->alg == BB_ALG_WINO63) return output_bound_fast;
  return output_bound;
}

// A backbone and the reference's outputs of the first and the last image of each batch size, computed when first asked for.
typedef struct expected {
  int image;                // its index in the input, which is one stream of random numbers
  bb_reference *reference;  // of a graph of one image
  struct expected *next;
} expected;

typedef struct backbone {
  const bb_model *model;
  bb_graph *one;  // a graph of one image
  bb_params *params;
  expected *expected;
  struct backbone *next;
} backbone;

struct model_run {
  backbone *first;
  planning how;
};

typedef struct model_row {
  backbone *of;
  const planning *how;
  bb_isa isa;
  int threads, mb;
} model_row;

void model_free(model_run *u) {
  if (!u) return;
  for (backbone *b = u->first, *next; b; b = next) {
    next = b->next;
    for (expected *e = b->expected, *after; e; e = after) {
      after = e->next;
      bb_reference_destroy(e->reference);
      free(e);
    }
    bb_params_destroy(b->params);
    bb_graph_destroy(b->one);
    free(b);
  }
  planning_close(&u->how);
  free(u);
}

// ---- truth ---------------------------------------------------------------------------------------------------------

static size_t image_floats(const bb_model *m) { return (size_t)m->C * (size_t)m->H * (size_t)m->W; }

// Images of about N(0, 1).
static void fill_input(const bb_model *m, int images, uint64_t seed, float *x) {
  bb_random_fill(x, image_floats(m) * (size_t)images, seed, "input", 0, 1);
}

static bb_status expect(backbone *b, int image, const float *input, bb_pool *pool, const bb_reference **out, bb_error *error) {
  for (expected *e = b->expected; e; e = e->next)
    if (e->image == image) return *out = e->reference, BB_OK;
  expected *e = calloc(1, sizeof *e);
  if (!e) return BB_NO_MEMORY;
  const bb_status status =
      bb_reference_run(b->one, b->params, input + image_floats(b->model) * (size_t)image, false, pool, &e->reference, error);
  if (status != BB_OK) return free(e), status;
  e->image = image;
  e->next = b->expected;
  b->expected = e;
  *out = e->reference;
  return BB_OK;
}

// Outputs of image `image` of a stream against the reference; the worst of them goes to the row.
static void compare(const backbone *b, const bb_stream *stream, int image, const bb_reference *reference, row *r) {
  for (int i = 0; i < b->one->outputs; i++) {
    const size_t n = bb_tensor_count(&b->one->tensor[b->one->output[i]]);
    const float *y = bb_stream_output(stream, i) + n * (size_t)image;
    const double *ref = bb_reference_tensor(reference, b->one->output[i]);
    double difference = 0, norm = 0, most = 0;
    for (size_t k = 0; k < n; k++) {
      const double d = (double)y[k] - ref[k];
      difference += d * d;
      norm += ref[k] * ref[k];
      if (!(fabs(d) <= most)) most = fabs(d);  // a NaN stays
    }
    // Nothing but zeros is right if nothing but zeros is expected.
    const double l2 = difference > 0 ? sqrt(difference / norm) : difference;
    const double max_rms = most > 0 ? most / sqrt(norm / (double)n) : most;
    if (!(l2 <= r->err_l2)) r->err_l2 = l2;
    if (!(max_rms <= r->err_max_rms)) r->err_max_rms = max_rms;
  }
}

static exit_code check(backbone *b, int mb, const float *input, const bb_stream *stream, bb_pool *pool, row *r) {
  r->checked = true;
  r->err_l2 = r->err_max_rms = 0;
  for (int k = 0; k < (mb > 1 ? 2 : 1); k++) {
    const int image = k ? mb - 1 : 0;
    const bb_reference *reference;
    bb_error error = {{0}};
    const bb_status status = expect(b, image, input, pool, &reference, &error);
    if (status != BB_OK) return fail_status(status, &error);
    compare(b, stream, image, reference, r);
  }
  if (!(r->err_l2 <= r->err_bound))
    row_fail(r, "wrong result: the outputs differ from the reference's by %.2e in l2, %.0e is allowed", r->err_l2,
             r->err_bound);
  return EXIT_OK;
}

// ---- what is timed -------------------------------------------------------------------------------------------------

// One or more inferences in flight. With several streams, an outer pool runs one call of each at once.
typedef struct inference {
  const bb_net *net;
  bb_pool *pool;   // of a single stream
  bb_pool *outer;  // of several
  int streams;
  bb_stream **stream;
  bb_pool **inner;
  const float *input;
  uint64_t *ns;    // of the first stream
  double conv_ns;  // sums over all calls of the first stream
  double rest_ns;  // of what no node asked for, and around the steps
  double wall_ns;
  size_t calls;      // that made the sums
  bb_status status;  // of creating the inner pools
} inference;

static void run_streams(void *context, size_t first, size_t last, int thread) {
  inference *f = context;
  (void)thread;
  for (size_t i = first; i < last; i++) bb_stream_run(f->stream[i], f->inner[i], f->input, i ? NULL : f->ns);
}

static void run_inference(void *context) {
  inference *f = context;
  const double start = now_ns();
  if (f->streams == 1)
    bb_stream_run(f->stream[0], f->pool, f->input, f->ns);
  else
    bb_pool_run(f->outer, (size_t)f->streams, run_streams, f);
  const double wall = now_ns() - start;
  const int steps = bb_net_steps(f->net);
  double conv = 0, inserted = 0;
  for (int i = 0; i < steps; i++) {
    const bb_step *step = bb_net_step(f->net, i);
    const double ns = (double)(f->ns[i + 1] - f->ns[i]);
    if (bb_plan_task(step->plan)->problem.op == BB_OP_CONV) conv += ns;
    if (step->inserted) inserted += ns;
  }
  f->calls++;
  f->conv_ns += conv;
  f->wall_ns += wall;
  f->rest_ns += inserted + (f->streams == 1 ? wall - (double)(f->ns[steps] - f->ns[0]) : 0);
}

static void inference_destroy(inference *f) {
  for (int i = 0; i < f->streams; i++) {
    if (f->stream) bb_stream_destroy(f->stream[i]);
    if (f->inner) bb_pool_destroy(f->inner[i]);
  }
  bb_pool_destroy(f->outer);
  free(f->stream);
  free(f->inner);
  free(f->ns);
}

static void create_inner(void *context, size_t first, size_t last, int thread) {
  inference *f = context;
  (void)thread;
  for (size_t i = first; i < last; i++) {
    const bb_pool_options po = {.threads = bb_pool_threads(f->pool), .spin_us = TEAM_SPIN_US};
    const bb_status status = bb_pool_create(&po, &f->inner[i], NULL);
    if (status != BB_OK) f->status = status;
  }
}

static bb_status inference_create(const bb_net *net, const team *t, int threads, int streams, const float *input, inference *f,
                                  bb_error *error) {
  *f = (inference){.net = net, .pool = t->pool, .streams = streams, .input = input};
  f->stream = calloc((size_t)streams, sizeof *f->stream);
  f->inner = calloc((size_t)streams, sizeof *f->inner);
  f->ns = calloc((size_t)bb_net_steps(net) + 1, sizeof *f->ns);
  if (!f->stream || !f->inner || !f->ns) return BB_NO_MEMORY;
  bb_status status = BB_OK;
  for (int i = 0; i < streams && status == BB_OK; i++) status = bb_stream_create(net, threads, &f->stream[i], error);
  if (streams == 1 || status != BB_OK) return status;
  const bb_pool_options po = {
      .threads = streams, .spin_us = TEAM_SPIN_US, .cpus = t->pinned ? t->cpu : NULL, .pin = t->pinned && threads == 1};
  status = bb_pool_create(&po, &f->outer, error);
  if (status == BB_OK && threads > 1) {
    f->pool = NULL;
    create_inner(f, 0, (size_t)streams, 0);
    status = f->status;
  }
  return status;
}

// ---- layers --------------------------------------------------------------------------------------------------------

typedef struct layer {
  double ns, peak;            // median in the network; the probe's mean there
  double alone_ns, vs_alone;  // the same step by itself; median ratio to it, round by round. NaN if it is no convolution
} layer;

static void touch(const void *data, size_t bytes) {
  const volatile char *at = data;
  for (size_t b = 0; b < bytes; b += BB_ALIGN) (void)at[b];
}

// Step i by itself, as the network finds it: its weights in no cache, those of the steps before it in half of L3 (lines
// that eviction left free would be filled sooner), its inputs read since, the output of the step before just written.
static double time_alone(const inference *f, int i) {
  const int steps = bb_net_steps(f->net);
  const bb_plan *plan = bb_net_step(f->net, i)->plan;
  bb_evict(bb_plan_packed(plan), bb_plan_packed_bytes(plan));
  size_t left = bb_machine_get()->l3 / 2;
  for (int k = 1; k < steps && left; k++) {
    const bb_plan *other = bb_net_step(f->net, (i + steps - k) % steps)->plan;
    const size_t bytes = bb_plan_packed_bytes(other) < left ? bb_plan_packed_bytes(other) : left;
    touch(bb_plan_packed(other), bytes);
    left -= bytes;
  }
  const bb_task *task = bb_plan_task(plan);
  const bb_io io = bb_stream_step_io(f->stream[0], f->input, i);
  touch(io.x, bb_view_size(&task->x) * sizeof(float));
  if (io.x2) touch(io.x2, bb_view_size(&task->x2) * sizeof(float));
  bb_stream_run_step(f->stream[0], f->pool, f->input, i ? i - 1 : i);
  if (i == 0) bb_evict(bb_plan_packed(plan), bb_plan_packed_bytes(plan));
  const double start = now_ns();
  bb_stream_run_step(f->stream[0], f->pool, f->input, i);
  return now_ns() - start;
}

// Medians over a dozen rounds or a second of them, each the whole network and then its convolutions by themselves, so that what
// else goes on meets both. Probes before, between and after.
static bb_status time_layers(const team *t, bb_isa isa, inference *f, layer *layers) {
  enum { MOST = 200, LEAST = 12 };
  const int steps = bb_net_steps(f->net);
  double *ns = malloc((size_t)steps * 3 * MOST * sizeof *ns);
  if (!ns) return BB_NO_MEMORY;
  double *const alone = ns + steps * MOST, *const ratio = alone + steps * MOST;
  size_t rounds = 0;
  double peak = team_probe(t, bb_probe_get(isa), &rounds);
  int n = 0, probes = 1;
  for (const double start = now_ns(); n < MOST && (n < LEAST || now_ns() - start < 1e9) && !(n && interrupted()); n++) {
    run_inference(f);
    for (int i = 0; i < steps; i++) ns[i * MOST + n] = (double)(f->ns[i + 1] - f->ns[i]);
    for (int i = 0; i < steps; i++) {
      alone[i * MOST + n] = bb_plan_task(bb_net_step(f->net, i)->plan)->problem.op == BB_OP_CONV ? time_alone(f, i) : NAN;
      ratio[i * MOST + n] = ns[i * MOST + n] / alone[i * MOST + n];
    }
    peak += team_probe(t, bb_probe_get(isa), &rounds), probes++;
  }
  for (int i = 0; i < steps; i++) {
    layers[i].ns = stats_of_median(ns + i * MOST, (size_t)n).median;
    layers[i].peak = peak / probes;
    layers[i].alone_ns = stats_of_median(alone + i * MOST, (size_t)n).median;
    layers[i].vs_alone = stats_of_median(ratio + i * MOST, (size_t)n).median;
  }
  free(ns);
  return BB_OK;
}

static void report_layers(const bb_net *net, const layer *layers, row *r) {
  char *text = NULL;
  size_t length;
  FILE *f = open_memstream(&text, &length);
  cJSON *list = cJSON_AddArrayToObject(r->more, "layers");
  double total = 0;
  for (int i = 0; i < bb_net_steps(net); i++) total += layers[i].ns;
  if (f)
    fprintf(f, "  %-28s %-34s %11s %6s %8s %7s %8s  %s\n", "node", "kernel", "time", "share", "GFLOP/s", "% peak", "vs alone",
            "fused, problem");
  for (int i = 0; i < bb_net_steps(net); i++) {
    const bb_step *step = bb_net_step(net, i);
    const bb_task *task = bb_plan_task(step->plan);
    const bool conv = task->problem.op == BB_OP_CONV;
    const double flops = conv ? bb_conv_flops_valid(&task->problem.conv) : NAN;
    char problem[320], time[24];
    bb_task_print(task, problem, sizeof problem);
    report_time(layers[i].ns, time);
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", step->name);
    cJSON_AddStringToObject(x, "fused", step->fused);
    cJSON_AddBoolToObject(x, "inserted", step->inserted);
    cJSON_AddStringToObject(x, "kernel", bb_plan_kernel(step->plan)->name);
    cJSON_AddStringToObject(x, "problem", problem);
    cJSON_AddNumberToObject(x, "time_ns", layers[i].ns);
    cJSON_AddNumberToObject(x, "share_pct", 100 * layers[i].ns / total);
    if (f)
      fprintf(f, "  %-28s %-34s %11s %5.1f%%", step->name, bb_plan_kernel(step->plan)->name, time, 100 * layers[i].ns / total);
    if (conv) {
      cJSON_AddStringToObject(x, "algorithm", bb_alg_name(bb_plan_kernel(step->plan)->alg));
      cJSON_AddNumberToObject(x, "flops_valid", flops);
      cJSON_AddNumberToObject(x, "flops_executed", conv_executed(step->plan));
      cJSON_AddNumberToObject(x, "gflops", flops / layers[i].ns);
      cJSON_AddNumberToObject(x, "pct_peak", 100 * flops / layers[i].ns * 1e9 / layers[i].peak);
      cJSON_AddNumberToObject(x, "alone_cold_ns", layers[i].alone_ns);
      cJSON_AddNumberToObject(x, "vs_alone", layers[i].vs_alone);
      if (f)
        fprintf(f, " %8.2f %7.1f %8.3f", flops / layers[i].ns, 100 * flops / layers[i].ns * 1e9 / layers[i].peak,
                layers[i].vs_alone);
    } else if (f) {
      fprintf(f, " %8s %7s %8s", "", "", "");
    }
    if (f) fprintf(f, "  %s%s%s%s\n", step->inserted ? "(inserted) " : "", step->fused, *step->fused ? " | " : "", problem);
    cJSON_AddItemToArray(list, x);
  }
  if (f) fclose(f);
  r->table = text;
}

// ---- a row ---------------------------------------------------------------------------------------------------------

static void add_line(row *r, const char *form, ...) __attribute__((format(printf, 2, 3)));
static void add_line(row *r, const char *form, ...) {
  char *line = NULL, *both = NULL;
  va_list list;
  va_start(list, form);
  const int n = vasprintf(&line, form, list);
  va_end(list);
  if (n >= 0 && asprintf(&both, "%s%s", r->table ? r->table : "", line) >= 0) {
    free(r->table);
    r->table = both;
  }
  if (n >= 0) free(line);
}

// How far the convolutions in the network are from the same ones by themselves: what one learns from rows of convolutions.
static void report_alone(const layer *layers, int steps, row *r) {
  double *x = malloc((size_t)steps * sizeof *x);
  size_t n = 0;
  for (int i = 0; x && i < steps; i++)
    if (isfinite(layers[i].vs_alone)) x[n++] = layers[i].vs_alone;
  if (n) {
    const double median = stats_of_median(x, n).median;
    cJSON_AddNumberToObject(r->more, "vs_alone", median);
    cJSON_AddNumberToObject(r->more, "vs_alone_min", x[0]);
    cJSON_AddNumberToObject(r->more, "vs_alone_max", x[n - 1]);
    add_line(r, "  convolutions against themselves alone with cold weights: median %.3f, from %.3f to %.3f\n", median, x[0],
             x[n - 1]);
  }
  free(x);
}

static void report_whole(const inference *f, const double pct[3], row *r) {
  const double calls = (double)f->calls;
  const double images = (double)r->mb * f->streams / r->time_p50 * 1e9;
  const double conv_ns = f->conv_ns / calls, rest_ns = f->rest_ns / calls, wall_ns = f->wall_ns / calls;
  cJSON_AddNumberToObject(r->more, "images_per_s", images);
  cJSON_AddNumberToObject(r->more, "streams", f->streams);
  cJSON_AddNumberToObject(r->more, "conv_ns", conv_ns);
  cJSON_AddNumberToObject(r->more, "conv_pct_time", 100 * conv_ns / wall_ns);
  cJSON_AddNumberToObject(r->more, "conv_pct_peak", pct[0]);
  cJSON_AddNumberToObject(r->more, "conv_pct_peak_low", pct[1]);
  cJSON_AddNumberToObject(r->more, "conv_pct_peak_high", pct[2]);
  cJSON_AddNumberToObject(r->more, "outside_ns", rest_ns);
  cJSON_AddNumberToObject(r->more, "outside_pct", 100 * rest_ns / wall_ns);
  char low[24], mid[24], p90[24], p99[24];
  report_time(r->time_min, low), report_time(r->time_p50, mid), report_time(r->time_p90, p90), report_time(r->time_p99, p99);
  add_line(r, "  latency min %s, p50 %s, p90 %s, p99 %s; %.2f images/s\n", low, mid, p90, p99, images);
  add_line(r,
           "  convolutions %.1f %% of the time at %.1f %% of peak; outside nodes %.2f %%; weights %.1f MiB, packed %.1f MiB\n",
           100 * conv_ns / wall_ns, pct[0], 100 * rest_ns / wall_ns, r->weights_bytes / 1048576, r->packed_bytes / 1048576);
}

// A backbone ready to run.
typedef struct loaded {
  bb_graph *graph;
  bb_net *net;
  float *input;
  inference f;
} loaded;

static void unload(loaded *l) {
  inference_destroy(&l->f);
  bb_net_destroy(l->net);
  bb_graph_destroy(l->graph);
  free(l->input);
}

static bb_status load_model(const options *o, backbone *b, const model_row *m, const team *t, loaded *l, bb_error *error) {
  memset(l, 0, sizeof *l);
  bb_status status = BB_OK;
  if (!b->params)
    status = o->weights ? bb_params_load(b->one, o->weights, &b->params, error)
                        : bb_params_synthetic(b->one, o->seed, &b->params, error);
  if (status == BB_OK) status = bb_graph_create(b->model, m->mb, 0, 0, &l->graph, error);
  bb_pool *pool = t->pool;  // to measure on; that of several streams is too wide
  if (status == BB_OK && bb_pool_threads(pool) != m->threads) {
    const bb_pool_options po = {.threads = m->threads, .spin_us = TEAM_SPIN_US};
    status = bb_pool_create(&po, &pool, error);
  }
  const bb_net_options no = {.isa = m->isa,
                             .alg = o->alg,
                             .accuracy = o->accuracy,
                             .threads = m->threads,
                             .passes = o->passes,
                             .mode = m->how->mode,
                             .cold = true,
                             .wisdom = m->how->wisdom,
                             .pool = pool};
  if (status == BB_OK) status = bb_net_create(l->graph, b->params, &no, &l->net, error);
  if (pool != t->pool) bb_pool_destroy(pool);
  if (status != BB_OK) return status;
  // Asked for more than there is, the system would not refuse but kill.
  const bb_net_bytes bytes = bb_net_memory(l->net);
  const double needed =
      (double)image_floats(b->model) * m->mb * sizeof *l->input + ((double)bytes.arena + (double)bytes.workspace) * o->streams;
  const double there = memory_available();
  if (there > 0 && needed > there) {
    snprintf(error->text, sizeof error->text, "out of memory: activations of %.1f GiB, %.1f are there", needed / 1073741824,
             there / 1073741824);
    return BB_NO_MEMORY;
  }
  l->input = xalloc(image_floats(b->model) * (size_t)m->mb * sizeof *l->input);
  if (!l->input) return BB_NO_MEMORY;
  fill_input(b->model, m->mb, o->seed, l->input);
  return inference_create(l->net, t, m->threads, o->streams, l->input, &l->f, error);
}

// What is known without a clock.
static void describe(const loaded *l, const backbone *b, const model_row *m, row *r) {
  const bb_net_bytes bytes = bb_net_memory(l->net);
  const bb_counts counts = bb_graph_count(l->graph);
  snprintf(r->isa, sizeof r->isa, "%s", bb_isa_name(m->isa));
  r->threads = m->threads;
  r->mb = m->mb;
  r->weights_bytes = (double)bytes.weights;
  r->packed_bytes = (double)bytes.packed;
  r->workspace_bytes = (double)bytes.workspace;
  r->more = cJSON_CreateObject();
  cJSON_AddStringToObject(r->more, "model", b->model->name);
  cJSON_AddNumberToObject(r->more, "arena_bytes", (double)bytes.arena);
  cJSON_AddNumberToObject(r->more, "params", (double)counts.params);
  cJSON_AddNumberToObject(r->more, "macs", (double)counts.macs);
  double valid = 0, all = 0, executed = 0;
  for (int i = 0; i < bb_net_steps(l->net); i++) {
    const bb_task *task = bb_plan_task(bb_net_step(l->net, i)->plan);
    if (task->problem.op != BB_OP_CONV) continue;
    valid += bb_conv_flops_valid(&task->problem.conv);
    all += bb_conv_flops(&task->problem.conv);
    executed += conv_executed(bb_net_step(l->net, i)->plan);
  }
  r->flops_valid = valid * l->f.streams;
  r->flops_executed = executed * l->f.streams;
  r->flops = all * l->f.streams;
  // What has to move at least: all weights once, the images in, the outputs out.
  double values = (double)image_floats(b->model) * m->mb;
  for (int i = 0; i < l->graph->outputs; i++) values += (double)bb_tensor_count(&l->graph->tensor[l->graph->output[i]]);
  r->bytes = r->weights_bytes + values * (double)sizeof(float) * l->f.streams;
}

static exit_code check_all(backbone *b, const model_row *m, loaded *l, const team *t, row *r) {
  run_inference(&l->f);
  r->err_bound = bound_of(l->net);
  exit_code code = EXIT_OK;
  for (int i = 0; i < l->f.streams && code == EXIT_OK && r->state == ROW_PENDING; i++)
    code = check(b, m->mb, l->input, l->f.stream[i], t->pool, r);
  return code;
}

// The table of nodes in front of the lines on the whole.
static bb_status add_layers(const team *t, bb_isa isa, loaded *l, row *r) {
  layer *layers = calloc((size_t)bb_net_steps(l->net), sizeof *layers);
  bb_status status = layers ? time_layers(t, isa, &l->f, layers) : BB_NO_MEMORY;
  if (status == BB_OK) {
    char *head = r->table;
    r->table = NULL;
    report_layers(l->net, layers, r);
    report_alone(layers, bb_net_steps(l->net), r);
    add_line(r, "%s", head ? head : "");
    free(head);
  }
  free(layers);
  return status;
}

static bb_status time_model(const options *o, const team *t, bb_isa isa, loaded *l, row *r) {
  l->f.conv_ns = l->f.rest_ns = l->f.wall_ns = 0;
  l->f.calls = 0;
  samples out = {0};
  double pct[3];
  const sampler sm = {.team = t, .probe = bb_probe_get(isa), .min_time = o->min_time, .max_noise = o->max_noise};
  const subject su = {.run = run_inference, .context = &l->f, .own_threads = o->streams > 1, .count = &l->f.conv_ns};
  bb_status status = sampler_run(&sm, &su, 1, &out);
  if (status == BB_OK) status = samples_to_row(&out, t, o->samples, o->streams == 1, r);
  if (status == BB_OK) status = samples_part(&out, r->flops_valid, pct);
  samples_free(&out);
  if (status != BB_OK) return status;
  report_whole(&l->f, pct, r);
  r->state = ROW_DONE;
  samples_check_probe(r);
  return o->layers && r->state == ROW_DONE ? add_layers(t, isa, l, r) : BB_OK;
}

static exit_code measure_model(session *s, void *context, row *r) {
  const model_row *m = context;
  const options *o = session_options(s);
  bb_error error = {{0}};
  team *t;
  loaded l;
  exit_code code = session_team(s, m->threads * o->streams, &t);
  if (code != EXIT_OK) return code;
  bb_status status = load_model(o, m->of, m, t, &l, &error);
  if (status == BB_OK) {
    code = planning_save(m->how);
    describe(&l, m->of, m, r);
    if (code == EXIT_OK && !o->no_check) code = check_all(m->of, m, &l, t, r);
    if (code == EXIT_OK && r->state == ROW_PENDING) status = time_model(o, t, m->isa, &l, r);
  } else if (status == BB_UNSUPPORTED) {
    row_skip(r, "%s", error.text);
    status = BB_OK;
  }
  unload(&l);
  if (status == BB_OK) return code;
  return fail(status == BB_IO || status == BB_INVALID ? EXIT_USAGE : EXIT_SYSTEM, "%s: %s", r->name,
              *error.text ? error.text : bb_status_string(status));
}

exit_code model_test(const options *o, const bb_model *model, const team *t, bb_isa isa, int mb, row *r) {
  bb_error error = {{0}};
  loaded l;
  backbone *b = calloc(1, sizeof *b);
  model_run *u = calloc(1, sizeof *u);
  exit_code code = b && u ? EXIT_OK : fail(EXIT_SYSTEM, "out of memory for %s", model->name);
  if (code != EXIT_OK) return free(b), free(u), code;
  b->model = model;
  u->first = b;
  const model_row m = {.of = b, .how = &u->how, .isa = isa, .threads = t->threads, .mb = mb};
  bb_status status = bb_graph_create(model, 1, 0, 0, &b->one, &error);
  if (status == BB_OK) {
    status = load_model(o, b, &m, t, &l, &error);
    if (status == BB_OK) describe(&l, b, &m, r), code = check_all(b, &m, &l, t, r);
    unload(&l);
  }
  model_free(u);
  return status == BB_OK ? code : fail_status(status, &error);
}

// ---- registration --------------------------------------------------------------------------------------------------

// What the user gave is refused before anything is measured.
static exit_code check_input(const options *o, backbone *b) {
  bb_error error = {{0}};
  bb_status status = BB_OK;
  for (int i = 0; i < o->mb.count && status == BB_OK; i++) {
    bb_graph *graph = NULL;
    status = bb_graph_create(b->model, o->mb.at[i], 0, 0, &graph, &error);
    bb_graph_destroy(graph);
  }
  if (status == BB_OK && o->weights) status = bb_params_load(b->one, o->weights, &b->params, &error);
  return status == BB_OK ? EXIT_OK : fail(status == BB_NO_MEMORY ? EXIT_SYSTEM : EXIT_USAGE, "%s", error.text);
}

exit_code model_check_alg(const options *o, const bb_isa *isa, int isas) {
  bool any = o->alg == BB_ALG_AUTO;
  for (size_t i = 0; i < bb_kernel_count() && !any; i++) {
    const bb_kernel *k = bb_kernel_at(i);
    for (int a = 0; a < isas; a++) any |= k->op == BB_OP_CONV && k->alg == o->alg && bb_isa_within(k->isa, isa[a]);
  }
  if (any) return EXIT_OK;
  return fail(EXIT_USAGE, "--alg %s: no kernel that can run here is of it; \"backbench list kernels\" shows those that exist",
              bb_alg_name(o->alg));
}

exit_code model_rows(session *s, const options *o, const char *name, model_run **u) {
  const bb_model *model = bb_model_find(name);
  if (!model) return fail(EXIT_USAGE, "unknown model \"%.80s\"; \"backbench list models\" shows the names", name);
  bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
  int isas, missings;
  exit_code code = isas_asked(o, isa, &isas, missing, &missings);
  if (code == EXIT_OK) code = model_check_alg(o, isa, isas);
  if (code != EXIT_OK) return code;
  if (!*u) {
    *u = calloc(1, sizeof **u);
    if (*u) code = planning_open(o, false, &(*u)->how);
    if (code != EXIT_OK) return code;
  }
  backbone *b = *u ? calloc(1, sizeof *b) : NULL;
  if (!b) return fail(EXIT_SYSTEM, "out of memory for %s", name);
  b->next = (*u)->first;
  (*u)->first = b;
  b->model = model;
  bb_error error = {{0}};
  const bb_status status = bb_graph_create(model, 1, 0, 0, &b->one, &error);
  if (status != BB_OK) return fail_status(status, &error);
  code = check_input(o, b);
  for (int i = 0; i < isas + missings && code == EXIT_OK; i++)
    for (int t = 0; t < o->threads.count && code == EXIT_OK; t++)
      for (int k = 0; k < (o->mb.count ? o->mb.count : 1) && code == EXIT_OK; k++) {
        const bb_isa level = i < isas ? isa[i] : missing[i - isas];
        const int mb = o->mb.count ? o->mb.at[k] : 1;
        char text[256], streams[16] = "";
        if (o->streams > 1) snprintf(streams, sizeof streams, "/s%d", o->streams);
        snprintf(text, sizeof text, "model/%s/%s/t%d/mb%d%s", name, bb_isa_name(level), o->threads.at[t], mb, streams);
        if (i >= isas) {
          code = session_add_skipped(s, text, isa_missing);
          continue;
        }
        model_row *m = calloc(1, sizeof *m);
        if (!m) return fail(EXIT_SYSTEM, "out of memory for the rows");
        *m = (model_row){.of = b, .how = &(*u)->how, .isa = level, .threads = o->threads.at[t], .mb = mb};
        code = session_add(s, text, measure_model, m, free);
      }
  return code;
}

exit_code verb_model(const options *o) {
  if (!o->args.count && !o->all)
    return fail(EXIT_USAGE, "model needs a name or --all; \"backbench list models\" shows the names");
  if (o->layers && o->streams > 1) return fail(EXIT_USAGE, "--layers: the table is of one stream, --streams %d", o->streams);
  session *s = NULL;
  model_run *u = NULL;
  exit_code code = session_create(o, &s);
  for (int i = 0; i < o->args.count && code == EXIT_OK; i++) code = model_rows(s, o, o->args.at[i], &u);
  for (size_t i = 0; o->all && i < bb_model_count() && code == EXIT_OK; i++) {
    bool named = false;
    for (int k = 0; k < o->args.count; k++) named |= !strcmp(o->args.at[k], bb_model_at(i)->name);
    if (!named) code = model_rows(s, o, bb_model_at(i)->name, &u);
  }
  if (code == EXIT_OK) code = session_run(s);
  session_destroy(s);
  model_free(u);
  return code;
}
