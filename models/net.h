// SPDX-License-Identifier: Apache-2.0
//
// A graph on its way to plans: a list of operations on values, which passes rewrite. Internal to the fast executor.
//
//   net_program.c  the list: lowering of a graph, edits
//   net_passes.c   what is folded, fused and left out
//   net_layout.c   which map and view each value has, copies where two uses disagree
//   net_memory.c   where in the arena each value lies
//   net.c          the list of passes, plans, execution

#ifndef BB_NET_H
#define BB_NET_H

#include "models.h"

enum { BB_NONE = -1 };

// Value 0 is the network's input: NCHW, the caller's memory.
typedef struct bb_value {
  int N, C, H, W;
  bool nchw;     // must lie in NCHW whatever the layout of the rest
  int parent;    // value whose memory it is part of, or BB_NONE
  int part;      // of the parent, where that is a concatenation: index of the part that it (or its first part) is
  int block;     // of the parent: the first channel block; follows from part, or of a slice from its channels
  bool reshape;  // another shape of all of the parent, which is NCHW
  // Layout.
  const bb_map *map;
  bb_view view;
  ptrdiff_t offset;  // from the parent's first element; of a root: from the start of the arena; in floats
} bb_value;

typedef enum bb_oper_kind {
  BB_OPER_PLAN,
  // No work, only where values lie:
  BB_OPER_CONCAT,
  BB_OPER_SLICE,
  BB_OPER_FLATTEN,  // of more than one pixel, by something else than a fully connected layer
} bb_oper_kind;

typedef struct bb_oper {
  bb_oper_kind kind;
  int node;       // of the graph; of an inserted copy, the node that made what it copies
  bool inserted;  // a copy that no node asked for
  bb_problem problem;
  bb_prologue prologue;
  bb_epilogue epilogue;
  int x, x2, x_scale;   // values read, or BB_NONE
  int y, gap;           // values written, or BB_NONE
  int parts, *part;     // concat: values
  int first;            // slice, and copy of one: the first channel; 0 otherwise
  const bb_map *slice;  // copy of a slice: the map of x without the other channels
  const float *w, *b;   // of bb_params
  double *fold;         // conv: K scales, K shifts of the batch-norm folded into it, or NULL
  double *affine;       // prologue or BB_OP_SCALE: C scales, C shifts, or NULL
  char *fused;          // names of the nodes that were fused into it, with a blank between, or NULL
} bb_oper;

typedef struct bb_program {
  const bb_graph *graph;
  bb_plan_options options;
  int block;  // lanes of the layout
  int opers, oper_room, values, value_room, outputs, maps, map_room;
  bb_oper *oper;  // in an order in which they can run
  bb_value *value;
  int *output;         // values
  bb_map **map;        // that values use and nobody else owns
  size_t arena_bytes;  // once memory is planned
} bb_program;

// ---- net_program.c -------------------------------------------------------------------------------------------------

bb_status bb_program_create(const bb_graph *graph, const bb_params *params, const bb_plan_options *options, bb_program *p);
void bb_program_destroy(bb_program *p);

// Edits return BB_NONE, NULL or false if out of memory.
int bb_program_value(bb_program *p, int N, int C, int H, int W);
bb_oper *bb_program_insert(bb_program *p, int at, const bb_oper *oper);  // takes over what oper owns, in any case
void bb_program_remove(bb_program *p, int at);
// Inserts a copy of value x to a new value (returned) at `at`, in the name of the node that made x.
int bb_program_copy(bb_program *p, int at, int x);
// The node of `from` is done by `into` from now on.
bool bb_program_note_fused(bb_program *p, bb_oper *into, const bb_oper *from);

int bb_program_producer(const bb_program *p, int value);  // operation; BB_NONE for the input
bool bb_oper_reads(const bb_oper *oper, int value);
bool bb_program_is_output(const bb_program *p, int value);
int bb_program_only_user(const bb_program *p, int value);  // operation; BB_NONE unless exactly one reads it and it is no output
void bb_program_replace(bb_program *p, int from_oper, int value,
                        int by);                              // in all reads from operation from_oper on, and outputs
bb_view bb_program_any_view(const bb_program *p, int value);  // dense, channels in order; before layout
bb_task bb_program_task(const bb_program *p, const bb_oper *oper, bool laid_out);
// Has the operation a kernel of this level, before layout? The input may be copied for it; as it is: it may not.
bool bb_program_can(const bb_program *p, const bb_oper *oper);
bool bb_program_can_as_is(const bb_program *p, const bb_oper *oper);
// The kernel for it once it is laid out, the algorithm asked for preferred; NULL if there is none.
const bb_kernel *bb_program_kernel(const bb_program *p, const bb_oper *oper, bb_plan_options *options);

// ---- passes --------------------------------------------------------------------------------------------------------

bb_status bb_pass_identity(bb_program *p);
bb_status bb_pass_fold_bn(bb_program *p);
bb_status bb_pass_fuse_act(bb_program *p);
bb_status bb_pass_fuse_add(bb_program *p);
bb_status bb_pass_prologue(bb_program *p);
bb_status bb_pass_se(bb_program *p);
bb_status bb_pass_gap(bb_program *p);
bb_status bb_pass_dead_code(bb_program *p);
bb_status bb_pass_concat(bb_program *p);

bb_status bb_program_copy_parts(bb_program *p);               // of concatenations, those that have no place in them yet
bb_status bb_program_layout(bb_program *p, bb_error *error);  // maps, views, copies
bb_status bb_program_memory(bb_program *p, bool reuse);       // offsets

int bb_value_root(const bb_program *p, int value);
ptrdiff_t bb_value_offset(const bb_program *p, int value);  // from the start of the arena, in floats

#endif
