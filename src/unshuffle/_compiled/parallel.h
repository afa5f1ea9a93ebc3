/* Rows shared out among threads that live for one call: no pool outlasts it, so that data loaders may fork.

   Rows are dealt in pieces to whoever asks, the caller's thread among them. Another thread may be slow to start: idle
   workers of PyTorch's own pool spin for a while, on the cores that are wanted. The caller then does its pieces too, and
   waits for pieces that were begun, never for a thread. What a late thread looks at outlives the call. */
#ifndef UNSHUFFLE_PARALLEL_H
#define UNSHUFFLE_PARALLEL_H

#include <stdint.h>
#include <stdlib.h>
#if !defined(_WIN32)
#include <pthread.h>
#endif

enum { MOST_THREADS = 64, PIECES_A_THREAD = 4 };

/* Works on rows first .. last - 1 and returns a status. */
typedef int (*Work)(const void *job, int64_t first, int64_t last);

#if !defined(_WIN32)
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Work work;
    const void *job; /* the caller's: not to be touched where no piece was dealt */
    int64_t rows, pieces, dealt, done, holders;
    int status;
} Table;

/* Takes pieces while there are any. */
static void serve(Table *table)
{
    pthread_mutex_lock(&table->lock);
    while (table->dealt < table->pieces) {
        const int64_t piece = table->dealt++;
        pthread_mutex_unlock(&table->lock);
        int status = table->work(table->job, table->rows * piece / table->pieces,
                                 table->rows * (piece + 1) / table->pieces);
        pthread_mutex_lock(&table->lock);
        if (table->status == 0)
            table->status = status;
        if (++table->done == table->pieces)
            pthread_cond_signal(&table->changed);
    }
    pthread_mutex_unlock(&table->lock);
}

/* Whoever leaves last clears the table. */
static void leave(Table *table)
{
    pthread_mutex_lock(&table->lock);
    const int64_t left = --table->holders;
    pthread_mutex_unlock(&table->lock);
    if (left > 0)
        return;
    pthread_cond_destroy(&table->changed);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

static void *help(void *argument)
{
    serve(argument);
    leave(argument);
    return NULL;
}

static void invite(Table *table, int64_t helpers)
{
    pthread_attr_t detached;
    if (pthread_attr_init(&detached) != 0)
        return;
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (int64_t t = 0; t < helpers; t++) {
        pthread_t handle;
        pthread_mutex_lock(&table->lock);
        table->holders++;
        pthread_mutex_unlock(&table->lock);
        if (pthread_create(&handle, &detached, help, table) != 0) {
            leave(table);
            break;
        }
    }
    pthread_attr_destroy(&detached);
}
#endif

/* Runs all rows on at most `threads` threads, the caller's among them. The first status that is not zero wins. */
static inline int share_rows(Work work, const void *job, int64_t rows, int64_t threads)
{
    if (threads > rows)
        threads = rows;
    if (threads > MOST_THREADS)
        threads = MOST_THREADS;
#if !defined(_WIN32)
    Table *table = threads > 1 ? malloc(sizeof *table) : NULL;
    if (table) {
        const int64_t pieces = rows < threads * PIECES_A_THREAD ? rows : threads * PIECES_A_THREAD;
        *table = (Table){.work = work, .job = job, .rows = rows, .pieces = pieces, .holders = 1};
        pthread_mutex_init(&table->lock, NULL);
        pthread_cond_init(&table->changed, NULL);
        invite(table, threads - 1);
        serve(table);
        pthread_mutex_lock(&table->lock);
        while (table->done < table->pieces)
            pthread_cond_wait(&table->changed, &table->lock);
        int status = table->status;
        pthread_mutex_unlock(&table->lock);
        leave(table);
        return status;
    }
#endif
    return work(job, 0, rows);
}

#endif
