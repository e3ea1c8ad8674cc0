/* SPDX-License-Identifier: Apache-2.0 */
#include "workload.h"

#include "peers.h"
#include "validate.h"
#include "wire.h"

#include "mica/clock.h"
#include "mica/log.h"

#include <pthread.h>
#include <stdatomic.h>

#include "embed.h"

#define MESSAGE_MAX  ((size_t)16 << 20) /* that is written */
#define REQUEST_MAX  ((size_t)32 << 10) /* that is read */
#define HOLD_TICK_MS 1000

enum kind { X509_SVID, X509_BUNDLES, JWT_BUNDLES, KINDS };

/* One encoded state; the streams that shall have it share it. Under the lock. */
struct message {
	struct message *next;
	enum kind kind;
	uint32_t mask;
	struct mica_buf bytes;
	uint8_t hash[32];
};

struct stream {
	struct stream *next, *prev;
	struct workload *w;
	struct mica_rpc_call *call;
	enum kind kind;
	uint32_t mask; /* the identities that its peer may use */
	int64_t since_ms; /* mica_mono_ms() */
	bool sent; /* anything yet */
	bool ended;
	uint8_t hash[32]; /* of what was sent last */
};

struct workload {
	struct workload_options o;
	pthread_mutex_t lock; /* of all below */
	struct stream *streams;
	struct message *messages; /* of `version` */
	uint64_t version;
	struct mica_rpc_service service;
};

struct workload *workload_new(const struct workload_options *o)
{
	struct workload *w = MICA_NEW(struct workload);

	w->o = *o;
	pthread_mutex_init(&w->lock, NULL);
	return w;
}

static void forget_messages(struct workload *w)
{
	struct message *m;

	while ((m = w->messages)) {
		w->messages = m->next;
		mica_buf_clear(&m->bytes);
		mica_free(m);
	}
}

void workload_free(struct workload *w)
{
	if (!w)
		return;
	forget_messages(w);
	pthread_mutex_destroy(&w->lock);
	mica_free(w);
}

/* ---- messages ------------------------------------------------------------------------------ */

/* X509SVID {spiffe_id = 1, x509_svid = 2, x509_svid_key = 3, bundle = 4, hint = 5} */
static void put_svid(struct mica_buf *out, const struct svid *s, const struct trust *t,
	const struct agent_identity *id)
{
	MICA_AUTO_BUF b;

	mica_buf_init_secret(&b, MESSAGE_MAX);
	wire_put_text(&b, 1, s->id);
	mica_wire_put_bytes(&b, 2, mica_buf_slice(&s->der));
	mica_wire_put_bytes(&b, 3, mica_secret_view(s->pkcs8));
	mica_wire_put_bytes(&b, 4, mica_buf_slice(&t->der));
	wire_put_text(&b, 5, id->hint);
	mica_wire_put_bytes(out, 1, mica_buf_slice(&b));
}

/* An entry of map<string, bytes>. */
static void put_entry(
	struct mica_buf *out, uint32_t number, const char *key, struct mica_slice value)
{
	mica_wire_put_head(out, number,
		mica_wire_bytes_size(1, strlen(key)) + mica_wire_bytes_size(2, value.len));
	wire_put_text(out, 1, key);
	mica_wire_put_bytes(out, 2, value);
}

/* False when there is nothing to tell yet. */
static bool encode(const struct workload *w, const struct keep_view *v, enum kind kind,
	uint32_t mask, struct mica_buf *out)
{
	bool any = false;

	if (!v->trust)
		return false;
	if (kind == X509_BUNDLES) /* X509BundlesResponse {crl = 1, bundles = 2} */
		put_entry(out, 2, v->trust->id, mica_buf_slice(&v->trust->der));
	if (kind == JWT_BUNDLES) /* JWTBundlesResponse {bundles = 1} */
		put_entry(out, 1, v->trust->id, mica_buf_slice(&v->trust->jwks));
	if (kind != X509_SVID)
		return !out->over;
	/* X509SVIDResponse {svids = 1, crl = 2, federated_bundles = 3}; the order of the
	 * configuration is that of the message: the first is the default (Workload API 8) */
	for (unsigned i = 0; i < w->o.config->n_identities; i++) {
		if (!(mask >> i & 1) || !v->svid[i])
			continue;
		put_svid(out, v->svid[i], v->trust, &w->o.config->identities[i]);
		any = true;
	}
	return any && !out->over;
}

