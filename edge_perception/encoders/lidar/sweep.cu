/* From the points of a sweep to the bird's-eye raster of a model: what src/lidar.c and src/road.c do in
 * loops, which give the reasons; preprocess.py and road.py are the reference. All of the raster has
 * the same bits (compile with -fmad=false) but for the mean intensity, whose sum is taken here in
 * whole numbers: so it does not depend on the order in which threads come.
 *
 * Each launch is one kernel; a thread works on one point or one cell, and those of a single block that
 * wait for each other say so. */

typedef unsigned long long word;

struct sweep_plan {
  int rows, columns, side, coarse_rows, coarse_columns;
  int slices, lookup_length, density_length;
  int near_cells, steps, road_rise, waves; /* of the road: see road.h */
  float x_min, y_min, z_min, z_max, cells_per_m, rise;
  float first_edge, last_edge, raised_low, raised_high;
};

struct cell_sum {
  word intensity;      /* sum, in units of 2^-40 */
  int points;
  unsigned lowest;     /* that can be of the road; ordered() */
  unsigned top, bottom; /* of points between the edges; ordered() */
  int raised;           /* points at obstacles' heights */
  int end;              /* where those end among all that are; before they are there, where they begin */
};

enum { LAYER = 3, LEAST = 6, SHARE = 10, ALIKE = 5, ABOVE = 10, BELOW = 10, BELOW_TIMES = 9, LONGEST_GAP = 8, SLOPES = 4 };
enum { RANK = 2 };
#define STEP_M 0.1f
#define STEPS_PER_M 10.0f
#define MARGIN_M 0.25f
#define NOTHING __int_as_float(0x7f800000) /* infinity */
#define INTENSITY_UNITS 1099511627776.0 /* 2^40 */

static __device__ int number() { return (int)(blockIdx.x * blockDim.x + threadIdx.x); }

