/* SPDX-License-Identifier: Apache-2.0 */
/* Running it: configuration, status, changes by administrators, backups, health. */
#include "api_impl.h"

#include "embed.h"
#include "keys.h"
#include "kube.h"
#include "plugged.h"

#include "mica/clock.h"
#include "mica/log.h"

#include <stdio.h>
#include <sys/stat.h>

#define DOC_MAX   (4u << 20)
#define LIST_MAX  (64u << 20)
#define JSON_TYPE "application/json"

static void send_or_fail(struct api_call *c, mica_rc rc, const char *type)
{
	if (rc == MICA_OK)
		api_send(c, 200, type, NULL);
	else
		api_fail(c);
}

/* Takes back the closing brace of an object, so that members can be added. */
static void reopen(struct mica_buf *b)
{
	while (b->len && b->p[b->len - 1] != '}')
		b->len--;
	if (b->len)
		b->len--;
	b->p[b->len] = '\0';
}

/* ---- what callers may know ------------------------------------------------------------------ */

/* How callers elsewhere reach the listener for long polls: the public host with its port; "" when
 * there is none. A public host is HOST or HOST:PORT, HOST may be an IPv6 address in brackets. */
static void watch_url(struct api *a, char *out, size_t size)
{
	struct http_server *s = atomic_load(&a->door[API_WATCH].server);
	const char *address = s ? http_server_address(s) : "", *port = strrchr(address, ':');
	const char *host = a->public_host, *colon = strrchr(host, ':');
	size_t len = colon && !strchr(colon, ']') ? (size_t)(colon - host) : strlen(host);

	out[0] = '\0';
	if (port && len)
		snprintf(out, size, "https://%.*s%s", (int)len, host, port);
	else if (port)
		snprintf(out, size, "https://%s", address);
}

void api_configuration(struct api_call *c)
{
	char url[512];
	mica_rc rc;

	mica_buf_init(&c->out, DOC_MAX);
	rc = mica_core_configuration(c->a->desk->core, &c->out, &c->err);
	if (rc == MICA_OK) {
		reopen(&c->out);
		watch_url(c->a, url, sizeof(url));
		if (url[0])
			api_put_string(&c->out, "watch_url", mica_slice_str(url));
		else
			mica_buf_put_str(&c->out, ",\"watch_url\":null");
		mica_buf_put_u8(&c->out, '}');
	}
	if (rc == MICA_OK)
		api_send(c, 200, JSON_TYPE, "no-cache");
	else
		api_fail(c);
}

struct mica_slice api_openapi(void)
{
	return mica_slice(embed_openapi, embed_openapi_len);
}

void api_openapi_doc(struct api_call *c)
{
	api_answer(c,
		&(struct api_answer){.status = 200,
			.type = JSON_TYPE,
			.body = api_openapi(),
			.cache = "no-cache"});
}

/* OpenID Connect Discovery 1.0, 3: as much as a relying party of JWT-SVIDs needs. The issuer is
 * what the core writes into tokens as `iss`. */
void api_oidc(struct api_call *c)
{
	const char *host = c->a->public_host;
	struct mica_buf *b = &c->out;

	if (!atomic_load(&c->a->oidc_discovery) || host[0] == '\0') {
		mica_fail(&c->err, MICA_NOT_FOUND, "no_such_path",
			"OIDC discovery is off (jwt.oidc_discovery)");
		api_fail(c);
		return;
	}
	mica_buf_init(b, DOC_MAX);
	mica_buf_printf(
		b, "{\"issuer\":\"https://%s\",\"jwks_uri\":\"https://%s/v1/jwks\"", host, host);
	mica_buf_put_str(b,
		",\"response_types_supported\":[\"id_token\"]"
		",\"subject_types_supported\":[\"public\"]"
		",\"id_token_signing_alg_values_supported\":[\"ES256\"]}");
	api_send(c, 200, JSON_TYPE, "no-cache");
}

/* ---- status ------------------------------------------------------------------------------ */

static void put_listeners(struct api *a, struct mica_buf *b)
{
	mica_buf_put_str(b, ",\"listeners\":[");
	for (unsigned l = 0, n = 0; l < API_LISTENER_COUNT; l++) {
		struct http_server *s = atomic_load(&a->door[l].server);
		struct http_stats st;
		if (!s)
			continue;
		http_server_stats(s, &st);
		mica_buf_put_str(b, n++ ? ",{" : "{");
		api_put_string(b, "name", mica_slice_str(api_listener_names[l]));
		api_put_string(b, "address", mica_slice_str(http_server_address(s)));
		api_put_u64(b, "connections", st.connections_now);
		api_put_u64(b, "requests", st.requests);
		mica_buf_put_u8(b, '}');
	}
	mica_buf_put_u8(b, ']');
}

