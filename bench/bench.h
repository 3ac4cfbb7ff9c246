// SPDX-License-Identifier: Apache-2.0
//
// What the verbs of the program share: exit codes, options, the verb table.

#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../kernels/bb.h"

typedef enum exit_code {
  EXIT_OK = 0,
  EXIT_CHECK = 1,     // a check failed: a wrong result
  EXIT_USAGE = 2,     // bad usage or bad input
  EXIT_NOISY = 4,     // too noisy to say
  EXIT_SYSTEM = 5,    // memory, threads, disk
  EXIT_NOTHING = 77,  // nothing here can run on this CPU
  EXIT_INTERRUPTED = 130
} exit_code;

// A list given on the command line: at most as many entries as fit.
enum { LIST_MAX = 1024 };
typedef struct int_list {
  int count;
  int at[LIST_MAX];
} int_list;

enum { STRINGS_MAX = 64 };
typedef struct string_list {
  int count;
  const char *at[STRINGS_MAX];
} string_list;

typedef enum data_kind { DATA_NORMAL, DATA_INT, DATA_ZEROS, DATA_DENORMAL } data_kind;
typedef enum format { FORMAT_TEXT, FORMAT_MD, FORMAT_JSON, FORMAT_CSV } format;

typedef struct options {
  // Common flags.
  string_list isas;  // names; empty = the best here
  const char *impl, *filter;
  bb_alg alg;
  bb_accuracy accuracy;
  bb_plan_mode plan;
  const char *wisdom;
  int_list threads, cpus, mb;  // threads: {1} if not given; cpus, mb: empty = not given
  bool hot, cold;
  double min_time;  // seconds of samples per row
  int repetitions;
  double max_noise;  // per cent; 0 = do not care
  uint64_t seed;
  data_kind data;
  bool phases, samples, no_check;
  string_list peers;
  format format;
  string_list outs, notes;
  int verbose;
  // Of single verbs.
  const char *suite, *model, *batch;             // conv, list parameters
  bool full, exact, models;                      // test
  bool layers, all;                              // model
  int streams;                                   // model
  const char *weights, *input, *image, *output;  // run
  bool reference;                                // run
  int top;                                       // run
  const char *passes;                            // model, run
  int_list channels, sizes;                      // crossover; empty = not given
  // The rest.
  string_list args;       // what is no flag
  string_list benchmark;  // --benchmark_*
  uint64_t given;         // bits of the flags that were given: args_given
  int argc;               // the command line, for the record
  char **argv;
} options;

typedef struct verb {
  const char *name;
  const char *usage;    // what may follow the name
  const char *summary;  // one line
  const char *help;     // more lines, may be empty
  unsigned bit;         // in flag.verbs
  int min_args, max_args;
  exit_code (*run)(const options *o);
} verb;

exit_code verb_quick(const options *o);
exit_code verb_machine(const options *o);
exit_code verb_peak(const options *o);
exit_code verb_list(const options *o);
exit_code verb_test(const options *o);
exit_code verb_conv(const options *o);
exit_code verb_model(const options *o);
exit_code verb_run(const options *o);
exit_code verb_explain(const options *o);
exit_code verb_crossover(const options *o);

// One line on stderr, "backbench: ...", and the code back: `return fail(EXIT_USAGE, "...", ...)`.
exit_code fail(exit_code code, const char *form, ...) __attribute__((format(printf, 2, 3)));
void warn(const char *form, ...) __attribute__((format(printf, 1, 2)));
// The exit code of a library's refusal, with its sentence on stderr.
exit_code fail_status(bb_status status, const bb_error *error);

// Has the user asked us to stop? Set by SIGINT and SIGTERM, once they are caught.
void catch_signals(void);
bool interrupted(void);
// While there is nothing to finish or to keep: a signal ends the program there and then, with EXIT_INTERRUPTED.
void stop_at_once(bool yes);

// Refuses an environment variable that makes no sense.
exit_code check_environment(void);
// JSON's small pieces: the program ends when there is no memory for one.
void json_hooks(void);

// Progress on stderr, only on a terminal, only after 2 s, even if nothing calls until then: done/total, what, time left. total
// 0 clears the line.
void progress(size_t done, size_t total, const char *what);

// Why an ISA that was asked for has no rows.
extern const char isa_missing[];

// The ISA levels asked for (or the best one) that can run here, in order; those that cannot are named in *missing.
// EXIT_NOTHING if none can, EXIT_USAGE if a name is unknown.
exit_code isas_asked(const options *o, bb_isa isa[BB_ISA_COUNT], int *count, bb_isa missing[BB_ISA_COUNT], int *missing_count);

double now_ns(void);
double memory_available(void);  // bytes that can be had without swapping; 0 = unknown
void *xalloc(size_t bytes);     // BB_ALIGN aligned and zeroed; NULL if out of memory; free() it

#endif
