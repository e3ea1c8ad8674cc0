/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From octets to a verified set of claims. Everything up to the signature trusts nothing, costs
 * a bounded amount and tells the caller nothing.
 */
#include "mica/secret.h"

#include <stdio.h>
#include <strings.h>

#include "token.h"

/* ---- refusals ---------------------------------------------------------------------------- */

/* Before the signature holds. */
MICA_PRINTF(4, 5)
static mica_rc refuse(const struct mica_token_reader *r, struct mica_err *e, const char *fine,
	const char *fmt, ...)
{
	char detail[256];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(detail, sizeof(detail), fmt, ap) < 0)
		detail[0] = '\0';
	va_end(ap);
	return mica_fail_fine(e, MICA_UNAUTHENTICATED, "token_invalid",
		r->issuers->expected[r->front], fine, "%s", detail);
}

/* ---- the three parts --------------------------------------------------------------------- */

struct parts {
	struct mica_slice header, payload, sig;
};

static mica_rc split(
	struct mica_token_reader *r, struct mica_slice token, struct parts *p, struct mica_err *e)
{
	struct mica_slice rest = token;
	unsigned dots = 0;

	if (token.len == 0)
		return refuse(r, e, "token_empty", "no token");
	if (token.len > MICA_TOKEN_MAX)
		return refuse(r, e, "token_too_long", "%zu octets, expected at most %d", token.len,
			MICA_TOKEN_MAX);
	for (size_t i = 0; i < token.len; i++)
		dots += token.p[i] == '.';
	if (dots == 4)
		return refuse(r, e, "token_encrypted",
			"five parts: an encrypted token (JWE), expected a signed one");
	if (dots != 2)
		return refuse(r, e, "token_not_compact", "%u parts, expected three", dots + 1);
	mica_slice_cut(&rest, '.', &p->header);
	mica_slice_cut(&rest, '.', &p->payload);
	p->sig = rest;
	r->signed_part = mica_slice(token.p, p->header.len + 1 + p->payload.len);
	return MICA_OK;
}

static mica_rc decode(const struct mica_token_reader *r, struct mica_slice part, const char *what,
	uint8_t *out, size_t *len, struct mica_err *e)
{
	mica_rc rc = mica_b64url_decode(part, out, len);

	if (rc == MICA_LIMIT)
		return refuse(r, e, "bad_signature", "the signature is longer than any");
	return rc ? refuse(r, e, "token_encoding",
			    "the %s is not base64url without padding (RFC 7515 2)", what)
		  : MICA_OK;
}

/* ---- the header ---------------------------------------------------------------------------- */

/* RFC 7515 4: members that would have us take a key or an algorithm from the token, or that change
 * what is signed, are refused by being absent here. Thumbprints of certificates are idle. */
static const char *const header_members[] = {"alg", "kid", "typ", "x5t", "x5t#S256"};

static mica_rc check_members(
	const struct mica_token_reader *r, const json_t *header, struct mica_err *e)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)header, key, value) {
		bool known = false;
		/* RFC 7515 4.1.11: we understand no extension, so any list of them is too much */
		if (strcmp(key, "crit") == 0)
			return refuse(r, e, "header_crit", "header: \"crit\" names extensions");
		for (size_t i = 0; i < MICA_ARRAY_LEN(header_members); i++)
			known = known || strcmp(key, header_members[i]) == 0;
		if (!known)
			return refuse(r, e, "header_member_not_allowed",
				"header: member \"%.32s\", expected alg, kid, typ alone", key);
	}
	return MICA_OK;
}

static mica_rc read_alg(const struct mica_token_reader *r, const json_t *v, struct token_header *h,
	struct mica_err *e)
{
	struct mica_slice name = json_is_string(v) ? mica_json_str(v) : MICA_SLICE_NULL;

	if (name.len == 0)
		return refuse(r, e, "alg_missing", "header: no \"alg\" that is a name");
	if (name.len == 4 && strcasecmp((const char *)name.p, "none") == 0)
		return refuse(r, e, "alg_none", "header: alg \"none\"");
	h->alg = mica_sig_alg_from_jose(name);
	return h->alg == MICA_SIG_NONE
		? refuse(r, e, "alg_not_allowed", "header: alg \"%.32s\" is not known",
			  (const char *)name.p)
		: MICA_OK;
}

