/* SPDX-License-Identifier: Apache-2.0 */
/* A log from outside: where its files come from, whose it is, and what was seen of it last time. */
#ifndef MICA_CLI_AUDIT_H
#define MICA_CLI_AUDIT_H

#include "audit_verify.h"
#include "client.h"

/* ---- where files come from: micad, a directory, or any web server
 * ---------------------------------- */

struct source; /* opaque */

/* --from DIR|URL, else micad. `rights`: entries will be read, so say who asks. */
mica_rc source_open(
	struct cli *c, bool rights, struct source **out, struct mica_err *e) MICA_MUST_CHECK;
/* A directory. */
struct source *source_open_dir(const char *dir);
void source_free(struct source *s);
bool source_is_micad(const struct source *s);
const char *source_where(const struct source *s);
/* The connection to micad; NULL for static files. */
struct client *source_client(struct source *s);
/* The checkpoint as it is now. */
mica_rc source_checkpoint(
	struct source *s, struct mica_buf *note, struct mica_err *e) MICA_MUST_CHECK;
/* Hash tiles, some of which are kept; NOT_FOUND "tile_missing". A partial tile that is not there
 * any more is taken from the full one, as tlog-tiles says. */
struct audit_tiles source_tiles(struct source *s);
/* Tiles that are kept in memory are read anew: those of another checkpoint may differ. */
void source_forget(struct source *s);
/* Entries. DENIED and the like as micad says; NOT_FOUND "tile_missing". */
mica_rc source_bundle(struct source *s, uint64_t size, uint64_t n, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* ---- whose it is, and what was seen
 * ------------------------------------------------------------------ */

struct audit {
	struct cli *c;
	struct source *source;
	struct mica_note_key key;
	bool first_use; /* the key is believed because micad says it */
	char state[4096]; /* "" = nothing is remembered */
	bool seen;
	struct mica_checkpoint last; /* what was seen, or is verified now */
	struct mica_buf note; /* the checkpoint that came last, signed */
};
#define AUDIT_RIGHTS    1 /* entries will be read */
#define AUDIT_STATELESS 2 /* nothing is remembered, whatever --state says */
#define AUDIT_LOCAL     4 /* on its socket micad is believed, as with --first-use */
/* Finds the key: --vkey, then what is remembered of the log, then (--first-use) what micad says.
 * INVALID "log_key_unknown"; CONFLICT "audit_state_foreign" (another log is remembered in --state);
 * CORRUPT "audit_state_damaged". */
mica_rc audit_open(
	struct audit *a, struct cli *c, unsigned flags, struct mica_err *e) MICA_MUST_CHECK;
void audit_clear(struct audit *a);
#define AUDIT_AUTO __attribute__((cleanup(audit_clear))) struct audit
/* Fetches the checkpoint, proves it (audit_advance) and remembers it. When the log broke a promise,
 * what it signed now is kept beside the state, and e->detail says which files are evidence. *grown
 * (optional): there are new entries. */
mica_rc audit_step(struct audit *a, bool *grown, struct mica_err *e) MICA_MUST_CHECK;

/* Reads one entry, proved, into `entry`. */
mica_rc audit_read_entry(struct audit *a, uint64_t index, struct mica_buf *entry,
	struct mica_err *e) MICA_MUST_CHECK;
/* The same for the entry of a certificate, and where it stands. Micad gives it to auditors and to
 * the certificate's holder; in static files it is looked for. */
mica_rc audit_find_serial(struct audit *a, const uint8_t serial[16], uint64_t *index,
	struct mica_buf *entry, struct mica_err *e) MICA_MUST_CHECK;

#endif