/* The copy tells nothing while it is made; its file does. Behind it the file is read again for its
 * manifest, which tells. */
static void put_backup(struct api *a, struct mica_buf *b)
{
	uint64_t all = atomic_load(&a->backup_all), done = atomic_load(&a->backup_done);
	struct stat st;

	mica_buf_put_str(b, ",\"backup\":");
	if (!atomic_load(&a->backup_running)) {
		mica_buf_put_str(b, "null");
		return;
	}
	pthread_mutex_lock(&a->backup_lock);
	if (stat(a->backup_part, &st) == 0 && (uint64_t)st.st_size < all)
		done = (uint64_t)st.st_size;
	pthread_mutex_unlock(&a->backup_lock);
	mica_buf_put_u8(b, '{');
	api_put_u64(b, "done", done);
	api_put_u64(b, "all", all);
	mica_buf_put_u8(b, '}');
}

/* How fetching the issuers' keys goes; the keys themselves are the core's to tell. */
static void put_keys(struct api *a, struct mica_buf *b)
{
	unsigned n;
	MICA_AUTO_FREE struct mica_keys_status *s = api_keys_status(a, &n);

	mica_buf_put_str(b, ",\"issuers\":[");
	for (unsigned i = 0; i < n; i++) {
		mica_buf_put_str(b, i ? ",{" : "{");
		api_put_string(b, "issuer", mica_slice_str(s[i].issuer));
		api_put_string(b, "keys_state", mica_slice_str(mica_keys_state_name(s[i].state)));
		api_put_u64(b, "fetches_ok", s[i].fetches_ok);
		api_put_u64(b, "fetches_failed", s[i].fetches_failed);
		api_put_u64(b, "keys", s[i].keys);
		api_put_u64(b, "keys_skipped", s[i].skipped);
		if (s[i].reason) {
			api_put_string(b, "reason", mica_slice_str(s[i].reason));
			api_put_string(b, "error", mica_slice_str(s[i].error));
		}
		mica_buf_put_u8(b, '}');
	}
	mica_buf_put_u8(b, ']');
}

/* How asking the clusters about tokens goes. */
static void put_reviews(struct api *a, struct mica_buf *b)
{
	unsigned n;
	MICA_AUTO_FREE struct mica_kube_status *s = api_review_status(a, &n);

	mica_buf_put_str(b, ",\"reviews\":[");
	for (unsigned i = 0; i < n; i++) {
		mica_buf_put_str(b, i ? ",{" : "{");
		api_put_string(b, "issuer", mica_slice_str(s[i].issuer));
		api_put_bool(b, "failing", s[i].failing);
		api_put_u64(b, "asked", s[i].asked);
		api_put_u64(b, "answered", s[i].answered);
		api_put_u64(b, "failed", s[i].failed);
		api_put_u64(b, "shared", s[i].shared);
		api_put_u64(b, "refused", s[i].refused_full + s[i].refused_resting);
		api_put_u64(b, "allowed_on_failure", s[i].allowed);
		api_put_u64(b, "waiting", (uint64_t)s[i].queued + s[i].running);
		api_put_u64(b, "last_ms", (uint64_t)(s[i].last_ms > 0 ? s[i].last_ms : 0));
		if (s[i].reason) {
			api_put_string(b, "reason", mica_slice_str(s[i].reason));
			api_put_string(b, "error", mica_slice_str(s[i].error));
		}
		mica_buf_put_u8(b, '}');
	}
	mica_buf_put_u8(b, ']');
}

/* How the plugged-in authority is; null without one. */
static void put_plugged(struct api *a, struct mica_buf *b)
{
	struct plugged_status s;

	mica_buf_put_str(b, ",\"plugged\":");
	if (!a->o.plugged) {
		mica_buf_put_str(b, "null");
		return;
	}
	plugged_status(a->o.plugged, &s);
	mica_buf_put_u8(b, '{');
	api_put_string(b, "directory", mica_slice_str(s.directory));
	api_put_bool(b, "valid", s.valid);
	api_put_u64(b, "taken", s.taken);
	api_put_u64(b, "refused", s.refused);
	if (s.issuing_id[0]) {
		api_put_time(b, "taken_at", s.taken_at);
		api_put_string(b, "issuing", mica_slice_str(s.issuing_id));
		api_put_string(b, "root", mica_slice_str(s.root_id));
	}
	if (s.reason) {
		api_put_string(b, "reason", mica_slice_str(s.reason));
		api_put_string(b, "error", mica_slice_str(s.error));
	}
	mica_buf_put_u8(b, '}');
}

