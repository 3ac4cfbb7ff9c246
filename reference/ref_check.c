// SPDX-License-Identifier: Apache-2.0
//
// Data, expectation, verdict. The criteria are those of the error study in the header's comment: kappa = 0.5 lies in the bound
// that the caller passes, 15 and 4 here are the factors that a maximum and a single output need over it.

#include "ref_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref_act.h"

static const double u = 0x1p-24;

// ---- random numbers ------------------------------------------------------------------------------------------------

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t bb_ref_random(uint64_t seed, uint64_t stream, uint64_t index) {
  const uint64_t golden = 0x9e3779b97f4a7c15u;
  return mix(mix(seed + golden * (stream + 1)) + golden * (index + 1));
}

// Integer in [low, high].
static int integer(uint64_t bits, int low, int high) { return low + (int)((bits >> 32) * (uint64_t)(high - low + 1) >> 32); }

// [0, 1).
static double uniform(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }

// Sum of four 16-bit uniforms, scaled to mean 0 and variance 1: near enough to normal, never beyond 3.5.
static double normal(uint64_t bits) {
  const double sum = (double)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
  return (sum - 2 * 65535.0) / sqrt((65536.0 * 65536.0 - 1) / 3);
}

// ---- fills ---------------------------------------------------------------------------------------------------------

static const char *const fill_names[BB_FILL_COUNT] = {
    [BB_FILL_INT] = "int",
    [BB_FILL_NORMAL] = "normal",
    [BB_FILL_RELU] = "relu",
    [BB_FILL_POSITIVE] = "positive",
    [BB_FILL_WIDE] = "wide",
    [BB_FILL_CONSTANT] = "constant",
    [BB_FILL_DENORMAL] = "denormal",
    [BB_FILL_ZERO] = "zeros",
    [BB_FILL_DELTA_IMAGE] = "delta_image",
    [BB_FILL_DELTA_WEIGHT] = "delta_weight",
};

const char *bb_fill_name(bb_fill fill) { return (unsigned)fill < BB_FILL_COUNT ? fill_names[fill] : "?"; }

bool bb_fill_parse(const char *name, bb_fill *fill) {
  for (int i = 0; i < BB_FILL_COUNT; i++) {
    if (!strcmp(name, fill_names[i])) {
      *fill = (bb_fill)i;
      return true;
    }
  }
  return false;
}

static bool integers(bb_fill fill) {
  return fill == BB_FILL_INT || fill == BB_FILL_DELTA_IMAGE || fill == BB_FILL_DELTA_WEIGHT;
}

enum {
  STREAM_X,
  STREAM_X2,
  STREAM_W,
  STREAM_B,
  STREAM_SCALE,
  STREAM_SHIFT,
  STREAM_X_SCALE,
  STREAM_Y_SCALE,
  STREAM_WIDE,
  STREAM_AT
};

// Integer data: |x| <= 8, after a prologue |x'| <= 8*2*2 + 4; |w| as large as keeps the sum of all terms below 2^22, which
// leaves room for bias, residual and scale. At |w| = 1 that is true up to 116,508 terms, VGG's largest layer has 25,088.
enum { INT_X = 8, INT_X_AFTER = 36, INT_VECTOR = 4, INT_RESIDUAL = 16 };

static int int_weight(double terms) {
  const double w = floor(0x1p22 / (terms * INT_X_AFTER));
  return w > 8 ? 8 : w < 1 ? 1 : (int)w;
}

