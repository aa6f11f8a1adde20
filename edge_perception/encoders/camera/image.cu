/* From the pixels of an image to the input of a network: resize, colours, layout, normalisation. The
 * same numbers as ImagePreprocessor in preprocess.py gives, which resizes as OpenCV does: bilinear in
 * whole numbers, weights of 11 bits (compile with -fmad=false). One thread a pixel of the input. */

struct image_plan {
  int width, height;             /* of the image */
  int columns, rows;             /* of the input */
  int left, top, inner_columns, inner_rows; /* where the image lies in it */
  int channel[3];                /* of a pixel, for each plane of the input */
  float gain[3], bias[3], pad[3];
};

extern "C" __global__ void fill_image(const unsigned char *pixels /* height, width, 3 */,
                                      const image_plan *plan,
                                      const int *x_of /* inner_columns: pixel before */,
                                      const int *x_weight /* inner_columns, 2 */,
                                      const int *y_of /* inner_rows */,
                                      const int *y_weight /* inner_rows, 2 */,
                                      float *input /* 3, rows, columns */) {
  const int at = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  const int cells = plan->rows * plan->columns;
  if (at >= cells) return;
  const int row = at / plan->columns - plan->top, column = at % plan->columns - plan->left;
  if (row < 0 || row >= plan->inner_rows || column < 0 || column >= plan->inner_columns) {
    for (int plane = 0; plane < 3; ++plane) input[plane * cells + at] = plan->pad[plane];
    return;
  }
  const int left = x_of[column], right = left + 1 < plan->width ? left + 1 : left;
  const int last = plan->height - 1, y = y_of[row];
  const int upper = y < 0 ? 0 : (y < last ? y : last), lower = y + 1 < last ? y + 1 : last;
  const int a = x_weight[2 * column], b = x_weight[2 * column + 1];
  const int c = y_weight[2 * row], d = y_weight[2 * row + 1];
  const unsigned char *above = pixels + (long long)upper * plan->width * 3;
  const unsigned char *below = pixels + (long long)lower * plan->width * 3;
  for (int plane = 0; plane < 3; ++plane) {
    const int k = plan->channel[plane];
    const int high = above[3 * left + k] * a + above[3 * right + k] * b;
    const int low = below[3 * left + k] * a + below[3 * right + k] * b;
    const int value = (((c * (high >> 4)) >> 16) + ((d * (low >> 4)) >> 16) + 2) >> 2;
    input[plane * cells + at] = (float)value * plan->gain[plane] + plan->bias[plane];
  }
}
