/* SPDX-License-Identifier: Apache-2.0 */
/* Issuers' keys: from issuers that are good, down, slow, huge, lying, and from files. */
#include "peer.h"

#include "fake_core.h"

#include "mica/config.h"
#include "mica/log.h"
#include "server/keys.h"

#include <fcntl.h>
#include <sys/stat.h>

#define SET_A "{\"keys\":[\"a\"]}"
#define SET_B "{\"keys\":[\"b\"]}"

static char dir[] = "/tmp/mica-keys-XXXXXX";
static struct peer_ca ca, other_ca;
static const struct mica_keys_tuning quick = {
	.forced_ms = 400, .retry_ms = 50, .file_ms = 30, .wait_ms = 600};

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

/* ---- an issuer ------------------------------------------------------------------------------- */

struct issuer {
	struct peer peer;
	char url[64];
	_Atomic(const char *) discovery; /* NULL = a right one */
	_Atomic(const char *) keys; /* body of /keys */
	_Atomic(const char *) status; /* of /keys; NULL = 200 OK */
	_Atomic(const char *) bearer; /* demanded; NULL = none */
	atomic_uint slow_ms;
	atomic_uint fetches; /* of /keys */
	char jwks_uri[128]; /* in the right discovery document */
};

static bool issuer_answer(struct peer_conn *c, const void *ctx)
{
	struct issuer *i = (struct issuer *)(uintptr_t)ctx;
	const char *bearer = i->bearer, *discovery = i->discovery, *status = i->status;
	char text[512];

	if (bearer) {
		snprintf(text, sizeof(text), "\r\nAuthorization: Bearer %s\r\n", bearer);
		if (!strstr(c->request, text))
			return peer_reply(c, "401 Unauthorized", NULL, "");
	}
	if (strncmp(c->request, "GET /.well-known/openid-configuration HTTP", 42) == 0) {
		snprintf(text, sizeof(text),
			"{\"issuer\":\"%s\",\"jwks_uri\":\"%s\",\"other\":[1]}", i->url,
			i->jwks_uri);
		return peer_reply(c, "200 OK", NULL, discovery ? discovery : text);
	}
	if (strncmp(c->request, "GET /keys HTTP", 14) != 0)
		return peer_reply(c, "404 Not Found", NULL, "");
	atomic_fetch_add(&i->fetches, 1);
	if (i->slow_ms && peer_wait_gone(c, i->slow_ms))
		return false;
	return peer_reply(c, status ? status : "200 OK", "Retry-After: 0\r\n", i->keys);
}

static void issuer_start(struct issuer *i)
{
	memset(i, 0, sizeof(*i));
	i->keys = SET_A;
	peer_start(&i->peer, peer_tls(&ca, "IP:127.0.0.1"), issuer_answer, i);
	peer_url(&i->peer, "", i->url, sizeof(i->url));
	peer_url(&i->peer, "/keys", i->jwks_uri, sizeof(i->jwks_uri));
}

/* Settings for an issuer by discovery. */
static struct mica_issuer_config settings(const char *name, struct issuer *i)
{
	struct mica_issuer_config c = {.name = (char *)(uintptr_t)name, .issuer = i->url};

	c.keys.discovery = true;
	c.keys.ca_file = in_dir("ca.pem");
	c.keys.refresh = 3600;
	c.keys.max_stale = 86400;
	c.keys.timeout = 5;
	return c;
}

static struct mica_keys *start(struct mica_core *core, struct mica_issuer_config *c, unsigned n)
{
	struct mica_config config = {.issuers = c, .n_issuers = n};
	struct mica_keys *k;

	assert_int_equal(mica_keys_new(core, &config, &quick, &k, NULL), MICA_OK);
	return k;
}

static struct mica_keys_status status_of(struct mica_keys *k, unsigned i)
{
	struct mica_keys_status s[8];

	assert_true(i < mica_keys_status(k, s, 8));
	return s[i];
}

/* Waits for a state; fails after some seconds. */
static struct mica_keys_status until(struct mica_keys *k, unsigned i, enum mica_keys_state state)
{
	int64_t end = mica_mono_ms() + 8000;
	struct mica_keys_status s = status_of(k, i);

