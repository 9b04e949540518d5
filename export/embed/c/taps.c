/* Which cells of a map make a sample, with which weights: the twin of `_peaks.plain_taps` and `smooth_taps`. The
 * arithmetic follows the Python line by line, float32 where that is float32, so that the weights have the same bits. */
#include "internal.h"

#include <math.h>
#include <string.h>

/* Length of every cell's overlap with every sample, as TensorFlow's resize_area places them. */
static void overlaps(double *matrix, int64_t length, int64_t size, int normalised)
{
    const float step = (float)length / (float)size;
    for (int64_t s = 0; s < size; s++) {
        const float begin = (float)s * step, end = (float)(s + 1) * step;
        for (int64_t c = 0; c < length; c++) {
            const float cell = (float)c, next = cell + 1.0f;
            float overlap = (end < next ? end : next) - (begin > cell ? begin : cell);
            if (cell <= begin && next > end) overlap = step;
            if (overlap < 0.0f) overlap = 0.0f;
            matrix[s * length + c] = normalised ? (double)overlap / (double)step : (double)overlap;
        }
    }
}

static int64_t clamp(double value, int64_t last)
{
    if (!(value > 0.0)) return 0;
    return value > (double)last ? last : (int64_t)value;
}

/* Keys' cubic, a = -0.75, half-pixel centres, border repeated: OpenCV's. */
static void cubic(double *matrix, int64_t length, int64_t size)
{
    for (int64_t s = 0; s < size; s++) {
        const double center = ((double)s + 0.5) * (double)length / (double)size - 0.5;
        for (int tap = -1; tap <= 2; tap++) {
            const double cell = floor(center) + tap, x = fabs(center - cell);
            const double near = (1.25 * x - 2.25) * x * x + 1.0, far = ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0;
            matrix[s * length + clamp(cell, length - 1)] += x <= 1.0 ? near : far;
        }
    }
}

/* Cubic convolution as a polynomial in the fraction, which is below 0 left of the first cell: CMU OpenPose's on CUDA. */
static void keys(double *matrix, int64_t length, int64_t size)
{
    for (int64_t s = 0; s < size; s++) {
        const double center = ((double)s + 0.5) * (double)length / (double)size - 0.5;
        const int64_t cell = clamp(floor(center), length - 1);
        const double d = center - (double)cell;
        const double weights[4] = {d * (-0.5 + d * (1 - 0.5 * d)), 1 + d * d * (-2.5 + 1.5 * d),
                                   d * (0.5 + d * (2 - 1.5 * d)), d * d * (-0.5 + 0.5 * d)};
        for (int tap = -1; tap <= 2; tap++) {
            const int64_t at = cell + tap;
            matrix[s * length + (at < 0 ? 0 : at >= length ? length - 1 : at)] += weights[tap + 1];
        }
    }
}

double *posert__upsampling(posert__arena *arena, int rule, int64_t length, int64_t size, int normalised)
{
    double *matrix = posert__take(arena, sizeof(double), size, length, 1, 1);
    if (matrix == NULL) return NULL;
    if (rule == POSERT__AREA) overlaps(matrix, length, size, normalised);
    else if (rule == POSERT__KEYS) keys(matrix, length, size);
    else cubic(matrix, length, size);
    return matrix;
}

double *posert__smoothed(posert__arena *arena, const double *matrix, int64_t length, int64_t size,
                         const double *kernel, int taps)
{
    double *smooth = posert__take(arena, sizeof(double), size, length, 1, 1);
    if (smooth == NULL || matrix == NULL) return NULL;
    for (int64_t s = 0; s < size; s++)
        for (int tap = taps - 1; tap >= 0; tap--) {
            const int64_t from = s - tap + taps / 2;
            if (from < 0 || from >= size) continue;
            for (int64_t c = 0; c < length; c++)
                smooth[s * length + c] += kernel[tap] * matrix[from * length + c];
        }
    return smooth;
}

/* The non-zero band of the matrix as first cell and weights. */
void posert__band(posert__arena *arena, const double *matrix, int64_t length, int64_t size, posert__taps *taps)
{
    int64_t count = 1;
    NEW1(arena, taps->first, size);
    if (matrix == NULL || taps->first.at == NULL) return;
    for (int64_t s = 0; s < size; s++) {
        const double *row = matrix + s * length;
        int64_t first = 0, last = length - 1;
        while (first < length && row[first] == 0.0) first++;
        if (first == length) first = 0;
        else while (row[last] == 0.0) last--;
        taps->first.at[s] = first;
        if (last - first + 1 > count) count = last - first + 1;
    }
    NEW2(arena, taps->weight, size, count);
    if (taps->weight.at == NULL) return;
    for (int64_t s = 0; s < size; s++) {
        int64_t *first = &taps->first.at[s];
        if (*first > length - count) *first = length - count;
        for (int64_t t = 0; t < count; t++)
            taps->weight.at[s * count + t] = (float)matrix[s * length + *first + t];
    }
}

/* The largest sum of magnitudes of a sample's weights. */
double posert__gain(const posert__taps *taps)
{
    double gain = 0.0;
    for (int64_t s = 0; s < taps->weight.n[0]; s++) {
        double total = 0.0;
        for (int64_t t = 0; t < taps->weight.n[1]; t++) total += fabs((double)taps->weight.at[s * taps->weight.n[1] + t]);
        if (total > gain) gain = total;
    }
    return gain;
}
