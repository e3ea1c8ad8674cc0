/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.reflection v1 and v1alpha, which are the same on the wire: the descriptors of our services,
 * as protoc wrote them. The index of symbols is made once, at the start.
 */
#include "rpc_impl.h"

#include "descriptor.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

#include <stdlib.h>

#define MAX_DEPTH 16 /* of messages inside messages, in our own descriptors */
#define MAX_FILES 64

typedef Grpc__Reflection__V1__ServerReflectionRequest request;
typedef Grpc__Reflection__V1__ServerReflectionResponse response;
typedef Mica__Rpc__Descriptor__File file_proto;
typedef Mica__Rpc__Descriptor__Message message_proto;

struct file {
	char *name;
	struct mica_slice bytes; /* of the service's descriptors */
	size_t deps[MAX_FILES];
	size_t n_deps;
};
struct symbol {
	char *name;
	size_t file;
};
struct rpc_reflection {
	struct file files[MAX_FILES];
	size_t n_files;
	struct symbol *symbols; /* sorted */
	size_t n_symbols;
};

/* ---- the index ------------------------------------------------------------------------------ */

static void add_symbol(struct rpc_reflection *r, size_t file, const char *scope, const char *name,
	char *full, size_t size)
{
	struct mica_buf b;
	mica_buf_init(&b, size - 1);
	mica_buf_printf(&b, "%s%s%s", scope, scope[0] ? "." : "", name);
	memcpy(full, b.p, b.len + 1);
	mica_buf_clear(&b);
	if (r->n_symbols % 64 == 0)
		r->symbols = mica_realloc(r->symbols, r->n_symbols + 64, sizeof(*r->symbols));
	r->symbols[r->n_symbols++] = (struct symbol){mica_strdup(full), file};
}

static void add_message(struct rpc_reflection *r, size_t file, const char *scope,
	const message_proto *m, unsigned depth)
{
	char full[512], inner[512];
	add_symbol(r, file, scope, m->name, full, sizeof(full));
	for (size_t i = 0; i < m->n_field; i++)
		add_symbol(r, file, full, m->field[i]->name, inner, sizeof(inner));
	for (size_t i = 0; i < m->n_enum_type; i++)
		add_symbol(r, file, full, m->enum_type[i]->name, inner, sizeof(inner));
	for (size_t i = 0; i < m->n_nested_type && depth < MAX_DEPTH; i++)
		add_message(r, file, full, m->nested_type[i], depth + 1);
}

static void add_symbols(struct rpc_reflection *r, size_t file, const file_proto *f)
{
	char full[512], inner[512];
	for (size_t i = 0; i < f->n_message_type; i++)
		add_message(r, file, f->package, f->message_type[i], 0);
	for (size_t i = 0; i < f->n_enum_type; i++)
		add_symbol(r, file, f->package, f->enum_type[i]->name, full, sizeof(full));
	for (size_t i = 0; i < f->n_service; i++) {
		add_symbol(r, file, f->package, f->service[i]->name, full, sizeof(full));
		for (size_t k = 0; k < f->service[i]->n_method; k++)
			add_symbol(r, file, full, f->service[i]->method[k]->name, inner,
				sizeof(inner));
	}
}

static size_t find_file(const struct rpc_reflection *r, const char *name)
{
	size_t i = 0;
	while (i < r->n_files && strcmp(r->files[i].name, name) != 0)
		i++;
	return i;
}

/* protoc puts what a file imports before it. */
static mica_rc add_file(
	struct rpc_reflection *r, struct mica_slice bytes, const char *service, struct mica_err *e)
{
	file_proto *f = mica__rpc__descriptor__file__unpack(NULL, bytes.len, bytes.p);
	struct file *to = &r->files[r->n_files];
	mica_rc rc = MICA_OK;
	if (!f || r->n_files == MAX_FILES)
		rc = mica_fail(e, MICA_INVALID, "service_invalid",
			"%s: unreadable descriptors, or too many", service);
	for (size_t i = 0; rc == MICA_OK && i < f->n_dependency; i++) {
		const size_t dep = find_file(r, f->dependency[i]);
		if (dep == r->n_files)
			rc = mica_fail(e, MICA_INVALID, "service_invalid",
				"%s: descriptors without %s", service, f->dependency[i]);
		else
			to->deps[to->n_deps++] = dep;
	}
	if (rc == MICA_OK && find_file(r, f->name) == r->n_files) {
		to->name = mica_strdup(f->name);
		to->bytes = bytes;
		add_symbols(r, r->n_files++, f);
	} else if (r->n_files < MAX_FILES) {
		to->n_deps = 0;
	}
	if (f)
		mica__rpc__descriptor__file__free_unpacked(f, NULL);
	return rc;
}

