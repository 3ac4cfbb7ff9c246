// SPDX-License-Identifier: Apache-2.0

#include "verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/memory.h"
#include "../kernels/winograd.h"

// ---- views ---------------------------------------------------------------------------------------------------------

static size_t lane_offset(const bb_view *v, int n, int lane, int h, int w) {
  const ptrdiff_t at =
      n * v->n_stride + lane / v->block * v->c_stride + h * v->h_stride + (ptrdiff_t)w * v->block + lane % v->block;
  return (size_t)at;
}

static size_t view_floats(const bb_view *v) {
  return lane_offset(v, v->N - 1, bb_map_lanes(v->map) - 1, v->H - 1, v->W - 1) + 1;
}

static size_t logical_index(const bb_view *v, int n, int c, int h, int w) {
  return (((size_t)n * (size_t)v->C + (size_t)c) * (size_t)v->H + (size_t)h) * (size_t)v->W + (size_t)w;
}

void bb_verify_pack(const bb_view *v, const float *nchw, float *data) {
  const int lanes = bb_map_lanes(v->map);
  for (int n = 0; n < v->N; n++) {
    for (int lane = 0; lane < lanes; lane++) {
      const int c = v->map->lane[lane];
      for (int h = 0; h < v->H; h++) {
        for (int w = 0; w < v->W; w++) data[lane_offset(v, n, lane, h, w)] = c < 0 ? 0 : nchw[logical_index(v, n, c, h, w)];
      }
    }
  }
}

void bb_verify_unpack(const bb_view *v, const float *data, float *nchw) {
  const int lanes = bb_map_lanes(v->map);
  for (int n = 0; n < v->N; n++) {
    for (int lane = 0; lane < lanes; lane++) {
      const int c = v->map->lane[lane];
      if (c < 0) continue;
      for (int h = 0; h < v->H; h++) {
        for (int w = 0; w < v->W; w++) nchw[logical_index(v, n, c, h, w)] = data[lane_offset(v, n, lane, h, w)];
      }
    }
  }
}

// N x C logical values in the lanes of a map, image after image.
static void pack_lanes(const bb_map *map, int N, const float *values, float *data) {
  const int lanes = bb_map_lanes(map);
  for (int n = 0; n < N; n++) {
    for (int lane = 0; lane < lanes; lane++) {
      const int c = map->lane[lane];
      data[(size_t)n * (size_t)lanes + (size_t)lane] = c < 0 ? 0 : values[(size_t)n * (size_t)map->channels + (size_t)c];
    }
  }
}

// ---- buffers -------------------------------------------------------------------------------------------------------

// A quiet NaN whose payload no computation makes, so that it shows both what was not written and what should not have been.
static const uint32_t poison_bits = 0x7fcbeefbu;

static void poison(float *p, size_t floats) {
  for (size_t i = 0; i < floats; i++) memcpy(p + i, &poison_bits, sizeof *p);
}

static bool poisoned(const float *p) { return !memcmp(p, &poison_bits, sizeof *p); }

static void *get(const bb_verify_memory *m, size_t bytes, bool aligned) {
  if (m) return m->get(m->context, bytes, aligned);
  return bb_alloc(bytes);
}

static bool buffer_create(const bb_verify *v, size_t floats, size_t margin, bool aligned, bb_verify_buffer *b) {
  b->floats = floats + 2 * margin;
  b->aligned = aligned;
  b->memory = get(v->options.memory, b->floats * sizeof(float), aligned);
  if (!b->memory) return false;
  b->data = b->memory + margin;
  poison(b->memory, b->floats);
  return true;
}

static void buffer_destroy(const bb_verify *v, bb_verify_buffer *b) {
  if (!b->memory) return;
  const bb_verify_memory *m = v->options.memory;
  if (m) {
    m->put(m->context, b->memory, b->floats * sizeof(float), b->aligned);
  } else {
    free(b->memory);
  }
}

static bool view_create(const bb_verify *v, const bb_view *view, bb_verify_buffer *b) {
  return buffer_create(v, view_floats(view), v->options.margin, view->block > 1, b);
}

// ---- operands -----------------------------------------------------------------------------------------------------

static bool is_sound(const bb_task *t, const bb_ref_data *d) {
  return t->problem.op == d->problem.op && t->x.C == d->x_shape[1] && t->y.C == d->y_shape[1];
}

