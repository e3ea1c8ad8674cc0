/* SPDX-License-Identifier: Apache-2.0 */
#include "api_impl.h"

#include "compiled.h"
#include "policies.h"

#include "mica/clock.h"
#include "mica/log.h"

#include <stdio.h>

#define COMPILED_MAX ((size_t)32 << 20) /* octets of compiled policies that are kept */

/* ---- a call's life ------------------------------------------------------------------------- */

static struct api_call *call_new(struct door *door, struct http_req *r)
{
	struct api_call *c = MICA_NEW(struct api_call);
	c->a = door->a;
	c->door = door->kind;
	c->r = r;
	c->d = http_req_data(r);
	atomic_init(&c->refs, 1);
	mica_buf_init_secret(&c->kept_mem, 0);
	if (atomic_load_explicit(&c->a->desk->log_address, memory_order_relaxed))
		memcpy(c->address, c->d->peer->address, sizeof(c->address));
	c->ask = (struct ask){.desk = c->a->desk,
		.face = &api_face,
		.front = MICA_FRONT_REST,
		.err = &c->err,
		.peer = c->d->peer,
		.address = c->address};
	return c;
}

void api_unref(struct api_call *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	api_params_clear(&c->query);
	mica_buf_clear(&c->kept_mem);
	mica_buf_clear(&c->out);
	api_issue_free(c->issue);
	mica_free(c->caller);
	mica_free(c);
}

void api_defer(struct api_call *c)
{
	if (c->deferred)
		return;
	c->deferred = true;
	if (c->long_work)
		http_defer_long(c->r);
	else
		http_defer(c->r);
}

static struct mica_slice keep(struct mica_buf *mem, struct mica_slice s)
{
	size_t at = mem->len;
	mica_buf_put_slice(mem, s);
	return mica_slice(mem->p + at, s.len);
}

void api_keep(struct api_call *c)
{
	const struct http_req_data *d = c->d;
	struct http_req_data *k = &c->kept;
	struct mica_slice *token = &c->ask.token;
	size_t token_at = token->len ? (size_t)(token->p - d->authorization.p) : 0;
	size_t all = d->authorization.len + d->body.len + d->query.len + c->param.len +
		d->if_none_match.len + d->if_match.len;

	ask_leave(&c->ask);
	if (c->deferred)
		return;
	mica_buf_init_secret(&c->kept_mem, all);
	(void)mica_buf_room(&c->kept_mem, all); /* so that nothing moves */
	c->kept_peer = *d->peer;
	*k = (struct http_req_data){.method = d->method,
		.peer = &c->kept_peer,
		.received_ms = d->received_ms,
		.deadline_ms = d->deadline_ms};
	k->authorization = keep(&c->kept_mem, d->authorization);
	k->body = keep(&c->kept_mem, d->body);
	k->query = keep(&c->kept_mem, d->query);
	k->if_none_match = keep(&c->kept_mem, d->if_none_match);
	k->if_match = keep(&c->kept_mem, d->if_match);
	c->param = keep(&c->kept_mem, c->param);
	*token = mica_slice_sub(k->authorization, token_at, token->len);
	c->d = k;
	c->ask.peer = k->peer;
	api_defer(c);
}

/* ---- answers ------------------------------------------------------------------------------- */

static enum metric_class class_of(int status)
{
	return status < 300    ? METRIC_2XX
		: status < 400 ? METRIC_3XX
		: status < 500 ? METRIC_4XX
			       : METRIC_5XX;
}

/* openapi.json is the whole truth: an answer that it does not know is a bug that must be seen. */
static void check_documented(const struct api_call *c, int status)
{
	if (!c->route)
		return;
	for (enum api_status s = 0; s < API_STATUS_COUNT; s++)
		if (api_status_code(s) == status && (c->route->statuses & S(s)))
			return;
	MICA_LOG(MICA_ERROR, "undocumented_status", MICA_S("path", c->route->path),
		MICA_I("status", status), MICA_S("reason", mica_err_fine(&c->err)));
}

static void count(struct api_call *c, int status)
{
	struct metrics *m = &c->a->desk->m;
	if (c->route)
		mica_metric_add(&m->requests[c->route - api_routes][class_of(status)], 1);
	else
		mica_metric_add(&m->unrouted[class_of(status)], 1);
	check_documented(c, status);
}

#define HEADERS_MAX 8
struct headers {
	struct http_header h[HEADERS_MAX];
	size_t n;
	char retry_after[16];
};

static void add_header(struct headers *h, const char *name, const char *value)
{
	if (value && h->n < HEADERS_MAX)
		h->h[h->n++] = (struct http_header){.name = name, .value = value};
}

