// SPDX-License-Identifier: Apache-2.0
//
// Without a verb: what this machine is, what it can do at most, how near a dozen convolutions and a network come. Under a
// minute.

#include <cjson/cJSON.h>
#include <stdio.h>

#include "context.h"
#include "conv.h"
#include "model.h"
#include "peak.h"

static exit_code show_machine(const options *o) {
  cJSON *machine = context_machine();
  if (!machine) return fail(EXIT_SYSTEM, "out of memory");
  context_print_card(machine, stdout);
  cJSON *doctor = context_doctor(machine);
  const cJSON *d;
  printf("%-12s ", "doctor");
  cJSON_ArrayForEach(d, doctor) printf("%s%s", d == doctor->child ? "" : ", ", cJSON_GetObjectItem(d, "name")->valuestring);
  puts(cJSON_GetArraySize(doctor) ? " (\"backbench machine\" says what to do)" : "nothing found");
  cJSON_Delete(doctor);
  cJSON_Delete(machine);

  puts("\nmeasured peaks");
  static int cpu[LIST_MAX];
  const int cpus = o->cpus.count ? o->cpus.count : team_processors(cpu);
  cJSON *rows = cJSON_CreateArray();
  exit_code code = EXIT_OK;
  for (int threads = 1; threads <= cpus && code == EXIT_OK; threads = threads == 1 && cpus > 1 ? cpus : cpus + 1) {
    team t;
    code = team_create(o, threads, &t);
    if (code != EXIT_OK) break;
    for (int i = 0; i < BB_ISA_COUNT; i++)
      if (bb_isa_runs((bb_isa)i) && bb_isa_within((bb_isa)i, bb_isa_best())) peak_fma(&t, (bb_isa)i, rows);
    if (threads == 1) code = peak_bandwidth(&t, bb_isa_best(), rows);
    team_destroy(&t);
  }
  peak_print(rows, stdout);
  cJSON_Delete(rows);
  puts("");
  fflush(stdout);
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
  if (code == EXIT_OK && o->format == FORMAT_TEXT) code = show_machine(o);
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
