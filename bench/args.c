// SPDX-License-Identifier: Apache-2.0
//
// The flags: one table, which says who takes a flag, how it is read and what its help says.

#include "args.h"

#include <errno.h>
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../models/models.h"

// Bits of verb.bit.
enum {
  QUICK = 1 << 0,
  MACHINE = 1 << 1,
  PEAK = 1 << 2,
  LIST = 1 << 3,
  TEST = 1 << 4,
  CONV = 1 << 5,
  MODEL = 1 << 6,
  RUN = 1 << 7,
  EXPLAIN = 1 << 8,
  CROSSOVER = 1 << 9,
  TAILS = 1 << 10,                           // conv --suite tails, which checks and times nothing
  TIMED = QUICK | CONV | MODEL | CROSSOVER,  // verbs that make rows
  ALL = (1 << 10) - 1
};

typedef struct flag {
  const char *name;
  const char *value;  // what the help calls it; NULL = the flag takes none
  unsigned verbs;
  bool (*set)(options *o, const char *value, bb_error *error);
  const char *help;
} flag;

static bool bad(bb_error *error, const char *value, const char *expected) {
  snprintf(error->text, sizeof error->text, "\"%.80s\" is not %s", value, expected);
  return false;
}

static bool read_int(const char *text, long low, long high, long *out, bb_error *error) {
  char *end, expected[80];
  errno = 0;
  const long n = strtol(text, &end, 10);
  snprintf(expected, sizeof expected, "a whole number from %ld to %ld", low, high);
  if (end == text || *end || errno || n < low || n > high) return bad(error, text, expected);
  *out = n;
  return true;
}

static bool read_real(const char *text, double low, double high, double *out, bb_error *error) {
  char *end, expected[80];
  const double x = strtod(text, &end);
  snprintf(expected, sizeof expected, "a number from %g to %g", low, high);
  if (end == text || *end || !isfinite(x) || x < low || x > high) return bad(error, text, expected);
  *out = x;
  return true;
}

static bool contains(const int_list *list, int n) {
  for (int i = 0; i < list->count; i++)
    if (list->at[i] == n) return true;
  return false;
}

bool args_int_list(const char *text, int low, int high, int_list *list, bb_error *error) {
  char expected[96];
  snprintf(expected, sizeof expected, "a list such as 1,2,4-8 of whole numbers from %d to %d", low, high);
  list->count = 0;
  const char *at = text;
  do {
    char *end;
    errno = 0;
    if (*at < '0' || *at > '9') return bad(error, text, expected);
    const long first = strtol(at, &end, 10);
    long last = first;
    if (*end == '-') {
      at = end + 1;
      if (*at < '0' || *at > '9') return bad(error, text, expected);
      last = strtol(at, &end, 10);
    }
    if (errno || first < low || last > high || last < first || last - first >= LIST_MAX - list->count || (*end && *end != ','))
      return bad(error, text, expected);
    for (long n = first; n <= last; n++)
      if (!contains(list, (int)n)) list->at[list->count++] = (int)n;
    at = end + 1;
    if (!*end) return true;
  } while (true);
}

static bool add_string(string_list *list, const char *value, bb_error *error) {
  if (list->count == STRINGS_MAX) {
    snprintf(error->text, sizeof error->text, "more than %d values", STRINGS_MAX);
    return false;
  }
  list->at[list->count++] = value;
  return true;
}

// Copies of values that were split; they live until the program ends.
typedef struct kept {
  struct kept *next;
  char text[];
} kept;
static kept *all_kept;

// Splits at commas.
static bool split(string_list *list, const char *value, bb_error *error) {
  kept *k = malloc(sizeof *k + strlen(value) + 1);
  if (!k) return bad(error, value, "storable: out of memory");
  k->next = all_kept;
  all_kept = k;
  char *copy = strcpy(k->text, value);
  for (char *piece = copy; piece;) {
    char *comma = strchr(piece, ',');
    if (comma) *comma = 0;
    if (!*piece) return bad(error, value, "a list of names separated by commas");
    if (!add_string(list, piece, error)) return false;
    piece = comma ? comma + 1 : NULL;
  }
  return true;
}

static bool check_regex(const char *value, bb_error *error) {
  regex_t re;
  const int code = regcomp(&re, value, REG_EXTENDED | REG_NOSUB);
  if (code) {
    char why[100];
    regerror(code, &re, why, sizeof why);
    snprintf(error->text, sizeof error->text, "\"%.80s\" is not a regular expression: %s", value, why);
    return false;
  }
  regfree(&re);
  return true;
}

