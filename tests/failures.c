// SPDX-License-Identifier: Apache-2.0

#include "failures.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/common.h"

// ---- the wrapped functions -----------------------------------------------------------------------------------------

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **p, size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
void __real_free(void *p);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **p, size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
void __wrap_free(void *p);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

enum { NEVER = -1 };
static long allocations_until_failure = NEVER, threads_until_failure = NEVER;
static long allocations, live;  // calls; blocks not yet freed

static bool comes_up(long *until_failure) { return *until_failure >= 0 && (*until_failure)-- == 0; }

static bool refused(void) {
  allocations++;
  return comes_up(&allocations_until_failure);
}

static void *counted(void *p) {
  live += p != NULL;
  return p;
}

void *__wrap_malloc(size_t bytes) { return refused() ? NULL : counted(__real_malloc(bytes)); }
void *__wrap_calloc(size_t count, size_t bytes) { return refused() ? NULL : counted(__real_calloc(count, bytes)); }
void *__wrap_realloc(void *p, size_t bytes) {
  if (refused()) return NULL;
  return p ? __real_realloc(p, bytes) : counted(__real_realloc(p, bytes));
}
void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
  return refused() ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}
int __wrap_posix_memalign(void **p, size_t alignment, size_t bytes) {
  if (refused()) return ENOMEM;
  const int result = __real_posix_memalign(p, alignment, bytes);
  if (result == 0) counted(*p);
  return result;
}
char *__wrap_strdup(const char *text) { return refused() ? NULL : counted(__real_strdup(text)); }
void __wrap_free(void *p) {
  live -= p != NULL;
  __real_free(p);
}
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  return comes_up(&threads_until_failure) ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

void fail_allocation(long n) { allocations_until_failure = n; }
void fail_thread(long n) { threads_until_failure = n; }
long allocation_count(void) { return allocations; }
long live_blocks(void) { return live; }

// ---- one operation, failing in every place -------------------------------------------------------------------------

void fail_everywhere(const char *what, operation *run, void *context, bool says_why) {
  bb_error error = {""};
  bb_status status = run(context, &error);  // fills caches that live as long as the process
  if (status) fail_msg("%s: %s (%s)", what, bb_status_string(status), error.text);
  long *const until[] = {&allocations_until_failure, &threads_until_failure};
  const bb_status expected[] = {BB_NO_MEMORY, BB_NO_THREAD};
  for (size_t kind = 0; kind < BB_COUNT(until); kind++)
    for (long n = 0;; n++) {
      const long before = live;
      error.text[0] = 0;
      *until[kind] = n;
      status = run(context, &error);
      const bool failed = *until[kind] == NEVER;
      *until[kind] = NEVER;
      // Buffers of libc's own making (open_memstream) are freed here too: the count may fall.
      if (live > before) fail_msg("%s: failure %ld leaves %ld blocks behind", what, n, live - before);
      if (!failed) {
        assert_int_equal(status, BB_OK);
        break;
      }
      if (status != expected[kind])
        fail_msg("%s: failure %ld gives \"%s\", expected \"%s\"", what, n, bb_status_string(status),
                 bb_status_string(expected[kind]));
      if (says_why && strlen(error.text) < 10) fail_msg("%s: failure %ld says nothing", what, n);
    }
}
