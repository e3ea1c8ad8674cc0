/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* sched_getaffinity */
#include "mica/threads.h"

#include "mica/secret.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define STACK ((size_t)1 << 20)

mica_rc mica_thread_start(
	pthread_t *t, void *(*run)(void *), void *arg, const char *what, struct mica_err *e)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(t, &attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return mica_fail(e, MICA_UNAVAILABLE, "no_threads",
			"no thread for %s could be started: %s", what, strerror(rc));
	return MICA_OK;
}

void mica_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(c, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void mica_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	pthread_cond_timedwait(c, lock, &t);
}

int64_t mica_jitter(int64_t ms, unsigned low_percent)
{
	int64_t low = ms * low_percent / 100;
	uint32_t r;

	mica_random(&r, sizeof(r));
	return low + (ms - low) * (int64_t)(r >> 8) / (1 << 24);
}

unsigned mica_cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}