/* RFC 8725 3.11: a type says what a token is for; ours are plain ones and OAuth's access tokens. */
static mica_rc check_typ(const struct mica_token_reader *r, const json_t *v, struct mica_err *e)
{
	static const char *const types[] = {"JWT", "JOSE", "at+jwt", "application/at+jwt"};
	const char *typ = v ? json_string_value(v) : "JWT";

	for (size_t i = 0; typ && i < MICA_ARRAY_LEN(types); i++)
		if (strcasecmp(typ, types[i]) == 0)
			return MICA_OK;
	return refuse(r, e, "typ_not_allowed", "header: typ \"%.32s\", expected JWT or none",
		typ ? typ : "(not a string)");
}

static mica_rc read_kid(const struct mica_token_reader *r, const json_t *v, struct token_header *h,
	struct mica_err *e)
{
	struct mica_slice kid = json_is_string(v) ? mica_json_str(v) : MICA_SLICE_NULL;

	if (v == NULL)
		return MICA_OK;
	if (!json_is_string(v) || kid.len > MICA_KID_MAX)
		return refuse(r, e, "kid_malformed",
			"header: \"kid\" is not a string of at most %d octets", MICA_KID_MAX);
	memcpy(h->kid, kid.p, kid.len);
	h->kid[kid.len] = '\0';
	h->kid_len = (uint16_t)kid.len;
	h->has_kid = true;
	return MICA_OK;
}

static mica_rc parse_header(struct mica_token_reader *r, struct mica_slice text, struct mica_err *e)
{
	static const struct mica_json_limits limits = {.bytes = MICA_TOKEN_MAX, .depth = 4};
	MICA_AUTO_JSON d = {.root = NULL};
	struct mica_err why = MICA_ERR_INIT;

	if (mica_json_parse(text, &limits, &d, &why) || !json_is_object(d.root)) {
		/* a duplicate is an attack, the rest is noise */
		bool twice = strcmp(mica_err_fine(&why), "json_duplicate_member") == 0;
		return refuse(r, e, twice ? "header_member_duplicate" : "header_malformed",
			"header: %s", d.root ? "not an object" : why.text);
	}
	r->header = (struct token_header){.alg = MICA_SIG_NONE};
	mica_rc rc = check_members(r, d.root, e);
	if (!rc)
		rc = read_alg(r, json_object_get(d.root, "alg"), &r->header, e);
	if (!rc)
		rc = check_typ(r, json_object_get(d.root, "typ"), e);
	return rc ? rc : read_kid(r, json_object_get(d.root, "kid"), &r->header, e);
}

static mica_rc read_header(struct mica_token_reader *r, struct mica_slice part, struct mica_err *e)
{
	size_t len = sizeof(r->payload); /* empty still: serves both parts */

	if (r->cache_len && mica_slice_eq(part, mica_slice(r->cache_text, r->cache_len))) {
		r->header = r->cache;
		return MICA_OK;
	}
	mica_rc rc = decode(r, part, "header", r->payload, &len, e);
	if (!rc)
		rc = parse_header(r, mica_slice(r->payload, len), e);
	if (rc)
		return rc;
	if (part.len <= sizeof(r->cache_text)) {
		memcpy(r->cache_text, part.p, part.len);
		r->cache_len = part.len;
		r->cache = r->header;
	}
	return MICA_OK;
}

/* ---- the payload and its issuer ------------------------------------------------------------- */

/* All claims as a document. */
static mica_rc parse_claims(struct mica_token_reader *r, struct mica_err *e)
{
	static const struct mica_json_limits limits = {.bytes = MICA_TOKEN_MAX, .depth = 12};
	struct mica_err why = MICA_ERR_INIT;

	if (mica_json_parse(mica_slice(r->payload, r->payload_len), &limits, &r->claims, &why))
		return refuse(r, e, "payload_malformed", "payload: %s", why.text);
	return json_is_object(r->claims.root)
		? MICA_OK
		: refuse(r, e, "payload_malformed", "payload: not an object");
}

static mica_rc read_payload(struct mica_token_reader *r, struct mica_slice part, struct mica_err *e)
{
	size_t len = sizeof(r->payload);

	r->payload_len = len; /* as the signature */
	mica_rc rc = decode(r, part, "payload", r->payload, &len, e);
	if (rc)
		return rc;
	r->payload_len = len;
	r->is_plain = !r->whole && mica_token_plain_read(mica_slice(r->payload, len), &r->plain);
	return r->is_plain ? MICA_OK : parse_claims(r, e);
}

