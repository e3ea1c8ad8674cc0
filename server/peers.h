/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who stands before a proxy: what the core has found of certificates that proxies pass on, kept by
 * a keyed hash of them, since most requests come with one that was seen a moment ago. A verdict
 * holds as long as nothing has changed that it depends on (a revocation, the deny list, the
 * authorities: mica_core_generation), until the certificate ends, and a refusal for five seconds at
 * most. Of fixed size; any thread.
 */
#ifndef MICA_SERVER_PEERS_H
#define MICA_SERVER_PEERS_H

#include "mica/core.h"

struct peers; /* opaque */

/* `max` verdicts, rounded up to a power of two. `core` is borrowed, `aliases` are copied. */
struct peers *peers_new(
	struct mica_core *core, unsigned max, const char *const *aliases, unsigned n_aliases);
void peers_free(struct peers *p); /* NULL is fine */

/* What a proxy says of its peer: a name, a certificate (percent-encoded PEM), both or neither. The
 * name that policies are asked with is written to `id`; empty for nobody. UNAUTHENTICATED, DENIED,
 * UNAVAILABLE as mica_core_judge_peer and _name; "svid_mismatch": the name is not the
 * certificate's; "peer_not_spiffe": it is no SPIFFE ID of a workload; "svid_malformed". */
#define PEERS_ID_SIZE (MICA_SPIFFE_ID_MAX + 1)
mica_rc peers_judge(struct peers *p, struct mica_slice principal, struct mica_slice certificate,
	int64_t now_ms, char id[PEERS_ID_SIZE], struct mica_err *e) MICA_MUST_CHECK;

struct peers_stats {
	uint64_t verified; /* certificates that were judged; the others were known */
};
void peers_stats(const struct peers *p, struct peers_stats *out);

#endif
