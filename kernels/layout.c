// SPDX-License-Identifier: Apache-2.0
//
// Channel maps, views and plain copies between them.

#include "bb.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

// A map and its lanes are one allocation.
static bb_map *map_alloc(int blocks, int block) {
  const size_t lanes = (size_t)blocks * (size_t)block;
  bb_map *map = malloc(sizeof *map + lanes * sizeof *map->lane);
  if (!map) return NULL;
  *map = (bb_map){.block = block, .blocks = blocks, .lane = (const int *)(map + 1)};
  return map;
}

static int *map_lanes(bb_map *map) { return (int *)(map + 1); }

static bool block_ok(int block) { return block == 1 || block == 4 || block == 8 || block == 16; }

bb_status bb_map_create_lanes(const int *lane, int blocks, int block, bb_map **out) {
  *out = NULL;
  if (!block_ok(block) || blocks < 1 || blocks > INT32_MAX / BB_MAX_BLOCK) return BB_INVALID;
  const int lanes = blocks * block;
  int channels = 0;
  for (int i = 0; i < lanes; i++) {
    if (lane[i] < -1 || lane[i] >= lanes) return BB_INVALID;
    channels += lane[i] >= 0;
  }
  if (channels == 0) return BB_INVALID;
  // Every channel exactly once: as many lanes as channels, none beyond the last channel, none twice.
  char *seen = calloc((size_t)channels, 1);
  bb_map *map = map_alloc(blocks, block);
  bb_status status = seen && map ? BB_OK : BB_NO_MEMORY;
  for (int i = 0; i < lanes && !status; i++) {
    if (lane[i] < 0) continue;
    if (lane[i] >= channels || seen[lane[i]])
      status = BB_INVALID;
    else
      seen[lane[i]] = 1;
  }
  free(seen);
  if (status) {
    free(map);
    return status;
  }
  map->channels = channels;
  memcpy(map_lanes(map), lane, (size_t)lanes * sizeof *lane);
  *out = map;
  return BB_OK;
}

bb_status bb_map_create(const int *part_channels, int parts, int block, bb_map **out) {
  *out = NULL;
  if (!block_ok(block) || parts < 1) return BB_INVALID;
  int blocks = 0;
  for (int i = 0; i < parts; i++) {
    const int limit = INT32_MAX / BB_MAX_BLOCK;
    if (part_channels[i] < 1 || part_channels[i] > limit || bb_ceil_div(part_channels[i], block) > limit - blocks)
      return BB_INVALID;
    blocks += bb_ceil_div(part_channels[i], block);
  }
  bb_map *map = map_alloc(blocks, block);
  if (!map) return BB_NO_MEMORY;
  int *lane = map_lanes(map);
  for (int i = 0; i < parts; i++) {
    const int lanes = bb_round_up(part_channels[i], block);
    for (int l = 0; l < lanes; l++) *lane++ = l < part_channels[i] ? map->channels + l : -1;
    map->channels += part_channels[i];
  }
  *out = map;
  return BB_OK;
}

void bb_map_destroy(bb_map *map) { free(map); }

// Identity maps are asked for all the time, by everybody, and are few: kept in a list until the process ends.
typedef struct cached_map {
  struct cached_map *next;
  bb_map *map;
} cached_map;

static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static cached_map *cache;

const bb_map *bb_map_identity(int channels, int block) {
  if (channels < 1 || !block_ok(block)) return NULL;
  pthread_mutex_lock(&cache_lock);
  cached_map *c = cache;
  while (c && (c->map->channels != channels || c->map->block != block)) c = c->next;
  if (!c && (c = malloc(sizeof *c))) {
    if (bb_map_create(&channels, 1, block, &c->map)) {
      free(c);
      c = NULL;
    } else {
      c->next = cache;
      cache = c;
    }
  }
  pthread_mutex_unlock(&cache_lock);
  return c ? c->map : NULL;
}

bool bb_map_equal(const bb_map *a, const bb_map *b) {
  if (a == b) return true;
  return a && b && a->channels == b->channels && a->block == b->block && a->blocks == b->blocks &&
         memcmp(a->lane, b->lane, (size_t)bb_map_lanes(a) * sizeof *a->lane) == 0;
}

// ---- views ---------------------------------------------------------------------------------------------------------

bb_view bb_view_dense(int N, int C, int H, int W, const bb_map *map) {
  assert(map->channels == C);
  const ptrdiff_t line = BB_ALIGN / (ptrdiff_t)sizeof(float);
  const ptrdiff_t h_stride = (ptrdiff_t)W * map->block;
  ptrdiff_t c_stride = H * h_stride;
  if (map->block > 1 && (H > 1 || W > 1)) {  // one pixel: packed, an N x lanes vector
    c_stride = (c_stride + line - 1) / line * line;
    // Addresses 4096 bytes apart fall into one L1 set, and loads wait for stores that only look like theirs: a kernel that
    // walks channel blocks of such a plane would use 8 or 12 lines of its L1.
    if (c_stride % (4096 / (ptrdiff_t)sizeof(float)) == 0) c_stride += line;
  }
  return (bb_view){.N = N,
                   .C = C,
                   .H = H,
                   .W = W,
                   .block = map->block,
                   .map = map,
                   .n_stride = map->blocks * c_stride,
                   .c_stride = c_stride,
                   .h_stride = h_stride};
}

size_t bb_view_size(const bb_view *v) {
  return (size_t)((v->N - 1) * v->n_stride + (v->map->blocks - 1) * v->c_stride + (v->H - 1) * v->h_stride +
                  (ptrdiff_t)v->W * v->block);
}

static int lane_of(const bb_map *map, int c) {
  if (c < bb_map_lanes(map) && map->lane[c] == c) return c;
  int l = 0;
  while (map->lane[l] != c) l++;
  return l;
}

static ptrdiff_t lane_offset(const bb_view *v, int n, int lane, int h, int w) {
  return n * v->n_stride + lane / v->block * v->c_stride + h * v->h_stride + (ptrdiff_t)w * v->block + lane % v->block;
}

size_t bb_view_offset(const bb_view *v, int n, int c, int h, int w) {
  assert(n >= 0 && n < v->N && c >= 0 && c < v->C && h >= 0 && h < v->H && w >= 0 && w < v->W);
  return (size_t)lane_offset(v, n, lane_of(v->map, c), h, w);
}

// Strides along which there is one element say nothing.
bool bb_view_equal(const bb_view *a, const bb_view *b) {
  return a->N == b->N && a->C == b->C && a->H == b->H && a->W == b->W && a->block == b->block && bb_map_equal(a->map, b->map) &&
         (a->N == 1 || a->n_stride == b->n_stride) && (a->map->blocks == 1 || a->c_stride == b->c_stride) &&
         (a->H == 1 || a->h_stride == b->h_stride);
}

void bb_view_copy(const bb_view *x, const float *x_data, const bb_view *y, float *y_data) {
  assert(x->N == y->N && x->C == y->C && x->H == y->H && x->W == y->W);
  for (int to = 0; to < bb_map_lanes(y->map); to++) {
    const int c = y->map->lane[to];
    const int from = c < 0 ? -1 : lane_of(x->map, c);
    for (int n = 0; n < y->N; n++)
      for (int h = 0; h < y->H; h++)
        for (int w = 0; w < y->W; w++)
          y_data[lane_offset(y, n, to, h, w)] = from < 0 ? 0.0f : x_data[lane_offset(x, n, from, h, w)];
  }
}
