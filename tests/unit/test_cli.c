/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: what is parsed and refused, and what a writer makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/cli.h"

#include "mica/file.h"

#include <stdio.h>
#include <unistd.h>

#define MAX_ARGS 48

static const char *no_env(const char *name)
{
	(void)name;
	return NULL;
}

static const char *some_env(const char *name)
{
	if (strcmp(name, "MICA_URL") == 0)
		return "https://mica.example.org";
	if (strcmp(name, "MICA_OUTPUT") == 0)
		return "json";
	return NULL;
}

static const char *bad_env(const char *name)
{
	return strcmp(name, "MICA_OUTPUT") == 0 ? "xml" : NULL;
}

/* "svid fetch --ttl 1h": words are parted by single spaces. */
static mica_rc parse_env(
	struct cli *c, const char *line, const char *(*env)(const char *), struct mica_err *e)
{
	static char copy[1024];
	static const char *argv[MAX_ARGS];
	int argc = 1;

	memset(c, 0, sizeof(*c));
	c->now = 1795521600;
	argv[0] = "mica";
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *p = copy; *p && argc < MAX_ARGS; argc++) {
		size_t len = strcspn(p, " ");

		argv[argc] = p;
		p += len;
		if (*p)
			*p++ = '\0';
	}
	argv[argc] = NULL;
	return cli_parse(c, argc, argv, env, e);
}

static void accepted(struct cli *c, const char *line)
{
	struct mica_err e = MICA_ERR_INIT;

	if (parse_env(c, line, no_env, &e) != MICA_OK)
		fail_msg("%s: %s: %s", line, e.reason, e.text);
}

static void refused(const char *line, const char *reason, const char *says)
{
	struct mica_err e = MICA_ERR_INIT;
	struct cli c;

	assert_int_equal(parse_env(&c, line, no_env, &e), MICA_INVALID);
	assert_string_equal(e.reason, reason);
	if (!strstr(e.text, says))
		fail_msg("%s: '%s' does not say '%s'", line, e.text, says);
}

static void options_come_in_every_form(void **state)
{
	static const char *const lines[] = {"svid fetch --ttl 1h --out /run/svid --key-type p384",
		"svid fetch --ttl=1h --out=/run/svid --key-type=p384",
		"--ttl 3600 svid --out /run/svid fetch -k p384",
		"svid fetch -kp384 -O/run/svid --ttl 60m"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(lines); i++) {
		struct cli c;

		accepted(&c, lines[i]);
		assert_string_equal(c.cmd->name, "svid fetch");
		assert_int_equal(cli_int(&c, OPT_TTL, 0), 3600);
		assert_string_equal(cli_str(&c, OPT_OUT), "/run/svid");
		assert_int_equal(cli_int(&c, OPT_KEY_TYPE, 0), 1);
		assert_false(cli_set(&c, OPT_RENEW));
		assert_false(c.help);
	}
}

static void what_is_wrong_is_said(void **state)
{
	static const struct {
		const char *line, *reason, *says;
	} cases[] = {{"stauts", "unknown_command", "did you mean status?"},
		{"audit lst", "unknown_command", "did you mean audit list?"},
		{"frobnicate", "unknown_command", "unknown command: frobnicate"},
		{"svid fetch --tll 1h", "unknown_option", "did you mean --ttl?"},
		{"svid fetch -z", "unknown_option", "-z"},
		{"status --ttl 1h", "unknown_option", "mica status has no option --ttl"},
		{"svid fetch --ttl", "bad_option", "TIME is missing"},
		{"svid fetch --ttl soon", "bad_option", "90s, 15m or 1h"},
		{"svid fetch --ttl 0", "bad_option", "from 1"},
		{"svid fetch --ttl -1", "bad_option", "--ttl"},
		{"svid fetch --key-type dsa", "bad_option", "one of p256, p384"},
		{"svid fetch --renew=yes", "bad_option", "takes no value"},
		{"svid fetch --out=", "bad_option", "it is empty"},
		{"audit list --limit 1001", "bad_option", "from 1 to 1000"},
		{"audit list --since yesterday", "bad_option", "2026-11-24T12:00:00Z"},
		{"backup", "missing_argument", "needs FILE"},
		{"deny add pod_uid", "missing_argument", "needs"},
		{"backup a b", "usage", "'b' is one argument too many"},
		{"status -- rm", "usage", "takes nothing behind --"},
		{"svid fetch --output xml", "bad_option", "one of text, json"}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++)
		refused(cases[i].line, cases[i].reason, cases[i].says);
}

