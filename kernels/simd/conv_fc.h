// SPDX-License-Identifier: Apache-2.0
//
// Fully connected: a convolution without padding over the whole image. The "pixels" of the register tile are the images of the
// batch, so that each weight is read once per tile of images; with one image it is a matrix-vector product that runs as fast as
// weights come from memory. Threads share the output channels.

#ifndef BB_CONV_FC_H
#define BB_CONV_FC_H

enum { ONE_TAP = 0 };
#include "conv_dense.h"

static geometry geometry_of(const bb_task *t, const bb_config *config) {
  return (geometry){
      .images = 1,
      .rows = 1,
      .cols = t->problem.conv.N,
      .fc = true,
      .tile = config->q,
      .x_block = t->x.c_stride,
      .x_col = t->x.n_stride,
      .x_tap_row = t->x.h_stride,
      .x_tap_col = VL,
      .y_block = t->y.c_stride,
      .y_col = t->y.n_stride,
      .x2_block = t->x2.c_stride,
      .x2_col = t->x2.n_stride,
  };
}

static bool accepts(const bb_task *t) {
  if (t->problem.op != BB_OP_CONV || t->x.block != VL || t->y.block != VL) return false;
  const bb_conv *c = &t->problem.conv;
  return c->G == 1 && c->P == 1 && c->Q == 1 && c->R == c->H && c->S == c->W && c->dil_h == 1 && c->dil_w == 1 &&
         c->pad_t + c->pad_b + c->pad_l + c->pad_r == 0;
}

// The widest k group whose tile holds all images; for large batches that of the other convolutions.
static int fc_configs(const bb_task *t, const bb_machine *machine, int threads, bb_config *out, int max) {
  (void)machine;
  int nr = bb_min(NR_MAX, t->y.map->blocks);
  while (nr > nr_order[0] && widest(nr, 0) < t->problem.conv.N) nr--;
  if (max > 0) out[0] = dense_config(t, nr, threads);
  return 1;
}

#endif
