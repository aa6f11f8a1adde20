/* LiDAR preprocessing in two calls a sweep; through ctypes, which releases the GIL. Every return to
 * Python may have to wait for another source's thread, so there are few.
 *
 * encoders/lidar/preprocess.py and conversion.py are the reference: same operations in the same order
 * and precision, so the same bits (build with -ffp-contract=off). No allocation; arrays are the
 * caller's, contiguous, and of the sizes stated.
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

enum { EP_MAX_RANK = 16 };

struct ep_raster {
  int64_t rows, columns;               /* fine cells */
  int64_t side, rank;                  /* of coarse cells; rank < EP_MAX_RANK */
  int64_t coarse_rows, coarse_columns;
  int64_t slices, lookup_length, density_length;
  float x_min, y_min, z_min, z_max, cells_per_m;
  float rise;                          /* m between neighbouring coarse cells */
  float first_edge, last_edge;         /* of the height slices */
  float raised_low, raised_high;
};

struct ep_tables {
  const int64_t *slice_of;             /* lookup_length: slice of each centimetre */
  const float *density_of;             /* density_length */
  const int64_t *low_row;              /* rows: coarse row before the cell's centre */
  const float *near_row, *far_row;     /* rows: weights of that row and of the next */
  const int64_t *low_column;           /* columns */
  const float *near_column, *far_column;
};

struct ep_buffers {
  int32_t *index, *cell;               /* points: those inside, as they come */
  float *z;                            /* points */
  int32_t *sorted_index;               /* points: the same by cell */
  float *sorted_z;                     /* points */
  int32_t *start;                      /* rows * columns + 1 */
  float *lowest;                       /* rows * columns */
  float *coarse, *around;              /* coarse_rows * coarse_columns */
  int32_t *raised;                     /* points */
  float *raster;                       /* slices + 5, rows * columns */
};

/* Moves points by T and notes the cells of those inside, how many a cell holds (in start[cell + 1])
 * and its lowest; returns how many lie inside. */
static int64_t bin(const float *xyz, int64_t points, const float *T /* 3, 4 */,
                   const struct ep_raster *raster, const struct ep_buffers *to) {
  const int64_t cells = raster->rows * raster->columns;
  const float rows = (float)raster->rows, columns = (float)raster->columns;
  int64_t inside = 0;
  memset(to->start, 0, sizeof(int32_t) * (size_t)(cells + 1));
  for (int64_t i = 0; i < cells; ++i) to->lowest[i] = INFINITY;
  for (int64_t i = 0; i < points; ++i) {
    const float px = xyz[3 * i], py = xyz[3 * i + 1], pz = xyz[3 * i + 2];
    const float x = px * T[0] + py * T[1] + pz * T[2] + T[3];
    const float y = px * T[4] + py * T[5] + pz * T[6] + T[7];
    const float z = px * T[8] + py * T[9] + pz * T[10] + T[11];
    const float row = (x - raster->x_min) * raster->cells_per_m;
    const float column = (y - raster->y_min) * raster->cells_per_m;
    if (!(row >= 0 && row < rows && column >= 0 && column < columns && z > raster->z_min &&
          z < raster->z_max)) {
      continue;
    }
    const int32_t cell = (int32_t)row * (int32_t)raster->columns + (int32_t)column;
    to->index[inside] = (int32_t)i;
    to->cell[inside] = cell;
    to->z[inside++] = z;
    ++to->start[cell + 1];
    if (z < to->lowest[cell]) to->lowest[cell] = z;
  }
  return inside;
}

/* Brings the points of a cell together, in the order they came; afterwards start[cell] is where
 * they end. */
static void sort_by_cell(int64_t inside, int64_t cells, const struct ep_buffers *to) {
  for (int64_t i = 0; i < cells; ++i) to->start[i + 1] += to->start[i];
  for (int64_t i = 0; i < inside; ++i) {
    const int32_t at = to->start[to->cell[i]]++;
    to->sorted_index[at] = to->index[i];
    to->sorted_z[at] = to->z[i];
  }
}

/* The value of a rank (0: the lowest) among the fine cells of each coarse cell; inf: fewer. */
static void rank_of_blocks(const struct ep_raster *raster, const struct ep_buffers *to) {
  const int64_t side = raster->side, rank = raster->rank;
  for (int64_t top = 0; top < raster->rows; top += side) {
    for (int64_t left = 0; left < raster->columns; left += side) {
      float lowest[EP_MAX_RANK];
      for (int64_t k = 0; k <= rank; ++k) lowest[k] = INFINITY;
      for (int64_t row = top; row < top + side && row < raster->rows; ++row) {
        for (int64_t column = left; column < left + side && column < raster->columns; ++column) {
          const float value = to->lowest[row * raster->columns + column];
          if (!(value < lowest[rank])) continue;
          int64_t k = rank;
          for (; k > 0 && value < lowest[k - 1]; --k) lowest[k] = lowest[k - 1];
          lowest[k] = value;
        }
      }
      to->coarse[top / side * raster->coarse_columns + left / side] = lowest[rank];
    }
  }
}

