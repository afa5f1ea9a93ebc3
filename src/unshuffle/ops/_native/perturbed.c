/* Expected ranks of perturbed scores, their Fenchel-Young loss, and the product with the Jacobian.
 *
 * Scores sorted downwards, an item's expected rank is its hard rank, plus the chance q that it beats each item above,
 * less the chance that an item below beats it. With q a function of the gap alone that vanishes at a few widths of the
 * noise, each item meets only its neighbours within reach: n^2 pairs at worst, few where the scores lie apart, and no
 * memory beyond the sorted row. Only gaps enter, so offsets and magnitudes cancel nothing.
 */
#include <stdlib.h>

#include "lanes.h"
#include "parallel.h"
#include "rows.h"
#include "sort.h"
#include "tails.h"

enum { GAUSSIAN = 0, GUMBEL = 1 };

/* ----------------------------------------------------------------------------------------------- pairs of scores */

#define ONE_BY_ROOT_PI 0.56418958354775628695

enum { PAIRS = 512 };

/* Gaps are in units in which the lower of two scores wins with chance erfc(gap) / 2 or 1 / (1 + e^gap); both functions
 * and their slopes are 0 beyond. */
static const double FARTHEST[] = {26.6, 708.0};
/* Beyond these no rank changes: a chance of 1e-20. */
static const double FAR[] = {6.6, 46.0};

/* Chances that the lower score wins; returns what the noise costs all pairs, in units of 2 sigma or sigma. */
LANES static double chances(int32_t noise, const double *gap, double *chance, int64_t count)
{
    double price = 0.0;
    if (noise == GAUSSIAN) {
#pragma omp simd reduction(+ : price)
        for (int64_t i = 0; i < count; i++) {
            double z = gap[i], e = decay(-z * z), tail = scaled_erfc(z);
            chance[i] = 0.5 * e * tail;
            price += e * (ONE_BY_ROOT_PI - z * tail);
        }
        return 0.5 * price;
    }
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        double e = decay(-gap[i]);
        chance[i] = e / (1.0 + e);
    }
    return 0.0;
}

/* How fast those chances fall with the gap. */
LANES static void slopes_of_chances(int32_t noise, const double *gap, double *slope, int64_t count)
{
    if (noise == GAUSSIAN) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            slope[i] = ONE_BY_ROOT_PI * decay(-gap[i] * gap[i]);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        double e = decay(-gap[i]);
        slope[i] = e / ((1.0 + e) * (1.0 + e));
    }
}

/* -------------------------------------------------------------------------------------------------------- rows */

typedef struct {
    Rows rows;
    int32_t noise;
    double sigma;
    const void *other; /* rows x n, dense: the true ranks of the loss, or the slopes of the derivative */
    void *out;
    void *loss; /* one a row, or NULL: expected ranks are wanted */
} Perturbation;

typedef struct {
    Sorted sorted;
    double *sum, *slope; /* by position, largest first */
    double price;
    /* Pairs that wait to be met together: runs of neighbours first .. first + length - 1 below the score at `top`. */
    struct {
        int64_t top, first, length;
    } runs[PAIRS];
    int64_t number_of_runs, pairs;
    double gap[PAIRS + LANE_WIDTH], worth[PAIRS + LANE_WIDTH];
} Scratch;

static int make_scratch(Scratch *scratch, const Rows *rows)
{
    if (make_sorted(&scratch->sorted, rows->n, rows->wide) != DONE)
        return OUT_OF_MEMORY;
    scratch->sum = malloc(2 * (size_t)rows->n * sizeof(double) + 1);
    scratch->slope = scratch->sum + rows->n;
    return scratch->sum ? DONE : OUT_OF_MEMORY;
}

static void free_scratch(Scratch *scratch)
{
    free_sorted(&scratch->sorted);
    free(scratch->sum);
}

/* What turns differences of scores into the units of `chances`. */
static double scale_of(const Perturbation *p)
{
    return (p->noise == GAUSSIAN ? 0.5 : 1.0) / p->sigma;
}

