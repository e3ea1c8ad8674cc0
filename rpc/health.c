/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.health.v1: Check, and Watch, which sends each change. */
#include "rpc_impl.h"

#include "grpc/health/v1/health.pb-c.h"

typedef Grpc__Health__V1__HealthCheckRequest request;
typedef Grpc__Health__V1__HealthCheckResponse response;

enum {
	SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
	NOT_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING,
	UNKNOWN_SERVICE = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
};

/* Under watch_lock while it is in the list. */
struct rpc_watcher {
	struct rpc_watcher *next;
	struct mica_rpc_call *call;
	char *service;
	int last;
};

static struct rpc_serving *serving_of(const struct rpc_core *k, const char *service)
{
	for (size_t i = 0; i < k->n_serving; i++)
		if (strcmp(k->serving[i].name, service) == 0)
			return &k->serving[i];
	return NULL;
}

bool rpc_core_serves(const struct rpc_core *k, const char *service, bool *known)
{
	struct rpc_serving *s = serving_of(k, service);
	*known = s != NULL;
	return s && atomic_load_explicit(&s->yes, memory_order_relaxed) &&
		!atomic_load_explicit(
			(_Atomic bool *)(uintptr_t)&k->draining, memory_order_relaxed);
}

static int status_of(const struct rpc_core *k, const char *service)
{
	bool known;
	const bool yes = rpc_core_serves(k, service, &known);
	return !known ? UNKNOWN_SERVICE : yes ? SERVING : NOT_SERVING;
}

static struct mica_slice encode(int status, uint8_t out[16])
{
	response r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	r.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
	return mica_slice(out, grpc__health__v1__health_check_response__pack(&r, out));
}

static request *decode(struct mica_rpc_call *c, struct mica_slice message)
{
	struct mica_err e = MICA_ERR_INIT;
	request *r = grpc__health__v1__health_check_request__unpack(NULL, message.len, message.p);
	if (r)
		return r;
	mica_fail(&e, MICA_INVALID, "message_invalid",
		"expected a grpc.health.v1.HealthCheckRequest");
	mica_rpc_end(c, &e);
	return NULL;
}

static void check(void *ctx, struct mica_rpc_call *c, struct mica_slice message)
{
	struct mica_err e = MICA_ERR_INIT;
	uint8_t out[16];
	request *r = decode(c, message);
	int status;
	if (!r)
		return;
	status = status_of(ctx, r->service);
	if (status == UNKNOWN_SERVICE) {
		mica_fail(&e, MICA_NOT_FOUND, "service_unknown", "%s: no such service here",
			r->service);
		mica_rpc_end(c, &e);
	} else {
		mica_rpc_reply(c, encode(status, out));
	}
	grpc__health__v1__health_check_request__free_unpacked(r, NULL);
}

static void tell(struct rpc_watcher *w, int status)
{
	uint8_t out[16];
	/* one that does not read loses states between: it is cut when it stalls */
	if (w->last != status && mica_rpc_send(w->call, encode(status, out)) == MICA_OK)
		w->last = status;
}

static void watcher_free(void *state)
{
	struct rpc_watcher *w = state;
	mica_free(w->service);
	mica_free(w);
}

static void watch(void *ctx, struct mica_rpc_call *c, struct mica_slice message)
{
	struct rpc_core *k = ctx;
	request *r = decode(c, message);
	struct rpc_watcher *w;
	if (!r)
		return;
	w = MICA_NEW(struct rpc_watcher);
	w->call = c;
	w->service = mica_strdup(r->service);
	w->last = -1;
	grpc__health__v1__health_check_request__free_unpacked(r, NULL);
	mica_rpc_set_state(c, w, watcher_free);
	pthread_mutex_lock(&k->watch_lock);
	w->next = k->watchers;
	k->watchers = w;
	tell(w, status_of(k, w->service));
	pthread_mutex_unlock(&k->watch_lock);
}

static void watch_over(void *ctx, struct mica_rpc_call *c)
{
	struct rpc_core *k = ctx;
	struct rpc_watcher *w = mica_rpc_state(c), **at;
	pthread_mutex_lock(&k->watch_lock);
	for (at = &k->watchers; *at != w;)
		at = &(*at)->next;
	*at = w->next;
	pthread_mutex_unlock(&k->watch_lock);
	mica_rpc_end(c, NULL);
}

static void watch_room(void *ctx, struct mica_rpc_call *c)
{
	struct rpc_core *k = ctx;
	struct rpc_watcher *w = mica_rpc_state(c);
	pthread_mutex_lock(&k->watch_lock);
	tell(w, status_of(k, w->service));
	pthread_mutex_unlock(&k->watch_lock);
}

void rpc_health_changed(struct rpc_core *k)
{
	pthread_mutex_lock(&k->watch_lock);
	mica_rpc_batch_begin();
	for (struct rpc_watcher *w = k->watchers; w; w = w->next)
		tell(w, status_of(k, w->service));
	mica_rpc_batch_end();
	pthread_mutex_unlock(&k->watch_lock);
}

struct mica_rpc_service rpc_health_service(struct rpc_core *k)
{
	static const struct mica_rpc_method methods[] = {
		{.name = "Check", .kind = MICA_RPC_UNARY, .max_message = 4096, .call = check},
		{.name = "Watch",
			.kind = MICA_RPC_SERVER_STREAM,
			.max_message = 4096,
			.call = watch,
			.writable = watch_room,
			.cancelled = watch_over},
	};
	return (struct mica_rpc_service){.name = "grpc.health.v1.Health",
		.methods = methods,
		.n_methods = MICA_ARRAY_LEN(methods),
		.ctx = k,
		.descriptors = mica_slice(rpc_descriptors, rpc_descriptors_len)};
}

void rpc_core_set_serving(struct rpc_core *k, const char *service, bool yes)
{
	struct rpc_serving *s = serving_of(k, service);
	if (s && atomic_exchange(&s->yes, yes) != yes)
		rpc_health_changed(k);
}
