/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/authorize: what policies say of a request, and why; and what dry runs would change. */
#include "api_impl.h"
#include "decisions.h"
#include "policies.h"

#include "mica/clock.h"
#include "mica/policy_case.h"

#define ANSWER_MAX   (8u << 20) /* a rule is a line, and thousands may be about a workload */
#define FINDINGS_MAX 4096

const char *const api_authorize_params[] = {"channel", NULL};

/* ---- who may ask about whom --------------------------------------------------------------------
 */

enum scope { NOTHING, VERDICT, ALL };

/* A workload sees the policies of its own namespace, which are about it. What it may do elsewhere
 * it could find out by trying, and learns no more here. */
static enum scope scope_of(const struct mica_caller *who, const struct mica_policy_request *r)
{
	const struct mica_principal *p = &who->principal;

	if (who->roles & (MICA_ROLE_AUDITOR | MICA_ROLE_ADMIN))
		return ALL;
	if (p->ns[0] && mica_slice_eq_str(r->workload.ns, p->ns))
		return ALL;
	return p->spiffe_id[0] && mica_slice_eq_str(r->peer, p->spiffe_id) ? VERDICT : NOTHING;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* ,"name": "NAMESPACE/NAME" */
static void put_policy(struct mica_buf *b, const char *name, const struct mica_policy *p)
{
	MICA_AUTO_BUF full;

	mica_buf_init(&full, 1024);
	mica_buf_printf(&full, "%s/%s", p->ns, p->name);
	api_put_string(b, name, mica_buf_slice(&full));
}

static void put_outcome(struct mica_buf *b, const struct mica_policy_outcome *o, enum scope scope)
{
	mica_buf_printf(b, "\"allowed\":%s", o->allowed ? "true" : "false");
	if (scope != ALL)
		return;
	api_put_string(b, "why", mica_slice_str(mica_policy_why_name(o->why)));
	if (!o->policy)
		return;
	put_policy(b, "policy", o->policy);
	api_put_u64(b, "rule", o->rule + 1);
}

struct explaining {
	struct mica_buf *b;
	unsigned n;
};

static void put_finding(void *ctx, const struct mica_policy_finding *f)
{
	struct explaining *x = ctx;
	MICA_AUTO_BUF text;

	if (x->n++ >= FINDINGS_MAX)
		return;
	mica_buf_init(&text, 64 * 1024);
	mica_policy_finding_put(&text, f);
	mica_buf_put_str(x->b, x->n > 1 ? ",{" : "{");
	mica_buf_put_str(x->b, "\"action\":");
	mica_buf_put_json_string(x->b, mica_slice_str(mica_policy_action_name(f->policy->action)));
	put_policy(x->b, "policy", f->policy);
	if (f->policy->n_rules)
		api_put_u64(x->b, "rule", f->rule + 1);
	api_put_bool(x->b, "matches", f->matches);
	api_put_bool(x->b, "dryRun", f->policy->dry_run);
	api_put_string(x->b, "text", mica_buf_slice(&text));
	mica_buf_put_u8(x->b, '}');
}

static void put_explanation(struct mica_buf *b, const struct mica_policy_set *set,
	const struct mica_policy_request *r, const struct mica_policy_verdict *v)
{
	struct explaining x = {.b = b};

	api_put_bool(b, "audited", v->audit != NULL);
	if (v->audit)
		put_policy(b, "auditedBy", v->audit);
	mica_buf_put_str(b, ",\"explanation\":[");
	mica_policy_explain(set, r, put_finding, &x);
	mica_buf_put_u8(b, ']');
	if (x.n > FINDINGS_MAX)
		api_put_u64(b, "notShown", x.n - FINDINGS_MAX);
}

static void answer(struct api_call *c, enum mica_channel ch, const struct mica_policy_request *r,
	enum scope scope)
{
	struct decisions *d = c->a->desk->decisions;
	struct mica_buf *b = &c->out;
	struct mica_policy_verdict v;
	int64_t sequence = 0;
	struct mica_policy_set *set = policies_get(c->a->desk->policies, ch, &sequence);

	mica_policy_decide(set, r, &v);
	decisions_add(d, DECISION_REST, r->workload.ns, &v, mica_now());
	mica_buf_put_u8(b, '{');
	put_outcome(b, &v.now, scope);
	mica_buf_put_str(b, ",\"dryRun\":{");
	put_outcome(b, &v.dry_run, scope);
	mica_buf_put_u8(b, '}');
	if (scope == ALL)
		put_explanation(b, set, r, &v);
	api_put_string(b, "channel", mica_slice_str(api_channel_words[ch]));
	api_put_u64(b, "sequence", (uint64_t)sequence);
	mica_buf_put_u8(b, '}');
	mica_policy_set_unref(set);
	api_send(c, 200, "application/json", NULL);
}

void api_authorize(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	MICA_AUTO_POLICY_CASES cases = {.n = 0};
	struct api_bundle_query query;
	enum scope scope = NOTHING;
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	mica_buf_init(&c->out, ANSWER_MAX);
	if (rc == MICA_OK)
		rc = api_decode_bundle_query(&c->query, &query, &c->err);
	/* the reader of tables, to which JSON is YAML */
	if (rc == MICA_OK)
		rc = mica_policy_request_parse(c->d->body, "body", &cases, &c->err);
	if (rc == MICA_OK)
		scope = scope_of(c->caller, &cases.v[0].request);
	if (rc == MICA_OK && scope == NOTHING)
		rc = mica_fail(&c->err, MICA_DENIED, "workload_not_yours",
			"a workload may ask about workloads of its own namespace, and what it may "
			"itself do elsewhere, as the peer");
	if (rc == MICA_OK)
		answer(c, query.channel, &cases.v[0].request, scope);
	else
		api_fail(c);
}

void api_dry_run(struct api_call *c)
{
	mica_buf_init(&c->out, ANSWER_MAX);
	decisions_put_json(c->a->desk->decisions, &c->out);
	api_send(c, 200, "application/json", NULL);
}