/* The octets of a file are found in the set, which is there as long as its service. */
static mica_rc add_set(
	struct rpc_reflection *r, const struct mica_rpc_service *s, struct mica_err *e)
{
	struct mica_slice in = s->descriptors;
	mica_rc rc = MICA_OK;
	while (in.len > 0 && rc == MICA_OK) {
		size_t len = 0, used = 1;
		unsigned shift = 0;
		/* field 1, length-delimited, and nothing else */
		while (in.p[0] == 0x0a && used < in.len && used < 6) {
			len |= (size_t)(in.p[used] & 0x7f) << shift;
			shift += 7;
			if (!(in.p[used++] & 0x80))
				break;
		}
		if (in.p[0] != 0x0a || len > in.len - used)
			return mica_fail(e, MICA_INVALID, "service_invalid",
				"%s: unreadable descriptors", s->name);
		rc = add_file(r, mica_slice(in.p + used, len), s->name, e);
		in = mica_slice_sub(in, used + len, in.len);
	}
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct symbol *)a)->name, ((const struct symbol *)b)->name);
}

mica_rc rpc_reflection_new(struct rpc_core *k, struct rpc_reflection **out, struct mica_err *e)
{
	struct rpc_reflection *r = *out = MICA_NEW(struct rpc_reflection);
	mica_rc rc = MICA_OK;
	for (unsigned i = 0; i < k->n_own && rc == MICA_OK; i++)
		rc = add_set(r, &k->own[i], e);
	for (size_t i = 0; i < k->o.n_services && rc == MICA_OK; i++)
		rc = add_set(r, &k->o.services[i], e);
	if (r->n_symbols > 0)
		qsort(r->symbols, r->n_symbols, sizeof(*r->symbols), by_name);
	return rc;
}

void rpc_reflection_free(struct rpc_reflection *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n_files; i++)
		mica_free(r->files[i].name);
	for (size_t i = 0; i < r->n_symbols; i++)
		mica_free(r->symbols[i].name);
	mica_free(r->symbols);
	mica_free(r);
}

/* ---- the service ---------------------------------------------------------------------------- */

static void send(struct mica_rpc_call *c, response *a, const request *q)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF out;
	uint8_t *p;
	size_t n;
	a->valid_host = q->host;
	a->original_request = (request *)(uintptr_t)q;
	n = grpc__reflection__v1__server_reflection_response__get_packed_size(a);
	mica_buf_init(&out, n);
	p = mica_buf_room(&out, n);
	if (!p)
		return;
	mica_buf_added(&out, grpc__reflection__v1__server_reflection_response__pack(a, p));
	if (mica_rpc_send(c, mica_buf_slice(&out)) == MICA_OK)
		return;
	/* it asks faster than it reads */
	mica_fail(&e, MICA_LIMIT, "answers_unread", "too many answers wait to be read");
	mica_rpc_end(c, &e);
}

static void send_error(
	struct mica_rpc_call *c, const request *q, enum mica_rpc_code code, const char *text)
{
	response a = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	Grpc__Reflection__V1__ErrorResponse err = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
	err.error_code = (int32_t)code;
	err.error_message = (char *)(uintptr_t)text;
	a.message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
	a.error_response = &err;
	send(c, &a, q);
}

