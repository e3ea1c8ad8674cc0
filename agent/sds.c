/* SPDX-License-Identifier: Apache-2.0 */
#include "sds.h"

#include "embed.h"
#include "peers.h"
#include "sds_request.h"
#include "sds_secret.h"
#include "wire.h"

#include "mica/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#define ANSWER_MAX   ((size_t)16 << 20)
#define REQUEST_MAX  ((size_t)64 << 10)
#define SECRETS_MAX  512 /* that are kept encoded */
#define VERSION_SIZE 17
#define NODE_SIZE    128
#define LOGGED_MAX   256 /* octets of what an Envoy says */

/* A secret as it is sent, kept for the streams that get the same. Under the lock. */
struct secret {
	struct secret *next;
	struct mica_slice name; /* in `text` */
	char *text;
	struct sds_meaning meaning;
	enum agent_validator validator;
	char version[VERSION_SIZE]; /* hex of its hash */
	struct mica_buf bytes; /* envoy...Secret */
};

/* A name that a stream wants. */
struct want {
	char *name;
	char sent[VERSION_SIZE]; /* of what was sent last; "" = nothing */
	bool bundle; /* it was roots */
	bool told_missing; /* delta */
};

struct stream {
	struct stream *next, *prev;
	struct sds *s;
	struct mica_rpc_call *call;
	bool delta, ended, opened; /* opened: the first message came */
	bool wildcard; /* named nothing: gets all */
	uint32_t mask;
	enum agent_validator validator;
	char node[NODE_SIZE];
	struct want *want;
	size_t n_want;
	uint64_t answers; /* also the nonce of the last one; 0 = none yet */
	uint64_t sent_sequence; /* of the bundle in the last answer that had one */
	uint64_t acked_sequence;
};

struct sds {
	struct sds_options o;
	pthread_mutex_t lock; /* of all below */
	struct stream *streams;
	struct secret *secrets; /* of `view` */
	unsigned n_secrets;
	struct keep_view view;
};

struct sds *sds_new(const struct sds_options *o)
{
	struct sds *s = MICA_NEW(struct sds);

	s->o = *o;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

static void secret_free(struct secret *x)
{
	mica_buf_clear(&x->bytes);
	mica_free(x->text);
	mica_free(x);
}

static void forget_secrets(struct sds *s)
{
	struct secret *x;

	while ((x = s->secrets)) {
		s->secrets = x->next;
		secret_free(x);
	}
	s->n_secrets = 0;
}

void sds_free(struct sds *s)
{
	if (!s)
		return;
	forget_secrets(s);
	keep_view_clear(&s->view);
	pthread_mutex_destroy(&s->lock);
	mica_free(s);
}

/* ---- secrets; under the lock --------------------------------------------------------------- */

static void look(struct sds *s)
{
	struct keep_view now;

	keep_view_get(s->o.keep, &now);
	if (now.version != s->view.version)
		forget_secrets(s);
	keep_view_clear(&s->view);
	s->view = now;
}

static struct secret *encode(struct sds *s, const struct sds_meaning *m, struct mica_slice name,
	enum agent_validator validator)
{
	struct secret *x = MICA_NEW(struct secret);
	uint8_t hash[32];

