/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets: where they live, who may see them, and where they may come from. */
#include "mica/secret.h"
#include "mica/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <cmocka.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* The address sanitizer makes mlock do nothing and say that it worked. */
#if defined(__SANITIZE_ADDRESS__)
#define LOCKS false
#elif defined(__has_feature)
#define LOCKS !__has_feature(address_sanitizer)
#else
#define LOCKS true
#endif

static char dir[64];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/mica-secret-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

static const char *make(const char *name, const char *content, size_t len, mode_t mode)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(
		mica_file_write_atomic(path, mica_slice(content, len), mode, NULL), MICA_OK);
	return path;
}

static void content(void **state)
{
	static const size_t sizes[] = {0, 1, 32, 4095, 4096, 4097, 20000};
	uint8_t in[20000];

	(void)state;
	mica_random(in, sizeof(in));
	for (size_t i = 0; i < MICA_ARRAY_LEN(sizes); i++) {
		MICA_AUTO_SECRET s = mica_secret_new(in, sizes[i]);

		assert_true(mica_slice_eq(mica_secret_view(s), mica_slice(in, sizes[i])));
	}
	mica_secret_free(NULL);
}

static void random_bytes(void **state)
{
	MICA_AUTO_SECRET a = mica_secret_new_random(32);
	MICA_AUTO_SECRET b = mica_secret_new_random(32);

	(void)state;
	assert_int_equal(mica_secret_view(a).len, 32);
	assert_false(mica_slice_eq(mica_secret_view(a), mica_secret_view(b)));
}

static void wiping(void **state)
{
	uint8_t b[] = {1, 2, 3};

	(void)state;
	mica_wipe(b, 2);
	assert_true(b[0] == 0 && b[1] == 0 && b[2] == 3);
	mica_wipe(NULL, 0);
}

enum touch { READ_PAST, WRITE_IT, READ_IN_CHILD, JUST_FREE };

/* What a child that touches a secret so dies of; 0 = it lives. */
static int fate(const struct mica_secret *s, enum touch how)
{
	volatile uint8_t *p = (volatile uint8_t *)mica_secret_view(s).p;
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		const struct rlimit none = {0, 0};
		struct mica_secret *own = mica_secret_new("child", 5);

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		close(STDERR_FILENO);
		if (how == READ_IN_CHILD)
			_exit(p[0] == 's' ? 1 : 2);
		p = (volatile uint8_t *)mica_secret_view(own).p;
		if (how == READ_PAST)
			_exit(p[5]);
		if (how == WRITE_IT)
			p[0] = 'x';
		mica_secret_free((struct mica_secret *)s);
		mica_secret_free(own);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	return WTERMSIG(status);
}

/* A guard page behind, read-only pages, nothing for children. A sanitizer may turn the signal
 * into an exit of its own: all that counts is that it did not go on. */
static void pages(void **state)
{
	MICA_AUTO_SECRET s = mica_secret_new("secret", 6);

	(void)state;
	assert_int_not_equal(fate(s, READ_PAST), 0);
	assert_int_not_equal(fate(s, WRITE_IT), 0);
	assert_int_not_equal(fate(s, READ_IN_CHILD), 1);
	assert_int_not_equal(fate(s, READ_IN_CHILD), 2);
	assert_int_equal(fate(s, JUST_FREE), 0);
	assert_true(mica_slice_eq_str(mica_secret_view(s), "secret"));
}

/* The kernel's own view: VmFlags of the mapping say locked (lo), not dumped (dd), not forked (dc).
 */
static void kernel_view(void **state)
{
	MICA_AUTO_SECRET s = mica_secret_new("secret", 6);
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false, seen = false;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from = strtoul(line, NULL, 16);
		char *dash = strchr(line, '-');

		if (dash && dash - line < 17 && strchr(line, ':') > dash)
			here = from <= (uintptr_t)mica_secret_view(s).p &&
				strtoul(dash + 1, NULL, 16) > (uintptr_t)mica_secret_view(s).p;
		if (!here || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		seen = true;
		assert_non_null(strstr(line, " dd"));
		assert_non_null(strstr(line, " dc"));
		if (LOCKS)
			assert_true(mica_secret_locked(s) == (strstr(line, " lo") != NULL));
	}
	fclose(f);
	assert_true(seen);
}

