/* A sweep becomes a bird's-eye raster, in one call; through ctypes, which releases the GIL.
 *
 * encoders/lidar/preprocess.py is the reference: same operations in the same order and precision, so
 * the same bits (build with -ffp-contract=off). No allocation; arrays are the caller's, contiguous, and
 * of the sizes stated.
 *
 * What each point says by itself is computed for many at a time. What a point does to its cell is not:
 * neighbours in a sweep lie in one cell, and each would wait for what the one before it wrote. So the
 * two halves of a sweep take turns there, each with numbers of its own.
 *
 * A float is clamped in statements of its own before it is converted: GCC takes a conversion of
 * `a < b ? a : b` apart, and then makes no vectors of it.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "road.h"
#include "wide.h"

struct ep_raster {
  int64_t rows, columns;               /* fine cells */
  int64_t side, rank;                  /* of coarse cells: a power of two; cells below the ground */
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
  float lowest[2];                     /* of its points in either half of the sweep; inf: none */
  int32_t points[2];                   /* later: where those of a half end among the sorted ones */
};

struct ep_return {
  float intensity;
  int32_t index;                       /* of the point */
};

/* Between sweeps `cells` are empty, `filled` is 0, and `before` marks the cells of `raster` that may
 * hold something else than 0, apart from the ground. One more cell takes what lies outside.
 * Arrays of returns are in the order of their cells, those outside last. */
struct ep_buffers {
  int32_t *cell;                       /* points: of each */
  float *z;                            /* points */
  struct ep_return *returns;           /* points */
  float *above;                        /* points: of returns, m above the ground */
  struct ep_cell *cells;               /* rows * columns + 1 */
  uint8_t *filled;                     /* 64 a word of `now`, and 1: 1 where points are */
  uint64_t *now, *before;              /* a bit a cell, ceil(rows * columns / 64): with points */
  float *ranks;                        /* coarse_rows * coarse_columns, rank + 1 */
  float *coarse, *around;              /* coarse_rows * coarse_columns */
  int32_t *raised;                     /* points */
  float *raster;                       /* slices + 5, rows * columns */
};

static int64_t words(const struct ep_raster *raster) {
  return (raster->rows * raster->columns + 63) / 64;
}

enum { BLOCK = 1024 }; /* what lies between two passes over so many points stays in the nearest cache */

/* Moves points by T; writes their heights and cells, and where the road's heights count them. */
EP_WIDE static void move(const float *restrict xyz, int64_t points, const float *T /* 3, 4 */,
                         const struct ep_raster *raster, const struct ep_road *road,
                         float *restrict z_of, int32_t *restrict cell_of,
                         int32_t *restrict height_of) {
  const float rows = (float)raster->rows, columns = (float)raster->columns;
  const int32_t width = (int32_t)raster->columns, outside = (int32_t)raster->rows * width;
  const float x_min = raster->x_min, y_min = raster->y_min, cells_per_m = raster->cells_per_m;
  const float z_min = raster->z_min, z_max = raster->z_max, lowest = road->z_min;
  const int side_bits = __builtin_ctzll((uint64_t)raster->side);
  const int32_t steps = (int32_t)road->steps, coarse_width = (int32_t)road->columns;
  const float last_step = (float)(steps - 1);
  const int32_t coarse_outside = (int32_t)(road->rows * road->columns);
  const float a = T[0], b = T[1], c = T[2], d = T[3], e = T[4], f = T[5], g = T[6], h = T[7];
  const float p = T[8], q = T[9], r = T[10], s = T[11];
  for (int64_t i = 0; i < points; ++i) {
    const float px = xyz[3 * i], py = xyz[3 * i + 1], pz = xyz[3 * i + 2];
    const float x = px * a + py * b + pz * c + d;
    const float y = px * e + py * f + pz * g + h;
    const float z = px * p + py * q + pz * r + s;
    const float row = (x - x_min) * cells_per_m;
    const float column = (y - y_min) * cells_per_m;
    float high = (z - lowest) * ROAD_STEPS_PER_M;
    high = high > 0.0f ? high : 0.0f;
    high = high < last_step ? high : last_step;
    const int inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns) &
                       (z > z_min) & (z < z_max);
    const int32_t at = (int32_t)(inside ? row : 0.0f), left = (int32_t)(inside ? column : 0.0f);
    const int32_t step = (int32_t)high;
    const int32_t coarse = (at >> side_bits) * coarse_width + (left >> side_bits);
    const int32_t not_inside = inside - 1; /* all bits or none; row and column are 0 there */
    z_of[i] = z;
    cell_of[i] = at * width + left + (outside & not_inside);
    height_of[i] = (coarse + (coarse_outside & not_inside)) * steps + step;
  }
}

