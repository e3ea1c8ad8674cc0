/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to TokenReviews: one that is not exactly a yes for this token is none. And what is
 * remembered of them, against a memory that forgets nothing: a verdict is never another pod's, nor
 * an old one.
 */
#include "mica/json.h"
#include "mica/token.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW    ((int64_t)1795521600)
#define SA_UID "11111111-2222-4333-8444-555555555555"
#define PODS   16

static void require(bool ok)
{
	if (!ok)
		abort();
}

static struct mica_issuers *make_issuers(void)
{
	static char name[] = "a", url[] = "https://a", mica[] = "mica";
	static char path[] = "/ns/{namespace}/sa/{serviceaccount}";
	static char *audiences[] = {mica};
	struct mica_issuer_config c = {.name = name, .issuer = url, .spiffe_path = path};
	struct mica_issuers *s = NULL;

	c.audiences[MICA_FRONT_REST] = (struct mica_string_list){.v = audiences, .n = 1};
	c.max_token_life[MICA_FRONT_REST] = 3700;
	require(mica_issuers_new("example.org", &c, 1, &s, NULL, NULL) == MICA_OK);
	return s;
}

static struct mica_principal principal(void)
{
	struct mica_principal p = {
		.issuer = "a", .ns = "payments", .sa = "checkout", .pod = "pod-1"};

	require(mica_uuid_parse(MICA_LIT(SA_UID), p.sa_uid.b) == MICA_OK);
	memset(p.pod_uid.b, 7, sizeof(p.pod_uid.b));
	return p;
}

static const char *text_of(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

/* A yes says at least this, read without our reader. */
static void check_yes(struct mica_slice answer)
{
	json_error_t je;
	json_t *j = json_loadb((const char *)answer.p, answer.len, JSON_REJECT_DUPLICATES, &je);
	const json_t *status = json_object_get(j, "status"),
		     *user = json_object_get(status, "user");

	require(json_is_true(json_object_get(status, "authenticated")));
	require(strcmp(text_of(status, "error"), "") == 0);
	require(json_array_size(json_object_get(status, "audiences")) > 0);
	require(strcmp(text_of(user, "username"), "system:serviceaccount:payments:checkout") == 0);
	require(strcmp(text_of(user, "uid"), SA_UID) == 0);
	require(json_object_size(json_object_get(user, "extra")) >= 2);
	json_decref(j);
}

static void check_answer(const struct mica_issuer *issuer, int http, struct mica_slice answer)
{
	const struct mica_principal p = principal();
	const struct mica_evidence ev = {.kind = MICA_EV_TOKEN, .id = "j"};
	struct mica_err e = MICA_ERR_INIT;

	mica_rc rc = mica_review_judge(issuer, MICA_FRONT_REST, &p, &ev, http, answer, &e);
	require(rc == e.rc);
	if (rc == MICA_OK) {
		require(http == 200 || http == 201);
		check_yes(answer);
	} else if (rc == MICA_DENIED) {
		require(http == 200 || http == 201);
		require(!strcmp(e.reason, "pod_gone") || !strcmp(e.reason, "token_review_refused"));
	} else {
		require(rc == MICA_UNAVAILABLE && !strcmp(e.reason, "token_review_failed"));
	}
}

struct remembered {
	enum mica_review_verdict verdict;
	int64_t at;
};

static void check_get(struct mica_review_cache *c, const struct mica_principal *p,
	const struct remembered *m, enum mica_review_mode mode, int64_t now)
{
	enum mica_review_verdict v = mica_review_cache_get(c, mode, p, now);
	int64_t life = m->verdict == MICA_VERDICT_NO ? MICA_REVIEW_NO
		: mode == MICA_REVIEW_ALWAYS         ? MICA_REVIEW_ALWAYS_YES
						     : MICA_REVIEW_FIRST_USE_YES;

	if (mode == MICA_REVIEW_NEVER)
		require(v == MICA_VERDICT_YES);
	else if (v != MICA_VERDICT_UNKNOWN)
		require(v == m->verdict && m->at <= now && now - m->at < life);
}

/* Three octets a step: what is done, for whom, and by how much the clock moves. */
static void check_cache(struct mica_slice steps)
{
	struct mica_review_cache *c = mica_review_cache_new(8);
	struct remembered memory[PODS] = {{MICA_VERDICT_UNKNOWN, 0}};
	struct mica_principal p = principal();
	int64_t now = NOW;

	for (size_t i = 0; i + 3 <= steps.len; i += 3) {
		unsigned who = steps.p[i + 1] % PODS, what = steps.p[i] % 8;
		p.pod_uid.b[0] = (uint8_t)who;
		now += (int8_t)steps.p[i + 2];
		if (what < 2) {
			memory[who].verdict = what ? MICA_VERDICT_YES : MICA_VERDICT_NO;
			memory[who].at = now;
			mica_review_cache_put(c, &p, memory[who].verdict, now);
			/* what was put last is there */
			require(mica_review_cache_get(c, MICA_REVIEW_FIRST_USE, &p, now) ==
				memory[who].verdict);
		} else if (what == 2 && who == 0) {
			mica_review_cache_forget(c, "a");
			memset(memory, 0, sizeof(memory));
		}
		check_get(c, &p, &memory[who], (enum mica_review_mode)(what % 3), now);
	}
	mica_review_cache_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = {200, 201, 0, 401, 500};
	static struct mica_issuers *issuers;
	struct mica_slice in = mica_slice(data, size);

	if (issuers == NULL)
		issuers = make_issuers();
	if (size == 0)
		return 0;
	if (data[0] & 0x80)
		check_cache(mica_slice_sub(in, 1, size));
	else
		check_answer(mica_issuers_at(issuers, 0),
			statuses[data[0] % MICA_ARRAY_LEN(statuses)], mica_slice_sub(in, 1, size));
	return 0;
}