	x->text = mica_slice_dup(name);
	x->name = mica_slice_str(x->text);
	x->meaning = *m;
	x->validator = validator;
	mica_buf_init_secret(&x->bytes, ANSWER_MAX);
	sds_put_secret(m, &s->view, name, validator, &x->bytes);
	mica_sha256(mica_buf_slice(&x->bytes), hash);
	mica_hex_encode(hash, (VERSION_SIZE - 1) / 2, x->version);
	x->next = s->secrets;
	s->secrets = x;
	s->n_secrets++;
	return x;
}

/* NULL when there is none. Holds until the next look() or the next name. */
static const struct secret *secret_of(const struct stream *t, struct mica_slice name)
{
	struct sds *s = t->s;
	const struct sds_meaning m = sds_resolve(s->o.config, &s->view, t->mask, name);

	if (m.kind == SDS_NONE)
		return NULL;
	for (const struct secret *x = s->secrets; x; x = x->next)
		if (x->meaning.kind == m.kind && x->meaning.identity == m.identity &&
			(m.kind == SDS_CERTIFICATE || x->validator == t->validator) &&
			mica_slice_eq(x->name, name))
			return x;
	/* Many names for the same: better made again than kept. */
	if (s->n_secrets >= SECRETS_MAX)
		forget_secrets(s);
	return encode(s, &m, name, t->validator);
}

/* ---- answers; under the lock --------------------------------------------------------------- */

static void put_any(struct mica_buf *out, uint32_t number, const struct secret *x)
{
	const size_t len = mica_wire_bytes_size(1, strlen(SDS_SECRET_URL)) +
		mica_wire_bytes_size(2, x->bytes.len);

	mica_wire_put_head(out, number, len);
	wire_put_text(out, 1, SDS_SECRET_URL);
	mica_wire_put_bytes(out, 2, mica_buf_slice(&x->bytes));
}

static void put_nonce(struct mica_buf *out, const struct stream *t)
{
	char nonce[24];

	snprintf(nonce, sizeof(nonce), "%" PRIu64, t->answers + 1);
	wire_put_text(out, 5, nonce);
}

/* What is sent is what is held; nothing is changed when it cannot be. */
static bool send(struct stream *t, const struct mica_buf *b)
{
	return !b->over && mica_rpc_send(t->call, mica_buf_slice(b)) == MICA_OK;
}

static void note_sent(struct stream *t, struct want *w, const struct secret *x)
{
	memcpy(w->sent, x->version, sizeof(w->sent));
	w->bundle = x->meaning.kind != SDS_CERTIFICATE;
	if (w->bundle)
		t->sent_sequence = t->s->view.trust->sequence;
}

/* DiscoveryResponse {version_info = 1, resources = 2, type_url = 4, nonce = 5}: all that there is
 * of what is wanted, when any of it is new. */
static void push_all(struct stream *t, bool anyway)
{
	struct mica_err e = MICA_ERR_INIT;
	bool is_new = anyway, any = false;
	char version[VERSION_SIZE];
	MICA_AUTO_BUF out;
	MICA_AUTO_BUF versions;
	uint8_t hash[32];

	mica_buf_init_secret(&out, ANSWER_MAX);
	mica_buf_init(&versions, ANSWER_MAX);
	for (size_t i = 0; i < t->n_want; i++) {
		const struct secret *x = secret_of(t, mica_slice_str(t->want[i].name));

		if (!x)
			continue;
		any = true;
		is_new = is_new || strcmp(t->want[i].sent, x->version) != 0;
		mica_buf_put_str(&versions, x->version);
		put_any(&out, 2, x);
	}
	if (!any || !is_new || mica_buf_rc(&versions, &e) != MICA_OK)
		return;
	mica_sha256(mica_buf_slice(&versions), hash);
	mica_hex_encode(hash, (VERSION_SIZE - 1) / 2, version);
	wire_put_text(&out, 1, version);
	wire_put_text(&out, 4, SDS_SECRET_URL);
	put_nonce(&out, t);
	if (!send(t, &out))
		return;
	t->answers++;
	for (size_t i = 0; i < t->n_want; i++) {
		const struct secret *x = secret_of(t, mica_slice_str(t->want[i].name));

		if (x)
			note_sent(t, &t->want[i], x);
	}
}

/* Nobody has it, and nobody is about to. */
static bool is_missing(const struct stream *t)
{
	for (unsigned i = 0; i < t->s->o.config->n_identities; i++)
		if ((t->mask >> i & 1) && !t->s->view.svid[i])
			return false;
	return t->s->view.trust != NULL;
}

/* Resource {version = 1, resource = 2, name = 3} */
static void put_resource(struct mica_buf *out, const struct secret *x)
{
	MICA_AUTO_BUF b;

	mica_buf_init_secret(&b, ANSWER_MAX);
	wire_put_text(&b, 1, x->version);
	put_any(&b, 2, x);
	mica_wire_put_bytes(&b, 3, x->name);
	mica_wire_put_bytes(out, 2, mica_buf_slice(&b));
}

/* DeltaDiscoveryResponse {system_version_info = 1, resources = 2, type_url = 4, nonce = 5,
 * removed_resources = 6}: what is new, and once what there is not. */
static void push_delta(struct stream *t)
{
	bool any = false;
	MICA_AUTO_BUF out;

	mica_buf_init_secret(&out, ANSWER_MAX);
	for (size_t i = 0; i < t->n_want; i++) {
		struct want *w = &t->want[i];
		const struct secret *x = secret_of(t, mica_slice_str(w->name));

		if (x && strcmp(w->sent, x->version) != 0)
			put_resource(&out, x);
		else if (!x && !w->told_missing && is_missing(t))
			wire_put_text(&out, 6, w->name);
		else
			continue;
		any = true;
	}
	if (!any)
		return;
	wire_put_text(&out, 4, SDS_SECRET_URL);
	put_nonce(&out, t);
	if (!send(t, &out))
		return;
	t->answers++;
	for (size_t i = 0; i < t->n_want; i++) {
		const struct secret *x = secret_of(t, mica_slice_str(t->want[i].name));

		if (x)
			note_sent(t, &t->want[i], x);
		t->want[i].told_missing = !x && (t->want[i].told_missing || is_missing(t));
	}
}

/* ---- what is wanted; under the lock -------------------------------------------------------- */

static struct want *find_want(const struct stream *t, struct mica_slice name)
{
	for (size_t i = 0; i < t->n_want; i++)
		if (mica_slice_eq_str(name, t->want[i].name))
			return &t->want[i];
	return NULL;
}

static struct want *add_want(struct stream *t, struct mica_slice name)
{
	struct want *w = find_want(t, name);

