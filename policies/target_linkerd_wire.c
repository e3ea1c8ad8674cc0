/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linkerd: the message that its proxies get. Numbers are those of linkerd2-proxy-api:
 * inbound.proto, meta.proto, net.proto, http_route.proto, http_types.proto.
 */
#include "target_linkerd.h"

#include "mica/policy_linkerd.h"

#include <stdio.h>

#define GROUP       "policy.linkerd.io"
#define MESSAGE_MAX ((size_t)16 << 20)
#define DETECT_S    10 /* how long a connection may say nothing: linkerd2's default */

/* ---- protobuf -------------------------------------------------------------------------------- */

static void put_varint(struct mica_buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		mica_buf_put_u8(b, (uint8_t)(v | 0x80));
	mica_buf_put_u8(b, (uint8_t)v);
}

static void put_number(struct mica_buf *b, uint32_t field, uint64_t v)
{
	put_varint(b, (uint64_t)field << 3);
	put_varint(b, v);
}

/* Little-endian, 4 octets or 8. */
static void put_fixed(struct mica_buf *b, uint32_t field, uint64_t v, unsigned octets)
{
	put_varint(b, (uint64_t)field << 3 | (octets == 4 ? 5 : 1));
	for (unsigned i = 0; i < octets; i++)
		mica_buf_put_u8(b, (uint8_t)(v >> 8 * i));
}

static void put_bytes(struct mica_buf *b, uint32_t field, struct mica_slice v)
{
	put_varint(b, (uint64_t)field << 3 | 2);
	put_varint(b, v.len);
	mica_buf_put_slice(b, v);
}

static void put_text(struct mica_buf *b, uint32_t field, const char *v)
{
	put_bytes(b, field, mica_slice_str(v));
}

/* A message within a message is written apart: its length stands before it. */
static void part_init(struct mica_buf *part)
{
	mica_buf_init(part, MESSAGE_MAX);
}

static void put_part(struct mica_buf *b, uint32_t field, const struct mica_buf *part)
{
	if (part->over)
		b->over = true;
	put_bytes(b, field, mica_buf_slice(part));
}

/* ---- networks -------------------------------------------------------------------------------- */

static uint64_t number_of(const uint8_t *p, unsigned octets)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < octets; i++)
		v = v << 8 | p[i];
	return v;
}

static void put_block(struct mica_buf *b, uint32_t field, const struct mica_cidr *cidr)
{
	MICA_AUTO_BUF block, ip, v6;

	part_init(&block);
	part_init(&ip);
	part_init(&v6);
	if (cidr->ip.len == 4) {
		put_fixed(&ip, 1, number_of(cidr->ip.b, 4), 4);
	} else {
		put_fixed(&v6, 1, number_of(cidr->ip.b, 8), 8);
		put_fixed(&v6, 2, number_of(cidr->ip.b + 8, 8), 8);
		put_part(&ip, 2, &v6);
	}
	put_part(&block, 1, &ip);
	put_number(&block, 2, cidr->bits);
	put_part(b, field, &block);
}

static void put_network(struct mica_buf *b, const struct lkd_network *n)
{
	MICA_AUTO_BUF part;

	part_init(&part);
	put_block(&part, 1, n->cidr);
	for (unsigned i = 0; i < n->n_except; i++)
		put_block(&part, 2, n->except[i]);
	put_part(b, 1, &part);
}

/* A proxy refuses an authorization without networks. */
static void put_networks(struct mica_buf *b, const struct lkd_authz *a)
{
	static const struct mica_cidr all[] = {{.ip = {.len = 4}}, {.ip = {.len = 16}}};

	for (unsigned i = 0; i < a->n_networks; i++)
		put_network(b, &a->networks[i]);
	for (unsigned i = 0; i < 2 && a->n_networks == 0; i++)
		put_network(b, &(struct lkd_network){.cidr = &all[i]});
}

/* ---- peers ----------------------------------------------------------------------------------- */

static void put_identity(struct mica_buf *ids, const char *name)
{
	struct mica_slice rest = mica_slice_str(name), label;
	MICA_AUTO_BUF part;
	bool more;

	part_init(&part);
	if (name[0] != '*') {
		put_text(&part, 1, name);
		put_part(ids, 1, &part);
		return;
	}
	/* A suffix is its labels; without any it is everybody who is authenticated. */
	more = mica_slice_cut(&rest, '.', &label);
	while (more) {
		more = mica_slice_cut(&rest, '.', &label);
		put_bytes(&part, 1, label);
	}
	put_part(ids, 2, &part);
}

static void put_peers(struct mica_buf *b, const struct lkd_port *p, const struct lkd_authz *a)
{
	MICA_AUTO_BUF authn, tls, ids;

	part_init(&authn);
	part_init(&tls);
	part_init(&ids);
	for (unsigned i = 0; i < a->n_peers; i++) {
		const struct lkd_peer *n = &p->peers[a->peers[i]];

		put_identity(&ids, n->name);
		if (n->kind == LKD_ACCOUNT)
			put_identity(&ids, n->id);
	}
	if (a->n_peers) {
		put_part(&tls, 2, &ids);
		put_part(&authn, 2, &tls);
	} else {
		put_bytes(&authn, 1, MICA_SLICE_NULL);
	}
	put_part(b, 2, &authn);
}

