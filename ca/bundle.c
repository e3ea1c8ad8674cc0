/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles in their published forms. */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_Init: no look-up of the algorithm at each call */
#include "mica/bundle.h"

#include "mica/jwt.h"
#include "mica/pem.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdio.h>

static const char *const channels[MICA_CHANNEL_COUNT] = {"live", "canary"};

const char *mica_channel_name(enum mica_channel ch)
{
	return (unsigned)ch < MICA_CHANNEL_COUNT ? channels[ch] : "?";
}

mica_rc mica_channel_parse(struct mica_slice name, enum mica_channel *out, struct mica_err *e)
{
	for (unsigned i = 0; i < MICA_CHANNEL_COUNT; i++)
		if (mica_slice_eq_str(name, channels[i])) {
			*out = (enum mica_channel)i;
			return MICA_OK;
		}
	if (name.len)
		return mica_fail(e, MICA_INVALID, "no_such_channel",
			"there is no such channel: expected live or canary");
	*out = MICA_CHANNEL_LIVE;
	return MICA_OK;
}

mica_rc mica_sequence_next(uint64_t last, int64_t now_ms, uint64_t *out, struct mica_err *e)
{
	uint64_t next = now_ms > 0 ? (uint64_t)now_ms : 0;
	if (next <= last)
		next = last + 1;
	if (next > MICA_SEQUENCE_MAX)
		return mica_fail(e, MICA_LIMIT, "sequence_exhausted",
			"the bundle's sequence number has reached its end (2^53)");
	*out = next;
	return MICA_OK;
}

/* ---- content -------------------------------------------------------------------------------- */