// Index of value in the names, -1 with a sentence if it is none of them.
static int choose(const char *value, const char *const *name, int count, bb_error *error) {
  char expected[160] = "one of";
  for (int i = 0; i < count; i++) {
    if (!strcmp(value, name[i])) return i;
    const size_t length = strlen(expected);
    snprintf(expected + length, sizeof expected - length, "%s%s", i ? ", " : " ", name[i]);
  }
  bad(error, value, expected);
  return -1;
}

static bool set_isa(options *o, const char *value, bb_error *error) {
  string_list names = {0};
  if (!split(&names, value, error)) return false;
  for (int i = 0; i < names.count; i++) {
    bb_isa isa;
    if (!bb_isa_parse(names.at[i], &isa)) return bad(error, names.at[i], "one of generic, avx2, avx512, neon");
    if (!add_string(&o->isas, names.at[i], error)) return false;
  }
  return true;
}

static bool set_impl(options *o, const char *value, bb_error *error) { return check_regex(o->impl = value, error); }
static bool set_filter(options *o, const char *value, bb_error *error) { return check_regex(o->filter = value, error); }

static bool set_alg(options *o, const char *value, bb_error *error) {
  static const char *const name[] = {"auto", "direct", "wino23", "wino43", "wino63"};  // in the order of bb_alg
  _Static_assert(sizeof name / sizeof *name == BB_ALG_COUNT, "one name per algorithm");
  const int i = choose(value, name, BB_ALG_COUNT, error);
  if (i >= 0) o->alg = (bb_alg)i;
  return i >= 0;
}

static bool set_accuracy(options *o, const char *value, bb_error *error) {
  const char *name[BB_ACCURACY_COUNT];
  for (int k = 0; k < BB_ACCURACY_COUNT; k++) name[k] = bb_accuracy_name((bb_accuracy)k);
  const int i = choose(value, name, BB_ACCURACY_COUNT, error);
  if (i >= 0) o->accuracy = (bb_accuracy)i;
  return i >= 0;
}

static bool set_plan(options *o, const char *value, bb_error *error) {
  static const char *const name[] = {"estimate", "measure"};  // in the order of bb_plan_mode
  const int i = choose(value, name, 2, error);
  if (i >= 0) o->plan = (bb_plan_mode)i;
  return i >= 0;
}

// A file to read. Others than regular ones are refused: their size is asked for. What is missing is told by who opens it.
static bool set_file(const char **file, const char *value, bb_error *error) {
  struct stat info;
  *file = value;
  return stat(value, &info) || S_ISREG(info.st_mode) || bad(error, value, "a regular file");
}

static bool set_wisdom(options *o, const char *value, bb_error *error) { return (void)error, (o->wisdom = value) != NULL; }

static bool set_threads(options *o, const char *value, bb_error *error) {
  return args_int_list(value, 1, 1024, &o->threads, error);
}
static bool set_cpus(options *o, const char *value, bb_error *error) { return args_int_list(value, 0, 4095, &o->cpus, error); }
static bool set_mb(options *o, const char *value, bb_error *error) { return args_int_list(value, 1, 65536, &o->mb, error); }

static bool set_channels(options *o, const char *value, bb_error *error) {
  return args_int_list(value, 1, 65536, &o->channels, error);
}
static bool set_sizes(options *o, const char *value, bb_error *error) {
  return args_int_list(value, 1, 65536, &o->sizes, error);
}

static bool set_cache(options *o, const char *value, bb_error *error) {
  string_list names = {0};
  if (!split(&names, value, error)) return false;
  o->hot = o->cold = false;
  for (int i = 0; i < names.count; i++) {
    static const char *const name[] = {"hot", "cold"};
    const int k = choose(names.at[i], name, 2, error);
    if (k < 0) return false;
    *(k ? &o->cold : &o->hot) = true;
  }
  return true;
}

static bool set_min_time(options *o, const char *value, bb_error *error) {
  return read_real(value, 0, 3600, &o->min_time, error);
}
static bool set_max_noise(options *o, const char *value, bb_error *error) {
  return read_real(value, 0.01, 1000, &o->max_noise, error);
}

static bool set_repetitions(options *o, const char *value, bb_error *error) {
  long n;
  if (!read_int(value, 1, 10000, &n, error)) return false;
  o->repetitions = (int)n;
  return true;
}

