/* SPDX-License-Identifier: Apache-2.0 */
#include "pair.h"

#include "mica/file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

mica_rc pair_write(const char *dir, const struct pair_files *files, struct mica_err *e)
{
	struct mica_file_part parts[] = {{"key.pem", files->key, 0600},
		{"cert.pem", files->cert, 0644}, {"bundle.pem", files->bundle, 0644}};
	char old[4096];
	MICA_AUTO_BUF bundle;
	mica_rc rc = MICA_OK;

	mica_buf_init(&bundle, 1 << 20);
	if (snprintf(old, sizeof(old), "%s/bundle.pem", dir) >= (int)sizeof(old))
		return mica_fail_errno(e, ENAMETOOLONG, "%s", dir);
	if (files->bundle.len == 0 && access(old, F_OK) == 0) {
		rc = mica_file_read(old, &bundle, e);
		parts[2].data = mica_buf_slice(&bundle);
	}
	return rc == MICA_OK ? mica_file_write_set(dir, parts, parts[2].data.len > 0 ? 3 : 2, e)
			     : rc;
}