/* ---- authorizations and routes --------------------------------------------------------------- */

/* Metadata {Resource {group, kind, name, namespace}}: what a proxy's metrics call it. */
static void put_metadata(struct mica_buf *b, uint32_t field, const char *kind, const char *name,
	struct mica_slice ns)
{
	MICA_AUTO_BUF resource, metadata;

	part_init(&resource);
	part_init(&metadata);
	put_text(&resource, 1, GROUP);
	put_text(&resource, 2, kind);
	put_text(&resource, 3, name);
	put_bytes(&resource, 4, ns);
	put_part(&metadata, 2, &resource);
	put_part(b, field, &metadata);
}

static void put_grant(struct mica_buf *b, uint32_t field, const struct lkd_port *p,
	const struct lkd_server *server, unsigned grant)
{
	char name[48];

	for (unsigned i = 0; i < server->grants[grant].n; i++) {
		const struct lkd_authz *a = &server->grants[grant].v[i];
		MICA_AUTO_BUF part;

		part_init(&part);
		snprintf(name, sizeof(name), "mica-%u-g%u-%u", p->port, grant, i);
		put_networks(&part, a);
		put_peers(&part, p, a);
		put_metadata(&part, 4, "authorizationpolicy", name, p->workload->ns);
		put_part(b, field, &part);
	}
}

static void put_method(struct mica_buf *b, const char *method)
{
	/* HttpMethod.Registered */
	static const char *const names[] = {
		"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "HEAD", "TRACE"};
	MICA_AUTO_BUF part;

	part_init(&part);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(method, names[i]) == 0)
			put_number(&part, 1, i);
	put_part(b, 4, &part);
}

static void put_match(struct mica_buf *b, const struct lkd_match *m)
{
	static const uint32_t fields[] = {
		[LKD_PATH_ANY] = 2, [LKD_PATH_EXACT] = 1, [LKD_PATH_REGEX] = 3};
	MICA_AUTO_BUF path, part;

	part_init(&path);
	part_init(&part);
	put_bytes(&path, fields[m->kind], m->kind == LKD_PATH_ANY ? MICA_LIT("/") : m->path);
	put_part(&part, 1, &path);
	if (m->method)
		put_method(&part, m->method);
	put_part(b, 1, &part);
}

/* HttpRoute {metadata = 1, authorizations = 3, rules = 4 {matches = 1}}, one for each grant. */
static void put_routes(struct mica_buf *b, uint32_t field, const struct lkd_port *p,
	const struct lkd_server *server)
{
	unsigned i = 0, count = 0;
	char name[32];

	while (i < server->n_matches) {
		const unsigned grant = server->matches[i].grant;
		MICA_AUTO_BUF route, rule;

		part_init(&route);
		part_init(&rule);
		snprintf(name, sizeof(name), "mica-%u-r%u", p->port, count++);
		put_metadata(&route, 1, "httproute", name, p->workload->ns);
		put_grant(&route, 3, p, server, grant);
		for (; i < server->n_matches && server->matches[i].grant == grant; i++)
			put_match(&rule, &server->matches[i]);
		put_part(&route, 4, &rule);
		put_part(b, field, &route);
	}
}

/* ---- the server ------------------------------------------------------------------------------ */

static void put_label(struct mica_buf *b, const char *key, const char *value)
{
	MICA_AUTO_BUF part;

	part_init(&part);
	put_text(&part, 1, key);
	put_text(&part, 2, value);
	put_part(b, 4, &part);
}

static void put_server(
	struct mica_buf *b, const struct lkd_port *p, const struct lkd_server *server)
{
	MICA_AUTO_BUF protocol, detect, timeout;
	char name[32];

	part_init(&protocol);
	part_init(&detect);
	part_init(&timeout);
	put_number(&timeout, 1, DETECT_S);
	put_part(&detect, 1, &timeout);
	put_routes(&detect, 3, p, server);
	put_part(&protocol, 1, &detect);
	put_part(b, 1, &protocol);
	put_grant(b, 3, p, server, server->not_http);
	snprintf(name, sizeof(name), "mica-%u", p->port);
	put_label(b, "group", GROUP);
	put_label(b, "kind", "server");
	put_label(b, "name", name);
}

void lkd_put_message(struct target_run *t, const struct mica_policy_workload *workload,
	uint16_t port, uint32_t *said)
{
	struct lkd_server server;
	struct lkd_port p;

	lkd_port_begin(&p, t, workload, port, said);
	lkd_port_judge(&p, &server);
	put_server(t->b, &p, &server);
	lkd_port_clear(&p);
}

mica_rc mica_policy_linkerd_put(struct mica_buf *b, const struct mica_policy_set *s,
	const struct mica_policy_workload *w, uint16_t port, const struct mica_linkerd *linkerd,
	struct mica_err *e)
{
	const struct mica_policy_compile_options o = {.target = MICA_TARGET_LINKERD,
		.form = MICA_FORM_PROTOBUF,
		.workload = w,
		.linkerd = linkerd,
		.ports = &port,
		.n_ports = 1};

	return mica_policy_compile(s, &o, b, NULL, e);
}