static void lock_limit_is_no_error(void **state)
{
	int status = -1;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		const struct rlimit none = {0, 0};
		struct mica_secret *s;

		/* root is not bound by the limit */
		setrlimit(RLIMIT_MEMLOCK, &none);
		if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(0);
		s = mica_secret_new("x", 1);
		_exit((LOCKS && mica_secret_locked(s)) || mica_secret_view(s).p[0] != 'x');
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static mica_rc load(const char *file, const char *env, const char *credential,
	struct mica_secret **s, struct mica_err *e)
{
	const struct mica_secret_source src = {.file = file, .env = env, .credential = credential};

	mica_err_clear(e);
	return mica_secret_load(&src, s, e);
}

static void from_file(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *out;
		size_t out_len;
	} cases[] = {{"pass\n", 5, "pass", 4}, {"pass", 4, "pass", 4}, {"pass\n\n", 6, "pass\n", 5},
		{" pass \n", 7, " pass ", 6}, {"a\0b", 3, "a\0b", 3}, {"pass\r\n", 6, "pass\r", 5}};
	struct mica_err e = MICA_ERR_INIT;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		const char *path = make("p", cases[i].in, cases[i].len, 0600);
		MICA_AUTO_SECRET s = NULL;

		assert_int_equal(load(path, NULL, NULL, &s, &e), MICA_OK);
		assert_true(mica_slice_eq(
			mica_secret_view(s), mica_slice(cases[i].out, cases[i].out_len)));
		unlink(path);
	}
}

static void file_refused(void **state)
{
	static const mode_t open_modes[] = {0644, 0640, 0604, 0620, 0601, 0610};
	struct mica_err e = MICA_ERR_INIT;
	struct mica_secret *s = (void *)1;
	const char *path;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(open_modes); i++) {
		path = make("p", "pass", 4, open_modes[i]);
		assert_int_equal(load(path, NULL, NULL, &s, &e), MICA_DENIED);
		assert_string_equal(e.reason, "secret_exposed");
		assert_null(strstr(e.text, "pass"));
		assert_null(s);
	}
	path = make("p", "\n", 1, 0400);
	assert_int_equal(load(path, NULL, NULL, &s, &e), MICA_INVALID);
	assert_string_equal(e.reason, "secret_empty");
	path = make("p", "", 0, 0400);
	assert_int_equal(load(path, NULL, NULL, &s, &e), MICA_INVALID);
	assert_string_equal(e.reason, "secret_empty");
	unlink(path);
	assert_int_equal(load(path, NULL, NULL, &s, &e), MICA_NOT_FOUND);
	assert_string_equal(e.reason, "no_such_file");
	assert_int_equal(load(dir, NULL, NULL, &s, &e), MICA_INVALID);
	assert_string_equal(e.reason, "not_a_file");
	assert_int_equal(load("/dev/null", NULL, NULL, &s, &e), MICA_INVALID);
	assert_string_equal(e.reason, "not_a_file");
}

static void file_lengths(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	char text[4098];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (size_t len = 4095; len <= 4098; len++) {
		const char *path = make("p", text, len, 0600);
		MICA_AUTO_SECRET s = NULL;

		assert_int_equal(
			load(path, NULL, NULL, &s, &e), len <= 4096 ? MICA_OK : MICA_INVALID);
		if (len > 4096)
			assert_string_equal(e.reason, "secret_too_long");
		unlink(path);
	}
	text[4096] = '\n';
	const char *path = make("p", text, 4097, 0600);
	MICA_AUTO_SECRET s = NULL;

	assert_int_equal(load(path, NULL, NULL, &s, &e), MICA_OK);
	assert_int_equal(mica_secret_view(s).len, 4096);
	unlink(path);
}

static void foreign_owner(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_secret *s;
	const char *path;

	(void)state;
	if (geteuid() != 0)
		return; /* only root can give files away */
	path = make("p", "pass", 4, 0600);
	assert_int_equal(chown(path, 12345, 0), 0);
	assert_int_equal(load(path, NULL, NULL, &s, &e), MICA_DENIED);
	assert_string_equal(e.reason, "secret_owner");
	unlink(path);
}

