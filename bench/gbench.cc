// SPDX-License-Identifier: Apache-2.0

#include "gbench.h"

#include <benchmark/benchmark.h>

#include <exception>
#include <map>
#include <ostream>
#include <string>
#include <vector>

namespace {

std::map<std::string, void *> contexts;
std::vector<char *> arguments;

class Reporter : public benchmark::BenchmarkReporter {
 public:
  // What it has to say about its flags, session.c says.
  Reporter(gbench_report report, void *user) : report_(report), user_(user) { SetErrorStream(&nowhere_); }

  bool ReportContext(const Context &) override { return true; }

  void ReportRuns(const std::vector<Run> &runs) override {
    for (const Run &run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      const gbench_run r = {contexts[run.run_name.function_name], static_cast<int>(run.family_index),
                            static_cast<int>(run.repetition_index < 0 ? 0 : run.repetition_index),
                            static_cast<int>(run.repetitions)};
      report_(user_, &r);
    }
  }

 private:
  gbench_report report_;
  void *user_;
  std::ostream nowhere_{nullptr};
};

}  // namespace

// No exception leaves this file: C could not catch it. All that is thrown here is std::bad_alloc.

bool gbench_init(int argc, char **argv, const char **unknown) try {
  arguments.assign(argv, argv + argc);
  arguments.push_back(nullptr);
  int left = argc;
  benchmark::Initialize(&left, arguments.data());
  *unknown = left > 1 ? arguments[1] : nullptr;
  return true;
} catch (const std::exception &) {
  return false;
}

bool gbench_add(const char *name, int repetitions, gbench_measure measure, void *context) try {
  contexts[name] = context;
  benchmark::RegisterBenchmark(name,
                               [measure, context](benchmark::State &state) {
                                 char error[256] = "";
                                 const double seconds = measure(context, error);
                                 if (seconds < 0) state.SkipWithError(error);
                                 while (state.KeepRunning()) state.SetIterationTime(seconds);
                               })
      ->Iterations(1)
      ->Repetitions(repetitions)
      ->UseManualTime();
  return true;
} catch (const std::exception &) {
  return false;
}

int gbench_run_all(gbench_report report, void *user) try {
  Reporter reporter(report, user);
  const size_t matched = benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
  return static_cast<int>(matched);
} catch (const std::exception &) {
  return -1;
}
