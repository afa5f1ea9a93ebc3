/* Sums of neighbouring rows, and rows turned into columns: what all filters along an axis are made of. */
#ifndef UNSHUFFLE_SUMS_H
#define UNSHUFFLE_SUMS_H

#include "taps.h"

enum { STRIP = 32, TILE = 16 }; /* rows that are scaled at a time; side of what is turned at a time */

INLINED float within(float level)
{
    level = level > 0.0f ? level : 0.0f;
    return level < 255.0f ? level : 255.0f;
}

/* Up to four rows, weighted, and what `out` has so far if this is not the first group; clipped if it is the last. */
INLINED void add_rows(float *restrict out, const float *const row[4], const float weight[4], int64_t width,
                      const int first, const int last)
{
    const float *restrict a = row[0], *restrict b = row[1], *restrict c = row[2], *restrict d = row[3];
    for (int64_t x = 0; x < width; x++) {
        float sum = (weight[0] * a[x] + weight[1] * b[x]) + (weight[2] * c[x] + weight[3] * d[x]);
        sum = first ? sum : sum + out[x];
        out[x] = last ? within(sum) : sum;
    }
}

/* One place of a filter: `count` rows from `in` on, weighted and clipped to levels. */
INLINED void sum_rows(float *restrict out, const float *in, int64_t stride, const float *weights, int64_t count,
                      int64_t width)
{
    for (int64_t t = 0; t < count; t += 4) {
        const int64_t rest = count - t;
        const float *rows[4];
        float weight[4];
        for (int64_t k = 0; k < 4; k++) {
            rows[k] = in + (k < rest ? t + k : t) * stride;
            weight[k] = k < rest ? weights[t + k] : 0.0f;
        }
        if (t == 0 && rest <= 4)
            add_rows(out, rows, weight, width, 1, 1);
        else if (t == 0)
            add_rows(out, rows, weight, width, 1, 0);
        else if (rest > 4)
            add_rows(out, rows, weight, width, 0, 0);
        else
            add_rows(out, rows, weight, width, 0, 1);
    }
}

/* Filters an axis of `size` output rows, each `width` long. */
INLINED void filter_rows(float *restrict out, const float *in, const Taps *taps, int64_t size, int64_t width)
{
    for (int64_t i = 0; i < size; i++)
        sum_rows(out + i * width, in + taps->first[i] * width, width, taps->weights + i * taps->count, taps->count,
                 width);
}

/* Rows as columns, of a square. */
INLINED void turn(float *restrict out, const float *restrict in, int64_t side)
{
    for (int64_t y = 0; y < side; y += TILE)
        for (int64_t x = 0; x < side; x += TILE)
            for (int64_t i = y; i < y + TILE && i < side; i++)
                for (int64_t k = x; k < x + TILE && k < side; k++)
                    out[i * side + k] = in[k * side + i];
}

#endif
