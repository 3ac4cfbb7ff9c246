// SPDX-License-Identifier: Apache-2.0
//
// Memory for tensors, packed weights and workspaces. Released with free().

#ifndef BB_MEMORY_H
#define BB_MEMORY_H

#include <stdlib.h>
#include <sys/mman.h>

#include "types.h"

// BB_ALIGN aligned, contents undefined; NULL if out of memory. From 2 MiB on it is aligned to huge pages and asks for them:
// weights are streamed once per run, and with 4 KiB pages every 64th line would need a page walk. A refusal does no harm.
static inline void *bb_alloc(size_t bytes) {
  const size_t huge = (size_t)2 << 20;
  void *p = NULL;
  if (bytes > PTRDIFF_MAX) return NULL;
  if (posix_memalign(&p, bytes >= huge ? huge : BB_ALIGN, bytes ? bytes : 1) != 0) return NULL;
#ifdef MADV_HUGEPAGE
  if (bytes >= huge) (void)madvise(p, bytes / huge * huge, MADV_HUGEPAGE);
#endif
  return p;
}

#endif
