/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The REST API as a whole: the real core on a store of its own, the real committer and HTTP server,
 * on a Unix socket and on loopback without TLS; only the clock of the tokens is today's.
 */
#define _GNU_SOURCE
#include "coretest.h"

#include "server/api.h"
#include "server/api_impl.h"
#include "server/kube.h"
#include "server/limits.h"

#include "mica/clock.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

/* In place of the Kubernetes client (kube.h), which has tests of its own: answers from another
 * thread, or at once when it cannot ask. */
struct mica_kube {
	const char *answer; /* NULL = cannot ask */
	unsigned asked;
	struct mica_core *core;
};

struct fx {
	struct ct *t;
	struct committer *committer;
	struct mica_replay *replay;
	struct limits *limits;
	struct desk *desk;
	struct api *api;
	struct http_server *server[API_LISTENER_COUNT];
	char socket[96];
	struct mica_kube kube;
};

static void fatal(void *ctx, const struct mica_err *e)
{
	(void)ctx;
	fail_msg("the committer gave up: %s", e->text);
}

/* ---- life ---------------------------------------------------------------------------------- */

struct review_job {
	struct mica_kube *k;
	struct mica_caller caller;
	mica_kube_done *done;
	void *ctx;
};

static void *answer_review(void *arg)
{
	struct review_job *j = arg;
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = mica_core_review_judge(
		j->k->core, &j->caller, 201, mica_slice_str(j->k->answer), mica_now_ms(), &e);

	j->done(j->ctx, rc, &e);
	mica_free(j);
	return NULL;
}

void mica_kube_review(struct mica_kube *k, const struct mica_caller *caller,
	struct mica_slice token, mica_kube_done *done, void *ctx)
{
	struct mica_err e = MICA_ERR_INIT;
	struct review_job *j;
	pthread_t t;

	assert_true(token.len > 100);
	assert_string_equal(caller->principal.issuer, "prod");
	if (!k->answer) {
		(void)mica_fail(&e, MICA_UNAVAILABLE, "token_review_failed", "cannot ask");
		done(ctx, MICA_UNAVAILABLE, &e);
		return;
	}
	k->asked++;
	j = MICA_NEW(struct review_job);
	*j = (struct review_job){.k = k, .caller = *caller, .done = done, .ctx = ctx};
	assert_int_equal(pthread_create(&t, NULL, answer_review, j), 0);
	pthread_detach(t);
}

unsigned mica_kube_status(struct mica_kube *k, struct mica_kube_status *out, unsigned max)
{
	assert_true(max > 0);
	memset(out, 0, sizeof(*out));
	snprintf(out->issuer, sizeof(out->issuer), "prod");
	out->asked = k->asked;
	return 1;
}

/* Nobody is trusted here to ask for others. */
const struct mica_node_pods *mica_kube_pods_known(struct mica_kube *k, const char *issuer,
	const char *node, int64_t max_age_ms, int64_t *age_ms)
{
	(void)k;
	(void)issuer;
	(void)node;
	(void)max_age_ms;
	(void)age_ms;
	return NULL;
}

void mica_kube_pods(struct mica_kube *k, const char *issuer, const char *node, int64_t max_age_ms,
	mica_kube_pods_done *done, void *ctx)
{
	(void)k;
	(void)issuer;
	(void)node;
	(void)max_age_ms;
	(void)done;
	(void)ctx;
	abort();
}

unsigned mica_kube_pods_status(struct mica_kube *k, struct mica_kube_pods_status *out, unsigned max)
{
	(void)k;
	(void)out;
	(void)max;
	return 0;
}

static void serve(struct fx *f, enum api_listener l, const char *unix_path)
{
	const struct mica_listen any = {.text = ct_str("127.0.0.1:0"), .host = ct_str("127.0.0.1")};
	const struct http_options o = {.name = "test",
		.listen = unix_path ? NULL : &any,
		.unix_path = unix_path,
		.unix_gid = -1,
		.unix_gid2 = -1,
		.threads = 1,
		.max_connections = 64,
		.max_body = 65536,
		.idle_timeout_ms = 10000,
		.request_timeout_ms = 10000,
		.deferred_timeout_ms = 20000,
		.handler = api_handler,
		.admit = api_admit,
		.ctx = api_door(f->api, l)};

	assert_ok(http_server_new(&o, &f->server[l], e));
	api_set_server(f->api, l, f->server[l]);
}

