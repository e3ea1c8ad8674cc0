/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of the socket over mica/wire.h, without a code generator: what clients send is a handful
 * of fields, some of which hold trees of any depth (google.protobuf.Struct) that nobody here
 * descends into, and what is sent holds keys, in buffers that are wiped. Field numbers stand beside
 * each use and in agent/proto.
 */
#ifndef MICA_AGENT_WIRE_H
#define MICA_AGENT_WIRE_H

#include "mica/wire.h"

/* A reader with a sticky error. */
struct wire {
	struct mica_slice s; /* what is left */
	bool bad; /* not well-formed from here on */
};
/* The next field; false at the end, or when it is bad. */
bool wire_next(struct wire *w, struct mica_wire_field *f);
/* Whether `f` is bytes under `number`; *w becomes bad when it has that number and another type. */
bool wire_is_bytes(struct wire *w, const struct mica_wire_field *f, uint32_t number);
/* The same for text: it must be UTF-8 (proto3). */
bool wire_is_text(struct wire *w, const struct mica_wire_field *f, uint32_t number);
/* Left out when empty, as proto3 does with a default. */
void wire_put_text(struct mica_buf *b, uint32_t number, const char *s);

#endif
