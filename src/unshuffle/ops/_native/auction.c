/* Labels with exact sizes, by auction: samples bid for a place in the class that is worth most to them beyond its price;
   a class keeps its highest bids, and the lowest of these is its price. Whoever is outbid bids again. */
#include <stdlib.h>

#include "lanes.h"
#include "parallel.h"
#include "rows.h"

typedef struct {
    const void *values; /* float or double, dense rows */
    int64_t rows, classes, row_stride;
    int32_t wide;
    double power, epsilon;
    const int64_t *starts; /* classes + 1: where the places of each class begin in the lists below */
    int64_t *counts;       /* how many of them are taken */
    double *prices;        /* infinite for a class without places */
    double *bids;          /* of those who hold the places of a class; the lowest first, as a heap */
    int64_t *holders;
    int64_t *labels; /* of all samples, -1: waiting */
    double *reach;   /* the longest way down from the largest worth in a row that was bid for so far */
    double highest;  /* of the first prices */
} Market;

typedef struct {
    int64_t best;
    double price, bid; /* what the best class costs, and what is offered */
} Bid;

/* The worth of each class beyond its price; the largest of them, and the smallest worth that is none of infinity. */
LANES static double look_around(const Market *m, int64_t row, double *worth, double *least)
{
    const double *prices = m->prices, power = m->power;
    const float *floats = (const float *)m->values + row * m->row_stride;
    const double *doubles = (const double *)m->values + row * m->row_stride;
    double top = -INFINITY, low = 0.0, most = -INFINITY;
    if (m->wide)
        memcpy(worth, doubles, (size_t)m->classes * sizeof *worth);
    else
        for (int64_t k = 0; k < m->classes; k++)
            worth[k] = (double)floats[k];
EXTREMES(reduction(max : top))
    for (int64_t k = 0; k < m->classes; k++)
        top = worth[k] > top ? worth[k] : top;
EXTREMES(reduction(min : low) reduction(max : most))
    for (int64_t k = 0; k < m->classes; k++) {
        double down = (worth[k] - top) * power, beyond = down - prices[k];
        double finite = down > -INFINITY ? down : 0.0;
        low = finite < low ? finite : low;
        most = beyond > most ? beyond : most;
        worth[k] = beyond;
    }
    *least = low;
    return most;
}

LANES static double largest_of(const double *worth, int64_t count)
{
    double most = -INFINITY;
EXTREMES(reduction(max : most))
    for (int64_t k = 0; k < count; k++)
        most = worth[k] > most ? worth[k] : most;
    return most;
}

/* What one sample offers; 0 if no place is left that it could have. */
static int make_bid(const Market *m, int64_t row, double *worth, Bid *bid)
{
    double least, most = look_around(m, row, worth, &least);
    if (-least > *m->reach)
        *m->reach = -least;
    if (!(most > -INFINITY))
        return 0;
    for (bid->best = 0; worth[bid->best] != most;)
        bid->best++;
    bid->price = m->prices[bid->best];
    worth[bid->best] = -INFINITY;
    bid->bid = bid->price + (most - largest_of(worth, m->classes)) + m->epsilon;
    /* On the way to a free place prices fall by no more than this at each class: beyond it there is no such way. */
    return bid->price <= m->highest + (double)(m->classes + 1) * (*m->reach + m->epsilon);
}

static void sink(double *bids, int64_t *holders, int64_t count)
{
    const double bid = bids[0];
    const int64_t holder = holders[0];
    int64_t place = 0, child;
    while ((child = 2 * place + 1) < count) {
        if (child + 1 < count && bids[child + 1] < bids[child])
            child++;
        if (bid <= bids[child])
            break;
        bids[place] = bids[child], holders[place] = holders[child];
        place = child;
    }
    bids[place] = bid, holders[place] = holder;
}

static void rise(double *bids, int64_t *holders, int64_t place)
{
    const double bid = bids[place];
    const int64_t holder = holders[place];
    while (place > 0 && bid < bids[(place - 1) / 2]) {
        bids[place] = bids[(place - 1) / 2], holders[place] = holders[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    bids[place] = bid, holders[place] = holder;
}

/* Gives a sample its place; returns the one that had it, or -1. */
static int64_t take_place(Market *m, const Bid *bid, int64_t sample)
{
    const int64_t k = bid->best, places = m->starts[k + 1] - m->starts[k];
    double *bids = m->bids + m->starts[k];
    int64_t *holders = m->holders + m->starts[k], outbid = -1;
    m->labels[sample] = k;
    if (m->counts[k] < places) {
        const int64_t place = m->counts[k]++;
        bids[place] = bid->bid, holders[place] = sample;
        rise(bids, holders, place);
    } else {
        outbid = holders[0];
        bids[0] = bid->bid, holders[0] = sample;
        sink(bids, holders, places);
        m->labels[outbid] = -1;
    }
    if (m->counts[k] == places)
        m->prices[k] = bids[0];
    return outbid;
}

/* Lets the waiting rows bid, and those of the same rows that they outbid, until none waits here. `samples` says which
   sample each row is; without it, row 0 is sample `first`. `stuck` is the first row that finds no place, or -1. */
EXPORT int unshuffle_auction(const void *values, int64_t rows, int64_t classes, int64_t row_stride, int32_t wide,
                             double power, double epsilon, const int64_t *starts, int64_t *counts, double *prices,
                             double *bids, int64_t *holders, int64_t *labels, double *reach, double highest,
                             const int64_t *samples, int64_t first, int64_t *waiting, int64_t number, int64_t *stuck,
                             int64_t threads)
{
    (void)threads; /* one bid depends on the other */
    Market market = {values, rows,   classes, row_stride, wide,   power, epsilon, starts,
                     counts, prices, bids,    holders,    labels, reach, highest};
    double *worth = malloc((size_t)classes * sizeof *worth);
    if (!worth)
        return OUT_OF_MEMORY;
    *stuck = -1;
    while (number > 0) {
        const int64_t row = waiting[number - 1];
        Bid bid;
        if (!make_bid(&market, row, worth, &bid)) {
            *stuck = row;
            break;
        }
        number--;
        const int64_t outbid = take_place(&market, &bid, samples ? samples[row] : first + row);
        if (outbid >= first && outbid < first + rows && !samples)
            waiting[number++] = outbid - first;
    }
    free(worth);
    return DONE;
}