static int setup(void **state)
{
	struct fx *f = MICA_NEW(struct fx);
	const struct limits_options lo = {.failures = {.per_minute = 60, .burst = 5},
		.identity = {.per_minute = 600, .burst = 20},
		.anonymous = {.per_minute = 60000, .burst = 1000}};
	struct committer_options co = {.max_queue = 64, .fatal = fatal};
	struct desk_options d = {.kube = &f->kube};
	struct api_options ao = {
		.admin_gid = -1, .audit_gid = -1, .own_uid = getuid(), .version = "0"};
	void *ct = NULL;
	int64_t now = mica_now_ms();

	ct = f->t = ct_new();
	f->t->config.https.max_watchers = 100;
	f->t->config.https.max_watchers_shared = 2;
	f->t->config.limits.queue = 32;
	assert_ok(mica_core_init(&f->t->config, f->t->pass, now - 1000, &f->t->born, e));
	ct_open_at(ct, now);
	ct_set_jwks(ct, now);
	co.core = d.core = f->kube.core = f->t->core;
	assert_ok(committer_new(&co, &f->committer, e));
	d.committer = f->committer;
	d.replay = f->replay = mica_replay_new(64, 8);
	d.limits = f->limits = limits_new(&lo);
	d.config = ao.config = &f->t->config;
	assert_ok(desk_new(&d, &f->desk, e));
	ao.desk = f->desk;
	assert_ok(api_new(&ao, &f->api, e));
	snprintf(f->socket, sizeof(f->socket), "%s/x", f->t->dir);
	serve(f, API_PUBLIC, NULL);
	serve(f, API_WATCH, NULL);
	serve(f, API_ADMIN, f->socket);
	serve(f, API_METRICS, NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fx *f = *state;
	void *ct = f->t;

	api_drain(f->api);
	for (unsigned l = 0; l < API_LISTENER_COUNT; l++)
		http_server_drain(f->server[l]);
	desk_stop(f->desk);
	api_stop(f->api);
	committer_stop(f->committer);
	for (unsigned l = 0; l < API_LISTENER_COUNT; l++) {
		api_set_server(f->api, (enum api_listener)l, NULL);
		http_server_stop(f->server[l], 1000);
	}
	api_free(f->api);
	desk_free(f->desk);
	committer_free(f->committer);
	mica_replay_free(f->replay);
	limits_free(f->limits);
	mica_free(f);
	return ct_teardown(&ct);
}

/* ---- a client ------------------------------------------------------------------------------ */

struct answer {
	int status;
	char *head, *body; /* kept in the bin */
	size_t len;
};

static int dial(struct fx *f, enum api_listener l)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET};
	const char *address = http_server_address(f->server[l]);
	int fd = socket(l == API_ADMIN ? AF_UNIX : AF_INET, SOCK_STREAM, 0), rc;

	if (l == API_ADMIN) {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->socket);
		rc = connect(fd, (struct sockaddr *)&un, sizeof(un));
	} else {
		in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		in.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
		rc = connect(fd, (struct sockaddr *)&in, sizeof(in));
	}
	assert_int_equal(rc, 0);
	return fd;
}

static void send_request(
	int fd, const char *method, const char *path, const char *headers, const char *body)
{
	char *text = tk_printf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s%s", method,
		path, headers,
		body ? tk_printf("Content-Length: %zu\r\n\r\n%s", strlen(body), body) : "\r\n");

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static struct answer read_answer(int fd)
{
	size_t room = 1 << 20, len = 0;
	char *all = tk_keep(mica_alloc(room + 1)), *end;
	struct answer a = {.status = 0};
	ssize_t n;

	while (len < room && (n = read(fd, all + len, room - len)) > 0)
		len += (size_t)n;
	close(fd);
	all[len] = '\0';
	end = strstr(all, "\r\n\r\n");
	if (!end || strncmp(all, "HTTP/1.1 ", 9) != 0)
		fail_msg("not an answer: %.200s", all);
	end[2] = '\0';
	a.status = (int)strtol(all + 9, NULL, 10);
	a.head = all;
	a.body = end + 4;
	a.len = len - (size_t)(a.body - all);
	return a;
}

static struct answer ask(struct fx *f, enum api_listener l, const char *method, const char *path,
	const char *headers, const char *body)
{
	int fd = dial(f, l);

	send_request(fd, method, path, headers, body);
	return read_answer(fd);
}

static const char *bearer(struct fx *f)
{
	struct mica_slice t = ct_token(f->t, mica_now());

	return tk_printf("Content-Type: application/json\r\nAuthorization: Bearer %.*s\r\n",
		(int)t.len, (const char *)t.p);
}

#define JSON "Content-Type: application/json\r\n"

static json_t *json_of(const struct answer *a)
{
	json_error_t err;
	json_t *j = json_loadb(a->body, a->len, JSON_REJECT_DUPLICATES, &err);

	if (!j)
		fail_msg("%s in %.*s", err.text, (int)a->len, a->body);
	return j;
}

static const char *text_of(json_t *j, const char *name)
{
	const char *s = json_string_value(json_object_get(j, name));

	return s ? tk_keep(mica_strdup(s)) : NULL;
}

