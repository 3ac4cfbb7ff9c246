// SPDX-License-Identifier: Apache-2.0
//
// Direct convolution of any filter, stride, dilation and padding, dense or in groups of whole blocks: how it looks to
// conv_dense.h, and how it is cut.

#ifndef BB_CONV_DIRECT_H
#define BB_CONV_DIRECT_H

enum { ONE_TAP = 0 };
#include "conv_dense.h"

static geometry geometry_of(const bb_task *t, const bb_config *config) {
  const bb_conv *c = &t->problem.conv;
  return (geometry){
      .images = c->N,
      .rows = c->P,
      .cols = c->Q,
      .tile = config->q,
      .x_image = t->x.n_stride,
      .x_block = t->x.c_stride,
      .x_row = t->x.h_stride * c->stride_h,
      .x_col = (ptrdiff_t)VL * c->stride_w,
      .x_origin = t->x.h_stride * c->pad_t + (ptrdiff_t)VL * c->pad_l,
      .x_tap_row = t->x.h_stride * c->dil_h,
      .x_tap_col = (ptrdiff_t)VL * c->dil_w,
      .y_image = t->y.n_stride,
      .y_block = t->y.c_stride,
      .y_row = t->y.h_stride,
      .y_col = VL,
      .x2_image = t->x2.n_stride,
      .x2_block = t->x2.c_stride,
      .x2_row = t->x2.h_stride,
      .x2_col = VL,
  };
}

static bool accepts(const bb_task *t) {
  if (t->problem.op != BB_OP_CONV || t->x.block != VL || t->y.block != VL) return false;
  const bb_conv *c = &t->problem.conv;
  return c->S <= MAX_S && map_keeps_groups(t->x.map, c->G) && map_keeps_groups(t->y.map, c->G);
}

#endif
