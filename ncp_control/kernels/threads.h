/* Distribution of parts of the batch over threads.
 *
 * A thread takes the next part that no thread has begun, so a slow core does less work. Threads
 * live only as long as one call: none can be lost by a fork, or compete with torch's threads later.
 * Each part may `commit` its contribution to a sum. Commits happen in the order of the parts, so a
 * sum does not depend on the number of threads.
 */

#ifndef NCP_THREADS_H
#define NCP_THREADS_H

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#define MOST_THREADS 256

struct team {
    void (*work)(struct team *team, int64_t part, void *workspace);
    void *(*make_workspace)(struct team *team);
    void *task;
    int64_t parts;

    int64_t next_part, next_commit;
    pthread_mutex_t lock;
    pthread_cond_t committed;
};

static void *work_through_parts(void *argument) {
    struct team *team = argument;
    void *workspace = team->make_workspace(team);
    if (!workspace) return NULL; /* the parts are left to the other threads */
    for (;;) {
        int64_t part = __atomic_fetch_add(&team->next_part, 1, __ATOMIC_RELAXED);
        if (part >= team->parts) break;
        team->work(team, part, workspace);
    }
    release(workspace);
    return NULL;
}

/* Wait until all earlier parts have committed. */
static void begin_commit(struct team *team, int64_t part) {
    pthread_mutex_lock(&team->lock);
    while (team->next_commit != part) pthread_cond_wait(&team->committed, &team->lock);
}

static void end_commit(struct team *team) {
    team->next_commit++;
    pthread_cond_broadcast(&team->committed);
    pthread_mutex_unlock(&team->lock);
}

/* Process all parts and return whether all were done; the calling thread works too. If a thread
 * cannot be created, the others take its parts. */
static int run_team(struct team *team, int64_t threads) {
    pthread_t helper[MOST_THREADS];
    int helpers = 0;
    if (threads > team->parts) threads = team->parts;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->committed, NULL);
    while (helpers < threads - 1 &&
           pthread_create(&helper[helpers], NULL, work_through_parts, team) == 0)
        helpers++;
    work_through_parts(team);
    while (helpers > 0) pthread_join(helper[--helpers], NULL);
    pthread_cond_destroy(&team->committed);
    pthread_mutex_destroy(&team->lock);
    return team->next_part >= team->parts;
}

#endif
