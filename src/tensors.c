/* Looks at tensors that models gave, and moves them: core/finite.py, models/adapters/bev_center.py and
 * fusion/motion.py have the same in NumPy. */

#include <stdint.h>

#include "wide.h"

enum { BLOCK = 4096 };

EP_WIDE static int finite32(const uint32_t *bits, int64_t count) {
  int bad = 0;
  for (int64_t i = 0; i < count; ++i) bad |= (bits[i] & 0x7f800000u) == 0x7f800000u;
  return !bad;
}

EP_WIDE static int finite16(const uint16_t *bits, int64_t count) {
  int bad = 0;
  for (int64_t i = 0; i < count; ++i) bad |= (bits[i] & 0x7c00u) == 0x7c00u;
  return !bad;
}

/* Whether no value of 2 or 4 bytes (IEEE 754) is NaN or Inf. */
int32_t ep_all_finite(const void *values, int64_t count, int64_t bytes) {
  for (int64_t first = 0; first < count; first += BLOCK) {
    const int64_t few = count - first < BLOCK ? count - first : BLOCK;
    const int good = bytes == 2 ? finite16((const uint16_t *)values + first, few)
                                : finite32((const uint32_t *)values + first, few);
    if (!good) return 0;
  }
  return 1;
}

/* Whether a cell is its class's peak: no neighbour exceeds it, and no later one is its equal. */
static int is_peak(const float *plane, int64_t rows, int64_t columns, int64_t row, int64_t column) {
  const float value = plane[row * columns + column];
  for (int64_t r = row - 1; r <= row + 1; ++r) {
    if (r < 0 || r >= rows) continue;
    for (int64_t c = column - 1; c <= column + 1; ++c) {
      if (c < 0 || c >= columns || (r == row && c == column)) continue;
      const float other = plane[r * columns + c];
      const int later = r > row || (r == row && c > column);
      if (!(later ? value > other : value >= other)) return 0;
    }
  }
  return 1;
}

/* Finds the peaks above the threshold of their class, in the order of classes and cells; returns how
 * many. No two of them touch, so that a class has a quarter of its cells at most. */
int64_t ep_peaks(const float *heatmap /* classes, rows, columns */, int64_t classes, int64_t rows,
                 int64_t columns, const float *thresholds /* classes */,
                 int64_t *found /* peaks, 3: class, row, column */) {
  int64_t count = 0;
  for (int64_t kind = 0; kind < classes; ++kind) {
    const float *plane = heatmap + kind * rows * columns;
    const float threshold = thresholds[kind];
    for (int64_t row = 0; row < rows; ++row) {
      const float *line = plane + row * columns;
      for (int64_t column = 0; column < columns; ++column) {
        if (!(line[column] > threshold) || !is_peak(plane, rows, columns, row, column)) continue;
        found[3 * count] = kind;
        found[3 * count + 1] = row;
        found[3 * count + 2] = column;
        ++count;
      }
    }
  }
  return count;
}

/* Fills each cell of each plane with four cells of the old plane, each times its weight. */
void ep_blend(const float *planes /* channels, old_cells */, int64_t channels, int64_t old_cells,
              const int32_t *index /* 4, cells */, const float *weight /* 4, cells */,
              int64_t cells, float *out /* channels, cells */) {
  for (int64_t channel = 0; channel < channels; ++channel, planes += old_cells, out += cells) {
    for (int64_t i = 0; i < cells; ++i) {
      float sum = 0.0f;
      for (int64_t part = 0; part < 4; ++part) {
        const int64_t at = part * cells + i;
        sum += planes[index[at]] * weight[at];
      }
      out[i] = sum;
    }
  }
}