	while (s.state != state && mica_mono_ms() < end) {
		usleep(5000);
		s = status_of(k, i);
	}
	if (s.state != state)
		fail_msg("state %s, expected %s: %s %s", mica_keys_state_name(s.state),
			mica_keys_state_name(state), s.reason ? s.reason : "", s.error);
	return s;
}

#define eventually(condition)                                                                      \
	do {                                                                                       \
		int64_t end_ = mica_mono_ms() + 8000;                                              \
		while (!(condition) && mica_mono_ms() < end_)                                      \
			usleep(5000);                                                              \
		assert_true(condition);                                                            \
	} while (0)

/* ---- waiting callers ------------------------------------------------------------------------- */

struct caller {
	atomic_uint yes, no;
};

static void done(void *ctx, bool again)
{
	struct caller *c = ctx;
	atomic_fetch_add(again ? &c->yes : &c->no, 1);
}

/* ---- discovery ------------------------------------------------------------------------------- */

static void keys_are_discovered(void **state)
{
	struct mica_core core;
	struct issuer i;
	struct mica_issuer_config c;
	struct mica_keys_status s;
	struct mica_keys *k;
	(void)state;
	fake_core_init(&core);
	issuer_start(&i);
	c = settings("prod", &i);
	k = start(&core, &c, 1);
	mica_keys_wait(k, 8000);
	s = status_of(k, 0);
	assert_int_equal(s.state, MICA_KEYS_FRESH);
	assert_string_equal(s.issuer, "prod");
	assert_int_equal(s.fetches_ok, 1);
	assert_int_equal(s.fetches_failed, 0);
	assert_int_equal(s.keys, 1);
	assert_in_range(s.age, 0, 5);
	assert_null(s.reason);
	assert_string_equal(fake_core_issuer(&core, "prod").document, SET_A);
	assert_int_equal(i.peer.connections, 1); /* kept from one request to the next */
	mica_keys_free(k);
	peer_stop(&i.peer);
}

/* An issuer whose discovery document is not right: its keys are never asked for. */
static void refused_discovery(const char *document, const char *reason)
{
	struct mica_core core;
	struct issuer i;
	struct mica_issuer_config c;
	struct mica_keys_status s;
	struct mica_keys *k;

	fake_core_init(&core);
	issuer_start(&i);
	i.discovery = document;
	c = settings("prod", &i);
	k = start(&core, &c, 1);
	s = until(k, 0, MICA_KEYS_STALE);
	if (strcmp(s.reason, reason) != 0)
		fail_msg("%s: %s: %s, expected %s", document, s.reason, s.error, reason);
	assert_int_equal(i.fetches, 0);
	assert_int_equal(fake_core_issuer(&core, "prod").given, 0);
	assert_int_equal(s.age, -1);
	mica_keys_free(k);
	peer_stop(&i.peer);
}

static void lying_discovery_is_refused(void **state)
{
	MICA_AUTO_FREE char *huge = mica_alloc(70000);
	(void)state;
	memset(huge, ' ', 69999);
	refused_discovery(huge, "answer_too_long");
	refused_discovery("", "discovery_malformed");
	refused_discovery("<html>", "discovery_malformed");
	refused_discovery("{\"jwks_uri\":\"https://127.0.0.1/keys\"}", "discovery_malformed");
	refused_discovery("{\"issuer\":1,\"jwks_uri\":\"x\"}", "discovery_malformed");
	refused_discovery("{\"issuer\":\"https://evil.example\",\"jwks_uri\":\"x\"}",
		"discovery_issuer_mismatch");
}