static void put_headers(struct headers *h, const struct api_answer *a)
{
	int retry = a->retry_after;

	h->n = 0;
	if (retry <= 0 && (a->status == 429 || a->status == 503))
		retry = 1;
	if (retry > 0)
		snprintf(h->retry_after, sizeof(h->retry_after), "%d", retry);
	add_header(h, "Cache-Control", a->cache ? a->cache : "no-store");
	add_header(h, "X-Content-Type-Options", a->type ? "nosniff" : NULL);
	add_header(h, "ETag", a->etag);
	add_header(h, "Allow", a->allow);
	add_header(h, "Mica-Policy-Lost", a->lost);
	add_header(h, "Retry-After", retry > 0 ? h->retry_after : NULL);
	/* RFC 6750 3: nothing beyond the scheme for who has not shown anything */
	add_header(h, "WWW-Authenticate", a->status == 401 ? "Bearer" : NULL);
}

void api_answer(struct api_call *c, const struct api_answer *a)
{
	struct headers h;
	struct http_reply reply;

	ask_leave(&c->ask);
	put_headers(&h, a);
	reply = (struct http_reply){.status = a->status,
		.content_type = a->type,
		.headers = h.h,
		.n_headers = h.n,
		.body = a->body,
		.owner = a->owner,
		.release = a->release,
		.close = a->status == 413};
	count(c, a->status);
	c->ask.t_end = mica_mono_ns();
	atomic_store_explicit(&c->status, a->status, memory_order_release);
	if (c->deferred)
		http_finish(c->r, &reply);
	else
		http_reply(c->r, &reply);
	api_unref(c);
}

void api_send(struct api_call *c, int status, const char *type, const char *cache)
{
	struct api_answer a = {.status = status,
		.type = type,
		.cache = cache,
		.etag = c->etag[0] ? c->etag : NULL,
		.body = mica_buf_slice(&c->out)};
	if (c->out.over) {
		mica_fail(&c->err, MICA_INTERNAL, "answer_too_long",
			"the answer is longer than this server sends");
		api_fail(c);
		return;
	}
	api_answer(c, &a);
}

/* ---- the way of a request ------------------------------------------------------------------ */

bool api_issues(const struct api_route *t)
{
	return t->run == api_x509 || t->run == api_jwt;
}

/* Finds the route, or answers 404 or 405. */
static bool find_route(struct api_call *c)
{
	char allow[64];

	c->route = api_find_route(c->door, c->d->method, c->d->path, &c->param, allow);
	if (c->route)
		return true;
	if (allow[0]) {
		MICA_AUTO_BUF body;
		struct mica_err e = MICA_ERR_INIT;
		mica_buf_init(&body, 4096);
		mica_fail(&e, MICA_INVALID, "method_not_allowed",
			"this path is not served with this method, expected %s", allow);
		api_problem(&body, 405, &e, allow);
		metric_reason(&c->a->desk->m.refused, e.reason);
		api_answer(c,
			&(struct api_answer){.status = 405,
				.type = "application/problem+json",
				.body = mica_buf_slice(&body),
				.allow = allow});
		return false;
	}
	mica_fail(&c->err, MICA_NOT_FOUND, "no_such_path",
		"nothing is served at this path; GET /openapi.json lists what is");
	api_fail(c);
	return false;
}

static bool check_content_type(struct api_call *c)
{
	bool yaml = c->route->body == API_DOCUMENTS;

	if (!c->route->body || api_is_json(c->d->content_type) ||
		(yaml && api_is_yaml(c->d->content_type)))
		return true;
	c->expected = yaml ? "application/yaml or application/json" : "application/json";
	mica_fail(&c->err, MICA_INVALID, "content_type",
		"this path takes a %s document, expected Content-Type: %s",
		yaml ? "YAML or JSON" : "JSON", c->expected);
	api_fail_status(c, 415);
	return false;
}

static bool check_queue(struct api_call *c)
{
	if (!api_issues(c->route) || desk_queue_ok(c->a->desk, &c->err) == MICA_OK)
		return true;
	api_fail(c);
	return false;
}

static bool check_rate(struct api_call *c)
{
	if (c->door == API_METRICS ||
		desk_address_ok(c->a->desk, c->d->peer, api_credential(c->d), &c->err) == MICA_OK)
		return true;
	api_fail(c);
	return false;
}

/* Of a request that was admitted, when its body never came. */
static void drop(void *state)
{
	api_unref(state);
}

bool api_admit(void *ctx, struct http_req *r)
{
	struct api_call *c = call_new(ctx, r);

	/* each answers itself when it says no */
	if (!check_rate(c) || !find_route(c) || !check_content_type(c) || !check_queue(c))
		return false;
	http_req_set_state(r, c, drop); /* for the handler */
	return true;
}

void api_handler(void *ctx, struct http_req *r)
{
	struct api_call *c = http_req_state(r);

	if (!c) { /* nothing was looked at yet */
		c = call_new(ctx, r);
		if (!find_route(c) || !check_content_type(c))
			return;
	}
	http_req_set_state(r, NULL, NULL);
	c->ask.t_begin = mica_mono_ns(); /* without what its body took to come */
	c->ask.issues = api_issues(c->route);
	api_authenticate(c);
}

