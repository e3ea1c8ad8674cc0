/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files, bounded and atomic. */
#ifndef MICA_FILE_H
#define MICA_FILE_H

#include "mica/buf.h"

#include <sys/types.h>

/* Reads all of `path` into *out (initialised by the caller, whose cap is the limit).
 * NOT_FOUND, DENIED, LIMIT "file_too_long", else as mica_fail_errno. Regular files and pipes only. */
mica_rc mica_file_read(const char *path, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* Temporary file in the same folder, write, fsync, rename, fsync of the folder: readers see
 * the old or the new content, and after OK the new one survives a power cut. */
mica_rc mica_file_write_atomic(const char *path, struct mica_slice data, mode_t mode,
	struct mica_err *e) MICA_MUST_CHECK;
/* mkdir -p with `mode` for what is made. */
mica_rc mica_mkdir_p(const char *path, mode_t mode, struct mica_err *e) MICA_MUST_CHECK;

#endif
