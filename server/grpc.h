/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC front of micad: the certificate protocols of meshes (docs/ISTIO.md), health and
 * reflection, on mica/rpc.h. Each service decodes and encodes; who asks, what they get and what is
 * logged of it is desk.h's and ask.h's.
 *
 * To end: grpc_drain with the other fronts, grpc_stop behind committer_stop, then grpc_free.
 */
#ifndef MICA_SERVER_GRPC_H
#define MICA_SERVER_GRPC_H

#include "desk.h"

#include "mica/rpc.h"

struct grpc; /* opaque */

/* Listens as config->grpc says, with `key` for TLS (a reference is taken; NULL is fine when
 * grpc.listen is off). `desk` is borrowed until grpc_free; of the configuration, what counts is
 * copied. Errors are those of mica_rpc_server_new. */
mica_rc grpc_new(struct desk *desk, const struct mica_config *config, struct mica_rpc_key *key,
	struct grpc **out, struct mica_err *e) MICA_MUST_CHECK;
/* "127.0.0.1:15012" with the real port, or the path; "" = not on. */
enum grpc_listener { GRPC_TLS, GRPC_PLAINTEXT, GRPC_SOCKET, GRPC_LISTENERS };
const char *grpc_address(const struct grpc *g, enum grpc_listener l);
void grpc_set_key(struct grpc *g, struct mica_rpc_key *k); /* for new handshakes */
/* What health checks are told. Any thread. */
void grpc_set_serving(struct grpc *g, bool serving);
/* Appends what /metrics tells of it. Any thread. */
void grpc_write_metrics(const struct grpc *g, struct mica_buf *out);
void grpc_drain(struct grpc *g);
void grpc_stop(struct grpc *g, int64_t wait_ms);
void grpc_free(struct grpc *g); /* NULL is fine */

/* How many loops serve gRPC and how many workers HTTPS, on a machine with so many cores: together
 * as many as those, unless the configuration says otherwise. */
void grpc_threads(
	const struct mica_config *config, unsigned cores, unsigned *grpc, unsigned *https);

#endif
