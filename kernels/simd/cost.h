// SPDX-License-Identifier: Apache-2.0
//
// What cost models of convolutions ask about the last level of cache.

#ifndef BB_COST_H
#define BB_COST_H

#include <math.h>

#include "../bb.h"
#include "../common.h"

// Whether L3 is so slow and so far that what lies there costs what memory does: that of a mesh is.
BB_INLINE bool far_l3(const bb_machine *m) { return m->l3_bytes_per_cycle > 0 && m->l3_bytes_per_cycle < 12; }

// Bytes per cycle of what is read again and again, `bytes` in all: less and less of it stays in L3. A mesh's is that of all
// cores of a package: others leave us a part.
BB_INLINE double stream_rate(const bb_machine *m, double bytes, int threads) {
  const double all = m->l3 ? (double)m->l3 : 8e6, l3 = far_l3(m) ? fmin(all, 64e6) : all;
  const double alone = m->l3_bytes_per_cycle > 0 ? m->l3_bytes_per_cycle : 16;
  const double from_l3 = threads > 1 && m->l3_share > 0 ? alone * m->l3_share : alone;
  const double from_dram = m->dram_bytes_per_cycle > 0 ? m->dram_bytes_per_cycle : 6;
  return from_dram + (from_l3 - from_dram) * fmax(0, 1 - bytes / (1.5 * l3));
}

#endif
