// SPDX-License-Identifier: Apache-2.0

#include "row.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void row_init(row *r) {
  *r = (row){.threads = 1, .mb = 1, .repetitions = 1};
  double *const unknown[] = {
      &r->real_ns,        &r->cpu_ns,          &r->time_min,      &r->time_p10,       &r->time_p50,        &r->time_p90,
      &r->time_p99,       &r->flops_valid,     &r->flops,         &r->flops_executed, &r->bytes,           &r->pct_peak,
      &r->pct_peak_low,   &r->pct_peak_high,   &r->pct_executed,  &r->peak_gflops,    &r->probe_drift_pct, &r->err_l2,
      &r->err_max_rms,    &r->err_bound,       &r->weights_bytes, &r->packed_bytes,   &r->workspace_bytes, &r->peer_ratio,
      &r->peer_ratio_low, &r->peer_ratio_high, &r->noise_pct,     &r->others_pct,     &r->steal_pct,       &r->cpu_share_pct,
      &r->speedup,        &r->speedup_low,     &r->speedup_high,  &r->transfer_ns,
  };
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) *unknown[i] = NAN;
}

void row_free(row *r) {
  free(r->sample);
  free(r->table);
  cJSON_Delete(r->more);
  row_init(r);
}

static void say(row *r, row_state state, const char *form, va_list list) {
  r->state = state;
  vsnprintf(r->message, sizeof r->message, form, list);
}

void row_skip(row *r, const char *form, ...) {
  va_list list;
  va_start(list, form);
  say(r, ROW_SKIPPED, form, list);
  va_end(list);
}

void row_fail(row *r, const char *form, ...) {
  va_list list;
  va_start(list, form);
  say(r, ROW_FAILED, form, list);
  va_end(list);
}
