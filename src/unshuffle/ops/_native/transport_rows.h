/* Blocks of rows computed in one precision. transport.c includes this twice, for float and double, with REAL, DECAY, NAME
   and NUMBERS set; the last finds the numbers of a row.

   No loop has a rest: the last numbers of a row are copied beside as many minus infinities as fill the lanes. */

/* A row of the matrix, its last numbers in whole lanes. */
typedef struct {
    const REAL *numbers;
    int64_t whole; /* how many numbers fill whole lanes */
    REAL last[LANES_AT_MOST];
} NAME(Row);

/* What the offsets of the classes, in two parts, make of a number: what it is worth, in the logarithm. */
typedef struct {
    const REAL *offset, *rest;
    REAL power, top, level; /* (number - top) * power + offset - level */
} NAME(Scale);

INLINED void NAME(read_row)(const Pass *p, int64_t i, REAL *room, NAME(Row) *row)
{
    row->numbers = NUMBERS(p, i, room);
    row->whole = p->classes / LANES_AT_MOST * LANES_AT_MOST;
    for (int64_t k = 0; k < LANES_AT_MOST; k++)
        row->last[k] = -INFINITY;
    if (row->whole < p->classes)
        memcpy(row->last, row->numbers + row->whole, (size_t)(p->classes - row->whole) * sizeof(REAL));
}

/* The largest of some numbers and `top`; NaN is passed over. */
INLINED REAL NAME(largest)(const REAL *numbers, int64_t count, REAL top)
{
EXTREMES(reduction(max : top))
    for (int64_t k = 0; k < count; k++)
        top = numbers[k] > top ? numbers[k] : top;
    return top;
}

INLINED REAL NAME(worth)(const NAME(Scale) *s, REAL number, int64_t k)
{
    return ((number - s->top) * s->power + s->offset[k]) + s->rest[k] - s->level;
}

INLINED REAL NAME(largest_worth)(const NAME(Scale) *s, const REAL *numbers, int64_t first, int64_t count, REAL most)
{
EXTREMES(reduction(max : most))
    for (int64_t k = 0; k < count; k++) {
        REAL t = NAME(worth)(s, numbers[k], first + k);
        most = t > most ? t : most;
    }
    return most;
}

/* Writes what the numbers of the classes from `first` on are worth; returns the sum. */
INLINED REAL NAME(share_out)(const NAME(Scale) *s, const REAL *numbers, int64_t first, int64_t count, REAL *shares)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < count; k++) {
        REAL share = DECAY(NAME(worth)(s, numbers[k], first + k));
        shares[first + k] = share;
        sum += share;
    }
    return sum;
}

/* Shares of a whole row, and their sum. */
INLINED REAL NAME(share_row)(const NAME(Scale) *s, const NAME(Row) *row, int64_t lanes, REAL *shares)
{
    REAL sum = NAME(share_out)(s, row->numbers, 0, row->whole, shares);
    return row->whole < lanes ? sum + NAME(share_out)(s, row->last, row->whole, LANES_AT_MOST, shares) : sum;
}

/* Shares of an earlier read, grown by the factors of the classes, and their sum. */
INLINED REAL NAME(grow_row)(const REAL *kept, const REAL *factors, int64_t lanes, REAL *shares)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < lanes; k++) {
        REAL share = kept[k] * factors[k];
        shares[k] = share;
        sum += share;
    }
    return sum;
}

/* Keeps the shares of a row, but for those that no factor makes count: the others never become denormal numbers. */
INLINED void NAME(keep_row)(const REAL *shares, int64_t lanes, REAL *kept)
{
#pragma omp simd
    for (int64_t k = 0; k < lanes; k++)
        kept[k] = shares[k] < (REAL)1e-27 ? 0 : shares[k];
}

/* Looks for the largest number and the largest worth, so that the shares are from 0 to 1; returns 0 if that fails. */
INLINED int NAME(set_level)(NAME(Scale) *s, const NAME(Row) *row, int64_t lanes)
{
    s->level = 0;
    s->top = NAME(largest)(row->numbers, row->whole, NAME(largest)(row->last, LANES_AT_MOST, -INFINITY));
    if (!(s->top > -INFINITY && s->top < INFINITY))
        return 0;
    REAL most = NAME(largest_worth)(s, row->numbers, 0, row->whole, -INFINITY);
    if (row->whole < lanes)
        most = NAME(largest_worth)(s, row->last, row->whole, LANES_AT_MOST, most);
    s->level = most;
    return most > -INFINITY;
}

/* Computes the shares of one sample, relative to a level near its own; returns their sum, or 0 if the row holds what no
   sample may. The level is that of an earlier read, if it is near: no need to look for the largest number first. */
