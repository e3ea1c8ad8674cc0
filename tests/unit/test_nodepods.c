/* SPDX-License-Identifier: Apache-2.0 */
/* Pods of a node: answers that may be believed, and who may ask for whom. */
#include "coretest.h"

#include "mica/nodepods.h"

#include "../../ca/core_impl.h"

#define OTHER_UID "99999999-7777-4888-8999-aaaaaaaaaaaa"
#define ZT_UID    "12121212-7777-4888-8999-aaaaaaaaaaaa"

/* A pod as far as it matters, beside what does not. */
static char *pod(const char *ns, const char *name, const char *sa, const char *uid,
	const char *node, const char *phase)
{
	return tk_printf(
		"{\"metadata\":{\"name\":\"%s\",\"namespace\":\"%s\",\"uid\":\"%s\","
		"\"labels\":{\"app\":\"x\"},\"managedFields\":[{\"fieldsV1\":{\"f:spec\":{}}}]},"
		"\"spec\":{\"nodeName\":\"%s\",\"serviceAccountName\":\"%s\",\"containers\":[]},"
		"\"status\":{\"phase\":\"%s\",\"podIP\":\"10.0.0.9\"}}",
		name, ns, uid, node, sa, phase);
}

static char *list_of(const char *pods, const char *next)
{
	return tk_printf("{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":"
			 "{\"resourceVersion\":\"7\",\"continue\":\"%s\"},\"items\":[%s]}",
		next, pods);
}

static mica_rc read_into(struct mica_node_pods *p, const char *page, char *next, struct mica_err *e)
{
	MICA_AUTO_BUF more;
	mica_rc rc;

	mica_buf_init(&more, MICA_NODE_NEXT_MAX);
	rc = mica_node_pods_read(p, mica_slice_str(page), &more, e);
	if (next)
		snprintf(next, 64, "%.*s", (int)more.len, more.p ? (const char *)more.p : "");
	return rc;
}

