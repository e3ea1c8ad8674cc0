/* SPDX-License-Identifier: Apache-2.0 */
#include "serving.h"

#include "mica/cert.h"
#include "mica/key.h"
#include "mica/log.h"
#include "mica/mem.h"
#include "mica/pem.h"

#include <pthread.h>

/* A decision is made again when what it was based on has changed under it. */
#define CONFLICTS_MAX    5
#define RETRY_FIRST_MS   1000
#define RETRY_LONGEST_MS 60000
#define RETRY_NONE_MS    2000 /* while there is no certificate to serve with */

struct serving {
	struct mica_core *core;
	struct committer *committer;
	const struct mica_config *config;
	const char *names[MICA_LEAF_DNS_MAX];
	struct mica_string_list dns; /* of `names` */
	int64_t due_ms, retry_ms, not_after;
};

/* One candidate on its way through the committer. */
struct wait {
	pthread_mutex_t mutex;
	pthread_cond_t over;
	bool done;
	mica_rc rc;
	struct mica_err e;
};

struct serving *serving_new(
	struct mica_core *core, struct committer *committer, const struct mica_config *config)
{
	struct serving *s = MICA_NEW(struct serving);

	s->core = core;
	s->committer = committer;
	s->config = config;
	s->dns.n = (unsigned)mica_config_dns_names(config, s->names, MICA_ARRAY_LEN(s->names));
	s->dns.v = (char **)(uintptr_t)s->names;
	s->retry_ms = RETRY_FIRST_MS;
	return s;
}

void serving_free(struct serving *s)
{
	mica_free(s);
}

void serving_key_clear(struct serving_key *k)
{
	if (k->http)
		http_tls_key_unref(k->http);
	mica_rpc_key_unref(k->rpc);
	*k = (struct serving_key){.http = NULL};
}

static mica_rc make_keys(const struct serving *s, struct mica_slice chain_pem,
	const struct mica_secret *pkcs8, struct serving_key *out, struct mica_err *e)
{
	mica_rc rc = http_tls_key_new(chain_pem, mica_secret_view(pkcs8), &out->http, e);

	if (rc == MICA_OK && mica_config_has_grpc(s->config))
		rc = mica_rpc_key_new(chain_pem, mica_secret_view(pkcs8), &out->rpc, e);
	if (rc != MICA_OK)
		serving_key_clear(out);
	return rc;
}

int64_t serving_not_after(const struct serving *s)
{
	return s->not_after;
}

void serving_hurry(struct serving *s)
{
	s->due_ms = 0;
}

static void recorded(void *ctx, struct mica_candidate *k, mica_rc rc, const struct mica_err *e)
{
	struct wait *w = ctx;

	(void)k;
	pthread_mutex_lock(&w->mutex);
	w->rc = rc;
	if (e)
		w->e = *e;
	w->done = true;
	pthread_cond_signal(&w->over);
	pthread_mutex_unlock(&w->mutex);
}

/* Records `k` and waits for it. */
static mica_rc record(struct serving *s, struct mica_candidate *k, struct mica_err *e)
{
	struct wait w = {.mutex = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER};
	mica_rc rc = committer_take_submit(s->committer, k, recorded, &w, e);

	if (rc != MICA_OK)
		return rc;
	pthread_mutex_lock(&w.mutex);
	while (!w.done)
		pthread_cond_wait(&w.over, &w.mutex);
	pthread_mutex_unlock(&w.mutex);
	pthread_mutex_destroy(&w.mutex);
	pthread_cond_destroy(&w.over);
	if (w.rc == MICA_CONFLICT)
		return mica_fail(e, MICA_CONFLICT, "decision_changed",
			"what the decision was based on has changed");
	if (w.rc != MICA_OK && e && e->rc == MICA_OK)
		*e = w.e;
	return w.rc;
}

/* For a start that cannot issue; not kept is no reason not to serve with it now. */
static void keep(struct serving *s, const struct mica_secret *pkcs8, struct mica_slice chain_pem,
	int64_t now_ms)
{
	struct mica_err e = MICA_ERR_INIT;

	if (mica_core_keep_serving(s->core, pkcs8, chain_pem, now_ms, &e) != MICA_OK)
		MICA_LOG(MICA_WARN, "serving_certificate_not_kept", MICA_E(&e));
}

