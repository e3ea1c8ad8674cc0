/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In place of the core, for tests of what fetches on its behalf: records what it is given and
 * answers by the contract of mica/core.h. A key set is any document that begins with {"keys".
 */
#ifndef TEST_FAKE_CORE_H
#define TEST_FAKE_CORE_H

#include <pthread.h>
#include <stdio.h>

#include "mica/clock.h"
#include "mica/core.h"

#define FAKE_ISSUERS 8

struct fake_issuer {
	char name[MICA_NAME_MAX + 1];
	char document[256]; /* the last good one, cut */
	unsigned given; /* documents, good or bad */
	int64_t fetched; /* seconds */
};

struct mica_core {
	pthread_mutex_t lock;
	struct fake_issuer issuers[FAKE_ISSUERS];
	/* reviews */
	unsigned requests, judged;
	int last_status;
	char last_answer[256];
};

static inline void fake_core_init(struct mica_core *c)
{
	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
}

/* Under the lock. */
static inline struct fake_issuer *fake_issuer(struct mica_core *c, const char *name)
{
	for (unsigned i = 0; i < FAKE_ISSUERS; i++) {
		if (c->issuers[i].name[0] == '\0')
			snprintf(c->issuers[i].name, sizeof(c->issuers[i].name), "%s", name);
		if (strcmp(c->issuers[i].name, name) == 0)
			return &c->issuers[i];
	}
	abort();
}

/* A copy. */
static inline struct fake_issuer fake_core_issuer(struct mica_core *c, const char *name)
{
	struct fake_issuer i;

	pthread_mutex_lock(&c->lock);
	i = *fake_issuer(c, name);
	pthread_mutex_unlock(&c->lock);
	return i;
}

static inline void fake_core_age(struct mica_core *c, const char *name, int64_t seconds)
{
	pthread_mutex_lock(&c->lock);
	fake_issuer(c, name)->fetched = mica_now() - seconds;
	pthread_mutex_unlock(&c->lock);
}

mica_rc mica_core_set_jwks(struct mica_core *c, const char *issuer, struct mica_slice document,
	int64_t now_ms, unsigned *usable, unsigned *skipped, struct mica_err *e)
{
	struct fake_issuer *i;
	bool good = mica_slice_has_prefix(document, MICA_LIT("{\"keys\""));

	pthread_mutex_lock(&c->lock);
	i = fake_issuer(c, issuer);
	i->given++;
	if (good) {
		snprintf(i->document, sizeof(i->document), "%.*s", MICA_FMT(document));
		i->fetched = now_ms / 1000;
	}
	pthread_mutex_unlock(&c->lock);
	if (!good)
		return mica_fail(e, MICA_INVALID, "jwks_malformed", "no key set");
	*usable = 1;
	*skipped = 0;
	return MICA_OK;
}

mica_rc mica_core_jwks_age(struct mica_core *c, const char *issuer, int64_t *fetched,
	unsigned *keys, struct mica_err *e)
{
	struct fake_issuer i = fake_core_issuer(c, issuer);

	(void)e;
	*fetched = i.fetched;
	*keys = i.fetched ? 1 : 0;
	return MICA_OK;
}

mica_rc mica_core_review_request(struct mica_core *c, const struct mica_caller *caller,
	struct mica_slice token, struct mica_buf *body, struct mica_err *e)
{
	(void)caller;
	pthread_mutex_lock(&c->lock);
	c->requests++;
	pthread_mutex_unlock(&c->lock);
	mica_buf_put_str(body, "{\"token\":");
	mica_buf_put_json_string(body, token);
	mica_buf_put_str(body, "}");
	return mica_buf_rc(body, e);
}

mica_rc mica_core_review_judge(struct mica_core *c, const struct mica_caller *caller, int status,
	struct mica_slice answer, int64_t now_ms, struct mica_err *e)
{
	(void)caller;
	(void)now_ms;
	pthread_mutex_lock(&c->lock);
	c->judged++;
	c->last_status = status;
	snprintf(c->last_answer, sizeof(c->last_answer), "%.*s", MICA_FMT(answer));
	pthread_mutex_unlock(&c->lock);
	if (status != 200 && status != 201)
		return mica_fail(e, MICA_UNAVAILABLE, "token_review_failed", "status %d", status);
	if (mica_slice_eq_str(answer, "yes"))
		return MICA_OK;
	return mica_fail(e, MICA_DENIED, "pod_gone", "the pod is gone");
}

#endif
