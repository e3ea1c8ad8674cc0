/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linkerd: objects for kubectl.
 *
 * A port of a pod may have one Server only, so the pods of a namespace are divided by the selectors
 * of its policies into pieces, each with its own Servers: who has these labels, and not those.
 */
#include "emit.h"
#include "target_linkerd.h"

#include <stdio.h>
#include <stdlib.h>

#define GROUP       "policy.linkerd.io"
#define RULES_MAX   16 /* of an HTTPRoute */
#define MATCHES_MAX 8 /* of a rule of it */
#define PIECES_MAX  2048 /* of a namespace */
#define MANAGED_BY  "app.kubernetes.io/managed-by"
#define NAME_SIZE   64

/* ---- pieces of a namespace ------------------------------------------------------------------- */

/* Pods with all of the labels and none of the others. */
struct piece {
	struct mica_policy_pair *labels, *not_these;
	unsigned n_labels, n_not;
};
struct pieces {
	struct target_run *t;
	struct arena arena;
	struct mica_slice ns;
	struct piece *v;
	unsigned n, room;
	uint32_t *said;
	unsigned written; /* documents */
};

static const struct mica_policy_pair *has_key(
	const struct mica_policy_pair *v, unsigned n, struct mica_slice key)
{
	for (unsigned i = 0; i < n; i++)
		if (mica_slice_eq(v[i].key, key))
			return &v[i];
	return NULL;
}

static bool has_pair(
	const struct mica_policy_pair *v, unsigned n, const struct mica_policy_pair *pair)
{
	for (unsigned i = 0; i < n; i++)
		if (mica_slice_eq(v[i].key, pair->key) && mica_slice_eq(v[i].value, pair->value))
			return true;
	return false;
}

static void append_pair(struct pieces *s, struct mica_policy_pair **v, unsigned *n,
	const struct mica_policy_pair *pair)
{
	struct mica_policy_pair *more = arena_alloc(&s->arena, *n + 1, sizeof(*more));

	if (*n)
		memcpy(more, *v, *n * sizeof(*more));
	more[(*n)++] = *pair;
	*v = more;
}

static void add_piece(struct pieces *s, struct piece piece)
{
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 16;
		s->v = mica_realloc(s->v, s->room, sizeof(*s->v));
	}
	s->v[s->n++] = piece;
}

/* Whether no pod of the piece has the label; *all when every one has it. */
static bool lacks_label(const struct piece *piece, const struct mica_policy_pair *label, bool *all)
{
	const struct mica_policy_pair *own = has_key(piece->labels, piece->n_labels, label->key);

	*all = own && mica_slice_eq(own->value, label->value);
	return (own && !*all) || has_pair(piece->not_these, piece->n_not, label);
}

/* One label of the selector after the other is asked: who lacks it is a piece that the selector
 * does not select, and who has them all is one that it does. */
static void split_piece(struct pieces *s, unsigned at, const struct mica_policy_pairs *selector)
{
	struct piece rest = s->v[at];
	bool all;

	for (unsigned i = 0; i < selector->n; i++)
		if (lacks_label(&rest, &selector->v[i], &all))
			return;
	for (unsigned i = 0; i < selector->n; i++) {
		struct piece without = rest;

		(void)lacks_label(&rest, &selector->v[i], &all);
		if (all)
			continue;
		append_pair(s, &without.not_these, &without.n_not, &selector->v[i]);
		add_piece(s, without);
		append_pair(s, &rest.labels, &rest.n_labels, &selector->v[i]);
	}
	s->v[at] = rest;
}

static bool divides(const struct pieces *s, const struct mica_policy *p)
{
	const struct mica_slice ns = mica_slice_str(p->ns);

	if (p->kind == MICA_POLICY_PEER)
		return mica_slice_eq(ns, s->ns);
	return p->action != MICA_POLICY_AUDIT && !p->dry_run &&
		(mica_slice_eq(ns, s->ns) || set_is_root(s->t->set, ns));
}

/* False: there are too many. */
static bool split(struct pieces *s)
{
	for (size_t i = 0; i < s->t->set->n; i++) {
		const struct mica_policy *p = s->t->set->policies[i];
		const unsigned n = s->n;

		if (!divides(s, p))
			continue;
		for (unsigned k = 0; k < n; k++)
			split_piece(s, k, &p->selector);
		if (s->n > PIECES_MAX)
			return false;
	}
	return true;
}