/* Meets the pairs that wait, and adds what they are worth to both sides. */
static void meet(const Perturbation *p, Scratch *scratch, int32_t sloping)
{
    int64_t padded = (scratch->pairs + LANE_WIDTH - 1) / LANE_WIDTH * LANE_WIDTH;
    for (int64_t i = scratch->pairs; i < padded; i++)
        scratch->gap[i] = FARTHEST[p->noise];
    if (sloping)
        slopes_of_chances(p->noise, scratch->gap, scratch->worth, padded);
    else
        scratch->price += chances(p->noise, scratch->gap, scratch->worth, padded);
    for (int64_t i = 0; p->loss && p->noise == GUMBEL && i < scratch->pairs; i++)
        scratch->price += log1p(exp(-scratch->gap[i]));
    const double *worth = scratch->worth;
    for (int64_t r = 0; r < scratch->number_of_runs; r++) {
        int64_t first = scratch->runs[r].first, length = scratch->runs[r].length;
        double *sum = scratch->sum + first, taken = 0.0;
        const double *slope = scratch->slope + first, top = sloping ? scratch->slope[scratch->runs[r].top] : 0.0;
        for (int64_t j = 0; j < length; j++) {
            double step = sloping ? worth[j] * (slope[j] - top) : worth[j];
            sum[j] += step;
            taken += step;
        }
        scratch->sum[scratch->runs[r].top] -= taken;
        worth += length;
    }
    scratch->pairs = scratch->number_of_runs = 0;
}

/* Meets every finite score with those within reach below it. Leaves in scratch->sum what each expected rank differs
 * from the hard one by; or, sloping, the product of the Jacobian with scratch->slope, but for the scale. */
static void meet_all(const Perturbation *p, Scratch *scratch, int64_t begin, int64_t end, int32_t sloping)
{
    const double scale = scale_of(p), reach = p->loss || sloping ? FARTHEST[p->noise] : FAR[p->noise];
    const double *number = scratch->sorted.number;
    scratch->pairs = scratch->number_of_runs = 0;
    scratch->price = 0.0;
    memset(scratch->sum + begin, 0, (size_t)(end - begin) * sizeof(double));
    for (int64_t i = begin, stop = begin; i < end; i++) {
        stop = stop > i ? stop : i + 1;
        while (stop < end && (number[i] - number[stop]) * scale <= reach)
            stop++;
        for (int64_t first = i + 1, last; first < stop; first = last) {
            last = stop < first + PAIRS - scratch->pairs ? stop : first + PAIRS - scratch->pairs;
            for (int64_t j = first; j < last; j++)
                scratch->gap[scratch->pairs + j - first] = (number[i] - number[j]) * scale;
            scratch->runs[scratch->number_of_runs].top = i;
            scratch->runs[scratch->number_of_runs].first = first;
            scratch->runs[scratch->number_of_runs++].length = last - first;
            scratch->pairs += last - first;
            if (scratch->pairs == PAIRS)
                meet(p, scratch, sloping);
        }
    }
    if (scratch->pairs > 0)
        meet(p, scratch, sloping);
}

/* Infinite scores tie with each other, and what noise costs such a pair is h(0). */
static double price_of_ties(const Perturbation *p, int64_t number)
{
    double pairs = 0.5 * (double)number * (double)(number - 1);
    return pairs * p->sigma * (p->noise == GAUSSIAN ? ONE_BY_ROOT_PI : log(2.0));
}

/* Gap by gap, from the top: how far apart two neighbours lie, times the rank that the true ranks miss above them. */
static double hard_loss(const Perturbation *p, int64_t row, const Sorted *sorted, int64_t count)
{
    const double *number = sorted->number;
    double missing = 0.0, loss = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double true_rank = read_number(p->other, row * p->rows.n + sorted->slot[i], p->rows.wide);
        missing += (double)(count - i) - true_rank;
        double below = i + 1 < count ? number[i + 1] : isinf(number[i]) ? number[i] : 0.0;
        if (missing != 0.0 && number[i] != below)
            loss += missing * (number[i] - below);
    }
    return loss;
}

