/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt to get an issuer's key set, from wherever its settings say. */
#ifndef MICA_SERVER_KEYS_FETCH_H
#define MICA_SERVER_KEYS_FETCH_H

#include "mica/buf.h"
#include "mica/config.h"

/* Our copy of an issuer's settings. */
struct keys_source {
	char *name, *issuer;
	bool discovery;
	char *jwks_uri, *jwks_file, *ca_file, *token_file; /* NULL when unset */
	struct mica_string_list allow_hosts;
	int64_t refresh, max_stale, timeout; /* seconds */
};
void keys_source_init(struct keys_source *s, const struct mica_issuer_config *c);
void keys_source_clear(struct keys_source *s);
bool keys_source_equals(const struct keys_source *s, const struct mica_issuer_config *c);

/* Reads the file, or fetches within the timeout. *document is initialised by the caller with the
 * cap. As mica_file_read and mica_http_do, besides: UNAVAILABLE "token_file_unusable",
 * "http_status" (with retry_after); INVALID "discovery_malformed", "discovery_issuer_mismatch",
 * "jwks_uri_not_allowed". */
mica_rc keys_fetch(const struct keys_source *s, bool (*cancelled)(void *ctx), void *ctx,
	struct mica_buf *document, struct mica_err *e) MICA_MUST_CHECK;

#endif
