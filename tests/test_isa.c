// SPDX-License-Identifier: Apache-2.0
//
// ISA levels, machine, status sentences.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bb.h"
#include "kernels/probe.h"

static void names_round_trip(void **state) {
  (void)state;
  for (unsigned i = 0; i < BB_ISA_COUNT; i++) {
    bb_isa isa = BB_ISA_COUNT;
    assert_true(bb_isa_parse(bb_isa_name((bb_isa)i), &isa));
    assert_int_equal(isa, i);
  }
  bb_isa isa = BB_ISA_COUNT;
  assert_false(bb_isa_parse("AVX2", &isa));
  assert_false(bb_isa_parse("", &isa));
  assert_false(bb_isa_parse(NULL, &isa));
  assert_int_equal(isa, BB_ISA_COUNT);
  assert_string_equal(bb_isa_name(BB_ISA_COUNT), "unknown");
}

static void a_cap_admits_itself_and_what_is_weaker(void **state) {
  (void)state;
  for (unsigned i = 0; i < BB_ISA_COUNT; i++) {
    assert_true(bb_isa_within((bb_isa)i, (bb_isa)i));
    assert_true(bb_isa_within(BB_ISA_GENERIC, (bb_isa)i));
  }
  assert_true(bb_isa_within(BB_ISA_AVX2, BB_ISA_AVX512));
  assert_false(bb_isa_within(BB_ISA_AVX512, BB_ISA_AVX2));
  assert_false(bb_isa_within(BB_ISA_NEON, BB_ISA_AVX512));
  assert_false(bb_isa_within(BB_ISA_AVX2, BB_ISA_NEON));
  assert_false(bb_isa_within(BB_ISA_COUNT, BB_ISA_AVX512));
}

static void generic_runs_everywhere_and_levels_nest(void **state) {
  (void)state;
  assert_true(bb_isa_runs(BB_ISA_GENERIC));
  const bool both = bb_probe_get(BB_ISA_AVX512) && bb_probe_get(BB_ISA_AVX2);  // are built
  if (both && bb_isa_runs(BB_ISA_AVX512)) assert_true(bb_isa_runs(BB_ISA_AVX2));
  assert_false(bb_isa_runs(BB_ISA_AVX2) && bb_isa_runs(BB_ISA_NEON));
  assert_false(bb_isa_runs(BB_ISA_COUNT));
#if defined(__aarch64__)
  assert_true(bb_isa_runs(BB_ISA_NEON) == (bb_probe_get(BB_ISA_NEON) != NULL));
#endif
}

static void the_variable_only_takes_away(void **state) {
  (void)state;
  unsetenv("BB_ISA");
  const bb_isa best = bb_isa_best();
  assert_true(bb_isa_runs(best));
  for (unsigned i = 0; i < BB_ISA_COUNT; i++) {
    setenv("BB_ISA", bb_isa_name((bb_isa)i), 1);
    const bb_isa capped = bb_isa_best();
    assert_true(bb_isa_runs(capped));
    assert_true(bb_isa_within(capped, (bb_isa)i));
    assert_true(bb_isa_within(capped, best));
  }
  setenv("BB_ISA", "nonsense", 1);
  assert_int_equal(bb_isa_best(), best);
  setenv("BB_ISA", "", 1);
  assert_int_equal(bb_isa_best(), best);
  unsetenv("BB_ISA");
}

static void machine_is_plausible(void **state) {
  (void)state;
  const bb_machine *m = bb_machine_get();
  assert_ptr_equal(m, bb_machine_get());
  assert_true(m->cores >= 1);
  assert_true(m->l1d == 0 || (m->l1d >= 4096 && m->l1d <= (1u << 20)));
  assert_true(m->l2 == 0 || m->l2 >= m->l1d);
  assert_true(m->l3 == 0 || m->l3 >= m->l1d);
  assert_true(strlen(m->cpu) > 0 && strlen(m->cpu) < sizeof m->cpu);
  assert_null(strstr(m->cpu, "  "));
  assert_true(m->fma512 == 1 || (m->fma512 == 2 && bb_isa_runs(BB_ISA_AVX512)));
  assert_true(m->dram_share > 0 && m->dram_share <= 1 && m->transfer_cycles > 0);
  assert_true(m->dram_bytes_per_cycle > 0 && m->l3_bytes_per_cycle > 0 && m->l2_bytes_per_cycle > 0);
}

static void each_status_has_its_sentence(void **state) {
  (void)state;
  for (unsigned i = 0; i < BB_STATUS_COUNT; i++) {
    assert_true(strlen(bb_status_string((bb_status)i)) > 0);
    for (unsigned j = 0; j < i; j++) assert_string_not_equal(bb_status_string((bb_status)i), bb_status_string((bb_status)j));
  }
  assert_string_equal(bb_status_string(BB_STATUS_COUNT), "unknown status");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_round_trip),
      cmocka_unit_test(a_cap_admits_itself_and_what_is_weaker),
      cmocka_unit_test(generic_runs_everywhere_and_levels_nest),
      cmocka_unit_test(the_variable_only_takes_away),
      cmocka_unit_test(machine_is_plausible),
      cmocka_unit_test(each_status_has_its_sentence),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
