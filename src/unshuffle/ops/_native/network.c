/* Differentiable sorting networks: sorted values, their permutation matrix, vectors that ride along, derivatives.
 *
 * A layer of comparators is a symmetric matrix, the network their product P (items on rows, positions on columns). One
 * bilinear form is behind all of it, <P' items, positions>: a sweep through the layers carries the vectors of the items
 * to the positions, a pull back through them carries those of the positions to the items, and what both say about a
 * comparator is its derivative. The matrix itself is the sweep of unit vectors. Only finite present items have wires;
 * infinite ones hold the first and the last positions, equal ones in equal shares. Sets are worked on in groups of
 * LANE_WIDTH, one a lane, or alone, with lanes along their vectors.
 */
#include <stdlib.h>

#include "parallel.h"
#include "places.h"
#include "rows.h"
#include "sweeps.h"

typedef struct {
    Rows rows;
    int32_t network, relaxation;
    double steepness;
    int32_t matrix;           /* items are unit vectors; positions and arrived are n x n, with items on rows */
    int64_t d;                /* how long a vector is; n for a matrix */
    const void *items;        /* rows x n x d; NULL: unit vectors, or none */
    const void *positions;    /* rows x n x d, or NULL */
    const void *sorted_slope; /* rows x n, or NULL */
    void *sorted;             /* rows x n, or NULL: the sorted values */
    void *arrived;            /* rows x n x d, or NULL: P' items */
    void *collected;          /* rows x n x d, or NULL: P positions */
    void *slope;              /* rows x n, or NULL: the derivative by the values */
    double spoilt;            /* what becomes of a set that holds NaN: NaN itself, or a derivative of 0 */
} Job;

typedef struct {
    Sweep sweep;
    Set sets[LANE_WIDTH];
} Group;

/* ---------------------------------------------------------------------------------------------------- in and out */

/* Where a number of a set lies in an array of rows x n x d; component j of an item, or of a position. */
static inline int64_t at(const Job *job, const Set *set, uint32_t slot, int64_t j)
{
    return (set->row * job->rows.n + slot) * job->d + j;
}

/* Where, in a matrix, a finite item meets the position of a wire. */
static inline int64_t cell(const Job *job, const Set *set, int64_t wire, int64_t item)
{
    return at(job, set, set->item[set->below + item], set->place[set->below + wire]);
}

static void load_vectors(const Job *job, const Group *group, int64_t lane, const void *from, const uint32_t *slots,
                         double *to)
{
    const Set *set = &group->sets[lane];
    const Sweep *s = &group->sweep;
    for (int64_t wire = 0; wire < s->m; wire++)
        for (int64_t j = 0; j < job->d; j++)
            to[(wire * job->d + j) * s->lanes + lane] =
                read_number(from, at(job, set, slots[set->below + wire], j), job->rows.wide);
}

static void store_vectors(const Job *job, const Group *group, int64_t lane, const double *from, const uint32_t *slots,
                          void *to)
{
    const Set *set = &group->sets[lane];
    const Sweep *s = &group->sweep;
    for (int64_t wire = 0; wire < s->m; wire++)
        for (int64_t j = 0; j < job->d; j++)
            write_number(to, at(job, set, slots[set->below + wire], j), job->rows.wide,
                         from[(wire * job->d + j) * s->lanes + lane]);
}

static void load_values(const Job *job, Group *group, int64_t lane)
{
    Set *set = &group->sets[lane];
    const Sweep *s = &group->sweep;
    const Rows *rows = &job->rows;
    set->centre = INFINITY;
    for (int64_t wire = 0; wire < s->m; wire++) {
        double value = value_at(rows, set->row, set->item[set->below + wire]);
        s->wires[wire * s->lanes + lane] = value;
        if (fabs(value) < fabs(set->centre))
            set->centre = value;
    }
    if (!(fabs(set->centre) < 1e290)) /* no finite value less one of these is infinite */
        set->centre = 0.0;
    for (int64_t wire = 0; wire < s->m; wire++) {
        int64_t place = set->place[set->below + wire];
        s->wires[wire * s->lanes + lane] -= set->centre;
        if (job->slope)
            s->slopes[wire * s->lanes + lane] =
                job->sorted_slope ? read_number(job->sorted_slope, set->row * rows->n + place, rows->wide) : 0.0;
    }
}

