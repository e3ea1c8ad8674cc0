/* SPDX-License-Identifier: Apache-2.0 */
/* Private keys at rest: one key-encryption key from a passphrase, one envelope a key. */
#include "mica/key.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#define RECORD_MAGIC   "MKEK\x01"
#define ENVELOPE_MAGIC "MKEY\x01"
#define MAGIC_LEN      5
#define SALT_LEN       32
#define CHECK_LEN      32
#define RECORD_LEN     (MAGIC_LEN + 3 + SALT_LEN + CHECK_LEN)
#define NONCE_LEN      12
#define TAG_LEN        16
#define ENVELOPE_HEAD  (MAGIC_LEN + NONCE_LEN)
#define ENVELOPE_MAX   8192
#define KEY_LEN        32
#define NAME_MAX_LEN   255

/* 64 MiB for a tenth of a second: a guess costs that much, too. */
#define COST_LOG2_N 16
#define COST_R      8
#define COST_P      1
/* What a record may ask for: bounds memory and time before the passphrase is known to be right. */
#define MAX_LOG2_N 20
#define MAX_P      16

struct mica_kek {
	struct mica_secret *key;
};

static unsigned cost_log2_n = COST_LOG2_N;

void mica_kek_set_test_cost(unsigned log2_n)
{
	cost_log2_n = log2_n;
}

static const char *const purposes[MICA_KEY_PURPOSE_COUNT] = {
	[MICA_KEY_ROOT] = "root",
	[MICA_KEY_ISSUING] = "issuing",
	[MICA_KEY_JWT] = "jwt",
	[MICA_KEY_LOG] = "log",
	[MICA_KEY_PUBLICATION] = "publication",
	[MICA_KEY_SERVING] = "serving",
	[MICA_KEY_AGENT] = "agent",
};

const char *mica_key_purpose_name(enum mica_key_purpose p)
{
	const char *name = (unsigned)p < MICA_KEY_PURPOSE_COUNT ? purposes[p] : NULL;
	return name ? name : "unknown";
}

/* Key and check value from a passphrase and the record's costs and salt. */
static mica_rc derive(const struct mica_secret *passphrase, const uint8_t cost[3],
	const uint8_t *salt, struct mica_kek **out, uint8_t check[CHECK_LEN], struct mica_err *e)
{
	struct mica_slice pass = mica_secret_view(passphrase);
	uint64_t n = 1ull << cost[0], r = cost[1], p = cost[2];
	uint8_t wide[2 * KEY_LEN];
	if (EVP_PBE_scrypt((const char *)pass.p, pass.len, salt, SALT_LEN, n, r, p,
		    128 * r * (n + p) + (1 << 20), wide, sizeof(wide)) != 1) {
		ERR_clear_error();
		return mica_fail(e, MICA_UNAVAILABLE, "scrypt_failed",
			"the key-encryption key could not be derived; it needs %llu MiB of memory",
			(unsigned long long)(128 * r * n >> 20));
	}
	*out = MICA_NEW(struct mica_kek);
	(*out)->key = mica_secret_new(wide, KEY_LEN);
	SHA256(wide + KEY_LEN, KEY_LEN, check);
	mica_wipe(wide, sizeof(wide));
	return MICA_OK;
}

mica_rc mica_kek_create(const struct mica_secret *passphrase, struct mica_buf *record,
	struct mica_kek **out, struct mica_err *e)
{
	MICA_AUTO_KEK k = NULL;
	uint8_t check[CHECK_LEN], salt[SALT_LEN];
	const uint8_t cost[3] = {(uint8_t)cost_log2_n, COST_R, COST_P};
	mica_random(salt, sizeof(salt));
	mica_rc rc = derive(passphrase, cost, salt, &k, check, e);
	if (rc)
		return rc;
	mica_buf_put(record, RECORD_MAGIC, MAGIC_LEN);
	mica_buf_put(record, cost, sizeof(cost));
	mica_buf_put(record, salt, sizeof(salt));
	mica_buf_put(record, check, sizeof(check));
	rc = mica_buf_rc(record, e);
	if (!rc)
		*out = MICA_STEAL(k);
	return rc;
}

mica_rc mica_kek_unlock(const struct mica_secret *passphrase, struct mica_slice record,
	struct mica_kek **out, struct mica_err *e)
{
	MICA_AUTO_KEK k = NULL;
	uint8_t check[CHECK_LEN];
	const uint8_t *cost = record.p + MAGIC_LEN, *salt = cost + 3;
	if (record.len != RECORD_LEN || memcmp(record.p, RECORD_MAGIC, MAGIC_LEN) != 0 ||
		cost[0] < 1 || cost[0] > MAX_LOG2_N || cost[1] != COST_R || cost[2] < 1 ||
		cost[2] > MAX_P)
		return mica_fail(e, MICA_CORRUPT, "kek_record_malformed",
			"the record of the key-encryption key is damaged or of a later version");
	mica_rc rc = derive(passphrase, cost, salt, &k, check, e);
	if (rc)
		return rc;
	if (!mica_slice_eq_secret(
		    mica_slice(check, CHECK_LEN), mica_slice(salt + SALT_LEN, CHECK_LEN)))
		return mica_fail(e, MICA_UNAUTHENTICATED, "wrong_passphrase",
			"the passphrase is not the one that the keys are encrypted under");
	*out = MICA_STEAL(k);
	return MICA_OK;
}

void mica_kek_free(struct mica_kek *k)
{
	if (!k)
		return;
	mica_secret_free(k->key);
	mica_free(k);
}

/* ---- envelopes ---------------------------------------------------------------------------- */

