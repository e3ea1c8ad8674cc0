/* SPDX-License-Identifier: Apache-2.0 */
/* The pods of a node: the list as it is read, and who may ask for whose identity. */
#include "mica/nodepods.h"

#include "mica/json.h"
#include "mica/spiffeid.h"

#include "issuer.h"

#include <stdatomic.h>

struct mica_node_pods {
	atomic_uint refs;
	char *node;
	struct mica_node_pod *v;
	size_t n, room;
};

/* ---- life ------------------------------------------------------------------------------------ */

struct mica_node_pods *mica_node_pods_new(const char *node)
{
	struct mica_node_pods *p = MICA_NEW(struct mica_node_pods);

	atomic_init(&p->refs, 1);
	p->node = mica_strdup(node);
	return p;
}

const struct mica_node_pods *mica_node_pods_ref(const struct mica_node_pods *p)
{
	atomic_fetch_add_explicit((atomic_uint *)(uintptr_t)&p->refs, 1, memory_order_relaxed);
	return p;
}

static void free_text(const char *s)
{
	mica_free((char *)(uintptr_t)s);
}

static void free_labels(struct mica_node_pod *pod)
{
	for (unsigned i = 0; i < pod->n_labels; i++) {
		free_text(pod->labels[i].key);
		free_text(pod->labels[i].value);
	}
	mica_free((struct mica_node_label *)(uintptr_t)pod->labels);
	pod->labels = NULL;
	pod->n_labels = 0;
}

void mica_node_pods_unref(const struct mica_node_pods *shared)
{
	struct mica_node_pods *p = (struct mica_node_pods *)(uintptr_t)shared;

	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < p->n; i++) {
		free_text(p->v[i].ns);
		free_text(p->v[i].name);
		free_text(p->v[i].sa);
		free_labels(&p->v[i]);
	}
	mica_free(p->v);
	mica_free(p->node);
	mica_free(p);
}

const char *mica_node_pods_node(const struct mica_node_pods *p)
{
	return p->node;
}

size_t mica_node_pods_count(const struct mica_node_pods *p)
{
	return p->n;
}

const struct mica_node_pod *mica_node_pods_at(const struct mica_node_pods *p, size_t i)
{
	return i < p->n ? &p->v[i] : NULL;
}

