/* Projections onto permutahedra: soft ranks, soft top-k, soft sorting, and the products with their Jacobians.
 *
 * Values sorted downwards, u_0 >= u_1 >= ..., are cut into blocks of neighbours by pooling adjacent violators
 * (Best & Chakravarti 1990); in each block the answer has a closed form (Blondel et al. 2020). Only the gaps between
 * neighbours enter: a block knows its own shape, relative to its first item, and how far below the next block begins.
 * No sum runs over more than a block and weights never meet values, so nothing cancels, whatever the magnitudes.
 */
#include <stdlib.h>

#include "lanes.h"
#include "parallel.h"
#include "rows.h"
#include "sort.h"

enum { RANK = 0, TOPK = 1, SORT = 2 }; /* tasks */
enum { L2 = 0, KL = 1 };               /* regularizations */

#define BLOCK_START 0x80000000u /* marks the first item of a block in the order that is kept for the derivative */

typedef struct {
    uint32_t start, length;
    double shape; /* L2: sum of u_start - u_i; KL: sum of exp(u_i - u_start) */
    double reach; /* u_start less the first u of the next block; for KL ranks and top-k, exp of minus that */
    double level; /* KL sorting: log of the shape less the log of the same sum over positions */
} Block;

_Static_assert(sizeof(Block) <= 2 * sizeof(Wide), "blocks lie where the row was sorted");

typedef struct {
    Rows rows;
    int32_t task, regularization;
    double strength, sign; /* sign -1: the largest first */
    int64_t k;
    void *out;
    int32_t *order; /* rows x n slots, largest first, marked at block starts; NULL: no derivative is wanted */
    int32_t *extent; /* rows x 3: where the finite values begin and end in that order, and how many are present */
} Projection;

typedef struct {
    Sorted sorted;
    Block *blocks;   /* where the row was sorted */
    double *gap;     /* to the next number; for ranks and top-k in units of the strength, with KL exp of minus that */
    uint32_t *slots; /* the present slots of a row, in order: for sorting */
} Scratch;

static int make_scratch(Scratch *scratch, const Rows *rows)
{
    if (make_sorted(&scratch->sorted, rows->n, rows->wide) != DONE)
        return OUT_OF_MEMORY;
    size_t n = (size_t)rows->n;
    scratch->blocks = scratch->sorted.items;
    scratch->gap = malloc((n + LANE_WIDTH) * sizeof(double) + (rows->mask ? n * sizeof(uint32_t) : 0));
    scratch->slots = (uint32_t *)(scratch->gap + n + LANE_WIDTH);
    return scratch->gap ? DONE : OUT_OF_MEMORY;
}

static void list_slots(const Rows *rows, int64_t row, uint32_t *slots)
{
    for (int64_t slot = 0, count = 0; slot < rows->n; slot++)
        if (!rows->mask || rows->mask[row * rows->n + slot])
            slots[count++] = (uint32_t)slot;
}

/* Sum of the vertex's entries over positions start .. start + length - 1, of n: n, n - 1, ... or k ones. */
static inline double weight(const int32_t task, int64_t n, int64_t k, int64_t start, int64_t length)
{
    if (task == RANK)
        return (double)length * ((double)(n - start) - 0.5 * (double)(length - 1));
    int64_t ones = k - start;
    return (double)(ones < 0 ? 0 : ones > length ? length : ones);
}

/* How much of the regulariser one unit of values is worth; at strength 0 any gap is beyond all bounds. */
static inline double scaled(double gap, double strength)
{
    return gap == 0.0 ? 0.0 : gap / strength;
}

/* Turns gaps, in units of the strength, into exp(-gap); there is room for whole lanes. */
LANES static void fade_all(double *gap, int64_t count)
{
    for (int64_t i = count; i % LANE_WIDTH; i++)
        gap[i] = 0.0;
#pragma omp simd
    for (int64_t i = 0; i < (count + LANE_WIDTH - 1) / LANE_WIDTH * LANE_WIDTH; i++)
        gap[i] = decay(-gap[i]);
}

