/* SPDX-License-Identifier: Apache-2.0 */
/* Envoy's question: what is read of it, who its peer is, what is counted. */
#include "coretest.h"
#include "ext_authz_message.h"

#include "mica/pem.h"

#include "server/decisions.h"
#include "server/ext_authz.h"
#include "server/peers.h"

#include <ctype.h>
#include <stdio.h>

static struct ext_authz_request q;

static mica_rc read_it(struct em *m, struct mica_err *e)
{
	return ext_authz_request_read(em_message(m), &q, e);
}

#define assert_text(slice, text) assert_true(mica_slice_eq_str(slice, text))

static const char *found(const struct mica_policy_pair *v, unsigned n, const char *key)
{
	for (unsigned i = 0; i < n; i++)
		if (mica_slice_eq_str(v[i].key, key))
			return tk_keep(mica_slice_dup(v[i].value));
	return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void http_request(struct em *m)
{
	em_init(m);
	em_address(&m->source, "10.1.2.3", 40000);
	em_text(&m->source, 4, "spiffe://example.org/ns/web/sa/front");
	em_address(&m->destination, "::ffff:10.9.9.9", 8443);
	em_text(&m->destination, 4, "spiffe://example.org/ns/shop/sa/orders");
	em_http(m, "GET", "/orders/17?x=/../y", "orders.shop:8443");
	em_header(m, ":path", "/orders/17");
	em_header(m, "x-env", "prod");
	em_text(&m->sni, 1, "Orders.Shop");
}

static void what_envoy_says_of_http(void **state)
{
	EM_AUTO m;

	(void)state;
	http_request(&m);
	assert_ok(read_it(&m, e));
	assert_true(q.r.http);
	assert_text(q.r.workload.ns, "shop"); /* of its own certificate */
	assert_int_equal(q.r.workload.n_labels, 0);
	assert_text(q.principal, "spiffe://example.org/ns/web/sa/front");
	assert_int_equal(q.r.peer.len, 0); /* nobody has looked at it yet */
	assert_int_equal(q.r.source_ip.len, 4);
	assert_memory_equal(q.r.source_ip.b, "\x0a\x01\x02\x03", 4);
	assert_memory_equal(&q.r.remote_ip, &q.r.source_ip, sizeof(q.r.remote_ip));
	assert_memory_equal(q.r.destination_ip.b, "\x0a\x09\x09\x09", 4);
	assert_int_equal(q.r.port, 8443);
	assert_text(q.r.method, "GET");
	assert_text(q.r.host, "orders.shop:8443");
	assert_text(q.r.path, "/orders/17?x=/../y");
	assert_text(q.r.sni, "orders.shop");
	assert_int_equal(q.r.n_headers, 1); /* pseudo-headers have fields of their own */
	assert_string_equal(found(q.r.headers, q.r.n_headers, "x-env"), "prod");
	assert_false(q.canary);
}

static void what_envoy_says_of_a_connection(void **state)
{
	EM_AUTO m;

	(void)state;
	em_init(&m);
	em_address(&m.source, "fe80::1%eth0", 1);
	em_text(&m.destination, 4, "spiffe://example.org/ns/shop/sa/orders");
	assert_ok(read_it(&m, e));
	assert_false(q.r.http);
	assert_int_equal(q.r.source_ip.len, 16);
	assert_int_equal(q.principal.len, 0);
	assert_int_equal(q.r.port, 0);
}

static void the_workload_is_what_envoys_configuration_says(void **state)
{
	EM_AUTO m;

	(void)state;
	http_request(&m);
	em_pair(&m.destination, 3, "app", MICA_LIT("from-the-node"));
	em_pair(&m.destination, 3, "tier", MICA_LIT("back"));
	em_pair(&m.destination, 3, "mica.namespace", MICA_LIT("of-the-node"));
	assert_ok(read_it(&m, e));
	assert_text(q.r.workload.ns, "of-the-node");
	em_extension(&m, "mica.namespace", "other");
	em_extension(&m, "mica.label.app", "orders");
	em_extension(&m, "mica.label.example.org/x", "y");
	em_extension(&m, "mica.channel", "canary");
	em_extension(&m, "somebody-elses", "z");
	assert_ok(read_it(&m, e));
	assert_text(q.r.workload.ns, "other");
	assert_true(q.canary);
	assert_int_equal(q.r.workload.n_labels, 3);
	assert_string_equal(found(q.r.workload.labels, 3, "app"), "orders");
	assert_string_equal(found(q.r.workload.labels, 3, "tier"), "back");
	assert_string_equal(found(q.r.workload.labels, 3, "example.org/x"), "y");
	em_extension(&m, "mica.channel", "live");
	assert_ok(read_it(&m, e));
	assert_false(q.canary);
	/* what is misspelt does not leave the workload without its policies */
	em_extension(&m, "mica.labels.app", "orders");
	assert_refused(MICA_INVALID, "extension_unknown", read_it(&m, e));
}

static void who_is_asked_about_must_be_said(void **state)
{
	static const char *const names[] = {"", "CN=orders", "spiffe://example.org/vm/orders",
		"spiffe://example.org/ns/shop", "spiffe://example.org"};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++) {
		EM_AUTO m;

		em_init(&m);
		em_text(&m.destination, 4, names[i]);
		assert_refused(MICA_INVALID, "workload_unknown", read_it(&m, e));
		em_extension(&m, "mica.namespace", "Shop"); /* no namespace: it has no policies */
		assert_refused(MICA_INVALID, "workload_unknown", read_it(&m, e));
		em_extension(&m, "mica.namespace", "shop");
		assert_ok(read_it(&m, e));
	}
}

