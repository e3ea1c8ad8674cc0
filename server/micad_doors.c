/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's listeners. */
#include "micad_impl.h"

#include "plugged.h"
#include "policies_dir.h"

#include "mica/threads.h"

#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define METRICS_CONNECTIONS 64
#define ADMIN_CONNECTIONS   64
#define ADMIN_BODY          (1u << 20)
#define WATCH_SPARE         64 /* connections beside the watchers themselves */

/* Opens one listener with what all have in common. */
static mica_rc open_door(
	struct micad *m, enum api_listener which, struct http_options *o, struct mica_err *e)
{
	static const char *const names[] = {"https", "watch", "admin", "metrics"};
	mica_rc rc;

	o->name = names[which];
	o->unix_gid = which == API_ADMIN ? m->admin_gid : -1;
	o->unix_gid2 = which == API_ADMIN ? m->audit_gid : -1;
	o->max_body = (size_t)m->config->https.max_request_body;
	if (which == API_ADMIN && o->max_body < ADMIN_BODY) /* many policies in one change */
		o->max_body = ADMIN_BODY;
	o->idle_timeout_ms = m->config->https.idle_timeout * 1000;
	o->request_timeout_ms = m->config->https.request_timeout * 1000;
	o->handler = api_handler;
	o->admit = api_admit;
	o->ctx = api_door(m->api, which);
	rc = http_server_new(o, &m->door[which], e);
	if (rc != MICA_OK) {
		mica_err_context(e, "%s", o->name);
		return rc;
	}
	api_set_server(m->api, which, m->door[which]);
	return MICA_OK;
}

mica_rc micad_open_tls_doors(struct micad *m, struct mica_err *e)
{
	const struct mica_config *c = m->config;
	struct http_options watch = {.listen = &c->https.watch,
		.tls = m->tls.http,
		.want_client_cert = true,
		.threads = 1,
		.max_connections = (unsigned)c->https.max_watchers + WATCH_SPARE,
		.max_per_address = (unsigned)c->https.max_connections_per_address,
		.deferred_timeout_ms = 90 * 1000};
	struct http_options https = {.listen = &c->https.listen,
		.tls = m->tls.http,
		.want_client_cert = true,
		.max_connections = (unsigned)c->https.max_connections,
		.max_per_address = (unsigned)c->https.max_connections_per_address,
		.deferred_timeout_ms = 90 * 1000};
	unsigned loops;
	mica_rc rc = MICA_OK;

	grpc_threads(c, mica_cores(), &loops, &https.threads);
	if (c->https.watch.text && c->https.watch.text[0] && !m->door[API_WATCH])
		rc = open_door(m, API_WATCH, &watch, e);
	if (rc == MICA_OK && !m->grpc && mica_config_has_grpc(c))
		rc = grpc_new(m->desk, c, m->tls.rpc, &m->grpc, e);
	if (rc == MICA_OK && m->grpc)
		api_set_grpc(m->api, m->grpc);
	if (rc == MICA_OK && !m->door[API_PUBLIC])
		rc = open_door(m, API_PUBLIC, &https, e);
	return rc;
}

/* The files have brought another root, or another authority that signs. */
static void plugged_changed(void *ctx)
{
	struct micad *m = ctx;

	api_wake(m->api, false);
}

mica_rc micad_open_doors(struct micad *m, struct mica_err *e)
{
	const struct mica_config *c = m->config;
	struct http_options metrics = {.listen = &c->metrics,
		.threads = 1,
		.max_connections = METRICS_CONNECTIONS,
		.deferred_timeout_ms = 10000};
	struct http_options admin = {.unix_path = c->admin.socket,
		.threads = 1,
		.max_connections = ADMIN_CONNECTIONS,
		.deferred_timeout_ms = 90 * 1000};
	mica_rc rc = MICA_OK;

	if (c->metrics.text && c->metrics.text[0])
		rc = open_door(m, API_METRICS, &metrics, e);
	if (rc == MICA_OK && c->admin.socket && c->admin.socket[0])
		rc = open_door(m, API_ADMIN, &admin, e);
	if (rc == MICA_OK && m->plugged)
		rc = plugged_start(m->plugged, plugged_changed, m, e);
	if (rc == MICA_OK && m->policies_dir)
		rc = policies_dir_start(m->policies_dir, e);
	return rc == MICA_OK && m->tls.http ? micad_open_tls_doors(m, e) : rc;
}

static struct mica_field door_field(const struct micad *m, enum api_listener l, const char *key)
{
	return MICA_S(m->door[l] ? key : NULL, m->door[l] ? http_server_address(m->door[l]) : "");
}

static struct mica_field grpc_field(const struct micad *m, enum grpc_listener l, const char *key)
{
	return desk_field(key, m->grpc ? grpc_address(m->grpc, l) : "");
}

void micad_say_ready(const struct micad *m)
{
	MICA_LOG(MICA_INFO, "ready", door_field(m, API_PUBLIC, "https"),
		door_field(m, API_WATCH, "watch"), grpc_field(m, GRPC_TLS, "grpc"),
		grpc_field(m, GRPC_PLAINTEXT, "grpc_plaintext"),
		grpc_field(m, GRPC_SOCKET, "grpc_socket"), door_field(m, API_METRICS, "metrics"),
		door_field(m, API_ADMIN, "admin"), MICA_S("trust_domain", m->config->trust_domain),
		MICA_S("version", MICA_VERSION), MICA_I("pid", getpid()));
	if (m->door[API_PUBLIC])
		sd_notifyf(0, "READY=1\nSTATUS=Serving %s on %s", m->config->trust_domain,
			http_server_address(m->door[API_PUBLIC]));
	else
		sd_notify(0,
			"READY=1\nSTATUS=No certificate to serve with: the socket alone is open");
}

void micad_say_listening(const struct micad *m)
{
	MICA_LOG(MICA_INFO, "listening", door_field(m, API_PUBLIC, "https"),
		door_field(m, API_WATCH, "watch"), grpc_field(m, GRPC_TLS, "grpc"),
		grpc_field(m, GRPC_PLAINTEXT, "grpc_plaintext"),
		grpc_field(m, GRPC_SOCKET, "grpc_socket"));
	sd_notifyf(0, "STATUS=Serving %s on %s", m->config->trust_domain,
		http_server_address(m->door[API_PUBLIC]));
}
