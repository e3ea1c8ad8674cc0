/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets: passphrases, key-encryption keys, private keys in the clear, bearer tokens kept
 * for our own use. The bytes live in locked pages excluded from core dumps (mlock, MADV_DONTDUMP;
 * best effort where RLIMIT_MEMLOCK forbids, mica_secret_locked() says so) and are wiped when freed.
 * A secret has no print function; nothing may format it.
 */
#ifndef MICA_SECRET_H
#define MICA_SECRET_H

#include "mica/mem.h"
#include "mica/slice.h"

struct mica_secret; /* opaque */

struct mica_secret *mica_secret_new(const void *p, size_t len); /* copies; the caller wipes its own */
struct mica_secret *mica_secret_new_random(size_t len);
void mica_secret_free(struct mica_secret *s);
struct mica_slice mica_secret_view(const struct mica_secret *s); /* borrowed */
void mica_wipe(void *p, size_t len);		 /* not optimised away */
void mica_random(void *p, size_t len);		 /* getrandom; ends the process if there is none */
/* Once per process at start: no core dumps (PR_SET_DUMPABLE 0, RLIMIT_CORE 0). */
void mica_process_harden(void);

/* Where a passphrase comes from. Exactly one field is set. */
struct mica_secret_source {
	const char *file;	/* path; one trailing newline is cut; refused when readable by others */
	const char *env;	/* name of an environment variable; removed from the environment */
	const char *credential; /* name below $CREDENTIALS_DIRECTORY (systemd) */
};
/* INVALID: none or several set, empty, above 4 KiB; DENIED: the file is open to group or others;
 * NOT_FOUND: no such file, variable or credential. */
mica_rc mica_secret_load(const struct mica_secret_source *src, struct mica_secret **out,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
