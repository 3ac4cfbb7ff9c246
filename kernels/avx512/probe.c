// SPDX-License-Identifier: Apache-2.0
//
// Peak probes, AVX-512.

#include "vec.h"
#include "../probe.h"

#include "../simd/probe.h"
