/* SPDX-License-Identifier: Apache-2.0 */
/* Private keys of this process: making, reading, writing, signing. */
#include "ossl.h"

#include <openssl/rand.h>
#include <pthread.h>

struct mica_signer {
	const struct mica_signer_ops *ops;
	void *ctx;
	struct mica_pubkey pub;
	enum mica_sig_alg alg;
};

/* One of the three is set, by type. Read only once it is made, so any thread may sign. */
struct local_key {
	struct mica_pubkey pub;
	EC_KEY *ec;
	RSA *rsa;
	EVP_PKEY *ed;
};

static void local_free(void *ctx)
{
	struct local_key *k = ctx;
	if (!k)
		return;
	EC_KEY_free(k->ec); /* OpenSSL clears private numbers as it frees them */
	RSA_free(k->rsa);
	EVP_PKEY_free(k->ed);
	mica_free(k);
}

static inline void auto_local_(struct local_key **p)
{
	local_free(*p);
}
#define AUTO_LOCAL __attribute__((cleanup(auto_local_))) struct local_key *

/* ---- locked memory ------------------------------------------------------------------------- */

/* Private numbers and what a signature needs for a moment: some 4 KiB a thread that signs. An
 * arena that is full would make signatures fail, so it is much larger than that. */
#define SECURE_ARENA (1024 * 1024)
#define SECURE_MIN   32

static bool secure;

static void secure_once(void)
{
	secure = CRYPTO_secure_malloc_init(SECURE_ARENA, SECURE_MIN) == 1;
	ERR_clear_error();
}

bool mica_keys_secure_memory(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, secure_once);
	return secure;
}

/* ---- signing ----------------------------------------------------------------------------- */

static mica_rc failed(struct mica_err *e)
{
	return mica_ossl_fail(e, MICA_UNAVAILABLE, "signing_failed", "signing failed; try again");
}

static bool sign_ecdsa(const struct local_key *k, const struct mica_sig_info *i,
	enum mica_sig_form form, struct mica_slice msg, uint8_t *sig, size_t *len)
{
	uint8_t hash[64], r[48], s[48];
	int field = (int)mica_ossl_field(k->pub.type);
	mica_sig_digest(i, msg, hash);
	MICA_AUTO_SIG es = ECDSA_do_sign(hash, (int)i->hash_len, k->ec);
	if (!es || BN_bn2binpad(ECDSA_SIG_get0_r(es), r, field) != field ||
		BN_bn2binpad(ECDSA_SIG_get0_s(es), s, field) != field)
		return false;
	struct mica_derw w = mica_derw(sig, *len);
	size_t mark = mica_derw_mark(&w);
	if (form == MICA_SIG_RAW) {
		mica_derw_put(&w, s, (size_t)field);
		mica_derw_put(&w, r, (size_t)field);
	} else {
		mica_derw_unsigned(&w, s, (size_t)field);
		mica_derw_unsigned(&w, r, (size_t)field);
		mica_derw_wrap(&w, mark, MICA_DER_SEQUENCE);
	}
	struct mica_slice out = mica_derw_slice(&w);
	if (!mica_derw_ok(&w))
		return false;
	memmove(sig, out.p, out.len);
	*len = out.len;
	return true;
}

static bool sign_rsa(const struct local_key *k, const struct mica_sig_info *i,
	struct mica_slice msg, uint8_t *sig, size_t *len)
{
	uint8_t hash[64], em[MICA_SIG_MAX];
	unsigned n = (unsigned)RSA_size(k->rsa);
	if (*len < n)
		return false;
	mica_sig_digest(i, msg, hash);
	if (i->family == MICA_FAM_RSA) {
		if (RSA_sign(i->nid, hash, (unsigned)i->hash_len, sig, &n, k->rsa) != 1)
			return false;
	} else {
		const EVP_MD *md = mica_sig_md(i);
		if (RSA_padding_add_PKCS1_PSS_mgf1(
			    k->rsa, em, hash, md, md, RSA_PSS_SALTLEN_DIGEST) != 1 ||
			RSA_private_encrypt((int)n, em, sig, k->rsa, RSA_NO_PADDING) != (int)n)
			return false;
	}
	*len = n;
	return true;
}