static void from_pipe(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_SECRET s = NULL;
	char path[32];
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "piped\n", 6), 6);
	close(fds[1]);
	snprintf(path, sizeof(path), "/dev/fd/%d", fds[0]);
	assert_int_equal(load(path, NULL, NULL, &s, &e), MICA_OK);
	assert_true(mica_slice_eq_str(mica_secret_view(s), "piped"));
	close(fds[0]);
}

static void from_environment(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_SECRET s = NULL;
	struct mica_secret *t;
	const char *raw;

	(void)state;
	assert_int_equal(setenv("MICA_TEST_PASS", "hunter2\n", 1), 0);
	raw = mica_env("MICA_TEST_PASS");
	assert_int_equal(load(NULL, "MICA_TEST_PASS", NULL, &s, &e), MICA_OK);
	assert_true(mica_slice_eq_str(mica_secret_view(s), "hunter2"));
	assert_null(mica_env("MICA_TEST_PASS"));
	(void)raw;
	assert_int_equal(load(NULL, "MICA_TEST_PASS", NULL, &t, &e), MICA_NOT_FOUND);
	assert_string_equal(e.reason, "no_such_variable");
	assert_int_equal(load(NULL, "", NULL, &t, &e), MICA_INVALID);
	assert_int_equal(load(NULL, "A=B", NULL, &t, &e), MICA_INVALID);
	assert_string_equal(e.reason, "secret_source");
}

static void from_credential(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "../p", "/p"};
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_SECRET s = NULL;
	MICA_AUTO_SECRET again = NULL;
	struct mica_secret *t;
	char outside[160];
	const char *path = make("p", "cred", 4, 0444);

	(void)state;
	unsetenv("CREDENTIALS_DIRECTORY");
	assert_int_equal(load(NULL, NULL, "p", &t, &e), MICA_NOT_FOUND);
	assert_string_equal(e.reason, "no_credentials_directory");
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", dir, 1), 0);
	assert_int_equal(load(NULL, NULL, "p", &s, &e), MICA_OK);
	assert_true(mica_slice_eq_str(mica_secret_view(s), "cred"));
	assert_int_equal(load(path, NULL, NULL, &again, &e), MICA_OK);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		assert_int_equal(load(NULL, NULL, bad[i], &t, &e), MICA_INVALID);
		assert_string_equal(e.reason, "secret_source");
	}
	assert_int_equal(load(NULL, NULL, "missing", &t, &e), MICA_NOT_FOUND);
	/* the exemption does not leak out of the folder */
	snprintf(outside, sizeof(outside), "%s/../%s/p", dir, dir + 5);
	assert_int_equal(load(outside, NULL, NULL, &t, &e), MICA_DENIED);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/tmp/mica-sec", 1), 0);
	assert_int_equal(load(path, NULL, NULL, &t, &e), MICA_DENIED);
	unsetenv("CREDENTIALS_DIRECTORY");
	unlink(path);
}

static void one_source(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_secret *s;

	(void)state;
	assert_int_equal(load(NULL, NULL, NULL, &s, &e), MICA_INVALID);
	assert_string_equal(e.text, "expected exactly one of file, env and credential, found 0");
	assert_int_equal(load("/x", "X", NULL, &s, &e), MICA_INVALID);
	assert_string_equal(e.reason, "secret_source");
}

static void hardening(void **state)
{
	int status = -1;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct rlimit l;

		mica_process_harden();
		_exit(getrlimit(RLIMIT_CORE, &l) != 0 || l.rlim_max != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content),
		cmocka_unit_test(random_bytes),
		cmocka_unit_test(wiping),
		cmocka_unit_test(pages),
		cmocka_unit_test(kernel_view),
		cmocka_unit_test(lock_limit_is_no_error),
		cmocka_unit_test(from_file),
		cmocka_unit_test(file_refused),
		cmocka_unit_test(file_lengths),
		cmocka_unit_test(foreign_owner),
		cmocka_unit_test(from_pipe),
		cmocka_unit_test(from_environment),
		cmocka_unit_test(from_credential),
		cmocka_unit_test(one_source),
		cmocka_unit_test(hardening),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