static mica_rc take_issued(struct serving *s, const struct mica_signer *key,
	const struct mica_candidate *k, int64_t now_ms, struct serving_key *out, struct mica_err *e)
{
	MICA_AUTO_SECRET pkcs8 = NULL;
	struct mica_issued issued;
	mica_rc rc = mica_signer_pkcs8(key, &pkcs8, e);

	if (rc != MICA_OK)
		return rc;
	mica_candidate_issued(k, &issued);
	rc = make_keys(s, issued.chain_pem, pkcs8, out, e);
	if (rc != MICA_OK)
		return rc;
	s->not_after = issued.not_after;
	s->due_ms = issued.renew_after * 1000;
	keep(s, pkcs8, issued.chain_pem, now_ms);
	return MICA_OK;
}

mica_rc serving_last(struct serving *s, struct serving_key *out, struct mica_err *e)
{
	MICA_AUTO_SECRET pkcs8 = NULL;
	struct mica_cert_info info;
	struct mica_slice certs[4];
	MICA_AUTO_BUF pem, der;
	size_t n = 0;
	mica_rc rc;

	*out = (struct serving_key){.http = NULL};
	mica_buf_init(&pem, 8 * MICA_CERT_MAX);
	mica_buf_init(&der, 4 * MICA_CERT_MAX);
	rc = mica_core_kept_serving(s->core, &pkcs8, &pem, e);
	if (rc == MICA_OK)
		rc = make_keys(s, mica_buf_slice(&pem), pkcs8, out, e);
	if (rc != MICA_OK)
		return rc;
	if (mica_pem_certs(mica_buf_slice(&pem), &der, certs, MICA_ARRAY_LEN(certs), &n, NULL) ==
			MICA_OK &&
		n > 0 && mica_cert_read(certs[0], &info, NULL) == MICA_OK)
		s->not_after = info.not_after;
	return MICA_OK;
}

static mica_rc issue(struct serving *s, const struct mica_signer *key, int64_t now_ms,
	struct serving_key *out, struct mica_err *e)
{
	struct mica_self_request r = {
		.spki = mica_pubkey_spki(mica_signer_public(key)),
		.dns_names = &s->dns,
		.ip_addresses = &s->config->https.ip_addresses,
	};
	struct mica_candidate *k = NULL;
	mica_rc rc = mica_core_prepare_self(s->core, &r, now_ms, &k, e);

	if (rc != MICA_OK)
		return rc;
	rc = record(s, k, e);
	if (rc == MICA_OK)
		rc = take_issued(s, key, k, now_ms, out, e);
	mica_candidate_free(k);
	return rc;
}

mica_rc serving_renew(
	struct serving *s, int64_t now_ms, struct serving_key *out, struct mica_err *e)
{
	MICA_AUTO_SIGNER key = NULL;
	int64_t longest;
	mica_rc rc;

	*out = (struct serving_key){.http = NULL};
	if (now_ms < s->due_ms)
		return MICA_OK;
	/* A new key each time; on P-256, since a handshake with RSA costs six times as much. */
	rc = mica_signer_generate(MICA_KN_P256, &key, e);
	for (int i = 0; rc == MICA_OK && i < CONFLICTS_MAX; i++) {
		rc = issue(s, key, now_ms, out, e);
		if (rc != MICA_CONFLICT || i + 1 == CONFLICTS_MAX)
			break;
		mica_err_clear(e);
		rc = MICA_OK;
	}
	if (rc == MICA_OK) {
		s->retry_ms = RETRY_FIRST_MS;
		return MICA_OK;
	}
	s->due_ms = now_ms + s->retry_ms;
	longest = s->not_after ? RETRY_LONGEST_MS : RETRY_NONE_MS;
	s->retry_ms = s->retry_ms * 2 < longest ? s->retry_ms * 2 : longest;
	return rc;
}