static void headers_are_there_once(void **state)
{
	MICA_AUTO_BUF map, one;
	EM_AUTO m;

	(void)state;
	http_request(&m);
	em_header(&m, "x-env", "test");
	assert_refused(MICA_INVALID, "header_invalid", read_it(&m, e));
	em_clear(&m);
	http_request(&m);
	em_header(&m, "X-Env", "prod");
	assert_refused(MICA_INVALID, "header_invalid", read_it(&m, e));
	/* encode_raw_headers: one after the other, and joined here (RFC 9110 5.3) */
	em_clear(&m);
	http_request(&m);
	mica_buf_init(&map, 4096);
	for (int i = 0; i < 3; i++) {
		mica_buf_init(&one, 256);
		em_text(&one, 1, i == 1 ? "y-role" : "x-role");
		em_text(&one, 3, (const char *const[]){"a", "b", "c"}[i]);
		em_nested(&map, 1, &one);
		mica_buf_clear(&one);
	}
	em_nested(&m.http, 13, &map);
	assert_ok(read_it(&m, e));
	assert_string_equal(found(q.r.headers, q.r.n_headers, "x-role"), "a,c");
	assert_string_equal(found(q.r.headers, q.r.n_headers, "y-role"), "b");
}

static void the_jwt_that_a_filter_has_verified(void **state)
{
	static const char filter[] = "envoy.filters.http.jwt_authn";
	MICA_AUTO_BUF realm, roles, number;
	EM_AUTO m;

	(void)state;
	http_request(&m);
	mica_buf_init(&realm, 4096);
	mica_buf_init(&roles, 4096);
	mica_buf_init(&number, 64);
	for (int i = 0; i < 2; i++) {
		MICA_AUTO_BUF v;

		mica_buf_init(&v, 64);
		em_text(&v, 3, i ? "dev" : "ops");
		em_nested(&roles, 1, &v);
	}
	em_member_of(&realm, "roles", 6, &roles);
	em_member(&m.jwt, "iss", "https://idp.example.org");
	em_member(&m.jwt, "sub", "me");
	em_member(&m.jwt, "azp", "app-1");
	em_member_of(&m.jwt, "aud", 6, &roles);
	em_member_of(&m.jwt, "realm", 5, &realm);
	mica_wire_put_double(&number, 2, 7);
	em_pair(&m.jwt, 1, "exp", mica_buf_slice(&number));
	em_put_jwt(&m, "some.other.filter", "payload");
	assert_ok(read_it(&m, e));
	assert_int_equal(q.r.n_claims, 0);
	em_put_jwt(&m, filter, "not-the-payload");
	assert_ok(read_it(&m, e));
	assert_int_equal(q.r.n_claims, 0);
	em_extension(&m, "mica.jwt", "not-the-payload");
	assert_ok(read_it(&m, e));
	assert_text(q.r.jwt_issuer, "https://idp.example.org");
	assert_text(q.r.jwt_subject, "me");
	assert_text(q.r.presenter, "app-1");
	assert_int_equal(q.r.n_audiences, 2);
	assert_text(q.r.audiences[1], "dev");
	assert_int_equal(q.r.n_claims, 7); /* no number */
	assert_text(q.r.claims[5].key, "[realm][roles]");
	assert_text(q.r.claims[5].value, "ops");
	assert_text(q.r.claims[6].key, "[realm][roles]");
	assert_text(q.r.claims[6].value, "dev");
	em_member(&m.jwt, "a][b", "one that would be two");
	em_put_jwt(&m, filter, "not-the-payload");
	assert_refused(MICA_INVALID, "jwt_ambiguous", read_it(&m, e));
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static void a_payload_has_levels_that_end(void **state)
{
	MICA_AUTO_BUF inner, outer;
	EM_AUTO m;

	(void)state;
	http_request(&m);
	mica_buf_init(&inner, 1 << 16);
	em_member(&inner, "x", "y");
	for (int depth = 2; depth <= EXT_AUTHZ_DEPTH + 1; depth++) {
		EM_AUTO one;

		http_request(&one);
		mica_buf_put_slice(&one.jwt, mica_buf_slice(&inner));
		em_put_jwt(&one, "envoy.filters.http.jwt_authn", "payload");
		assert_ok(read_it(&one, e));
		assert_int_equal(q.r.n_claims, 1);
		mica_buf_init(&outer, 1 << 16);
		em_member_of(&outer, "a", 5, &inner);
		mica_buf_reset(&inner);
		mica_buf_put_slice(&inner, mica_buf_slice(&outer));
		mica_buf_clear(&outer);
	}
	mica_buf_put_slice(&m.jwt, mica_buf_slice(&inner));
	em_put_jwt(&m, "envoy.filters.http.jwt_authn", "payload");
	assert_refused(MICA_LIMIT, "request_too_large", read_it(&m, e));
}

static void there_is_room_for_so_many(void **state)
{
	char name[32];

	(void)state;
	for (int which = 0; which < 3; which++) {
		unsigned most = (const unsigned[]){
			EXT_AUTHZ_HEADERS - 1, EXT_AUTHZ_LABELS, EXT_AUTHZ_CLAIMS}[which];
		EM_AUTO m, more;

		http_request(&m);
		http_request(&more);
		for (unsigned i = 0; i <= most; i++) {
			struct em *to = i < most ? &m : &more;

			snprintf(name, sizeof(name), "x-%u", i);
			for (; to; to = to == &m ? &more : NULL) {
				if (which == 0)
					em_header(to, name, "v");
				if (which == 1)
					em_pair(&to->destination, 3, name, MICA_LIT("v"));
				if (which == 2)
					em_member(&to->jwt, name, "v");
			}
		}
		em_put_jwt(&m, "envoy.filters.http.jwt_authn", "payload");
		em_put_jwt(&more, "envoy.filters.http.jwt_authn", "payload");
		assert_ok(read_it(&m, e));
		assert_refused(MICA_LIMIT, "request_too_large", read_it(&more, e));
	}
}

static void what_is_cut_short_is_no_question(void **state)
{
	struct mica_slice all;
	unsigned refused = 0;
	EM_AUTO m;

	(void)state;
	http_request(&m);
	em_extension(&m, "mica.namespace", "shop");
	all = em_message(&m);
	for (size_t len = 1; len < all.len; len++)
		refused += ext_authz_request_read(mica_slice_sub(all, 0, len), &q, NULL) != MICA_OK;
	assert_int_equal(refused, all.len - 1);
	em_address(&m.source, "localhost", 1);
	assert_refused(MICA_INVALID, "address_invalid", read_it(&m, e));
	em_clear(&m);
	http_request(&m);
	em_address(&m.source, "10.0.0.1", 65536);
	assert_refused(MICA_INVALID, "address_invalid", read_it(&m, e));
}

/* ---- paths ----------------------------------------------------------------------------------- */

static void paths_that_all_servers_read_alike(void **state)
{
	static const char *const plain[] = {"", "*", "/", "/a", "/a/", "/a/b.c/..d/.well-known",
		"/a?b=//../%2f", "/...", "/a%20b", "/caf%C3%A9", "/a;v=1/b", "/100%25", "/a?",
		"/?x"};
	static const char *const other[] = {"a", "?x", "*?x", "http://h/a", "//", "/a//b", "//a",
		"/.", "/..", "/a/.", "/a/..", "/a/./b", "/a/../b", "/a/..;x/b", "/a/..%3b/b",
		"/.%20/a", "/a\\b", "/a#b", "/a%2fb", "/a%2Fb", "/a%5cb", "/%2e%2e/a", "/%61dmin",
		"/a%7E", "/a%", "/a%2", "/a%zz", "/a%00", "/a%0a", "/a%7f", "/a b", "/a\tb",
		"/caf\xc3\xa9", "/a\x7f", "/;x/b", "/%c0%ae/a"};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(plain); i++)
		if (!ext_authz_path_is_plain(mica_slice_str(plain[i])))
			fail_msg("%s", plain[i]);
	for (size_t i = 0; i < MICA_ARRAY_LEN(other); i++)
		if (ext_authz_path_is_plain(mica_slice_str(other[i])))
			fail_msg("%s", other[i]);
	assert_false(ext_authz_path_is_plain(mica_slice("/a\0b", 4)));
}

