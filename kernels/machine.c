// SPDX-License-Identifier: Apache-2.0
//
// Cache sizes, processors, name of the CPU, 512-bit FMAs per cycle, and the constants of the cost models.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bb.h"
#include "common.h"
#include "machine.h"
#include "probe.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static struct bb_machine machine;
static int *cpus;  // of the inherited mask, machine.cores of them; NULL if unknown

// ---- processors ------------------------------------------------------------------------------------------------------

static void find_cpus(void) {
  machine.cores = bb_max(1, (int)sysconf(_SC_NPROCESSORS_ONLN));
#if defined(__linux__)
  // The kernel refuses a mask smaller than its own; its size is not known, so it is doubled.
  for (int n = CPU_SETSIZE; n <= 64 * CPU_SETSIZE; n *= 2) {
    cpu_set_t *mask = CPU_ALLOC((size_t)n);
    if (!mask) return;
    const size_t bytes = CPU_ALLOC_SIZE((size_t)n);
    if (!sched_getaffinity(0, bytes, mask)) {
      const int count = CPU_COUNT_S(bytes, mask);
      cpus = malloc((size_t)count * sizeof *cpus);
      for (int cpu = 0, i = 0; cpus && i < count; cpu++)
        if (CPU_ISSET_S((size_t)cpu, bytes, mask)) cpus[i++] = cpu;
      machine.cores = bb_max(1, count);
      CPU_FREE(mask);
      return;
    }
    CPU_FREE(mask);
  }
#endif
}

// ---- caches and name ---------------------------------------------------------------------------------------------------

static void set_cache(unsigned level, size_t bytes) {
  size_t *const size[] = {&machine.l1d, &machine.l2, &machine.l3};
  if (level >= 1 && level <= 3 && !*size[level - 1]) *size[level - 1] = bytes;
}

// /sys/devices/system/cpu/cpu0/cache/index*/{level,type,size}
static void sysfs_caches(void) {
  for (int index = 0; index < 8; index++) {
    static const char *const field[] = {"level", "type", "size"};
    char text[BB_COUNT(field)][32] = {{0}};
    for (size_t f = 0; f < BB_COUNT(field); f++) {
      char path[96];
      snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, field[f]);
      FILE *file = fopen(path, "r");
      if (!file) return;
      if (!fgets(text[f], sizeof text[f], file)) text[f][0] = 0;
      fclose(file);
    }
    char *unit;
    size_t bytes = strtoul(text[2], &unit, 10);
    bytes <<= *unit == 'K' ? 10 : *unit == 'M' ? 20 : 0;
    if (text[1][0] != 'I') set_cache((unsigned)strtoul(text[0], NULL, 10), bytes);  // not Instruction
  }
}

