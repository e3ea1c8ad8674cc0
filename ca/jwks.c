/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/jwks.h"
#include "mica/json.h"

#define NUMBER_MAX                                                                                 \
	1024 /* octets of a modulus that are read at all: RSA-8192 is still called weak */

struct mica_jwks {
	unsigned refs;
	size_t n, n_skipped;
	struct mica_jwk key[MICA_JWKS_KEYS_MAX];
	unsigned index[MICA_JWKS_KEYS_MAX]; /* in `keys`, of each key before duplicates left */
	struct mica_jwks_skipped skipped[MICA_JWKS_KEYS_MAX];
};

/* References are counted in what is immutable otherwise. */
static unsigned *refs_of(const struct mica_jwks *s)
{
	return &((struct mica_jwks *)(uintptr_t)s)->refs;
}

const struct mica_jwks *mica_jwks_ref(const struct mica_jwks *s)
{
	if (s)
		__atomic_add_fetch(refs_of(s), 1, __ATOMIC_RELAXED);
	return s;
}

void mica_jwks_unref(const struct mica_jwks *s)
{
	if (s == NULL || __atomic_sub_fetch(refs_of(s), 1, __ATOMIC_ACQ_REL) != 0)
		return;
	for (size_t i = 0; i < s->n; i++)
		mica_verifier_free((struct mica_verifier *)(uintptr_t)s->key[i].verifier);
	mica_free((struct mica_jwks *)(uintptr_t)s);
}

/* ---- one key -------------------------------------------------------------------------------- */

struct jwk_text {
	struct mica_slice kid, kty, alg, use, crv, n, e, x, y;
	bool has_kid, has_alg, has_use;
};

/* Members that we use must be strings; all others may be anything (RFC 7517 4). */
static const char *read_strings(const json_t *jwk, struct jwk_text *t)
{
	const struct {
		const char *name;
		struct mica_slice *out;
		bool *has;
	} members[] = {
		{"kid", &t->kid, &t->has_kid},
		{"kty", &t->kty, NULL},
		{"alg", &t->alg, &t->has_alg},
		{"use", &t->use, &t->has_use},
		{"crv", &t->crv, NULL},
		{"n", &t->n, NULL},
		{"e", &t->e, NULL},
		{"x", &t->x, NULL},
		{"y", &t->y, NULL},
	};

	for (size_t i = 0; i < MICA_ARRAY_LEN(members); i++) {
		const json_t *v = json_object_get(jwk, members[i].name);
		if (v && !json_is_string(v))
			return "member_malformed";
		if (v)
			*members[i].out = mica_json_str(v);
		if (v && members[i].has)
			*members[i].has = true;
	}
	return NULL;
}

/* RFC 7518 6.2.2, 6.3.2: a set that shows a private half is a leak, and its key everybody's. */
static const char *check_secrets(const json_t *jwk, const struct jwk_text *t)
{
	static const char *const members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};

	if (mica_slice_eq_str(t->kty, "oct"))
		return "symmetric_key";
	for (size_t i = 0; i < MICA_ARRAY_LEN(members); i++)
		if (json_object_get(jwk, members[i]))
			return "private_key";
	return NULL;
}

/* RFC 7517 4.2, 4.3 */
static const char *check_purpose(const json_t *jwk, const struct jwk_text *t)
{
	const json_t *ops = json_object_get(jwk, "key_ops");
	bool verify = false;

	if (t->has_use && !mica_slice_eq_str(t->use, "sig"))
		return "use_not_sig";
	if (ops == NULL)
		return NULL;
	if (!json_is_array(ops))
		return "member_malformed";
	for (size_t i = 0; i < json_array_size(ops); i++) {
		const json_t *op = json_array_get(ops, i);
		if (!json_is_string(op))
			return "member_malformed";
		verify = verify || mica_slice_eq_str(mica_json_str(op), "verify");
	}
	return verify ? NULL : "key_ops_without_verify";
}

static bool decode(struct mica_slice text, uint8_t room[NUMBER_MAX], struct mica_slice *out)
{
	size_t len = NUMBER_MAX;

	if (mica_b64url_decode(text, room, &len))
		return false;
	*out = mica_slice(room, len);
	return true;
}

