/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire format of protobuf, for short messages whose octets are hostile: a reader of one field
 * at a time that allocates nothing, does not recurse and keeps lengths, so that no nesting of a
 * message can exhaust a stack and no NUL can cut a string. What a message means is its caller's.
 */
#ifndef MICA_WIRE_H
#define MICA_WIRE_H

#include "mica/buf.h"

enum mica_wire_type {
	MICA_WIRE_VARINT = 0,
	MICA_WIRE_FIXED64 = 1,
	MICA_WIRE_BYTES = 2, /* strings and messages too */
	MICA_WIRE_FIXED32 = 5
};
struct mica_wire_field {
	uint32_t number; /* 1..2^29-1 */
	enum mica_wire_type type;
	uint64_t value; /* of VARINT, FIXED64, FIXED32 */
	struct mica_slice bytes; /* of BYTES; part of the message */
};

/* Takes the next field off *m. NOT_FOUND at the end, and then *e is left alone; INVALID
 * "message_invalid": cut short, a length beyond the end, a number out of range, a varint of more
 * than 64 bits, a group (types 3 and 4, which proto3 has not), types 6 and 7. */
mica_rc mica_wire_next(
	struct mica_slice *m, struct mica_wire_field *f, struct mica_err *e) MICA_MUST_CHECK;

/* Appends a field. */
void mica_wire_put_bytes(struct mica_buf *b, uint32_t number, struct mica_slice v);
void mica_wire_put_varint(struct mica_buf *b, uint32_t number, uint64_t v);
void mica_wire_put_double(struct mica_buf *b, uint32_t number, double v);
/* Tag and length of bytes alone: the caller appends `len` octets. */
void mica_wire_put_head(struct mica_buf *b, uint32_t number, size_t len);
/* How many octets a field of `len` bytes takes, its tag and length included. */
size_t mica_wire_bytes_size(uint32_t number, size_t len);

#endif
