/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/buf.h"
#include "mica/secret.h"

#include "utf8.h"

#include <stdio.h>

#define FIRST_ROOM 256

/* What p points to while a buffer has no memory, so that it always is a C string. Never
 * written: `room` is 0 then. */
static uint8_t nothing[1];

void mica_buf_init(struct mica_buf *b, size_t cap)
{
	*b = (struct mica_buf){.p = nothing, .cap = cap < PTRDIFF_MAX ? cap : PTRDIFF_MAX - 1};
}

void mica_buf_init_secret(struct mica_buf *b, size_t cap)
{
	mica_buf_init(b, cap);
	b->wipe = true;
}

static void give_back(struct mica_buf *b)
{
	if (b->room == 0)
		return;
	if (b->wipe)
		mica_wipe(b->p, b->room);
	mica_free(b->p);
}

void mica_buf_clear(struct mica_buf *b)
{
	give_back(b);
	*b = (struct mica_buf){.p = nothing};
}

void mica_buf_reset(struct mica_buf *b)
{
	if (b->wipe && b->room > 0)
		mica_wipe(b->p, b->room);
	b->len = 0;
	b->over = false;
	if (b->room > 0)
		b->p[0] = '\0';
}

/* `need` > room counts the closing NUL. realloc would leave a copy of a secret behind. */
static void grow(struct mica_buf *b, size_t need)
{
	size_t room = b->room ? b->room : FIRST_ROOM;
	uint8_t *fresh;

	while (room < need)
		room *= 2; /* cannot wrap: need <= cap + 1 <= PTRDIFF_MAX */
	if (room > b->cap + 1)
		room = b->cap + 1;
	if (b->wipe || b->room == 0) {
		fresh = mica_calloc(room, 1);
		if (b->len > 0)
			memcpy(fresh, b->p, b->len);
		give_back(b);
	} else {
		fresh = mica_realloc(b->p, room, 1);
	}
	b->p = fresh;
	b->room = room;
	b->p[b->len] = '\0';
}

uint8_t *mica_buf_room(struct mica_buf *b, size_t len)
{
	if (b->over || len > b->cap - b->len) {
		b->over = true;
		return NULL;
	}
	if (b->len + len + 1 > b->room)
		grow(b, b->len + len + 1);
	return b->p + b->len;
}

void mica_buf_added(struct mica_buf *b, size_t len)
{
	if (b->over)
		return;
	b->len += len;
	b->p[b->len] = '\0';
}

void mica_buf_put(struct mica_buf *b, const void *p, size_t len)
{
	uint8_t *to = mica_buf_room(b, len);

	if (to == NULL)
		return;
	if (len > 0)
		memcpy(to, p, len);
	mica_buf_added(b, len);
}

void mica_buf_put_slice(struct mica_buf *b, struct mica_slice s)
{
	mica_buf_put(b, s.p, s.len);
}

void mica_buf_put_str(struct mica_buf *b, const char *s)
{
	mica_buf_put_slice(b, mica_slice_str(s));
}

static void put_be(struct mica_buf *b, uint64_t v, size_t bytes)
{
	uint8_t *to = mica_buf_room(b, bytes);

	if (to == NULL)
		return;
	for (size_t i = bytes; i-- > 0; v >>= 8)
		to[i] = (uint8_t)v;
	mica_buf_added(b, bytes);
}

void mica_buf_put_u8(struct mica_buf *b, uint8_t v)
{
	put_be(b, v, 1);
}

void mica_buf_put_be16(struct mica_buf *b, uint16_t v)
{
	put_be(b, v, 2);
}

void mica_buf_put_be32(struct mica_buf *b, uint32_t v)
{
	put_be(b, v, 4);
}

void mica_buf_put_be64(struct mica_buf *b, uint64_t v)
{
	put_be(b, v, 8);
}

void mica_buf_printf(struct mica_buf *b, const char *fmt, ...)
{
	va_list ap;
	uint8_t *to;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->over = true;
		return;
	}
	to = mica_buf_room(b, (size_t)n);
	if (to == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	mica_buf_added(b, (size_t)n);
}

void mica_buf_put_hex(struct mica_buf *b, const void *p, size_t len)
{
	uint8_t *to = len <= b->cap ? mica_buf_room(b, 2 * len) : NULL;

	if (to == NULL) {
		b->over = true;
		return;
	}
	mica_hex_encode(p, len, (char *)to);
	mica_buf_added(b, 2 * len);
}