static void perturb_row(const Perturbation *p, int64_t row, Scratch *scratch)
{
    const int32_t wide = p->rows.wide;
    int64_t n = p->rows.n, begin, end, base = row * n;
    const Sorted *sorted = &scratch->sorted;
    int64_t count = sort_row(&p->rows, row, 1.0, &scratch->sorted);
    if (count < 0) {
        if (p->loss) {
            fill_row(p->out, row, n, wide, 0.0);
            write_number(p->loss, row, wide, NAN);
        } else
            spoil_row(&p->rows, row, p->out);
        return;
    }
    if (count < n)
        fill_row(p->out, row, n, wide, 0.0);
    find_finite(sorted, count, &begin, &end);
    meet_all(p, scratch, begin, end, 0);
    for (int64_t i = 0; i < count; i++) {
        int64_t place = base + sorted->slot[i];
        double rank = i < begin ? (double)count - 0.5 * (double)(begin - 1)
                      : i < end ? (double)(count - i) + scratch->sum[i]
                                : 0.5 * (double)(count - end + 1);
        if (p->loss)
            rank = i < begin || i >= end ? 0.0 : rank - read_number(p->other, place, wide);
        write_number(p->out, place, wide, rank);
    }
    if (p->loss) {
        double price = scratch->price / scale_of(p) + price_of_ties(p, begin) + price_of_ties(p, count - end);
        write_number(p->loss, row, wide, hard_loss(p, row, sorted, count) + price);
    }
}

static void differentiate_row(const Perturbation *p, int64_t row, Scratch *scratch)
{
    const int32_t wide = p->rows.wide;
    const double scale = scale_of(p);
    int64_t n = p->rows.n, begin, end, base = row * n;
    const Sorted *sorted = &scratch->sorted;
    fill_row(p->out, row, n, wide, 0.0);
    int64_t count = sort_row(&p->rows, row, 1.0, &scratch->sorted);
    if (count < 0)
        return;
    find_finite(sorted, count, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        scratch->slope[i] = read_number(p->other, base + sorted->slot[i], wide);
    meet_all(p, scratch, begin, end, 1);
    for (int64_t i = begin; i < end; i++)
        write_number(p->out, base + sorted->slot[i], wide, scale * scratch->sum[i]);
}

static int work_on(const Perturbation *p, int64_t first, int64_t last,
                   void (*work)(const Perturbation *, int64_t, Scratch *))
{
    Scratch scratch = {.sum = NULL};
    int status = make_scratch(&scratch, &p->rows);
    for (int64_t row = first; row < last && status == DONE; row++)
        work(p, row, &scratch);
    free_scratch(&scratch);
    return status;
}

static int perturb_rows(const void *job, int64_t first, int64_t last)
{
    return work_on(job, first, last, perturb_row);
}

static int differentiate_rows(const void *job, int64_t first, int64_t last)
{
    return work_on(job, first, last, differentiate_row);
}

/* Expected ranks; or, given true ranks and room for losses, those losses and their derivatives. */
EXPORT int unshuffle_perturb(const void *values, const uint8_t *mask, int64_t rows, int64_t n, int64_t row_stride,
                             int64_t item_stride, int32_t wide, int32_t noise, double sigma, const void *ranks,
                             void *out, void *loss, int64_t threads)
{
    Perturbation job = {{values, mask, rows, n, row_stride, item_stride, wide}, noise, sigma, ranks, out, loss};
    return share_rows(perturb_rows, &job, rows, threads);
}

/* The Jacobian of the expected ranks, which is symmetric, times `slopes`. */
EXPORT int unshuffle_perturb_slope(const void *values, const uint8_t *mask, int64_t rows, int64_t n,
                                   int64_t row_stride, int64_t item_stride, int32_t wide, int32_t noise, double sigma,
                                   const void *slopes, void *out, int64_t threads)
{
    Perturbation job = {{values, mask, rows, n, row_stride, item_stride, wide}, noise, sigma, slopes, out, NULL};
    return share_rows(differentiate_rows, &job, rows, threads);
}
