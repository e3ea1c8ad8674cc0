/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf.dev/programming-guides/encoding */
#include "mica/wire.h"

#define NUMBER_MAX ((1u << 29) - 1)

static mica_rc invalid(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "message_invalid",
		"the message is not protobuf: %s; expected fields of proto3", what);
}

static mica_rc take_varint(struct mica_slice *m, uint64_t *out, struct mica_err *e)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 10; i++) {
		uint8_t c;

		if (i >= m->len)
			return invalid(e, "it ends within a number");
		c = m->p[i];
		if (i == 9 && c > 1)
			break;
		v |= (uint64_t)(c & 0x7f) << (7 * i);
		if (c < 0x80) {
			*m = mica_slice_sub(*m, i + 1, m->len);
			*out = v;
			return MICA_OK;
		}
	}
	return invalid(e, "a number has more than 64 bits");
}

static mica_rc take_fixed(struct mica_slice *m, unsigned n, uint64_t *out, struct mica_err *e)
{
	uint64_t v = 0;

	if (m->len < n)
		return invalid(e, "it ends within a number");
	for (unsigned i = n; i-- > 0;)
		v = v << 8 | m->p[i];
	*m = mica_slice_sub(*m, n, m->len);
	*out = v;
	return MICA_OK;
}

static mica_rc take_bytes(struct mica_slice *m, struct mica_slice *out, struct mica_err *e)
{
	uint64_t len;
	mica_rc rc = take_varint(m, &len, e);

	if (rc != MICA_OK)
		return rc;
	if (len > m->len)
		return invalid(e, "a field is longer than what holds it");
	*out = mica_slice(m->p, (size_t)len);
	*m = mica_slice_sub(*m, (size_t)len, m->len);
	return MICA_OK;
}

mica_rc mica_wire_next(struct mica_slice *m, struct mica_wire_field *f, struct mica_err *e)
{
	uint64_t tag;
	mica_rc rc;

	if (m->len == 0)
		return MICA_NOT_FOUND;
	*f = (struct mica_wire_field){.number = 0};
	rc = take_varint(m, &tag, e);
	if (rc != MICA_OK)
		return rc;
	if (tag >> 3 == 0 || tag >> 3 > NUMBER_MAX)
		return invalid(e, "the number of a field is out of range");
	f->number = (uint32_t)(tag >> 3);
	f->type = (enum mica_wire_type)(tag & 7);
	switch (tag & 7) {
	case MICA_WIRE_VARINT: return take_varint(m, &f->value, e);
	case MICA_WIRE_FIXED64: return take_fixed(m, 8, &f->value, e);
	case MICA_WIRE_FIXED32: return take_fixed(m, 4, &f->value, e);
	case MICA_WIRE_BYTES: return take_bytes(m, &f->bytes, e);
	default: return invalid(e, "a field has a type that proto3 has not");
	}
}

static void put_varint(struct mica_buf *b, uint64_t v)
{
	uint8_t octets[10];
	size_t n = 0;

	do {
		octets[n] = (uint8_t)(v & 0x7f);
		v >>= 7;
		if (v)
			octets[n] |= 0x80;
		n++;
	} while (v);
	mica_buf_put(b, octets, n);
}

void mica_wire_put_bytes(struct mica_buf *b, uint32_t number, struct mica_slice v)
{
	mica_wire_put_head(b, number, v.len);
	mica_buf_put_slice(b, v);
}

void mica_wire_put_head(struct mica_buf *b, uint32_t number, size_t len)
{
	put_varint(b, (uint64_t)number << 3 | MICA_WIRE_BYTES);
	put_varint(b, len);
}

static size_t varint_size(uint64_t v)
{
	size_t n = 1;

	for (; v >= 0x80; v >>= 7)
		n++;
	return n;
}

size_t mica_wire_bytes_size(uint32_t number, size_t len)
{
	return varint_size((uint64_t)number << 3) + varint_size(len) + len;
}

void mica_wire_put_double(struct mica_buf *b, uint32_t number, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	put_varint(b, (uint64_t)number << 3 | MICA_WIRE_FIXED64);
	for (unsigned i = 0; i < 8; i++)
		mica_buf_put_u8(b, (uint8_t)(bits >> (8 * i)));
}

void mica_wire_put_varint(struct mica_buf *b, uint32_t number, uint64_t v)
{
	put_varint(b, (uint64_t)number << 3 | MICA_WIRE_VARINT);
	put_varint(b, v);
}
