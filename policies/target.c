/* SPDX-License-Identifier: Apache-2.0 */
/* The table of targets, and the report of what they cannot express. */
#include "target_impl.h"

#include <stdarg.h>
#include <stdio.h>

#define F(form) (1U << MICA_FORM_##form)

static const struct mica_policy_target_info targets[MICA_TARGET_COUNT] = {
	{MICA_TARGET_ENVOY_HTTP, "envoy-http", "RBAC filters of an Envoy that speaks HTTP",
		MICA_FORM_JSON, F(JSON) | F(PROTOBUF), true},
	{MICA_TARGET_ENVOY_NETWORK, "envoy-network", "RBAC filters of an Envoy for connections",
		MICA_FORM_JSON, F(JSON) | F(PROTOBUF), true},
	{MICA_TARGET_ISTIO, "istio", "AuthorizationPolicy and PeerAuthentication, normalised",
		MICA_FORM_YAML, F(JSON) | F(YAML), false},
	{MICA_TARGET_LINKERD, "linkerd", "Server, AuthorizationPolicy and what they refer to",
		MICA_FORM_YAML, F(JSON) | F(YAML) | F(PROTOBUF), false},
	{MICA_TARGET_CONSUL, "consul", "service-intentions config entries", MICA_FORM_JSON, F(JSON),
		false},
};

static void (*const compilers[MICA_TARGET_COUNT])(struct target_run *t) = {
	[MICA_TARGET_ENVOY_HTTP] = target_envoy,
	[MICA_TARGET_ENVOY_NETWORK] = target_envoy,
	[MICA_TARGET_ISTIO] = target_istio,
	[MICA_TARGET_LINKERD] = target_linkerd,
	[MICA_TARGET_CONSUL] = target_consul,
};

const struct mica_policy_target_info *mica_policy_target_of(enum mica_policy_target target)
{
	return &targets[target];
}

bool mica_policy_target_named(struct mica_slice name, enum mica_policy_target *out)
{
	for (unsigned i = 0; i < MICA_TARGET_COUNT; i++)
		if (mica_slice_eq_str(name, targets[i].name)) {
			*out = targets[i].target;
			return true;
		}
	return false;
}

/* ---- the report ------------------------------------------------------------------------------ */

void mica_policy_report_clear(struct mica_policy_report *r)
{
	mica_free(r->v);
	*r = (struct mica_policy_report)MICA_POLICY_REPORT_INIT;
}

void target_lose(struct target_run *t, const struct mica_policy *p, unsigned rule, int line,
	int column, const char *reason, const char *format, ...)
{
	struct mica_policy_report *r = t->report;
	struct mica_policy_loss l = {.reason = reason,
		.rule = rule,
		.line = line,
		.column = column,
		.denied_more = p->action == MICA_POLICY_DENY};
	va_list args;
	va_start(args, format);
	vsnprintf(l.text, sizeof(l.text), format, args);
	va_end(args);
	snprintf(l.ns, sizeof(l.ns), "%s", p->ns);
	snprintf(l.name, sizeof(l.name), "%s", p->name);
	if (t->o->strict && t->rc == MICA_OK)
		t->rc = mica_fail(t->e, MICA_CONFLICT, "policy_inexpressible", "%s/%s rule %u: %s",
			p->ns, p->name, rule + 1, l.text);
	if (r->n < MICA_POLICY_LOSSES_MAX) {
		if (!r->v)
			r->v = mica_calloc(MICA_POLICY_LOSSES_MAX, sizeof(*r->v));
		r->v[r->n] = l;
	}
	r->n++;
}

static void put_loss(struct mica_buf *b, const struct mica_policy_loss *l)
{
	mica_buf_put_str(b, "{\"reason\":");
	mica_buf_put_json_string(b, mica_slice_str(l->reason));
	mica_buf_put_str(b, ",\"namespace\":");
	mica_buf_put_json_string(b, mica_slice_str(l->ns));
	mica_buf_put_str(b, ",\"name\":");
	mica_buf_put_json_string(b, mica_slice_str(l->name));
	mica_buf_printf(b,
		",\"rule\":%u,\"line\":%d,\"column\":%d,\"effect\":\"%s\",\"text\":", l->rule + 1,
		l->line, l->column, l->denied_more ? "denies_more" : "allows_less");
	mica_buf_put_json_string(b, mica_slice_str(l->text));
	mica_buf_put_str(b, "}");
}

void mica_policy_report_put(struct mica_buf *b, const struct mica_policy_report *r)
{
	const unsigned n = r->n < MICA_POLICY_LOSSES_MAX ? r->n : MICA_POLICY_LOSSES_MAX;
	mica_buf_printf(b, "{\"policies\":%u,\"rules\":%u,\"lost\":%u,\"losses\":[", r->policies,
		r->rules, r->n);
	for (unsigned i = 0; i < n; i++) {
		mica_buf_put_str(b, i ? "," : "");
		put_loss(b, &r->v[i]);
	}
	mica_buf_put_str(b, "]}");
}

/* ---- compiling ------------------------------------------------------------------------------- */

bool target_wants(const struct target_run *t, const struct mica_policy *p)
{
	if (t->o->workload && !mica_policy_selects(t->set, p, t->o->workload))
		return false;
	return p->kind == MICA_POLICY_AUTHORIZATION;
}

static mica_rc check(const struct mica_policy_compile_options *o, struct mica_err *e)
{
	const struct mica_policy_target_info *i = &targets[o->target];
	if (!(i->forms & 1U << o->form) || !compilers[o->target])
		return mica_fail(
			e, MICA_INVALID, "form_unsupported", "%s has no such form", i->name);
	if (o->part && compilers[o->target] != target_envoy)
		return mica_fail(e, MICA_INVALID, "part_unknown", "%s has no parts", i->name);
	if (i->of_workload && !o->workload)
		return mica_fail(e, MICA_INVALID, "workload_missing",
			"%s is compiled for one workload: its namespace and labels", i->name);
	return MICA_OK;
}

mica_rc mica_policy_compile(const struct mica_policy_set *s,
	const struct mica_policy_compile_options *o, struct mica_buf *b,
	struct mica_policy_report *report, struct mica_err *e)
{
	MICA_AUTO_POLICY_REPORT own = MICA_POLICY_REPORT_INIT;
	struct target_run t = {.set = s, .o = o, .b = b, .report = report ? report : &own, .e = e};
	mica_policy_report_clear(t.report);
	t.rc = check(o, e);
	if (t.rc == MICA_OK)
		compilers[o->target](&t);
	return t.rc == MICA_OK ? mica_buf_rc(b, e) : t.rc;
}
