/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

static bool varint(struct wire *w, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 10 && i < w->s.len; i++) {
		const uint8_t octet = w->s.p[i];

		/* the tenth holds the one bit that is left */
		if (i == 9 && octet > 1)
			break;
		v |= (uint64_t)(octet & 0x7f) << (7 * i);
		if (octet < 0x80) {
			w->s = mica_slice_sub(w->s, i + 1, w->s.len);
			*out = v;
			return true;
		}
	}
	return false;
}

static bool fixed(struct wire *w, size_t len, uint64_t *out)
{
	if (w->s.len < len)
		return false;
	*out = 0;
	for (size_t i = 0; i < len; i++)
		*out |= (uint64_t)w->s.p[i] << (8 * i);
	w->s = mica_slice_sub(w->s, len, w->s.len);
	return true;
}

static bool bytes(struct wire *w, struct mica_slice *out)
{
	uint64_t len;

	if (!varint(w, &len) || len > w->s.len)
		return false;
	*out = mica_slice_sub(w->s, 0, (size_t)len);
	w->s = mica_slice_sub(w->s, (size_t)len, w->s.len);
	return true;
}

static bool field(struct wire *w, struct wire_field *f)
{
	uint64_t tag;

	if (!varint(w, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
		return false;
	*f = (struct wire_field){.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
	switch (f->type) {
	case WIRE_VARINT: return varint(w, &f->v);
	case WIRE_FIXED64: return fixed(w, 8, &f->v);
	case WIRE_FIXED32: return fixed(w, 4, &f->v);
	case WIRE_BYTES: return bytes(w, &f->s);
	default: return false;
	}
}

bool wire_next(struct wire *w, struct wire_field *f)
{
	if (w->bad || w->s.len == 0)
		return false;
	w->bad = !field(w, f);
	return !w->bad;
}

bool wire_is_bytes(struct wire *w, const struct wire_field *f, uint32_t number)
{
	if (f->number != number)
		return false;
	if (f->type != WIRE_BYTES)
		w->bad = true;
	return !w->bad;
}

bool wire_is_text(struct wire *w, const struct wire_field *f, uint32_t number)
{
	if (!wire_is_bytes(w, f, number))
		return false;
	if (!mica_slice_is_utf8(f->s))
		w->bad = true;
	return !w->bad;
}

static void put_varint(struct mica_buf *b, uint64_t v)
{
	while (v >= 0x80) {
		mica_buf_put_u8(b, (uint8_t)(v | 0x80));
		v >>= 7;
	}
	mica_buf_put_u8(b, (uint8_t)v);
}

static size_t varint_size(uint64_t v)
{
	size_t n = 1;

	for (; v >= 0x80; v >>= 7)
		n++;
	return n;
}

void wire_put_varint(struct mica_buf *b, uint32_t number, uint64_t v)
{
	put_varint(b, (uint64_t)number << 3 | WIRE_VARINT);
	put_varint(b, v);
}

void wire_put_double(struct mica_buf *b, uint32_t number, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	put_varint(b, (uint64_t)number << 3 | WIRE_FIXED64);
	for (unsigned i = 0; i < 8; i++)
		mica_buf_put_u8(b, (uint8_t)(bits >> (8 * i)));
}

void wire_put_head(struct mica_buf *b, uint32_t number, size_t len)
{
	put_varint(b, (uint64_t)number << 3 | WIRE_BYTES);
	put_varint(b, len);
}

size_t wire_bytes_size(uint32_t number, size_t len)
{
	return varint_size((uint64_t)number << 3) + varint_size(len) + len;
}

void wire_put_bytes(struct mica_buf *b, uint32_t number, struct mica_slice s)
{
	wire_put_head(b, number, s.len);
	mica_buf_put_slice(b, s);
}

void wire_put_text(struct mica_buf *b, uint32_t number, const char *s)
{
	if (s && s[0])
		wire_put_bytes(b, number, mica_slice_str(s));
}
