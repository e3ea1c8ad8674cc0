/* SPDX-License-Identifier: Apache-2.0 */
#include "pair.h"

#include "mica/file.h"
#include "mica/pem.h"
#include "mica/secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* ---- files ----------------------------------------------------------------------------------- */

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

/* Removes generations other than `keep`: a crash may have left some. */
static void remove_old(int fd, const char *keep)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again >= 0 ? fdopendir(again) : NULL;
	struct dirent *one;

	if (!d) {
		if (again >= 0)
			close(again);
		return;
	}
	while ((one = readdir(d))) {
		static const char *const names[] = {"cert.pem", "key.pem", "bundle.pem"};

		if (strncmp(one->d_name, GENERATION, strlen(GENERATION)) != 0 ||
			strcmp(one->d_name, keep) == 0)
			continue;
		for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++) {
			char path[300];

			snprintf(path, sizeof(path), "%.200s/%s", one->d_name, names[i]);
			unlinkat(fd, path, 0);
		}
		unlinkat(fd, one->d_name, AT_REMOVEDIR);
	}
	closedir(d);
}

static mica_rc fill_generation(
	const char *dir, const char *generation, const struct pair_files *files, struct mica_err *e)
{
	char path[4096], old[4096];
	MICA_AUTO_BUF bundle;
	struct mica_slice roots = files->bundle;
	mica_rc rc;

	mica_buf_init(&bundle, 1 << 20);
	if (snprintf(path, sizeof(path), "%s/%s", dir, generation) >= (int)sizeof(path) ||
		snprintf(old, sizeof(old), "%s/bundle.pem", dir) >= (int)sizeof(old))
		return mica_fail_errno(e, ENAMETOOLONG, "%s", dir);
	rc = mica_mkdir_p(path, 0755, e);
	if (rc == MICA_OK && roots.len == 0 && access(old, F_OK) == 0) {
		rc = mica_file_read(old, &bundle, e);
		roots = mica_buf_slice(&bundle);
	}
	if (rc == MICA_OK)
		rc = write_one(path, "key.pem", files->key, 0600, e);
	if (rc == MICA_OK)
		rc = write_one(path, "cert.pem", files->cert, 0644, e);
	if (rc == MICA_OK && roots.len > 0)
		rc = write_one(path, "bundle.pem", roots, 0644, e);
	return rc;
}

mica_rc pair_write(const char *dir, const struct pair_files *files, struct mica_err *e)
{
	static const char *const names[] = {"key.pem", "cert.pem", "bundle.pem"};
	char generation[32] = GENERATION, target[64];
	MICA_AUTO_FD int fd = -1;
	uint8_t unique[8];
	mica_rc rc = mica_mkdir_p(dir, 0755, e);

	mica_random(unique, sizeof(unique));
	mica_hex_encode(unique, sizeof(unique), generation + strlen(GENERATION));
	if (rc == MICA_OK)
		rc = fill_generation(dir, generation, files, e);
	if (rc != MICA_OK)
		return rc;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return mica_fail_errno(e, errno, "%s", dir);
	rc = relink(fd, dir, generation, LINK, e);
	for (size_t i = 0; i < MICA_ARRAY_LEN(names) && rc == MICA_OK; i++) {
		snprintf(target, sizeof(target), LINK "/%s", names[i]);
		rc = relink(fd, dir, target, names[i], e);
	}
	if (rc == MICA_OK && fsync(fd) != 0)
		rc = mica_fail_errno(e, errno, "%s", dir);
	if (rc == MICA_OK)
		remove_old(fd, generation);
	return rc;
}
