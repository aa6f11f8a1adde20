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

#include "road.h"
#include "wide.h"

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
  int64_t slices, lookup_length, density_length; /* slices <= 64 */
  float x_min, y_min, z_min, z_max, cells_per_m;
  float rise;                          /* m between neighbouring coarse cells */
  float first_edge, last_edge;         /* of the height slices */
  float raised_low, raised_high;
};

struct ep_tables {
  const int32_t *slice_of;             /* lookup_length: slice of each centimetre */
  const float *density_of;             /* density_length */
  const int64_t *low_row;              /* rows: coarse row before the cell's centre */
  const float *near_row, *far_row;     /* rows: weights of that row and of the next */
  const int64_t *low_column;           /* columns */
  const float *near_column, *far_column;
};

struct ep_cell {
  float lowest;                        /* of its points; inf: none */
  int32_t points;                      /* later: where they end among the sorted ones */
};

struct ep_point {
  float z, intensity;
  int32_t index;
};

/* Between sweeps `cells` are empty, `now` is 0, and `before` marks the cells of `raster` that may
 * hold something else than 0, apart from the ground. One more cell takes what lies outside. */
struct ep_buffers {
  int32_t *cell;                       /* points: of each */
  float *z;                            /* points */
  struct ep_point *sorted;             /* points: by cell, those outside last */
  struct ep_cell *cells;               /* rows * columns + 1 */
  uint64_t *now, *before;              /* a bit a cell, ceil((rows * columns + 1) / 64): with points */
  float *ranks;                        /* coarse_rows * coarse_columns, rank + 1 */
  float *coarse, *around;              /* coarse_rows * coarse_columns */
  int32_t *raised;                     /* points */
  float *raster;                       /* slices + 5, rows * columns */
};

static int64_t words(const struct ep_raster *raster) {
  return (raster->rows * raster->columns + 64) / 64;
}

/* Moves points by T; writes their heights and cells. */
EP_WIDE static void move(const float *restrict xyz, int64_t points, const float *T /* 3, 4 */,
                         const struct ep_raster *raster, float *restrict z_of,
                         int32_t *restrict cell_of) {
  const float rows = (float)raster->rows, columns = (float)raster->columns;
  const int32_t width = (int32_t)raster->columns, outside = (int32_t)raster->rows * width;
  const float x_min = raster->x_min, y_min = raster->y_min, cells_per_m = raster->cells_per_m;
  const float z_min = raster->z_min, z_max = raster->z_max;
  const float a = T[0], b = T[1], c = T[2], d = T[3], e = T[4], f = T[5], g = T[6], h = T[7];
  const float p = T[8], q = T[9], r = T[10], s = T[11];
  for (int64_t i = 0; i < points; ++i) {
    const float px = xyz[3 * i], py = xyz[3 * i + 1], pz = xyz[3 * i + 2];
    const float x = px * a + py * b + pz * c + d;
    const float y = px * e + py * f + pz * g + h;
    const float z = px * p + py * q + pz * r + s;
    const float row = (x - x_min) * cells_per_m;
    const float column = (y - y_min) * cells_per_m;
    const int inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns) &
                       (z > z_min) & (z < z_max);
    const int32_t cell = (int32_t)(inside ? row : 0.0f) * width + (int32_t)(inside ? column : 0.0f);
    z_of[i] = z;
    cell_of[i] = inside ? cell : outside;
  }
}

/* Counts the points of each cell, and finds its lowest that can be of the road. Without branches that a
 * point decides: what comes next to what in a sweep cannot be foreseen. */
static void count(int64_t points, const int32_t *coarse_of, const float *floor,
                  const struct ep_buffers *to) {
  for (int64_t i = 0; i < points; ++i) {
    const int32_t at = to->cell[i];
    const float z = to->z[i];
    struct ep_cell *cell = to->cells + at;
    const float possible = z >= floor[coarse_of[at]] ? z : INFINITY;
    cell->lowest = possible < cell->lowest ? possible : cell->lowest;
    if (cell->points++ == 0) to->now[at >> 6] |= (uint64_t)1 << (at & 63);
  }
}