/* What follows a command of one word is an argument, however long it is. */
static void arguments_may_be_long(void **state)
{
	struct cli c;
	(void)state;
	accepted(&c, "backup /var/backups/mica/a-rather-long-name-of-a-file-2026-11-24");
	assert_string_equal(c.cmd->name, "backup");
	assert_int_equal(c.n_args, 1);
	refused("audit a-word-that-is-much-too-long-for-a-command", "unknown_command", "a-word");
}

static void times_are_given_or_counted_back(void **state)
{
	struct cli c;
	(void)state;
	accepted(&c, "audit list --since 2026-11-24T00:00:00Z --until 1h");
	assert_int_equal(c.v[OPT_SINCE].i, 1795478400);
	assert_int_equal(c.v[OPT_UNTIL].i, 1795521600 - 3600);
}

static void lists_are_bounded(void **state)
{
	char line[1024] = "jwt fetch";
	struct cli c;
	(void)state;
	for (int i = 0; i < CLI_LIST_MAX; i++)
		strncat(line, " -aA", sizeof(line) - strlen(line) - 1);
	accepted(&c, line);
	assert_int_equal(c.v[OPT_AUDIENCE].n, CLI_LIST_MAX);
	strncat(line, " -aA", sizeof(line) - strlen(line) - 1);
	refused(line, "bad_option", "at most 32");
}

static void a_command_may_stand_behind_two_dashes(void **state)
{
	struct cli c;
	(void)state;
	accepted(&c, "audit watch --once -- page --urgent me");
	assert_int_equal(c.n_rest, 3);
	assert_string_equal(c.rest[1], "--urgent");
	assert_null(c.rest[3]);
}

static void the_environment_fills_what_is_not_given(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct cli c;
	(void)state;
	assert_int_equal(parse_env(&c, "status", some_env, &e), MICA_OK);
	assert_string_equal(cli_str(&c, OPT_URL), "https://mica.example.org");
	assert_true(c.v[OPT_URL].from_env);
	assert_int_equal(c.v[OPT_OUTPUT].i, 1);
	assert_int_equal(parse_env(&c, "status --url https://a -o text", some_env, &e), MICA_OK);
	assert_string_equal(cli_str(&c, OPT_URL), "https://a");
	assert_false(c.v[OPT_URL].from_env);
	assert_int_equal(c.v[OPT_OUTPUT].i, 0);
	/* a command that takes no such option does not look at its variable */
	assert_int_equal(parse_env(&c, "version", some_env, &e), MICA_OK);
	assert_false(cli_set(&c, OPT_URL));
	assert_int_equal(parse_env(&c, "status", bad_env, &e), MICA_INVALID);
	assert_non_null(strstr(e.text, "MICA_OUTPUT"));
}

static void help_is_asked_for_in_many_ways(void **state)
{
	static const struct {
		const char *line, *topic;
	} cases[] = {{"", ""}, {"--help", ""}, {"-h", ""}, {"audit", "audit"},
		{"audit --help", "audit"}, {"audit list --help", "audit list"},
		{"--help audit list", "audit list"}, {"backup --help", "backup"}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct cli c;

		accepted(&c, cases[i].line);
		assert_true(c.help);
		assert_string_equal(c.topic, cases[i].topic);
	}
}

/* ---- the tables ---------------------------------------------------------------------------- */

static void the_tables_are_whole(void **state)
{
	(void)state;
	for (int i = 0; i < OPT_COUNT; i++) {
		const struct cli_option *o = &cli_options[i];

		assert_non_null(o->name);
		assert_non_null(o->help);
		assert_true((o->kind == CLI_FLAG) == (o->arg == NULL));
		assert_true((o->kind == CLI_CHOICE) == (o->choices != NULL));
		for (int j = 0; j < i; j++) {
			assert_string_not_equal(o->name, cli_options[j].name);
			assert_true(!o->letter || o->letter != cli_options[j].letter);
		}
	}
	for (size_t i = 0; i < cli_n_commands; i++) {
		const struct cli_command *m = &cli_commands[i];

		assert_non_null(m->run);
		assert_true(m->args || m->max_args == 0);
		assert_true(m->max_args >= m->min_args && m->max_args <= CLI_LIST_MAX - 2);
		assert_true(m->about[strlen(m->about) - 1] == '\n');
		assert_true(m->example[strlen(m->example) - 1] == '\n');
		assert_ptr_equal(cli_command_find(m->name), m);
	}
}