static const struct mica_node_pods *pods_of(const char *pods)
{
	struct mica_node_pods *p = mica_node_pods_new("node-1");

	assert_ok(read_into(p, list_of(pods, ""), NULL, e));
	return p;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void pages_make_a_list(void **state)
{
	struct mica_node_pods *p = mica_node_pods_new("node-1");
	char next[64];

	(void)state;
	assert_ok(read_into(
		p, list_of(pod("a", "one", "x", POD_UID, "node-1", "Running"), "mark"), next, e));
	assert_string_equal(next, "mark");
	assert_ok(read_into(p,
		list_of(tk_printf("%s,%s", pod("b", "two.x", "y.z", OTHER_UID, "node-1", "Pending"),
				pod("b", "three", "y", ZT_UID, "node-1", "Succeeded")),
			""),
		next, e));
	assert_string_equal(next, "");
	assert_int_equal(mica_node_pods_count(p), 3);
	assert_string_equal(mica_node_pods_at(p, 0)->name, "one");
	assert_false(mica_node_pods_at(p, 0)->ended);
	assert_string_equal(mica_node_pods_at(p, 1)->sa, "y.z");
	assert_false(mica_node_pods_at(p, 1)->ended);
	assert_true(mica_node_pods_at(p, 2)->ended);
	assert_null(mica_node_pods_at(p, 3));
	assert_int_equal(mica_node_pods_at(p, 0)->n_labels, 1);
	assert_string_equal(mica_node_pods_at(p, 0)->labels[0].key, "app");
	assert_string_equal(mica_node_pods_at(p, 0)->labels[0].value, "x");
	assert_true(mica_node_pods_at(p, 0)->labels_known);
	assert_ptr_equal(
		mica_node_pods_find(p, &mica_node_pods_at(p, 1)->uid), mica_node_pods_at(p, 1));
	mica_node_pods_unref(p);
}

/* A node writes mirror pods itself; they have no account. */
static void who_has_no_account_is_left_out(void **state)
{
	char *mirror = pod("kube-system", "etcd", "admin", ZT_UID, "node-1", "Running");
	const struct mica_node_pods *p;
	char *at = strstr(mirror, "\"labels\"");

	(void)state;
	p = pods_of(tk_printf("%.*s\"annotations\":{\"kubernetes.io/config.mirror\":\"1\"},%s,"
			      "{\"metadata\":{\"name\":\"n\",\"namespace\":\"n\",\"uid\":\"" POD_UID
			      "\"},\"spec\":{\"nodeName\":\"node-1\"}}",
		(int)(at - mirror), mirror, at));
	assert_int_equal(mica_node_pods_count(p), 0);
	mica_node_pods_unref(p);
}

static void what_is_no_list_is_refused(void **state)
{
	const char *good = pod("a", "one", "x", POD_UID, "node-1", "Running");
	const struct {
		const char *fine, *page;
	} rows[] = {
		{"json_syntax", "{"},
		{"json_type", "[]"},
		{"json_missing_member", "{}"},
		{"json_missing_member", "{\"kind\":\"PodList\",\"metadata\":{}}"},
		{"json_type", "{\"kind\":\"PodList\",\"metadata\":{},\"items\":{}}"},
		{"json_type", "{\"kind\":\"PodList\",\"metadata\":{},\"items\":[7]}"},
		{"json_type", "{\"kind\":\"PodList\",\"metadata\":{},\"items\":null}"},
		{"pods_kind", "{\"kind\":\"PodTable\",\"metadata\":{},\"items\":[]}"},
		{"json_duplicate_member",
			"{\"kind\":\"PodList\",\"metadata\":{},\"items\":[],\"items\":[]}"},
		{"json_range", list_of(good, tk_printf("%05000d", 1))},
		/* a server that does not know the selector says everything */
		{"pods_other_node",
			list_of(tk_printf("%s,%s", good,
					pod("a", "two", "x", OTHER_UID, "node-2", "Running")),
				"")},
		{"pods_bad_name", list_of(pod("a/b", "one", "x", POD_UID, "node-1", "x"), "")},
		{"pods_bad_name", list_of(pod("a", "One", "x", POD_UID, "node-1", "x"), "")},
		{"pods_bad_name", list_of(pod("a", "one", "../x", POD_UID, "node-1", "x"), "")},
		{"pods_bad_name", list_of(pod("a", "one", "x", "not-a-uid", "node-1", "x"), "")},
		{"json_missing_member",
			list_of("{\"metadata\":{\"name\":\"n\",\"namespace\":\"n\",\"uid\":\"" POD_UID
				"\"},\"spec\":{\"serviceAccountName\":\"x\"}}",
				"")},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_node_pods *p = mica_node_pods_new("node-1");
		struct mica_err err = MICA_ERR_INIT;

		assert_int_equal(read_into(p, rows[i].page, NULL, &err), MICA_UNAVAILABLE);
		assert_string_equal(err.reason, "pods_malformed");
		if (strcmp(mica_err_fine(&err), rows[i].fine) != 0)
			fail_msg("row %zu: %s, expected %s", i, mica_err_fine(&err), rows[i].fine);
		mica_node_pods_unref(p);
	}
}

static void too_much_is_refused(void **state)
{
	struct mica_node_pods *p = mica_node_pods_new("node-1");
	MICA_AUTO_BUF page;
	char *one = pod("a", "one", "x", POD_UID, "node-1", "Running");

	(void)state;
	mica_buf_init(&page, 2 * MICA_NODE_PAGE_MAX);
	mica_buf_put_str(&page, "{\"kind\":\"PodList\",\"metadata\":{},\"items\":[");
	for (int i = 0; i <= MICA_NODE_PODS_MAX; i++)
		mica_buf_printf(&page, "%s%s", i ? "," : "", one);
	mica_buf_put_str(&page, "]}");
	assert_true(page.len < MICA_NODE_PAGE_MAX);
	assert_refused(
		MICA_UNAVAILABLE, "pods_too_long", read_into(p, (const char *)page.p, NULL, e));
	while (page.len <= MICA_NODE_PAGE_MAX)
		mica_buf_put_str(&page, "                                                        ");
	assert_refused(
		MICA_UNAVAILABLE, "pods_too_long", read_into(p, (const char *)page.p, NULL, e));
	mica_node_pods_unref(p);
}

/* ---- who may ask ----------------------------------------------------------------------------- */

#define ZTUNNEL_POD pod("istio-system", "ztunnel-x", "ztunnel", ZT_UID, "node-1", "Running")

static struct mica_principal ztunnel(void)
{
	struct mica_principal p = {.issuer = "prod",
		.ns = "istio-system",
		.sa = "ztunnel",
		.pod = "ztunnel-x",
		.node = "node-1",
		.spiffe_id = "spiffe://example.org/ns/istio-system/sa/ztunnel"};

	assert_int_equal(mica_uuid_parse(MICA_LIT(ZT_UID), p.pod_uid.b), MICA_OK);
	memset(p.node_uid.b, 5, sizeof(p.node_uid.b));
	return p;
}

static struct mica_issuers *issuers(const char *path, bool off)
{
	struct mica_issuer_config c = tk_config("prod", ISS, path);

	if (!off)
		c.impersonation.accounts = tk_list("istio-system/ztunnel", "other/node.agent");
	return tk_issuers(&c, 1);
}

static const struct mica_evidence token_ev = {.kind = MICA_EV_TOKEN, .front = MICA_FRONT_ISTIO};

static void each_refusal_before_asking(void **state)
{
	struct mica_issuers *on = issuers("/ns/{namespace}/sa/{serviceaccount}", false);
	struct mica_issuers *off = issuers("/ns/{namespace}/sa/{serviceaccount}", true);
	const struct mica_issuer *is = mica_issuers_at(on, 0);
	const struct mica_evidence renewal = {.kind = MICA_EV_RENEWAL};
	struct mica_principal z = ztunnel(), no_node = z, no_pod = z, other_sa = z, other_ns = z;
	const struct {
		const char *why;
		const struct mica_issuer *issuer;
		const struct mica_principal *asker;
		const struct mica_evidence *ev;
		const char *id;
	} rows[] = {
		{"impersonation_not_allowed", mica_issuers_at(off, 0), &z, &token_ev, ID},
		{"impersonation_not_trusted", is, &other_sa, &token_ev, ID},
		{"impersonation_not_trusted", is, &other_ns, &token_ev, ID},
		{"impersonation_needs_token", is, &z, &renewal, ID},
		{"impersonation_no_node", is, &no_node, &token_ev, ID},
		{"impersonation_no_node", is, &no_pod, &token_ev, ID},
		{"impersonation_bad_identity", is, &z, &token_ev, ""},
		{"impersonation_bad_identity", is, &z, &token_ev, "spiffe://example.org"},
		{"impersonation_bad_identity", is, &z, &token_ev, "https://example.org/ns/a/sa/b"},
		{"impersonation_bad_identity", is, &z, &token_ev, ID "/"},
		{"impersonation_bad_identity", is, &z, &token_ev,
			"spiffe://example.org/ns/../sa/checkout"},
		{"impersonation_trust_domain", is, &z, &token_ev,
			"spiffe://example.com/ns/payments/sa/checkout"},
		{"impersonation_trust_domain", is, &z, &token_ev,
			"spiffe://example.org.evil/ns/payments/sa/checkout"},
		{"impersonation_name", is, &z, &token_ev, ID "/x"},
		{"impersonation_name", is, &z, &token_ev, "spiffe://example.org/mica/server"},
		{"impersonation_name", is, &z, &token_ev,
			"spiffe://example.org/ns/payments/svc/checkout"},
	};

	(void)state;
	no_node.node[0] = '\0';
	memset(no_pod.pod_uid.b, 0, sizeof(no_pod.pod_uid.b));
	snprintf(other_sa.sa, sizeof(other_sa.sa), "ztunnel2");
	snprintf(other_ns.ns, sizeof(other_ns.ns), "payments");
	assert_ok(mica_impersonation_admit(is, &z, &token_ev, MICA_LIT(ID), e));
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_err err = MICA_ERR_INIT;
		assert_int_equal(mica_impersonation_admit(rows[i].issuer, rows[i].asker, rows[i].ev,
					 mica_slice_str(rows[i].id), &err),
			MICA_DENIED);
		if (strcmp(err.reason, rows[i].why) != 0)
			fail_msg("row %zu: %s, expected %s", i, err.reason, rows[i].why);
	}
	mica_issuers_free(on);
	mica_issuers_free(off);
}

