/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's configuration: its example and its defaults say the same, and what is wrong is
 * refused at its place. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "agent/config.h"

#include "mica/file.h"

#include <signal.h>
#include <stdio.h>

#define TOP                                                                                        \
	"trust_domain: example.org\n"                                                              \
	"micad:\n"                                                                                 \
	"  url: https://mica:8443/\n"                                                              \
	"  bootstrap_file: /r.pem\n"
#define APP "identities:\n  - name: app\n    token_file: /t\n    allow: {any: true}\n"

static struct agent_config *parsed(const char *text)
{
	struct mica_err e = MICA_ERR_INIT;
	struct agent_config *c = NULL;
	if (agent_config_parse(mica_slice_str(text), NULL, &c, &e) != MICA_OK)
		fail_msg("%s: %s", e.reason, e.text);
	return c;
}

static void defaults(void **state)
{
	(void)state;
	AUTO_AGENT_CONFIG c = parsed(TOP APP);
	assert_string_equal(c->micad.url, "https://mica:8443");
	assert_string_equal(c->micad.watch_url, "");
	assert_int_equal(c->micad.timeout_ms, 10000);
	assert_int_equal(c->micad.channel, MICA_CHANNEL_LIVE);
	assert_string_equal(c->state_directory, "");
	assert_string_equal(c->socket.path, "/run/mica-agent/agent.sock");
	assert_int_equal(c->socket.mode, 0666);
	assert_string_equal(c->sds.default_svid, "default");
	assert_string_equal(c->sds.default_bundle, "ROOTCA");
	assert_string_equal(c->sds.all_bundles, "ALL");
	assert_int_equal(c->sds.validator, AGENT_PLAIN);
	assert_string_equal(c->metrics.listen, "");
	assert_int_equal(c->log.level, MICA_INFO);
	assert_int_equal(c->log.format, MICA_LOG_LOGFMT);
	assert_int_equal(c->n_identities, 1);
	assert_true(c->identities[0].any);
	assert_int_equal(c->identities[0].ttl, 0);
	assert_int_equal(c->identities[0].key_type, MICA_KN_P256);
	assert_null(c->identities[0].files.directory);
}

/* Every line that is commented out, taken in: the example says what there is. */
static void the_example(void **state)
{
	(void)state;
	struct mica_err e = MICA_ERR_INIT;
	const char *top = mica_env("MICA_SRCDIR");
	char path[4096];
	MICA_AUTO_BUF text;
	mica_buf_init(&text, 65536);
	snprintf(path, sizeof(path), "%s/deploy/examples/mica-agent.yaml", top ? top : ".");
	assert_int_equal(mica_file_read(path, &text, &e), MICA_OK);
	AUTO_AGENT_CONFIG c = parsed((const char *)text.p);
	assert_string_equal(c->identities[0].name, "app");
	assert_int_equal(c->identities[0].uids[0], 1000);

	/* defaults, as they stand behind their '#' */
	for (char *p = (char *)text.p; (p = strchr(p, '#')); p++)
		if (p[1] >= 'a' && p[1] <= 'z' && (p == (char *)text.p || p[-1] == ' '))
			*p = ' ';
	/* "  #key" became "   key": one column too far to the right */
	MICA_AUTO_BUF moved;
	struct mica_slice rest = mica_buf_slice(&text), line;
	mica_buf_init(&moved, 65536);
	while (rest.len > 0) {
		size_t indent = 0;
		mica_slice_cut(&rest, '\n', &line);
		while (indent < line.len && line.p[indent] == ' ')
			indent++;
		mica_buf_put_slice(&moved, mica_slice_sub(line, indent % 2, line.len));
		mica_buf_put_u8(&moved, '\n');
	}
	AUTO_AGENT_CONFIG all = parsed((const char *)moved.p);
	AUTO_AGENT_CONFIG none = parsed(TOP APP);
	assert_int_equal(all->micad.timeout_ms, none->micad.timeout_ms);
	assert_string_equal(all->socket.path, none->socket.path);
	assert_int_equal(all->socket.mode, none->socket.mode);
	assert_string_equal(all->sds.all_bundles, none->sds.all_bundles);
	assert_string_equal(all->sds.default_svid, none->sds.default_svid);
	assert_string_equal(all->sds.default_bundle, none->sds.default_bundle);
	assert_int_equal(all->sds.validator, none->sds.validator);
	assert_string_equal(all->metrics.listen, none->metrics.listen);
	assert_int_equal(all->log.level, none->log.level);
	assert_int_equal(all->identities[0].key_type, none->identities[0].key_type);
}

