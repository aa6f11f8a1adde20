/* Follows the road from the vehicle outwards: see encoders/lidar/road.py, which gives the reasons and
 * the same numbers. */

#include "road.h"

#include <math.h>
#include <string.h>

enum {
  LAYER = 3,
  LEAST = 6,
  SHARE = 10,
  ALIKE = 5,
  ABOVE = 10,
  BELOW = 10,
  BELOW_TIMES = 9,
  LONGEST_GAP = 8,
  SLOPES = 4,
};

static const float STEP_M = 0.1f, MARGIN_M = 0.25f;

/* The first step of the lowest layer of a road from `low` to `high`; -1: there is none. */
static int64_t lowest_layer(const int32_t *count, int64_t steps, int64_t low, int64_t high,
                            int32_t *sums /* steps + 4 */) {
  if (low < 0) low = 0;
  ++high;
  if (high > steps) high = steps;
  sums[0] = 0;
  for (int64_t at = 0; at < steps; ++at) sums[at + 1] = sums[at] + count[at];
  for (int64_t at = 1; at <= LAYER; ++at) sums[steps + at] = sums[steps];
  const int64_t top = high + ABOVE < steps ? high + ABOVE : steps;
  int32_t most = 0;
  for (int64_t at = low; at < top; ++at) {
    const int32_t layer = sums[at + LAYER] - sums[at];
    if (layer > most) most = layer;
  }
  for (int64_t at = low; at < high; ++at) {
    int32_t layer = sums[at + LAYER] - sums[at];
    const int32_t below = sums[at] - sums[at > BELOW ? at - BELOW : 0];
    if (layer < LEAST || SHARE * layer < most || BELOW * layer < BELOW_TIMES * below) continue;
    int64_t thickest = at; /* it may begin thinly */
    for (int64_t next = at + 1; next < at + LAYER && next < steps; ++next) {
      const int32_t other = sums[next + LAYER] - sums[next];
      if (other > layer) {
        layer = other;
        thickest = next;
      }
    }
    const int64_t from = thickest + LAYER, end = from + ABOVE < steps ? from + ABOVE : steps;
    if (ABOVE * layer < LAYER * (sums[end] - sums[from])) return -1;
    while (SHARE * count[at] < layer) ++at;
    return at;
  }
  return -1;
}

/* The level that a cell likely has, and how many cells ago the road was seen; -1: no neighbour is known
 * yet. */
static int64_t expected(int64_t each, const struct ep_road *road,
                        const struct ep_road_tables *tables, const struct ep_road_buffers *to,
                        int64_t *wide) {
  const int64_t row = each / road->columns, column = each % road->columns;
  const int64_t top = row > 0 ? row - 1 : 0, left = column > 0 ? column - 1 : 0;
  int64_t surest = -1, total = 0, joined = 0;
  for (int64_t r = top; r < row + 2 && r < road->rows; ++r) {
    for (int64_t c = left; c < column + 2 && c < road->columns; ++c) {
      const int64_t at = r * road->columns + c;
      if (to->level[at] < 0) continue;
      if (surest < 0 || to->gap[at] < to->gap[surest] ||
          (to->gap[at] == to->gap[surest] && tables->rank_of[at] < tables->rank_of[surest])) {
        surest = at;
      }
    }
  }
  if (surest < 0) return -1;
  for (int64_t r = top; r < row + 2 && r < road->rows; ++r) {
    for (int64_t c = left; c < column + 2 && c < road->columns; ++c) {
      const int64_t at = r * road->columns + c;
      if (to->level[at] < 0 || to->gap[at] != to->gap[surest]) continue;
      const int64_t apart = to->level[at] - to->level[surest];
      if (apart > road->rise || -apart > road->rise) continue;
      total += to->level[at];
      ++joined;
    }
  }
  *wide = to->gap[surest];
  return (2 * total + joined) / (2 * joined);
}

struct plane {
  int64_t at, along, across; /* steps: below the vehicle, from one row or column to the next */
  int64_t row, column;       /* of the vehicle */
};

