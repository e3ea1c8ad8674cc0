/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By what micad is known: which roots a connection to it may end at.
 *
 *	no bundle yet		the bootstrap file's roots, or the root with the pinned key
 *	a bundle came		its roots; the bootstrap has done its work
 *	the file is another	its roots alone: an administrator's word takes the place of what was
 *				learned, and of the rule that a sequence never goes back
 *
 * What the bootstrap was is remembered beside the bundle by its hash ("mark"), over restarts. A
 * file that cannot be read, or holds no roots, is not another one: what was learned goes on. Any
 * thread.
 */
#ifndef MICA_AGENT_ANCHOR_H
#define MICA_AGENT_ANCHOR_H

#include "config.h"
#include "trust.h"

struct anchor; /* opaque */
struct anchor *anchor_new(const struct agent_config *c); /* borrows the configuration */
void anchor_free(struct anchor *a); /* NULL is fine */

#define ANCHOR_PEM_MAX ((size_t)1 << 20)
struct anchor_now {
	struct mica_buf pem; /* empty: by pin, and the root is not known yet */
	bool bootstrap; /* it is the bootstrap, not a bundle that was learned */
	uint8_t mark[32]; /* of the bootstrap that counts now */
};
void anchor_now_clear(struct anchor_now *n);
#define AUTO_ANCHOR_NOW __attribute__((cleanup(anchor_now_clear))) struct anchor_now

/* `held`: the bundle of now, or NULL. UNAVAILABLE "bootstrap_unusable" when there is neither. */
mica_rc anchor_get(struct anchor *a, const struct trust *held, struct anchor_now *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* A bundle came by the bootstrap with this mark: from here on the bundle counts. */
void anchor_done(struct anchor *a, const uint8_t mark[32]);
/* The root with the pinned key, as micad told it; PEM. INVALID "pin_mismatch": none of `roots` has
 * that key and its own valid signature. */
mica_rc anchor_learn_pinned(
	struct anchor *a, const struct trust *told, struct mica_err *e) MICA_MUST_CHECK;
/* Whose bootstrap the bundle of now came by; false = of none. */
bool anchor_mark(struct anchor *a, uint8_t mark[32]);

#endif
