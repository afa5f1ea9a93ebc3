/* Exponentials without a branch or a call, so that loops over them run in the lanes of the machine. */
#ifndef UNSHUFFLE_LANES_H
#define UNSHUFFLE_LANES_H

#include <stdint.h>
#include <string.h>

enum { LANE_WIDTH = 8 }; /* the most doubles that one instruction takes */

/* Inner loops run in lanes where the machine has them; the loader picks the version. */
#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && defined(__gnu_linux__)
#define LANES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LANES
#endif

/* A part of a function of LANES must become one with it, or it runs in the lanes of every machine. */
#if defined(__GNUC__)
#define INLINED static inline __attribute__((always_inline))
#else
#define INLINED static inline
#endif

/* Before a loop that finds the largest or smallest of real numbers. Clang begins these reductions at the largest finite
   number, so that of infinities alone it finds a number that is not among them; it gets a plain loop. */
#define PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
#define EXTREMES(...)
#else
#define EXTREMES(...) PRAGMA(omp simd __VA_ARGS__)
#endif

/* e^x for x <= 0, to an ulp or two: 2^k times a polynomial of the rest; 0 below -708, where it would be no normal number. */
static inline double decay(double x)
{
    const double inside = x < -708.0 ? -708.0 : x;
    const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to a whole number */
    double whole = inside * 1.4426950408889634074 + shift, k = whole - shift;
    double r = (inside - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10; /* ln 2 in two parts */
    /* Taylor to degree 13, even and odd terms side by side: |r| <= ln 2 / 2 leaves 4e-18. */
    double w = r * r, even = 1.0 / 479001600.0, odd = 1.0 / 6227020800.0;
    even = even * w + 1.0 / 3628800.0, odd = odd * w + 1.0 / 39916800.0;
    even = even * w + 1.0 / 40320.0, odd = odd * w + 1.0 / 362880.0;
    even = even * w + 1.0 / 720.0, odd = odd * w + 1.0 / 5040.0;
    even = even * w + 1.0 / 24.0, odd = odd * w + 1.0 / 120.0;
    even = even * w + 0.5, odd = odd * w + 1.0 / 6.0;
    double p = 1.0 + (r + w * (even + r * odd));
    uint64_t bits;
    memcpy(&bits, &whole, sizeof bits);
    bits = (bits + 1023) << 52; /* the low bits of `whole` hold k */
    double power;
    memcpy(&power, &bits, sizeof power);
    return x < -708.0 ? 0.0 : p * power;
}

#endif