static void sysconf_caches(void) {
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  static const int name[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
  for (unsigned i = 0; i < BB_COUNT(name); i++) {
    const long bytes = sysconf(name[i]);
    if (bytes > 0) set_cache(i + 1, (size_t)bytes);
  }
#endif
}

enum vendor { OTHER, AMD, INTEL };

#if defined(__x86_64__)

// Deterministic cache parameters: Intel SDM vol. 2A, CPUID leaf 4; AMD APM vol. 3, leaf 8000_001D, of the same form.
static void cpu_caches(void) {
  unsigned a, b, c, d;
  const bool amd = __get_cpuid(0x80000000, &a, &b, &c, &d) && a >= 0x8000001d && __get_cpuid(0x80000001, &a, &b, &c, &d) &&
                   (c & 1u << 22);  // topology extensions
  const unsigned leaf = amd ? 0x8000001d : 4;
  for (unsigned i = 0; i < 16 && __get_cpuid_count(leaf, i, &a, &b, &c, &d) && (a & 31); i++) {
    const unsigned type = a & 31, level = a >> 5 & 7;
    const size_t ways = (b >> 22) + 1, partitions = (b >> 12 & 0x3ff) + 1, line = (b & 0xfff) + 1, sets = (size_t)c + 1;
    if (type != 2) set_cache(level, ways * partitions * line * sets);  // not instruction
  }
}

// CPUID leaf 1: family and model with their extensions. Hypervisors often give a whole line of processors one brand string.
static void cpu_model(enum vendor *vendor, unsigned *family, unsigned *model) {
  unsigned a, b = 0, c = 0, d = 0;
  *vendor = OTHER;
  if (__get_cpuid(0, &a, &b, &c, &d)) {
    if (b == signature_AMD_ebx && d == signature_AMD_edx && c == signature_AMD_ecx) *vendor = AMD;
    if (b == signature_INTEL_ebx && d == signature_INTEL_edx && c == signature_INTEL_ecx) *vendor = INTEL;
  }
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  *family = a >> 8 & 15, *model = a >> 4 & 15;
  if (*family == 15 || *family == 6) *model += (a >> 16 & 15) << 4;
  if (*family == 15) *family += a >> 20 & 255;
}

static void cpu_name(char name[static 49]) {
  unsigned r[12], a, b, c, d;
  name[0] = 0;
  if (!__get_cpuid(0x80000000, &a, &b, &c, &d) || a < 0x80000004) return;
  for (unsigned i = 0; i < 3; i++) __get_cpuid(0x80000002 + i, r + 4 * i, r + 4 * i + 1, r + 4 * i + 2, r + 4 * i + 3);
  memcpy(name, r, sizeof r);
  name[48] = 0;
}

#else

static void cpu_caches(void) {}
static void cpu_model(enum vendor *vendor, unsigned *family, unsigned *model) { (void)vendor, (void)family, (void)model; }

#if defined(__aarch64__) && defined(__linux__)

// MIDR_EL1: implementer [31:24], part [15:4]. The kernel answers the read for user space when it offers HWCAP_CPUID.
static void cpu_name(char name[static 49]) {
  static const struct {
    unsigned implementer, part;
    const char *name;
  } known[] = {
      {0x41, 0xd03, "Arm Cortex-A53"},  {0x41, 0xd05, "Arm Cortex-A55"},  {0x41, 0xd07, "Arm Cortex-A57"},
      {0x41, 0xd08, "Arm Cortex-A72"},  {0x41, 0xd0b, "Arm Cortex-A76"},  {0x41, 0xd0c, "Arm Neoverse N1"},
      {0x41, 0xd40, "Arm Neoverse V1"}, {0x41, 0xd49, "Arm Neoverse N2"}, {0x41, 0xd4f, "Arm Neoverse V2"},
      {0x41, 0xd8e, "Arm Neoverse N3"}, {0x41, 0xd84, "Arm Neoverse V3"}, {0xc0, 0xac3, "Ampere-1"},
      {0x46, 0x001, "Fujitsu A64FX"},
  };
  name[0] = 0;
  if (!(getauxval(AT_HWCAP) & HWCAP_CPUID)) return;
  uint64_t midr;
  __asm__("mrs %0, midr_el1" : "=r"(midr));
  const unsigned implementer = midr >> 24 & 0xff, part = midr >> 4 & 0xfff;
  snprintf(name, 49, "Arm implementer 0x%02x part 0x%03x", implementer, part);
  for (size_t i = 0; i < BB_COUNT(known); i++)
    if (known[i].implementer == implementer && known[i].part == part) snprintf(name, 49, "%s", known[i].name);
}

#else

static void cpu_name(char name[static 49]) { name[0] = 0; }

#endif
#endif

static void squeeze_blanks(const char *from, char *to, size_t size) {
  size_t n = 0;
  for (; *from && n + 1 < size; from++)
    if (*from != ' ' || (n && to[n - 1] != ' ')) to[n++] = *from;
  while (n && to[n - 1] == ' ') n--;
  to[n] = 0;
}

// ---- 512-bit FMAs --------------------------------------------------------------------------------------------------------

static uint64_t fma_ticks(bb_isa isa) {
  const uint64_t start = bb_ticks();
  bb_probe_get(isa)->fma(400);
  return bb_ticks() - start;
}

// All cores start two 256-bit FMAs per cycle. Where they start two of 512 bits as well, as many of either take the same time,
// else the wide ones take twice as long: identification does not tell these apart as surely as a microsecond of each. The least
// of a few, interleaved: an interrupt meets one of them. Intel's cores run wide ones at a fraction of their rate until power is
// granted to them, which is said to take up to 500 us (Emerald Rapids: 2.4 times as long for 290 us): it takes more than that
// to say one.
static int find_fma512(void) {
  enum { LEAST = 16 };
  static const double granted = 2e-3;
  if (!bb_isa_runs(BB_ISA_AVX512) || !bb_probe_get(BB_ISA_AVX512) || !bb_probe_get(BB_ISA_AVX2)) return 1;
  uint64_t wide = UINT64_MAX, narrow = UINT64_MAX;
  const double end = bb_seconds() + granted;
  for (int i = 0; i < LEAST || bb_seconds() < end; i++) {
    const uint64_t w = fma_ticks(BB_ISA_AVX512), n = fma_ticks(BB_ISA_AVX2);
    wide = w < wide ? w : wide;
    narrow = n < narrow ? n : narrow;
    if (i + 1 >= LEAST && 2 * wide < 3 * narrow) return 2;
  }
  return 1;
}

// ---- once ----------------------------------------------------------------------------------------------------------------

static void find_machine(void) {
  find_cpus();
  cpu_caches();
  sysconf_caches();
  sysfs_caches();
  char name[49];
  cpu_name(name);
  squeeze_blanks(name[0] ? name : "unknown CPU", machine.cpu, sizeof machine.cpu);
  enum vendor vendor = OTHER;
  unsigned family = 0, model = 0;
  cpu_model(&vendor, &family, &model);
  const size_t length = strlen(machine.cpu);
  if (family) snprintf(machine.cpu + length, sizeof machine.cpu - length, ", family %u model %u", family, model);
  machine.fma512 = find_fma512();

  // Bytes that one core streams per cycle when the others are quiet, for cost models that only need the order of magnitude:
  // L2: half of the 64 (Intel) or 32 (AMD, Neoverse) bytes that the path is wide; L3 and DRAM: what server parts of 2020 to
  // 2024 reach.
  machine.l2_bytes_per_cycle = 32;
  machine.l3_bytes_per_cycle = 16;
  machine.dram_bytes_per_cycle = 6;
  machine.dram_share = 0.75;
  machine.l3_share = 1;
  // 10 on Zen 4 where two cores share L3, 90 where they do not; hypervisors move them from one to the other. Zen 5: 4, or 15 to
  // 24 (Winograd's staged 14x14x192 takes 93 or 133 us, its fused 96): between the two, so that a plan is bad in neither.
  machine.transfer_cycles = 40;
  if (vendor == AMD && family >= 26) {  // Zen 5 and newer
    machine.blends_apart = true;
    machine.l3_bytes_per_cycle = 26;
    machine.dram_bytes_per_cycle = 9;
    machine.dram_share = 0.65;
    machine.l3_share = 0.8;
    machine.transfer_cycles = 12;
  }
  // Intel's servers, whose cores share L3 over a mesh; measured on Emerald Rapids: 26 GB/s where L2 gives 140, 30 of two
  // cores from memory where one gets 15. A line that another core wrote comes hardly later than any other from L3.
  if (vendor == INTEL && machine.fma512 == 2) {
    machine.l3_bytes_per_cycle = 9;
    machine.dram_bytes_per_cycle = 5;
    machine.dram_share = 0.5;
    machine.transfer_cycles = 10;
  }
}

static void once(void) {
  static pthread_once_t control = PTHREAD_ONCE_INIT;
  pthread_once(&control, find_machine);
}

const bb_machine *bb_machine_get(void) {
  once();
  return &machine;
}

int bb_machine_cpu(int i) {
  once();
  return cpus ? cpus[i % machine.cores] : -1;
}
