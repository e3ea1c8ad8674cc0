/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of protobuf as trees, and their two forms: what is written as JSON and what is written
 * as octets comes from the same nodes, so that it says the same. Memory is an arena's.
 */
#ifndef MICA_POLICIES_PBTREE_H
#define MICA_POLICIES_PBTREE_H

#include "impl.h"

enum pb_kind {
	PB_MESSAGE,
	PB_ANY, /* google.protobuf.Any: `text` is the type, fields are those of the message */
	PB_ENTRY, /* of a map from strings to messages: `text` is the key */
	PB_STRING,
	PB_BOOL, /* true */
	PB_ENUM, /* `text` is its name, `value` its number */
	PB_UINT,
	PB_WRAPPED /* google.protobuf.UInt32Value */
};
struct pb_field {
	const char *name;
	uint32_t number;
	enum pb_kind kind;
	bool repeated; /* equal fields of a message stand one behind the other */
};
/* What is there is written, also when it is a default: a oneof needs it. */
struct pb {
	const struct pb_field *field;
	struct mica_slice text; /* borrowed */
	uint64_t value;
	size_t size; /* of the octets behind tag and length; while they are written */
	struct pb *first, *last, *next;
};

/* A field of `parent`, which may be NULL. */
struct pb *pb_add(struct arena *a, struct pb *parent, const struct pb_field *f);
struct pb *pb_add_text(
	struct arena *a, struct pb *parent, const struct pb_field *f, struct mica_slice text);
struct pb *pb_add_uint(struct arena *a, struct pb *parent, const struct pb_field *f, uint64_t v);
void pb_adopt(struct pb *parent, struct pb *child);

/* The message `m`, whose own field does not matter. */
void pb_put_json(struct mica_buf *b, const struct pb *m);
void pb_put_wire(struct mica_buf *b, struct pb *m);

#endif