/* The state of now for these identities; NULL when there is nothing yet. Borrowed under the lock.
 */
static const struct message *message(struct workload *w, enum kind kind, uint32_t mask)
{
	AUTO_KEEP_VIEW v = {.version = 0};
	struct message *m;

	keep_view_get(w->o.keep, &v);
	if (v.version != w->version)
		forget_messages(w);
	w->version = v.version;
	for (m = w->messages; m; m = m->next)
		if (m->kind == kind && m->mask == mask)
			return m;
	m = MICA_NEW(struct message);
	m->kind = kind;
	m->mask = mask;
	mica_buf_init_secret(&m->bytes, MESSAGE_MAX);
	if (!encode(w, &v, kind, mask, &m->bytes)) {
		mica_buf_clear(&m->bytes);
		mica_free(m);
		return NULL;
	}
	mica_sha256(mica_buf_slice(&m->bytes), m->hash);
	m->next = w->messages;
	w->messages = m;
	return m;
}

/* ---- streams; under the lock --------------------------------------------------------------- */

static void end_stream(struct stream *s, const struct mica_err *e)
{
	struct workload *w = s->w;

	if (s->ended)
		return;
	s->ended = true;
	*(s->prev ? &s->prev->next : &w->streams) = s->next;
	if (s->next)
		s->next->prev = s->prev;
	mica_rpc_end(s->call, e);
}

/* Why there is nothing: micad's refusal of each identity, or that it could not be asked. */
static bool refused_for_good(struct workload *w, uint32_t mask, struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT;
	bool all = true;

	for (unsigned i = 0; i < w->o.config->n_identities; i++) {
		if (!(mask >> i & 1))
			continue;
		if (!keep_trouble(w->o.keep, i, &why) || why.rc != MICA_DENIED)
			all = false;
		else if (e->rc == MICA_OK)
			mica_fail(e, MICA_DENIED, "no_identity", "%s", why.text);
	}
	if (!all)
		mica_err_clear(e);
	return all && mask;
}

static void unavailable(struct workload *w, uint32_t mask, struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT;

	for (unsigned i = 0; i < w->o.config->n_identities && why.rc == MICA_OK; i++)
		if (mask >> i & 1)
			(void)keep_trouble(w->o.keep, i, &why);
	mica_fail(e, MICA_UNAVAILABLE, "not_ready", "there is no valid SVID: %s",
		why.rc != MICA_OK ? why.text : "micad has not answered yet");
	e->retry_after = 1;
}

static void push(struct stream *s)
{
	const struct message *m = message(s->w, s->kind, s->mask);
	struct mica_err e = MICA_ERR_INIT;

	if (!m) {
		/* One that has had something keeps it until it expires. */
		if (!s->sent && s->kind == X509_SVID && refused_for_good(s->w, s->mask, &e))
			end_stream(s, &e);
		return;
	}
	if (s->sent && memcmp(s->hash, m->hash, sizeof(s->hash)) == 0)
		return;
	/* One that does not read gets the newest when it does. */
	if (mica_rpc_send(s->call, mica_buf_slice(&m->bytes)) != MICA_OK)
		return;
	s->sent = true;
	memcpy(s->hash, m->hash, sizeof(s->hash));
}

void workload_changed(void *ctx)
{
	struct workload *w = ctx;
	struct stream *s, *next;

	pthread_mutex_lock(&w->lock);
	mica_rpc_batch_begin();
	for (s = w->streams; s; s = next) {
		next = s->next;
		push(s);
	}
	mica_rpc_batch_end();
	pthread_mutex_unlock(&w->lock);
}