/* The request is refused with this status and reason, in the form of RFC 9457. */
static void refused(struct answer a, int status, const char *reason)
{
	json_t *j = json_of(&a);

	if (a.status != status || strcmp(text_of(j, "reason"), reason) != 0)
		fail_msg("expected %d %s, got %d %s", status, reason, a.status, a.body);
	assert_non_null(strstr(a.head, "Content-Type: application/problem+json\r\n"));
	assert_non_null(strstr(a.head, "Cache-Control: no-store\r\n"));
	assert_string_equal(text_of(j, "type"), "about:blank");
	assert_int_equal(json_integer_value(json_object_get(j, "status")), status);
	assert_non_null(text_of(j, "title"));
	assert_true(strlen(text_of(j, "detail")) > 0);
	if (status == 429 || status == 503)
		assert_non_null(strstr(a.head, "Retry-After: "));
	if (status == 401)
		assert_non_null(strstr(a.head, "WWW-Authenticate: Bearer\r\n"));
	json_decref(j);
}

static char *x509_body(struct fx *f, const char *more)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 65536);
	mica_buf_put_json_string(&b, mica_slice_str(f->t->csr));
	return tk_printf("{\"csr\":%s%s}", (const char *)b.p, more);
}

static struct answer x509(struct fx *f, const char *headers, const char *more)
{
	return ask(f, API_PUBLIC, "POST", "/v1/x509-svids", headers, x509_body(f, more));
}

static uint64_t issued(struct fx *f)
{
	struct mica_core_stats s;

	mica_core_stats(f->t->core, &s);
	return s.x509_issued;
}

/* ---- issuing ------------------------------------------------------------------------------- */

static void a_token_becomes_a_certificate(void **state)
{
	struct fx *f = *state;
	struct answer a = x509(f, bearer(f), ""), proof;
	json_t *j = json_of(&a);
	const char *chain = text_of(j, "certificate_chain");
	int64_t after, index = json_integer_value(json_object_get(j, "ledger_index"));

	assert_int_equal(a.status, 201);
	assert_non_null(strstr(a.head, "Content-Type: application/json\r\n"));
	assert_non_null(strstr(a.head, "Cache-Control: no-store\r\n"));
	assert_string_equal(text_of(j, "spiffe_id"), ID);
	assert_int_equal(strlen(text_of(j, "serial")), 32);
	assert_non_null(strstr(strstr(chain, "-----BEGIN CERTIFICATE-----\n") + 10,
		"-----BEGIN CERTIFICATE-----\n"));
	assert_int_equal(mica_time_parse(mica_slice_str(text_of(j, "not_after")), &after), MICA_OK);
	assert_in_range(after, mica_now() + 3500, mica_now() + 3700);
	assert_true(json_is_false(json_object_get(j, "ttl_clamped")));
	/* who does not say what it has gets the roots */
	assert_non_null(strstr(text_of(j, "bundle"), "-----BEGIN CERTIFICATE-----\n"));
	assert_true(index > 0);
	proof = ask(
		f, API_PUBLIC, "GET", tk_printf("/v1/log/proof/%d", (int)index), bearer(f), NULL);
	assert_int_equal(proof.status, 200);
	json_decref(j);
}

static void a_jwt_is_issued(void **state)
{
	struct fx *f = *state;
	struct answer a = ask(f, API_PUBLIC, "POST", "/v1/jwt-svids", bearer(f),
		"{\"audience\":[\"a\",\"b\"],\"ttl\":60}");
	json_t *j = json_of(&a);

	assert_int_equal(a.status, 201);
	assert_string_equal(text_of(j, "spiffe_id"), ID);
	assert_non_null(strchr(text_of(j, "token"), '.'));
	assert_null(json_object_get(j, "serial"));
	assert_true(json_integer_value(json_object_get(j, "ledger_index")) > 0);
	json_decref(j);
}

/* Design 8.2: an identical request within a minute has the same answer, another has its own. */
static void a_replay_gets_the_same_answer(void **state)
{
	struct fx *f = *state;
	const char *who = bearer(f), *again = x509_body(f, "");
	uint64_t before = issued(f);
	struct answer a = ask(f, API_PUBLIC, "POST", "/v1/x509-svids", who, again);
	struct answer b = ask(f, API_PUBLIC, "POST", "/v1/x509-svids", who, again);
	struct answer c = x509(f, who, ",\"ttl\":600");

	assert_int_equal(b.status, 201);
	assert_string_equal(a.body, b.body);
	assert_int_equal(c.status, 201);
	assert_string_not_equal(a.body, c.body);
	assert_int_equal(issued(f) - before, 2);
}

