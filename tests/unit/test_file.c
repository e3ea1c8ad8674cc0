/* SPDX-License-Identifier: Apache-2.0 */
/* Files: bounded reads, writes that are seen whole or not at all, folders; and the clocks. */
#include "mica/file.h"
#include "mica/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[64], path[128];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/mica-file-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/f", dir);
	return 0;
}

static unsigned entries(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir); /* fails when a temporary file was left behind */
}

static void round_trip(void **state)
{
	MICA_AUTO_BUF b;
	struct stat st;

	(void)state;
	mica_buf_init(&b, 100);
	umask(077);
	assert_int_equal(mica_file_write_atomic(path, MICA_LIT("a\0b"), 0644, NULL), MICA_OK);
	umask(022);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(mica_file_read(path, &b, NULL), MICA_OK);
	assert_true(mica_slice_eq(mica_buf_slice(&b), MICA_LIT("a\0b")));
	assert_int_equal(mica_file_write_atomic(path, MICA_SLICE_NULL, 0600, NULL), MICA_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(mica_file_read(path, &b, NULL), MICA_OK);
	assert_int_equal(b.len, 0);
	assert_int_equal(entries(), 1);
}

static void limits(void **state)
{
	static uint8_t big[70000];

	(void)state;
	memset(big, 'x', sizeof(big));
	assert_int_equal(
		mica_file_write_atomic(path, mica_slice(big, sizeof(big)), 0600, NULL), MICA_OK);
	for (size_t cap = sizeof(big) - 1; cap <= sizeof(big) + 1; cap++) {
		struct mica_err e = MICA_ERR_INIT;
		MICA_AUTO_BUF b;

		mica_buf_init(&b, cap);
		assert_int_equal(
			mica_file_read(path, &b, &e), cap < sizeof(big) ? MICA_LIMIT : MICA_OK);
		assert_int_equal(b.len, cap < sizeof(big) ? 0 : sizeof(big));
		if (cap < sizeof(big))
			assert_string_equal(e.reason, "file_too_long");
	}
}

/* A pipe has no size to look at beforehand. */
static void pipes(void **state)
{
	(void)state;
	for (size_t cap = 4; cap <= 6; cap++) {
		MICA_AUTO_BUF b;
		char name[32];
		int fds[2];

		assert_int_equal(pipe(fds), 0);
		assert_int_equal(write(fds[1], "12345", 5), 5);
		close(fds[1]);
		snprintf(name, sizeof(name), "/dev/fd/%d", fds[0]);
		mica_buf_init(&b, cap);
		assert_int_equal(mica_file_read(name, &b, NULL), cap < 5 ? MICA_LIMIT : MICA_OK);
		assert_string_equal((char *)b.p, cap < 5 ? "" : "12345");
		close(fds[0]);
	}
}

static void read_errors(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 100);
	assert_int_equal(mica_file_read("/nonexistent/x", &b, &e), MICA_NOT_FOUND);
	assert_string_equal(e.reason, "no_such_file");
	assert_non_null(strstr(e.text, "/nonexistent/x"));
	mica_err_clear(&e);
	assert_int_equal(mica_file_read(dir, &b, &e), MICA_INVALID);
	assert_string_equal(e.reason, "not_a_file");
	assert_int_equal(mica_file_read("/dev/zero", &b, NULL), MICA_INVALID);
	assert_int_equal(mica_file_read("", &b, NULL), MICA_NOT_FOUND);
}

static void write_errors(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	char sub[160];

	(void)state;
	assert_int_equal(
		mica_file_write_atomic("/nonexistent/x", MICA_LIT("x"), 0600, &e), MICA_NOT_FOUND);
	mica_err_clear(&e);
	snprintf(sub, sizeof(sub), "%s/", dir);
	assert_int_equal(mica_file_write_atomic(sub, MICA_LIT("x"), 0600, &e), MICA_INVALID);
	/* the target is a folder: the old state stays and nothing is left over */
	snprintf(sub, sizeof(sub), "%s/sub", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	mica_err_clear(&e);
	assert_int_not_equal(mica_file_write_atomic(sub, MICA_LIT("x"), 0600, &e), MICA_OK);
	assert_int_equal(rmdir(sub), 0);
	unlink(path);
	assert_int_equal(entries(), 0);
}

/* A link at the target is replaced, not followed. */
static void link_is_replaced(void **state)
{
	char other[160];
	struct stat st;

	(void)state;
	snprintf(other, sizeof(other), "%s/other", dir);
	assert_int_equal(mica_file_write_atomic(other, MICA_LIT("old"), 0600, NULL), MICA_OK);
	unlink(path);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(mica_file_write_atomic(path, MICA_LIT("new"), 0600, NULL), MICA_OK);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_size, 3);
	unlink(other);
}

