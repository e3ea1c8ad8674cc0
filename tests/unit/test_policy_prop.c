/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against the reference evaluator (policyref.h): random policies, random requests, equal
 * verdicts. Values come from small pools, so that most of what is asked for is sometimes there; the
 * shares of verdicts are printed and bounded, so that the test cannot become one of a constant.
 *Then the reference is broken in each way it knows, and each time the difference must be seen.
 *
 *	test_policy_prop [SEED [ROUNDS]]
 */
#include "policyref.h"

#include "mica/mem.h"

#include <inttypes.h>
#include <stdio.h>

#define REQUESTS 40 /* of one set */
#define DOCS     12

static uint64_t state;

static unsigned rnd(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 11) % n);
}
static bool chance(unsigned percent)
{
	return rnd(100) < percent;
}
#define PICK(list) (list)[rnd(MICA_ARRAY_LEN(list))]

/* ---- pools -------------------------------------------------------------------------------------
 */

#define POOL_MAX 20
static const char *const pools[MICA_ATTR_COUNT][POOL_MAX] = {
	[MICA_ATTR_PRINCIPAL] = {"td/ns/a/sa/x", "td/ns/a/sa/y", "old/ns/a/sa/x", "td/ns/b/sa/x",
		"cluster.local/ns/b/sa/y", "td/ns/a/*", "td/ns/b/sa/*", "old/*", "*/sa/x",
		"*/ns/a/sa/x", "*d/ns/b/sa/x", "*", "new/ns/a/sa/x", "*w/ns/a/sa/y", "td/web",
		"cluster.local/ns/a/sa/*"},
	[MICA_ATTR_REQUEST_PRINCIPAL] = {"https://i/s", "https://i/*", "*/s", "*", "j*", "*s",
		"https://i/t/s", "j/s", "https://i/t/*"},
	[MICA_ATTR_NAMESPACE] = {"a", "b", "a*", "*b", "*", "a*c", "abc", "*b*"},
	[MICA_ATTR_SERVICE_ACCOUNT] = {"x", "y", "a/x", "b/x", "abc/x"},
	[MICA_ATTR_TRUST_DOMAIN] = {"td", "old", "new", "cluster.local"},
	[MICA_ATTR_SOURCE_IP] = {"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "fd00::/8", "fd00::1",
		"0.0.0.0/0", "10.1.2.2/31", "::/0"},
	[MICA_ATTR_REMOTE_IP] = {"10.0.0.0/8", "10.1.2.3", "fd00::/8", "10.128.0.0/9"},
	[MICA_ATTR_HOST] = {"api", "API.example.org", "*.example.org", "api*", "*", "api:*",
		"api:8080"},
	[MICA_ATTR_PORT] = {"80", "443", "8080", "0"},
	[MICA_ATTR_METHOD] = {"GET", "POST", "P*", "*T", "*", "PUT"},
	[MICA_ATTR_PATH] = {"/", "/a", "/a/b", "/a*", "*/b", "*", "/a/{*}", "/a/{**}", "/{*}/b",
		"/a/{**}/c", "/a/{*}/{**}", "*.html"},
	[MICA_ATTR_HEADER] = {"1", "1*", "*2", "*"},
	[MICA_ATTR_AUDIENCE] = {"m", "m*", "*n", "*"},
	[MICA_ATTR_PRESENTER] = {"me", "m*", "*"},
	[MICA_ATTR_CLAIM] = {"admin", "adm*", "*user", "*"},
	[MICA_ATTR_DESTINATION_IP] = {"10.0.0.0/8", "10.9.9.9", "fd00::/16"},
	[MICA_ATTR_SNI] = {"a.example.org", "*.example.org", "*"},
};

static const char *value_of(enum mica_policy_attr attr)
{
	unsigned n = 0;

	while (n < POOL_MAX && pools[attr][n])
		n++;
	return pools[attr][rnd(n)];
}

/* ---- documents ----------------------------------------------------------------------------------
 */

static void put_list(struct mica_buf *b, const char *field, enum mica_policy_attr attr)
{
	unsigned n = 1 + rnd(3);

	mica_buf_printf(b, "\"%s\":[", field);
	for (unsigned i = 0; i < n; i++)
		mica_buf_printf(b, "%s\"%s\"", i ? "," : "", value_of(attr));
	mica_buf_put_str(b, "]");
}