/* Equals at the same time share one result, whoever of them was first. */
static void equals_at_the_same_time_share_one_result(void **state)
{
	struct fx *f = *state;
	const char *who = bearer(f), *body = x509_body(f, "");
	uint64_t before = issued(f);
	struct answer a[6];
	int fd[6];

	for (size_t i = 0; i < 6; i++)
		fd[i] = dial(f, API_PUBLIC);
	for (size_t i = 0; i < 6; i++)
		send_request(fd[i], "POST", "/v1/x509-svids", who, body);
	for (size_t i = 0; i < 6; i++)
		a[i] = read_answer(fd[i]);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(a[i].status, 201);
		assert_string_equal(a[i].body, a[0].body);
	}
	assert_int_equal(issued(f) - before, 1);
}

static void a_bundle_that_is_known_is_not_sent(void **state)
{
	struct fx *f = *state;
	uint64_t now = mica_core_bundle_sequence(f->t->core, MICA_CHANNEL_LIVE);
	struct answer a =
		x509(f, bearer(f), tk_printf(",\"bundle_sequence\":%llu", (unsigned long long)now));
	json_t *j = json_of(&a);

	assert_int_equal(a.status, 201);
	assert_null(json_object_get(j, "bundle"));
	assert_int_equal(json_integer_value(json_object_get(j, "bundle_sequence")), now);
	json_decref(j);
}

static void bad_requests_change_nothing(void **state)
{
	static const struct {
		const char *method, *path, *body, *reason;
		int status;
	} cases[] = {
		{"POST", "/v1/x509-svids", "", "json_syntax", 400},
		{"POST", "/v1/x509-svids", "[]", "json_type", 400},
		{"POST", "/v1/x509-svids", "{}", "json_missing_member", 400},
		{"POST", "/v1/x509-svids", "{\"csr\":\"x\",\"csr\":\"x\"}", "json_syntax", 400},
		{"POST", "/v1/x509-svids", "{\"csr\":\"x\",\"names\":[]}", "json_unknown_member",
			400},
		{"POST", "/v1/x509-svids", "{\"csr\":\"x\",\"ttl\":0}", "json_range", 400},
		{"POST", "/v1/x509-svids?x=1", "{\"csr\":\"x\"}", "unknown_parameter", 400},
		{"POST", "/v1/jwt-svids", "{\"audience\":[]}", "json_range", 400},
		{"POST", "/v1/jwt-svids", "{\"audience\":[7]}", "json_type", 400},
		{"POST", "/v1/bundle/acks", "{\"sequence\":1,\"channel\":\"x\"}", "json_range",
			400},
		{"GET", "/v1/events?limit=0", NULL, "bad_parameter", 400},
		{"GET", "/v1/certificates/xyz", NULL, "bad_serial", 400},
		{"GET", "/v1/log/proof/-1", NULL, "bad_parameter", 400},
		{"GET", "/v1/log/proof/999999", NULL, "no_such_entry", 404},
		{"GET", "/v1/status", NULL, "role_required", 403},
		{"GET", "/log/tile/entries/000", NULL, "role_required", 403},
		{"POST", "/v1/authorities/x/taint", NULL, "role_required", 403},
		{"GET", "/v1/deny", NULL, "role_required", 403},
		{"POST", "/v1/deny", "{\"kind\":\"key\",\"value\":\"x\"}", "role_required", 403},
	};
	struct fx *f = *state;
	struct mica_core_stats before, after;
	const char *who = bearer(f);

	mica_core_stats(f->t->core, &before);
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++)
		refused(ask(f, API_PUBLIC, cases[i].method, cases[i].path, who, cases[i].body),
			cases[i].status, cases[i].reason);
	mica_core_stats(f->t->core, &after);
	assert_int_equal(before.entries, after.entries);
}

static void a_broken_csr_says_where(void **state)
{
	struct fx *f = *state;
	struct answer a =
		ask(f, API_PUBLIC, "POST", "/v1/x509-svids", bearer(f), "{\"csr\":\"nothing\"}");
	json_t *j = json_of(&a);

	assert_int_equal(a.status, 400);
	assert_int_equal(strncmp(text_of(j, "reason"), "csr_", 4), 0);
	json_decref(j);
	/* whoever waits for the same is not left waiting */
	assert_int_equal(mica_replay_count(f->replay), 0);
}

static void unknown_paths_and_methods(void **state)
{
	struct fx *f = *state;
	struct answer a;

	refused(ask(f, API_PUBLIC, "GET", "/nothing", "", NULL), 404, "no_such_path");
	refused(ask(f, API_PUBLIC, "GET", "/metrics", "", NULL), 404, "no_such_path");
	refused(ask(f, API_WATCH, "POST", "/v1/x509-svids", JSON, "{}"), 404, "no_such_path");
	refused(ask(f, API_PUBLIC, "POST", "/v1/backups", JSON, "{}"), 404, "no_such_path");
	a = ask(f, API_PUBLIC, "GET", "/v1/x509-svids", "", NULL);
	refused(a, 405, "method_not_allowed");
	assert_non_null(strstr(a.head, "Allow: POST\r\n"));
	a = ask(f, API_PUBLIC, "PUT", "/v1/deny", JSON, "{}");
	assert_non_null(strstr(a.head, "Allow: GET, HEAD, POST, DELETE\r\n"));
	a = ask(f, API_PUBLIC, "DELETE", "/log/tile/entries/000", "", NULL);
	assert_non_null(strstr(a.head, "Allow: GET, HEAD\r\n"));
	refused(ask(f, API_PUBLIC, "POST", "/v1/x509-svids", "Content-Type: text/plain\r\n", "{}"),
		415, "content_type");
}

