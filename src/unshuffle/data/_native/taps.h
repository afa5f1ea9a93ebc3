/* Filters along an axis: for each output place the first input place that counts, and how much it and the next do.

   `first[i] + count` never exceeds the input, so that sums need look at no border. */
#ifndef UNSHUFFLE_TAPS_H
#define UNSHUFFLE_TAPS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lanes.h"

typedef struct {
    int64_t *first; /* one an output place */
    float *weights; /* count of them a place */
    int64_t count;
} Taps;

/* The most taps that scaling a stretch of an axis of this length needs: at most 4 where it grows. */
static inline int64_t most_taps(int64_t length, int64_t size)
{
    const double wide = length > size ? (double)length / (double)size : 1.0;
    const int64_t most = (int64_t)ceil(4.0 * wide);
    return most < length ? most : length;
}

/* Keys' piecewise cubic with a = -1/2, as a sum of two that end at 1 and at 2. */
INLINED float bicubic(float distance)
{
    const float rest = 1.0f - distance;
    const float near = rest > 0.0f ? rest : 0.0f, far = rest + 1.0f > 0.0f ? rest + 1.0f : 0.0f;
    return near * near * (1.0f - 2.0f * rest) + 0.5f * rest * (far * far);
}

/* Scales `extent` places from `start` on to `size` ones as Pillow does, which averages where it shrinks. */
INLINED void scaling(Taps *taps, int64_t start, int64_t extent, int64_t size, int mirrored)
{
    const double scale = (double)extent / (double)size, wide = scale > 1.0 ? scale : 1.0;
    const int64_t count = most_taps(extent, size);
    const float step = (float)(1.0 / wide);
    taps->count = count;
    for (int64_t i = 0; i < size; i++) {
        const double centre = ((double)(mirrored ? size - 1 - i : i) + 0.5) * scale;
        int64_t first = (int64_t)floor(centre - 2.0 * wide + 0.5);
        first = first > extent - count ? extent - count : first;
        first = first < 0 ? 0 : first;
        const float nearest = (float)(((double)first + 0.5 - centre) / wide);
        float *weights = taps->weights + i * count, sum = 0.0f;
        for (int64_t t = 0; t < count; t++)
            sum += weights[t] = bicubic(fabsf(nearest + (float)t * step));
        const float each = 1.0f / sum;
        for (int64_t t = 0; t < count; t++)
            weights[t] *= each;
        taps->first[i] = start + first;
    }
}

/* A moving average: `whole` places either side count fully, and one more a `share`. */
typedef struct {
    int64_t whole;
    double inside, outside; /* what a place counts, and what the outermost do */
} Average;

/* The moving average of which three in a row have this deviation (Gwosdek et al. 2011). */
static inline Average average_of(double sigma)
{
    const double variance = sigma * sigma / 3.0, whole = floor((sqrt(12.0 * variance + 1.0) - 1.0) / 2.0);
    if (!(whole < 1e9)) /* wider than any picture: what is cut off is nothing */
        return (Average){1000000000, 1.0 / 2000000001.0, 0.0};
    const double next = (whole + 1.0) * (whole + 1.0);
    const double share = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance) / (6.0 * (variance - next));
    const double inside = 1.0 / (2.0 * (whole + share) + 1.0);
    return (Average){(int64_t)whole, inside, share * inside};
}

/* How far three of them reach. */
static inline int64_t reach_of(Average average)
{
    return 3 * (average.whole + 1);
}

static inline int64_t between(int64_t least, int64_t number, int64_t most)
{
    return number < least ? least : number > most ? most : number;
}

/* One row of filters, times the matrix of the moving average of an axis of n >= 2 places whose ends repeat for ever.
   `sums` has room for n + 1: sums of all places before. */
static inline void averaged(double *row, double *sums, int64_t n, Average average)
{
    const int64_t whole = average.whole, last = n - 1;
    double first_place = 0.0, last_place = 0.0;
    sums[0] = 0.0;
    for (int64_t j = 0; j < n; j++) {
        sums[j + 1] = sums[j] + row[j];
        first_place += row[j] * ((double)between(0, whole - j + 1, whole + 1) * average.inside
                                 + (j <= whole + 1 ? average.outside : 0.0));
        last_place += row[j] * ((double)between(0, whole - (last - j) + 1, whole + 1) * average.inside
                                + (last - j <= whole + 1 ? average.outside : 0.0));
    }
    row[0] = first_place, row[last] = last_place;
    for (int64_t k = 1; k < last; k++) {
        const int64_t before = k - whole - 1, after = k + whole + 1;
        double sum = average.inside * (sums[between(0, after, n)] - sums[between(0, k - whole, n)]);
        sum += before >= 0 ? average.outside * (sums[before + 1] - sums[before]) : 0.0;
        sum += after <= last ? average.outside * (sums[after + 1] - sums[after]) : 0.0;
        row[k] = sum;
    }
}

/* Three moving averages in a row along an axis of n places whose ends repeat for ever, as one filter a place.
   `scratch` has room for 2 n + 1. */
static inline void blurring(Taps *taps, Average average, int64_t n, double *scratch)
{
    const int64_t reach = reach_of(average), count = between(1, 2 * reach + 1, n);
    const int64_t axis = between(1, 2 * reach + 2, n); /* no filter near one end sees more of it */
    taps->count = count;
    for (int64_t i = 0; 2 * i < n; i++) { /* the other half is its mirror image */
        float *weights = taps->weights + i * count, *mirrored = taps->weights + (n - 1 - i) * count;
        taps->first[i] = between(0, i - reach, n - count);
        taps->first[n - 1 - i] = n - count - taps->first[i];
        if (i > reach) {
            memcpy(weights, weights - count, (size_t)count * sizeof *weights);
        } else if (n == 1) {
            weights[0] = 1.0f;
        } else {
            double *row = scratch, *sums = scratch + axis;
            memset(row, 0, (size_t)axis * sizeof *row);
            row[i] = 1.0;
            for (int pass = 0; pass < 3; pass++)
                averaged(row, sums, axis, average);
            for (int64_t t = 0; t < count; t++)
                weights[t] = (float)row[taps->first[i] + t];
        }
        for (int64_t t = 0; t < count; t++)
            mirrored[count - 1 - t] = weights[t];
    }
}

#endif
