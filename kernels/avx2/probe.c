// SPDX-License-Identifier: Apache-2.0
//
// Peak probes, AVX2 + FMA.

#include "vec.h"
#include "../probe.h"

#include "../simd/probe.h"
