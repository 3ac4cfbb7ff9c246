// SPDX-License-Identifier: Apache-2.0
//
// The `tails` suite: small convolutions around every vector width, for correctness. The full product of
//   kernel 1x1 3x3 5x5 7x7 1x7 7x1, ic and oc 1 3 7 8 9 15 16 17 31 33, ih and iw 1 2 3 5 6 7 8 12 13 14 17, padding 0 1 2
//   (none along an axis on which the kernel is 1), stride 1 2, groups 1 2 ic
// less what is impossible; or a seeded selection that contains every possible pair of values.

#ifndef BB_TAILS_H
#define BB_TAILS_H

#include "../kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BB_TAILS_PRODUCT = 6 * 10 * 10 * 11 * 11 * 3 * 2 * 3, BB_TAILS_SELECTED = 3000 };

// Number i < BB_TAILS_PRODUCT of the product; false if there is no such convolution or an earlier number is the same one.
bool bb_tails_at(size_t i, bb_conv *conv);

// Fills conv[0..count) with distinct members; count should not be below 200 or not all pairs fit. false if out of memory.
bool bb_tails_select(uint64_t seed, size_t count, bb_conv *conv);

#ifdef __cplusplus
}
#endif

#endif
