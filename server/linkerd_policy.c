/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linkerd's policy streams.
 *
 *	loop: message -> who asks -> is it itself? -> its labels -> listed
 *	thread: whoever is listed and has not the newest set -> message -> sent, if it is another
 *one
 *
 * A stream is in the list from when all is known of it. Under the lock it is taken, marked busy,
 * served without the lock and put back behind all others; one that is given up meanwhile is ended
 * then.
 */
#include "linkerd_policy.h"

#include "grpc_impl.h"
#include "kube.h"
#include "policies.h"

#include "mica/clock.h"
#include "mica/nodepods.h"
#include "mica/policy_linkerd.h"
#include "mica/spiffeid.h"
#include "mica/threads.h"

#include <pthread.h>

#define TICK_MS     100 /* how soon a change is seen */
#define MESSAGE_MAX ((size_t)4 << 20) /* what a client of gRPC takes by default */
#define STREAMS_MAX 20000
#define POD_MAX     256 /* of one pod */

/* One call. Its labels are those that it had when it came: a connection ends after grpc.max_age. */
struct port_watch {
	struct grpc_call k;
	struct linkerd_policy *l;
	struct linkerd_port_spec spec;
	enum mica_channel channel;
	char **texts; /* of the labels: key, value, key ... */
	struct mica_policy_pair *labels;
	unsigned n_labels;

	/* Under the lock. */
	struct port_watch *next, **at;
	bool listed, left, busy, gone; /* left: it was listed, and is about to be ended */
	uint64_t round; /* when it was looked at */

	/* The thread's. */
	int64_t sequence; /* that it has; -1 = none */
	struct mica_buf last; /* what was sent */
	bool once;
};

struct linkerd_policy {
	struct desk *desk;
	struct mica_workload_config *workloads;
	unsigned n_workloads;
	struct mica_string_list canary;
	pthread_t thread;
	bool running;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct port_watch *first, **end;
	unsigned n;
	bool fresh, stop, draining; /* fresh: somebody came, or could not be sent to */
	uint64_t round;
};

/* ---- a call's end ---------------------------------------------------------------------------- */

static void over(void *state)
{
	struct port_watch *w = state;

	ask_over(&w->k.ask, w->k.ok);
	for (unsigned i = 0; i < 2 * w->n_labels; i++)
		mica_free(w->texts[i]);
	mica_free(w->texts);
	mica_free(w->labels);
	mica_buf_clear(&w->last);
	mica_free(w);
}

/* k->err says why. */
static void fail(struct port_watch *w)
{
	struct grpc_call *k = &w->k;
	const enum mica_rpc_code code = grpc_code(&k->err);

	desk_refused(k->ask.desk,
		&(struct desk_refusal){.front = "linkerd",
			.path = k->method,
			.key = "code",
			.number = (int)code,
			.failed = code == MICA_RPC_UNAVAILABLE || code == MICA_RPC_INTERNAL,
			.rare = code != MICA_RPC_RESOURCE_EXHAUSTED && code != MICA_RPC_UNAVAILABLE,
			.level = MICA_INFO,
			.err = &k->err,
			.caller = k->ask.t_auth ? &k->caller : NULL,
			.address = k->ask.address,
			.kind = -1});
	mica_rpc_end_as(k->c, code, &k->err);
}

static void failed(struct ask *a)
{
	fail((struct port_watch *)grpc_call_of(a));
}

/* ---- the list, under the lock ---------------------------------------------------------------- */

static void append(struct linkerd_policy *l, struct port_watch *w)
{
	w->next = NULL;
	w->at = l->end;
	*l->end = w;
	l->end = &w->next;
}

static void unlink_watch(struct linkerd_policy *l, struct port_watch *w)
{
	*w->at = w->next;
	if (w->next)
		w->next->at = w->at;
	else
		l->end = w->at;
}

static void leave(struct linkerd_policy *l, struct port_watch *w)
{
	unlink_watch(l, w);
	w->listed = false;
	w->left = true;
	l->n--;
}

