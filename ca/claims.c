/* SPDX-License-Identifier: Apache-2.0 */
/* What a token says, once its signature holds: refused with exact reasons. */
#include "mica/spiffeid.h"

#include <inttypes.h>
#include <stdio.h>
#include <openssl/sha.h>

#include "token.h"

MICA_PRINTF(3, 4)
static mica_rc refuse(struct token_check *c, const char *reason, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return mica_fail(c->e, MICA_UNAUTHENTICATED, reason, "token: %s", text);
}

MICA_PRINTF(2, 3)
static void note(struct token_check *c, const char *fmt, ...)
{
	va_list ap;

	if (!c->explain)
		return;
	va_start(ap, fmt);
	if (vsnprintf(c->note, sizeof(c->note), fmt, ap) < 0)
		c->note[0] = '\0';
	va_end(ap);
}

/* ---- times ------------------------------------------------------------------------------ */

/* A NumericDate (RFC 7519 2) in whole seconds, as every issuer we know writes it. */
static mica_rc read_time(struct token_check *c, const char *name, bool required, int64_t *out)
{
	const json_t *v = json_object_get(c->claims, name);

	*out = 0;
	if (v == NULL && !required)
		return MICA_OK;
	if (v == NULL)
		return refuse(c, "time_claim_malformed", "%s is missing", name);
	if (!json_is_integer(v) || json_integer_value(v) < 1 ||
		json_integer_value(v) > TOKEN_TIME_MAX)
		return refuse(c, "time_claim_malformed",
			"%s is not a time; expected whole seconds since 1970", name);
	*out = json_integer_value(v);
	return MICA_OK;
}

/* Kubernetes answers a request for about an hour with a token of a year, and says here when it
 * should have ended. */
static mica_rc read_warnafter(struct token_check *c, int64_t *out)
{
	const json_t *k = json_object_get(c->claims, "kubernetes.io");
	const json_t *v = json_object_get(k, "warnafter");

	*out = 0;
	if (v == NULL || c->issuer->kind != MICA_ISSUER_KUBERNETES)
		return MICA_OK;
	if (!json_is_integer(v) || json_integer_value(v) < 1 ||
		json_integer_value(v) > TOKEN_TIME_MAX)
		return refuse(c, "time_claim_malformed",
			"kubernetes.io.warnafter is not a time; expected whole seconds since 1970");
	*out = json_integer_value(v);
	return MICA_OK;
}

/* Reads all of them, whole; lifetime is from `exp` itself. */
static mica_rc check_times(struct token_check *c)
{
	int64_t exp, warnafter;
	mica_rc rc = read_time(c, "exp", true, &exp);

	if (!rc)
		rc = read_time(c, "iat", true, &c->out->iat);
	if (!rc)
		rc = read_time(c, "nbf", false, &c->out->nbf);
	if (!rc)
		rc = read_warnafter(c, &warnafter);
	if (rc)
		return rc;
	c->out->exp = warnafter && warnafter < exp ? warnafter : exp;
	c->out->evidence.credential_expiry = c->out->exp;
	return c->out->iat > exp ? refuse(c, "time_claim_malformed", "iat is later than exp")
				 : MICA_OK;
}

/* An explanation goes on behind times that could not be read. */
static bool has_times(const struct token_check *c)
{
	return c->out->exp != 0;
}

static mica_rc without_times(struct token_check *c)
{
	return refuse(c, "time_claim_malformed", "its times could not be read");
}

static mica_rc check_expiry(struct token_check *c)
{
	char end[MICA_TIME_SIZE], now[MICA_TIME_SIZE];

	if (!has_times(c))
		return without_times(c);
	if (!c->explain && c->out->exp > c->now - c->issuer->skew)
		return MICA_OK;
	mica_time_format(c->out->exp, end);
	mica_time_format(c->now, now);
	note(c, "expires %s", end);
	if (c->out->exp > c->now - c->issuer->skew)
		return MICA_OK;
	return refuse(c, "token_expired",
		"it ended %s and it is %s now; expected a fresh one (allowed skew %" PRId64 " s)",
		end, now, c->issuer->skew);
}

