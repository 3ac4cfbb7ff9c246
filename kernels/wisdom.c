// SPDX-License-Identifier: Apache-2.0
//
// Wisdom: what measuring found, kept between runs.
//
// The file is text. A header, one line per lesson, and a last line that proves that the file is whole:
//
//   backbench wisdom <version>
//   <cpu> <isa> <alg> <accuracy> <kernel or *> <threads> <hot or cold> <kernel set> <task> <views> <kernel> <numbers>
//   end <lessons> <FNV-1a of all before this line>
//
// The numbers are those of the config: q k c rows kt tile ahead. Fields are separated by tabs, the numbers by blanks. All up to
// the views is the key, compared as text: it holds whatever may change the answer. "*" for the views: of the bare problem,
// whatever is fused to it. Lessons of another CPU or another build's set of kernels stay in the file and never match.

#include "wisdom.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "error.h"

static const char header[] = "backbench wisdom ";
static const char version[] = "5";
enum { KEY_FIELDS = 10, MAX_KEY = 1536 };
static const size_t max_file = (size_t)16 << 20;  // about 60,000 lessons: more is not ours

typedef struct entry {
  uint64_t hash;  // of the key: most comparisons end here
  char *key;
  bb_lesson lesson;
} entry;

typedef struct entries {
  entry *at;
  size_t count, capacity;
} entries;

struct bb_wisdom {
  pthread_mutex_t lock;
  entries entries;
};

// ---- entries -------------------------------------------------------------------------------------------------------

static bool reserve(entries *e, size_t more) {
  if (e->capacity - e->count >= more) return true;
  const size_t capacity = 2 * e->capacity + more;
  entry *at = malloc(capacity * sizeof *at);
  if (!at) return false;
  if (e->count) memcpy(at, e->at, e->count * sizeof *at);
  free(e->at);
  e->at = at;
  e->capacity = capacity;
  return true;
}

static uint64_t fnv1a(uint64_t hash, const void *data, size_t bytes) {
  const unsigned char *p = data;
  for (size_t i = 0; i < bytes; i++) hash = (hash ^ p[i]) * 0x100000001b3u;
  return hash;
}

static const uint64_t fnv_start = 0xcbf29ce484222325u;

static entry *find(const entries *e, const char *key) {
  const uint64_t hash = fnv1a(fnv_start, key, strlen(key));
  for (size_t i = 0; i < e->count; i++)
    if (e->at[i].hash == hash && strcmp(e->at[i].key, key) == 0) return &e->at[i];
  return NULL;
}

// Takes the key; there is room.
static void insert(entries *e, entry new) {
  new.hash = fnv1a(fnv_start, new.key, strlen(new.key));
  entry *old = find(e, new.key);
  if (old) {
    free(old->key);
    *old = new;
  } else {
    e->at[e->count++] = new;
  }
}

static void clear(entries *e) {
  for (size_t i = 0; i < e->count; i++) free(e->at[i].key);
  free(e->at);
  *e = (entries){0};
}

// ---- keys ----------------------------------------------------------------------------------------------------------

// A build with other kernels, or another order of them, may decide otherwise.
static uint64_t kernel_set(void) {
  uint64_t hash = fnv_start;
  for (size_t i = 0; i < bb_kernel_count(); i++) {
    const char *name = bb_kernel_at(i)->name;
    hash = fnv1a(hash, name, strlen(name) + 1);
  }
  return hash;
}

// "16:200768,3136,448" and the hash of the lanes.
static int print_view(const bb_view *v, char *text, size_t size) {
  if (!v->map) return snprintf(text, size, "-");
  const uint64_t lanes = fnv1a(fnv_start, v->map->lane, (size_t)bb_map_lanes(v->map) * sizeof *v->map->lane);
  return snprintf(text, size, "%d:%td,%td,%td:%016llx", v->block, v->n_stride, v->c_stride, v->h_stride,
                  (unsigned long long)lanes);
}

enum { MAX_CPU = sizeof((bb_machine *)0)->cpu };

static void print_cpu(char cpu[MAX_CPU]) {
  snprintf(cpu, MAX_CPU, "%s", bb_machine_get()->cpu);
  for (char *c = cpu; *c; c++)
    if ((unsigned char)*c < ' ') *c = ' ';
}

