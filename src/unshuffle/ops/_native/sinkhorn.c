/* Sinkhorn's iterations: rows to sum to one, then columns to equal sums, and so on; with their exact derivative.
 *
 * With K the exponentials of the logits, all that a step changes are a scaling r of the rows and c of the columns: the
 * answer is diag(r) K diag(c), and a step is one sweep over K: a row's product with c gives its r, and r times the row,
 * still near, is added to the columns' sums. Steps keep r and c, no matrices, for the derivative. Where a scaling
 * leaves the range in which such products are safe, the matrix is solved again in logarithms (sinkhorn_log.h). */
#include "sinkhorn.h"

#include "parallel.h"
#include "sinkhorn_log.h"
#include "sinkhorn_sweep.h"

/* ---------------------------------------------------------------------------------------------------- iterations */

/* What has become of a lane: near enough to the rows' sums, beyond the range of scalings, or not a number. */
enum { RUNNING = 0, FINISHED = 1, BEYOND = 2, SPOILT = 3 };

/* Notes which lanes have left the range. All is read, whether it counts or not: where a number is read under a
   condition, GCC 12 masks the reads of two rows by the one's condition (AVX-512), and leaves the other to chance. */
INLINED void watch(const int64_t W, const double *restrict scaling, const double *restrict mass, int64_t count,
                   int32_t *restrict state)
{
    int32_t outside[LANE_WIDTH] = {0};
    for (int64_t x = 0; x < count; x++)
        for (int64_t l = 0; l < W; l++) {
            const double at = scaling[x * W + l];
            outside[l] |= (mass[x * W + l] > 0.0) & !((at > LEAST_SCALING) & (at < MOST_SCALING));
        }
    for (int64_t l = 0; l < W; l++)
        if (outside[l] && state[l] == RUNNING)
            state[l] = BEYOND;
}

/* Notes which lanes had rows near enough to 1 before this step. */
INLINED void stop_lanes(const int64_t W, const Job *job, const double *mass, const double *before, const double *now,
                        int64_t step, int32_t *state, int32_t *taken)
{
    for (int64_t l = 0; l < W; l++) {
        int near = state[l] == RUNNING;
        for (int64_t x = l; x < job->n * W && near; x += W)
            near = mass[x] == 0.0 || fabs(before[x] / now[x] - 1.0) <= job->tolerance;
        if (near)
            state[l] = FINISHED, taken[l] = (int32_t)step;
    }
}

INLINED int any_running(const int64_t W, const int32_t *state)
{
    int any = 0;
    for (int64_t l = 0; l < W; l++)
        any |= state[l] == RUNNING;
    return any;
}

/* Iterates on one group; returns the last scalings, of rows and then of columns; `taken` says how many steps there were
 * to each lane. */
INLINED const double *iterate(const int64_t W, const Job *job, const Scratch *scratch, double *past, int32_t *state,
                              int32_t *taken)
{
    const int64_t n = job->n, m = job->m, side = (n + m) * W;
    const Group *group = &scratch->group;
    const double *columns = scratch->ones, *before = NULL;
    for (int64_t step = 0; step < job->steps && any_running(W, state); step++) {
        double *now = past ? past + step * side : scratch->here + (step & 1) * side, *c = now + n * W;
        sweep(W, 0, n, m, group->cells, columns, group->row_mass, group->row_mass, now, scratch->sums);
        if (before && job->tolerance > 0.0)
            stop_lanes(W, job, group->row_mass, before, now, step, state, taken);
        for (int64_t x = 0; x < m * W; x++) {
            const double mass = group->column_mass[x];
            c[x] = mass / (scratch->sums[x] + (mass > 0.0 ? 0.0 : 1.0));
        }
        for (int64_t l = 0; l < W; l++) /* a finished lane keeps what it had */
            for (int64_t x = l; before && state[l] == FINISHED && x < side; x += W)
                now[x] = before[x];
        watch(W, now, group->row_mass, n, state);
        watch(W, c, group->column_mass, m, state);
        for (int64_t l = 0; l < W; l++)
            taken[l] = state[l] == RUNNING ? (int32_t)(step + 1) : taken[l];
        before = now, columns = c;
    }
    return before;
}

