/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one ledger entry says, its bytes and its JSON form. docs/LEDGER.md has the format; it lasts
 *for ever:
 *
 *	octet 0      format, 1
 *	octet 1      type
 *	octets 2-7   time in ms since 1970, big-endian
 *	octets 8-23  random: the hash of an entry cannot be guessed back
 *	then fields: tag (1), length (1, or FF and 2 big-endian), value; tags ascend, only `aud`
 *repeats
 *
 * Readers skip tags that they do not know, and show types that they do not know as "type_N". An
 *entry does not repeat what its certificate says: SPIFFE ID, serial, validity, authority (AKI) are
 *read from it.
 */
#ifndef MICA_ENTRY_H
#define MICA_ENTRY_H

#include "mica/buf.h"
#include "mica/principal.h"

#define MICA_ENTRY_MAX     65535 /* tlog-tiles: a bundle has 16-bit lengths */
#define MICA_ENTRY_AUD_MAX 16
#define MICA_SALT_LEN      16

enum mica_entry_type {
	MICA_ENTRY_X509_ISSUED = 1,
	MICA_ENTRY_JWT_ISSUED = 2,
	/* State and administration: `action` says what, `actor` who, `detail` more. */
	MICA_ENTRY_LOG = 16, /* of the ledger itself: created, restored ... */
	MICA_ENTRY_AUTHORITY = 17, /* created, activated, tainted ...; field authority */
	MICA_ENTRY_BUNDLE = 18, /* published */
	MICA_ENTRY_KEY = 19, /* JWT, publication and log keys */
	MICA_ENTRY_POLICY = 20,
	MICA_ENTRY_DENY = 21, /* deny list */
	MICA_ENTRY_ADMIN = 22, /* reload, backup ... */
	MICA_ENTRY_REVOCATION = 23, /* of a certificate; field authority */
	MICA_ENTRY_LINEAGE = 24, /* renewal_missed, forked, untold */
	MICA_ENTRY_TYPE_MAX = 63
};
/* "x509_issued" "jwt_issued" "log" "authority" "bundle" "key" "policy" "deny" "admin"
 * "revocation" "lineage"; NULL for others. */
const char *mica_entry_type_name(enum mica_entry_type t);
/* 0 when unknown. */
enum mica_entry_type mica_entry_type_parse(struct mica_slice name);

enum mica_actor_kind {
	MICA_ACTOR_NONE,
	MICA_ACTOR_SYSTEM, /* a timer of micad, `mica init` */
	MICA_ACTOR_LOCAL, /* on the admin socket: uid, gid, pid */
	MICA_ACTOR_SPIFFE /* over HTTPS: spiffe_id */
};

/* Slices are borrowed: from the caller when encoding, from the bytes when decoded. Zero is absent.
 */
struct mica_entry {
	enum mica_entry_type type;
	int64_t time_ms;
	/* All zero when encoding: filled with random octets. */
	uint8_t salt[MICA_SALT_LEN];
	struct mica_slice set; /* authority set; empty = "default" */

	/* Issuance: who (as the credential proved it), why, how. */
	struct mica_slice issuer, cluster, ns, sa, pod, node, subject;
	struct mica_uid sa_uid, pod_uid, node_uid;
	enum mica_evidence_kind ev_kind; /* 0 = none */
	enum mica_front ev_front;
	struct mica_slice ev_id;
	int64_t ev_expiry; /* seconds */
	/* Last primary evidence. For a primary one index is 0 = this entry itself (entry 0 of a log
	 * is never an issuance). */
	uint64_t origin_index;
	int64_t origin_time; /* seconds */
	/* Who asked for the principal; asker_ns empty = it did so itself. */
	struct mica_slice asker_ns, asker_sa, asker_pod;
	struct mica_uid asker_pod_uid;
	int64_t requested_ttl;
	enum mica_outlet_class outlet;
	struct mica_slice address; /* of the caller; may be switched off */
	struct mica_slice instance; /* of several programs in one pod, which one; as it said */

	struct mica_slice certificate; /* X509_ISSUED: DER */

	/* JWT_ISSUED: its claims, never the token. X509_ISSUED: `sub` is the principal's SPIFFE ID
	 * when the certificate does not hold it. */
	struct mica_slice sub, jti, kid;
	struct mica_slice aud[MICA_ENTRY_AUD_MAX];
	size_t n_aud;
	int64_t iat, exp;

	/* State and administration. */
	struct mica_slice action; /* lower_snake_case */
	struct mica_slice authority; /* id: 40 hex digits or 20 octets; decoded: 20 octets */
	enum mica_actor_kind actor;
	uint32_t uid, gid, pid; /* LOCAL */
	struct mica_slice actor_id; /* SPIFFE */
	struct mica_slice detail; /* a JSON object, at most 32 KiB; never a secret */
};

/* Copies pointers of *p and *v into *out: they must outlive it. */
void mica_entry_set_principal(struct mica_entry *out, const struct mica_principal *p);
void mica_entry_set_evidence(struct mica_entry *out, const struct mica_evidence *v);
/* The other way. `index` is the entry's own: a primary evidence's origin becomes it. spiffe_id is
 * filled from the certificate or `sub`. CORRUPT "entry_malformed" when a field does not fit. */
mica_rc mica_entry_get_principal(const struct mica_entry *en, struct mica_principal *out,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_entry_get_evidence(const struct mica_entry *en, uint64_t index,
	struct mica_evidence *out, struct mica_err *e) MICA_MUST_CHECK;

/* Appends the bytes. INVALID "entry_invalid" (a field out of its range, a type without what it must
 * have); LIMIT "entry_too_long". */
mica_rc mica_entry_encode(
	struct mica_entry *en, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* CORRUPT "entry_malformed"; "entry_newer" (another format). Bounded; certificates are not looked
 * into. */
mica_rc mica_entry_decode(
	struct mica_slice bytes, struct mica_entry *out, struct mica_err *e) MICA_MUST_CHECK;

/* What an index needs; slices point into the entry. Empty or zero when the entry has none. */
struct mica_entry_keys {
	struct mica_slice spiffe_id;
	struct mica_slice serial; /* 16 octets */
	struct mica_slice authority; /* X509: raw AKI (20 octets) */
	int64_t not_before, not_after; /* seconds; JWT: iat, exp */
	struct mica_uid pod_uid;
};
/* CORRUPT "entry_malformed" when the certificate cannot be read. */
mica_rc mica_entry_keys(const struct mica_entry *en, struct mica_entry_keys *out,
	struct mica_err *e) MICA_MUST_CHECK;

enum mica_entry_json_flags {
	MICA_ENTRY_JSON_CERTIFICATE = 1, /* "certificate": PEM */
	MICA_ENTRY_JSON_NO_ADDRESS = 2 /* leave "address" out */
};
/* Appends one JSON object: {"index", "time", "type", "set", ...} as docs/LEDGER.md has it. An entry
 * whose certificate cannot be read says so in "error". */
void mica_entry_json(
	const struct mica_entry *en, uint64_t index, unsigned flags, struct mica_buf *out);

#endif
