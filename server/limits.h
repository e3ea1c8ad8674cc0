/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rates: token buckets by address and by identity, in tables of fixed size. An address is an IPv4
 * address or an IPv6 /64, since whoever has one address of a /64 has them all. Addresses are
 * shared (NAT, a node's proxy), so they count failures and requests without a credential only;
 * who has shown who he is has a bucket of his own. When a table is full, the bucket of the same
 * set that is nearest to full again is forgotten. Any thread; locks are spread over 16 shards.
 *
 * Times are in milliseconds on the monotonic clock (mica_mono_ms()).
 */
#ifndef MICA_SERVER_LIMITS_H
#define MICA_SERVER_LIMITS_H

#include "http.h"

struct limits; /* opaque */

struct limits_rate {
	unsigned per_minute; /* 0 = no limit */
	unsigned burst; /* at once, after a pause; at least 1 is used */
};
struct limits_options {
	struct limits_rate failures, anonymous; /* by address */
	struct limits_rate identity;
	unsigned max_addresses, max_identities; /* rounded up to a power of two, at least 1,024 */
};
struct limits *limits_new(const struct limits_options *o);
void limits_free(struct limits *l);
/* New rates for the same tables; what was counted stays counted. */
void limits_set_rates(struct limits *l, const struct limits_options *o);

/* False when this address has failed too often of late: refuse at once, *retry_after in seconds.
 * Takes nothing from the bucket. A local peer (Unix socket) is always allowed. */
bool limits_address_allowed(
	struct limits *l, const struct http_peer *peer, int64_t now_ms, int *retry_after);
/* A credential from this address was refused. */
void limits_address_failure(struct limits *l, const struct http_peer *peer, int64_t now_ms);
/* A request without credentials: takes one, or false. */
bool limits_anonymous_allowed(
	struct limits *l, const struct http_peer *peer, int64_t now_ms, int *retry_after);
/* A request of an authenticated caller, named by a string that is its own (SPIFFE ID, pod UID):
 * takes one, or false. */
bool limits_identity_allowed(
	struct limits *l, struct mica_slice identity, int64_t now_ms, int *retry_after);

struct limits_stats {
	uint64_t refused_failures, refused_anonymous, refused_identity, forgotten;
};
void limits_stats(struct limits *l, struct limits_stats *out);

#endif