/* In each lane, K becomes the answer: times the scalings of its row and column. */
INLINED void apply_scalings(const int64_t W, int64_t n, int64_t m, const double *restrict r, const double *restrict c,
                            double *restrict cells)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            for (int64_t l = 0; l < W; l++)
                cells[(i * m + j) * W + l] *= r[i * W + l] * c[j * W + l];
}

INLINED int solve_group(const int64_t W, const Job *job, int64_t place, Scratch *scratch)
{
    const int64_t n = job->n, m = job->m, first = place * W;
    double *past = job->past ? job->past + place * job->steps * (n + m) * W : NULL, *cells = scratch->group.cells;
    int32_t state[LANE_WIDTH], taken[LANE_WIDTH] = {0};
    read_group(W, job, first, &scratch->group);
    exponentiate(cells, n * m * W);
    for (int64_t l = 0; l < W; l++)
        state[l] = scratch->group.nan[l] ? SPOILT : RUNNING;
    const double *last = iterate(W, job, scratch, past, state, taken);
    if (last)
        apply_scalings(W, n, m, last, last + n * W, cells);
    int status = DONE;
    for (int64_t l = 0; l < W && first + l < job->rows.rows && status == DONE; l++) {
        if (job->taken)
            job->taken[first + l] = taken[l];
        if (state[l] == SPOILT)
            spoil_row(&job->rows, first + l, job->out);
        else if (state[l] == BEYOND)
            status = solve_in_logs(job, first + l, past ? past + l : NULL);
        else
            write_matrix(cells + l, W, job->out, job->rows.wide, first + l, n * m);
    }
    return status;
}

LANES static int solve_alone(const Job *job, int64_t place, Scratch *scratch)
{
    return solve_group(1, job, place, scratch);
}

LANES static int solve_beside(const Job *job, int64_t place, Scratch *scratch)
{
    return solve_group(LANE_WIDTH, job, place, scratch);
}

/* ---------------------------------------------------------------------------------------------------- derivatives */

/* One row of the answer times its slope, with which `weighed` begins; its sum, and what it adds to those of columns. */
INLINED void weigh_row_of_answer(const int64_t W, int64_t m, const double *restrict kernel, const double *restrict r,
                                 const double *restrict c, double *restrict weighed, double *restrict row,
                                 double *restrict columns)
{
    double sum[LANE_WIDTH] = {0.0}, whole = 0.0;
    if (W == 1) {
#pragma omp simd reduction(+ : whole)
        for (int64_t j = 0; j < m; j++) {
            double share = kernel[j] * r[0] * c[j];
            weighed[j] = share > 0.0 ? share * weighed[j] : 0.0;
            columns[j] += weighed[j];
            whole += weighed[j];
        }
        row[0] = whole;
        return;
    }
    for (int64_t j = 0; j < m; j++)
#pragma omp simd
        for (int64_t l = 0; l < W; l++) {
            const int64_t x = j * W + l;
            double share = kernel[x] * r[l] * c[x];
            weighed[x] = share > 0.0 ? share * weighed[x] : 0.0;
            columns[x] += weighed[x];
            sum[l] += weighed[x];
        }
    for (int64_t l = 0; l < W; l++)
        row[l] = sum[l];
}

