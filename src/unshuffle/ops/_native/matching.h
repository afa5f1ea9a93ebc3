/* The cheapest matching of all rows of a dense matrix of costs to different columns (Jonker & Volgenant 1987).
 *
 * Columns have prices v; a row wants the column where cost less price is least. Three stages hold one invariant, that
 * every placed row has such a column, and that columns nobody ever had are priced at the top: then a matching of all
 * rows is a cheapest one. Prices only fall. The first two stages place most rows at little cost; the last places any.
 */
#ifndef UNSHUFFLE_MATCHING_H
#define UNSHUFFLE_MATCHING_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "lanes.h"
#include "rows.h"

enum { NOBODY = -1 };

#define TAKEN ((int64_t)1 << 32) /* added to columns that come after all others */
#define FAR INT64_MAX
enum { FEW = 12 };         /* columns that are searched one by one */
enum { BIDS_PER_ROW = 1 }; /* of each row, on average: where costs tie, or nearly so, bidding could go on for long */

typedef struct {
    int64_t rows, columns, width; /* rows <= columns <= width, a multiple of the lanes */
    double *cost;                 /* rows x width: finite, beyond the columns infinite */
    double *price;                /* of each column */
    double *open;                 /* prices of the columns that a search has not closed; minus infinity for the others */
    double *distance;             /* from the row that a search began with; infinite for columns that are closed */
    double *closed_at;            /* the distance at which each column was closed, in the order of `closed` */
    int32_t *closed, *from;       /* from: the row whose column comes before this one on the shortest path */
    int32_t *owner, *place;       /* the row of each column, the column of each row, or NOBODY */
    int32_t *waiting;             /* rows without a column */
    int32_t *left;                /* the columns that a search has not closed, where they are listed */
    void *memory;
} Matching;

/* What a row sees. */
typedef struct {
    double best, second; /* the least and the second least cost less price; infinite where there is none */
    int64_t column;      /* of the best; the first of those that tie */
} Choice;

/* Where a search goes next. */
typedef struct {
    double distance;
    int64_t column;
} Nearest;

static inline int64_t whole_lanes(int64_t count)
{
    return (count + LANE_WIDTH - 1) / LANE_WIDTH * LANE_WIDTH;
}

/* Room for any matrix of rows x columns and for its transpose. */
static int make_matching(Matching *m, int64_t rows, int64_t columns)
{
    int64_t most = rows > columns ? rows : columns, least = rows < columns ? rows : columns;
    size_t width = (size_t)whole_lanes(most);
    char *memory = malloc(((size_t)least + 4) * width * sizeof(double) + 6 * width * sizeof(int32_t));
    if (!memory)
        return OUT_OF_MEMORY;
    double *numbers = (double *)memory;
    m->memory = memory;
    m->price = numbers, m->open = numbers + width, m->distance = numbers + 2 * width;
    m->closed_at = numbers + 3 * width, m->cost = numbers + 4 * width;
    int32_t *slots = (int32_t *)(m->cost + (size_t)least * width);
    m->closed = slots, m->from = slots + width, m->owner = slots + 2 * width;
    m->place = slots + 3 * width, m->waiting = slots + 4 * width, m->left = slots + 5 * width;
    return DONE;
}

/* ------------------------------------------------------------------------------------- loops over a row of the matrix */

/* Lowers each column's price to this row's cost where that is less, and remembers the row. */
LANES static void lower_prices(const double *cost, int32_t row, double *price, int32_t *cheapest, int64_t width)
{
#pragma omp simd
    for (int64_t j = 0; j < whole_lanes(width); j++) {
        int lower = cost[j] < price[j];
        price[j] = lower ? cost[j] : price[j];
        cheapest[j] = lower ? row : cheapest[j];
    }
}