	if (w || t->n_want == SDS_NAMES_MAX)
		return w;
	t->want = mica_realloc(t->want, t->n_want + 1, sizeof(*t->want));
	w = &t->want[t->n_want++];
	*w = (struct want){.name = mica_slice_dup(name)};
	return w;
}

static void drop_want(struct stream *t, struct want *w)
{
	mica_free(w->name);
	*w = t->want[--t->n_want];
}

static void want_by_name(void *ctx, const char *name)
{
	(void)add_want(ctx, mica_slice_str(name));
}

/* Who names nothing gets what there is; what it is called changes with what there is. */
static void refresh_wildcard(struct stream *t)
{
	if (t->wildcard)
		sds_each_name(&t->s->view, t->s->o.config->n_identities, t->mask, want_by_name, t);
}

static bool listed(const struct sds_names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (mica_slice_eq_str(names->v[i], name))
			return true;
	return false;
}

/* The names of a message take the place of those before. True when that changes anything. */
static bool replace_wants(struct stream *t, const struct sds_names *names)
{
	bool changed = false;

	t->wildcard = names->n == 0 && (t->wildcard || !t->opened);
	if (t->wildcard)
		return false;
	for (size_t i = t->n_want; i-- > 0;) {
		if (listed(names, t->want[i].name))
			continue;
		drop_want(t, &t->want[i]);
		changed = true;
	}
	for (size_t i = 0; i < names->n; i++) {
		changed = changed || !find_want(t, names->v[i]);
		(void)add_want(t, names->v[i]);
	}
	return changed;
}

/* ---- evidence; under the lock -------------------------------------------------------------- */

static bool has_bundle(const struct stream *t)
{
	for (size_t i = 0; i < t->n_want; i++)
		if (t->want[i].bundle)
			return true;
	return false;
}

static void report(struct sds *s)
{
	for (unsigned i = 0; i < s->o.config->n_identities; i++) {
		uint64_t least = s->view.trust ? s->view.trust->sequence : 0;

		for (const struct stream *t = s->streams; t; t = t->next)
			if ((t->mask >> i & 1) && has_bundle(t) && t->acked_sequence < least)
				least = t->acked_sequence;
		if (least > 0)
			s->o.held(s->o.ctx, i, least);
	}
}

/* What the message says of the last answer. False when it speaks of an older one. */
static bool take_verdict(struct stream *t, const struct sds_request *r)
{
	char nonce[24];

	if (r->nonce.len == 0)
		return true;
	snprintf(nonce, sizeof(nonce), "%" PRIu64, t->answers);
	const bool last = t->answers > 0 && mica_slice_eq_str(r->nonce, nonce);

	/* A later answer of a delta stream does not hold again what an earlier one had. */
	if (r->nack && (last || t->delta))
		t->sent_sequence = t->acked_sequence;
	if (!last)
		return false;
	if (!r->nack) {
		t->acked_sequence = t->sent_sequence;
		return true;
	}
	figures_nack(t->s->o.figures);
	MICA_LOG(MICA_WARN, "sds_nack", MICA_S("node", t->node), MICA_SL("nonce", r->nonce),
		MICA_SL("error", mica_slice_sub(r->nack_message, 0, LOGGED_MAX)),
		MICA_S("secret", t->n_want > 0 ? t->want[0].name : ""),
		MICA_I("secrets", t->n_want));
	return true;
}

/* ---- streams ------------------------------------------------------------------------------- */

static void stream_free(void *state)
{
	struct stream *t = state;

	for (size_t i = 0; i < t->n_want; i++)
		mica_free(t->want[i].name);
	mica_free(t->want);
	mica_free(t);
}

/* Under the lock. */
static void end_stream(struct stream *t, const struct mica_err *e)
{
	struct sds *s = t->s;

	if (t->ended)
		return;
	t->ended = true;
	*(t->prev ? &t->prev->next : &s->streams) = t->next;
	if (t->next)
		t->next->prev = t->prev;
	mica_rpc_end(t->call, e);
	report(s);
}

static bool may_use(struct sds *s, struct mica_rpc_call *c, uint32_t *mask)
{
	struct mica_err e = MICA_ERR_INIT;

	*mask = peers_identities(s->o.config, mica_rpc_call_data(c)->peer);
	if (*mask)
		return true;
	mica_fail(&e, MICA_DENIED, "no_identity", "this agent has no identity for user %lld",
		(long long)mica_rpc_call_data(c)->peer->uid);
	mica_rpc_end(c, &e);
	return false;
}

static void open_stream(struct sds *s, struct mica_rpc_call *c, bool delta)
{
	struct stream *t;
	uint32_t mask;

	if (!may_use(s, c, &mask))
		return;
	t = MICA_NEW(struct stream);
	*t = (struct stream){.s = s,
		.call = c,
		.delta = delta,
		.mask = mask,
		.validator = s->o.config->sds.validator};
	mica_rpc_set_state(c, t, stream_free);
	pthread_mutex_lock(&s->lock);
	t->next = s->streams;
	if (t->next)
		t->next->prev = t;
	s->streams = t;
	pthread_mutex_unlock(&s->lock);
}

static void open_all(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)m;
	open_stream(ctx, c, false);
}

