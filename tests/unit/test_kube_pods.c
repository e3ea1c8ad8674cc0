/* SPDX-License-Identifier: Apache-2.0 */
/* The pods of a node, from API servers that page, stall, fail and lie. */
#include "peer.h"

#include "fake_core.h"

#include "mica/log.h"
#include "mica/nodepods.h"
#include "server/kube.h"

#define UID "66666666-7777-4888-8999-aaaaaaaaaaaa"

static char dir[] = "/tmp/mica-pods-XXXXXX";
static struct peer_ca ca;

static char *in_dir(const char *name)
{
	static char path[8][160];
	static unsigned n;
	char *p = path[n++ % 8];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void put_file(const char *name, const char *content)
{
	assert_int_equal(
		mica_file_write_atomic(in_dir(name), mica_slice_str(content), 0600, NULL), MICA_OK);
}

/* ---- an API server --------------------------------------------------------------------------- */

struct api {
	struct peer peer;
	char url[64];
	_Atomic(const char *) status; /* NULL = 200 */
	_Atomic(const char *) headers;
	_Atomic(const char *) body; /* instead of a list */
	atomic_uint pods; /* on each node, 100 when 0 */
	atomic_size_t pod_size; /* octets, about */
	atomic_uint expire; /* this many marks have expired */
	atomic_uint slow_ms, requests;
	_Atomic(const char *) bearer; /* demanded */
	_Atomic(const char *) renew; /* the first request puts this into the token file */
	pthread_mutex_t lock;
	char last[2048];
};

static unsigned number(const char *request, const char *name, unsigned otherwise)
{
	const char *at = strstr(request, name);

	return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : otherwise;
}

static void put_pod(struct mica_buf *b, const char *node, unsigned i, size_t size)
{
	mica_buf_printf(b,
		"%s{\"metadata\":{\"name\":\"pod-%u\",\"namespace\":\"ns\",\"uid\":\"" UID "\"},"
		"\"spec\":{\"nodeName\":\"%s\",\"serviceAccountName\":\"sa-%u\",\"x\":\"",
		b->p[b->len - 1] == '[' ? "" : ",", i, node, i);
	for (size_t k = 0; k < size; k += 16)
		mica_buf_put_str(b, "xxxxxxxxxxxxxxxx");
	mica_buf_put_str(b, "\"},\"status\":{\"phase\":\"Running\"}}");
}

/* As the real one: at most `limit` pods from the mark on, and a mark when there are more. */
static bool list(struct peer_conn *c, struct api *a)
{
	char node[64] = "", *end;
	const char *at = strstr(c->request, "fieldSelector=spec.nodeName%3D");
	unsigned from = number(c->request, "&continue=mark%2F", 0), pods = a->pods;
	unsigned limit = number(c->request, "&limit=", 1000000), to = from + limit;
	MICA_AUTO_BUF b;

	assert_non_null(at);
	snprintf(node, sizeof(node), "%.60s", at + 30);
	end = strpbrk(node, "& ");
	assert_non_null(end);
	*end = '\0';
	if (from > 0 && a->expire > 0) {
		a->expire--;
		return peer_reply(c, "410 Gone", NULL, "{\"kind\":\"Status\",\"code\":410}");
	}
	pods = pods ? pods : 100;
	to = to < pods ? to : pods;
	mica_buf_init(&b, 64 << 20);
	mica_buf_put_str(&b, "{\"kind\":\"PodList\",\"items\":[");
	for (unsigned i = from; i < to; i++)
		put_pod(&b, node, i, a->pod_size);
	mica_buf_put_str(&b, "],\"metadata\":{\"resourceVersion\":\"1\"");
	if (to < pods)
		mica_buf_printf(&b, ",\"continue\":\"mark/%u\"", to);
	mica_buf_put_str(&b, "}}");
	return peer_reply(c, "200 OK", NULL, (const char *)b.p);
}

static bool api_answer(struct peer_conn *c, const void *ctx)
{
	struct api *a = (struct api *)(uintptr_t)ctx;
	const char *status = a->status, *bearer = a->bearer, *renew, *body = a->body;
	char want[128];

	atomic_fetch_add(&a->requests, 1);
	pthread_mutex_lock(&a->lock);
	snprintf(a->last, sizeof(a->last), "%.2000s", c->request);
	pthread_mutex_unlock(&a->lock);
	renew = atomic_exchange(&a->renew, NULL);
	if (renew)
		put_file("token", renew);
	if (a->slow_ms && peer_wait_gone(c, a->slow_ms))
		return false;
	snprintf(want, sizeof(want), "\r\nAuthorization: Bearer %s\r\n", bearer ? bearer : "");
	if (bearer && !strstr(c->request, want))
		return peer_reply(c, "401 Unauthorized", NULL, "");
	if (status || body)
		return peer_reply(c, status ? status : "200 OK", a->headers, body ? body : "{}");
	return list(c, a);
}

static void api_start(struct api *a)
{
	memset(a, 0, sizeof(*a));
	pthread_mutex_init(&a->lock, NULL);
	peer_start(&a->peer, peer_tls(&ca, "IP:127.0.0.1"), api_answer, a);
	peer_url(&a->peer, "", a->url, sizeof(a->url));
}

static char account[] = "istio-system/ztunnel", *accounts[] = {account};

static struct mica_issuer_config settings(const char *name, struct api *a)
{
	struct mica_issuer_config c = {.name = (char *)(uintptr_t)name};

	c.impersonation.accounts = (struct mica_string_list){.v = accounts, .n = 1};
	c.impersonation.url = a->url;
	c.impersonation.ca_file = in_dir("ca.pem");
	c.impersonation.timeout = 5;
	return c;
}

static struct mica_core core;

static struct mica_kube *start(
	struct mica_issuer_config *c, unsigned n, const struct mica_kube_tuning *tuning)
{
	struct mica_config config = {.issuers = c, .n_issuers = n};
	struct mica_kube *k;

	fake_core_init(&core);
	assert_int_equal(mica_kube_new(&core, &config, tuning, &k, NULL), MICA_OK);
	return k;
}

/* ---- callers --------------------------------------------------------------------------------- */

struct crowd {
	atomic_uint ok, failed;
	atomic_uint pods; /* of the last list */
	_Atomic(const char *) fine;
	atomic_int retry_after;
};

static void done(void *ctx, const struct mica_node_pods *pods, const struct mica_err *e)
{
	struct crowd *c = ctx;

	assert_true((pods == NULL) == (e != NULL));
	if (pods) {
		c->pods = (unsigned)mica_node_pods_count(pods);
		atomic_fetch_add(&c->ok, 1);
		return;
	}
	assert_int_equal(e->rc, MICA_UNAVAILABLE);
	assert_string_equal(e->reason, "pods_unavailable");
	c->fine = mica_err_fine(e);
	c->retry_after = e->retry_after;
	atomic_fetch_add(&c->failed, 1);
}

#define eventually(condition)                                                                      \
	do {                                                                                       \
		int64_t end_ = mica_mono_ms() + 8000;                                              \
		while (!(condition) && mica_mono_ms() < end_)                                      \
			usleep(3000);                                                              \
		assert_true(condition);                                                            \
	} while (0)

#define ANY MICA_KUBE_PODS_AGE_MS
#define NEW (-1) /* older than nothing */

static struct crowd one(struct mica_kube *k, const char *issuer, const char *node, int64_t age)
{
	struct crowd c = {0};

	mica_kube_pods(k, issuer, node, age, done, &c);
	eventually(c.ok + c.failed == 1);
	return c;
}

static struct mica_kube_pods_status status_of(struct mica_kube *k, unsigned i)
{
	struct mica_kube_pods_status s[4];

	assert_true(i < mica_kube_pods_status(k, s, 4));
	return s[i];
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void a_list_is_remembered(void **state)
{
	MICA_AUTO_STRUCT(mica_node_pods) p = NULL;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	struct crowd got;
	int64_t age = -1;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	c.impersonation.token_file = in_dir("token");
	put_file("token", "our-own\n");
	a.bearer = "our-own";
	k = start(&c, 1, NULL);
	assert_null(mica_kube_pods_known(k, "prod", "node-1", ANY, &age));
	got = one(k, "prod", "node-1", ANY);
	assert_int_equal(got.ok, 1);
	assert_int_equal(got.pods, 100);
	assert_non_null(strstr(a.last,
		"GET /api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1&limit=200 HTTP/1.1\r\n"));
	assert_non_null(strstr(a.last, "\r\nAccept: application/json\r\n"));
	assert_int_equal(one(k, "prod", "node-1", ANY).ok, 1);
	assert_int_equal(a.requests, 1);
	p = (struct mica_node_pods *)(uintptr_t)mica_kube_pods_known(
		k, "prod", "node-1", ANY, &age);
	assert_non_null(p);
	assert_in_range(age, 0, 5000);
	assert_string_equal(mica_node_pods_node(p), "node-1");
	/* another node is another list, and so is a newer one */
	assert_int_equal(one(k, "prod", "node-2", ANY).ok, 1);
	assert_int_equal(one(k, "prod", "node-1", NEW).ok, 1);
	assert_int_equal(a.requests, 3);
	usleep(30000);
	assert_null(mica_kube_pods_known(k, "prod", "node-1", 20, &age));
	assert_int_equal(status_of(k, 0).asked, 3);
	assert_int_equal(status_of(k, 0).nodes, 2);
	assert_string_equal(one(k, "no such", "node-1", ANY).fine, "pods_no_server");
	mica_kube_free(k);
	/* whoever has it keeps it */
	assert_int_equal(mica_node_pods_count(p), 100);
	peer_stop(&a.peer);
}

static void who_trusts_nobody_lists_nothing(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	c.impersonation.accounts.n = 0;
	k = start(&c, 1, NULL);
	assert_int_equal(mica_kube_pods_status(k, NULL, 0), 0);
	assert_string_equal(one(k, "prod", "node-1", ANY).fine, "pods_no_server");
	assert_int_equal(a.requests, 0);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void one_call_for_a_crowd(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	const struct mica_kube_tuning small = {.waiters = 20, .queue = 3};
	struct mica_kube *k;
	struct crowd crowd = {0}, more = {0};
	(void)state;
	api_start(&a);
	a.slow_ms = 200;
	c = settings("prod", &a);
	k = start(&c, 1, &small);
	for (unsigned i = 0; i < 20; i++)
		mica_kube_pods(k, "prod", "node-1", ANY, done, &crowd);
	mica_kube_pods(k, "prod", "node-1", ANY, done, &more); /* one too many */
	assert_int_equal(more.failed, 1);
	assert_string_equal(more.fine, "pods_queue_full");
	mica_kube_pods(k, "prod", "node-2", ANY, done, &crowd);
	mica_kube_pods(k, "prod", "node-3", ANY, done, &crowd);
	mica_kube_pods(k, "prod", "node-4", ANY, done, &more); /* a node too many */
	assert_int_equal(more.failed, 2);
	eventually(crowd.ok == 22);
	assert_int_equal(a.requests, 3);
	assert_int_equal(status_of(k, 0).shared, 19);
	assert_int_equal(status_of(k, 0).refused, 2);
	assert_int_equal(status_of(k, 0).busy, 0);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void pages(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	struct crowd got;
	(void)state;
	api_start(&a);
	a.pods = 450;
	c = settings("prod", &a);
	k = start(&c, 1, NULL);
	got = one(k, "prod", "node-1", ANY);
	assert_int_equal(got.pods, 450);
	assert_int_equal(a.requests, 3);
	assert_non_null(strstr(a.last, "&limit=200&continue=mark%2F400 "));
	/* pods so large that a page is too long: smaller pages, and the same list */
	a.pods = 30;
	a.pod_size = 200 * 1024;
	got = one(k, "prod", "node-1", NEW);
	assert_int_equal(got.pods, 30);
	assert_non_null(strstr(a.last, "&limit=20&"));
	/* as large as a pod may be */
	a.pods = 5;
	a.pod_size = 1500 * 1024;
	got = one(k, "prod", "node-1", NEW);
	assert_int_equal(got.pods, 5);
	assert_non_null(strstr(a.last, "&limit=2&"));
	/* and no larger */
	a.pod_size = 3000 * 1024;
	got = one(k, "prod", "node-1", NEW);
	assert_int_equal(got.failed, 1);
	assert_string_equal(got.fine, "answer_too_long");
	/* more pods than a node has */
	a.pods = 5000;
	a.pod_size = 0;
	assert_string_equal(one(k, "prod", "node-1", NEW).fine, "pods_too_many");
	mica_kube_free(k);
	peer_stop(&a.peer);
}

/* What was listed before a mark expired may be gone: the list begins again, and not for ever. */
static void marks_expire(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	struct crowd got;
	(void)state;
	api_start(&a);
	a.pods = 450;
	a.expire = 2;
	c = settings("prod", &a);
	k = start(&c, 1, NULL);
	got = one(k, "prod", "node-1", ANY);
	assert_int_equal(got.ok, 1);
	assert_int_equal(got.pods, 450);
	a.expire = 1000;
	assert_string_equal(one(k, "prod", "node-1", NEW).fine, "http_status");
	assert_true(a.expire > 990);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void what_is_no_list_grants_nothing(void **state)
{
	static const struct {
		const char *fine, *status, *body;
	} rows[] = {
		{"http_status", "403 Forbidden", "{\"kind\":\"Status\",\"code\":403}"},
		{"http_status", "401 Unauthorized", ""},
		{"http_status", "500 Internal Server Error", ""},
		{"http_status", "201 Created",
			"{\"kind\":\"PodList\",\"metadata\":{},\"items\":[]}"},
		{"http_status", "302 Found", ""},
		{"http_status", "410 Gone", ""},
		{"json_syntax", NULL, "<html>please log in</html>"},
		{"json_missing_member", NULL, "{}"},
		{"pods_kind", NULL, "{\"kind\":\"NodeList\",\"metadata\":{},\"items\":[]}"},
	};
	struct api a;
	struct mica_issuer_config c;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_kube *k = start(&c, 1, NULL);
		struct crowd got;
		a.status = rows[i].status;
		a.body = rows[i].body;
		got = one(k, "prod", "node-1", ANY);
		assert_int_equal(got.failed, 1);
		if (strcmp(got.fine, rows[i].fine) != 0)
			fail_msg("row %zu: %s, expected %s", i, got.fine, rows[i].fine);
		assert_true(got.retry_after >= 1);
		assert_true(status_of(k, 0).failing);
		mica_kube_free(k);
	}
	peer_stop(&a.peer);
}

static void latency_is_bounded(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	struct crowd got;
	int64_t begun = mica_mono_ms();
	(void)state;
	api_start(&a);
	a.slow_ms = 30000;
	c = settings("prod", &a);
	c.impersonation.timeout = 1;
	k = start(&c, 1, NULL);
	got = one(k, "prod", "node-1", ANY);
	assert_string_equal(got.fine, "timeout");
	assert_true(mica_mono_ms() - begun < 3000);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void a_failing_server_is_left_alone(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	const struct mica_kube_tuning quick = {.rest_ms = 300};
	struct mica_kube *k;
	unsigned asked;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	k = start(&c, 1, &quick);
	assert_int_equal(one(k, "prod", "node-0", ANY).ok, 1);
	a.status = "500 Internal Server Error";
	for (unsigned i = 0; i < 3; i++)
		assert_string_equal(one(k, "prod", "node-1", NEW).fine, "http_status");
	asked = a.requests;
	for (unsigned i = 0; i < 20; i++)
		assert_string_equal(one(k, "prod", "node-1", NEW).fine, "pods_resting");
	assert_int_equal(a.requests, asked);
	/* what is known still counts */
	assert_int_equal(one(k, "prod", "node-0", ANY).ok, 1);
	a.status = NULL;
	usleep(350000);
	assert_int_equal(one(k, "prod", "node-1", NEW).ok, 1);
	assert_int_equal(one(k, "prod", "node-2", NEW).ok, 1);
	assert_false(status_of(k, 0).failing);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

/* A list that could not be had takes nothing away from one that was. */
static void a_failure_spoils_nothing(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	k = start(&c, 1, NULL);
	assert_int_equal(one(k, "prod", "node-1", ANY).ok, 1);
	a.status = "500 Internal Server Error";
	assert_int_equal(one(k, "prod", "node-1", NEW).failed, 1);
	assert_int_equal(one(k, "prod", "node-1", ANY).ok, 1);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void a_renewed_token_is_used_at_once(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	c.impersonation.token_file = in_dir("token");
	put_file("token", "old");
	a.bearer = "new";
	a.renew = "new";
	k = start(&c, 1, NULL);
	assert_int_equal(one(k, "prod", "node-1", ANY).ok, 1);
	assert_int_equal(a.requests, 2);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void everybody_is_called_back(void **state)
{
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	struct crowd crowd = {0};
	struct mica_config none = {.n_issuers = 0};
	int64_t begun;
	(void)state;
	api_start(&a);
	a.slow_ms = 30000;
	c = settings("prod", &a);
	c.impersonation.timeout = 60;
	k = start(&c, 1, NULL);
	for (unsigned i = 0; i < 12; i++) {
		char node[16];
		snprintf(node, sizeof(node), "node-%u", i % 6);
		mica_kube_pods(k, "prod", node, ANY, done, &crowd);
	}
	usleep(50000);
	begun = mica_mono_ms();
	mica_kube_retire(k, &none);
	assert_int_equal(crowd.failed, 12);
	assert_string_equal(crowd.fine, "pods_ended");
	assert_true(mica_mono_ms() - begun < 2000);
	assert_string_equal(one(k, "prod", "node-1", ANY).fine, "pods_no_server");
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static int begin(void **state)
{
	(void)state;
	mica_log_setup(STDERR_FILENO, MICA_LOG_LOGFMT, MICA_ERROR + 1);
	peer_ca_init(&ca, "the authority");
	if (!mkdtemp(dir))
		return -1;
	put_file("ca.pem", (const char *)ca.pem.p);
	return 0;
}

static int end(void **state)
{
	static const char *const names[] = {"ca.pem", "token"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++)
		unlink(in_dir(names[i]));
	peer_ca_clear(&ca);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_is_remembered),
		cmocka_unit_test(who_trusts_nobody_lists_nothing),
		cmocka_unit_test(one_call_for_a_crowd),
		cmocka_unit_test(pages),
		cmocka_unit_test(marks_expire),
		cmocka_unit_test(what_is_no_list_grants_nothing),
		cmocka_unit_test(latency_is_bounded),
		cmocka_unit_test(a_failing_server_is_left_alone),
		cmocka_unit_test(a_failure_spoils_nothing),
		cmocka_unit_test(a_renewed_token_is_used_at_once),
		cmocka_unit_test(everybody_is_called_back),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
