/* SPDX-License-Identifier: Apache-2.0 */
/* From argv to an exit status. */
#include "cli.h"

#include "config.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/key.h"
#include "mica/secret.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal;

static void on_signal(int n)
{
	stop_signal = n;
}

bool cli_stopped(void)
{
	return stop_signal != 0;
}

bool cli_sleep(int64_t ms)
{
	int64_t end = mica_mono_ms() + ms;

	while (!cli_stopped()) {
		int64_t left = end - mica_mono_ms();

		if (left <= 0)
			return true;
		poll(NULL, 0, (int)(left < 200 ? left : 200));
	}
	return false;
}

static void catch_signals(void)
{
	struct sigaction stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

static bool colours(int fd)
{
	const char *term = mica_env("TERM");

	return isatty(fd) && !mica_env("NO_COLOR") && !(term && strcmp(term, "dumb") == 0);
}

/* On standard error: what went wrong, its stable reason, and what to do about it. */
static void tell_error(const struct mica_err *err, enum out_format format)
{
	WR_AUTO w = wr_new(STDERR_FILENO, format, colours(STDERR_FILENO));
	const char *reason = err->reason ? err->reason : "internal", *hint = cli_hint(reason);

	wr_object(w, NULL);
	wr_verdict(w, "error", false, err->text[0] ? err->text : "something failed");
	wr_cstr(w, "reason", reason);
	if (err->fine && strcmp(err->fine, reason) != 0)
		wr_cstr(w, "cause", err->fine);
	if (err->line > 0)
		wr_int(w, "line", err->line);
	if (err->column > 0)
		wr_int(w, "column", err->column);
	if (err->retry_after > 0)
		wr_int(w, "retry_after", err->retry_after);
	if (err->detail[0])
		wr_cstr(w, "detail", err->detail);
	if (hint[0])
		wr_cstr(w, "hint", hint);
	wr_end(w);
	if (wr_flush(w, NULL) != MICA_OK)
		return; /* standard error is gone: the status says the rest */
}

static mica_rc show_help(struct cli *c, struct mica_err *e)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 65536);
	cli_help(&b, c->topic);
	wr_raw(c->w, mica_buf_slice(&b));
	return mica_buf_rc(&b, e);
}

static mica_rc run(struct cli *c, struct mica_err *e)
{
	mica_rc rc = c->help ? show_help(c, e) : c->cmd->run(c, e);
	struct mica_err own = MICA_ERR_INIT;
	/* What a command said before it failed is shown, too. */
	mica_rc flushed = wr_flush(c->w, rc == MICA_OK ? e : &own);

	return rc == MICA_OK ? flushed : rc;
}

int cli_main(int argc, const char *const *argv)
{
	struct cli c = {.now = mica_now()};
	struct mica_err e = MICA_ERR_INIT;
	enum out_format format;
	mica_rc rc;

	mica_process_harden();
	mica_keys_secure_memory();
	catch_signals();
	rc = cli_parse(&c, argc, argv, mica_env, &e);
	format = c.v[OPT_OUTPUT].i == 1 ? OUT_JSON : OUT_TEXT;
	if (rc == MICA_OK) {
		WR_AUTO w = wr_new(STDOUT_FILENO, format, colours(STDOUT_FILENO));

		c.w = w;
		rc = run(&c, &e);
	}
	if (rc == MICA_OK)
		return c.exit_status;
	tell_error(&e, format);
	return mica_rc_exit(rc);
}

mica_rc cmd_help(struct cli *c, struct mica_err *e)
{
	char topic[64] = "";

	if (c->n_args == 2)
		snprintf(topic, sizeof(topic), "%.30s %.30s", c->args[0], c->args[1]);
	else if (c->n_args == 1)
		snprintf(topic, sizeof(topic), "%.60s", c->args[0]);
	if (topic[0] && cli_group(topic, NULL) == 0)
		return mica_fail(
			e, MICA_INVALID, "unknown_command", "there is no command '%s'", topic);
	memcpy(c->topic, topic, sizeof(topic));
	return show_help(c, e);
}

mica_rc cmd_version(struct cli *c, struct mica_err *e)
{
	(void)e;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "mica", PACKAGE_VERSION);
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_completion(struct cli *c, struct mica_err *e)
{
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, 1 << 18);
	rc = cli_completion(&b, c->args[0], e);
	if (rc == MICA_OK)
		rc = mica_buf_rc(&b, e);
	if (rc == MICA_OK)
		wr_raw(c->w, mica_buf_slice(&b));
	return rc;
}