/* The piece of a workload: its labels, and not what would make another policy select it. */
static void single_out(struct pieces *s, const struct mica_policy_workload *w)
{
	struct piece one = {.n_labels = 0};

	for (unsigned i = 0; i < w->n_labels; i++)
		append_pair(s, &one.labels, &one.n_labels, &w->labels[i]);
	for (size_t i = 0; i < s->t->set->n; i++) {
		const struct mica_policy *p = s->t->set->policies[i];
		const struct mica_policy_pair *missing = NULL;
		bool all, never = false;

		for (unsigned k = 0; divides(s, p) && k < p->selector.n; k++) {
			never |= lacks_label(&one, &p->selector.v[k], &all);
			missing = all ? missing : &p->selector.v[k];
		}
		if (missing && !never)
			append_pair(s, &one.not_these, &one.n_not, missing);
	}
	add_piece(s, one);
}

/* ---- documents ------------------------------------------------------------------------------- */

struct doc {
	struct emit m;
	struct pieces *s;
};

static void doc_begin(
	struct doc *d, struct pieces *s, const char *version, const char *kind, const char *name)
{
	const bool yaml = s->t->o->form == MICA_FORM_YAML;
	char api[32];

	*d = (struct doc){.m = {.b = s->t->b, .yaml = yaml}, .s = s};
	if (s->written++)
		mica_buf_put_str(s->t->b, yaml ? "---\n" : ",");
	snprintf(api, sizeof(api), GROUP "/%s", version);
	emit_open(&d->m, NULL, false);
	emit_word(&d->m, "apiVersion", api);
	emit_word(&d->m, "kind", kind);
	emit_open(&d->m, "metadata", false);
	emit_string(&d->m, "name", mica_slice_str(name));
	emit_string(&d->m, "namespace", s->ns);
	emit_open(&d->m, "labels", false);
	emit_word(&d->m, MANAGED_BY, "mica");
	emit_end(&d->m);
	emit_end(&d->m);
	emit_open(&d->m, "spec", false);
}

static void doc_end(struct doc *d)
{
	emit_end(&d->m);
	emit_end(&d->m);
}

static void put_ref(struct doc *d, const char *key, const char *kind, const char *name)
{
	emit_open(&d->m, key, false);
	emit_word(&d->m, "group", GROUP);
	emit_word(&d->m, "kind", kind);
	emit_string(&d->m, "name", mica_slice_str(name));
	emit_end(&d->m);
}

static void put_not_in(struct emit *m, const struct piece *piece, unsigned at)
{
	const struct mica_slice key = piece->not_these[at].key;

	if (has_key(piece->not_these, at, key))
		return; /* stands with the first of its key */
	emit_open(m, NULL, false);
	emit_string(m, "key", key);
	emit_word(m, "operator", "NotIn");
	emit_flow(m, "values");
	for (unsigned i = at; i < piece->n_not; i++)
		if (mica_slice_eq(piece->not_these[i].key, key))
			emit_flow_string(m, piece->not_these[i].value, i == at);
	emit_flow_end(m);
	emit_end(m);
}

static void put_selector(struct emit *m, const struct piece *piece)
{
	if (piece->n_labels + piece->n_not == 0) {
		emit_empty(m, "podSelector");
		return;
	}
	emit_open(m, "podSelector", false);
	if (piece->n_labels) {
		emit_open(m, "matchLabels", false);
		for (unsigned i = 0; i < piece->n_labels; i++)
			emit_pair(m, piece->labels[i].key, piece->labels[i].value);
		emit_end(m);
	}
	if (piece->n_not) {
		emit_open(m, "matchExpressions", true);
		for (unsigned i = 0; i < piece->n_not; i++)
			put_not_in(m, piece, i);
		emit_end(m);
	}
	emit_end(m);
}

static void put_server(struct pieces *s, const struct piece *piece, uint16_t port, const char *name)
{
	struct doc d;

	doc_begin(&d, s, "v1beta3", "Server", name);
	put_selector(&d.m, piece);
	emit_number(&d.m, "port", port);
	emit_word(&d.m, "accessPolicy", "deny");
	doc_end(&d);
}

