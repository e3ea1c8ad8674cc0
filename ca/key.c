/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys: strict reading, policy, and the check of a signature. */
#include "ossl.h"

#include <stdatomic.h>

static const uint8_t oid_ec[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
static const uint8_t oid_p256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t oid_p384[] = {0x2b, 0x81, 0x04, 0x00, 0x22};
static const uint8_t oid_rsa[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01};
static const uint8_t oid_ed25519[] = {0x2b, 0x65, 0x70};
#define IS(oid, known) mica_slice_eq(oid, mica_slice(known, sizeof(known)))

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "key_malformed", "public key: %s", what);
}

static mica_rc not_allowed(struct mica_err *e)
{
	return mica_fail(e, MICA_INVALID, "key_type_not_allowed",
		"public key: expected P-256, P-384, RSA of 2048 to 4096 bits, or Ed25519");
}

static mica_rc weak(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "key_weak", "public key: %s", what);
}

/* ---- RSA -------------------------------------------------------------------------------- */

/* Odd primes below 752, as Boulder and the CA/Browser Forum's tools try them. */
#define PRIME_LIMIT 752
/* The primes of the ROCA fingerprint (CVE-2017-15361): 3..167 divide the product M that such keys'
 * primes are built on. */
#define ROCA_LIMIT 168

static uint32_t mod_u32(struct mica_slice n, uint32_t m)
{
	uint64_t r = 0;
	size_t i = 0;
	for (; i < n.len % 4; i++)
		r = (r << 8 | n.p[i]) % m;
	for (; i < n.len; i += 4) {
		uint32_t word = (uint32_t)n.p[i] << 24 | (uint32_t)n.p[i + 1] << 16 |
			(uint32_t)n.p[i + 2] << 8 | n.p[i + 3];
		r = (r << 32 | word) % m;
	}
	return (uint32_t)r;
}

static bool is_prime(uint32_t v)
{
	for (uint32_t d = 3; d * d <= v; d += 2)
		if (v % d == 0)
			return false;
	return v > 2 && v % 2;
}

/* Whether r is a power of 65537 modulo p. */
static bool in_roca_group(uint32_t r, uint32_t p)
{
	uint32_t v = 1;
	do {
		if (v == r)
			return true;
		v = v * (65537 % p) % p;
	} while (v != 1);
	return false;
}

/* Euler: r is a square modulo p when r^((p-1)/2) is 1. */
static bool is_square_mod(uint32_t r, uint32_t p)
{
	uint32_t v = 1, b = r;
	for (uint32_t x = (p - 1) / 2; x; x >>= 1, b = b * b % p)
		if (x & 1)
			v = v * b % p;
	return v == 1;
}

/* One pass over the small primes looks for a factor, for the fingerprint, and for a modulus that is
 * a square (n = p^2): a number that is a square modulo all 131 of them and yet none is less likely
 * than 2^-130. */
static mica_rc check_modulus(struct mica_slice n, struct mica_err *e)
{
	bool roca = true, square = true;
	for (uint32_t p = 3; p < PRIME_LIMIT;) {
		uint32_t group = 1, from = p;
		for (; p < PRIME_LIMIT && group < UINT32_MAX / PRIME_LIMIT; p += 2)
			if (is_prime(p))
				group *= p;
		uint32_t rest = mod_u32(n, group);
		for (uint32_t q = from; q < p; q += 2) {
			if (!is_prime(q))
				continue;
			if (rest % q == 0)
				return weak(e, "the RSA modulus has a small factor");
			roca = roca && (q >= ROCA_LIMIT || in_roca_group(rest % q, q));
			square = square && is_square_mod(rest % q, q);
		}
	}
	if (roca)
		return weak(e, "the RSA modulus has the ROCA fingerprint (CVE-2017-15361)");
	return square ? weak(e, "the RSA modulus is a square") : MICA_OK;
}

static unsigned bit_length(struct mica_slice n)
{
	unsigned bits = (unsigned)n.len * 8;
	for (uint8_t top = n.p[0]; !(top & 0x80); top = (uint8_t)(top << 1))
		bits--;
	return bits;
}

