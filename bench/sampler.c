// SPDX-License-Identifier: Apache-2.0

#include "sampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stats.h"

static const double longest_batch_ns = 20e6, shortest_batch_ns = 2e6, disturbed_above = 0.03;

// As long as lets enough of them into the time that is asked for.
static double batch_length(const sampler *s) {
  return fmin(fmax(s->min_time * 1e9 / SAMPLER_BATCHES, shortest_batch_ns), longest_batch_ns);
}

// Calls shorter than this are timed together: a clock reading takes about 25 ns, 0.5 % of it.
static const double unit_ns = 5e3;

static double cpu_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

typedef struct pace {
  size_t unit;   // calls per clock reading
  size_t units;  // per batch
} pace;

// Warms up for at least a batch and two calls (one if it is longer than half a second), and finds out how long a call takes.
static pace warm_up(const subject *s, double batch_ns) {
  size_t calls = 0;
  double best = INFINITY;
  const double start = now_ns();
  double at = start;
  do {
    const double before = at;
    s->run(s->context);
    at = now_ns();
    if (at - before < best) best = at - before;
    calls++;
  } while ((at - start < batch_ns || calls < 2) && at - start < 5e8);
  pace p = {1, 1};
  if (best < unit_ns) p.unit = (size_t)(unit_ns / (best + 1)) + 1;
  const double unit = best * (double)p.unit;
  if (unit < batch_ns) p.units = (size_t)(batch_ns / unit);
  if (!p.units) p.units = 1;
  return p;
}

static bool add_batch(samples *out, batch b) {
  if (out->batches % 16 == 0) {
    batch *more = realloc(out->batch, (out->batches + 16) * sizeof b);
    if (!more) return false;
    out->batch = more;
  }
  out->batch[out->batches++] = b;
  return true;
}

static bool reserve(samples *out, size_t more) {
  if (out->count + more <= out->capacity) return true;
  const size_t capacity = 2 * (out->count + more);
  double *call = realloc(out->call_ns, capacity * sizeof *call);
  if (!call) return false;
  out->call_ns = call;
  out->capacity = capacity;
  return true;
}

static bool run_batch(const subject *s, pace p, double batch_ns, batch *b, samples *out) {
  if (!reserve(out, p.units)) return false;
  double *call = out->call_ns + out->count;
  const double counted = s->count ? *s->count : 0;
  const double cpu = cpu_now(), start = now_ns();
  double at = start;
  size_t units = 0;
  do {  // a disturbed batch may take longer than planned: it ends with the call that passes twice its length
    const double before = at;
    for (size_t i = 0; i < p.unit; i++) s->run(s->context);
    at = now_ns();
    call[units++] = (at - before) / (double)p.unit;
  } while (units < p.units && at - start < 2 * batch_ns);
  b->ns = at - start;
  b->cpu_ns = cpu_now() - cpu;
  b->calls = units * p.unit;
  b->count = s->count ? *s->count - counted : 0;
  out->count += units;
  return true;
}

// Half the interdecile range of the calls relative to their median, per cent.
static double noise(const samples *s, double *sorted) {
  memcpy(sorted, s->call_ns, s->count * sizeof *sorted);
  stats_sort(sorted, s->count);
  return 50 * (stats_quantile(sorted, s->count, 0.9) - stats_quantile(sorted, s->count, 0.1)) /
         stats_quantile(sorted, s->count, 0.5);
}

// Enough batches, enough time, enough of them undisturbed? Those that never become quiet end at twice the minimum, or ten
// times if --max-noise insists.
static bool enough(const sampler *s, const samples *out, size_t count, double spent_ns, bool *failed) {
  const double each = spent_ns / (double)count * 1e-9;
  bool quiet = true;
  for (size_t i = 0; i < count; i++) {
    if (out[i].batches < SAMPLER_BATCHES) return false;
    quiet = quiet && out[i].undisturbed >= SAMPLER_UNDISTURBED;
  }
  if (each < s->min_time) return false;
  if (s->max_noise > 0) {
    for (size_t i = 0; i < count; i++) {
      double *sorted = malloc(out[i].count * sizeof *sorted);
      if (!sorted) return *failed = true;
      quiet = quiet && noise(&out[i], sorted) <= s->max_noise;
      free(sorted);
    }
    return quiet || (each >= 10 * s->min_time && out[0].batches >= 3 * SAMPLER_BATCHES);
  }
  return quiet || out[0].batches >= 2 * SAMPLER_BATCHES || each >= 2 * s->min_time;
}

