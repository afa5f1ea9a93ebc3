/* Where the items of a set stand whose infinite ones are set apart: at minus infinity, finite, at infinity. */
#ifndef UNSHUFFLE_PLACES_H
#define UNSHUFFLE_PLACES_H

#include "rows.h"

/* Both lists begin with those at minus infinity, and end with those at infinity. */
typedef struct {
    int64_t row, below, finite, above; /* finite -1: the set holds NaN */
    double centre;                     /* the finite value nearest to 0: none is rounded by a common offset */
    uint32_t *item, *place;            /* slots of the items, and of the positions */
} Set;

static inline int is_present(const Rows *rows, int64_t row, int64_t slot)
{
    return !rows->mask || rows->mask[row * rows->n + slot];
}

static inline double value_at(const Rows *rows, int64_t row, int64_t slot)
{
    return read_number(rows->values, row * rows->row_stride + slot * rows->item_stride, rows->wide);
}

/* How many finite present numbers a set has; -1 if one is NaN. */
static inline int64_t count_finite(const Rows *rows, int64_t row)
{
    int64_t finite = 0;
    for (int64_t slot = 0; slot < rows->n; slot++) {
        if (!is_present(rows, row, slot))
            continue;
        double value = value_at(rows, row, slot);
        if (isnan(value))
            return -1;
        finite += !isinf(value);
    }
    return finite;
}

/* Finds where items and positions are. In a set with NaN all present slots count as `above`. */
static inline void locate(const Rows *rows, int64_t row, int64_t finite, Set *set)
{
    int64_t present = 0, ends[3] = {0, 0, 0};
    for (int pass = 0; pass < 2; pass++) {
        int64_t next[3] = {0, ends[0], ends[0] + ends[1]};
        present = 0;
        for (int64_t slot = 0; slot < rows->n; slot++) {
            if (!is_present(rows, row, slot))
                continue;
            double value = value_at(rows, row, slot);
            int part = finite < 0 ? 2 : value == -INFINITY ? 0 : value == INFINITY ? 2 : 1;
            if (pass == 0)
                ends[part]++;
            else
                set->item[next[part]++] = (uint32_t)slot;
            set->place[present++] = (uint32_t)slot;
        }
    }
    set->row = row, set->below = ends[0], set->finite = finite, set->above = ends[2];
}

#endif
