// SPDX-License-Identifier: Apache-2.0
//
// The networks as graphs: parameters, MACs and shapes equal what is published, names are those of the published state dicts.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/common.h"
#include "models/models.h"

typedef struct figures {
  const char *name;
  uint64_t params, macs, activations;
  int convs, distinct;
  int outputs, rank, C, H;  // of the first output
  // FNV-1a of the state dict as text, one line per tensor: name, blank, shape ("64x3x7x7"), " running" for running statistics.
  uint64_t state_dict;
} figures;

// Counted on PyTorch models of the networks, by module hooks and by dispatched operators.
static const figures published[] = {
    {"vgg16", 138357544, 15470264320, 13547520, 13, 9, 1, 2, 1000, 1, 0xc3c36606220a7498},
    {"vgg19", 143667240, 19632062464, 14852096, 16, 9, 1, 2, 1000, 1, 0xe75a518939859d4e},
    {"resnet50", 25557032, 4089184256, 11113984, 53, 23, 1, 2, 1000, 1, 0xf63de1478e18b7b3},
    {"densenet121", 7978856, 2834161664, 6899200, 120, 66, 1, 2, 1000, 1, 0x9d30f5db97425505},
    {"ghostnet_100", 5182508, 141150512, 3544396, 95, 63, 1, 2, 1000, 1, 0x855a674bf06b6718},
    {"fpn_resnet50", 25082176, 6929104896, 13246464, 61, 28, 4, 4, 256, 56, 0x2d388682912e7245},
};

static bb_graph *graph_of(const char *name, int N, int H, int W) {
  bb_graph *g;
  bb_error error;
  const bb_model *model = bb_model_find(name);
  assert_non_null(model);
  if (bb_graph_create(model, N, H, W, &g, &error)) fail_msg("%s", error.text);
  return g;
}

static uint64_t fnv1a(uint64_t h, const char *text) {
  for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001b3;
  return h;
}

static uint64_t state_dict_hash(const bb_graph *g) {
  uint64_t h = 0xcbf29ce484222325;
  for (int i = 0; i < g->params; i++) {
    const bb_param *p = &g->param[i];
    h = fnv1a(fnv1a(h, p->name), " ");
    for (int d = 0; d < p->rank; d++) {
      char number[16];
      snprintf(number, sizeof number, "%s%d", d ? "x" : "", p->shape[d]);
      h = fnv1a(h, number);
    }
    h = fnv1a(h, p->running ? " running\n" : "\n");
  }
  return h;
}

static void every_network_is_published(void **state) {
  (void)state;
  assert_int_equal(bb_model_count(), BB_COUNT(published));
  for (size_t i = 0; i < bb_model_count(); i++) assert_string_equal(bb_model_at(i)->name, published[i].name);
  assert_null(bb_model_find("resnet5"));
}

static void counts_equal_published(void **state) {
  const figures *f = *state;
  bb_graph *g = graph_of(f->name, 1, 0, 0);
  const bb_counts c = bb_graph_count(g);
  assert_int_equal(c.params, f->params);
  assert_int_equal(c.macs, f->macs);
  assert_int_equal(c.activations, f->activations);
  assert_int_equal(c.convs, f->convs);
  assert_int_equal(c.distinct, f->distinct);
  assert_int_equal(state_dict_hash(g), f->state_dict);
  assert_int_equal(g->outputs, f->outputs);
  const bb_tensor *y = &g->tensor[g->output[0]];
  assert_int_equal(y->rank, f->rank);
  assert_int_equal(y->C, f->C);
  assert_int_equal(y->H, f->H);
  bb_graph_destroy(g);
}

// Parameters do not depend on batch and size; MACs are the batch's.
static void batch_and_size(void **state) {
  const figures *f = *state;
  bb_graph *g = graph_of(f->name, 3, 0, 0);
  assert_int_equal(bb_graph_count(g).params, f->params);
  assert_int_equal(bb_graph_count(g).macs, 3 * f->macs);
  bb_graph_destroy(g);
  g = graph_of(f->name, 1, 75, 97);
  assert_int_equal(state_dict_hash(g), f->state_dict);
  bb_graph_destroy(g);
}