static void put_64(struct mica_buf *b, const void *p, size_t len, size_t size,
	size_t (*encode)(const void *, size_t, char *))
{
	/* size counts the NUL, for which room is kept anyway */
	uint8_t *to = len <= b->cap ? mica_buf_room(b, size - 1) : NULL;

	if (to == NULL) {
		b->over = true;
		return;
	}
	mica_buf_added(b, encode(p, len, (char *)to));
}

void mica_buf_put_b64(struct mica_buf *b, const void *p, size_t len)
{
	put_64(b, p, len, MICA_B64_SIZE(len), mica_b64_encode);
}

void mica_buf_put_b64url(struct mica_buf *b, const void *p, size_t len)
{
	put_64(b, p, len, MICA_B64URL_SIZE(len), mica_b64url_encode);
}

/* How long the run of bytes is that stand for themselves in a JSON string. */
static size_t plain_run(struct mica_slice s, size_t from)
{
	size_t i = from;

	while (i < s.len && s.p[i] >= 0x20 && s.p[i] < 0x7f && s.p[i] != '"' && s.p[i] != '\\')
		i++;
	return i - from;
}

/* RFC 8259 7: what stands behind the backslash in the short form, which every writer uses for these
 * and quick readers know; 0 = none. */
static char short_escape(uint32_t cp)
{
	return cp == '"' || cp == '\\' ? (char)cp
		: cp == '\n'           ? 'n'
		: cp == '\r'           ? 'r'
		: cp == '\t'           ? 't'
				       : 0;
}

void mica_buf_put_json_string(struct mica_buf *b, struct mica_slice s)
{
	mica_buf_put_u8(b, '"');
	for (size_t i = 0; i < s.len && !b->over;) {
		size_t run = plain_run(s, i), n;
		uint32_t cp;

		mica_buf_put(b, s.p + i, run);
		i += run;
		if (i == s.len)
			break;
		n = mica_utf8_next(s.p + i, s.len - i, &cp);
		if (n == 0)
			mica_buf_put_str(b, "\xef\xbf\xbd");
		else if (short_escape(cp))
			mica_buf_printf(b, "\\%c", short_escape(cp));
		else if (mica_utf8_unsafe(cp) && cp < 0x10000)
			mica_buf_printf(b, "\\u%04x", (unsigned)cp);
		else
			mica_buf_put(b, s.p + i, n);
		i += n ? n : 1;
	}
	mica_buf_put_u8(b, '"');
}

mica_rc mica_buf_rc(const struct mica_buf *b, struct mica_err *e)
{
	if (!b->over)
		return MICA_OK;
	return mica_fail(e, MICA_LIMIT, "too_long", "longer than the limit of %zu bytes", b->cap);
}

struct mica_slice mica_buf_slice(const struct mica_buf *b)
{
	return mica_slice(b->p, b->len);
}

uint8_t *mica_buf_take(struct mica_buf *b, size_t *len)
{
	uint8_t *taken;

	*len = 0;
	if (b->over)
		return NULL;
	if (b->room == 0)
		grow(b, 1);
	*len = b->len;
	taken = b->p;
	*b = (struct mica_buf){.p = nothing, .cap = b->cap, .wipe = b->wipe};
	return taken;
}

struct mica_slice mica_cur_take(struct mica_cursor *c, size_t len)
{
	struct mica_slice head;

	if (c->bad || len > c->s.len) {
		c->bad = true;
		return MICA_SLICE_NULL;
	}
	head = mica_slice(c->s.p, len);
	if (len > 0)
		c->s = mica_slice(c->s.p + len, c->s.len - len);
	return head;
}

static uint64_t take_be(struct mica_cursor *c, size_t bytes)
{
	struct mica_slice s = mica_cur_take(c, bytes);
	uint64_t v = 0;

	for (size_t i = 0; i < s.len; i++)
		v = v << 8 | s.p[i];
	return v;
}

uint8_t mica_cur_u8(struct mica_cursor *c)
{
	return (uint8_t)take_be(c, 1);
}

uint16_t mica_cur_be16(struct mica_cursor *c)
{
	return (uint16_t)take_be(c, 2);
}

uint32_t mica_cur_be32(struct mica_cursor *c)
{
	return (uint32_t)take_be(c, 4);
}

uint64_t mica_cur_be64(struct mica_cursor *c)
{
	return take_be(c, 8);
}