/* Whether two neighbouring blocks must share one fit. (No quotient: the answers wait for each other.) */
static inline int violates(const int32_t task, const int32_t regularization, const Projection *p, int64_t n,
                           const Block *a, const Block *b)
{
    double la = (double)a->length, lb = (double)b->length, half = 0.5 * (la + lb);
    if (task == SORT && regularization == KL)
        return la / p->strength - a->reach <= a->level - b->level;
    double apart = a->reach * la * lb - a->shape * lb + b->shape * la; /* L2: the difference of means, times la lb */
    if (task == SORT)
        return half * la * lb <= p->strength * apart;
    if (task == RANK && regularization == L2)
        return apart <= half * la * lb;
    double wa = weight(task, n, p->k, a->start, a->length), wb = weight(task, n, p->k, b->start, b->length);
    if (task == RANK)
        return a->shape * wb <= a->reach * b->shape * wa;
    if (regularization == L2) {
        double step = wa * lb - wb * la;
        return step > 0 && apart <= step;
    }
    return wb == 0 || a->shape * wb < a->reach * b->shape * wa;
}

/* Joins b, the next block, to a. */
static inline void join(const int32_t task, const int32_t regularization, const Projection *p, Block *a,
                        const Block *b)
{
    double la = (double)a->length, lb = (double)b->length;
    if (regularization == L2)
        a->shape += lb * a->reach + b->shape;
    else
        a->shape += (task == SORT ? exp(-a->reach) : a->reach) * b->shape;
    a->length += b->length;
    a->reach = task != SORT && regularization == KL ? a->reach * b->reach : a->reach + b->reach;
    if (task == SORT && regularization == KL)
        a->level = log(a->shape) - log(expm1(-(la + lb) / p->strength) / expm1(-1.0 / p->strength));
}

/* Pools the finite numbers at begin .. end - 1, of n present, into blocks; returns how many. */
static inline int64_t pool(const int32_t task, const int32_t regularization, const Projection *p, const double *number,
                           int64_t begin, int64_t end, int64_t n, Scratch *scratch)
{
    Block *blocks = scratch->blocks;
    double *gap = scratch->gap;
    for (int64_t i = begin; i + 1 < end; i++)
        gap[i - begin] = task == SORT ? number[i] - number[i + 1] : scaled(number[i] - number[i + 1], p->strength);
    if (task != SORT && regularization == KL)
        fade_all(gap, end - begin - 1);
    gap[end - begin - 1] = 0.0; /* nobody asks */
    int64_t top = -1;
    for (int64_t i = begin; i < end; i++) {
        blocks[++top] = (Block){(uint32_t)i, 1, regularization == L2 ? 0.0 : 1.0, gap[i - begin], 0.0};
        while (top > 0) {
            Block *a = &blocks[top - 1], *b = &blocks[top];
            if (!violates(task, regularization, p, n, a, b))
                break;
            join(task, regularization, p, a, b);
            top--;
        }
    }
    return top + 1;
}

/* Writes ranks or memberships of one block's items. */
static inline void write_ranks(const int32_t task, const int32_t regularization, const Projection *p, int64_t row,
                               const Scratch *scratch, const Block *block, int64_t begin, int64_t n)
{
    const int32_t wide = p->rows.wide;
    int64_t base = row * p->rows.n;
    double total = weight(task, n, p->k, block->start, block->length), mean = total / (double)block->length;
    const Sorted *sorted = &scratch->sorted;
    double below = 0.0, share = total / block->shape, depth = block->shape / (double)block->length;
    for (int64_t i = block->start; i < (int64_t)block->start + block->length; i++) {
        if (regularization == L2) {
            double answer = mean + (depth - below);
            if (task == TOPK) /* rounding may leave the bounds */
                answer = answer < 0.0 ? 0.0 : answer > 1.0 ? 1.0 : answer;
            write_number(p->out, base + sorted->slot[i], wide, answer);
            below += scratch->gap[i - begin];
        } else {
            write_number(p->out, base + sorted->slot[i], wide, share);
            share *= scratch->gap[i - begin];
        }
    }
}

