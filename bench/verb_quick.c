// SPDX-License-Identifier: Apache-2.0
//
// Without a verb: what this machine is, what it can do at most, how near a dozen convolutions and a network come. Under a
// minute.

#include <cjson/cJSON.h>
#include <stdio.h>

#include "conv.h"
#include "model.h"
#include "peak.h"

static void print_card(void *machine, FILE *f) {
  context_print_card(machine, f);
  cJSON *doctor = context_doctor(machine);
  const cJSON *d;
  fprintf(f, "%-12s ", "doctor");
  cJSON_ArrayForEach(d, doctor) fprintf(f, "%s%s", d == doctor->child ? "" : ", ", cJSON_GetObjectItem(d, "name")->valuestring);
  fprintf(f, "%s\n\n", cJSON_GetArraySize(doctor) ? " (\"backbench machine\" says what to do)" : "nothing found");
  cJSON_Delete(doctor);
}

static void print_peaks(void *rows, FILE *f) {
  fputs("measured peaks\n", f);
  peak_print(rows, f);
  fputc('\n', f);
}

static exit_code measure_peaks(const options *o, cJSON *rows) {
  static int cpu[LIST_MAX];
  const int cpus = o->cpus.count ? o->cpus.count : team_processors(cpu);
  exit_code code = EXIT_OK;
  for (int threads = 1; threads <= cpus && code == EXIT_OK && !interrupted();
       threads = threads == 1 && cpus > 1 ? cpus : cpus + 1) {
    team t;
    code = team_create(o, threads, &t);
    if (code != EXIT_OK) break;
    progress((size_t)threads - 1, (size_t)cpus, "measured peaks");
    for (int i = 0; i < BB_ISA_COUNT; i++)
      if (bb_isa_runs((bb_isa)i) && bb_isa_within((bb_isa)i, bb_isa_best())) peak_fma(&t, (bb_isa)i, rows);
    if (threads == 1) code = peak_bandwidth(&t, bb_isa_best(), rows);
    team_destroy(&t);
  }
  return code;
}

// The machine and its peaks, before the rows.
static exit_code show_machine(const options *o, report *r, context_peaks *peaks) {
  cJSON *machine = context_machine(), *rows = cJSON_CreateArray();
  if (!machine) return cJSON_Delete(rows), fail(EXIT_SYSTEM, "out of memory");
  report_add(r, print_card, machine);
  const exit_code code = measure_peaks(o, rows);
  report_add(r, print_peaks, rows);
  peak_to_context(rows, peaks);
  report_peaks(r, rows);
  cJSON_Delete(rows);
  cJSON_Delete(machine);
  return code;
}

exit_code verb_quick(const options *o) {
  case_list list = {0};
  session *s = NULL;
  conv_run *u = NULL;
  model_run *m = NULL;
  exit_code code = case_add_suite(&list, "quick12");
  if (code == EXIT_OK) code = session_create(o, &s);
  if (code == EXIT_OK) code = conv_rows(s, o, &list, &u);
  if (code == EXIT_OK) code = model_rows(s, o, "resnet50", &m);
  if (code == EXIT_OK) session_at_start(s, show_machine);
  if (code == EXIT_OK) code = session_run(s);
  session_destroy(s);
  conv_free(u);
  model_free(m);
  case_free(&list);
  if (code == EXIT_OK && o->format == FORMAT_TEXT)
    puts(
        "\nnext:  backbench conv --suite core40 --out core40.json     all forty shapes\n"
        "       backbench conv --model resnet50 --cache cold        the layers of a network, weights in no cache\n"
        "       backbench test                                      every kernel against the reference\n"
        "       backbench --help                                    everything else");
  return code;
}
