// SPDX-License-Identifier: Apache-2.0

#include "planning.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../kernels/wisdom.h"
#include "report.h"

// Does it begin as a wisdom file of any version does? An empty one may be written over, too.
static bool is_ours(const char *path) {
  static const char start[] = "backbench wisdom ";
  char text[sizeof start] = "";
  FILE *f = fopen(path, "re");
  if (!f) return false;
  const size_t n = fread(text, 1, sizeof start - 1, f);
  fclose(f);
  return !n || !strcmp(text, start);
}

static bool is_missing(const char *path) {
  FILE *f = fopen(path, "re");
  if (f) fclose(f);
  return !f && errno == ENOENT;
}

static exit_code load(planning *p, const char *path) {
  if (p->path) {
    const exit_code code = report_probe_file("--wisdom", path);
    if (code != EXIT_OK) return code;
    if (is_missing(path)) return EXIT_OK;  // it will be made
  }
  bb_error error = {{0}};
  const bb_status status = bb_wisdom_load(p->wisdom, path, &error);
  if (status == BB_NO_MEMORY) return fail_status(status, &error);
  if (status == BB_IO) return fail(EXIT_USAGE, "--wisdom: %s", error.text);
  if (status != BB_OK && p->path && !is_ours(path)) return fail(EXIT_USAGE, "--wisdom: %s; it is not written over", error.text);
  if (status != BB_OK)
    return warn("--wisdom: %s; it is not used%s", error.text, p->path ? " and will be replaced" : ""), EXIT_OK;
  size_t all, usable;
  bb_wisdom_count(p->wisdom, &all, &usable);
  if (all && !usable)
    warn("--wisdom: none of the %zu lessons in %s are of this CPU and of this program's kernels; they are not used", all, path);
  return EXIT_OK;
}

exit_code planning_open(const options *o, bool writes, planning *p) {
  *p = (planning){.mode = o->plan};
  if (!o->wisdom) return EXIT_OK;
  if (writes || o->plan == BB_PLAN_MEASURE) p->path = o->wisdom;
  if (bb_wisdom_create(&p->wisdom) != BB_OK) return fail(EXIT_SYSTEM, "out of memory for wisdom");
  const exit_code code = load(p, o->wisdom);
  if (code != EXIT_OK) planning_close(p);
  return code;
}

exit_code planning_save(const planning *p) {
  bb_error error = {{0}};
  if (!p->path) return EXIT_OK;
  const bb_status status = bb_wisdom_save(p->wisdom, p->path, &error);
  return status == BB_OK ? EXIT_OK : fail_status(status, &error);
}

void planning_close(planning *p) {
  bb_wisdom_destroy(p->wisdom);
  *p = (planning){0};
}
