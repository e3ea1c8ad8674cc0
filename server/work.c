/* SPDX-License-Identifier: Apache-2.0 */
#include "work.h"

#include "mica/mem.h"

#include <pthread.h>

#define THREADS_MAX 16

struct item {
	work_fn *fn;
	void *job;
};

struct work {
	pthread_mutex_t lock;
	pthread_cond_t come;
	struct item *ring;
	unsigned room, first, n;
	bool stopped;
	pthread_t threads[THREADS_MAX];
	unsigned n_threads;
};

static bool take(struct work *w, struct item *out)
{
	bool have;
	pthread_mutex_lock(&w->lock);
	while (w->n == 0 && !w->stopped)
		pthread_cond_wait(&w->come, &w->lock);
	have = !w->stopped;
	if (have) {
		*out = w->ring[w->first];
		w->first = (w->first + 1) % w->room;
		w->n--;
	}
	pthread_mutex_unlock(&w->lock);
	return have;
}

static void *loop(void *arg)
{
	struct work *w = arg;
	struct item i;
	while (take(w, &i))
		i.fn(i.job, true);
	return NULL;
}

mica_rc work_new(unsigned threads, unsigned max_queue, struct work **out, struct mica_err *e)
{
	struct work *w = MICA_NEW(struct work);
	int err = 0;

	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->come, NULL);
	w->room = max_queue ? max_queue : 1;
	w->ring = mica_calloc(w->room, sizeof(*w->ring));
	while (w->n_threads < threads && w->n_threads < THREADS_MAX && err == 0) {
		err = pthread_create(&w->threads[w->n_threads], NULL, loop, w);
		w->n_threads += err == 0;
	}
	if (err) {
		work_free(w);
		return mica_fail_errno(e, err, "starting a thread");
	}
	*out = w;
	return MICA_OK;
}

bool work_push(struct work *w, work_fn *fn, void *job)
{
	bool ok;
	pthread_mutex_lock(&w->lock);
	ok = !w->stopped && w->n < w->room;
	if (ok) {
		w->ring[(w->first + w->n++) % w->room] = (struct item){.fn = fn, .job = job};
		pthread_cond_signal(&w->come);
	}
	pthread_mutex_unlock(&w->lock);
	return ok;
}

void work_stop(struct work *w)
{
	pthread_mutex_lock(&w->lock);
	w->stopped = true;
	pthread_cond_broadcast(&w->come);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->n_threads; i++)
		pthread_join(w->threads[i], NULL);
	w->n_threads = 0;
	/* nothing comes any more: no lock, since a job may try to push */
	for (; w->n > 0; w->n--, w->first = (w->first + 1) % w->room)
		w->ring[w->first].fn(w->ring[w->first].job, false);
}

void work_free(struct work *w)
{
	if (!w)
		return;
	work_stop(w);
	pthread_cond_destroy(&w->come);
	pthread_mutex_destroy(&w->lock);
	mica_free(w->ring);
	mica_free(w);
}