bb_status bb_verify_create(const bb_task *task, const bb_verify_options *options, bb_verify **verify, bb_error *error) {
  *verify = NULL;
  bb_verify *v = calloc(1, sizeof *v);
  if (!v) goto no_memory;
  v->task = *task;
  v->options = *options;
  if (options->data) {
    v->data = options->data;
  } else {
    if (bb_ref_data_create(&task->problem, &task->prologue, &task->epilogue, &options->ref, &v->own)) goto no_memory;
    v->data = v->own;
  }
  const bb_ref_data *d = v->data;
  if (!is_sound(task, d)) {
    if (error) snprintf(error->text, sizeof error->text, "verify: the data are those of another problem");
    bb_verify_destroy(v);
    return BB_INVALID;
  }
  v->weights = (bb_weights){.w = d->w, .b = d->b, .scale = d->scale, .shift = d->shift};

  if (!view_create(v, &task->x, &v->x)) goto no_memory;
  bb_verify_pack(&task->x, d->x, v->x.data);
  v->io.x = v->x.data;
  if (!view_create(v, &task->y, &v->y)) goto no_memory;
  v->io.y = v->y.data;
  if (!(v->logical = malloc((size_t)task->y.N * (size_t)task->y.C * (size_t)task->y.H * (size_t)task->y.W * sizeof(float))))
    goto no_memory;
  if (d->x2 && v->options.residual_in_place) {
    v->io.x2 = v->y.data;
  } else if (d->x2) {
    if (!view_create(v, &task->x2, &v->x2)) goto no_memory;
    bb_verify_pack(&task->x2, d->x2, v->x2.data);
    v->io.x2 = v->x2.data;
  }
  if (task->epilogue.second) {
    if (!view_create(v, &task->y2, &v->y2)) goto no_memory;
    v->io.y2 = v->y2.data;
  }
  const size_t x_lanes = (size_t)task->x.N * (size_t)bb_map_lanes(task->x.map);
  const size_t y_lanes = (size_t)task->y.N * (size_t)bb_map_lanes(task->y.map);
  const bool x_aligned = task->x.block > 1, y_aligned = task->y.block > 1;
  if (d->x_scale) {
    if (!buffer_create(v, x_lanes, 0, x_aligned, &v->x_scale)) goto no_memory;
    pack_lanes(task->x.map, task->x.N, d->x_scale, v->x_scale.data);
    v->io.x_scale = v->x_scale.data;
  }
  if (d->y_scale) {
    if (!buffer_create(v, y_lanes, 0, y_aligned, &v->y_scale)) goto no_memory;
    pack_lanes(task->y.map, task->y.N, d->y_scale, v->y_scale.data);
    v->io.y_scale = v->y_scale.data;
  }
  if (task->epilogue.gap) {
    if (!buffer_create(v, y_lanes, 0, y_aligned, &v->gap)) goto no_memory;
    v->io.gap = v->gap.data;
  }
  bb_verify_reset(v);
  *verify = v;
  return BB_OK;

no_memory:
  if (error) snprintf(error->text, sizeof error->text, "verify: out of memory for the operands of the problem");
  bb_verify_destroy(v);
  return BB_NO_MEMORY;
}

void bb_verify_destroy(bb_verify *v) {
  if (!v) return;
  buffer_destroy(v, &v->x);
  buffer_destroy(v, &v->x2);
  buffer_destroy(v, &v->y);
  buffer_destroy(v, &v->y2);
  buffer_destroy(v, &v->x_scale);
  buffer_destroy(v, &v->y_scale);
  buffer_destroy(v, &v->gap);
  free(v->logical);
  bb_ref_data_destroy(v->own);
  free(v);
}

void bb_verify_reset(bb_verify *v) {
  poison(v->y.memory, v->y.floats);
  if (v->y2.memory) poison(v->y2.memory, v->y2.floats);
  if (v->gap.memory) poison(v->gap.memory, v->gap.floats);
  if (v->io.x2 && v->io.x2 == v->io.y) bb_verify_pack(&v->task.y, v->data->x2, v->y.data);
}

// ---- verdict -------------------------------------------------------------------------------------------------------

static bool fail(bb_verify_result *r, const char *text) {
  if (r->ok) snprintf(r->text, sizeof r->text, "%s", text);
  r->ok = false;
  return false;
}

// Empty lanes hold +0, and once the view's own elements are set aside, nothing but poison is left. Destroys the buffer.
static bool check_surroundings(const bb_view *view, bb_verify_buffer *b, const char *what, bb_verify_result *r) {
  char text[160];
  const int lanes = bb_map_lanes(view->map);
  const uint32_t zero = 0;
  for (int n = 0; n < view->N; n++) {
    for (int lane = 0; lane < lanes; lane++) {
      for (int h = 0; h < view->H; h++) {
        for (int w = 0; w < view->W; w++) {
          float *p = b->data + lane_offset(view, n, lane, h, w);
          if (view->map->lane[lane] < 0 && memcmp(p, &zero, sizeof zero)) {
            snprintf(text, sizeof text, "%s: empty lane %d at n %d row %d column %d holds %.9g, expected +0", what, lane, n, h,
                     w, (double)*p);
            return fail(r, text);
          }
          memcpy(p, &poison_bits, sizeof *p);
        }
      }
    }
  }
  for (size_t i = 0; i < b->floats; i++) {
    if (poisoned(b->memory + i)) continue;
    snprintf(text, sizeof text, "%s: float %td from its start is outside of the view and was overwritten by %.9g", what,
             (b->memory + i) - b->data, (double)b->memory[i]);
    return fail(r, text);
  }
  return true;
}

