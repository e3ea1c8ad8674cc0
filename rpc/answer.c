/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What methods do with a call, on any thread. On the loop of the call an answer takes effect at
 * once; from elsewhere it is posted to its home, and the loop is woken unless it was already.
 */
#include "rpc_impl.h"

#include <unistd.h>

#define BATCH_HOMES 64 /* loops that a batch remembers; more are woken at once */

static __thread struct rpc_home *here; /* the loop that this thread is */
static __thread unsigned batching;
static __thread struct {
	struct rpc_home *home;
	struct rpc_core *core;
} batch[BATCH_HOMES]; /* to wake at its end */
static __thread unsigned n_batch;

/* ---- homes ---------------------------------------------------------------------------------- */

void rpc_home_init(struct rpc_home *h, int wake_fd)
{
	pthread_mutex_init(&h->lock, NULL);
	h->inbox = NULL;
	h->inbox_tail = &h->inbox;
	h->wake_fd = wake_fd;
}

void rpc_home_wake(struct rpc_home *h)
{
	const uint64_t one = 1;
	if (h->wake_fd >= 0 && write(h->wake_fd, &one, sizeof(one)) < 0)
		return; /* only when it is full, and then awake */
}

void rpc_home_enter(struct rpc_home *h)
{
	here = h;
}

static void take(struct rpc_home *h, struct mica_rpc_call *c)
{
	struct rpc_block *first, **tail;
	bool end;
	pthread_mutex_lock(&h->lock);
	first = MICA_STEAL(c->posted);
	tail = c->posted_tail;
	c->posted_tail = &c->posted;
	end = c->posted_end;
	c->posted_end = false;
	atomic_store_explicit(&c->listed, false, memory_order_relaxed);
	pthread_mutex_unlock(&h->lock);
	rpc_call_apply(c, first, tail, end);
}

void rpc_home_inbox(struct rpc_home *h)
{
	struct mica_rpc_call *c, *next;
	pthread_mutex_lock(&h->lock);
	c = MICA_STEAL(h->inbox);
	h->inbox_tail = &h->inbox;
	h->woken = false;
	pthread_mutex_unlock(&h->lock);
	for (; c; c = next) {
		next = c->inbox_next;
		take(h, c);
	}
}

void rpc_home_end(struct rpc_home *h)
{
	bool empty = false;
	while (!empty) {
		rpc_home_inbox(h);
		pthread_mutex_lock(&h->lock);
		empty = !h->inbox;
		h->ended = empty;
		pthread_mutex_unlock(&h->lock);
	}
	here = NULL;
}

void rpc_home_clear(struct rpc_home *h)
{
	struct mica_rpc_call *c;
	while ((c = h->free_calls)) {
		h->free_calls = c->next;
		rpc_call_record_clear(c);
	}
	mica_free(h->lent);
	if (h->wake_fd >= 0)
		close(h->wake_fd);
	pthread_mutex_destroy(&h->lock);
}

/* ---- posting -------------------------------------------------------------------------------- */

static void wake(struct rpc_home *h, struct rpc_core *k)
{
	for (unsigned i = 0; i < n_batch; i++)
		if (batch[i].home == h)
			return;
	if (!batching || n_batch == BATCH_HOMES) {
		rpc_home_wake(h);
		return;
	}
	rpc_core_ref(k); /* so that the home is there at the end of the batch */
	batch[n_batch].home = h;
	batch[n_batch++].core = k;
}

/* The loop is gone, and nobody else knows the call: it is ours to free. */
static void bury(struct mica_rpc_call *c, bool end)
{
	struct rpc_core *k = c->core;
	rpc_blocks_free(c, &c->posted);
	c->posted_tail = &c->posted;
	if (!end)
		return;
	atomic_fetch_sub_explicit(&k->app_calls, 1, memory_order_relaxed);
	if (c->done)
		c->done(c->state);
	rpc_peer_unref(c->peer);
	rpc_call_record_clear(c);
	rpc_core_unref(k);
}

/* The call may be gone as soon as the lock is free; its core, and so its home, is held. */
static void post(struct mica_rpc_call *c, struct rpc_block *b, bool end)
{
	struct rpc_home *h = c->home;
	struct rpc_core *k = c->core;
	bool gone, first = false;
	rpc_core_ref(k);
	pthread_mutex_lock(&h->lock);
	if (b) {
		*c->posted_tail = b;
		c->posted_tail = &b->next;
	}
	c->posted_end |= end;
	gone = h->ended;
	if (!gone && !atomic_load_explicit(&c->listed, memory_order_relaxed)) {
		atomic_store_explicit(&c->listed, true, memory_order_relaxed);
		c->inbox_next = NULL;
		*h->inbox_tail = c;
		h->inbox_tail = &c->inbox_next;
		first = !h->woken;
		h->woken = true;
	}
	pthread_mutex_unlock(&h->lock);
	if (gone)
		bury(c, end);
	if (first)
		wake(h, k);
	rpc_core_unref(k);
}

/* What was posted before must stay before. */
static void put(struct mica_rpc_call *c, struct rpc_block *b, bool end)
{
	if (c->home == here && !atomic_load_explicit(&c->listed, memory_order_relaxed))
		rpc_call_apply(c, b, b ? &b->next : NULL, end);
	else
		post(c, b, end);
}

void mica_rpc_batch_begin(void)
{
	batching++;
}

