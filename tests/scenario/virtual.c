/* SPDX-License-Identifier: Apache-2.0 */
#include "../../ca/core_impl.h"

#include "../unit/coretest.h"
#include "virtual.h"

#include <jansson.h>

#define RETRY 60

struct virtual_bundle {
	unsigned refs;
	uint64_t sequence;
	int64_t fetched; /* by the first who did */
	X509_STORE *store;
	char *json;
};

static void breaks(struct virtual *v, const char *fmt, ...) MICA_PRINTF(2, 3);
static void breaks(struct virtual *v, const char *fmt, ...)
{
	va_list ap;

	if (v->broken[0])
		return;
	va_start(ap, fmt);
	vsnprintf(v->broken, sizeof(v->broken), fmt, ap);
	va_end(ap);
}

int64_t virtual_clock_ms(const struct virtual *v)
{
	return (v->now + v->off) * 1000;
}

/* ---- bundles -----------------------------------------------------------------------------------
 */

static void let_go(struct virtual_bundle *b)
{
	if (!b || --b->refs > 0)
		return;
	X509_STORE_free(b->store);
	mica_free(b->json);
	mica_free(b);
}

static struct virtual_bundle *known(struct virtual *v, uint64_t sequence)
{
	for (unsigned i = 0; i < v->n_holder; i++)
		if (v->holder[i].bundle && v->holder[i].bundle->sequence == sequence)
			return v->holder[i].bundle;
	return NULL;
}

static char *snapshot(struct virtual *v, enum mica_format f, uint64_t *sequence)
{
	const struct mica_snapshot *s = NULL;
	char *text;

	if (mica_core_snapshot(v->core, NULL, MICA_CHANNEL_LIVE, f, &s, NULL) != MICA_OK) {
		breaks(v, "there is no bundle");
		return mica_strdup("");
	}
	text = mica_slice_dup(s->bytes);
	*sequence = s->sequence;
	mica_snapshot_unref(s);
	return text;
}