static bool sign_ed25519(
	const struct local_key *k, struct mica_slice msg, uint8_t *sig, size_t *len)
{
	MICA_AUTO_MD_CTX c = EVP_MD_CTX_new();
	return c && EVP_DigestSignInit(c, NULL, NULL, NULL, k->ed) == 1 &&
		EVP_DigestSign(c, sig, len, msg.p, msg.len) == 1;
}

static mica_rc local_sign(void *ctx, enum mica_sig_alg alg, enum mica_sig_form form,
	struct mica_slice msg, uint8_t *sig, size_t *len, struct mica_err *e)
{
	const struct local_key *k = ctx;
	const struct mica_sig_info *i = mica_sig_info(alg);
	if (!mica_sig_fits(&k->pub, alg, form))
		return mica_fail(e, MICA_INVALID, "signature_algorithm_mismatch",
			"the signature algorithm is not one for this key");
	bool ok = i->family == MICA_FAM_ECDSA   ? sign_ecdsa(k, i, form, msg, sig, len)
		: i->family == MICA_FAM_ED25519 ? sign_ed25519(k, msg, sig, len)
						: sign_rsa(k, i, msg, sig, len);
	return ok ? MICA_OK : failed(e);
}

/* ---- PKCS #8 (RFC 5958, RFC 5915, RFC 8017 A.1.2, RFC 8410) --------------------------------- */

#define PKCS8_MAX 4096

/* The AlgorithmIdentifier of a key is the one of its SubjectPublicKeyInfo. */
static struct mica_slice alg_of(const struct mica_pubkey *pub)
{
	struct mica_der d = mica_der(mica_pubkey_spki(pub)), in;
	struct mica_slice alg = MICA_SLICE_NULL;
	mica_der_enter(&d, MICA_DER_SEQUENCE, &in);
	mica_der_next(&in, MICA_DER_SEQUENCE, NULL, &alg);
	return alg;
}

static void write_bn(struct mica_derw *w, const BIGNUM *v)
{
	uint8_t b[MICA_SIG_MAX + 1];
	int n = v ? BN_num_bytes(v) : 0;
	if (!v || n > (int)sizeof(b))
		w->over = true;
	else
		mica_derw_unsigned(w, b, (size_t)BN_bn2bin(v, b));
	mica_wipe(b, sizeof(b));
}

