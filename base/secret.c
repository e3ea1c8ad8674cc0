/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/secret.h"
#include "mica/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define SECRET_MAX 4096

/* One mapping: a guard page, the data pages with the bytes at their very end, a guard page. So
 * the first byte read past a secret is a fault. */
struct mica_secret {
	uint8_t *map, *pages, *p;
	size_t map_size, pages_size, len;
	bool locked;
	pid_t owner; /* only this process has the pages */
};

void mica_wipe(void *p, size_t len)
{
	if (len > 0)
		explicit_bzero(p, len);
}

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "mica: %s: %m\n", what);
	abort();
}

void mica_random(void *p, size_t len)
{
	uint8_t *to = p;

	while (len > 0) {
		ssize_t n = getrandom(to, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("getrandom");
		to += n;
		len -= (size_t)n;
	}
}

/* Writable until sealed. */
static struct mica_secret *secret_map(size_t len)
{
	struct mica_secret *s = MICA_NEW(struct mica_secret);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *map;

	if (len > SIZE_MAX / 2)
		die("a secret's size");
	s->len = len;
	s->pages_size = (len / page + 1) * page;
	s->map_size = s->pages_size + 2 * page;
	map = mmap(NULL, s->map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		die("mmap");
	s->map = map;
	s->pages = s->map + page;
	s->p = s->pages + s->pages_size - len;
	if (mprotect(s->pages, s->pages_size, PROT_READ | PROT_WRITE) != 0)
		die("mprotect");
	s->locked = mlock(s->pages, s->pages_size) == 0;
	/* Best effort: a kernel without these still has the process-wide limit on dumps. */
	(void)madvise(s->pages, s->pages_size, MADV_DONTDUMP);
	(void)madvise(s->pages, s->pages_size, MADV_DONTFORK);
	s->owner = getpid();
	return s;
}

static struct mica_secret *seal(struct mica_secret *s)
{
	if (mprotect(s->pages, s->pages_size, PROT_READ) != 0)
		die("mprotect");
	return s;
}

struct mica_secret *mica_secret_new(const void *p, size_t len)
{
	struct mica_secret *s = secret_map(len);

	if (len > 0)
		memcpy(s->p, p, len);
	return seal(s);
}

struct mica_secret *mica_secret_new_random(size_t len)
{
	struct mica_secret *s = secret_map(len);

	mica_random(s->p, len);
	return seal(s);
}

void mica_secret_free(struct mica_secret *s)
{
	if (s == NULL)
		return;
	if (s->owner == getpid()) {
		if (mprotect(s->pages, s->pages_size, PROT_READ | PROT_WRITE) != 0)
			die("mprotect");
		mica_wipe(s->pages, s->pages_size);
	}
	/* In a child the data pages are a hole in this range, which munmap takes as done. */
	munmap(s->map, s->map_size);
	mica_free(s);
}

struct mica_slice mica_secret_view(const struct mica_secret *s)
{
	return mica_slice(s->p, s->len);
}

bool mica_secret_locked(const struct mica_secret *s)
{
	return s->locked;
}

void mica_process_harden(void)
{
	const struct rlimit none = {0, 0};

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		die("PR_SET_DUMPABLE");
	if (setrlimit(RLIMIT_CORE, &none) != 0)
		die("RLIMIT_CORE");
}

/* ---- loading a passphrase ------------------------------------------------------------------ */

static mica_rc take(
	struct mica_slice s, const char *from, struct mica_secret **out, struct mica_err *e)
{
	if (s.len > 0 && s.p[s.len - 1] == '\n')
		s.len--;
	if (s.len == 0)
		return mica_fail(
			e, MICA_INVALID, "secret_empty", "%s: empty, expected a secret", from);
	if (s.len > SECRET_MAX)
		return mica_fail(e, MICA_INVALID, "secret_too_long", "%s: longer than %d bytes",
			from, SECRET_MAX);
	*out = mica_secret_new(s.p, s.len);
	return MICA_OK;
}

static mica_rc check_owner(int fd, const char *path, bool systemd, struct mica_err *e)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return mica_fail_errno(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return mica_fail(e, MICA_INVALID, "not_a_file",
			"%s: expected a regular file or a pipe", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return mica_fail(e, MICA_DENIED, "secret_owner",
			"%s: belongs to user %u, expected root or user %u", path,
			(unsigned)st.st_uid, (unsigned)geteuid());
	if (!systemd && (st.st_mode & 077) != 0)
		return mica_fail(e, MICA_DENIED, "secret_exposed",
			"%s: has mode %04o, expected 0600 or 0400: nothing for group and others",
			path, (unsigned)st.st_mode & 07777);
	return MICA_OK;
}

/* Straight into locked pages: no buffer on the way holds a copy. */
static mica_rc read_secret(int fd, const char *path, struct mica_secret **out, struct mica_err *e)
{
	MICA_AUTO_SECRET tmp = secret_map(SECRET_MAX + 2);
	size_t len = 0;

	while (len < tmp->len) {
		ssize_t n = read(fd, tmp->p + len, tmp->len - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mica_fail_errno(e, errno, "%s", path);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return take(mica_slice(tmp->p, len), path, out, e);
}

/* systemd makes its credentials 0440 with an access list, in a folder that only we may enter. */
static bool is_credential(const char *path)
{
	const char *dir = mica_env("CREDENTIALS_DIRECTORY");
	size_t n = dir ? strlen(dir) : 0;

	return n > 1 && dir[0] == '/' && strncmp(path, dir, n) == 0 &&
		(path[n] == '/' || dir[n - 1] == '/') && strstr(path + n - 1, "/..") == NULL;
}

static mica_rc load_file(const char *path, struct mica_secret **out, struct mica_err *e)
{
	MICA_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	mica_rc rc;

	if (fd < 0)
		return mica_fail_errno(e, errno, "%s", path);
	rc = check_owner(fd, path, is_credential(path), e);
	if (rc != MICA_OK)
		return rc;
	return read_secret(fd, path, out, e);
}

static mica_rc load_env(const char *name, struct mica_secret **out, struct mica_err *e)
{
	char *value = (char *)mica_env(name);
	char from[160];
	mica_rc rc;

	if (name[0] == '\0' || strchr(name, '=') != NULL)
		return mica_fail(e, MICA_INVALID, "secret_source",
			"expected the name of an environment variable");
	if (value == NULL)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_variable",
			"environment variable %s is unset or empty", name);
	snprintf(from, sizeof(from), "environment variable %s", name);
	rc = take(mica_slice_str(value), from, out, e);
	mica_wipe(value, strlen(value));
	unsetenv(name);
	return rc;
}

static mica_rc load_credential(const char *name, struct mica_secret **out, struct mica_err *e)
{
	const char *dir = mica_env("CREDENTIALS_DIRECTORY");
	MICA_AUTO_BUF path;

	mica_buf_init(&path, 4096);
	if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
		return mica_fail(e, MICA_INVALID, "secret_source",
			"credential \"%s\": expected a plain file name", name);
	if (dir == NULL || dir[0] != '/')
		return mica_fail(e, MICA_NOT_FOUND, "no_credentials_directory",
			"credential \"%s\": $CREDENTIALS_DIRECTORY is not set; expected to run "
			"under systemd with LoadCredential=",
			name);
	mica_buf_printf(&path, "%s/%s", dir, name);
	if (mica_buf_rc(&path, e) != MICA_OK)
		return MICA_LIMIT;
	return load_file((const char *)path.p, out, e);
}

mica_rc mica_secret_load(
	const struct mica_secret_source *src, struct mica_secret **out, struct mica_err *e)
{
	int set = (src->file != NULL) + (src->env != NULL) + (src->credential != NULL);

	*out = NULL;
	if (set != 1)
		return mica_fail(e, MICA_INVALID, "secret_source",
			"expected exactly one of file, env and credential, found %d", set);
	if (src->file)
		return load_file(src->file, out, e);
	if (src->env)
		return load_env(src->env, out, e);
	return load_credential(src->credential, out, e);
}