static void jwks_uri_stays_with_the_issuer(void **state)
{
	static const struct {
		const char *uri; /* with the port of the issuer for %u */
		const char *allow; /* the same; NULL = nothing */
		const char *reason; /* NULL = fine */
	} cases[] = {
		{"https://127.0.0.1:%u/keys", NULL, NULL},
		{"http://127.0.0.1:%u/keys", NULL, "jwks_uri_not_allowed"},
		{"https://evil@127.0.0.1:%u/keys", NULL, "jwks_uri_not_allowed"},
		{"https://localhost:%u/keys", NULL, "jwks_uri_not_allowed"},
		{"https://127.0.0.1.evil.example:%u/keys", NULL, "jwks_uri_not_allowed"},
		{"https://localhost:%u/keys", "localhost", NULL},
		{"https://LOCALHOST:%u/keys", "localhost", NULL},
		{"https://localhost:%u/keys", "localhost:%u", NULL},
		{"https://localhost:%u/keys", "localhost:1", "jwks_uri_not_allowed"},
		{"https://localhost:%u/keys", "host", "jwks_uri_not_allowed"},
		{"file:///etc/passwd", "localhost", "jwks_uri_not_allowed"},
		{"/keys", NULL, "jwks_uri_not_allowed"},
	};
	(void)state;
	for (size_t n = 0; n < MICA_ARRAY_LEN(cases); n++) {
		struct mica_core core;
		struct issuer i;
		struct mica_issuer_config c;
		struct mica_keys_status s;
		struct mica_keys *k;
		char allow[64], *list[1] = {allow};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		fake_core_init(&core);
		memset(&i, 0, sizeof(i));
		i.keys = SET_A;
		peer_start(&i.peer, peer_tls(&ca, "IP:127.0.0.1,DNS:localhost"), issuer_answer, &i);
		peer_url(&i.peer, "", i.url, sizeof(i.url));
		snprintf(i.jwks_uri, sizeof(i.jwks_uri), cases[n].uri, i.peer.port);
		snprintf(allow, sizeof(allow), cases[n].allow ? cases[n].allow : "-", i.peer.port);
#pragma GCC diagnostic pop
		c = settings("prod", &i);
		c.keys.allow_hosts = (struct mica_string_list){list, 1};
		k = start(&core, &c, 1);
		s = until(k, 0, cases[n].reason ? MICA_KEYS_STALE : MICA_KEYS_FRESH);
		if (cases[n].reason)
			assert_string_equal(s.reason, cases[n].reason);
		assert_int_equal(i.fetches, cases[n].reason ? 0 : 1);
		mica_keys_free(k);
		peer_stop(&i.peer);
	}
}

static void the_token_is_read_each_time(void **state)
{
	struct mica_core core;
	struct issuer i;
	struct mica_issuer_config c;
	struct mica_keys_status s;
	struct mica_keys *k;
	(void)state;
	fake_core_init(&core);
	issuer_start(&i);
	i.bearer = "new-token";
	c = settings("prod", &i);
	c.keys.token_file = in_dir("token");
	put_file("token", "old-token\n");
	k = start(&core, &c, 1);
	s = until(k, 0, MICA_KEYS_STALE);
	assert_string_equal(s.reason, "http_status");
	assert_null(strstr(s.error, "token\n"));
	put_file("token", "new-token\n");
	until(k, 0, MICA_KEYS_FRESH);
	mica_keys_free(k);
	unlink(in_dir("token"));
	k = start(&core, &c, 1);
	eventually(status_of(k, 0).fetches_failed > 0);
	assert_string_equal(status_of(k, 0).reason, "token_file_unusable");
	mica_keys_free(k);
	peer_stop(&i.peer);
}

/* ---- bad issuers ----------------------------------------------------------------------------- */

static void old_keys_outlive_trouble(void **state)
{
	struct mica_core core;
	struct issuer i;
	struct mica_issuer_config c;
	struct mica_keys_status s;
	struct mica_keys *k;
	(void)state;
	fake_core_init(&core);
	issuer_start(&i);
	i.status = "500 Oh";
	i.slow_ms = 300;
	fake_core_age(&core, "prod", 100); /* from before a restart */
	c = settings("prod", &i);
	k = start(&core, &c, 1);
	mica_keys_wait(k, 8000);
	assert_int_equal(status_of(k, 0).state, MICA_KEYS_STARTING); /* nobody waited */
	i.slow_ms = 0;
	s = until(k, 0, MICA_KEYS_FAILING);
	assert_string_equal(s.reason, "http_status");
	assert_in_range(s.age, 100, 120);
	fake_core_age(&core, "prod", 90000);
	until(k, 0, MICA_KEYS_STALE);
	i.status = NULL;
	i.keys = "<html>sorry</html>";
	eventually(status_of(k, 0).reason && !strcmp(status_of(k, 0).reason, "jwks_malformed"));
	i.keys = SET_B;
	until(k, 0, MICA_KEYS_FRESH);
	assert_string_equal(fake_core_issuer(&core, "prod").document, SET_B);
	mica_keys_free(k);
	peer_stop(&i.peer);
}