static mica_rc read_rsa(struct mica_slice key, struct mica_slice params, const uint8_t *base,
	struct mica_pubkey *out, struct mica_err *e)
{
	struct mica_der d = mica_der(key), in;
	struct mica_slice n = MICA_SLICE_NULL, x = MICA_SLICE_NULL;
	/* RFC 3279 2.3.1: the parameters are NULL. */
	if (!mica_slice_eq(params, mica_slice("\x05\x00", 2)))
		return malformed(e, "RSA needs NULL parameters");
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &in) || !mica_der_end(&d) ||
		!mica_der_unsigned(&in, &n) || !mica_der_unsigned(&in, &x) || !mica_der_end(&in))
		return malformed(e, "not an RSAPublicKey");
	unsigned bits = n.p[0] ? bit_length(n) : 0;
	if (bits < 2048 || bits > 4096)
		return weak(e, "an RSA modulus has 2048 to 4096 bits");
	uint32_t v = 0;
	for (size_t i = 0; i < x.len && x.len <= 4; i++)
		v = v << 8 | x.p[i];
	if (v < 65537 || !(v & 1))
		return weak(e, "the RSA exponent must be odd and within 65537 and 2^32-1");
	if (!(n.p[n.len - 1] & 1))
		return weak(e, "the RSA modulus is even");
	out->type = bits >= 4096 ? MICA_KN_RSA4096
		: bits >= 3072   ? MICA_KN_RSA3072
				 : MICA_KN_RSA2048;
	out->bits = bits;
	out->rsa_e = v;
	out->raw_at = (uint16_t)(n.p - base);
	out->raw_len = (uint16_t)n.len;
	return check_modulus(n, e);
}

/* ---- EC and Ed25519 ------------------------------------------------------------------------ */

/* Each caller comes with a key of its own, which is needed for a moment. What holds it is used
 * again: to make one, OpenSSL copies its curve, number by number. */
#define SPARES 8
static EC_KEY *_Atomic spares[2][SPARES];

static EC_KEY *spare_take(enum mica_key_name type)
{
	EC_KEY *k = NULL;

	for (unsigned i = 0; i < SPARES && !k; i++)
		k = atomic_exchange(&spares[type == MICA_KN_P384][i], NULL);
	if (k)
		return k;
	k = EC_KEY_new();
	if (k && EC_KEY_set_group(k, mica_ossl_group(type)) == 1)
		return k;
	EC_KEY_free(k);
	return NULL;
}

static void spare_give(enum mica_key_name type, EC_KEY *k)
{
	EC_KEY *none = NULL;

	for (unsigned i = 0; i < SPARES && k; i++, none = NULL)
		if (atomic_compare_exchange_strong(&spares[type == MICA_KN_P384][i], &none, k))
			return;
	EC_KEY_free(k);
}

static bool on_curve(enum mica_key_name type, struct mica_slice point)
{
	EC_KEY *k = spare_take(type);
	bool ok = k && EC_KEY_oct2key(k, point.p, point.len, NULL) == 1;
	spare_give(type, k);
	if (!ok)
		ERR_clear_error();
	return ok;
}

static mica_rc read_ec(struct mica_slice key, struct mica_slice params, const uint8_t *base,
	struct mica_pubkey *out, struct mica_err *e)
{
	struct mica_der d = mica_der(params);
	struct mica_slice curve = MICA_SLICE_NULL;
	if (mica_der_is(&d, MICA_DER_SEQUENCE))
		return malformed(e, "explicit curve parameters; name the curve");
	if (!mica_der_oid(&d, &curve) || !mica_der_end(&d))
		return malformed(e, "no named curve");
	if (!IS(curve, oid_p256) && !IS(curve, oid_p384))
		return not_allowed(e);
	out->type = IS(curve, oid_p256) ? MICA_KN_P256 : MICA_KN_P384;
	out->bits = out->type == MICA_KN_P256 ? 256 : 384;
	if (key.len != 1 + 2 * mica_ossl_field(out->type) || key.p[0] != 4)
		return malformed(e, "not an uncompressed point of its curve");
	out->raw_at = (uint16_t)(key.p - base);
	out->raw_len = (uint16_t)key.len;
	return MICA_OK;
}

