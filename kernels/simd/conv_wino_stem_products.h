// SPDX-License-Identifier: Apache-2.0
//
// One frequency of a register tile of conv_wino_stem.h, by broadcasts from memory (x86).

#ifndef BB_CONV_WINO_STEM_PRODUCTS_H
#define BB_CONV_WINO_STEM_PRODUCTS_H

// sum[t][j] (+)= v[c][t] * u[j][c], c < C, j < nr; v: from channel to channel `pitch`, u: from block to block 16*C vectors. One
// block: each vector of u serves T broadcasts; several: each broadcast nr vectors of u.
BB_INLINE void wstem_products(const float *v, const float *u, bool fresh, int C, int T, int nr, int pitch, vf *sum) {
  BB_UNROLL
  for (int c = 0; c < C; c++) {
    const bool first = fresh && c == 0;
    const vf w = nr == 1 ? vheld(vload(u + c * VL)) : vzero();
    BB_UNROLL
    for (int t = 0; t < T; t++) {
      const float *const at = v + c * pitch + t;
      if (nr == 1) {
        sum[t] = first ? vmul(vbcast(at), w) : vfma_at(at, w, sum[t]);
        continue;
      }
      const vf x = vheld(vbcast(at));
      BB_UNROLL
      for (int j = 0; j < nr; j++) {
        const vf of_block = vload(u + (j * 16 * C + c) * VL);
        sum[t * nr + j] = first ? vmul(x, of_block) : vfma(x, of_block, sum[t * nr + j]);
      }
    }
  }
}

#endif
