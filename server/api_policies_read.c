/* SPDX-License-Identifier: Apache-2.0 */
/* Policies: the list, one of them, and the form of a mesh. */
#include "api_impl.h"

#include "compiled.h"
#include "policies.h"

#include "mica/bundle.h"

#include <inttypes.h>
#include <stdio.h>

#define JSON_TYPE    "application/json"
#define REVALIDATE   "no-cache"
#define LIST_MAX     ((size_t)64 << 20)
#define COMPILED_MAX ((size_t)32 << 20)
#define HISTORY_MAX  (1u << 20)

static void put_doc(struct mica_buf *b, const struct mica_doc *d)
{
	api_put_string(b, "kind", d->key.kind);
	api_put_string(b, "namespace", d->key.ns);
	api_put_string(b, "name", d->key.name);
	api_put_u64(b, "revision", d->revision);
	api_put_time(b, "changed", d->time_ms / 1000);
	api_put_string(b, "owner", mica_slice_str(mica_doc_owner_name(d->owner)));
	api_put_bool(b, "dry_run", d->dry_run);
	if (d->canary)
		api_put_bool(b, "canary", true);
	if (d->deleted) {
		api_put_bool(b, "deleted", true);
		return;
	}
	mica_buf_put_str(b, ",\"document\":");
	mica_buf_put_slice(b, d->text);
}

static void name_snapshot(struct api_call *c, enum mica_channel ch, uint64_t sequence)
{
	snprintf(c->etag, sizeof(c->etag), "\"%s-%s-%" PRIu64 "\"", MICA_SET_DEFAULT,
		mica_channel_name(ch), sequence);
}

/* ---- lists ----------------------------------------------------------------------------------- */

void api_policies(struct api_call *c)
{
	api_serve(c, NULL);
}

void api_policies_jws(struct api_call *c)
{
	api_serve(c, NULL);
}

struct listing {
	struct mica_buf policies;
	struct mica_slice ns;
};

static bool list_one(void *ctx, const struct mica_doc *d)
{
	struct listing *l = ctx;

	if (!mica_slice_eq(d->key.ns, l->ns))
		return true;
	mica_buf_put_str(&l->policies, l->policies.len ? ",{" : "{");
	put_doc(&l->policies, d);
	mica_buf_put_u8(&l->policies, '}');
	return true;
}

static void build_list(struct api_call *c, const struct api_policy_query *q)
{
	struct listing l = {.ns = q->ns};
	uint64_t sequence;

	mica_buf_init(&l.policies, LIST_MAX);
	mica_buf_init(&c->out, LIST_MAX);
	sequence = mica_core_policies_visit(c->a->desk->core, q->channel, list_one, &l);
	mica_buf_put_u8(&c->out, '{');
	api_put_string(&c->out, "set", MICA_LIT(MICA_SET_DEFAULT));
	api_put_string(&c->out, "channel", mica_slice_str(mica_channel_name(q->channel)));
	api_put_u64(&c->out, "sequence", sequence);
	mica_buf_put_str(&c->out, ",\"policies\":[");
	mica_buf_put_slice(&c->out, mica_buf_slice(&l.policies));
	mica_buf_put_str(&c->out, "]}");
	mica_buf_clear(&l.policies);
	name_snapshot(c, q->channel, sequence);
	api_send(c, 200, JSON_TYPE, REVALIDATE);
}

/* ---- the form of a mesh ---------------------------------------------------------------------- */

static const char *const form_names[] = {"json", "yaml", "protobuf"};
static const char *const form_types[] = {
	"application/json", "application/yaml", "application/x-protobuf"};

/* `consul` has to live as long as the options. */
static mica_rc compile_options(struct api_call *c, const struct api_policy_query *q,
	struct mica_consul *consul, struct mica_policy_compile_options *o)
{
	*consul = (struct mica_consul){.datacenter = q->datacenter[0] ? q->datacenter : NULL,
		.only_namespace = q->consul_namespace[0] ? q->consul_namespace : NULL,
		.service_label = q->service_label[0] ? q->service_label : NULL};
	if (!q->has_target)
		return mica_fail(&c->err, MICA_INVALID, "bad_parameter",
			"target: expected envoy-http, envoy-network, istio, linkerd or consul");
	*o = (struct mica_policy_compile_options){.target = q->target,
		.form = q->has_form ? q->form : mica_policy_target_of(q->target)->form,
		.workload = q->has_workload ? &q->workload : NULL,
		.linkerd = policies_linkerd(c->a->desk->policies),
		.ports = q->ports,
		.n_ports = q->n_ports,
		.part = q->part,
		.consul = consul,
		.strict = q->strict};
	return MICA_OK;
}

static void put_name(struct mica_buf *b, const char *name)
{
	mica_buf_put_u8(b, ' ');
	mica_buf_put_str(b, name ? name : "");
	mica_buf_put_u8(b, 0);
}

/* Everything that the text depends on. Labels count in any order: another order is another key, and
 * the same text. */