static void write_ec(struct mica_derw *w, const struct local_key *k)
{
	uint8_t d[48];
	int field = (int)mica_ossl_field(k->pub.type);
	struct mica_slice point = mica_pubkey_raw(&k->pub);
	size_t mark = mica_derw_mark(w);
	mica_derw_bits(w, point.p, point.len);
	mica_derw_wrap(w, mark, MICA_DER_CTX_C(1));
	if (BN_bn2binpad(EC_KEY_get0_private_key(k->ec), d, field) != field)
		w->over = true;
	mica_derw_prim(w, MICA_DER_OCTET_STRING, d, (size_t)field);
	mica_wipe(d, sizeof(d));
	mica_derw_unsigned(w, "\x01", 1);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

static void write_rsa(struct mica_derw *w, const struct local_key *k)
{
	const BIGNUM *v[8];
	RSA_get0_key(k->rsa, &v[0], &v[1], &v[2]);
	RSA_get0_factors(k->rsa, &v[3], &v[4]);
	RSA_get0_crt_params(k->rsa, &v[5], &v[6], &v[7]);
	size_t mark = mica_derw_mark(w);
	for (size_t i = MICA_ARRAY_LEN(v); i-- > 0;)
		write_bn(w, v[i]);
	mica_derw_unsigned(w, "", 1);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

static void write_ed25519(struct mica_derw *w, const struct local_key *k)
{
	uint8_t d[32];
	size_t len = sizeof(d);
	if (EVP_PKEY_get_raw_private_key(k->ed, d, &len) != 1)
		w->over = true;
	else
		mica_derw_prim(w, MICA_DER_OCTET_STRING, d, len);
	mica_wipe(d, sizeof(d));
}

static mica_rc local_pkcs8(void *ctx, struct mica_secret **out, struct mica_err *e)
{
	const struct local_key *k = ctx;
	uint8_t room[PKCS8_MAX];
	struct mica_derw w = mica_derw(room, sizeof(room));
	size_t mark = mica_derw_mark(&w);
	if (k->ec)
		write_ec(&w, k);
	else if (k->rsa)
		write_rsa(&w, k);
	else
		write_ed25519(&w, k);
	mica_derw_wrap(&w, mark, MICA_DER_OCTET_STRING);
	mica_derw_put_slice(&w, alg_of(&k->pub));
	mica_derw_unsigned(&w, "", 1);
	mica_derw_wrap(&w, mark, MICA_DER_SEQUENCE);
	struct mica_slice der = mica_derw_slice(&w);
	if (mica_derw_ok(&w))
		*out = mica_secret_new(der.p, der.len);
	bool ok = mica_derw_ok(&w);
	mica_wipe(room, sizeof(room));
	return ok ? MICA_OK
		  : mica_ossl_fail(e, MICA_INTERNAL, "key_export_failed", "a key was not written");
}

static const struct mica_signer_ops local_ops = {local_sign, local_pkcs8, local_free};

static mica_rc malformed(struct mica_err *e, const char *what)
{
	ERR_clear_error();
	return mica_fail(e, MICA_INVALID, "key_malformed", "private key: %s", what);
}

/* The public half from the private one. */
static mica_rc finish_ec(struct local_key *k, enum mica_key_name type, struct mica_err *e)
{
	const EC_GROUP *g = mica_ossl_group(type);
	size_t f = mica_ossl_field(type);
	uint8_t raw[97];
	if (EC_POINT_point2oct(g, EC_KEY_get0_public_key(k->ec), POINT_CONVERSION_UNCOMPRESSED, raw,
		    sizeof(raw), NULL) != 1 + 2 * f)
		return malformed(e, "no public point");
	return mica_pubkey_from_ec(
		type, mica_slice(raw + 1, f), mica_slice(raw + 1 + f, f), &k->pub, e);
}

static mica_rc finish_rsa(struct local_key *k, struct mica_err *e)
{
	uint8_t n[MICA_SIG_MAX], x[4];
	const BIGNUM *bn, *be;
	RSA_get0_key(k->rsa, &bn, &be, NULL);
	if (BN_num_bytes(bn) > (int)sizeof(n) || BN_num_bytes(be) > (int)sizeof(x))
		return mica_fail(
			e, MICA_INVALID, "key_weak", "private key: RSA has 2048 to 4096 bits");
	size_t n_len = (size_t)BN_bn2bin(bn, n), x_len = (size_t)BN_bn2bin(be, x);
	return mica_pubkey_from_rsa(mica_slice(n, n_len), mica_slice(x, x_len), &k->pub, e);
}

static mica_rc finish_ed25519(struct local_key *k, struct mica_err *e)
{
	uint8_t raw[32];
	size_t len = sizeof(raw);
	if (!k->ed || EVP_PKEY_get_raw_public_key(k->ed, raw, &len) != 1)
		return malformed(e, "not taken by OpenSSL");
	return mica_pubkey_from_ed25519(mica_slice(raw, len), &k->pub, e);
}

static mica_rc read_ec(
	struct local_key *k, enum mica_key_name type, struct mica_slice der, struct mica_err *e)
{
	struct mica_der d = mica_der(der), in, pub = mica_der(MICA_SLICE_NULL);
	struct mica_slice priv = MICA_SLICE_NULL, point = MICA_SLICE_NULL;
	uint32_t version = 0;
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &in) || !mica_der_end(&d) ||
		!mica_der_u32(&in, &version) || version != 1 ||
		!mica_der_next(&in, MICA_DER_OCTET_STRING, &priv, NULL) ||
		priv.len != mica_ossl_field(type))
		return malformed(e, "not an ECPrivateKey");
	/* RFC 5915 3: the curve is named outside; a second name must not disagree, so none is
	 * taken. */
	if (mica_der_is(&in, MICA_DER_CTX_C(1)) &&
		(!mica_der_enter(&in, MICA_DER_CTX_C(1), &pub) || !mica_der_bits(&pub, &point) ||
			!mica_der_end(&pub)))
		return malformed(e, "not an ECPrivateKey");
	if (!mica_der_end(&in))
		return malformed(e, "not an ECPrivateKey");

	const EC_GROUP *g = mica_ossl_group(type);
	EC_POINT *p = EC_POINT_new(g);
	k->ec = EC_KEY_new();
	bool ok = p && k->ec && EC_KEY_set_group(k->ec, g) == 1 &&
		EC_KEY_oct2priv(k->ec, priv.p, priv.len) == 1 &&
		EC_POINT_mul(g, p, EC_KEY_get0_private_key(k->ec), NULL, NULL, NULL) == 1 &&
		EC_KEY_set_public_key(k->ec, p) == 1 && EC_KEY_check_key(k->ec) == 1;
	EC_POINT_free(p);
	if (!ok)
		return malformed(e, "the private number is out of range");
	mica_rc rc = finish_ec(k, type, e);
	if (!rc && point.len && !mica_slice_eq(point, mica_pubkey_raw(&k->pub)))
		return malformed(e, "the private half does not fit the public one");
	return rc;
}