bb_status sampler_run(const sampler *s, const subject *subjects, size_t count, samples *out) {
  size_t rounds = 0;
  const double batch_ns = batch_length(s);
  memset(out, 0, count * sizeof *out);
  pace *p = malloc(count * sizeof *p);
  if (!p) return BB_NO_MEMORY;
  for (size_t i = 0; i < count; i++) {
    if (subjects[i].own_threads) team_settle(s->team);
    p[i] = warm_up(&subjects[i], batch_ns);
  }
  double transfer[2] = {team_transfer(s->team)};
  const load before = load_now(s->team->cpu, s->team->cpus);
  team_probe(s->team, s->probe, &rounds);
  double probe = team_probe(s->team, s->probe, &rounds);
  const double start = now_ns();
  bool failed = false;
  while (!failed && !enough(s, out, count, now_ns() - start, &failed)) {
    for (size_t i = 0; i < count && !failed; i++) {
      batch b = {.before = probe};
      if (subjects[i].own_threads) team_settle(s->team);
      failed = !run_batch(&subjects[i], p[i], batch_ns, &b, &out[i]);
      probe = b.after = team_probe(s->team, s->probe, &rounds);
      const double high = fmax(b.before, b.after), low = fmin(b.before, b.after);
      b.disturbed = high - low > disturbed_above * high;
      out[i].undisturbed += !b.disturbed;
      failed = failed || !add_batch(&out[i], b);
    }
  }
  double others, steal;
  load_since(&before, s->team->cpu, s->team->cpus, &others, &steal);
  transfer[1] = team_transfer(s->team);
  for (size_t i = 0; i < count; i++) {
    out[i].others_pct = others, out[i].steal_pct = steal;
    memcpy(out[i].transfer_ns, transfer, sizeof transfer);
  }
  free(p);
  return failed ? BB_NO_MEMORY : BB_OK;
}

void samples_free(samples *s) {
  free(s->batch);
  free(s->call_ns);
  memset(s, 0, sizeof *s);
}

bb_status samples_append(samples *s, const samples *more) {
  if (!reserve(s, more->count)) return BB_NO_MEMORY;
  if (!s->batches) s->transfer_ns[0] = more->transfer_ns[0];
  s->transfer_ns[1] = more->transfer_ns[1];
  s->others_pct = fmax(s->others_pct, more->others_pct);
  s->steal_pct = fmax(s->steal_pct, more->steal_pct);
  memcpy(s->call_ns + s->count, more->call_ns, more->count * sizeof *s->call_ns);
  s->count += more->count;
  for (size_t i = 0; i < more->batches; i++)
    if (!add_batch(s, more->batch[i])) return BB_NO_MEMORY;
  s->undisturbed += more->undisturbed;
  return BB_OK;
}

// Batches that count: the undisturbed ones, or all if there are none.
static bool counts(const samples *s, const batch *b) { return !b->disturbed || !s->undisturbed; }

static void add_reason(row *r, const char *form, double x) {
  const size_t length = strlen(r->disturbed_by);
  r->disturbed = true;
  if (length) snprintf(r->disturbed_by + length, sizeof r->disturbed_by - length, "; ");
  const size_t from = strlen(r->disturbed_by);
  snprintf(r->disturbed_by + from, sizeof r->disturbed_by - from, form, x);
}

// More than this share of the processors' time for others, or stolen, is a disturbance; and more than two of the 10 ms that
// /proc/stat counts in.
static const double load_limit_pct = 5, load_grain_ns = 20e6;

static void judge(const samples *s, const team *t, row *r) {
  double wall = 0;
  for (size_t i = 0; i < s->batches; i++) wall += s->batch[i].ns;
  const double limit = fmax(load_limit_pct, 100 * load_grain_ns / (wall * t->cpus));
  if (s->others_pct > limit) add_reason(r, "other processes used %.0f %% of the processors", s->others_pct);
  if (s->steal_pct > limit) add_reason(r, "the host took %.0f %% of the processors", s->steal_pct);
  // A thread that finds nothing to do sleeps, too: only if the system does not tell who else ran.
  if (s->others_pct < 0 && r->cpu_share_pct < 100 - load_limit_pct)
    add_reason(r, "threads ran %.0f %% of the time", r->cpu_share_pct);
  if (s->undisturbed < SAMPLER_UNDISTURBED)
    add_reason(r, "the probes around %.0f batches differed by more than 3 %%", (double)(s->batches - s->undisturbed));
  if (team_moved(s->transfer_ns))
    add_reason(r, "the host moved the processors: a line between two took %.2f ns before", s->transfer_ns[0]);
  const double half = (r->pct_peak_high - r->pct_peak_low) / 2 / r->pct_peak;
  r->grade = 'C';
  if (s->undisturbed < SAMPLER_UNDISTURBED) return;
  if (half <= 0.05) r->grade = 'B';
  if (half <= 0.01 && r->pinned && !r->disturbed) r->grade = 'A';
}