static bool set_seed(options *o, const char *value, bb_error *error) {
  char *end;
  errno = 0;
  o->seed = strtoull(value, &end, 0);
  if (end == value || *end || errno || strchr(value, '-')) return bad(error, value, "a whole number from 0 to 2^64 - 1");
  return true;
}

static bool set_data(options *o, const char *value, bb_error *error) {
  static const char *const name[] = {"normal", "int", "zeros", "denormal"};
  const int i = choose(value, name, 4, error);
  if (i >= 0) o->data = (data_kind)i;
  return i >= 0;
}

static bool set_phases(options *o, const char *value, bb_error *error) { return (void)value, (void)error, o->phases = true; }
static bool set_samples(options *o, const char *value, bb_error *error) { return (void)value, (void)error, o->samples = true; }
static bool set_no_check(options *o, const char *value, bb_error *error) {
  return (void)value, (void)error, o->no_check = true;
}
static bool set_full(options *o, const char *value, bb_error *error) { return (void)value, (void)error, o->full = true; }
static bool set_exact(options *o, const char *value, bb_error *error) { return (void)value, (void)error, o->exact = true; }
static bool set_models(options *o, const char *value, bb_error *error) { return (void)value, (void)error, o->models = true; }
static bool set_layers(options *o, const char *value, bb_error *error) { return (void)value, (void)error, o->layers = true; }
static bool set_all(options *o, const char *value, bb_error *error) { return (void)value, (void)error, o->all = true; }
static bool set_reference(options *o, const char *value, bb_error *error) {
  return (void)value, (void)error, o->reference = true;
}
static bool set_verbose(options *o, const char *value, bb_error *error) { return (void)value, (void)error, ++o->verbose > 0; }

static bool set_peer(options *o, const char *value, bb_error *error) {
  string_list names = {0};
  if (!split(&names, value, error)) return false;
  for (int i = 0; i < names.count; i++) {
    static const char *const name[] = {"onednn"};
    if (choose(names.at[i], name, 1, error) < 0) return false;
    bool known = false;
    for (int k = 0; k < o->peers.count; k++) known |= !strcmp(o->peers.at[k], names.at[i]);
    if (!known && !add_string(&o->peers, names.at[i], error)) return false;
  }
  return true;
}

static bool set_format(options *o, const char *value, bb_error *error) {
  static const char *const name[] = {"text", "md", "json", "csv"};
  const int i = choose(value, name, 4, error);
  if (i >= 0) o->format = (format)i;
  return i >= 0;
}

static bool set_out(options *o, const char *value, bb_error *error) {
  static const char *const name[] = {"txt", "md", "json", "csv"};
  const char *dot = strrchr(value, '.'), *slash = strrchr(value, '/');
  if (dot && (!slash || dot > slash))
    for (int i = 0; i < 4; i++)
      if (!strcmp(dot + 1, name[i])) return add_string(&o->outs, value, error);
  return bad(error, value, "a file name that ends in .json, .csv, .md or .txt");
}

static bool set_note(options *o, const char *value, bb_error *error) {
  const char *eq = strchr(value, '=');
  if (!eq || eq == value) return bad(error, value, "of the form KEY=VALUE");
  return add_string(&o->notes, value, error);
}

static bool set_suite(options *o, const char *value, bb_error *error) {
  static const char *const name[] = {"quick12", "core40", "extended", "tails"};
  return choose(o->suite = value, name, 4, error) >= 0;
}

static bool set_model(options *o, const char *value, bb_error *error) { return (void)error, (o->model = value) != NULL; }
static bool set_batch(options *o, const char *value, bb_error *error) { return (void)error, (o->batch = value) != NULL; }
static bool set_weights(options *o, const char *value, bb_error *error) { return set_file(&o->weights, value, error); }
static bool set_input(options *o, const char *value, bb_error *error) { return set_file(&o->input, value, error); }
static bool set_image(options *o, const char *value, bb_error *error) { return set_file(&o->image, value, error); }
static bool set_output(options *o, const char *value, bb_error *error) { return (void)error, (o->output = value) != NULL; }

// Names of passes, a minus in front of each.
static bool set_passes(options *o, const char *value, bb_error *error) {
  string_list names = {0};
  o->passes = value;
  if (!split(&names, value, error)) return false;
  for (int i = 0; i < names.count; i++) {
    const char *name[32];
    int count = 0;
    for (size_t k = 0; k < bb_pass_count() && count < 32; k++) name[count++] = bb_pass_name(k);
    if (names.at[i][0] != '-') return bad(error, names.at[i], "the name of a pass with a minus in front of it");
    if (choose(names.at[i] + 1, name, count, error) < 0) return false;
  }
  return true;
}

