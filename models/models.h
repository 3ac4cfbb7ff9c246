// SPDX-License-Identifier: Apache-2.0
//
// The networks: their list, graphs, parameters, and the two executors.
//
// Functions that can fail return bb_status, put their result through a pointer (NULL on failure) and say in *error what, where
// and what was expected. Destroy functions accept NULL.

#ifndef BB_MODELS_H
#define BB_MODELS_H

#include "../kernels/bb.h"
#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- the list ------------------------------------------------------------------------------------------------------

typedef struct bb_builder bb_builder;

typedef struct bb_model {
  const char *name, *family;
  const char *source;  // where it is published
  int C, H, W;         // native input
  void (*build)(bb_builder *b, int x);
} bb_model;

size_t bb_model_count(void);
const bb_model *bb_model_at(size_t i);  // in the order of models.def
const bb_model *bb_model_find(const char *name);

// ---- graphs --------------------------------------------------------------------------------------------------------

// H or W 0 = native. BB_INVALID if the network does not work at this size.
bb_status bb_graph_create(const bb_model *model, int N, int H, int W, bb_graph **graph, bb_error *error);
void bb_graph_destroy(bb_graph *graph);

typedef struct bb_counts {
  uint64_t params;       // learnable scalars: no running statistics
  uint64_t macs;         // of convolutions and fully connected layers, padding taps counted, of the whole batch
  uint64_t activations;  // elements of all convolution outputs (RegNet's definition), of the whole batch
  int convs, distinct;   // convolutions, distinct shapes among them; fully connected ones not counted
} bb_counts;
bb_counts bb_graph_count(const bb_graph *graph);

// The distinct convolution shapes in the order of their first use.
typedef struct bb_layer {
  const char *name;  // of the first node that has it
  bb_conv conv;
  int count;
} bb_layer;
// Writes the first max of them (layers may be NULL if max is 0) and returns how many there are.
int bb_graph_layers(const bb_graph *graph, bb_layer *layers, int max);

const char *bb_node_op_name(bb_node_op op);
// What a node computes, for people ("conv g1mb1ic64ih56oc64oh56kh3ph1n\"layer1.0.conv2\""). Returns as snprintf.
int bb_node_print(const bb_graph *graph, int node, char *text, size_t size);
int bb_graph_find_param(const bb_graph *graph, const char *name);  // -1 if there is none
size_t bb_tensor_count(const bb_tensor *tensor);                   // elements

// ---- parameters ----------------------------------------------------------------------------------------------------

// Values of every parameter of a graph; they do not depend on its N, H, W.
typedef struct bb_params bb_params;

// The synthetic value at `index` of the tensor `name`, with 64-bit wrapping integers:
//   mix(z): z ^= z >> 30; z *= 0xbf58476d1ce4e5b9; z ^= z >> 27; z *= 0x94d049bb133111eb; z ^= z >> 31   (SplitMix64)
//   key = mix(seed + FNV-1a(name))            FNV-1a: h = 0xcbf29ce484222325; each byte: h ^= byte; h *= 0x100000001b3
//   r = mix(key + (index + 1)*0x9e3779b97f4a7c15)
//   s = sum of the four 16-bit fields of r - 131070            (mean 0, standard deviation 37837.23, |s| <= 131070)
//   value = (float)(mean + s*(scale/37837))                    (in double, each operation rounded; then once to float)
// so that |value - mean| < 3.465*scale.
void bb_random_fill(float *out, size_t count, uint64_t seed, const char *name, double mean, double scale);

bb_status bb_params_synthetic(const bb_graph *graph, uint64_t seed, bb_params **params, bb_error *error);
// A .safetensors file. Every parameter must be there with its shape; F32, F64, F16 and BF16 are taken; other tensors of the
// file are ignored.
bb_status bb_params_load(const bb_graph *graph, const char *path, bb_params **params, bb_error *error);
bb_status bb_params_save(const bb_graph *graph, const bb_params *params, const char *path, bb_error *error);
void bb_params_destroy(bb_params *params);
const float *bb_params_data(const bb_params *params, int param);

// ---- .npy files ----------------------------------------------------------------------------------------------------

