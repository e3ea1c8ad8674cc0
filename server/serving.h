/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mica's own serving certificate: an SVID that it issues to itself, recorded like any other, with
 * the names of the configuration, and renewed while serving. One thread.
 */
#ifndef MICA_SERVER_SERVING_H
#define MICA_SERVER_SERVING_H

#include "committer.h"
#include "http.h"

#include "mica/rpc.h"

struct serving; /* opaque */

/* All borrowed until serving_free. */
struct serving *serving_new(
	struct mica_core *core, struct committer *committer, const struct mica_config *config);
void serving_free(struct serving *s); /* NULL is fine */

/* One key and certificate, for each of the fronts. */
struct serving_key {
	struct http_tls_key *http;
	struct mica_rpc_key *rpc; /* NULL when there is no gRPC front */
};
void serving_key_clear(struct serving_key *k); /* gives the references back */

/* A new key and certificate when one is due (at first always): *out has references to it then, and
 * is empty when nothing is due. Waits for its durable record. Errors are those of
 * mica_core_prepare_self, of the commit, of http_tls_key_new and mica_rpc_key_new; after one,
 * nothing is due for a while that doubles up to a minute (two seconds while there is none at all).
 */
mica_rc serving_renew(struct serving *s, int64_t now_ms, struct serving_key *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* The one of before, from the store: for a start while none can be issued. It may be over. Errors
 * are those of mica_core_kept_serving, of http_tls_key_new and mica_rpc_key_new. */
mica_rc serving_last(
	struct serving *s, struct serving_key *out, struct mica_err *e) MICA_MUST_CHECK;
/* A new one is due at once: what vouches for this one is compromised. */
void serving_hurry(struct serving *s);
/* The end of the certificate that is in use; 0 = none. */
int64_t serving_not_after(const struct serving *s);

#endif
