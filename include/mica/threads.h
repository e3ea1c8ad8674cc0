/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that wait for the network: a small stack, no signals, the monotonic clock. */
#ifndef MICA_THREADS_H
#define MICA_THREADS_H

#include "mica/err.h"

#include <pthread.h>

/* Signals stay with the program's main thread. UNAVAILABLE "no_threads"; `what` stands in its
 * text. */
mica_rc mica_thread_start(pthread_t *t, void *(*run)(void *), void *arg, const char *what,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_cond_init(pthread_cond_t *c);
/* Until mica_mono_ms() is `ms` or somebody signals (or for no reason at all). */
void mica_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, int64_t ms);
/* Between low_percent and 100 % of `ms`: what started together drifts apart. */
int64_t mica_jitter(int64_t ms, unsigned low_percent);

/* How many cores this process may use; at least 1. */
unsigned mica_cores(void);

#endif
