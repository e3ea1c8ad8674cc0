/* SPDX-License-Identifier: Apache-2.0 */
#include "pbtree.h"

#include <inttypes.h>

#define TYPE_PREFIX "type.googleapis.com/"

/* ---- building ------------------------------------------------------------------------------- */

void pb_adopt(struct pb *parent, struct pb *child)
{
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
}

struct pb *pb_add(struct arena *a, struct pb *parent, const struct pb_field *f)
{
	struct pb *n = arena_alloc(a, 1, sizeof(*n));

	n->field = f;
	n->value = f->kind == PB_BOOL;
	if (parent)
		pb_adopt(parent, n);
	return n;
}

struct pb *pb_add_text(
	struct arena *a, struct pb *parent, const struct pb_field *f, struct mica_slice text)
{
	struct pb *n = pb_add(a, parent, f);

	n->text = text;
	return n;
}

struct pb *pb_add_uint(struct arena *a, struct pb *parent, const struct pb_field *f, uint64_t v)
{
	struct pb *n = pb_add(a, parent, f);

	n->value = v;
	return n;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void put_value(struct mica_buf *b, const struct pb *n)
{
	switch (n->field->kind) {
	case PB_STRING:
	case PB_ENUM: mica_buf_put_json_string(b, n->text); break;
	case PB_BOOL: mica_buf_put_str(b, "true"); break;
	case PB_UINT:
	case PB_WRAPPED: mica_buf_printf(b, "%" PRIu64, n->value); break;
	default: pb_put_json(b, n); break;
	}
}

/* The fields from `n` on that are one list or map; gives back the last of them. */
static const struct pb *put_many(struct mica_buf *b, const struct pb *n)
{
	bool map = n->field->kind == PB_ENTRY;

	mica_buf_put_str(b, map ? "{" : "[");
	for (;; n = n->next) {
		if (map) {
			mica_buf_put_json_string(b, n->text);
			mica_buf_put_str(b, ":");
		}
		put_value(b, n);
		if (n->next == NULL || n->next->field != n->field)
			break;
		mica_buf_put_str(b, ",");
	}
	mica_buf_put_str(b, map ? "}" : "]");
	return n;
}

void pb_put_json(struct mica_buf *b, const struct pb *m)
{
	const char *before = "";

	mica_buf_put_str(b, "{");
	if (m->field->kind == PB_ANY) {
		mica_buf_put_str(b, "\"@type\":\"" TYPE_PREFIX);
		mica_buf_put_slice(b, m->text);
		mica_buf_put_str(b, "\"");
		before = ",";
	}
	for (const struct pb *n = m->first; n; n = n->next, before = ",") {
		mica_buf_printf(b, "%s\"%s\":", before, n->field->name);
		if (n->field->repeated)
			n = put_many(b, n);
		else
			put_value(b, n);
	}
	mica_buf_put_str(b, "}");
}

/* ---- octets --------------------------------------------------------------------------------- */

#define VARINT 0
#define BYTES  2

static size_t varint_size(uint64_t v)
{
	size_t n = 1;

	for (; v >= 0x80; v >>= 7)
		n++;
	return n;
}

static void put_varint(struct mica_buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		mica_buf_put_u8(b, (uint8_t)(v | 0x80));
	mica_buf_put_u8(b, (uint8_t)v);
}

static void put_head(struct mica_buf *b, uint32_t number, size_t len)
{
	put_varint(b, (uint64_t)number << 3 | BYTES);
	put_varint(b, len);
}

static size_t head_size(uint32_t number, size_t len)
{
	return varint_size((uint64_t)number << 3) + varint_size(len);
}

static bool is_number(const struct pb *n)
{
	return n->field->kind == PB_BOOL || n->field->kind == PB_ENUM || n->field->kind == PB_UINT;
}

static size_t inner_size(const struct pb *m)
{
	size_t size = 0;

	for (const struct pb *n = m->first; n; n = n->next)
		size += is_number(n)
			? varint_size((uint64_t)n->field->number << 3) + varint_size(n->value)
			: head_size(n->field->number, n->size) + n->size;
	return size;
}

/* Keys, and the fields of an Any and of an entry: the text, then the message. */
#define TEXT_FIELD    1
#define MESSAGE_FIELD 2
static size_t text_size(const struct pb *n)
{
	return n->text.len + (n->field->kind == PB_ANY ? strlen(TYPE_PREFIX) : 0);
}

static void measure(struct pb *m)
{
	size_t inner;

	for (struct pb *n = m->first; n; n = n->next)
		measure(n);
	inner = inner_size(m);
	switch (m->field->kind) {
	case PB_STRING: m->size = m->text.len; break;
	case PB_WRAPPED: m->size = 1 + varint_size(m->value); break;
	case PB_ANY:
	case PB_ENTRY:
		m->size = head_size(TEXT_FIELD, text_size(m)) + text_size(m) +
			head_size(MESSAGE_FIELD, inner) + inner;
		break;
	default: m->size = inner; break;
	}
}

static void put_content(struct mica_buf *b, const struct pb *m);

static void put_fields(struct mica_buf *b, const struct pb *m)
{
	for (const struct pb *n = m->first; n; n = n->next) {
		if (is_number(n)) {
			put_varint(b, (uint64_t)n->field->number << 3 | VARINT);
			put_varint(b, n->value);
			continue;
		}
		put_head(b, n->field->number, n->size);
		put_content(b, n);
	}
}

static void put_content(struct mica_buf *b, const struct pb *m)
{
	switch (m->field->kind) {
	case PB_STRING: mica_buf_put_slice(b, m->text); break;
	case PB_WRAPPED:
		put_varint(b, 1 << 3 | VARINT);
		put_varint(b, m->value);
		break;
	case PB_ANY:
	case PB_ENTRY:
		put_head(b, TEXT_FIELD, text_size(m));
		mica_buf_put_str(b, m->field->kind == PB_ANY ? TYPE_PREFIX : "");
		mica_buf_put_slice(b, m->text);
		put_head(b, MESSAGE_FIELD, inner_size(m));
		put_fields(b, m);
		break;
	default: put_fields(b, m); break;
	}
}

void pb_put_wire(struct mica_buf *b, struct pb *m)
{
	measure(m);
	put_content(b, m);
}
