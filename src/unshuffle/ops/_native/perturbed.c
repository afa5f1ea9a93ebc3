/* Expected ranks of perturbed scores, their Fenchel-Young loss, and the product with the Jacobian.
 *
 * Scores sorted downwards, an item's expected rank is its hard rank, plus the chance q that it beats each item above,
 * less the chance that an item below beats it. With q a function of the gap alone that vanishes at a few widths of the
 * noise, each item meets only its neighbours within reach: n^2 pairs at worst, few where the scores lie apart, and no
 * memory beyond the sorted row. Only gaps enter, so offsets and magnitudes cancel nothing.
 */
#include <stdlib.h>

#include "parallel.h"
#include "rows.h"
#include "sort.h"

enum { GAUSSIAN = 0, GUMBEL = 1 };

/* Inner loops run in lanes where the machine has them; the loader picks the version. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define LANES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LANES
#endif

/* e^x for x in [-708, 0], to 1 ulp or two, without a branch: 2^k times a polynomial of the rest. */
static inline double decay(double x)
{
    x = x < -708.0 ? -708.0 : x;
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to a whole number */
    double whole = x * 1.4426950408889634074 + shift, k = whole - shift;
    double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10; /* ln 2 in two parts */
    double p = 1.0 / 6227020800.0; /* Taylor to degree 13: |r| <= ln 2 / 2 leaves 4e-18 */
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits;
    memcpy(&bits, &whole, sizeof bits);
    bits = (bits + 1023) << 52; /* the low bits of `whole` hold k */
    double power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* e^(z^2) erfc(z) for z >= 0, to 1e-16: t = 3.5 / (3.5 + z) times a Chebyshev series in 2 t - 1 (Clenshaw's sum, written
 * out; the 23 coefficients are those of the interpolant at 80 Chebyshev points in 60 digits, cut where they sum to 3e-17). */
static inline double scaled_erfc(double z)
{
    const double t = 3.5 / (3.5 + z);
    double u = 2.0 * t - 1.0, v = 2.0 * u, a = -1.3315502019426986e-16, b = 0.0, c;
    c = v * a - b - 3.9565576260273763e-16, b = a, a = c;
    c = v * a - b + 3.4788649447021911e-15, b = a, a = c;
    c = v * a - b + 8.4043554121726582e-15, b = a, a = c;
    c = v * a - b - 9.1195623851732279e-14, b = a, a = c;
    c = v * a - b - 2.2914424482991865e-13, b = a, a = c;
    c = v * a - b + 2.4316512135206357e-12, b = a, a = c;
    c = v * a - b + 8.1883979977805335e-12, b = a, a = c;
    c = v * a - b - 6.3814483749547841e-11, b = a, a = c;
    c = v * a - b - 3.4813476757393876e-10, b = a, a = c;
    c = v * a - b + 1.396361949293217e-9, b = a, a = c;
    c = v * a - b + 1.5482876443250462e-8, b = a, a = c;
    c = v * a - b - 8.1337566786610492e-10, b = a, a = c;
    c = v * a - b - 6.0203588868374818e-7, b = a, a = c;
    c = v * a - b - 3.0124601262441563e-6, b = a, a = c;
    c = v * a - b + 8.0254166262083311e-6, b = a, a = c;
    c = v * a - b + 0.00021287910323983694, b = a, a = c;
    c = v * a - b + 0.001722240030487525, b = a, a = c;
    c = v * a - b + 0.0093994167884840622, b = a, a = c;
    c = v * a - b + 0.039569615002924791, b = a, a = c;
    c = v * a - b + 0.13479272213284422, b = a, a = c;
    c = v * a - b + 0.37810219450774745, b = a, a = c;
    return t * (u * a - b + 0.43619650584943627);
}

/* ----------------------------------------------------------------------------------------------- pairs of scores */

#define ONE_BY_ROOT_PI 0.56418958354775628695

/* What one score at `top` has to do with `count` lower ones: the chance that each beats it is added to `chance`, and
 * their sum returned; what the noise of each pair costs is added to `price`, in units of the scale. */
LANES static double meet_gaussian(double top, const double *lower, int64_t count, double scale, double *chance,
                                  double *price)
{
    double beaten = 0.0, paid = 0.0;
#pragma omp simd reduction(+ : beaten, paid)
    for (int64_t j = 0; j < count; j++) {
        double z = (top - lower[j]) * scale, e = decay(-z * z), tail = scaled_erfc(z), q = 0.5 * e * tail;
        chance[j] += q;
        beaten += q;
        paid += e * (ONE_BY_ROOT_PI - z * tail);
    }
    *price += paid;
    return beaten;
}

LANES static double meet_gumbel(double top, const double *lower, int64_t count, double scale, double *chance)
{
    double beaten = 0.0;
#pragma omp simd reduction(+ : beaten)
    for (int64_t j = 0; j < count; j++) {
        double e = decay((lower[j] - top) * scale), q = e / (1.0 + e);
        chance[j] += q;
        beaten += q;
    }
    return beaten;
}

/* The slope of those chances by the gap, times the difference of two numbers: taken from one, added to the other. */
LANES static double slope_gaussian(double top, const double *lower, int64_t count, double scale, double slope,
                                   const double *slopes, double *out)
{
    double taken = 0.0;
#pragma omp simd reduction(+ : taken)
    for (int64_t j = 0; j < count; j++) {
        double z = (top - lower[j]) * scale, step = decay(-z * z) * ONE_BY_ROOT_PI * scale * (slope - slopes[j]);
        out[j] -= step;
        taken += step;
    }
    return taken;
}

LANES static double slope_gumbel(double top, const double *lower, int64_t count, double scale, double slope,
                                 const double *slopes, double *out)
{
    double taken = 0.0;
#pragma omp simd reduction(+ : taken)
    for (int64_t j = 0; j < count; j++) {
        double e = decay((lower[j] - top) * scale), step = e / ((1.0 + e) * (1.0 + e)) * scale * (slope - slopes[j]);
        out[j] -= step;
        taken += step;
    }
    return taken;
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
    Item *items, *spare;
    double *number, *sum, *slope; /* by position, largest first */
} Scratch;

static int make_scratch(Scratch *scratch, int64_t n)
{
    size_t items = (size_t)n * sizeof(Item), numbers = (size_t)n * sizeof(double);
    char *memory = malloc(2 * items + 3 * numbers + 1);
    if (!memory)
        return OUT_OF_MEMORY;
    scratch->items = (Item *)memory;
    scratch->spare = (Item *)(memory + items);
    scratch->number = (double *)(memory + 2 * items);
    scratch->sum = scratch->number + n;
    scratch->slope = scratch->sum + n;
    return DONE;
}

/* Per unit of gap: z = gap / (2 sigma) in erfc(z), or gap / sigma in the logistic function. */
static double scale_of(const Perturbation *p)
{
    return (p->noise == GAUSSIAN ? 0.5 : 1.0) / p->sigma;
}

/* The first position whose score lies further than `reach` below that at i; `from` is a lower bound. */
static int64_t reach_from(const double *number, int64_t i, int64_t from, int64_t end, double reach)
{
    while (from < end && number[i] - number[from] <= reach)
        from++;
    return from;
}

/* Sorts a row; returns how many are present, or -1 for NaN, and where the finite ones begin and end. */
static int64_t sort_row(const Perturbation *p, int64_t row, Scratch *scratch, Item **sorted, int64_t *begin, int64_t *end)
{
    int64_t count = read_row(&p->rows, row, 1.0, scratch->items);
    if (count < 0)
        return count;
    *sorted = sort_items(scratch->items, scratch->spare, count, p->rows.wide);
    for (int64_t i = 0; i < count; i++) {
        scratch->number[i] = number_of((*sorted)[i].key, p->rows.wide);
        scratch->sum[i] = 0.0;
    }
    for (*begin = 0; *begin < count && scratch->number[*begin] == INFINITY;)
        ++*begin;
    for (*end = count; *end > *begin && scratch->number[*end - 1] == -INFINITY;)
        --*end;
    return count;
}

/* Leaves in scratch->sum what each expected rank differs from the hard one by; returns what the noise costs. */
static double meet_all(const Perturbation *p, Scratch *scratch, int64_t begin, int64_t end)
{
    const double scale = scale_of(p);
    /* Beyond this no rank changes (erfc(6.6) = 1e-20), but a small loss does. */
    const double reach = (p->loss ? (p->noise == GAUSSIAN ? 26.6 : 708.0) : p->noise == GAUSSIAN ? 6.6 : 46.0) / scale;
    double price = 0.0;
    int64_t stop = begin;
    for (int64_t i = begin; i < end; i++) {
        stop = reach_from(scratch->number, i, stop > i ? stop : i + 1, end, reach);
        const double *lower = scratch->number + i + 1;
        double *chance = scratch->sum + i + 1;
        int64_t count = stop - i - 1;
        if (p->noise == GAUSSIAN) {
            scratch->sum[i] -= meet_gaussian(scratch->number[i], lower, count, scale, chance, &price);
            continue;
        }
        scratch->sum[i] -= meet_gumbel(scratch->number[i], lower, count, scale, chance);
        for (int64_t j = 0; p->loss && j < count; j++)
            price += log1p(exp((lower[j] - scratch->number[i]) * scale));
    }
    return price * p->sigma;
}

/* Infinite scores tie with each other, and what noise costs such a pair is h(0). */
static double price_of_ties(const Perturbation *p, int64_t number)
{
    double pairs = 0.5 * (double)number * (double)(number - 1);
    return pairs * p->sigma * (p->noise == GAUSSIAN ? ONE_BY_ROOT_PI : log(2.0));
}

/* Gap by gap, from the top: how far apart two neighbours lie, times the rank that the true ranks miss above them. */
static double hard_loss(const Perturbation *p, int64_t row, const Item *sorted, const double *number, int64_t count)
{
    double missing = 0.0, loss = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double true_rank = read_number(p->other, row * p->rows.n + sorted[i].slot, p->rows.wide);
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
    Item *sorted;
    int64_t count = sort_row(p, row, scratch, &sorted, &begin, &end);
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
    double price = meet_all(p, scratch, begin, end);
    for (int64_t i = 0; i < count; i++) {
        int64_t place = base + sorted[i].slot;
        double rank = i < begin ? (double)count - 0.5 * (double)(begin - 1)
                      : i < end ? (double)(count - i) + scratch->sum[i]
                                : 0.5 * (double)(count - end + 1);
        if (p->loss)
            rank = i < begin || i >= end ? 0.0 : rank - read_number(p->other, place, wide);
        write_number(p->out, place, wide, rank);
    }
    if (p->loss) {
        price += price_of_ties(p, begin) + price_of_ties(p, count - end);
        write_number(p->loss, row, wide, hard_loss(p, row, sorted, scratch->number, count) + price);
    }
}

static void differentiate_row(const Perturbation *p, int64_t row, Scratch *scratch)
{
    const int32_t wide = p->rows.wide;
    const double scale = scale_of(p), reach = (p->noise == GAUSSIAN ? 26.6 : 708.0) / scale;
    int64_t n = p->rows.n, begin, end, base = row * n;
    Item *sorted;
    fill_row(p->out, row, n, wide, 0.0);
    if (sort_row(p, row, scratch, &sorted, &begin, &end) < 0)
        return;
    for (int64_t i = begin; i < end; i++)
        scratch->slope[i] = read_number(p->other, base + sorted[i].slot, wide);
    int64_t stop = begin;
    for (int64_t i = begin; i < end; i++) {
        stop = reach_from(scratch->number, i, stop > i ? stop : i + 1, end, reach);
        const double *lower = scratch->number + i + 1, *slopes = scratch->slope + i + 1;
        double *out = scratch->sum + i + 1;
        double (*slope)(double, const double *, int64_t, double, double, const double *, double *) =
            p->noise == GAUSSIAN ? slope_gaussian : slope_gumbel;
        scratch->sum[i] += slope(scratch->number[i], lower, stop - i - 1, scale, scratch->slope[i], slopes, out);
    }
    for (int64_t i = begin; i < end; i++)
        write_number(p->out, base + sorted[i].slot, wide, scratch->sum[i]);
}

static int work_on(const Perturbation *p, int64_t first, int64_t last,
                   void (*work)(const Perturbation *, int64_t, Scratch *))
{
    Scratch scratch;
    if (make_scratch(&scratch, p->rows.n) != DONE)
        return OUT_OF_MEMORY;
    for (int64_t row = first; row < last; row++)
        work(p, row, &scratch);
    free(scratch.items);
    return DONE;
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
