/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a certificate lives in. */
#ifndef MICA_CLI_PAIR_H
#define MICA_CLI_PAIR_H

#include "mica/buf.h"

/* What is in a directory of ours. */
struct pair_files {
	struct mica_slice cert, key, bundle; /* PEM; an empty bundle keeps the one that is there */
};
/* Writes cert.pem, key.pem (0600) and bundle.pem below `dir` as one set (mica_file_write_set). */
mica_rc pair_write(
	const char *dir, const struct pair_files *files, struct mica_err *e) MICA_MUST_CHECK;

#endif
