/* SPDX-License-Identifier: Apache-2.0 */
/* TokenReview: API servers that say yes, no, nothing, or too late; and crowds of callers. */
#include "peer.h"

#include "fake_core.h"

#include "mica/log.h"
#include "server/kube.h"

#include <fcntl.h>

static char dir[] = "/tmp/mica-kube-XXXXXX";
static struct peer_ca ca, other_ca;

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
	_Atomic(const char *) status; /* NULL = 201 */
	_Atomic(const char *) headers;
	_Atomic(const char *) body; /* of the answer */
	_Atomic(const char *) bearer; /* demanded */
	_Atomic(const char *) renew; /* the first request puts this into the token file */
	atomic_uint slow_ms, now, most; /* questions at once */
	pthread_mutex_t lock;
	char last[2048]; /* request */
};

static bool api_answer(struct peer_conn *c, const void *ctx)
{
	struct api *a = (struct api *)(uintptr_t)ctx;
	const char *status = a->status, *bearer = a->bearer, *renew;
	char want[128];
	unsigned n = atomic_fetch_add(&a->now, 1) + 1;
	bool gone;

	if (n > a->most)
		a->most = n;
	pthread_mutex_lock(&a->lock);
	snprintf(a->last, sizeof(a->last), "%.2000s", c->request);
	pthread_mutex_unlock(&a->lock);
	renew = atomic_exchange(&a->renew, NULL);
	if (renew)
		put_file("token", renew);
	gone = a->slow_ms && peer_wait_gone(c, a->slow_ms);
	atomic_fetch_sub(&a->now, 1);
	if (gone)
		return false;
	snprintf(want, sizeof(want), "\r\nAuthorization: Bearer %s\r\n", bearer ? bearer : "");
	if (bearer && !strstr(c->request, want))
		return peer_reply(c, "401 Unauthorized", NULL, "");
	return peer_reply(c, status ? status : "201 Created", a->headers, a->body);
}

static void api_start(struct api *a)
{
	memset(a, 0, sizeof(*a));
	a->body = "yes";
	pthread_mutex_init(&a->lock, NULL);
	peer_start(&a->peer, peer_tls(&ca, "IP:127.0.0.1"), api_answer, a);
	peer_url(&a->peer, "", a->url, sizeof(a->url));
}

static struct mica_issuer_config settings(const char *name, struct api *a)
{
	struct mica_issuer_config c = {.name = (char *)(uintptr_t)name};

	c.review.mode = MICA_REVIEW_ALWAYS;
	c.review.url = a->url;
	c.review.ca_file = in_dir("ca.pem");
	c.review.timeout = 5;
	return c;
}

static struct mica_kube *start(struct mica_core *core, struct mica_issuer_config *c, unsigned n,
	const struct mica_kube_tuning *tuning)
{
	struct mica_config config = {.issuers = c, .n_issuers = n};
	struct mica_kube *k;

	fake_core_init(core);
	assert_int_equal(mica_kube_new(core, &config, tuning, &k, NULL), MICA_OK);
	return k;
}

/* ---- callers --------------------------------------------------------------------------------- */

struct crowd {
	atomic_uint ok, denied, unavailable;
	_Atomic(const char *) fine;
	atomic_int retry_after;
};

static void done(void *ctx, mica_rc rc, const struct mica_err *e)
{
	struct crowd *c = ctx;

	assert_int_equal(e->rc, rc);
	if (rc != MICA_OK) {
		c->fine = mica_err_fine(e);
		c->retry_after = e->retry_after;
		assert_null(strstr(e->text, "t0ken"));
		assert_null(strstr(e->detail, "t0ken"));
	}
	atomic_fetch_add(rc == MICA_OK      ? &c->ok
			: rc == MICA_DENIED ? &c->denied
					    : &c->unavailable,
		1);
}

static void review(struct mica_kube *k, const char *issuer, unsigned pod, struct crowd *c)
{
	struct mica_caller caller = {.uid = -1};

	snprintf(caller.principal.issuer, sizeof(caller.principal.issuer), "%s", issuer);
	caller.principal.sa_uid.b[0] = pod == 0 ? 0 : 7; /* pod 0 stands for: no UIDs */
	caller.principal.pod_uid.b[3] = (uint8_t)pod;
	mica_kube_review(k, &caller, MICA_LIT("the-t0ken"), done, c);
	memset(&caller, 0xff, sizeof(caller)); /* it was copied */
}

