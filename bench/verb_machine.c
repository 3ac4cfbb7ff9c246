// SPDX-License-Identifier: Apache-2.0

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "report.h"

static void print_doctor(const cJSON *doctor, FILE *out) {
  const cJSON *d;
  fprintf(
      out, "\ndoctor: %s\n",
      cJSON_GetArraySize(doctor) ? "what will make timings unreliable here" : "nothing found that makes timings unreliable");
  cJSON_ArrayForEach(d, doctor) {
    fprintf(out, "  %s: %s\n", cJSON_GetObjectItem(d, "name")->valuestring, cJSON_GetObjectItem(d, "problem")->valuestring);
    fprintf(out, "    fix: %s\n", cJSON_GetObjectItem(d, "fix")->valuestring);
  }
}

// The doctor's list is no line of a table.
static void print_lines(const cJSON *machine, format f, FILE *out) {
  cJSON *list = cJSON_CreateArray();
  const cJSON *item;
  cJSON_ArrayForEach(item, machine) {
    if (!strcmp(item->string, "doctor")) continue;
    cJSON *line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "key", item->string);
    cJSON_AddItemToObject(line, "value", cJSON_Duplicate(item, true));
    cJSON_AddItemToArray(list, line);
  }
  report_print_table(list, f, out);
  cJSON_Delete(list);
}

static void put(const cJSON *machine, format f, FILE *out) {
  if (f == FORMAT_JSON) report_print_json(machine, out);
  if (f == FORMAT_MD || f == FORMAT_CSV) print_lines(machine, f, out);
  if (f == FORMAT_TEXT) {
    context_print_card(machine, out);
    print_doctor(cJSON_GetObjectItemCaseSensitive(machine, "doctor"), out);
  }
}

exit_code verb_machine(const options *o) {
  exit_code code = EXIT_OK;
  for (int i = 0; i < o->outs.count && code == EXIT_OK; i++) code = report_probe_file("--out", o->outs.at[i]);
  if (code != EXIT_OK) return code;
  cJSON *machine = context_machine(), *doctor = machine ? context_doctor(machine) : NULL;
  if (!doctor) return fail(EXIT_SYSTEM, "out of memory");
  cJSON_AddItemToObject(machine, "doctor", doctor);
  code = report_everywhere(o, put, machine);
  cJSON_Delete(machine);
  return code;
}