static void put_peers(
	struct pieces *s, const struct lkd_port *p, const struct lkd_authz *a, const char *name)
{
	struct doc d;

	doc_begin(&d, s, "v1alpha1", "MeshTLSAuthentication", name);
	emit_flow(&d.m, "identities");
	for (unsigned i = 0; i < a->n_peers; i++)
		emit_flow_string(&d.m, mica_slice_str(p->peers[a->peers[i]].name), i == 0);
	emit_flow_end(&d.m);
	doc_end(&d);
}

static void put_networks(struct pieces *s, const struct lkd_authz *a, const char *name)
{
	char text[MICA_IP_SIZE];
	struct doc d;

	doc_begin(&d, s, "v1alpha1", "NetworkAuthentication", name);
	emit_open(&d.m, "networks", true);
	for (unsigned i = 0; i < a->n_networks; i++) {
		const struct lkd_network *n = &a->networks[i];

		emit_open(&d.m, NULL, false);
		mica_cidr_format(n->cidr, text);
		emit_string(&d.m, "cidr", mica_slice_str(text));
		if (n->n_except)
			emit_flow(&d.m, "except");
		for (unsigned k = 0; k < n->n_except; k++) {
			mica_cidr_format(n->except[k], text);
			emit_flow_string(&d.m, mica_slice_str(text), k == 0);
		}
		if (n->n_except)
			emit_flow_end(&d.m);
		emit_end(&d.m);
	}
	emit_end(&d.m);
	doc_end(&d);
}

/* Authentications are named by their grant, so that several routes share them. */
static void name_authentication(
	char out[2 * NAME_SIZE], const char *server, unsigned grant, unsigned i)
{
	snprintf(out, 2 * NAME_SIZE, "%s-g%u-%u", server, grant, i);
}

static void put_authentications(struct pieces *s, const struct lkd_port *p,
	const struct lkd_server *server, const char *name)
{
	char own[2 * NAME_SIZE];

	for (unsigned i = 0; i < server->n_grants; i++)
		for (unsigned k = 0; k < server->grants[i].n; k++) {
			const struct lkd_authz *a = &server->grants[i].v[k];

			name_authentication(own, name, i, k);
			if (a->n_peers)
				put_peers(s, p, a, own);
			if (a->n_networks)
				put_networks(s, a, own);
		}
}

/* Lets a grant in to a Server or a route. */
static void put_authorizations(struct pieces *s, const struct lkd_server *server, unsigned grant,
	const char *server_name, const char *kind, const char *target)
{
	char own[2 * NAME_SIZE], auth[2 * NAME_SIZE];
	struct doc d;

	for (unsigned i = 0; i < server->grants[grant].n; i++) {
		const struct lkd_authz *a = &server->grants[grant].v[i];

		snprintf(own, sizeof(own), "%s-%u", target, i);
		name_authentication(auth, server_name, grant, i);
		doc_begin(&d, s, "v1alpha1", "AuthorizationPolicy", own);
		put_ref(&d, "targetRef", kind, target);
		if (a->n_peers + a->n_networks == 0) {
			emit_flow(&d.m, "requiredAuthenticationRefs");
			emit_flow_end(&d.m);
		} else {
			emit_open(&d.m, "requiredAuthenticationRefs", true);
			if (a->n_peers)
				put_ref(&d, NULL, "MeshTLSAuthentication", auth);
			if (a->n_networks)
				put_ref(&d, NULL, "NetworkAuthentication", auth);
			emit_end(&d.m);
		}
		doc_end(&d);
	}
}

static void put_match(struct emit *m, const struct lkd_match *match)
{
	static const char *const types[] = {"PathPrefix", "Exact", "RegularExpression"};

	emit_open(m, NULL, false);
	emit_open(m, "path", false);
	emit_word(m, "type", types[match->kind]);
	emit_string(m, "value", match->kind == LKD_PATH_ANY ? MICA_LIT("/") : match->path);
	emit_end(m);
	if (match->method)
		emit_word(m, "method", match->method);
	emit_end(m);
}

