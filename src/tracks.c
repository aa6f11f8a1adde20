/* The Kalman filter of all tracks over the places of their windows: see fusion/track_filter.py, which
 * gives the reasons and the same bits (build with -ffp-contract=off): every line has its operations
 * in the same order. Arrays have their tracks last, as there. */

#include <math.h>
#include <stdint.h>

/* Moves a state and its covariance on by `dt` s. */
static void predict(double *state, double P[4][4], double dt, double acceleration) {
  for (int i = 0; i < 2; ++i) state[i] += dt * state[i + 2];
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 4; ++j) P[i][j] += dt * P[i + 2][j];
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 2; ++j) P[i][j] += dt * P[i][j + 2];
  const double speed = acceleration * fabs(dt), both = speed * dt / 2.0;
  const double place = both * dt * (2.0 / 3.0);
  for (int i = 0; i < 2; ++i) {
    P[i][i] += place;
    P[i][i + 2] += both;
    P[i + 2][i] += both;
    P[i + 2][i + 2] += speed;
  }
}

/* Runs the filter from the oldest step to the newest. Of a track with fewer steps the older ones are
 * taken with a weight of 0, as the arrays of NumPy do. */
void ep_tracks(int64_t tracks, int64_t steps, const double *places /* steps, 2, tracks */,
               const double *noise /* steps, 3, tracks: xx, xy, yy */,
               const double *dt /* steps, tracks */, const double *acceleration /* tracks */,
               const int64_t *last /* tracks: steps of each */, double *states /* 4, tracks */,
               double *covariances /* 4, 4, tracks */, double *surprises /* tracks */) {
  for (int64_t track = 0; track < tracks; ++track) {
    double state[4], P[4][4], surprise = surprises[track];
    for (int i = 0; i < 4; ++i) {
      state[i] = states[i * tracks + track];
      for (int j = 0; j < 4; ++j) P[i][j] = covariances[(4 * i + j) * tracks + track];
    }
    for (int64_t slot = steps - 1; slot >= 0; --slot) {
      predict(state, P, dt[slot * tracks + track], acceleration[track]);
      const double *place = places + 2 * slot * tracks + track;
      const double *spread = noise + 3 * slot * tracks + track;
      const double dx = place[0] - state[0], dy = place[tracks] - state[1];
      double xx = P[0][0] + spread[0], xy = P[0][1] + spread[tracks];
      double yy = P[1][1] + spread[2 * tracks];
      const double determinant = xx * yy - xy * xy;
      const double distance =
          (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / determinant;
      xx /= determinant;
      xy /= determinant;
      yy /= determinant;
      const double active = slot < last[track], counted = slot < last[track] - 1;
      double x_gain[4], y_gain[4], x_row[4], y_row[4];
      for (int i = 0; i < 4; ++i) {
        x_gain[i] = (P[i][0] * yy - P[i][1] * xy) * active;
        y_gain[i] = (P[i][1] * xx - P[i][0] * xy) * active;
        x_row[i] = P[0][i];
        y_row[i] = P[1][i];
      }
      surprise += distance * counted;
      for (int i = 0; i < 4; ++i) {
        state[i] += x_gain[i] * dx + y_gain[i] * dy;
        for (int j = 0; j < 4; ++j) P[i][j] -= x_gain[i] * x_row[j] + y_gain[i] * y_row[j];
      }
    }
    surprises[track] = surprise;
    for (int i = 0; i < 4; ++i) {
      states[i * tracks + track] = state[i];
      for (int j = 0; j < 4; ++j) covariances[(4 * i + j) * tracks + track] = P[i][j];
    }
  }
}
