/* Rows of numbers as they lie in memory, read into items that can be sorted: what every operator on sets begins with. */
#ifndef UNSHUFFLE_ROWS_H
#define UNSHUFFLE_ROWS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* A status that the caller turns into an exception. */
enum { DONE = 0, OUT_OF_MEMORY = 1 };

/* A batch of sets. Strides count elements, may be zero, and leave the mask out, which is dense. */
typedef struct {
    const void *values;
    const uint8_t *mask; /* one byte a slot, or NULL: all are present */
    int64_t rows, n, row_stride, item_stride;
    int32_t wide; /* 1: double, 0: float */
} Rows;

/* One present number: a key that sorts as unsigned integers do, and the slot it came from. */
typedef struct {
    uint64_t key;
    uint32_t slot;
} Item;

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

/* Larger numbers have smaller keys, so that ascending keys are descending numbers. A float has a key of 32 bits. */
static inline uint64_t key_of(double number, int32_t wide)
{
    number += 0.0; /* -0 becomes 0, so that the two tie */
    if (wide) {
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        return bits >> 63 ? bits : ~bits & INT64_MAX;
    }
    float narrow = (float)number;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    return bits >> 31 ? bits : ~bits & INT32_MAX;
}

/* The number behind a key. */
static inline double number_of(uint64_t key, int32_t wide)
{
    if (wide) {
        uint64_t bits = key >> 63 ? key : ~key & INT64_MAX;
        double number;
        memcpy(&number, &bits, sizeof number);
        return number;
    }
    uint32_t bits = (uint32_t)key >> 31 ? (uint32_t)key : ~(uint32_t)key & INT32_MAX;
    float narrow;
    memcpy(&narrow, &bits, sizeof narrow);
    return (double)narrow;
}

/* Reads a row's present numbers times `sign`; returns how many, or -1 if one of them is not a number. */
static inline int64_t read_row(const Rows *rows, int64_t row, double sign, Item *items)
{
    const uint8_t *mask = rows->mask ? rows->mask + row * rows->n : NULL;
    int64_t base = row * rows->row_stride, count = 0;
    for (int64_t slot = 0; slot < rows->n; slot++) {
        if (mask && !mask[slot])
            continue;
        double number = sign * read_number(rows->values, base + slot * rows->item_stride, rows->wide);
        if (isnan(number))
            return -1;
        items[count].key = key_of(number, rows->wide);
        items[count++].slot = (uint32_t)slot;
    }
    return count;
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
