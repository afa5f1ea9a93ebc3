/* Sinkhorn's iterations on logarithms, for a matrix whose scalings leave the range of numbers.
 *
 * A step is a softmax of the logits plus the potentials of the other side. The derivative takes both softmaxes anew,
 * from the kept potentials, so that rows and columns are exact there too, however large these are. */
#ifndef UNSHUFFLE_SINKHORN_LOG_H
#define UNSHUFFLE_SINKHORN_LOG_H

#include "sinkhorn.h"

typedef struct {
    Group group;                             /* one matrix: its logits */
    double *f, *g, *next;                    /* potentials of rows and columns, and the rows' new ones */
    double *top, *sum;                       /* of the columns */
    double *out, *row_slope, *column_slope;  /* n x m: the answer or its derivative; n, m */
} Logs;

static int make_logs(Logs *logs, int64_t n, int64_t m)
{
    size_t cells = (size_t)(n * m), side = (size_t)(n + m);
    double *room = malloc((2 * cells + 5 * side) * sizeof(double));
    if (!room)
        return OUT_OF_MEMORY;
    logs->group = (Group){.cells = room, .row_mass = room + cells};
    logs->out = logs->group.row_mass + n, logs->group.free = logs->out + cells;
    logs->group.column_mass = logs->group.free + n;
    logs->f = logs->group.column_mass + m, logs->g = logs->f + n;
    logs->next = logs->g + m;
    logs->top = logs->next + n, logs->sum = logs->top + m;
    logs->row_slope = logs->sum + m, logs->column_slope = logs->row_slope + n;
    return DONE;
}

LANES static void read_logits(const Job *job, int64_t b, Group *group)
{
    read_group(1, job, b, group);
}

/* One row plus potentials: its largest entry (0 where there is none), and the sum of exponentials below it. */
LANES static double sum_row(const double *restrict row, const double *restrict g, int64_t m, double *top)
{
    double most = -INFINITY, sum = 0.0;
EXTREMES(reduction(max : most))
    for (int64_t j = 0; j < m; j++)
        most = row[j] + g[j] > most ? row[j] + g[j] : most;
    *top = most = most > -INFINITY ? most : 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < m; j++)
        sum += decay(row[j] + g[j] - most);
    return sum;
}

/* The same for all columns at once. */
LANES static void sum_columns(const double *restrict logits, const double *restrict f, int64_t n, int64_t m,
                              double *restrict top, double *restrict sum)
{
    for (int64_t j = 0; j < m; j++)
        top[j] = -INFINITY, sum[j] = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double x = logits[i * m + j] + f[i];
            top[j] = x > top[j] ? x : top[j];
        }
    for (int64_t j = 0; j < m; j++)
        top[j] = top[j] > -INFINITY ? top[j] : 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            sum[j] += decay(logits[i * m + j] + f[i] - top[j]);
}

/* The potentials of one step, n of rows and m of columns, every `stride`-th number. */
static inline void move_potentials(double *restrict to, int64_t to_stride, const double *restrict from,
                                   int64_t from_stride, int64_t count)
{
    for (int64_t x = 0; x < count; x++)
        to[x * to_stride] = from[x * from_stride];
}

/* Rows that sum to 1 after the columns' last step, from their potentials before and after the rows' next. */
static inline int near_enough(const Logs *logs, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        if (logs->group.row_mass[i] > 0.0 && !(fabs(expm1(logs->f[i] - logs->next[i])) <= tolerance))
            return 0;
    return 1;
}

/* The answer, columns exact: a softmax of the logits plus the rows' potentials, in shares of the columns' masses. */
LANES static void find_shares(const Logs *logs, int64_t n, int64_t m)
{
    const double *restrict top = logs->top, *restrict sum = logs->sum, *restrict mass = logs->group.column_mass;
    for (int64_t i = 0; i < n; i++) {
        const double *restrict row = logs->group.cells + i * m, f = logs->f[i];
        double *restrict out = logs->out + i * m;
        for (int64_t j = 0; j < m; j++) {
            const double share = decay(row[j] + f - top[j]) * (mass[j] / sum[j]);
            out[j] = mass[j] > 0.0 ? share : 0.0;
        }
    }
}