static mica_rc judge(const struct mica_issuers *s, const char *pods, const char *id,
	struct mica_principal *out, struct mica_err *e)
{
	const struct mica_principal z = ztunnel();
	MICA_AUTO_STRUCT(mica_node_pods) p = (struct mica_node_pods *)(uintptr_t)pods_of(pods);

	return mica_impersonation_judge(
		mica_issuers_at(s, 0), &z, mica_slice_str(id), p, NULL, NULL, out, e);
}

#define CHECKOUT pod("payments", "checkout-1", "checkout", POD_UID, "node-1", "Running")

static void the_pod_beside_it(void **state)
{
	struct mica_issuers *s = issuers("/ns/{namespace}/sa/{serviceaccount}", false);
	struct mica_principal out;
	char uid[MICA_UUID_SIZE];

	(void)state;
	assert_ok(judge(s, tk_printf("%s,%s", CHECKOUT, ZTUNNEL_POD), ID, &out, e));
	assert_string_equal(out.spiffe_id, ID);
	assert_string_equal(out.ns, "payments");
	assert_string_equal(out.sa, "checkout");
	assert_string_equal(out.pod, "checkout-1");
	assert_string_equal(out.node, "node-1");
	assert_string_equal(out.issuer, "prod");
	mica_uuid_format(out.pod_uid.b, uid);
	assert_string_equal(uid, POD_UID);
	assert_int_equal(out.node_uid.b[3], 5);
	assert_int_equal(out.sa_uid.b[0], 0); /* nobody has said */
	/* a pod that is about to start needs it already; and itself is a pod of the node */
	assert_ok(judge(s,
		tk_printf("%s,%s", ZTUNNEL_POD,
			pod("payments", "c", "checkout", POD_UID, "node-1", "Pending")),
		ID, &out, e));
	assert_ok(
		judge(s, ZTUNNEL_POD, "spiffe://example.org/ns/istio-system/sa/ztunnel", &out, e));
	mica_issuers_free(s);
}

