// SPDX-License-Identifier: Apache-2.0

#include <cjson/cJSON.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "../models/models.h"
#include "conv.h"
#include "peer.h"
#include "report.h"
#include "suites.h"

// Is it up to one of --isa?
static bool wanted(const options *o, bb_isa isa) {
  bool within = !o->isas.count;
  for (int i = 0; i < o->isas.count; i++) {
    bb_isa cap;
    within |= bb_isa_parse(o->isas.at[i], &cap) && bb_isa_within(isa, cap);
  }
  return within;
}

// Each makes an array of objects whose first member is the name. Text: one line per object, the members given.
static exit_code list_kernels(const options *o, cJSON *list) {
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const bb_kernel *k = bb_kernel_at(i);
    if (!wanted(o, k->isa)) continue;
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", k->name);
    cJSON_AddStringToObject(x, "op", bb_op_name(k->op));
    cJSON_AddStringToObject(x, "algorithm", bb_alg_name(k->alg));
    cJSON_AddStringToObject(x, "isa", bb_isa_name(k->isa));
    cJSON_AddNumberToObject(x, "x_block", k->x_block);
    cJSON_AddNumberToObject(x, "y_block", k->y_block);
    cJSON_AddNumberToObject(x, "block_q", k->block.q);
    cJSON_AddNumberToObject(x, "block_k", k->block.k);
    cJSON_AddNumberToObject(x, "block_c", k->block.c);
    int stages = 0;
    while (stages < BB_MAX_STAGES && k->stage[stages].run) stages++;
    cJSON_AddNumberToObject(x, "stages", stages);
    cJSON_AddBoolToObject(x, "runs_here", bb_isa_runs(k->isa) && bb_isa_within(k->isa, bb_isa_best()));
    cJSON_AddItemToArray(list, x);
  }
  return EXIT_OK;
}

static exit_code list_models(const options *o, cJSON *list) {
  (void)o;
  for (size_t i = 0; i < bb_model_count(); i++) {
    const bb_model *m = bb_model_at(i);
    bb_graph *g;
    bb_error error = {{0}};
    const bb_status status = bb_graph_create(m, 1, 0, 0, &g, &error);
    if (status != BB_OK) return fail_status(status, &error);
    const bb_counts counts = bb_graph_count(g);
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", m->name);
    cJSON_AddStringToObject(x, "family", m->family);
    cJSON_AddStringToObject(x, "source", m->source);
    const int input[] = {m->C, m->H, m->W};
    cJSON_AddItemToObject(x, "input", cJSON_CreateIntArray(input, 3));
    cJSON_AddNumberToObject(x, "params", (double)counts.params);
    cJSON_AddNumberToObject(x, "macs", (double)counts.macs);
    cJSON_AddNumberToObject(x, "activations", (double)counts.activations);
    cJSON_AddNumberToObject(x, "convs", counts.convs);
    cJSON_AddNumberToObject(x, "distinct_convs", counts.distinct);
    cJSON *outputs = cJSON_AddArrayToObject(x, "outputs");
    for (int k = 0; k < g->outputs; k++) {
      const bb_tensor *t = &g->tensor[g->output[k]];
      const int shape[] = {t->C, t->H, t->W};
      cJSON_AddItemToArray(outputs, cJSON_CreateIntArray(shape, t->rank - 1));
    }
    cJSON_AddItemToArray(list, x);
    bb_graph_destroy(g);
  }
  return EXIT_OK;
}

static exit_code list_cases(const options *o, cJSON *list) {
  (void)o;
  for (size_t i = 0; i < suite_count(); i++) {
    const suite_case *s = suite_at(i);
    conv_case c;
    const exit_code code = case_parse(s->problem, "", &c);
    if (code != EXIT_OK) return code;
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", c.id);
    cJSON_AddStringToObject(x, "problem", s->problem);
    cJSON *suites = cJSON_AddArrayToObject(x, "suites");
    static const char *const names[] = {"quick12", "core40", "extended"};
    for (int k = 0; k < 3; k++)
      if (suite_has(names[k], s)) cJSON_AddItemToArray(suites, cJSON_CreateString(names[k]));
    cJSON_AddNumberToObject(x, "flops", bb_conv_flops(&c.task.problem.conv));
    cJSON_AddNumberToObject(x, "flops_valid", bb_conv_flops_valid(&c.task.problem.conv));
    cJSON_AddStringToObject(x, "stands_for", s->what);
    cJSON_AddItemToArray(list, x);
  }
  return EXIT_OK;
}

static exit_code list_isas(const options *o, cJSON *list) {
  for (int i = 0; i < BB_ISA_COUNT; i++) {
    if (!wanted(o, (bb_isa)i)) continue;
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", bb_isa_name((bb_isa)i));
    cJSON_AddNumberToObject(x, "block", bb_isa_block((bb_isa)i));
    cJSON_AddBoolToObject(x, "runs_here", bb_isa_runs((bb_isa)i) && bb_isa_within((bb_isa)i, bb_isa_best()));
    cJSON_AddBoolToObject(x, "best", bb_isa_best() == (bb_isa)i);
    cJSON_AddItemToArray(list, x);
  }
  return EXIT_OK;
}

