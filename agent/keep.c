/* SPDX-License-Identifier: Apache-2.0 */
#include "keep.h"

#include <pthread.h>

#define LISTENERS_MAX 4

struct keep {
	pthread_mutex_t lock; /* of all below, but the listeners */
	struct keep_view now;
	struct mica_err trouble[AGENT_IDENTITIES_MAX];
	unsigned n;
	struct {
		void (*changed)(void *ctx);
		void *ctx;
	} listeners[LISTENERS_MAX];
	unsigned n_listeners;
};

struct keep *keep_new(unsigned n_identities)
{
	struct keep *k = MICA_NEW(struct keep);

	pthread_mutex_init(&k->lock, NULL);
	k->n = n_identities;
	return k;
}

void keep_free(struct keep *k)
{
	if (!k)
		return;
	keep_view_clear(&k->now);
	pthread_mutex_destroy(&k->lock);
	mica_free(k);
}

void keep_listen(struct keep *k, void (*changed)(void *ctx), void *ctx)
{
	if (k->n_listeners == LISTENERS_MAX)
		return;
	k->listeners[k->n_listeners].changed = changed;
	k->listeners[k->n_listeners++].ctx = ctx;
}

static void tell(struct keep *k)
{
	for (unsigned i = 0; i < k->n_listeners; i++)
		k->listeners[i].changed(k->listeners[i].ctx);
}

void keep_set_trust(struct keep *k, const struct trust *t)
{
	const struct trust *old;

	pthread_mutex_lock(&k->lock);
	old = k->now.trust;
	k->now.trust = trust_ref(t);
	k->now.version++;
	pthread_mutex_unlock(&k->lock);
	trust_unref(old);
	tell(k);
}

void keep_set_svid(struct keep *k, unsigned i, const struct svid *s)
{
	const struct svid *old;

	pthread_mutex_lock(&k->lock);
	old = k->now.svid[i];
	k->now.svid[i] = svid_ref(s);
	k->now.version++;
	mica_err_clear(&k->trouble[i]);
	pthread_mutex_unlock(&k->lock);
	svid_unref(old);
	tell(k);
}

void keep_set_trouble(struct keep *k, unsigned i, const struct mica_err *why)
{
	pthread_mutex_lock(&k->lock);
	k->trouble[i] = *why;
	pthread_mutex_unlock(&k->lock);
	tell(k);
}

void keep_tick(struct keep *k, int64_t now_ms)
{
	bool changed = false;

	pthread_mutex_lock(&k->lock);
	for (unsigned i = 0; i < k->n; i++) {
		const struct svid *s = k->now.svid[i];

		if (!s || now_ms < s->times.not_after)
			continue;
		k->now.svid[i] = NULL;
		k->now.version++;
		svid_unref(s);
		changed = true;
	}
	pthread_mutex_unlock(&k->lock);
	if (changed)
		tell(k);
}

const struct trust *keep_trust(struct keep *k)
{
	const struct trust *t;

	pthread_mutex_lock(&k->lock);
	t = trust_ref(k->now.trust);
	pthread_mutex_unlock(&k->lock);
	return t;
}

const struct svid *keep_svid(struct keep *k, unsigned i)
{
	const struct svid *s;

	pthread_mutex_lock(&k->lock);
	s = svid_ref(k->now.svid[i]);
	pthread_mutex_unlock(&k->lock);
	return s;
}

bool keep_trouble(struct keep *k, unsigned i, struct mica_err *out)
{
	pthread_mutex_lock(&k->lock);
	*out = k->trouble[i];
	pthread_mutex_unlock(&k->lock);
	return out->rc != MICA_OK;
}

void keep_view_get(struct keep *k, struct keep_view *out)
{
	pthread_mutex_lock(&k->lock);
	*out = k->now;
	trust_ref(out->trust);
	for (unsigned i = 0; i < k->n; i++)
		svid_ref(out->svid[i]);
	pthread_mutex_unlock(&k->lock);
}

void keep_view_clear(struct keep_view *v)
{
	trust_unref(v->trust);
	for (unsigned i = 0; i < AGENT_IDENTITIES_MAX; i++)
		svid_unref(v->svid[i]);
	*v = (struct keep_view){.version = 0};
}