void workload_tick(struct workload *w)
{
	const int64_t long_ago = mica_mono_ms() - WORKLOAD_HOLD_MS;
	struct stream *s, *next;

	pthread_mutex_lock(&w->lock);
	for (s = w->streams; s; s = next) {
		struct mica_err e = MICA_ERR_INIT;

		next = s->next;
		if (s->sent || s->since_ms > long_ago)
			continue;
		unavailable(w, s->mask, &e);
		end_stream(s, &e);
	}
	pthread_mutex_unlock(&w->lock);
}

void workload_streams(
	struct workload *w, unsigned *x509_svid, unsigned *x509_bundles, unsigned *jwt_bundles)
{
	unsigned n[KINDS] = {0};

	pthread_mutex_lock(&w->lock);
	for (const struct stream *s = w->streams; s; s = s->next)
		n[s->kind]++;
	pthread_mutex_unlock(&w->lock);
	*x509_svid = n[X509_SVID];
	*x509_bundles = n[X509_BUNDLES];
	*jwt_bundles = n[JWT_BUNDLES];
}

static bool may_use(struct workload *w, struct mica_rpc_call *c, uint32_t *mask)
{
	struct mica_err e = MICA_ERR_INIT;

	*mask = peers_identities(w->o.config, mica_rpc_call_data(c)->peer);
	if (*mask)
		return true;
	mica_fail(&e, MICA_DENIED, "no_identity", "this agent has no identity for user %lld",
		(long long)mica_rpc_call_data(c)->peer->uid);
	mica_rpc_end(c, &e);
	return false;
}

static bool is_empty_message(struct mica_rpc_call *c, struct mica_slice m)
{
	struct mica_err e = MICA_ERR_INIT;
	struct wire r = {.s = m};
	struct mica_wire_field f;

	while (wire_next(&r, &f))
		continue;
	if (!r.bad)
		return true;
	mica_fail(&e, MICA_INVALID, "message_invalid", "this is not a message of Protocol Buffers");
	mica_rpc_end(c, &e);
	return false;
}

static void open_stream(
	struct workload *w, struct mica_rpc_call *c, struct mica_slice m, enum kind kind)
{
	struct stream *s;
	uint32_t mask;

	if (!is_empty_message(c, m) || !may_use(w, c, &mask))
		return;
	s = MICA_NEW(struct stream);
	*s = (struct stream){
		.w = w, .call = c, .kind = kind, .mask = mask, .since_ms = mica_mono_ms()};
	mica_rpc_set_state(c, s, mica_free);
	pthread_mutex_lock(&w->lock);
	s->next = w->streams;
	if (s->next)
		s->next->prev = s;
	w->streams = s;
	push(s);
	pthread_mutex_unlock(&w->lock);
}

static void fetch_x509_svid(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	open_stream(ctx, c, m, X509_SVID);
}

static void fetch_x509_bundles(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	open_stream(ctx, c, m, X509_BUNDLES);
}

static void fetch_jwt_bundles(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	open_stream(ctx, c, m, JWT_BUNDLES);
}

static void stream_cancelled(void *ctx, struct mica_rpc_call *c)
{
	struct workload *w = ctx;
	struct stream *s = mica_rpc_state(c);

	pthread_mutex_lock(&w->lock);
	end_stream(s, NULL);
	pthread_mutex_unlock(&w->lock);
}

static void stream_writable(void *ctx, struct mica_rpc_call *c)
{
	struct workload *w = ctx;
	struct stream *s = mica_rpc_state(c);

	pthread_mutex_lock(&w->lock);
	if (!s->ended)
		push(s);
	pthread_mutex_unlock(&w->lock);
}

/* ---- JWT-SVIDs ----------------------------------------------------------------------------- */

static void fail(struct mica_rpc_call *c, mica_rc rc, const char *reason, const char *text)
{
	struct mica_err e = MICA_ERR_INIT;

	mica_fail(&e, rc, reason, "%s", text);
	mica_rpc_end(c, &e);
}

/* One call, which may ask for a token of each of several identities. */
struct fetch {
	struct workload *w;
	struct mica_rpc_call *call;
	atomic_uint left; /* answers that are still due */
	struct jwt_slot {
		struct fetch *f;
		const struct jwt *token;
		struct mica_err why;
	} slot[AGENT_IDENTITIES_MAX];
};

