/* A libcuda of the tests' own, for a machine without a GPU: what PyCUDA and cuda.bindings call, the
   real ones, ends here.

   It writes down what is called, runs work only when somebody waits for it, and refuses what a
   GPU's driver refuses or would not survive: a context that is not current, another one's stream,
   what is not alive (any more), memory that is freed while a stream uses it, pageable memory in an
   asynchronous copy, waiting or allocating while recording. Each refusal is a fault, which stays to
   be told: PyCUDA only prints what goes wrong while it cleans up. Memory of the device is memory of
   the host, with pages around it that nobody may touch; an address is never given out twice. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef uintptr_t Address;
typedef int Status;
enum {
  DONE = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_WRONG_THREAD = 908,
};
enum kind { STREAM, DEVICE, PINNED, MODULE, GRAPH, EXECUTABLE, FUNCTION, KINDS };
static const char* const KIND[] = {"stream", "device",     "pinned",  "module",
                                   "graph",  "executable", "function"};
enum { MOST_DEVICES = 4, MOST_DEEP = 16, MOST_POINTERS = 32, PAGE = 4096 };

struct work {
  struct work* next;
  enum { COPY, KERNEL, ENGINE } what;
  Address at[MOST_POINTERS]; /* COPY: to, from */
  int pointers;
  size_t size;
  int (*start)(void**, int, int, int);
  int blocks, threads;
  Address module; /* of the kernel */
};