static void each_refusal_by_the_node(void **state)
{
	struct mica_issuers *s = issuers("/ns/{namespace}/sa/{serviceaccount}", false);
	const struct {
		const char *why, *pods;
	} rows[] = {
		{"impersonation_pod_gone", CHECKOUT},
		{"impersonation_pod_gone",
			tk_printf("%s,%s", CHECKOUT,
				pod("other", "ztunnel-x", "ztunnel", ZT_UID, "node-1", "Running"))},
		{"impersonation_pod_replaced",
			tk_printf("%s,%s", CHECKOUT,
				pod("istio-system", "ztunnel-x", "ztunnel", OTHER_UID, "node-1",
					"Running"))},
		{"impersonation_pod_account",
			tk_printf("%s,%s", CHECKOUT,
				pod("istio-system", "ztunnel-x", "default", ZT_UID, "node-1",
					"Running"))},
		{"impersonation_pod_ended",
			tk_printf("%s,%s", CHECKOUT,
				pod("istio-system", "ztunnel-x", "ztunnel", ZT_UID, "node-1",
					"Failed"))},
		{"impersonation_not_here", ZTUNNEL_POD},
		/* the same account of another namespace, another account there */
		{"impersonation_not_here",
			tk_printf("%s,%s,%s", ZTUNNEL_POD,
				pod("shop", "c", "checkout", POD_UID, "node-1", "Running"),
				pod("payments", "d", "cart", OTHER_UID, "node-1", "Running"))},
		{"impersonation_not_here",
			tk_printf("%s,%s,%s", ZTUNNEL_POD,
				pod("payments", "c", "checkout", POD_UID, "node-1", "Succeeded"),
				pod("payments", "d", "checkout", OTHER_UID, "node-1", "Failed"))},
	};
	struct mica_principal out;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_err err = MICA_ERR_INIT;
		assert_int_equal(judge(s, rows[i].pods, ID, &out, &err), MICA_DENIED);
		if (strcmp(err.reason, rows[i].why) != 0)
			fail_msg("row %zu: %s, expected %s", i, err.reason, rows[i].why);
		assert_true(rows[i].pods == CHECKOUT || out.spiffe_id[0] == '\0' || i < 5);
	}
	mica_issuers_free(s);
}