/* Writes the sorted values of one block, into slots[position] if there is a mask. */
static inline void write_sorted(const int32_t regularization, const Projection *p, int64_t row, const Sorted *sorted,
                                const Block *block, const uint32_t *slots)
{
    const int32_t wide = p->rows.wide;
    double first = sorted->number[block->start], middle = 0.5 * (double)(block->length - 1);
    for (int64_t i = 0; i < block->length; i++) {
        double answer = first;
        if (block->length > 1 && regularization == L2)
            answer += (middle - (double)i) / p->strength - block->shape / (double)block->length;
        else if (block->length > 1)
            answer += block->level - (double)i / p->strength;
        int64_t position = block->start + i;
        int64_t slot = slots ? slots[position] : position;
        write_number(p->out, row * p->rows.n + slot, wide, p->sign * answer);
    }
}

/* Values beyond all numbers, at positions first .. last - 1: they are placed, and nothing is soft about them. */
static void write_infinite(const Projection *p, int64_t row, const Sorted *sorted, int64_t first, int64_t last,
                           int64_t n, const uint32_t *slots)
{
    const int32_t wide = p->rows.wide;
    int64_t base = row * p->rows.n;
    double mean = first < last ? weight(p->task, n, p->k, first, last - first) / (double)(last - first) : 0.0;
    for (int64_t i = first; i < last; i++)
        if (p->task == SORT)
            write_number(p->out, base + (slots ? slots[i] : i), wide, p->sign * sorted->number[i]);
        else
            write_number(p->out, base + sorted->slot[i], wide, mean);
}

static void keep_order(const Projection *p, int64_t row, const uint32_t *slot, int64_t count, const Block *blocks,
                       int64_t number, int64_t begin, int64_t end)
{
    uint32_t *order = (uint32_t *)p->order + row * p->rows.n;
    memcpy(order, slot, (size_t)count * sizeof *order);
    for (int64_t b = 0; b < number; b++)
        order[blocks[b].start] |= BLOCK_START;
    p->extent[3 * row] = (int32_t)begin;
    p->extent[3 * row + 1] = (int32_t)end;
    p->extent[3 * row + 2] = (int32_t)count;
}

static inline void project_row(const int32_t task, const int32_t regularization, const Projection *p, int64_t row,
                               Scratch *scratch)
{
    const int32_t wide = p->rows.wide;
    const Sorted *sorted = &scratch->sorted;
    int64_t n = p->rows.n, begin, end, count = sort_row(&p->rows, row, p->sign, &scratch->sorted);
    if (count < 0) {
        spoil_row(&p->rows, row, p->out);
        if (p->order)
            memset(p->extent + 3 * row, 0, 3 * sizeof *p->extent);
        return;
    }
    const uint32_t *slots = NULL;
    if (count < n) {
        fill_row(p->out, row, n, wide, 0.0);
        list_slots(&p->rows, row, scratch->slots);
        slots = scratch->slots;
    }
    find_finite(sorted, count, &begin, &end);
    write_infinite(p, row, sorted, 0, begin, count, slots);
    write_infinite(p, row, sorted, end, count, count, slots);
    int64_t number = 0;
    if (begin < end)
        number = pool(task, regularization, p, sorted->number, begin, end, count, scratch);
    for (int64_t b = 0; b < number; b++)
        if (task == SORT)
            write_sorted(regularization, p, row, sorted, &scratch->blocks[b], slots);
        else
            write_ranks(task, regularization, p, row, scratch, &scratch->blocks[b], begin, count);
    if (p->order)
        keep_order(p, row, sorted->slot, count, scratch->blocks, number, begin, end);
}

