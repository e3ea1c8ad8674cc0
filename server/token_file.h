/* SPDX-License-Identifier: Apache-2.0 */
/* Our own bearer tokens: files that somebody else renews (kubelet swaps a symlink of a folder), so
 * they are opened by path and read anew each time. */
#ifndef MICA_SERVER_TOKEN_FILE_H
#define MICA_SERVER_TOKEN_FILE_H

#include "mica/buf.h"

/* One newline at the end is cut. *out becomes a secret buffer, a C string. UNAVAILABLE
 * "token_file_unusable"; the text names the file, never its content. */
mica_rc token_file_read(const char *path, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
