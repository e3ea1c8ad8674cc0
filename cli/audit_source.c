/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include "mica/entry.h"
#include "mica/file.h"

#include <stdio.h>

#define KEPT       64 /* tiles in memory */
#define BUNDLE_MAX ((size_t)MICA_TILE_WIDTH * (MICA_ENTRY_MAX + 2))

struct kept_tile {
	bool there;
	unsigned level, width;
	uint64_t n;
	uint8_t bytes[MICA_TILE_BYTES];
};

struct source {
	char *dir; /* a directory, or */
	struct client *k; /* a server */
	bool micad;
	char *where;
	struct kept_tile *kept;
};

static bool is_url(const char *s)
{
	return strncmp(s, "https://", 8) == 0 || strncmp(s, "http://", 7) == 0;
}

mica_rc source_open(struct cli *c, bool rights, struct source **out, struct mica_err *e)
{
	struct source *s = MICA_NEW(struct source);
	const char *from = cli_str(c, OPT_FROM);
	mica_rc rc = MICA_OK;

	s->kept = mica_calloc(KEPT, sizeof(*s->kept));
	if (from && !is_url(from))
		s->dir = mica_strdup(from);
	else if (from)
		rc = client_open_url(c, from, &s->k, e);
	else
		rc = client_open(c, rights ? CLIENT_ADMIN | CLIENT_CREDENTIAL : 0, &s->k, e);
	s->micad = !from;
	*out = s;
	if (rc == MICA_OK)
		s->where = mica_strdup(from ? from : client_where(s->k));
	return rc;
}

struct source *source_open_dir(const char *dir)
{
	struct source *s = MICA_NEW(struct source);

	s->kept = mica_calloc(KEPT, sizeof(*s->kept));
	s->dir = mica_strdup(dir);
	s->where = mica_strdup(dir);
	return s;
}

void source_forget(struct source *s)
{
	for (unsigned i = 0; i < KEPT; i++)
		s->kept[i].there = false;
}

void source_free(struct source *s)
{
	if (!s)
		return;
	client_free(s->k);
	mica_free(s->dir);
	mica_free(s->where);
	mica_free(s->kept);
	mica_free(s);
}

bool source_is_micad(const struct source *s)
{
	return s->micad;
}

const char *source_where(const struct source *s)
{
	return s->where;
}

struct client *source_client(struct source *s)
{
	return s->micad ? s->k : NULL;
}

static mica_rc read_path(
	struct source *s, const char *name, bool rights, struct mica_buf *out, struct mica_err *e)
{
	char path[4096];
	struct client_request r = {.path = path, .max_body = out->cap, .anonymous = !rights};
	RESPONSE_AUTO answer = {0};
	mica_rc rc;

	if (snprintf(path, sizeof(path), "%s/%s",
		    s->dir             ? s->dir
			    : s->micad ? "/log"
				       : "",
		    name) >= (int)sizeof(path))
		return mica_fail(e, MICA_INVALID, "path_too_long", "%.80s: too long", s->where);
	if (cli_stopped())
		return mica_fail(e, MICA_UNAVAILABLE, "cancelled", "stopped");
	if (s->dir)
		return mica_file_read(path, out, e);
	rc = client_do(s->k, &r, &answer, e);
	mica_buf_reset(out);
	if (rc == MICA_OK)
		mica_buf_put_slice(out, mica_buf_slice(&answer.body));
	return rc == MICA_OK ? mica_buf_rc(out, e) : rc;
}

mica_rc source_checkpoint(struct source *s, struct mica_buf *note, struct mica_err *e)
{
	return read_path(s, "checkpoint", false, note, e);
}

/* Errors of a first try are forgotten: the second is the one that counts. */
static mica_rc read_tile_file(
	struct source *s, struct mica_tile_id id, struct mica_buf *out, struct mica_err *e)
{
	struct mica_err first = MICA_ERR_INIT;
	char name[MICA_TILE_PATH_MAX];
	mica_rc rc;

	mica_tile_path(&id, name);
	rc = read_path(s, name, id.entries, out, &first);
	if (rc != MICA_NOT_FOUND)
		return rc == MICA_OK ? rc : mica_fail(e, rc, first.reason, "%s", first.text);
	if (id.width < MICA_TILE_WIDTH) {
		id.width = MICA_TILE_WIDTH;
		mica_tile_path(&id, name);
		rc = read_path(s, name, id.entries, out, NULL);
		if (rc == MICA_OK)
			return MICA_OK;
	}
	return mica_fail(e, MICA_NOT_FOUND, "tile_missing",
		"%s: there is no %s, which the signed checkpoint promises", s->where, name);
}

static struct kept_tile *place(struct source *s, unsigned level, uint64_t n)
{
	return &s->kept[(n * 8 + level) % KEPT];
}

static mica_rc read_tile(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e)
{
	struct source *s = ctx;
	struct kept_tile *t = place(s, level, n);
	size_t want = (size_t)width * MICA_HASH_LEN;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, MICA_TILE_BYTES);
	if (t->there && t->level == level && t->n == n && t->width >= width) {
		memcpy(out, t->bytes, want);
		return MICA_OK;
	}
	rc = read_tile_file(s, (struct mica_tile_id){false, level, n, width}, &b, e);
	if (rc != MICA_OK)
		return rc;
	if (b.len != want && b.len != MICA_TILE_BYTES)
		return mica_fail(e, MICA_CORRUPT, "tiles_wrong",
			"%s: tile %u/%llu has %zu octets, expected %zu", s->where, level,
			(unsigned long long)n, b.len, want);
	*t = (struct kept_tile){.there = true, .level = level, .n = n, .width = width};
	memcpy(t->bytes, b.p, want);
	memcpy(out, b.p, want);
	return MICA_OK;
}

struct audit_tiles source_tiles(struct source *s)
{
	return (struct audit_tiles){read_tile, s};
}

mica_rc source_bundle(
	struct source *s, uint64_t size, uint64_t n, struct mica_buf *out, struct mica_err *e)
{
	unsigned width = mica_tile_width(size, 0, n);
	struct mica_cursor cur;
	mica_rc rc;

	mica_buf_clear(out);
	mica_buf_init(out, BUNDLE_MAX);
	rc = read_tile_file(s, (struct mica_tile_id){true, 0, n, width}, out, e);
	if (rc != MICA_OK)
		return rc;
	/* What came may be the full one, of a larger tree: the first `width` entries are ours. */
	cur = (struct mica_cursor){.s = mica_buf_slice(out)};
	for (unsigned i = 0; i < width; i++)
		mica_cur_take(&cur, mica_cur_be16(&cur));
	if (!cur.bad && width < MICA_TILE_WIDTH)
		out->len -= cur.s.len;
	return MICA_OK;
}