static bool set_streams(options *o, const char *value, bb_error *error) {
  long n;
  if (!read_int(value, 1, 256, &n, error)) return false;
  o->streams = (int)n;
  return true;
}

static bool set_top(options *o, const char *value, bb_error *error) {
  long n;
  if (!read_int(value, 1, 1000000, &n, error)) return false;
  o->top = (int)n;
  return true;
}

static const flag flags[] = {
    // clang-format off
    {"--suite", "NAME", CONV | TAILS, set_suite, "quick12, core40, extended or tails (tails: checks only) [none]"},
    {"--model", "NAME", CONV | LIST, set_model, "the distinct convolutions of a backbone, with their counts [none]"},
    {"--batch", "FILE", CONV, set_batch, "problem strings from a file, one per line, # starts a comment [none]"},
    {"--channels", "LIST", CROSSOVER, set_channels, "rows of the map: input and output channels [32,64,128,256,512]"},
    {"--sizes", "LIST", CROSSOVER, set_sizes, "columns of the map: height and width [7,14,28,56]"},
    {"--all", NULL, MODEL, set_all, "every backbone"},
    {"--layers", NULL, MODEL, set_layers, "a table of all nodes, of one stream"},
    {"--streams", "N", MODEL, set_streams, "inferences in flight at once, each on --threads threads [1]"},
    {"--weights", "FILE", RUN | MODEL, set_weights, "parameters from a .safetensors file [synthetic, from --seed]"},
    {"--input", "FILE", RUN, set_input, "input as .npy, float32, N x C x H x W [none]"},
    {"--image", "FILE", RUN, set_image, "input as a picture (JPEG, PNG, PPM, BMP): shorter side to 256/224 of the input, centre crop, ImageNet mean and deviation [none]"},
    {"--output", "DIR", RUN, set_output, "writes output_0.npy, output_1.npy, ... there [none]"},
    {"--reference", NULL, RUN, set_reference, "by the reference executor: slow, double"},
    {"--top", "K", RUN, set_top, "prints the K best classes [5 if no --output]"},
    {"--passes", "LIST", MODEL | RUN, set_passes, "graph passes to leave out, by name: -fuse_act,-fold_bn [all on]"},
    {"--models", NULL, TEST, set_models, "every backbone too, against the reference executor"},
    {"--exact", NULL, TEST, set_exact, "integer data at zero tolerance only [integer and real data]"},
    {"--full", NULL, TEST, set_full, "everything, not a selection"},
    {"--full", NULL, CONV | TAILS, set_full, "everything, not a selection, with --suite tails"},
    {"--isa", "LIST", (ALL | TAILS) & ~(MACHINE | PEAK | LIST), set_isa, "generic, avx2, avx512, neon: a cap; each name of the list is one run [the best here]"},
    {"--isa", "LIST", PEAK, set_isa, "generic, avx2, avx512, neon: each is one run [all that run here]"},
    {"--isa", "LIST", LIST, set_isa, "kernels and isas up to one of these: generic, avx2, avx512, neon [all]"},
    {"--impl", "REGEX", CONV | TAILS | TEST | EXPLAIN, set_impl, "kernels by name; all that match are timed [the planner's choice]"},
    {"--alg", "NAME", CONV | TAILS | MODEL | TEST | EXPLAIN | RUN, set_alg, "auto, direct, wino23, wino43, wino63 [auto]"},
    {"--accuracy", "CLASS", TEST, set_accuracy, "algorithms and, with --models, what may be chosen: strict (direct ones only), default (Winograd F(2,3), F(4,3) too), fast (F(6,3) too); --alg and --impl overrule it [all; of networks default]"},
    {"--accuracy", "CLASS", QUICK | CONV | TAILS | MODEL | EXPLAIN | RUN, set_accuracy, "what may be chosen: strict (direct algorithms only), default (Winograd F(2,3), F(4,3) too), fast (F(6,3) too); --alg and --impl overrule it [default]"},
    {"--plan", "MODE", CONV | MODEL | EXPLAIN | RUN | CROSSOVER, set_plan, "how kernels are chosen: estimate (by cost models) or measure (by timing those that may win) [estimate]"},
    {"--wisdom", "FILE", CONV | MODEL | EXPLAIN | RUN | CROSSOVER, set_wisdom, "choices that were measured before: read; with --plan measure, and by crossover, also extended, or made [none]"},
    {"--threads", "LIST", (ALL | TAILS) & ~(MACHINE | PEAK | LIST), set_threads, "1,2,4-8: each is one run [1]"},
    {"--threads", "LIST", PEAK, set_threads, "1,2,4-8: each is one run [1 and as many as there are processors]"},
    {"--cpus", "LIST", TIMED | TAILS | PEAK | TEST | EXPLAIN | RUN, set_cpus, "processors to pin to: 0-3 [those of the inherited mask]"},
    {"--mb", "LIST", TIMED | EXPLAIN, set_mb, "batch sizes: each is one run [as the problem says, 1]"},
    {"--mb", "LIST", TEST, set_mb, "batch sizes of --models: each is one run [1]"},
    {"--cache", "MODE", CONV | EXPLAIN | CROSSOVER, set_cache, "hot: same buffers again; cold: weights in no cache; or both: hot,cold [hot]"},
    {"--min-time", "S", TIMED | EXPLAIN, set_min_time, "seconds of samples per row, at least [0.4]"},
    {"--repetitions", "N", TIMED, set_repetitions, "rows per name [1]"},
    {"--max-noise", "PCT", TIMED, set_max_noise, "measures longer until the spread is below, at most ten times --min-time; exit 4 if it is not [off]"},
    {"--seed", "N", (ALL | TAILS) & ~(MACHINE | PEAK | LIST), set_seed, "of all random data [1]"},
    {"--data", "KIND", CONV | EXPLAIN | CROSSOVER, set_data, "normal, int (small integers), zeros, denormal [normal]"},
    {"--filter", "REGEX", TIMED | TAILS | TEST | LIST, set_filter, "names of rows, tests or things to list [all]"},
    {"--phases", NULL, CONV, set_phases, "time of each stage of a kernel, and of what is between its tiles"},
    {"--samples", NULL, TIMED, set_samples, "raw samples in JSON"},
    {"--no-check", NULL, TIMED, set_no_check, "does not verify before timing; the rows say so"},
    {"--peer", "LIST", CONV, set_peer, "onednn: the same rows through another library, interleaved [none]"},
    {"--format", "F", ALL & ~(TEST | RUN), set_format, "of stdout: text, md, json, csv [text]"},
    {"--out", "FILE", TIMED | PEAK | MACHINE, set_out, "results to a .json, .csv, .md or .txt file too; may be repeated [none]"},
    {"--note", "KEY=VALUE", TIMED | PEAK, set_note, "kept in the context of the result; may be repeated [none]"},
    {"-v", NULL, TEST, set_verbose, "kernels that accept nothing too; twice: on stderr every test that passes"},
    {"-v", NULL, TIMED, set_verbose, "names on stderr each row that is begun"},
    {"-v", NULL, EXPLAIN, set_verbose, "every config of every kernel"},
    // clang-format on
};
_Static_assert(sizeof flags / sizeof *flags <= 64, "options.given has a bit for each");