static mica_rc find_issuer(struct mica_token_reader *r, struct mica_err *e)
{
	const json_t *v = r->is_plain ? NULL : json_object_get(r->claims.root, "iss");
	struct mica_slice iss = r->is_plain ? r->plain.iss : MICA_SLICE_NULL;

	if (json_is_string(v))
		iss = mica_json_str(v);
	if (iss.len == 0)
		return refuse(r, e, "issuer_missing", "payload: no \"iss\" that is a name");
	if (mica_slice_eq_str(iss, LEGACY_ISSUER))
		return refuse(r, e, "legacy_token",
			"a token of a Secret, without end or audience; expected one of the TokenRequest API");
	/* Exactly: no case folding, no slash added or taken. */
	r->issuer = mica_issuers_by_url(r->issuers, iss);
	return r->issuer ? MICA_OK
			 : refuse(r, e, "issuer_unknown",
				   "payload: \"iss\" is \"%.*s\", which is no configured issuer",
				   (int)(iss.len > 160 ? 160 : iss.len), (const char *)iss.p);
}

static bool is_ps(enum mica_sig_alg alg)
{
	return alg >= MICA_SIG_PSS_SHA256 && alg <= MICA_SIG_PSS_SHA512;
}

static mica_rc check_alg(const struct mica_token_reader *r, struct mica_err *e)
{
	struct mica_jwks_options o = mica_issuer_jwks_options(r->issuer);

	if ((is_ps(r->header.alg) && !o.allow_ps) ||
		(r->header.alg == MICA_SIG_ED25519 && !o.allow_eddsa))
		return refuse(r, e, "alg_not_allowed",
			"header: alg %s is not configured for issuer %s",
			mica_sig_alg_jose(r->header.alg), r->issuer->name);
	return MICA_OK;
}

/* ---- open and close ------------------------------------------------------------------------- */

struct mica_token_reader *mica_token_reader_new(void)
{
	return MICA_NEW(struct mica_token_reader);
}

void mica_token_close(struct mica_token_reader *r)
{
	mica_json_clear(&r->claims);
	mica_wipe(r->payload, r->payload_len);
	mica_wipe(r->sig, r->sig_len);
	r->payload_len = r->sig_len = 0;
	r->issuer = NULL;
	r->open = r->is_plain = false;
	r->signed_part = MICA_SLICE_NULL;
}

void mica_token_reader_free(struct mica_token_reader *r)
{
	if (r == NULL)
		return;
	mica_token_close(r);
	mica_free(r);
}

static mica_rc read_all(struct mica_token_reader *r, struct mica_slice token, struct mica_err *e)
{
	struct parts p;
	size_t sig_len = sizeof(r->sig);

	r->stage = STAGE_FORM;
	mica_rc rc = split(r, token, &p, e);
	if (rc)
		return rc;
	r->sig_len = sizeof(r->sig);
	r->sig_len = sig_len; /* what a refusal leaves behind is wiped too */
	rc = decode(r, p.sig, "signature", r->sig, &sig_len, e);
	if (rc)
		return rc;
	r->sig_len = sig_len;
	r->stage = STAGE_HEADER;
	rc = read_header(r, p.header, e);
	if (rc)
		return rc;
	r->stage = STAGE_PAYLOAD;
	rc = read_payload(r, p.payload, e);
	if (rc)
		return rc;
	r->stage = STAGE_ISSUER;
	rc = find_issuer(r, e);
	if (rc)
		return rc;
	r->stage = STAGE_KEY;
	return check_alg(r, e);
}

mica_rc mica_token_open(struct mica_token_reader *r, const struct mica_issuers *issuers,
	struct mica_slice token, enum mica_front front, const struct mica_issuer **issuer,
	struct mica_err *e)
{
	mica_token_close(r);
	r->issuers = issuers;
	r->front = front;
	*issuer = NULL;
	mica_rc rc = read_all(r, token, e);
	*issuer = r->issuer;
	r->open = rc == MICA_OK;
	return rc;
}

/* ---- the signature -------------------------------------------------------------------------- */