static int project_rows(const void *job, int64_t first, int64_t last)
{
    const Projection *p = job;
    Scratch scratch = {.gap = NULL};
    int status = make_scratch(&scratch, &p->rows);
    for (int64_t row = first; row < last && status == DONE; row++)
        switch (2 * p->task + p->regularization) { /* constants, so that each loop is compiled for its case */
        case 2 * RANK + L2: project_row(RANK, L2, p, row, &scratch); break;
        case 2 * RANK + KL: project_row(RANK, KL, p, row, &scratch); break;
        case 2 * TOPK + L2: project_row(TOPK, L2, p, row, &scratch); break;
        case 2 * TOPK + KL: project_row(TOPK, KL, p, row, &scratch); break;
        case 2 * SORT + L2: project_row(SORT, L2, p, row, &scratch); break;
        default: project_row(SORT, KL, p, row, &scratch);
        }
    free_sorted(&scratch.sorted);
    free(scratch.gap);
    return status;
}

EXPORT int unshuffle_project(const void *values, const uint8_t *mask, int64_t rows, int64_t n, int64_t row_stride,
                             int64_t item_stride, int32_t wide, int32_t task, int32_t regularization,
                             double strength, double sign, int64_t k, void *out, int32_t *order, int32_t *extent,
                             int64_t threads)
{
    Projection projection = {{values, mask, rows, n, row_stride, item_stride, wide},
                             task, regularization, strength, sign, k, out, order, extent};
    return share_rows(project_rows, &projection, rows, threads);
}

/* ------------------------------------------------------------------------------------------------- derivatives */

typedef struct {
    Rows rows;
    int32_t task, regularization;
    double strength, sign;
    int64_t k;
    const int32_t *order, *extent;
    const void *slope; /* rows x n, dense: the derivative by the answer */
    void *out;
} Derivative;

typedef struct {
    double *mass;    /* what each item weighs in its block */
    uint32_t *slots; /* the present slots of a row, in order */
} Weights;

static inline uint32_t slot_of(const uint32_t *order, int64_t position)
{
    return order[position] & ~BLOCK_START;
}

/* Fills mass[i] with the item's weight in its block: exp(u_i - u_start) for KL, one for L2. */
static inline void weigh_row(const int32_t regularization, const Derivative *d, int64_t row, const uint32_t *order,
                             int64_t begin, int64_t end, double *mass)
{
    if (regularization == L2) {
        for (int64_t i = begin; i < end; i++)
            mass[i] = 1.0;
        return;
    }
    int64_t base = row * d->rows.row_stride, stride = d->rows.item_stride;
    double *gap = mass + begin, before = 0.0;
    for (int64_t i = begin; i < end; i++) {
        double value = d->sign * read_number(d->rows.values, base + slot_of(order, i) * stride, d->rows.wide);
        gap[i - begin] = d->task == SORT ? before - value : scaled(before - value, d->strength);
        before = value;
    }
    fade_all(gap, end - begin);
    double share = 1.0;
    for (int64_t i = begin; i < end; i++) /* no branch: where blocks begin is hard to guess */
        mass[i] = share = order[i] & BLOCK_START ? 1.0 : share * mass[i];
}

static inline double sum_of(const double *numbers, int64_t start, int64_t stop)
{
    double sum = 0.0;
    for (int64_t i = start; i < stop; i++)
        sum += numbers[i];
    return sum;
}