static void fetch(struct virtual *v, struct virtual_holder *h)
{
	uint64_t now = mica_core_bundle_sequence(v->core, MICA_CHANNEL_LIVE);
	struct virtual_bundle *b;
	MICA_AUTO_FREE char *pem = NULL;
	BIO *bio;

	if (h->bundle && h->bundle->sequence == now)
		return;
	let_go(h->bundle);
	h->bundle = NULL;
	h->bundle = known(v, now);
	if (h->bundle) {
		h->bundle->refs++;
		return;
	}
	h->bundle = b = MICA_NEW(struct virtual_bundle);
	b->refs = 1;
	b->store = X509_STORE_new();
	b->json = snapshot(v, MICA_FMT_BUNDLE_JSON, &b->sequence);
	pem = snapshot(v, MICA_FMT_BUNDLE_PEM, &b->sequence);
	bio = BIO_new_mem_buf(pem, -1);
	for (X509 *x; (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL; X509_free(x))
		X509_STORE_add_cert(b->store, x);
	BIO_free(bio);
	ERR_clear_error();
}

/* ---- certificates ------------------------------------------------------------------------------
 */

static void leaf_clear(struct virtual_leaf *l)
{
	X509_free(l->cert);
	sk_X509_pop_free(l->chain, X509_free);
	*l = (struct virtual_leaf){.cert = NULL};
}

static void put_ids(struct virtual *v, struct virtual_leaf *l)
{
	const ASN1_OCTET_STRING *aki = X509_get0_authority_key_id(l->cert);
	MICA_AUTO_AUTHORITY a;

	mica_hex_encode(ASN1_STRING_get0_data(aki), (size_t)ASN1_STRING_length(aki), l->issuing);
	mica_authority_init(&a);
	if (virtual_authority(v, l->issuing, &a))
		memcpy(l->root, a.parent, sizeof(l->root));
	if (strcmp(virtual_state(v, l->issuing), "active") != 0)
		breaks(v, "a certificate was signed by %s, which is %s", l->issuing,
			virtual_state(v, l->issuing));
}

static void get_token(struct virtual *v, struct virtual_holder *h, struct virtual_leaf *l)
{
	const struct mica_slice audience = MICA_LIT("x");
	const struct mica_jwt_request r = {
		.caller = &h->caller, .audience = &audience, .n_audience = 1};
	int64_t now_ms = virtual_clock_ms(v);
	CORE_AUTO_CANDIDATE k = NULL;
	struct mica_issued i;

	if (mica_core_prepare_jwt(v->core, &r, now_ms, &k, NULL) != MICA_OK ||
		mica_core_commit(v->core, &k, 1, now_ms, NULL) != MICA_OK)
		return;
	mica_candidate_issued(k, &i);
	snprintf(l->kid, sizeof(l->kid), "%s", v->active[MICA_AUTHORITY_JWT]);
	l->token_end = i.not_after;
}

/* Who asks for a certificate shows a token that was made a moment ago, by a clock that is right. */
static void show_token(struct virtual *v)
{
	if (v->now <= virtual_clock_ms(v) / 1000)
		mica_core_hear_clock(v->core, v->now);
}

static void keep(struct virtual *v, struct virtual_holder *h, const struct mica_candidate *k)
{
	struct virtual_leaf *l = &h->leaf[h->n_leaf++ % VIRTUAL_LEAVES];
	struct mica_issued i;
	int64_t half;

	show_token(v);
	mica_candidate_issued(k, &i);
	leaf_clear(l);
	l->cert = ct_x509(i.chain_der[0]);
	l->chain = sk_X509_new_null();
	for (size_t n = 1; n < i.n_chain; n++)
		sk_X509_push(l->chain, ct_x509(i.chain_der[n]));
	l->end = i.not_after;
	put_ids(v, l);
	get_token(v, h, l);
	v->issued++;
	/* as it was told to, but never so late that nothing is left of it by its own clock */
	half = v->now + (l->end - v->now) * 2 / 3;
	h->next_renew = i.renew_after < half ? i.renew_after : half;
	if (h->next_renew <= v->now)
		h->next_renew = v->now + 1;
	/* the answer holds the bundle for whoever has not said that it has it */
	if (h->outlet != MICA_OUTLET_NONE && i.bundle_wanted)
		fetch(v, h);
}

static void renew(struct virtual *v, struct virtual_holder *h)
{
	int64_t now_ms = virtual_clock_ms(v);
	struct mica_x509_request r = {
		.caller = &h->caller, .csr = mica_slice_str(v->csr), .outlet = h->outlet};
	struct mica_err own = MICA_ERR_INIT;
	CORE_AUTO_CANDIDATE k = NULL;
	mica_rc rc;

	h->caller.evidence.origin_time = now_ms / 1000;
	h->caller.evidence.credential_expiry = now_ms / 1000 + v->config->x509.ttl;
	if (h->outlet == MICA_OUTLET_ACK && h->bundle && !h->lost)
		r.bundle_sequence = h->bundle->sequence;
	rc = mica_core_prepare_x509(v->core, &r, now_ms, &k, &own);
	if (rc == MICA_OK)
		rc = mica_core_commit(v->core, &k, 1, now_ms, &own);
	if (rc == MICA_OK && mica_candidate_rc(k) == MICA_OK) {
		keep(v, h, k);
		return;
	}
	v->refused++;
	h->next_renew = v->now + RETRY;
	if (rc != MICA_UNAVAILABLE)
		breaks(v, "%s gets no certificate: %s: %s", h->name, own.reason, own.text);
}

static void act(struct virtual *v, struct virtual_holder *h)
{
	if (h->away || !v->core)
		return;
	if (v->now >= h->next_fetch && h->every > 0) {
		fetch(v, h);
		h->next_fetch = v->now + h->every;
		if (h->outlet == MICA_OUTLET_ACK && !h->lost &&
			mica_core_ack(v->core, &h->caller, MICA_CHANNEL_LIVE, h->bundle->sequence,
				virtual_clock_ms(v), NULL) != MICA_OK)
			breaks(v, "what %s says is not taken", h->name);
	}
	if (v->now >= h->next_renew)
		renew(v, h);
}

/* ---- meetings ----------------------------------------------------------------------------------
 */

/* A thief's certificates are refused after the deadline, and so are those of who has not renewed:
 * that is what it is for. */
static bool given_up(const struct virtual *v, const char *id)
{
	for (unsigned i = 0; i < v->n_taint; i++)
		if (strcmp(v->taint[i].id, id) == 0 &&
			v->now >= v->taint[i].at + v->policy.deadline)
			return true;
	return false;
}

static bool is_tainted(const struct virtual *v, const struct virtual_leaf *l)
{
	for (unsigned i = 0; i < v->n_taint; i++)
		if (strcmp(v->taint[i].id, l->issuing) == 0 || strcmp(v->taint[i].id, l->root) == 0)
			return true;
	return false;
}

/* Who has renewed after a compromise shows what it got then, and nothing from before. */
static bool replaced(
	const struct virtual *v, const struct virtual_holder *a, const struct virtual_leaf *l)
{
	const struct virtual_leaf *newest = &a->leaf[(a->n_leaf - 1) % VIRTUAL_LEAVES];

	return is_tainted(v, l) && newest->cert && !is_tainted(v, newest);
}

/* Trust is judged, and ends are, by the time that is right. */
static int openssl(const struct virtual *v, struct virtual_leaf *l, X509_STORE *store)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int err = X509_V_ERR_UNSPECIFIED;
	int64_t from = 0;
	struct tm tm;

	if (ASN1_TIME_to_tm(X509_get0_notBefore(l->cert), &tm) == 1)
		from = (int64_t)timegm(&tm);
	if (X509_STORE_CTX_init(ctx, store, l->cert, l->chain) == 1) {
		X509_VERIFY_PARAM_set_time(
			X509_STORE_CTX_get0_param(ctx), (time_t)(from > v->now ? from : v->now));
		X509_VERIFY_PARAM_set_flags(
			X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
		err = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	}
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return err;
}

static void fails(struct virtual *v, const struct virtual_holder *a, const struct virtual_holder *b,
	const char *what, const char *id, const char *why)
{
	v->failures++;
	if (!v->forgiven)
		breaks(v, "%s refuses %s of %s, signed by %.12s...: %s", b->name, what, a->name, id,
			why);
}

static void judge(
	struct virtual *v, const struct virtual_holder *a, struct virtual_leaf *l, unsigned by)
{
	const struct virtual_holder *b = &v->holder[by];
	int err;

	if (l->judged[by] == b->bundle->sequence || given_up(v, l->issuing) ||
		given_up(v, l->root) || replaced(v, a, l))
		return;
	v->meetings++;
	l->judged[by] = b->bundle->sequence;
	err = openssl(v, l, b->bundle->store);
	if (err != X509_V_OK)
		fails(v, a, b, "a certificate", l->issuing, X509_verify_cert_error_string(err));
	if (b->every > 0 && b->every <= 5 * v->policy.refresh_hint && l->kid[0] &&
		l->token_end >= v->now && !given_up(v, l->kid) && !strstr(b->bundle->json, l->kid))
		fails(v, a, b, "a token", l->kid, "its key is not in the bundle");
}

static void meet(struct virtual *v)
{
	for (unsigned i = 0; i < v->n_holder; i++) {
		struct virtual_holder *a = &v->holder[i];

		for (unsigned n = 0; n < VIRTUAL_LEAVES && !a->away; n++) {
			if (!a->leaf[n].cert)
				continue;
			if (a->leaf[n].end <= v->now) {
				leaf_clear(&a->leaf[n]);
				continue;
			}
			for (unsigned k = 0; k < v->n_holder; k++)
				if (!v->holder[k].away && v->holder[k].bundle)
					judge(v, a, &a->leaf[n], k);
		}
	}
}

/* ---- the CA ------------------------------------------------------------------------------------
 */

static int64_t decides_on(const struct virtual *v)
{
	return mica_core_decision_ms(v->core, virtual_clock_ms(v)) / 1000;
}

/* Design 8.4: one at most; numbers grow. */
static void look_at_core(struct virtual *v)
{
	uint64_t sequence = mica_core_bundle_sequence(v->core, MICA_CHANNEL_LIVE);
	CORE_AUTO_VIEW w = mica_core_view_get(v->core);
	int n[MICA_AUTHORITY_KIND_COUNT] = {0};
	int64_t now = decides_on(v);

	if (sequence < v->sequence)
		breaks(v, "the sequence of the bundle went back");
	v->sequence = sequence;
	for (unsigned i = 0; i < w->auths->n; i++) {
		const struct mica_authority *a = &w->auths->v[i];

		if (mica_authority_state_at(a, now) != MICA_AS_ACTIVE)
			continue;
		if (++n[a->kind] > 1)
			breaks(v, "two of kind %s are active", mica_authority_kind_name(a->kind));
		if (strcmp(v->active[a->kind], a->id) != 0) {
			v->changes[a->kind] += v->active[a->kind][0] != '\0';
			memcpy(v->active[a->kind], a->id, sizeof(a->id));
		}
	}
}

static void maintain(struct virtual *v)
{
	struct mica_err own = MICA_ERR_INIT;

	if (!v->core)
		return;
	if (mica_core_tick(v->core, virtual_clock_ms(v), v->now * 1000, &own) != MICA_OK ||
		mica_core_maintain(v->core, virtual_clock_ms(v), NULL, &own) != MICA_OK)
		breaks(v, "micad: %s: %s", own.reason, own.text);
	look_at_core(v);
}

void virtual_look(struct virtual *v)
{
	maintain(v);
	for (unsigned i = 0; i < v->n_holder; i++)
		act(v, &v->holder[i]);
	meet(v);
}

static int64_t lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When something is due next. */
static int64_t next_event(struct virtual *v, int64_t to)
{
	struct mica_rotation_step s = {.action = MICA_ROT_NONE};
	int64_t next = to;

	for (unsigned i = 0; i < v->n_holder && v->core; i++) {
		const struct virtual_holder *h = &v->holder[i];

		if (!h->away)
			next = lesser(next,
				h->every ? lesser(h->next_fetch, h->next_renew) : h->next_renew);
	}
	if (v->core) {
		CORE_AUTO_VIEW w = mica_core_view_get(v->core);

		if (mica_core_rotation_next(v->core, w, virtual_clock_ms(v), &s, NULL) == MICA_OK)
			next = lesser(next,
				s.action != MICA_ROT_NONE || s.until == MICA_TIME_NEVER
					? to
					: s.until - v->off);
	}
	return next > v->now ? next : v->now + 1;
}

void virtual_live(struct virtual *v, int64_t to)
{
	while (!v->broken[0] && v->now < to) {
		v->now = lesser(to, next_event(v, to));
		virtual_look(v);
		(void)tk_empty_bin(NULL);
		if (++v->events > VIRTUAL_EVENTS)
			breaks(v, "more than %d events", VIRTUAL_EVENTS);
	}
}

/* ---- what is asked -----------------------------------------------------------------------------
 */

bool virtual_authority(struct virtual *v, const char *id, struct mica_authority *out)
{
	CORE_AUTO_VIEW w = mica_core_view_get(v->core);

	for (unsigned i = 0; i < w->auths->n; i++)
		if (strcmp(w->auths->v[i].id, id) == 0)
			return mica_authority_copy(&w->auths->v[i], out, NULL) == MICA_OK;
	return false;
}

const char *virtual_state(struct virtual *v, const char *id)
{
	MICA_AUTO_AUTHORITY a;

	mica_authority_init(&a);
	if (!virtual_authority(v, id, &a))
		return "gone";
	return mica_authority_state_name(mica_authority_state_at(&a, decides_on(v)));
}

bool virtual_one_of(struct virtual *v, enum mica_authority_kind kind, enum mica_authority_state s,
	bool standby, char id[MICA_KEY_ID_SIZE])
{
	CORE_AUTO_VIEW w = mica_core_view_get(v->core);

	for (unsigned i = 0; i < w->auths->n; i++) {
		const struct mica_authority *a = &w->auths->v[i];

		if (a->kind != kind || a->standby != standby ||
			mica_authority_state_at(a, decides_on(v)) != s)
			continue;
		memcpy(id, a->id, MICA_KEY_ID_SIZE);
		return true;
	}
	return false;
}

unsigned virtual_count(
	struct virtual *v, enum mica_authority_kind kind, enum mica_authority_state s)
{
	CORE_AUTO_VIEW w = mica_core_view_get(v->core);
	unsigned n = 0;

	for (unsigned i = 0; i < w->auths->n; i++)
		n += w->auths->v[i].kind == kind &&
			mica_authority_state_at(&w->auths->v[i], decides_on(v)) == s;
	return n;
}

/* What an issuing authority vouched for goes with it, and so does all below its root: relying
 * parties cannot tell. */
void virtual_tainted(struct virtual *v, const char *id)
{
	MICA_AUTO_AUTHORITY a;
	const char *ids[2] = {id, NULL};

	mica_authority_init(&a);
	if (virtual_authority(v, id, &a) && a.parent[0])
		ids[1] = a.parent;
	for (unsigned i = 0; i < 2 && ids[i] && v->n_taint < VIRTUAL_TAINTS; i++) {
		snprintf(v->taint[v->n_taint].id, MICA_KEY_ID_SIZE, "%s", ids[i]);
		v->taint[v->n_taint++].at = v->now;
	}
}

/* ---- life ---------------------------------------------------------------------------------------
 */

struct virtual_holder *virtual_find(struct virtual *v, const char *name)
{
	for (unsigned i = 0; i < v->n_holder; i++)
		if (strcmp(v->holder[i].name, name) == 0)
			return &v->holder[i];
	return NULL;
}

bool virtual_add(struct virtual *v, const char *name, enum mica_outlet_class outlet, int64_t every)
{
	struct virtual_holder *h = &v->holder[v->n_holder];
	struct mica_principal *p = &h->caller.principal;

	if (v->n_holder == VIRTUAL_HOLDERS || strlen(name) >= sizeof(h->name) ||
		virtual_find(v, name))
		return false;
	*h = (struct virtual_holder){.outlet = outlet, .every = every};
	snprintf(h->name, sizeof(h->name), "%s", name);
	h->caller.uid = -1;
	h->caller.roles = MICA_ROLE_WORKLOAD;
	h->caller.evidence.kind = MICA_EV_TOKEN;
	snprintf(h->caller.evidence.id, sizeof(h->caller.evidence.id), "%s", name);
	snprintf(p->issuer, sizeof(p->issuer), "prod");
	snprintf(p->ns, sizeof(p->ns), "mesh");
	snprintf(p->sa, sizeof(p->sa), "%s", name);
	snprintf(p->spiffe_id, sizeof(p->spiffe_id), "spiffe://" TD "/ns/mesh/sa/%s", name);
	memset(p->pod_uid.b, (int)v->n_holder + 1, sizeof(p->pod_uid.b));
	h->next_fetch = h->next_renew = v->now;
	v->n_holder++;
	act(v, h);
	return true;
}

void virtual_stop(struct virtual *v)
{
	mica_core_close(v->core);
	v->core = NULL;
}

mica_rc virtual_start(struct virtual *v, struct mica_err *e)
{
	mica_rc rc = mica_core_open(v->config, v->pass, virtual_clock_ms(v), &v->core, NULL, e);

	return rc == MICA_OK ? mica_core_set_jwks(v->core, "prod", mica_slice_str(v->jwks),
				       virtual_clock_ms(v), NULL, NULL, e)
			     : rc;
}

static mica_rc configure(
	struct virtual *v, struct mica_slice yaml, const char *name, struct mica_err *e)
{
	MICA_AUTO_BUF text;
	mica_rc rc;

	mica_buf_init(&text, 1 << 18);
	mica_buf_put_slice(&text, yaml);
	mica_buf_printf(&text,
		"trust_domain: " TD "\nstore: {path: %s, max_disk_percent: 99}\n"
		"passphrase: {env: UNUSED}\nissuers:\n- name: prod\n  kind: kubernetes\n"
		"  issuer: https://k8s.example.org\n",
		v->dir);
	rc = mica_config_parse(mica_buf_slice(&text), name, &v->config, e);
	if (rc == MICA_OK)
		mica_rotation_policy_of(v->config, &v->policy);
	return rc;
}

static void make_dir(struct virtual *v)
{
	snprintf(v->dir, sizeof(v->dir), "/dev/shm/mica-play-XXXXXX");
	if (mkdtemp(v->dir))
		return;
	snprintf(v->dir, sizeof(v->dir), "/tmp/mica-play-XXXXXX");
	assert_non_null(mkdtemp(v->dir));
}

mica_rc virtual_new(
	struct mica_slice yaml, const char *name, struct virtual **out, struct mica_err *e)
{
	struct virtual *v = MICA_NEW(struct virtual);
	EVP_PKEY *leaf = tk_ec("P-256"), *issuer = ct_rsa();
	struct mica_init_result born;
	mica_rc rc;

	mica_kek_set_test_cost(10);
	v->begin = v->now = NOW;
	make_dir(v);
	v->pass = mica_secret_new("correct horse", 13);
	v->csr = mica_strdup(ct_csr(leaf));
	v->jwks = mica_strdup(tk_printf("{\"keys\":[%s]}", tk_jwk(issuer, "a1", "")));
	EVP_PKEY_free(leaf);
	EVP_PKEY_free(issuer);
	(void)tk_empty_bin(NULL);
	rc = configure(v, yaml, name, e);
	if (rc == MICA_OK)
		rc = mica_core_init(v->config, v->pass, virtual_clock_ms(v), &born, e);
	if (rc == MICA_OK)
		rc = virtual_start(v, e);
	if (rc == MICA_OK)
		maintain(v);
	if (rc == MICA_OK)
		*out = v;
	else
		virtual_free(v);
	return rc;
}

static void remove_dir(const char *dir)
{
	static const char *const names[] = {"store.lmdb", "store.lmdb-lock", "checkpoint"};
	char path[160];

	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

void virtual_free(struct virtual *v)
{
	if (!v)
		return;
	virtual_stop(v);
	for (unsigned i = 0; i < v->n_holder; i++) {
		for (unsigned n = 0; n < VIRTUAL_LEAVES; n++)
			leaf_clear(&v->holder[i].leaf[n]);
		let_go(v->holder[i].bundle);
	}
	mica_config_free(v->config);
	mica_secret_free(v->pass);
	mica_free(v->csr);
	mica_free(v->jwks);
	remove_dir(v->dir);
	mica_free(v);
}