static void a_path_that_could_be_another_is_not_asked_about(void **state)
{
	EM_AUTO m;

	(void)state;
	http_request(&m);
	em_text(&m.http, 4, "/public/../admin");
	assert_refused(MICA_INVALID, "path_ambiguous", read_it(&m, e));
}

/* ---- peers ----------------------------------------------------------------------------------- */

/* As Envoy has it: PEM, and all that is no letter or digit escaped. */
static struct mica_slice encoded(struct mica_slice der)
{
	MICA_AUTO_BUF pem, out;

	mica_buf_init(&pem, 1 << 16);
	mica_buf_init(&out, 1 << 16);
	mica_pem_put(&pem, MICA_PEM_CERT, der);
	for (size_t i = 0; i < pem.len; i++)
		if (isalnum(pem.p[i]))
			mica_buf_put_u8(&out, pem.p[i]);
		else
			mica_buf_printf(&out, "%%%02X", pem.p[i]);
	return mica_slice_str(tk_keep(mica_slice_dup(mica_buf_slice(&out))));
}

static uint64_t verified(const struct peers *p)
{
	struct peers_stats s;

	peers_stats(p, &s);
	return s.verified;
}

static void a_certificate_is_judged_once(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS), *other;
	const struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct peers *p = peers_new(t->core, 16, NULL, 0);
	struct mica_slice cert, second, none = MICA_SLICE_NULL;
	struct mica_issued i;
	struct mica_caller who;
	char id[PEERS_ID_SIZE];

	mica_candidate_issued(k, &i);
	cert = encoded(i.chain_der[0]);
	for (int n = 0; n < 3; n++) {
		assert_ok(peers_judge(p, mica_slice_str(ID), cert, NOW_MS, id, e));
		assert_string_equal(id, ID);
	}
	assert_ok(peers_judge(p, none, cert, NOW_MS, id, e));
	assert_int_equal(verified(p), 1);
	assert_refused(MICA_UNAUTHENTICATED, "svid_mismatch",
		peers_judge(p, MICA_LIT("spiffe://" TD "/ns/a/sa/b"), cert, NOW_MS, id, e));
	/* its last second, and the next */
	assert_ok(peers_judge(p, none, cert, i.not_after * 1000 + 999, id, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_expired",
		peers_judge(p, none, cert, (i.not_after + 1) * 1000, id, e));
	/* a change that may concern it is seen at once, even if it is somebody else's */
	ct_other(t, NOW_MS, &who);
	other = ct_issue_for(t, &who, 0, NOW_MS);
	mica_candidate_issued(other, &i);
	second = encoded(i.chain_der[0]);
	assert_ok(peers_judge(p, none, cert, NOW_MS, id, e));
	assert_ok(peers_judge(p, none, second, NOW_MS, id, e));
	assert_string_equal(id, who.principal.spiffe_id);
	assert_ok(mica_core_revoke_certificate(
		t->core, mica_slice_str(i.serial_hex), none, &admin, NOW_MS, e));
	for (int n = 0; n < 2; n++)
		assert_refused(MICA_UNAUTHENTICATED, "svid_revoked",
			peers_judge(p, none, second, NOW_MS, id, e));
	assert_ok(peers_judge(p, none, cert, NOW_MS, id, e));
	assert_string_equal(id, ID);
	assert_refused(MICA_UNAUTHENTICATED, "svid_malformed",
		peers_judge(p, none, MICA_LIT("-----BEGIN%20CERT"), NOW_MS, id, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_malformed",
		peers_judge(p, none, MICA_LIT("%zz"), NOW_MS, id, e));
	peers_free(p);
	mica_candidate_free(other);
	mica_candidate_free(k);
}

static void a_name_without_a_certificate(void **state)
{
	struct ct *t = *state;
	static const char *const aliases[] = {"old.example"};
	struct peers *p = peers_new(t->core, 16, aliases, 1);
	struct mica_slice none = MICA_SLICE_NULL;
	char id[PEERS_ID_SIZE];

	assert_ok(peers_judge(p, none, none, NOW_MS, id, e));
	assert_string_equal(id, "");
	assert_ok(peers_judge(p, MICA_LIT("spiffe://old.example/ns/a/sa/b"), none, NOW_MS, id, e));
	assert_string_equal(id, "spiffe://old.example/ns/a/sa/b");
	assert_refused(MICA_UNAUTHENTICATED, "svid_wrong_trust_domain",
		peers_judge(p, MICA_LIT("spiffe://evil.example/ns/a/sa/b"), none, NOW_MS, id, e));
	assert_refused(MICA_UNAUTHENTICATED, "peer_not_spiffe",
		peers_judge(p, MICA_LIT("CN=front"), none, NOW_MS, id, e));
	assert_refused(MICA_UNAUTHENTICATED, "peer_not_spiffe",
		peers_judge(p, MICA_LIT("spiffe://" TD), none, NOW_MS, id, e));
	peers_free(p);
}

/* ---- counters -------------------------------------------------------------------------------- */

static void what_a_dry_run_would_change(void **state)
{
	const struct mica_policy shut = {.ns = "shop", .name = "shut"};
	struct mica_policy_verdict v = {.now = {.allowed = true, .why = MICA_WHY_NO_ALLOW_POLICY},
		.dry_run = {.allowed = false, .why = MICA_WHY_DENY_RULE, .policy = &shut}};
	struct decisions *d = decisions_new();
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 1 << 20);
	decisions_add(d, DECISION_ENVOY, MICA_LIT("shop"), &v, NOW);
	decisions_add(d, DECISION_REST, MICA_LIT("shop"), &v, NOW + 1);
	v.dry_run = (struct mica_policy_outcome){.why = MICA_WHY_NO_RULE};
	decisions_add(d, DECISION_ENVOY, MICA_LIT("shop"), &v, NOW);
	v.dry_run = v.now;
	decisions_add(d, DECISION_ENVOY, MICA_LIT("shop"), &v, NOW);
	decisions_refused(d, DECISION_ENVOY, "svid_revoked");
	decisions_put_json(d, &b);
	assert_string_equal((char *)b.p,
		"{\"decisions\":{\"ext_authz\":{\"allowed\":3,\"denied\":0,\"refused\":1},"
		"\"rest\":{\"allowed\":1,\"denied\":0,\"refused\":0}},\"dry_run\":["
		"{\"policy\":\"shop/shut\",\"would_deny\":2,\"would_allow\":0,"
		"\"last\":\"2026-11-24T12:00:01Z\"},"
		"{\"policy\":\"shop/*\",\"would_deny\":1,\"would_allow\":0,"
		"\"last\":\"2026-11-24T12:00:00Z\"}]}");
	mica_buf_reset(&b);
	decisions_write_metrics(d, &b);
	assert_non_null(strstr((char *)b.p,
		"mica_policy_decisions_total{door=\"ext_authz\",verdict=\"allow\","
		"why=\"no_allow_policy\"} 3\n"));
	assert_non_null(
		strstr((char *)b.p, "mica_policy_refusals_total{reason=\"svid_revoked\"} 1\n"));
	assert_non_null(strstr((char *)b.p,
		"mica_policy_dry_run_changes_total{policy=\"shop/shut\",verdict=\"deny\"} 2\n"));
	decisions_free(d);
}