static float x_value(const bb_ref_options *o, int n, int c, int C, size_t pixel, size_t pixels) {
  const uint64_t bits = bb_ref_random(o->seed, STREAM_X, ((uint64_t)n * (uint64_t)C + (uint64_t)c) * pixels + pixel);
  switch (o->fill) {
    case BB_FILL_INT:
    case BB_FILL_DELTA_WEIGHT:
      return (float)integer(bits, -INT_X, INT_X);
    case BB_FILL_NORMAL:
      return (float)normal(bits);
    case BB_FILL_RELU:
      return (float)fmax(normal(bits), 0);
    case BB_FILL_POSITIVE:
      return (float)(0.5 + uniform(bits));
    case BB_FILL_WIDE:
      return (float)(normal(bits) * pow(10, 6 * uniform(bb_ref_random(o->seed, STREAM_WIDE, (uint64_t)c)) - 3));
    case BB_FILL_CONSTANT:
      return 0.7f;
    case BB_FILL_DENORMAL:
      return (float)(normal(bits) * 0x1p-130);
    case BB_FILL_DELTA_IMAGE: {
      const uint64_t where = bb_ref_random(o->seed, STREAM_AT, (uint64_t)n) % ((uint64_t)C * pixels);
      return where == (uint64_t)c * pixels + pixel ? 1 : 0;
    }
    case BB_FILL_ZERO:
    case BB_FILL_COUNT:
      break;
  }
  return 0;
}

static void fill_x(const bb_ref_options *o, const int shape[4], float *x) {
  const size_t pixels = (size_t)shape[2] * (size_t)shape[3];
  for (int n = 0; n < shape[0]; n++) {
    for (int c = 0; c < shape[1]; c++) {
      for (size_t i = 0; i < pixels; i++) *x++ = x_value(o, n, c, shape[1], i, pixels);
    }
  }
}

static void fill_w(const bb_ref_options *o, int K, size_t terms, float *w) {
  const int most = int_weight((double)terms);
  const double deviation = sqrt(2 / (double)terms);  // He
  for (int k = 0; k < K; k++) {
    for (size_t i = 0; i < terms; i++) {
      const uint64_t bits = bb_ref_random(o->seed, STREAM_W, (uint64_t)k * terms + i);
      float v;
      if (o->fill == BB_FILL_DELTA_WEIGHT) {
        v = bb_ref_random(o->seed, STREAM_AT, (uint64_t)k) % terms == i ? 1 : 0;
      } else if (integers(o->fill)) {
        v = (float)integer(bits, -most, most);
      } else if (o->fill == BB_FILL_POSITIVE) {
        v = (float)((0.5 + uniform(bits)) / (double)terms);
      } else {
        v = (float)(normal(bits) * deviation);
      }
      *w++ = v;
    }
  }
}

// Biases, shifts, residuals: around zero.
static void fill_around_zero(const bb_ref_options *o, int stream, int most, size_t count, float *to) {
  for (size_t i = 0; i < count; i++) {
    const uint64_t bits = bb_ref_random(o->seed, (uint64_t)stream, i);
    if (integers(o->fill)) {
      to[i] = (float)integer(bits, -most, most);
    } else if (o->fill == BB_FILL_POSITIVE) {
      to[i] = (float)uniform(bits);
    } else if (o->fill == BB_FILL_DENORMAL) {
      to[i] = (float)(normal(bits) * 0x1p-130);
    } else {
      to[i] = (float)(0.5 * normal(bits));
    }
  }
}

// Factors: -1, 1 or 2; or around one.
static void fill_factors(const bb_ref_options *o, int stream, size_t count, float *to) {
  static const float factors[3] = {-1, 1, 2};
  for (size_t i = 0; i < count; i++) {
    const uint64_t bits = bb_ref_random(o->seed, (uint64_t)stream, i);
    to[i] = integers(o->fill) ? factors[bits % 3] : (float)(0.5 + uniform(bits));
  }
}

// ---- samples -------------------------------------------------------------------------------------------------------

size_t bb_ref_samples_max(size_t want, int N, int K, int P, int Q) {
  return want + (size_t)N * 9 + (size_t)K + (size_t)P + (size_t)Q;
}