static mica_rc check_begin(struct token_check *c)
{
	int64_t latest = c->now + c->issuer->skew;
	const char *name = c->out->nbf > latest ? "nbf" : "iat";
	char begin[MICA_TIME_SIZE], now[MICA_TIME_SIZE];

	if (!has_times(c))
		return without_times(c);
	mica_time_format(c->out->iat, begin);
	note(c, "issued %s", begin);
	if (c->out->nbf <= latest && c->out->iat <= latest)
		return MICA_OK;
	mica_time_format(c->out->nbf > latest ? c->out->nbf : c->out->iat, begin);
	mica_time_format(c->now, now);
	return refuse(c, "token_not_yet_valid",
		"%s is %s and it is %s now; expected none in the future (allowed skew %" PRId64
		" s)",
		name, begin, now, c->issuer->skew);
}

static mica_rc check_lifetime(struct token_check *c)
{
	const json_t *exp = json_object_get(c->claims, "exp");
	int64_t cap = c->issuer->max_life[c->r->front];
	int64_t life = json_integer_value(exp) - c->out->iat;

	if (!has_times(c))
		return without_times(c);
	note(c, "made for %" PRId64 " s, at most %" PRId64 " s", life, cap);
	if (life <= cap)
		return MICA_OK;
	return refuse(c, "lifetime_too_long",
		"made for %" PRId64 " s, expected at most %" PRId64
		" s; for a pod use a projected serviceAccountToken volume with an audience and expirationSeconds",
		life, cap);
}

/* ---- audience and id ---------------------------------------------------------------------- */

static bool audience_ours(struct token_check *c, struct mica_slice aud)
{
	const struct mica_string_list *ours = &c->issuer->audiences[c->r->front];

	for (unsigned i = 0; i < ours->n; i++)
		if (mica_slice_eq_str(aud, ours->v[i]))
			return mica_slice_copy(aud, c->out->audience, sizeof(c->out->audience)) ==
				MICA_OK;
	return false;
}

static mica_rc audience_mismatch(struct token_check *c, const json_t *first)
{
	MICA_AUTO_BUF b;
	const struct mica_string_list *ours = &c->issuer->audiences[c->r->front];

	mica_buf_init(&b, 256);
	for (unsigned i = 0; i < ours->n; i++)
		mica_buf_printf(&b, "%s%s", i ? " or " : "", ours->v[i]);
	return refuse(c, "audience_mismatch", "it is for the audience %.128s, expected %s",
		json_string_value(first), b.p && b.len ? (const char *)b.p : "none on this front");
}

/* RFC 7519 4.1.3: one string, or an array of them. */
static mica_rc check_audience(struct token_check *c)
{
	const json_t *aud = json_object_get(c->claims, "aud");
	bool array = json_is_array(aud), ours = false;
	size_t n = array ? json_array_size(aud) : 1;
	const json_t *first = array ? json_array_get(aud, 0) : aud;

	c->out->audience[0] = '\0';
	if (aud == NULL || n == 0 || n > MICA_TOKEN_AUD_MAX)
		return refuse(c, "audience_malformed", "%zu audiences, expected 1 to %d",
			aud ? n : 0, MICA_TOKEN_AUD_MAX);
	for (size_t i = 0; i < n; i++) {
		const json_t *v = array ? json_array_get(aud, i) : aud;
		if (!json_is_string(v) || json_string_length(v) == 0)
			return refuse(c, "audience_malformed",
				"aud is not a string, or an array of them");
		ours = ours || audience_ours(c, mica_json_str(v));
	}
	note(c, "for %s", c->out->audience);
	return ours ? MICA_OK : audience_mismatch(c, first);
}

/* The id stands in the ledger and in logs: visible ASCII. A token without one is known by what was
 * signed. */
static bool take_id(struct token_check *c, struct mica_slice id)
{
	struct mica_evidence *ev = &c->out->evidence;
	bool ok = id.len > 0 && id.len <= MICA_EVIDENCE_ID_MAX;

	for (size_t i = 0; ok && i < id.len; i++)
		ok = id.p[i] > ' ' && id.p[i] < 0x7f;
	if (!ok)
		return false;
	memcpy(ev->id, id.p, id.len);
	ev->id[id.len] = '\0';
	return true;
}