LANES static Choice choose(const double *cost, const double *price, int64_t width)
{
    double best = INFINITY, second = INFINITY;
EXTREMES(reduction(min : best))
    for (int64_t j = 0; j < whole_lanes(width); j++) {
        double net = cost[j] - price[j];
        best = net < best ? net : best;
    }
    int64_t column = FAR, ties = 0;
EXTREMES(reduction(min : second, column) reduction(+ : ties))
    for (int64_t j = 0; j < whole_lanes(width); j++) {
        double net = cost[j] - price[j], other = net == best ? INFINITY : net;
        int64_t here = net == best ? j : FAR;
        second = other < second ? other : second;
        column = here < column ? here : column;
        ties += net == best;
    }
    return (Choice){best, ties > 1 ? best : second, column};
}

/* Shortens the distances of open columns by paths through this row. The nearest column is one that nobody has, if there
 * is such a one among those that tie. */
LANES static Nearest shorten(const double *cost, const double *open, double so_far, int32_t row, double *distance,
                             int32_t *from, const int32_t *owner, int64_t width)
{
    double least = INFINITY;
EXTREMES(reduction(min : least))
    for (int64_t j = 0; j < whole_lanes(width); j++) {
        double through = (cost[j] - open[j]) + so_far;
        int shorter = through < distance[j];
        double nearer = shorter ? through : distance[j];
        distance[j] = nearer;
        from[j] = shorter ? row : from[j];
        least = nearer < least ? nearer : least;
    }
    int64_t column = FAR;
#pragma omp simd reduction(min : column)
    for (int64_t j = 0; j < whole_lanes(width); j++) {
        int64_t here = owner[j] == NOBODY ? j : j + TAKEN;
        here = distance[j] == least ? here : FAR;
        column = here < column ? here : column;
    }
    return (Nearest){least, column % TAKEN};
}

/* ------------------------------------------------------------------------------------------------------ three stages */

static inline void settle(Matching *m, int64_t row, int64_t column)
{
    m->owner[column] = (int32_t)row;
    m->place[row] = (int32_t)column;
}

/* Square matrices: every column goes to its cheapest row, if that has none yet. */
static void reduce_columns(Matching *m)
{
    int32_t *cheapest = m->from, *wins = m->closed;
    for (int64_t j = 0; j < m->width; j++)
        m->price[j] = INFINITY, cheapest[j] = 0;
    for (int64_t i = 0; i < m->rows; i++) {
        lower_prices(m->cost + i * m->width, (int32_t)i, m->price, cheapest, m->width);
        wins[i] = 0;
    }
    for (int64_t j = m->columns; j < m->width; j++)
        m->price[j] = 0.0;
    for (int64_t j = 0; j < m->columns; j++)
        if (wins[cheapest[j]]++ == 0)
            settle(m, cheapest[j], j);
    /* A row that is the cheapest of one column alone may let its price fall until the row is indifferent. */
    for (int64_t i = 0; i < m->rows; i++)
        if (wins[i] == 1) {
            Choice choice = choose(m->cost + i * m->width, m->price, m->width);
            if (choice.second < INFINITY)
                m->price[m->place[i]] -= choice.second - choice.best;
        }
}

/* Waiting rows take the column they want, at a price at which the next best is as good; who had it waits instead. */
static int64_t bid(Matching *m, int64_t count)
{
    int64_t bids = BIDS_PER_ROW * m->rows, left = 0;
    for (int64_t k = 0; k < count;) {
        int64_t row = m->waiting[k++];
        if (bids-- <= 0) {
            m->waiting[left++] = (int32_t)row;
            continue;
        }
        Choice choice = choose(m->cost + row * m->width, m->price, m->width);
        int64_t loser = m->owner[choice.column];
        int lowered = choice.best < choice.second && choice.second < INFINITY;
        if (loser != NOBODY && !lowered) { /* a tie: the search decides */
            m->waiting[left++] = (int32_t)row;
            continue;
        }
        if (lowered)
            m->price[choice.column] -= choice.second - choice.best;
        settle(m, row, choice.column);
        if (loser != NOBODY) {
            m->place[loser] = NOBODY;
            m->waiting[--k] = (int32_t)loser;
        }
    }
    return left;
}