static void huge_sets_are_cut_off(void **state)
{
	MICA_AUTO_FREE char *huge = mica_alloc((2 << 20) + 1);
	struct mica_core core;
	struct issuer i;
	struct mica_issuer_config c;
	struct mica_keys *k;
	(void)state;
	memset(huge, ' ', 2 << 20);
	memcpy(huge, SET_A, strlen(SET_A));
	fake_core_init(&core);
	issuer_start(&i);
	i.keys = huge;
	c = settings("prod", &i);
	k = start(&core, &c, 1);
	assert_string_equal(until(k, 0, MICA_KEYS_STALE).reason, "answer_too_long");
	assert_int_equal(fake_core_issuer(&core, "prod").given, 0);
	mica_keys_free(k);
	peer_stop(&i.peer);
}

static void a_strange_server_is_not_believed(void **state)
{
	struct mica_core core;
	struct issuer i;
	struct mica_issuer_config c;
	struct mica_keys *k;
	(void)state;
	fake_core_init(&core);
	issuer_start(&i);
	c = settings("prod", &i);
	c.keys.ca_file = in_dir("changing.pem");
	put_file("changing.pem", (const char *)other_ca.pem.p);
	k = start(&core, &c, 1);
	assert_string_equal(until(k, 0, MICA_KEYS_STALE).reason, "tls_failed");
	put_file("changing.pem", (const char *)ca.pem.p);
	until(k, 0, MICA_KEYS_FRESH);
	mica_keys_free(k);
	peer_stop(&i.peer);
}

static void nobody_waits_for_a_slow_issuer(void **state)
{
	struct mica_core core;
	struct issuer good, slow;
	struct mica_issuer_config c[3];
	struct caller caller = {0};
	struct mica_keys *k;
	int64_t start_ms;
	(void)state;
	fake_core_init(&core);
	issuer_start(&good);
	issuer_start(&slow);
	slow.slow_ms = 20000;
	c[0] = settings("slow", &slow);
	c[0].keys.timeout = 60;
	c[1] = c[0];
	c[1].name = (char *)(uintptr_t) "slow too";
	c[2] = settings("good", &good);
	start_ms = mica_mono_ms();
	k = start(&core, c, 3);
	mica_keys_wait(k, 500); /* in all, not for each */
	assert_in_range(mica_mono_ms() - start_ms, 400, 2000);
	until(k, 2, MICA_KEYS_FRESH);
	eventually(slow.fetches == 2);
	assert_int_equal(status_of(k, 0).state, MICA_KEYS_STARTING);
	/* Whoever waits for the slow one waits so long and no longer. */
	start_ms = mica_mono_ms();
	mica_keys_refresh(k, "slow", done, &caller);
	assert_int_equal(caller.no + caller.yes, 0);
	eventually(caller.no == 1);
	assert_in_range(mica_mono_ms() - start_ms, 500, 2500);
	/* And the end does not wait at all. */
	mica_keys_refresh(k, "slow", done, &caller);
	start_ms = mica_mono_ms();
	mica_keys_free(k);
	assert_true(mica_mono_ms() - start_ms < 2000);
	assert_int_equal(caller.no, 2);
	assert_int_equal(caller.yes, 0);
	peer_stop(&good.peer);
	peer_stop(&slow.peer);
}

/* ---- unknown keys ---------------------------------------------------------------------------- */

