/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/file.h"
#include "mica/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

const char *mica_env(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] ? value : NULL;
}

static mica_rc too_long(const char *path, size_t cap, struct mica_err *e)
{
	return mica_fail(e, MICA_LIMIT, "file_too_long", "%s: longer than the limit of %zu bytes",
		path, cap);
}

static mica_rc read_all(int fd, const char *path, struct mica_buf *out, struct mica_err *e)
{
	uint8_t more;

	for (;;) {
		size_t left = out->cap - out->len, step = left < 16384 ? left : 16384;
		uint8_t *to = step ? mica_buf_room(out, step) : &more;
		ssize_t n = read(fd, to, step ? step : 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mica_fail_errno(e, errno, "%s", path);
		if (n == 0)
			return MICA_OK;
		if (step == 0)
			return too_long(path, out->cap, e);
		mica_buf_added(out, (size_t)n);
	}
}

static mica_rc read_file(const char *path, struct mica_buf *out, struct mica_err *e)
{
	MICA_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return mica_fail_errno(e, errno, "%s", path);
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return mica_fail(e, MICA_INVALID, "not_a_file",
			"%s: expected a regular file or a pipe", path);
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > out->cap)
		return too_long(path, out->cap, e);
	return read_all(fd, path, out, e);
}

mica_rc mica_file_read(const char *path, struct mica_buf *out, struct mica_err *e)
{
	mica_rc rc;

	mica_buf_reset(out);
	rc = read_file(path, out, e);
	if (rc != MICA_OK)
		mica_buf_reset(out);
	return rc;
}

/* ---- writing ------------------------------------------------------------------------------ */

/* The folder of `path`, opened: all names below are relative to it, so a folder that is renamed
 * in between does not tear the operation apart. *base points into path. */
static int open_folder(const char *path, const char **base)
{
	const char *slash = strrchr(path, '/');
	MICA_AUTO_FREE char *folder = NULL;

	*base = slash ? slash + 1 : path;
	if (slash == NULL)
		folder = mica_strdup(".");
	else
		folder = mica_strndup(path, slash == path ? 1 : (size_t)(slash - path));
	return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int write_all(int fd, struct mica_slice data)
{
	while (data.len > 0) {
		ssize_t n = write(fd, data.p, data.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data = mica_slice(data.p + n, data.len - (size_t)n);
	}
	return 0;
}

static int fill_temporary(int dir, const char *name, struct mica_slice data, mode_t mode)
{
	MICA_AUTO_FD int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -1;
	if (write_all(fd, data) != 0 || fchmod(fd, mode) != 0 || fsync(fd) != 0)
		return -1;
	return 0;
}

mica_rc mica_file_write_atomic(
	const char *path, struct mica_slice data, mode_t mode, struct mica_err *e)
{
	const char *base;
	MICA_AUTO_FD int dir = open_folder(path, &base);
	char name[32], hex[17];
	uint8_t unique[8];
	int errnum;

	if (dir < 0)
		return mica_fail_errno(e, errno, "%s", path);
	if (base[0] == '\0')
		return mica_fail(
			e, MICA_INVALID, "not_a_file", "%s: expected the path of a file", path);
	mica_random(unique, sizeof(unique));
	mica_hex_encode(unique, sizeof(unique), hex);
	snprintf(name, sizeof(name), ".mica-%s", hex);
	if (fill_temporary(dir, name, data, mode) != 0 || renameat(dir, name, dir, base) != 0) {
		errnum = errno;
		unlinkat(dir, name, 0);
		return mica_fail_errno(e, errnum, "%s", path);
	}
	/* The rename itself is on disk only once the folder is. */
	if (fsync(dir) != 0)
		return mica_fail_errno(e, errno, "%s", path);
	return MICA_OK;
}

/* ---- folders ------------------------------------------------------------------------------ */

static int sync_parent(const char *path)
{
	const char *base;
	MICA_AUTO_FD int dir = open_folder(path, &base);

	return dir < 0 || fsync(dir) != 0 ? -1 : 0;
}

static mica_rc make_one(const char *path, mode_t mode, struct mica_err *e)
{
	struct stat st;

	if (mkdir(path, mode) == 0) {
		if (sync_parent(path) != 0)
			return mica_fail_errno(e, errno, "%s", path);
		return MICA_OK;
	}
	/* Another errno than EEXIST may hide an existing folder (EROFS on a read-only mount). */
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return MICA_OK;
	if (errno == EEXIST || errno == 0)
		errno = ENOTDIR;
	return mica_fail_errno(e, errno, "%s", path);
}

mica_rc mica_mkdir_p(const char *path, mode_t mode, struct mica_err *e)
{
	MICA_AUTO_FREE char *part = mica_strdup(path);
	mica_rc rc;

	if (path[0] == '\0')
		return mica_fail_errno(e, ENOENT, "the empty path");
	for (char *p = part; *p; p++) {
		if (*p != '/' || p == part || p[1] == '/' || p[1] == '\0')
			continue;
		*p = '\0';
		rc = make_one(part, mode, e);
		if (rc != MICA_OK)
			return rc;
		*p = '/';
	}
	return make_one(part, mode, e);
}

#define TOKEN_FILE_MAX ((size_t)64 * 1024)

mica_rc mica_file_read_token(const char *path, struct mica_buf *out, struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT;

	mica_buf_init_secret(out, TOKEN_FILE_MAX);
	if (mica_file_read(path, out, &why) != MICA_OK)
		return mica_fail(e, MICA_UNAVAILABLE, "token_file_unusable", "%s", why.text);
	if (out->len > 0 && out->p[out->len - 1] == '\n')
		out->p[--out->len] = '\0';
	/* A NUL inside would cut the token short. */
	if (out->len == 0 || strlen((const char *)out->p) != out->len)
		return mica_fail(
			e, MICA_UNAVAILABLE, "token_file_unusable", "%s: expected one token", path);
	return MICA_OK;
}
