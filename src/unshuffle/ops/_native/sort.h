/* A row's present numbers in descending order, equal ones by slot: insertion for few, radix for many.
 *
 * A number becomes an unsigned key that sorts as it does. A float's key and its slot share one word of 64 bits; a double
 * has a key of its own.
 */
#ifndef UNSHUFFLE_SORT_H
#define UNSHUFFLE_SORT_H

#include <stdlib.h>

#include "rows.h"

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

typedef uint64_t Narrow; /* the key above, the slot below */

typedef struct {
    uint64_t key;
    uint32_t slot;
} Wide;

/* A sorted row, and the room in which it was sorted. */
typedef struct {
    double *number;
    uint32_t *slot;
    void *items, *spare; /* 32 bytes an item from `items` on, free again once the row is sorted */
} Sorted;

static inline int make_sorted(Sorted *sorted, int64_t n, int32_t wide)
{
    size_t items = (size_t)n * (wide ? sizeof(Wide) : sizeof(Narrow)), numbers = (size_t)n * sizeof(double);
    size_t room = (size_t)n * 2 * sizeof(Wide);
    char *memory = malloc(room + numbers + (size_t)n * sizeof(uint32_t) + 1);
    sorted->items = memory;
    if (!memory)
        return OUT_OF_MEMORY;
    sorted->spare = memory + items;
    sorted->number = (double *)(memory + room);
    sorted->slot = (uint32_t *)(memory + room + numbers);
    return DONE;
}

static inline void free_sorted(Sorted *sorted)
{
    free(sorted->items);
}

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, FEW = 40 };

/* Defines NAME(items, spare, count), which sorts ascending by KEY(item) and returns whichever of the two holds the
 * answer; equal keys stay in order. LOW is the key's first bit, PASSES its number of digits. */
#define DEFINE_SORT(NAME, TYPE, KEY, LOW, PASSES)                                                                      \
    static inline TYPE *NAME(TYPE *items, TYPE *spare, int64_t count)                                                  \
    {                                                                                                                  \
        if (count <= FEW) {                                                                                            \
            for (int64_t i = 1, hole; i < count; i++) {                                                                \
                TYPE item = items[i];                                                                                  \
                for (hole = i; hole > 0 && KEY(items[hole - 1]) > KEY(item); hole--)                                   \
                    items[hole] = items[hole - 1];                                                                     \
                items[hole] = item;                                                                                    \
            }                                                                                                          \
            return items;                                                                                              \
        }                                                                                                              \
        int64_t starts[PASSES][DIGITS];                                                                                \
        memset(starts, 0, sizeof starts);                                                                              \
        for (int64_t i = 0; i < count; i++)                                                                            \
            for (int pass = 0; pass < (PASSES); pass++)                                                                \
                starts[pass][KEY(items[i]) >> ((LOW) + pass * DIGIT_BITS) & (DIGITS - 1)]++;                           \
        for (int pass = 0; pass < (PASSES); pass++) {                                                                  \
            int shift = (LOW) + pass * DIGIT_BITS;                                                                     \
            if (starts[pass][KEY(items[0]) >> shift & (DIGITS - 1)] == count)                                          \
                continue; /* all share this digit */                                                                   \
            int64_t start = 0;                                                                                         \
            for (int digit = 0; digit < DIGITS; digit++) {                                                             \
                int64_t size = starts[pass][digit];                                                                    \
                starts[pass][digit] = start;                                                                           \
                start += size;                                                                                         \
            }                                                                                                          \
            for (int64_t i = 0; i < count; i++)                                                                        \
                spare[starts[pass][KEY(items[i]) >> shift & (DIGITS - 1)]++] = items[i];                               \
            TYPE *swap = items;                                                                                        \
            items = spare;                                                                                             \
            spare = swap;                                                                                              \
        }                                                                                                              \
        return items;                                                                                                  \
    }

#define NARROW_KEY(item) (item)
#define WIDE_KEY(item) ((item).key)
DEFINE_SORT(sort_narrow, Narrow, NARROW_KEY, 32, 4)
DEFINE_SORT(sort_wide, Wide, WIDE_KEY, 0, 8)

/* Sorts a row's present numbers times `sign`; returns how many there are, or -1 if one of them is not a number. */
static inline int64_t sort_row(const Rows *rows, int64_t row, double sign, Sorted *sorted)
{
    const uint8_t *mask = rows->mask ? rows->mask + row * rows->n : NULL;
    int64_t base = row * rows->row_stride, count = 0;
    Narrow *narrow = sorted->items;
    Wide *wide = sorted->items;
    for (int64_t slot = 0; slot < rows->n; slot++) {
        if (mask && !mask[slot])
            continue;
        double number = sign * read_number(rows->values, base + slot * rows->item_stride, rows->wide);
        if (isnan(number))
            return -1;
        uint64_t key = key_of(number, rows->wide);
        if (rows->wide)
            wide[count++] = (Wide){key, (uint32_t)slot};
        else
            narrow[count++] = key << 32 | (uint32_t)slot;
    }
    if (rows->wide)
        wide = sort_wide(wide, sorted->spare, count);
    else
        narrow = sort_narrow(narrow, sorted->spare, count);
    for (int64_t i = 0; i < count; i++) {
        sorted->number[i] = number_of(rows->wide ? wide[i].key : narrow[i] >> 32, rows->wide);
        sorted->slot[i] = rows->wide ? wide[i].slot : (uint32_t)narrow[i];
    }
    return count;
}

/* Where the finite numbers of a sorted row begin and end. */
static inline void find_finite(const Sorted *sorted, int64_t count, int64_t *begin, int64_t *end)
{
    for (*begin = 0; *begin < count && sorted->number[*begin] == INFINITY;)
        ++*begin;
    for (*end = count; *end > *begin && sorted->number[*end - 1] == -INFINITY;)
        --*end;
}

#endif