static mica_rc read_rsa(struct local_key *k, struct mica_slice der, struct mica_err *e)
{
	struct mica_der d = mica_der(der), in;
	BIGNUM *v[8] = {NULL};
	uint32_t version = 1;
	bool ok = mica_der_enter(&d, MICA_DER_SEQUENCE, &in) && mica_der_end(&d) &&
		mica_der_u32(&in, &version) && version == 0;
	for (size_t i = 0; ok && i < MICA_ARRAY_LEN(v); i++) {
		struct mica_slice s = MICA_SLICE_NULL;
		v[i] = BN_secure_new();
		ok = mica_der_unsigned(&in, &s) && s.len <= MICA_SIG_MAX && v[i] &&
			BN_bin2bn(s.p, (int)s.len, v[i]);
		if (ok)
			BN_set_flags(v[i], BN_FLG_CONSTTIME);
	}
	k->rsa = RSA_new();
	ok = ok && mica_der_end(&in) && k->rsa;
	/* Each set0 takes what it is given. */
	size_t given = 0;
	if (ok && RSA_set0_key(k->rsa, v[0], v[1], v[2]))
		given = 3;
	if (given == 3 && RSA_set0_factors(k->rsa, v[3], v[4]))
		given = 5;
	if (given == 5 && RSA_set0_crt_params(k->rsa, v[5], v[6], v[7]))
		given = 8;
	for (size_t i = given; i < MICA_ARRAY_LEN(v); i++)
		BN_clear_free(v[i]);
	return given == 8 ? finish_rsa(k, e) : malformed(e, "not an RSAPrivateKey");
}

static mica_rc read_ed25519(struct local_key *k, struct mica_slice der, struct mica_err *e)
{
	struct mica_der d = mica_der(der);
	struct mica_slice priv = MICA_SLICE_NULL;
	if (!mica_der_next(&d, MICA_DER_OCTET_STRING, &priv, NULL) || !mica_der_end(&d) ||
		priv.len != 32)
		return malformed(e, "not an Ed25519 private key");
	k->ed = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, priv.p, priv.len);
	return finish_ed25519(k, e);
}