static const flag *find_flag(const verb *v, const char *name, size_t length) {
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    if ((flags[i].verbs & v->bit) && strlen(flags[i].name) == length && !strncmp(flags[i].name, name, length)) return &flags[i];
  return NULL;
}

static exit_code refuse_flag(const verb *v, const char *text, int length) {
  const char *name = *v->name ? v->name : "the quick run";
  return fail(EXIT_USAGE, "unknown flag %.*s of %s; \"backbench%s%s --help\" lists those that exist", length, text, name,
              *v->name ? " " : "", v->name);
}

options options_default(void) { return (options){.hot = true, .min_time = 0.4, .repetitions = 1, .seed = 1, .streams = 1}; }

exit_code args_parse(const verb *v, int argc, char **argv, options *o, bool *help) {
  *help = false;
  bool only_args = false;
  for (int i = 0; i < argc; i++) {
    bb_error error = {{0}};
    const char *arg = argv[i];
    if (only_args || arg[0] != '-' || !arg[1]) {
      if (!add_string(&o->args, arg, &error)) return fail(EXIT_USAGE, "arguments: %s", error.text);
      continue;
    }
    if (!strcmp(arg, "--")) {
      only_args = true;
      continue;
    }
    if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
      *help = true;
      return EXIT_OK;
    }
    if (!strncmp(arg, "--benchmark_", 12) && (v->bit & TIMED)) {
      if (!add_string(&o->benchmark, arg, &error)) return fail(EXIT_USAGE, "--benchmark_*: %s", error.text);
      continue;
    }
    const char *eq = strchr(arg, '=');
    const size_t length = eq ? (size_t)(eq - arg) : strlen(arg);
    const flag *f = find_flag(v, arg, length);
    if (!f) return refuse_flag(v, arg, (int)length);
    const char *value = eq ? eq + 1 : NULL;
    if (!f->value && value) return fail(EXIT_USAGE, "%s takes no value", f->name);
    if (f->value && !value) {
      if (i + 1 == argc) return fail(EXIT_USAGE, "%s needs a value: %s", f->name, f->help);
      value = argv[++i];
    }
    if (f->value && !*value) return fail(EXIT_USAGE, "%s has an empty value; expected: %s", f->name, f->help);
    if (!f->set(o, value, &error)) return fail(EXIT_USAGE, "%s: %s", f->name, error.text);
    o->given |= UINT64_C(1) << (f - flags);
  }
  if (o->args.count < v->min_args) return fail(EXIT_USAGE, "%s needs %s", v->name, v->usage);
  if (o->args.count > v->max_args)
    return fail(EXIT_USAGE, "unexpected argument \"%.80s\"; usage: backbench %s %s", o->args.at[v->max_args], v->name,
                v->usage);
  if (!o->threads.count) o->threads = (int_list){.count = 1, .at = {1}};
  return EXIT_OK;
}