/* y of the points of order 1, 2, 4 and 8; whatever the sign of x. Forms of y >= p are refused as
 * such. */
static const uint8_t small_order[][32] = {
	{0},
	{1},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0x7f},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
		0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d,
		0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
		0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92,
		0xac, 0x03, 0x7a},
};

static mica_rc read_ed25519(struct mica_slice key, struct mica_slice params, const uint8_t *base,
	struct mica_pubkey *out, struct mica_err *e)
{
	uint8_t y[32];
	bool above = true;
	if (params.len)
		return malformed(e, "Ed25519 has no parameters (RFC 8410 3)");
	if (key.len != sizeof(y))
		return malformed(e, "an Ed25519 key has 32 octets");
	memcpy(y, key.p, sizeof(y));
	y[31] &= 0x7f;
	for (int i = 1; i < 32; i++)
		above = above && y[i] == (i == 31 ? 0x7f : 0xff);
	if (above && y[0] >= 0xed) /* p = 2^255 - 19 */
		return malformed(e, "not the canonical form of an Ed25519 point");
	for (size_t i = 0; i < MICA_ARRAY_LEN(small_order); i++)
		if (!memcmp(y, small_order[i], sizeof(y)))
			return weak(e, "an Ed25519 point of small order");
	out->type = MICA_KN_ED25519;
	out->bits = 256;
	out->raw_at = (uint16_t)(key.p - base);
	out->raw_len = (uint16_t)key.len;
	return MICA_OK;
}

/* ---- SubjectPublicKeyInfo ------------------------------------------------------------------- */

static const struct {
	struct mica_slice oid;
	mica_rc (*read)(struct mica_slice key, struct mica_slice params, const uint8_t *base,
		struct mica_pubkey *out, struct mica_err *e);
} readers[] = {
	{{oid_ec, sizeof(oid_ec)}, read_ec},
	{{oid_rsa, sizeof(oid_rsa)}, read_rsa},
	{{oid_ed25519, sizeof(oid_ed25519)}, read_ed25519},
};

mica_rc mica_pubkey_read_unproved(
	struct mica_slice spki, struct mica_pubkey *out, struct mica_err *e)
{
	struct mica_der d = mica_der(spki), in, alg;
	struct mica_slice oid = MICA_SLICE_NULL, key = MICA_SLICE_NULL;
	*out = (struct mica_pubkey){.spki_len = 0};
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &in) || !mica_der_end(&d) ||
		!mica_der_enter(&in, MICA_DER_SEQUENCE, &alg) || !mica_der_oid(&alg, &oid) ||
		!mica_der_bits(&in, &key) || !mica_der_end(&in))
		return malformed(e, "not a SubjectPublicKeyInfo in DER");
	for (size_t i = 0; i < MICA_ARRAY_LEN(readers); i++) {
		if (!mica_slice_eq(oid, readers[i].oid))
			continue;
		mica_rc rc = readers[i].read(key, alg.s, spki.p, out, e);
		if (rc)
			return rc;
		if (spki.len > sizeof(out->spki)) /* not reached: bounded by the sizes above */
			return malformed(e, "too long");
		memcpy(out->spki, spki.p, spki.len);
		out->spki_len = (uint16_t)spki.len;
		mica_ossl_sha256(spki, out->spki_sha256);
		return MICA_OK;
	}
	return not_allowed(e);
}

mica_rc mica_pubkey_read(struct mica_slice spki, struct mica_pubkey *out, struct mica_err *e)
{
	mica_rc rc = mica_pubkey_read_unproved(spki, out, e);
	if (!rc && mica_key_is_ec(out->type) && !on_curve(out->type, mica_pubkey_raw(out)))
		rc = malformed(e, "the point is not on its curve");
	return rc;
}

