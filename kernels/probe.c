// SPDX-License-Identifier: Apache-2.0

#include "probe.h"

static const bb_probe *const probe[BB_ISA_COUNT] = {
    [BB_ISA_GENERIC] = &bb_probe_generic,
#if BB_HAVE_AVX2
    [BB_ISA_AVX2] = &bb_probe_avx2,
#endif
#if BB_HAVE_AVX512
    [BB_ISA_AVX512] = &bb_probe_avx512,
#endif
#if BB_HAVE_NEON
    [BB_ISA_NEON] = &bb_probe_neon,
#endif
};

const bb_probe *bb_probe_get(bb_isa isa) { return (unsigned)isa < BB_ISA_COUNT ? probe[isa] : NULL; }