static unsigned count_of(const struct linkerd_policy *l, const struct mica_uid *pod)
{
	unsigned n = 0;

	for (const struct port_watch *w = l->first; w; w = w->next)
		n += memcmp(&w->k.caller.principal.pod_uid, pod, sizeof(*pod)) == 0;
	return n;
}

static void come(struct port_watch *w)
{
	struct linkerd_policy *l = w->l;
	bool gone = false;
	mica_rc rc = MICA_OK;

	pthread_mutex_lock(&l->lock);
	if (mica_rpc_cancelled(w->k.c))
		gone = true;
	else if (l->draining)
		rc = mica_fail(
			&w->k.err, MICA_UNAVAILABLE, "draining", "this server ends; try another");
	else if (l->n >= STREAMS_MAX || count_of(l, &w->k.caller.principal.pod_uid) >= POD_MAX)
		rc = mica_fail(&w->k.err, MICA_LIMIT, "too_many_watchers",
			"%d ports are watched already, or %d of this pod", STREAMS_MAX, POD_MAX);
	if (rc == MICA_OK && !gone) {
		append(l, w);
		w->listed = true;
		l->n++;
		l->fresh = true;
		pthread_cond_signal(&l->wake);
	}
	pthread_mutex_unlock(&l->lock);
	if (gone)
		mica_rpc_end_as(w->k.c, MICA_RPC_CANCELLED, NULL);
	else if (rc != MICA_OK)
		fail(w);
}

static void cancelled(void *ctx, struct mica_rpc_call *c)
{
	struct port_watch *w = mica_rpc_state(c);
	struct linkerd_policy *l;
	bool end, asks;

	(void)ctx;
	if (!w)
		return;
	l = w->l;
	pthread_mutex_lock(&l->lock);
	asks = !w->listed && !w->left;
	end = w->listed && !w->busy;
	w->gone = true;
	if (end)
		leave(l, w);
	pthread_mutex_unlock(&l->lock);
	if (end)
		mica_rpc_end_as(c, MICA_RPC_CANCELLED, NULL);
	else if (asks)
		ask_abandon(&w->k.ask);
}

/* ---- the thread ------------------------------------------------------------------------------ */

enum outcome {
	HAS_IT,
	AGAIN, /* it reads slowly */
	ANSWER, /* this is all that it wants */
	FAILED
};

/* `set` has number `sequence`; `b` gets the message. */
static enum outcome serve(
	struct port_watch *w, struct mica_policy_set *set, int64_t sequence, struct mica_buf *b)
{
	const struct mica_policy_workload workload = {
		.ns = mica_slice_str(w->spec.ns), .labels = w->labels, .n_labels = w->n_labels};

	if (w->sequence == sequence)
		return HAS_IT;
	if (mica_policy_linkerd_put(b, set, &workload, w->spec.port,
		    policies_linkerd(w->l->desk->policies), &w->k.err) != MICA_OK)
		return FAILED;
	if (w->once)
		return ANSWER;
	if (w->sequence < 0 || !mica_slice_eq(mica_buf_slice(b), mica_buf_slice(&w->last))) {
		if (mica_rpc_send(w->k.c, mica_buf_slice(b)) != MICA_OK)
			return AGAIN;
		mica_buf_reset(&w->last);
		mica_buf_put_slice(&w->last, mica_buf_slice(b));
	}
	w->sequence = sequence;
	return HAS_IT;
}

/* A stream that its client has given up, or that `ends` with this server. */
static void give_up(struct mica_rpc_call *c, bool ends)
{
	struct mica_err e = MICA_ERR_INIT;

	if (!ends) {
		mica_rpc_end_as(c, MICA_RPC_CANCELLED, NULL);
		return;
	}
	mica_fail(&e, MICA_UNAVAILABLE, "draining", "this server ends; try another");
	mica_rpc_end(c, &e);
}