/* AlgorithmIdentifier and BIT STRING around a key that stands in w. */
static mica_rc read_written(struct mica_derw *w, size_t mark, struct mica_slice oid,
	struct mica_slice params, struct mica_pubkey *out, struct mica_err *e)
{
	mica_derw_put(w, "", 1);
	mica_derw_wrap(w, mark, MICA_DER_BIT_STRING);
	size_t alg = mica_derw_mark(w);
	mica_derw_put_slice(w, params);
	mica_derw_prim(w, MICA_DER_OID, oid.p, oid.len);
	mica_derw_wrap(w, alg, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	if (!mica_derw_ok(w))
		return malformed(e, "too long");
	return mica_pubkey_read(mica_derw_slice(w), out, e);
}

mica_rc mica_pubkey_from_ec(enum mica_key_name type, struct mica_slice x, struct mica_slice y,
	struct mica_pubkey *out, struct mica_err *e)
{
	static const uint8_t p256[] = {0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
	static const uint8_t p384[] = {0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x22};
	uint8_t room[MICA_SPKI_MAX];
	struct mica_derw w = mica_derw(room, sizeof(room));
	if (!mica_key_is_ec(type))
		return not_allowed(e);
	if (x.len != mica_ossl_field(type) || y.len != x.len)
		return malformed(e, "a coordinate has not the length of the field");
	size_t mark = mica_derw_mark(&w);
	mica_derw_put_slice(&w, y);
	mica_derw_put_slice(&w, x);
	mica_derw_put(&w, "\x04", 1);
	return read_written(&w, mark, mica_slice(oid_ec, sizeof(oid_ec)),
		type == MICA_KN_P256 ? mica_slice(p256, sizeof(p256))
				     : mica_slice(p384, sizeof(p384)),
		out, e);
}

mica_rc mica_pubkey_from_rsa(struct mica_slice n, struct mica_slice exponent,
	struct mica_pubkey *out, struct mica_err *e)
{
	uint8_t room[MICA_SPKI_MAX];
	struct mica_derw w = mica_derw(room, sizeof(room));
	if (!n.len || !exponent.len || !n.p[0] || !exponent.p[0])
		return malformed(e, "RSA numbers are written without leading zero octets");
	size_t mark = mica_derw_mark(&w);
	mica_derw_unsigned(&w, exponent.p, exponent.len);
	mica_derw_unsigned(&w, n.p, n.len);
	if (!mica_derw_ok(&w))
		return weak(e, "an RSA modulus has 2048 to 4096 bits");
	mica_derw_wrap(&w, mark, MICA_DER_SEQUENCE);
	return read_written(
		&w, mark, mica_slice(oid_rsa, sizeof(oid_rsa)), mica_slice("\x05\x00", 2), out, e);
}

mica_rc mica_pubkey_from_ed25519(struct mica_slice x, struct mica_pubkey *out, struct mica_err *e)
{
	uint8_t room[MICA_SPKI_MAX];
	struct mica_derw w = mica_derw(room, sizeof(room));
	size_t mark = mica_derw_mark(&w);
	mica_derw_put_slice(&w, x);
	return read_written(
		&w, mark, mica_slice(oid_ed25519, sizeof(oid_ed25519)), MICA_SLICE_NULL, out, e);
}

bool mica_pubkey_eq(const struct mica_pubkey *a, const struct mica_pubkey *b)
{
	return mica_slice_eq(mica_pubkey_spki(a), mica_pubkey_spki(b));
}

void mica_pubkey_id(const struct mica_pubkey *k, uint8_t id[MICA_KEY_ID_LEN])
{
	uint8_t hash[32];
	struct mica_der d = mica_der(mica_pubkey_spki(k)), in;
	struct mica_slice bits = MICA_SLICE_NULL;
	mica_der_enter(&d, MICA_DER_SEQUENCE, &in);
	mica_der_next(&in, MICA_DER_SEQUENCE, NULL, NULL);
	mica_der_bits(&in, &bits);
	mica_ossl_sha256(bits, hash);
	memcpy(id, hash, MICA_KEY_ID_LEN);
}

void mica_pubkey_id_hex(const struct mica_pubkey *k, char hex[MICA_KEY_ID_SIZE])
{
	uint8_t id[MICA_KEY_ID_LEN];
	mica_pubkey_id(k, id);
	mica_hex_encode(id, sizeof(id), hex);
}

/* ---- policy ----------------------------------------------------------------------------- */

static const char *const key_names[MICA_KN_COUNT] = {
	"p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"};

static int cmp_hash(const void *a, const void *b)
{
	return memcmp(a, b, 32);
}

void mica_key_denied_sort(uint8_t (*hashes)[32], size_t n)
{
	if (n)
		qsort(hashes, n, sizeof(*hashes), cmp_hash);
}

mica_rc mica_key_policy_check(
	const struct mica_key_policy *p, const struct mica_pubkey *k, struct mica_err *e)
{
	if (!(p->types & 1u << k->type)) {
		MICA_AUTO_BUF names;
		mica_buf_init(&names, 128);
		for (unsigned i = 0; i < MICA_KN_COUNT; i++)
			if (p->types & 1u << i)
				mica_buf_printf(&names, " %s", key_names[i]);
		return mica_fail(e, MICA_INVALID, "key_type_not_allowed",
			"public key: %s is not allowed here; allowed are%s", key_names[k->type],
			names.len ? (const char *)names.p : " none");
	}
	if (p->n_denied && bsearch(k->spki_sha256, p->denied, p->n_denied, 32, cmp_hash))
		return mica_fail(e, MICA_INVALID, "key_denied",
			"public key: this key is known to be compromised or to be an authority's; make a new one");
	return MICA_OK;
}

/* ---- checking signatures ------------------------------------------------------------------ */

struct mica_verifier {
	struct mica_pubkey key;
	/* One of these, by type; read only after mica_verifier_new. */
	EC_KEY *ec;
	RSA *rsa;
	EVP_PKEY *ed;
};

static mica_rc bad_signature(struct mica_err *e)
{
	ERR_clear_error();
	return mica_fail(
		e, MICA_INVALID, "signature_invalid", "the signature does not fit the key");
}

/* r and s from either form. ECDSA_do_verify checks 0 < r, s < n. */
static bool split_ecdsa(const struct mica_pubkey *k, enum mica_sig_form form, struct mica_slice sig,
	struct mica_slice *r, struct mica_slice *s)
{
	size_t field = mica_ossl_field(k->type);
	if (form == MICA_SIG_RAW) {
		*r = mica_slice_sub(sig, 0, field);
		*s = mica_slice_sub(sig, field, field);
		return sig.len == 2 * field;
	}
	struct mica_der d = mica_der(sig), in;
	return mica_der_enter(&d, MICA_DER_SEQUENCE, &in) && mica_der_end(&d) &&
		mica_der_unsigned(&in, r) && mica_der_unsigned(&in, s) && mica_der_end(&in) &&
		r->len <= field && s->len <= field;
}

static bool ecdsa_ok(
	EC_KEY *key, const uint8_t *hash, size_t hash_len, struct mica_slice r, struct mica_slice s)
{
	MICA_AUTO_SIG sig = ECDSA_SIG_new();
	BIGNUM *br = BN_bin2bn(r.p, (int)r.len, NULL), *bs = BN_bin2bn(s.p, (int)s.len, NULL);
	if (!sig || !br || !bs || !ECDSA_SIG_set0(sig, br, bs)) {
		BN_free(br);
		BN_free(bs);
		return false;
	}
	return ECDSA_do_verify(hash, (int)hash_len, sig, key) == 1;
}

static bool rsa_ok(
	RSA *key, const struct mica_sig_info *i, const uint8_t *hash, struct mica_slice sig)
{
	uint8_t em[MICA_SIG_MAX];
	if (sig.len != (size_t)RSA_size(key))
		return false;
	if (i->family == MICA_FAM_RSA)
		return RSA_verify(i->nid, hash, (unsigned)i->hash_len, sig.p, (unsigned)sig.len,
			       key) == 1;
	const EVP_MD *md = mica_sig_md(i);
	return RSA_public_decrypt((int)sig.len, sig.p, em, key, RSA_NO_PADDING) >= 0 &&
		RSA_verify_PKCS1_PSS_mgf1(key, hash, md, md, em, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static bool ed25519_ok(EVP_PKEY *key, struct mica_slice msg, struct mica_slice sig)
{
	MICA_AUTO_MD_CTX c = EVP_MD_CTX_new();
	return c && sig.len == 64 && EVP_DigestVerifyInit(c, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestVerify(c, sig.p, sig.len, msg.p, msg.len) == 1;
}

static bool load_ec(struct mica_verifier *v)
{
	struct mica_slice raw = mica_pubkey_raw(&v->key);
	v->ec = spare_take(v->key.type);
	return v->ec && EC_KEY_oct2key(v->ec, raw.p, raw.len, NULL) == 1;
}

static bool load_rsa(struct mica_verifier *v)
{
	struct mica_slice raw = mica_pubkey_raw(&v->key);
	BIGNUM *n = BN_bin2bn(raw.p, (int)raw.len, NULL), *e = BN_new();
	v->rsa = RSA_new();
	if (v->rsa && n && e && BN_set_word(e, v->key.rsa_e) && RSA_set0_key(v->rsa, n, e, NULL))
		return true;
	BN_free(n);
	BN_free(e);
	return false;
}

static mica_rc load(struct mica_verifier *v, struct mica_err *e)
{
	struct mica_slice raw = mica_pubkey_raw(&v->key);
	bool ok;
	if (mica_key_is_ec(v->key.type)) {
		if (load_ec(v))
			return MICA_OK;
		ERR_clear_error();
		return malformed(e, "the point is not on its curve");
	}
	if (mica_key_is_rsa(v->key.type)) {
		ok = load_rsa(v);
	} else {
		v->ed = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw.p, raw.len);
		ok = v->ed;
	}
	return ok ? MICA_OK
		  : mica_ossl_fail(e, MICA_INTERNAL, "key_import_failed", "a key was not taken");
}

static void unload(struct mica_verifier *v)
{
	spare_give(v->key.type, v->ec);
	RSA_free(v->rsa);
	EVP_PKEY_free(v->ed);
}

mica_rc mica_verifier_verify(const struct mica_verifier *v, enum mica_sig_alg alg,
	enum mica_sig_form form, struct mica_slice msg, struct mica_slice sig, struct mica_err *e)
{
	const struct mica_sig_info *i = mica_sig_info(alg);
	uint8_t hash[64];
	struct mica_slice r = MICA_SLICE_NULL, s = MICA_SLICE_NULL;
	if (!mica_sig_fits(&v->key, alg, form))
		return mica_fail(e, MICA_INVALID, "signature_algorithm_mismatch",
			"the signature algorithm is not one for a key of type %s",
			key_names[v->key.type]);
	if (i->family == MICA_FAM_ED25519)
		return ed25519_ok(v->ed, msg, sig) ? MICA_OK : bad_signature(e);
	mica_sig_digest(i, msg, hash);
	bool ok = i->family == MICA_FAM_ECDSA ? split_ecdsa(&v->key, form, sig, &r, &s) &&
			ecdsa_ok(v->ec, hash, i->hash_len, r, s)
					      : rsa_ok(v->rsa, i, hash, sig);
	return ok ? MICA_OK : bad_signature(e);
}

mica_rc mica_pubkey_verify(const struct mica_pubkey *k, enum mica_sig_alg alg,
	enum mica_sig_form form, struct mica_slice msg, struct mica_slice sig, struct mica_err *e)
{
	struct mica_verifier v = {.key = *k};
	mica_rc rc = load(&v, e);
	if (!rc)
		rc = mica_verifier_verify(&v, alg, form, msg, sig, e);
	unload(&v);
	return rc;
}

mica_rc mica_verifier_new(
	const struct mica_pubkey *k, struct mica_verifier **out, struct mica_err *e)
{
	MICA_AUTO_VERIFIER v = MICA_NEW(struct mica_verifier);
	v->key = *k;
	mica_rc rc = load(v, e);
	if (rc)
		return rc;
	*out = MICA_STEAL(v);
	return MICA_OK;
}

void mica_verifier_free(struct mica_verifier *v)
{
	if (!v)
		return;
	unload(v);
	mica_free(v);
}

const struct mica_pubkey *mica_verifier_key(const struct mica_verifier *v)
{
	return &v->key;
}

void mica_sha256(struct mica_slice s, uint8_t hash[32])
{
	mica_ossl_sha256(s, hash);
}