static bool has_role(const struct api_call *c)
{
	const struct mica_caller *k = c->caller;
	switch (c->route->who) {
	case API_ANYONE: return true;
	case API_CALLER: return k->roles != 0;
	case API_WORKLOAD:
		/* a join token is for its certificate alone */
		return k->principal.spiffe_id[0] != '\0' &&
			(k->evidence.kind != MICA_EV_JOIN || c->route->run == api_x509);
	case API_AUDITOR: return (k->roles & (MICA_ROLE_AUDITOR | MICA_ROLE_ADMIN)) != 0;
	case API_ADMINISTRATOR: return (k->roles & MICA_ROLE_ADMIN) != 0;
	case API_LOCAL_ADMIN: return (k->roles & MICA_ROLE_ADMIN) != 0 && k->uid >= 0;
	}
	return false;
}

static const char *const who_names[] = {
	[API_CALLER] = "a caller with a role",
	[API_WORKLOAD] = "a workload: a bearer token or a client SVID",
	[API_AUDITOR] = "an auditor or an administrator",
	[API_ADMINISTRATOR] = "an administrator",
	[API_LOCAL_ADMIN] = "an administrator on the admin socket",
};

static void run_pooled(void *job, bool run)
{
	struct api_call *c = job;
	if (run) {
		api_run(c);
		return;
	}
	mica_fail(&c->err, MICA_UNAVAILABLE, "draining", "this server is about to end");
	api_fail(c);
}

void api_run(struct api_call *c)
{
	if (!has_role(c)) {
		c->expected = who_names[c->route->who];
		mica_fail(&c->err, MICA_DENIED, "role_required", "expected %s", c->expected);
		api_fail(c);
		return;
	}
	if (c->route->pool && !c->deferred) {
		api_keep(c);
		ask_push(&c->ask, run_pooled, c);
		return;
	}
	if (api_params_parse(c->d->query, c->route->params, &c->query, &c->err) != MICA_OK) {
		api_fail(c);
		return;
	}
	c->route->run(c);
}

/* ---- life ---------------------------------------------------------------------------------- */

static unsigned positive(int64_t v)
{
	return v < 1 ? 1 : v > 1000000 ? 1000000 : (unsigned)v;
}

void api_reconfigure(struct api *a, const struct mica_config *config)
{
	atomic_store(&a->oidc_discovery, config->jwt.oidc_discovery);
	watch_set_max(a->watch, positive(config->https.max_watchers),
		positive(config->https.max_watchers_shared));
}

static void policies_changed(void *ctx)
{
	api_wake(ctx, false);
}

mica_rc api_new(const struct api_options *o, struct api **out, struct mica_err *e)
{
	struct api *a = MICA_NEW(struct api);
	const struct watch_options w = {.core = o->desk->core, .done = api_watch_answer};
	mica_rc rc;

	a->o = *o;
	a->desk = o->desk;
	a->started = mica_now();
	pthread_mutex_init(&a->backup_lock, NULL);
	for (unsigned i = 0; i < API_LISTENER_COUNT; i++) {
		a->door[i].a = a;
		a->door[i].kind = (enum api_listener)i;
	}
	a->public_host =
		mica_strdup(o->config->https.public_host ? o->config->https.public_host : "");
	rc = watch_new(&w, &a->watch, e);
	if (rc != MICA_OK) {
		api_free(a);
		return rc;
	}
	a->compiled = compiled_new(COMPILED_MAX);
	policies_subscribe(o->desk->policies, policies_changed, a);
	api_reconfigure(a, o->config);
	a->o.config = NULL;
	*out = a;
	return MICA_OK;
}

void *api_door(struct api *a, enum api_listener l)
{
	return &a->door[l];
}

void api_set_server(struct api *a, enum api_listener l, struct http_server *s)
{
	atomic_store(&a->door[l].server, s);
}

void api_set_grpc(struct api *a, struct grpc *g)
{
	atomic_store(&a->grpc, g);
}

void api_wake(struct api *a, bool compromised)
{
	watch_wake(a->watch, compromised ? 0 : 1000);
}

void api_drain(struct api *a)
{
	desk_drain(a->desk);
	watch_drain(a->watch);
}

void api_stop(struct api *a)
{
	pthread_t t;
	bool join;

	pthread_mutex_lock(&a->backup_lock);
	join = a->backup_thread_valid;
	t = a->backup_thread;
	a->backup_thread_valid = false;
	atomic_store(&a->stopped, true);
	pthread_mutex_unlock(&a->backup_lock);
	if (join)
		pthread_join(t, NULL);
}

void api_free(struct api *a)
{
	if (!a)
		return;
	api_stop(a);
	watch_free(a->watch);
	compiled_free(a->compiled);
	mica_free(a->public_host);
	pthread_mutex_destroy(&a->backup_lock);
	mica_free(a);
}
