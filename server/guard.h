/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request guard: a strict second look at an HTTP/1.1 request that a lenient parser has split
 * already. Pure: plain data in, a verdict out. What it lets pass has one meaning only, whoever
 * reads it: the lenient parser takes Content-Length beside Transfer-Encoding, folded lines, bare
 * line feeds, NUL, "HTTP/1.2" and more (RFC 9112 names all of these as ways to smuggle requests).
 */
#ifndef MICA_SERVER_GUARD_H
#define MICA_SERVER_GUARD_H

#include "http.h"

#define GUARD_MAX_FIELDS 64
#define GUARD_MAX_TARGET 4096

struct guard_field {
	struct mica_slice name, value;
};

struct guard_input {
	struct mica_slice method, version;
	struct mica_slice target; /* as it came, before anything was decoded or cut */
	const struct guard_field *fields;
	size_t n_fields; /* GUARD_MAX_FIELDS + 1 stands for any number above */
	/*
	 * The bytes from the method to the empty line, in which the lenient parser wrote NUL over
	 * what separates the parts, and where the target began in them. `method`, `version` and
	 * the fields point into it, so what is between them tells how they were separated (but for
	 * a NUL beside the end of a line, which looks like what the parser wrote). Empty: not
	 * known, and then folded lines, NUL and bare line feeds cannot be seen.
	 */
	struct mica_slice block;
	const uint8_t *target_at;
};

/* What the request is, when it passes. Slices of the input. */
struct guard_request {
	enum http_method method;
	struct mica_slice path, query, authorization, content_type, if_none_match, if_match, accept;
	bool chunked; /* the body's end is in the body */
	uint64_t length; /* of the body, when not chunked; 0 = none */
	bool expects; /* the body comes when we say so (100-continue) */
};

struct guard_refusal {
	int status;
	const char *reason, *text; /* literals */
};

/* NULL: passes, *out holds. Else why not; the connection must end behind the answer. */
const struct guard_refusal *guard_check(
	const struct guard_input *in, struct guard_request *out) MICA_MUST_CHECK;

#endif