/* ---- who asks ------------------------------------------------------------------------------ */

static void credentials_are_needed(void **state)
{
	struct fx *f = *state;
	struct answer a;

	refused(x509(f, JSON, ""), 401, "credential_missing");
	refused(x509(f, JSON "Authorization: Basic eDp5\r\n", ""), 401, "credential_malformed");
	a = x509(f, JSON "Authorization: Bearer x.y.z\r\n", "");
	refused(a, 401, "token_invalid");
	/* before the signature holds nobody learns more */
	assert_null(strstr(a.body, "encoding"));
	assert_null(strstr(a.body, "malformed"));
}

static void failures_of_an_address_are_bounded(void **state)
{
	struct fx *f = *state;
	struct answer a;
	int n = 0;

	do
		a = x509(f, JSON "Authorization: Bearer x.y.z\r\n", "");
	while (a.status == 401 && ++n < 20);
	refused(a, 429, "rate_limited");
	assert_in_range(n, 5, 7);
}

/* Who shares an address with a flood, but was known before, is still served. */
static void who_is_known_is_served_in_a_flood(void **state)
{
	struct fx *f = *state;
	const char *who = bearer(f);
	struct answer a;

	assert_int_equal(x509(f, who, "").status, 201);
	do
		a = x509(f, JSON "Authorization: Bearer x.y.z\r\n", "");
	while (a.status == 401);
	assert_int_equal(a.status, 429);
	assert_int_equal(x509(f, who, ",\"ttl\":700").status, 201);
	assert_int_equal(
		x509(f, tk_printf("%.*sA\r\n", (int)strlen(who) - 2, who), "").status, 429);
}

static void an_identity_is_bounded(void **state)
{
	struct fx *f = *state;
	const char *who = bearer(f);
	struct answer a;
	int n = 0;

	do
		a = ask(f, API_PUBLIC, "GET", "/v1/events", who, NULL);
	while (a.status == 200 && ++n < 40);
	refused(a, 429, "identity_rate_limited");
	assert_in_range(n, 20, 22);
}

static void the_peer_of_the_socket_is_an_administrator(void **state)
{
	struct fx *f = *state;
	struct answer a = ask(f, API_ADMIN, "GET", "/v1/status", "", NULL);
	json_t *j = json_of(&a), *server = json_object_get(j, "server");

	assert_int_equal(a.status, 200);
	assert_string_equal(text_of(j, "trust_domain"), TD);
	assert_int_equal(json_array_size(json_object_get(server, "listeners")), 4);
	assert_true(json_is_null(json_object_get(j, "backup")));
	json_decref(j);
	/* but no workload, unless it shows a token */
	refused(ask(f, API_ADMIN, "POST", "/v1/x509-svids", JSON, "{}"), 403, "role_required");
	assert_int_equal(
		ask(f, API_ADMIN, "POST", "/v1/x509-svids", bearer(f), x509_body(f, "")).status,
		201);
	/* and then that token is the caller */
	refused(ask(f, API_ADMIN, "GET", "/v1/status", bearer(f), NULL), 403, "role_required");
}

static void review_first(struct fx *f)
{
	f->t->issuers[0].review.mode = MICA_REVIEW_FIRST_USE;
	assert_ok(mica_core_configure(f->t->core, &f->t->config, mica_now_ms(), e));
}

#define GOOD_REVIEW                                                                                \
	"{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"status\":{"       \
	"\"authenticated\":true,\"audiences\":[\"mica\"],\"user\":{"                               \
	"\"username\":\"system:serviceaccount:payments:checkout\",\"uid\":\"" SA_UID "\","         \
	"\"extra\":{\"authentication.kubernetes.io/pod-name\":[\"checkout-1\"],"                   \
	"\"authentication.kubernetes.io/pod-uid\":[\"" POD_UID "\"]}}}}"
#define NO_REVIEW                                                                                  \
	"{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"status\":{"       \
	"\"authenticated\":false,\"error\":\"[invalid bearer token, service account token has been invalidated]\"}}"