static void put_route(struct pieces *s, const struct lkd_match *v, unsigned n, const char *server,
	const char *name)
{
	struct doc d;

	doc_begin(&d, s, "v1beta3", "HTTPRoute", name);
	emit_open(&d.m, "parentRefs", true);
	put_ref(&d, NULL, "Server", server);
	emit_end(&d.m);
	emit_open(&d.m, "rules", true);
	for (unsigned i = 0; i < n; i += MATCHES_MAX) {
		emit_open(&d.m, NULL, false);
		emit_open(&d.m, "matches", true);
		for (unsigned k = i; k < n && k < i + MATCHES_MAX; k++)
			put_match(&d.m, &v[k]);
		emit_end(&d.m);
		emit_end(&d.m);
	}
	emit_end(&d.m);
	doc_end(&d);
}

static void put_routes(struct pieces *s, const struct lkd_server *server, const char *server_name)
{
	const struct lkd_match *v = server->matches;
	char name[NAME_SIZE + 16];
	unsigned n, count = 0;

	for (unsigned i = 0; i < server->n_matches; i += n) {
		for (n = 1; i + n < server->n_matches && v[i + n].grant == v[i].grant &&
			n < RULES_MAX * MATCHES_MAX;)
			n++;
		snprintf(name, sizeof(name), "%s-r%u", server_name, count++);
		put_route(s, &v[i], n, server_name, name);
		put_authorizations(s, server, v[i].grant, server_name, "HTTPRoute", name);
	}
}

/* ---- a piece --------------------------------------------------------------------------------- */

static uint64_t piece_hash(const struct piece *piece)
{
	uint64_t h = HASH_START;

	for (unsigned i = 0; i < piece->n_labels; i++) {
		h = hash_octet(hash_more(h, piece->labels[i].key), '=');
		h = hash_octet(hash_more(h, piece->labels[i].value), ',');
	}
	for (unsigned i = 0; i < piece->n_not; i++) {
		h = hash_octet(hash_more(h, piece->not_these[i].key), '!');
		h = hash_octet(hash_more(h, piece->not_these[i].value), ',');
	}
	return h;
}

static void put_port(struct pieces *s, const struct piece *piece,
	const struct mica_policy_workload *w, uint16_t port)
{
	struct lkd_server server;
	struct lkd_port p;
	char name[NAME_SIZE];

	snprintf(
		name, sizeof(name), "mica-%016llx-%u", (unsigned long long)piece_hash(piece), port);
	lkd_port_begin(&p, s->t, w, port, s->said);
	lkd_port_judge(&p, &server);
	put_server(s, piece, port, name);
	put_authentications(s, &p, &server, name);
	put_authorizations(s, &server, server.not_http, name, "Server", name);
	put_routes(s, &server, name);
	lkd_port_clear(&p);
}

