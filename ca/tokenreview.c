/* SPDX-License-Identifier: Apache-2.0 */
/* TokenReview: the question, the judgement of the answer, and what is remembered of it. */
#include "mica/json.h"
#include "mica/secret.h"

#include <stdio.h>

#include "issuer.h"

mica_rc mica_review_request(const struct mica_issuer *i, enum mica_front front,
	struct mica_slice token, struct mica_buf *body, struct mica_err *e)
{
	const struct mica_string_list *ours = &i->audiences[front];

	mica_buf_put_str(body,
		"{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"spec\":{\"token\":");
	mica_buf_put_json_string(body, token);
	mica_buf_put_str(body, ",\"audiences\":[");
	for (unsigned k = 0; k < ours->n; k++) {
		if (k)
			mica_buf_put_u8(body, ',');
		mica_buf_put_json_string(body, mica_slice_str(ours->v[k]));
	}
	mica_buf_put_str(body, "]}}");
	return mica_buf_rc(body, e);
}

/* ---- judging ------------------------------------------------------------------------------- */

struct judge {
	const struct mica_issuer *issuer;
	enum mica_front front;
	const struct mica_principal *p;
	const struct mica_evidence *ev;
	struct mica_err *e;
};

/* Our own trouble: nothing is known about the token. */
static mica_rc failed(const struct judge *j, const char *detail)
{
	return mica_fail_fine(j->e, MICA_UNAVAILABLE, "token_review_failed",
		"the cluster could not be asked about the token; try again", NULL,
		"TokenReview of issuer %s: %s", j->issuer->name, detail);
}

static mica_rc refused(const struct judge *j, const char *fine, const char *detail)
{
	return mica_fail_fine(j->e, MICA_DENIED, "token_review_refused",
		"the cluster does not vouch for the token; expected one of a running pod", fine,
		"TokenReview of issuer %s: %s", j->issuer->name, detail);
}

/* What kube-apiserver says of a token whose pod, node or service account is gone, or has a
 * successor of the same name (pkg/serviceaccount/claims.go; tests/data/kube has originals). */
static bool says_gone(const char *text)
{
	static const struct {
		const char *begin, *end;
	} said[] = {
		{"service account token has been", " invalidated"},
		{"serviceaccounts \"", "\" not found"},
		{"service account ", " has been deleted"},
		{"service account UID (", ") does not match claim"},
		{"pod UID (", ") does not match service account pod ref claim"},
		{"node UID (", ") does not match service account node ref claim"},
	};

	for (size_t i = 0; i < MICA_ARRAY_LEN(said); i++) {
		const char *at = strstr(text, said[i].begin);
		if (at && strstr(at, said[i].end))
			return true;
	}
	return false;
}

static mica_rc not_authenticated(const struct judge *j, const json_t *status)
{
	const json_t *error = json_object_get(status, "error");
	const char *text = json_is_string(error) ? json_string_value(error) : "no reason given";

	if (says_gone(text))
		return mica_fail_fine(j->e, MICA_DENIED, "pod_gone",
			"the pod of the token, or its service account, no longer exists; expected a token of a running pod",
			NULL, "TokenReview of issuer %s: %s", j->issuer->name, text);
	return refused(j, "review_refused", text);
}

static bool audiences_ours(const struct judge *j, const json_t *status)
{
	const json_t *got = json_object_get(status, "audiences");
	const struct mica_string_list *ours = &j->issuer->audiences[j->front];

	for (size_t i = 0; i < json_array_size(got); i++)
		for (unsigned k = 0; k < ours->n; k++) {
			const json_t *v = json_array_get(got, i);
			if (json_is_string(v) && mica_slice_eq_str(mica_json_str(v), ours->v[k]))
				return true;
		}
	return false;
}

static bool is_known_uid(const struct mica_uid *u)
{
	static const struct mica_uid none;

	return memcmp(u, &none, sizeof(none)) != 0;
}

/* `extra` has arrays of strings; one value is what we know of. */
static bool extra_is(const json_t *user, const char *key, const char *expected, bool required)
{
	const json_t *v = json_object_get(json_object_get(user, "extra"), key);
	const json_t *only = json_array_get(v, 0);

	if (v == NULL)
		return !required;
	return json_array_size(v) == 1 && json_is_string(only) &&
		mica_slice_eq_str(mica_json_str(only), expected);
}