static void put_clause(struct mica_buf *b, enum mica_policy_side side)
{
	enum mica_policy_attr chosen[3];
	unsigned n = 1 + rnd(3), have = 0;

	mica_buf_printf(b, "{\"%s\":{", side == MICA_SIDE_SOURCE ? "source" : "operation");
	while (have < n) {
		enum mica_policy_attr attr = rnd(MICA_ATTR_COUNT);
		const struct mica_policy_attr_info *info = mica_policy_attr_of(attr);
		bool again = false;
		unsigned which = rnd(10);

		for (unsigned i = 0; i < have; i++)
			again = again || chosen[i] == attr;
		if (info->field == NULL || info->side != side || again)
			continue;
		mica_buf_put_str(b, have ? "," : "");
		if (which < 8)
			put_list(b, info->field, attr);
		if (which >= 6) {
			mica_buf_put_str(b, which < 8 ? "," : "");
			put_list(b, info->not_field, attr);
		}
		chosen[have++] = attr;
	}
	mica_buf_put_str(b, "}}");
}

static void put_clauses(struct mica_buf *b, const char *name, enum mica_policy_side side)
{
	unsigned n = 1 + rnd(3);

	mica_buf_printf(b, "\"%s\":[", name);
	for (unsigned i = 0; i < n; i++) {
		mica_buf_put_str(b, i ? "," : "");
		put_clause(b, side);
	}
	mica_buf_put_str(b, "]");
}

static void put_when(struct mica_buf *b)
{
	unsigned n = 1 + rnd(2);

	mica_buf_put_str(b, "\"when\":[");
	for (unsigned i = 0; i < n; i++) {
		enum mica_policy_attr attr;
		const char *key, *name;
		unsigned which = rnd(10);

		do {
			attr = rnd(MICA_ATTR_COUNT);
			key = mica_policy_attr_of(attr)->key;
		} while (key == NULL);
		name = attr == MICA_ATTR_HEADER   ? (chance(50) ? "[X-One]" : "[x-two]")
			: attr == MICA_ATTR_CLAIM ? (chance(50) ? "[role]" : "[realm][roles]")
						  : "";
		mica_buf_printf(b, "%s{\"key\":\"%s%s\"", i ? "," : "", key, name);
		if (which < 8) {
			mica_buf_put_str(b, ",");
			put_list(b, "values", attr);
		}
		if (which >= 6) {
			mica_buf_put_str(b, ",");
			put_list(b, "notValues", attr);
		}
		mica_buf_put_str(b, "}");
	}
	mica_buf_put_str(b, "]");
}

static void put_rule(struct mica_buf *b)
{
	bool some = false;

	mica_buf_put_str(b, "{");
	if (chance(65)) {
		put_clauses(b, "from", MICA_SIDE_SOURCE);
		some = true;
	}
	if (chance(55)) {
		mica_buf_put_str(b, some ? "," : "");
		put_clauses(b, "to", MICA_SIDE_OPERATION);
		some = true;
	}
	if (chance(30)) {
		mica_buf_put_str(b, some ? "," : "");
		put_when(b);
	}
	mica_buf_put_str(b, "}");
}

static void put_document(struct mica_buf *b, unsigned number)
{
	static const char *const spaces[] = {"a", "a", "a", "b", "root"};
	static const char *const actions[] = {"ALLOW", "ALLOW", "DENY", "AUDIT"};
	static const char *const selectors[] = {"", "", "", "", "\"app\":\"one\"",
		"\"app\":\"two\"", "\"tier\":\"x\"", "\"app\":\"one\",\"tier\":\"x\""};
	const char *action = PICK(actions);
	bool dry = strcmp(action, "AUDIT") != 0 && chance(20);
	unsigned n = rnd(4);

	mica_buf_printf(b,
		"---\n{\"apiVersion\":\"security.istio.io/v1\",\"kind\":\"AuthorizationPolicy\","
		"\"metadata\":{\"name\":\"p%u\",\"namespace\":\"%s\"%s},"
		"\"spec\":{\"action\":\"%s\",\"selector\":{\"matchLabels\":{%s}},\"rules\":[",
		number, PICK(spaces), dry ? ",\"annotations\":{\"istio.io/dry-run\":\"true\"}" : "",
		action, PICK(selectors));
	for (unsigned i = 0; i < n; i++) {
		mica_buf_put_str(b, i ? "," : "");
		put_rule(b);
	}
	mica_buf_put_str(b, "]}}\n");
}