static const char *read_key(const struct jwk_text *t, struct mica_pubkey *k)
{
	uint8_t a[NUMBER_MAX], b[NUMBER_MAX];
	struct mica_slice first = MICA_SLICE_NULL, second = MICA_SLICE_NULL;
	struct mica_err e = MICA_ERR_INIT;
	bool rsa = mica_slice_eq_str(t->kty, "RSA"), ec = mica_slice_eq_str(t->kty, "EC");
	bool p256 = mica_slice_eq_str(t->crv, "P-256"), p384 = mica_slice_eq_str(t->crv, "P-384");
	mica_rc rc;

	if (!rsa && !ec && !mica_slice_eq_str(t->kty, "OKP"))
		return "kty_unknown";
	if (!rsa && !(ec ? p256 || p384 : mica_slice_eq_str(t->crv, "Ed25519")))
		return "curve_unknown";
	if (!decode(rsa ? t->n : t->x, a, &first) || !decode(rsa ? t->e : t->y, b, &second))
		return "key_malformed";
	if (rsa)
		rc = mica_pubkey_from_rsa(first, second, k, &e);
	else if (ec)
		rc = mica_pubkey_from_ec(p256 ? MICA_KN_P256 : MICA_KN_P384, first, second, k, &e);
	else
		rc = mica_pubkey_from_ed25519(first, k, &e);
	return rc ? e.reason : NULL;
}

static bool is_rsa(const struct mica_pubkey *k)
{
	return k->type >= MICA_KN_RSA2048 && k->type <= MICA_KN_RSA4096;
}

static bool is_ps(enum mica_sig_alg alg)
{
	return alg >= MICA_SIG_PSS_SHA256 && alg <= MICA_SIG_PSS_SHA512;
}

/* The one algorithm of a key (RFC 7518 3.4 for the curves). */
static const char *choose_alg(const struct jwk_text *t, const struct mica_pubkey *k,
	const struct mica_jwks_options *o, enum mica_sig_alg *alg)
{
	enum mica_sig_alg natural = k->type == MICA_KN_P256 ? MICA_SIG_ECDSA_SHA256
		: k->type == MICA_KN_P384                   ? MICA_SIG_ECDSA_SHA384
		: k->type == MICA_KN_ED25519                ? MICA_SIG_ED25519
							    : MICA_SIG_RSA_SHA256;

	*alg = t->has_alg ? mica_sig_alg_from_jose(t->alg) : natural;
	if (*alg == MICA_SIG_NONE)
		return "alg_unknown";
	bool rsa_alg = is_ps(*alg) || (*alg >= MICA_SIG_RSA_SHA256 && *alg <= MICA_SIG_RSA_SHA512);
	if (is_rsa(k) ? !rsa_alg : *alg != natural)
		return "alg_mismatch";
	if ((is_ps(*alg) && !o->allow_ps) || (*alg == MICA_SIG_ED25519 && !o->allow_eddsa))
		return "alg_not_allowed";
	return NULL;
}

static const char *read_jwk(const json_t *jwk, const struct mica_jwks_options *o,
	struct jwk_text *t, struct mica_jwk *out)
{
	struct mica_pubkey k;
	struct mica_verifier *v = NULL;
	struct mica_err e = MICA_ERR_INIT;

	if (!json_is_object(jwk))
		return "not_an_object";
	const char *fault = read_strings(jwk, t);
	if (!fault)
		fault = check_secrets(jwk, t);
	if (!fault)
		fault = check_purpose(jwk, t);
	if (!fault && t->kid.len > MICA_KID_MAX)
		fault = "kid_too_long";
	if (!fault)
		fault = read_key(t, &k);
	if (!fault)
		fault = choose_alg(t, &k, o, &out->alg);
	if (fault)
		return fault;
	if (mica_verifier_new(&k, &v, &e))
		return e.reason;
	out->verifier = v;
	out->has_kid = t->has_kid;
	if (t->kid.len)
		memcpy(out->kid, t->kid.p, t->kid.len);
	return NULL;
}

/* ---- the set -------------------------------------------------------------------------------- */

static void skip(struct mica_jwks *s, unsigned index, struct mica_slice kid, const char *reason)
{
	struct mica_jwks_skipped *k = &s->skipped[s->n_skipped++];

	k->index = index;
	k->reason = reason;
	kid = mica_slice_sub(kid, 0, sizeof(k->kid) - 1);
	if (kid.len)
		memcpy(k->kid, kid.p, kid.len);
}

static bool same_key(const struct mica_jwk *a, const struct mica_jwk *b)
{
	return a->has_kid && b->has_kid && a->alg == b->alg && strcmp(a->kid, b->kid) == 0;
}

