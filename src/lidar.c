/* Clouds as messages hold them, and pillars, through ctypes, which releases the GIL. Every return to
 * Python may have to wait for another source's thread, so calls are few.
 *
 * encoders/lidar/conversion.py and pillars.py are the reference: same operations in the same order and
 * precision, so the same bits (build with -ffp-contract=off). No allocation; arrays are the caller's,
 * contiguous, and of the sizes stated.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Copies three float32 fields of those little-endian points that can be returns of a LiDAR: finite,
 * not all zero, no coordinate beyond `farthest`. Notes which points they are, and how many are marked
 * in which way. */
int64_t ep_gather_xyz(const uint8_t *data, int64_t points, int64_t step, int64_t x, int64_t y,
                      int64_t z, float farthest, float *xyz /* points, 3 */,
                      int32_t *index /* points */,
                      int64_t *marked /* 3: not finite, zero, beyond */) {
  int64_t kept = 0, infinite = 0, zero = 0, beyond = 0;
  for (int64_t i = 0; i < points; ++i) {
    const uint8_t *point = data + i * step;
    float *out = xyz + 3 * kept;
    memcpy(out, point + x, sizeof(float));
    memcpy(out + 1, point + y, sizeof(float));
    memcpy(out + 2, point + z, sizeof(float));
    const int near = fabsf(out[0]) <= farthest && fabsf(out[1]) <= farthest &&
                     fabsf(out[2]) <= farthest;
    const int nothing = out[0] == 0.0f && out[1] == 0.0f && out[2] == 0.0f;
    if (near && !nothing) {
      index[kept++] = (int32_t)i;
    } else if (nothing) {
      ++zero;
    } else if (isfinite(out[0]) && isfinite(out[1]) && isfinite(out[2])) {
      ++beyond;
    } else {
      ++infinite;
    }
  }
  marked[0] = infinite;
  marked[1] = zero;
  marked[2] = beyond;
  return kept;
}

static float unit(float value) { return value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f; }

/* Scales values to 0..1; NaN becomes 0. */
void ep_scale(float *values, int64_t count, float scale) {
  for (int64_t i = 0; i < count; ++i) values[i] = unit(values[i] * scale);
}

/* Whether a brightness is one of 0..1, in which a retroreflector may be a little brighter than 1: one
 * of 0..255 that stays so dark holds whole numbers. */
static int is_of_one(const float *values, int64_t count, float largest) {
  if (largest <= 1.0f) return 1;
  if (largest > 4.0f) return 0;
  for (int64_t i = 0; i < count; ++i)
    if (isfinite(values[i]) && values[i] != floorf(values[i])) return 1;
  return 0;
}

/* Reads a brightness of 1, 2 (unsigned) or 4 bytes (float32), little-endian, of the points that
 * `index` names (NULL: of all), and scales it to 0..1 where it is of 0..255, or float of 0..1.
 * Returns the largest finite one; where that is above `eight_bits` the values are left as they are. */
float ep_intensity(const uint8_t *data, int64_t count, int64_t step, int64_t bytes,
                   float eight_bits, const int32_t *index, float *intensity /* count */) {
  float largest = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t *at = data + (index ? (int64_t)index[i] : i) * step;
    if (bytes == 1) {
      intensity[i] = (float)*at;
    } else if (bytes == 2) {
      uint16_t value;
      memcpy(&value, at, sizeof(value));
      intensity[i] = (float)value;
    } else {
      memcpy(intensity + i, at, sizeof(float));
    }
    if (intensity[i] > largest && isfinite(intensity[i])) largest = intensity[i];
  }
  if (largest > eight_bits) return largest;
  int of_one = bytes == 4 && is_of_one(intensity, count, largest);
  ep_scale(intensity, count, of_one ? 1.0f : 1.0f / 255.0f);
  return largest;
}

/* Sorts points of the model's frame into pillars and fills their features; as encoders/lidar/pillars.py.
 * `slot` (rows * columns) holds -1, and does again at the end. */
struct ep_pillar_grid {
  int64_t rows, columns, max_pillars, max_points, point_features, extra;
  float x_min, y_min, z_min, x_max, y_max, z_max, x_size, y_size, z_size;
};

int64_t ep_pillars(const float *points /* N, point_features */, int64_t count,
                   const struct ep_pillar_grid *grid, int32_t *slot,
                   float *features /* max_pillars, max_points, point_features + extra; zeros */,
                   int32_t *cells /* max_pillars */, int32_t *held /* max_pillars */) {
  const int64_t width = grid->point_features, out = width + grid->extra;
  int64_t pillars = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float *p = points + i * width;
    if (!(p[0] >= grid->x_min && p[0] < grid->x_max && p[1] >= grid->y_min && p[1] < grid->y_max &&
          p[2] >= grid->z_min && p[2] < grid->z_max))
      continue;
    const int64_t column = (int64_t)((p[0] - grid->x_min) / grid->x_size);
    const int64_t row = (int64_t)((p[1] - grid->y_min) / grid->y_size);
    if (column >= grid->columns || row >= grid->rows) continue;
    const int64_t cell = row * grid->columns + column;
    if (slot[cell] < 0) {
      if (pillars == grid->max_pillars) continue;
      cells[pillars] = (int32_t)cell, held[pillars] = 0, slot[cell] = (int32_t)pillars++;
    }
    const int32_t at = slot[cell];
    if (held[at] == grid->max_points) continue;
    memcpy(features + (at * grid->max_points + held[at]++) * out, p, width * sizeof(float));
  }
  for (int64_t at = 0; at < pillars; ++at) {
    slot[cells[at]] = -1;
    if (!grid->extra) continue;
    float *rows = features + at * grid->max_points * out;
    float sum[3] = {0.0f, 0.0f, 0.0f};
    for (int32_t k = 0; k < held[at]; ++k)
      for (int axis = 0; axis < 3; ++axis) sum[axis] += rows[k * out + axis];
    const float centre[3] = {
        (float)(cells[at] % grid->columns) * grid->x_size + (grid->x_size / 2 + grid->x_min),
        (float)(cells[at] / grid->columns) * grid->y_size + (grid->y_size / 2 + grid->y_min),
        grid->z_size / 2 + grid->z_min};
    for (int32_t k = 0; k < held[at]; ++k) {
      float *row = rows + k * out;
      for (int axis = 0; axis < 3; ++axis)
        row[width + axis] = row[axis] - sum[axis] / (float)held[at];
      for (int axis = 0; axis < grid->extra - 3; ++axis)
        row[width + 3 + axis] = row[axis] - centre[axis];
    }
  }
  return pillars;
}
