/* The matching of items to positions with the largest total score, a matrix at a time.
 *
 * Scores are turned into finite costs. A pair that may not be matched costs more than all others together can, and an
 * infinite score is worth more than all finite ones together, so that one cheapest matching respects all three.
 */
#include <stdatomic.h>

#include "matching.h"
#include "parallel.h"

typedef struct {
    const void *scores;  /* matrices x n x m, dense */
    const uint8_t *mask; /* the same, or NULL: all pairs are allowed */
    int64_t n, m;
    int32_t wide;
    int64_t *out; /* matrices x n */
    atomic_int *spoilt; /* set where an allowed score is not a number */
} Job;

/* What the scores of one matrix are worth as costs. */
typedef struct {
    double scale; /* a power of two: no sum overflows */
    double certain, forbidden;
} Levels;

typedef struct {
    Matching matching;
    int32_t *items, *positions; /* those that have an allowed pair */
    double *lines; /* costs of items that are still to be turned into columns */
} Scratch;

static inline uint64_t magnitude(double score)
{
    uint64_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x7fffffffffffffffu; /* in the order of the magnitudes; NaN above infinity */
}

#define INFINITE_BITS 0x7ff0000000000000u

/* The largest magnitude of a matrix, as bits. */
static inline uint64_t largest_of(const void *scores, int64_t first, int64_t count, const int32_t wide)
{
    int64_t largest = 0;
    if (wide) {
        const double *numbers = (const double *)scores + first;
#pragma omp simd reduction(max : largest)
        for (int64_t i = 0; i < count; i++) {
            int64_t bits = (int64_t)magnitude(numbers[i]);
            largest = bits > largest ? bits : largest;
        }
        return (uint64_t)largest;
    }
    const float *numbers = (const float *)scores + first;
    int32_t most = 0;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < count; i++) {
        int32_t bits;
        memcpy(&bits, &numbers[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float number;
    memcpy(&number, &most, sizeof number);
    return magnitude(number);
}

LANES static uint64_t largest_score(const void *scores, int64_t first, int64_t count, int32_t wide)
{
    return wide ? largest_of(scores, first, count, 1) : largest_of(scores, first, count, 0);
}

/* Costs of a row without anything special. */
LANES static void read_plain(const void *scores, int64_t first, int64_t count, int32_t wide, double scale, double *cost)
{
    if (wide) {
        const double *numbers = (const double *)scores + first;
        for (int64_t j = 0; j < count; j++)
            cost[j] = -scale * numbers[j];
    } else {
        const float *numbers = (const float *)scores + first;
        for (int64_t j = 0; j < count; j++)
            cost[j] = -scale * (double)numbers[j];
    }
}

/* A power of two that brings the largest finite score near one. */
static double scale_for(double largest)
{
    int exponent = 0;
    frexp(largest, &exponent);
    exponent = exponent > 1000 ? 1000 : exponent < -1000 ? -1000 : exponent; /* the rest fits */
    return ldexp(1.0, -exponent);
}

static inline int allowed_at(const Job *job, int64_t place)
{
    return (!job->mask || job->mask[place]) && read_number(job->scores, place, job->wide) != -INFINITY;
}

/* Lists items and positions with an allowed pair, and finds the levels; 0 if an allowed score is NaN. */
static int survey(const Job *job, int64_t base, Scratch *scratch, Levels *levels)
{
    Matching *matching = &scratch->matching;
    int64_t items = 0, positions = 0;
    double largest = 0.0;
    int certain = 0;
    memset(scratch->positions, 0, (size_t)job->m * sizeof *scratch->positions);
    for (int64_t i = 0; i < job->n; i++) {
        int any = 0;
        for (int64_t j = 0; j < job->m; j++) {
            int64_t place = base + i * job->m + j;
            if (!allowed_at(job, place))
                continue;
            double score = read_number(job->scores, place, job->wide);
            if (score != score)
                return 0;
            any = scratch->positions[j] = 1;
            if (score == INFINITY)
                certain = 1;
            else
                largest = fabs(score) > largest ? fabs(score) : largest;
        }
        if (any)
            scratch->items[items++] = (int32_t)i;
    }
    for (int64_t j = 0; j < job->m; j++)
        if (scratch->positions[j])
            scratch->positions[positions++] = (int32_t)j;
    matching->rows = items, matching->columns = positions;
    double pairs = (double)(items < positions ? items : positions);
    levels->scale = scale_for(largest);
    double bound = largest > 0.0 ? levels->scale * largest : 1.0;
    levels->certain = -2.0 * pairs * bound;
    levels->forbidden = 2.0 * pairs * (certain ? -levels->certain : bound);
    return 1;
}

/* Costs of one item at all listed positions. */
static void read_special(const Job *job, int64_t first, const Scratch *scratch, int64_t count, const Levels *levels,
                         double *cost)
{
    for (int64_t k = 0; k < count; k++) {
        int64_t place = first + scratch->positions[k];
        double score = read_number(job->scores, place, job->wide);
        if (!allowed_at(job, place))
            cost[k] = levels->forbidden;
        else
            cost[k] = score == INFINITY ? levels->certain : -levels->scale * score;
    }
}

/* Writes lines as columns first .. last - 1: some at a time, or each would touch all memory of the matrix. */
static void turn(Matching *m, const double *lines, int64_t first, int64_t last)
{
    for (int64_t row = 0; row < m->rows; row++)
        for (int64_t column = first; column < last; column++)
            m->cost[row * m->width + column] = lines[(column - first) * m->rows + row];
}

/* Fills the matrix of costs, the shorter side on rows. */
static void read_costs(const Job *job, int64_t base, Scratch *scratch, const Levels *levels, int plain)
{
    Matching *m = &scratch->matching;
    int64_t items = m->rows, positions = m->columns;
    int turned = items > positions;
    if (turned)
        m->rows = positions, m->columns = items;
    m->width = whole_lanes(m->columns);
    for (int64_t k = 0; k < items; k++) {
        int64_t first = base + (plain ? k : scratch->items[k]) * job->m;
        double *line = turned ? scratch->lines + k % LANE_WIDTH * positions : m->cost + k * m->width;
        if (plain)
            read_plain(job->scores, first, positions, job->wide, levels->scale, line);
        else
            read_special(job, first, scratch, positions, levels, line);
        if (turned && (k % LANE_WIDTH == LANE_WIDTH - 1 || k == items - 1))
            turn(m, scratch->lines, k / LANE_WIDTH * LANE_WIDTH, k + 1);
    }
    for (int64_t i = 0; i < m->rows; i++)
        for (int64_t j = m->columns; j < m->width; j++)
            m->cost[i * m->width + j] = INFINITY;
}

static void assign_matrix(const Job *job, int64_t matrix, Scratch *scratch)
{
    Matching *m = &scratch->matching;
    int64_t base = matrix * job->n * job->m, *out = job->out + matrix * job->n;
    uint64_t largest = job->mask ? INFINITE_BITS : largest_score(job->scores, base, job->n * job->m, job->wide);
    int plain = largest < INFINITE_BITS;
    Levels levels = {1.0, 0.0, INFINITY};
    for (int64_t i = 0; i < job->n; i++)
        out[i] = NOBODY;
    if (plain) {
        double number;
        memcpy(&number, &largest, sizeof number);
        levels.scale = scale_for(number);
        m->rows = job->n, m->columns = job->m;
    } else if (!survey(job, base, scratch, &levels)) {
        atomic_store_explicit(job->spoilt, 1, memory_order_relaxed);
        return;
    }
    int turned = m->rows > m->columns;
    read_costs(job, base, scratch, &levels, plain);
    match(m);
    for (int64_t row = 0; row < m->rows; row++) {
        int64_t item = turned ? m->place[row] : row, position = turned ? row : m->place[row];
        if (m->cost[row * m->width + m->place[row]] < levels.forbidden)
            out[plain ? item : scratch->items[item]] = plain ? position : scratch->positions[position];
    }
}

static int assign_matrices(const void *argument, int64_t first, int64_t last)
{
    const Job *job = argument;
    Scratch scratch;
    if (make_matching(&scratch.matching, job->n, job->m) != DONE)
        return OUT_OF_MEMORY;
    scratch.lines = malloc(LANE_WIDTH * (size_t)job->m * sizeof(double) + (size_t)(job->n + job->m) * sizeof(int32_t));
    int status = scratch.lines ? DONE : OUT_OF_MEMORY;
    if (status == DONE) {
        scratch.items = (int32_t *)(scratch.lines + LANE_WIDTH * job->m);
        scratch.positions = scratch.items + job->n;
        for (int64_t matrix = first; matrix < last; matrix++)
            assign_matrix(job, matrix, &scratch);
    }
    free(scratch.lines);
    free(scratch.matching.memory);
    return status;
}

/* Sets *spoilt to 1 where an allowed score is not a number; it is 0 before. */
EXPORT int unshuffle_assign(const void *scores, const uint8_t *mask, int64_t matrices, int64_t n, int64_t m, int32_t wide,
                            int64_t *out, int32_t *spoilt, int64_t threads)
{
    atomic_int any = 0;
    Job job = {scores, mask, n, m, wide, out, &any};
    int status = share_rows(assign_matrices, &job, matrices, threads);
    *spoilt = atomic_load(&any);
    return status;
}
