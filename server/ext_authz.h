/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Envoy's question whether a request may pass, as policies ask (external_auth.proto,
 * attribute_context.proto of envoy.service.auth.v3):
 *
 *	CheckRequest	 {AttributeContext attributes = 1}
 *	AttributeContext {Peer source = 1, destination = 2; Request request = 4; map
 *			  context_extensions = 10; Metadata metadata_context = 11; TLSSession
 *			  tls_session = 12}
 *	Peer		 {Address address = 1; map labels = 3; string principal = 4, certificate =
 *5}
 *
 * Pure; nothing is allocated: a request is slices of the message and of its own scratch room.
 * docs/POLICIES.md (Asking) says which attribute comes from where.
 */
#ifndef MICA_SERVER_EXT_AUTHZ_H
#define MICA_SERVER_EXT_AUTHZ_H

#include "mica/policy_set.h"

#define EXT_AUTHZ_HEADERS   128
#define EXT_AUTHZ_LABELS    64
#define EXT_AUTHZ_CLAIMS    128 /* strings in a JWT's payload */
#define EXT_AUTHZ_AUDIENCES 16
#define EXT_AUTHZ_DEPTH     16 /* of a JWT's payload */
#define EXT_AUTHZ_SCRATCH   16384

struct ext_authz_request {
	/* All but `peer`: who it is, what Envoy says of him decides together with the core. */
	struct mica_policy_request r;
	struct mica_slice principal; /* empty = Envoy knows of nobody */
	struct mica_slice certificate; /* percent-encoded PEM; empty = not sent */
	bool canary; /* the canary channel's policies are asked for */
	/* memory of `r` */
	struct mica_policy_pair headers[EXT_AUTHZ_HEADERS];
	struct mica_policy_pair labels[EXT_AUTHZ_LABELS];
	struct mica_policy_pair claims[EXT_AUTHZ_CLAIMS];
	struct mica_slice audiences[EXT_AUTHZ_AUDIENCES];
	size_t used;
	uint8_t scratch[EXT_AUTHZ_SCRATCH];
};

/* INVALID "message_invalid"; "header_invalid": a name that is not in lower case, or twice in a map;
 * "path_ambiguous" (below); "address_invalid"; "jwt_ambiguous": a claim with brackets in its name;
 * "extension_unknown": a context extension that begins with "mica." and is none of ours;
 * "workload_unknown": nothing says in which namespace the workload is, or it cannot be one. LIMIT
 * "request_too_large": more headers, labels, claims, or levels of these than above. */
mica_rc ext_authz_request_read(struct mica_slice message, struct ext_authz_request *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* The namespace in a SPIFFE ID, as policies take it of a peer: the segment behind the first "ns",
 * if another follows. Empty without one. */
struct mica_slice ext_authz_namespace(struct mica_slice spiffe_id);

/* Whether every server takes this path (with its query) for the same: it begins with '/', or is
 * "*" or empty, which is no path; no empty segment but the last one, no "." or ".." with whatever
 * is hung behind them, no backslash, no fragment, nothing but visible ASCII; and no escape that is
 * broken or stands for what needs none (A-Z a-z 0-9 - . _ ~), for a slash, a backslash or a
 * control character. */
bool ext_authz_path_is_plain(struct mica_slice path);

/* The certificate of CheckRequest in DER, into `out`: its percent-encoding and PEM taken off. The
 * first one, when it is a chain. UNAUTHENTICATED "svid_malformed". */
#define EXT_AUTHZ_DER_MAX 8192
mica_rc ext_authz_certificate(struct mica_slice encoded, uint8_t out[EXT_AUTHZ_DER_MAX],
	size_t *len, struct mica_err *e) MICA_MUST_CHECK;

#endif
