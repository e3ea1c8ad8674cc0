/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets: passphrases, key-encryption keys, private keys in the clear, bearer tokens kept
 * for our own use. The bytes live in locked pages excluded from core dumps (mlock, MADV_DONTDUMP;
 * best effort where RLIMIT_MEMLOCK forbids, mica_secret_locked() says so), read-only, between two
 * pages that nobody may touch, and are wiped when freed. A child of fork does not have them: it
 * faults when it looks, rather than finding zeros that it could take for a key.
 * A secret has no print function; nothing may format it. Any thread may read one.
 */
#ifndef MICA_SECRET_H
#define MICA_SECRET_H

#include "mica/mem.h"
#include "mica/slice.h"

struct mica_secret; /* opaque */

struct mica_secret *mica_secret_new(
	const void *p, size_t len); /* copies; the caller wipes its own */
struct mica_secret *mica_secret_new_random(size_t len);
void mica_secret_free(struct mica_secret *s);
struct mica_slice mica_secret_view(const struct mica_secret *s); /* borrowed */
bool mica_secret_locked(const struct mica_secret *s); /* its pages cannot be swapped out */

MICA_CLEANUP_STRUCT(mica_secret, mica_secret_free);
#define MICA_AUTO_SECRET MICA_AUTO_STRUCT(mica_secret)
void mica_wipe(void *p, size_t len); /* not optimised away */
void mica_random(void *p, size_t len); /* getrandom; ends the process if there is none */
/* Once per process at start: no core dumps (PR_SET_DUMPABLE 0, RLIMIT_CORE 0). */
void mica_process_harden(void);

/* Where a passphrase comes from. Exactly one field is set. One trailing newline is cut. */
struct mica_secret_source {
	const char *file; /* path; refused when group or others may do anything with it */
	const char *env; /* name of an environment variable; wiped and removed */
	const char *credential; /* name below $CREDENTIALS_DIRECTORY (systemd) */
};
/* INVALID "secret_source" (none or several set, no plain name), "secret_empty", "secret_too_long"
 * (above 4 KiB), "not_a_file"; DENIED "secret_exposed": the file is open to group or others (the
 * folder $CREDENTIALS_DIRECTORY is systemd's and exempt), "secret_owner": it is neither root's nor
 * ours; NOT_FOUND "no_such_file", "no_such_variable", "no_credentials_directory". Texts name the
 * source, never the content. At start only: it changes the environment. */
mica_rc mica_secret_load(const struct mica_secret_source *src, struct mica_secret **out,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