static int by_port(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

struct ports {
	uint16_t *v;
	size_t n, room;
};

static void add_port(struct ports *ports, uint16_t port)
{
	if (ports->n == ports->room) {
		ports->room = ports->room ? 2 * ports->room : 16;
		ports->v = mica_realloc(ports->v, ports->room, sizeof(*ports->v));
	}
	if (port)
		ports->v[ports->n++] = port;
}

/* Whether a clause holds for ports that it names alone. */
static bool add_ports(struct ports *ports, const struct cclause *c)
{
	bool bound = false;

	for (unsigned i = 0; i < c->n; i++) {
		const struct ctest *t = &c->tests[i];

		for (unsigned k = 0; t->attr == MICA_ATTR_PORT && k < t->is.n; k++)
			add_port(ports, t->is.v[k].port);
		for (unsigned k = 0; t->attr == MICA_ATTR_PORT && k < t->is_not.n; k++)
			add_port(ports, t->is_not.v[k].port);
		bound |= t->attr == MICA_ATTR_PORT && t->is.n;
	}
	return bound;
}

/* The ports that rules name. A rule about others loses them, unless somebody said which ports there
 * are. */
static void ports_of_rules(struct lkd_port *p, struct ports *ports)
{
	for (unsigned i = 0; i < p->n_rules; i++) {
		const struct crule *r = p->rules[i].rule;
		bool bound = r->n_to > 0;

		for (unsigned k = 0; k < r->n_to; k++)
			bound &= add_ports(ports, &r->to[k]);
		bound |= add_ports(ports, &r->when);
		if (!p->t->o->n_ports && (!bound || !p->any_allow))
			lkd_lose_rule(p, &p->rules[i], LKD_PORTS);
	}
}

static void lose_root(struct lkd_port *p)
{
	for (unsigned i = 0; i < p->n_rules; i++)
		if (set_is_root(p->t->set, mica_slice_str(p->rules[i].policy->ns)))
			lkd_lose_rule(p, &p->rules[i], LKD_ROOT);
}

static void put_piece(struct pieces *s, const struct piece *piece)
{
	const struct mica_policy_workload w = {
		.ns = s->ns, .labels = piece->labels, .n_labels = piece->n_labels};
	struct ports ports = {.n = 0};
	struct lkd_port p;

	for (unsigned i = 0; i < s->t->o->n_ports; i++)
		add_port(&ports, s->t->o->ports[i]);
	lkd_port_begin(&p, s->t, &w, 0, s->said);
	ports_of_rules(&p, &ports);
	if (!s->t->o->workload)
		lose_root(&p);
	lkd_port_clear(&p);
	if (ports.n)
		qsort(ports.v, ports.n, sizeof(*ports.v), by_port);
	for (size_t i = 0; i < ports.n && s->t->rc == MICA_OK && !s->t->b->over; i++)
		if (i == 0 || ports.v[i] != ports.v[i - 1])
			put_port(s, piece, &w, ports.v[i]);
	mica_free(ports.v);
}

/* ---- a namespace ----------------------------------------------------------------------------- */

/* Without Servers the namespace is left to the default, which is to deny. */
static void lose_namespace(struct pieces *s)
{
	for (size_t i = 0; i < s->t->set->n_authorization; i++) {
		const struct mica_policy *p = s->t->set->policies[i];

		if (divides(s, p))
			target_lose(s->t, p, 0, p->line, p->column, "linkerd_too_large",
				"the selectors of namespace %.*s divide its pods too finely: none is let in",
				(int)s->ns.len, s->ns.p);
	}
}

static void put_namespace(struct pieces *s, struct mica_slice ns)
{
	s->ns = ns;
	s->n = 0;
	if (s->t->o->workload)
		single_out(s, s->t->o->workload);
	else
		add_piece(s, (struct piece){.n_labels = 0});
	if (!s->t->o->workload && !split(s))
		lose_namespace(s);
	else
		for (unsigned i = 0; i < s->n; i++)
			put_piece(s, &s->v[i]);
	arena_clear(&s->arena);
	s->arena = (struct arena){.blocks = NULL};
}

static void put_namespaces(struct pieces *s)
{
	const struct mica_policy_set *set = s->t->set;

	if (s->t->o->workload) {
		put_namespace(s, s->t->o->workload->ns);
		return;
	}
	for (size_t i = 0; i < set->n_authorization; i++)
		if (i == 0 || strcmp(set->policies[i]->ns, set->policies[i - 1]->ns) != 0)
			put_namespace(s, mica_slice_str(set->policies[i]->ns));
}

/* The message that a proxy gets is of one port of one workload. */
static void put_message(struct target_run *t, uint32_t *said)
{
	if (!t->o->workload || t->o->n_ports != 1)
		t->rc = mica_fail(t->e, MICA_INVALID, "workload_missing",
			"linkerd's message is of one workload and one port; expected both");
	else
		lkd_put_message(t, t->o->workload, t->o->ports[0], said);
}

static void put_objects(struct target_run *t, uint32_t *said)
{
	struct pieces s = {.t = t, .said = said};
	const bool json = t->o->form == MICA_FORM_JSON;

	if (json)
		mica_buf_put_str(t->b, "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[");
	put_namespaces(&s);
	if (json)
		mica_buf_put_str(t->b, "]}\n");
	mica_free(s.v);
}

void target_linkerd(struct target_run *t)
{
	uint32_t *said MICA_AUTO_FREE = mica_calloc(t->set->n_rules + 1, sizeof(*said));

	for (size_t i = 0; i < t->set->n; i++)
		if (target_wants(t, t->set->policies[i])) {
			t->report->policies++;
			t->report->rules += t->set->policies[i]->n_rules;
		}
	if (t->o->linkerd)
		t->rc = mica_linkerd_check(t->o->linkerd, t->e);
	if (t->rc != MICA_OK)
		return;
	(t->o->form == MICA_FORM_PROTOBUF ? put_message : put_objects)(t, said);
}