static void names_are_unique(void **state) {
  const figures *f = *state;
  bb_graph *g = graph_of(f->name, 1, 0, 0);
  for (int i = 0; i < g->nodes; i++) {
    for (int j = 0; j < i; j++) assert_string_not_equal(g->node[i].name, g->node[j].name);
    for (int k = 0; k < g->node[i].inputs; k++) assert_true(g->node[i].input[k] < g->node[i].output);
  }
  bb_graph_destroy(g);
}

static void layers_sum_up(void **state) {
  const figures *f = *state;
  bb_graph *g = graph_of(f->name, 1, 0, 0);
  bb_layer layers[128];
  const int n = bb_graph_layers(g, layers, BB_COUNT(layers));
  assert_int_equal(n, f->distinct);
  int convs = 0;
  for (int i = 0; i < n; i++) convs += layers[i].count;
  assert_int_equal(convs, f->convs);
  bb_graph_destroy(g);
}

static bool has_node(const bb_graph *g, const char *name) {
  for (int i = 0; i < g->nodes; i++) {
    if (strcmp(g->node[i].name, name) == 0) return true;
  }
  return false;
}

static void modules_used_twice(void **state) {
  (void)state;
  bb_graph *g = graph_of("fpn_resnet50", 1, 0, 0);
  assert_true(has_node(g, "MtoP"));
  assert_true(has_node(g, "MtoP_3"));
  assert_false(has_node(g, "MtoP_4"));
  assert_true(has_node(g, "resnet.layer1.0.relu_2"));
  int uses = 0;
  const int weight = bb_graph_find_param(g, "MtoP.weight");
  for (int i = 0; i < g->nodes; i++) uses += g->node[i].op == BB_NODE_CONV && g->node[i].param[0] == weight;
  assert_int_equal(uses, 4);
  bb_graph_destroy(g);
}

static void nodes_print(void **state) {
  (void)state;
  bb_graph *g = graph_of("resnet50", 1, 0, 0);
  char text[256];
  bb_node_print(g, 0, text, sizeof text);
  assert_string_equal(text, "conv g1mb1ic3ih224oc64oh112kh7sh2ph3");
  bb_node_print(g, 2, text, sizeof text);
  assert_string_equal(text, "relu 1x64x112x112 -> 1x64x112x112");
  bb_graph_destroy(g);
}

static void refuse(const char *name, int N, int H, int W, const char *word) {
  bb_graph *g;
  bb_error error = {""};
  assert_int_equal(bb_graph_create(bb_model_find(name), N, H, W, &g, &error), BB_INVALID);
  assert_null(g);
  if (!strstr(error.text, word)) fail_msg("%s: '%s' expected in '%s'", name, word, error.text);
}

static void impossible_inputs(void **state) {
  (void)state;
  refuse("resnet50", 0, 0, 0, "batch 0");
  refuse("resnet50", 1, -5, 224, "-5x224");
  refuse("vgg16", 1, 31, 224, "features.30");
  refuse("densenet121", 1, 8, 8, "transition");
  refuse("resnet50", 1 << 30, 1 << 30, 1 << 30, "");
}

int main(void) {
  enum { FIXED = 4, EACH = 4 };
  struct CMUnitTest tests[FIXED + EACH * BB_COUNT(published)] = {
      cmocka_unit_test(every_network_is_published),
      cmocka_unit_test(modules_used_twice),
      cmocka_unit_test(nodes_print),
      cmocka_unit_test(impossible_inputs),
  };
  static const struct {
    const char *name;
    CMUnitTestFunction fn;
  } each[EACH] = {{"counts", counts_equal_published},
                  {"batch and size", batch_and_size},
                  {"names", names_are_unique},
                  {"layers", layers_sum_up}};
  char names[EACH * BB_COUNT(published)][48];
  for (size_t i = 0; i < EACH * BB_COUNT(published); i++) {
    const figures *f = &published[i / EACH];
    snprintf(names[i], sizeof names[i], "%s: %s", f->name, each[i % EACH].name);
    tests[FIXED + i] =
        (struct CMUnitTest){.name = names[i], .test_func = each[i % EACH].fn, .initial_state = (void *)(uintptr_t)f};
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
