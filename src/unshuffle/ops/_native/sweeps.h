/* Layers of comparators, swept through and pulled back, for a group of sets, one a lane, or for one set alone. */
#ifndef UNSHUFFLE_SWEEPS_H
#define UNSHUFFLE_SWEEPS_H

#include <string.h>

#include "comparators.h"

/* Numbers are by wire, by component, by lane. */
typedef struct {
    int32_t network, relaxation, by_values; /* by_values: slopes are pulled back, too */
    double steepness;
    int64_t lanes, segment;   /* how many layers are remembered at a time */
    int64_t m, swept, pulls;  /* wires, and components of what is swept and of what is pulled back */
    double *wires, *vectors;  /* what is swept */
    double *slopes, *pulled;  /* what is pulled back */
    double *marks;            /* wires and vectors where segments begin */
    double *record;           /* keep, cross, mix, slope, and differences of vectors, layer by layer */
    double *gap, *once;       /* of one layer; and a record that nobody asks for again */
    Pair *pairs;
} Sweep;

static inline int64_t record_size(const Sweep *s, int64_t m)
{
    return m / 2 * (4 + s->swept) * s->lanes;
}

static inline Exchange exchange_at(double *record, double *gap, int64_t count)
{
    return (Exchange){gap, record, record + count, record + 2 * count, record + 3 * count};
}

/* ---------------------------------------------------------------------------------------------------------- layers */

/* Exchanges two vectors and remembers their difference. With one lane a weight serves all components. */
INLINED void exchange_vectors(const int64_t lanes, int64_t d, const double *keep, const double *cross, double *low,
                                    double *high, double *apart)
{
    if (lanes == 1) {
        const double k = *keep, c = *cross;
#pragma omp simd
        for (int64_t j = 0; j < d; j++) {
            double a = low[j], b = high[j];
            apart[j] = b - a, low[j] = k * a + c * b, high[j] = c * a + k * b;
        }
        return;
    }
    for (int64_t j = 0; j < d; j++, low += lanes, high += lanes, apart += lanes)
#pragma omp simd
        for (int64_t lane = 0; lane < lanes; lane++) {
            double a = low[lane], b = high[lane], k = keep[lane], c = cross[lane];
            apart[lane] = b - a, low[lane] = k * a + c * b, high[lane] = c * a + k * b;
        }
}

/* Exchanges two pulled vectors; `told` is what they say about `cross`. */
INLINED void pull_vectors(const int64_t lanes, int64_t d, const double *keep, const double *cross, double *low,
                                double *high, const double *apart, double *told)
{
    if (lanes == 1) {
        const double k = *keep, c = *cross;
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < d; j++) {
            double a = low[j], b = high[j];
            sum += apart[j] * (a - b), low[j] = k * a + c * b, high[j] = c * a + k * b;
        }
        *told = sum;
        return;
    }
    for (int64_t j = 0; j < d; j++, low += lanes, high += lanes, apart += lanes)
#pragma omp simd
        for (int64_t lane = 0; lane < lanes; lane++) {
            double a = low[lane], b = high[lane], k = keep[lane], c = cross[lane];
            told[lane] += apart[lane] * (a - b), low[lane] = k * a + c * b, high[lane] = c * a + k * b;
        }
}

INLINED void exchange_values(const int64_t lanes, Pair pair, const double *move, double *wires)
{
    double *low = wires + pair.low * lanes, *high = wires + pair.high * lanes;
#pragma omp simd
    for (int64_t lane = 0; lane < lanes; lane++) {
        double a = low[lane], b = high[lane];
        low[lane] = (a < b ? a : b) + move[lane], high[lane] = (a < b ? b : a) - move[lane];
    }
}

INLINED void pull_slopes(const int64_t lanes, Pair pair, const double *mix, const double *slope,
                               const double *told, double *slopes)
{
    double *low = slopes + pair.low * lanes, *high = slopes + pair.high * lanes;
#pragma omp simd
    for (int64_t lane = 0; lane < lanes; lane++) {
        double a = low[lane], b = high[lane], keep = 1.0 - mix[lane], turn = slope[lane] * told[lane];
        low[lane] = keep * a + mix[lane] * b - turn, high[lane] = mix[lane] * a + keep * b + turn;
    }
}