static double number(bb_ratio r) { return (double)r.num / r.den; }

const bb_ref_wino *bb_verify_wino(bb_alg alg, bb_ref_wino *to) {
  const bb_wino *from = alg == BB_ALG_WINO23   ? &bb_wino23
                        : alg == BB_ALG_WINO43 ? &bb_wino43
                        : alg == BB_ALG_WINO63 ? &bb_wino63
                                               : NULL;
  if (!from) return NULL;
  *to = (bb_ref_wino){.m = from->m};
  for (int i = 0; i < from->m + 2; i++) {
    for (int j = 0; j < from->m + 2; j++) to->bt[i][j] = number(from->bt[i][j]);
    for (int j = 0; j < 3; j++) to->g[i][j] = number(from->g[i][j]);
    for (int j = 0; j < from->m; j++) to->at[j][i] = number(from->at[j][i]);
  }
  return to;
}

static bool check_values(bb_verify *v, const bb_ref_wino *wino, const bb_view *view, bb_verify_buffer *b, const char *what,
                         double bound, bb_verify_result *r) {
  bb_verify_unpack(view, b->data, v->logical);
  bb_ref_result ref;
  if (bb_ref_compare(v->data, wino, v->logical, bound, &ref)) {
    if (r->ok) r->ref = ref;
    return true;
  }
  char text[256];
  snprintf(
      text, sizeof text,
      "%s: %s: n %d channel %d row %d column %d: expected %.9g, got %.9g, allowed difference %.3g (%zu wrong, l2 %.3g, max/rms "
      "%.3g, bound %.3g)",
      what, ref.criterion, ref.at[0], ref.at[1], ref.at[2], ref.at[3], ref.expected, ref.got, ref.allowed, ref.wrong,
      ref.err_l2, ref.err_max_rms, ref.bound);
  if (r->ok) r->ref = ref;
  return fail(r, text);
}

static bool check_gap(bb_verify *v, const bb_ref_wino *wino, bb_verify_result *r) {
  char text[192];
  const bb_map *map = v->task.y.map;
  const int lanes = bb_map_lanes(map), N = v->task.y.N;
  const uint32_t zero = 0;
  // N x K never exceeds N x K x P x Q.
  for (int n = 0; n < N; n++) {
    for (int lane = 0; lane < lanes; lane++) {
      const float *p = v->gap.data + (size_t)n * (size_t)lanes + (size_t)lane;
      const int k = map->lane[lane];
      if (k >= 0) {
        v->logical[(size_t)n * (size_t)map->channels + (size_t)k] = *p;
      } else if (memcmp(p, &zero, sizeof zero)) {
        snprintf(text, sizeof text, "gap: empty lane %d of image %d holds %.9g, expected +0", lane, n, (double)*p);
        return fail(r, text);
      }
    }
  }
  bb_ref_result ref;
  if (bb_ref_compare_gap(v->data, wino, v->logical, &ref)) return true;
  snprintf(text, sizeof text, "gap: n %d channel %d: expected %.9g, got %.9g, allowed difference %.3g (%zu wrong)", ref.at[0],
           ref.at[1], ref.expected, ref.got, ref.allowed, ref.wrong);
  if (r->ok) r->ref = ref;
  return fail(r, text);
}

bb_status bb_verify_check(bb_verify *v, bb_alg alg, double bound, bb_verify_result *r) {
  *r = (bb_verify_result){.ok = true};
  bb_ref_wino matrices;
  const bb_ref_wino *wino = bb_verify_wino(alg, &matrices);
  check_values(v, wino, &v->task.y, &v->y, "y", bound, r);
  if (!strcmp(r->ref.criterion, "memory")) return BB_NO_MEMORY;  // for sums that the other comparisons share
  if (v->y2.memory) check_values(v, wino, &v->task.y2, &v->y2, "y2", bound, r);
  if (v->gap.memory) check_gap(v, wino, r);
  check_surroundings(&v->task.y, &v->y, "y", r);
  if (v->y2.memory) check_surroundings(&v->task.y2, &v->y2, "y2", r);
  return BB_OK;
}
