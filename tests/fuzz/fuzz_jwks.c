/* SPDX-License-Identifier: Apache-2.0 */
/* Key sets: any octets are refused with a reason, or make keys that are found by their own names
 * and have signed nothing. */
#include "mica/jwks.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_one_of(const char *s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(s, list[i]) == 0)
			return true;
	return false;
}

static void check_refusal(mica_rc rc, const struct mica_err *e)
{
	static const char *const limits[] = {"jwks_too_long", "jwks_too_many_keys"};
	static const char *const invalid[] = {"jwks_malformed", "jwks_no_usable_key"};

	if (rc != e->rc || e->text[0] == '\0')
		abort();
	if (rc == MICA_LIMIT ? !is_one_of(e->reason, limits, 2)
			     : rc != MICA_INVALID || !is_one_of(e->reason, invalid, 2))
		abort();
}

static void check_skipped(const struct mica_jwks_skipped *k)
{
	static const char *const reasons[] = {"not_an_object", "member_malformed", "kty_unknown",
		"symmetric_key", "private_key", "use_not_sig", "key_ops_without_verify",
		"alg_unknown", "alg_not_allowed", "alg_mismatch", "curve_unknown", "kid_too_long",
		"key_malformed", "key_weak", "duplicate_kid"};

	if (!is_one_of(k->reason, reasons, MICA_ARRAY_LEN(reasons)) ||
		k->index >= MICA_JWKS_KEYS_MAX || memchr(k->kid, '\0', sizeof(k->kid)) == NULL)
		abort();
}

static void check_key(const struct mica_jwks *s, const struct mica_jwk *k,
	const struct mica_jwks_options *o, struct mica_slice noise)
{
	const struct mica_slice kid = mica_slice_str(k->kid);
	const struct mica_jwk *found = NULL;
	bool ps = k->alg >= MICA_SIG_PSS_SHA256 && k->alg <= MICA_SIG_PSS_SHA512;

	if (mica_sig_alg_jose(k->alg) == NULL || (ps && !o->allow_ps) ||
		(k->alg == MICA_SIG_ED25519 && !o->allow_eddsa))
		abort();
	if (k->has_kid &&
		(mica_jwks_find(s, &kid, k->alg, &found) != MICA_JWKS_FOUND || found != k))
		abort();
	if (mica_jwks_find(s, NULL, k->alg, &found) !=
		(mica_jwks_count(s) == 1 ? MICA_JWKS_FOUND : MICA_JWKS_KID_NEEDED))
		abort();
	if (mica_verifier_verify(k->verifier, k->alg, MICA_SIG_RAW, noise,
		    mica_slice_sub(noise, 0, MICA_SIG_MAX), NULL) == MICA_OK)
		abort();
}

/* How many keys are usable. */
static size_t read_set(struct mica_slice in, const struct mica_jwks_options *o)
{
	struct mica_err e = MICA_ERR_INIT;
	const struct mica_jwks *fresh = NULL;

	mica_rc rc = mica_jwks_parse(in, o, &fresh, &e);
	if (rc) {
		check_refusal(rc, &e);
		return 0;
	}
	MICA_AUTO_JWKS s = fresh;
	size_t n = mica_jwks_count(s), skipped = mica_jwks_skipped_count(s);
	if (n == 0 || n + skipped > MICA_JWKS_KEYS_MAX)
		abort();
	for (size_t i = 0; i < n; i++)
		check_key(s, mica_jwks_key(s, i), o, in);
	for (size_t i = 0; i < skipped; i++)
		check_skipped(mica_jwks_skipped(s, i));
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct mica_jwks_options none, all = {.allow_ps = true, .allow_eddsa = true};
	struct mica_slice in = mica_slice(data, size);

	/* allowing more loses nothing */
	if (read_set(in, &none) > read_set(in, &all))
		abort();
	return 0;
}
