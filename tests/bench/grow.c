/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Issues ENTRIES certificates into the store of a configuration, through the core alone, so that a
 * bench can start on a large ledger:
 *
 *	grow CONFIG ENTRIES
 *
 * The passphrase must be in a file. Each certificate is for another pod of 1,000 service accounts
 * in 50 namespaces. Two threads prepare, this one commits.
 */
#include "mica/clock.h"
#include "mica/core.h"
#include "mica/key.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <pthread.h>
#include <stdio.h>

#define BATCH 1024

static void must(mica_rc rc, const struct mica_err *e)
{
	if (rc == MICA_OK)
		return;
	fprintf(stderr, "grow: %s\n", e->text);
	exit(1);
}

struct work {
	struct mica_core *core;
	struct mica_slice csr;
	uint64_t from;
	struct mica_candidate *k[BATCH];
	pthread_t thread;
};

static void who(uint64_t n, struct mica_caller *c)
{
	memset(c, 0, sizeof(*c));
	c->roles = MICA_ROLE_WORKLOAD;
	c->uid = c->gid = c->pid = -1;
	snprintf(c->principal.issuer, sizeof(c->principal.issuer), "demo");
	snprintf(c->principal.cluster, sizeof(c->principal.cluster), "demo");
	snprintf(c->principal.ns, sizeof(c->principal.ns), "ns-%u", (unsigned)(n % 50));
	snprintf(c->principal.sa, sizeof(c->principal.sa), "sa-%u", (unsigned)(n % 1000));
	snprintf(c->principal.pod, sizeof(c->principal.pod), "pod-%llu", (unsigned long long)n);
	snprintf(c->principal.node, sizeof(c->principal.node), "node-%u", (unsigned)(n % 200));
	memcpy(c->principal.pod_uid.b, &n, sizeof(n));
	c->principal.pod_uid.b[15] = 1;
	c->principal.sa_uid.b[0] = (uint8_t)(n % 1000);
	c->principal.sa_uid.b[15] = 2;
	snprintf(c->principal.spiffe_id, sizeof(c->principal.spiffe_id),
		"spiffe://bench.mica.example/ns/ns-%u/sa/sa-%u", (unsigned)(n % 50),
		(unsigned)(n % 1000));
	c->evidence = (struct mica_evidence){.kind = MICA_EV_TOKEN,
		.origin_time = mica_now(),
		.credential_expiry = mica_now() + 3600};
	snprintf(c->evidence.id, sizeof(c->evidence.id), "5a000000-0000-4000-8000-%012llx",
		(unsigned long long)n);
}

static void *prepare(void *arg)
{
	struct work *w = arg;

	for (unsigned i = 0; i < BATCH; i++) {
		struct mica_caller caller;
		struct mica_x509_request r = {
			.caller = &caller, .csr = w->csr, .bundle_sequence = 1};
		struct mica_err e = MICA_ERR_INIT;

		who(w->from + i, &caller);
		must(mica_core_prepare_x509(w->core, &r, mica_now_ms(), &w->k[i], &e), &e);
	}
	return NULL;
}

static void record(struct work *w, uint64_t *done, uint64_t all)
{
	struct mica_err e = MICA_ERR_INIT;
	size_t n = all - *done < BATCH ? (size_t)(all - *done) : BATCH;

	if (n > 0)
		must(mica_core_commit(w->core, w->k, n, mica_now_ms(), &e), &e);
	for (unsigned i = 0; i < BATCH; i++)
		mica_candidate_free(w->k[i]);
	*done += n;
	must(mica_core_maintain(w->core, mica_now_ms(), NULL, &e), &e);
}

static struct mica_slice make_csr(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	unsigned char *der = NULL;
	int len = -1;

	if (key && req && X509_REQ_set_pubkey(req, key) && X509_REQ_sign(req, key, EVP_sha256()))
		len = i2d_X509_REQ(req, &der);
	if (len <= 0) {
		fputs("grow: no request\n", stderr);
		exit(1);
	}
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	return mica_slice(der, (size_t)len);
}

static void grow(struct mica_core *core, uint64_t all)
{
	static struct work w[2];
	const struct mica_slice csr = make_csr();
	uint64_t done = 0;

	for (uint64_t from = 0; done < all; from += 2 * BATCH) {
		for (int i = 0; i < 2; i++) {
			w[i].core = core;
			w[i].csr = csr;
			w[i].from = from + (uint64_t)i * BATCH;
			if (pthread_create(&w[i].thread, NULL, prepare, &w[i]) != 0)
				exit(1);
		}
		for (int i = 0; i < 2; i++)
			pthread_join(w[i].thread, NULL);
		for (int i = 0; i < 2; i++)
			record(&w[i], &done, all);
	}
	OPENSSL_free((void *)(uintptr_t)csr.p);
}

int main(int argc, char **argv)
{
	struct mica_config *config = NULL;
	struct mica_secret *passphrase = NULL;
	struct mica_core *core = NULL;
	struct mica_err e = MICA_ERR_INIT;
	uint64_t all = 0;

	if (argc != 3 ||
		mica_parse_u64(mica_slice_str(argv[2]), UINT64_C(1) << 40, &all) != MICA_OK) {
		fputs("usage: grow CONFIG ENTRIES\n", stderr);
		return 2;
	}
	must(mica_config_load(argv[1], &config, &e), &e);
	must(mica_secret_load(&(struct mica_secret_source){.file = config->passphrase.file},
		     &passphrase, &e),
		&e);
	must(mica_core_open(config, passphrase, mica_now_ms(), &core, NULL, &e), &e);
	grow(core, all);
	mica_core_close(core);
	mica_secret_free(passphrase);
	mica_config_free(config);
	return 0;
}