static void unknown_keys_share_one_fetch(void **state)
{
	struct mica_core core;
	struct issuer i;
	struct mica_issuer_config c;
	struct caller caller = {0};
	struct mica_keys *k;
	int64_t end;
	(void)state;
	fake_core_init(&core);
	issuer_start(&i);
	c = settings("prod", &i);
	k = start(&core, &c, 1);
	until(k, 0, MICA_KEYS_FRESH);
	mica_keys_refresh(k, "prod", done, &caller); /* they have only just come */
	assert_int_equal(caller.yes, 1);
	assert_int_equal(i.fetches, 1);
	usleep(1100000);
	i.keys = SET_B;
	i.slow_ms = 200;
	for (unsigned n = 0; n < 100; n++)
		mica_keys_refresh(k, "prod", done, &caller);
	eventually(caller.yes == 101);
	assert_int_equal(caller.no, 0);
	assert_int_equal(i.fetches, 2);
	assert_int_equal(status_of(k, 0).forced, 1);
	assert_string_equal(fake_core_issuer(&core, "prod").document, SET_B);
	mica_keys_refresh(k, "no such", done, &caller);
	assert_int_equal(caller.no, 1);
	/* A stream of unknown keys makes one fetch in each interval, whatever it answers. */
	i.slow_ms = 0;
	i.status = "503 Busy";
	end = mica_mono_ms() + 1000;
	while (mica_mono_ms() < end) {
		mica_keys_poke(k, "prod");
		usleep(1000);
	}
	assert_in_range(status_of(k, 0).forced, 1, 4);
	mica_keys_free(k);
	peer_stop(&i.peer);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* As kubelet does it: a new folder, then one rename of the link that leads there. */
static void swap_volume(const char *folder, const char *content)
{
	char name[64];

	assert_int_equal(mkdir(in_dir(folder), 0700), 0);
	snprintf(name, sizeof(name), "%s/jwks.json", folder);
	put_file(name, content);
	unlink(in_dir("tmp"));
	assert_int_equal(symlink(folder, in_dir("tmp")), 0);
	assert_int_equal(rename(in_dir("tmp"), in_dir("..data")), 0);
}

static void files_are_followed(void **state)
{
	struct mica_core core;
	struct issuer none = {.url = "some name"};
	struct mica_issuer_config c = settings("prod", &none);
	struct caller caller = {0};
	struct mica_keys_status s;
	struct mica_keys *k;
	unsigned given;
	(void)state;
	fake_core_init(&core);
	c.keys.discovery = false;
	c.keys.jwks_file = in_dir("jwks.json");
	k = start(&core, &c, 1);
	assert_string_equal(until(k, 0, MICA_KEYS_STALE).reason, "no_such_file");
	swap_volume("1", SET_A);
	assert_int_equal(symlink("..data/jwks.json", in_dir("jwks.json")), 0);
	until(k, 0, MICA_KEYS_FRESH);
	given = fake_core_issuer(&core, "prod").given;
	usleep(200000); /* an unchanged file is no news */
	assert_int_equal(fake_core_issuer(&core, "prod").given, given);
	assert_int_equal(status_of(k, 0).fetches_ok, 1);
	swap_volume("2", SET_B);
	eventually(!strcmp(fake_core_issuer(&core, "prod").document, SET_B));
	swap_volume("3", "{}");
	s = until(k, 0, MICA_KEYS_FAILING);
	assert_string_equal(s.reason, "jwks_malformed");
	given = fake_core_issuer(&core, "prod").given;
	usleep(200000);
	assert_int_equal(fake_core_issuer(&core, "prod").given, given);
	assert_int_equal(status_of(k, 0).state, MICA_KEYS_FAILING);
	assert_string_equal(fake_core_issuer(&core, "prod").document, SET_B);
	swap_volume("4", SET_A);
	until(k, 0, MICA_KEYS_FRESH);
	/* Unreadable for a moment, then as before. */
	unlink(in_dir("..data"));
	until(k, 0, MICA_KEYS_FAILING);
	assert_int_equal(symlink("4", in_dir("..data")), 0);
	until(k, 0, MICA_KEYS_FRESH);
	usleep(1100000);
	mica_keys_refresh(k, "prod", done, &caller);
	eventually(caller.yes == 1);
	mica_keys_free(k);
}

/* ---- reload ---------------------------------------------------------------------------------- */

static void reload_touches_what_changed(void **state)
{
	struct mica_core core;
	struct issuer kept, old, fresh;
	struct mica_issuer_config c[3];
	struct mica_config config = {.issuers = c, .n_issuers = 2};
	struct caller caller = {0};
	struct mica_keys *k;
	(void)state;
	fake_core_init(&core);
	issuer_start(&kept);
	issuer_start(&old);
	issuer_start(&fresh);
	old.slow_ms = 300;
	fresh.keys = SET_B;
	c[0] = settings("kept", &kept);
	c[1] = settings("moved", &old);
	k = start(&core, c, 2);
	until(k, 0, MICA_KEYS_FRESH);
	eventually(old.fetches == 1);
	mica_keys_refresh(k, "moved", done, &caller);
	c[1] = settings("moved", &fresh);
	c[2] = settings("added", &fresh);
	config.n_issuers = 3;
	mica_keys_retire(k, &config);
	/* Nothing by the old settings comes any more: here the core learns the new ones. */
	assert_int_equal(caller.no, 1);
	usleep(500000);
	assert_int_equal(fake_core_issuer(&core, "moved").given, 0);
	assert_int_equal(mica_keys_reload(k, &config, NULL), MICA_OK);
	until(k, 1, MICA_KEYS_FRESH);
	until(k, 2, MICA_KEYS_FRESH);
	assert_string_equal(fake_core_issuer(&core, "moved").document, SET_B);
	assert_int_equal(kept.fetches, 1);
	config.n_issuers = 1;
	assert_int_equal(mica_keys_reload(k, &config, NULL), MICA_OK);
	assert_int_equal(mica_keys_status(k, NULL, 0), 1);
	mica_keys_free(k);
	peer_stop(&kept.peer);
	peer_stop(&old.peer);
	peer_stop(&fresh.peer);
}

/* ---- the log --------------------------------------------------------------------------------- */

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

static void only_changes_are_logged(void **state)
{
	struct mica_core core;
	struct issuer i;
	struct mica_issuer_config c;
	struct mica_keys *k;
	MICA_AUTO_BUF log;
	int fd = open(in_dir("log"), O_RDWR | O_CREAT | O_APPEND, 0600);
	(void)state;
	mica_log_setup(fd, MICA_LOG_LOGFMT, MICA_INFO);
	fake_core_init(&core);
	fake_core_age(&core, "prod", 100);
	issuer_start(&i);
	i.status = "500 Oh";
	c = settings("prod", &i);
	c.keys.refresh = 1; /* shortens the back-off, too */
	k = start(&core, &c, 1);
	eventually(status_of(k, 0).fetches_failed >= 3);
	i.status = NULL;
	eventually(status_of(k, 0).fetches_ok >= 2);
	i.keys = SET_B;
	eventually(!strcmp(fake_core_issuer(&core, "prod").document, SET_B));
	mica_keys_free(k);
	mica_log_setup(STDERR_FILENO, MICA_LOG_LOGFMT, MICA_ERROR);
	close(fd);
	mica_buf_init(&log, 65536);
	assert_int_equal(mica_file_read(in_dir("log"), &log, NULL), MICA_OK);
	assert_int_equal(count((const char *)log.p, "event="), 3);
	assert_int_equal(
		count((const char *)log.p, "event=issuer_keys_failing issuer=prod age="), 1);
	assert_int_equal(count((const char *)log.p, "reason=http_status"), 1);
	assert_int_equal(count((const char *)log.p, "event=issuer_keys_fresh issuer=prod"), 1);
	assert_int_equal(count((const char *)log.p, "event=issuer_keys_changed issuer=prod"), 1);
	peer_stop(&i.peer);
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
	static const char *const names[] = {"ca.pem", "changing.pem", "token", "jwks.json",
		"..data", "tmp", "log", "1/jwks.json", "2/jwks.json", "3/jwks.json", "4/jwks.json"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++)
		unlink(in_dir(names[i]));
	for (unsigned i = 1; i <= 4; i++)
		rmdir(in_dir((char[]){(char)('0' + i), '\0'}));
	peer_ca_clear(&ca);
	peer_ca_clear(&other_ca);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_discovered),
		cmocka_unit_test(lying_discovery_is_refused),
		cmocka_unit_test(jwks_uri_stays_with_the_issuer),
		cmocka_unit_test(the_token_is_read_each_time),
		cmocka_unit_test(old_keys_outlive_trouble),
		cmocka_unit_test(huge_sets_are_cut_off),
		cmocka_unit_test(a_strange_server_is_not_believed),
		cmocka_unit_test(nobody_waits_for_a_slow_issuer),
		cmocka_unit_test(unknown_keys_share_one_fetch),
		cmocka_unit_test(files_are_followed),
		cmocka_unit_test(reload_touches_what_changed),
		cmocka_unit_test(only_changes_are_logged),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