static void a_review_is_asked_without_holding_up(void **state)
{
	struct fx *f = *state;
	const char *who = bearer(f);

	review_first(f);
	f->kube.answer = GOOD_REVIEW;
	assert_int_equal(x509(f, who, "").status, 201);
	assert_int_equal(x509(f, who, ",\"ttl\":600").status, 201);
	assert_int_equal(f->kube.asked, 1);
}

static void a_review_that_fails_refuses(void **state)
{
	struct fx *f = *state;

	review_first(f);
	refused(x509(f, bearer(f), ""), 503, "token_review_failed"); /* it cannot be asked */
	f->kube.answer = "{}";
	refused(x509(f, bearer(f), ""), 503, "token_review_failed");
	f->kube.answer = NO_REVIEW;
	assert_int_equal(x509(f, bearer(f), "").status, 403);
	/* a no is remembered for a moment */
	f->kube.asked = 0;
	refused(x509(f, bearer(f), ""), 403, "token_review_refused");
	assert_int_equal(f->kube.asked, 0);
}

/* ---- what is published --------------------------------------------------------------------- */

static const char *etag_of(const struct answer *a)
{
	char *at = strstr(a->head, "ETag: "), *end;

	assert_non_null(at);
	at = tk_keep(mica_strdup(at + 6));
	end = strstr(at, "\r\n");
	*end = '\0';
	return at;
}

static void snapshots_have_tags(void **state)
{
	static const struct {
		const char *path, *type;
	} cases[] = {{"/v1/bundle", "application/json"},
		{"/v1/bundle.pem", "application/x-pem-file"},
		{"/v1/bundle.jws", "application/jose"}, {"/v1/bundles/" TD, "application/json"}};
	struct fx *f = *state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct answer a = ask(f, API_PUBLIC, "GET", cases[i].path, "", NULL), b;

		assert_int_equal(a.status, 200);
		assert_non_null(strstr(a.head, tk_printf("Content-Type: %s\r\n", cases[i].type)));
		assert_non_null(strstr(a.head, "Cache-Control: no-cache\r\n"));
		assert_true(a.len > 0);
		b = ask(f, API_WATCH, "GET", cases[i].path,
			tk_printf("If-None-Match: %s\r\n", etag_of(&a)), NULL);
		assert_int_equal(b.status, 304);
		assert_string_equal(etag_of(&b), etag_of(&a));
		assert_int_equal(b.len, 0);
	}
	refused(ask(f, API_PUBLIC, "GET", "/v1/bundles/other.org", "", NULL), 404,
		"no_such_trust_domain");
	refused(ask(f, API_PUBLIC, "GET", "/v1/bundle?wait=61", "", NULL), 400, "bad_parameter");
	refused(ask(f, API_PUBLIC, "GET", "/v1/jwks", "", NULL), 404, "no_such_path");
}

static void a_poll_ends_with_its_time_or_with_us(void **state)
{
	struct fx *f = *state;
	struct answer a = ask(f, API_PUBLIC, "GET", "/v1/bundle", "", NULL);
	const char *h = tk_printf("If-None-Match: %s\r\n", etag_of(&a));
	int64_t before = mica_mono_ms();
	int fd;

	/* without a tag there is nothing to wait for */
	assert_int_equal(ask(f, API_WATCH, "GET", "/v1/bundle?wait=60", "", NULL).status, 200);
	assert_true(mica_mono_ms() - before < 900);
	before = mica_mono_ms();
	assert_int_equal(ask(f, API_WATCH, "GET", "/v1/bundle?wait=1s", h, NULL).status, 304);
	assert_in_range(mica_mono_ms() - before, 990, 2000);
	fd = dial(f, API_WATCH);
	send_request(fd, "GET", "/v1/bundle?wait=60", h, NULL);
	usleep(100000);
	before = mica_mono_ms();
	api_drain(f->api);
	refused(read_answer(fd), 503, "draining");
	assert_true(mica_mono_ms() - before < 900);
	refused(ask(f, API_METRICS, "GET", "/readyz", "", NULL), 503, "draining");
}

static void polls_are_bounded(void **state)
{
	struct fx *f = *state;
	struct answer a = ask(f, API_PUBLIC, "GET", "/v1/bundle", "", NULL);
	const char *h = tk_printf("If-None-Match: %s\r\n", etag_of(&a));
	int fd[2];

	for (size_t i = 0; i < 2; i++) {
		fd[i] = dial(f, API_PUBLIC);
		send_request(fd[i], "GET", "/v1/bundle?wait=1", h, NULL);
	}
	usleep(200000);
	refused(ask(f, API_PUBLIC, "GET", "/v1/bundle?wait=1", h, NULL), 503, "too_many_watchers");
	/* the other listener has its own bound */
	assert_int_equal(ask(f, API_WATCH, "GET", "/v1/bundle?wait=1", h, NULL).status, 304);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(read_answer(fd[i]).status, 304);
	assert_int_equal(watch_count(f->api->watch, true), 0);
}