enum { BB_NPY_RANK = 8 };
typedef struct bb_npy {
  int rank;
  size_t shape[BB_NPY_RANK];
  size_t count;
  float *data;  // C order
} bb_npy;

// Versions 1 to 3, little-endian f4 or f8, C order.
bb_status bb_npy_load(const char *path, bb_npy *npy, bb_error *error);
void bb_npy_free(bb_npy *npy);
// Version 1, f4. Written beside the target and renamed.
bb_status bb_npy_save(const char *path, int rank, const size_t *shape, const float *data, bb_error *error);

// ---- reference executor --------------------------------------------------------------------------------------------

// The graph as built, NCHW, activations and sums in double. Slow and obviously right. The pool only spreads the planes of a
// convolution over threads.
typedef struct bb_reference bb_reference;

// input: N x C x H x W. keep = every tensor stays, not only the outputs.
bb_status bb_reference_run(const bb_graph *graph, const bb_params *params, const float *input, bool keep, bb_pool *pool,
                           bb_reference **reference, bb_error *error);
const double *bb_reference_tensor(const bb_reference *reference, int tensor);  // NULL if it was not kept
void bb_reference_destroy(bb_reference *reference);

// ---- fast executor -------------------------------------------------------------------------------------------------

// A graph compiled for this machine: passes, layouts, one plan per operation that is left, packed weights, memory plan.
// Immutable; several streams may run it at once.
typedef struct bb_net bb_net;

typedef struct bb_net_options {
  bb_isa isa;  // cap
  bb_alg alg;  // BB_ALG_AUTO = any that accuracy admits; an algorithm = for the convolutions that it can do
  bb_accuracy accuracy;
  int threads;         // that it is made for
  const char *passes;  // "-fuse_act,-se": all but these; NULL = all
  bb_plan_mode mode;
  bool cold;
  bb_wisdom *wisdom;  // NULL = none
  bb_pool *pool;      // to measure on: `threads` of them; NULL = the caller's thread, with threads 1
} bb_net_options;

// The passes in the order in which they run: name and one line of what it does.
size_t bb_pass_count(void);
const char *bb_pass_name(size_t i);
const char *bb_pass_text(size_t i);

bb_status bb_net_create(const bb_graph *graph, const bb_params *params, const bb_net_options *options, bb_net **net,
                        bb_error *error);
void bb_net_destroy(bb_net *net);

// One step of a run: a plan.
typedef struct bb_step {
  const char *name;     // of the node that it computes; of an inserted copy, the tensor's producer
  const char *fused;    // names of the nodes that were fused into it, with a blank between; "" if none
  bool inserted;        // a copy that no node asked for: between layouts, or an output to NCHW
  const bb_plan *plan;  // its task (problem, fused parts, views), kernel, config
} bb_step;
int bb_net_steps(const bb_net *net);
const bb_step *bb_net_step(const bb_net *net, int i);

typedef struct bb_net_bytes {
  size_t weights;    // of the parameters, as floats
  size_t packed;     // as packed for the kernels
  size_t arena;      // activations of one stream
  size_t workspace;  // of one stream on the threads it was made for
} bb_net_bytes;
bb_net_bytes bb_net_memory(const bb_net *net);

// Memory of one stream of executions, for at most `threads` threads: arena, outputs, workspace.
typedef struct bb_stream bb_stream;
bb_status bb_stream_create(const bb_net *net, int threads, bb_stream **stream, bb_error *error);
void bb_stream_destroy(bb_stream *stream);

// input: N x C x H x W. Allocates nothing; makes no system call but those of the pool. If ns is not NULL, ns[i] is the clock
// (CLOCK_MONOTONIC, nanoseconds) before step i, ns[bb_net_steps] after the last.
void bb_stream_run(bb_stream *stream, bb_pool *pool, const float *input, uint64_t *ns);
// Step i by itself, on whatever its inputs hold after a run: for who wants to time it.
void bb_stream_run_step(bb_stream *stream, bb_pool *pool, const float *input, int i);
// Where step i finds and leaves its tensors.
bb_io bb_stream_step_io(const bb_stream *stream, const float *input, int i);
// Output i of the graph, NCHW, of the last run.
const float *bb_stream_output(const bb_stream *stream, int i);

#ifdef __cplusplus
}
#endif

#endif