/* AlgorithmIdentifiers of the keys that have one form. */
static const struct {
	struct mica_slice alg;
	enum mica_key_name type;
} algs[] = {
	{MICA_LIT("\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
		  "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
		MICA_KN_P256},
	{MICA_LIT("\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22"),
		MICA_KN_P384},
	{MICA_LIT("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"), MICA_KN_RSA2048},
	{MICA_LIT("\x30\x05\x06\x03\x2b\x65\x70"), MICA_KN_ED25519},
};

static mica_rc read_pkcs8(struct local_key *k, struct mica_slice der, struct mica_err *e)
{
	struct mica_der d = mica_der(der), in;
	struct mica_slice alg = MICA_SLICE_NULL, key = MICA_SLICE_NULL;
	uint32_t version = 0;
	/* RFC 5958 2: version 1 has a public key behind, which is derived here instead. */
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &in) || !mica_der_end(&d) ||
		!mica_der_u32(&in, &version) || version > 1 ||
		!mica_der_next(&in, MICA_DER_SEQUENCE, NULL, &alg) ||
		!mica_der_next(&in, MICA_DER_OCTET_STRING, &key, NULL))
		return malformed(e, "not PKCS #8 in DER");
	if (mica_der_is(&in, MICA_DER_CTX_C(0)))
		mica_der_next(&in, MICA_DER_CTX_C(0), NULL, NULL);
	if (version == 1 && mica_der_is(&in, MICA_DER_CTX(1)))
		mica_der_next(&in, MICA_DER_CTX(1), NULL, NULL);
	if (!mica_der_end(&in))
		return malformed(e, "not PKCS #8 in DER");
	for (size_t i = 0; i < MICA_ARRAY_LEN(algs); i++) {
		if (!mica_slice_eq(alg, algs[i].alg))
			continue;
		return mica_key_is_ec(algs[i].type)     ? read_ec(k, algs[i].type, key, e)
			: mica_key_is_rsa(algs[i].type) ? read_rsa(k, key, e)
							: read_ed25519(k, key, e);
	}
	return mica_fail(e, MICA_INVALID, "key_type_not_allowed",
		"private key: expected P-256, P-384, RSA or Ed25519");
}

/* ---- signers ----------------------------------------------------------------------------- */

static enum mica_sig_alg alg_for(enum mica_key_name type)
{
	return type == MICA_KN_P256       ? MICA_SIG_ECDSA_SHA256
		: type == MICA_KN_P384    ? MICA_SIG_ECDSA_SHA384
		: type == MICA_KN_ED25519 ? MICA_SIG_ED25519
					  : MICA_SIG_RSA_SHA256;
}

struct mica_signer *mica_signer_take_new(
	const struct mica_signer_ops *ops, void *ctx, const struct mica_pubkey *pub)
{
	struct mica_signer *s = MICA_NEW(struct mica_signer);
	*s = (struct mica_signer){ops, ctx, *pub, alg_for(pub->type)};
	return s;
}

static bool generate_rsa(struct local_key *k, int bits)
{
	BIGNUM *x = BN_new();
	k->rsa = RSA_new();
	bool ok = x && k->rsa && BN_set_word(x, RSA_F4) &&
		RSA_generate_key_ex(k->rsa, bits, x, NULL) == 1;
	BN_free(x);
	return ok;
}

static bool generate_ed25519(struct local_key *k)
{
	uint8_t seed[32];
	if (RAND_priv_bytes(seed, sizeof(seed)) == 1)
		k->ed = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
	mica_wipe(seed, sizeof(seed));
	return k->ed;
}