/* Lowers cells that stand more than `rise` above a neighbour; fills cells without returns. */
static void limit_slope(const struct ep_raster *raster, const struct ep_buffers *to) {
  const int64_t rows = raster->coarse_rows, columns = raster->coarse_columns;
  float *coarse = to->coarse, *around = to->around;
  for (int turn = 0; turn < 4; ++turn) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        const int64_t at = row * columns + column;
        float least = INFINITY;
        if (row > 0 && coarse[at - columns] < least) least = coarse[at - columns];
        if (row + 1 < rows && coarse[at + columns] < least) least = coarse[at + columns];
        if (column > 0 && coarse[at - 1] < least) least = coarse[at - 1];
        if (column + 1 < columns && coarse[at + 1] < least) least = coarse[at + 1];
        around[at] = least;
      }
    }
    for (int64_t at = 0; at < rows * columns; ++at) {
      const float limit = around[at] + raster->rise;
      coarse[at] = isinf(coarse[at]) ? around[at] : (limit < coarse[at] ? limit : coarse[at]);
    }
  }
  for (int64_t at = 0; at < rows * columns; ++at) {
    if (isinf(coarse[at])) coarse[at] = 0.0f; /* not one return near: the base frame's plane */
  }
}

/* Heights of the ground between the centres of coarse cells. */
static void interpolate(const struct ep_raster *raster, const struct ep_tables *tables,
                        const struct ep_buffers *to, float *ground) {
  const int64_t few = raster->coarse_columns;
  float *line = to->around; /* one row of it is enough */
  for (int64_t row = 0; row < raster->rows; ++row) {
    const int64_t low = tables->low_row[row];
    const int64_t high = low + 1 < raster->coarse_rows ? low + 1 : low;
    for (int64_t k = 0; k < few; ++k) {
      line[k] = to->coarse[low * few + k] * tables->near_row[row] +
                to->coarse[high * few + k] * tables->far_row[row];
    }
    for (int64_t column = 0; column < raster->columns; ++column) {
      const int64_t left = tables->low_column[column];
      const int64_t right = left + 1 < few ? left + 1 : left;
      ground[row * raster->columns + column] =
          line[left] * tables->near_column[column] + line[right] * tables->far_column[column];
    }
  }
}

/* Fills the raster cell by cell, the ground is there already; returns the number of raised points. */
static int64_t fill(const float *intensity, const struct ep_raster *raster,
                    const struct ep_tables *tables, const struct ep_buffers *to) {
  const int64_t cells = raster->rows * raster->columns, slices = raster->slices;
  float *highest = to->raster + slices * cells, *lowest = highest + cells;
  float *density = lowest + cells, *brightness = density + cells, *ground = brightness + cells;
  int64_t raised = 0;
  int32_t first = 0;
  memset(to->raster, 0, sizeof(float) * (size_t)((slices + 4) * cells));
  for (int64_t at = 0; at < cells; ++at) {
    const int32_t end = to->start[at];
    if (end == first) continue;
    float top = 0.0f, bottom = raster->last_edge; /* of points between the edges */
    double total = 0.0;
    for (int32_t i = first; i < end; ++i) {
      const float above = to->sorted_z[i] - ground[at];
      if (intensity) total += (double)intensity[to->sorted_index[i]];
      const int64_t step = (int64_t)((above - raster->first_edge) * 100.0f);
      if (step >= 0 && step < raster->lookup_length) {
        to->raster[tables->slice_of[step] * cells + at] = 1.0f;
      }
      if (above > raster->first_edge && above < raster->last_edge) {
        if (above > top) top = above;
        if (above < bottom) bottom = above;
      }
      if (above > raster->raised_low && above < raster->raised_high) {
        to->raised[raised++] = to->sorted_index[i];
      }
    }
    const int64_t seen = end - first, most = raster->density_length - 1;
    highest[at] = top / raster->last_edge;
    lowest[at] = top == 0.0f ? 0.0f : bottom / raster->last_edge;
    density[at] = tables->density_of[seen < most ? seen : most];
    if (intensity) brightness[at] = (float)(total / (double)seen);
    first = end;
  }
  return raised;
}

/* From points of the sensor frame to the raster, and to the points that stand out of the ground.
 * `intensity` may be NULL. Returns the number of `raised`, which are indices of points. */
int64_t ep_sweep(const float *xyz, int64_t points, const float *T /* 3, 4 */,
                 const float *intensity, const struct ep_raster *raster,
                 const struct ep_tables *tables, const struct ep_buffers *to) {
  const int64_t cells = raster->rows * raster->columns;
  const int64_t inside = bin(xyz, points, T, raster, to);
  sort_by_cell(inside, cells, to);
  rank_of_blocks(raster, to);
  limit_slope(raster, to);
  interpolate(raster, tables, to, to->raster + (raster->slices + 4) * cells);
  return fill(intensity, raster, tables, to);
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
