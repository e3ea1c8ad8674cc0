/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugged-in authority (authorities.root: files): looks at its directory, and hands what is there
 * to the core, which checks it as a whole and takes it or not. What was taken before goes on.
 *
 * The files are those of Istio's secret `cacerts` (ca-cert.pem, ca-key.pem, cert-chain.pem,
 * root-cert.pem) or those of cert-manager (tls.crt, tls.key, ca.crt). All are read from one moment:
 * where Kubernetes swaps the symbolic link `..data`, from the folder that it named; elsewhere when
 * nothing has changed for a short time. The kernel tells of changes (inotify), and what it does not
 * tell of (network file systems, a folder that is mounted later) is looked for now and then.
 */
#ifndef MICA_SERVER_PLUGGED_H
#define MICA_SERVER_PLUGGED_H

#include "mica/config.h"
#include "mica/core.h"

struct plugged; /* opaque */

struct plugged_options {
	struct mica_core *core; /* borrowed until plugged_free */
	const struct mica_config *config; /* what counts is copied */
	int64_t settle_ms; /* nothing may have changed for so long; 0 = 200 */
};
/* Looks once, so that what is there can be used at once; a failure is logged and told by the
 * status. NULL when nothing is plugged in. */
struct plugged *plugged_new(const struct plugged_options *o);
/* Looks for changes from now on, in a thread of its own. `changed` is called there when the core
 * has taken something. UNAVAILABLE "no_threads", else as mica_fail_errno. */
mica_rc plugged_start(struct plugged *p, void (*changed)(void *ctx), void *ctx,
	struct mica_err *e) MICA_MUST_CHECK;
/* Look now, whatever was told (SIGHUP). Any thread. NULL is fine. */
void plugged_look(struct plugged *p);
void plugged_free(struct plugged *p); /* NULL is fine; ends the thread */

struct plugged_status {
	char directory[256];
	bool valid; /* what is there now was taken */
	uint64_t taken, refused; /* sets that changed something; sets that were not taken */
	int64_t taken_at; /* seconds: when what is there was taken, or found as it was; 0 = never */
	char issuing_id[41], root_id[41]; /* "" = nothing was taken */
	bool active; /* its issuing authority signed when it was taken */
	const char *reason; /* of the last look, NULL = none; a literal */
	char error[MICA_ERR_TEXT_MAX];
};
void plugged_status(struct plugged *p, struct plugged_status *out); /* any thread */

#endif