static mica_rc check_id(struct token_check *c)
{
	const json_t *v = json_object_get(c->claims, "jti");
	struct mica_evidence *ev = &c->out->evidence;

	ev->kind = MICA_EV_TOKEN;
	ev->front = c->r->front;
	if (v == NULL) {
		uint8_t hash[32];
		SHA256(c->r->signed_part.p, c->r->signed_part.len, hash);
		memcpy(ev->id, "sha256:", 7);
		mica_hex_encode(hash, sizeof(hash), ev->id + 7);
		return MICA_OK;
	}
	if (!take_id(c, json_is_string(v) ? mica_json_str(v) : MICA_SLICE_NULL))
		return refuse(c, "jti_malformed", "jti is not 1 to %d visible ASCII characters",
			MICA_EVIDENCE_ID_MAX);
	note(c, "%s", ev->id);
	return MICA_OK;
}

/* ---- Kubernetes --------------------------------------------------------------------------- */

static mica_rc check_legacy(struct token_check *c)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)c->claims, key, value) {
		if (strncmp(key, "kubernetes.io/", 14) == 0)
			return refuse(c, "legacy_token",
				"it comes from a Secret and never ends; expected one of a projected serviceAccountToken volume");
	}
	return MICA_OK;
}

static mica_rc bad_kubernetes(struct token_check *c, const char *where, const char *what)
{
	return refuse(c, "kubernetes_claims_malformed", "kubernetes.io.%s %s", where, what);
}

struct ref {
	const char *where;
	char *name; /* of MICA_K8S_NAME_MAX + 1 */
	struct mica_uid *uid;
	bool uid_required;
};

/* The nil UUID means "unknown" to us, so nobody may have it. */
static bool read_uid(struct mica_slice s, struct mica_uid *out)
{
	static const struct mica_uid nil;

	return mica_uuid_parse(s, out->b) == MICA_OK && memcmp(out, &nil, sizeof(nil)) != 0;
}

/* {"name": a subdomain, "uid": a UUID} */
static mica_rc read_ref(struct token_check *c, const json_t *obj, const struct ref *r)
{
	const json_t *name = json_object_get(obj, "name"), *uid = json_object_get(obj, "uid");

	if (!json_is_object(obj))
		return bad_kubernetes(c, r->where, "is not an object");
	if (!json_is_string(name) || !mica_k8s_subdomain_ok(mica_json_str(name)))
		return bad_kubernetes(
			c, r->where, "has no name that is one of Kubernetes (RFC 1123)");
	memcpy(r->name, json_string_value(name), json_string_length(name) + 1);
	if (uid == NULL && !r->uid_required)
		return MICA_OK;
	if (!json_is_string(uid) || !read_uid(mica_json_str(uid), r->uid))
		return bad_kubernetes(c, r->where, "has no uid that is a UUID");
	return MICA_OK;
}

static mica_rc read_service_account(struct token_check *c, const json_t *k)
{
	struct mica_principal *p = &c->out->principal;
	const json_t *ns = json_object_get(k, "namespace");
	const struct ref sa = {"serviceaccount", p->sa, &p->sa_uid, true};

	if (!json_is_string(ns) || !mica_k8s_label_ok(mica_json_str(ns)))
		return bad_kubernetes(c, "namespace", "is not the name of one (RFC 1123 label)");
	memcpy(p->ns, json_string_value(ns), json_string_length(ns) + 1);
	return read_ref(c, json_object_get(k, "serviceaccount"), &sa);
}

static mica_rc check_kubernetes(struct token_check *c)
{
	struct mica_principal *p = &c->out->principal;
	const json_t *k = json_object_get(c->claims, "kubernetes.io");
	const json_t *pod = json_object_get(k, "pod"), *node = json_object_get(k, "node");
	const struct ref pod_ref = {"pod", p->pod, &p->pod_uid, true};
	/* a node that was gone when the token was made is known by its name only */
	const struct ref node_ref = {"node", p->node, &p->node_uid, false};

	if (k == NULL)
		return refuse(c, "kubernetes_claims_missing",
			"no claim \"kubernetes.io\"; expected a service account token of the TokenRequest API");
	if (!json_is_object(k))
		return refuse(c, "kubernetes_claims_malformed", "kubernetes.io is not an object");
	mica_rc rc = read_service_account(c, k);
	if (!rc && pod)
		rc = read_ref(c, pod, &pod_ref);
	if (!rc && node)
		rc = read_ref(c, node, &node_ref);
	note(c, "namespace %s, service account %.64s, pod %.64s", p->ns, p->sa,
		p->pod[0] ? p->pod : "none");
	return rc;
}

