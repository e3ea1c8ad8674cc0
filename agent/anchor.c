/* SPDX-License-Identifier: Apache-2.0 */
#include "anchor.h"

#include "mica/cert.h"
#include "mica/file.h"
#include "mica/pem.h"

#include <pthread.h>

struct anchor {
	const struct agent_config *c;
	pthread_mutex_t lock;
	bool has_mark;
	uint8_t mark[32]; /* of the bootstrap that has done its work */
	struct mica_buf pinned; /* PEM of the root with the pinned key; empty = not known */
};

struct anchor *anchor_new(const struct agent_config *c)
{
	struct anchor *a = MICA_NEW(struct anchor);

	a->c = c;
	pthread_mutex_init(&a->lock, NULL);
	mica_buf_init(&a->pinned, 2 * MICA_CERT_MAX);
	return a;
}

void anchor_free(struct anchor *a)
{
	if (!a)
		return;
	mica_buf_clear(&a->pinned);
	pthread_mutex_destroy(&a->lock);
	mica_free(a);
}

void anchor_now_clear(struct anchor_now *n)
{
	mica_buf_clear(&n->pem);
}

/* A list of roots in PEM, or a SPIFFE bundle; what comes out is PEM. */
static mica_rc read_bootstrap(
	const struct agent_config *c, struct anchor_now *out, struct mica_err *e)
{
	const struct trust *told = NULL;
	struct mica_slice text;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, ANCHOR_PEM_MAX);
	rc = mica_file_read(c->micad.bootstrap_file, &b, e);
	if (rc != MICA_OK)
		return rc;
	text = mica_buf_slice(&b);
	if (text.len > 0 && text.p[0] == '{')
		rc = trust_read(c->trust_domain, text, &told, e);
	else
		rc = trust_from_pem(c->trust_domain, text, &told, e);
	if (rc != MICA_OK)
		return rc;
	mica_sha256(text, out->mark);
	mica_buf_put_slice(&out->pem, mica_buf_slice(&told->pem));
	trust_unref(told);
	return mica_buf_rc(&out->pem, e);
}

static bool is_done(struct anchor *a, const uint8_t mark[32])
{
	bool done;

	pthread_mutex_lock(&a->lock);
	done = a->has_mark && memcmp(a->mark, mark, sizeof(a->mark)) == 0;
	pthread_mutex_unlock(&a->lock);
	return done;
}

static void take_pinned(struct anchor *a, struct anchor_now *out)
{
	memcpy(out->mark, a->c->micad.pin_hash, sizeof(out->mark));
	pthread_mutex_lock(&a->lock);
	mica_buf_put_slice(&out->pem, mica_buf_slice(&a->pinned));
	pthread_mutex_unlock(&a->lock);
}

mica_rc anchor_get(
	struct anchor *a, const struct trust *held, struct anchor_now *out, struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT;
	mica_rc rc = MICA_OK;

	*out = (struct anchor_now){.bootstrap = true};
	mica_buf_init(&out->pem, ANCHOR_PEM_MAX);
	if (a->c->micad.pin)
		take_pinned(a, out);
	else
		rc = read_bootstrap(a->c, out, &why);
	if (rc != MICA_OK && !held)
		return mica_fail(e, MICA_UNAVAILABLE, "bootstrap_unusable", "%s", why.text);
	if (rc == MICA_OK && !(held && is_done(a, out->mark)))
		return MICA_OK;
	mica_buf_reset(&out->pem);
	mica_buf_put_slice(&out->pem, mica_buf_slice(&held->pem));
	out->bootstrap = false;
	return mica_buf_rc(&out->pem, e);
}

void anchor_done(struct anchor *a, const uint8_t mark[32])
{
	pthread_mutex_lock(&a->lock);
	a->has_mark = true;
	memcpy(a->mark, mark, sizeof(a->mark));
	mica_buf_reset(&a->pinned);
	pthread_mutex_unlock(&a->lock);
}

bool anchor_mark(struct anchor *a, uint8_t mark[32])
{
	bool has;

	pthread_mutex_lock(&a->lock);
	has = a->has_mark;
	memcpy(mark, a->mark, sizeof(a->mark));
	pthread_mutex_unlock(&a->lock);
	return has;
}

/* The certificate says what its key has signed, and nothing that was put in on the way. */
static bool is_pinned(const struct agent_config *c, struct mica_slice der)
{
	struct mica_cert_info info;
	struct mica_pubkey key;

	return mica_cert_read(der, &info, NULL) == MICA_OK &&
		mica_pubkey_read(info.spki, &key, NULL) == MICA_OK &&
		memcmp(key.spki_sha256, c->micad.pin_hash, sizeof(key.spki_sha256)) == 0 &&
		mica_pubkey_verify(&key, info.alg, MICA_SIG_DER, info.tbs, info.signature, NULL) ==
		MICA_OK;
}

mica_rc anchor_learn_pinned(struct anchor *a, const struct trust *told, struct mica_err *e)
{
	for (size_t i = 0; i < told->n_roots; i++) {
		if (!is_pinned(a->c, trust_root(told, i)))
			continue;
		pthread_mutex_lock(&a->lock);
		mica_buf_reset(&a->pinned);
		mica_pem_put(&a->pinned, MICA_PEM_CERT, trust_root(told, i));
		pthread_mutex_unlock(&a->lock);
		return MICA_OK;
	}
	return mica_fail(e, MICA_INVALID, "pin_mismatch",
		"none of the %zu roots that micad tells of has the pinned key", told->n_roots);
}
