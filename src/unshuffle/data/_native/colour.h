/* Colours changed in place as Pillow's enhancers change them, a stretch of the planes at a time; levels stay real. */
#ifndef UNSHUFFLE_COLOUR_H
#define UNSHUFFLE_COLOUR_H

#include "sums.h"

enum { BRIGHTNESS, CONTRAST, SATURATION, HUE, CHANGES };
enum { STRETCH = 1024 }; /* pixels that stay in the nearest cache through all their changes */

/* A stretch of a picture: its planes lie side by side, `apart` from each other. */
typedef struct {
    float *plane;
    int64_t apart, pixels;
    int32_t coloured; /* three planes, not one */
} Stretch;

/* ITU-R 601 */
INLINED float brightness_of(float red, float green, float blue)
{
    return red * 0.299f + green * 0.587f + blue * 0.114f;
}

INLINED float sum_of_brightness(Stretch at)
{
    const float *red = at.plane, *green = red + at.apart, *blue = green + at.apart;
    float sum = 0.0f;
    if (at.coloured) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < at.pixels; i++)
            sum += brightness_of(red[i], green[i], blue[i]);
    } else {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < at.pixels; i++)
            sum += red[i];
    }
    return sum;
}

/* Each level times `keep`, and `base`. */
INLINED void blend(Stretch at, float keep, float base)
{
    for (int32_t channel = 0; channel < (at.coloured ? 3 : 1); channel++) {
        float *plane = at.plane + channel * at.apart;
        for (int64_t i = 0; i < at.pixels; i++)
            plane[i] = within(plane[i] * keep + base);
    }
}

/* Each level times `keep`, and the rest of the pixel's brightness: 1 changes nothing, 0 leaves greys. */
INLINED void saturate(Stretch at, float keep)
{
    float *restrict red = at.plane, *restrict green = red + at.apart, *restrict blue = green + at.apart;
    const float rest = 1.0f - keep;
#pragma omp simd
    for (int64_t i = 0; i < at.pixels; i++) {
        const float base = brightness_of(red[i], green[i], blue[i]) * rest;
        red[i] = within(red[i] * keep + base);
        green[i] = within(green[i] * keep + base);
        blue[i] = within(blue[i] * keep + base);
    }
}

/* How far a hue is from a channel's centre, from one to two sixths of a turn. */
INLINED float share_of(float hue, float centre)
{
    const float away = fabsf(hue - centre), least = away > 1.0f / 6.0f ? away : 1.0f / 6.0f;
    return least < 1.0f / 3.0f ? least : 1.0f / 3.0f;
}

/* Moves colours around their circle; `turn_hue_` in colour.py has the formula. */
INLINED void turn_hue(Stretch at, float turns)
{
    float *restrict red = at.plane, *restrict green = red + at.apart, *restrict blue = green + at.apart;
    const float offset = 1.0f + turns; /* so that what is rounded down is positive */
#pragma omp simd
    for (int64_t i = 0; i < at.pixels; i++) {
        const float r = red[i], g = green[i], b = blue[i];
        const float low = r < g ? r : g, high = r > g ? r : g;
        const float least = low < b ? low : b, most = high > b ? high : b, chroma = most - least;
        const float each = 1.0f / (chroma > 1e-6f ? chroma : 1e-6f), side = (g - b) * each;
        const float away = (fabsf(side) * (1.0f / 3.0f) - 0.5f) * ((r - least) * each - 0.5f) + 0.25f;
        float hue = copysignf(away, side) + offset;
        hue -= (float)(int32_t)hue;
        const float six = 6.0f * chroma;
        red[i] = (least - chroma) + six * share_of(hue, 1.0f / 2.0f);
        green[i] = (most + chroma) - six * share_of(hue, 1.0f / 3.0f);
        blue[i] = (most + chroma) - six * share_of(hue, 2.0f / 3.0f);
    }
}

/* One of the four changes; those of contrast know the mean brightness of the picture. */
INLINED void change(Stretch at, int64_t which, const float *factors, float mean)
{
    const float factor = which >= BRIGHTNESS && which <= HUE ? factors[which] : 0.0f;
    if (which == BRIGHTNESS)
        blend(at, factor, 0.0f);
    else if (which == CONTRAST)
        blend(at, factor, mean * (1.0f - factor));
    else if (which == SATURATION && at.coloured)
        saturate(at, factor);
    else if (which == HUE && at.coloured)
        turn_hue(at, factor);
}

#endif