/* sub says the same as the structured claims, or one of them lies. */
static mica_rc check_service_account_sub(struct token_check *c)
{
	const struct mica_principal *p = &c->out->principal;
	const json_t *v = json_object_get(c->claims, "sub");
	struct mica_slice rest = json_is_string(v) ? mica_json_str(v) : MICA_SLICE_NULL, ns;
	struct mica_slice prefix = MICA_LIT("system:serviceaccount:");

	if (!mica_slice_has_prefix(rest, prefix))
		return refuse(c, "subject_malformed",
			"sub is not system:serviceaccount:<namespace>:<name>");
	rest = mica_slice_sub(rest, prefix.len, rest.len);
	mica_slice_cut(&rest, ':', &ns);
	if (!mica_k8s_label_ok(ns) || !mica_k8s_subdomain_ok(rest))
		return refuse(c, "subject_malformed",
			"sub is not system:serviceaccount:<namespace>:<name>");
	if (!mica_slice_eq_str(ns, p->ns) || !mica_slice_eq_str(rest, p->sa))
		return refuse(c, "subject_mismatch",
			"sub and kubernetes.io name different service accounts");
	return MICA_OK;
}

/* CVE-2024-3177: who may read Secrets of a namespace would have all of its service accounts. */
static mica_rc check_secret(struct token_check *c)
{
	const json_t *k = json_object_get(c->claims, "kubernetes.io");

	return json_object_get(k, "secret")
		? refuse(c, "secret_bound",
			  "it is bound to a Secret; expected one that is bound to a pod")
		: MICA_OK;
}

static mica_rc check_pod(struct token_check *c)
{
	note(c, "pod %s", c->out->principal.pod);
	return c->issuer->require_pod && c->out->principal.pod[0] == '\0'
		? refuse(c, "pod_missing",
			  "it is bound to no pod; expected one of a projected serviceAccountToken volume")
		: MICA_OK;
}

/* ---- other issuers ------------------------------------------------------------------------- */

static mica_rc check_subject(struct token_check *c)
{
	const json_t *v = json_object_get(c->claims, "sub");
	struct mica_slice sub = json_is_string(v) ? mica_json_str(v) : MICA_SLICE_NULL;
	bool ok = sub.len > 0 && sub.len < sizeof(c->out->principal.subject);

	for (size_t i = 0; ok && i < sub.len; i++)
		ok = sub.p[i] >= ' ' && sub.p[i] != 0x7f;
	if (!ok)
		return refuse(c, "subject_malformed",
			"sub is not a string of 1 to %zu octets without control characters",
			sizeof(c->out->principal.subject) - 1);
	memcpy(c->out->principal.subject, sub.p, sub.len);
	c->out->principal.subject[sub.len] = '\0';
	return MICA_OK;
}

#define INTEGER_SIZE     24
#define POINTER_STEP_MAX 255

/* One step of a JSON pointer: "~1" is '/', "~0" is '~'. NULL when it is too long. */
static const char *unescape(struct mica_slice step, char out[POINTER_STEP_MAX + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < step.len; i++) {
		bool escaped = step.p[i] == '~' && i + 1 < step.len &&
			(step.p[i + 1] == '0' || step.p[i + 1] == '1');

		if (n == POINTER_STEP_MAX)
			return NULL;
		out[n++] = !escaped ? (char)step.p[i] : step.p[++i] == '1' ? '/' : '~';
	}
	out[n] = '\0';
	return out;
}

