// SPDX-License-Identifier: Apache-2.0

#include "models.h"

#include <string.h>

#include "../kernels/common.h"
#include "families.h"

#define BB_MODEL(name, family, C, H, W, source) {#name, #family, source, C, H, W, bb_build_##name},
static const bb_model models[] = {
#include "models.def"
};
#undef BB_MODEL

size_t bb_model_count(void) { return BB_COUNT(models); }

const bb_model *bb_model_at(size_t i) { return &models[i]; }

const bb_model *bb_model_find(const char *name) {
  for (size_t i = 0; i < BB_COUNT(models); i++) {
    if (strcmp(models[i].name, name) == 0) return &models[i];
  }
  return NULL;
}