/* Ranks and top-k: with s the shares of the block's weight W, W (diag(s) - s s') v / strength. */
static inline void slope_of_ranks(const int32_t regularization, const Derivative *d, int64_t row,
                                  const uint32_t *order, int64_t start, int64_t stop, const double *mass)
{
    const int32_t wide = d->rows.wide;
    int64_t base = row * d->rows.n;
    double total = regularization == L2 ? (double)(stop - start) : sum_of(mass, start, stop), sum = 0.0;
    double scale = d->sign / d->strength;
    if (regularization == KL)
        scale *= weight(d->task, d->extent[3 * row + 2], d->k, start, stop - start) / total;
    for (int64_t i = start; i < stop; i++)
        sum += (regularization == L2 ? 1.0 : mass[i]) * read_number(d->slope, base + slot_of(order, i), wide);
    double mean = sum / total;
    for (int64_t i = start; i < stop; i++) {
        int64_t place = base + slot_of(order, i);
        double share = regularization == L2 ? 1.0 : mass[i];
        write_number(d->out, place, wide, scale * share * (read_number(d->slope, place, wide) - mean));
    }
}

/* Sorting: an item takes its share of the slopes at all positions of its block. */
static inline void slope_of_sorted(const Derivative *d, int64_t row, const uint32_t *order, int64_t start,
                                   int64_t stop, const Weights *weights)
{
    const int32_t wide = d->rows.wide;
    int64_t base = row * d->rows.n;
    double total = sum_of(weights->mass, start, stop), sum = 0.0;
    for (int64_t i = start; i < stop; i++)
        sum += read_number(d->slope, base + weights->slots[i], wide);
    for (int64_t i = start; i < stop; i++)
        write_number(d->out, base + slot_of(order, i), wide, sum * weights->mass[i] / total);
}

static inline void differentiate_row(const int32_t task, const int32_t regularization, const Derivative *d, int64_t row,
                                     Weights *weights)
{
    const uint32_t *order = (const uint32_t *)d->order + row * d->rows.n;
    int64_t begin = d->extent[3 * row], end = d->extent[3 * row + 1];
    fill_row(d->out, row, d->rows.n, d->rows.wide, 0.0);
    if (task != SORT && d->strength == 0.0)
        return;
    if (task == SORT)
        list_slots(&d->rows, row, weights->slots);
    if (task == SORT || regularization == KL)
        weigh_row(regularization, d, row, order, begin, end, weights->mass);
    for (int64_t start = begin, stop; start < end; start = stop) {
        for (stop = start + 1; stop < end && !(order[stop] & BLOCK_START); stop++)
            ;
        if (task == SORT)
            slope_of_sorted(d, row, order, start, stop, weights);
        else if (stop > start + 1) /* an item alone has a whole rank, and no slope */
            slope_of_ranks(regularization, d, row, order, start, stop, weights->mass);
    }
}

static int differentiate_rows(const void *job, int64_t first, int64_t last)
{
    const Derivative *d = job;
    size_t n = (size_t)d->rows.n;
    char *memory = malloc((n + LANE_WIDTH) * sizeof(double) + n * sizeof(uint32_t));
    if (!memory)
        return OUT_OF_MEMORY;
    Weights weights = {(double *)memory, (uint32_t *)(memory + (n + LANE_WIDTH) * sizeof(double))};
    for (int64_t row = first; row < last; row++)
        if (d->task == SORT && d->regularization == L2)
            differentiate_row(SORT, L2, d, row, &weights);
        else if (d->task == SORT)
            differentiate_row(SORT, KL, d, row, &weights);
        else if (d->regularization == L2)
            differentiate_row(RANK, L2, d, row, &weights); /* top-k differs in weights only, which L2 does not use */
        else
            differentiate_row(d->task, KL, d, row, &weights);
    free(memory);
    return DONE;
}

EXPORT int unshuffle_differentiate(const void *values, const uint8_t *mask, int64_t rows, int64_t n, int64_t row_stride,
                                   int64_t item_stride, int32_t wide, int32_t task, int32_t regularization,
                                   double strength, double sign, int64_t k, const int32_t *order,
                                   const int32_t *extent, const void *slope, void *out, int64_t threads)
{
    Derivative derivative = {{values, mask, rows, n, row_stride, item_stride, wide},
                             task, regularization, strength, sign, k, order, extent, slope, out};
    return share_rows(differentiate_rows, &derivative, rows, threads);
}