static void there_are_so_many_series(void **state)
{
	struct decisions *d = decisions_new();
	char name[32];
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 1 << 20);
	for (unsigned i = 0; i < DECISIONS_POLICIES + 10; i++) {
		const struct mica_policy p = {.ns = "a", .name = name};
		const struct mica_policy_verdict v = {
			.dry_run = {.allowed = true, .why = MICA_WHY_ALLOW_RULE, .policy = &p},
			.now = {.why = MICA_WHY_NO_RULE}};

		snprintf(name, sizeof(name), "p%u", i);
		decisions_add(d, DECISION_ENVOY, MICA_LIT("a"), &v, NOW);
	}
	decisions_put_json(d, &b);
	assert_non_null(strstr((char *)b.p, "{\"policy\":\"a/p255\""));
	assert_null(strstr((char *)b.p, "{\"policy\":\"a/p256\""));
	assert_non_null(
		strstr((char *)b.p, "{\"policy\":\"other\",\"would_deny\":0,\"would_allow\":10"));
	decisions_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define PURE(fn) cmocka_unit_test_teardown(fn, tk_empty_bin)
#define CORE(fn) cmocka_unit_test_setup_teardown(fn, ct_setup, ct_teardown)
		PURE(what_envoy_says_of_http),
		PURE(what_envoy_says_of_a_connection),
		PURE(the_workload_is_what_envoys_configuration_says),
		PURE(who_is_asked_about_must_be_said),
		PURE(headers_are_there_once),
		PURE(the_jwt_that_a_filter_has_verified),
		PURE(a_payload_has_levels_that_end),
		PURE(there_is_room_for_so_many),
		PURE(what_is_cut_short_is_no_question),
		PURE(paths_that_all_servers_read_alike),
		PURE(a_path_that_could_be_another_is_not_asked_about),
		CORE(a_certificate_is_judged_once),
		CORE(a_name_without_a_certificate),
		PURE(what_a_dry_run_would_change),
		PURE(there_are_so_many_series),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