static void put_key(struct mica_buf *b, const struct mica_policy_compile_options *o,
	enum mica_channel ch, int64_t sequence)
{
	const struct mica_policy_workload *w = o->workload;

	mica_buf_printf(b, "%d %" PRId64 " %d %d %d %s", (int)ch, sequence, (int)o->target,
		(int)o->form, o->strict, o->part ? o->part : "-");
	for (unsigned i = 0; i < o->n_ports; i++)
		mica_buf_printf(b, " %u", o->ports[i]);
	put_name(b, o->consul->datacenter);
	put_name(b, o->consul->only_namespace);
	put_name(b, o->consul->service_label);
	if (!w)
		return;
	mica_buf_put_u8(b, '/');
	mica_buf_put_slice(b, w->ns);
	for (unsigned i = 0; i < w->n_labels; i++) {
		mica_buf_put_u8(b, 0);
		mica_buf_put_slice(b, w->labels[i].key);
		mica_buf_put_u8(b, 0);
		mica_buf_put_slice(b, w->labels[i].value);
	}
}

static mica_rc compile(struct api_call *c, const struct mica_policy_set *set,
	const struct mica_policy_compile_options *o, int64_t sequence, struct compiled_text *out)
{
	MICA_AUTO_POLICY_REPORT report = MICA_POLICY_REPORT_INIT;
	MICA_AUTO_BUF text, json;
	mica_rc rc;

	mica_buf_init(&text, COMPILED_MAX);
	mica_buf_init(&json, COMPILED_MAX);
	rc = mica_policy_compile(set, o, &text, &report, &c->err);
	if (rc != MICA_OK)
		return rc;
	mica_policy_report_put(&json, &report);
	rc = mica_buf_rc(&json, &c->err);
	if (rc != MICA_OK)
		return rc;
	out->lost = report.n;
	out->text = mica_snapshot_take_made(&text, "", (uint64_t)sequence, 0);
	out->report = mica_snapshot_take_made(&json, "", (uint64_t)sequence, 0);
	return MICA_OK;
}

static mica_rc get_compiled(struct api_call *c, const struct mica_policy_compile_options *o,
	enum mica_channel ch, struct compiled_text *out)
{
	int64_t sequence;
	struct mica_policy_set *set = policies_get(c->a->desk->policies, ch, &sequence);
	MICA_AUTO_BUF key;
	mica_rc rc = MICA_OK;

	mica_buf_init(&key, 64 * 1024);
	put_key(&key, o, ch, sequence);
	name_snapshot(c, ch, (uint64_t)sequence);
	if (!compiled_find(c->a->compiled, mica_buf_slice(&key), out)) {
		rc = compile(c, set, o, sequence, out);
		if (rc == MICA_OK && !key.over)
			compiled_keep(c->a->compiled, mica_buf_slice(&key), out);
	}
	mica_policy_set_unref(set);
	return rc;
}

/* With `report=true`: both in one document. */
static void send_report(struct api_call *c, const struct mica_policy_compile_options *o,
	enum mica_channel ch, const struct compiled_text *t)
{
	struct mica_buf *b = &c->out;
	char lost[16];

	mica_buf_init(b, 2 * COMPILED_MAX);
	mica_buf_put_u8(b, '{');
	api_put_string(b, "set", MICA_LIT(MICA_SET_DEFAULT));
	api_put_string(b, "channel", mica_slice_str(mica_channel_name(ch)));
	api_put_u64(b, "sequence", t->text->sequence);
	api_put_string(b, "target", mica_slice_str(mica_policy_target_of(o->target)->name));
	api_put_string(b, "form", mica_slice_str(form_names[o->form]));
	mica_buf_put_str(b, ",\"report\":");
	mica_buf_put_slice(b, t->report->bytes);
	if (o->form == MICA_FORM_PROTOBUF) {
		mica_buf_put_str(b, ",\"base64\":\"");
		mica_buf_put_b64(b, t->text->bytes.p, t->text->bytes.len);
		mica_buf_put_u8(b, '"');
	} else {
		api_put_string(b, "compiled", t->text->bytes);
	}
	mica_buf_put_u8(b, '}');
	snprintf(lost, sizeof(lost), "%u", t->lost);
	if (b->over)
		api_send(c, 200, JSON_TYPE, REVALIDATE); /* it says so */
	else
		api_answer(c,
			&(struct api_answer){.status = 200,
				.type = JSON_TYPE,
				.body = mica_buf_slice(b),
				.cache = REVALIDATE,
				.etag = c->etag,
				.lost = lost});
}

