/* Views of pictures: a crop scaled and perhaps mirrored, its colours changed, blurred, solarised and normalised.
 *
 * One view is made after the other, in scratch space that stays in cache. What happens was drawn before, and all of it is
 * what data/draws.py does in PyTorch. Filters sum whole rows, which fill lanes; along the other axis rows are turned into
 * columns first, and back.
 */
#include <stdlib.h>

#include "colour.h"
#include "door.h"
#include "parallel.h"

/* Statuses: a box does not lie within its picture; an array has another length than the numbers of views, channels and
   pictures say, or these are no numbers to work with. */
enum { OUTSIDE = 2, WRONG_LENGTH = 3 };

/* The arrays of a call, in the order of the arguments, and the numbers a view that each holds; the last are a channel's. */
enum { ARRAYS = 13, OF_CHANNELS = 2 };
static const int64_t NUMBERS_A_VIEW[ARRAYS - OF_CHANNELS] = {1, 1, 1, 1, 1, CHANGES, CHANGES, 1, 1, 1, 1};

typedef struct {
    const uint8_t *images; /* pictures x channels x height x width, dense; view v is of picture v % pictures */
    int64_t pictures, channels, height, width;
    const int64_t *top, *left, *high, *wide;
    const uint8_t *mirrored;
    const float *factors;  /* views x 4, as the next */
    const int64_t *order;
    const uint8_t *changed, *grey;
    const double *sigma;
    const uint8_t *solarised;
    const float *offset, *scale; /* one a channel: what is subtracted of the levels, and what the rest is multiplied by */
    int64_t size;
    float *out; /* views x channels x size x size */
} Job;

typedef struct {
    float *strip, *scaled; /* rows of a crop as columns, before and after */
    float *narrow;         /* the crop, scaled along its rows; later what a blur needs */
    float *planes;         /* the view */
    Taps rows, columns;
    double *filters;
} Scratch;

/* Rows of the crop, `STRIP` at a time: turned into columns, scaled, turned back. */
LANES static void scale_rows(const Job *job, int64_t view, Scratch *at)
{
    const int64_t size = job->size, high = job->high[view], wide = job->wide[view];
    const uint8_t *image = job->images + (view % job->pictures) * job->channels * job->height * job->width;
    const uint8_t *corner = image + job->top[view] * job->width + job->left[view];
    for (int64_t begin = 0; begin < job->channels * high; begin += STRIP) {
        const int64_t rest = job->channels * high - begin, count = rest < STRIP ? rest : STRIP;
        for (int64_t k = 0; k < count; k++) {
            const int64_t channel = (begin + k) / high, y = (begin + k) % high;
            const uint8_t *row = corner + (channel * job->height + y) * job->width;
            for (int64_t x = 0; x < wide; x++)
                at->strip[x * STRIP + k] = (float)row[x];
        }
        filter_rows(at->scaled, at->strip, &at->columns, size, STRIP);
        for (int64_t k = 0; k < count; k++)
            for (int64_t x = 0; x < size; x++)
                at->narrow[(begin + k) * size + x] = at->scaled[x * STRIP + k];
    }
}

LANES static void crop(const Job *job, int64_t view, Scratch *at)
{
    const int64_t size = job->size, high = job->high[view];
    scaling(&at->rows, 0, high, size, 0);
    scaling(&at->columns, 0, job->wide[view], size, job->mirrored[view]);
    scale_rows(job, view, at);
    for (int64_t channel = 0; channel < job->channels; channel++)
        filter_rows(at->planes + channel * size * size, at->narrow + channel * high * size, &at->rows, size, size);
}

/* All changes up to that of contrast, which needs the mean of what they leave, and then the rest. */
LANES static void recolour(const Job *job, int64_t view, float *planes)
{
    const int64_t pixels = job->size * job->size, *order = job->order + view * CHANGES;
    const float *factors = job->factors + view * CHANGES;
    const int32_t coloured = job->channels == 3, greyed = coloured && job->grey[view];
    const int64_t changes = job->changed[view] ? CHANGES : 0;
    double sum = 0.0;
    float mean = 0.0f;
    int64_t turn = 0;
    while (turn < changes && order[turn] != CONTRAST)
        turn++;
    for (int64_t begin = 0; changes && begin < pixels; begin += STRETCH) {
        const Stretch at = {planes + begin, pixels, pixels - begin < STRETCH ? pixels - begin : STRETCH, coloured};
        for (int64_t step = 0; step < turn; step++)
            change(at, order[step], factors, mean);
        sum += (double)sum_of_brightness(at);
    }
    mean = floorf((float)(sum / (double)pixels) + 0.5001f); /* a half is rounded up, whichever way its last bit fell */
    for (int64_t begin = 0; (changes || greyed) && begin < pixels; begin += STRETCH) {
        const Stretch at = {planes + begin, pixels, pixels - begin < STRETCH ? pixels - begin : STRETCH, coloured};
        for (int64_t step = turn; step < changes; step++)
            change(at, order[step], factors, mean);
        if (greyed)
            saturate(at, 0.0f);
    }
}

/* Levels as numbers around 0; where solarised, the lesser of a level and its negative. */
INLINED float normal(float level, float turned, float offset, float scale)
{
    const float negative = turned - level;
    return ((level < negative ? level : negative) - offset) * scale;
}

