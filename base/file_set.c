/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/file.h"
#include "mica/secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define NAME_MAX_  48
#define LINK       ".current"
#define GENERATION ".gen-"

static mica_rc write_one(
	const char *dir, const char *name, struct mica_slice data, mode_t mode, struct mica_err *e)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return mica_fail_errno(e, ENAMETOOLONG, "%s", dir);
	return mica_file_write_atomic(path, data, mode, e);
}

/* Makes `name` in fd a link to `target`, whatever it was, in one step. */
static mica_rc relink(
	int fd, const char *dir, const char *target, const char *name, struct mica_err *e)
{
	char temporary[64], now[64] = "";
	ssize_t n = readlinkat(fd, name, now, sizeof(now) - 1);

	if (n > 0 && strcmp(now, target) == 0)
		return MICA_OK;
	snprintf(temporary, sizeof(temporary), ".new-%s", name);
	unlinkat(fd, temporary, 0);
	if (symlinkat(target, fd, temporary) != 0 || renameat(fd, temporary, fd, name) != 0)
		return mica_fail_errno(e, errno, "%s/%s", dir, name);
	return MICA_OK;
}

static void close_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}
#define AUTO_DIR __attribute__((cleanup(close_dir))) DIR *

/* Its position is its own, whatever is done with `fd`. */
static DIR *list(int fd, const char *name)
{
	int again = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = again >= 0 ? fdopendir(again) : NULL;

	if (!d && again >= 0)
		close(again);
	return d;
}

static void remove_generation(int fd, const char *name)
{
	AUTO_DIR d = list(fd, name);
	struct dirent *one;

	while (d && (one = readdir(d)))
		unlinkat(dirfd(d), one->d_name, 0);
	unlinkat(fd, name, AT_REMOVEDIR);
}

/* Generations other than `keep`: a crash may have left some. */
static void remove_old(int fd, const char *keep)
{
	AUTO_DIR d = list(fd, ".");
	struct dirent *one;

	while (d && (one = readdir(d)))
		if (strncmp(one->d_name, GENERATION, strlen(GENERATION)) == 0 &&
			strcmp(one->d_name, keep) != 0)
			remove_generation(fd, one->d_name);
}

static mica_rc fill_generation(const char *dir, const char *generation,
	const struct mica_file_part *parts, size_t n, struct mica_err *e)
{
	char path[4096];
	mica_rc rc;

	if (snprintf(path, sizeof(path), "%s/%s", dir, generation) >= (int)sizeof(path))
		return mica_fail_errno(e, ENAMETOOLONG, "%s", dir);
	rc = mica_mkdir_p(path, 0755, e);
	for (size_t i = 0; i < n && rc == MICA_OK; i++) {
		if (strlen(parts[i].name) > NAME_MAX_)
			rc = mica_fail_errno(e, ENAMETOOLONG, "%s/%.64s", dir, parts[i].name);
		else
			rc = write_one(path, parts[i].name, parts[i].data, parts[i].mode, e);
	}
	return rc;
}

mica_rc mica_file_write_set(
	const char *dir, const struct mica_file_part *parts, size_t n, struct mica_err *e)
{
	char generation[32] = GENERATION, target[64];
	MICA_AUTO_FD int fd = -1;
	uint8_t unique[8];
	mica_rc rc = mica_mkdir_p(dir, 0755, e);

	mica_random(unique, sizeof(unique));
	mica_hex_encode(unique, sizeof(unique), generation + strlen(GENERATION));
	if (rc == MICA_OK)
		rc = fill_generation(dir, generation, parts, n, e);
	if (rc != MICA_OK)
		return rc;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return mica_fail_errno(e, errno, "%s", dir);
	rc = relink(fd, dir, generation, LINK, e);
	for (size_t i = 0; i < n && rc == MICA_OK; i++) {
		snprintf(target, sizeof(target), LINK "/%.48s", parts[i].name);
		rc = relink(fd, dir, target, parts[i].name, e);
	}
	if (rc == MICA_OK && fsync(fd) != 0)
		rc = mica_fail_errno(e, errno, "%s", dir);
	if (rc == MICA_OK)
		remove_old(fd, generation);
	return rc;
}