/* Layers first .. last - 1, which `remember` the pull back or not. */
INLINED void sweep_layers(const int64_t lanes, Sweep *s, int64_t first, int64_t last,
                                int remember)
{
    const int64_t width = s->swept * lanes;
    for (int64_t layer = first; layer < last; layer++) {
        double *record = remember ? s->record + (layer - first) * record_size(s, s->m) : s->once;
        int64_t pairs = list_pairs(s->network, s->m, layer, s->pairs), count = pairs * lanes;
        Exchange e = exchange_at(record, s->gap, count);
        for (int64_t p = 0; p < pairs; p++)
#pragma omp simd
            for (int64_t lane = 0; lane < lanes; lane++)
                e.gap[p * lanes + lane] =
                    s->wires[s->pairs[p].high * lanes + lane] - s->wires[s->pairs[p].low * lanes + lane];
        exchange_all(s->relaxation, s->steepness, e, count);
        for (int64_t p = 0; p < pairs; p++) {
            Pair pair = s->pairs[p];
            exchange_values(lanes, pair, e.gap + p * lanes, s->wires);
            exchange_vectors(lanes, s->swept, e.keep + p * lanes, e.cross + p * lanes, s->vectors + pair.low * width,
                             s->vectors + pair.high * width, record + 4 * count + (remember ? p * width : 0));
        }
    }
}

/* The same layers backwards: vectors of positions, and slopes by the values. */
INLINED void pull_layers(const int64_t lanes, Sweep *s, int64_t first, int64_t last)
{
    const int64_t width = s->pulls * lanes;
    for (int64_t layer = last - 1; layer >= first; layer--) {
        double *record = s->record + (layer - first) * record_size(s, s->m);
        int64_t pairs = list_pairs(s->network, s->m, layer, s->pairs), count = pairs * lanes;
        Exchange e = exchange_at(record, s->gap, count);
        for (int64_t p = 0; p < pairs; p++) {
            Pair pair = s->pairs[p];
            double told[LANE_WIDTH] = {0.0}, *low = s->pulled + pair.low * width, *high = s->pulled + pair.high * width;
            if (s->swept)
                pull_vectors(lanes, s->pulls, e.keep + p * lanes, e.cross + p * lanes, low, high,
                             record + 4 * count + p * width, told);
            else
                exchange_vectors(lanes, s->pulls, e.keep + p * lanes, e.cross + p * lanes, low, high, s->once);
            if (s->by_values)
                pull_slopes(lanes, pair, e.mix + p * lanes, e.slope + p * lanes, told, s->slopes);
        }
    }
}

LANES static void sweep(Sweep *s, int64_t first, int64_t last, int remember)
{
    if (s->lanes == 1)
        sweep_layers(1, s, first, last, remember);
    else
        sweep_layers(LANE_WIDTH, s, first, last, remember);
}

LANES static void pull(Sweep *s, int64_t first, int64_t last)
{
    if (s->lanes == 1)
        pull_layers(1, s, first, last);
    else
        pull_layers(LANE_WIDTH, s, first, last);
}

/* All layers; to `pull_back` afterwards, the last ones are remembered, and where the others began. */
static inline void sweep_through(Sweep *s, int will_pull)
{
    const int64_t depth = depth_of(s->network, s->m), wires = s->m * s->lanes, vectors = wires * s->swept;
    int64_t first = 0;
    double *mark = s->marks;
    for (; will_pull && first + s->segment < depth; first += s->segment, mark += wires + vectors) {
        memcpy(mark, s->wires, (size_t)wires * sizeof *mark);
        memcpy(mark + wires, s->vectors, (size_t)vectors * sizeof *mark);
        sweep(s, first, first + s->segment, 0);
    }
    sweep(s, first, depth, will_pull);
}

/* All layers backwards; sweeps again what was not remembered. */
static inline void pull_back(Sweep *s)
{
    const int64_t depth = depth_of(s->network, s->m), wires = s->m * s->lanes, vectors = wires * s->swept;
    int64_t first = depth ? (depth - 1) / s->segment * s->segment : 0;
    pull(s, first, depth);
    for (int64_t last = first; last > 0; last = first) {
        first = last - s->segment;
        const double *mark = s->marks + first / s->segment * (wires + vectors);
        memcpy(s->wires, mark, (size_t)wires * sizeof *mark);
        memcpy(s->vectors, mark + wires, (size_t)vectors * sizeof *mark);
        sweep(s, first, last, 1);
        pull(s, first, last);
    }
}

#endif
