/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPIFFE IDs, trust domains and DNS names: strict checks, no allocation, no normalisation. What is
 * not exactly right is refused; nothing is lowered, decoded or cut. Pure; any thread.
 */
#ifndef MICA_SPIFFEID_H
#define MICA_SPIFFEID_H

#include "mica/principal.h"
#include "mica/slice.h"

#define MICA_SPIFFE_SCHEME "spiffe://"

/* SPIFFE-ID 2.1: 1..255 of [a-z0-9.-_]; nothing more, so "a..b", "-" and "127.0.0.1" are trust
 * domains. INVALID "trust_domain_invalid". */
mica_rc mica_trust_domain_check(struct mica_slice td, struct mica_err *e) MICA_MUST_CHECK;

/* A checked ID as a view: it borrows the text it was parsed from. */
struct mica_spiffe_id {
	struct mica_slice text; /* all of it, "spiffe://td/path" */
	struct mica_slice td;
	struct mica_slice path; /* with its leading '/'; empty for the ID of the trust domain */
};

/* SPIFFE-ID 2: INVALID "spiffe_id_too_long" (2048), "spiffe_id_scheme", "spiffe_id_trust_domain"
 * (empty, upper case, user, port, percent, ...), "spiffe_id_query", "spiffe_id_fragment",
 * "spiffe_id_path" (empty segment, '.', '..', a trailing '/', percent-encoding, a character
 * outside [a-zA-Z0-9.-_]). *out is untouched on failure. */
mica_rc mica_spiffe_id_parse(
	struct mica_slice text, struct mica_spiffe_id *out, struct mica_err *e) MICA_MUST_CHECK;
/* The same, and the path must not be empty: what a workload may be called (X509-SVID 3.1). INVALID
 * "spiffe_id_no_path" besides. */
mica_rc mica_spiffe_id_parse_workload(
	struct mica_slice text, struct mica_spiffe_id *out, struct mica_err *e) MICA_MUST_CHECK;
/* Writes "spiffe://" td path and a NUL. `path` is empty or begins with '/'. Refuses as parse does.
 * `out` may not overlap the input. */
mica_rc mica_spiffe_id_make(struct mica_slice td, struct mica_slice path,
	char out[MICA_SPIFFE_ID_MAX + 1], struct mica_err *e) MICA_MUST_CHECK;

/* The rules of the path alone: "" or "/seg/seg". INVALID "spiffe_id_path". */
mica_rc mica_spiffe_path_check(struct mica_slice path, struct mica_err *e) MICA_MUST_CHECK;
/* One segment: 1.. of [a-zA-Z0-9.-_], neither "." nor "..". */
bool mica_spiffe_segment_ok(struct mica_slice segment);

bool mica_spiffe_id_member_of(const struct mica_spiffe_id *id, struct mica_slice td);
/* Iterates the segments: *rest starts as id->path and shrinks; false at its end. */
bool mica_spiffe_next_segment(struct mica_slice *rest, struct mica_slice *segment);
/* "/mica" and all below it are Mica's own ("/mica/server", "/mica/publisher"). */
bool mica_spiffe_path_is_reserved(struct mica_slice path);
#define MICA_RESERVED_SEGMENT "mica"
/* Whether `id` is `prefix` itself or lies below it at a segment border. A trailing '/' of the
 * prefix is ignored. (Canary and deny lists.) */
bool mica_spiffe_id_under(struct mica_slice id, struct mica_slice prefix);

/* RFC 1123: labels of 1..63 [a-z0-9-] that begin and end with a letter or digit, lower case only
 * (we emit names, never match other people's), no wildcard, no trailing dot, at most 253. A name
 * that is all digits and dots, or whose last label is all digits, is an address and refused.
 * INVALID "dns_name_invalid". */
mica_rc mica_dns_name_check(struct mica_slice name, struct mica_err *e) MICA_MUST_CHECK;
bool mica_dns_label_ok(struct mica_slice label);

/* Kubernetes names: a label (namespaces), and a subdomain of up to 253 (service accounts, pods,
 * nodes). */
bool mica_k8s_label_ok(struct mica_slice s);
bool mica_k8s_subdomain_ok(struct mica_slice s);

#endif
