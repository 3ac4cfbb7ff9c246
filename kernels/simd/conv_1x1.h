// SPDX-License-Identifier: Apache-2.0
//
// 1x1 convolution of any stride: a matrix product whose left side is the image as it lies. With stride 1 and rows that follow
// each other without gaps the image is one long row, so that tiles need not end where rows do; a stride only changes where the
// broadcasts come from.

#ifndef BB_CONV_1X1_H
#define BB_CONV_1X1_H

enum { ONE_TAP = 1 };
#include "conv_dense.h"

// Does one row follow the other?
BB_INLINE bool rows_touch(const bb_view *v) { return v->H == 1 || v->h_stride == (ptrdiff_t)v->W * VL; }

static geometry geometry_of(const bb_task *t, const bb_config *config) {
  const bb_conv *c = &t->problem.conv;
  const bool flat = c->stride_h == 1 && c->stride_w == 1 && rows_touch(&t->x) && rows_touch(&t->y) &&
                    (!t->epilogue.residual || rows_touch(&t->x2)) && (!t->epilogue.second || rows_touch(&t->y2));
  return (geometry){
      .images = c->N,
      .rows = flat ? 1 : c->P,
      .cols = flat ? c->P * c->Q : c->Q,
      .flat = flat,
      .tile = config->q,
      .x_image = t->x.n_stride,
      .x_block = t->x.c_stride,
      .x_row = t->x.h_stride * c->stride_h,
      .x_col = (ptrdiff_t)VL * c->stride_w,
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
  return c->R == 1 && c->S == 1 && c->pad_t + c->pad_b + c->pad_l + c->pad_r == 0 && map_keeps_groups(t->x.map, c->G) &&
         map_keeps_groups(t->y.map, c->G);
}

#endif