void mica_rpc_batch_end(void)
{
	if (--batching > 0)
		return;
	while (n_batch > 0) {
		n_batch--;
		rpc_home_wake(batch[n_batch].home);
		rpc_core_unref(batch[n_batch].core);
	}
}

/* ---- answers -------------------------------------------------------------------------------- */

/* With wants_room set, either the loop sees it when it has sent something, or we see what it sent.
 */
static bool is_full(struct mica_rpc_call *c)
{
	const size_t max = c->core->o.max_queued;
	if (atomic_load(&c->queued) <= max)
		return false;
	atomic_store(&c->wants_room, true);
	if (atomic_load(&c->queued) > max / 2)
		return true;
	return !atomic_exchange(&c->wants_room, false);
}

static void put_message(struct mica_rpc_call *c, struct mica_slice message, bool end)
{
	struct rpc_block *b = rpc_block_new(message, true);
	atomic_fetch_add(&c->queued, b->len);
	put(c, b, end);
}

mica_rc mica_rpc_send(struct mica_rpc_call *c, struct mica_slice message)
{
	if (mica_rpc_cancelled(c))
		return MICA_OK;
	if (message.len > UINT32_MAX || is_full(c))
		return MICA_LIMIT;
	put_message(c, message, false);
	return MICA_OK;
}

static void set_end(struct mica_rpc_call *c, enum mica_rpc_code code, const struct mica_err *e)
{
	c->end_code = code;
	c->end_reason = code == MICA_RPC_OK ? NULL : e && e->reason ? e->reason : "unsaid";
	rpc_status_put(&c->trailers, code, e, c->core->o.error_domain);
}

void mica_rpc_end_as(struct mica_rpc_call *c, enum mica_rpc_code code, const struct mica_err *e)
{
	set_end(c, code, e);
	put(c, NULL, true);
}

void mica_rpc_end(struct mica_rpc_call *c, const struct mica_err *e)
{
	mica_rpc_end_as(c, e ? (enum mica_rpc_code)mica_rc_grpc(e->rc) : MICA_RPC_OK, e);
}

void mica_rpc_reply(struct mica_rpc_call *c, struct mica_slice message)
{
	set_end(c, MICA_RPC_OK, NULL);
	put_message(c, message, true);
}

static mica_rc add(struct rpc_meta *m, const char *name, struct mica_slice value)
{
	const struct mica_slice n = mica_slice_str(name);
	MICA_AUTO_BUF coded;
	mica_buf_init(&coded, RPC_META_MAX);
	if (!rpc_meta_allowed(n, value))
		return MICA_INVALID;
	if (m->n >= RPC_META_COUNT || m->b.len + n.len + value.len + 4 > RPC_META_MAX)
		return MICA_LIMIT;
	if (mica_slice_has_suffix(n, MICA_LIT("-bin"))) {
		rpc_bin_encode(value, &coded);
		value = mica_buf_slice(&coded);
	}
	if (coded.over || m->b.len + n.len + value.len + 4 > RPC_META_MAX)
		return MICA_LIMIT;
	return rpc_meta_put(m, n, value) ? MICA_OK : MICA_LIMIT;
}

mica_rc mica_rpc_add_header(struct mica_rpc_call *c, const char *name, struct mica_slice value)
{
	return add(&c->headers, name, value);
}

mica_rc mica_rpc_add_trailer(struct mica_rpc_call *c, const char *name, struct mica_slice value)
{
	return add(&c->trailers, name, value);
}

/* ---- what a call is ------------------------------------------------------------------------- */

const struct mica_rpc_call_data *mica_rpc_call_data(const struct mica_rpc_call *c)
{
	return &c->data;
}

unsigned mica_rpc_headers(const struct mica_rpc_call *c)
{
	return c->head.n - c->n_pseudo;
}

/* Pseudo-headers come first (RFC 9113 8.3). */
void mica_rpc_header_at(const struct mica_rpc_call *c, unsigned i, struct mica_slice *name,
	struct mica_slice *value)
{
	size_t at = 0;
	i += c->n_pseudo;
	while (rpc_meta_next(&c->head, &at, name, value) && i > 0)
		i--;
}

bool mica_rpc_header(
	const struct mica_rpc_call *c, const char *name, struct mica_slice *value, unsigned *n)
{
	struct mica_slice k, v;
	unsigned found = 0;
	size_t at = 0;
	while (rpc_meta_next(&c->head, &at, &k, &v))
		if (mica_slice_eq_str(k, name) && found++ == 0)
			*value = v;
	if (n)
		*n = found;
	return found > 0;
}

bool mica_rpc_cancelled(const struct mica_rpc_call *c)
{
	return atomic_load_explicit((_Atomic bool *)(uintptr_t)&c->cancelled, memory_order_relaxed);
}

void mica_rpc_set_state(struct mica_rpc_call *c, void *state, void (*done)(void *state))
{
	c->state = state;
	c->done = done;
}

void *mica_rpc_state(const struct mica_rpc_call *c)
{
	return c->state;
}

void mica_rpc_set_peer_state(struct mica_rpc_call *c, void *state, void (*done)(void *state))
{
	if (c->peer->done)
		c->peer->done(c->peer->state);
	c->peer->state = state;
	c->peer->done = done;
}

void *mica_rpc_peer_state(const struct mica_rpc_call *c)
{
	return c->peer->state;
}

void rpc_peer_unref(struct rpc_peer *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (p->done)
		p->done(p->state);
	mica_free(p->chain);
	mica_free(p);
}