/* The issuer's template names pods, whatever it is made of. */
static void a_template_of_pods(void **state)
{
	struct mica_issuers *s = issuers("/ns/{namespace}/pod/{pod}", false);
	const char *both = tk_printf("%s,%s,%s", ZTUNNEL_POD, CHECKOUT,
		pod("payments", "checkout-2", "checkout", OTHER_UID, "node-1", "Running"));
	struct mica_principal out;

	(void)state;
	assert_ok(judge(s, both, "spiffe://example.org/ns/payments/pod/checkout-2", &out, e));
	assert_string_equal(out.pod, "checkout-2");
	assert_refused(MICA_DENIED, "impersonation_not_here",
		judge(s, both, "spiffe://example.org/ns/payments/pod/checkout-3", &out, e));
	mica_issuers_free(s);
}

/* ---- with a core ----------------------------------------------------------------------------- */

static int setup_core(void **state)
{
	struct ct *t = ct_new();

	t->issuers[0].impersonation.accounts = tk_list("istio-system/ztunnel", NULL);
	ct_init(t);
	ct_open_at(t, NOW_MS);
	*state = t;
	return 0;
}

static struct mica_caller asker(void)
{
	struct mica_caller c = {.uid = -1, .roles = MICA_ROLE_WORKLOAD | MICA_ROLE_ADMIN};

	c.principal = ztunnel();
	c.evidence = token_ev;
	snprintf(c.evidence.id, sizeof(c.evidence.id), "%s", JTI);
	c.evidence.origin_time = NOW;
	return c;
}

static mica_rc core_judge(
	struct ct *t, const char *pods, struct mica_caller *out, struct mica_err *e)
{
	const struct mica_caller c = asker();
	MICA_AUTO_STRUCT(mica_node_pods) p = (struct mica_node_pods *)(uintptr_t)pods_of(pods);
	mica_rc rc = mica_core_impersonation_admit(t->core, &c, MICA_LIT(ID), e);

	return rc == MICA_OK ? mica_core_impersonation_judge(t->core, &c, MICA_LIT(ID), p, out, e)
			     : rc;
}