/* The answer times its slope, in one lane after the other, and what that comes to for the rows and the columns. */
INLINED void weigh_answer(const int64_t W, const Job *job, int64_t first, const double *past, const int32_t *taken,
                          const Scratch *scratch)
{
    const int64_t n = job->n, m = job->m, side = (n + m) * W, matrices = job->rows.rows;
    double *restrict weighed = scratch->weighed, *restrict rows = scratch->row_slope;
    double *restrict columns = scratch->column_slope;
    const double *restrict r = scratch->r, *restrict c = scratch->c;
    for (int64_t l = 0; l < W; l++) {
        const double *last = taken[l] > 0 ? past + (taken[l] - 1) * side : NULL;
        for (int64_t i = 0; i < n; i++)
            scratch->r[i * W + l] = last ? last[i * W + l] : 0.0;
        for (int64_t j = 0; j < m; j++)
            scratch->c[j * W + l] = last ? last[(n + j) * W + l] : 0.0;
        const int64_t b = first + l < matrices ? first + l : matrices - 1;
        read_matrix(job->slope, job->rows.wide, b, n * m, weighed + l, W);
    }
    memset(rows, 0, (size_t)((n + m) * W) * sizeof(double)); /* the columns' slopes lie behind the rows' */
    for (int64_t i = 0; i < n; i++)
        weigh_row_of_answer(W, m, scratch->group.cells + i * m * W, r + i * W, c, weighed + i * m * W, rows + i * W,
                            columns);
}

/* Goes back over all steps. What a step has to do with the logits is K times products of a row's and a column's number:
 * its pull with the columns' scaling before it, and the rows' scaling with its push. */
INLINED void go_back(const int64_t W, const Job *job, const Scratch *scratch, const double *past, const int32_t *taken,
                     int32_t steps)
{
    const int64_t n = job->n, m = job->m, side = (n + m) * W;
    double *restrict slope = scratch->slope, *restrict seed = scratch->seed;
    memset(slope, 0, (size_t)(m * W) * sizeof(double));
    for (int64_t step = steps - 1; step >= 0; step--) {
        const double *r = past + step * side, *c = r + n * W, *earlier = step ? c - side : scratch->ones;
        double *push = scratch->pushes + step * m * W;
        for (int64_t i = 0; i < n; i++)
            for (int64_t l = 0; l < W; l++)
                seed[i * W + l] = taken[l] == step + 1 ? scratch->row_slope[i * W + l] : 0.0;
        for (int64_t j = 0; j < m; j++)
            for (int64_t l = 0; l < W; l++) {
                const int64_t x = j * W + l;
                const double mass = scratch->group.column_mass[x];
                slope[x] = taken[l] == step + 1 ? scratch->column_slope[x] : slope[x];
                push[x] = c[x] * slope[x] / (mass > 0.0 ? mass : 1.0);
            }
        double *pull = scratch->pulls + step * n * W;
        sweep(W, 1, n, m, scratch->group.cells, push, r, seed, pull, scratch->sums);
        for (int64_t x = 0; x < m * W; x++)
            slope[x] = -earlier[x] * scratch->sums[x];
    }
}

/* Two steps' pulls and pushes on row i of one matrix. */
INLINED void gather_two(int64_t n, int64_t m, int64_t i, int64_t step, int64_t next, const Scratch *scratch,
                        const double *past, double *restrict sums)
{
    const int64_t side = n + m;
    const double *restrict a = step ? past + (step - 1) * side + n : scratch->ones;
    const double *restrict b = past + (next - 1) * side + n;
    const double *restrict u = scratch->pushes + step * m, *restrict v = scratch->pushes + next * m;
    const double pull_a = scratch->pulls[step * n + i], pull_b = scratch->pulls[next * n + i];
    const double r_a = past[step * side + i], r_b = past[next * side + i];
    for (int64_t j = 0; j < m; j++)
        sums[j] += (pull_a * a[j] + r_a * u[j]) + (pull_b * b[j] + r_b * v[j]);
}

/* Steps from `step` on, one by one: their pulls and pushes on the cell of row i and column j. */
INLINED void gather_cell(const int64_t W, int64_t n, int64_t m, int64_t i, int64_t j, int64_t step, int64_t steps,
                         const Scratch *scratch, const double *past, double *restrict sums)
{
    const int64_t side = (n + m) * W;
    double sum[LANE_WIDTH] = {0.0};
    for (; step < steps; step++) {
        const double *restrict r = past + step * side + i * W, *restrict pull = scratch->pulls + (step * n + i) * W;
        const double *restrict c = (step ? past + (step - 1) * side + n * W : scratch->ones) + j * W;
        const double *restrict push = scratch->pushes + (step * m + j) * W;
#pragma omp simd
        for (int64_t l = 0; l < W; l++)
            sum[l] += pull[l] * c[l] + r[l] * push[l];
    }
    for (int64_t l = 0; l < W; l++)
        sums[l] += sum[l];
}

