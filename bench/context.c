// SPDX-License-Identifier: Apache-2.0

#include "context.h"

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <hwloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "build_info.h"
#include "team.h"

// ---- small readers -------------------------------------------------------------------------------------------------

// First line of a file, without its end; "" if there is none.
static const char *line_of(const char *path, char *text, int size) {
  FILE *f = fopen(path, "re");
  text[0] = 0;
  if (!f) return text;
  if (!fgets(text, size, f)) text[0] = 0;
  fclose(f);
  text[strcspn(text, "\n")] = 0;
  return text;
}

// Value of the first "key : value" line of /proc/cpuinfo.
static const char *cpuinfo(const char *key, char *value, size_t size) {
  FILE *f = fopen("/proc/cpuinfo", "re");
  value[0] = 0;
  if (!f) return value;
  char line[4096];
  const size_t n = strlen(key);
  while (!*value && fgets(line, sizeof line, f)) {
    const char *colon = strchr(line, ':');
    if (!colon || strncmp(line, key, n) || strspn(line + n, " \t") != (size_t)(colon - line) - n) continue;
    snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
    value[strcspn(value, "\n")] = 0;
  }
  fclose(f);
  return value;
}

static void add_text(cJSON *o, const char *key, const char *value) {
  if (*value) cJSON_AddStringToObject(o, key, value);
}

static void add_file(cJSON *o, const char *key, const char *path) {
  char text[256];
  add_text(o, key, line_of(path, text, sizeof text));
}

// ---- the machine ---------------------------------------------------------------------------------------------------

static void add_hypervisor(cJSON *o) {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 31)) {  // CPUID.1:ECX[31]: a hypervisor is present
    char name[13] = "";
    __cpuid(0x40000000, a, b, c, d);
    memcpy(name, &b, 4), memcpy(name + 4, &c, 4), memcpy(name + 8, &d, 4);
    cJSON_AddStringToObject(o, "hypervisor", *name ? name : "unknown");
  }
#else
  add_file(o, "hypervisor", "/sys/hypervisor/type");
#endif
}

static void add_cpu(cJSON *o) {
  char text[256];
  cJSON_AddStringToObject(o, "cpu", bb_machine_get()->cpu);
#if defined(__x86_64__)
  add_text(o, "vendor", cpuinfo("vendor_id", text, sizeof text));
  add_text(o, "family", cpuinfo("cpu family", text, sizeof text));
  add_text(o, "model", cpuinfo("model", text, sizeof text));
  add_text(o, "stepping", cpuinfo("stepping", text, sizeof text));
  add_text(o, "microcode", cpuinfo("microcode", text, sizeof text));
#else
  add_text(o, "vendor", cpuinfo("CPU implementer", text, sizeof text));
  add_text(o, "model", cpuinfo("CPU part", text, sizeof text));
  add_text(o, "stepping", cpuinfo("CPU revision", text, sizeof text));
#endif
  add_hypervisor(o);
  cJSON *isas = cJSON_AddArrayToObject(o, "isas");
  for (int i = 0; i < BB_ISA_COUNT; i++)
    if (bb_isa_runs((bb_isa)i)) cJSON_AddItemToArray(isas, cJSON_CreateString(bb_isa_name((bb_isa)i)));
  cJSON_AddStringToObject(o, "isa", bb_isa_name(bb_isa_best()));
  if (bb_isa_runs(BB_ISA_AVX512)) cJSON_AddNumberToObject(o, "fma512_per_cycle", bb_machine_get()->fma512);
}