static void the_ledger_says_who_asked(void **state)
{
	struct ct *t = *state;
	struct mica_caller as;
	struct mica_candidate *k;
	struct mica_issued i;
	struct mica_entry en;
	struct mica_evidence ev;
	MICA_AUTO_BUF body;
	MICA_AUTO_BUF json;

	assert_ok(core_judge(t, tk_printf("%s,%s", ZTUNNEL_POD, CHECKOUT), &as, e));
	assert_int_equal(as.roles, MICA_ROLE_WORKLOAD); /* not those of who asks */
	assert_string_equal(as.principal.spiffe_id, ID);
	k = ct_issue_for(t, &as, 3600, NOW_MS);
	mica_candidate_issued(k, &i);
	assert_string_equal(i.spiffe_id, ID);
	ct_entry(t, i.ledger_index, &body, &en);
	assert_true(mica_slice_eq_str(en.sa, "checkout"));
	assert_true(mica_slice_eq_str(en.pod, "checkout-1"));
	assert_true(mica_slice_eq_str(en.asker_ns, "istio-system"));
	assert_true(mica_slice_eq_str(en.asker_sa, "ztunnel"));
	assert_true(mica_slice_eq_str(en.asker_pod, "ztunnel-x"));
	assert_memory_equal(en.asker_pod_uid.b, ztunnel().pod_uid.b, 16);
	assert_true(mica_slice_eq_str(en.ev_id, JTI));
	assert_ok(mica_entry_get_evidence(&en, i.ledger_index, &ev, e));
	assert_memory_equal(&ev.asker, &as.evidence.asker, sizeof(ev.asker));
	mica_buf_init(&json, 65536);
	mica_entry_json(&en, i.ledger_index, 0, &json);
	assert_non_null(strstr((const char *)json.p,
		"\"asked_by\":{\"namespace\":\"istio-system\",\"service_account\":\"ztunnel\","
		"\"pod\":\"ztunnel-x\",\"pod_uid\":\"" ZT_UID "\"}"));
	mica_candidate_free(k);
}

static void deny(struct ct *t, const char *kind, const char *what, bool on)
{
	assert_ok(mica_core_deny(t->core, kind, mica_slice_str(what), on, NULL, NOW_MS, e));
}

static void who_is_denied_neither_asks_nor_is_asked_for(void **state)
{
	struct ct *t = *state;
	const char *second =
		pod("payments", "checkout-2", "checkout", OTHER_UID, "node-1", "Running");
	const char *pods = tk_printf("%s,%s,%s", ZTUNNEL_POD, CHECKOUT, second);
	struct mica_x509_request r;
	struct mica_candidate *k = NULL;
	struct mica_caller as;

	/* of two pods the one that is not denied is the reason */
	deny(t, "pod_uid", POD_UID, true);
	assert_ok(core_judge(t, pods, &as, e));
	assert_string_equal(as.principal.pod, "checkout-2");
	deny(t, "pod_uid", OTHER_UID, true);
	assert_refused(MICA_DENIED, "denied_by_list", core_judge(t, pods, &as, e));
	deny(t, "pod_uid", OTHER_UID, false);
	assert_ok(core_judge(t, pods, &as, e));
	/* between the judgement and the signature */
	deny(t, "pod_uid", ZT_UID, true);
	r = ct_request(t, &as);
	assert_refused(
		MICA_DENIED, "denied_by_list", mica_core_prepare_x509(t->core, &r, NOW_MS, &k, e));
	assert_refused(MICA_DENIED, "denied_by_list", core_judge(t, pods, &as, e));
	deny(t, "pod_uid", ZT_UID, false);
	deny(t, "spiffe_id", "spiffe://example.org/ns/istio-system", true);
	r = ct_request(t, &as);
	assert_refused(
		MICA_DENIED, "denied_by_list", mica_core_prepare_x509(t->core, &r, NOW_MS, &k, e));
	deny(t, "spiffe_id", "spiffe://example.org/ns/istio-system", false);
	deny(t, "spiffe_id", ID, true);
	assert_refused(MICA_DENIED, "denied_by_list", core_judge(t, pods, &as, e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_make_a_list),
		cmocka_unit_test(who_has_no_account_is_left_out),
		cmocka_unit_test(what_is_no_list_is_refused),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(each_refusal_before_asking),
		cmocka_unit_test(the_pod_beside_it),
		cmocka_unit_test(each_refusal_by_the_node),
		cmocka_unit_test(a_template_of_pods),
		cmocka_unit_test_setup_teardown(the_ledger_says_who_asked, setup_core, ct_teardown),
		cmocka_unit_test_setup_teardown(
			who_is_denied_neither_asks_nor_is_asked_for, setup_core, ct_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, tk_empty_bin);
}