/* Subtracts from the weighed answer what all steps pull and push. */
INLINED void gather(const int64_t W, int64_t n, int64_t m, int64_t steps, const Scratch *scratch, const double *past)
{
    const double *restrict kernel = scratch->group.cells;
    double *restrict weighed = scratch->weighed, *restrict sums = scratch->sums;
    for (int64_t i = 0; i < n; i++) {
        memset(sums, 0, (size_t)(m * W) * sizeof(double));
        int64_t step = 0;
        for (; W == 1 && step + 2 <= steps; step += 2)
            gather_two(n, m, i, step, step + 1, scratch, past, sums);
        for (int64_t j = 0; j < m; j++)
            gather_cell(W, n, m, i, j, step, steps, scratch, past, sums + j * W);
        for (int64_t x = 0; x < m * W; x++)
            weighed[i * m * W + x] -= kernel[i * m * W + x] * sums[x];
    }
}

INLINED int differentiate_group(const int64_t W, const Job *job, int64_t place, Scratch *scratch)
{
    const int64_t n = job->n, m = job->m, first = place * W, matrices = job->rows.rows;
    const double *past = job->past + place * job->steps * (n + m) * W;
    int32_t taken[LANE_WIDTH] = {0}, most = 0;
    for (int64_t l = 0; l < W && first + l < matrices; l++) {
        taken[l] = job->taken[first + l];
        most = taken[l] > most ? taken[l] : most;
    }
    if (most > 0) {
        read_group(W, job, first, &scratch->group);
        exponentiate(scratch->group.cells, n * m * W);
        weigh_answer(W, job, first, past, taken, scratch);
        go_back(W, job, scratch, past, taken, most);
        gather(W, n, m, most, scratch, past);
        scale_slopes(W, job, &scratch->group, scratch->weighed);
    }
    int status = DONE;
    for (int64_t l = 0; l < W && first + l < matrices && status == DONE; l++)
        if (taken[l] == 0)
            fill_row(job->out, first + l, n * m, job->rows.wide, 0.0);
        else if (taken[l] < 0)
            status = differentiate_in_logs(job, first + l, past + l);
        else
            write_matrix(scratch->weighed + l, W, job->out, job->rows.wide, first + l, n * m);
    return status;
}

LANES static int differentiate_alone(const Job *job, int64_t place, Scratch *scratch)
{
    return differentiate_group(1, job, place, scratch);
}

LANES static int differentiate_beside(const Job *job, int64_t place, Scratch *scratch)
{
    return differentiate_group(LANE_WIDTH, job, place, scratch);
}

/* ---------------------------------------------------------------------------------------------------- the door */

static int work_on_groups(const void *argument, int64_t first, int64_t last)
{
    const Job *job = argument;
    Scratch scratch;
    int status = make_scratch(job, job->slope != NULL, &scratch);
    if (status != DONE)
        return status;
    for (int64_t place = first; place < last && status == DONE; place++)
        if (job->slope)
            status = (job->lanes == 1 ? differentiate_alone : differentiate_beside)(job, place, &scratch);
        else
            status = (job->lanes == 1 ? solve_alone : solve_beside)(job, place, &scratch);
    free(scratch.group.cells);
    return status;
}

/* Balanced matrices; or given their slope, that of the scores, with `past` and `taken` as the first call left them. */
EXPORT int unshuffle_sinkhorn(const void *scores, const uint8_t *mask, int64_t count, int64_t n, int64_t m,
                              int32_t wide, int64_t lanes, int64_t steps, double temperature, double tolerance,
                              double *past, int32_t *taken, const void *slope, void *out, int64_t threads)
{
    Rows rows = {scores, mask, count, n * m, n * m, 1, wide};
    Job job = {rows, n, m, lanes, steps, temperature, tolerance, past, taken, slope, out};
    return share_rows(work_on_groups, &job, (count + lanes - 1) / lanes, threads);
}