/* ---- the ledger and its readers ------------------------------------------------------------ */

static void the_ledger_is_served(void **state)
{
	struct fx *f = *state;
	struct answer a;
	json_t *j, *e;
	const char *serial;

	assert_int_equal(x509(f, bearer(f), "").status, 201);
	a = ask(f, API_PUBLIC, "GET", "/log/checkpoint", "", NULL);
	assert_int_equal(a.status, 200);
	assert_int_equal(strncmp(a.body, f->t->born.origin, strlen(f->t->born.origin)), 0);
	a = ask(f, API_PUBLIC, "GET", "/log/tile/0/000.p/3", "", NULL);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.len, 96);
	assert_non_null(strstr(a.head, "immutable"));
	refused(ask(f, API_PUBLIC, "GET", "/log/tile/0/0", "", NULL), 404, "no_such_tile");
	a = ask(f, API_PUBLIC, "GET", "/log/tile/0/000", "", NULL);
	assert_int_equal(a.status, 404);
	a = ask(f, API_ADMIN, "GET", "/log/tile/entries/000.p/3", "", NULL);
	assert_int_equal(a.status, 200);
	assert_non_null(strstr(a.head, "private"));
	/* a workload sees its own */
	a = ask(f, API_PUBLIC, "GET", "/v1/events?type=x509_issued&limit=5", bearer(f), NULL);
	j = json_of(&a);
	e = json_array_get(json_object_get(j, "events"), 0);
	assert_int_equal(json_array_size(json_object_get(j, "events")), 1);
	serial = text_of(e, "serial");
	json_decref(j);
	a = ask(f, API_PUBLIC, "GET", tk_printf("/v1/certificates/%s", serial), bearer(f), NULL);
	assert_int_equal(a.status, 200);
	refused(ask(f, API_PUBLIC, "GET", "/v1/events", "", NULL), 401, "credential_missing");
}

static void about_ourselves(void **state)
{
	struct fx *f = *state;
	struct answer a = ask(f, API_PUBLIC, "GET", "/v1/configuration", "", NULL);
	json_t *j = json_of(&a);

	assert_string_equal(text_of(json_object_get(j, "log"), "vkey"), f->t->born.vkey);
	assert_string_equal(text_of(j, "watch_url"),
		tk_printf("https://%s", http_server_address(f->server[API_WATCH])));
	json_decref(j);
	a = ask(f, API_PUBLIC, "GET", "/openapi.json", "", NULL);
	j = json_of(&a);
	assert_string_equal(text_of(j, "openapi"), "3.1.0");
	json_decref(j);
	a = ask(f, API_METRICS, "GET", "/healthz", "", NULL);
	assert_string_equal(a.body, "ok\n");
	a = ask(f, API_METRICS, "GET", "/readyz", "", NULL);
	assert_string_equal(a.body, "ready\n");
	assert_int_equal(x509(f, bearer(f), "").status, 201);
	a = ask(f, API_METRICS, "GET", "/metrics", "", NULL);
	assert_non_null(
		strstr(a.body, "\nmica_issuance_total{kind=\"x509\",outcome=\"issued\"} 1\n"));
	assert_non_null(
		strstr(a.body, "\nmica_issuance_duration_seconds_count{stage=\"total\"} 1\n"));
	assert_non_null(strstr(a.body, "\nmica_ledger_entries "));
	assert_non_null(strstr(a.body, "\nmica_http_connections{listener=\"metrics\"} 1\n"));
}

/* ---- administrators ------------------------------------------------------------------------ */

static void administrators_deny_and_taint(void **state)
{
	struct fx *f = *state;
	const char *entry = "{\"kind\":\"pod_uid\",\"value\":\"" POD_UID "\"}";
	struct answer a;

	assert_int_equal(x509(f, bearer(f), "").status, 201);
	refused(ask(f, API_ADMIN, "DELETE", "/v1/deny", JSON, entry), 404, "not_denied");
	assert_int_equal(ask(f, API_ADMIN, "POST", "/v1/deny", JSON, entry).status, 204);
	refused(x509(f, bearer(f), ""), 403, "denied_by_list");
	a = ask(f, API_ADMIN, "GET", "/v1/deny", "", NULL);
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body,
		"{\"denied\":[{\"kind\":\"pod_uid\",\"value\":\"" POD_UID
		"\",\"source\":\"store\"}]}");
	refused(ask(f, API_ADMIN, "POST", "/v1/deny", JSON, "{\"kind\":\"x\",\"value\":\"y\"}"),
		400, "bad_deny_entry");
	assert_int_equal(ask(f, API_ADMIN, "DELETE", "/v1/deny", JSON, entry).status, 204);
	assert_int_equal(x509(f, bearer(f), "").status, 201);
	refused(ask(f, API_ADMIN, "POST", "/v1/authorities/00/taint", "", NULL), 404,
		"no_such_authority");
	a = ask(f, API_ADMIN, "POST", tk_printf("/v1/authorities/%s/taint", f->t->born.issuing_id),
		"", NULL);
	assert_int_equal(a.status, 204);
	refused(x509(f, bearer(f), ",\"ttl\":999"), 503, "no_active_authority");
	refused(ask(f, API_METRICS, "GET", "/readyz", "", NULL), 503, "no_active_authority");
}

