/* SPDX-License-Identifier: Apache-2.0 */
/* What a server is apart from its sockets: options, and methods by their path. */
#include "rpc_impl.h"

#include <stdlib.h>

void mica_rpc_options_init(struct mica_rpc_options *o)
{
	*o = (struct mica_rpc_options){
		.max_connections = 10000,
		.max_streams = 100,
		.max_calls = 20000,
		.max_message = 64 << 10,
		.max_headers = 64,
		.max_header_bytes = 16 << 10,
		.max_queued = 64 << 10,
		.max_buffered = 1 << 20,
		.max_buffered_all = 64 << 20,
		.handshake_ms = 5000,
		.headers_ms = 10000,
		.request_ms = 20000,
		.call_ms = 30000,
		.stall_ms = 20000,
		.idle_ms = 60000,
		.max_age_ms = 3600000,
		.grace_ms = 30000,
		.error_domain = "",
	};
}

static int by_path(const void *a, const void *b)
{
	const struct rpc_method *x = a, *y = b;
	return mica_slice_cmp(mica_slice(x->path, x->len), mica_slice(y->path, y->len));
}

const struct rpc_method *rpc_core_find(
	const struct rpc_core *k, struct mica_slice path, bool *service)
{
	size_t low = 0, high = k->n_methods;
	size_t prefix = path.len;
	*service = false;
	while (low < high) {
		const size_t mid = (low + high) / 2;
		const struct rpc_method *m = &k->methods[mid];
		const int c = mica_slice_cmp(path, mica_slice(m->path, m->len));
		if (c == 0) {
			*service = true;
			return m;
		}
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	while (prefix > 0 && path.p[prefix - 1] != '/')
		prefix--;
	for (size_t i = 0; i < k->n_methods && prefix > 1 && !*service; i++)
		*service = mica_slice_has_prefix(mica_slice(k->methods[i].path, k->methods[i].len),
			mica_slice(path.p, prefix));
	return NULL;
}

bool rpc_core_is_own(const struct rpc_core *k, const struct rpc_method *m)
{
	return m->service >= k->own && m->service < k->own + k->n_own;
}

static bool is_whole(const struct mica_rpc_method *m)
{
	return m->name && m->call && (m->kind != MICA_RPC_BIDI || (m->message && m->half_closed));
}

static mica_rc add_service(struct rpc_core *k, const struct mica_rpc_service *s, struct mica_err *e)
{
	if (!s->name || !s->name[0] || s->n_methods == 0)
		return mica_fail(
			e, MICA_INVALID, "service_invalid", "a service without name or method");
	k->methods = mica_realloc(k->methods, k->n_methods + s->n_methods, sizeof(*k->methods));
	for (size_t i = 0; i < s->n_methods; i++) {
		const struct mica_rpc_method *m = &s->methods[i];
		MICA_AUTO_BUF path;
		mica_buf_init(&path, 1024);
		if (!is_whole(m))
			return mica_fail(e, MICA_INVALID, "service_invalid",
				"%s: method %zu lacks a function", s->name, i);
		mica_buf_printf(&path, "/%s/%s", s->name, m->name);
		k->methods[k->n_methods++] =
			(struct rpc_method){mica_strdup((const char *)path.p), path.len, s, m};
	}
	k->serving = mica_realloc(k->serving, k->n_serving + 1, sizeof(*k->serving));
	k->serving[k->n_serving].name = s->name;
	atomic_init(&k->serving[k->n_serving++].yes, true);
	return MICA_OK;
}

static mica_rc add_services(struct rpc_core *k, struct mica_err *e)
{
	mica_rc rc = MICA_OK;
	k->serving = MICA_NEW(struct rpc_serving);
	k->serving[0].name = "";
	atomic_init(&k->serving[0].yes, true);
	k->n_serving = 1;
	for (size_t i = 0; i < k->o.n_services && rc == MICA_OK; i++)
		rc = add_service(k, &k->o.services[i], e);
	for (unsigned i = 0; i < k->n_own && rc == MICA_OK; i++)
		rc = add_service(k, &k->own[i], e);
	if (rc != MICA_OK)
		return rc;
	qsort(k->methods, k->n_methods, sizeof(*k->methods), by_path);
	for (size_t i = 1; i < k->n_methods; i++)
		if (by_path(&k->methods[i - 1], &k->methods[i]) == 0)
			return mica_fail(e, MICA_INVALID, "service_invalid", "%s: given twice",
				k->methods[i].path);
	return MICA_OK;
}

static void core_free(struct rpc_core *k)
{
	for (unsigned i = 0; i < k->n_homes; i++)
		rpc_home_clear(&k->homes[i]);
	for (size_t i = 0; i < k->n_methods; i++)
		mica_free(k->methods[i].path);
	rpc_reflection_free(k->reflection);
	pthread_mutex_destroy(&k->watch_lock);
	mica_free(k->homes);
	mica_free(k->methods);
	mica_free(k->serving);
	mica_free(k);
}

void rpc_core_ref(struct rpc_core *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
}

void rpc_core_unref(struct rpc_core *k)
{
	if (k && atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
		core_free(k);
}

mica_rc rpc_core_new(const struct mica_rpc_options *o, unsigned n_homes, struct rpc_core **out,
	struct mica_err *e)
{
	struct rpc_core *k = MICA_NEW(struct rpc_core);
	mica_rc rc;
	k->o = *o;
	k->o.listeners = NULL;
	k->o.n_listeners = 0;
	atomic_init(&k->refs, 1);
	pthread_mutex_init(&k->watch_lock, NULL);
	k->homes = mica_calloc(n_homes, sizeof(*k->homes));
	k->n_homes = n_homes;
	for (unsigned i = 0; i < n_homes; i++)
		rpc_home_init(&k->homes[i], -1);
	k->own[k->n_own++] = rpc_health_service(k);
	if (o->reflection) {
		k->own[k->n_own++] = rpc_reflect_service(k, "grpc.reflection.v1.ServerReflection");
		k->own[k->n_own++] =
			rpc_reflect_service(k, "grpc.reflection.v1alpha.ServerReflection");
	}
	rc = add_services(k, e);
	if (rc == MICA_OK && o->reflection)
		rc = rpc_reflection_new(k, &k->reflection, e);
	if (rc != MICA_OK) {
		rpc_core_unref(k);
		return rc;
	}
	*out = k;
	return MICA_OK;
}
