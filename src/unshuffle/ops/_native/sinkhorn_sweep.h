/* One sweep over a group of matrices, and the room for all that sweeps leave. */
#ifndef UNSHUFFLE_SINKHORN_SWEEP_H
#define UNSHUFFLE_SINKHORN_SWEEP_H

#include "sinkhorn.h"

/* Scalings within these leave every product of two of them and an exponential among the numbers; a share of an answer
 * that is lost to underflow is then below 1e-100. */
#define LEAST_SCALING 1e-100
#define MOST_SCALING 1e100

typedef struct {
    Group group;                             /* its cells: K */
    double *ones;                            /* the columns' scaling before the first step */
    double *sums;                            /* of columns */
    double *here;                            /* two steps' scalings, where none are kept */
    double *r, *c;                           /* n, m: those of the last step, each matrix's own */
    double *weighed;                         /* n x m: the answer times its slope */
    double *row_slope, *column_slope;        /* n, m: of the last step's potentials */
    double *seed, *slope;                    /* n, m: of the present step's */
    double *pulls, *pushes;                  /* steps x n, steps x m: the slopes' part in every step */
} Scratch;

static int make_scratch(const Job *job, int slopes, Scratch *scratch)
{
    const size_t n = (size_t)(job->n * job->lanes), m = (size_t)(job->m * job->lanes), cells = n * (size_t)job->m;
    const size_t more = slopes ? cells + 3 * (n + m) + (size_t)job->steps * (n + m) : 2 * (n + m);
    double *room = malloc((cells + 2 * n + 3 * m + more) * sizeof(double));
    if (!room)
        return OUT_OF_MEMORY;
    *scratch = (Scratch){.group = {.cells = room, .row_mass = room + cells, .free = room + cells + n}};
    room += cells + 2 * n;
    scratch->group.column_mass = room, room += m;
    scratch->sums = room, room += m;
    scratch->ones = room, room += m;
    for (size_t x = 0; x < m; x++)
        scratch->ones[x] = 1.0;
    scratch->here = room;
    if (!slopes)
        return DONE;
    scratch->weighed = room, room += cells;
    scratch->r = room, room += n;
    scratch->c = room, room += m;
    scratch->row_slope = room, room += n;
    scratch->column_slope = room, room += m;
    scratch->seed = room, room += n;
    scratch->slope = room, room += m;
    scratch->pulls = room, scratch->pushes = room + (size_t)job->steps * n;
    return DONE;
}

/* ---------------------------------------------------------------------------------------------------- sweeps */

/* What a row's product becomes: its scaling, or on the way back that times the slope of its logarithm. */
INLINED double weigh_row(const int back, double dot, double mass, double seed)
{
    return back ? mass * (seed - mass * dot) : mass / (dot + (1.0 - mass));
}

/* A row's product with the columns, in each lane. */
INLINED void multiply_row(const int64_t W, int64_t m, const double *restrict row, const double *restrict columns,
                          double *restrict dot)
{
    double sum = 0.0;
    if (W == 1) {
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < m; j++)
            sum += row[j] * columns[j];
    }
    for (int64_t l = 0; l < W; l++)
        dot[l] = sum;
    for (int64_t j = 0; j < m && W > 1; j++)
        for (int64_t l = 0; l < W; l++)
            dot[l] += row[j * W + l] * columns[j * W + l];
}

/* Four rows of one matrix: the columns and their sums are read once for all of them. */
INLINED void sweep_four(const int back, int64_t m, const double *restrict a, const double *restrict columns,
                        const double *restrict mass, const double *restrict seed, double *restrict rows,
                        double *restrict sums)
{
    const double *restrict b = a + m, *restrict c = b + m, *restrict d = c + m;
    double at_a = 0.0, at_b = 0.0, at_c = 0.0, at_d = 0.0;
#pragma omp simd reduction(+ : at_a, at_b, at_c, at_d)
    for (int64_t j = 0; j < m; j++) {
        at_a += a[j] * columns[j], at_b += b[j] * columns[j];
        at_c += c[j] * columns[j], at_d += d[j] * columns[j];
    }
    const double ra = rows[0] = weigh_row(back, at_a, mass[0], seed[0]);
    const double rb = rows[1] = weigh_row(back, at_b, mass[1], seed[1]);
    const double rc = rows[2] = weigh_row(back, at_c, mass[2], seed[2]);
    const double rd = rows[3] = weigh_row(back, at_d, mass[3], seed[3]);
    for (int64_t j = 0; j < m; j++)
        sums[j] += (ra * a[j] + rb * b[j]) + (rc * c[j] + rd * d[j]);
}

/* One sweep over K: rows times `columns`, weighed into `rows`, and the columns' sums of K times these. `mass` holds the
 * rows' masses, or on the way back their scalings. */
INLINED void sweep(const int64_t W, const int back, int64_t n, int64_t m, const double *restrict kernel,
                   const double *restrict columns, const double *restrict mass, const double *restrict seed,
                   double *restrict rows, double *restrict sums)
{
    memset(sums, 0, (size_t)(m * W) * sizeof(double));
    int64_t i = 0;
    for (; W == 1 && i + 4 <= n; i += 4)
        sweep_four(back, m, kernel + i * m, columns, mass + i, seed + i, rows + i, sums);
    for (; i < n; i++) {
        const double *restrict row = kernel + i * m * W;
        double at[LANE_WIDTH];
        multiply_row(W, m, row, columns, at);
        for (int64_t l = 0; l < W; l++)
            rows[i * W + l] = at[l] = weigh_row(back, at[l], mass[i * W + l], seed[i * W + l]);
        for (int64_t j = 0; j < m; j++)
            for (int64_t l = 0; l < W; l++)
                sums[j * W + l] += at[l] * row[j * W + l];
    }
}

INLINED void exponentiate(double *restrict numbers, int64_t count)
{
    for (int64_t x = 0; x < count; x++)
        numbers[x] = decay(numbers[x]);
}

#endif
