/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Issuers' keys kept fresh: each configured issuer has a thread of its own that fetches its key
 * set (discovery, jwks_uri, or a file) and hands it to the core, at every refresh interval with
 * jitter, sooner after a failure, and once more when a token names a key that is not known. So an
 * issuer that is down, slow, huge or lying holds up nobody but itself. The core judges the keys and
 * keeps the last good ones; what is logged is each change of state, never each attempt.
 *
 *	core says "unknown_key" -> mica_keys_refresh(k, issuer, done, ctx)
 *	    done(ctx, true)	keys came since: ask the core once more
 *	    done(ctx, false)	nothing new: the answer stands
 *
 * Discovery (OpenID Connect Discovery 1.0, 4): the document must name exactly the configured
 * issuer; its jwks_uri must be https and on the issuer's host (any port), or on one of allow_hosts
 * ("host" or "host:port"). The token of token_file goes to these hosts and nowhere else.
 */
#ifndef MICA_SERVER_KEYS_H
#define MICA_SERVER_KEYS_H

#include "mica/config.h"
#include "mica/core.h"

struct mica_keys; /* opaque */

/* 0 = the default. */
struct mica_keys_tuning {
	int64_t forced_ms; /* between two refreshes that unknown keys ask for: 10 s */
	int64_t retry_ms; /* after the first failure, doubling up to a minute: 1 s */
	int64_t file_ms; /* how often jwks_file is looked at: 2 s */
	int64_t wait_ms; /* how long a caller of mica_keys_refresh waits at most: 5 s */
};

/* Starts the threads, which fetch at once. `config` is copied; `core` is borrowed and must outlive
 * it; `tuning` may be NULL. UNAVAILABLE "no_threads". */
mica_rc mica_keys_new(struct mica_core *core, const struct mica_config *config,
	const struct mica_keys_tuning *tuning, struct mica_keys **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* Ends the fetches under way within a fraction of a second; who waits gets `false`. */
void mica_keys_free(struct mica_keys *k); /* NULL is fine */

/*
 * A new configuration, from one thread at a time: mica_keys_retire before mica_core_configure,
 * mica_keys_reload behind it. Issuers that did not change go on undisturbed. What was fetched for
 * an issuer by its old settings cannot reach the core as keys by the new ones: retire waits until
 * such a fetch has ended. When the core refuses the configuration, reload with the old one. With
 * config NULL all end, and whoever asks later gets `false`.
 */
void mica_keys_retire(struct mica_keys *k, const struct mica_config *config);
mica_rc mica_keys_reload(
	struct mica_keys *k, const struct mica_config *config, struct mica_err *e) MICA_MUST_CHECK;

/* At the start: waits, `ms` at most, until the first attempt has ended for every issuer of which
 * the core has no keys from before. Then whoever was told "ready" is not told "no keys" by a
 * healthy issuer, and a sick one holds up a first start for a moment, a restart not at all. */
void mica_keys_wait(struct mica_keys *k, int64_t ms);

typedef void mica_keys_done(void *ctx, bool again);
/*
 * A token named a key of `issuer` that the core does not know. Never blocks. `done` is called
 * exactly once, from another thread or before the return: with true when the keys were fetched
 * meanwhile (or within the last second). All who come while a fetch is under way share it; at most
 * one in 10 s is made for unknown keys, and whoever comes between gets false at once.
 */
void mica_keys_refresh(struct mica_keys *k, const char *issuer, mica_keys_done *done, void *ctx);
/* The same for nobody in particular. */
void mica_keys_poke(struct mica_keys *k, const char *issuer);

enum mica_keys_state {
	MICA_KEYS_STARTING, /* no attempt has ended */
	MICA_KEYS_FRESH, /* the last attempt was good */
	MICA_KEYS_FAILING, /* it was not; older keys are in force */
	MICA_KEYS_STALE, /* and they are too old to be used, or there never were any */
	MICA_KEYS_STATE_COUNT
};
const char *mica_keys_state_name(enum mica_keys_state s); /* "starting" "fresh" ... */

struct mica_keys_status {
	char issuer[MICA_NAME_MAX + 1];
	enum mica_keys_state state;
	uint64_t fetches_ok, fetches_failed, forced; /* since the start or a change of settings */
	int64_t last_success; /* seconds since 1970; 0 = none since then */
	int64_t age; /* of the keys in force, seconds; -1 = there are none */
	unsigned keys, skipped; /* in force; left out of the last good document */
	const char *reason; /* of the last attempt's failure, a literal; NULL when it was good */
	char error[MICA_ERR_TEXT_MAX];
};
/* Fills at most `max`; returns how many issuers there are. */
unsigned mica_keys_status(struct mica_keys *k, struct mica_keys_status *out, unsigned max);

#endif
