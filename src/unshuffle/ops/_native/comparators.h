/* Sorting networks and what their comparators do: which wires meet in a layer, and how much of them is exchanged. */
#ifndef UNSHUFFLE_COMPARATORS_H
#define UNSHUFFLE_COMPARATORS_H

#include <math.h>
#include <stdint.h>

#include "lanes.h"
#include "tails.h"

enum { ODD_EVEN = 0, BITONIC = 1 };                                                     /* networks */
enum { LOGISTIC = 0, LOGISTIC_PHI, GAUSSIAN_CDF, RECIPROCAL, CAUCHY, OPTIMAL, HARD_SWAP }; /* relaxations */

/* A comparator: the smaller value leaves on wire `low`, the larger on wire `high`. */
typedef struct {
    uint32_t low, high;
} Pair;

static inline int64_t blocks_of(int64_t m)
{
    int64_t blocks = 0;
    while (((int64_t)1 << blocks) < m)
        blocks++;
    return blocks;
}

static inline int64_t depth_of(int32_t network, int64_t m)
{
    int64_t blocks = blocks_of(m);
    if (m < 2)
        return 0;
    return network == ODD_EVEN ? m : blocks * (blocks + 1) / 2;
}

/* Lists the comparators of one layer, m / 2 at most; returns how many. */
static inline int64_t list_pairs(int32_t network, int64_t m, int64_t layer, Pair *pairs)
{
    int64_t count = 0;
    if (network == ODD_EVEN) {
        for (int64_t wire = layer % 2; wire + 1 < m; wire += 2)
            pairs[count++] = (Pair){(uint32_t)wire, (uint32_t)wire + 1};
        return count;
    }
    int64_t block = 0;
    while (layer > block)
        layer -= ++block;
    /* A network for 2^k wires, of which the first are left out, and all comparators that touch them. */
    int64_t stride = (int64_t)1 << (block - layer), left_out = ((int64_t)1 << blocks_of(m)) - m;
    for (int64_t wire = left_out; wire < left_out + m; wire++) {
        if (wire & stride)
            continue;
        uint32_t one = (uint32_t)(wire - left_out), other = (uint32_t)(one + stride);
        pairs[count++] = (wire >> (block + 1)) & 1 ? (Pair){other, one} : (Pair){one, other};
    }
    return count;
}

/* What a layer's comparators do, lane by lane: each array holds `lanes` numbers a comparator. */
typedef struct {
    double *gap;   /* the value on wire `high` less that on `low`, then how far both move */
    double *keep;  /* how much stays on its wire, and how much crosses over: one of them is small, and exact */
    double *cross;
    double *mix;   /* how much crosses over of a slope by the values themselves */
    double *slope; /* of `cross` by the gap */
} Exchange;

/* How much of two values `gap` apart is exchanged, 1 - f(steepness * gap), and its derivative by the gap. */
INLINED void exchange_of(const int32_t relaxation, double steepness, double gap, double *share, double *slope)
{
    double v = steepness * gap;
    v = v < 1e300 ? v : 1e300; /* so that no slope of zero meets an infinity */
    if (relaxation == LOGISTIC) {
        double e = decay(-v), r = 1.0 / (1.0 + e);
        *share = e * r, *slope = -steepness * (e * r * r);
    } else if (relaxation == LOGISTIC_PHI) {
        double root = sqrt(sqrt(gap + 1e-10)), by_gap = steepness / root * (1.0 - 0.25 * gap / (gap + 1e-10));
        double e = decay(-v / root), r = 1.0 / (1.0 + e), falling = e * r * r;
        *share = e * r, *slope = falling == 0.0 ? 0.0 : -by_gap * falling;
    } else if (relaxation == GAUSSIAN_CDF) {
        double z = v * 0.70710678118654752440, e = decay(-z * z);
        *share = 0.5 * e * scaled_erfc(z), *slope = -steepness * (0.39894228040143267794 * e);
    } else if (relaxation == RECIPROCAL) {
        double r = 1.0 / (2.0 + v);
        *share = r, *slope = -steepness * (r * r);
    } else if (relaxation == CAUCHY) {
        *share = angle_above(v), *slope = -steepness * (0.31830988618379067154 / (1.0 + v * v));
    } else if (relaxation == OPTIMAL) {
        double far = 0.0625 / (v > 0.25 ? v : 0.25);
        *share = v > 0.25 ? far : 0.5 - v, *slope = -steepness * (v > 0.25 ? 16.0 * far * far : 1.0);
    } else {
        *share = gap > 0.0 ? 0.0 : 0.5, *slope = 0.0;
    }
}

INLINED void exchange_by(const int32_t relaxation, double steepness, Exchange e, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        double apart = e.gap[i], gap = fabs(apart), share, slope;
        gap = gap < 1.7e308 ? gap : 1.7e308;
        exchange_of(relaxation, steepness, gap, &share, &slope);
        const double mix = share + slope * gap, rest = 1.0 - share;
        const int swapped = apart < 0.0;
        e.gap[i] = share * gap;
        e.keep[i] = swapped ? share : rest;
        e.cross[i] = swapped ? rest : share;
        e.mix[i] = swapped ? 1.0 - mix : mix;
        e.slope[i] = slope;
    }
}

/* Fills an exchange from its gaps, which become what the two values move towards each other. */
LANES static void exchange_all(int32_t relaxation, double steepness, Exchange e, int64_t count)
{
    switch (relaxation) { /* constants, so that each loop is compiled for its case */
    case LOGISTIC: exchange_by(LOGISTIC, steepness, e, count); break;
    case LOGISTIC_PHI: exchange_by(LOGISTIC_PHI, steepness, e, count); break;
    case GAUSSIAN_CDF: exchange_by(GAUSSIAN_CDF, steepness, e, count); break;
    case RECIPROCAL: exchange_by(RECIPROCAL, steepness, e, count); break;
    case CAUCHY: exchange_by(CAUCHY, steepness, e, count); break;
    case OPTIMAL: exchange_by(OPTIMAL, steepness, e, count); break;
    default: exchange_by(HARD_SWAP, steepness, e, count);
    }
}

#endif
