/* Rows of numbers as they lie in memory: what every operator on sets reads and writes. */
#ifndef UNSHUFFLE_ROWS_H
#define UNSHUFFLE_ROWS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "door.h"

/* A batch of sets. Strides count elements, may be zero, and leave the mask out, which is dense. */
typedef struct {
    const void *values;
    const uint8_t *mask; /* one byte a slot, or NULL: all are present */
    int64_t rows, n, row_stride, item_stride;
    int32_t wide; /* 1: double, 0: float */
} Rows;

static inline double read_number(const void *data, int64_t index, int32_t wide)
{
    return wide ? ((const double *)data)[index] : (double)((const float *)data)[index];
}

static inline void write_number(void *data, int64_t index, int32_t wide, double number)
{
    if (wide)
        ((double *)data)[index] = number;
    else
        ((float *)data)[index] = (float)number;
}

/* Fills one dense row of an answer. */
static inline void fill_row(void *out, int64_t row, int64_t n, int32_t wide, double number)
{
    if (number == 0.0) {
        size_t width = wide ? sizeof(double) : sizeof(float);
        memset((char *)out + (size_t)(row * n) * width, 0, (size_t)n * width);
        return;
    }
    for (int64_t slot = 0; slot < n; slot++)
        write_number(out, row * n + slot, wide, number);
}

/* Fills one dense row of an answer with NaN, and its masked slots with 0. */
static inline void spoil_row(const Rows *rows, int64_t row, void *out)
{
    const uint8_t *mask = rows->mask ? rows->mask + row * rows->n : NULL;
    for (int64_t slot = 0; slot < rows->n; slot++)
        write_number(out, row * rows->n + slot, rows->wide, mask && !mask[slot] ? 0.0 : NAN);
}

#endif