static void build_compiled(struct api_call *c, const struct api_policy_query *q)
{
	struct mica_policy_compile_options o;
	struct mica_consul consul;
	struct compiled_text t = {.lost = 0};
	char lost[16];
	mica_rc rc = compile_options(c, q, &consul, &o);

	if (rc == MICA_OK)
		rc = get_compiled(c, &o, q->channel, &t);
	if (rc == MICA_LIMIT) /* it is not the caller's that is too long */
		c->err.rc = MICA_INTERNAL;
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	if (q->report) {
		send_report(c, &o, q->channel, &t);
		compiled_text_clear(&t);
		return;
	}
	snprintf(lost, sizeof(lost), "%u", t.lost);
	mica_snapshot_unref(t.report);
	api_answer(c,
		&(struct api_answer){.status = 200,
			.type = form_types[o.form],
			.body = t.text->bytes,
			.owner = t.text,
			.release = (void (*)(const void *))mica_snapshot_unref,
			.cache = REVALIDATE,
			.etag = c->etag,
			.lost = lost});
}

/* What the request asks for is looked at before it may wait. */
void api_compiled(struct api_call *c)
{
	struct mica_policy_compile_options o;
	struct mica_consul consul;
	struct api_policy_query q;

	if (api_decode_policy_query(&c->query, api_compiled_params, &q, &c->err) == MICA_OK &&
		compile_options(c, &q, &consul, &o) == MICA_OK)
		api_serve(c, NULL);
	else
		api_fail(c);
}

/* ---- what is made of a snapshot -------------------------------------------------------------- */

bool api_policies_built(const struct api_call *c)
{
	return c->route->run == api_compiled ||
		(c->route->run == api_policies && c->query.has[2] && c->query.v[2].len > 0);
}

static void build(void *job, bool run)
{
	struct api_call *c = job;
	struct api_policy_query q;

	if (!run) {
		mica_fail(&c->err, MICA_UNAVAILABLE, "draining", "this server is about to end");
		api_fail(c);
		return;
	}
	if (api_decode_policy_query(&c->query, c->route->params, &q, &c->err) != MICA_OK) {
		api_fail(c);
		return;
	}
	if (c->route->run == api_compiled)
		build_compiled(c, &q);
	else
		build_list(c, &q);
}

void api_policies_build(struct api_call *c)
{
	api_keep(c);
	ask_push(&c->ask, build, c);
}

/* ---- one document ---------------------------------------------------------------------------- */

static struct mica_doc_key key_of(const struct api_call *c, const struct api_policy_query *q)
{
	struct mica_slice name = c->param, ns;

	mica_slice_cut(&name, '/', &ns);
	return (struct mica_doc_key){mica_slice_str(mica_policy_kind_name(q->kind)), ns, name};
}

struct wanted {
	struct api_call *c;
	const struct api_policy_query *q;
	bool has; /* the caller has it already */
};

static void put_yaml(struct api_call *c, const struct mica_doc *d)
{
	MICA_AUTO_POLICIES some = MICA_POLICIES_INIT;

	if (mica_policies_parse(d->text, "stored", NULL, &some, &c->err) == MICA_OK)
		mica_policy_put_yaml(&c->out, some.v[0]);
}

static bool take_doc(void *ctx, const struct mica_doc *d)
{
	struct wanted *w = ctx;
	struct api_call *c = w->c;

	snprintf(c->etag, sizeof(c->etag), "\"%" PRIu64 "\"", d->revision);
	w->has = api_etag_matches(c->d->if_none_match, c->etag);
	if (w->q->form == MICA_FORM_YAML && !d->deleted) {
		put_yaml(c, d);
		return true;
	}
	mica_buf_put_u8(&c->out, '{');
	put_doc(&c->out, d);
	mica_buf_put_u8(&c->out, '}');
	return true;
}

void api_policy_get(struct api_call *c)
{
	struct api_policy_query q;
	struct wanted w = {.c = c, .q = &q};
	struct mica_doc_key key;
	mica_rc rc = api_decode_policy_query(&c->query, api_policy_params, &q, &c->err);

	mica_buf_init(&c->out, 2 * MICA_DOC_TEXT_MAX);
	if (rc == MICA_OK && q.form == MICA_FORM_PROTOBUF)
		rc = mica_fail(&c->err, MICA_INVALID, "bad_parameter",
			"form: expected \"json\" or \"yaml\"");
	key = key_of(c, &q);
	if (rc == MICA_OK)
		rc = mica_core_policy(
			c->a->desk->core, q.channel, &key, q.revision, take_doc, &w, &c->err);
	if (rc != MICA_OK || c->err.rc != MICA_OK)
		api_fail(c);
	else if (w.has)
		api_answer(c,
			&(struct api_answer){.status = 304, .etag = c->etag, .cache = REVALIDATE});
	else
		api_send(c, 200, form_types[q.form], REVALIDATE);
}

void api_policy_history(struct api_call *c)
{
	struct api_policy_query q;
	struct mica_doc_key key;
	mica_rc rc = api_decode_policy_query(&c->query, api_policy_kind_params, &q, &c->err);

	mica_buf_init(&c->out, HISTORY_MAX);
	key = key_of(c, &q);
	if (rc == MICA_OK)
		rc = mica_core_policy_history(c->a->desk->core, &key, &c->out, &c->err);
	if (rc == MICA_OK)
		api_send(c, 200, JSON_TYPE, NULL);
	else
		api_fail(c);
}