static void a_token_is_explained(void **state)
{
	struct fx *f = *state;
	struct mica_slice t = ct_token(f->t, mica_now() - 7200);
	struct answer a = ask(f, API_ADMIN, "POST", "/v1/tokens/explain", JSON,
		tk_printf("{\"token\":\"%.*s\"}", (int)t.len, (const char *)t.p));
	json_t *j = json_of(&a);

	assert_int_equal(a.status, 200);
	assert_true(json_is_false(json_object_get(j, "accepted")));
	assert_string_equal(text_of(j, "reason"), "token_expired");
	assert_null(memmem(a.body, a.len, t.p, t.len));
	json_decref(j);
}

static void a_backup_is_made(void **state)
{
	struct fx *f = *state;
	struct answer a = ask(f, API_ADMIN, "POST", "/v1/backups", JSON,
		tk_printf("{\"path\":\"%s/backup\"}", f->t->dir));
	json_t *j = json_of(&a);

	assert_int_equal(a.status, 201);
	assert_int_equal(access(text_of(j, "path"), R_OK), 0);
	assert_int_equal(access(text_of(j, "manifest"), R_OK), 0);
	json_decref(j);
	refused(ask(f, API_ADMIN, "POST", "/v1/backups", JSON, "{\"path\":\"backup\"}"), 400,
		"bad_path");
	/* it is recorded who did it */
	a = ask(f, API_ADMIN, "GET", "/v1/events?type=admin", "", NULL);
	assert_non_null(strstr(a.body, "\"backup\""));
}

/* ---- many at a time ------------------------------------------------------------------------ */

#define CROWD 24
/* All of them are served, whatever is changed meanwhile: a decision that a change overtook is made
 * again. */
static void decisions_are_made_again(void **state)
{
	struct fx *f = *state;
	const char *entry =
		"{\"kind\":\"pod_uid\",\"value\":\"0b5b3a5e-6a0d-4f0e-9d0c-2f6f0e5d1c3b\"}";
	int fd[CROWD], other[4];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < CROWD; i++) {
			fd[i] = dial(f, API_ADMIN); /* where no rate is bounded by address */
			send_request(fd[i], "POST", "/v1/x509-svids", bearer(f),
				x509_body(f, tk_printf(",\"ttl\":%d", 600 + 100 * round + i)));
			if (i % 8 == 7) {
				other[i / 8] = dial(f, API_ADMIN);
				send_request(other[i / 8], i % 16 == 7 ? "POST" : "DELETE",
					"/v1/deny", JSON, entry);
			}
		}
		for (int i = 0; i < CROWD; i++) {
			int status = read_answer(fd[i]).status;
			if (status != 201)
				assert_int_equal(status, 429); /* this pod asks too often */
		}
		for (int i = 0; i < CROWD / 8; i++)
			read_answer(other[i]);
	}
	assert_int_equal(atomic_load(&f->desk->under_way), 0);
}

static void keys_that_are_unknown_are_refused(void **state)
{
	struct fx *f = *state;
	EVP_PKEY *other = tk_rsa(2048), *own = f->t->issuer_key;
	struct answer a;

	f->t->issuer_key = other;
	a = x509(f, bearer(f), "");
	f->t->issuer_key = own;
	EVP_PKEY_free(other);
	refused(a, 401, "token_invalid");
}

#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_token_becomes_a_certificate),
		T(a_jwt_is_issued),
		T(a_replay_gets_the_same_answer),
		T(equals_at_the_same_time_share_one_result),
		T(a_bundle_that_is_known_is_not_sent),
		T(bad_requests_change_nothing),
		T(a_broken_csr_says_where),
		T(unknown_paths_and_methods),
		T(credentials_are_needed),
		T(failures_of_an_address_are_bounded),
		T(who_is_known_is_served_in_a_flood),
		T(an_identity_is_bounded),
		T(the_peer_of_the_socket_is_an_administrator),
		T(a_review_is_asked_without_holding_up),
		T(a_review_that_fails_refuses),
		T(keys_that_are_unknown_are_refused),
		T(snapshots_have_tags),
		T(a_poll_ends_with_its_time_or_with_us),
		T(polls_are_bounded),
		T(the_ledger_is_served),
		T(about_ourselves),
		T(administrators_deny_and_taint),
		T(a_token_is_explained),
		T(a_backup_is_made),
		T(decisions_are_made_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