/* Goes on to the row of the nearest column, which is closed: the distance at which paths through that row begin. */
static inline double close_column(Matching *m, Nearest nearest, int64_t closed)
{
    m->closed[closed] = (int32_t)nearest.column;
    m->closed_at[closed] = nearest.distance;
    double net = m->cost[m->owner[nearest.column] * m->width + nearest.column] - m->price[nearest.column];
    return nearest.distance - net;
}

/* Dijkstra, on costs less prices, from a row to a column that nobody has; counts the columns closed on the way. */
static Nearest find_path(Matching *m, int64_t row, int64_t *closed)
{
    double so_far = 0.0;
    for (int64_t at = row;; (*closed)++) {
        Nearest nearest = shorten(m->cost + at * m->width, m->open, so_far, (int32_t)at, m->distance, m->from, m->owner,
                                  m->width);
        at = m->owner[nearest.column];
        if (at == NOBODY)
            return nearest;
        so_far = close_column(m, nearest, *closed);
        m->distance[nearest.column] = INFINITY;
        m->open[nearest.column] = -INFINITY;
    }
}

/* The same for few columns: a list of the open ones is shorter than the way through the lanes. */
static Nearest find_short_path(Matching *m, int64_t row, int64_t *closed)
{
    double so_far = 0.0;
    int64_t count = m->columns;
    for (int64_t j = 0; j < count; j++)
        m->left[j] = (int32_t)j;
    for (int64_t at = row;; (*closed)++) {
        const double *cost = m->cost + at * m->width;
        Nearest nearest = {INFINITY, 0};
        int64_t where = 0;
        for (int64_t k = 0; k < count; k++) {
            int64_t j = m->left[k];
            double through = (cost[j] - m->price[j]) + so_far, distance = m->distance[j];
            m->from[j] = through < distance ? (int32_t)at : m->from[j];
            distance = through < distance ? through : distance;
            m->distance[j] = distance;
            if (distance < nearest.distance || (distance == nearest.distance && m->owner[j] == NOBODY))
                nearest = (Nearest){distance, j}, where = k;
        }
        at = m->owner[nearest.column];
        if (at == NOBODY)
            return nearest;
        so_far = close_column(m, nearest, *closed);
        m->left[where] = m->left[--count];
    }
}

/* Places one row more along the shortest path from it, and keeps the invariant. */
static void search(Matching *m, int64_t row)
{
    int64_t closed = 0;
    for (int64_t j = 0; j < m->width; j++)
        m->distance[j] = INFINITY;
    Nearest end = m->columns <= FEW ? find_short_path(m, row, &closed) : find_path(m, row, &closed);
    for (int64_t k = 0; k < closed; k++) {
        int64_t j = m->closed[k];
        m->price[j] += m->closed_at[k] - end.distance;
        m->open[j] = m->price[j];
    }
    for (int64_t column = end.column, next; column != NOBODY; column = next) {
        int64_t at = m->from[column];
        next = at == row ? NOBODY : m->place[at];
        settle(m, at, column);
    }
}

static int64_t list_waiting(Matching *m)
{
    int64_t count = 0;
    for (int64_t i = 0; i < m->rows; i++)
        if (m->place[i] == NOBODY)
            m->waiting[count++] = (int32_t)i;
    return count;
}

/* Fills `place` from the costs. */
static void match(Matching *m)
{
    for (int64_t j = 0; j < m->width; j++) {
        m->price[j] = 0.0;
        m->owner[j] = m->place[j] = NOBODY;
    }
    if (m->rows == m->columns)
        reduce_columns(m);
    int64_t count = list_waiting(m);
    count = bid(m, count);
    for (int64_t j = 0; j < m->width; j++)
        m->open[j] = m->price[j];
    for (int64_t k = 0; k < count; k++)
        search(m, m->waiting[k]);
}

#endif
