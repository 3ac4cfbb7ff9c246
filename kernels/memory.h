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

// BB_ALIGN aligned, contents undefined; NULL if out of memory. From 2 MiB on it is aligned to huge pages and asks for them:
// weights are streamed once per run, and with 4 KiB pages every 64th line would need a page walk. Small pages that are there
// from an earlier use are given back: they would stay. A refusal does no harm.
static inline void *bb_alloc(size_t bytes) {
  const size_t huge = (size_t)2 << 20;
  void *p = NULL;
  if (bytes > PTRDIFF_MAX) return NULL;
  if (posix_memalign(&p, bytes >= huge ? huge : BB_ALIGN, bytes ? bytes : 1) != 0) return NULL;
#ifdef MADV_HUGEPAGE
  if (bytes >= huge) {
    (void)madvise(p, bytes / huge * huge, MADV_DONTNEED);
    (void)madvise(p, bytes / huge * huge, MADV_HUGEPAGE);
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
