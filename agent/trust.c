/* SPDX-License-Identifier: Apache-2.0 */
#include "trust.h"

#include "mica/cert.h"
#include "mica/json.h"
#include "mica/pem.h"
#include "mica/spiffeid.h"

#include <stdatomic.h>
#include <stdio.h>

#define KEYS_MAX  256
#define DER_MAX   ((size_t)TRUST_ROOTS_MAX * MICA_CERT_MAX)
#define JSON_DEEP 8

/* ---- life ---------------------------------------------------------------------------------- */

const struct trust *trust_ref(const struct trust *t)
{
	if (t)
		atomic_fetch_add((_Atomic unsigned *)(uintptr_t)&t->refs, 1);
	return t;
}

void trust_unref(const struct trust *t)
{
	struct trust *mine = (struct trust *)(uintptr_t)t;

	if (!mine || atomic_fetch_sub(&mine->refs, 1) != 1)
		return;
	mica_buf_clear(&mine->der);
	mica_buf_clear(&mine->pem);
	mica_buf_clear(&mine->json);
	mica_buf_clear(&mine->jwks);
	mica_jwks_unref(mine->keys);
	mica_free(mine);
}

static mica_rc trust_new(const char *td, struct trust **out, struct mica_err *e)
{
	struct trust *t;
	mica_rc rc = mica_trust_domain_check(mica_slice_str(td), e);

	if (rc != MICA_OK)
		return rc;
	t = MICA_NEW(struct trust);
	t->refs = 1;
	snprintf(t->td, sizeof(t->td), "%s", td);
	snprintf(t->id, sizeof(t->id), "spiffe://%s", td);
	mica_buf_init(&t->der, DER_MAX);
	mica_buf_init(&t->pem, 2 * DER_MAX);
	mica_buf_init(&t->json, MICA_BUNDLE_MAX);
	mica_buf_init(&t->jwks, MICA_BUNDLE_MAX);
	*out = t;
	return MICA_OK;
}

/* ---- roots --------------------------------------------------------------------------------- */

static mica_rc check_root(struct mica_slice der, struct mica_err *e)
{
	struct mica_cert_info info;
	mica_rc rc = mica_cert_read(der, &info, e);

	if (rc == MICA_OK && (!info.is_ca || (info.has_ku && !(info.ku & MICA_KU_KEY_CERT_SIGN))))
		rc = mica_fail(e, MICA_INVALID, "not_an_authority",
			"a certificate that may sign none is no root");
	return rc;
}

static void add_root(struct trust *t, struct mica_slice der)
{
	for (size_t i = 0; i < t->n_roots; i++)
		if (mica_slice_eq(trust_root(t, i), der))
			return;
	mica_buf_put_slice(&t->der, der);
	t->root_at[++t->n_roots] = t->der.len;
	mica_pem_put(&t->pem, MICA_PEM_CERT, der);
}

/* X509-SVID 6: exactly one certificate counts, the first. */
static mica_rc read_root(struct trust *t, const json_t *x5c, struct mica_err *e)
{
	const json_t *first = json_array_get(x5c, 0);
	uint8_t der[MICA_CERT_MAX];
	size_t len = sizeof(der);

	if (!json_is_string(first) || mica_b64_decode(mica_json_str(first), der, &len) != MICA_OK ||
		check_root(mica_slice(der, len), NULL) != MICA_OK)
		return MICA_OK;
	if (t->n_roots == TRUST_ROOTS_MAX)
		return mica_fail(e, MICA_LIMIT, "bundle_too_many_keys", "more than %d roots",
			TRUST_ROOTS_MAX);
	add_root(t, mica_slice(der, len));
	return MICA_OK;
}

/* ---- keys ---------------------------------------------------------------------------------- */

static int put_dumped(const char *text, size_t len, void *ctx)
{
	mica_buf_put(ctx, text, len);
	return 0;
}

static void add_key(struct mica_buf *keys, json_t *key)
{
	if (keys->len > strlen("{\"keys\":["))
		mica_buf_put_u8(keys, ',');
	json_dump_callback(key, put_dumped, keys, JSON_COMPACT);
}

/* JWT-SVID 6.1: without a kid it is none. `plain` gets it without its use, which only SPIFFE
 * knows. */
static void read_jwt_key(struct trust *t, json_t *key, struct mica_buf *plain)
{
	const char *kid = json_string_value(json_object_get(key, "kid"));
	json_t *copy;

	if (!kid || !kid[0])
		return;
	add_key(&t->jwks, key);
	copy = json_copy(key);
	json_object_del(copy, "use");
	add_key(plain, copy);
	json_decref(copy);
}

