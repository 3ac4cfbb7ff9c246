// SPDX-License-Identifier: Apache-2.0
//
// oneDNN through its C API (version 2), loaded at run time: direct convolution, formats of its own choice, reorders outside of
// the timing. Its OpenMP threads wait passively, or they would take the processors from ours, and stand on the same processors.

#include "peer.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/common.h"
#include "../kernels/memory.h"
#include "conv_work.h"

#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#if DNNL_VERSION_MAJOR == 2
#define HAVE_HEADER 1
#endif
#endif

#if HAVE_HEADER

// The functions in use, found by name.
#define FUNCTIONS(X)                            \
  X(dnnl_version)                               \
  X(dnnl_set_max_cpu_isa)                       \
  X(dnnl_engine_create)                         \
  X(dnnl_stream_create)                         \
  X(dnnl_stream_wait)                           \
  X(dnnl_memory_desc_init_by_tag)               \
  X(dnnl_memory_desc_get_size)                  \
  X(dnnl_memory_create)                         \
  X(dnnl_memory_destroy)                        \
  X(dnnl_memory_set_data_handle)                \
  X(dnnl_dilated_convolution_forward_desc_init) \
  X(dnnl_primitive_attr_create)                 \
  X(dnnl_primitive_attr_destroy)                \
  X(dnnl_primitive_attr_set_post_ops)           \
  X(dnnl_post_ops_create)                       \
  X(dnnl_post_ops_destroy)                      \
  X(dnnl_post_ops_append_eltwise)               \
  X(dnnl_primitive_desc_create)                 \
  X(dnnl_primitive_desc_destroy)                \
  X(dnnl_primitive_desc_query)                  \
  X(dnnl_primitive_desc_query_md)               \
  X(dnnl_reorder_primitive_desc_create)         \
  X(dnnl_primitive_create)                      \
  X(dnnl_primitive_destroy)                     \
  X(dnnl_primitive_execute)

static struct {
#define FIELD(name) __typeof__(&name) name;
  FUNCTIONS(FIELD)
#undef FIELD
  void (*omp_set_num_threads)(int);
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  int threads;  // that OpenMP has had
  bool tried, isa_set;
  bb_isa isa;
  char why[160], version[64];
} dnnl;

static const char *load_library(const int *cpu, int cpus) {
  char list[4096] = "", threads[16];
  for (int i = 0; i < cpus; i++) {
    const size_t n = strlen(list);
    snprintf(list + n, sizeof list - n, "%s%d", i ? " " : "", cpu[i]);
  }
  snprintf(threads, sizeof threads, "%d", cpus);
  setenv("OMP_WAIT_POLICY", "passive", 1);
  setenv("OMP_NUM_THREADS", threads, 1);
  setenv("OMP_DYNAMIC", "false", 1);
  setenv("GOMP_CPU_AFFINITY", list, 1);
  void *library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    static char why[160];
    snprintf(why, sizeof why, "oneDNN 2 cannot be loaded (Debian: apt-get install libdnnl2): %.90s", dlerror());
    return why;
  }