static inline void auto_cipher_(EVP_CIPHER_CTX **c)
{
	EVP_CIPHER_CTX_free(*c);
}
#define AUTO_CIPHER __attribute__((cleanup(auto_cipher_))) EVP_CIPHER_CTX *

/* Associated data: where the envelope belongs. */
static mica_rc put_aad(
	struct mica_buf *aad, enum mica_key_purpose purpose, const char *name, struct mica_err *e)
{
	size_t len = strlen(name);
	if ((unsigned)purpose >= MICA_KEY_PURPOSE_COUNT || !purposes[purpose] || len == 0 ||
		len > NAME_MAX_LEN)
		return mica_fail(e, MICA_INTERNAL, "key_name_invalid",
			"a key is stored under a purpose and a name of 1 to 255 octets");
	mica_buf_put(aad, ENVELOPE_MAGIC, MAGIC_LEN);
	mica_buf_put_u8(aad, (uint8_t)purpose);
	mica_buf_put_u8(aad, (uint8_t)len);
	mica_buf_put(aad, name, len);
	return mica_buf_rc(aad, e);
}

/* AES-256-GCM one way or the other; `tag` is written or checked. */
static bool gcm(const struct mica_kek *k, bool encrypt, const uint8_t *nonce, struct mica_slice aad,
	struct mica_slice in, uint8_t *out, uint8_t *tag)
{
	AUTO_CIPHER c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0;
	const uint8_t *key = mica_secret_view(k->key).p;
	if (!c || EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, encrypt) != 1 ||
		EVP_CipherUpdate(c, NULL, &n, aad.p, (int)aad.len) != 1 ||
		EVP_CipherUpdate(c, out, &n, in.p, (int)in.len) != 1 || n != (int)in.len)
		return false;
	if (!encrypt && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) != 1)
		return false;
	return EVP_CipherFinal_ex(c, out + n, &last) == 1 && last == 0 &&
		(!encrypt || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_LEN, tag) == 1);
}

static inline void auto_secret_(struct mica_secret **s)
{
	mica_secret_free(*s);
}
#define AUTO_SECRET __attribute__((cleanup(auto_secret_))) struct mica_secret *

mica_rc mica_kek_seal(const struct mica_kek *k, enum mica_key_purpose purpose, const char *name,
	const struct mica_signer *key, struct mica_buf *envelope, struct mica_err *e)
{
	MICA_AUTO_BUF aad;
	AUTO_SECRET clear = NULL;
	uint8_t nonce[NONCE_LEN], tag[TAG_LEN];
	mica_buf_init(&aad, 512);
	mica_rc rc = put_aad(&aad, purpose, name, e);
	if (!rc)
		rc = mica_signer_pkcs8(key, &clear, e);
	if (rc)
		return rc;
	mica_random(nonce, sizeof(nonce));
	mica_buf_put(envelope, ENVELOPE_MAGIC, MAGIC_LEN);
	mica_buf_put(envelope, nonce, sizeof(nonce));
	struct mica_slice in = mica_secret_view(clear);
	uint8_t *out = mica_buf_room(envelope, in.len);
	if (out && !gcm(k, true, nonce, mica_buf_slice(&aad), in, out, tag)) {
		ERR_clear_error();
		return mica_fail(e, MICA_INTERNAL, "key_seal_failed", "a key was not encrypted");
	}
	if (out)
		mica_buf_added(envelope, in.len);
	mica_buf_put(envelope, tag, sizeof(tag));
	return mica_buf_rc(envelope, e);
}

static mica_rc open_clear(struct mica_slice clear, struct mica_signer **out, struct mica_err *e)
{
	struct mica_err mine = MICA_ERR_INIT;
	if (!mica_signer_from_pkcs8(clear, out, &mine))
		return MICA_OK;
	return mica_fail(e, MICA_CORRUPT, "key_envelope_damaged",
		"what was encrypted is no key: %s", mine.text);
}

mica_rc mica_kek_open(const struct mica_kek *k, enum mica_key_purpose purpose, const char *name,
	struct mica_slice envelope, struct mica_signer **out, struct mica_err *e)
{
	MICA_AUTO_BUF aad, clear;
	mica_buf_init(&aad, 512);
	mica_buf_init_secret(&clear, ENVELOPE_MAX);
	mica_rc rc = put_aad(&aad, purpose, name, e);
	if (rc)
		return rc;
	if (envelope.len <= ENVELOPE_HEAD + TAG_LEN || envelope.len > ENVELOPE_MAX ||
		memcmp(envelope.p, ENVELOPE_MAGIC, MAGIC_LEN) != 0)
		return mica_fail(e, MICA_CORRUPT, "key_envelope_malformed",
			"the encrypted %s key `%s` is damaged or of a later version",
			mica_key_purpose_name(purpose), name);
	uint8_t tag[TAG_LEN];
	struct mica_slice in =
		mica_slice_sub(envelope, ENVELOPE_HEAD, envelope.len - ENVELOPE_HEAD - TAG_LEN);
	memcpy(tag, in.p + in.len, TAG_LEN);
	uint8_t *room = mica_buf_room(&clear, in.len);
	if (!gcm(k, false, envelope.p + MAGIC_LEN, mica_buf_slice(&aad), in, room, tag)) {
		ERR_clear_error();
		return mica_fail(e, MICA_CORRUPT, "key_envelope_damaged",
			"the encrypted %s key `%s` was altered, belongs to another place or to another store",
			mica_key_purpose_name(purpose), name);
	}
	mica_buf_added(&clear, in.len);
	return open_clear(mica_buf_slice(&clear), out, e);
}