LANES static void write(const Job *job, int64_t view, int64_t channel, const float *plane)
{
    const int64_t pixels = job->size * job->size;
    const float turned = job->solarised[view] ? 255.0f : 510.0f;
    const float offset = job->offset[channel], scale = job->scale[channel];
    float *out = job->out + (view * job->channels + channel) * pixels;
    for (int64_t i = 0; i < pixels; i++)
        out[i] = normal(plane[i], turned, offset, scale);
}

LANES static void blur(int64_t size, const Taps *taps, float *plane, float *scratch)
{
    filter_rows(scratch, plane, taps, size, size);
    turn(plane, scratch, size);
    filter_rows(scratch, plane, taps, size, size);
    turn(plane, scratch, size);
}

static void make_view(const Job *job, int64_t view, Scratch *at)
{
    const int64_t pixels = job->size * job->size;
    const int blurred = job->sigma[view] > 0.0;
    crop(job, view, at);
    recolour(job, view, at->planes);
    if (blurred)
        blurring(&at->rows, average_of(job->sigma[view]), job->size, at->filters);
    for (int64_t channel = 0; channel < job->channels; channel++) {
        float *plane = at->planes + channel * pixels;
        if (blurred)
            blur(job->size, &at->rows, plane, at->narrow);
        write(job, view, channel, plane);
    }
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* All scratch space of a thread, in one piece: floats, then places, then doubles, each a multiple of 16 long. */
static void *take_scratch(const Job *job, int64_t most_blurring, Scratch *at)
{
    const int64_t size = job->size, pixels = size * size, length = larger(job->height, job->width);
    const int64_t counts[] = {job->width * STRIP, size * STRIP, larger(job->channels * job->height * size, pixels),
                              job->channels * pixels, size * larger(most_taps(length, size), most_blurring),
                              size * most_taps(length, size)};
    float **const floats[] = {&at->strip, &at->scaled, &at->narrow, &at->planes, &at->rows.weights,
                              &at->columns.weights};
    int64_t total = 0;
    for (int k = 0; k < 6; k++)
        total += (counts[k] + 15) / 16 * 16;
    const int64_t bytes = total * (int64_t)sizeof(float) + 2 * size * (int64_t)sizeof(int64_t)
                          + (2 * size + 1) * (int64_t)sizeof(double);
    float *block = malloc((size_t)bytes), *next = block;
    if (!block)
        return NULL;
    for (int k = 0; k < 6; next += (counts[k] + 15) / 16 * 16, k++)
        *floats[k] = next;
    memset(at->strip, 0, (size_t)counts[0] * sizeof(float)); /* columns beyond the last row are summed, and not used */
    at->rows.first = (int64_t *)next;
    at->columns.first = at->rows.first + size;
    at->filters = (double *)(at->columns.first + size);
    return block;
}

static int within_picture(const Job *job, int64_t view)
{
    return job->top[view] >= 0 && job->left[view] >= 0 && job->high[view] > 0 && job->wide[view] > 0
           && job->high[view] <= job->height - job->top[view] && job->wide[view] <= job->width - job->left[view];
}

static int work(const void *argument, int64_t first, int64_t last)
{
    const Job *job = argument;
    int64_t most_blurring = 1;
    for (int64_t view = first; view < last; view++) {
        if (!within_picture(job, view))
            return OUTSIDE;
        if (job->sigma[view] > 0.0)
            most_blurring = larger(most_blurring, 2 * reach_of(average_of(job->sigma[view])) + 1);
    }
    Scratch scratch;
    void *block = take_scratch(job, most_blurring < job->size ? most_blurring : job->size, &scratch);
    if (!block)
        return OUT_OF_MEMORY;
    for (int64_t view = first; view < last; view++)
        make_view(job, view, &scratch);
    free(block);
    return DONE;
}

static int lengths_fit(const Job *job, int64_t views, const int64_t *lengths)
{
    int fit = views >= 0 && job->size > 0 && (job->channels == 1 || job->channels == 3)
              && (views == 0 || (job->pictures > 0 && job->height > 0 && job->width > 0));
    for (int k = 0; k < ARRAYS; k++)
        fit = fit && lengths[k] == (k < ARRAYS - OF_CHANNELS ? views * NUMBERS_A_VIEW[k] : job->channels);
    return fit;
}

/* `lengths` holds those of the arrays from `top` to `scale`; nothing is read unless they are right. */
EXPORT int unshuffle_views(const uint8_t *images, int64_t pictures, int64_t channels, int64_t height, int64_t width,
                           const int64_t *top, const int64_t *left, const int64_t *high, const int64_t *wide,
                           const uint8_t *mirrored, const float *factors, const int64_t *order, const uint8_t *changed,
                           const uint8_t *grey, const double *sigma, const uint8_t *solarised, const float *offset,
                           const float *scale, const int64_t *lengths, int64_t size, int64_t views, float *out,
                           int64_t threads)
{
    const Job job = {images, pictures, channels, height, width, top, left, high, wide, mirrored, factors, order,
                     changed, grey, sigma, solarised, offset, scale, size, out};
    return lengths_fit(&job, views, lengths) ? share_rows(work, &job, views, threads) : WRONG_LENGTH;
}