static void load(const Job *job, Group *group, int64_t lane)
{
    const Set *set = &group->sets[lane];
    const Sweep *s = &group->sweep;
    load_values(job, group, lane);
    if (!job->matrix) {
        if (job->items)
            load_vectors(job, group, lane, job->items, set->item, s->vectors);
        if (job->positions)
            load_vectors(job, group, lane, job->positions, set->place, s->pulled);
        return;
    }
    for (int64_t wire = 0; wire < s->swept; wire++)
        s->vectors[(wire * s->m + wire) * s->lanes + lane] = 1.0;
    if (job->positions)
        for (int64_t item = 0; item < s->m; item++)
            for (int64_t wire = 0; wire < s->m; wire++)
                s->pulled[(wire * s->m + item) * s->lanes + lane] =
                    read_number(job->positions, cell(job, set, wire, item), job->rows.wide);
}

/* What arrives at the positions. */
static void store_swept(const Job *job, const Group *group, int64_t lane)
{
    const Set *set = &group->sets[lane];
    const Sweep *s = &group->sweep;
    for (int64_t wire = 0; job->sorted && wire < s->m; wire++)
        write_number(job->sorted, set->row * job->rows.n + set->place[set->below + wire], job->rows.wide,
                     s->wires[wire * s->lanes + lane] + set->centre);
    if (!job->matrix && job->arrived)
        store_vectors(job, group, lane, s->vectors, set->place, job->arrived);
    for (int64_t item = 0; job->matrix && job->arrived && item < s->m; item++)
        for (int64_t wire = 0; wire < s->m; wire++)
            write_number(job->arrived, cell(job, set, wire, item), job->rows.wide,
                         s->vectors[(wire * s->m + item) * s->lanes + lane]);
}

/* What comes back to the items. */
static void store_pulled(const Job *job, const Group *group, int64_t lane)
{
    const Set *set = &group->sets[lane];
    const Sweep *s = &group->sweep;
    for (int64_t wire = 0; job->slope && wire < s->m; wire++)
        write_number(job->slope, set->row * job->rows.n + set->item[set->below + wire], job->rows.wide,
                     s->slopes[wire * s->lanes + lane]);
    if (job->collected)
        store_vectors(job, group, lane, s->pulled, set->item, job->collected);
}

/* ------------------------------------------------------------------------------------------------ no finite numbers */

static void clear_set(const Job *job, const Set *set, int64_t d, void *to)
{
    if (to)
        fill_row(to, set->row, job->rows.n * d, job->rows.wide, 0.0);
}

/* All there is to a set with NaN; its masked slots keep their 0. */
static void spoil(const Job *job, const Set *set)
{
    const int64_t n = job->rows.n, present = set->above;
    for (int64_t k = 0; k < present; k++) {
        uint32_t slot = set->place[k];
        if (job->sorted)
            write_number(job->sorted, set->row * n + slot, job->rows.wide, job->spoilt);
        for (int64_t j = 0; j < (job->matrix ? present : job->d); j++) {
            int64_t index = at(job, set, slot, job->matrix ? set->place[j] : j);
            if (job->arrived)
                write_number(job->arrived, index, job->rows.wide, job->spoilt);
            if (job->collected)
                write_number(job->collected, index, job->rows.wide, job->spoilt);
        }
    }
}

/* Every slot of `to` gets the mean of the vectors at all slots of `from`. */
static void share_vectors(const Job *job, const Set *set, const void *vectors, const uint32_t *from, const uint32_t *to,
                          int64_t count, void *out)
{
    for (int64_t j = 0; vectors && out && j < job->d; j++) {
        double sum = 0.0;
        for (int64_t k = 0; k < count; k++)
            sum += read_number(vectors, at(job, set, from[k], j), job->rows.wide);
        for (int64_t k = 0; k < count; k++)
            write_number(out, at(job, set, to[k], j), job->rows.wide, sum / (double)count);
    }
}

/* `count` items at one infinity share their positions evenly, both from index `first` on. */
static void place_infinite(const Job *job, const Set *set, int64_t first, int64_t count, double value)
{
    const uint32_t *item = set->item + first, *place = set->place + first;
    for (int64_t k = 0; k < count; k++) {
        if (job->sorted)
            write_number(job->sorted, set->row * job->rows.n + place[k], job->rows.wide, value);
        for (int64_t j = 0; job->matrix && job->arrived && j < count; j++)
            write_number(job->arrived, at(job, set, item[k], place[j]), job->rows.wide, 1.0 / (double)count);
    }
    if (job->matrix)
        return;
    share_vectors(job, set, job->items, item, place, count, job->arrived);
    share_vectors(job, set, job->positions, place, item, count, job->collected);
}