static int compare_size(const void *a, const void *b) {
  const size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

size_t bb_ref_samples(size_t want, uint64_t seed, int N, int K, int P, int Q, size_t *at) {
  const size_t most = bb_ref_samples_max(want, N, K, P, Q);
  const size_t outputs = (size_t)N * (size_t)K * (size_t)P * (size_t)Q;
  size_t count = 0;
  if (outputs <= most) {
    for (; count < outputs; count++) at[count] = count;
    return count;
  }
  for (size_t i = 0; i < most; i++) {
    const uint64_t a = bb_ref_random(seed, STREAM_AT, 2 * i), b = bb_ref_random(seed, STREAM_AT, 2 * i + 1);
    int n = (int)(a % (uint64_t)N), k = (int)((a >> 32) % (uint64_t)K);
    int p = (int)((b & 0xffffffff) % (uint64_t)P), q = (int)((b >> 32) % (uint64_t)Q);
    // First each zone of each image, each channel, row and column once; then half of the rest on the border.
    const size_t zones = (size_t)N * 9;
    if (i < zones) {
      const int zone = (int)(i % 9);
      n = (int)(i / 9);
      p = zone / 3 == 0 ? 0 : zone / 3 == 1 ? p : P - 1;
      q = zone % 3 == 0 ? 0 : zone % 3 == 1 ? q : Q - 1;
    } else if (i - zones < (size_t)K) {
      k = (int)(i - zones);
    } else if (i - zones - (size_t)K < (size_t)P) {
      p = (int)(i - zones - (size_t)K);
    } else if (i - zones - (size_t)K - (size_t)P < (size_t)Q) {
      q = (int)(i - zones - (size_t)K - (size_t)P);
    } else if (i % 2) {
      if (i & 2) p = i & 8 ? 0 : P - 1;
      if (!(i & 2) || (i & 4)) q = i & 16 ? 0 : Q - 1;
    }
    at[i] = (((size_t)n * (size_t)K + (size_t)k) * (size_t)P + (size_t)p) * (size_t)Q + (size_t)q;
  }
  qsort(at, most, sizeof *at, compare_size);
  for (size_t i = 0; i < most; i++) {
    if (!i || at[i] != at[i - 1]) at[count++] = at[i];
  }
  return count;
}

// ---- data ----------------------------------------------------------------------------------------------------------

static void set4(int to[4], int a, int b, int c, int d) { to[0] = a, to[1] = b, to[2] = c, to[3] = d; }
static size_t size4(const int s[4]) { return (size_t)s[0] * (size_t)s[1] * (size_t)s[2] * (size_t)s[3]; }

static void shapes(bb_ref_data *d) {
  const bb_problem *v = &d->problem;
  switch (v->op) {
    case BB_OP_CONV:
      set4(d->x_shape, v->conv.N, v->conv.C, v->conv.H, v->conv.W);
      set4(d->y_shape, v->conv.N, v->conv.K, v->conv.P, v->conv.Q);
      if (d->epilogue.residual) memcpy(d->x2_shape, d->y_shape, sizeof d->y_shape);
      break;
    case BB_OP_POOL:
      set4(d->x_shape, v->pool.N, v->pool.C, v->pool.H, v->pool.W);
      set4(d->y_shape, v->pool.N, v->pool.C, v->pool.P, v->pool.Q);
      break;
    case BB_OP_ELTWISE: {
      const bb_eltwise *e = &v->eltwise;
      set4(d->x_shape, e->N, e->C, e->H, e->W);
      set4(d->x2_shape, e->N, e->C2, e->broadcast ? 1 : e->H, e->broadcast ? 1 : e->W);
      break;
    }
    case BB_OP_SCALE:
      set4(d->x_shape, v->scale.N, v->scale.C, v->scale.H, v->scale.W);
      break;
    case BB_OP_COPY:
      set4(d->x_shape, v->copy.N, v->copy.C, v->copy.H, v->copy.W);
      break;
    case BB_OP_SOFTMAX:
      set4(d->x_shape, v->softmax.N, v->softmax.C, v->softmax.H, v->softmax.W);
      break;
    case BB_OP_RESIZE:
      set4(d->x_shape, v->resize.N, v->resize.C, v->resize.H, v->resize.W);
      set4(d->y_shape, v->resize.N, v->resize.C, v->resize.P, v->resize.Q);
      break;
    case BB_OP_COUNT:
      break;
  }
  if (!d->y_shape[0]) memcpy(d->y_shape, d->x_shape, sizeof d->x_shape);
}

// Terms of the longest sum, and one for each rounding of what is fused. Where an operation's magnitude says all, 1.
static double count_terms(const bb_ref_data *d) {
  const bb_problem *v = &d->problem;
  if (v->op == BB_OP_CONV) {
    const bb_prologue *pro = &d->prologue;
    const bb_epilogue *epi = &d->epilogue;
    return (double)(v->conv.C / v->conv.G) * v->conv.R * v->conv.S + pro->dynamic_scale + 2 * pro->scale_shift + epi->bias +
           (epi->residual != BB_RESIDUAL_NONE) + epi->scale;
  }
  if (v->op == BB_OP_POOL) {
    const bb_pooling *p = &v->pool;
    return 1 + (p->adaptive ? ceil((double)p->H / p->P + 1) * ceil((double)p->W / p->Q + 1) : (double)p->R * p->S);
  }
  return 1;
}

static bool exact_act(bb_act act) { return act <= BB_ACT_LEAKY_RELU; }

static bool is_exact(const bb_ref_data *d) {
  const bb_problem *v = &d->problem;
  const float alpha = d->epilogue.alpha;  // only powers of two keep all bits
  if (d->epilogue.act == BB_ACT_LEAKY_RELU && alpha != 0.25f && alpha != 0.5f) return false;
  if (!exact_act(d->epilogue.act)) return false;
  switch (v->op) {
    case BB_OP_CONV:
    case BB_OP_ELTWISE:
    case BB_OP_SCALE:
      return integers(d->options.fill);
    case BB_OP_COPY:
      return true;
    case BB_OP_POOL:
      return v->pool.kind == BB_POOL_MAX;
    case BB_OP_RESIZE:
      return v->resize.kind == BB_RESIZE_NEAREST;
    default:
      return false;
  }
}

static float *floats(size_t count, bool *failed) {
  float *p = malloc((count ? count : 1) * sizeof *p);
  *failed |= !p;
  return p;
}

static double *widen(const float *from, size_t count, bool *failed) {
  if (!from) return NULL;
  double *p = malloc((count ? count : 1) * sizeof *p);
  *failed |= !p;
  if (p) bb_ref_widen(from, count, p);
  return p;
}

// Operands as the reference takes them. Weights stay floats.
typedef struct operands {
  bb_ref_io io;
  double *x, *x2, *b, *scale, *shift, *x_scale, *y_scale;
} operands;

static void narrow(operands *o) {
  free(o->x), free(o->x2), free(o->b), free(o->scale), free(o->shift), free(o->x_scale), free(o->y_scale);
}

static bool operands_of(const bb_ref_data *d, operands *o) {
  const size_t C = (size_t)d->x_shape[1], K = (size_t)d->y_shape[1], N = (size_t)d->x_shape[0];
  bool failed = false;
  o->x = widen(d->x, size4(d->x_shape), &failed), o->x2 = widen(d->x2, size4(d->x2_shape), &failed);
  o->b = widen(d->b, K, &failed), o->scale = widen(d->scale, C, &failed), o->shift = widen(d->shift, C, &failed);
  o->x_scale = widen(d->x_scale, N * C, &failed), o->y_scale = widen(d->y_scale, N * K, &failed);
  o->io = (bb_ref_io){.x = o->x,
                      .x2 = o->x2,
                      .w = d->w,
                      .b = o->b,
                      .scale = o->scale,
                      .shift = o->shift,
                      .x_scale = o->x_scale,
                      .y_scale = o->y_scale};
  if (failed) narrow(o);
  return !failed;
}

static bool expect(bb_ref_data *d) {
  const size_t outputs = size4(d->y_shape);
  const size_t means = (size_t)d->x_shape[0] * (size_t)d->y_shape[1];
  const bool sampled = d->options.samples && d->options.samples < outputs && d->problem.op == BB_OP_CONV;
  bool failed = false;
  if (sampled) {
    const int *s = d->y_shape;
    const size_t most = bb_ref_samples_max(d->options.samples, s[0], s[1], s[2], s[3]);
    if (!(d->at = malloc(most * sizeof *d->at))) return false;
    d->count = bb_ref_samples(d->options.samples, d->options.seed, s[0], s[1], s[2], s[3], d->at);
  } else {
    d->count = outputs;
  }
  failed |= !(d->y = malloc(d->count * sizeof *d->y));
  failed |= !(d->magnitude = malloc(d->count * sizeof *d->magnitude));
  if (d->epilogue.gap && !sampled) {
    failed |= !(d->gap = malloc(means * sizeof *d->gap));
    failed |= !(d->gap_magnitude = malloc(means * sizeof *d->gap_magnitude));
  }
  operands o;
  if (failed || !operands_of(d, &o)) return false;
  o.io.y = d->y, o.io.magnitude = d->magnitude, o.io.gap = d->gap, o.io.gap_magnitude = d->gap_magnitude;
  if (sampled) {
    bb_ref_conv_at(&d->problem.conv, &d->prologue, &d->epilogue, &o.io, d->at, d->count);
  } else {
    bb_ref_run(&d->problem, &d->prologue, &d->epilogue, &o.io);
  }
  narrow(&o);
  return true;
}

// The sums of a Winograd, NULL = out of memory.
static const bb_ref_sums *sums_of(const bb_ref_data *d, const bb_ref_wino *wino) {
  bb_ref_sums *s = &d->wino[wino->m];
  if (s->sum) return s;
  operands o;
  if (!operands_of(d, &o)) return NULL;
  s->sum = malloc(d->count * sizeof *s->sum), s->unit = malloc(d->count * sizeof *s->unit);
  bool done = s->sum && s->unit;
  if (done && d->at) {
    bb_ref_wino_sums_at(&d->problem.conv, &d->prologue, &o.io, wino, d->at, d->count, s->sum, s->unit);
  } else if (done) {
    done = bb_ref_wino_sums(&d->problem.conv, &d->prologue, &o.io, wino, s->sum, s->unit);
  }
  narrow(&o);
  if (done) return s;
  free(s->sum), free(s->unit);
  *s = (bb_ref_sums){NULL, NULL};
  return NULL;
}

bb_status bb_ref_data_create(const bb_problem *problem, const bb_prologue *prologue, const bb_epilogue *epilogue,
                             const bb_ref_options *options, bb_ref_data **data) {
  *data = NULL;
  bb_ref_data *d = calloc(1, sizeof *d);
  if (!d) return BB_NO_MEMORY;
  d->problem = *problem;
  if (prologue) d->prologue = *prologue;
  if (epilogue) d->epilogue = *epilogue;
  d->options = *options;
  shapes(d);
  d->terms = count_terms(d);
  d->exact = is_exact(d);
  d->random = options->fill == BB_FILL_NORMAL || options->fill == BB_FILL_RELU;

  const bb_ref_options *o = options;
  const size_t N = (size_t)d->x_shape[0], C = (size_t)d->x_shape[1], K = (size_t)d->y_shape[1];
  bool failed = !(d->wino = calloc(BB_REF_WINO_M + 1, sizeof *d->wino));
  if ((d->x = floats(size4(d->x_shape), &failed))) fill_x(o, d->x_shape, d->x);
  if (d->x2_shape[0] && (d->x2 = floats(size4(d->x2_shape), &failed)))
    fill_around_zero(o, STREAM_X2, INT_RESIDUAL, size4(d->x2_shape), d->x2);
  if (problem->op == BB_OP_CONV) {
    const bb_conv *v = &problem->conv;
    const size_t terms = (size_t)(v->C / v->G) * (size_t)v->R * (size_t)v->S;
    if ((d->w = floats(K * terms, &failed))) fill_w(o, v->K, terms, d->w);
    if (d->epilogue.bias && (d->b = floats(K, &failed))) fill_around_zero(o, STREAM_B, INT_RESIDUAL, K, d->b);
    if (d->prologue.dynamic_scale && (d->x_scale = floats(N * C, &failed))) fill_factors(o, STREAM_X_SCALE, N * C, d->x_scale);
    if (d->epilogue.scale && (d->y_scale = floats(N * K, &failed))) fill_factors(o, STREAM_Y_SCALE, N * K, d->y_scale);
  }
  if (problem->op == BB_OP_SCALE || (problem->op == BB_OP_CONV && d->prologue.scale_shift)) {
    if (!o->no_scale && (d->scale = floats(C, &failed))) fill_factors(o, STREAM_SCALE, C, d->scale);
    if (!o->no_shift && (d->shift = floats(C, &failed))) fill_around_zero(o, STREAM_SHIFT, INT_VECTOR, C, d->shift);
  }
  if (failed || !expect(d)) {
    bb_ref_data_destroy(d);
    return BB_NO_MEMORY;
  }
  *data = d;
  return BB_OK;
}

void bb_ref_data_destroy(bb_ref_data *d) {
  if (!d) return;
  free(d->x), free(d->x2), free(d->w), free(d->b), free(d->scale), free(d->shift), free(d->x_scale), free(d->y_scale);
  free(d->at), free(d->y), free(d->magnitude), free(d->gap), free(d->gap_magnitude);
  for (int m = 0; m <= BB_REF_WINO_M && d->wino; m++) free(d->wino[m].sum), free(d->wino[m].unit);
  free(d->wino);
  free(d);
}

// ---- verdict -------------------------------------------------------------------------------------------------------

// NaN and infinities must be met exactly.
static bool within(double got, double expected, double allowed) {
  if (isnan(expected) || isnan(got)) return isnan(expected) && isnan(got);
  if (isinf(expected) || isinf(got)) return expected == got || (isinf(got) && fabs(expected) > 0x1.fffffep127);
  return fabs(got - expected) <= allowed;
}

// What no relative bound covers: each operation may lose half the smallest denormal (times factors of at most 8), and no more
// than 2^-100 is promised of the transcendental functions.
static double absolute(const bb_ref_data *d) {
  return (d->terms + 8) * 0x1p-146 + (exact_act(d->epilogue.act) ? 0 : 0x1p-100) +
         (d->problem.op == BB_OP_SOFTMAX ? 0x1p-100 : 0);
}

// The kernel's bound is that of the sum. Bias, residual and scale add a rounding each, independent of each other and about as
// large as the output; the prologue's act like roundings of x. An activation can halve the norm that errors are divided by
// (ReLU: by sqrt 2), and may err by 4 ulp itself.
static double widened(const bb_ref_data *d, double bound) {
  const double roundings = d->terms - count_terms(&(bb_ref_data){.problem = d->problem}) + 1;
  bound = sqrt(bound * bound + u * u * roundings);
  return d->epilogue.act == BB_ACT_IDENTITY ? bound : exact_act(d->epilogue.act) ? 2 * bound : 2 * bound + 8 * u;
}

static void locate(const int shape[4], size_t i, int at[4]) {
  for (int j = 3; j >= 0; j--) {
    at[j] = (int)(i % (size_t)shape[j]);
    i /= (size_t)shape[j];
  }
}

static void blame(const bb_ref_data *d, bb_ref_result *r, const char *criterion, size_t i, size_t at, const float *y,
                  double allowed) {
  r->ok = false;
  r->criterion = criterion;
  r->first = at;
  locate(d->y_shape, at, r->at);
  r->expected = d->y[i];
  r->got = (double)y[at];
  r->allowed = allowed;
}

// How far a value may be off. An error of the sum passes through the steepest slope of the activation and the scale of its
// channel; the magnitude already holds the direct sum once, which is never more than Winograd's.
//
// With Winograd, exact data stay exact where no term is other than zero: an error of the transforms reaches no other tile. And
// F(2,3)'s arithmetic is exact: it halves weights twice, so all it adds up are quarters, and below 2^24 of them nothing is
// lost. The data with a single 1 add up one channel only.
//
// Below 2^-126 each transformed input and each product may lose half the smallest denormal, and more where the matrices enlarge
// it: 2^-146 times what inputs of one would give, and the sums of products likewise.
typedef struct tolerance {
  const bb_ref_data *d;
  const bb_ref_sums *sums;  // NULL = the direct sum
  int m;
  double factor, tiny, slope;
  double terms, rows[BB_REF_WINO_M];  // terms of a sum of products; how much the output transform may enlarge them
} tolerance;

// false = out of memory.
static bool tolerance_of(const bb_ref_data *d, const bb_ref_wino *w, tolerance *t) {
  const bb_epilogue *epi = &d->epilogue;
  const bool one = d->options.fill == BB_FILL_DELTA_IMAGE || d->options.fill == BB_FILL_DELTA_WEIGHT;
  *t = (tolerance){.d = d, .tiny = absolute(d), .terms = d->terms};
  if (w) {
    t->sums = sums_of(d, w);
    t->m = w->m;
    if (one) t->terms -= (d->problem.conv.C / d->problem.conv.G - 1) * 9;
    t->slope = bb_ref_act_magnitude(epi->act, epi->alpha, 0, 1) - bb_ref_act_magnitude(epi->act, epi->alpha, 0, 0);
    for (int i = 0; i < w->m; i++) {
      for (int j = 0; j < w->m + 2; j++) t->rows[i] += fabs(w->at[i][j]);
    }
  }
  t->factor = 4 * u * sqrt(t->terms);
  return !w || t->sums;
}

// Of value i, which stands at `at`.
static double allowed(const tolerance *t, size_t i, size_t at) {
  const bb_ref_data *d = t->d;
  if (!t->sums) return d->exact ? 0 : t->factor * d->magnitude[i] + u * fabs(d->y[i]) + t->tiny;
  const double sum = t->sums->sum[i];
  if (d->exact && (sum == 0 || (t->m == 2 && 4 * sum <= 0x1p24))) return 0;
  const size_t P = (size_t)d->y_shape[2], Q = (size_t)d->y_shape[3], m = (size_t)t->m;
  const double lost = t->sums->unit[i] + t->terms * t->rows[at / Q % P % m] * t->rows[at % Q % m];
  const double through = t->slope * (d->epilogue.scale ? fabs((double)d->y_scale[at / (P * Q)]) : 1);
  return t->factor * (d->magnitude[i] + through * sum) + u * fabs(d->y[i]) + t->tiny + 0x1p-146 * through * lost;
}

static bool on_border(const int shape[4], size_t at) {
  const int q = (int)(at % (size_t)shape[3]), p = (int)(at / (size_t)shape[3] % (size_t)shape[2]);
  return p == 0 || p == shape[2] - 1 || q == 0 || q == shape[3] - 1;
}

// Half of the samples stand on the border, where few outputs do: how many outputs a sample there, and one elsewhere, speaks
// for, so that norms are those of the whole tensor.
static void speak_for(const bb_ref_data *d, double *border, double *elsewhere) {
  *border = *elsewhere = 1;
  if (!d->at) return;
  const int P = d->y_shape[2], Q = d->y_shape[3];
  size_t samples = 0;
  for (size_t i = 0; i < d->count; i++) samples += on_border(d->y_shape, d->at[i]);
  const double inside = P > 2 && Q > 2 ? (double)(P - 2) * (Q - 2) : 0, planes = (double)d->y_shape[0] * d->y_shape[1];
  if (samples) *border = planes * ((double)P * Q - inside) / (double)samples;
  if (samples < d->count) *elsewhere = planes * inside / (double)(d->count - samples);
}

static bool out_of_memory(bb_ref_result *r) {
  r->ok = false;
  r->criterion = "memory";
  return false;
}

bool bb_ref_compare(const bb_ref_data *d, const bb_ref_wino *wino, const float *y, double bound, bb_ref_result *r) {
  *r = (bb_ref_result){.ok = true, .criterion = ""};
  tolerance t;
  if (!tolerance_of(d, wino, &t)) return out_of_memory(r);
  double error2 = 0, norm2 = 0, outputs = 0, worst = 0, border, elsewhere;
  size_t worst_i = 0;
  speak_for(d, &border, &elsewhere);
  for (size_t i = 0; i < d->count; i++) {
    const size_t at = d->at ? d->at[i] : i;
    const double expected = d->y[i], got = (double)y[at], most = allowed(&t, i, at);
    if (!within(got, expected, most) && !r->wrong++)
      blame(d, r, d->exact && most == 0 ? "exact" : "componentwise", i, at, y, most);
    const double error = fabs(got - expected), weight = d->at && on_border(d->y_shape, at) ? border : elsewhere;
    error2 += weight * error * error;
    norm2 += weight * expected * expected;
    outputs += weight;
    if (!(error <= worst)) worst = error, worst_i = i;
  }
  r->err_l2 = norm2 > 0 ? sqrt(error2 / norm2) : sqrt(error2);
  r->err_max_rms = norm2 > 0 ? worst / sqrt(norm2 / outputs) : worst;
  // Integers that Winograd rounds are random data like others; but a clamp at 6 leaves next to nothing of their norm.
  const bb_act act = d->epilogue.act;
  const bool random = d->random || (d->options.fill == BB_FILL_INT && wino && exact_act(act) && act != BB_ACT_RELU6);
  r->bound = (d->exact && !wino) || !(bound > 0) ? 0 : widened(d, bound);
  if (r->ok && r->bound > 0 && random && d->count >= 256) {
    const size_t at = d->at ? d->at[worst_i] : worst_i;
    if (!(r->err_l2 <= r->bound)) {
      blame(d, r, "l2", worst_i, at, y, r->bound);
    } else if (!(r->err_max_rms <= 15 * r->bound)) {
      blame(d, r, "max", worst_i, at, y, 15 * r->bound * sqrt(norm2 / outputs));
    }
  }
  return r->ok;
}

bool bb_ref_compare_gap(const bb_ref_data *d, const bb_ref_wino *wino, const float *gap, bb_ref_result *r) {
  *r = (bb_ref_result){.ok = true, .criterion = ""};
  if (!d->gap) return true;
  tolerance t;
  if (!tolerance_of(d, wino, &t)) return out_of_memory(r);
  const size_t plane = (size_t)d->y_shape[2] * (size_t)d->y_shape[3];
  const double factor = 4 * u * sqrt(d->terms + (double)plane);
  const size_t count = (size_t)d->y_shape[0] * (size_t)d->y_shape[1];
  for (size_t i = 0; i < count; i++) {
    double most = factor * d->gap_magnitude[i] + t.tiny;
    for (size_t j = i * plane; t.sums && j < (i + 1) * plane; j++) most += allowed(&t, j, j) / (double)plane;
    if (within((double)gap[i], d->gap[i], most) || r->wrong++) continue;
    r->ok = false;
    r->criterion = "gap";
    r->first = i;
    r->at[0] = (int)(i / (size_t)d->y_shape[1]);
    r->at[1] = (int)(i % (size_t)d->y_shape[1]);
    r->expected = d->gap[i];
    r->got = (double)gap[i];
    r->allowed = most;
  }
  return r->ok;
}