static exit_code list_peers(const options *o, cJSON *list) {
  (void)o;
  for (size_t i = 0; i < peer_count(); i++) {
    static int cpu[LIST_MAX];
    const int cpus = team_processors(cpu);
    const char *missing = peer_at(i)->missing(cpu, cpus);
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", peer_at(i)->name);
    cJSON_AddStringToObject(x, "what", peer_at(i)->what);
    cJSON_AddBoolToObject(x, "available", !missing);
    cJSON_AddStringToObject(x, "version", missing ? "" : peer_at(i)->version());
    cJSON_AddStringToObject(x, "reason", missing ? missing : "");
    cJSON_AddItemToArray(list, x);
  }
  return EXIT_OK;
}

static exit_code list_parameters(const options *o, cJSON *list) {
  if (!o->model) return fail(EXIT_USAGE, "list parameters needs --model NAME; \"backbench list models\" shows the names");
  const bb_model *m = bb_model_find(o->model);
  if (!m) return fail(EXIT_USAGE, "unknown model \"%.80s\"; \"backbench list models\" shows the names", o->model);
  bb_graph *g;
  bb_error error = {{0}};
  const bb_status status = bb_graph_create(m, 1, 0, 0, &g, &error);
  if (status != BB_OK) return fail_status(status, &error);
  for (int i = 0; i < g->params; i++) {
    const bb_param *p = &g->param[i];
    cJSON *x = cJSON_CreateObject();
    cJSON_AddStringToObject(x, "name", p->name);
    cJSON_AddItemToObject(x, "shape", cJSON_CreateIntArray(p->shape, p->rank));
    cJSON_AddNumberToObject(x, "mean", p->mean);
    cJSON_AddNumberToObject(x, "scale", p->scale);
    cJSON_AddItemToArray(list, x);
  }
  bb_graph_destroy(g);
  return EXIT_OK;
}

static const struct {
  const char *what;
  exit_code (*make)(const options *o, cJSON *list);
  const char *columns[6];  // of the text form, after the name
} lists[] = {
    {"kernels", list_kernels, {"algorithm", "isa"}},
    {"models", list_models, {"family", "input", "params", "macs"}},
    {"cases", list_cases, {"problem", "suites"}},
    {"isas", list_isas, {"runs_here"}},
    {"peers", list_peers, {"available", "version", "reason"}},
    {"parameters", list_parameters, {"shape", "mean", "scale"}},
};

static void print_value(const cJSON *v) {
  if (cJSON_IsString(v))
    fputs(v->valuestring, stdout);
  else if (cJSON_IsNumber(v))
    report_number(stdout, v->valuedouble);
  else if (cJSON_IsBool(v))
    fputs(cJSON_IsTrue(v) ? "yes" : "no", stdout);
  const cJSON *item;
  if (cJSON_IsArray(v)) cJSON_ArrayForEach(item, v) {
      if (item != v->child) fputs(cJSON_IsNumber(item) ? "x" : ",", stdout);
      print_value(item);
    }
}

// Only those whose name the filter matches.
static void apply_filter(const options *o, cJSON *list) {
  regex_t re;
  if (!o->filter || regcomp(&re, o->filter, REG_EXTENDED | REG_NOSUB)) return;
  for (cJSON *x = list->child, *next; x; x = next) {
    next = x->next;
    if (regexec(&re, x->child->valuestring, 0, NULL, 0)) cJSON_Delete(cJSON_DetachItemViaPointer(list, x));
  }
  regfree(&re);
}

exit_code verb_list(const options *o) {
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    if (strcmp(lists[i].what, o->args.at[0])) continue;
    if (o->model && strcmp(o->args.at[0], "parameters")) return fail(EXIT_USAGE, "--model goes with list parameters only");
    if (o->isas.count && strcmp(o->args.at[0], "kernels") && strcmp(o->args.at[0], "isas"))
      return fail(EXIT_USAGE, "--isa goes with list kernels and list isas only");
    bb_isa isa[BB_ISA_COUNT], missing[BB_ISA_COUNT];
    int isas, missings;
    const exit_code here = isas_asked(o, isa, &isas, missing, &missings);
    if (here != EXIT_OK) return here;
    cJSON *list = cJSON_CreateArray();
    const exit_code code = list ? lists[i].make(o, list) : fail(EXIT_SYSTEM, "out of memory");
    if (code == EXIT_OK) {
      apply_filter(o, list);
      const cJSON *x;
      if (o->format == FORMAT_JSON) report_print_json(list, stdout);
      if (o->format == FORMAT_MD || o->format == FORMAT_CSV) report_print_table(list, o->format, stdout);
      if (o->format == FORMAT_TEXT) cJSON_ArrayForEach(x, list) {
          printf("%s", x->child->valuestring);
          for (int k = 0; k < 6 && lists[i].columns[k]; k++) {
            putchar(' ');
            print_value(cJSON_GetObjectItemCaseSensitive(x, lists[i].columns[k]));
          }
          putchar('\n');
        }
    }
    cJSON_Delete(list);
    return code;
  }
  return fail(EXIT_USAGE, "list: \"%.80s\" is not one of kernels, models, cases, isas, peers, parameters", o->args.at[0]);
}