#define FIND(name)                                   \
  {                                                  \
    void *symbol = dlsym(library, #name);            \
    if (!symbol) return "libdnnl.so.2 lacks " #name; \
    memcpy(&dnnl.name, &symbol, sizeof symbol);      \
  }
  FUNCTIONS(FIND)
#undef FIND
  void *omp = dlsym(library, "omp_set_num_threads");  // of the OpenMP library that it was linked with
  if (omp) memcpy(&dnnl.omp_set_num_threads, &omp, sizeof omp);
  const dnnl_version_t *v = dnnl.dnnl_version();
  if (v->major != DNNL_VERSION_MAJOR) return "libdnnl.so.2 is not of version 2";
  snprintf(dnnl.version, sizeof dnnl.version, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
  return NULL;
}

static const char *missing(const int *cpu, int cpus) {
  if (!dnnl.tried) {
    const char *why = load_library(cpu, cpus);
    snprintf(dnnl.why, sizeof dnnl.why, "%s", why ? why : "");
    dnnl.tried = true;
  }
  return *dnnl.why ? dnnl.why : NULL;
}

static const char *version(void) { return dnnl.version; }

typedef struct tensor {
  dnnl_memory_t memory;
  void *data;
  bool lent;  // data is someone else's
} tensor;

struct peer_conv {
  int threads;
  dnnl_primitive_desc_t desc;
  dnnl_primitive_t primitive;
  tensor x, b, y;
  tensor *w;
  char *weights;  // of all w, close together: each in huge pages of its own would take many times as much
  size_t copies, next, packed;
  dnnl_dims_t y_dims;
  const char *implementation;
};

// Its ISA can be set once, before anything else is done.
static bool set_isa(bb_isa isa, bb_error *error) {
  static const dnnl_cpu_isa_t cap[BB_ISA_COUNT] = {[BB_ISA_GENERIC] = dnnl_cpu_isa_sse41,
                                                   [BB_ISA_AVX2] = dnnl_cpu_isa_avx2,
                                                   [BB_ISA_AVX512] = dnnl_cpu_isa_all,
                                                   [BB_ISA_NEON] = dnnl_cpu_isa_all};
  if (!dnnl.isa_set) {
    dnnl.dnnl_set_max_cpu_isa(cap[isa]);
    dnnl.isa_set = true;
    dnnl.isa = isa;
  }
  if (dnnl.isa == isa) return true;
  snprintf(error->text, sizeof error->text, "oneDNN takes one ISA per process and has %s: use one --isa per run",
           bb_isa_name(dnnl.isa));
  return false;
}

static bool ok(dnnl_status_t status) { return status == dnnl_success; }

static bool reorder(const dnnl_memory_desc_t *from_md, dnnl_memory_t from, const dnnl_memory_desc_t *to_md, dnnl_memory_t to) {
  dnnl_primitive_desc_t pd = NULL;
  dnnl_primitive_t p = NULL;
  bool done = ok(dnnl.dnnl_reorder_primitive_desc_create(&pd, from_md, dnnl.engine, to_md, dnnl.engine, NULL)) &&
              ok(dnnl.dnnl_primitive_create(&p, pd));
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
  done = done && ok(dnnl.dnnl_primitive_execute(p, dnnl.stream, 2, args)) && ok(dnnl.dnnl_stream_wait(dnnl.stream));
  if (p) dnnl.dnnl_primitive_destroy(p);
  if (pd) dnnl.dnnl_primitive_desc_destroy(pd);
  return done;
}

// In memory that it has been lent, or of its own like ours: huge pages where the system grants them.
static bool tensor_create(const dnnl_memory_desc_t *desc, tensor *out) {
  if (!out->lent) out->data = bb_alloc(dnnl.dnnl_memory_desc_get_size(desc));
  return out->data && ok(dnnl.dnnl_memory_create(&out->memory, desc, dnnl.engine, out->data));
}

static void tensor_destroy(tensor *t) {
  if (t->memory) dnnl.dnnl_memory_destroy(t->memory);
  if (!t->lent) free(t->data);
}

// A tensor in its layout, filled from ours.
static bool import(const float *data, int rank, const dnnl_dim_t *dims, dnnl_format_tag_t tag, const dnnl_memory_desc_t *to,
                   tensor *out) {
  dnnl_memory_desc_t plain;
  dnnl_memory_t from = NULL;
  float *copy = NULL;  // it takes no const
  bool done = ok(dnnl.dnnl_memory_desc_init_by_tag(&plain, rank, dims, dnnl_f32, tag));
  const size_t bytes = done ? dnnl.dnnl_memory_desc_get_size(&plain) : 0;
  done = done && (copy = malloc(bytes + 1)) != NULL;
  if (done) memcpy(copy, data, bytes);
  done = done && ok(dnnl.dnnl_memory_create(&from, &plain, dnnl.engine, copy)) && tensor_create(to, out) &&
         reorder(&plain, from, to, out->memory);
  if (from) dnnl.dnnl_memory_destroy(from);
  free(copy);
  return done;
}

static void destroy(peer_conv *c) {
  if (!c) return;
  tensor_destroy(&c->x);
  tensor_destroy(&c->b);
  tensor_destroy(&c->y);
  for (size_t i = 0; i < c->copies; i++) tensor_destroy(&c->w[i]);
  if (c->primitive) dnnl.dnnl_primitive_destroy(c->primitive);
  if (c->desc) dnnl.dnnl_primitive_desc_destroy(c->desc);
  free(c->w);
  free(c->weights);
  free(c);
}

// What is fused that its post-operations can express here: bias and the ReLUs.
static bool expressible(const bb_task *t) {
  const bb_epilogue *e = &t->epilogue;
  const bool act = e->act == BB_ACT_IDENTITY || e->act == BB_ACT_RELU || e->act == BB_ACT_LEAKY_RELU;
  return act && e->residual == BB_RESIDUAL_NONE && !e->scale && !e->second && !e->gap && !t->prologue.dynamic_scale &&
         !t->prologue.scale_shift && !t->prologue.relu;
}

static dnnl_primitive_attr_t attributes(const bb_task *t) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t ops = NULL;
  if (!ok(dnnl.dnnl_primitive_attr_create(&attr))) return NULL;
  if (t->epilogue.act != BB_ACT_IDENTITY && ok(dnnl.dnnl_post_ops_create(&ops))) {
    const float slope = t->epilogue.act == BB_ACT_LEAKY_RELU ? t->epilogue.alpha : 0;
    dnnl.dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, slope, 0);
    dnnl.dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl.dnnl_post_ops_destroy(ops);
  }
  return attr;
}