static void open_delta(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)m;
	open_stream(ctx, c, true);
}

static mica_rc check_type(const struct sds_request *r, struct mica_err *e)
{
	if (r->type_url.len == 0 || mica_slice_eq_str(r->type_url, SDS_SECRET_URL))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "type_url_unknown",
		"\"%.*s\" is not served here, expected " SDS_SECRET_URL, MICA_FMT(r->type_url));
}

/* Said in the first message of a stream, and remembered. */
static void take_node(struct stream *t, const struct sds_request *r)
{
	if (!r->has_node)
		return;
	snprintf(t->node, sizeof(t->node), "%.*s", MICA_FMT(r->node_id));
	if (r->says_validator)
		t->validator = r->validator;
}

static void take_delta(struct stream *t, const struct sds_request *r)
{
	struct want *w;

	/* "*" and an empty first subscription are everything (xDS protocol, wildcard) */
	if (!t->opened && r->names.n == 0)
		t->wildcard = true;
	for (size_t i = 0; i < r->names.n; i++) {
		if (mica_slice_eq_str(r->names.v[i], "*")) {
			t->wildcard = true;
		} else if ((w = add_want(t, r->names.v[i]))) {
			/* asked for again, it is sent again */
			w->sent[0] = '\0';
			w->told_missing = false;
		}
	}
	for (size_t i = 0; i < r->n_has; i++) {
		w = find_want(t, r->has[i].name);
		/* a version that is none of ours is an old one */
		if (w && mica_slice_copy(r->has[i].version, w->sent, sizeof(w->sent)) != MICA_OK)
			w->sent[0] = '\0';
	}
	for (size_t i = 0; i < r->gone.n; i++) {
		if (mica_slice_eq_str(r->gone.v[i], "*"))
			t->wildcard = false;
		else if ((w = find_want(t, r->gone.v[i])))
			drop_want(t, w);
	}
}

static void take(struct stream *t, const struct sds_request *r)
{
	bool changed = false;

	take_node(t, r);
	if (!take_verdict(t, r))
		return;
	if (t->delta)
		take_delta(t, r);
	else
		changed = replace_wants(t, &r->names);
	t->opened = true;
	look(t->s);
	refresh_wildcard(t);
	if (t->delta)
		push_delta(t);
	else
		push_all(t, changed);
	if (r->nonce.len > 0)
		report(t->s);
}

static void on_message(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	MICA_AUTO_FREE struct sds_request *r = MICA_NEW(struct sds_request);
	struct mica_err e = MICA_ERR_INIT;
	struct stream *t = mica_rpc_state(c);
	struct sds *s = ctx;
	mica_rc rc = t->delta ? sds_delta_read(m, r, &e) : sds_request_read(m, r, &e);

	if (rc == MICA_OK)
		rc = check_type(r, &e);
	pthread_mutex_lock(&s->lock);
	if (rc != MICA_OK)
		end_stream(t, &e);
	else if (!t->ended)
		take(t, r);
	pthread_mutex_unlock(&s->lock);
}