struct thing {
  struct thing* next;
  enum kind kind;
  Address handle;
  size_t size;
  int device;
  struct work* work;     /* of a stream: what waits; of a graph: what it does */
  struct work* recorded; /* of a stream */
  int recording, broken; /* the same */
  pthread_t recorder;    /* the thread */
  void* library;         /* of a module */
  Address module;        /* of a function */
  int (*start)(void**, int, int, int);
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct thing* things; /* that are alive */
static int devices = 1, ready, retained[MOST_DEVICES];
static Address contexts[MOST_DEVICES], next_address, last_address;
static char to_fail[64];
static int times_to_fail, first_to_pass;
static __thread int stack[MOST_DEEP], deep;

struct text {
  char* of;
  size_t used, room;
};
static struct text calls, faults, answer;

static void add(struct text* text, const char* line) {
  size_t more = strlen(line) + 1;
  if (text->used + more + 1 > text->room) {
    text->room = 2 * (text->room + more + 1);
    text->of = realloc(text->of, text->room);
  }
  memcpy(text->of + text->used, line, more - 1);
  text->used += more;
  text->of[text->used - 1] = '\n';
  text->of[text->used] = 0;
}

static Status fault(Status status, const char* name, const char* what) {
  char line[256];
  snprintf(line, sizeof line, "%s: %s", name, what);
  add(&faults, line);
  return status;
}

/* Memory, or a handle that nobody may look into. */
static Address room_for(size_t size) {
  size_t pages = (size + PAGE - 1) / PAGE;
  if (!next_address) {
    size_t all = (size_t)64 << 30; /* of addresses, not of memory */
    next_address =
        (Address)mmap(0, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    last_address = next_address + all;
  }
  Address at = next_address + PAGE;
  if (at + pages * PAGE > last_address) return 0;
  next_address = at + (pages ? pages : 1) * PAGE;
  if (pages) {
    mprotect((void*)at, pages * PAGE, PROT_READ | PROT_WRITE);
    memset((void*)at, 255, size); /* whatever was there; as float32 no number */
  }
  return at;
}

static struct thing* born(enum kind kind, size_t size) {
  struct thing* made = calloc(1, sizeof *made);
  made->kind = kind, made->size = size, made->device = deep ? stack[deep - 1] : 0;
  made->handle = room_for(kind == DEVICE || kind == PINNED ? size : 0);
  made->next = things, things = made;
  return made; /* no room: the handle is 0 */
}

static struct thing* found(enum kind kind, Address handle) {
  for (struct thing* thing = things; thing; thing = thing->next)
    if (thing->kind == kind && thing->handle == handle) return thing;
  return 0;
}

static struct thing* memory(enum kind kind, Address at, size_t size) {
  for (struct thing* thing = things; thing; thing = thing->next)
    if (thing->kind == kind && at >= thing->handle && at + size <= thing->handle + thing->size)
      return thing;
  return 0;
}

static void drop(struct work** list) {
  while (*list) {
    struct work* work = *list;
    *list = work->next;
    free(work);
  }
}

static void append(struct work** list, const struct work* work) {
  while (*list) list = &(*list)->next;
  *list = malloc(sizeof **list);
  **list = *work, (*list)->next = 0;
}

static struct work* copied(const struct work* list) {
  struct work* made = 0;
  for (; list; list = list->next) append(&made, list);
  return made;
}

static void gone(struct thing* thing) {
  struct thing** at = &things;
  while (*at != thing) at = &(*at)->next;
  *at = thing->next;
  if (thing->kind == DEVICE || thing->kind == PINNED) {
    size_t all = (thing->size + PAGE - 1) / PAGE * PAGE;
    madvise((void*)thing->handle, all, MADV_DONTNEED);
    mprotect((void*)thing->handle, all, PROT_NONE);
  }
  drop(&thing->work), drop(&thing->recorded);
  if (thing->library) dlclose(thing->library);
  free(thing);
}

/* Whether all that the work touches is there. */
static int there(const struct work* work) {
  if (work->what == COPY)
    return (memory(DEVICE, work->at[0], work->size) && memory(PINNED, work->at[1], work->size)) ||
           (memory(PINNED, work->at[0], work->size) && memory(DEVICE, work->at[1], work->size));
  for (int i = 0; i < work->pointers; ++i)
    if (!memory(DEVICE, work->at[i], work->size)) return 0;
  return 1;
}

static Status done(struct thing* stream) {
  Status status = DONE;
  while (stream->work) {
    struct work* work = stream->work;
    if (!there(work)) {
      status = fault(ILLEGAL_ADDRESS, "stream", "work on memory that is not there any more");
    } else if (work->what == COPY) {
      memcpy((void*)work->at[0], (void*)work->at[1], work->size);
    } else if (work->what == KERNEL) {
      if (work->start((void**)work->at, work->pointers, work->blocks, work->threads))
        status = fault(INVALID_VALUE, "kernel", "other pointers");
    } else {
      const float *a = (float*)work->at[0], *b = (float*)work->at[1];
      float *sum = (float*)work->at[2], *product = (float*)work->at[3];
      for (size_t i = 0; i < work->size / sizeof *a; ++i) {
        if (isnan(a[i]) || isnan(b[i]))
          status = fault(DONE, "engine", "an input that nobody wrote");
        sum[i] = a[i] + b[i], product[i] = a[i] * b[i];
      }
    }
    stream->work = work->next;
    free(work);
  }
  return status;
}

static int uses(const struct work* work, const struct thing* memory) {
  for (; work; work = work->next)
    for (int i = 0; i < work->pointers; ++i)
      if (work->at[i] >= memory->handle && work->at[i] < memory->handle + memory->size) return 1;
  return 0;
}

static struct thing* recording_here(void) {
  for (struct thing* thing = things; thing; thing = thing->next)
    if (thing->kind == STREAM && thing->recording && pthread_equal(thing->recorder, pthread_self()))
      return thing;
  return 0;
}

/* What a call starts with: a lock, which is held only where it returns DONE. */
enum needs { NOTHING = 0, CONTEXT = 1, NO_RECORDING = 2, QUIET = 4 };

static Status begin(const char* name, enum needs needs) {
  Status status = DONE;
  pthread_mutex_lock(&lock);
  if (!(needs & QUIET)) add(&calls, name);
  struct thing* stream = needs & NO_RECORDING ? recording_here() : 0;
  if (times_to_fail && !strcmp(to_fail, name) && --first_to_pass < 0) {
    --times_to_fail;
    status = OUT_OF_MEMORY;
  } else if (needs & CONTEXT && !deep) {
    status = fault(INVALID_CONTEXT, name, "without a context");
  } else if (stream) {
    stream->broken = 1;
    status = fault(CAPTURE_UNSUPPORTED, name, "while recording");
  }
  if (status) pthread_mutex_unlock(&lock);
  return status;
}

static Status end(Status status) {
  pthread_mutex_unlock(&lock);
  return status;
}

#define BEGIN(name, needs)               \
  do {                                   \
    Status refused = begin(name, needs); \
    if (refused) return refused;         \
  } while (0)

static struct thing* own(enum kind kind, Address handle, const char* name, Status* status) {
  struct thing* thing = found(kind, handle);
  char what[64];
  *status = DONE;
  if (!thing) {
    snprintf(what, sizeof what, "a %s that is not alive", KIND[kind]);
    *status = fault(INVALID_HANDLE, name, what);
  } else if (thing->device != stack[deep - 1]) {
    snprintf(what, sizeof what, "a %s of another context", KIND[kind]);
    *status = fault(INVALID_CONTEXT, name, what);
  }
  return *status ? 0 : thing;
}

static Status queue(Address handle, const char* name, const struct work* work) {
  Status status;
  struct thing* stream = own(STREAM, handle, name, &status);
  if (!stream) return status;
  if (!there(work))
    return fault(INVALID_VALUE, name, "memory that is not there, too small, or pageable");
  append(stream->recording ? &stream->recorded : &stream->work, work);
  return DONE;
}

/* Devices and contexts */

Status cuInit(unsigned flags) {
  BEGIN("cuInit", NOTHING);
  ready = 1;
  return end(DONE);
}

Status cuDriverGetVersion(int* version) { return *version = 13000, DONE; }

Status cuDeviceGetCount(int* count) {
  BEGIN("cuDeviceGetCount", NOTHING);
  *count = devices;
  return end(ready ? DONE : fault(3, "cuDeviceGetCount", "before cuInit"));
}

Status cuDeviceGet(int* device, int index) {
  BEGIN("cuDeviceGet", QUIET);
  *device = index;
  return end(index >= 0 && index < devices ? DONE : INVALID_DEVICE);
}

Status cuDeviceGetName(char* name, int room, int device) {
  return snprintf(name, room, "Recorder"), DONE;
}
Status cuDeviceComputeCapability(int* major, int* minor, int device) {
  return *major = 9, *minor = 0, DONE;
}
Status cuDeviceTotalMem_v2(size_t* bytes, int device) { return *bytes = 1 << 30, DONE; }

Status cuDevicePrimaryCtxRetain(Address* context, int device) {
  BEGIN("cuDevicePrimaryCtxRetain", NOTHING);
  if (!contexts[device]) contexts[device] = room_for(0);
  ++retained[device];
  *context = contexts[device];
  return end(DONE);
}

Status cuDevicePrimaryCtxRelease_v2(int device) {
  BEGIN("cuDevicePrimaryCtxRelease", NOTHING);
  if (!retained[device])
    return end(fault(INVALID_CONTEXT, "cuDevicePrimaryCtxRelease", "once too often"));
  if (!--retained[device])
    for (struct thing* thing = things; thing; thing = thing->next)
      if (thing->device == device && thing->kind != FUNCTION)
        fault(DONE, "cuDevicePrimaryCtxRelease", KIND[thing->kind]); /* goes with its context */
  return end(DONE);
}

Status cuCtxPushCurrent_v2(Address context) {
  BEGIN("cuCtxPushCurrent", QUIET);
  for (int device = 0; device < MOST_DEVICES; ++device)
    if (context && contexts[device] == context && retained[device] && deep < MOST_DEEP) {
      stack[deep++] = device;
      return end(DONE);
    }
  return end(fault(INVALID_CONTEXT, "cuCtxPushCurrent", "a context that is not alive"));
}

Status cuCtxPopCurrent_v2(Address* context) {
  BEGIN("cuCtxPopCurrent", CONTEXT | QUIET);
  *context = contexts[stack[--deep]];
  return end(DONE);
}

Status cuCtxGetDevice(int* device) {
  BEGIN("cuCtxGetDevice", CONTEXT | QUIET);
  *device = stack[deep - 1];
  return end(DONE);
}

/* Memory */

Status cuMemGetInfo_v2(size_t* left, size_t* all) {
  BEGIN("cuMemGetInfo", CONTEXT | QUIET);
  *left = *all = 1 << 30;
  for (struct thing* thing = things; thing; thing = thing->next)
    if (thing->kind == DEVICE) *left -= thing->size;
  return end(DONE);
}

static Status allocate(enum kind kind, const char* name, Address* at, size_t size) {
  BEGIN(name, CONTEXT | NO_RECORDING);
  if (!size) return end(INVALID_VALUE);
  *at = born(kind, size)->handle;
  return end(DONE);
}

static Status release(enum kind kind, const char* name, Address at) {
  Status status;
  BEGIN(name, CONTEXT | NO_RECORDING);
  struct thing* thing = own(kind, at, name, &status);
  if (!thing) return end(status);
  for (struct thing* stream = things; stream; stream = stream->next)
    if (stream->kind == STREAM && uses(stream->work, thing)) {
      fault(DONE, name, "while a stream uses it"); /* the driver may wait for it, and need not */
      done(stream);
    }
  gone(thing);
  return end(DONE);
}

Status cuMemAlloc_v2(Address* at, size_t size) { return allocate(DEVICE, "cuMemAlloc", at, size); }
Status cuMemHostAlloc(Address* at, size_t size, unsigned flags) {
  return allocate(PINNED, "cuMemHostAlloc", at, size);
}
Status cuMemFree_v2(Address at) { return release(DEVICE, "cuMemFree", at); }
Status cuMemFreeHost(Address at) { return release(PINNED, "cuMemFreeHost", at); }

static Status copy(const char* name, Address to, Address from, size_t size, Address stream) {
  BEGIN(name, CONTEXT);
  struct work work = {.what = COPY, .at = {to, from}, .pointers = 2, .size = size};
  return end(queue(stream, name, &work));
}

Status cuMemcpyHtoDAsync_v2(Address to, Address from, size_t size, Address stream) {
  return copy("cuMemcpyHtoDAsync", to, from, size, stream);
}

Status cuMemcpyDtoHAsync_v2(Address to, Address from, size_t size, Address stream) {
  return copy("cuMemcpyDtoHAsync", to, from, size, stream);
}

/* Streams */

Status cuStreamCreate(Address* stream, unsigned flags) {
  BEGIN("cuStreamCreate", CONTEXT);
  *stream = born(STREAM, 0)->handle;
  return end(DONE);
}

Status cuStreamDestroy_v2(Address handle) {
  Status status;
  BEGIN("cuStreamDestroy", CONTEXT);
  struct thing* stream = own(STREAM, handle, "cuStreamDestroy", &status);
  if (!stream) return end(status);
  if (stream->recording) fault(DONE, "cuStreamDestroy", "while recording");
  done(stream); /* as the driver: what was queued still runs */
  gone(stream);
  return end(DONE);
}

Status cuStreamSynchronize(Address handle) {
  Status status;
  BEGIN("cuStreamSynchronize", CONTEXT | NO_RECORDING);
  struct thing* stream = own(STREAM, handle, "cuStreamSynchronize", &status);
  return end(stream ? done(stream) : status);
}

/* PyCUDA calls it before each launch, although the launch says the same. */
Status cuFuncSetBlockShape(Address handle, int x, int y, int z) {
  Status status;
  BEGIN("cuFuncSetBlockShape", CONTEXT | QUIET);
  own(FUNCTION, handle, "cuFuncSetBlockShape", &status);
  return end(status);
}

/* Kernels: an image is one line, then the path of a library that `kernels_on_cpu.py` compiled. */

Status cuModuleLoadDataEx(Address* module, const char* image, unsigned options, int* option,
                          void** values) {
  static const char form[] = "of compute capability 9.0\n";
  BEGIN("cuModuleLoadDataEx", CONTEXT | NO_RECORDING);
  if (strncmp(image, form, sizeof form - 1)) return end(INVALID_IMAGE);
  void* library = dlopen(image + sizeof form - 1, RTLD_NOW);
  if (!library) return end(INVALID_IMAGE);
  struct thing* made = born(MODULE, 0);
  made->library = library;
  *module = made->handle;
  return end(DONE);
}

Status cuModuleLoadData(Address* module, const char* image) {
  return cuModuleLoadDataEx(module, image, 0, 0, 0);
}

Status cuModuleUnload(Address handle) {
  Status status;
  BEGIN("cuModuleUnload", CONTEXT | NO_RECORDING);
  struct thing* module = own(MODULE, handle, "cuModuleUnload", &status);
  if (!module) return end(status);
  for (struct thing *each = things, *next; each; each = next) {
    next = each->next;
    if (each->kind == FUNCTION && each->module == handle) gone(each);
  }
  for (struct thing* stream = things; stream; stream = stream->next) {
    const struct work* work = stream->kind == STREAM ? stream->work : 0;
    while (work && work->module != handle) work = work->next;
    if (work) {
      fault(DONE, "cuModuleUnload", "while a stream uses it");
      done(stream);
    }
  }
  gone(module);
  return end(DONE);
}

Status cuModuleGetFunction(Address* function, Address handle, const char* name) {
  Status status;
  char symbol[256];
  BEGIN("cuModuleGetFunction", CONTEXT | QUIET);
  struct thing* module = own(MODULE, handle, "cuModuleGetFunction", &status);
  if (!module) return end(status);
  snprintf(symbol, sizeof symbol, "start_%s", name);
  void* start = dlsym(module->library, symbol);
  if (!start) return end(NOT_FOUND);
  struct thing* made = born(FUNCTION, 0);
  made->module = handle;
  memcpy(&made->start, &start, sizeof start);
  *function = made->handle;
  return end(DONE);
}

Status cuLaunchKernel(Address handle, unsigned x, unsigned y, unsigned z, unsigned threads,
                      unsigned ty, unsigned tz, unsigned shared, Address stream, void** arguments,
                      void** extra) {
  char name[256] = "cuLaunchKernel";
  Dl_info info;
  pthread_mutex_lock(&lock);
  struct thing* function = found(FUNCTION, handle);
  if (function && dladdr((void*)(Address)function->start, &info) && info.dli_sname)
    snprintf(name, sizeof name, "kernel %s", info.dli_sname + strlen("start_"));
  pthread_mutex_unlock(&lock);
  BEGIN(name, CONTEXT);
  Status status;
  function = own(FUNCTION, handle, name, &status);
  if (!function) return end(status);
  struct work work = {.what = KERNEL,
                      .start = function->start,
                      .module = function->module,
                      .blocks = x,
                      .threads = threads,
                      .size = 1};
  size_t size = 0;
  const void* buffer = 0;
  for (; extra && *extra; extra += 2) {
    if (*extra == (void*)1) buffer = extra[1];
    if (*extra == (void*)2) size = *(size_t*)extra[1];
  }
  if (!buffer || size % sizeof(Address) || size > sizeof work.at || y * z * ty * tz != 1)
    return end(
        fault(INVALID_VALUE, name, "arguments that are no pointers, or more than one dimension"));
  memcpy(work.at, buffer, size);
  work.pointers = size / sizeof(Address);
  return end(queue(stream, name, &work));
}

/* Graphs */

Status cuStreamBeginCapture_v2(Address handle, int mode) {
  Status status;
  BEGIN("cuStreamBeginCapture", CONTEXT);
  struct thing* stream = own(STREAM, handle, "cuStreamBeginCapture", &status);
  if (!stream) return end(status);
  if (mode != 1)
    return end(
        fault(INVALID_VALUE, "cuStreamBeginCapture", "other threads must be free to allocate"));
  if (stream->recording)
    return end(fault(INVALID_VALUE, "cuStreamBeginCapture", "while recording"));
  stream->recording = 1, stream->broken = 0, stream->recorder = pthread_self();
  return end(DONE);
}

Status cuStreamEndCapture(Address handle, Address* graph) {
  Status status;
  BEGIN("cuStreamEndCapture", CONTEXT);
  *graph = 0;
  struct thing* stream = own(STREAM, handle, "cuStreamEndCapture", &status);
  if (!stream) return end(status);
  if (!stream->recording)
    return end(fault(INVALID_VALUE, "cuStreamEndCapture", "nothing is recorded"));
  if (!pthread_equal(stream->recorder, pthread_self()))
    return end(fault(CAPTURE_WRONG_THREAD, "cuStreamEndCapture", "in another thread"));
  struct work* recorded = stream->recorded;
  stream->recording = 0, stream->recorded = 0;
  if (stream->broken) {
    drop(&recorded);
    return end(CAPTURE_INVALIDATED);
  }
  struct thing* made = born(GRAPH, 0);
  made->work = recorded;
  *graph = made->handle;
  return end(DONE);
}

Status cuGraphInstantiateWithFlags(Address* executable, Address graph, unsigned long long flags) {
  Status status;
  BEGIN("cuGraphInstantiate", CONTEXT);
  struct thing* thing = own(GRAPH, graph, "cuGraphInstantiate", &status);
  if (!thing) return end(status);
  struct thing* made = born(EXECUTABLE, 0);
  made->work = copied(thing->work);
  *executable = made->handle;
  return end(DONE);
}

Status cuGraphLaunch(Address executable, Address handle) {
  Status status;
  BEGIN("cuGraphLaunch", CONTEXT);
  struct thing* thing = own(EXECUTABLE, executable, "cuGraphLaunch", &status);
  struct thing* stream = thing ? own(STREAM, handle, "cuGraphLaunch", &status) : 0;
  if (!stream) return end(status);
  for (const struct work* work = thing->work; work; work = work->next) append(&stream->work, work);
  return end(DONE);
}

static Status destroy(enum kind kind, const char* name, Address handle) {
  Status status;
  BEGIN(name, CONTEXT);
  struct thing* thing = own(kind, handle, name, &status);
  if (thing) gone(thing);
  return end(status);
}

Status cuGraphDestroy(Address graph) { return destroy(GRAPH, "cuGraphDestroy", graph); }
Status cuGraphExecDestroy(Address graph) {
  return destroy(EXECUTABLE, "cuGraphExecDestroy", graph);
}

/* Texts and names */

Status cuGetErrorString(Status status, const char** text) {
  *text = status == OUT_OF_MEMORY     ? "out of memory"
          : status == NOT_FOUND       ? "named symbol not found"
          : status == INVALID_CONTEXT ? "invalid device context"
          : status == INVALID_IMAGE   ? "device kernel image is invalid"
                                      : "refused by the tests' own driver, which says why";
  return DONE;
}

Status cuGetProcAddress_v2(const char* name, void** out, int version, unsigned long long flags,
                           int* status) {
  static void* self;
  char symbol[256];
  Dl_info info;
  if (!self && dladdr((void*)(Address)cuInit, &info))
    self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  *out = 0;
  for (int number = 4; number >= 1 && !*out; --number) {
    snprintf(symbol, sizeof symbol, number > 1 ? "%s_v%d" : "%s", name, number);
    *out = dlsym(self, symbol);
  }
  if (status) *status = *out ? 0 : 1;
  return DONE;
}

Status cuGetProcAddress(const char* name, void** out, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, out, version, flags, 0);
}

/* For the tests */

void recorder_reset(void) {
  pthread_mutex_lock(&lock);
  while (things) gone(things);
  calls.used = faults.used = 0;
  times_to_fail = 0;
  devices = 1, deep = 0; /* what was closed last stays current in its thread */
  memset(retained, 0, sizeof retained);
  pthread_mutex_unlock(&lock);
}

void recorder_devices(int count) { devices = count; }

int recorder_retained(void) {
  int all = 0;
  for (int device = 0; device < MOST_DEVICES; ++device) all += retained[device];
  return all;
}

void recorder_fail(const char* name, int times, int after) {
  pthread_mutex_lock(&lock);
  times_to_fail = times, first_to_pass = after;
  snprintf(to_fail, sizeof to_fail, "%s", name);
  pthread_mutex_unlock(&lock);
}

/* What the tests' own TensorRT does, in its place among the calls. */
Status recorder_note(const char* name) {
  BEGIN(name, CONTEXT);
  return end(DONE);
}

static const char* said(struct text* text) { return text->used ? text->of : ""; }
const char* recorder_calls(void) { return said(&calls); }
const char* recorder_faults(void) { return said(&faults); }
void recorder_forget(void) { faults.used = 0; }
int recorder_deep(void) { return deep; }

int recorder_alive(const char* kind) {
  int count = 0;
  pthread_mutex_lock(&lock);
  for (struct thing* thing = things; thing; thing = thing->next)
    count += !strcmp(KIND[thing->kind], kind);
  pthread_mutex_unlock(&lock);
  return count;
}

const char* recorder_sizes(void) {
  char line[32];
  pthread_mutex_lock(&lock);
  answer.used = 0;
  for (struct thing* thing = things; thing; thing = thing->next)
    if (thing->kind == DEVICE) snprintf(line, sizeof line, "%zu", thing->size), add(&answer, line);
  pthread_mutex_unlock(&lock);
  return said(&answer);
}

int recorder_has(Address at) {
  pthread_mutex_lock(&lock);
  int has = found(DEVICE, at) != 0;
  pthread_mutex_unlock(&lock);
  return has;
}

int recorder_recording(void) {
  int count = 0;
  pthread_mutex_lock(&lock);
  for (struct thing* thing = things; thing; thing = thing->next)
    count += thing->kind == STREAM && thing->recording;
  pthread_mutex_unlock(&lock);
  return count;
}

/* The engine: sum = a + b, product = a x b. */
Status recorder_execute(Address stream, Address a, Address b, Address sum, Address product,
                        size_t size) {
  BEGIN("execute", CONTEXT);
  struct work work = {.what = ENGINE, .at = {a, b, sum, product}, .pointers = 4, .size = size};
  return end(queue(stream, "execute", &work));
}

/* The last of the process: what was not given back. */
__attribute__((destructor)) static void tell(void) {
  fputs(said(&faults), stderr);
  for (struct thing* thing = things; thing; thing = thing->next)
    if (thing->kind != FUNCTION) fprintf(stderr, "left: %s\n", KIND[thing->kind]);
  for (int device = 0; device < MOST_DEVICES; ++device)
    if (retained[device]) fprintf(stderr, "left: context of device %d\n", device);
}

/* What PyCUDA is linked against and our code does not call. */

#define NOBODY(name) \
  Status name(void) { return fault(NOT_SUPPORTED, #name, "not here"); }
NOBODY(cuArray3DCreate_v2)
NOBODY(cuArray3DGetDescriptor_v2)
NOBODY(cuArrayCreate_v2)
NOBODY(cuArrayDestroy)
NOBODY(cuArrayGetDescriptor_v2)
NOBODY(cuCtxAttach)
NOBODY(cuCtxCreate_v4)
NOBODY(cuCtxDetach)
NOBODY(cuCtxDisablePeerAccess)
NOBODY(cuCtxEnablePeerAccess)
NOBODY(cuCtxGetApiVersion)
NOBODY(cuCtxGetCacheConfig)
NOBODY(cuCtxGetLimit)
NOBODY(cuCtxGetSharedMemConfig)
NOBODY(cuCtxSetCacheConfig)
NOBODY(cuCtxSetLimit)
NOBODY(cuCtxSetSharedMemConfig)
NOBODY(cuCtxSynchronize)
NOBODY(cuDeviceCanAccessPeer)
NOBODY(cuDeviceGetAttribute)
NOBODY(cuDeviceGetByPCIBusId)
NOBODY(cuDeviceGetPCIBusId)
NOBODY(cuEventCreate)
NOBODY(cuEventDestroy_v2)
NOBODY(cuEventElapsedTime_v2)
NOBODY(cuEventQuery)
NOBODY(cuEventRecord)
NOBODY(cuEventSynchronize)
NOBODY(cuFuncGetAttribute)
NOBODY(cuFuncSetAttribute)
NOBODY(cuFuncSetCacheConfig)
NOBODY(cuFuncSetSharedSize)
NOBODY(cuIpcCloseMemHandle)
NOBODY(cuIpcGetEventHandle)
NOBODY(cuIpcGetMemHandle)
NOBODY(cuIpcOpenEventHandle)
NOBODY(cuIpcOpenMemHandle_v2)
NOBODY(cuLaunch)
NOBODY(cuLaunchGrid)
NOBODY(cuLaunchGridAsync)
NOBODY(cuLinkAddData_v2)
NOBODY(cuLinkAddFile_v2)
NOBODY(cuLinkComplete)
NOBODY(cuLinkCreate_v2)
NOBODY(cuLinkDestroy)
NOBODY(cuMemAllocManaged)
NOBODY(cuMemAllocPitch_v2)
NOBODY(cuMemGetAddressRange_v2)
NOBODY(cuMemHostGetDevicePointer_v2)
NOBODY(cuMemHostGetFlags)
NOBODY(cuMemHostRegister_v2)
NOBODY(cuMemHostUnregister)
NOBODY(cuMemcpy2DAsync_v2)
NOBODY(cuMemcpy2DUnaligned_v2)
NOBODY(cuMemcpy2D_v2)
NOBODY(cuMemcpy3DAsync_v2)
NOBODY(cuMemcpy3DPeer)
NOBODY(cuMemcpy3DPeerAsync)
NOBODY(cuMemcpy3D_v2)
NOBODY(cuMemcpyAtoA_v2)
NOBODY(cuMemcpyAtoD_v2)
NOBODY(cuMemcpyAtoH_v2)
NOBODY(cuMemcpyDtoA_v2)
NOBODY(cuMemcpyDtoDAsync_v2)
NOBODY(cuMemcpyDtoD_v2)
NOBODY(cuMemcpyDtoH_v2)
NOBODY(cuMemcpyHtoA_v2)
NOBODY(cuMemcpyHtoD_v2)
NOBODY(cuMemcpyPeer)
NOBODY(cuMemcpyPeerAsync)
NOBODY(cuMemsetD16Async)
NOBODY(cuMemsetD16_v2)
NOBODY(cuMemsetD2D16Async)
NOBODY(cuMemsetD2D16_v2)
NOBODY(cuMemsetD2D32Async)
NOBODY(cuMemsetD2D32_v2)
NOBODY(cuMemsetD2D8Async)
NOBODY(cuMemsetD2D8_v2)
NOBODY(cuMemsetD32Async)
NOBODY(cuMemsetD32_v2)
NOBODY(cuMemsetD8Async)
NOBODY(cuMemsetD8_v2)
NOBODY(cuModuleGetGlobal_v2)
NOBODY(cuModuleGetSurfRef)
NOBODY(cuModuleGetTexRef)
NOBODY(cuModuleLoad)
NOBODY(cuParamSetSize)
NOBODY(cuParamSetTexRef)
NOBODY(cuParamSetf)
NOBODY(cuParamSeti)
NOBODY(cuParamSetv)
NOBODY(cuProfilerInitialize)
NOBODY(cuProfilerStart)
NOBODY(cuProfilerStop)
NOBODY(cuStreamAttachMemAsync)
NOBODY(cuStreamQuery)
NOBODY(cuStreamWaitEvent)
NOBODY(cuSurfRefGetArray)
NOBODY(cuSurfRefSetArray)
NOBODY(cuTexRefCreate)
NOBODY(cuTexRefDestroy)
NOBODY(cuTexRefGetAddressMode)
NOBODY(cuTexRefGetAddress_v2)
NOBODY(cuTexRefGetArray)
NOBODY(cuTexRefGetFilterMode)
NOBODY(cuTexRefGetFlags)
NOBODY(cuTexRefGetFormat)
NOBODY(cuTexRefSetAddress2D_v3)
NOBODY(cuTexRefSetAddressMode)
NOBODY(cuTexRefSetAddress_v2)
NOBODY(cuTexRefSetArray)
NOBODY(cuTexRefSetFilterMode)
NOBODY(cuTexRefSetFlags)
NOBODY(cuTexRefSetFormat)
