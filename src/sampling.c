/* Figures of the small even samples that content checks judge frames by. The functions of the same
 * names in encoders/camera/content.py and encoders/lidar/content.py are the reference; sums are in
 * double precision here. */

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { EP_TERMS = 6, EP_TILES = 4, EP_MOST = 16384 };

struct ep_sample {
  double bright;              /* grey value that 99 % of the pixels do not exceed */
  double saturated;           /* share of pixels from `full` on */
  double deviation;
  double rest, detail;        /* deviations from a smooth surface, and from the neighbours' mean */
  double noise;               /* half the mean squared difference of neighbours over the variance */
  double tiles[EP_TILES * EP_TILES]; /* deviation of each part; NaN: too few pixels */
};

static double deviation(double sum, double squares, double count) {
  const double mean = sum / count, variance = squares / count - mean * mean;
  return variance > 0.0 ? sqrt(variance) : 0.0;
}

static void exposure(const uint8_t *grey, int64_t count, int full, struct ep_sample *found) {
  int64_t histogram[256] = {0}, seen = 0, saturated = 0;
  double sum = 0.0, squares = 0.0;
  for (int64_t i = 0; i < count; ++i) ++histogram[grey[i]];
  found->bright = 256.0;
  for (int value = 0; value < 256; ++value) {
    const double number = (double)histogram[value];
    seen += histogram[value];
    if (found->bright > 255.0 && (double)seen >= 0.99 * (double)count) found->bright = value;
    if (value >= full) saturated += histogram[value];
    sum += number * value;
    squares += number * value * value;
  }
  found->saturated = (double)saturated / (double)count;
  found->deviation = deviation(sum, squares, (double)count);
}

/* `basis`: orthonormal polynomials over the sample, (rows * columns, 6). */
static void structure(const uint8_t *grey, int64_t rows, int64_t columns, const float *basis,
                      struct ep_sample *found) {
  double weight[EP_TERMS] = {0}, sum = 0.0, squares = 0.0;
  const int64_t count = rows * columns;
  for (int64_t i = 0; i < count; ++i) {
    for (int k = 0; k < EP_TERMS; ++k) weight[k] += (double)basis[EP_TERMS * i + k] * grey[i];
  }
  for (int64_t i = 0; i < count; ++i) {
    double value = grey[i];
    for (int k = 0; k < EP_TERMS; ++k) value -= basis[EP_TERMS * i + k] * weight[k];
    sum += value;
    squares += value * value;
  }
  found->rest = deviation(sum, squares, (double)count);
  sum = squares = 0.0;
  for (int64_t row = 1; row + 1 < rows; ++row) {
    const uint8_t *at = grey + row * columns;
    for (int64_t c = 1; c + 1 < columns; ++c) {
      const int around = at[c - columns] + at[c + columns] + at[c - 1] + at[c + 1];
      const double value = at[c] - around / 4.0;
      sum += value;
      squares += value * value;
    }
  }
  found->detail = deviation(sum, squares, (double)((rows - 2) * (columns - 2)));
}

static void tiles(const uint8_t *grey, int64_t rows, int64_t columns, struct ep_sample *found) {
  const int64_t high = rows / EP_TILES, wide = columns / EP_TILES;
  for (int64_t tile = 0; tile < EP_TILES * EP_TILES; ++tile) {
    const uint8_t *at = grey + tile / EP_TILES * high * columns + tile % EP_TILES * wide;
    int64_t sum = 0, squares = 0;
    for (int64_t row = 0; row < high; ++row) {
      for (int64_t c = 0; c < wide; ++c) {
        const int64_t value = at[row * columns + c];
        sum += value;
        squares += value * value;
      }
    }
    found->tiles[tile] =
        high > 0 && wide > 0 ? deviation((double)sum, (double)squares, (double)(high * wide)) : NAN;
  }
}

static double noise(const uint8_t *grey, const uint8_t *beside, int64_t rows, int64_t columns,
                    int64_t both) {
  double sum = 0.0, squares = 0.0, steps = 0.0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < both; ++c) {
      const double value = grey[row * columns + c];
      const double step = value - beside[row * columns + c];
      sum += value;
      squares += value * value;
      steps += step * step;
    }
  }
  const double count = (double)(rows * both);
  const double of_all = deviation(sum, squares, count);
  return 0.5 * steps / count / fmax(of_all * of_all, 1e-6);
}

/* Samples green at every step_y-th row and step_x-th column, beginning in the middle of a step, and
 * the pixel right of each. Writes the sample; returns 0 where it is larger than EP_MOST. */
int ep_image_sample(const uint8_t *bgr, int64_t height, int64_t width, int64_t row_bytes,
                    int64_t step_y, int64_t step_x, int full,
                    const float *basis /* NULL: fewer than three rows or columns */,
                    uint8_t *grey /* rows, columns */, struct ep_sample *found) {
  uint8_t beside[EP_MOST];
  const int64_t rows = (height - step_y / 2 + step_y - 1) / step_y;
  const int64_t columns = (width - step_x / 2 + step_x - 1) / step_x;
  if (rows * columns > EP_MOST) return 0;
  int64_t both = 0; /* columns whose neighbour lies in the image */
  for (int64_t row = 0; row < rows; ++row) {
    const uint8_t *line = bgr + (step_y / 2 + row * step_y) * row_bytes + 1;
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t x = step_x / 2 + c * step_x;
      grey[row * columns + c] = line[3 * x];
      if (x + 1 >= width) continue;
      beside[row * columns + c] = line[3 * x + 3];
      both = c + 1;
    }
  }
  exposure(grey, rows * columns, full, found);
  found->rest = found->detail = INFINITY;
  if (basis != NULL) structure(grey, rows, columns, basis, found);
  tiles(grey, rows, columns, found);
  found->noise = both ? noise(grey, beside, rows, columns, both) : 0.0;
  return 1;
}

/* Which points of the sensor frame lie in a box of the base frame, ends excluded. */
void ep_in_box(const float *xyz, int64_t points, const float *T /* 3, 4 */,
               const float *low /* 3 */, const float *high /* 3 */, uint8_t *inside /* points */) {
  for (int64_t i = 0; i < points; ++i) {
    const float *p = xyz + 3 * i;
    int in = 1;
    for (int k = 0; k < 3; ++k) {
      const float value = p[0] * T[4 * k] + p[1] * T[4 * k + 1] + p[2] * T[4 * k + 2] + T[4 * k + 3];
      in &= (value > low[k]) & (value < high[k]);
    }
    inside[i] = (uint8_t)in;
  }
}

/* Counts the usable points of each sector about the sensor, from -180 degrees on. */
void ep_sectors(const float *xyz, int64_t points, const uint8_t *usable, int64_t sectors,
                double *counts /* sectors */) {
  const float pi = 3.14159274f, of_turn = (float)((double)sectors / (2.0 * 3.14159265358979));
  memset(counts, 0, sizeof(double) * (size_t)sectors);
  for (int64_t i = 0; i < points; ++i) {
    if (!usable[i]) continue;
    const float turned = (atan2f(xyz[3 * i + 1], xyz[3 * i]) + pi) * of_turn;
    counts[(int64_t)turned % sectors] += 1.0;
  }
}