/* Whoever reads help or presses TAB finds every command and option there is. */
static void help_and_completions_have_everything(void **state)
{
	static const char *const shells[] = {"bash", "zsh", "fish"};
	(void)state;
	for (size_t i = 0; i < cli_n_commands; i++) {
		const struct cli_command *m = &cli_commands[i];
		MICA_AUTO_BUF help;

		mica_buf_init(&help, 65536);
		cli_help(&help, m->name);
		for (int o = 0; o < OPT_COUNT; o++)
			if (m->options & CLI_BIT(o))
				assert_non_null(strstr((char *)help.p, cli_options[o].name));
		assert_non_null(strstr((char *)help.p, m->example));
		mica_buf_reset(&help);
		cli_help(&help, "");
		assert_non_null(strstr((char *)help.p, m->name));
	}
	for (size_t s = 0; s < MICA_ARRAY_LEN(shells); s++) {
		struct mica_err e = MICA_ERR_INIT;
		MICA_AUTO_BUF out;

		mica_buf_init(&out, 1 << 18);
		assert_int_equal(cli_completion(&out, shells[s], &e), MICA_OK);
		assert_false(out.over);
		for (size_t i = 0; i < cli_n_commands; i++) {
			const char *space = strchr(cli_commands[i].name, ' ');

			assert_non_null(
				strstr((char *)out.p, space ? space + 1 : cli_commands[i].name));
		}
		for (int o = 0; o < OPT_COUNT; o++)
			assert_non_null(strstr((char *)out.p, cli_options[o].name));
	}
}

/* The manual says everything that there is. */
static void the_manual_has_everything(void **state)
{
	static const char *const pages[] = {"mica.1", "mica-audit.1"};
	const char *top = mica_env("MICA_SRCDIR");
	MICA_AUTO_BUF all;
	(void)state;
	mica_buf_init(&all, 1 << 20);
	for (size_t i = 0; i < MICA_ARRAY_LEN(pages); i++) {
		struct mica_err e = MICA_ERR_INIT;
		MICA_AUTO_BUF page;
		char path[4096];

		mica_buf_init(&page, 1 << 19);
		snprintf(path, sizeof(path), "%s/docs/man/%s", top ? top : ".", pages[i]);
		if (mica_file_read(path, &page, &e) != MICA_OK)
			fail_msg("%s", e.text);
		mica_buf_put_slice(&all, mica_buf_slice(&page));
	}
	for (size_t i = 0; i < cli_n_commands; i++)
		if (!strstr((char *)all.p, cli_commands[i].name))
			fail_msg("the manual has no command %s", cli_commands[i].name);
	for (int i = 0; i < OPT_COUNT; i++) {
		char option[64];

		snprintf(option, sizeof(option), "Fl -%s", cli_options[i].name);
		if (!strstr((char *)all.p, option) &&
			!strstr((char *)all.p, option + 3)) /* Fl -a | -b */
			fail_msg("the manual has no option --%s", cli_options[i].name);
		if (cli_options[i].env && !strstr((char *)all.p, cli_options[i].env))
			fail_msg("the manual has no variable %s", cli_options[i].env);
	}
}

/* ---- the writer ---------------------------------------------------------------------------- */