static bool make(const bb_task *t, const bb_ref_data *data, bool cold, peer_conv *c) {
  const bb_conv *p = &t->problem.conv;
  const dnnl_dims_t x = {p->N, p->C, p->H, p->W}, y = {p->N, p->K, p->P, p->Q}, b = {p->K};
  const bool groups = p->G > 1;
  const dnnl_dims_t grouped = {p->G, p->K / p->G, p->C / p->G, p->R, p->S}, dense = {p->K, p->C, p->R, p->S};
  const dnnl_dim_t *w = groups ? grouped : dense;
  const dnnl_dims_t strides = {p->stride_h, p->stride_w}, dilates = {p->dil_h - 1, p->dil_w - 1};
  const dnnl_dims_t before = {p->pad_t, p->pad_l}, after = {p->pad_b, p->pad_r};
  memcpy(c->y_dims, y, sizeof y);
  dnnl_memory_desc_t xd, wd, bd, yd;
  dnnl_convolution_desc_t cd;
  if (!ok(dnnl.dnnl_memory_desc_init_by_tag(&xd, 4, x, dnnl_f32, dnnl_format_tag_any)) ||
      !ok(dnnl.dnnl_memory_desc_init_by_tag(&yd, 4, y, dnnl_f32, dnnl_format_tag_any)) ||
      !ok(dnnl.dnnl_memory_desc_init_by_tag(&wd, groups ? 5 : 4, w, dnnl_f32, dnnl_format_tag_any)) ||
      !ok(dnnl.dnnl_memory_desc_init_by_tag(&bd, 1, b, dnnl_f32, dnnl_x)))
    return false;
  if (!ok(dnnl.dnnl_dilated_convolution_forward_desc_init(&cd, dnnl_forward_inference, dnnl_convolution_direct, &xd, &wd,
                                                          t->epilogue.bias ? &bd : NULL, &yd, strides, dilates, before, after)))
    return false;
  dnnl_primitive_attr_t attr = attributes(t);
  const bool made = attr && ok(dnnl.dnnl_primitive_desc_create(&c->desc, &cd, attr, dnnl.engine, NULL)) &&
                    ok(dnnl.dnnl_primitive_create(&c->primitive, c->desc));
  if (attr) dnnl.dnnl_primitive_attr_destroy(attr);
  if (!made) return false;
  dnnl.dnnl_primitive_desc_query(c->desc, dnnl_query_impl_info_str, 0, &c->implementation);

  const dnnl_memory_desc_t *to_x = dnnl.dnnl_primitive_desc_query_md(c->desc, dnnl_query_src_md, 0);
  const dnnl_memory_desc_t *to_w = dnnl.dnnl_primitive_desc_query_md(c->desc, dnnl_query_weights_md, 0);
  const dnnl_memory_desc_t *to_y = dnnl.dnnl_primitive_desc_query_md(c->desc, dnnl_query_dst_md, 0);
  c->packed = dnnl.dnnl_memory_desc_get_size(to_w);
  const size_t copies = cold ? conv_copies(c->packed) : 1;
  const size_t each = bb_align_up(c->packed, BB_ALIGN);
  c->w = calloc(copies, sizeof *c->w);
  c->copies = c->w ? copies : 0;
  c->weights = bb_alloc(copies * each);
  for (size_t i = 0; c->weights && i < c->copies; i++) c->w[i] = (tensor){.data = c->weights + i * each, .lent = true};
  bool done = c->w && c->weights && import(data->x, 4, x, dnnl_nchw, to_x, &c->x) && tensor_create(to_y, &c->y);
  if (t->epilogue.bias) done = done && import(data->b, 1, b, dnnl_x, &bd, &c->b);
  for (size_t i = 0; done && i < copies; i++)
    done = import(data->w, groups ? 5 : 4, w, groups ? dnnl_goihw : dnnl_oihw, to_w, &c->w[i]);
  return done;
}

