// SPDX-License-Identifier: Apache-2.0
//
// Which levels this CPU and its operating system run. Compiled without ISA flags: it must run everywhere.

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bb.h"
#include "common.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#ifndef BB_HAVE_AVX2
#define BB_HAVE_AVX2 0
#endif
#ifndef BB_HAVE_AVX512
#define BB_HAVE_AVX512 0
#endif
#ifndef BB_HAVE_NEON
#define BB_HAVE_NEON 0
#endif

typedef struct level {
  const char *name;
  int block;        // lanes per channel block
  unsigned within;  // the caps that admit it, one bit each; a cap admits what is weaker on the same architecture
  bool built;
} level;

#define BIT(isa) (1u << (isa))

static const level levels[] = {
    [BB_ISA_GENERIC] = {"generic", 1, BIT(BB_ISA_GENERIC) | BIT(BB_ISA_AVX2) | BIT(BB_ISA_AVX512) | BIT(BB_ISA_NEON), true},
    [BB_ISA_AVX2] = {"avx2", 8, BIT(BB_ISA_AVX2) | BIT(BB_ISA_AVX512), BB_HAVE_AVX2},
    [BB_ISA_AVX512] = {"avx512", 16, BIT(BB_ISA_AVX512), BB_HAVE_AVX512},
    [BB_ISA_NEON] = {"neon", 4, BIT(BB_ISA_NEON), BB_HAVE_NEON},
};
_Static_assert(BB_COUNT(levels) == BB_ISA_COUNT, "one line per level");

#if defined(__x86_64__)

// Bit numbers: Intel SDM vol. 2A, CPUID; XCR0: vol. 1, 13.3.
static unsigned detect(void) {
  enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28 };  // leaf 1, ecx
  enum { AVX2 = 1 << 5 };                                    // leaf 7, ebx
  const unsigned avx512_fdq_cd_bw_vl = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
  enum { XMM_YMM = 0x06, XMM_YMM_K_ZMM = 0xe6 };  // state that the system saves

  unsigned found = BIT(BB_ISA_GENERIC);
  unsigned a, b, c, d;
  const unsigned leaf1 = FMA | OSXSAVE | AVX;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & leaf1) != leaf1) return found;

  unsigned xcr0, high;
  __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
  if ((xcr0 & XMM_YMM) != XMM_YMM) return found;

  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & AVX2)) return found;
  found |= BIT(BB_ISA_AVX2);

  if ((b & avx512_fdq_cd_bw_vl) == avx512_fdq_cd_bw_vl && (xcr0 & XMM_YMM_K_ZMM) == XMM_YMM_K_ZMM) found |= BIT(BB_ISA_AVX512);
  return found;
}

#elif defined(__aarch64__) && defined(__linux__)

static unsigned detect(void) { return BIT(BB_ISA_GENERIC) | (getauxval(AT_HWCAP) & HWCAP_ASIMD ? BIT(BB_ISA_NEON) : 0); }

#elif defined(__aarch64__)

// Advanced SIMD is part of the base architecture everywhere but on Linux for embedded cores.
static unsigned detect(void) { return BIT(BB_ISA_GENERIC) | BIT(BB_ISA_NEON); }

#else

static unsigned detect(void) { return BIT(BB_ISA_GENERIC); }

#endif

// CPUID is slow in a virtual machine: asked once. Threads that meet here write the same value.
static unsigned supported(void) {
  static atomic_uint cache;
  unsigned found = atomic_load_explicit(&cache, memory_order_relaxed);
  if (!found) {
    found = detect();
    atomic_store_explicit(&cache, found, memory_order_relaxed);
  }
  return found;
}

bool bb_isa_runs(bb_isa isa) { return (unsigned)isa < BB_ISA_COUNT && levels[isa].built && (supported() & BIT(isa)); }

bool bb_isa_within(bb_isa isa, bb_isa cap) {
  return (unsigned)isa < BB_ISA_COUNT && (unsigned)cap < BB_ISA_COUNT && (levels[isa].within & BIT(cap));
}

bb_isa bb_isa_best(void) {
  bb_isa cap;
  const bool capped = bb_isa_parse(getenv("BB_ISA"), &cap);
  bb_isa best = BB_ISA_GENERIC;
  for (unsigned i = 0; i < BB_ISA_COUNT; i++) {
    const bb_isa isa = (bb_isa)i;
    if (bb_isa_runs(isa) && (!capped || bb_isa_within(isa, cap)) && levels[i].block > levels[best].block) best = isa;
  }
  return best;
}

const char *bb_isa_name(bb_isa isa) { return (unsigned)isa < BB_ISA_COUNT ? levels[isa].name : "unknown"; }

bool bb_isa_parse(const char *name, bb_isa *isa) {
  for (unsigned i = 0; name && i < BB_ISA_COUNT; i++)
    if (!strcmp(name, levels[i].name)) {
      *isa = (bb_isa)i;
      return true;
    }
  return false;
}

int bb_isa_block(bb_isa isa) { return (unsigned)isa < BB_ISA_COUNT ? levels[isa].block : 1; }
