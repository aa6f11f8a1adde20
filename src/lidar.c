/* The loops over points of LiDAR preprocessing; called through ctypes, which releases the GIL.
 *
 * encoders/lidar/preprocess.py is the reference: same operations in the same order and precision,
 * so the same bits (build with -ffp-contract=off). No allocation; arrays are the caller's,
 * contiguous, and of the sizes stated.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Copies three float32 fields of little-endian points, and tells how many points are finite. */
int64_t ep_gather_xyz(const uint8_t *data, int64_t points, int64_t step, int64_t x, int64_t y,
                      int64_t z, float *xyz /* points, 3 */) {
  int64_t finite = 0;
  for (int64_t i = 0; i < points; ++i) {
    const uint8_t *point = data + i * step;
    float *out = xyz + 3 * i;
    memcpy(out, point + x, sizeof(float));
    memcpy(out + 1, point + y, sizeof(float));
    memcpy(out + 2, point + z, sizeof(float));
    finite += isfinite(out[0]) && isfinite(out[1]) && isfinite(out[2]);
  }
  return finite;
}

/* Moves points by a 3 x 4 matrix. */
void ep_transform(const float *xyz, int64_t points, const float *T /* 3, 4 */, float *out) {
  for (int64_t i = 0; i < points; ++i) {
    const float x = xyz[3 * i], y = xyz[3 * i + 1], z = xyz[3 * i + 2];
    for (int k = 0; k < 3; ++k) {
      out[3 * i + k] = x * T[4 * k] + y * T[4 * k + 1] + z * T[4 * k + 2] + T[4 * k + 3];
    }
  }
}

struct ep_raster {
  int64_t rows, columns;
  float x_min, y_min, z_min, z_max;
  float cells_per_m;
};

/* Sorts points into cells and notes each cell's lowest point; returns how many lie inside. */
int64_t ep_bin_points(const float *xyz, int64_t points, const struct ep_raster *raster,
                      int64_t *index /* points */, int64_t *cell /* points */,
                      float *z /* points */, float *lowest /* rows, columns; preset to inf */) {
  const float rows = (float)raster->rows, columns = (float)raster->columns;
  int64_t inside = 0;
  for (int64_t i = 0; i < points; ++i) {
    const float row = (xyz[3 * i] - raster->x_min) * raster->cells_per_m;
    const float column = (xyz[3 * i + 1] - raster->y_min) * raster->cells_per_m;
    const float height = xyz[3 * i + 2];
    if (!(row >= 0 && row < rows && column >= 0 && column < columns && height > raster->z_min &&
          height < raster->z_max)) {
      continue;
    }
    const int64_t at = (int64_t)row * raster->columns + (int64_t)column;
    index[inside] = i;
    cell[inside] = at;
    z[inside++] = height;
    if (height < lowest[at]) lowest[at] = height;
  }
  return inside;
}

enum { EP_MAX_RANK = 16 };

/* The value of a rank (0: the lowest) among the fine cells of each coarse cell; inf: fewer. */
void ep_rank_of_blocks(const float *fine, int64_t rows, int64_t columns, int64_t side,
                       int64_t rank /* < EP_MAX_RANK */, float *coarse) {
  const int64_t across = (columns + side - 1) / side;
  for (int64_t top = 0; top < rows; top += side) {
    for (int64_t left = 0; left < columns; left += side) {
      float lowest[EP_MAX_RANK];
      for (int64_t k = 0; k <= rank; ++k) lowest[k] = INFINITY;
      for (int64_t row = top; row < top + side && row < rows; ++row) {
        for (int64_t column = left; column < left + side && column < columns; ++column) {
          const float value = fine[row * columns + column];
          if (!(value < lowest[rank])) continue;
          int64_t k = rank;
          for (; k > 0 && value < lowest[k - 1]; --k) lowest[k] = lowest[k - 1];
          lowest[k] = value;
        }
      }
      coarse[top / side * across + left / side] = lowest[rank];
    }
  }
}

/* Heights above the ground of the points' cells. */
void ep_heights(const float *z, const int64_t *cell, const float *ground, int64_t points,
                float *height) {
  for (int64_t i = 0; i < points; ++i) height[i] = z[i] - ground[cell[i]];
}

struct ep_channels {
  int64_t cells, slices, lookup_length, density_length;
  float first_edge, last_edge;
};

/* Fills the raster, (slices + 5, cells): occupied slices, highest, lowest, density, intensity,
 * ground. `intensity` may be NULL. */
void ep_rasterize(const int64_t *index, const int64_t *cell, const float *height, int64_t points,
                  const float *intensity, const float *ground /* cells */,
                  const int64_t *slice_of /* lookup_length */,
                  const float *density_of /* density_length */, const struct ep_channels *channels,
                  int32_t *count /* cells; preset to 0 */, double *total /* cells; preset to 0 */,
                  float *raster) {
  const int64_t cells = channels->cells;
  float *highest = raster + channels->slices * cells, *lowest = highest + cells;
  float *density = lowest + cells, *brightness = density + cells;
  memset(raster, 0, sizeof(float) * (size_t)((channels->slices + 4) * cells));
  memcpy(brightness + cells, ground, sizeof(float) * (size_t)cells);
  for (int64_t i = 0; i < cells; ++i) lowest[i] = 1.0f;
  for (int64_t i = 0; i < points; ++i) {
    const int64_t at = cell[i];
    const float above = height[i];
    ++count[at];
    if (intensity) total[at] += (double)intensity[index[i]];
    const int64_t step = (int64_t)((above - channels->first_edge) * 100.0f);
    if (step >= 0 && step < channels->lookup_length) raster[slice_of[step] * cells + at] = 1.0f;
    if (above > channels->first_edge && above < channels->last_edge) {
      const float share = above / channels->last_edge;
      if (share > highest[at]) highest[at] = share;
      if (share < lowest[at]) lowest[at] = share;
    }
  }
  for (int64_t i = 0; i < cells; ++i) {
    if (highest[i] == 0.0f) lowest[i] = 0.0f;
    const int64_t seen = count[i];
    density[i] = density_of[seen < channels->density_length ? seen : channels->density_length - 1];
    if (intensity) brightness[i] = (float)(total[i] / (double)(seen ? seen : 1));
  }
}

/* Lists the points between two heights in the order of their cells; returns how many. */
int64_t ep_raised(const int64_t *cell, const float *height, int64_t points, float low, float high,
                  int64_t cells, int64_t *start /* cells + 1; preset to 0 */,
                  int64_t *raised /* points */) {
  int64_t found = 0;
  for (int64_t i = 0; i < points; ++i) {
    if (height[i] > low && height[i] < high) {
      ++start[cell[i] + 1];
      ++found;
    }
  }
  for (int64_t i = 0; i < cells; ++i) start[i + 1] += start[i];
  for (int64_t i = 0; i < points; ++i) {
    if (height[i] > low && height[i] < high) raised[start[cell[i]]++] = i;
  }
  return found;
}
