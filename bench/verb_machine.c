// SPDX-License-Identifier: Apache-2.0

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "report.h"

static void print_doctor(const cJSON *doctor) {
  const cJSON *d;
  printf("\ndoctor: %s\n",
         cJSON_GetArraySize(doctor) ? "what will make timings unreliable here" : "nothing found that makes timings unreliable");
  cJSON_ArrayForEach(d, doctor) {
    printf("  %s: %s\n", cJSON_GetObjectItem(d, "name")->valuestring, cJSON_GetObjectItem(d, "problem")->valuestring);
    printf("    fix: %s\n", cJSON_GetObjectItem(d, "fix")->valuestring);
  }
}

exit_code verb_machine(const options *o) {
  for (int i = 0; i < o->outs.count; i++) {
    const char *dot = strrchr(o->outs.at[i], '.');
    if (strcmp(dot, ".json")) return fail(EXIT_USAGE, "--out %s: machine writes .json only", o->outs.at[i]);
    const exit_code code = report_probe_file("--out", o->outs.at[i]);
    if (code != EXIT_OK) return code;
  }
  cJSON *machine = context_machine(), *doctor = machine ? context_doctor(machine) : NULL;
  if (!doctor) return fail(EXIT_SYSTEM, "out of memory");
  exit_code code = EXIT_OK;
  if (o->format == FORMAT_TEXT) {
    context_print_card(machine);
    print_doctor(doctor);
  }
  cJSON_AddItemToObject(machine, "doctor", doctor);
  if (o->format == FORMAT_JSON) report_print_json(machine);
  if (o->format == FORMAT_CSV || o->format == FORMAT_MD) {
    cJSON *list = cJSON_CreateArray();
    const cJSON *item;
    cJSON_ArrayForEach(item, machine) {
      if (!strcmp(item->string, "doctor")) continue;
      cJSON *line = cJSON_CreateObject();
      cJSON_AddStringToObject(line, "key", item->string);
      cJSON_AddItemToObject(line, "value", cJSON_Duplicate(item, true));
      cJSON_AddItemToArray(list, line);
    }
    report_print_table(list, o->format, stdout);
    cJSON_Delete(list);
  }
  char *text = o->outs.count ? cJSON_Print(machine) : NULL;
  for (int i = 0; i < o->outs.count && code == EXIT_OK; i++)
    code = text ? report_write_file(o->outs.at[i], text) : fail(EXIT_SYSTEM, "out of memory");
  free(text);
  cJSON_Delete(machine);
  return code;
}