/* A reader beside a busy writer sees one of the contents, whole. */
static void readers_see_whole_files(void **state)
{
	static uint8_t a[5000], z[9000];
	int status;
	pid_t pid;

	(void)state;
	memset(a, 'a', sizeof(a));
	memset(z, 'z', sizeof(z));
	assert_int_equal(
		mica_file_write_atomic(path, mica_slice(a, sizeof(a)), 0600, NULL), MICA_OK);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 30; i++) {
			if (mica_file_write_atomic(path, mica_slice(z, sizeof(z)), 0600, NULL) ||
				mica_file_write_atomic(path, mica_slice(a, sizeof(a)), 0600, NULL))
				_exit(1);
		}
		_exit(0);
	}
	do {
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 20000);
		assert_int_equal(mica_file_read(path, &b, NULL), MICA_OK);
		assert_true(b.len == sizeof(a) || b.len == sizeof(z));
		for (size_t i = 0; i < b.len; i++)
			assert_int_equal(b.p[i], b.len == sizeof(a) ? 'a' : 'z');
	} while (waitpid(pid, &status, WNOHANG) == 0);
	assert_int_equal(status, 0);
}

static void folders(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	char deep[160];
	struct stat st;

	(void)state;
	snprintf(deep, sizeof(deep), "%s/a//b/c/", dir);
	assert_int_equal(mica_mkdir_p(deep, 0700, &e), MICA_OK);
	assert_int_equal(mica_mkdir_p(deep, 0700, &e), MICA_OK);
	assert_int_equal(stat(deep, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	for (int i = 0; i < 3; i++) {
		static const char *const parts[] = {"a/b/c", "a/b", "a"};

		snprintf(deep, sizeof(deep), "%s/%s", dir, parts[i]);
		assert_int_equal(rmdir(deep), 0);
	}
	assert_int_equal(mica_file_write_atomic(path, MICA_LIT("x"), 0600, NULL), MICA_OK);
	assert_int_not_equal(mica_mkdir_p(path, 0700, &e), MICA_OK);
	assert_int_not_equal(e.rc, MICA_OK);
	snprintf(deep, sizeof(deep), "%s/below", path);
	assert_int_equal(mica_mkdir_p(deep, 0700, NULL), MICA_NOT_FOUND);
	assert_int_equal(mica_mkdir_p("", 0700, NULL), MICA_NOT_FOUND);
	assert_int_equal(mica_mkdir_p("/", 0700, NULL), MICA_OK);
	assert_int_equal(mica_mkdir_p(".", 0700, NULL), MICA_OK);
	assert_int_equal(mica_mkdir_p("/proc/self/x", 0700, NULL), MICA_NOT_FOUND);
}

static void environment(void **state)
{
	(void)state;
	unsetenv("MICA_TEST");
	assert_null(mica_env("MICA_TEST"));
	setenv("MICA_TEST", "", 1);
	assert_null(mica_env("MICA_TEST"));
	setenv("MICA_TEST", "x", 1);
	assert_string_equal(mica_env("MICA_TEST"), "x");
	unsetenv("MICA_TEST");
}

static void clocks(void **state)
{
	int64_t mono = mica_mono_ns(), cpu = mica_thread_cpu_ns(), all = mica_process_cpu_ns();
	int64_t s = mica_now(), ms = mica_now_ms();

	(void)state;
	assert_true(s > 1700000000 && ms / 1000 - s >= 0 && ms / 1000 - s <= 1);
	while (mica_mono_ns() - mono < 2000000)
		;
	assert_true(mica_mono_ms() >= mono / 1000000 + 2);
	assert_true(mica_thread_cpu_ns() > cpu);
	assert_true(mica_process_cpu_ns() > all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(limits),
		cmocka_unit_test(pipes),
		cmocka_unit_test(read_errors),
		cmocka_unit_test(write_errors),
		cmocka_unit_test(link_is_replaced),
		cmocka_unit_test(readers_see_whole_files),
		cmocka_unit_test(folders),
		cmocka_unit_test(environment),
		cmocka_unit_test(clocks),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