static bool extra_uid_is(
	const json_t *user, const char *key, const struct mica_uid *uid, bool required)
{
	char text[MICA_UUID_SIZE];

	mica_uuid_format(uid->b, text);
	return extra_is(user, key, is_known_uid(uid) ? text : "", required);
}

static const char *user_fault(const struct judge *j, const json_t *user)
{
	const struct mica_principal *p = j->p;
	const json_t *name = json_object_get(user, "username"), *uid = json_object_get(user, "uid");
	char expected[MICA_K8S_NS_MAX + MICA_K8S_NAME_MAX + 32], sa_uid[MICA_UUID_SIZE];
	char id[MICA_EVIDENCE_ID_MAX + 8];
	bool pod = p->pod[0] != '\0';

	snprintf(expected, sizeof(expected), "system:serviceaccount:%s:%s", p->ns, p->sa);
	mica_uuid_format(p->sa_uid.b, sa_uid);
	snprintf(id, sizeof(id), "JTI=%s", j->ev->id);
	if (!json_is_string(name) || !mica_slice_eq_str(mica_json_str(name), expected))
		return "another user name";
	if (!json_is_string(uid) || !mica_slice_eq_str(mica_json_str(uid), sa_uid))
		return "another service account UID";
	if (!extra_is(user, "authentication.kubernetes.io/pod-name", p->pod, pod) ||
		!extra_uid_is(user, "authentication.kubernetes.io/pod-uid", &p->pod_uid, pod))
		return "another pod";
	if (!extra_is(user, "authentication.kubernetes.io/node-name", p->node, false) ||
		(is_known_uid(&p->node_uid) &&
			!extra_uid_is(user, "authentication.kubernetes.io/node-uid", &p->node_uid,
				false)))
		return "another node";
	if (!extra_is(user, "authentication.kubernetes.io/credential-id", id, false))
		return "another token id";
	return NULL;
}

static mica_rc judge_status(const struct judge *j, const json_t *status)
{
	const json_t *yes = json_object_get(status, "authenticated");
	const json_t *error = json_object_get(status, "error");

	if (!json_is_object(status))
		return failed(j, "the answer has no status");
	if (yes && !json_is_boolean(yes))
		return failed(j, "status.authenticated is not a boolean");
	if (error && !json_is_string(error))
		return failed(j, "status.error is not a string");
	/* absent means no */
	if (!json_is_true(yes))
		return not_authenticated(j, status);
	if (json_string_length(error))
		return refused(j, "review_contradiction", "authenticated, and an error as well");
	/* A server that knows nothing of audiences says yes to a token for itself. */
	if (!audiences_ours(j, status))
		return refused(j, "review_audience", "authenticated, but not for our audience");
	const char *fault = user_fault(j, json_object_get(status, "user"));
	return fault ? refused(j, "review_user_mismatch", fault) : MICA_OK;
}

mica_rc mica_review_judge(const struct mica_issuer *i, enum mica_front front,
	const struct mica_principal *p, const struct mica_evidence *ev, int http_status,
	struct mica_slice answer, struct mica_err *e)
{
	static const struct mica_json_limits limits = {
		.bytes = MICA_REVIEW_ANSWER_MAX, .depth = 16};
	const struct judge j = {.issuer = i, .front = front, .p = p, .ev = ev, .e = e};
	MICA_AUTO_JSON d = {.root = NULL};
	struct mica_err why = MICA_ERR_INIT;
	char text[64];

	snprintf(text, sizeof(text), "HTTP status %d", http_status);
	if (http_status == 0)
		return failed(&j, "no answer came");
	if (http_status != 200 && http_status != 201)
		return failed(&j, text);
	if (mica_json_parse(answer, &limits, &d, &why))
		return failed(&j, why.text);
	const json_t *kind = json_object_get(d.root, "kind");
	if (!json_is_string(kind) || !mica_slice_eq_str(mica_json_str(kind), "TokenReview"))
		return failed(&j, "the answer is not a TokenReview");
	return judge_status(&j, json_object_get(d.root, "status"));
}

