// SPDX-License-Identifier: Apache-2.0
//
// Memory for tensors, packed weights and workspaces. Released with free().

#ifndef BB_MEMORY_H
#define BB_MEMORY_H

#include <stdlib.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "types.h"

// BB_ALIGN aligned, contents undefined; NULL if out of memory. From 256 KiB on it is made of huge pages, if the system has them
// to give: the transforms of a Winograd walk over more streams than a first TLB has entries, and weights are streamed once per
// run, where every 64th line would need a page walk. Small pages that are there from an earlier use are given back: they would
// stay. A refusal does no harm.
static inline void *bb_alloc(size_t bytes) {
  const size_t huge = (size_t)2 << 20;
  void *p = NULL;
  if (bytes > PTRDIFF_MAX - huge) return NULL;
  const bool large = bytes >= huge / 8;
  if (large) bytes = (bytes + huge - 1) / huge * huge;
  if (posix_memalign(&p, large ? huge : BB_ALIGN, bytes ? bytes : 1) != 0) return NULL;
#ifdef MADV_HUGEPAGE
  if (large) {
    (void)madvise(p, bytes, MADV_DONTNEED);
    (void)madvise(p, bytes, MADV_HUGEPAGE);
  }
#endif
  return p;
}

// Takes memory out of every cache: what a measurement with cold weights begins with. Where the processor has no such
// instruction, cold is the same as hot.
static inline void bb_evict(const void *memory, size_t bytes) {
  const char *p = memory;
  for (size_t i = 0; i < bytes; i += BB_ALIGN) {
#if defined(__x86_64__)
    _mm_clflush(p + i);
#elif defined(__aarch64__)
    __asm__ volatile("dc civac, %0" ::"r"(p + i) : "memory");
#else
    (void)p;
#endif
  }
#if defined(__x86_64__)
  _mm_mfence();
#elif defined(__aarch64__)
  __asm__ volatile("dsb ish" ::: "memory");
#endif
}

#endif
