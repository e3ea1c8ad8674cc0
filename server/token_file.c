/* SPDX-License-Identifier: Apache-2.0 */
#include "token_file.h"

#include "mica/file.h"

#include <string.h>

#define TOKEN_FILE_MAX ((size_t)64 * 1024)

mica_rc token_file_read(const char *path, struct mica_buf *out, struct mica_err *e)
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