static void put_server(struct api *a, struct mica_buf *b)
{
	struct committer_stats cs;

	committer_stats(a->desk->committer, &cs);
	mica_buf_put_str(b, ",\"server\":{");
	api_put_string(b, "version", mica_slice_str(a->o.version ? a->o.version : ""));
	api_put_time(b, "started", a->started);
	api_put_u64(b, "uptime_seconds", (uint64_t)(mica_now() - a->started));
	api_put_bool(b, "draining", atomic_load(&a->desk->draining));
	put_listeners(a, b);
	api_put_u64(b, "watchers", watch_count(a->watch, false));
	api_put_u64(b, "watchers_shared", watch_count(a->watch, true));
	api_put_u64(b, "under_way", atomic_load(&a->desk->under_way));
	api_put_u64(b, "queued", cs.queued);
	api_put_u64(b, "commits", cs.commits);
	api_put_u64(b, "log_lines_dropped", mica_log_dropped());
	put_keys(a, b);
	put_reviews(a, b);
	put_plugged(a, b);
	mica_buf_put_u8(b, '}');
}

void api_status_doc(struct api_call *c)
{
	mica_rc rc;

	mica_buf_init(&c->out, DOC_MAX);
	rc = mica_core_status(c->a->desk->core, mica_now_ms(), &c->out, &c->err);
	if (rc == MICA_OK) {
		reopen(&c->out);
		put_server(c->a, &c->out);
		put_backup(c->a, &c->out);
		mica_buf_put_u8(&c->out, '}');
	}
	send_or_fail(c, rc, JSON_TYPE);
}

void api_explain(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct api_explain_body b;
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	mica_buf_init(&c->out, DOC_MAX);
	if (rc == MICA_OK)
		rc = api_decode_explain(&doc, &b, &c->err);
	if (rc == MICA_OK)
		rc = mica_core_explain_token(
			c->a->desk->core, b.token, b.front, mica_now_ms(), &c->out, &c->err);
	send_or_fail(c, rc, JSON_TYPE);
}

/* ---- changes ----------------------------------------------------------------------------- */

static void done_or_fail(struct api_call *c, mica_rc rc)
{
	if (rc == MICA_OK)
		api_answer(c, &(struct api_answer){.status = 204});
	else
		api_fail(c);
}

void api_taint(struct api_call *c)
{
	char id[48];
	mica_rc rc;

	if (mica_slice_copy(c->param, id, sizeof(id)) != MICA_OK)
		rc = mica_fail(&c->err, MICA_NOT_FOUND, "no_such_authority",
			"no authority has this id; GET /v1/status lists them");
	else
		rc = mica_core_taint(c->a->desk->core, id, c->caller, mica_now_ms(), &c->err);
	if (rc == MICA_OK) {
		api_log_admin(c, "authority_tainted", "authority", c->param);
		api_wake(c->a, true);
	}
	done_or_fail(c, rc);
}

void api_deny_list(struct api_call *c)
{
	mica_buf_init(&c->out, LIST_MAX);
	send_or_fail(c, mica_core_denied(c->a->desk->core, &c->out, &c->err), JSON_TYPE);
}

static void change_deny(struct api_call *c, bool denied)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct api_deny_body b;
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	if (rc == MICA_OK)
		rc = api_decode_deny(&doc, &b, &c->err);
	if (rc == MICA_OK)
		rc = mica_core_deny(c->a->desk->core, b.kind, b.value, denied, c->caller,
			mica_now_ms(), &c->err);
	if (rc == MICA_OK)
		api_log_admin(c, denied ? "deny_added" : "deny_removed", b.kind, b.value);
	done_or_fail(c, rc);
}

void api_deny_add(struct api_call *c)
{
	change_deny(c, true);
}

void api_deny_remove(struct api_call *c)
{
	change_deny(c, false);
}

/* ---- backups ----------------------------------------------------------------------------- */

static void progress(void *ctx, uint64_t done, uint64_t all)
{
	struct api *a = ctx;

	atomic_store(&a->backup_done, done);
	atomic_store(&a->backup_all, all);
}