static bool make_key(const bb_task *task, const bb_plan_options *options, bb_wisdom_about about, char key[MAX_KEY]) {
  char cpu[MAX_CPU], problem[512], views[400] = "*";
  print_cpu(cpu);
  const bb_task bare = {.problem = task->problem};
  if (bb_task_print(about == BB_WISDOM_BARE ? &bare : task, problem, sizeof problem) >= (int)sizeof problem) return false;
  const bb_view *const all[4] = {&task->x, &task->y, &task->x2, &task->y2};
  for (size_t i = 0, n = 0; i < BB_COUNT(all) && about == BB_WISDOM_TASK; i++) {
    if (i) views[n++] = ' ';
    n += (size_t)print_view(all[i], views + n, sizeof views - n);
    if (n + 1 >= sizeof views) return false;
  }
  const bool named = options->alg != BB_ALG_AUTO || options->kernel;  // accuracy says nothing about it
  const int length = snprintf(key, MAX_KEY, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%016llx\t%s\t%s", cpu, bb_isa_name(options->isa),
                              bb_alg_name(options->alg), named ? "*" : bb_accuracy_name(options->accuracy),
                              options->kernel ? options->kernel->name : "*", options->threads, options->cold ? "cold" : "hot",
                              (unsigned long long)kernel_set(), problem, views);
  return length < MAX_KEY;
}

bool bb_wisdom_find(bb_wisdom *wisdom, const bb_task *task, const bb_plan_options *options, bb_wisdom_about about,
                    bb_lesson *lesson) {
  char key[MAX_KEY];
  if (!make_key(task, options, about, key)) return false;
  pthread_mutex_lock(&wisdom->lock);
  const entry *e = find(&wisdom->entries, key);
  if (e) *lesson = e->lesson;
  pthread_mutex_unlock(&wisdom->lock);
  return e;
}

bb_status bb_wisdom_add(bb_wisdom *wisdom, const bb_task *task, const bb_plan_options *options, bb_wisdom_about about,
                        const bb_kernel *kernel, const bb_config *config) {
  char key[MAX_KEY];
  entry new = {.lesson.config = *config};
  const int length = snprintf(new.lesson.kernel, sizeof new.lesson.kernel, "%s", kernel->name);
  if (!make_key(task, options, about, key) || length >= (int)sizeof new.lesson.kernel) return BB_OK;  // too long to remember
  new.key = malloc(strlen(key) + 1);
  if (!new.key) return BB_NO_MEMORY;
  strcpy(new.key, key);
  pthread_mutex_lock(&wisdom->lock);
  const bool room = reserve(&wisdom->entries, 1);
  if (room) insert(&wisdom->entries, new);
  pthread_mutex_unlock(&wisdom->lock);
  if (!room) free(new.key);
  return room ? BB_OK : BB_NO_MEMORY;
}

void bb_wisdom_count(bb_wisdom *wisdom, size_t *all, size_t *usable) {
  char cpu[MAX_CPU], set[24];
  print_cpu(cpu);
  const size_t length = strlen(cpu);
  snprintf(set, sizeof set, "\t%016llx\t", (unsigned long long)kernel_set());
  pthread_mutex_lock(&wisdom->lock);
  *all = wisdom->entries.count;
  *usable = 0;
  for (size_t i = 0; i < *all; i++) {
    const char *key = wisdom->entries.at[i].key;
    *usable += !strncmp(key, cpu, length) && key[length] == '\t' && strstr(key, set);
  }
  pthread_mutex_unlock(&wisdom->lock);
}

bb_status bb_wisdom_create(bb_wisdom **out) {
  *out = NULL;
  bb_wisdom *wisdom = malloc(sizeof *wisdom);
  if (!wisdom) return BB_NO_MEMORY;
  *wisdom = (bb_wisdom){.lock = PTHREAD_MUTEX_INITIALIZER};
  *out = wisdom;
  return BB_OK;
}