const struct mica_node_pod *mica_node_pods_find(
	const struct mica_node_pods *p, const struct mica_uid *uid)
{
	for (size_t i = 0; i < p->n; i++)
		if (memcmp(&p->v[i].uid, uid, sizeof(*uid)) == 0)
			return &p->v[i];
	return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Kubernetes' own objects hold far more than we look at, so that all of them are open. */
struct pod_text {
	struct mica_slice ns, name, uid, node, sa, phase;
	json_t *labels;
};

static mica_rc malformed(struct mica_err *e, const char *node, const struct mica_err *why)
{
	return mica_fail_fine(e, MICA_UNAVAILABLE, "pods_malformed",
		"the cluster's answer about the pods of a node cannot be used; try again",
		mica_err_fine(why), "pods of node %s: %s", node, why->text);
}

static mica_rc read_pod(
	const struct mica_json *d, const json_t *pod, struct pod_text *t, struct mica_err *e)
{
	json_t *meta = NULL, *spec = NULL, *status = NULL, *notes = NULL;
	const struct mica_json_member top[] = {
		{"metadata", MICA_JSON_OBJECT, true, 0, 0, &meta, NULL},
		{"spec", MICA_JSON_OBJECT, true, 0, 0, &spec, NULL},
		{"status", MICA_JSON_OBJECT, false, 0, 0, &status, NULL}};
	const struct mica_json_member metas[] = {
		{"name", MICA_JSON_STRING, true, 1, MICA_K8S_NAME_MAX, &t->name, NULL},
		{"namespace", MICA_JSON_STRING, true, 1, MICA_K8S_NS_MAX, &t->ns, NULL},
		{"uid", MICA_JSON_STRING, true, 1, 128, &t->uid, NULL},
		{"annotations", MICA_JSON_OBJECT, false, 0, 0, &notes, NULL},
		{"labels", MICA_JSON_OBJECT, false, 0, 0, &t->labels, NULL}};
	const struct mica_json_member specs[] = {
		{"nodeName", MICA_JSON_STRING, true, 1, MICA_K8S_NAME_MAX, &t->node, NULL},
		{"serviceAccountName", MICA_JSON_STRING, false, 0, MICA_K8S_NAME_MAX, &t->sa,
			NULL}};
	const struct mica_json_member states[] = {
		{"phase", MICA_JSON_STRING, false, 0, 64, &t->phase, NULL}};
	mica_rc rc = mica_json_read(d, pod, "items[]", top, MICA_ARRAY_LEN(top), true, e);

	if (rc == MICA_OK)
		rc = mica_json_read(
			d, meta, "items[].metadata", metas, MICA_ARRAY_LEN(metas), true, e);
	if (rc == MICA_OK)
		rc = mica_json_read(d, spec, "items[].spec", specs, MICA_ARRAY_LEN(specs), true, e);
	if (rc == MICA_OK && status)
		rc = mica_json_read(
			d, status, "items[].status", states, MICA_ARRAY_LEN(states), true, e);
	/* A mirror pod is a node's own word about itself, and has no account of the API's. */
	if (rc == MICA_OK && notes && json_object_get(notes, "kubernetes.io/config.mirror"))
		t->sa = MICA_SLICE_NULL;
	return rc;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(
		((const struct mica_node_label *)a)->key, ((const struct mica_node_label *)b)->key);
}

static void read_labels(json_t *from, struct mica_node_pod *pod)
{
	const size_t n = json_object_size(from);
	struct mica_node_label *v;
	const char *key;
	json_t *value;

	pod->labels_known = n <= MICA_NODE_LABELS_MAX;
	if (n == 0 || !pod->labels_known)
		return;
	pod->labels = v = mica_calloc(n, sizeof(*v));
	json_object_foreach (from, key, value) {
		if (!json_is_string(value) ||
			strlen(json_string_value(value)) != json_string_length(value)) {
			free_labels(pod);
			pod->labels_known = false;
			return;
		}
		v[pod->n_labels].key = mica_strdup(key);
		v[pod->n_labels++].value = mica_strdup(json_string_value(value));
	}
	qsort(v, n, sizeof(*v), by_key);
}

static bool has_ended(struct mica_slice phase)
{
	return mica_slice_eq_str(phase, "Succeeded") || mica_slice_eq_str(phase, "Failed");
}

static mica_rc add_pod(
	struct mica_node_pods *p, const struct mica_json *d, const json_t *item, struct mica_err *e)
{
	struct pod_text t = {.ns = MICA_SLICE_NULL};
	struct mica_node_pod pod = {.ns = NULL};
	mica_rc rc = read_pod(d, item, &t, e);

	if (rc != MICA_OK)
		return rc;
	/* a server that does not know the selector says everything */
	if (!mica_slice_eq_str(t.node, p->node))
		return mica_json_fail(
			d, item, e, "pods_other_node", "expected pods of this node alone");
	if (t.sa.len == 0)
		return MICA_OK;
	if (!mica_k8s_label_ok(t.ns) || !mica_k8s_subdomain_ok(t.name) ||
		!mica_k8s_subdomain_ok(t.sa) || mica_uuid_parse(t.uid, pod.uid.b) != MICA_OK)
		return mica_json_fail(d, item, e, "pods_bad_name",
			"expected names and a UID as Kubernetes has them");
	if (p->n == p->room) {
		p->room = p->room ? 2 * p->room : 32;
		p->v = mica_realloc(p->v, p->room, sizeof(*p->v));
	}
	pod.ns = mica_slice_dup(t.ns);
	pod.name = mica_slice_dup(t.name);
	pod.sa = mica_slice_dup(t.sa);
	pod.ended = has_ended(t.phase);
	read_labels(t.labels, &pod);
	p->v[p->n++] = pod;
	return MICA_OK;
}

static mica_rc read_list(struct mica_node_pods *p, const struct mica_json *d, struct mica_buf *next,
	struct mica_err *e)
{
	struct mica_slice kind = MICA_SLICE_NULL, more = MICA_SLICE_NULL;
	json_t *meta = NULL, *items = NULL;
	const struct mica_json_member top[] = {{"kind", MICA_JSON_STRING, true, 0, 64, &kind, NULL},
		{"metadata", MICA_JSON_OBJECT, true, 0, 0, &meta, NULL},
		{"items", MICA_JSON_ARRAY, true, 0, 0, &items, NULL}};
	const struct mica_json_member metas[] = {
		{"continue", MICA_JSON_STRING, false, 0, MICA_NODE_NEXT_MAX - 1, &more, NULL}};
	mica_rc rc = mica_json_read(d, d->root, "", top, MICA_ARRAY_LEN(top), true, e);

	if (rc == MICA_OK && !mica_slice_eq_str(kind, "PodList"))
		rc = mica_json_fail(d, d->root, e, "pods_kind", "expected a PodList");
	if (rc == MICA_OK)
		rc = mica_json_read(d, meta, "metadata", metas, MICA_ARRAY_LEN(metas), true, e);
	for (size_t i = 0; rc == MICA_OK && i < json_array_size(items); i++)
		rc = add_pod(p, d, json_array_get(items, i), e);
	if (rc == MICA_OK)
		mica_buf_put_slice(next, more);
	return rc;
}

mica_rc mica_node_pods_read(
	struct mica_node_pods *p, struct mica_slice page, struct mica_buf *next, struct mica_err *e)
{
	static const struct mica_json_limits limits = {
		.bytes = MICA_NODE_PAGE_MAX, .depth = MICA_NODE_DEPTH_MAX};
	MICA_AUTO_JSON d = {.root = NULL};
	struct mica_err why = MICA_ERR_INIT;
	mica_rc rc = mica_json_parse(page, &limits, &d, &why);

	mica_buf_reset(next);
	if (rc == MICA_OK && !json_is_object(d.root))
		rc = mica_fail(&why, MICA_INVALID, "json_type", "expected an object");
	if (rc == MICA_OK)
		rc = read_list(p, &d, next, &why);
	if (rc == MICA_OK && p->n > MICA_NODE_PODS_MAX)
		rc = mica_fail(
			&why, MICA_LIMIT, "pods_too_many", "more than %d pods", MICA_NODE_PODS_MAX);
	if (rc == MICA_LIMIT)
		return mica_fail_fine(e, MICA_UNAVAILABLE, "pods_too_long",
			"the cluster's answer about the pods of a node is too long", why.reason,
			"pods of node %s: %s", p->node, why.text);
	return rc == MICA_OK ? MICA_OK : malformed(e, p->node, &why);
}

/* ---- who may ask ----------------------------------------------------------------------------- */

static bool trusts(const struct mica_issuer *issuer, const struct mica_principal *asker)
{
	for (unsigned i = 0; i < issuer->node_accounts.n; i++) {
		struct mica_slice name = mica_slice_str(issuer->node_accounts.v[i]), ns;

		if (mica_slice_cut(&name, '/', &ns) && mica_slice_eq_str(ns, asker->ns) &&
			mica_slice_eq_str(name, asker->sa))
			return true;
	}
	return false;
}

static mica_rc check_identity(
	const struct mica_issuer *issuer, struct mica_slice identity, struct mica_err *e)
{
	struct mica_slice td = mica_slice_sub(
		issuer->td_prefix, sizeof(MICA_SPIFFE_SCHEME) - 1, issuer->td_prefix.len);
	struct mica_spiffe_id id;
	struct mica_err why = MICA_ERR_INIT;

	if (mica_spiffe_id_parse_workload(identity, &id, &why) != MICA_OK)
		return mica_fail_fine(e, MICA_DENIED, "impersonation_bad_identity",
			"the identity that is asked for is not a SPIFFE ID of a workload",
			why.reason, "%s", why.text);
	if (!mica_slice_eq(id.td, td))
		return mica_fail(e, MICA_DENIED, "impersonation_trust_domain",
			"the identity that is asked for is of trust domain %.*s; expected %.*s",
			MICA_FMT(id.td), MICA_FMT(td));
	if (!mica_issuer_may_name(issuer, identity))
		return mica_fail(e, MICA_DENIED, "impersonation_name",
			"issuer %s gives no such name; expected spiffe://%.*s%s", issuer->name,
			MICA_FMT(td), mica_template_text(issuer->path));
	return MICA_OK;
}

static bool is_known(const struct mica_uid *u)
{
	static const struct mica_uid none;

	return memcmp(u, &none, sizeof(none)) != 0;
}

mica_rc mica_impersonation_admit(const struct mica_issuer *issuer,
	const struct mica_principal *asker, const struct mica_evidence *evidence,
	struct mica_slice identity, struct mica_err *e)
{
	if (issuer->node_accounts.n == 0)
		return mica_fail(e, MICA_DENIED, "impersonation_not_allowed",
			"issuer %s trusts nobody to ask for others", issuer->name);
	if (!trusts(issuer, asker))
		return mica_fail(e, MICA_DENIED, "impersonation_not_trusted",
			"service account %s/%s is not trusted to ask for others", asker->ns,
			asker->sa);
	if (evidence->kind != MICA_EV_TOKEN)
		return mica_fail(e, MICA_DENIED, "impersonation_needs_token",
			"who asks for others shows a token, not a certificate");
	if (!is_known(&asker->pod_uid) || asker->pod[0] == '\0' || asker->node[0] == '\0')
		return mica_fail(e, MICA_DENIED, "impersonation_no_node",
			"the token names no pod or no node; expected one bound to a pod, by Kubernetes 1.30 or later");
	return check_identity(issuer, identity, e);
}

/* ---- the node's word ------------------------------------------------------------------------- */

static const struct mica_node_pod *find_named(
	const struct mica_node_pods *pods, const char *ns, const char *name)
{
	for (size_t i = 0; i < pods->n; i++)
		if (strcmp(pods->v[i].ns, ns) == 0 && strcmp(pods->v[i].name, name) == 0)
			return &pods->v[i];
	return NULL;
}

/* The asker is where its token says, and is who its token says. */
static mica_rc check_asker(
	const struct mica_principal *asker, const struct mica_node_pods *pods, struct mica_err *e)
{
	const struct mica_node_pod *own = find_named(pods, asker->ns, asker->pod);

	if (strcmp(pods->node, asker->node) != 0)
		return mica_fail(e, MICA_INTERNAL, "impersonation_misuse",
			"pods of node %s for a caller on node %s", pods->node, asker->node);
	if (!own)
		return mica_fail(e, MICA_DENIED, "impersonation_pod_gone",
			"pod %s/%s is not on node %s", asker->ns, asker->pod, asker->node);
	if (memcmp(&own->uid, &asker->pod_uid, sizeof(own->uid)) != 0)
		return mica_fail(e, MICA_DENIED, "impersonation_pod_replaced",
			"pod %s/%s of the token has a successor", asker->ns, asker->pod);
	if (strcmp(own->sa, asker->sa) != 0)
		return mica_fail(e, MICA_DENIED, "impersonation_pod_account",
			"pod %s/%s runs with account %s, the token is of %s", asker->ns, asker->pod,
			own->sa, asker->sa);
	if (own->ended)
		return mica_fail(e, MICA_DENIED, "impersonation_pod_ended", "pod %s/%s has ended",
			asker->ns, asker->pod);
	return MICA_OK;
}

static void set_text(char *to, size_t size, const char *from)
{
	/* checked when it was read */
	if (mica_slice_copy(mica_slice_str(from), to, size) != MICA_OK)
		to[0] = '\0';
}

/* Who the pod is, named by its issuer; false when that is another one than was asked for. */
static bool is_pod(const struct mica_issuer *issuer, const struct mica_principal *asker,
	const struct mica_node_pod *pod, struct mica_slice identity, struct mica_principal *out)
{
	memset(out, 0, sizeof(*out));
	set_text(out->issuer, sizeof(out->issuer), asker->issuer);
	set_text(out->cluster, sizeof(out->cluster), asker->cluster);
	set_text(out->ns, sizeof(out->ns), pod->ns);
	set_text(out->sa, sizeof(out->sa), pod->sa);
	set_text(out->pod, sizeof(out->pod), pod->name);
	set_text(out->node, sizeof(out->node), asker->node);
	out->pod_uid = pod->uid;
	out->node_uid = asker->node_uid;
	return mica_issuer_name_pod(issuer, out, NULL) == MICA_OK &&
		mica_slice_eq_str(identity, out->spiffe_id);
}

mica_rc mica_impersonation_judge(const struct mica_issuer *issuer,
	const struct mica_principal *asker, struct mica_slice identity,
	const struct mica_node_pods *pods, mica_impersonation_denied *denied, const void *ctx,
	struct mica_principal *out, struct mica_err *e)
{
	mica_rc rc = check_asker(asker, pods, e);
	bool found = false;

	if (rc != MICA_OK)
		return rc;
	for (size_t i = 0; i < pods->n; i++) {
		if (pods->v[i].ended || !is_pod(issuer, asker, &pods->v[i], identity, out))
			continue;
		if (!denied || !denied(ctx, out))
			return MICA_OK;
		found = true;
	}
	memset(out, 0, sizeof(*out));
	if (found)
		return mica_fail(e, MICA_DENIED, "denied_by_list",
			"this identity, or its pod, is on the deny list");
	return mica_fail(e, MICA_DENIED, "impersonation_not_here",
		"no pod that runs on node %s has the identity that is asked for", asker->node);
}