INLINED REAL NAME(compute_row)(const Pass *p, int64_t i, NAME(Scale) *s, REAL *shares, int64_t lanes)
{
    NAME(Row) row;
    NAME(read_row)(p, i, shares + 2 * lanes, &row);
    REAL *top = (REAL *)p->tops + i, sum = 0;
    int known = p->levels[i] == p->levels[i];
    if (known) {
        s->top = *top;
        s->level = (REAL)(p->levels[i] - p->power * (double)*top);
        sum = NAME(share_row)(s, &row, lanes, shares);
        known = sum > (REAL)1e-6 && sum < (REAL)1e6;
    }
    if (!known) {
        if (!NAME(set_level)(s, &row, lanes))
            return 0;
        sum = NAME(share_row)(s, &row, lanes, shares);
        if (!(sum > 0 && sum < INFINITY))
            return 0;
    }
    if (p->shares) { /* they are relative to this level, no other */
        *top = s->top;
        p->levels[i] = p->power * (double)s->top + (double)s->level;
    } else if (!known || p->labels) {
        *top = s->top;
        p->levels[i] = p->power * (double)s->top + ((double)s->level + log((double)sum));
    }
    return sum;
}

/* Adds the shares of one sample to the masses of a run; returns 0 if the row holds what no sample may. */
INLINED int NAME(add_row)(const Pass *p, int64_t i, NAME(Scale) *s, REAL *shares, REAL *run, int64_t lanes)
{
    REAL *kept = p->shares ? (REAL *)p->shares + i * lanes : NULL, sum;
    if (p->factors)
        sum = NAME(grow_row)(kept, (const REAL *)p->factors, lanes, shares);
    else
        sum = NAME(compute_row)(p, i, s, shares, lanes);
    if (!(sum > 0))
        return 0;
    if (kept && !p->factors)
        NAME(keep_row)(shares, lanes, kept);
    if (kept && p->labels)
        p->levels[i] += log((double)sum);
    const REAL w = (REAL)((p->weights ? p->weights[i] : 1.0) * RAISED) / sum;
#pragma omp simd
    for (int64_t k = 0; k < lanes; k++)
        run[k] += w * shares[k];
    return 1;
}

INLINED int64_t NAME(first_largest)(const REAL *shares, int64_t lanes)
{
    const REAL top = NAME(largest)(shares, lanes, 0);
    int64_t k = 0;
    while (k < lanes && shares[k] != top)
        k++;
    return k;
}

/* Adds the masses of the rows first .. last - 1 to `masses`; returns the first row that no sample may have, or -1. */
LANES static int64_t NAME(add_block)(const Pass *p, int64_t first, int64_t last, double *masses, REAL *room)
{
    const int64_t lanes = (p->classes + LANES_AT_MOST - 1) / LANES_AT_MOST * LANES_AT_MOST;
    const int64_t item = bytes_of_a_number(p->kind);
    REAL *shares = room, *run = room + lanes; /* and then room for a row that is widened */
    NAME(Scale) scale = {p->offsets, (const REAL *)p->offsets + lanes, (REAL)p->power, 0, 0};
    for (int64_t begin = first; begin < last; begin += RUN_ROWS) {
        memset(run, 0, (size_t)lanes * sizeof *run);
        for (int64_t i = begin; i < last && i < begin + RUN_ROWS; i++) {
            if (p->weights && p->weights[i] == 0.0)
                continue;
            if (i + 1 < p->rows && p->factors)
                fetch((const REAL *)p->shares + (i + 1) * lanes, lanes * (int64_t)sizeof(REAL));
            else if (i + 1 < p->rows)
                fetch((const char *)p->values + (i + 1) * p->row_stride * item, p->classes * item);
            if (!NAME(add_row)(p, i, &scale, shares, run, lanes))
                return i;
            if (p->labels)
                p->labels[i] = NAME(first_largest)(shares, lanes);
        }
        for (int64_t k = 0; k < p->classes; k++)
            masses[k] += (double)run[k] / RAISED;
    }
    return -1;
}

/* The offsets of the classes in REAL, what is left of them, and the factors; slots beyond the classes are forbidden. */
static void NAME(split_offsets)(const double *offsets, const double *factors, int64_t classes, int64_t lanes,
                                REAL *parts)
{
    for (int64_t k = 0; k < lanes; k++) {
        parts[k] = k < classes ? (REAL)offsets[k] : -INFINITY;
        parts[lanes + k] = parts[k] > -INFINITY ? (REAL)(offsets[k] - (double)parts[k]) : 0;
        parts[2 * lanes + k] = factors && k < classes ? (REAL)factors[k] : 0;
    }
}
