/* Numbers of 16 bits, made single ones: without a branch, so that the loops run in the lanes of the machine. */
#ifndef UNSHUFFLE_HALVES_H
#define UNSHUFFLE_HALVES_H

#include <stdint.h>
#include <string.h>

#include "lanes.h"

/* IEEE half precision: the exponent is moved by a product, which is exact, and makes denormal numbers normal. */
INLINED void widen_halves(const uint16_t *halves, int64_t count, float *singles)
{
#pragma omp simd
    for (int64_t k = 0; k < count; k++) {
        const uint32_t half = halves[k], there = (half & 0x7FFFu) << 13;
        float size;
        memcpy(&size, &there, sizeof size);
        size *= 0x1p112f;
        uint32_t bits;
        memcpy(&bits, &size, sizeof bits);
        bits |= (half & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u; /* infinities and NaN have no larger exponent there */
        bits |= (half & 0x8000u) << 16;
        memcpy(singles + k, &bits, sizeof bits);
    }
}

/* bfloat16: the upper half of a single number. */
INLINED void widen_brains(const uint16_t *brains, int64_t count, float *singles)
{
#pragma omp simd
    for (int64_t k = 0; k < count; k++) {
        const uint32_t bits = (uint32_t)brains[k] << 16;
        memcpy(singles + k, &bits, sizeof bits);
    }
}

#endif
