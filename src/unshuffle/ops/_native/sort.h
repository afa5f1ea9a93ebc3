/* A stable sort of items by key: insertion for few, least-significant-digit radix for many. */
#ifndef UNSHUFFLE_SORT_H
#define UNSHUFFLE_SORT_H

#include "rows.h"

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, MOST_PASSES = 64 / DIGIT_BITS, FEW = 40 };

static inline void insertion_sort(Item *items, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        Item item = items[i];
        int64_t hole = i;
        for (; hole > 0 && items[hole - 1].key > item.key; hole--)
            items[hole] = items[hole - 1];
        items[hole] = item;
    }
}

/* Moves items into order of one digit; `starts` says where each digit's items go. */
static inline void scatter_by_digit(const Item *from, Item *to, int64_t count, int shift, int64_t *starts)
{
    for (int64_t i = 0; i < count; i++)
        to[starts[from[i].key >> shift & (DIGITS - 1)]++] = from[i];
}

/* Sorts ascending by key; the answer lies in `items` or in `spare`, whichever is returned. */
static inline Item *sort_items(Item *items, Item *spare, int64_t count, int32_t wide)
{
    if (count <= FEW) {
        insertion_sort(items, count);
        return items;
    }
    int passes = (wide ? 64 : 32) / DIGIT_BITS;
    int64_t tally[MOST_PASSES][DIGITS];
    memset(tally, 0, sizeof tally[0] * (size_t)passes);
    for (int64_t i = 0; i < count; i++)
        for (int pass = 0; pass < passes; pass++)
            tally[pass][items[i].key >> (pass * DIGIT_BITS) & (DIGITS - 1)]++;
    for (int pass = 0; pass < passes; pass++) {
        int shift = pass * DIGIT_BITS;
        if (tally[pass][items[0].key >> shift & (DIGITS - 1)] == count)
            continue; /* all items share this digit */
        int64_t start = 0;
        for (int digit = 0; digit < DIGITS; digit++) {
            int64_t size = tally[pass][digit];
            tally[pass][digit] = start;
            start += size;
        }
        scatter_by_digit(items, spare, count, shift, tally[pass]);
        Item *swap = items;
        items = spare;
        spare = swap;
    }
    return items;
}

#endif
