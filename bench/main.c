// SPDX-License-Identifier: Apache-2.0
//
// The verb table.

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "bench.h"

// In the order of the bits in args.c; the quick run comes first.
static const verb verbs[] = {
    // clang-format off
    {"", "", "quick run (under 60 s): machine, measured peaks, twelve convolutions, ResNet-50 end to end", "", 1u << 0, 0, 0, verb_quick},
    {"machine", "", "this CPU, its caches and settings, and what will make timings unreliable", "", 1u << 1, 0, 0, verb_machine},
    {"peak", "", "measured FMA peak per ISA and thread count, bandwidth of each cache level and of memory", "", 1u << 2, 0, 0, verb_peak},
    {"list", "kernels|models|cases|isas|peers|parameters", "what there is, one per line",
     "list parameters --model NAME: name, shape, mean and scale of each synthetic parameter.\n"
     "list cases: the rows of all suites but tails.", 1u << 3, 1, 1, verb_list},
    {"test", "", "verifies every kernel that can run here against the reference, on integer and on real data", "", 1u << 4, 0, 0, verb_test},
    {"conv", "[PROBLEM...]", "times convolutions: problem strings, a suite, a backbone's layers or a file",
     "A problem is written as oneDNN's benchdnn writes it, then what is fused to it:\n"
     "  g1mb1ic64ih56oc64oh56kh3ph1n\"name*3\" +bias+add+relu", 1u << 5, 0, STRINGS_MAX, verb_conv},
    {"model", "[NAME...]", "times backbones end to end: latency, images/s, GFLOP/s", "", 1u << 6, 0, STRINGS_MAX, verb_model},
    {"run", "NAME", "one inference on real data", "", 1u << 7, 1, 1, verb_run},
    {"explain", "PROBLEM", "which kernels accept a problem, which is chosen and why, predicted and measured time",
     "Takes one value of --isa, --threads, --mb and --cache, no lists. With --impl the choice is among the kernels that it names.\n"
     "Portable kernels are timed where one is chosen or --impl names them, not beside vector code.",
     1u << 8, 1, STRINGS_MAX, verb_explain},
    {"crossover", "", "where direct, F(2,3), F(4,3) and F(6,3) win, over channels x size, with the error of each",
     "Cells are 3x3 convolutions of padding 1 with as many outputs as inputs. --wisdom FILE keeps the winner of each cell for\n"
     "every accuracy: with it, conv, model, run and explain choose what won here, whatever is fused to the convolution. They look for\n"
     "winners with their own kind of weights: model and run with cold ones, conv and explain as --cache says; --cache hot,cold finds\n"
     "both. A winner that did not meet every algorithm, was not checked, or was disturbed and not clearly ahead is not kept.",
     1u << 9, 0, 0, verb_crossover},
    // clang-format on
};

static exit_code run_program(int argc, char **argv) {
  json_hooks();
  static options o;
  o = options_default();
  o.argc = argc;
  o.argv = argv;
  const verb *v = &verbs[0];
  int first = 1;
  if (argc > 1 && argv[1][0] != '-') {
    v = NULL;
    first = 2;
    for (size_t i = 1; i < sizeof verbs / sizeof *verbs; i++)
      if (!strcmp(argv[1], verbs[i].name)) v = &verbs[i];
    if (!v) return fail(EXIT_USAGE, "unknown verb \"%.80s\"; \"backbench --help\" lists those that exist", argv[1]);
  }
  if (argc > 1 && !strcmp(argv[1], "--version")) return printf("backbench %s\n", BB_VERSION), EXIT_OK;
  if (check_environment() != EXIT_OK) return EXIT_USAGE;

  bool help;
  exit_code code = args_parse(v, argc - first, argv + first, &o, &help);
  if (code != EXIT_OK) return code;
  if (help) {
    if (v == &verbs[0])
      args_help_main(verbs, sizeof verbs / sizeof *verbs);
    else
      args_help(v);
  } else {
    catch_signals();
    code = v->run(&o);
    progress(0, 0, NULL);
  }
  errno = 0;  // of an earlier write it is lost
  if ((fflush(stdout) || ferror(stdout)) && code == EXIT_OK)
    code = fail(EXIT_SYSTEM, "stdout: %s", errno ? strerror(errno) : "cannot be written");
  return code;
}

int main(int argc, char **argv) { return (int)run_program(argc, argv); }