static bb_status create(const bb_task *t, const bb_ref_data *data, bb_isa isa, int threads, bool cold, peer_conv **out,
                        bb_error *error) {
  *out = NULL;
  if (!expressible(t)) {
    snprintf(error->text, sizeof error->text, "oneDNN's post-operations are used here for bias and ReLU only");
    return BB_UNSUPPORTED;
  }
  if (threads > 1 && !dnnl.omp_set_num_threads) {
    snprintf(error->text, sizeof error->text, "this libdnnl was not built with OpenMP: one thread only");
    return BB_UNSUPPORTED;
  }
  if (!set_isa(isa, error)) return BB_UNSUPPORTED;
  if (threads > dnnl.threads) {  // OpenMP ends the program if it cannot have one
    bb_pool *pool;
    const bb_status status = bb_pool_create(&(bb_pool_options){.threads = threads}, &pool, error);
    if (status != BB_OK) return status;
    bb_pool_destroy(pool);
  }
  dnnl.threads = threads;
  if (dnnl.omp_set_num_threads) dnnl.omp_set_num_threads(threads);
  if (!dnnl.stream && (!ok(dnnl.dnnl_engine_create(&dnnl.engine, dnnl_cpu, 0)) ||
                       !ok(dnnl.dnnl_stream_create(&dnnl.stream, dnnl.engine, dnnl_stream_default_flags)))) {
    snprintf(error->text, sizeof error->text, "oneDNN cannot create an engine");
    return BB_UNSUPPORTED;
  }
  peer_conv *c = calloc(1, sizeof *c);
  if (!c) return BB_NO_MEMORY;
  c->threads = threads;
  if (!make(t, data, cold, c)) {
    destroy(c);
    snprintf(error->text, sizeof error->text, "oneDNN has no direct convolution for it");
    return BB_UNSUPPORTED;
  }
  *out = c;
  return BB_OK;
}

static void run(void *conv) {
  peer_conv *c = conv;
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, c->x.memory},
                                  {DNNL_ARG_WEIGHTS, c->w[c->next].memory},
                                  {DNNL_ARG_DST, c->y.memory},
                                  {DNNL_ARG_BIAS, c->b.memory}};
  if (++c->next == c->copies) c->next = 0;
  dnnl.dnnl_primitive_execute(c->primitive, dnnl.stream, c->b.memory ? 4 : 3, args);
  dnnl.dnnl_stream_wait(dnnl.stream);
}

static bool output(peer_conv *c, float *nchw) {
  dnnl_memory_desc_t plain;
  dnnl_memory_t to = NULL;
  const bool done = ok(dnnl.dnnl_memory_desc_init_by_tag(&plain, 4, c->y_dims, dnnl_f32, dnnl_nchw)) &&
                    ok(dnnl.dnnl_memory_create(&to, &plain, dnnl.engine, nchw)) &&
                    reorder(dnnl.dnnl_primitive_desc_query_md(c->desc, dnnl_query_dst_md, 0), c->y.memory, &plain, to);
  if (to) dnnl.dnnl_memory_destroy(to);
  return done;
}

static size_t packed_bytes(const peer_conv *c) { return c->packed; }
static const char *implementation(const peer_conv *c) { return c->implementation ? c->implementation : ""; }

#else

static const char *missing(const int *cpu, int cpus) {
  (void)cpu, (void)cpus;
  return "this build had no oneDNN 2 header (Debian: apt-get install libdnnl-dev, then build again)";
}
static const char *version(void) { return ""; }
static bb_status create(const bb_task *t, const bb_ref_data *data, bb_isa isa, int threads, bool cold, peer_conv **conv,
                        bb_error *error) {
  (void)t, (void)data, (void)isa, (void)threads, (void)cold;
  *conv = NULL;
  snprintf(error->text, sizeof error->text, "%s", missing(NULL, 0));
  return BB_UNSUPPORTED;
}
static void destroy(peer_conv *conv) { (void)conv; }
static void run(void *conv) { (void)conv; }
static bool output(peer_conv *conv, float *nchw) { return (void)conv, (void)nchw, false; }
static size_t packed_bytes(const peer_conv *conv) { return (void)conv, 0; }
static const char *implementation(const peer_conv *conv) { return (void)conv, ""; }

#endif

const peer peer_onednn = {
    .name = "onednn",
    .what = "oneDNN 2 (libdnnl.so.2), direct convolution",
    .missing = missing,
    .version = version,
    .create = create,
    .destroy = destroy,
    .run = run,
    .output = output,
    .packed_bytes = packed_bytes,
    .implementation = implementation,
};