/* JWTSVIDResponse {svids = 1 JWTSVID {spiffe_id = 1, svid = 2, hint = 3}} */
static void put_jwt(struct mica_buf *out, const struct jwt *t, const char *hint)
{
	MICA_AUTO_BUF b;

	mica_buf_init_secret(&b, MESSAGE_MAX);
	wire_put_text(&b, 1, t->id);
	mica_wire_put_bytes(&b, 2, mica_buf_slice(&t->token));
	wire_put_text(&b, 3, hint);
	mica_wire_put_bytes(out, 1, mica_buf_slice(&b));
}

/* What micad would not do for any caller is its word; the rest is our own trouble. */
static void fetch_failed(struct mica_rpc_call *c, const struct mica_err *why)
{
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = why->rc == MICA_DENIED || why->rc == MICA_INVALID ? why->rc : MICA_UNAVAILABLE;

	mica_fail(&e, rc, rc == MICA_DENIED ? "no_identity" : "jwt_not_issued", "%s", why->text);
	e.retry_after = rc == MICA_UNAVAILABLE ? (why->retry_after ? why->retry_after : 1) : 0;
	mica_rpc_end(c, &e);
}

static void fetch_over(struct fetch *f)
{
	const struct mica_err *why = NULL;
	MICA_AUTO_BUF out;

	mica_buf_init_secret(&out, MESSAGE_MAX);
	for (unsigned i = 0; i < AGENT_IDENTITIES_MAX; i++) {
		if (f->slot[i].token)
			put_jwt(&out, f->slot[i].token, f->w->o.config->identities[i].hint);
		else if (f->slot[i].why.rc != MICA_OK && !why)
			why = &f->slot[i].why;
		jwt_unref(f->slot[i].token);
	}
	/* One that is missing must not look like one that the caller is not entitled to. */
	if (why)
		fetch_failed(f->call, why);
	else
		mica_rpc_reply(f->call, mica_buf_slice(&out));
	mica_free(f);
}

static void got_jwt(void *ctx, const struct jwt *t, const struct mica_err *e)
{
	struct jwt_slot *s = ctx;
	struct fetch *f = s->f;

	s->token = jwt_ref(t);
	if (!t)
		s->why = *e;
	if (atomic_fetch_sub(&f->left, 1) == 1)
		fetch_over(f);
}

struct jwt_request {
	struct mica_slice audience[JWT_AUDIENCES_MAX];
	size_t n;
	struct mica_slice spiffe_id; /* empty = all */
	struct mica_slice svid; /* ValidateJWTSVIDRequest alone */
};

/* JWTSVIDRequest {audience = 1, spiffe_id = 2} */
static bool read_fetch(struct mica_slice m, struct jwt_request *q, struct mica_err *e)
{
	struct wire r = {.s = m};
	struct mica_wire_field f;

	while (wire_next(&r, &f)) {
		if (wire_is_text(&r, &f, 2)) {
			q->spiffe_id = f.bytes;
		} else if (wire_is_text(&r, &f, 1)) {
			if (q->n == JWT_AUDIENCES_MAX || f.bytes.len == 0 ||
				f.bytes.len > JWT_AUDIENCE_MAX) {
				mica_fail(e, MICA_INVALID, "audience_invalid",
					"audience: expected 1 to %d of 1 to %d octets",
					JWT_AUDIENCES_MAX, JWT_AUDIENCE_MAX);
				return false;
			}
			q->audience[q->n++] = f.bytes;
		}
	}
	if (r.bad)
		mica_fail(e, MICA_INVALID, "message_invalid", "this is not a JWTSVIDRequest");
	else if (q->n == 0)
		mica_fail(e, MICA_INVALID, "audience_invalid", "audience: at least one is needed");
	return e->rc == MICA_OK;
}