/* Iterates on matrix b, whose potentials are kept at `past`, every `lanes`-th number, if that is not NULL. */
static int solve_in_logs(const Job *job, int64_t b, double *past)
{
    const int64_t n = job->n, m = job->m;
    Logs logs;
    if (make_logs(&logs, n, m) != DONE)
        return OUT_OF_MEMORY;
    read_logits(job, b, &logs.group);
    memset(logs.g, 0, (size_t)m * sizeof(double));
    int64_t step;
    for (step = 0; step < job->steps; step++) {
        for (int64_t i = 0; i < n; i++) {
            double top, sum = sum_row(logs.group.cells + i * m, logs.g, m, &top);
            logs.next[i] = logs.group.row_mass[i] > 0.0 ? -(top + log(sum)) : 0.0;
        }
        if (step > 0 && job->tolerance > 0.0 && near_enough(&logs, n, job->tolerance))
            break;
        memcpy(logs.f, logs.next, (size_t)n * sizeof(double));
        sum_columns(logs.group.cells, logs.f, n, m, logs.top, logs.sum);
        for (int64_t j = 0; j < m; j++) {
            const double mass = logs.group.column_mass[j];
            logs.g[j] = mass > 0.0 ? log(mass) - (logs.top[j] + log(logs.sum[j])) : 0.0;
        }
        if (past)
            move_potentials(past + step * (n + m) * job->lanes, job->lanes, logs.f, 1, n + m);
    }
    find_shares(&logs, n, m);
    write_matrix(logs.out, 1, job->out, job->rows.wide, b, n * m);
    if (job->taken)
        job->taken[b] = (int32_t)-step;
    free(logs.group.cells);
    return DONE;
}

/* The columns' step undone: their slopes reach the logits and, added to `row_slope`, the rows' potentials. */
LANES static void undo_columns(const Logs *logs, int64_t n, int64_t m)
{
    for (int64_t i = 0; i < n; i++) {
        double *restrict out = logs->out + i * m, sum = 0.0;
        const double *restrict row = logs->group.cells + i * m, *restrict slope = logs->column_slope;
        const double f = logs->f[i], *restrict top = logs->top, *restrict total = logs->sum;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < m; j++) {
            double share = decay(row[j] + f - top[j]) / total[j] * slope[j];
            share = total[j] > 0.0 ? share : 0.0;
            out[j] -= share;
            sum += share;
        }
        logs->row_slope[i] -= sum;
    }
}

/* The rows' step undone: `column_slope` becomes that of the potentials that it began with. */
LANES static void undo_rows(const Logs *logs, int64_t n, int64_t m)
{
    memset(logs->column_slope, 0, (size_t)m * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        double *restrict out = logs->out + i * m, *restrict slope = logs->column_slope;
        const double *restrict row = logs->group.cells + i * m, *restrict g = logs->g;
        double top, sum = sum_row(row, g, m, &top);
        const double scale = sum > 0.0 ? logs->row_slope[i] / sum : 0.0;
        for (int64_t j = 0; j < m; j++) {
            double share = decay(row[j] + g[j] - top) * scale;
            out[j] -= share;
            slope[j] -= share;
        }
    }
}

/* What the answer's slope comes to at the end of the last step: at the logits, and at the potentials of both sides. */
static void weigh_slope(const Job *job, int64_t b, const Logs *logs)
{
    const int64_t n = job->n, m = job->m;
    find_shares(logs, n, m);
    memset(logs->row_slope, 0, (size_t)(n + m) * sizeof(double));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double share = logs->out[i * m + j], slope = read_number(job->slope, (b * n + i) * m + j, job->rows.wide);
            double weighed = share > 0.0 ? share * slope : 0.0;
            logs->out[i * m + j] = weighed;
            logs->row_slope[i] += weighed;
            logs->column_slope[j] += weighed;
        }
}

static int differentiate_in_logs(const Job *job, int64_t b, const double *past)
{
    const int64_t n = job->n, m = job->m, side = (n + m) * job->lanes, last = -(int64_t)job->taken[b];
    Logs logs;
    if (make_logs(&logs, n, m) != DONE)
        return OUT_OF_MEMORY;
    read_logits(job, b, &logs.group);
    for (int64_t step = last; step > 0; step--) {
        move_potentials(logs.f, 1, past + (step - 1) * side, job->lanes, n);
        sum_columns(logs.group.cells, logs.f, n, m, logs.top, logs.sum);
        if (step == last)
            weigh_slope(job, b, &logs);
        else
            memset(logs.row_slope, 0, (size_t)n * sizeof(double));
        undo_columns(&logs, n, m);
        if (step > 1)
            move_potentials(logs.g, 1, past + (step - 2) * side + n * job->lanes, job->lanes, m);
        else
            memset(logs.g, 0, (size_t)m * sizeof(double));
        undo_rows(&logs, n, m);
    }
    for (int64_t x = 0; x < n * m; x++)
        logs.out[x] = logs.group.cells[x] > FARTHEST_LOGIT ? logs.out[x] : 0.0;
    scale_slopes(1, job, &logs.group, logs.out);
    write_matrix(logs.out, 1, job->out, job->rows.wide, b, n * m);
    free(logs.group.cells);
    return DONE;
}

#endif
