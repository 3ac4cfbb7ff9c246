// SPDX-License-Identifier: Apache-2.0
//
// How an error passes through a prologue and through an activation; shared by the files of reference/.

#ifndef BB_REF_ACT_H
#define BB_REF_ACT_H

#include "ref.h"

// Magnitude (see ref.h) of the prologue of x, an element of channel c of image n.
double bb_ref_before_magnitude(const bb_conv *conv, const bb_prologue *prologue, const bb_ref_io *io, int n, int c, double x);

// Magnitude (see ref.h) of act(x), where x has magnitude m: the steepest slope of act times m, and for functions that kernels
// round by themselves twice the result: 4 ulp <= 8 * 2^-24 |result| = 4 * 2^-24 * 2 |result|.
double bb_ref_act_magnitude(bb_act act, double alpha, double x, double m);

#endif