static void move_all(const float *xyz, int64_t points, const float *T,
                     const struct ep_raster *raster, const struct ep_road *road, int32_t *heights,
                     const struct ep_buffers *to) {
  int32_t height[BLOCK];
  memset(heights, 0, sizeof(int32_t) * (size_t)((road->rows * road->columns + 1) * road->steps));
  for (int64_t first = 0; first < points; first += BLOCK) {
    const int64_t count = points - first < BLOCK ? points - first : BLOCK;
    move(xyz + 3 * first, count, T, raster, road, to->z + first, to->cell + first, height);
    for (int64_t i = 0; i < count; ++i) ++heights[height[i]];
  }
}

static void see(int64_t i, int half, const int32_t *coarse_of, const float *floor,
                const struct ep_buffers *to) {
  const int32_t at = to->cell[i];
  struct ep_cell *cell = to->cells + at;
  const float z = to->z[i];
  const float possible = z >= floor[coarse_of[at]] ? z : INFINITY;
  cell->lowest[half] = possible < cell->lowest[half] ? possible : cell->lowest[half];
  ++cell->points[half];
  to->filled[at] = 1;
}

/* Counts the points of each cell, and finds its lowest that can be of the road. */
static void count(int64_t points, const int32_t *coarse_of, const float *floor,
                  const struct ep_buffers *to) {
  const struct ep_buffers own = *to; /* writing a byte could change what `to` points to */
  const int64_t half = points / 2;
  for (int64_t i = 0; i < half; ++i) {
    see(i, 0, coarse_of, floor, &own);
    see(i + half, 1, coarse_of, floor, &own);
  }
  if (points & 1) see(points - 1, 1, coarse_of, floor, &own);
}

/* Turns bytes into bits, eight at a time, and takes them back. */
static void mark(const struct ep_raster *raster, const struct ep_buffers *to) {
  to->filled[raster->rows * raster->columns] = 0; /* outside */
  for (int64_t word = 0; word < words(raster); ++word) {
    uint64_t bits = 0;
    for (int k = 0; k < 8; ++k) {
      uint64_t bytes;
      memcpy(&bytes, to->filled + 64 * word + 8 * k, sizeof(bytes));
      bits |= (bytes * 0x0102040810204080u) >> 56 << (8 * k);
    }
    to->now[word] = bits;
  }
  memset(to->filled, 0, (size_t)(64 * words(raster)));
}

/* Turns the numbers of a cell's points into their places, from `start` on; returns where they end. */
static int32_t begin(struct ep_cell *cell, int32_t start) {
  const int32_t first = cell->points[0], second = cell->points[1];
  cell->points[0] = start;
  cell->points[1] = start + first;
  return start + first + second;
}

/* The value of a rank (0: the lowest) among the lowest points of the fine cells of each coarse cell,
 * inf where there are fewer. Also where the points of each cell begin among the sorted ones; returns how
 * many lie in the raster. */
