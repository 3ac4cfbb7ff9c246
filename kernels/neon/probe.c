// SPDX-License-Identifier: Apache-2.0
//
// Peak probes, NEON.

#include "vec.h"
#include "../probe.h"

// Four FMAs per cycle with a latency of 4 on the widest cores (Neoverse V1): 16 chains, and a few to spare.
#define PROBE_CHAINS 20

#include "../simd/probe.h"
