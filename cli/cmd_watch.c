/* SPDX-License-Identifier: Apache-2.0 */
/* audit watch: look at a log again and again, and tell when it breaks a promise or names an
 * identity that somebody waits for. */
#define _GNU_SOURCE /* memfd_create */
#include "audit.h"

#include "mica/clock.h"
#include "mica/entry.h"
#include "mica/file.h"
#include "mica/template.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND_MS 300000 /* a command that is not done by then is ended */

extern char **environ;

struct watch {
	struct cli *c;
	struct audit a;
	struct mica_pattern *pattern[CLI_LIST_MAX];
	uint64_t hits[CLI_LIST_MAX];
	unsigned n_patterns;
	uint64_t looked; /* entries below it were compared */
	char looked_path[4200];
	int64_t last_ok;
	bool broken, ok;
};

static void watch_clear(struct watch *x)
{
	audit_clear(&x->a);
	for (unsigned i = 0; i < x->n_patterns; i++)
		mica_pattern_free(x->pattern[i]);
}

/* ---- reports ------------------------------------------------------------------------------- */

static const struct wr_column columns[] = {
	{"time", 20}, {"event", 11}, {"size", 9}, {"index", 9}, {"text", 0}};

/* One report, as a line for people and an object for programs. `entry` NULL = none. */
struct report {
	const char *event, *text, *pattern, *reason, *evidence;
	const struct mica_entry *entry;
	uint64_t index;
};

static void put_report(struct writer *w, const struct watch *x, const struct report *r)
{
	wr_object(w, NULL);
	wr_time(w, "time", mica_now());
	wr_verdict(w, "event", !r->reason, r->event);
	wr_cstr(w, "origin", x->a.key.name);
	if (x->a.seen)
		wr_uint(w, "size", x->a.last.size);
	if (r->entry)
		wr_uint(w, "index", r->index);
	if (r->pattern)
		wr_cstr(w, "pattern", r->pattern);
	if (r->reason)
		wr_cstr(w, "reason", r->reason);
	wr_cstr(w, "text", r->text);
	if (r->evidence && r->evidence[0])
		wr_cstr(w, "evidence", r->evidence);
	if (r->entry) {
		MICA_AUTO_JSON d = {0};
		MICA_AUTO_BUF json;

		mica_buf_init(&json, (size_t)1 << 20);
		mica_entry_json(r->entry, r->index, 0, &json);
		if (mica_json_parse(mica_buf_slice(&json),
			    &(struct mica_json_limits){.bytes = (size_t)1 << 20}, &d,
			    NULL) == MICA_OK)
			wr_json(w, "entry", d.root);
	}
	wr_end(w);
}

