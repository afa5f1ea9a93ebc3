/* Entropic transport of samples to classes: one read of the matrix, which tells what every class receives.

   A read may keep the exponentials that it computes, and later reads, for offsets near those of the first, take these:
   shares then differ by one factor a class. Rows lie dense in blocks; those of 16 bits are widened one by one, so that
   no more than that is read. A block's masses are summed apart and added up in order, so that threads, which take whole
   blocks, do not show in the answer. Masses are summed in the precision of the rows, single where it is half, over short
   runs only. */
#include <stdlib.h>

#include "halves.h"
#include "lanes.h"
#include "lanes32.h"
#include "parallel.h"
#include "rows.h"

enum { BLOCK_ROWS = 1024, RUN_ROWS = 32, LANES_AT_MOST = 16, CACHE_LINE = 64 };

/* What the matrix holds, as the loader numbers it. */
enum { SINGLE, DOUBLE, HALF, BRAIN };

/* Weights are raised by this, so that no small share of them is a denormal number. */
#define RAISED 1073741824.0

typedef struct {
    const void *values; /* dense rows of one kind */
    int64_t rows, classes, row_stride;
    double power;
    const void *offsets;   /* of the classes, in the precision of the values; then what this leaves of them */
    const double *weights; /* of the samples, or NULL: all are 1 */
    double *levels;        /* of each sample log sum exp(power * value + offset) at an earlier read, or NaN */
    void *tops;            /* of each sample the largest value, where the level is known */
    int64_t *labels;       /* the class of the largest share; or NULL, and then known levels may stay as they are */
    void *shares;          /* room for the exponentials, rows of whole lanes; or NULL */
    const void *factors;   /* of the classes, by which shares of an earlier read have grown; or NULL: they are made */
    double *masses;        /* of each class, for each block */
    int64_t *bad;          /* for each block the first row that no sample may have, or -1 */
    int32_t kind;
} Pass;

INLINED int64_t bytes_of_a_number(int32_t kind)
{
    return kind == DOUBLE ? 8 : kind == SINGLE ? 4 : 2;
}

/* Asks for memory ahead of its use: work on one row hides the way of the next one to the cache. */
INLINED void fetch(const void *memory, int64_t bytes)
{
#if defined(__GNUC__)
    for (int64_t b = 0; b < bytes; b += CACHE_LINE)
        __builtin_prefetch((const char *)memory + b, 0, 3);
#endif
}

/* A row as it lies, or widened into `room`. */
INLINED const float *floats_of_row(const Pass *p, int64_t i, float *room)
{
    if (p->kind == SINGLE)
        return (const float *)p->values + i * p->row_stride;
    const uint16_t *row = (const uint16_t *)p->values + i * p->row_stride;
    if (p->kind == HALF)
        widen_halves(row, p->classes, room);
    else
        widen_brains(row, p->classes, room);
    return room;
}

INLINED const double *doubles_of_row(const Pass *p, int64_t i, double *room)
{
    (void)room;
    return (const double *)p->values + i * p->row_stride;
}

#define REAL float
#define DECAY decay32
#define NAME(name) name##_of_floats
#define NUMBERS floats_of_row
#include "transport_rows.h"
#undef REAL
#undef DECAY
#undef NAME
#undef NUMBERS
#define REAL double
#define DECAY(x) decay((x) > 700.0 ? 700.0 : (x))
#define NAME(name) name##_of_doubles
#define NUMBERS doubles_of_row
#include "transport_rows.h"

/* The first whole line of a cache in `memory`, which holds one more than is needed: lanes read no two lines at once. */
static inline void *aligned(void *memory)
{
    return (void *)(((uintptr_t)memory + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
}

static int add_blocks(const void *job, int64_t first, int64_t last)
{
    const Pass *p = job;
    const size_t size = p->kind == DOUBLE ? sizeof(double) : sizeof(float);
    void *memory = malloc(3 * (size_t)(p->classes + LANES_AT_MOST) * size + CACHE_LINE);
    if (!memory)
        return OUT_OF_MEMORY;
    for (int64_t block = first; block < last; block++) {
        const int64_t begin = block * BLOCK_ROWS, end = begin + BLOCK_ROWS < p->rows ? begin + BLOCK_ROWS : p->rows;
        double *masses = p->masses + block * p->classes;
        memset(masses, 0, (size_t)p->classes * sizeof *masses);
        p->bad[block] = p->kind == DOUBLE ? add_block_of_doubles(p, begin, end, masses, aligned(memory))
                                          : add_block_of_floats(p, begin, end, masses, aligned(memory));
    }
    free(memory);
    return DONE;
}

/* Adds the masses of all blocks to `masses`; returns the first row that no sample may have, or -1. */
static int64_t sum_up(const Pass *p, int64_t blocks, double *masses)
{
    for (int64_t block = 0; block < blocks; block++) {
        if (p->bad[block] >= 0)
            return p->bad[block];
        for (int64_t k = 0; k < p->classes; k++)
            masses[k] += p->masses[block * p->classes + k];
    }
    return -1;
}

/* Adds to `masses` what every class receives from the rows; writes the first bad row, or -1, and with `labels` these and
   the levels for these offsets. A sample of weight 0 has neither. */
EXPORT int unshuffle_transport(const void *values, int64_t rows, int64_t classes, int64_t row_stride, int32_t kind,
                               double power, const double *offsets, const double *weights,
                               double *masses, double *levels, void *tops, int64_t *labels, void *shares,
                               const double *factors, int64_t *bad, int64_t threads)
{
    const int64_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const int64_t padded = (classes + LANES_AT_MOST - 1) / LANES_AT_MOST * LANES_AT_MOST;
    const size_t parts = 3 * (size_t)padded * sizeof(double), sums = (size_t)(blocks * classes) * sizeof(double);
    char *memory = malloc(parts + sums + (size_t)blocks * sizeof(int64_t) + CACHE_LINE);
    if (!memory)
        return OUT_OF_MEMORY;
    char *room = aligned(memory);
    if (kind == DOUBLE)
        split_offsets_of_doubles(offsets, factors, classes, padded, (double *)room);
    else
        split_offsets_of_floats(offsets, factors, classes, padded, (float *)room);
    const void *grown = factors ? room + 2 * (size_t)padded * (kind == DOUBLE ? sizeof(double) : sizeof(float)) : NULL;
    Pass pass = {values, rows, classes, row_stride, power, room, weights, levels, tops, labels, shares, grown,
                 (double *)(room + parts), (int64_t *)(room + parts + sums), kind};
    int status = share_rows(add_blocks, &pass, blocks, threads);
    if (status == DONE)
        *bad = sum_up(&pass, blocks, masses);
    free(memory);
    return status;
}
