/* Rows shared out among threads that live for one call: no pool outlasts it, so that data loaders may fork. */
#ifndef UNSHUFFLE_PARALLEL_H
#define UNSHUFFLE_PARALLEL_H

#include <stdint.h>
#if !defined(_WIN32)
#include <pthread.h>
#endif

enum { MOST_THREADS = 64 };

/* Works on rows first .. last - 1 and returns a status. */
typedef int (*Work)(const void *job, int64_t first, int64_t last);

typedef struct {
    Work work;
    const void *job;
    int64_t first, last;
    int status;
} Share;

#if !defined(_WIN32)
static void *do_share(void *argument)
{
    Share *share = argument;
    share->status = share->work(share->job, share->first, share->last);
    return NULL;
}
#endif

/* Runs all rows on at most `threads` threads, the caller's among them. The first status that is not zero wins. */
static inline int share_rows(Work work, const void *job, int64_t rows, int64_t threads)
{
    if (threads > rows)
        threads = rows;
    if (threads > MOST_THREADS)
        threads = MOST_THREADS;
#if defined(_WIN32)
    threads = 1;
#endif
    if (threads <= 1)
        return work(job, 0, rows);
#if !defined(_WIN32)
    Share shares[MOST_THREADS];
    pthread_t handles[MOST_THREADS];
    int started[MOST_THREADS] = {0};
    for (int64_t t = 0; t < threads; t++) {
        shares[t] = (Share){work, job, rows * t / threads, rows * (t + 1) / threads, 0};
        if (t + 1 < threads)
            started[t] = pthread_create(&handles[t], NULL, do_share, &shares[t]) == 0;
        if (!started[t])
            do_share(&shares[t]); /* the last share is the caller's, and so is one that got no thread */
    }
    int status = 0;
    for (int64_t t = 0; t < threads; t++) {
        if (started[t])
            pthread_join(handles[t], NULL);
        if (status == 0)
            status = shares[t].status;
    }
    return status;
#endif
}

#endif
