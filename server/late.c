/* SPDX-License-Identifier: Apache-2.0 */
#include "late.h"

#include "mica/clock.h"
#include "mica/mem.h"
#include "mica/threads.h"

#include <time.h>

struct late {
	pthread_mutex_t lock;
	pthread_cond_t come;
	struct late_item *first, **last;
	struct late_pace pace;
	bool stopped;
	bool running;
	pthread_t thread;
};

static int64_t now_us(void)
{
	return mica_mono_ns() / 1000;
}

int64_t late_due(struct late_pace *p, int64_t now)
{
	int64_t due = now + LATE_LEAST_MS * 1000, most = now + LATE_MOST_MS * 1000;

	if (p->last_us && due < p->last_us + p->step_us)
		due = p->last_us + p->step_us;
	if (due > most)
		due = most;
	p->last_us = due;
	return due;
}

/* All that are due, in order; waits for the first. NULL when it was stopped and none is left. */
static struct late_item *take(struct late *l)
{
	struct late_item *first, **end;
	int64_t now;

	pthread_mutex_lock(&l->lock);
	for (;;) {
		now = now_us();
		if (l->stopped || (l->first && l->first->due_us <= now))
			break;
		if (!l->first) {
			pthread_cond_wait(&l->come, &l->lock);
		} else {
			struct timespec until = {.tv_sec = l->first->due_us / 1000000,
				.tv_nsec = l->first->due_us % 1000000 * 1000};
			pthread_cond_timedwait(&l->come, &l->lock, &until);
		}
	}
	first = l->first;
	for (end = &l->first; *end && (l->stopped || (*end)->due_us <= now); end = &(*end)->next)
		(*end)->link = NULL;
	l->first = *end;
	*end = NULL;
	if (l->first)
		l->first->link = &l->first;
	else
		l->last = &l->first;
	pthread_mutex_unlock(&l->lock);
	return first;
}

static void *loop(void *arg)
{
	struct late *l = arg;
	struct late_item *i, *next;

	while ((i = take(l)))
		for (; i; i = next) {
			next = i->next; /* it is gone behind this */
			i->fn(i->job);
		}
	return NULL;
}

mica_rc late_new(unsigned per_second, struct late **out, struct mica_err *e)
{
	struct late *l = MICA_NEW(struct late);
	mica_rc rc;

	pthread_mutex_init(&l->lock, NULL);
	mica_cond_init(&l->come);
	l->last = &l->first;
	l->pace.step_us = 1000000 / (per_second ? per_second : 1);
	rc = mica_thread_start(&l->thread, loop, l, "late answers", e);
	l->running = rc == MICA_OK;
	if (l->running)
		*out = l;
	else
		late_free(l);
	return rc;
}

bool late_add(struct late *l, struct late_item *i, void (*fn)(void *job), void *job)
{
	bool ok;

	pthread_mutex_lock(&l->lock);
	ok = !l->stopped;
	if (ok) {
		*i = (struct late_item){.link = l->last,
			.due_us = late_due(&l->pace, now_us()),
			.fn = fn,
			.job = job};
		if (!l->first)
			pthread_cond_signal(&l->come);
		*l->last = i;
		l->last = &i->next;
	}
	pthread_mutex_unlock(&l->lock);
	return ok;
}

bool late_remove(struct late *l, struct late_item *i)
{
	bool waits;

	pthread_mutex_lock(&l->lock);
	waits = i->link != NULL;
	if (waits) {
		*i->link = i->next;
		if (i->next)
			i->next->link = i->link;
		else
			l->last = i->link;
		i->link = NULL;
	}
	pthread_mutex_unlock(&l->lock);
	return waits;
}

void late_stop(struct late *l)
{
	pthread_mutex_lock(&l->lock);
	l->stopped = true;
	pthread_cond_signal(&l->come);
	pthread_mutex_unlock(&l->lock);
	if (l->running)
		pthread_join(l->thread, NULL);
	l->running = false;
}

void late_free(struct late *l)
{
	if (!l)
		return;
	late_stop(l);
	pthread_cond_destroy(&l->come);
	pthread_mutex_destroy(&l->lock);
	mica_free(l);
}