const json_t *mica_claim_at(const json_t *claims, const char *name)
{
	struct mica_slice rest = mica_slice_str(name), step;
	char text[POINTER_STEP_MAX + 1];
	const json_t *v = claims;

	if (name[0] != '/')
		return json_object_get(claims, name);
	mica_slice_cut(&rest, '/', &step);
	for (bool more = true; more && v;) {
		more = mica_slice_cut(&rest, '/', &step);
		/* of what is no object there are no members */
		v = unescape(step, text) ? json_object_get(v, text) : NULL;
	}
	return v;
}

/* Strings, integers and booleans have one text each. */
static mica_rc read_claim(
	struct token_check *c, const char *name, char room[INTEGER_SIZE], struct mica_slice *out)
{
	const json_t *v = mica_claim_at(c->claims, name);

	if (v == NULL)
		return refuse(c, "claim_missing", "the claim %.64s is missing", name);
	if (json_is_string(v)) {
		*out = mica_json_str(v);
	} else if (json_is_boolean(v)) {
		*out = json_is_true(v) ? MICA_LIT("true") : MICA_LIT("false");
	} else if (json_is_integer(v)) {
		snprintf(room, INTEGER_SIZE, "%" PRId64, (int64_t)json_integer_value(v));
		*out = mica_slice_str(room);
	} else {
		return refuse(c, "claim_malformed",
			"the claim %.64s is not a string, integer or boolean", name);
	}
	return MICA_OK;
}

static mica_rc check_required(struct token_check *c)
{
	for (unsigned i = 0; i < c->issuer->n_require; i++) {
		const struct issuer_require *q = &c->issuer->require[i];
		char room[INTEGER_SIZE];
		struct mica_slice value = MICA_SLICE_NULL;
		mica_rc rc = read_claim(c, q->claim, room, &value);
		if (rc)
			return rc;
		if (!mica_pattern_match(q->pattern, value))
			return refuse(c, "claim_mismatch",
				"the claim %.64s is \"%.*s\", expected %s", q->claim,
				(int)(value.len > 128 ? 128 : value.len), (const char *)value.p,
				q->text);
	}
	note(c, "%u required", c->issuer->n_require);
	return MICA_OK;
}

/* ---- the name ------------------------------------------------------------------------------ */

static mica_rc oidc_values(struct token_check *c,
	struct mica_slice values[MICA_TEMPLATE_FIELDS_MAX],
	char rooms[MICA_TEMPLATE_FIELDS_MAX][INTEGER_SIZE])
{
	const struct mica_issuer *is = c->issuer;

	for (unsigned i = 0; i < is->n_claims; i++) {
		values[i] = MICA_SLICE_NULL;
		if (!mica_template_uses(is->path, i))
			continue;
		mica_rc rc = read_claim(c, is->claims[i].claim, rooms[i], &values[i]);
		if (rc)
			return rc;
	}
	values[is->n_claims] = mica_slice_str(c->out->principal.subject);
	/* constants stand in the template */
	values[is->n_claims + 1] = values[is->n_claims + 2] = MICA_SLICE_NULL;
	return MICA_OK;
}

static mica_rc make_name(struct token_check *c)
{
	const struct mica_issuer *is = c->issuer;
	struct mica_principal *p = &c->out->principal;
	struct mica_slice values[MICA_TEMPLATE_FIELDS_MAX];
	char rooms[MICA_TEMPLATE_FIELDS_MAX][INTEGER_SIZE];
	mica_rc rc = MICA_OK;

	memcpy(p->issuer, is->name, strlen(is->name) + 1);
	memcpy(p->cluster, is->cluster, strlen(is->cluster) + 1);
	if (is->kind == MICA_ISSUER_KUBERNETES)
		mica_principal_values(p, values);
	else
		rc = oidc_values(c, values, rooms);
	if (rc)
		return rc;
	memcpy(p->spiffe_id, is->td_prefix.p, is->td_prefix.len);
	rc = mica_template_expand(is->path, values, is->n_values, p->spiffe_id + is->td_prefix.len,
		sizeof(p->spiffe_id) - is->td_prefix.len, NULL, c->e);
	note(c, "%.180s", rc ? "" : p->spiffe_id);
	return rc;
}

/* ---- the ordinary case ---------------------------------------------------------------------- */