/* Under the lock, which it gives away meanwhile. A call that is ended is not in the list any more:
 * its end frees it. */
static void serve_first(struct linkerd_policy *l, struct mica_policy_set *set, int64_t sequence)
{
	struct port_watch *w = l->first;
	enum outcome o;
	MICA_AUTO_BUF b;
	bool ends;

	mica_buf_init(&b, MESSAGE_MAX);
	w->busy = true;
	w->round = l->round;
	unlink_watch(l, w);
	append(l, w);
	pthread_mutex_unlock(&l->lock);
	o = serve(w, set, sequence, &b);
	pthread_mutex_lock(&l->lock);
	w->busy = false;
	l->fresh |= o == AGAIN;
	if (o == ANSWER || o == FAILED || w->gone)
		leave(l, w);
	else
		return;
	ends = l->draining;
	pthread_mutex_unlock(&l->lock);
	w->k.ok = o == ANSWER;
	if (o == FAILED)
		fail(w);
	else if (o == ANSWER)
		mica_rpc_reply(w->k.c, mica_buf_slice(&b));
	else
		give_up(w->k.c, ends);
	pthread_mutex_lock(&l->lock);
}

/* Everybody who was listed when the round began; who comes meanwhile makes another one. */
static void serve_all(
	struct linkerd_policy *l, struct mica_policy_set *const sets[], const int64_t sequences[])
{
	l->fresh = false;
	l->round++;
	while (!l->stop && !l->draining && l->first && l->first->round != l->round) {
		const enum mica_channel ch = l->first->channel;

		serve_first(l, sets[ch], sequences[ch]);
	}
}