static void files(void **state)
{
	(void)state;
	AUTO_AGENT_CONFIG c = parsed(TOP APP "    ttl: 30m\n    files:\n"
					     "      directory: /out\n      key_mode: \"0640\"\n"
					     "      signal: HUP\n      pid_file: /p\n"
					     "      command: [/bin/true, x]\n");
	const struct agent_files *f = &c->identities[0].files;
	assert_int_equal(c->identities[0].ttl, 1800);
	assert_string_equal(f->cert, "cert.pem");
	assert_string_equal(f->key, "key.pem");
	assert_string_equal(f->bundle, "bundle.pem");
	assert_string_equal(f->bundle_map, "bundle.json");
	assert_int_equal(f->cert_mode, 0644);
	assert_int_equal(f->key_mode, 0640);
	assert_int_equal(f->signal, SIGHUP);
	assert_int_equal(f->n_command, 2);
	assert_string_equal(f->command[1], "x");
}

static void where_figures_are(void **state)
{
	static const struct {
		const char *text, *host, *listen;
		unsigned port;
	} rows[] = {{"127.0.0.1:9465", "127.0.0.1", "127.0.0.1:9465", 9465},
		{"\"[::1]:0\"", "::1", "[::1]:0", 0}, {"/run/m.sock", "", "/run/m.sock", 0},
		{"off", "", "", 0}};
	static const char *const bad[] = {"9465", "\":9465\"", "localhost:1", "127.0.0.1:65536",
		"\"::1:1\"", "\"[127.0.0.1]:1\"", "relative.sock", "\"127.0.0.1:\""};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		char text[512];
		snprintf(text, sizeof(text), TOP "metrics: {listen: %s}\n" APP, rows[i].text);
		AUTO_AGENT_CONFIG c = parsed(text);
		assert_string_equal(c->metrics.host, rows[i].host);
		assert_string_equal(c->metrics.listen, rows[i].listen);
		assert_int_equal(c->metrics.port, rows[i].port);
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_err e = MICA_ERR_INIT;
		struct agent_config *c = NULL;
		char text[512];
		snprintf(text, sizeof(text), TOP "metrics: {listen: %s}\n" APP, bad[i]);
		assert_int_equal(
			agent_config_parse(mica_slice_str(text), NULL, &c, &e), MICA_INVALID);
		assert_non_null(strstr(e.text, "metrics.listen"));
	}
}

static void refusals(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
		int line;
	} bad[] = {
		{"trust_domain: Example\nmicad: {url: https://m, bootstrap_file: /r}\n" APP,
			"trust_domain", 1},
		{"trust_domain: e\nmicad: {url: http://m, bootstrap_file: /r}\n" APP,
			"expected https", 2},
		{"trust_domain: e\nmicad: {url: https://m}\n" APP, "exactly one of", 2},
		{"trust_domain: e\nmicad: {url: https://m, bootstrap_file: /r, pin: x}\n" APP,
			"exactly one of", 2},
		{"trust_domain: e\nmicad: {url: https://m, pin: sha256:00}\n" APP, "64 hex digits",
			2},
		{"trust_domain: e\nmicad: {url: https://m, bootstrap_file: r}\n" APP,
			"begins with /", 2},
		{TOP "identities: []\n", "identities", 5},
		{TOP "identities:\n  - name: app\n    token_file: /t\n    allow: {}\n",
			"who may use it", 6},
		{TOP "identities:\n  - name: app\n    token_file: /t\n    allow: {any: true, "
		     "uids: [1]}\n",
			"leaves nothing", 6},
		{TOP "identities:\n  - name: a/b\n    token_file: /t\n    allow: {any: true}\n",
			"name: expected", 6},
		{TOP APP "  - name: app\n    token_file: /u\n    allow: {any: true}\n", "already",
			9},
		{TOP APP "    ttl: 5 minutes\n", "duration", 9},
		{TOP APP "    files: {directory: /d, key_mode: \"0644\"}\n",
			"others may do nothing", 9},
		{TOP APP "    files: {directory: /d, key_mode: \"0777\"}\n", "no mode", 9},
		{TOP APP "    files: {directory: /d, cert: ../x}\n", "name of a file", 9},
		{TOP APP "    files: {directory: /d, cert: x, key: x}\n", "two files", 9},
		{TOP APP "    files: {directory: /d, signal: HUP}\n", "belong together", 9},
		{TOP APP "    files: {directory: /d, signal: KILL, pid_file: /p}\n", "not one of",
			9},
		{TOP APP "    files: {directory: /d, command: [x]}\n", "path of a program", 9},
		{TOP APP "sds: {names: [{name: a, is: b}, {name: a, is: c}]}\n",
			"a meaning already", 9},
		{TOP APP "socket: {mode: \"99\"}\n", "no mode", 9},
		{TOP APP "unknown: 1\n", "unknown", 9},
	};
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_err e = MICA_ERR_INIT;
		struct agent_config *c = NULL;
		const mica_rc rc = agent_config_parse(mica_slice_str(bad[i].text), "f", &c, &e);
		if (rc != MICA_INVALID || !strstr(e.text, bad[i].says) || e.line != bad[i].line)
			fail_msg("%zu: %d, line %d, \"%s\", expected \"%s\" in line %d", i, rc,
				e.line, e.text, bad[i].says, bad[i].line);
		assert_null(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(the_example),
		cmocka_unit_test(files),
		cmocka_unit_test(where_figures_are),
		cmocka_unit_test(refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
