// SPDX-License-Identifier: Apache-2.0
//
// Inside the library: processors, the clock, the time-stamp counter.

#ifndef BB_MACHINE_H
#define BB_MACHINE_H

#include <stdint.h>
#include <time.h>

// The i-th processor of the affinity mask that the process had at the first call of this or of bb_machine_get, in turn (i
// modulo their number); -1 where affinity is unknown. Later masks are not looked at: a pool may have narrowed its caller's.
int bb_machine_cpu(int i);

static inline uint64_t bb_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// A counter that costs a few nanoseconds and no system call, of unknown but constant rate (invariant TSC, Arm's CNTVCT).
static inline uint64_t bb_ticks(void) {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t t;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
  return t;
#else
  return bb_now_ns();
#endif
}

static inline double bb_seconds(void) { return 1e-9 * (double)bb_now_ns(); }

#endif