bb_status samples_to_row(const samples *s, const team *t, bool keep, bool on_team, row *r) {
  double *x = malloc((s->count + s->batches) * sizeof *x);
  if (!x) return BB_NO_MEMORY;
  memcpy(x, s->call_ns, s->count * sizeof *x);
  stats_sort(x, s->count);
  r->samples = s->count;
  r->time_min = x[0];
  r->time_p10 = stats_quantile(x, s->count, 0.10);
  r->time_p50 = stats_quantile(x, s->count, 0.50);
  r->time_p90 = stats_quantile(x, s->count, 0.90);
  r->time_p99 = stats_quantile(x, s->count, 0.99);
  r->noise_pct = 50 * (r->time_p90 - r->time_p10) / r->time_p50;

  double cpu = 0, wall = 0, peak = 0, drift = 0;
  size_t n = 0;
  r->iterations = 0;
  for (size_t i = 0; i < s->batches; i++) {
    const batch *b = &s->batch[i];
    r->iterations += b->calls;
    cpu += b->cpu_ns;
    wall += b->ns;
    if (!counts(s, b)) continue;
    peak += (b->before + b->after) / 2;
    drift += fabs(b->after - b->before) / b->before;
    x[n++] = (double)b->calls * r->flops_valid / b->ns * 1e9 / ((b->before + b->after) / 2);
  }
  const stats_median ratio = stats_of_median(x, n);
  r->pinned = t->pinned;
  r->real_ns = r->time_p50;
  r->cpu_ns = cpu / (double)r->iterations;
  if (on_team) r->cpu_share_pct = 100 * cpu / wall / t->threads;
  r->batches = s->batches;
  r->batches_disturbed = s->batches - s->undisturbed;
  r->pct_peak = 100 * ratio.median;
  r->pct_peak_low = 100 * ratio.low;
  r->pct_peak_high = 100 * ratio.high;
  r->pct_executed = r->pct_peak * r->flops_executed / r->flops_valid;
  r->peak_gflops = peak / (double)n * 1e-9;
  r->probe_drift_pct = 100 * drift / (double)n;
  r->others_pct = s->others_pct < 0 ? NAN : s->others_pct;
  r->steal_pct = s->steal_pct < 0 ? NAN : s->steal_pct;
  r->transfer_ns = s->transfer_ns[1];
  judge(s, t, r);
  if (keep) {
    r->sample = malloc(s->count * sizeof *r->sample);
    if (r->sample) memcpy(r->sample, s->call_ns, s->count * sizeof *r->sample);
  }
  free(x);
  return keep && !r->sample ? BB_NO_MEMORY : BB_OK;
}

void samples_check_probe(row *r) {
  const double above = 103, least_ns = 1e8;
  if (r->state == ROW_DONE && !r->disturbed && r->pct_executed > above &&
      r->batches - r->batches_disturbed >= SAMPLER_UNDISTURBED && (double)r->iterations * r->time_p50 > least_ns)
    row_fail(r, "executed %.1f %% of the probed peak: the probe is wrong", r->pct_executed);
}

bb_status samples_part(const samples *s, double flops, double pct[3]) {
  double *x = malloc(s->batches * sizeof *x);
  if (!x) return BB_NO_MEMORY;
  size_t n = 0;
  for (size_t i = 0; i < s->batches; i++) {
    const batch *b = &s->batch[i];
    if (counts(s, b)) x[n++] = 100 * (double)b->calls * flops / b->count * 1e9 / ((b->before + b->after) / 2);
  }
  const stats_median m = stats_of_median(x, n);
  pct[0] = m.median, pct[1] = m.low, pct[2] = m.high;
  free(x);
  return BB_OK;
}

bb_status samples_ratio(const samples *a, double flops_a, const samples *b, double flops_b, double ratio[3]) {
  const size_t n = a->batches < b->batches ? a->batches : b->batches;
  double *x = malloc((n + 1) * sizeof *x);
  if (!x) return BB_NO_MEMORY;
  // Quiet pairs, or all if there are too few for an interval of 95 %.
  enum { LEAST = 6 };
  size_t used = 0;
  for (int quiet = 1; quiet >= 0 && used < LEAST; quiet--)
    for (size_t i = used = 0; i < n; i++) {
      const batch *p = &a->batch[i], *q = &b->batch[i];
      if (quiet && (p->disturbed || q->disturbed)) continue;
      x[used++] = ((double)p->calls * flops_a / p->ns) / ((double)q->calls * flops_b / q->ns);
    }
  const stats_median m = stats_of_median(x, used);
  ratio[0] = m.median, ratio[1] = m.low, ratio[2] = m.high;
  free(x);
  return BB_OK;
}