/* The value of a rank (0: the lowest) among the lowest points of the fine cells of each coarse cell,
 * inf where there are fewer. Also where the points of each cell begin among the sorted ones. */
static void rank_of_blocks(const struct ep_raster *raster, const struct ep_buffers *to) {
  const int64_t cells = raster->rows * raster->columns, rank = raster->rank;
  const int64_t blocks = raster->coarse_rows * raster->coarse_columns;
  for (int64_t i = 0; i < blocks * (rank + 1); ++i) to->ranks[i] = INFINITY;
  int32_t start = 0;
  int64_t row = 0, row_end = raster->columns;
  float *ranks = to->ranks; /* of the row's coarse cells */
  for (int64_t word = 0; word < words(raster); ++word) {
    for (uint64_t left = to->now[word]; left; left &= left - 1) {
      const int64_t at = 64 * word + __builtin_ctzll(left);
      struct ep_cell *cell = to->cells + at;
      const int32_t points = cell->points;
      cell->points = start;
      start += points;
      if (at == cells) break; /* outside */
      while (at >= row_end) {
        row_end += raster->columns;
        ranks = to->ranks + ++row / raster->side * raster->coarse_columns * (rank + 1);
      }
      const uint32_t column = (uint32_t)(at - row_end + raster->columns);
      float *lowest = ranks + column / (uint32_t)raster->side * (rank + 1);
      if (!(cell->lowest < lowest[rank])) continue;
      int64_t k = rank;
      for (; k > 0 && cell->lowest < lowest[k - 1]; --k) lowest[k] = lowest[k - 1];
      lowest[k] = cell->lowest;
    }
  }
  for (int64_t i = 0; i < blocks; ++i) to->coarse[i] = to->ranks[i * (rank + 1) + rank];
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
EP_WIDE static void interpolate(const struct ep_raster *raster, const struct ep_tables *tables,
                                const struct ep_buffers *to, float *ground) {
  const int64_t few = raster->coarse_columns, columns = raster->columns;
  float *line = to->around; /* one row of it is enough */
  for (int64_t row = 0; row < raster->rows; ++row) {
    const int64_t low = tables->low_row[row];
    const int64_t high = low + 1 < raster->coarse_rows ? low + 1 : low;
    for (int64_t k = 0; k < few; ++k) {
      line[k] = to->coarse[low * few + k] * tables->near_row[row] +
                to->coarse[high * few + k] * tables->far_row[row];
    }
    for (int64_t column = 0; column < columns;) { /* runs between the same two coarse cells */
      const int64_t left = tables->low_column[column];
      const float near = line[left], far = line[left + 1 < few ? left + 1 : left];
      int64_t end = column + 1;
      while (end < columns && tables->low_column[end] == left) ++end;
      for (; column < end; ++column) {
        ground[row * columns + column] =
            near * tables->near_column[column] + far * tables->far_column[column];
      }
    }
  }
}

/* Brings the points of a cell together, in the order they came. */
static void sort_by_cell(int64_t points, const float *intensity, const struct ep_buffers *to) {
  for (int64_t i = 0; i < points; ++i) {
    struct ep_point *point = to->sorted + to->cells[to->cell[i]].points++;
    point->z = to->z[i];
    point->intensity = intensity ? intensity[i] : 0.0f;
    point->index = (int32_t)i;
  }
}

/* Writes the planes of one cell from its points, all but the ground; returns how many points are
 * raised, and notes which. */
static int64_t fill_cell(int64_t at, const struct ep_point *points, int64_t count,
                         int with_intensity, const struct ep_raster *raster,
                         const struct ep_tables *tables, float *planes, int32_t *raised) {
  const int64_t cells = raster->rows * raster->columns, slices = raster->slices;
  const int64_t most = raster->density_length - 1;
  const float first_edge = raster->first_edge, last_edge = raster->last_edge;
  const float length = (float)raster->lookup_length;
  float *out = planes + at;
  const float under = out[(slices + 4) * cells];
  float top = 0.0f, bottom = last_edge; /* of points between the edges */
  double total = 0.0;
  uint64_t occupied = 0;
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) { /* no branches, as above */
    const float above = points[i].z - under, centimetres = (above - first_edge) * 100.0f;
    total += (double)points[i].intensity;
    const int known = (centimetres > -1.0f) & (centimetres < length);
    const int64_t slice = tables->slice_of[(int32_t)(known ? centimetres : 0.0f)];
    occupied |= (uint64_t)known << slice;
    const int between = (above > first_edge) & (above < last_edge);
    const float high = between ? above : 0.0f, low = between ? above : last_edge;
    top = high > top ? high : top;
    bottom = low < bottom ? low : bottom;
    raised[found] = points[i].index;
    found += (above > raster->raised_low) & (above < raster->raised_high);
  }
  for (int64_t slice = 0; slice < slices; ++slice, out += cells) {
    *out = (float)(occupied >> slice & 1);
  }
  out[0] = top / last_edge;
  out[cells] = top == 0.0f ? 0.0f : bottom / last_edge;
  out[2 * cells] = tables->density_of[count < most ? count : most];
  out[3 * cells] = with_intensity ? (float)(total / (double)count) : 0.0f;
  return found;
}

