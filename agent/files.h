/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files mode, for programs that know neither SPIFFE nor SDS (nginx, HAProxy, PostgreSQL): the
 * chain, the key, the roots in PEM, and all bundles as a SPIFFE bundle map. The only place where a
 * key leaves memory, and only where the configuration says so. All four of an identity are replaced
 * as one (mica_file_write_set); then its program is told, by a signal or a command.
 */
#ifndef MICA_AGENT_FILES_H
#define MICA_AGENT_FILES_H

#include "figures.h"
#include "keep.h"

struct files; /* opaque */
/* `figures` may be NULL. */
struct files *files_new(const struct agent_config *c, struct keep *k, struct figures *figures);
/* A thread of its own, when any identity has files: a command may take its time. */
mica_rc files_start(struct files *f, struct mica_err *e) MICA_MUST_CHECK;
void files_changed(void *f); /* for keep_listen */
void files_stop(struct files *f); /* NULL is fine */
void files_free(struct files *f); /* NULL is fine */

/* SPIFFE Trust Domain and Bundle 5: {"trust_domains":{"<td>":BUNDLE}}. */
void files_put_bundle_map(const struct trust *t, struct mica_buf *out);

#endif