static int64_t rank_of_blocks(const struct ep_raster *raster, const struct ep_buffers *to) {
  const int64_t rank = raster->rank;
  const int64_t blocks = raster->coarse_rows * raster->coarse_columns;
  for (int64_t i = 0; i < blocks * (rank + 1); ++i) to->ranks[i] = INFINITY;
  int32_t start = 0;
  int64_t row = 0, row_end = raster->columns;
  float *ranks = to->ranks; /* of the row's coarse cells */
  for (int64_t word = 0; word < words(raster); ++word) {
    for (uint64_t left = to->now[word]; left; left &= left - 1) {
      const int64_t at = 64 * word + __builtin_ctzll(left);
      struct ep_cell *cell = to->cells + at;
      start = begin(cell, start);
      while (at >= row_end) {
        row_end += raster->columns;
        ranks = to->ranks + ++row / raster->side * raster->coarse_columns * (rank + 1);
      }
      const uint32_t column = (uint32_t)(at - row_end + raster->columns);
      float *lowest = ranks + column / (uint32_t)raster->side * (rank + 1);
      const float *of = cell->lowest, least = of[0] < of[1] ? of[0] : of[1];
      if (!(least < lowest[rank])) continue;
      int64_t k = rank;
      for (; k > 0 && least < lowest[k - 1]; --k) lowest[k] = lowest[k - 1];
      lowest[k] = least;
    }
  }
  begin(to->cells + raster->rows * raster->columns, start); /* outside */
  for (int64_t i = 0; i < blocks; ++i) to->coarse[i] = to->ranks[i * (rank + 1) + rank];
  return start;
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

static void place(int64_t i, int half, const float *intensity, const float *ground, int32_t last,
                  const struct ep_buffers *to) {
  const int32_t cell = to->cell[i], at = to->cells[cell].points[half]++;
  to->above[at] = to->z[i] - ground[cell < last ? cell : last];
  to->returns[at].intensity = intensity ? intensity[i] : 0.0f;
  to->returns[at].index = (int32_t)i;
}

/* Brings the points of a cell together, in the order they came. */
static void sort_by_cell(int64_t points, const float *intensity, const float *ground,
                         const struct ep_raster *raster, const struct ep_buffers *to) {
  const int64_t half = points / 2;
  const int32_t last = (int32_t)(raster->rows * raster->columns) - 1;
  for (int64_t i = 0; i < half; ++i) {
    place(i, 0, intensity, ground, last, to);
    place(i + half, 1, intensity, ground, last, to);
  }
  if (points & 1) place(points - 1, 1, intensity, ground, last, to);
}

enum { NO_SLICE = 64 };

/* What the heights of some returns say. */
struct read {
  int64_t first, end;    /* which they are */
  float high[BLOCK];     /* m above the ground, of those between the edges; else 0 */
  float low[BLOCK];      /* the same; else the last edge */
  int32_t slice[BLOCK];  /* NO_SLICE: in none */
  int32_t raised[BLOCK]; /* 1: stands out of the ground */
};

EP_WIDE static void read_heights(const float *restrict above_of, int64_t count,
                                 const struct ep_raster *raster, const int32_t *restrict slice_of,
                                 struct read *restrict to) {
  const float first_edge = raster->first_edge, last_edge = raster->last_edge;
  const float length = (float)raster->lookup_length, longest = length - 1.0f;
  const float raised_low = raster->raised_low, raised_high = raster->raised_high;
  for (int64_t i = 0; i < count; ++i) {
    const float above = above_of[i], centimetres = (above - first_edge) * 100.0f;
    const int32_t known = (centimetres > -1.0f) & (centimetres < length);
    float from = centimetres > 0.0f ? centimetres : 0.0f;
    from = from < longest ? from : longest;
    const int32_t slice = slice_of[(int32_t)from];
    const int between = (above > first_edge) & (above < last_edge);
    to->slice[i] = known ? slice : NO_SLICE;
    to->high[i] = between ? above : 0.0f;
    to->low[i] = between ? above : last_edge;
    to->raised[i] = (above > raised_low) & (above < raised_high);
  }
}

struct filling {
  const struct ep_raster *raster;
  const struct ep_tables *tables;
  const struct ep_buffers *to;
  int with_intensity;
  int64_t returns;
  int64_t raised; /* so many were found */
  struct read read;
};

/* Reads the next heights, and keeps which returns are raised. */
static void read_next(struct filling *state) {
  struct read *read = &state->read;
  const int64_t left = state->returns - read->end, count = left < BLOCK ? left : BLOCK;
  const struct ep_return *returns = state->to->returns + read->end;
  int32_t *raised = state->to->raised + state->raised;
  read_heights(state->to->above + read->end, count, state->raster, state->tables->slice_of, read);
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    raised[found] = returns[i].index;
    found += read->raised[i];
  }
  state->raised += found;
  read->first = read->end;
  read->end += count;
}

