/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* environ */
#include "files.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/log.h"
#include "mica/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND_MS 30000
#define AGAIN_MS   5000 /* after a failure */
#define KEY_MAX    ((size_t)16 << 10)
#define PID_MAX_   4194304 /* PID_MAX_LIMIT of the kernel */

struct files {
	const struct agent_config *c;
	struct keep *keep;
	struct figures *figures;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool runs, changed;
	atomic_bool stopping;
	/* What is in the files of identity i: the serial and the sequence. The thread's own. */
	struct written {
		char serial[41];
		uint64_t sequence;
	} written[AGENT_IDENTITIES_MAX];
};

struct files *files_new(const struct agent_config *c, struct keep *k, struct figures *figures)
{
	struct files *f = MICA_NEW(struct files);

	f->c = c;
	f->keep = k;
	f->figures = figures;
	pthread_mutex_init(&f->lock, NULL);
	mica_cond_init(&f->work);
	return f;
}

void files_free(struct files *f)
{
	if (!f)
		return;
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->work);
	mica_free(f);
}

void files_changed(void *ctx)
{
	struct files *f = ctx;

	pthread_mutex_lock(&f->lock);
	f->changed = true;
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
}

/* ---- telling the program ------------------------------------------------------------------- */

static mica_rc send_signal(const struct agent_files *o, struct mica_err *e)
{
	struct mica_slice text;
	MICA_AUTO_BUF b;
	uint64_t pid = 0;
	mica_rc rc;

	mica_buf_init(&b, 64);
	rc = mica_file_read(o->pid_file, &b, e);
	if (rc != MICA_OK)
		return rc;
	text = mica_buf_slice(&b);
	while (text.len > 0 && text.p[text.len - 1] <= ' ')
		text.len--;
	/* 0 and 1 are whole groups and init: nobody's program */
	if (mica_parse_u64(text, PID_MAX_, &pid) != MICA_OK || pid < 2)
		return mica_fail(e, MICA_INVALID, "pid_file_malformed",
			"%s: expected the number of one process", o->pid_file);
	if (kill((pid_t)pid, o->signal) != 0)
		return mica_fail_errno(
			e, errno, "process %llu of %s", (unsigned long long)pid, o->pid_file);
	return MICA_OK;
}