/* Those of `mask` with this ID. What they are called is known once they have an SVID. */
static bool narrow(struct workload *w, struct mica_slice id, uint32_t *mask, struct mica_err *e)
{
	AUTO_KEEP_VIEW v = {.version = 0};
	uint32_t named = 0, unknown = 0;

	if (id.len == 0)
		return true;
	keep_view_get(w->o.keep, &v);
	for (unsigned i = 0; i < w->o.config->n_identities; i++) {
		if (!(*mask >> i & 1))
			continue;
		if (!v.svid[i])
			unknown |= UINT32_C(1) << i;
		else if (mica_slice_eq_str(id, v.svid[i]->id))
			named |= UINT32_C(1) << i;
	}
	if (!named && unknown)
		unavailable(w, unknown, e);
	else if (!named)
		mica_fail(e, MICA_DENIED, "no_identity",
			"the caller is not entitled to this spiffe_id");
	*mask = named;
	return named != 0;
}

static void fetch_jwt_svid(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct workload *w = ctx;
	struct jwt_request q = {.n = 0};
	struct mica_err e = MICA_ERR_INIT;
	struct fetch *f;
	uint32_t mask;

	if (!may_use(w, c, &mask))
		return;
	if (!read_fetch(m, &q, &e) || !narrow(w, q.spiffe_id, &mask, &e)) {
		mica_rpc_end(c, &e);
		return;
	}
	f = MICA_NEW(struct fetch);
	f->w = w;
	f->call = c;
	/* one more, so that it is not over before all were asked for */
	atomic_store(&f->left, 1u + (unsigned)__builtin_popcount(mask));
	for (unsigned i = 0; i < w->o.config->n_identities; i++) {
		if (!(mask >> i & 1))
			continue;
		f->slot[i].f = f;
		jwt_cache_get(w->o.jwts, i, q.audience, q.n, mica_now_ms(), got_jwt, &f->slot[i]);
	}
	if (atomic_fetch_sub(&f->left, 1) == 1)
		fetch_over(f);
}

/* ---- validation ---------------------------------------------------------------------------- */

static void put_struct(struct mica_buf *out, uint32_t number, json_t *object);

/* google.protobuf.Value {null_value = 1, number_value = 2, string_value = 3, bool_value = 4,
 * struct_value = 5, list_value = 6}. Its depth is that of the claims, which is bounded. */
static void put_value(struct mica_buf *out, uint32_t number, json_t *v)
{
	MICA_AUTO_BUF b;
	MICA_AUTO_BUF list;
	json_t *one;
	size_t i;

	mica_buf_init(&b, MESSAGE_MAX);
	mica_buf_init(&list, MESSAGE_MAX);
	switch (json_typeof(v)) {
	case JSON_OBJECT: put_struct(&b, 5, v); break;
	case JSON_ARRAY: /* ListValue {values = 1} */
		json_array_foreach (v, i, one)
			put_value(&list, 1, one);
		mica_wire_put_bytes(&b, 6, mica_buf_slice(&list));
		break;
	case JSON_STRING: mica_wire_put_bytes(&b, 3, mica_json_str(v)); break;
	case JSON_INTEGER:
	case JSON_REAL: mica_wire_put_double(&b, 2, json_number_value(v)); break;
	case JSON_TRUE:
	case JSON_FALSE: mica_wire_put_varint(&b, 4, json_is_true(v)); break;
	default: mica_wire_put_varint(&b, 1, 0); break;
	}
	mica_wire_put_bytes(out, number, mica_buf_slice(&b));
}

/* google.protobuf.Struct {fields = 1 map<string, Value>} */
static void put_struct(struct mica_buf *out, uint32_t number, json_t *object)
{
	MICA_AUTO_BUF b;
	const char *key;
	json_t *v;

	mica_buf_init(&b, MESSAGE_MAX);
	json_object_foreach (object, key, v) {
		MICA_AUTO_BUF entry;

		mica_buf_init(&entry, MESSAGE_MAX);
		mica_wire_put_bytes(&entry, 1, mica_slice_str(key));
		put_value(&entry, 2, v);
		mica_wire_put_bytes(&b, 1, mica_buf_slice(&entry));
	}
	mica_wire_put_bytes(out, number, mica_buf_slice(&b));
}