void bb_wisdom_destroy(bb_wisdom *wisdom) {
  if (!wisdom) return;
  clear(&wisdom->entries);
  pthread_mutex_destroy(&wisdom->lock);
  free(wisdom);
}

// ---- files ---------------------------------------------------------------------------------------------------------

// The whole file, NUL-terminated.
static bb_status read_file(const char *path, char **text, size_t *bytes, bb_error *error) {
  *text = NULL;
  *bytes = 0;
  struct stat about;
  const bool known = stat(path, &about) == 0;
  if (known && !S_ISREG(about.st_mode))  // to open a FIFO would be to wait for its other end
    return bb_fail(error, BB_IO, "cannot read %s: it is no regular file", path);
  FILE *file = known ? fopen(path, "rb") : NULL;
  if (!file) return bb_fail(error, BB_IO, "cannot open %s: %s", path, strerror(errno));
  bb_status status = BB_OK;
  const size_t size = (size_t)about.st_size;
  if (size > max_file)
    status = bb_fail(error, BB_INVALID, "%s is no wisdom file: %zu bytes, expected at most %zu", path, size, max_file);
  else if (!(*text = malloc(size + 1)))
    status = bb_fail(error, BB_NO_MEMORY, "out of memory for the %zu bytes of %s", size, path);
  else if (fread(*text, 1, size, file) != size)
    status = bb_fail(error, BB_IO, "cannot read %s: %s", path, ferror(file) ? strerror(errno) : "it became shorter");
  fclose(file);
  if (status) {
    free(*text);
    *text = NULL;
    return status;
  }
  (*text)[size] = 0;
  *bytes = size;
  return BB_OK;
}

// Splits off the text up to `stop`; NULL if it does not come.
static char *split(char **text, char stop) {
  char *start = *text, *end = strchr(start, stop);
  if (!end) return NULL;
  *end = 0;
  *text = end + 1;
  return start;
}

static bool parse_config(const char *text, bb_config *config) {
  int *const fields[] = {&config->q, &config->k, &config->c, &config->rows, &config->kt, &config->tile, &config->ahead};
  for (size_t i = 0; i < BB_COUNT(fields); i++) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (errno || value > INT32_MAX || *end != (i + 1 < BB_COUNT(fields) ? ' ' : 0)) return false;
    *fields[i] = (int)value;
    text = end + 1;
  }
  return true;
}

// One line: key, kernel, config.
static bb_status parse_line(char *line, entry *new) {
  char *rest = line;
  for (int field = 0; field < KEY_FIELDS; field++) {
    rest = strchr(rest, '\t');
    if (!rest) return BB_INVALID;
    rest++;
  }
  rest[-1] = 0;
  const char *kernel = split(&rest, '\t');
  *new = (entry){0};
  if (!kernel || !*kernel || strlen(kernel) >= sizeof new->lesson.kernel || !parse_config(rest, &new->lesson.config))
    return BB_INVALID;
  strcpy(new->lesson.kernel, kernel);
  new->key = malloc(strlen(line) + 1);
  if (!new->key) return BB_NO_MEMORY;
  strcpy(new->key, line);
  return BB_OK;
}

static bb_status parse_file(char *text, size_t bytes, const char *path, entries *loaded, bb_error *error) {
  if (strncmp(text, header, sizeof header - 1) != 0)
    return bb_fail(error, BB_INVALID, "%s is no wisdom file: it does not start with \"%s\"", path, header);
  char *line = text, *first = split(&line, '\n');
  if (!first || strcmp(first + sizeof header - 1, version) != 0)
    return bb_fail(error, BB_INVALID, "%s is wisdom of another version, expected %s", path, version);
  first[strlen(first)] = '\n';  // whole again, for the checksum

  // The last line, which holds for everything before it.
  const char *damaged = "%s is damaged: it does not end with a line \"end <lessons> <checksum>\" that fits";
  if (strlen(text) != bytes || text[bytes - 1] != '\n') return bb_fail(error, BB_INVALID, damaged, path);
  char *last = text + bytes - 1;
  while (last > text && last[-1] != '\n') last--;
  size_t count = 0;
  unsigned long long sum = 0;
  char expected[64];
  if (sscanf(last, "end %zu %16llx", &count, &sum) != 2) return bb_fail(error, BB_INVALID, damaged, path);
  snprintf(expected, sizeof expected, "end %zu %016llx\n", count,
           (unsigned long long)fnv1a(fnv_start, text, (size_t)(last - text)));
  if (strcmp(last, expected) != 0) return bb_fail(error, BB_INVALID, damaged, path);

  *last = 0;
  for (size_t number = 2; *line; number++) {
    entry new;
    bb_status status = reserve(loaded, 1) ? parse_line(split(&line, '\n'), &new) : BB_NO_MEMORY;
    if (status == BB_NO_MEMORY) return bb_fail(error, status, "out of memory for the wisdom in %s", path);
    if (status) return bb_fail(error, status, "%s is damaged: line %zu is no lesson", path, number);
    loaded->at[loaded->count++] = new;
  }
  if (loaded->count != count)
    return bb_fail(error, BB_INVALID, "%s is damaged: %zu lessons, its last line says %zu", path, loaded->count, count);
  return BB_OK;
}

