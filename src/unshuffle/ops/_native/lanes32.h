/* The exponential of lanes.h in single precision: twice as many lanes. */
#ifndef UNSHUFFLE_LANES32_H
#define UNSHUFFLE_LANES32_H

#include <stdint.h>
#include <string.h>

/* e^x to an ulp or two; 0 below -85: a denormal number would cost ten others. Above 88 it is large, no more. */
static inline float decay32(float x)
{
    const float lowest = -85.0f, inside = lowest > x ? lowest : x;
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    float whole = inside * 1.44269504f + shift, k = whole - shift;
    float r = (inside - k * 0.693359375f) - k * -2.12194440e-4f; /* ln 2 in two parts, the first of nine bits */
    /* Interpolates at Chebyshev's points, for which 3e-9 is left where |r| <= ln 2 / 2. */
    float w = r * r;
    float even = 1.39411085e-3f, odd = 8.37512640e-3f;
    even = even * w + 4.16663529e-2f, odd = odd * w + 1.66664155e-1f;
    even = even * w + 5.00000005e-1f, odd = odd * w + 1.00000004f;
    float p = 1.0f + (w * even + r * odd);
    int32_t bits;
    memcpy(&bits, &whole, sizeof bits);
    bits -= 0x4B400000 - 127; /* the low bits of `whole` hold k */
    uint32_t exponent = (uint32_t)(bits > 254 ? 254 : bits) << 23;
    float power;
    memcpy(&power, &exponent, sizeof power);
    return lowest > x ? 0.0f : p * power;
}

#endif