static void load_topology(cJSON *o) {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology)) return;
  if (!hwloc_topology_load(topology)) {
    const struct {
      const char *key;
      hwloc_obj_type_t type;
    } counts[] = {{"packages", HWLOC_OBJ_PACKAGE},
                  {"numa_nodes", HWLOC_OBJ_NUMANODE},
                  {"cores", HWLOC_OBJ_CORE},
                  {"num_cpus", HWLOC_OBJ_PU}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
      const int n = hwloc_get_nbobjs_by_type(topology, counts[i].type);
      if (n > 0) cJSON_AddNumberToObject(o, counts[i].key, n);
    }
    cJSON *caches = cJSON_AddArrayToObject(o, "caches");
    const hwloc_obj_type_t cache[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L1ICACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE};
    for (size_t i = 0; i < sizeof cache / sizeof *cache; i++) {
      const hwloc_obj_t obj = hwloc_get_obj_by_type(topology, cache[i], 0);
      if (!obj) continue;
      cJSON *c = cJSON_CreateObject();  // the keys that Google Benchmark writes
      cJSON_AddStringToObject(c, "type",
                              cache[i] == HWLOC_OBJ_L1ICACHE  ? "Instruction"
                              : cache[i] == HWLOC_OBJ_L1CACHE ? "Data"
                                                              : "Unified");
      cJSON_AddNumberToObject(c, "level", obj->attr->cache.depth);
      cJSON_AddNumberToObject(c, "size", (double)obj->attr->cache.size);
      cJSON_AddNumberToObject(c, "num_sharing", hwloc_bitmap_weight(obj->cpuset));
      cJSON_AddItemToArray(caches, c);
    }
  }
  hwloc_topology_destroy(topology);
}

// In a process of its own: hwloc 2 reads through NULL when an allocation fails, and must not take this program with it.
static void add_topology(cJSON *o) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) return;
  fflush(NULL);
  const pid_t child = fork();
  if (!child) {
    cJSON_InitHooks(NULL);  // the parent says what there is to say
    cJSON *found = cJSON_CreateObject();
    load_topology(found);
    const char *text = cJSON_PrintUnformatted(found);
    const size_t n = text ? strlen(text) : 0;
    _exit(write(ends[1], text, n) != (ssize_t)n);
  }
  close(ends[1]);
  char text[16384];
  size_t n = 0;
  for (ssize_t got; n < sizeof text - 1 && (got = read(ends[0], text + n, sizeof text - 1 - n)) > 0;) n += (size_t)got;
  text[n] = 0;
  close(ends[0]);
  if (child > 0) waitpid(child, NULL, 0);
  cJSON *found = cJSON_Parse(text);
  while (found && found->child) {
    cJSON *item = cJSON_DetachItemViaPointer(found, found->child);
    char *key = item->string;  // adding it to another object replaces the key
    item->string = NULL;
    cJSON_AddItemToObject(o, key, item);
    cJSON_free(key);
  }
  cJSON_Delete(found);
  const double pages = (double)sysconf(_SC_PHYS_PAGES), page = (double)sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0) cJSON_AddNumberToObject(o, "memory_bytes", pages * page);
}