static int64_t magnitude(int64_t value) { return value < 0 ? -value : value; }

static int64_t height_of(const struct plane *plane, int64_t each, const struct ep_road *road) {
  const int64_t at = plane->at + plane->along * (each / road->columns - plane->row) +
                     plane->across * (each % road->columns - plane->column);
  return at < 0 ? 0 : (at < road->steps ? at : road->steps - 1);
}

/* The plane on which most of the near cells agree; that of the base frame where no road is seen. Leaves
 * in `level` what each near cell alone says. */
static struct plane plane_about(const struct ep_road *road, const struct ep_road_tables *tables,
                                const struct ep_road_buffers *to) {
  const int64_t steps = road->steps, apart = road->rise / SLOPES > 1 ? road->rise / SLOPES : 1;
  const int64_t steepest = road->rise / apart * apart;
  const int64_t row = tables->nearest_first[0] / road->columns;
  const int64_t column = tables->nearest_first[0] % road->columns;
  struct plane best = {(int64_t)(-road->z_min * ROAD_STEPS_PER_M), 0, 0, row, column};
  int64_t most = 0;
  for (int64_t i = 0; i < road->near; ++i) {
    const int64_t each = tables->nearest_first[i];
    to->level[each] = (int32_t)lowest_layer(to->heights + each * steps, steps, 0, steps, to->sums);
  }
  for (int64_t along = -steepest; along <= steepest; along += apart) {
    for (int64_t across = -steepest; across <= steepest; across += apart) {
      int32_t *votes = to->votes, agreed = 0, most_agreed = 0;
      int64_t at = 0;
      memset(votes, 0, sizeof(int32_t) * (size_t)steps);
      for (int64_t i = 0; i < road->near; ++i) {
        const int64_t each = tables->nearest_first[i];
        if (to->level[each] < 0) continue;
        const int64_t below = to->level[each] - along * (each / road->columns - row) -
                              across * (each % road->columns - column);
        if (below >= 0 && below < steps) ++votes[below];
      }
      for (int64_t step = 0; step < steps; ++step) {
        agreed += votes[step] - (step >= ALIKE ? votes[step - ALIKE] : 0);
        if (agreed > most_agreed) {
          most_agreed = agreed;
          at = step;
        }
      }
      const int64_t worth = 2 * most_agreed - (magnitude(along) + magnitude(across)) / apart;
      if (worth > most) {
        most = worth;
        best = (struct plane){at - ALIKE / 2, along, across, row, column};
      }
    }
  }
  return best;
}

void ep_road_floor(const struct ep_road *road, const struct ep_road_tables *tables,
                   const struct ep_road_buffers *to) {
  const int64_t cells = road->rows * road->columns, steps = road->steps;
  const struct plane plane = plane_about(road, tables, to);
  for (int64_t at = 0; at < cells; ++at) to->level[at] = -1;
  const float low = road->z_min - MARGIN_M;
  for (int64_t i = 0; i < cells; ++i) {
    const int64_t each = tables->nearest_first[i];
    int64_t wide = 0, likely = i < road->near ? -1 : expected(each, road, tables, to, &wide);
    if (likely < 0) likely = height_of(&plane, each, road);
    const int64_t reach = road->rise * (1 + wide) + 1;
    const int64_t found = lowest_layer(to->heights + each * steps, steps, likely - reach,
                                       likely + reach, to->sums);
    to->level[each] = (int32_t)(found < 0 ? likely : found);
    const int32_t returns = to->sums[steps]; /* as lowest_layer() left it */
    if (found >= 0 || i < road->near) {
      to->gap[each] = 0;
    } else if (returns < LEAST) {
      to->gap[each] = (int32_t)(wide < LONGEST_GAP ? wide + 1 : LONGEST_GAP);
    } else {
      to->gap[each] = (int32_t)(wide > 1 ? wide : 1);
    }
    to->floor[each] = low + (float)to->level[each] * STEP_M;
  }
  to->floor[cells] = -INFINITY;
}