static void on_over(void *ctx, struct mica_rpc_call *c)
{
	struct sds *s = ctx;

	pthread_mutex_lock(&s->lock);
	end_stream(mica_rpc_state(c), NULL);
	pthread_mutex_unlock(&s->lock);
}

static void push(struct stream *t)
{
	if (!t->opened)
		return;
	refresh_wildcard(t);
	if (t->delta)
		push_delta(t);
	else
		push_all(t, false);
}

static void on_writable(void *ctx, struct mica_rpc_call *c)
{
	struct sds *s = ctx;
	struct stream *t = mica_rpc_state(c);

	pthread_mutex_lock(&s->lock);
	look(s);
	if (!t->ended)
		push(t);
	pthread_mutex_unlock(&s->lock);
}

void sds_changed(void *ctx)
{
	struct sds *s = ctx;

	pthread_mutex_lock(&s->lock);
	look(s);
	mica_rpc_batch_begin();
	for (struct stream *t = s->streams; t; t = t->next)
		push(t);
	mica_rpc_batch_end();
	report(s);
	pthread_mutex_unlock(&s->lock);
}

void sds_streams(struct sds *s, unsigned *all, unsigned *delta)
{
	*all = *delta = 0;
	pthread_mutex_lock(&s->lock);
	for (const struct stream *t = s->streams; t; t = t->next)
		(*(t->delta ? delta : all))++;
	pthread_mutex_unlock(&s->lock);
}

/* ---- once ---------------------------------------------------------------------------------- */

static void fetch(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	MICA_AUTO_FREE struct sds_request *r = MICA_NEW(struct sds_request);
	struct mica_err e = MICA_ERR_INIT;
	struct stream t = {
		.s = ctx, .call = c, .validator = ((struct sds *)ctx)->o.config->sds.validator};
	MICA_AUTO_BUF out;
	bool any = false;
	mica_rc rc;

	mica_buf_init_secret(&out, ANSWER_MAX);
	if (!may_use(ctx, c, &t.mask))
		return;
	rc = sds_request_read(m, r, &e);
	if (rc == MICA_OK)
		rc = check_type(r, &e);
	pthread_mutex_lock(&t.s->lock);
	if (rc == MICA_OK) {
		take_node(&t, r);
		(void)replace_wants(&t, &r->names);
		look(t.s);
		refresh_wildcard(&t);
	}
	for (size_t i = 0; i < t.n_want; i++) {
		const struct secret *x = secret_of(&t, mica_slice_str(t.want[i].name));

		if (x)
			put_any(&out, 2, x);
		any = any || x;
	}
	if (rc == MICA_OK && !any)
		rc = is_missing(&t) ? mica_fail(&e, MICA_NOT_FOUND, "no_such_secret",
					      "none of these names is a secret of the caller's")
				    : mica_fail(&e, MICA_UNAVAILABLE, "not_ready",
					      "micad has not answered yet");
	pthread_mutex_unlock(&t.s->lock);
	wire_put_text(&out, 4, SDS_SECRET_URL);
	if (rc == MICA_OK)
		mica_rpc_reply(c, mica_buf_slice(&out));
	else
		mica_rpc_end(c, &e);
	for (size_t i = 0; i < t.n_want; i++)
		mica_free(t.want[i].name);
	mica_free(t.want);
}

struct mica_rpc_service sds_service(struct sds *s)
{
	static const struct mica_rpc_method methods[] = {
		{.name = "StreamSecrets",
			.kind = MICA_RPC_BIDI,
			.max_message = REQUEST_MAX,
			.call = open_all,
			.message = on_message,
			.half_closed = on_over,
			.writable = on_writable,
			.cancelled = on_over},
		{.name = "DeltaSecrets",
			.kind = MICA_RPC_BIDI,
			.max_message = REQUEST_MAX,
			.call = open_delta,
			.message = on_message,
			.half_closed = on_over,
			.writable = on_writable,
			.cancelled = on_over},
		{.name = "FetchSecrets",
			.kind = MICA_RPC_UNARY,
			.max_message = REQUEST_MAX,
			.call = fetch},
	};

	return (struct mica_rpc_service){.name = "envoy.service.secret.v3.SecretDiscoveryService",
		.methods = methods,
		.n_methods = MICA_ARRAY_LEN(methods),
		.ctx = s,
		.descriptors = mica_slice(agent_descriptors, agent_descriptors_len)};
}