/* Which of two keys with one name is meant cannot be known: neither. */
static void drop_duplicates(struct mica_jwks *s)
{
	bool twice[MICA_JWKS_KEYS_MAX] = {false};
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++)
		for (size_t j = 0; j < s->n; j++)
			twice[i] = twice[i] || (i != j && same_key(&s->key[i], &s->key[j]));
	for (size_t i = 0; i < s->n; i++) {
		if (!twice[i]) {
			s->key[kept++] = s->key[i];
			continue;
		}
		skip(s, s->index[i], mica_slice_str(s->key[i].kid), "duplicate_kid");
		mica_verifier_free((struct mica_verifier *)(uintptr_t)s->key[i].verifier);
	}
	s->n = kept;
}

static void read_all(struct mica_jwks *s, const json_t *keys, const struct mica_jwks_options *o)
{
	for (size_t i = 0; i < json_array_size(keys); i++) {
		struct jwk_text t = {.has_kid = false};
		struct mica_jwk k = {.has_kid = false};
		const char *fault = read_jwk(json_array_get(keys, i), o, &t, &k);
		if (fault) {
			skip(s, (unsigned)i, t.kid, fault);
			continue;
		}
		s->index[s->n] = (unsigned)i;
		s->key[s->n++] = k;
	}
	drop_duplicates(s);
}

static mica_rc no_usable_key(const struct mica_jwks *s, struct mica_err *e)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 256);
	for (size_t i = 0; i < s->n_skipped && i < 3; i++)
		mica_buf_printf(&b, "%skeys[%u] %s", i ? ", " : ": ", s->skipped[i].index,
			s->skipped[i].reason);
	return mica_fail(e, MICA_INVALID, "jwks_no_usable_key",
		"a key set without a usable key%s; expected RSA of 2048 bits and more, P-256 or P-384 for signatures",
		b.p ? (const char *)b.p : "");
}

mica_rc mica_jwks_parse(struct mica_slice document, const struct mica_jwks_options *options,
	const struct mica_jwks **out, struct mica_err *e)
{
	static const struct mica_jwks_options none;
	static const struct mica_json_limits limits = {.bytes = MICA_JWKS_BYTES_MAX, .depth = 8};
	MICA_AUTO_JSON d = {.root = NULL};
	struct mica_err why = MICA_ERR_INIT;

	mica_rc rc = mica_json_parse(document, &limits, &d, &why);
	if (rc == MICA_LIMIT)
		return mica_fail(e, rc, "jwks_too_long",
			"a key set of %zu octets, expected at most %d", document.len,
			MICA_JWKS_BYTES_MAX);
	const json_t *keys = rc ? NULL : json_object_get(d.root, "keys");
	if (rc || !json_is_array(keys))
		return mica_fail_at(e, MICA_INVALID, "jwks_malformed", why.line, why.column,
			"not a JWK Set: %s; expected {\"keys\":[...]}",
			rc ? why.text : "no array \"keys\"");
	if (json_array_size(keys) > MICA_JWKS_KEYS_MAX)
		return mica_fail(e, MICA_LIMIT, "jwks_too_many_keys",
			"a key set of %zu keys, expected at most %d", json_array_size(keys),
			MICA_JWKS_KEYS_MAX);
	struct mica_jwks *fresh = MICA_NEW(struct mica_jwks);
	fresh->refs = 1;
	MICA_AUTO_JWKS s = fresh;
	read_all(fresh, keys, options ? options : &none);
	if (fresh->n == 0)
		return no_usable_key(fresh, e);
	*out = MICA_STEAL(s);
	return MICA_OK;
}

size_t mica_jwks_count(const struct mica_jwks *s)
{
	return s->n;
}

const struct mica_jwk *mica_jwks_key(const struct mica_jwks *s, size_t i)
{
	return i < s->n ? &s->key[i] : NULL;
}

size_t mica_jwks_skipped_count(const struct mica_jwks *s)
{
	return s->n_skipped;
}

const struct mica_jwks_skipped *mica_jwks_skipped(const struct mica_jwks *s, size_t i)
{
	return i < s->n_skipped ? &s->skipped[i] : NULL;
}

enum mica_jwks_match mica_jwks_find(const struct mica_jwks *s, const struct mica_slice *kid,
	enum mica_sig_alg alg, const struct mica_jwk **out)
{
	bool known = false;

	*out = NULL;
	if (kid == NULL && s->n != 1)
		return MICA_JWKS_KID_NEEDED;
	for (size_t i = 0; i < s->n; i++) {
		const struct mica_jwk *k = &s->key[i];
		if (kid && (!k->has_kid || !mica_slice_eq_str(*kid, k->kid)))
			continue;
		known = true;
		if (k->alg != alg)
			continue;
		*out = k;
		return MICA_JWKS_FOUND;
	}
	return known ? MICA_JWKS_OTHER_ALG : MICA_JWKS_UNKNOWN_KID;
}
