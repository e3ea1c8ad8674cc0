/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens. An input is a flag octet, an octet of time, and then either the token as it came (flag
 * 0x80), or header and payload, parted by a NUL, which are signed here by the issuer's own key: so
 * what lies behind the signature is met as well. Whatever is accepted holds all that token.h
 * promises; whatever is refused says no more than it may. Claims of the ordinary shape are read by
 * a way of their own, which must say what the long way says.
 */
#include "mica/json.h"
#include "mica/jwt.h"
#include "mica/spiffeid.h"
#include "mica/token.h"

#include "token.h" /* ca/: to go both ways */

#include <stdlib.h>

#define OPENSSL_SUPPRESS_DEPRECATED /* a key from its number, in three calls */
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <openssl/sha.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW  ((int64_t)1795521600) /* 2026-11-24T12:00:00Z */
#define SKEW 30
#define CAP  3700

static EC_KEY *key;
static const struct mica_jwks *keys;
static struct mica_issuers *issuers;
static struct mica_token_reader *reader;

static void require(bool ok)
{
	if (!ok)
		abort();
}

/* ---- the issuers and their key -----------------------------------------------------------------
 */

static void make_key(void)
{
	uint8_t number[32], point[65];
	struct mica_pubkey pub;
	MICA_AUTO_BUF b;

	memset(number, 1, sizeof(number));
	key = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
	const EC_GROUP *g = EC_KEY_get0_group(key);
	BIGNUM *d = BN_bin2bn(number, sizeof(number), NULL);
	EC_POINT *q = EC_POINT_new(g);
	require(EC_POINT_mul(g, q, d, NULL, NULL, NULL) == 1);
	require(EC_KEY_set_private_key(key, d) == 1 && EC_KEY_set_public_key(key, q) == 1);
	require(EC_POINT_point2oct(g, q, POINT_CONVERSION_UNCOMPRESSED, point, sizeof(point),
			NULL) == sizeof(point));
	BN_free(d);
	EC_POINT_free(q);
	require(mica_pubkey_from_ec(MICA_KN_P256, mica_slice(point + 1, 32),
			mica_slice(point + 33, 32), &pub, NULL) == MICA_OK);
	mica_buf_init(&b, 4096);
	mica_buf_put_str(&b, "{\"keys\":[");
	mica_jwk_put_key(&b, &pub, "sig", "k1", true);
	mica_buf_put_str(&b, "]}");
	require(mica_jwks_parse(mica_buf_slice(&b), NULL, &keys, NULL) == MICA_OK);
}

static char *str(const char *s)
{
	return (char *)(uintptr_t)s;
}

static void make_issuers(void)
{
	char *audiences[] = {str("mica")};
	struct mica_claim_map map[] = {
		{str("project"), str("project_path")}, {str("ref"), str("ref")}};
	struct mica_claim_require must = {str("project_path"), str("acme/[a-z0-9_-]+")};
	struct mica_issuer_config c[] = {
		{.name = str("a"),
			.issuer = str("https://a"),
			.require_pod = true,
			.spiffe_path = str("/ns/{namespace}/sa/{serviceaccount}")},
		{.name = str("ci"),
			.kind = MICA_ISSUER_OIDC,
			.issuer = str("https://ci"),
			.claims = map,
			.n_claims = 2,
			.require = &must,
			.n_require = 1,
			.spiffe_path = str("/ci/{project|escape}/{ref}")}};

	for (int i = 0; i < 2; i++) {
		c[i].skew = SKEW;
		c[i].audiences[MICA_FRONT_REST] = (struct mica_string_list){.v = audiences, .n = 1};
		c[i].max_token_life[MICA_FRONT_REST] = CAP;
	}
	require(mica_issuers_new("example.org", c, 2, &issuers, NULL, NULL) == MICA_OK);
}

/* ---- what must hold ----------------------------------------------------------------------------
 */

static bool visible(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s >= 0x7f)
			return false;
	return true;
}

static void check_kubernetes(const struct mica_principal *p)
{
	static const struct mica_uid nil;
	char expected[MICA_SPIFFE_ID_MAX + 1];
	struct mica_slice parts[] = {mica_slice_str(p->ns), mica_slice_str(p->sa)};
	MICA_AUTO_BUF b;

	mica_buf_init(&b, sizeof(expected));
	require(mica_k8s_label_ok(parts[0]) && mica_k8s_subdomain_ok(parts[1]));
	require(mica_k8s_subdomain_ok(mica_slice_str(p->pod)));
	require(p->node[0] == '\0' || mica_k8s_subdomain_ok(mica_slice_str(p->node)));
	require(memcmp(&p->sa_uid, &nil, sizeof(nil)) && memcmp(&p->pod_uid, &nil, sizeof(nil)));
	mica_buf_printf(&b, "spiffe://example.org/ns/%s/sa/%s", p->ns, p->sa);
	require(mica_slice_eq_str(mica_buf_slice(&b), p->spiffe_id));
}