// CPU quota of this process in processors; 0 = none. cgroup v2, then v1.
static double quota(void) {
  char text[256];
  double q, period;
  char path[4200] = "/sys/fs/cgroup", group[4096] = "";
  FILE *f = fopen("/proc/self/cgroup", "re");
  if (f) {
    while (fgets(group, sizeof group, f))
      if (!strncmp(group, "0::", 3)) break;
    fclose(f);
  }
  group[strcspn(group, "\n")] = 0;
  if (!strncmp(group, "0::/", 4)) snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group + 3);
  if (sscanf(line_of(path, text, sizeof text), "%lf %lf", &q, &period) == 2 && period > 0) return q / period;
  if (sscanf(line_of("/sys/fs/cgroup/cpu.max", text, sizeof text), "%lf %lf", &q, &period) == 2 && period > 0)
    return q / period;
  if (sscanf(line_of("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text), "%lf", &q) == 1 && q > 0 &&
      sscanf(line_of("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text, sizeof text), "%lf", &period) == 1 && period > 0)
    return q / period;
  return 0;
}

static void add_settings(cJSON *o) {
  char text[256];
  add_file(o, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  add_file(o, "frequency_driver", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver");
  add_file(o, "boost", "/sys/devices/system/cpu/cpufreq/boost");
  add_file(o, "no_turbo", "/sys/devices/system/cpu/intel_pstate/no_turbo");
  add_file(o, "smt", "/sys/devices/system/cpu/smt/control");
  add_file(o, "transparent_hugepages", "/sys/kernel/mm/transparent_hugepage/enabled");
  line_of("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", text, sizeof text);
  if (!*text) snprintf(text, sizeof text, "%.0f", 0.0);
  double mhz = atof(text) * 1e-3;
  if (mhz == 0) mhz = atof(cpuinfo("cpu MHz", text, sizeof text));
  cJSON_AddNumberToObject(o, "mhz_per_cpu", (double)(long)(mhz + 0.5));
  cJSON_AddBoolToObject(
      o, "cpu_scaling_enabled",
      cJSON_HasObjectItem(o, "governor") && strcmp(cJSON_GetObjectItem(o, "governor")->valuestring, "performance") != 0);
  cJSON_AddBoolToObject(o, "aslr_enabled", !(personality(0xffffffff) & ADDR_NO_RANDOMIZE));
  double average[3];
  if (getloadavg(average, 3) == 3) cJSON_AddItemToObject(o, "load_avg", cJSON_CreateDoubleArray(average, 3));
  const double q = quota();
  if (q > 0) cJSON_AddNumberToObject(o, "cpu_quota", q);
  static int cpu[LIST_MAX];
  const int n = team_processors(cpu);
  cJSON_AddItemToObject(o, "cpus_allowed", cJSON_CreateIntArray(cpu, n));
}

static void add_system(cJSON *o) {
  struct utsname name;
  char text[256], value[200] = "";
  if (!uname(&name)) {
    snprintf(text, sizeof text, "%.60s %.100s %.60s", name.sysname, name.release, name.machine);
    cJSON_AddStringToObject(o, "os", text);
    cJSON_AddStringToObject(o, "host_name", name.nodename);
  }
  FILE *f = fopen("/etc/os-release", "re");
  while (f && fgets(text, sizeof text, f))
    if (sscanf(text, "PRETTY_NAME=\"%199[^\"]", value) == 1) break;
  if (f) fclose(f);
  add_text(o, "distribution", value);
  snprintf(text, sizeof text, "glibc %s", gnu_get_libc_version());
  cJSON_AddStringToObject(o, "libc", text);
}

cJSON *context_machine(void) {
  cJSON *o = cJSON_CreateObject();
  if (!o) return NULL;
  add_cpu(o);
  add_topology(o);
  add_settings(o);
  add_system(o);
  return o;
}

// ---- the run -------------------------------------------------------------------------------------------------------

// How this process treats denormal numbers: those of MXCSR / FPCR.
static const char *denormal_mode(void) {
  volatile float tiny = 0x1p-126f, half = 0.5f, denormal = 0x1p-130f, one = 1.0f;
  const bool flushed = tiny * half == 0, read_as_zero = denormal * one == 0 && !flushed;
  return flushed ? "flush to zero" : read_as_zero ? "denormals are zero" : "gradual underflow";
}

cJSON *context_create(const options *o) {
  cJSON *c = context_machine();
  if (!c) return NULL;
  char text[64];
  const time_t now = time(NULL);
  struct tm local;
  localtime_r(&now, &local);
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S%z", &local);
  cJSON_AddStringToObject(c, "date", text);
  cJSON_AddNumberToObject(c, "schema_version", SCHEMA_VERSION);
  cJSON_AddStringToObject(c, "executable", "backbench");
  cJSON_AddStringToObject(c, "version", BB_VERSION);
  cJSON_AddStringToObject(c, "commit", BUILD_COMMIT);
  cJSON_AddBoolToObject(c, "dirty", BUILD_DIRTY);
  cJSON_AddStringToObject(c, "compiler", BUILD_COMPILER);
  cJSON_AddStringToObject(c, "compiler_flags", BUILD_FLAGS);
  cJSON_AddStringToObject(c, "library_build_type", strcmp(BUILD_TYPE, "Debug") ? "release" : "debug");
  cJSON *line = cJSON_AddArrayToObject(c, "command_line");
  for (int i = 1; i < o->argc; i++) cJSON_AddItemToArray(line, cJSON_CreateString(o->argv[i]));
  snprintf(text, sizeof text, "%llu", (unsigned long long)o->seed);
  cJSON_AddStringToObject(c, "seed", text);  // a string: JSON numbers have 53 bits
  static const char *const data[] = {"normal", "int", "zeros", "denormal"};
  cJSON_AddStringToObject(c, "data", data[o->data]);
  cJSON_AddStringToObject(c, "algorithm", bb_alg_name(o->alg));
  cJSON_AddStringToObject(c, "accuracy", bb_accuracy_name(o->accuracy));
  cJSON_AddStringToObject(c, "plan", o->plan == BB_PLAN_MEASURE ? "measure" : "estimate");
  if (o->wisdom) cJSON_AddStringToObject(c, "wisdom", o->wisdom);
  cJSON_AddStringToObject(c, "denormal_mode", denormal_mode());
  cJSON_AddNumberToObject(c, "min_time", o->min_time);
  cJSON_AddStringToObject(c, "flop_convention",
                          "gflops and pct_peak count multiplications with real pixels; gflops_padded counts padding too");
  static int all[LIST_MAX];
  const int n = team_processors(all);
  cJSON_AddItemToObject(c, "cpus", cJSON_CreateIntArray(o->cpus.count ? o->cpus.at : all, o->cpus.count ? o->cpus.count : n));
  if (o->notes.count) {
    cJSON *notes = cJSON_AddObjectToObject(c, "notes");
    for (int i = 0; i < o->notes.count; i++) {
      const char *note = o->notes.at[i], *eq = strchr(note, '=');
      char *key = strndup(note, (size_t)(eq - note));
      if (key) cJSON_AddStringToObject(notes, key, eq + 1);
      free(key);
    }
  }
  return c;
}

void context_peak(context_peaks *p, const char *isa, int threads, double gflops) {
  if (!(gflops > 0)) return;
  int i = 0;
  while (i < p->count && (strcmp(p->at[i].isa, isa) || p->at[i].threads != threads)) i++;
  if (i == PEAKS_MAX) return;
  if (i == p->count) {
    snprintf(p->at[i].isa, sizeof p->at[i].isa, "%s", isa);
    p->at[i].threads = threads;
    p->at[i].gflops = 0;
    p->count++;
  }
  if (gflops > p->at[i].gflops) p->at[i].gflops = gflops;
}

void context_add_peaks(cJSON *context, const context_peaks *p) {
  cJSON *peaks = cJSON_AddArrayToObject(context, "peaks");
  for (int i = 0; i < p->count; i++) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "isa", p->at[i].isa);
    cJSON_AddNumberToObject(o, "threads", p->at[i].threads);
    cJSON_AddNumberToObject(o, "gflops", p->at[i].gflops);
    cJSON_AddItemToArray(peaks, o);
  }
}

// ---- for people ----------------------------------------------------------------------------------------------------

static const char *text_of(const cJSON *o, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
  return cJSON_IsString(item) ? item->valuestring : "";
}

static double number_of(const cJSON *o, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static void card_line(FILE *f, const char *name, const char *value) {
  if (*value) fprintf(f, "%-12s %s\n", name, value);
}

void context_print_card(const cJSON *m, FILE *f) {
  char text[512];
  card_line(f, "cpu", text_of(m, "cpu"));
  snprintf(text, sizeof text, "%s family %s model %s stepping %s", text_of(m, "vendor"), text_of(m, "family"),
           text_of(m, "model"), text_of(m, "stepping"));
  card_line(f, "", "");
  fprintf(f, "%-12s %s\n", "vendor", text);
  card_line(f, "microcode", text_of(m, "microcode"));
  text[0] = 0;
  const cJSON *item;
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(m, "isas")) {
    const size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", item->valuestring);
  }
  const double fmas = number_of(m, "fma512_per_cycle");
  if (fmas > 0)
    snprintf(text + strlen(text), sizeof text - strlen(text), "; %.0f 512-bit FMA%s per cycle", fmas, fmas > 1 ? "s" : "");
  card_line(f, "isas", text);
  snprintf(text, sizeof text, "%.0f cores, %.0f hardware threads, %.0f packages, %.0f NUMA nodes; %d usable here",
           number_of(m, "cores"), number_of(m, "num_cpus"), number_of(m, "packages"), number_of(m, "numa_nodes"),
           cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(m, "cpus_allowed")));
  card_line(f, "cores", text);
  text[0] = 0;
  cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(m, "caches")) {
    const size_t n = strlen(text);
    const bool code = !strcmp(text_of(item, "type"), "Instruction");
    snprintf(text + n, sizeof text - n, "%sL%.0f%s %.0f KiB", n ? ", " : "", number_of(item, "level"), code ? "i" : "",
             number_of(item, "size") / 1024);
    if (number_of(item, "num_sharing") > 1) {
      const size_t k = strlen(text);
      snprintf(text + k, sizeof text - k, " (for %.0f)", number_of(item, "num_sharing"));
    }
  }
  card_line(f, "caches", text);
  if (number_of(m, "memory_bytes") > 0) fprintf(f, "%-12s %.1f GiB\n", "memory", number_of(m, "memory_bytes") / 1073741824.0);
  card_line(f, "governor", *text_of(m, "governor") ? text_of(m, "governor") : "not visible");
  card_line(f, "hypervisor", *text_of(m, "hypervisor") ? text_of(m, "hypervisor") : "none");
  const cJSON *average = cJSON_GetObjectItemCaseSensitive(m, "load_avg");
  if (average) fprintf(f, "%-12s %.2f in the last minute\n", "load", cJSON_GetArrayItem(average, 0)->valuedouble);
  if (number_of(m, "cpu_quota") > 0)
    fprintf(f, "%-12s %.2f processors\n", "quota", number_of(m, "cpu_quota"));
  else
    card_line(f, "quota", "none");
  snprintf(text, sizeof text, "%s, %s, %s", text_of(m, "os"), text_of(m, "distribution"), text_of(m, "libc"));
  card_line(f, "system", text);
}

static void diagnose(cJSON *list, const char *name, const char *problem, const char *fix) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "name", name);
  cJSON_AddStringToObject(o, "problem", problem);
  cJSON_AddStringToObject(o, "fix", fix);
  cJSON_AddItemToArray(list, o);
}