static mica_rc find_key(struct mica_token_reader *r, const struct mica_jwks *keys,
	const struct mica_jwk **key, struct mica_err *e)
{
	const struct mica_slice kid = mica_slice(r->header.kid, r->header.kid_len);

	r->stage = STAGE_KEY;
	if (keys == NULL)
		return mica_fail(e, MICA_UNAVAILABLE, "issuer_keys_missing",
			"the keys of the token's issuer are not at hand; try again");
	switch (mica_jwks_find(keys, r->header.has_kid ? &kid : NULL, r->header.alg, key)) {
	case MICA_JWKS_FOUND: return MICA_OK;
	case MICA_JWKS_UNKNOWN_KID:
		return refuse(r, e, "unknown_key", "issuer %s has no key \"%.64s\"",
			r->issuer->name, r->header.kid);
	case MICA_JWKS_OTHER_ALG:
		return refuse(r, e, "alg_not_allowed",
			"key \"%.64s\" of issuer %s is not one for %s", r->header.kid,
			r->issuer->name, mica_sig_alg_jose(r->header.alg));
	case MICA_JWKS_KID_NEEDED: break;
	}
	return refuse(r, e, "kid_needed", "header: no \"kid\", but issuer %s has several keys",
		r->issuer->name);
}

static mica_rc check_signature(
	struct mica_token_reader *r, const struct mica_jwks *keys, struct mica_err *e)
{
	const struct mica_jwk *key = NULL;
	struct mica_err why = MICA_ERR_INIT;

	mica_rc rc = find_key(r, keys, &key, e);
	if (rc)
		return rc;
	r->stage = STAGE_SIGNATURE;
	if (mica_verifier_verify(key->verifier, key->alg, MICA_SIG_RAW, r->signed_part,
		    mica_slice(r->sig, r->sig_len), &why))
		return refuse(r, e, "bad_signature", "key \"%.64s\" of issuer %s did not sign this",
			r->header.kid, r->issuer->name);
	r->stage = STAGE_DONE;
	return MICA_OK;
}

static struct token_check check_of(const struct mica_token_reader *r, int64_t now,
	struct mica_token_result *out, struct mica_err *e)
{
	return (struct token_check){.r = r,
		.issuer = r->issuer,
		.claims = r->claims.root,
		.now = now,
		.out = out,
		.e = e};
}

static mica_rc run_steps(struct mica_token_reader *r, int64_t now, struct mica_token_result *found,
	struct mica_err *e)
{
	size_t n = 0;
	mica_rc rc = r->claims.root ? MICA_OK : parse_claims(r, e);
	struct token_check c = check_of(r, now, found, e);
	const struct token_step *steps = mica_token_steps(r->issuer->kind, &n);

	for (size_t i = 0; i < n && !rc; i++)
		rc = steps[i].run(&c);
	return rc;
}

/* Most tokens are ordinary and good; whatever is not is judged step by step. */
static bool accept_plain(struct mica_token_reader *r, int64_t now, struct mica_token_result *found)
{
	struct mica_err unsaid = MICA_ERR_INIT;
	struct token_check c = check_of(r, now, found, &unsaid);

	if (!r->is_plain || r->issuer->kind != MICA_ISSUER_KUBERNETES)
		return false;
	if (mica_token_plain_accept(&c, &r->plain))
		return true;
	*found = (struct mica_token_result){.iat = 0};
	return false;
}

mica_rc mica_token_verify(struct mica_token_reader *r, const struct mica_jwks *keys, int64_t now,
	struct mica_token_result *out, struct mica_err *e)
{
	struct mica_token_result found = {.iat = 0};

	if (!r->open)
		return mica_fail(e, MICA_INTERNAL, "token_not_open", "no token was opened");
	mica_rc rc = check_signature(r, keys, e);
	if (!rc && !accept_plain(r, now, &found))
		rc = run_steps(r, now, &found, e);
	if (rc)
		return rc;
	*out = found;
	return MICA_OK;
}

/* ---- explaining ----------------------------------------------------------------------------- */

struct explainer {
	struct mica_token_reader *r;
	struct mica_buf *json;
	const char *reason; /* of the first failure, or NULL */
	unsigned n; /* steps written */
	struct mica_token_result out;
};

static void put_string(struct mica_buf *b, const char *before, const char *s)
{
	mica_buf_put_str(b, before);
	mica_buf_put_json_string(b, mica_slice_str(s));
}

static void put_step(
	struct explainer *x, const char *name, const struct mica_err *e, const char *note)
{
	const char *reason = e->rc ? mica_err_fine(e) : NULL;

	put_string(x->json, x->n++ ? ",{\"check\":" : "{\"check\":", name);
	mica_buf_printf(x->json, ",\"passed\":%s", reason ? "false" : "true");
	if (reason)
		put_string(x->json, ",\"reason\":", reason);
	put_string(x->json, ",\"text\":", reason ? (e->detail[0] ? e->detail : e->text) : note);
	mica_buf_put_u8(x->json, '}');
	if (reason && x->reason == NULL)
		x->reason = reason;
}