static bool plain_times(struct token_check *c, const struct token_plain *p)
{
	const int64_t latest = c->now + c->issuer->skew;
	struct mica_token_result *out = c->out;

	out->iat = p->iat;
	out->nbf = p->nbf;
	out->exp = p->warnafter && p->warnafter < p->exp ? p->warnafter : p->exp;
	out->evidence.credential_expiry = out->exp;
	return p->exp && p->iat && p->iat <= p->exp && out->exp > c->now - c->issuer->skew &&
		p->nbf <= latest && p->iat <= latest &&
		p->exp - p->iat <= c->issuer->max_life[c->r->front];
}

static bool plain_audience(struct token_check *c, const struct token_plain *p)
{
	for (unsigned i = 0; i < p->n_aud; i++)
		if (audience_ours(c, p->aud[i]))
			return true;
	return false;
}

static bool plain_ref(const struct token_plain_ref *p, const struct ref *r)
{
	if (!mica_k8s_subdomain_ok(p->name))
		return false;
	memcpy(r->name, p->name.p, p->name.len);
	r->name[p->name.len] = '\0';
	return (p->uid.len == 0 && !r->uid_required) || read_uid(p->uid, r->uid);
}

static bool plain_who(struct token_check *c, const struct token_plain *t)
{
	struct mica_principal *p = &c->out->principal;
	const struct ref sa = {NULL, p->sa, &p->sa_uid, true};
	const struct ref pod = {NULL, p->pod, &p->pod_uid, true};
	const struct ref node = {NULL, p->node, &p->node_uid, false};

	if (!mica_k8s_label_ok(t->ns) || mica_slice_copy(t->ns, p->ns, sizeof(p->ns)) != MICA_OK)
		return false;
	return plain_ref(&t->sa, &sa) && (t->pod.name.len == 0 || plain_ref(&t->pod, &pod)) &&
		(t->node.name.len == 0 || plain_ref(&t->node, &node)) &&
		(t->pod.name.len > 0 || !c->issuer->require_pod);
}

static bool plain_sub(const struct token_plain *p)
{
	struct mica_slice rest = p->sub, ns, prefix = MICA_LIT("system:serviceaccount:");

	if (!mica_slice_has_prefix(rest, prefix))
		return false;
	rest = mica_slice_sub(rest, prefix.len, rest.len);
	return mica_slice_cut(&rest, ':', &ns) && mica_slice_eq(ns, p->ns) &&
		mica_slice_eq(rest, p->sa.name);
}

bool mica_token_plain_accept(struct token_check *c, const struct token_plain *p)
{
	c->out->evidence.kind = MICA_EV_TOKEN;
	c->out->evidence.front = c->r->front;
	return plain_times(c, p) && plain_audience(c, p) && take_id(c, p->jti) && plain_who(c, p) &&
		plain_sub(p) && make_name(c) == MICA_OK;
}

/* ---- the steps ------------------------------------------------------------------------------ */

const struct token_step *mica_token_steps(enum mica_issuer_kind kind, size_t *n)
{
	static const struct token_step kubernetes[] = {
		{"legacy", check_legacy, false},
		{"times", check_times, false},
		{"expiry", check_expiry, false},
		{"begin", check_begin, false},
		{"lifetime", check_lifetime, false},
		{"audience", check_audience, false},
		{"id", check_id, false},
		{"kubernetes", check_kubernetes, true},
		{"subject", check_service_account_sub, false},
		{"secret", check_secret, false},
		{"pod", check_pod, false},
		{"name", make_name, false},
	};
	static const struct token_step oidc[] = {
		{"times", check_times, false},
		{"expiry", check_expiry, false},
		{"begin", check_begin, false},
		{"lifetime", check_lifetime, false},
		{"audience", check_audience, false},
		{"id", check_id, false},
		{"subject", check_subject, true},
		{"claims", check_required, false},
		{"name", make_name, false},
	};

	*n = kind == MICA_ISSUER_KUBERNETES ? MICA_ARRAY_LEN(kubernetes) : MICA_ARRAY_LEN(oidc);
	return kind == MICA_ISSUER_KUBERNETES ? kubernetes : oidc;
}