/* Writes the planes of one cell from its returns, all but the ground. */
static void fill_cell(int64_t at, int64_t first, int64_t end, struct filling *state) {
  const struct ep_raster *raster = state->raster;
  const struct read *read = &state->read;
  const struct ep_return *returns = state->to->returns;
  const int64_t cells = raster->rows * raster->columns;
  const int64_t most = raster->density_length - 1, count = end - first;
  const float last_edge = raster->last_edge;
  float *out = state->to->raster + at;
  float top = 0.0f, bottom = last_edge;
  double total = 0.0;
  uint64_t occupied = 0;
  for (int64_t i = first; i < end;) {
    if (i == read->end) read_next(state);
    const int64_t stop = end < read->end ? end : read->end;
    for (; i < stop; ++i) {
      const int64_t k = i - read->first;
      const uint64_t slice = (uint64_t)read->slice[k];
      total += (double)returns[i].intensity;
      occupied |= (slice / NO_SLICE ^ 1) << slice % NO_SLICE;
      top = read->high[k] > top ? read->high[k] : top;
      bottom = read->low[k] < bottom ? read->low[k] : bottom;
    }
  }
  for (int64_t slice = 0; slice < raster->slices; ++slice, out += cells) {
    *out = (float)(int32_t)(occupied >> slice & 1);
  }
  out[0] = top / last_edge;
  out[cells] = top == 0.0f ? 0.0f : bottom / last_edge;
  out[2 * cells] = state->tables->density_of[count < most ? count : most];
  out[3 * cells] = state->with_intensity ? (float)(total / (double)count) : 0.0f;
}

/* Fills the raster, the ground is there already, and empties the cells; returns how many are raised. */
static int64_t fill(int64_t returns, int with_intensity, const struct ep_raster *raster,
                    const struct ep_tables *tables, const struct ep_buffers *to) {
  const int64_t cells = raster->rows * raster->columns;
  const struct ep_cell empty = {{INFINITY, INFINITY}, {0, 0}};
  struct filling state;
  state.raster = raster, state.tables = tables, state.to = to;
  state.with_intensity = with_intensity, state.returns = returns, state.raised = 0;
  state.read.first = state.read.end = 0;
  int64_t first = 0;
  for (int64_t word = 0; word < words(raster); ++word) {
    for (uint64_t left = to->before[word] & ~to->now[word]; left; left &= left - 1) {
      float *out = to->raster + 64 * word + __builtin_ctzll(left);
      for (int64_t plane = 0; plane < raster->slices + 4; ++plane) out[plane * cells] = 0.0f;
    }
    for (uint64_t left = to->now[word]; left; left &= left - 1) {
      const int64_t at = 64 * word + __builtin_ctzll(left), end = to->cells[at].points[1];
      to->cells[at] = empty;
      fill_cell(at, first, end, &state);
      first = end;
    }
    to->before[word] = to->now[word];
  }
  to->cells[cells] = empty;
  return state.raised;
}

/* From points of the sensor frame to the raster, and to the points that stand out of the ground.
 * `intensity` may be NULL. Returns the number of `raised`, which are indices of points. */
int64_t ep_sweep(const float *xyz, int64_t points, const float *T /* 3, 4 */,
                 const float *intensity, const struct ep_raster *raster,
                 const struct ep_tables *tables, const struct ep_buffers *to,
                 const struct ep_road *road, const struct ep_road_tables *road_tables,
                 const struct ep_road_buffers *road_to) {
  float *ground = to->raster + (raster->slices + 4) * raster->rows * raster->columns;
  move_all(xyz, points, T, raster, road, road_to->heights, to);
  ep_road_floor(road, road_tables, road_to);
  count(points, road_tables->coarse_of, road_to->floor, to);
  mark(raster, to);
  const int64_t returns = rank_of_blocks(raster, to);
  limit_slope(raster, to);
  interpolate(raster, tables, to, ground);
  sort_by_cell(points, intensity, ground, raster, to);
  return fill(returns, intensity != NULL, raster, tables, to);
}
