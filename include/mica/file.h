/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files, bounded and atomic, and the environment. */
#ifndef MICA_FILE_H
#define MICA_FILE_H

#include "mica/buf.h"

#include <sys/types.h>

/* Reads all of `path` into *out (initialised by the caller, whose cap is the limit).
 * NOT_FOUND, DENIED, LIMIT "file_too_long", INVALID "not_a_file", else as mica_fail_errno. Regular
 * files and pipes only. On failure *out is empty. */
mica_rc mica_file_read(const char *path, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* Temporary file in the same folder, write, fsync, rename, fsync of the folder: readers see
 * the old or the new content, and after OK the new one survives a power cut. */
mica_rc mica_file_write_atomic(
	const char *path, struct mica_slice data, mode_t mode, struct mica_err *e) MICA_MUST_CHECK;
/* Several files that belong together (a certificate and its key), replaced as one: in `dir` (made,
 * 0755) each name is a symbolic link through one link, `.current`, to a directory of this
 * generation, and that one link is replaced. A reader never sees the file of one set beside that of
 * another, and a crash leaves the old set or the new. Regular files of these names are replaced by
 * links. Names are plain, up to 48 octets, not beginning with '.'. As mica_fail_errno. */
struct mica_file_part {
	const char *name;
	struct mica_slice data;
	mode_t mode;
};
mica_rc mica_file_write_set(const char *dir, const struct mica_file_part *parts, size_t n,
	struct mica_err *e) MICA_MUST_CHECK;
/* mkdir -p with `mode` (less the umask) for what is made; what is made survives a power cut. */
mica_rc mica_mkdir_p(const char *path, mode_t mode, struct mica_err *e) MICA_MUST_CHECK;

/* A bearer token from a file that somebody else renews (kubelet swaps a symlink of a folder):
 * opened by path and read anew each time, up to 64 KiB, one newline at the end is cut. *out becomes
 * a secret buffer, a C string. UNAVAILABLE "token_file_unusable"; the text names the file, never
 * its content. */
mica_rc mica_file_read_token(
	const char *path, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;

/* The one way to the environment: NULL when `name` is unset or empty. Borrowed. */
const char *mica_env(const char *name);

#endif
