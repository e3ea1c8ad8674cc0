/* SPDX-License-Identifier: Apache-2.0 */
/* Envoy's CheckRequest, put together from its parts. */
#ifndef TEST_EXT_AUTHZ_MESSAGE_H
#define TEST_EXT_AUTHZ_MESSAGE_H

#include "mica/wire.h"

struct em {
	struct mica_buf source, destination, http, sni, jwt, rest, message;
	bool is_http;
};

static inline void em_init(struct em *m)
{
	struct mica_buf *all[] = {
		&m->source, &m->destination, &m->http, &m->sni, &m->jwt, &m->rest, &m->message};

	for (size_t i = 0; i < MICA_ARRAY_LEN(all); i++)
		mica_buf_init(all[i], 1 << 20);
	m->is_http = false;
}

static inline void em_clear(struct em *m)
{
	struct mica_buf *all[] = {
		&m->source, &m->destination, &m->http, &m->sni, &m->jwt, &m->rest, &m->message};

	for (size_t i = 0; i < MICA_ARRAY_LEN(all); i++)
		mica_buf_clear(all[i]);
}
#define EM_AUTO __attribute__((cleanup(em_clear))) struct em

static inline void em_text(struct mica_buf *b, uint32_t field, const char *v)
{
	mica_wire_put_bytes(b, field, mica_slice_str(v));
}

/* {1: key, 2: value} */
static inline void em_pair(
	struct mica_buf *b, uint32_t field, const char *key, struct mica_slice value)
{
	struct mica_slice k = mica_slice_str(key);

	mica_wire_put_head(
		b, field, mica_wire_bytes_size(1, k.len) + mica_wire_bytes_size(2, value.len));
	mica_wire_put_bytes(b, 1, k);
	mica_wire_put_bytes(b, 2, value);
}

static inline void em_nested(struct mica_buf *b, uint32_t field, const struct mica_buf *inner)
{
	mica_wire_put_bytes(b, field, mica_buf_slice(inner));
}

/* Address of a peer: {1: {2: address, 3: port}} */
static inline void em_address(struct mica_buf *peer, const char *address, uint64_t port)
{
	MICA_AUTO_BUF socket, outer;

	mica_buf_init(&socket, 256);
	mica_buf_init(&outer, 256);
	em_text(&socket, 2, address);
	mica_wire_put_varint(&socket, 3, port);
	em_nested(&outer, 1, &socket);
	em_nested(peer, 1, &outer);
}

static inline void em_http(struct em *m, const char *method, const char *path, const char *host)
{
	m->is_http = true;
	em_text(&m->http, 2, method);
	em_text(&m->http, 4, path);
	em_text(&m->http, 5, host);
}

static inline void em_header(struct em *m, const char *name, const char *value)
{
	m->is_http = true;
	em_pair(&m->http, 3, name, mica_slice_str(value));
}

/* Of Envoy's configuration. */
static inline void em_extension(struct em *m, const char *key, const char *value)
{
	em_pair(&m->rest, 10, key, mica_slice_str(value));
}

/* A member of a Struct with a string: {1: {1: key, 2: {3: text}}} */
static inline void em_member(struct mica_buf *fields, const char *key, const char *text)
{
	MICA_AUTO_BUF value;

	mica_buf_init(&value, 1 << 16);
	em_text(&value, 3, text);
	em_pair(fields, 1, key, mica_buf_slice(&value));
}

/* The same with a Struct, or with a list (kind 5, 6). */
static inline void em_member_of(
	struct mica_buf *fields, const char *key, uint32_t kind, const struct mica_buf *inner)
{
	MICA_AUTO_BUF value;

	mica_buf_init(&value, 1 << 16);
	em_nested(&value, kind, inner);
	em_pair(fields, 1, key, mica_buf_slice(&value));
}

/* Metadata {1: {1: filter, 2: Struct {payload: m->jwt}}} */
static inline void em_put_jwt(struct em *m, const char *filter, const char *key)
{
	MICA_AUTO_BUF fields, metadata;

	mica_buf_init(&fields, 1 << 20);
	mica_buf_init(&metadata, 1 << 20);
	em_member_of(&fields, key, 5, &m->jwt);
	em_pair(&metadata, 1, filter, mica_buf_slice(&fields));
	em_nested(&m->rest, 11, &metadata);
}

/* All of it; what was there is forgotten. The context extensions stand last, as Envoy has them. */
static inline struct mica_slice em_message(struct em *m)
{
	MICA_AUTO_BUF context, request;

	mica_buf_init(&context, 1 << 20);
	mica_buf_init(&request, 1 << 20);
	mica_buf_reset(&m->message);
	em_nested(&context, 1, &m->source);
	em_nested(&context, 2, &m->destination);
	if (m->is_http)
		em_nested(&request, 2, &m->http);
	em_nested(&context, 4, &request);
	if (m->sni.len)
		em_nested(&context, 12, &m->sni);
	mica_buf_put_slice(&context, mica_buf_slice(&m->rest));
	em_nested(&m->message, 1, &context);
	return mica_buf_slice(&m->message);
}

#endif
