// SPDX-License-Identifier: Apache-2.0

#ifndef BENCH_ARGS_H
#define BENCH_ARGS_H

#include "bench.h"

options options_default(void);

// Reads the flags and arguments of a verb. EXIT_OK and *help = false: go on. *help: print_help and leave.
exit_code args_parse(const verb *v, int argc, char **argv, options *o, bool *help);

void args_help(const verb *v);
void args_help_main(const verb *verbs, size_t count);

// "1,2,4-8" -> 1 2 4 5 6 7 8, each within [low, high]; what is named again counts once.
bool args_int_list(const char *text, int low, int high, int_list *list, bb_error *error);

bool args_given(const options *o, const char *name);
// EXIT_USAGE if a flag or a problem was given that conv --suite tails does not take.
exit_code args_tails(const options *o);
// EXIT_USAGE if the user gave a list to a verb that does one thing.
exit_code args_single(const options *o, const char *who);

#endif