/* ---- requests
 * ------------------------------------------------------------------------------------- */

static struct mica_ip ip_of(const char *text)
{
	struct mica_ip ip = {0};

	if (text[0] && mica_ip_parse(mica_slice_str(text), &ip, NULL) != MICA_OK)
		abort();
	return ip;
}

#define STR(list) mica_slice_str(PICK(list))

/* Texts live for ever; arrays in `room`. */
struct room {
	struct mica_policy_pair labels[2], headers[2], claims[2];
	struct mica_slice audiences[2];
};

static void random_http(struct mica_policy_request *r, struct room *room)
{
	static const char *const hosts[] = {
		"api", "Api.Example.ORG", "api:8080", "x", "", "www.example.org"};
	static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"};
	static const char *const paths[] = {"/", "/a", "/a/b", "/a/b/c", "/b/b", "/a/?x", "/a?b",
		"/a//c", "/a/b=c", "/i.html", "/a/b#/b", ""};
	static const char *const values[] = {"1", "12", "2", ""};
	static const char *const issuers[] = {"https://i", "https://i/t", "j", ""};
	static const char *const subjects[] = {"s", "t/s", "us", ""};
	static const char *const words[] = {"m", "me", "mn", "n", ""};
	static const char *const roles[] = {"admin", "user", "superuser", "administrator"};

	r->http = true;
	r->host = STR(hosts);
	r->method = STR(methods);
	r->path = STR(paths);
	r->n_headers = rnd(3);
	room->headers[0] = (struct mica_policy_pair){MICA_LIT("x-one"), STR(values)};
	room->headers[1] = (struct mica_policy_pair){MICA_LIT("x-two"), STR(values)};
	r->headers = room->headers;
	if (chance(30))
		return;
	r->jwt_issuer = STR(issuers);
	r->jwt_subject = STR(subjects);
	room->audiences[0] = STR(words);
	room->audiences[1] = STR(words);
	r->audiences = room->audiences;
	r->n_audiences = rnd(3);
	r->presenter = STR(words);
	room->claims[0] = (struct mica_policy_pair){
		chance(50) ? MICA_LIT("[role]") : MICA_LIT("[realm][roles]"), STR(roles)};
	room->claims[1] = (struct mica_policy_pair){MICA_LIT("[realm][roles]"), STR(roles)};
	r->claims = room->claims;
	r->n_claims = rnd(3);
}

static void random_request(struct mica_policy_request *r, struct room *room)
{
	static const char *const spaces[] = {"a", "a", "a", "a", "b", "b", "root", "c"};
	static const char *const apps[] = {"one", "two", "three"};
	static const char *const tiers[] = {"x", "y"};
	static const char *const peers[] = {"spiffe://td/ns/a/sa/x", "spiffe://td/ns/a/sa/y",
		"spiffe://td/ns/b/sa/x", "spiffe://old/ns/a/sa/x", "spiffe://new/ns/a/sa/x",
		"spiffe://new/ns/a/sa/y", "spiffe://cluster.local/ns/b/sa/y",
		"spiffe://other/ns/a/sa/x", "spiffe://td/web", "spiffe://td/ns/abc/sa/x",
		"spiffe://td/x/ns/a/y/sa/x/z", "spiffe://td/ns/a", "", "spiffe://TD/ns/a/sa/x",
		"spiffe://old/ns/b/sa/y"};
	static const char *const ips[] = {"10.1.2.3", "10.1.2.2", "10.200.0.1", "11.0.0.1",
		"fd00::1", "fe80::1", "", "10.9.9.9"};
	static const uint16_t ports[] = {80, 443, 8080, 9000, 0};
	static const char *const names[] = {"a.example.org", "example.org", "b", ""};

	*r = (struct mica_policy_request){.workload = {.ns = STR(spaces)}};
	room->labels[0] = (struct mica_policy_pair){MICA_LIT("app"), STR(apps)};
	room->labels[1] = (struct mica_policy_pair){MICA_LIT("tier"), STR(tiers)};
	r->workload.labels = room->labels;
	r->workload.n_labels = rnd(3);
	r->peer = STR(peers);
	if (r->peer.len > 10 && r->peer.p[9] == 'T') /* which is no SPIFFE ID: none */
		r->peer = chance(50) ? r->peer : MICA_SLICE_NULL;
	r->source_ip = ip_of(PICK(ips));
	r->remote_ip = ip_of(PICK(ips));
	r->destination_ip = ip_of(PICK(ips));
	r->port = PICK(ports);
	r->sni = STR(names);
	if (chance(75))
		random_http(r, room);
}