/* Fills the raster, the ground is there already; returns the number of raised points. */
static int64_t fill(int with_intensity, const struct ep_raster *raster,
                    const struct ep_tables *tables, const struct ep_buffers *to) {
  const int64_t cells = raster->rows * raster->columns;
  int64_t raised = 0;
  int32_t first = 0;
  for (int64_t word = 0; word < words(raster); ++word) {
    for (uint64_t left = to->before[word] & ~to->now[word]; left; left &= left - 1) {
      float *out = to->raster + 64 * word + __builtin_ctzll(left);
      for (int64_t plane = 0; plane < raster->slices + 4; ++plane) out[plane * cells] = 0.0f;
    }
    for (uint64_t left = to->now[word]; left; left &= left - 1) {
      const int64_t at = 64 * word + __builtin_ctzll(left);
      const int32_t end = to->cells[at].points;
      to->cells[at].points = 0;
      to->cells[at].lowest = INFINITY;
      if (at == cells) { /* outside */
        to->now[word] &= ~((uint64_t)1 << (at & 63));
        break;
      }
      raised += fill_cell(at, to->sorted + first, end - first, with_intensity, raster, tables,
                          to->raster, to->raised + raised);
      first = end;
    }
    to->before[word] = to->now[word];
    to->now[word] = 0;
  }
  return raised;
}

/* From points of the sensor frame to the raster, and to the points that stand out of the ground.
 * `intensity` may be NULL. Returns the number of `raised`, which are indices of points. */
int64_t ep_sweep(const float *xyz, int64_t points, const float *T /* 3, 4 */,
                 const float *intensity, const struct ep_raster *raster,
                 const struct ep_tables *tables, const struct ep_buffers *to,
                 const struct ep_road *road, const struct ep_road_tables *road_tables,
                 const struct ep_road_buffers *road_to) {
  move(xyz, points, T, raster, to->z, to->cell);
  ep_road_floor(to->cell, to->z, points, road, road_tables, road_to);
  count(points, road_tables->coarse_of, road_to->floor, to);
  rank_of_blocks(raster, to);
  limit_slope(raster, to);
  float *ground = to->raster + (raster->slices + 4) * raster->rows * raster->columns;
  interpolate(raster, tables, to, ground);
  sort_by_cell(points, intensity, to);
  return fill(intensity != NULL, raster, tables, to);
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