/* All but what comes out of the network. */
static void finish_set(const Job *job, const Set *set)
{
    if (set->finite == job->rows.n)
        return;
    clear_set(job, set, 1, job->sorted);
    clear_set(job, set, job->d, job->arrived);
    clear_set(job, set, job->d, job->collected);
    clear_set(job, set, 1, job->slope);
    if (set->finite < 0) {
        spoil(job, set);
        return;
    }
    place_infinite(job, set, 0, set->below, -INFINITY);
    place_infinite(job, set, set->below + set->finite, set->above, INFINITY);
}

/* ---------------------------------------------------------------------------------------------------------- groups */

static void run_group(const Job *job, Group *group, const int64_t *rows, int64_t count, int64_t finite)
{
    Sweep *s = &group->sweep;
    const int backwards = job->positions || job->slope;
    s->m = finite < 0 ? 0 : finite;
    s->swept = !job->matrix ? (job->items ? job->d : 0) : job->arrived || job->positions ? s->m : 0;
    s->pulls = !job->positions ? 0 : job->matrix ? s->m : job->d;
    if (job->matrix) /* unit vectors: all the rest is 0 */
        memset(s->vectors, 0, (size_t)(s->m * s->swept * s->lanes) * sizeof *s->vectors);
    for (int64_t lane = 0; lane < count; lane++) {
        locate(&job->rows, rows[lane], finite, &group->sets[lane]);
        load(job, group, lane);
        finish_set(job, &group->sets[lane]);
    }
    sweep_through(s, backwards);
    for (int64_t lane = 0; lane < count; lane++)
        store_swept(job, group, lane);
    if (backwards)
        pull_back(s);
    for (int64_t lane = 0; lane < count; lane++)
        store_pulled(job, group, lane);
}

/* Sets of one size share a group: lists the rows by how many finite numbers they hold. */
static void order_rows(const Job *job, int64_t first, int64_t last, int64_t *rows, int64_t *sizes, int64_t *starts)
{
    const int64_t n = job->rows.n;
    for (int64_t i = 0; i < last - first; i++) {
        sizes[i] = count_finite(&job->rows, first + i);
        starts[sizes[i] + 2]++;
    }
    for (int64_t size = 0; size <= n; size++)
        starts[size + 1] += starts[size];
    for (int64_t i = 0; i < last - first; i++)
        rows[starts[sizes[i] + 1]++] = first + i;
}

enum { MOST_STATE = 1 << 14, MOST_MEMORY = 1 << 18 }; /* doubles of a group: in one layer, and remembered in all */

/* Room for groups of sets, as many lanes and as many remembered layers as memory near the core allows. */
static double *make_room(const Job *job, Group *group)
{
    Sweep *s = &group->sweep;
    const double n = (double)job->rows.n, d = (double)job->d, depth = (double)depth_of(job->network, job->rows.n);
    /* By what the caller sees, not by this thread's share: the lanes show in the last bits. */
    const int fits = n * (1 + d) * LANE_WIDTH <= MOST_STATE || d < LANE_WIDTH;
    s->lanes = job->rows.rows > 2 && fits ? LANE_WIDTH : 1;
    const double lanes = (double)s->lanes, state = n * (1 + d) * lanes, record = 0.5 * n * (4 + d) * lanes;
    /* Marks cost `state` a segment, records their size a layer: both together are least here. */
    double segment = record * depth <= MOST_MEMORY ? depth : ceil(sqrt(depth * state / record));
    double marks = segment < depth ? ceil(depth / segment) : 0.0;
    if (2 * state + marks * state + (segment + 1) * record > 1e15)
        return NULL;
    s->segment = segment < 1 ? 1 : (int64_t)segment;
    const size_t wires = (size_t)job->rows.n * (size_t)s->lanes, vectors = wires * (size_t)job->d;
    const size_t records = (wires / 2 + 1) * (4 + (size_t)job->d), marked = (size_t)marks * (wires + vectors);
    double *memory = calloc(3 * wires + 2 * vectors + marked + ((size_t)s->segment + 1) * records, sizeof *memory);
    s->wires = memory, s->slopes = s->wires + wires, s->gap = s->slopes + wires;
    s->vectors = s->gap + wires, s->pulled = s->vectors + vectors, s->marks = s->pulled + vectors;
    s->record = s->marks + marked, s->once = s->record + (size_t)s->segment * records;
    return memory;
}

