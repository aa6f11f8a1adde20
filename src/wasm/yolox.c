/* YOLOX as models/adapters/yolox.py decodes it; the example of an adapter in WebAssembly.
 *
 * Options in the order of their names: decoded, stride0, stride1, stride2. One tensor,
 * (1, N, 5 + classes). Doubles where the twin has them, so that the results are the same.
 */
#include "ep_adapter.h"

EP_ADAPTER

#define MAX_LOG_CELLS 8.0

/* e^x for |x| <= 700: x = k ln 2 + r, |r| <= ln 2 / 2, Taylor series of r to the 13th term. */
static double exponential(double x) {
  const double k = __builtin_nearbyint(x * 1.4426950408889634);
  const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
  double sum = 1.0;
  for (int n = 13; n > 0; --n) sum = 1.0 + sum * r / n;
  union {
    uint64_t bits;
    double value;
  } power = {.bits = (uint64_t)((int64_t)k + 1023) << 52};
  return sum * power.value;
}

static double at_most(double x, double high) { return x < high ? x : high; }

EP_EXPORT("ep_decode") int32_t ep_decode(const struct ep_request *to) {
  if (to->tensors != 1 || to->options != 4) return -1;
  const struct ep_tensor *tensor = to->tensor;
  const int32_t columns = 5 + to->labels;
  if (tensor->rank != 3 || tensor->shape[2] != columns) return -2;
  const int decoded = to->option[0] != 0.0f;
  const float *cell = tensor->data;
  int32_t found = 0, index = 0;
  for (int s = 0; s < 3; ++s) {
    const int32_t stride = (int32_t)to->option[1 + s];
    if (stride < 1) return -3;
    const int32_t wide = (to->width + stride - 1) / stride;
    const int32_t high = (to->height + stride - 1) / stride;
    for (int32_t row = 0; row < high; ++row)
      for (int32_t column = 0; column < wide; ++column, ++index, cell += columns) {
        if (index >= tensor->shape[1]) return -4;
        if (!(cell[4] >= to->least)) continue;
        int32_t label = 0;
        for (int32_t c = 1; c < to->labels; ++c)
          if (cell[5 + c] > cell[5 + label]) label = c;
        const double score = (double)cell[4] * cell[5 + label];
        if (!(score >= to->least)) continue;
        double x = cell[0], y = cell[1], w = cell[2], h = cell[3];
        if (!decoded) {
          x = (x + column) * stride, y = (y + row) * stride;
          w = exponential(at_most(w, MAX_LOG_CELLS)) * stride;
          h = exponential(at_most(h, MAX_LOG_CELLS)) * stride;
        }
        if (found == to->capacity) return -5;
        float *out = to->rows + 6 * found++;
        out[0] = x - w / 2, out[1] = y - h / 2, out[2] = x + w / 2, out[3] = y + h / 2;
        out[4] = score, out[5] = label;
      }
  }
  return index == tensor->shape[1] ? found : -4;
}