bool args_given(const options *o, const char *name) {
  bool given = false;
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) given |= (o->given >> i & 1) && !strcmp(flags[i].name, name);
  return given;
}

exit_code args_tails(const options *o) {
  static const char form[] = "--suite tails checks and times nothing: it takes no %s";
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    if ((o->given >> i & 1) && !(flags[i].verbs & TAILS)) return fail(EXIT_USAGE, form, flags[i].name);
  if (o->benchmark.count) return fail(EXIT_USAGE, form, o->benchmark.at[0]);
  return o->args.count ? fail(EXIT_USAGE, form, "other problems") : EXIT_OK;
}

exit_code args_single(const options *o, const char *who) {
  const struct {
    const char *flag;
    int values;
  } list[] = {{"--isa", o->isas.count}, {"--threads", o->threads.count}, {"--mb", o->mb.count}, {"--cache", o->hot + o->cold}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (list[i].values > 1) return fail(EXIT_USAGE, "%s takes one value of %s, not a list", who, list[i].flag);
  return EXIT_OK;
}

void args_help(const verb *v) {
  printf("usage: backbench%s%s%s%s [flags]\n\n%s\n", *v->name ? " " : "", v->name, *v->usage ? " " : "", v->usage, v->summary);
  if (*v->help) printf("%s\n", v->help);
  printf("\nflags ([default]):\n");
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    if (!(flags[i].verbs & v->bit)) continue;
    char left[64];
    snprintf(left, sizeof left, "%s%s%s", flags[i].name, flags[i].value ? " " : "", flags[i].value ? flags[i].value : "");
    printf("  %-20s %s\n", left, flags[i].help);
  }
  if (v->bit & TIMED)
    printf("  %-20s %s\n", "--benchmark_*",
           "handed to Google Benchmark: --benchmark_filter=REGEX, --benchmark_list_tests, ... (for its format: --format)");
  printf("  %-20s %s\n", "--help", "this page");
}

void args_help_main(const verb *verbs, size_t count) {
  printf("backbench %s: CNN convolutions and backbones on this CPU, verified and relative to its measured peak\n\n",
         BB_VERSION);
  printf("usage: backbench [verb] [arguments] [flags]\n\nverbs:\n");
  for (size_t i = 0; i < count; i++) printf("  %-20s %s\n", *verbs[i].name ? verbs[i].name : "(none)", verbs[i].summary);
  printf("\n\"backbench VERB --help\" names the flags of a verb, their defaults and units.\n");
  printf("The flags of the quick run, that is, without a verb:\n\n");
  args_help(&verbs[0]);
  printf(
      "\nexit status: 0 done, all checks passed; 1 a check failed; 2 bad usage or input; 4 too noisy to say;\n"
      "5 the system failed us (memory, threads, disk); 77 nothing here can run on this CPU; 130 interrupted\n");
}