static int run_rows(const void *argument, int64_t first, int64_t last)
{
    const Job *job = argument;
    const size_t n = (size_t)job->rows.n, count = (size_t)(last - first);
    Group group = {.sweep = {.network = job->network, .relaxation = job->relaxation, .steepness = job->steepness,
                             .by_values = job->slope != NULL}};
    double *room = make_room(job, &group);
    uint32_t *slots = malloc((2 * LANE_WIDTH * n + 1) * sizeof *slots);
    int64_t *rows = calloc(2 * count + n + 3, sizeof *rows), *sizes = rows + count, *starts = sizes + count;
    group.sweep.pairs = malloc((n / 2 + 1) * sizeof *group.sweep.pairs);
    int status = room && slots && rows && group.sweep.pairs ? DONE : OUT_OF_MEMORY;
    for (size_t lane = 0; lane < LANE_WIDTH && status == DONE; lane++)
        group.sets[lane].item = slots + 2 * lane * n, group.sets[lane].place = slots + (2 * lane + 1) * n;
    if (status == DONE) {
        order_rows(job, first, last, rows, sizes, starts);
        for (int64_t size = -1, done = 0; size <= job->rows.n; size++)
            for (int64_t end = starts[size + 1]; done < end;) {
                int64_t together = end - done < group.sweep.lanes ? end - done : group.sweep.lanes;
                run_group(job, &group, rows + done, together, size), done += together;
            }
    }
    free(room), free(slots), free(rows), free(group.sweep.pairs);
    return status;
}

EXPORT int unshuffle_network_sort(const void *values, const uint8_t *mask, int64_t rows, int64_t n, int64_t row_stride,
                                  int64_t item_stride, int32_t wide, int32_t network, int32_t relaxation,
                                  double steepness, void *sorted, void *matrix, int64_t threads)
{
    Job job = {.rows = {values, mask, rows, n, row_stride, item_stride, wide}, .network = network,
               .relaxation = relaxation, .steepness = steepness, .matrix = 1, .d = n, .sorted = sorted,
               .arrived = matrix, .spoilt = NAN};
    return share_rows(run_rows, &job, rows, threads);
}

EXPORT int unshuffle_network_sort_slope(const void *values, const uint8_t *mask, int64_t rows, int64_t n,
                                        int64_t row_stride, int64_t item_stride, int32_t wide, int32_t network,
                                        int32_t relaxation, double steepness, const void *sorted_slope,
                                        const void *matrix_slope, void *out, int64_t threads)
{
    Job job = {.rows = {values, mask, rows, n, row_stride, item_stride, wide}, .network = network,
               .relaxation = relaxation, .steepness = steepness, .matrix = 1, .d = n, .positions = matrix_slope,
               .sorted_slope = sorted_slope, .slope = out};
    return share_rows(run_rows, &job, rows, threads);
}

/* Vectors of the items, to the positions; or vectors of the positions, to the items. */
EXPORT int unshuffle_network_carry(const void *values, const uint8_t *mask, int64_t rows, int64_t n, int64_t row_stride,
                                   int64_t item_stride, int32_t wide, int32_t network, int32_t relaxation,
                                   double steepness, int64_t d, int32_t of_positions, const void *vectors, void *out,
                                   int64_t threads)
{
    Job job = {.rows = {values, mask, rows, n, row_stride, item_stride, wide}, .network = network,
               .relaxation = relaxation, .steepness = steepness, .d = d, .spoilt = NAN};
    if (of_positions)
        job.positions = vectors, job.collected = out;
    else
        job.items = vectors, job.arrived = out;
    return share_rows(run_rows, &job, rows, threads);
}

/* Derivatives by the values, unless `by_values` is NULL, and by the vectors. */
EXPORT int unshuffle_network_carry_slope(const void *values, const uint8_t *mask, int64_t rows, int64_t n,
                                         int64_t row_stride, int64_t item_stride, int32_t wide, int32_t network,
                                         int32_t relaxation, double steepness, int64_t d, int32_t of_positions,
                                         const void *vectors, const void *slope, void *by_values, void *by_vectors,
                                         int64_t threads)
{
    Job job = {.rows = {values, mask, rows, n, row_stride, item_stride, wide}, .network = network,
               .relaxation = relaxation, .steepness = steepness, .d = d, .slope = by_values};
    if (of_positions)
        job.positions = vectors, job.items = slope, job.arrived = by_vectors;
    else
        job.items = vectors, job.positions = slope, job.collected = by_vectors;
    return share_rows(run_rows, &job, rows, threads);
}
