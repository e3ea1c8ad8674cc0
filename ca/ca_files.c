/* SPDX-License-Identifier: Apache-2.0 */
#include "ca_files.h"

#include "mica/pem.h"

#define DER_MAX ((1 + MICA_CA_FILES_POOL + MICA_CA_FILES_ROOTS) * MICA_CERT_MAX)

void mica_ca_set_free(struct mica_ca_set *s)
{
	if (!s)
		return;
	mica_signer_free(s->key);
	mica_buf_clear(&s->der);
	mica_free(s);
}

/* One file's certificates, behind what is in `der` already: lengths alone count until all are
 * there. */
static mica_rc read_file(const struct mica_plug_file *f, struct mica_buf *der, size_t *lens,
	size_t max, size_t *n, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_slice certs[MICA_CA_FILES_ROOTS];
	mica_rc rc = mica_pem_certs(f->text, der, certs, max, n, &own);

	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s: %s", f->name, own.text);
	for (size_t i = 0; i < *n; i++)
		lens[i] = certs[i].len;
	return MICA_OK;
}

static mica_rc parse(const struct mica_plug_file *f, struct mica_slice *at, size_t len,
	struct mica_ca_cert *out, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_ca_cert_read(mica_slice_sub(*at, 0, len), out, &own);

	*at = mica_slice_sub(*at, len, at->len);
	return rc == MICA_OK ? MICA_OK : mica_fail(e, rc, own.reason, "%s: %s", f->name, own.text);
}

/* The files in turn: the issuing authority and what follows it, the chain, the roots. */
static mica_rc read_certs(const struct mica_plug *in, struct mica_ca_set *s, struct mica_err *e)
{
	size_t lens[3][MICA_CA_FILES_ROOTS], n[3] = {0};
	struct mica_slice at;
	mica_rc rc = read_file(&in->cert, &s->der, lens[0], MICA_CA_FILES_POOL / 2, &n[0], e);

	if (rc == MICA_OK && in->chain.text.len > 0)
		rc = read_file(&in->chain, &s->der, lens[1], MICA_CA_FILES_POOL / 2, &n[1], e);
	if (rc == MICA_OK)
		rc = read_file(&in->roots, &s->der, lens[2], MICA_CA_FILES_ROOTS, &n[2], e);
	at = mica_buf_slice(&s->der);
	if (rc == MICA_OK)
		rc = parse(&in->cert, &at, lens[0][0], &s->issuing, e);
	for (size_t i = 1; i < n[0] && rc == MICA_OK; i++)
		rc = parse(&in->cert, &at, lens[0][i], &s->pool[s->n_pool++], e);
	for (size_t i = 0; i < n[1] && rc == MICA_OK; i++)
		rc = parse(&in->chain, &at, lens[1][i], &s->pool[s->n_pool++], e);
	for (size_t i = 0; i < n[2] && rc == MICA_OK; i++)
		rc = parse(&in->roots, &at, lens[2][i], &s->roots[s->n_roots++], e);
	return rc;
}

static mica_rc read_key(const struct mica_plug *in, struct mica_ca_set *s, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_ca_key_read(in->key.text, in->passphrase, &s->key, &own);

	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s: %s", in->key.name, own.text);
	if (!mica_pubkey_eq(mica_signer_public(s->key), &s->issuing.key))
		return mica_fail(e, MICA_INVALID, "plugged_key_mismatch",
			"%s is not the key of the first certificate in %s: were they replaced one by "
			"one?",
			in->key.name, in->cert.name);
	return MICA_OK;
}

mica_rc mica_ca_set_read(const struct mica_plug *in, struct mica_ca_set **out, struct mica_err *e)
{
	MICA_AUTO_CA_SET s = MICA_NEW(struct mica_ca_set);
	mica_rc rc;

	mica_buf_init(&s->der, DER_MAX);
	rc = read_certs(in, s, e);
	if (rc == MICA_OK && mica_ca_cert_is_root(&s->issuing))
		rc = mica_fail(e, MICA_INVALID, "plugged_is_root",
			"%s: it is a root itself, or signed by its own name; expected an authority "
			"below the roots of %s",
			in->cert.name, in->roots.name);
	if (rc == MICA_OK)
		rc = read_key(in, s, e);
	if (rc == MICA_OK)
		*out = MICA_STEAL(s);
	return rc;
}