static mica_rc generate(struct local_key *k, enum mica_key_name type, struct mica_err *e)
{
	bool ok;
	if (mica_key_is_ec(type)) {
		k->ec = EC_KEY_new();
		ok = k->ec && EC_KEY_set_group(k->ec, mica_ossl_group(type)) == 1 &&
			EC_KEY_generate_key(k->ec) == 1;
	} else if (mica_key_is_rsa(type)) {
		ok = generate_rsa(k, 2048 + 1024 * (int)(type - MICA_KN_RSA2048));
	} else {
		ok = generate_ed25519(k);
	}
	if (!ok)
		return mica_ossl_fail(
			e, MICA_INTERNAL, "key_generation_failed", "a key could not be made");
	return mica_key_is_ec(type)     ? finish_ec(k, type, e)
		: mica_key_is_rsa(type) ? finish_rsa(k, e)
					: finish_ed25519(k, e);
}

static struct mica_signer *wrap_local(struct local_key **k)
{
	const struct mica_pubkey *pub = &(*k)->pub;
	return mica_signer_take_new(&local_ops, MICA_STEAL(*k), pub);
}

mica_rc mica_signer_generate(enum mica_key_name type, struct mica_signer **out, struct mica_err *e)
{
	AUTO_LOCAL k = MICA_NEW(struct local_key);
	mica_rc rc = generate(k, type, e);
	if (rc)
		return rc;
	*out = wrap_local(&k);
	return MICA_OK;
}

mica_rc mica_signer_from_pkcs8(struct mica_slice der, struct mica_signer **out, struct mica_err *e)
{
	AUTO_LOCAL k = MICA_NEW(struct local_key);
	mica_rc rc = read_pkcs8(k, der, e);
	if (rc)
		return rc;
	MICA_AUTO_SIGNER s = wrap_local(&k);
	struct mica_err probe = MICA_ERR_INIT;
	if (mica_signer_probe(s, &probe))
		return malformed(e, "the private half does not fit the public one");
	*out = MICA_STEAL(s);
	return MICA_OK;
}

mica_rc mica_signer_pkcs8(const struct mica_signer *s, struct mica_secret **out, struct mica_err *e)
{
	if (!s->ops->pkcs8)
		return mica_fail(e, MICA_DENIED, "key_not_exportable",
			"this key cannot leave the module that holds it");
	return s->ops->pkcs8(s->ctx, out, e);
}

void mica_signer_free(struct mica_signer *s)
{
	if (!s)
		return;
	s->ops->free(s->ctx);
	mica_free(s);
}

const struct mica_pubkey *mica_signer_public(const struct mica_signer *s)
{
	return &s->pub;
}

enum mica_sig_alg mica_signer_alg(const struct mica_signer *s)
{
	return s->alg;
}

mica_rc mica_signer_sign(const struct mica_signer *s, enum mica_sig_form form,
	struct mica_slice msg, uint8_t sig[MICA_SIG_MAX], size_t *len, struct mica_err *e)
{
	*len = MICA_SIG_MAX;
	return s->ops->sign(s->ctx, s->alg, form, msg, sig, len, e);
}

mica_rc mica_signer_probe(const struct mica_signer *s, struct mica_err *e)
{
	uint8_t msg[32], sig[MICA_SIG_MAX];
	size_t len;
	struct mica_err mine = MICA_ERR_INIT;
	mica_random(msg, sizeof(msg));
	mica_rc rc =
		mica_signer_sign(s, MICA_SIG_DER, mica_slice(msg, sizeof(msg)), sig, &len, &mine);
	if (!rc)
		rc = mica_pubkey_verify(&s->pub, s->alg, MICA_SIG_DER, mica_slice(msg, sizeof(msg)),
			mica_slice(sig, len), &mine);
	if (!rc)
		return MICA_OK;
	return mica_fail_fine(e, MICA_UNAVAILABLE, "signing_failed", "signing failed; try again",
		"signing_failed", "probe of a key: %s: %s", mine.reason, mine.text);
}