static unsigned answered(const struct crowd *c)
{
	return c->ok + c->denied + c->unavailable;
}

#define eventually(condition)                                                                      \
	do {                                                                                       \
		int64_t end_ = mica_mono_ms() + 8000;                                              \
		while (!(condition) && mica_mono_ms() < end_)                                      \
			usleep(3000);                                                              \
		assert_true(condition);                                                            \
	} while (0)

static struct mica_kube_status status_of(struct mica_kube *k, unsigned i)
{
	struct mica_kube_status s[4];

	assert_true(i < mica_kube_status(k, s, 4));
	return s[i];
}

/* One question, answered. */
static struct crowd one(struct mica_kube *k, const char *issuer)
{
	struct crowd c = {0};

	review(k, issuer, 1, &c);
	eventually(answered(&c) == 1);
	return c;
}

/* ---- questions and answers ------------------------------------------------------------------- */

static void answers_are_judged(void **state)
{
	struct mica_core core;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube_status s;
	struct mica_kube *k;
	struct crowd got;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	c.review.token_file = in_dir("token");
	put_file("token", "our-own\n");
	a.bearer = "our-own";
	k = start(&core, &c, 1, NULL);
	assert_int_equal(one(k, "prod").ok, 1);
	assert_int_equal(
		strncmp(a.last, "POST /apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1\r\n",
			59),
		0);
	assert_non_null(strstr(a.last, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(a.last, "\r\n\r\n{\"token\":\"the-t0ken\"}"));
	assert_string_equal(core.last_answer, "yes");
	assert_int_equal(core.last_status, 201);
	a.body = "no";
	got = one(k, "prod");
	assert_int_equal(got.denied, 1);
	assert_string_equal(got.fine, "pod_gone");
	assert_int_equal(one(k, "prod").denied, 1); /* nothing is remembered here */
	s = status_of(k, 0);
	assert_int_equal(s.asked, 3);
	assert_int_equal(s.answered, 3);
	assert_int_equal(s.failed, 0);
	assert_false(s.failing);
	got = one(k, "no such");
	assert_int_equal(got.unavailable, 1);
	assert_string_equal(got.fine, "review_no_server");
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void never_means_never(void **state)
{
	struct mica_core core;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	c.review.mode = MICA_REVIEW_NEVER;
	k = start(&core, &c, 1, NULL);
	assert_int_equal(mica_kube_status(k, NULL, 0), 0);
	assert_string_equal(one(k, "prod").fine, "review_no_server");
	assert_int_equal(a.peer.connections, 0);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void one_question_for_one_pod(void **state)
{
	struct mica_core core;
	struct api a, b;
	struct mica_issuer_config c[2];
	struct mica_kube *k;
	struct crowd crowd = {0};
	(void)state;
	api_start(&a);
	api_start(&b);
	a.slow_ms = 300;
	c[0] = settings("prod", &a);
	c[1] = settings("test", &b);
	k = start(&core, c, 2, NULL);
	for (unsigned i = 0; i < 50; i++)
		review(k, "prod", 1, &crowd);
	review(k, "prod", 2, &crowd); /* another pod */
	review(k, "test", 1, &crowd); /* another cluster's */
	review(k, "prod", 0, &crowd); /* nobody knows whose */
	review(k, "prod", 0, &crowd);
	eventually(crowd.ok == 54);
	assert_int_equal(a.peer.requests, 4);
	assert_int_equal(b.peer.requests, 1);
	assert_int_equal(status_of(k, 0).shared, 49);
	assert_int_equal(core.judged, 5);
	assert_int_equal(one(k, "prod").ok, 1); /* an answer is not kept for those who come later */
	assert_int_equal(a.peer.requests, 5);
	mica_kube_free(k);
	peer_stop(&a.peer);
	peer_stop(&b.peer);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void the_queue_is_bounded(void **state)
{
	const struct mica_kube_tuning t = {.threads = 2, .queue = 3, .waiters = 2};
	struct mica_core core;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	struct crowd crowd = {0}, late = {0};
	(void)state;
	api_start(&a);
	a.slow_ms = 400;
	c = settings("prod", &a);
	c.review.allow_on_failure = true; /* is for the API server's failures, not for ours */
	k = start(&core, &c, 1, &t);
	for (unsigned i = 1; i <= 2; i++)
		review(k, "prod", i, &crowd);
	eventually(a.now == 2);
	for (unsigned i = 3; i <= 5; i++)
		review(k, "prod", i, &crowd);
	review(k, "prod", 6, &late);
	assert_int_equal(late.unavailable, 1); /* at once */
	assert_string_equal(late.fine, "review_queue_full");
	assert_true(late.retry_after > 0);
	review(k, "prod", 1, &crowd); /* shares */
	review(k, "prod", 1, &late); /* may not any more */
	assert_int_equal(late.unavailable, 2);
	eventually(crowd.ok == 6);
	assert_int_equal(a.most, 2);
	assert_int_equal(status_of(k, 0).refused_full, 2);
	assert_int_equal(status_of(k, 0).queued + status_of(k, 0).running, 0);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void latency_is_bounded(void **state)
{
	const struct mica_kube_tuning t = {.threads = 1};
	struct mica_core core;
	struct api a, b;
	struct mica_issuer_config c[2];
	struct mica_kube *k;
	struct crowd crowd = {0};
	int64_t start_ms;
	(void)state;
	api_start(&a);
	api_start(&b);
	a.slow_ms = 20000;
	c[0] = settings("dead", &a);
	c[0].review.timeout = 1;
	c[1] = settings("good", &b);
	k = start(&core, c, 2, &t);
	start_ms = mica_mono_ms();
	for (unsigned i = 1; i <= 5; i++)
		review(k, "dead", i, &crowd);
	assert_int_equal(one(k, "good").ok, 1);
	assert_true(mica_mono_ms() - start_ms < 900); /* nobody waits for another cluster's */
	eventually(answered(&crowd) == 5);
	assert_in_range(mica_mono_ms() - start_ms, 900, 2500);
	assert_int_equal(crowd.unavailable, 5);
	assert_true(crowd.retry_after > 0);
	mica_kube_free(k);
	peer_stop(&a.peer);
	peer_stop(&b.peer);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void failures_are_never_a_no(void **state)
{
	static const struct {
		const char *status, *headers, *body, *reason;
	} cases[] = {
		{"500 Oh", NULL, "no", "http_status"},
		{"401 Unauthorized", NULL, "no", "http_status"},
		{"403 Forbidden", NULL, "no", "http_status"},
		{"302 Found", "Location: https://127.0.0.1:1/\r\n", "yes", "http_status"},
		{"429 Slow down", "Retry-After: 1\r\n", "", "http_status"},
		{NULL, NULL, NULL, "answer_too_long"},
	};
	MICA_AUTO_FREE char *huge = mica_alloc(70001);
	(void)state;
	memset(huge, 'y', 70000);
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_core core;
		struct api a;
		struct mica_issuer_config c;
		struct mica_kube *k;
		struct crowd got;
		api_start(&a);
		a.status = cases[i].status;
		a.headers = cases[i].headers;
		a.body = cases[i].body ? cases[i].body : huge;
		c = settings("prod", &a);
		k = start(&core, &c, 1, NULL);
		got = one(k, "prod");
		assert_int_equal(got.unavailable, 1);
		assert_true(got.retry_after > 0);
		assert_true(status_of(k, 0).failing);
		assert_string_equal(status_of(k, 0).reason, cases[i].reason);
		mica_kube_free(k);
		c.review.allow_on_failure = true;
		k = start(&core, &c, 1, NULL);
		got = one(k, "prod");
		assert_int_equal(got.ok, 1);
		assert_int_equal(status_of(k, 0).allowed, 1);
		assert_int_equal(status_of(k, 0).failed, 1);
		assert_int_equal(status_of(k, 0).answered, 0);
		a.status = NULL; /* a no that was said is a no */
		a.body = "no";
		assert_int_equal(one(k, "prod").denied, 1);
		mica_kube_free(k);
		peer_stop(&a.peer);
	}
}

static void a_strange_server_is_not_asked(void **state)
{
	struct mica_core core;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	c.review.ca_file = in_dir("changing.pem");
	put_file("changing.pem", (const char *)other_ca.pem.p);
	k = start(&core, &c, 1, NULL);
	assert_int_equal(one(k, "prod").unavailable, 1);
	assert_string_equal(status_of(k, 0).reason, "tls_failed");
	assert_int_equal(a.peer.requests, 0);
	put_file("changing.pem", (const char *)ca.pem.p);
	assert_int_equal(one(k, "prod").ok, 1);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void a_renewed_token_is_used_at_once(void **state)
{
	struct mica_core core;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	(void)state;
	api_start(&a);
	c = settings("prod", &a);
	c.review.token_file = in_dir("token");
	put_file("token", "old\n");
	a.bearer = "new";
	k = start(&core, &c, 1, NULL);
	assert_int_equal(one(k, "prod").unavailable, 1);
	assert_int_equal(a.peer.requests, 1); /* the same token is not tried twice */
	a.renew = "new\n"; /* kubelet comes while the question is under way */
	assert_int_equal(one(k, "prod").ok, 1);
	assert_int_equal(a.peer.requests, 3);
	unlink(in_dir("token"));
	assert_int_equal(one(k, "prod").unavailable, 1);
	assert_string_equal(status_of(k, 0).reason, "token_file_unusable");
	assert_int_equal(a.peer.requests, 3);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void a_failing_server_is_left_alone(void **state)
{
	const struct mica_kube_tuning t = {.rest_ms = 600};
	struct mica_core core;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	struct crowd crowd = {0}, got;
	int64_t start_ms;
	(void)state;
	api_start(&a);
	a.status = "503 Busy";
	c = settings("prod", &a);
	k = start(&core, &c, 1, &t);
	for (unsigned i = 0; i < 3; i++)
		assert_string_equal(one(k, "prod").fine, "token_review_failed");
	start_ms = mica_mono_ms();
	for (unsigned i = 0; i < 100; i++)
		review(k, "prod", i, &crowd);
	assert_int_equal(crowd.unavailable, 100); /* at once */
	assert_string_equal(crowd.fine, "review_resting");
	assert_int_equal(a.peer.requests, 3);
	assert_int_equal(status_of(k, 0).refused_resting, 100);
	a.status = NULL;
	a.slow_ms = 100;
	do { /* one goes first, and then all may */
		usleep(20000);
		got = one(k, "prod");
	} while (got.ok == 0 && mica_mono_ms() - start_ms < 5000);
	assert_int_equal(got.ok, 1);
	assert_true(mica_mono_ms() - start_ms >= 300);
	assert_int_equal(a.peer.requests, 4);
	assert_int_equal(a.most, 1);
	memset(&crowd, 0, sizeof(crowd));
	for (unsigned i = 1; i <= 8; i++)
		review(k, "prod", i, &crowd);
	eventually(crowd.ok == 8);
	mica_kube_free(k);
	peer_stop(&a.peer);
}

static void with_allow_a_dead_server_costs_no_time(void **state)
{
	struct mica_core core;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	struct crowd crowd = {0};
	(void)state;
	api_start(&a);
	peer_stop(&a.peer);
	a.peer.tls = NULL;
	c = settings("prod", &a);
	c.review.allow_on_failure = true;
	k = start(&core, &c, 1, NULL);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(one(k, "prod").ok, 1);
	for (unsigned i = 1; i <= 100; i++)
		review(k, "prod", i, &crowd);
	assert_int_equal(crowd.ok, 100);
	assert_int_equal(status_of(k, 0).allowed, 103);
	mica_kube_free(k);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void everybody_is_called_back(void **state)
{
	const struct mica_kube_tuning t = {.threads = 2};
	struct mica_core core;
	struct api a, b;
	struct mica_issuer_config c;
	struct mica_config config = {.issuers = &c, .n_issuers = 1};
	struct mica_kube *k;
	struct crowd crowd = {0};
	int64_t start_ms;
	(void)state;
	api_start(&a);
	api_start(&b);
	a.slow_ms = 20000;
	c = settings("prod", &a);
	c.review.timeout = 30;
	k = start(&core, &c, 1, &t);
	for (unsigned i = 0; i < 20; i++)
		review(k, "prod", i / 2, &crowd);
	eventually(a.now == 2);
	/* The cluster moves: old answers are not waited for, new questions go to the new one. */
	c = settings("prod", &b);
	c.review.allow_on_failure = true;
	start_ms = mica_mono_ms();
	mica_kube_retire(k, &config);
	assert_int_equal(crowd.unavailable, 20);
	assert_string_equal(crowd.fine, "review_ended");
	assert_true(mica_mono_ms() - start_ms < 2000);
	assert_string_equal(one(k, "prod").fine, "review_no_server");
	assert_int_equal(mica_kube_reload(k, &config, NULL), MICA_OK);
	assert_int_equal(one(k, "prod").ok, 1);
	assert_int_equal(b.peer.requests, 1);
	assert_int_equal(mica_kube_reload(k, &config, NULL), MICA_OK);
	assert_int_equal(one(k, "prod").ok, 1);
	assert_int_equal(status_of(k, 0).asked, 2); /* what did not change goes on */
	b.slow_ms = 20000;
	memset(&crowd, 0, sizeof(crowd));
	for (unsigned i = 0; i < 10; i++)
		review(k, "prod", i, &crowd);
	mica_kube_free(k);
	assert_int_equal(crowd.unavailable, 10); /* an end is no failure of the API server */
	peer_stop(&a.peer);
	peer_stop(&b.peer);
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

static void only_changes_are_logged(void **state)
{
	const struct mica_kube_tuning t = {.rest_ms = 1};
	struct mica_core core;
	struct api a;
	struct mica_issuer_config c;
	struct mica_kube *k;
	MICA_AUTO_BUF log;
	int fd = open(in_dir("log"), O_RDWR | O_CREAT | O_APPEND, 0600);
	(void)state;
	mica_log_setup(fd, MICA_LOG_LOGFMT, MICA_INFO);
	api_start(&a);
	a.status = "403 Forbidden";
	c = settings("prod", &a);
	k = start(&core, &c, 1, &t);
	while (status_of(k, 0).failed < 6) {
		one(k, "prod");
		usleep(2000);
	}
	a.status = NULL;
	usleep(50000);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(one(k, "prod").ok, 1);
	mica_kube_free(k);
	mica_log_setup(STDERR_FILENO, MICA_LOG_LOGFMT, MICA_ERROR + 1);
	close(fd);
	mica_buf_init(&log, 65536);
	assert_int_equal(mica_file_read(in_dir("log"), &log, NULL), MICA_OK);
	assert_int_equal(count((const char *)log.p, "event="), 2);
	assert_int_equal(count((const char *)log.p, "event=token_review_failing issuer=prod"), 1);
	assert_int_equal(count((const char *)log.p, "event=token_review_recovered issuer=prod"), 1);
	assert_int_equal(count((const char *)log.p, "t0ken"), 0);
	peer_stop(&a.peer);
}

static int begin(void **state)
{
	(void)state;
	mica_log_setup(STDERR_FILENO, MICA_LOG_LOGFMT, MICA_ERROR + 1);
	peer_ca_init(&ca, "the authority");
	peer_ca_init(&other_ca, "another authority");
	if (!mkdtemp(dir))
		return -1;
	put_file("ca.pem", (const char *)ca.pem.p);
	return 0;
}

static int end(void **state)
{
	static const char *const names[] = {"ca.pem", "changing.pem", "token", "log"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++)
		unlink(in_dir(names[i]));
	peer_ca_clear(&ca);
	peer_ca_clear(&other_ca);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_judged),
		cmocka_unit_test(never_means_never),
		cmocka_unit_test(one_question_for_one_pod),
		cmocka_unit_test(the_queue_is_bounded),
		cmocka_unit_test(latency_is_bounded),
		cmocka_unit_test(failures_are_never_a_no),
		cmocka_unit_test(a_strange_server_is_not_asked),
		cmocka_unit_test(a_renewed_token_is_used_at_once),
		cmocka_unit_test(a_failing_server_is_left_alone),
		cmocka_unit_test(with_allow_a_dead_server_costs_no_time),
		cmocka_unit_test(everybody_is_called_back),
		cmocka_unit_test(only_changes_are_logged),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