static void hash_part(SHA256_CTX *h, const void *p, size_t len)
{
	uint8_t b[8];
	for (unsigned i = 0; i < 8; i++)
		b[i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
	SHA256_Update(h, b, sizeof(b));
	SHA256_Update(h, p, len);
}

void mica_bundle_hash(const struct mica_bundle_content *c, uint8_t hash[32])
{
	SHA256_CTX h;
	SHA256_Init(&h);
	hash_part(&h, c->trust_domain, strlen(c->trust_domain));
	hash_part(&h, &c->refresh_hint, sizeof(c->refresh_hint));
	hash_part(&h, &c->n_roots, sizeof(c->n_roots));
	for (size_t i = 0; i < c->n_roots; i++)
		hash_part(&h, c->roots[i].p, c->roots[i].len);
	for (size_t i = 0; i < c->n_jwt_keys; i++) {
		hash_part(&h, c->jwt_keys[i].kid, strlen(c->jwt_keys[i].kid));
		hash_part(&h, c->jwt_keys[i].key->spki, c->jwt_keys[i].key->spki_len);
	}
	for (size_t i = 0; i < c->n_renew; i++)
		hash_part(&h, c->renew[i], strlen(c->renew[i]));
	if (c->n_renew > 0)
		hash_part(&h, &c->renew_before, sizeof(c->renew_before));
	SHA256_Final(hash, &h);
}

static void put_renew(const struct mica_bundle_content *c, struct mica_buf *out)
{
	char before[MICA_TIME_SIZE];

	if (c->n_renew == 0)
		return;
	mica_buf_put_str(out, ",\"mica_renew\":{\"authorities\":[");
	for (size_t i = 0; i < c->n_renew; i++)
		mica_buf_printf(out, "%s\"%s\"", i ? "," : "", c->renew[i]); /* hex digits */
	mica_time_format(c->renew_before, before);
	mica_buf_printf(out, "],\"before\":\"%s\"}", before);
}

mica_rc mica_bundle_put_json(
	const struct mica_bundle_content *c, struct mica_buf *out, struct mica_err *e)
{
	mica_buf_put_str(out, "{\"keys\":[");
	for (size_t i = 0; i < c->n_roots; i++) {
		mica_rc rc;
		if (i)
			mica_buf_put_u8(out, ',');
		rc = mica_jwk_put_x509(out, c->roots[i], e);
		if (rc)
			return rc;
	}
	for (size_t i = 0; i < c->n_jwt_keys; i++) {
		if (i || c->n_roots)
			mica_buf_put_u8(out, ',');
		mica_jwk_put_key(out, c->jwt_keys[i].key, "jwt-svid", c->jwt_keys[i].kid, true);
	}
	mica_buf_printf(out, "],\"spiffe_sequence\":%" PRIu64 ",\"spiffe_refresh_hint\":%" PRId64,
		c->sequence, c->refresh_hint);
	put_renew(c, out);
	mica_buf_put_u8(out, '}');
	return mica_buf_rc(out, e);
}

mica_rc mica_bundle_put_pem(
	const struct mica_bundle_content *c, struct mica_buf *out, struct mica_err *e)
{
	for (size_t i = 0; i < c->n_roots; i++)
		mica_pem_put(out, MICA_PEM_CERT, c->roots[i]);
	return mica_buf_rc(out, e);
}

mica_rc mica_bundle_put_jwks(
	const struct mica_bundle_content *c, struct mica_buf *out, struct mica_err *e)
{
	mica_buf_put_str(out, "{\"keys\":[");
	for (size_t i = 0; i < c->n_jwt_keys; i++) {
		if (i)
			mica_buf_put_u8(out, ',');
		mica_jwk_put_key(out, c->jwt_keys[i].key, "sig", c->jwt_keys[i].kid, true);
	}
	mica_buf_put_str(out, "]}");
	return mica_buf_rc(out, e);
}

static void put_member(struct mica_buf *b, const char *before, const char *name, const char *value)
{
	mica_buf_printf(b, "%s\"%s\":", before, name);
	mica_buf_put_json_string(b, mica_slice_str(value));
}

mica_rc mica_bundle_put_jws(const struct mica_bundle_content *c, const struct mica_signer *key,
	const struct mica_slice *chain, size_t n_chain, int64_t now, struct mica_buf *out,
	struct mica_err *e)
{
	MICA_AUTO_BUF claims;
	mica_rc rc;
	mica_buf_init(&claims, MICA_BUNDLE_MAX);
	put_member(&claims, "{", "set", c->set);
	put_member(&claims, ",", "trust_domain", c->trust_domain);
	put_member(&claims, ",", "channel", mica_channel_name(c->channel));
	mica_buf_printf(&claims,
		",\"sequence\":%" PRIu64 ",\"iat\":%" PRId64 ",\"exp\":%" PRId64 ",\"bundle\":",
		c->sequence, now, now + MICA_JWS_LIFE);
	rc = mica_bundle_put_json(c, &claims, e);
	if (rc)
		return rc;
	mica_buf_put_u8(&claims, '}');
	rc = mica_buf_rc(&claims, e);
	if (rc)
		return rc;
	return mica_jws_sign(key, MICA_TYP_BUNDLE, chain, n_chain, mica_buf_slice(&claims), out, e);
}

/* ---- snapshots ------------------------------------------------------------------------------ */

struct snapshot {
	struct mica_snapshot pub;
	atomic_uint refs;
	uint8_t *bytes;
};

static struct snapshot *own(const struct mica_snapshot *s)
{
	return (struct snapshot *)(uintptr_t)s; /* pub is its first member */
}

const struct mica_snapshot *mica_snapshot_take_made(
	struct mica_buf *b, const char *etag, uint64_t sequence, int64_t expires)
{
	struct snapshot *s = MICA_NEW(struct snapshot);
	size_t len = 0;
	s->bytes = mica_buf_take(b, &len);
	s->pub.bytes = mica_slice(s->bytes, len);
	s->pub.sequence = sequence;
	s->pub.expires = expires;
	snprintf(s->pub.etag, sizeof(s->pub.etag), "%s", etag);
	atomic_init(&s->refs, 1);
	return &s->pub;
}

const struct mica_snapshot *mica_snapshot_take_new(struct mica_buf *b, const char *set,
	enum mica_channel ch, uint64_t sequence, int64_t iat, int64_t expires)
{
	char etag[sizeof(((struct mica_snapshot *)0)->etag)];
	if (iat)
		snprintf(etag, sizeof(etag), "\"%.40s-%s-%" PRIu64 "-%" PRId64 "\"", set,
			mica_channel_name(ch), sequence, iat);
	else
		snprintf(etag, sizeof(etag), "\"%.40s-%s-%" PRIu64 "\"", set, mica_channel_name(ch),
			sequence);
	return mica_snapshot_take_made(b, etag, sequence, expires);
}

const struct mica_snapshot *mica_snapshot_ref(const struct mica_snapshot *s)
{
	atomic_fetch_add_explicit(&own(s)->refs, 1, memory_order_relaxed);
	return s;
}

void mica_snapshot_unref(const struct mica_snapshot *s)
{
	if (!s || atomic_fetch_sub_explicit(&own(s)->refs, 1, memory_order_acq_rel) != 1)
		return;
	mica_free(own(s)->bytes);
	mica_free(own(s));
}