bb_status bb_wisdom_load(bb_wisdom *wisdom, const char *path, bb_error *error) {
  char *text;
  size_t bytes;
  bb_status status = read_file(path, &text, &bytes, error);
  if (status) return status;
  entries loaded = {0};
  status = parse_file(text, bytes, path, &loaded, error);
  free(text);
  if (!status) {
    pthread_mutex_lock(&wisdom->lock);
    if (reserve(&wisdom->entries, loaded.count)) {
      for (size_t i = 0; i < loaded.count; i++) insert(&wisdom->entries, loaded.at[i]);
      loaded.count = 0;  // the keys have a new owner
    } else {
      status = bb_fail(error, BB_NO_MEMORY, "out of memory for the wisdom in %s", path);
    }
    pthread_mutex_unlock(&wisdom->lock);
  }
  clear(&loaded);
  return status;
}

// A line to the file and into the checksum.
static bool write_line(FILE *file, uint64_t *sum, const char *line) {
  *sum = fnv1a(*sum, line, strlen(line));
  return fputs(line, file) >= 0;
}

static bool write_entries(FILE *file, const entries *e) {
  char line[MAX_KEY + 256];
  uint64_t sum = fnv_start;
  snprintf(line, sizeof line, "%s%s\n", header, version);
  if (!write_line(file, &sum, line)) return false;
  for (size_t i = 0; i < e->count; i++) {
    char config[96];
    if (!write_line(file, &sum, e->at[i].key)) return false;
    bb_config_print(&e->at[i].lesson.config, config, sizeof config);
    snprintf(line, sizeof line, "\t%s\t%s\n", e->at[i].lesson.kernel, config);
    if (!write_line(file, &sum, line)) return false;
  }
  return fprintf(file, "end %zu %016llx\n", e->count, (unsigned long long)sum) > 0 && fflush(file) == 0 &&
         fsync(fileno(file)) == 0;
}

bb_status bb_wisdom_save(const bb_wisdom *wisdom, const char *path, bb_error *error) {
  const size_t size = strlen(path) + 32;
  char *beside = malloc(size);
  if (!beside) return bb_fail(error, BB_NO_MEMORY, "out of memory to write %s", path);
  snprintf(beside, size, "%s.%ld.tmp", path, (long)getpid());
  bb_status status = BB_OK;
  FILE *file = fopen(beside, "wb");
  if (!file) {
    status = bb_fail(error, BB_IO, "cannot write %s: %s", beside, strerror(errno));
  } else {
    pthread_mutex_t *lock = &((bb_wisdom *)wisdom)->lock;  // only the lock changes
    pthread_mutex_lock(lock);
    bool good = write_entries(file, &wisdom->entries);
    pthread_mutex_unlock(lock);
    int why = errno;
    if (fclose(file) != 0 && good) {
      good = false;
      why = errno;
    }
    if (good && rename(beside, path) != 0) {
      good = false;
      why = errno;
    }
    if (!good) {
      unlink(beside);
      status = bb_fail(error, BB_IO, "cannot write %s: %s", path, strerror(why));
    }
  }
  free(beside);
  return status;
}