static void put_backup_detail(struct mica_buf *b, struct mica_slice path)
{
	MICA_AUTO_BUF manifest;

	mica_buf_init(&manifest, path.len + 16);
	mica_buf_put_slice(&manifest, path);
	mica_buf_put_str(&manifest, ".manifest");
	mica_buf_put_u8(b, '{');
	api_put_string(b, "path", path);
	api_put_string(b, "manifest", mica_buf_slice(&manifest));
	mica_buf_put_u8(b, '}');
}

static void *run_backup(void *arg)
{
	struct api_call *c = arg;
	struct api *a = c->a;
	struct mica_slice path = c->param;
	mica_rc rc = mica_core_backup(a->desk->core, (const char *)path.p, progress, a, &c->err);

	if (rc == MICA_OK) {
		put_backup_detail(&c->out, path);
		rc = mica_core_record(a->desk->core, "backup", c->caller, mica_buf_slice(&c->out),
			mica_now_ms(), &c->err);
	}
	if (rc == MICA_OK)
		api_log_admin(c, "backup_made", "path", path);
	atomic_store(&a->backup_running, false);
	if (rc == MICA_OK)
		api_send(c, 201, JSON_TYPE, NULL);
	else
		api_fail(c);
	return NULL;
}

/* One at a time, on a thread of its own: it may take minutes. `c` holds all that it needs. */
static mica_rc start_backup(struct api_call *c)
{
	struct api *a = c->a;
	mica_rc rc = MICA_OK;
	int err;

	pthread_mutex_lock(&a->backup_lock);
	if (atomic_load(&a->stopped)) {
		rc = mica_fail(
			&c->err, MICA_UNAVAILABLE, "draining", "this server is about to end");
	} else if (atomic_load(&a->backup_running)) {
		rc = mica_fail(&c->err, MICA_CONFLICT, "backup_running",
			"a backup is being made, GET /v1/status says how far it is");
	} else {
		if (a->backup_thread_valid)
			pthread_join(a->backup_thread, NULL);
		progress(a, 0, 0);
		snprintf(a->backup_part, sizeof(a->backup_part), "%.*s.part", MICA_FMT(c->param));
		atomic_store(&a->backup_running, true);
		err = pthread_create(&a->backup_thread, NULL, run_backup, c);
		a->backup_thread_valid = err == 0;
		atomic_store(&a->backup_running, err == 0);
		if (err)
			rc = mica_fail_errno(&c->err, err, "starting a thread");
	}
	pthread_mutex_unlock(&a->backup_lock);
	return rc;
}

void api_backup(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_slice path = MICA_SLICE_NULL;
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	if (rc == MICA_OK)
		rc = api_decode_backup(&doc, &path, &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	c->long_work = true;
	api_keep(c);
	/* The path lives with the call, in place of what else was kept: nobody asks for that again.
	 */
	c->kept.authorization = c->kept.body = c->kept.query = c->ask.token = MICA_SLICE_NULL;
	mica_buf_clear(&c->kept_mem);
	mica_buf_init_secret(&c->kept_mem, path.len);
	mica_buf_put_slice(&c->kept_mem, path);
	c->param = mica_buf_slice(&c->kept_mem);
	mica_buf_init(&c->out, DOC_MAX);
	if (start_backup(c) != MICA_OK)
		api_fail(c);
}

/* ---- health ------------------------------------------------------------------------------ */

void api_health(struct api_call *c)
{
	mica_buf_init(&c->out, 64);
	mica_buf_put_str(&c->out, "ok\n");
	api_send(c, 200, "text/plain; charset=utf-8", NULL);
}

void api_ready(struct api_call *c)
{
	mica_rc rc = MICA_OK;

	if (atomic_load(&c->a->desk->draining))
		rc = mica_fail(
			&c->err, MICA_UNAVAILABLE, "draining", "this server is about to end");
	if (rc == MICA_OK)
		rc = mica_core_ready(c->a->desk->core, mica_now_ms(), &c->err);
	if (rc == MICA_OK && !atomic_load(&c->a->door[API_PUBLIC].server))
		rc = mica_fail(&c->err, MICA_UNAVAILABLE, "not_serving",
			"there is no certificate to serve HTTPS with yet");
	if (rc != MICA_OK) {
		/* whatever it is: not ready */
		api_fail_status(c, 503);
		return;
	}
	mica_buf_init(&c->out, 64);
	mica_buf_put_str(&c->out, "ready\n");
	api_send(c, 200, "text/plain; charset=utf-8", NULL);
}
