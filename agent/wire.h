/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire format of Protocol Buffers, without a code generator: what clients of the socket send
 * is a handful of fields, some of which hold trees of any depth (google.protobuf.Struct) that
 * nobody here descends into. The reader is a loop, not a recursion; the writer builds in a buffer
 * that may be a secret one. Field numbers stand beside each use and in agent/proto.
 */
#ifndef MICA_AGENT_WIRE_H
#define MICA_AGENT_WIRE_H

#include "mica/buf.h"

struct wire {
	struct mica_slice s; /* what is left */
	bool bad; /* not well-formed from here on */
};
enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
struct wire_field {
	uint32_t number;
	enum wire_type type;
	uint64_t v; /* VARINT, FIXED64, FIXED32 */
	struct mica_slice s; /* BYTES; points into the input */
};
/* The next field; false at the end, or when it is bad: groups, field 0, a varint of more than 64
 * bits, a length beyond the end. */
bool wire_next(struct wire *w, struct wire_field *f);
/* Whether `f` is bytes under `number`; *w becomes bad when it has that number and another type. */
bool wire_is_bytes(struct wire *w, const struct wire_field *f, uint32_t number);
/* The same for text: it must be UTF-8 (proto3). */
bool wire_is_text(struct wire *w, const struct wire_field *f, uint32_t number);

void wire_put_varint(struct mica_buf *b, uint32_t number, uint64_t v);
void wire_put_double(struct mica_buf *b, uint32_t number, double v);
void wire_put_bytes(struct mica_buf *b, uint32_t number, struct mica_slice s);
/* Left out when empty, as proto3 does with a default. */
void wire_put_text(struct mica_buf *b, uint32_t number, const char *s);
/* Tag and length alone: the caller appends `len` octets. */
void wire_put_head(struct mica_buf *b, uint32_t number, size_t len);
/* Octets of a bytes field of `len`, tag and length included. */
size_t wire_bytes_size(uint32_t number, size_t len);

#endif
