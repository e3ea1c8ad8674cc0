/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's read side: static files of C2SP tlog-tiles, and what auditors and holders may see.
 */
#include "api_impl.h"

#define EVENTS_MAX (16u << 20) /* a thousand events */
#define FILE_MAX   (32u << 20) /* 256 entries of at most 64 KiB, and more than enough */
#define IMMUTABLE  "public, max-age=31536000, immutable"
#define PRIVATE    "private, max-age=31536000, immutable"

static void send_or_fail(struct api_call *c, mica_rc rc, const char *type, const char *cache)
{
	if (rc == MICA_OK)
		api_send(c, 200, type, cache);
	else
		api_fail(c);
}

void api_certificate(struct api_call *c)
{
	mica_buf_init(&c->out, EVENTS_MAX);
	send_or_fail(c,
		mica_core_certificate(c->a->desk->core, c->caller, c->param, &c->out, &c->err),
		"application/json", NULL);
}

void api_events(struct api_call *c)
{
	struct mica_event_query q;
	mica_rc rc = api_decode_event_query(&c->query, &q, &c->err);

	mica_buf_init(&c->out, EVENTS_MAX);
	if (rc == MICA_OK)
		rc = mica_core_events(c->a->desk->core, c->caller, &q, &c->out, &c->err);
	send_or_fail(c, rc, "application/json", NULL);
}

void api_proof(struct api_call *c)
{
	uint64_t index;

	if (mica_parse_u64(c->param, UINT64_MAX, &index) != MICA_OK) {
		c->expected = "the index of an entry";
		mica_fail(&c->err, MICA_INVALID, "bad_parameter", "expected %s in the path",
			c->expected);
		api_fail(c);
		return;
	}
	mica_buf_init(&c->out, 1u << 20);
	send_or_fail(c, mica_core_proof(c->a->desk->core, c->caller, index, &c->out, &c->err),
		"text/plain; charset=utf-8", NULL);
}

void api_checkpoint(struct api_call *c)
{
	mica_buf_init(&c->out, 64 * 1024);
	send_or_fail(c, mica_core_checkpoint(c->a->desk->core, &c->out, &c->err),
		"text/plain; charset=utf-8", "no-cache");
}

static void serve_tile(struct api_call *c, bool entries)
{
	unsigned level, width;
	uint64_t n;
	mica_rc rc;

	if (!api_decode_tile(c->param, entries, &level, &n, &width)) {
		mica_fail(&c->err, MICA_NOT_FOUND, "no_such_tile",
			"not a path of C2SP tlog-tiles, expected %s like %s",
			entries ? "N[.p/W]" : "L/N[.p/W]", entries ? "x001/234" : "0/x001/234.p/5");
		api_fail(c);
		return;
	}
	mica_buf_init(&c->out, FILE_MAX);
	rc = entries ? mica_core_entry_bundle(c->a->desk->core, n, width, &c->out, &c->err)
		     : mica_core_tile(c->a->desk->core, level, n, width, &c->out, &c->err);
	send_or_fail(c, rc, "application/octet-stream", entries ? PRIVATE : IMMUTABLE);
}

void api_tile(struct api_call *c)
{
	serve_tile(c, false);
}

void api_entries(struct api_call *c)
{
	serve_tile(c, true);
}