/* ---- remembering --------------------------------------------------------------------------- */

#define WAYS 4

struct entry {
	bool used;
	enum mica_review_verdict verdict;
	int64_t at;
	struct mica_uid pod, sa;
	char issuer[MICA_NAME_MAX + 1];
};

struct mica_review_cache {
	size_t n_buckets; /* a power of two */
	uint64_t seed[2];
	struct entry (*bucket)[WAYS];
};

struct mica_review_cache *mica_review_cache_new(size_t max_entries)
{
	struct mica_review_cache *c = MICA_NEW(struct mica_review_cache);

	c->n_buckets = 1;
	while (c->n_buckets * WAYS < max_entries &&
		c->n_buckets < SIZE_MAX / 2 / sizeof(*c->bucket))
		c->n_buckets *= 2;
	c->bucket = mica_calloc(c->n_buckets, sizeof(*c->bucket));
	mica_random(c->seed, sizeof(c->seed));
	return c;
}

void mica_review_cache_free(struct mica_review_cache *c)
{
	if (c == NULL)
		return;
	mica_free(c->bucket);
	mica_free(c);
}

/* UIDs are random, but not ours: the seed keeps them from being chosen to meet. */
static struct entry *bucket_of(struct mica_review_cache *c, const struct mica_principal *p)
{
	uint64_t w[4], h = c->seed[0];

	memcpy(w, p->pod_uid.b, 16);
	memcpy(w + 2, p->sa_uid.b, 16);
	for (int i = 0; i < 4; i++) {
		h = (h ^ w[i]) * (c->seed[1] | 1);
		h ^= h >> 29;
	}
	return c->bucket[(h ^ h >> 32) & (c->n_buckets - 1)];
}

static bool is_key(const struct entry *x, const struct mica_principal *p)
{
	return x->used && !memcmp(&x->pod, &p->pod_uid, sizeof(x->pod)) &&
		!memcmp(&x->sa, &p->sa_uid, sizeof(x->sa)) && !strcmp(x->issuer, p->issuer);
}

enum mica_review_verdict mica_review_cache_get(struct mica_review_cache *c,
	enum mica_review_mode mode, const struct mica_principal *p, int64_t now)
{
	int64_t yes =
		mode == MICA_REVIEW_ALWAYS ? MICA_REVIEW_ALWAYS_YES : MICA_REVIEW_FIRST_USE_YES;
	const struct entry *b = bucket_of(c, p);

	if (mode == MICA_REVIEW_NEVER)
		return MICA_VERDICT_YES;
	for (int i = 0; i < WAYS; i++) {
		const struct entry *x = &b[i];
		if (!is_key(x, p) || x->at > now)
			continue;
		int64_t life = x->verdict == MICA_VERDICT_YES ? yes : MICA_REVIEW_NO;
		return now - x->at < life ? x->verdict : MICA_VERDICT_UNKNOWN;
	}
	return MICA_VERDICT_UNKNOWN;
}

void mica_review_cache_put(struct mica_review_cache *c, const struct mica_principal *p,
	enum mica_review_verdict v, int64_t now)
{
	struct entry *b = bucket_of(c, p), *to = b;

	if (v == MICA_VERDICT_UNKNOWN || !is_known_uid(&p->sa_uid))
		return;
	for (int i = 0; i < WAYS; i++) {
		if (is_key(&b[i], p)) {
			to = &b[i];
			break;
		}
		if (to->used && (!b[i].used || b[i].at < to->at))
			to = &b[i];
	}
	*to = (struct entry){
		.used = true, .verdict = v, .at = now, .pod = p->pod_uid, .sa = p->sa_uid};
	memcpy(to->issuer, p->issuer, sizeof(to->issuer));
}

void mica_review_cache_forget(struct mica_review_cache *c, const char *issuer)
{
	for (size_t i = 0; i < c->n_buckets; i++)
		for (int k = 0; k < WAYS; k++)
			if (issuer == NULL || !strcmp(c->bucket[i][k].issuer, issuer))
				c->bucket[i][k].used = false;
}
