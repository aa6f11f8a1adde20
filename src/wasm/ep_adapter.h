/* What an adapter in WebAssembly sees; docs/adapters.md. Freestanding, no libc, nothing imported.
 *
 * The host calls ep_alloc once for each buffer, fills the request, then calls ep_decode once a frame
 * with the tensors of the frame in place. Pointers are offsets into the module's memory.
 */
#ifndef EP_ADAPTER_H
#define EP_ADAPTER_H

#include <stdint.h>

#define EP_ABI 1
#define EP_MAX_RANK 6
#define EP_EXPORT(name) __attribute__((export_name(name)))

struct ep_tensor {
  const float *data;
  int32_t rank;
  int32_t shape[EP_MAX_RANK];
};

struct ep_request {
  int32_t width, height; /* of the image input, px; 0: it is no camera */
  int32_t labels;
  float least;           /* rows with a lower score may be left out */
  int32_t options;       /* count */
  const float *option;   /* in the order of their names */
  int32_t tensors;
  const struct ep_tensor *tensor; /* in the order of the option `outputs` */
  int32_t capacity;      /* rows */
  float *rows;           /* camera: x_min, y_min, x_max, y_max (px of the input), score, label */
};

/* Bytes for the host, 16-byte aligned; 0: there are none left. Nothing is freed. */
static uint32_t ep_bump(uint32_t bytes) {
  extern unsigned char __heap_base;
  static uint32_t next;
  if (!next) next = ((uint32_t)&__heap_base + 15u) & ~15u;
  const uint32_t begin = next;
  if (bytes > 0x7fffffffu - begin) return 0;
  const uint32_t end = (begin + bytes + 15u) & ~15u;
  const uint32_t have = (uint32_t)__builtin_wasm_memory_size(0) << 16;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535u) >> 16) == (unsigned long)-1)
    return 0;
  next = end;
  return begin;
}

#define EP_ADAPTER                                                           \
  EP_EXPORT("ep_abi") int32_t ep_abi(void) { return EP_ABI; }                \
  EP_EXPORT("ep_alloc") uint32_t ep_alloc(uint32_t n) { return ep_bump(n); }

#endif