cJSON *context_doctor(const cJSON *m) {
  cJSON *list = cJSON_CreateArray();
  char text[256];
  const char *governor = text_of(m, "governor");
  const int usable = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(m, "cpus_allowed"));
  if (*governor && strcmp(governor, "performance")) {
    snprintf(text, sizeof text, "the frequency governor is %s: clocks follow the load", governor);
    diagnose(list, "governor", text, "cpupower frequency-set -g performance");
  }
  if (!strcmp(text_of(m, "boost"), "1") || !strcmp(text_of(m, "no_turbo"), "0"))
    diagnose(
        list, "boost", "boost clocks depend on temperature and on how many cores are busy",
        "echo 0 > /sys/devices/system/cpu/cpufreq/boost (AMD), echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo (Intel); "
        "or trust % of peak, which is measured in the same windows");
  if (*text_of(m, "hypervisor")) {
    snprintf(text, sizeof text, "a virtual machine (%s): the host may take processors away and share caches",
             text_of(m, "hypervisor"));
    diagnose(list, "hypervisor", text, "use dedicated processors, or bare metal; look at steal_pct and the grade of each row");
  }
  const cJSON *average = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(m, "load_avg"), 0);
  if (average && average->valuedouble > 0.25) {
    snprintf(text, sizeof text, "the load average is %.2f: other processes run", average->valuedouble);
    diagnose(list, "load", text, "stop them (top shows which), or wait until they are done");
  }
  if (number_of(m, "cpu_quota") > 0) {
    snprintf(text, sizeof text, "a quota of %.2f processors: this process is paused when it is used up",
             number_of(m, "cpu_quota"));
    diagnose(list, "quota", text,
             "lift it (cpu.max of the control group, --cpus of the container), or use fewer threads than that");
  }
  if (number_of(m, "num_cpus") > number_of(m, "cores") && number_of(m, "cores") > 0)
    diagnose(list, "smt", "hyper-threads share the units of a core with whatever runs on the other one",
             "echo off > /sys/devices/system/cpu/smt/control; or use no more threads than cores: they are pinned to different "
             "cores");
  if (usable && usable < number_of(m, "num_cpus")) {
    snprintf(text, sizeof text, "only %d of %.0f processors may be used", usable, number_of(m, "num_cpus"));
    diagnose(list, "affinity", text, "taskset -c 0-N backbench ..., if more were wanted");
  }
  if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(m, "aslr_enabled")))
    diagnose(list, "aslr", "addresses differ from run to run, and with them cache conflicts (rarely more than 1 %)",
             "setarch -R backbench ...");
  if (strcmp(BUILD_TYPE, "Release") && strcmp(BUILD_TYPE, "RelWithDebInfo"))
    diagnose(list, "build", "this program was built as " BUILD_TYPE ", not for speed", "cmake -DCMAKE_BUILD_TYPE=Release");
  return list;
}
