/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What others hand us as authorities: the files of a plugged-in one, private keys in every form,
 * and CRLs. The first octet says which. Whatever it is, it is read or refused with a reason; what
 * is read holds together.
 */
#include "../../ca/ca_files.h"

#include "mica/crl.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void refused(mica_rc rc, const struct mica_err *e)
{
	must(rc == e->rc && e->reason && e->text[0]);
}

/* Parts are set off by a line of its own, as no PEM has it. */
static struct mica_slice part(struct mica_slice *in)
{
	struct mica_slice p;

	(void)mica_slice_cut(in, '|', &p);
	return p;
}

static void files(struct mica_slice in, const struct mica_secret *pass)
{
	struct mica_plug plug = {.cert = {"cert", part(&in)},
		.chain = {"chain", part(&in)},
		.roots = {"roots", part(&in)},
		.key = {"key", part(&in)},
		.passphrase = pass};
	struct mica_err e = MICA_ERR_INIT;
	size_t path[MICA_AUTHORITY_CHAIN_MAX], n = 0, root = 0;
	struct mica_ca_rules rules = {.trust_domain = "example.org", .now = 1795521600};
	MICA_AUTO_CA_SET s = NULL;
	mica_rc rc = mica_ca_set_read(&plug, &s, &e);

	if (rc != MICA_OK) {
		refused(rc, &e);
		return;
	}
	must(mica_pubkey_eq(mica_signer_public(s->key), &s->issuing.key));
	rc = mica_ca_check_issuing(&rules, &s->issuing, &e);
	if (rc == MICA_OK)
		rc = mica_ca_find_path(&rules, &s->issuing, s->pool, s->n_pool, s->roots,
			s->n_roots, path, &n, &root, &e);
	if (rc != MICA_OK) {
		refused(rc, &e);
		return;
	}
	must(root < s->n_roots && n <= MICA_AUTHORITY_CHAIN_MAX);
	for (size_t i = 0; i < n; i++)
		must(path[i] < s->n_pool);
}

static void key(struct mica_slice in, const struct mica_secret *pass)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_SIGNER s = NULL;
	mica_rc rc = mica_ca_key_read(in, pass, &s, &e);

	if (rc != MICA_OK)
		refused(rc, &e);
	else
		must(s != NULL);
}

static void crl(struct mica_slice in, const struct mica_secret *pass)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_crl_info info;
	mica_rc rc = mica_crl_read(in, &info, &e);

	(void)pass;
	if (rc != MICA_OK)
		refused(rc, &e);
	else
		must(info.next_update > info.this_update && info.tbs.len < in.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const targets[])(struct mica_slice, const struct mica_secret *) = {
		files, key, crl};
	static struct mica_secret *pass;

	if (!pass)
		pass = mica_secret_new("open sesame", 11);
	if (size > 0)
		targets[data[0] % MICA_ARRAY_LEN(targets)](
			mica_slice(data + 1, size - 1), data[0] & 0x80 ? pass : NULL);
	return 0;
}