static mica_rc wait_for(pid_t pid, struct mica_err *e)
{
	int64_t end = mica_mono_ms() + COMMAND_MS;
	int status = 0;
	pid_t done;

	while ((done = waitpid(pid, &status, WNOHANG)) == 0) {
		if (mica_mono_ms() > end)
			kill(pid, SIGKILL);
		poll(NULL, 0, 20);
	}
	if (done < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return mica_fail(e, MICA_UNAVAILABLE, "command_failed",
			"the command ended with status %d",
			done > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return MICA_OK;
}

/* The report waits in memory as the command's standard input, so that neither waits for the other.
 */
static mica_rc run_command(const struct watch *x, const struct report *r, struct mica_err *e)
{
	MICA_AUTO_FD int in = memfd_create("mica-report", MFD_CLOEXEC);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t defaults;
	pid_t pid;
	int err;

	if (in < 0)
		return mica_fail_errno(e, errno, "the report");
	WR_AUTO w = wr_new(in, OUT_JSON, false);
	wr_stream(w);
	put_report(w, x, r);
	if (wr_flush(w, e) != MICA_OK || lseek(in, 0, SEEK_SET) != 0)
		return mica_fail_errno(e, errno, "the report");
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	err = posix_spawnp(&pid, x->c->rest[0], &actions, &attr,
		(char *const *)(uintptr_t)x->c->rest, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return err ? mica_fail_errno(e, err, "%s", x->c->rest[0]) : wait_for(pid, e);
}

static mica_rc tell(struct watch *x, const struct report *r, bool command, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;

	put_report(x->c->w, x, r);
	if (command && x->c->n_rest > 0 && run_command(x, r, &own) != MICA_OK) {
		struct report failed = {.event = "command", .reason = own.reason, .text = own.text};

		put_report(x->c->w, x, &failed);
	}
	return wr_flush(x->c->w, e);
}

/* ---- figures ------------------------------------------------------------------------------- */

static void put_label(struct mica_buf *b, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			mica_buf_put_u8(b, '\\');
		mica_buf_put_u8(b, (uint8_t)*text < 0x20 ? '?' : (uint8_t)*text);
	}
}

static mica_rc write_metrics(const struct watch *x, struct mica_err *e)
{
	MICA_AUTO_BUF b;

	if (!cli_set(x->c, OPT_METRICS))
		return MICA_OK;
	mica_buf_init(&b, 65536);
	mica_buf_printf(&b,
		"# HELP mica_audit_broken 1 when the log broke a promise.\n"
		"# TYPE mica_audit_broken gauge\nmica_audit_broken %d\n"
		"# HELP mica_audit_ok 1 when the last look at the log was a good one.\n"
		"# TYPE mica_audit_ok gauge\nmica_audit_ok %d\n"
		"# HELP mica_audit_tree_size Entries of the log that was verified last.\n"
		"# TYPE mica_audit_tree_size gauge\nmica_audit_tree_size %llu\n"
		"# HELP mica_audit_last_ok_timestamp_seconds When that was.\n"
		"# TYPE mica_audit_last_ok_timestamp_seconds gauge\n"
		"mica_audit_last_ok_timestamp_seconds %lld\n"
		"# HELP mica_audit_last_look_timestamp_seconds When the log was looked at last.\n"
		"# TYPE mica_audit_last_look_timestamp_seconds gauge\n"
		"mica_audit_last_look_timestamp_seconds %lld\n",
		x->broken, x->ok, (unsigned long long)(x->a.seen ? x->a.last.size : 0),
		(long long)x->last_ok, (long long)mica_now());
	if (x->n_patterns > 0)
		mica_buf_put_str(&b,
			"# HELP mica_audit_matches_total Entries that were looked for.\n"
			"# TYPE mica_audit_matches_total counter\n");
	for (unsigned i = 0; i < x->n_patterns; i++) {
		mica_buf_put_str(&b, "mica_audit_matches_total{pattern=\"");
		put_label(&b, x->c->v[OPT_MATCH].list[i]);
		mica_buf_printf(&b, "\"} %llu\n", (unsigned long long)x->hits[i]);
	}
	if (mica_buf_rc(&b, e) != MICA_OK)
		return MICA_LIMIT;
	return mica_file_write_atomic(cli_str(x->c, OPT_METRICS), mica_buf_slice(&b), 0644, e);
}

/* ---- entries ------------------------------------------------------------------------------- */

static mica_rc save_looked(const struct watch *x, struct mica_err *e)
{
	char text[24];

	if (!x->a.state[0])
		return MICA_OK;
	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)x->looked);
	return mica_file_write_atomic(x->looked_path, mica_slice_str(text), 0600, e);
}

/* Where the last watch ended; the first one begins with what comes from now on, or (--all) with the
 * first entry. A tree never shrinks, so a greater number is damage. */
static mica_rc load_looked(struct watch *x, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_slice text;
	MICA_AUTO_BUF b;
	mica_rc rc;

	x->looked = cli_set(x->c, OPT_ALL) ? 0 : x->a.last.size;
	if (cli_set(x->c, OPT_ALL) || !x->a.state[0])
		return MICA_OK;
	mica_buf_init(&b, 64);
	rc = mica_file_read(x->looked_path, &b, &own);
	if (rc == MICA_NOT_FOUND)
		return save_looked(x, e);
	text = mica_buf_slice(&b);
	if (rc == MICA_OK && mica_slice_has_suffix(text, MICA_LIT("\n")))
		text.len--;
	if (rc == MICA_OK && mica_parse_u64(text, x->a.last.size, &x->looked) != MICA_OK)
		return mica_fail(e, MICA_CORRUPT, "audit_state_damaged",
			"%s: expected how many entries were looked at", x->looked_path);
	return rc == MICA_OK ? rc : mica_fail(e, rc, own.reason, "%s", own.text);
}