/* Whole numbers in the order of the floats, for atomicMin() and atomicMax(). */
static __device__ unsigned ordered(float value) {
  const unsigned bits = (unsigned)__float_as_int(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static __device__ float value_of(unsigned order) {
  return __int_as_float((int)(order & 0x80000000u ? order & 0x7fffffffu : ~order));
}

extern "C" __global__ void clear(const sweep_plan *plan, cell_sum *sums, int *heights,
                                 int *row_raised, float *raster) {
  const int at = number(), cells = plan->rows * plan->columns;
  const int coarse = plan->coarse_rows * plan->coarse_columns;
  if (at < cells) {
    sums[at].intensity = 0;
    sums[at].points = 0;
    sums[at].lowest = ordered(NOTHING);
    sums[at].top = ordered(0.0f);
    sums[at].bottom = ordered(plan->last_edge);
    sums[at].raised = 0;
    for (int slice = 0; slice < plan->slices; ++slice) raster[slice * cells + at] = 0.0f;
  }
  if (at < coarse * plan->steps) heights[at] = 0;
  if (at < plan->rows) row_raised[at] = 0;
}

/* To the base frame, and into cells; -1: outside. Counts the heights above each coarse cell. */
extern "C" __global__ void move(const sweep_plan *plan, const int *count, const float *xyz,
                                const float *T /* 3, 4 */, const int *coarse_of, float *z_of,
                                int *cell_of, int *heights /* coarse cells, steps */) {
  const int i = number();
  if (i >= *count) return;
  const float px = xyz[3 * i], py = xyz[3 * i + 1], pz = xyz[3 * i + 2];
  const float x = px * T[0] + py * T[1] + pz * T[2] + T[3];
  const float y = px * T[4] + py * T[5] + pz * T[6] + T[7];
  const float z = px * T[8] + py * T[9] + pz * T[10] + T[11];
  const float row = (x - plan->x_min) * plan->cells_per_m;
  const float column = (y - plan->y_min) * plan->cells_per_m;
  const bool inside = row >= 0.0f && row < (float)plan->rows && column >= 0.0f &&
                      column < (float)plan->columns && z > plan->z_min && z < plan->z_max;
  const int cell = inside ? (int)row * plan->columns + (int)column : -1;
  z_of[i] = z;
  cell_of[i] = cell;
  if (!inside) return;
  const float high = (z - plan->z_min) * STEPS_PER_M, last = (float)(plan->steps - 1);
  const int step = (int)(high > 0.0f ? (high < last ? high : last) : 0.0f);
  atomicAdd(heights + coarse_of[cell] * plan->steps + step, 1);
}

/* How many returns lie below each step; a thread a coarse cell. */
extern "C" __global__ void sum_heights(const sweep_plan *plan, const int *heights,
                                       int *sums /* coarse cells, steps + LAYER + 1 */) {
  const int at = number(), steps = plan->steps;
  if (at >= plan->coarse_rows * plan->coarse_columns) return;
  int *sum = sums + at * (steps + LAYER + 1);
  sum[0] = 0;
  for (int step = 0; step < steps; ++step) sum[step + 1] = sum[step] + heights[at * steps + step];
  for (int step = 1; step <= LAYER; ++step) sum[steps + step] = sum[steps];
}

/* The first step of the lowest layer of a road from `low` to `high`; -1: there is none. */
static __device__ int lowest_layer(const int *sums, int steps, int low, int high) {
  low = low > 0 ? low : 0;
  high = high + 1 < steps ? high + 1 : steps;
  const int end = high + ABOVE < steps ? high + ABOVE : steps;
  int most = 0;
  for (int at = low; at < end; ++at) {
    const int layer = sums[at + LAYER] - sums[at];
    most = layer > most ? layer : most;
  }
  for (int at = low; at < high; ++at) {
    int layer = sums[at + LAYER] - sums[at];
    const int below = sums[at] - sums[at > BELOW ? at - BELOW : 0];
    if (layer < LEAST || SHARE * layer < most || BELOW * layer < BELOW_TIMES * below) continue;
    int thickest = at; /* it may begin thinly */
    for (int next = at + 1; next < at + LAYER && next < steps; ++next) {
      const int other = sums[next + LAYER] - sums[next];
      if (other > layer) {
        layer = other;
        thickest = next;
      }
    }
    const int from = thickest + LAYER < steps ? thickest + LAYER : steps;
    const int to = from + ABOVE < steps ? from + ABOVE : steps;
    if (ABOVE * layer < LAYER * (sums[to] - sums[from])) return -1;
    while (SHARE * (sums[at + 1] - sums[at]) < layer) ++at;
    return at;
  }
  return -1;
}

/* The level that a cell likely has, and how many cells ago the road was seen; -1: no neighbour is known
 * yet. */
static __device__ int expected(int each, const sweep_plan *plan, const int *rank_of,
                               const int *level, const int *gap, int *wide) {
  const int columns = plan->coarse_columns;
  const int row = each / columns, column = each % columns;
  const int top = row > 0 ? row - 1 : 0, left = column > 0 ? column - 1 : 0;
  int surest = -1, total = 0, joined = 0;
  for (int r = top; r < row + 2 && r < plan->coarse_rows; ++r) {
    for (int c = left; c < column + 2 && c < columns; ++c) {
      const int at = r * columns + c;
      if (rank_of[at] >= rank_of[each]) continue; /* its turn comes later */
      if (surest < 0 || gap[at] < gap[surest] ||
          (gap[at] == gap[surest] && rank_of[at] < rank_of[surest])) {
        surest = at;
      }
    }
  }
  if (surest < 0) return -1;
  for (int r = top; r < row + 2 && r < plan->coarse_rows; ++r) {
    for (int c = left; c < column + 2 && c < columns; ++c) {
      const int at = r * columns + c;
      if (rank_of[at] >= rank_of[each] || gap[at] != gap[surest]) continue;
      const int apart = level[at] - level[surest];
      if (apart > plan->road_rise || -apart > plan->road_rise) continue;
      total += level[at];
      ++joined;
    }
  }
  *wide = gap[surest];
  return (2 * total + joined) / (2 * joined);
}

/* A plane that the road about the vehicle may be. */
struct road_plane {
  int worth;             /* how many near cells agree on it, and how flat it is */
  int at, along, across; /* steps: below the vehicle, from one row or column to the next */
};

static __device__ int magnitude(int value) { return value < 0 ? -value : value; }

static __device__ int slopes_apart(const sweep_plan *plan) {
  return plan->road_rise / SLOPES > 1 ? plan->road_rise / SLOPES : 1;
}

/* Steps of a plane at a cell, above where it is at the vehicle. */
static __device__ int raised_at(const sweep_plan *plan, const road_plane &plane, int origin, int each) {
  const int columns = plan->coarse_columns;
  return plane.along * (each / columns - origin / columns) +
         plane.across * (each % columns - origin % columns);
}

/* How much speaks for the k-th pair of slopes; `level`: what each near cell alone says. */
static __device__ road_plane plane_of(const sweep_plan *plan, int k, const int *nearest_first,
                                      const int *level) {
  const int apart = slopes_apart(plan), side = plan->road_rise / apart, origin = nearest_first[0];
  road_plane plane = {0, 0, (k / (2 * side + 1) - side) * apart, (k % (2 * side + 1) - side) * apart};
  int most = 0;
  for (int i = 0; i < plan->near_cells; ++i) { /* the window of steps that ends with each */
    const int cell = nearest_first[i];
    const int end = level[cell] - raised_at(plan, plane, origin, cell);
    if (level[cell] < 0 || end < 0 || end >= plan->steps) continue;
    int agreed = 0;
    for (int j = 0; j < plan->near_cells; ++j) {
      const int other = nearest_first[j], at = level[other] - raised_at(plan, plane, origin, other);
      agreed += level[other] >= 0 && at >= 0 && at <= end && at > end - ALIKE;
    }
    if (agreed > most || (agreed == most && end < plane.at)) {
      most = agreed;
      plane.at = end;
    }
  }
  plane.worth = 2 * most - (magnitude(plane.along) + magnitude(plane.across)) / apart;
  plane.at -= ALIKE / 2;
  return plane;
}

/* The plane on which most of the near cells agree; that of the base frame where no road is seen. */
static __device__ road_plane plane_about(const sweep_plan *plan, int count, const road_plane *planes) {
  road_plane best = {0, (int)(-plan->z_min * STEPS_PER_M), 0, 0};
  for (int k = 0; k < count; ++k)
    if (planes[k].worth > best.worth) best = planes[k];
  return best;
}

/* Follows the road from the vehicle outwards; one block. A cell waits only for those of its neighbours
 * that are nearer: cells that wait for none of each other are a wave, and go together. */
extern "C" __global__ void follow_road(const sweep_plan *plan, const int *sums,
                                       const int *nearest_first, const int *rank_of,
                                       const int *wave_cells /* coarse cells, wave by wave */,
                                       const int *wave_start /* waves + 1 */, road_plane *planes,
                                       int *level, int *gap, float *floor /* coarse cells */) {
  const int steps = plan->steps, length = steps + LAYER + 1;
  const int side = plan->road_rise / slopes_apart(plan), slopes = 2 * side + 1;
  for (int i = (int)threadIdx.x; i < plan->near_cells; i += (int)blockDim.x) {
    const int each = nearest_first[i];
    level[each] = lowest_layer(sums + each * length, steps, 0, steps);
  }
  __syncthreads();
  for (int k = (int)threadIdx.x; k < slopes * slopes; k += (int)blockDim.x) {
    planes[k] = plane_of(plan, k, nearest_first, level);
  }
  __syncthreads();
  const road_plane plane = plane_about(plan, slopes * slopes, planes);
  const float low = plan->z_min - MARGIN_M;
  for (int wave = 0; wave < plan->waves; ++wave) {
    const int end = wave_start[wave + 1];
    for (int i = wave_start[wave] + (int)threadIdx.x; i < end; i += (int)blockDim.x) {
      const int each = wave_cells[i];
      const bool near = rank_of[each] < plan->near_cells;
      int wide = 0, likely = near ? -1 : expected(each, plan, rank_of, level, gap, &wide);
      if (likely < 0) {
        likely = plane.at + raised_at(plan, plane, nearest_first[0], each);
        likely = likely < 0 ? 0 : (likely < steps ? likely : steps - 1);
      }
      const int reach = plan->road_rise * (1 + wide) + 1;
      const int found = lowest_layer(sums + each * length, steps, likely - reach, likely + reach);
      level[each] = found < 0 ? likely : found;
      if (found >= 0 || near) {
        gap[each] = 0;
      } else if (sums[each * length + steps] < LEAST) { /* in a shadow */
        gap[each] = wide < LONGEST_GAP ? wide + 1 : LONGEST_GAP;
      } else {
        gap[each] = wide > 1 ? wide : 1;
      }
      floor[each] = low + (float)level[each] * STEP_M;
    }
    __syncthreads();
  }
}

/* The lowest return of each cell that can be of the road. */
extern "C" __global__ void find_lowest(const int *count, const float *z_of, const int *cell_of,
                                       const int *coarse_of, const float *floor, cell_sum *sums) {
  const int i = number();
  if (i >= *count || cell_of[i] < 0 || z_of[i] < floor[coarse_of[cell_of[i]]]) return;
  atomicMin(&sums[cell_of[i]].lowest, ordered(z_of[i]));
}

/* The third lowest among the fine cells of each coarse one; infinity: there are fewer. */
extern "C" __global__ void rank_blocks(const sweep_plan *plan, const cell_sum *sums, float *coarse) {
  const int at = number();
  if (at >= plan->coarse_rows * plan->coarse_columns) return;
  const int first_row = at / plan->coarse_columns * plan->side;
  const int first_column = at % plan->coarse_columns * plan->side;
  float lowest[RANK + 1] = {NOTHING, NOTHING, NOTHING};
  for (int r = first_row; r < first_row + plan->side && r < plan->rows; ++r) {
    for (int c = first_column; c < first_column + plan->side && c < plan->columns; ++c) {
      float value = value_of(sums[r * plan->columns + c].lowest);
      for (int rank = 0; rank <= RANK; ++rank) {
        if (value >= lowest[rank]) continue;
        const float higher = lowest[rank];
        lowest[rank] = value;
        value = higher;
      }
    }
  }
  coarse[at] = lowest[RANK];
}

/* Lowers cells that stand too high above a neighbour, and fills those without returns; one block. */
extern "C" __global__ void limit_slope(const sweep_plan *plan, float *coarse, float *other) {
  const int rows = plan->coarse_rows, columns = plan->coarse_columns, cells = rows * columns;
  for (int turn = 0; turn < 4; ++turn) {
    const float *from = turn % 2 ? other : coarse;
    float *to = turn % 2 ? coarse : other;
    for (int at = (int)threadIdx.x; at < cells; at += (int)blockDim.x) {
      const int row = at / columns, column = at % columns;
      float around = NOTHING;
      if (row > 0 && from[at - columns] < around) around = from[at - columns];
      if (row + 1 < rows && from[at + columns] < around) around = from[at + columns];
      if (column > 0 && from[at - 1] < around) around = from[at - 1];
      if (column + 1 < columns && from[at + 1] < around) around = from[at + 1];
      const float limit = around + plan->rise;
      to[at] = from[at] == NOTHING ? around : (from[at] < limit ? from[at] : limit);
    }
    __syncthreads();
  }
  for (int at = (int)threadIdx.x; at < cells; at += (int)blockDim.x) {
    if (coarse[at] == NOTHING) coarse[at] = 0.0f; /* the base frame's own road plane */
  }
}

/* The ground of each fine cell, the last plane of the raster. */
extern "C" __global__ void interpolate(const sweep_plan *plan, const float *coarse,
                                       const int *low_row, const float *near_row,
                                       const float *far_row, const int *low_column,
                                       const float *near_column, const float *far_column,
                                       float *raster) {
  const int at = number(), cells = plan->rows * plan->columns, width = plan->coarse_columns;
  if (at >= cells) return;
  const int row = at / plan->columns, column = at % plan->columns;
  const int up = low_row[row], down = up + 1 < plan->coarse_rows ? up + 1 : up;
  const int left = low_column[column], right = left + 1 < width ? left + 1 : left;
  const float near = coarse[up * width + left] * near_row[row] + coarse[down * width + left] * far_row[row];
  const float far = coarse[up * width + right] * near_row[row] + coarse[down * width + right] * far_row[row];
  raster[(plan->slices + 4) * cells + at] = near * near_column[column] + far * far_column[column];
}

static __device__ bool is_raised(const sweep_plan *plan, float above) {
  return above > plan->raised_low && above < plan->raised_high;
}

static __device__ float above_ground(const sweep_plan *plan, const float *raster, float z, int cell) {
  return z - raster[(plan->slices + 4) * plan->rows * plan->columns + cell];
}

/* What each point adds to its cell. */
extern "C" __global__ void add_points(const sweep_plan *plan, const int *count, const float *intensity,
                                      const float *z_of, const int *cell_of, const int *slice_of,
                                      cell_sum *sums, int *row_raised, float *raster) {
  const int i = number();
  if (i >= *count || cell_of[i] < 0) return;
  const int cell = cell_of[i], cells = plan->rows * plan->columns;
  const float above = above_ground(plan, raster, z_of[i], cell);
  const float centimetres = (above - plan->first_edge) * 100.0f;
  if (centimetres > -1.0f && centimetres < (float)plan->lookup_length) {
    raster[slice_of[(int)centimetres] * cells + cell] = 1.0f;
  }
  cell_sum *sum = sums + cell;
  atomicAdd(&sum->points, 1);
  if (intensity[i] > 0.0f) atomicAdd(&sum->intensity, (word)((double)intensity[i] * INTENSITY_UNITS));
  if (above > plan->first_edge && above < plan->last_edge) {
    atomicMax(&sum->top, ordered(above));
    atomicMin(&sum->bottom, ordered(above));
  }
  if (is_raised(plan, above)) {
    atomicAdd(&sum->raised, 1);
    atomicAdd(row_raised + cell / plan->columns, 1);
  }
}

/* Where the raised points of each cell begin, in the order of cells; a thread a row. */
extern "C" __global__ void place_raised(const sweep_plan *plan, const int *row_raised, cell_sum *sums,
                                        int *raised_count) {
  const int row = number();
  if (row >= plan->rows) return;
  int begin = 0;
  for (int before = 0; before < row; ++before) begin += row_raised[before];
  if (row == plan->rows - 1) *raised_count = begin + row_raised[row];
  for (int at = row * plan->columns; at < (row + 1) * plan->columns; ++at) {
    sums[at].end = begin;
    begin += sums[at].raised;
  }
}

/* Brings the raised points of a cell together, in any order. */
extern "C" __global__ void gather_raised(const sweep_plan *plan, const int *count, const float *z_of,
                                         const int *cell_of, const float *raster, cell_sum *sums,
                                         int *gathered) {
  const int i = number();
  if (i >= *count || cell_of[i] < 0) return;
  if (!is_raised(plan, above_ground(plan, raster, z_of[i], cell_of[i]))) return;
  gathered[atomicAdd(&sums[cell_of[i]].end, 1)] = i;
}

/* And into the order they came: each counts those of its cell that came before it. */
extern "C" __global__ void order_raised(const int *raised_count, const int *cell_of,
                                        const cell_sum *sums, const int *gathered, int *raised) {
  const int at = number();
  if (at >= *raised_count) return;
  const int i = gathered[at], end = sums[cell_of[i]].end;
  const int begin = end - sums[cell_of[i]].raised;
  int to = begin;
  for (int other = begin; other < end; ++other) to += gathered[other] < i;
  raised[to] = i;
}

/* The planes behind the slices, of one cell. */
extern "C" __global__ void finish_cells(const sweep_plan *plan, const cell_sum *sums,
                                        const float *density_of, float *raster, float *density) {
  const int at = number(), cells = plan->rows * plan->columns;
  if (at >= cells) return;
  const cell_sum sum = sums[at];
  const float top = value_of(sum.top), bottom = value_of(sum.bottom);
  const int known = sum.points < plan->density_length - 1 ? sum.points : plan->density_length - 1;
  float *out = raster + plan->slices * cells + at;
  out[0] = top / plan->last_edge;
  out[cells] = top == 0.0f ? 0.0f : bottom / plan->last_edge;
  out[2 * cells] = density[at] = density_of[known];
  out[3 * cells] =
      sum.points ? (float)((double)sum.intensity / INTENSITY_UNITS / (double)sum.points) : 0.0f;
}