static void check_accepted(
	const struct mica_token_result *r, const struct mica_issuer *i, int64_t now)
{
	struct mica_spiffe_id id;
	const struct mica_principal *p = &r->principal;

	require(mica_spiffe_id_parse_workload(mica_slice_str(p->spiffe_id), &id, NULL) == MICA_OK);
	require(mica_spiffe_id_member_of(&id, MICA_LIT("example.org")));
	require(!mica_spiffe_path_is_reserved(id.path));
	require(mica_issuer_may_name(i, id.text));
	require(strcmp(p->issuer, mica_issuer_name(i)) == 0);
	require(r->exp > now - SKEW && r->iat <= now + SKEW && r->nbf <= now + SKEW);
	require(r->iat >= 1 && r->exp - r->iat <= CAP);
	require(strcmp(r->audience, "mica") == 0);
	require(r->evidence.kind == MICA_EV_TOKEN && r->evidence.credential_expiry == r->exp);
	require(r->evidence.id[0] && visible(r->evidence.id));
	if (mica_issuer_kind(i) == MICA_ISSUER_KUBERNETES)
		check_kubernetes(p);
	else
		require(p->subject[0] && p->ns[0] == '\0' &&
			strncmp(p->spiffe_id, "spiffe://example.org/ci/acme_2f", 31) == 0);
}

static void check_refused(const struct mica_err *e)
{
	require(e->reason && e->text[0]);
	require(e->rc == MICA_UNAUTHENTICATED || e->rc == MICA_DENIED);
	if (strcmp(e->reason, "token_invalid") == 0)
		require(e->fine && strncmp(e->text, "expected a valid token", 22) == 0);
}

/* No text shows the end of a signature that was made just now: nobody else could have put it
 * there. */
static void check_secret(const struct mica_err *e, struct mica_slice token)
{
	char end[21] = "";

	memcpy(end, token.p + token.len - 20, 20);
	require(!strstr(e->text, end) && !strstr(e->detail, end));
}

static const struct mica_jwks *give(void *ctx, const struct mica_issuer *issuer)
{
	(void)issuer;
	return ctx;
}

/* An explanation is JSON and says the same. */
static void check_explained(struct mica_slice token, int64_t now, const struct mica_err *e)
{
	const struct mica_json_limits lim = {.bytes = 1 << 20, .depth = 20};
	MICA_AUTO_BUF b;
	MICA_AUTO_JSON d = {.root = NULL};

	mica_buf_init(&b, 1 << 20);
	require(mica_token_explain(reader, issuers, token, MICA_FRONT_REST, now, give,
			(void *)(uintptr_t)keys, &b, NULL) == MICA_OK);
	require(mica_json_parse(mica_buf_slice(&b), &lim, &d, NULL) == MICA_OK);
	require(json_is_true(json_object_get(d.root, "accepted")) == (e->rc == MICA_OK));
	require(strcmp(json_string_value(json_object_get(d.root, "reason")), mica_err_fine(e)) ==
		0);
}

static mica_rc verify(struct mica_slice token, int64_t now, bool whole,
	const struct mica_issuer **i, struct mica_token_result *r, struct mica_err *e)
{
	reader->whole = whole;
	mica_rc rc = mica_token_open(reader, issuers, token, MICA_FRONT_REST, i, e);
	require(!whole || !reader->is_plain);
	if (!rc)
		rc = mica_token_verify(reader, keys, now, r, e);
	reader->whole = false;
	require(rc == e->rc);
	return rc;
}

