/* SPDX-License-Identifier: Apache-2.0 */
/* A small pool of threads for what must not hold up a worker of http.h. Jobs are done in order, as
 * many at a time as there are threads. */
#ifndef MICA_SERVER_WORK_H
#define MICA_SERVER_WORK_H

#include "mica/err.h"

struct work; /* opaque */

/* Per job. `run` false: the pool stopped before it began this one; give back what it holds. */
typedef void work_fn(void *job, bool run);

mica_rc work_new(unsigned threads, unsigned max_queue, struct work **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* False when the queue is full or the pool has stopped: the job stays the caller's. Any thread. */
bool work_push(struct work *w, work_fn *fn, void *job) MICA_MUST_CHECK;
/* Ends the threads behind what they are doing; then hands back what waits. Once; not from a job. */
void work_stop(struct work *w);
void work_free(struct work *w); /* stops first, if that was not done; NULL is fine */

#endif
