/* Matrices of scores: what is asked of them, their logits, and the sums that rows and columns are to have.
 *
 * Matrices are met in groups of `lanes`, cell by cell beside each other: 8 where they are small, so that their loops
 * run in the lanes of the machine, and else 1, where rows are long enough for that. */
#ifndef UNSHUFFLE_SINKHORN_H
#define UNSHUFFLE_SINKHORN_H

#include <float.h>
#include <stdlib.h>

#include "lanes.h"
#include "rows.h"

/* A finite score is never further below the largest of its row than this: far, but no masked pair. */
#define FARTHEST_LOGIT -1e300

typedef struct {
    Rows rows; /* a row of n * m cells for each matrix, dense */
    int64_t n, m, lanes, steps;
    double temperature, tolerance;
    double *past;      /* scalings after every step: steps x (n + m) x lanes for each group; or NULL */
    int32_t *taken;    /* how many steps a matrix took: negative if in logarithms, 0 if it holds NaN; or NULL */
    const void *slope; /* the derivative by the answer */
    void *out;
} Job;

/* A group of matrices, in lanes. */
typedef struct {
    double *cells;       /* n x m: logits, and then what becomes of them */
    double *row_mass;    /* n: 1, or 0 where the row is absent */
    double *column_mass; /* m: what columns are to sum to */
    double *free;        /* n: 0 where a row holds plus infinity, which does not move */
    int32_t nan[LANE_WIDTH];
} Group;

/* Copies matrix b of a dense array to every `stride`-th place. */
LANES static void read_matrix(const void *values, int32_t wide, int64_t b, int64_t count, double *cells, int64_t stride)
{
    if (wide)
        for (int64_t x = 0; x < count; x++)
            cells[x * stride] = ((const double *)values)[b * count + x];
    else
        for (int64_t x = 0; x < count; x++)
            cells[x * stride] = (double)((const float *)values)[b * count + x];
}

/* Copies every `stride`-th number to matrix b of a dense array. */
LANES static void write_matrix(const double *cells, int64_t stride, void *values, int32_t wide, int64_t b,
                               int64_t count)
{
    if (wide)
        for (int64_t x = 0; x < count; x++)
            ((double *)values)[b * count + x] = cells[x * stride];
    else
        for (int64_t x = 0; x < count; x++)
            ((float *)values)[b * count + x] = (float)cells[x * stride];
}

/* The largest cell of a row, in each lane; notes NaN. */
INLINED void find_top(const int64_t W, int64_t m, const double *restrict row, double *restrict top,
                      int32_t *restrict nan)
{
    for (int64_t l = 0; l < W; l++)
        top[l] = -INFINITY;
    if (W == 1) {
        double most = -INFINITY;
        int32_t strange = 0;
EXTREMES(reduction(max : most) reduction(| : strange))
        for (int64_t j = 0; j < m; j++) {
            most = row[j] > most ? row[j] : most;
            strange |= row[j] != row[j];
        }
        top[0] = most, nan[0] |= strange;
        return;
    }
    for (int64_t j = 0; j < m; j++)
        for (int64_t l = 0; l < W; l++) {
            double x = row[j * W + l];
            top[l] = x > top[l] ? x : top[l];
            nan[l] |= x != x;
        }
}

/* Scores to logits, 0 at the top of each row; columns with a pair at all get the mass 1. */
INLINED void find_logits(const int64_t W, int64_t n, int64_t m, double temperature, Group *group)
{
    double top[LANE_WIDTH], *restrict mass = group->column_mass;
    int32_t nan[LANE_WIDTH] = {0};
    for (int64_t x = 0; x < m * W; x++)
        mass[x] = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double *restrict row = group->cells + i * m * W;
        find_top(W, m, row, top, nan);
        for (int64_t l = 0; l < W; l++) {
            group->row_mass[i * W + l] = top[l] > -INFINITY ? 1.0 : 0.0;
            group->free[i * W + l] = top[l] < INFINITY ? 1.0 : 0.0;
        }
        for (int64_t j = 0; j < m; j++)
            for (int64_t l = 0; l < W; l++) {
                /* The difference of two equal infinities is no number, which no maximum takes. */
                double x = row[j * W + l], z = (x - top[l]) / temperature;
                double least = ((x > -INFINITY) & (top[l] < INFINITY)) ? FARTHEST_LOGIT : -INFINITY;
                z = z > least ? z : least;
                z = (x == INFINITY) ? 0.0 : z;
                row[j * W + l] = z;
                mass[j * W + l] = z > -INFINITY ? 1.0 : mass[j * W + l];
            }
    }
    memcpy(group->nan, nan, sizeof nan);
}

/* Reads `W` matrices from the `first` on (the last of all again where there are no more): logits and masses. */
INLINED void read_group(const int64_t W, const Job *job, int64_t first, Group *group)
{
    const int64_t n = job->n, m = job->m, count = n * m;
    for (int64_t l = 0; l < W; l++) {
        const int64_t b = first + l < job->rows.rows ? first + l : job->rows.rows - 1;
        const uint8_t *mask = job->rows.mask ? job->rows.mask + b * count : NULL;
        read_matrix(job->rows.values, job->rows.wide, b, count, group->cells + l, W);
        for (int64_t x = 0; x < count && mask; x++)
            group->cells[x * W + l] = mask[x] ? group->cells[x * W + l] : -INFINITY;
    }
    find_logits(W, n, m, job->temperature, group);
    double present[LANE_WIDTH] = {0.0}, columns[LANE_WIDTH] = {0.0};
    for (int64_t i = 0; i < n; i++)
        for (int64_t l = 0; l < W; l++)
            present[l] += group->row_mass[i * W + l];
    for (int64_t j = 0; j < m; j++)
        for (int64_t l = 0; l < W; l++)
            columns[l] += group->column_mass[j * W + l];
    for (int64_t l = 0; l < W; l++)
        present[l] = columns[l] > 0.0 ? present[l] / columns[l] : 0.0;
    for (int64_t j = 0; j < m; j++)
        for (int64_t l = 0; l < W; l++)
            group->column_mass[j * W + l] *= present[l];
}

/* From the derivative by the logits to that by the scores; within the numbers of the dtype, as they all are. */
INLINED void scale_slopes(const int64_t W, const Job *job, const Group *group, double *restrict slopes)
{
    const double limit = job->rows.wide ? DBL_MAX : (double)FLT_MAX, temperature = job->temperature;
    const int64_t n = job->n, m = job->m;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            for (int64_t l = 0; l < W; l++) {
                double slope = slopes[(i * m + j) * W + l] / temperature;
                slope = slope > limit ? limit : slope < -limit ? -limit : slope;
                slopes[(i * m + j) * W + l] = group->free[i * W + l] > 0.0 ? slope : 0.0;
            }
}

#endif