static bool same(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static bool same_principal(const struct mica_principal *a, const struct mica_principal *b)
{
	return same(a->issuer, b->issuer) && same(a->cluster, b->cluster) && same(a->ns, b->ns) &&
		same(a->sa, b->sa) && same(a->pod, b->pod) && same(a->node, b->node) &&
		same(a->subject, b->subject) && same(a->spiffe_id, b->spiffe_id) &&
		memcmp(&a->sa_uid, &b->sa_uid, sizeof(a->sa_uid)) == 0 &&
		memcmp(&a->pod_uid, &b->pod_uid, sizeof(a->pod_uid)) == 0 &&
		memcmp(&a->node_uid, &b->node_uid, sizeof(a->node_uid)) == 0;
}

/* By the long way alone: the same outcome, for the same reason, of the same issuer. */
static void check_long_way(struct mica_slice token, int64_t now, const struct mica_issuer *issuer,
	const struct mica_token_result *r, const struct mica_err *e)
{
	const struct mica_issuer *i = NULL;
	struct mica_token_result l;
	struct mica_err why = MICA_ERR_INIT;

	require(verify(token, now, true, &i, &l, &why) == e->rc && i == issuer);
	require(e->rc == MICA_OK || (same(why.reason, e->reason) && same(why.text, e->text)));
	require(e->rc == MICA_OK || same(mica_err_fine(&why), mica_err_fine(e)));
	if (e->rc != MICA_OK)
		return;
	require(l.iat == r->iat && l.nbf == r->nbf && l.exp == r->exp);
	require(same(l.audience, r->audience) && same(l.evidence.id, r->evidence.id));
	require(l.evidence.kind == r->evidence.kind && l.evidence.front == r->evidence.front);
	require(l.evidence.credential_expiry == r->evidence.credential_expiry);
	require(same_principal(&l.principal, &r->principal));
}

static mica_rc judge(struct mica_slice token, int64_t now, struct mica_err *e)
{
	const struct mica_issuer *i = NULL;
	struct mica_token_result r;

	mica_rc rc = verify(token, now, false, &i, &r, e);
	check_long_way(token, now, i, &r, e);
	if (rc)
		check_refused(e);
	else
		check_accepted(&r, i, now);
	mica_token_close(reader);
	return rc;
}

/* ---- minting ------------------------------------------------------------------------------------
 */

static void sign(struct mica_buf *token)
{
	uint8_t hash[32], raw[64];

	SHA256(token->p, token->len, hash);
	ECDSA_SIG *s = ECDSA_do_sign(hash, sizeof(hash), key);
	require(s != NULL);
	require(BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, 32) == 32);
	require(BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + 32, 32) == 32);
	ECDSA_SIG_free(s);
	mica_buf_put_u8(token, '.');
	mica_buf_put_b64url(token, raw, sizeof(raw));
}

/* Whether it is worth a signature: what is refused before it needs none. */
static bool opens(const struct mica_buf *token)
{
	const struct mica_issuer *i = NULL;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 2 * MICA_TOKEN_MAX);
	mica_buf_put(&b, token->p, token->len);
	mica_buf_put_str(&b, ".AAAA");
	struct mica_err e = MICA_ERR_INIT;
	if (mica_token_open(reader, issuers, mica_buf_slice(&b), MICA_FRONT_REST, &i, &e)) {
		check_refused(&e);
		require(strcmp(e.reason, "token_invalid") == 0);
		return false;
	}
	mica_token_close(reader);
	return true;
}

static void signed_token(struct mica_slice in, int64_t now)
{
	struct mica_slice header, payload = in;
	struct mica_err e = MICA_ERR_INIT, spoilt = MICA_ERR_INIT;
	MICA_AUTO_BUF token;

	mica_slice_cut(&payload, '\0', &header);
	if (header.len == 0)
		header = MICA_LIT("{\"alg\":\"ES256\",\"kid\":\"k1\"}");
	mica_buf_init(&token, 2 * MICA_TOKEN_MAX);
	mica_buf_put_b64url(&token, header.p, header.len);
	mica_buf_put_u8(&token, '.');
	mica_buf_put_b64url(&token, payload.p, payload.len);
	if (token.over || token.len > MICA_TOKEN_MAX - 128 || !opens(&token))
		return;
	sign(&token);
	(void)judge(mica_buf_slice(&token), now, &e);
	check_secret(&e, mica_buf_slice(&token));
	check_explained(mica_buf_slice(&token), now, &e);
	/* without its signature it says nothing, whatever it says */
	uint8_t *last = &token.p[token.len - 20];
	*last = *last == 'A' ? 'B' : 'A';
	require(judge(mica_buf_slice(&token), now, &spoilt) == MICA_UNAUTHENTICATED);
	require(strcmp(spoilt.reason, "token_invalid") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_slice in = mica_slice(data, size);
	struct mica_err e = MICA_ERR_INIT;

	if (reader == NULL) {
		make_key();
		make_issuers();
		reader = mica_token_reader_new();
	}
	if (size < 2)
		return 0;
	int64_t now = NOW + (int64_t)(int8_t)data[1] * 64;
	in = mica_slice_sub(in, 2, in.len);
	if (!(data[0] & 0x80)) {
		signed_token(in, now);
		return 0;
	}
	/* nobody outside has the key */
	require(judge(in, now, &e) == MICA_UNAUTHENTICATED);
	require(strcmp(e.reason, "token_invalid") == 0);
	check_explained(in, now, &e);
	return 0;
}