static mica_rc read_keys(struct trust *t, const json_t *keys, struct mica_err *e)
{
	MICA_AUTO_BUF plain;
	json_t *key;
	size_t i;

	mica_buf_init(&plain, MICA_BUNDLE_MAX);
	mica_buf_put_str(&plain, "{\"keys\":[");
	mica_buf_put_str(&t->jwks, "{\"keys\":[");
	json_array_foreach (keys, i, key) {
		const char *use = json_string_value(json_object_get(key, "use"));
		mica_rc rc = MICA_OK;

		if (!use || !json_is_string(json_object_get(key, "kty")))
			continue;
		if (strcmp(use, "x509-svid") == 0)
			rc = read_root(t, json_object_get(key, "x5c"), e);
		else if (strcmp(use, "jwt-svid") == 0)
			read_jwt_key(t, key, &plain);
		if (rc != MICA_OK)
			return rc;
	}
	mica_buf_put_str(&plain, "]}");
	mica_buf_put_str(&t->jwks, "]}");
	if (plain.over || t->jwks.over)
		return mica_fail(e, MICA_LIMIT, "bundle_too_long", "its keys are too long");
	/* No usable key is not an error of the bundle: then no JWT-SVID is believed. */
	if (mica_jwks_parse(mica_buf_slice(&plain), &(struct mica_jwks_options){.allow_ps = true},
		    &t->keys, NULL) != MICA_OK)
		t->keys = NULL;
	return MICA_OK;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static void finish(struct trust *t)
{
	MICA_AUTO_BUF all;

	mica_buf_init(&all, DER_MAX + MICA_BUNDLE_MAX + 8);
	mica_buf_put_be64(&all, t->der.len);
	mica_buf_put_slice(&all, mica_buf_slice(&t->der));
	mica_buf_put_slice(&all, mica_buf_slice(&t->jwks));
	mica_sha256(mica_buf_slice(&all), t->hash);
}

static mica_rc fill(struct trust *t, struct mica_slice json, struct mica_err *e)
{
	const struct mica_json_limits limits = {.bytes = MICA_BUNDLE_MAX, .depth = JSON_DEEP};
	int64_t sequence = 0;
	json_t *keys = NULL;
	const struct mica_json_member members[] = {{.name = "keys",
							   .type = MICA_JSON_ARRAY,
							   .required = true,
							   .max = KEYS_MAX,
							   .out = &keys},
		{.name = "spiffe_sequence",
			.type = MICA_JSON_INT,
			.max = (int64_t)MICA_SEQUENCE_MAX,
			.out = &sequence},
		{.name = "spiffe_refresh_hint",
			.type = MICA_JSON_INT,
			.max = INT32_MAX,
			.out = &t->refresh_hint}};
	MICA_AUTO_JSON d = {0};
	struct mica_err why = MICA_ERR_INIT;
	mica_rc rc;

	if (mica_json_parse(json, &limits, &d, &why) != MICA_OK || !json_is_object(d.root) ||
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, &why) !=
			MICA_OK)
		return mica_fail(e, why.rc == MICA_LIMIT ? MICA_LIMIT : MICA_INVALID,
			why.rc == MICA_LIMIT ? "bundle_too_long" : "bundle_malformed", "%s",
			why.reason ? why.text : "expected a SPIFFE bundle");
	t->sequence = (uint64_t)sequence;
	rc = read_keys(t, keys, e);
	if (rc == MICA_OK && t->n_roots == 0)
		rc = mica_fail(e, MICA_INVALID, "bundle_empty",
			"the bundle of %s has no root: nothing would be trusted", t->td);
	return rc;
}

mica_rc trust_read(
	const char *td, struct mica_slice json, const struct trust **out, struct mica_err *e)
{
	struct trust *fresh = NULL;
	mica_rc rc = trust_new(td, &fresh, e);

	*out = NULL;
	if (rc != MICA_OK)
		return rc;
	AUTO_TRUST t = fresh;
	rc = fill(fresh, json, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_put_slice(&fresh->json, json);
	finish(fresh);
	*out = MICA_STEAL(t);
	return MICA_OK;
}

mica_rc trust_from_pem(
	const char *td, struct mica_slice pem, const struct trust **out, struct mica_err *e)
{
	struct mica_slice certs[TRUST_ROOTS_MAX];
	struct trust *fresh = NULL;
	MICA_AUTO_BUF der;
	size_t n = 0;
	mica_rc rc = trust_new(td, &fresh, e);

	*out = NULL;
	mica_buf_init(&der, DER_MAX);
	if (rc != MICA_OK)
		return rc;
	AUTO_TRUST t = fresh;
	rc = mica_pem_certs(pem, &der, certs, TRUST_ROOTS_MAX, &n, e);
	for (size_t i = 0; i < n && rc == MICA_OK; i++) {
		rc = check_root(certs[i], e);
		if (rc == MICA_OK)
			add_root(fresh, certs[i]);
	}
	if (rc != MICA_OK)
		return rc;
	mica_buf_put_str(&fresh->jwks, "{\"keys\":[]}");
	finish(fresh);
	*out = MICA_STEAL(t);
	return MICA_OK;
}
