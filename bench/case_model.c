// SPDX-License-Identifier: Apache-2.0

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../models/models.h"
#include "conv.h"

exit_code case_add_model(case_list *list, const char *name) {
  const bb_model *model = bb_model_find(name);
  if (!model) return fail(EXIT_USAGE, "unknown model \"%.80s\"; \"backbench list models\" shows the names", name);
  bb_graph *graph = NULL;
  bb_error error = {{0}};
  const bb_status status = bb_graph_create(model, 1, 0, 0, &graph, &error);
  if (status != BB_OK) return fail_status(status, &error);
  const int count = bb_graph_layers(graph, NULL, 0);
  bb_layer *layer = calloc((size_t)count + 1, sizeof *layer);
  exit_code code = layer ? EXIT_OK : fail(EXIT_SYSTEM, "out of memory for the layers of %s", name);
  if (code == EXIT_OK) bb_graph_layers(graph, layer, count);
  for (int i = 0; i < count && code == EXIT_OK; i++) {
    conv_case c = {.task = {.problem = {.op = BB_OP_CONV, .conv = layer[i].conv}}, .count = layer[i].count};
    snprintf(c.id, sizeof c.id, "%s.%s", name, layer[i].name);
    code = case_add(list, &c);
  }
  free(layer);
  bb_graph_destroy(graph);
  return code;
}