static void *look_after(void *ctx)
{
	struct linkerd_policy *l = ctx;
	int64_t seen[MICA_CHANNEL_COUNT] = {-1, -1}, now[MICA_CHANNEL_COUNT];

	pthread_mutex_lock(&l->lock);
	while (!l->stop) {
		struct mica_policy_set *sets[MICA_CHANNEL_COUNT];
		const bool fresh = l->fresh;

		pthread_mutex_unlock(&l->lock);
		for (int i = 0; i < MICA_CHANNEL_COUNT; i++)
			sets[i] = policies_get(l->desk->policies, (enum mica_channel)i, &now[i]);
		pthread_mutex_lock(&l->lock);
		if (fresh || memcmp(seen, now, sizeof(seen)) != 0)
			serve_all(l, sets, now);
		memcpy(seen, now, sizeof(seen));
		for (int i = 0; i < MICA_CHANNEL_COUNT; i++)
			mica_policy_set_unref(sets[i]);
		if (!l->stop)
			mica_cond_wait_until(&l->wake, &l->lock, mica_mono_ms() + TICK_MS);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* ---- labels ---------------------------------------------------------------------------------- */

static void add_label(struct port_watch *w, struct mica_slice key, struct mica_slice value)
{
	char *k = mica_slice_dup(key), *v = mica_slice_dup(value);

	w->texts[2 * w->n_labels] = k;
	w->texts[2 * w->n_labels + 1] = v;
	w->labels[w->n_labels++] =
		(struct mica_policy_pair){mica_slice(k, key.len), mica_slice(v, value.len)};
}

static void make_room(struct port_watch *w, unsigned n)
{
	w->texts = mica_calloc(2 * n + 1, sizeof(*w->texts));
	w->labels = mica_calloc(n + 1, sizeof(*w->labels));
}

/* Nothing is guessed: of a pod without labels other policies would count. */
static mica_rc labels_as_configured(struct port_watch *w)
{
	const struct linkerd_policy *l = w->l;
	const struct mica_principal *p = &w->k.caller.principal;

	for (unsigned i = 0; i < l->n_workloads; i++) {
		const struct mica_workload_config *c = &l->workloads[i];

		if (strcmp(c->ns, p->ns) != 0 || (c->sa && strcmp(c->sa, p->sa) != 0))
			continue;
		make_room(w, c->labels.n);
		for (unsigned k = 0; k < c->labels.n; k++) {
			struct mica_slice value = mica_slice_str(c->labels.v[k]), key;

			(void)mica_slice_cut(&value, '=', &key);
			add_label(w, key, value);
		}
		return MICA_OK;
	}
	return mica_fail(&w->k.err, MICA_UNAVAILABLE, "labels_unknown",
		"the labels of pod %s/%s are not known; expected issuer %s to list the pods of nodes "
		"(impersonation), or an entry of linkerd.workloads",
		p->ns, p->pod, p->issuer);
}

static mica_rc labels_of(struct port_watch *w, const struct mica_node_pods *pods)
{
	const struct mica_principal *p = &w->k.caller.principal;
	const struct mica_node_pod *pod = mica_node_pods_find(pods, &p->pod_uid);

	if (!pod || pod->ended || !pod->labels_known)
		return mica_fail(&w->k.err, MICA_UNAVAILABLE, "labels_unknown",
			"pod %s/%s is not on node %s, or its labels cannot be read", p->ns, p->pod,
			p->node);
	make_room(w, pod->n_labels);
	for (unsigned i = 0; i < pod->n_labels; i++)
		add_label(w, mica_slice_str(pod->labels[i].key),
			mica_slice_str(pod->labels[i].value));
	return MICA_OK;
}

static void listed(void *ctx, const struct mica_node_pods *pods, const struct mica_err *e)
{
	struct port_watch *w = ctx;
	mica_rc rc;

	if (pods)
		rc = labels_of(w, pods);
	else if (strcmp(mica_err_fine(e), "pods_no_server") == 0)
		rc = labels_as_configured(w);
	else {
		w->k.err = *e;
		rc = e->rc;
	}
	if (rc == MICA_OK)
		come(w);
	else
		fail(w);
}

/* ---- the call -------------------------------------------------------------------------------- */

static void known(struct ask *a)
{
	struct port_watch *w = (struct port_watch *)grpc_call_of(a);
	const struct mica_principal *p = &w->k.caller.principal;

	if (strcmp(p->ns, w->spec.ns) != 0 || strcmp(p->pod, w->spec.pod) != 0) {
		mica_fail(&w->k.err, MICA_DENIED, "workload_not_yours",
			"%s is pod %s/%s; expected a question about itself", p->spiffe_id, p->ns,
			p->pod);
		fail(w);
		return;
	}
	for (unsigned i = 0; i < w->l->canary.n; i++)
		if (mica_spiffe_id_under(
			    mica_slice_str(p->spiffe_id), mica_slice_str(w->l->canary.v[i])))
			w->channel = MICA_CHANNEL_CANARY;
	if (a->desk->kube && p->node[0])
		mica_kube_pods(
			a->desk->kube, p->issuer, p->node, MICA_KUBE_PODS_MISS_MS, listed, w);
	else if (labels_as_configured(w) == MICA_OK)
		come(w);
	else
		fail(w);
}

static const struct ask_face face = {.name = "linkerd", .known = known, .failed = failed};

static void begin(struct grpc *g, struct mica_rpc_call *c, struct mica_slice message,
	const char *method, bool once)
{
	struct port_watch *w = (struct port_watch *)grpc_call_new(
		sizeof(*w), g, c, method, &face, MICA_FRONT_LINKERD);

	mica_rpc_set_state(c, w, over);
	w->k.ask.issues = false;
	w->l = grpc_linkerd_policies(g);
	w->once = once;
	w->sequence = -1;
	mica_buf_init(&w->last, MESSAGE_MAX);
	if (linkerd_port_read(message, &w->spec, &w->k.err) == MICA_OK)
		grpc_call_who(&w->k);
	else
		fail(w);
}

static void watch_port(void *ctx, struct mica_rpc_call *c, struct mica_slice message)
{
	begin(ctx, c, message, GRPC_LINKERD_WATCH_METHOD, false);
}

static void get_port(void *ctx, struct mica_rpc_call *c, struct mica_slice message)
{
	begin(ctx, c, message, GRPC_LINKERD_GET_METHOD, true);
}

static const struct mica_rpc_method methods[] = {{.name = "WatchPort",
							 .kind = MICA_RPC_SERVER_STREAM,
							 .call = watch_port,
							 .cancelled = cancelled},
	{.name = "GetPort", .kind = MICA_RPC_UNARY, .call = get_port, .cancelled = cancelled}};

struct mica_rpc_service grpc_linkerd_policy(struct grpc *g)
{
	return (struct mica_rpc_service){.name = "io.linkerd.proxy.inbound.InboundServerPolicies",
		.methods = methods,
		.n_methods = MICA_ARRAY_LEN(methods),
		.ctx = g};
}

/* ---- life ------------------------------------------------------------------------------------ */

static void copy_list(struct mica_string_list *to, const struct mica_string_list *from)
{
	to->v = mica_calloc(from->n + 1, sizeof(*to->v));
	for (; to->n < from->n; to->n++)
		to->v[to->n] = mica_strdup(from->v[to->n]);
}

static void copy_config(struct linkerd_policy *l, const struct mica_config *c)
{
	copy_list(&l->canary, &c->rotation.canary.spiffe_ids);
	l->workloads = mica_calloc(c->linkerd.n_workloads + 1, sizeof(*l->workloads));
	for (; l->n_workloads < c->linkerd.n_workloads; l->n_workloads++) {
		const struct mica_workload_config *from = &c->linkerd.workloads[l->n_workloads];
		struct mica_workload_config *to = &l->workloads[l->n_workloads];

		to->ns = mica_strdup(from->ns);
		to->sa = mica_strdup(from->sa);
		copy_list(&to->labels, &from->labels);
	}
}

mica_rc linkerd_policy_new(struct desk *desk, const struct mica_config *config,
	struct linkerd_policy **out, struct mica_err *e)
{
	struct linkerd_policy *l = MICA_NEW(struct linkerd_policy);
	int err;

	l->desk = desk;
	l->end = &l->first;
	copy_config(l, config);
	pthread_mutex_init(&l->lock, NULL);
	mica_cond_init(&l->wake);
	err = pthread_create(&l->thread, NULL, look_after, l);
	l->running = err == 0;
	if (err) {
		linkerd_policy_free(l);
		return mica_fail_errno(e, err, "starting a thread");
	}
	*out = l;
	return MICA_OK;
}

unsigned linkerd_policy_count(struct linkerd_policy *l)
{
	unsigned n;

	pthread_mutex_lock(&l->lock);
	n = l->n;
	pthread_mutex_unlock(&l->lock);
	return n;
}

/* One that is being served is ended by who serves it. */
void linkerd_policy_drain(struct linkerd_policy *l)
{
	struct port_watch *all = NULL;

	pthread_mutex_lock(&l->lock);
	l->draining = true;
	for (struct port_watch *w = l->first, *next; w; w = next) {
		next = w->next;
		if (w->busy) {
			w->gone = true;
			continue;
		}
		leave(l, w);
		w->next = all;
		all = w;
	}
	pthread_mutex_unlock(&l->lock);
	for (struct port_watch *w = all, *next; w; w = next) {
		next = w->next;
		give_up(w->k.c, true);
	}
}

void linkerd_policy_free(struct linkerd_policy *l)
{
	if (!l)
		return;
	if (l->running) {
		pthread_mutex_lock(&l->lock);
		l->stop = true;
		pthread_cond_signal(&l->wake);
		pthread_mutex_unlock(&l->lock);
		pthread_join(l->thread, NULL);
	}
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->wake);
	for (unsigned i = 0; i < l->n_workloads; i++) {
		mica_free(l->workloads[i].ns);
		mica_free(l->workloads[i].sa);
		mica_string_list_clear(&l->workloads[i].labels);
	}
	mica_free(l->workloads);
	mica_string_list_clear(&l->canary);
	mica_free(l);
}