/* Up to the signature one failure ends it. */
static bool explain_trust(struct explainer *x, const struct mica_err *e)
{
	static const char *const names[STAGE_DONE] = {
		"form", "header", "payload", "issuer", "key", "signature"};
	static const struct mica_err fine = MICA_ERR_INIT;

	for (int s = 0; s < (int)x->r->stage; s++)
		put_step(x, names[s], &fine, "");
	if (x->r->stage == STAGE_DONE)
		return true;
	put_step(x, names[x->r->stage], e, "");
	return false;
}

static void explain_claims(struct explainer *x, int64_t now)
{
	size_t n = 0;
	bool identified = true;
	const struct token_step *steps = mica_token_steps(x->r->issuer->kind, &n);

	for (size_t i = 0; i < n; i++) {
		struct mica_err e = MICA_ERR_INIT;
		struct token_check c = check_of(x->r, now, &x->out, &e);
		c.explain = true;
		if (i + 1 == n && !identified)
			break;
		mica_rc rc = steps[i].run(&c);
		put_step(x, steps[i].name, &e, c.note);
		identified = identified && (!rc || !steps[i].identity);
	}
}

static int put_dumped(const char *p, size_t len, void *buf)
{
	mica_buf_put(buf, p, len);
	return 0;
}

static void put_claim(struct explainer *x, const char *name, unsigned *n)
{
	const json_t *v = mica_claim_at(x->r->claims.root, name);

	if (v == NULL)
		return;
	put_string(x->json, (*n)++ ? "," : "", name);
	mica_buf_put_u8(x->json, ':');
	json_dump_callback(v, put_dumped, x->json, JSON_COMPACT | JSON_ENCODE_ANY);
}

static bool is_registered(const char *name, const char *const *registered, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(registered[i], name) == 0)
			return true;
	return false;
}

static bool named_before(const struct mica_issuer *is, unsigned i)
{
	const char *name =
		i < is->n_claims ? is->claims[i].claim : is->require[i - is->n_claims].claim;

	for (unsigned k = 0; k < i; k++)
		if (!strcmp(name,
			    k < is->n_claims ? is->claims[k].claim
					     : is->require[k - is->n_claims].claim))
			return true;
	return false;
}

static void put_claims(struct explainer *x)
{
	static const char *const registered[] = {
		"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "kubernetes.io"};
	const struct mica_issuer *is = x->r->issuer;
	unsigned n = 0;

	mica_buf_put_str(x->json, ",\"claims\":{");
	for (size_t i = 0; i < MICA_ARRAY_LEN(registered); i++)
		put_claim(x, registered[i], &n);
	for (unsigned i = 0; is && i < is->n_claims + is->n_require; i++) {
		const char *name = i < is->n_claims ? is->claims[i].claim
						    : is->require[i - is->n_claims].claim;
		if (!named_before(is, i) &&
			!is_registered(name, registered, MICA_ARRAY_LEN(registered)))
			put_claim(x, name, &n);
	}
	mica_buf_put_u8(x->json, '}');
}

mica_rc mica_token_explain(struct mica_token_reader *r, const struct mica_issuers *issuers,
	struct mica_slice token, enum mica_front front, int64_t now,
	const struct mica_jwks *(*keys)(void *ctx, const struct mica_issuer *issuer), void *ctx,
	struct mica_buf *json, struct mica_err *e)
{
	struct explainer x = {.r = r, .json = json};
	struct mica_err why = MICA_ERR_INIT;
	const struct mica_issuer *issuer = NULL;

	r->whole = true;
	mica_rc rc = mica_token_open(r, issuers, token, front, &issuer, &why);
	r->whole = false;
	if (!rc)
		rc = check_signature(r, keys(ctx, issuer), &why);
	mica_buf_put_str(json, "{\"steps\":[");
	if (explain_trust(&x, &why))
		explain_claims(&x, now);
	mica_buf_printf(json, "],\"accepted\":%s", x.reason ? "false" : "true");
	mica_buf_printf(json, ",\"verified\":%s", r->stage == STAGE_DONE ? "true" : "false");
	put_string(json, ",\"reason\":", x.reason ? x.reason : "ok");
	if (issuer)
		put_string(json, ",\"issuer\":", issuer->name);
	if (!x.reason)
		put_string(json, ",\"spiffe_id\":", x.out.principal.spiffe_id);
	if (json_is_object(r->claims.root))
		put_claims(&x);
	mica_buf_put_u8(json, '}');
	mica_token_close(r);
	return mica_buf_rc(json, e);
}