/* ---- one against the other
 * -------------------------------------------------------------------------- */

struct tally {
	unsigned requests, by_why[4], dry_differs, audited, http, differ;
};

static bool rule_matches(const struct ref *f, const struct mica_policy *p, unsigned rule,
	const struct mica_policy_request *r)
{
	return p && rule < p->n_rules && ref_selects(f, p, r) && ref_rule(f, p, &p->rules[rule], r);
}

/* What explain finds, summed up as the order of decisions has it. */
struct summary {
	bool deny, ask, allow;
};
static void sum_up(void *ctx, const struct mica_policy_finding *f)
{
	struct summary *s = ctx;

	if (f->policy->dry_run)
		return;
	s->deny = s->deny || (f->matches && f->policy->action == MICA_POLICY_DENY);
	s->ask = s->ask || f->policy->action == MICA_POLICY_ALLOW;
	s->allow = s->allow || (f->matches && f->policy->action == MICA_POLICY_ALLOW);
	if (!f->matches && f->policy->n_rules && f->part == MICA_PART_NONE)
		abort(); /* it does not match, and nothing is to blame */
}

static const char *difference(const struct mica_policy_set *set, const struct ref *f,
	const struct mica_policy_request *asked, struct tally *t)
{
	struct mica_policy_request r = *asked;
	struct summary sum = {.deny = false};
	struct mica_policy_verdict v;
	struct ref_verdict now, dry;

	mica_policy_decide(set, &r, &v);
	mica_policy_explain(set, &r, sum_up, &sum);
	if (r.peer.len > 10 && r.peer.p[9] == 'T')
		r.peer = MICA_SLICE_NULL;
	now = ref_decide(f, &r, false);
	dry = ref_decide(f, &r, true);
	t->requests++;
	t->by_why[v.now.why]++;
	t->http += r.http;
	t->audited += v.audit != NULL;
	t->dry_differs += v.now.allowed != v.dry_run.allowed;
	if (v.now.allowed != now.allowed || v.now.why != now.why)
		return "the verdict";
	if (v.dry_run.allowed != dry.allowed || v.dry_run.why != dry.why)
		return "the verdict of the dry run";
	if ((v.audit != NULL) != now.audited)
		return "audit";
	if (v.audit && !rule_matches(f, v.audit, v.audit_rule, &r))
		return "the rule of audit";
	if ((v.now.why == MICA_WHY_DENY_RULE || v.now.why == MICA_WHY_ALLOW_RULE) &&
		!rule_matches(f, v.now.policy, v.now.rule, &r))
		return "the rule that decided";
	if (v.now.allowed != (!sum.deny && (!sum.ask || sum.allow)))
		return "the explanation";
	return NULL;
}

static void make_set(struct mica_policies *all, struct mica_policy_set **set,
	const struct mica_policy_mesh *mesh)
{
	struct mica_err e = MICA_ERR_INIT;
	unsigned n = rnd(60) ? 1 + rnd(DOCS) : 150; /* sometimes with long lists behind a key */
	MICA_AUTO_BUF text;

	mica_buf_init(&text, 1 << 20);
	for (unsigned i = 0; i < n; i++)
		put_document(&text, i);
	if (mica_policies_parse(mica_buf_slice(&text), "random", NULL, all, &e) != MICA_OK ||
		mica_policy_set_new(mesh, all->v, all->n, set, &e) != MICA_OK) {
		fprintf(stderr, "%s\n%s\n", e.text, (const char *)text.p);
		abort();
	}
}

static void show(const struct mica_policies *all, const struct mica_policy_request *r)
{
	for (unsigned i = 0; i < all->n; i++) {
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 1 << 20);
		mica_policy_put_yaml(&b, all->v[i]);
		fprintf(stderr, "---\n%s", (const char *)b.p);
	}
	fprintf(stderr, "request: ns %.*s peer %.*s port %u http %d host %.*s %.*s %.*s\n",
		MICA_FMT(r->workload.ns), MICA_FMT(r->peer), r->port, r->http, MICA_FMT(r->host),
		MICA_FMT(r->method), MICA_FMT(r->path));
}

