/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: a bearer token, a client SVID or the peer of a socket, in this order. */
#include "api_impl.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#define GROUPS_MAX 256

/* ---- the peer of a socket ------------------------------------------------------------------ */

/* Whether the peer is in group `gid`: by its process's group, or by the group database. */
static bool in_group(const struct http_peer *p, int64_t gid)
{
	char mem[4096];
	struct passwd pw, *found = NULL;
	gid_t groups[GROUPS_MAX];
	int n = GROUPS_MAX;

	if (gid < 0 || p->gid == gid)
		return gid >= 0;
	if (getpwuid_r((uid_t)p->uid, &pw, mem, sizeof(mem), &found) != 0 || !found ||
		getgrouplist(pw.pw_name, pw.pw_gid, groups, &n) < 0)
		return false;
	for (int i = 0; i < n; i++)
		if (groups[i] == (gid_t)gid)
			return true;
	return false;
}

static void check_peer(struct api_call *c)
{
	const struct http_peer *p = c->d->peer;
	const struct api_options *o = &c->a->o;
	struct mica_caller *k = c->caller;

	k->evidence.kind = MICA_EV_ADMIN;
	k->uid = p->uid;
	k->gid = p->gid;
	k->pid = p->pid;
	snprintf(k->evidence.id, sizeof(k->evidence.id), "uid:%lld", (long long)p->uid);
	if (p->uid == 0 || p->uid == o->own_uid || in_group(p, o->admin_gid))
		k->roles = MICA_ROLE_ADMIN;
	else if (in_group(p, o->audit_gid))
		k->roles = MICA_ROLE_AUDITOR;
	ask_known(&c->ask);
}

/* ---- which of them ------------------------------------------------------------------------- */

struct mica_slice api_credential(const struct http_req_data *d)
{
	struct mica_slice token;

	if (d->authorization.len && api_bearer(d->authorization, &token))
		return token;
	return d->n_client_chain ? d->client_chain[0] : MICA_SLICE_NULL;
}

static void no_credential(
	struct api_call *c, const char *reason, const char *text, const char *expected)
{
	c->expected = expected;
	mica_fail(&c->err, MICA_UNAUTHENTICATED, reason, "%s %s", text, expected);
	ask_refuse(&c->ask);
}

void api_authenticate(struct api_call *c)
{
	const struct http_req_data *d = c->d;
	struct ask *a = &c->ask;

	if (c->route->who == API_ANYONE) {
		a->t_auth = a->t_begin;
		api_run(c);
		return;
	}
	a->caller = c->caller = MICA_NEW(struct mica_caller);
	c->caller->uid = c->caller->gid = c->caller->pid = -1;
	if (d->authorization.len && !api_bearer(d->authorization, &a->token)) {
		no_credential(c, "credential_malformed", "expected the header",
			"Authorization: Bearer <token>");
		return;
	}
	if (!d->authorization.len) {
		a->chain = d->client_chain;
		a->n_chain = d->n_client_chain;
	}
	if (d->authorization.len || a->n_chain)
		ask_who(a);
	else if (d->peer->local)
		check_peer(c);
	else
		no_credential(c, "credential_missing", "nobody is known by this request, expected",
			"Authorization: Bearer <token>, or a client certificate");
}

/* ---- as a front ------------------------------------------------------------------------------ */

static void leave(struct ask *a, bool keep)
{
	if (keep)
		api_keep(api_call_of(a));
	else
		api_defer(api_call_of(a));
}

static void known(struct ask *a)
{
	api_run(api_call_of(a));
}

static void failed(struct ask *a)
{
	api_fail(api_call_of(a));
}

const struct ask_face api_face = {.name = "rest",
	.leave = leave,
	.known = known,
	.write = api_write,
	.answered = api_answered,
	.failed = failed};