/* ValidateJWTSVIDRequest {audience = 1, svid = 2} */
static bool read_validate(struct mica_slice m, struct jwt_request *q, struct mica_err *e)
{
	struct wire r = {.s = m};
	struct mica_wire_field f;

	while (wire_next(&r, &f)) {
		if (wire_is_text(&r, &f, 1))
			q->audience[0] = f.bytes;
		else if (wire_is_text(&r, &f, 2))
			q->svid = f.bytes;
	}
	if (r.bad)
		mica_fail(
			e, MICA_INVALID, "message_invalid", "this is not a ValidateJWTSVIDRequest");
	else if (q->audience[0].len == 0)
		mica_fail(e, MICA_INVALID, "audience_invalid", "audience: it is missing");
	else if (q->svid.len == 0)
		mica_fail(e, MICA_INVALID, "jwt_svid_invalid", "svid: it is missing");
	return e->rc == MICA_OK;
}

static void validate_jwt_svid(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct workload *w = ctx;
	AUTO_VALIDATED v = {.claims = {.root = NULL}};
	struct jwt_request q = {.n = 0};
	struct mica_err e = MICA_ERR_INIT;
	AUTO_TRUST own = NULL;
	MICA_AUTO_BUF out;
	uint32_t mask;

	mica_buf_init(&out, MESSAGE_MAX);
	if (!may_use(w, c, &mask))
		return;
	own = keep_trust(w->o.keep);
	if (!own) {
		fail(c, MICA_UNAVAILABLE, "not_ready", "there is no trust bundle yet");
		return;
	}
	if (!read_validate(m, &q, &e) ||
		validate_jwt(&own, 1, q.svid, q.audience[0], mica_now(), &v, &e) != MICA_OK) {
		MICA_LOG(MICA_DEBUG, "jwt_refused", MICA_E(&e));
		mica_rpc_end(c, &e);
		return;
	}
	/* ValidateJWTSVIDResponse {spiffe_id = 1, claims = 2} */
	mica_wire_put_bytes(&out, 1, v.spiffe_id);
	put_struct(&out, 2, v.claims.root);
	mica_rpc_reply(c, mica_buf_slice(&out));
}

/* ---- the service --------------------------------------------------------------------------- */

mica_rc workload_admit(const struct mica_rpc_call *c, struct mica_err *e)
{
	struct mica_slice value = {0};
	unsigned n = 0;

	if (!mica_slice_has_prefix(mica_rpc_call_data(c)->path, MICA_LIT("/" WORKLOAD_SERVICE "/")))
		return MICA_OK;
	if (mica_rpc_header(c, "workload.spiffe.io", &value, &n) && n == 1 &&
		mica_slice_eq_str(value, "true"))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "security_header_missing",
		"expected the metadata workload.spiffe.io: true, once");
}

#define STREAM(name_, call_)                                                                       \
	{                                                                                          \
		.name = name_, .kind = MICA_RPC_SERVER_STREAM, .max_message = REQUEST_MAX,         \
		.call = call_, .writable = stream_writable, .cancelled = stream_cancelled          \
	}
#define UNARY(name_, call_)                                                                        \
	{                                                                                          \
		.name = name_, .kind = MICA_RPC_UNARY, .max_message = REQUEST_MAX, .call = call_   \
	}

struct mica_rpc_service workload_service(struct workload *w)
{
	static const struct mica_rpc_method methods[] = {
		STREAM("FetchX509SVID", fetch_x509_svid),
		STREAM("FetchX509Bundles", fetch_x509_bundles),
		STREAM("FetchJWTBundles", fetch_jwt_bundles),
		UNARY("FetchJWTSVID", fetch_jwt_svid),
		UNARY("ValidateJWTSVID", validate_jwt_svid),
	};

	return (struct mica_rpc_service){.name = WORKLOAD_SERVICE,
		.methods = methods,
		.n_methods = MICA_ARRAY_LEN(methods),
		.ctx = w,
		.descriptors = mica_slice(agent_descriptors, agent_descriptors_len)};
}