/* Also when the agent ends meanwhile. */
static mica_rc wait_for(struct files *f, pid_t pid, struct mica_err *e)
{
	const int64_t end = mica_mono_ms() + COMMAND_MS;
	bool killed = false;
	int status = 0;
	pid_t done;

	while ((done = waitpid(pid, &status, WNOHANG)) == 0 || (done < 0 && errno == EINTR)) {
		if (!killed && (mica_mono_ms() > end || atomic_load(&f->stopping))) {
			kill(-pid, SIGKILL);
			killed = true;
		}
		poll(NULL, 0, 20);
	}
	if (done > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return MICA_OK;
	return mica_fail(e, MICA_UNAVAILABLE, "command_failed",
		killed ? "the command did not end within %d s" : "the command ended with %d",
		killed                                  ? COMMAND_MS / 1000
			: done > 0 && WIFEXITED(status) ? WEXITSTATUS(status)
							: -1);
}

/* In a process group of its own, with the signals as they are by default and nothing to read. */
static mica_rc run_command(struct files *f, const struct agent_files *o, struct mica_err *e)
{
	char *argv[66] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	pid_t pid = -1;
	int err;

	for (unsigned i = 0; i < o->n_command; i++)
		argv[i] = o->command[i];
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(
		&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 2, 1);
	err = posix_spawn(&pid, argv[0], &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return err ? mica_fail_errno(e, err, "%s", argv[0]) : wait_for(f, pid, e);
}

static void told(
	struct files *f, const struct agent_identity *id, mica_rc rc, const struct mica_err *e)
{
	if (rc == MICA_OK) {
		figures_ok(f->figures, FIGURE_PROGRAM);
		return;
	}
	figures_failed(f->figures, FIGURE_PROGRAM, mica_now_ms());
	MICA_LOG(MICA_WARN, "program_not_told", MICA_S("identity", id->name), MICA_E(e));
}

static void tell_program(struct files *f, const struct agent_identity *id)
{
	struct mica_err e = MICA_ERR_INIT;

	if (id->files.signal)
		told(f, id, send_signal(&id->files, &e), &e);
	mica_err_clear(&e);
	if (id->files.n_command > 0)
		told(f, id, run_command(f, &id->files, &e), &e);
}

/* ---- writing ------------------------------------------------------------------------------- */

void files_put_bundle_map(const struct trust *t, struct mica_buf *out)
{
	mica_buf_put_str(out, "{\"trust_domains\":{");
	mica_buf_put_json_string(out, mica_slice_str(t->td));
	mica_buf_put_u8(out, ':');
	mica_buf_put_slice(out, mica_buf_slice(&t->json));
	mica_buf_put_str(out, "}}\n");
}

static mica_rc write_files(const struct agent_files *o, const struct svid *s, const struct trust *t,
	struct mica_err *e)
{
	MICA_AUTO_BUF key;
	MICA_AUTO_BUF map;
	mica_rc rc;

	mica_buf_init_secret(&key, KEY_MAX);
	mica_buf_init(&map, 2 * (size_t)MICA_BUNDLE_MAX);
	svid_put_key_pem(s, &key);
	files_put_bundle_map(t, &map);
	const struct mica_file_part parts[] = {
		{o->key, mica_buf_slice(&key), o->key_mode},
		{o->cert, mica_buf_slice(&s->pem), o->cert_mode},
		{o->bundle, mica_buf_slice(&t->pem), o->cert_mode},
		{o->bundle_map, mica_buf_slice(&map), o->cert_mode},
	};
	rc = mica_buf_rc(&key, e);
	if (rc == MICA_OK)
		rc = mica_buf_rc(&map, e);
	return rc == MICA_OK ? mica_file_write_set(o->directory, parts, MICA_ARRAY_LEN(parts), e)
			     : rc;
}

/* False when it has to be tried again. */
static bool bring_up_to_date(struct files *f, const struct keep_view *v, unsigned i)
{
	const struct agent_identity *id = &f->c->identities[i];
	struct written *w = &f->written[i];
	const struct svid *s = v->svid[i];
	struct mica_err e = MICA_ERR_INIT;

	if (!id->files.directory || !s || !v->trust ||
		(strcmp(w->serial, s->serial) == 0 && w->sequence == v->trust->sequence))
		return true;
	if (write_files(&id->files, s, v->trust, &e) != MICA_OK) {
		figures_failed(f->figures, FIGURE_FILES, mica_now_ms());
		MICA_LOG(MICA_ERROR, "files_not_written", MICA_S("identity", id->name), MICA_E(&e));
		return false;
	}
	figures_ok(f->figures, FIGURE_FILES);
	memcpy(w->serial, s->serial, sizeof(w->serial));
	w->sequence = v->trust->sequence;
	MICA_LOG(MICA_INFO, "files_written", MICA_S("identity", id->name),
		MICA_S("directory", id->files.directory), MICA_S("serial", s->serial),
		MICA_I("sequence", v->trust->sequence));
	tell_program(f, id);
	return true;
}

static bool bring_all(struct files *f)
{
	AUTO_KEEP_VIEW v = {.version = 0};
	bool all = true;

	keep_view_get(f->keep, &v);
	for (unsigned i = 0; i < f->c->n_identities; i++)
		all = bring_up_to_date(f, &v, i) && all;
	return all;
}

static void wait_for_change(struct files *f, int64_t until)
{
	pthread_mutex_lock(&f->lock);
	while (!f->changed && !atomic_load(&f->stopping) && mica_mono_ms() < until)
		mica_cond_wait_until(&f->work, &f->lock, until);
	f->changed = false;
	pthread_mutex_unlock(&f->lock);
}

static void *run(void *ctx)
{
	struct files *f = ctx;

	while (!atomic_load(&f->stopping)) {
		const bool all = bring_all(f);

		wait_for_change(f, mica_mono_ms() + (all ? INT64_C(3600000) : AGAIN_MS));
	}
	return NULL;
}

mica_rc files_start(struct files *f, struct mica_err *e)
{
	bool any = false;
	mica_rc rc = MICA_OK;

	for (unsigned i = 0; i < f->c->n_identities; i++)
		any = any || f->c->identities[i].files.directory;
	if (any)
		rc = mica_thread_start(&f->thread, run, f, "files", e);
	f->runs = any && rc == MICA_OK;
	return rc;
}

void files_stop(struct files *f)
{
	if (!f || !f->runs)
		return;
	atomic_store(&f->stopping, true);
	files_changed(f);
	pthread_join(f->thread, NULL);
	f->runs = false;
}