static mica_rc look_at_entry(void *ctx, uint64_t index, struct mica_slice bytes, struct mica_err *e)
{
	struct watch *x = ctx;
	struct mica_entry_keys keys;
	struct mica_entry en;
	char who[MICA_SPIFFE_ID_MAX + 1];

	if (index < x->looked)
		return MICA_OK;
	if (mica_entry_decode(bytes, &en, NULL) != MICA_OK ||
		mica_entry_keys(&en, &keys, NULL) != MICA_OK || keys.spiffe_id.len == 0 ||
		mica_slice_copy(keys.spiffe_id, who, sizeof(who)) != MICA_OK)
		return MICA_OK;
	for (unsigned i = 0; i < x->n_patterns; i++) {
		struct report r = {.event = "match",
			.text = who,
			.pattern = x->c->v[OPT_MATCH].list[i],
			.entry = &en,
			.index = index};
		mica_rc rc;

		if (!mica_pattern_match(x->pattern[i], keys.spiffe_id))
			continue;
		x->hits[i]++;
		x->c->exit_status = CLI_EXIT_MATCHED;
		rc = tell(x, &r, true, e);
		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

static mica_rc look_at_entries(struct watch *x, struct mica_err *e)
{
	struct audit_tiles tiles = source_tiles(x->a.source);
	MICA_AUTO_BUF bundle;
	mica_rc rc = MICA_OK;

	mica_buf_init(&bundle, 1);
	while (x->looked < x->a.last.size && rc == MICA_OK && !cli_stopped()) {
		uint64_t n = x->looked / MICA_TILE_WIDTH, end = (n + 1) * MICA_TILE_WIDTH;

		rc = source_bundle(x->a.source, x->a.last.size, n, &bundle, e);
		if (rc == MICA_OK)
			rc = audit_bundle(&x->a.last, &tiles, n, mica_buf_slice(&bundle),
				look_at_entry, x, e);
		if (rc != MICA_OK)
			return rc;
		x->looked = end < x->a.last.size ? end : x->a.last.size;
		rc = save_looked(x, e);
	}
	return rc;
}

/* ---- the loop ------------------------------------------------------------------------------ */

static mica_rc look(struct watch *x, bool first, struct mica_err *e)
{
	struct report r = {.event = "consistent", .text = ""};
	bool grown = false;
	mica_rc rc = audit_step(&x->a, &grown, e);

	if (rc != MICA_OK)
		return rc;
	if (first && x->n_patterns > 0)
		rc = load_looked(x, e);
	if (rc == MICA_OK && (grown || first))
		rc = tell(x, &r, false, e);
	if (rc == MICA_OK && x->n_patterns > 0)
		rc = look_at_entries(x, e);
	return rc;
}

/* Trouble that may pass: the watch goes on. */
static bool passes(mica_rc rc, const struct mica_err *e)
{
	return rc == MICA_UNAVAILABLE || rc == MICA_LIMIT ||
		(e->reason && strcmp(e->reason, "tile_missing") == 0);
}

static mica_rc tell_trouble(struct watch *x, const struct mica_err *why, struct mica_err *e)
{
	struct report r = {.event = x->broken ? "BROKEN" : "trouble",
		.reason = why->reason,
		.text = why->text,
		.evidence = why->detail};
	mica_rc rc = tell(x, &r, x->broken, e);

	return rc;
}

static mica_rc watch_loop(struct watch *x, struct mica_err *e)
{
	int64_t interval = cli_int(x->c, OPT_INTERVAL, 60) * 1000;
	bool first = true;

	while (!cli_stopped()) {
		struct mica_err own = MICA_ERR_INIT;
		mica_rc rc = look(x, first, &own), told = MICA_OK;

		if (cli_stopped())
			break;
		x->ok = rc == MICA_OK;
		x->broken = audit_is_broken(&own);
		x->last_ok = x->ok ? mica_now() : x->last_ok;
		if (rc != MICA_OK)
			told = tell_trouble(x, &own, e);
		if (told == MICA_OK)
			told = write_metrics(x, e);
		if (told != MICA_OK)
			return told;
		if (rc != MICA_OK && (!passes(rc, &own) || cli_set(x->c, OPT_ONCE))) {
			*e = own;
			return rc;
		}
		if (cli_set(x->c, OPT_ONCE))
			return MICA_OK;
		first = first && rc != MICA_OK;
		cli_sleep(interval);
	}
	return MICA_OK;
}

static mica_rc compile_patterns(struct watch *x, struct mica_err *e)
{
	const struct cli_value *v = &x->c->v[OPT_MATCH];

	for (; x->n_patterns < v->n; x->n_patterns++) {
		mica_rc rc = mica_pattern_compile(
			mica_slice_str(v->list[x->n_patterns]), &x->pattern[x->n_patterns], e);

		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

mica_rc cmd_audit_watch(struct cli *c, struct mica_err *e)
{
	struct watch x = {.c = c};
	mica_rc rc = compile_patterns(&x, e);

	if (rc == MICA_OK && c->rest && c->n_rest == 0)
		rc = mica_fail(e, MICA_INVALID, "missing_argument",
			"which command? nothing stands behind --");
	if (rc == MICA_OK)
		rc = audit_open(&x.a, c, x.n_patterns > 0 ? AUDIT_RIGHTS : 0, e);
	if (rc == MICA_OK) {
		snprintf(x.looked_path, sizeof(x.looked_path), "%s.looked", x.a.state);
		wr_stream(c->w);
		if (wr_format(c->w) == OUT_TEXT)
			wr_table(c->w, NULL, columns, MICA_ARRAY_LEN(columns));
		rc = watch_loop(&x, e);
	}
	watch_clear(&x);
	return rc;
}