/* Rounds of a set and its requests; stops at the first difference when `bug`. */
static void run(uint64_t seed, unsigned rounds, enum ref_bug bug, struct tally *t)
{
	static const char *const aliases[] = {"old", "new"};
	static const struct mica_policy_mesh meshes[] = {
		{.root_ns = "root", .trust_domain = "td", .aliases = aliases, .n_aliases = 2},
		{.root_ns = "root", .trust_domain = "td"},
		{.root_ns = NULL},
	};

	state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (unsigned i = 0; i < rounds && !(bug && t->differ); i++) {
		const struct mica_policy_mesh *mesh = &meshes[rnd(4) % 3];
		struct mica_policy_set *set = NULL;
		struct mica_policies all;

		make_set(&all, &set, mesh);
		for (unsigned k = 0; k < REQUESTS; k++) {
			struct ref f = {.policies = all.v, .n = all.n, .mesh = mesh, .bug = bug};
			struct mica_policy_request r;
			struct room room;
			const char *what;

			random_request(&r, &room);
			what = difference(set, &f, &r, t);
			if (what && !bug && t->differ == 0) {
				fprintf(stderr, "seed %" PRIu64 " round %u: they differ in %s\n",
					seed, i, what);
				show(&all, &r);
			}
			t->differ += what != NULL;
		}
		mica_policy_set_unref(set);
		mica_policies_clear(&all);
	}
}

static bool within(const char *what, unsigned n, unsigned of, unsigned low, unsigned high)
{
	double share = of ? 100.0 * n / of : 0;
	bool good = share >= low && share <= high;

	printf("%-24s %5.1f %%%s\n", what, share, good ? "" : "  OUT OF RANGE");
	return good;
}

static bool shares_are_sensible(const struct tally *t)
{
	unsigned allowed = t->by_why[MICA_WHY_ALLOW_RULE] + t->by_why[MICA_WHY_NO_ALLOW_POLICY];
	bool good = within("allowed", allowed, t->requests, 25, 75);

	good &= within("by an ALLOW rule", t->by_why[MICA_WHY_ALLOW_RULE], t->requests, 8, 60);
	good &= within(
		"without ALLOW policies", t->by_why[MICA_WHY_NO_ALLOW_POLICY], t->requests, 8, 60);
	good &= within("denied by a DENY rule", t->by_why[MICA_WHY_DENY_RULE], t->requests, 8, 60);
	good &= within("denied by no rule", t->by_why[MICA_WHY_NO_RULE], t->requests, 8, 60);
	good &= within("dry run differs", t->dry_differs, t->requests, 2, 40);
	good &= within("audited", t->audited, t->requests, 4, 60);
	good &= within("HTTP", t->http, t->requests, 50, 90);
	return good;
}

static bool bugs_are_seen(uint64_t seed)
{
	unsigned seen = 0;

	for (int bug = BUG_NONE + 1; bug < BUG_COUNT; bug++) {
		struct tally t = {0};

		run(seed, 3000, bug, &t);
		seen += t.differ > 0;
		if (t.differ == 0)
			printf("bug %d of the reference was not seen in %u requests\n", bug,
				t.requests);
	}
	printf("%u of %d broken references seen\n", seen, BUG_COUNT - 1);
	return seen == BUG_COUNT - 1;
}

int main(int argc, char **argv)
{
	uint64_t seed = 20261126, rounds = 1500;
	struct tally t = {0};
	bool good;

	if (argc > 1 && mica_parse_u64(mica_slice_str(argv[1]), UINT32_MAX, &seed) != MICA_OK)
		return 2;
	if (argc > 2 && mica_parse_u64(mica_slice_str(argv[2]), UINT32_MAX, &rounds) != MICA_OK)
		return 2;
	run(seed, (unsigned)rounds, BUG_NONE, &t);
	printf("seed %" PRIu64 ": %u requests, %u differences\n", seed, t.requests, t.differ);
	good = shares_are_sensible(&t);
	good &= bugs_are_seen(seed);
	return good && t.differ == 0 ? 0 : 1;
}