/* The file, and what it imports. */
static void send_file(
	struct mica_rpc_call *c, const struct rpc_reflection *r, const request *q, size_t file)
{
	response a = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	Grpc__Reflection__V1__FileDescriptorResponse files =
		GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
	ProtobufCBinaryData list[MAX_FILES];
	bool has[MAX_FILES] = {false};
	has[file] = true;
	for (size_t i = file + 1; i-- > 0;) {
		if (!has[i])
			continue;
		for (size_t d = 0; d < r->files[i].n_deps; d++)
			has[r->files[i].deps[d]] = true; /* which stand before it */
		list[files.n_file_descriptor_proto++] = (ProtobufCBinaryData){
			r->files[i].bytes.len, (uint8_t *)(uintptr_t)r->files[i].bytes.p};
	}
	files.file_descriptor_proto = list;
	a.message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
	a.file_descriptor_response = &files;
	send(c, &a, q);
}

static void send_services(struct mica_rpc_call *c, const struct rpc_core *k, const request *q)
{
	response a = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	Grpc__Reflection__V1__ListServiceResponse list =
		GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
	const size_t n = k->n_serving - 1; /* the first is the server itself */
	MICA_AUTO_FREE Grpc__Reflection__V1__ServiceResponse *s = mica_calloc(n, sizeof(*s));
	MICA_AUTO_FREE Grpc__Reflection__V1__ServiceResponse **p = mica_calloc(n, sizeof(*p));
	for (size_t i = 0; i < n; i++) {
		grpc__reflection__v1__service_response__init(&s[i]);
		s[i].name = (char *)(uintptr_t)k->serving[i + 1].name;
		p[i] = &s[i];
	}
	list.n_service = n;
	list.service = p;
	a.message_response_case =
		GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
	a.list_services_response = &list;
	send(c, &a, q);
}

static void answer(struct mica_rpc_call *c, const struct rpc_core *k, const request *q)
{
	const struct rpc_reflection *r = k->reflection;
	const struct symbol *s, key = {.name = q->file_containing_symbol};
	size_t file;
	switch (q->message_request_case) {
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
		send_services(c, k, q);
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
		file = find_file(r, q->file_by_filename);
		if (file < r->n_files)
			send_file(c, r, q, file);
		else
			send_error(c, q, MICA_RPC_NOT_FOUND, "no such file");
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
		s = r->n_symbols ? bsearch(&key, r->symbols, r->n_symbols, sizeof(*s), by_name)
				 : NULL;
		if (s)
			send_file(c, r, q, s->file);
		else
			send_error(c, q, MICA_RPC_NOT_FOUND, "no such symbol");
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
		send_error(c, q, MICA_RPC_NOT_FOUND, "there are no extensions");
		break;
	default: send_error(c, q, MICA_RPC_INVALID_ARGUMENT, "nothing is asked for"); break;
	}
}

static void begin(void *ctx, struct mica_rpc_call *c, struct mica_slice none)
{
	(void)ctx, (void)c, (void)none;
}

static void message(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct mica_err e = MICA_ERR_INIT;
	request *q = grpc__reflection__v1__server_reflection_request__unpack(NULL, m.len, m.p);
	if (!q) {
		mica_fail(&e, MICA_INVALID, "message_invalid",
			"expected a grpc.reflection.v1.ServerReflectionRequest");
		mica_rpc_end(c, &e);
		return;
	}
	answer(c, ctx, q);
	grpc__reflection__v1__server_reflection_request__free_unpacked(q, NULL);
}

static void over(void *ctx, struct mica_rpc_call *c)
{
	(void)ctx;
	mica_rpc_end(c, NULL);
}

struct mica_rpc_service rpc_reflect_service(struct rpc_core *k, const char *name)
{
	static const struct mica_rpc_method methods[] = {{.name = "ServerReflectionInfo",
		.kind = MICA_RPC_BIDI,
		.max_message = 4096,
		.call = begin,
		.message = message,
		.half_closed = over,
		.cancelled = over}};
	return (struct mica_rpc_service){.name = name,
		.methods = methods,
		.n_methods = MICA_ARRAY_LEN(methods),
		.ctx = k,
		.descriptors = mica_slice(rpc_descriptors, rpc_descriptors_len)};
}