static char *written(enum out_format format, bool stream, void (*put)(struct writer *w))
{
	static char text[65536];
	struct mica_err e = MICA_ERR_INIT;
	int fd[2];
	ssize_t n;

	assert_int_equal(pipe(fd), 0);
	WR_AUTO w = wr_new(fd[1], format, false);
	if (stream)
		wr_stream(w);
	put(w);
	assert_int_equal(wr_flush(w, &e), MICA_OK);
	close(fd[1]);
	n = read(fd[0], text, sizeof(text) - 1);
	close(fd[0]);
	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static void some_object(struct writer *w)
{
	static const struct wr_column columns[] = {{"id", 4}, {"state", 0}};

	wr_object(w, NULL);
	wr_cstr(w, "spiffe_id", "spiffe://example.org/a");
	wr_uint(w, "size", UINT64_MAX);
	wr_bool(w, "ok", true);
	wr_null(w, "none");
	wr_time(w, "at", 1795521600);
	wr_object(w, "log");
	wr_int(w, "n", -3);
	wr_end(w);
	wr_list(w, "empty");
	wr_end(w);
	wr_table(w, "rows", columns, 2);
	wr_object(w, NULL);
	wr_cstr(w, "id", "a1");
	wr_cstr(w, "more", "not shown");
	wr_object(w, "deep");
	wr_cstr(w, "id", "not this one");
	wr_end(w);
	wr_cstr(w, "state", "active");
	wr_end(w);
	wr_end(w);
	wr_end(w);
	wr_note(w, "Next: %s.", "more");
}

static void one_sequence_makes_both_forms(void **state)
{
	(void)state;
	assert_string_equal(written(OUT_TEXT, false, some_object),
		"spiffe id:          spiffe://example.org/a\n"
		"size:               18446744073709551615\n"
		"ok:                 yes\n"
		"none:               -\n"
		"at:                 2026-11-24T12:00:00Z\n"
		"log:\n"
		"  n:                  -3\n"
		"empty:\n"
		"  (none)\n"
		"rows:\n"
		"  ID    STATE\n"
		"  a1    active\n"
		"Next: more.\n");
	assert_string_equal(written(OUT_JSON, false, some_object),
		"{\n"
		"  \"spiffe_id\": \"spiffe://example.org/a\",\n"
		"  \"size\": 18446744073709551615,\n"
		"  \"ok\": true,\n"
		"  \"none\": null,\n"
		"  \"at\": \"2026-11-24T12:00:00Z\",\n"
		"  \"log\": {\n    \"n\": -3\n  },\n"
		"  \"empty\": [],\n"
		"  \"rows\": [\n    {\n"
		"      \"id\": \"a1\",\n"
		"      \"more\": \"not shown\",\n"
		"      \"deep\": {\n        \"id\": \"not this one\"\n      },\n"
		"      \"state\": \"active\"\n    }\n  ]\n}\n");
	assert_string_equal(written(OUT_JSON, true, some_object),
		"{\"spiffe_id\":\"spiffe://example.org/a\",\"size\":18446744073709551615,\"ok\":true,"
		"\"none\":null,\"at\":\"2026-11-24T12:00:00Z\",\"log\":{\"n\":-3},\"empty\":[],\"rows\":["
		"{\"id\":\"a1\",\"more\":\"not shown\",\"deep\":{\"id\":\"not this one\"},\"state\":"
		"\"active\"}]}\n");
}

static void hostile(struct writer *w)
{
	wr_object(w, NULL);
	wr_cstr(w, "name", "a\033[2Jb\rc\"d\\e\xff\xe2\x80\xae");
	wr_cstr(w, "lines", "one\ntwo: forged");
	wr_end(w);
}

/* A name that a caller chose cannot move the cursor, forge a line or turn the text around. */
static void nothing_from_outside_works_the_terminal(void **state)
{
	(void)state;
	assert_string_equal(written(OUT_TEXT, false, hostile),
		"name:               a\\u001b[2Jb\\rc\"d\\e\xef\xbf\xbd\\u202e\n"
		"lines:\n"
		"  one\n"
		"  two: forged\n");
	assert_string_equal(written(OUT_JSON, false, hostile),
		"{\n  \"name\": \"a\\u001b[2Jb\\rc\\\"d\\\\e\xef\xbf\xbd\\u202e\",\n"
		"  \"lines\": \"one\\ntwo: forged\"\n}\n");
}

static void two_objects(struct writer *w)
{
	for (int i = 0; i < 2; i++) {
		wr_object(w, NULL);
		wr_int(w, "i", i);
		wr_end(w);
	}
}

static void streams_have_one_a_line(void **state)
{
	(void)state;
	assert_string_equal(written(OUT_JSON, true, two_objects), "{\"i\":0}\n{\"i\":1}\n");
	assert_string_equal(written(OUT_TEXT, false, two_objects),
		"i:                  0\n\ni:                  1\n");
}

static void too_deep(struct writer *w)
{
	for (int i = 0; i < 100; i++)
		wr_list(w, NULL);
}

static void what_cannot_be_written_is_an_error(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	int fd[2];
	(void)state;
	assert_int_equal(pipe(fd), 0);
	WR_AUTO w = wr_new(fd[0], OUT_TEXT, false); /* the end that cannot be written */
	wr_cstr(w, NULL, "a");
	assert_int_equal(wr_flush(w, &e), MICA_INTERNAL);
	assert_non_null(strstr(e.text, "output"));
	mica_err_clear(&e);
	WR_AUTO deep = wr_new(fd[1], OUT_JSON, false);
	too_deep(deep);
	assert_int_equal(wr_flush(deep, &e), MICA_LIMIT);
	close(fd[0]);
	close(fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_come_in_every_form),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(arguments_may_be_long),
		cmocka_unit_test(times_are_given_or_counted_back),
		cmocka_unit_test(lists_are_bounded),
		cmocka_unit_test(a_command_may_stand_behind_two_dashes),
		cmocka_unit_test(the_environment_fills_what_is_not_given),
		cmocka_unit_test(help_is_asked_for_in_many_ways),
		cmocka_unit_test(the_tables_are_whole),
		cmocka_unit_test(help_and_completions_have_everything),
		cmocka_unit_test(the_manual_has_everything),
		cmocka_unit_test(one_sequence_makes_both_forms),
		cmocka_unit_test(nothing_from_outside_works_the_terminal),
		cmocka_unit_test(streams_have_one_a_line),
		cmocka_unit_test(what_cannot_be_written_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
