/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents of policies: what is refused says where; what is taken is written, in both forms, read
 * again, and written the same; and it compiles to a set, which decides as its explanation does.
 */
#include "mica/json.h"
#include "mica/policy_case.h"
#include "mica/policy_compile.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct mica_policy *p, bool yaml, struct mica_slice json)
{
	MICA_AUTO_POLICIES all;
	MICA_AUTO_BUF text, back;

	/* of one octet an escape may make six */
	mica_buf_init(&text, 8 * MICA_POLICY_TEXT_MAX);
	mica_buf_init(&back, 8 * MICA_POLICY_TEXT_MAX);
	if (yaml)
		mica_policy_put_yaml(&text, p);
	else
		mica_policy_put_json(&text, p);
	if (text.len > MICA_POLICY_TEXT_MAX)
		return;
	if (mica_policies_parse(mica_buf_slice(&text), "again", "elsewhere", &all, NULL) !=
			MICA_OK ||
		all.n != 1)
		abort();
	mica_policy_put_json(&back, all.v[0]);
	if (!mica_slice_eq(mica_buf_slice(&back), json))
		abort();
}

static void write_again(const struct mica_policy *p)
{
	MICA_AUTO_BUF json;

	mica_buf_init(&json, 8 * MICA_POLICY_TEXT_MAX);
	mica_policy_put_json(&json, p);
	again(p, false, mica_buf_slice(&json));
	again(p, true, mica_buf_slice(&json));
}

struct summary {
	bool deny, ask, allow;
};

static void sum_up(void *ctx, const struct mica_policy_finding *f)
{
	struct summary *s = ctx;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 65536);
	mica_policy_finding_put(&b, f);
	if (f->policy->dry_run)
		return;
	s->deny = s->deny || (f->matches && f->policy->action == MICA_POLICY_DENY);
	s->ask = s->ask || f->policy->action == MICA_POLICY_ALLOW;
	s->allow = s->allow || (f->matches && f->policy->action == MICA_POLICY_ALLOW);
}

/* Linkerd's objects are JSON, and the same again; its message is what it is. */
static void put_linkerd(const struct mica_policy_set *set, const struct mica_policy *p)
{
	static const struct mica_json_limits limits = {.bytes = 64u << 20, .depth = 32};
	static const uint16_t port = 80;
	const struct mica_policy_workload w = {mica_slice_str(p->ns), p->selector.v, p->selector.n};
	struct mica_policy_compile_options o = {
		.target = MICA_TARGET_LINKERD, .ports = &port, .n_ports = 1};
	MICA_AUTO_JSON d = {.root = NULL};
	MICA_AUTO_BUF one, two;

	mica_buf_init(&one, limits.bytes);
	mica_buf_init(&two, limits.bytes);
	if (mica_policy_compile(set, &o, &one, NULL, NULL) == MICA_OK &&
		(mica_policy_compile(set, &o, &two, NULL, NULL) != MICA_OK ||
			!mica_slice_eq(mica_buf_slice(&one), mica_buf_slice(&two)) ||
			mica_json_parse(mica_buf_slice(&one), &limits, &d, NULL) != MICA_OK))
		abort();
	mica_buf_reset(&two);
	o.workload = &w;
	o.form = MICA_FORM_PROTOBUF;
	if (mica_policy_compile(set, &o, &two, NULL, NULL) != MICA_OK && !two.over)
		abort();
}

static void decide(const struct mica_policies *all)
{
	static const struct mica_policy_mesh mesh = {.root_ns = "root", .trust_domain = "td"};
	struct mica_policy_set *set;

	if (mica_policy_set_new(&mesh, all->v, all->n, &set, NULL) != MICA_OK)
		return; /* too large */
	for (unsigned i = 0; i < all->n && i < 8; i++) {
		const struct mica_policy *p = all->v[i];
		struct mica_policy_request r = {
			.workload = {mica_slice_str(p->ns), p->selector.v, p->selector.n},
			.peer = MICA_LIT("spiffe://td/ns/a/sa/b"),
			.http = i % 2 == 0,
			.method = MICA_LIT("GET"),
			.path = MICA_LIT("/a/b"),
			.host = MICA_LIT("a.example.org"),
			.port = 80};
		struct summary s = {.deny = false};
		struct mica_policy_verdict v;

		mica_policy_decide(set, &r, &v);
		mica_policy_explain(set, &r, sum_up, &s);
		if (v.now.allowed != (!s.deny && (!s.ask || s.allow)))
			abort();
		(void)mica_policy_mtls(set, &r.workload, 80);
	}
	if (all->n)
		put_linkerd(set, all->v[0]);
	mica_policy_set_unref(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_slice text = mica_slice(data, size);
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_POLICIES all;
	MICA_AUTO_POLICY_CASES cases;

	if (mica_policy_request_parse(text, "f", &cases, NULL) == MICA_OK && cases.n != 1)
		abort();
	mica_policy_cases_clear(&cases);
	if (mica_policy_cases_parse(text, "f", &cases, NULL) == MICA_OK && cases.n == 0)
		abort();
	if (mica_policies_parse(text, "f", NULL, &all, &e) != MICA_OK) {
		if (e.reason == NULL || all.n || (e.line == 0 && strncmp(e.reason, "yaml", 4) != 0))
			abort();
		return 0;
	}
	for (unsigned i = 0; i < all.n; i++)
		write_again(all.v[i]);
	decide(&all);
	return 0;
}
