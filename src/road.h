/* Below which height no return can be of the road; encoders/lidar/road.py is the reference. */

#ifndef EP_ROAD_H
#define EP_ROAD_H

#include <stdint.h>

static const float ROAD_STEPS_PER_M = 10.0f;

struct ep_road {
  int64_t rows, columns; /* coarse cells */
  int64_t near;          /* so many of `nearest_first` tell the plane about the vehicle */
  int64_t steps;         /* heights of 10 cm from z_min on */
  int64_t rise;          /* steps from one cell to the next */
  float z_min;
};

struct ep_road_tables {
  const int32_t *coarse_of;     /* coarse cell of each fine one; one more for what lies outside */
  const int32_t *nearest_first; /* rows * columns */
  const int32_t *rank_of;       /* rows * columns: place of each among those */
};

struct ep_road_buffers {
  int32_t *heights; /* rows * columns + 1, steps: returns, in the last row those outside */
  int32_t *sums;    /* steps + 4 */
  int32_t *votes;   /* steps */
  int32_t *level;   /* rows * columns */
  int32_t *gap;     /* rows * columns */
  float *floor;     /* rows * columns + 1 */
};

/* Fills `floor` from `heights`. */
void ep_road_floor(const struct ep_road *road, const struct ep_road_tables *tables,
                   const struct ep_road_buffers *to);

#endif
