/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the name that an Envoy asks for to the secret that it gets. Pure. A name is, in this order:
 *
 *	a name of sds.names		what it `is`, one of the following
 *	sds.default_svid ("default")	the first identity of the peer
 *	sds.default_bundle ("ROOTCA")	the roots of our own trust domain
 *	sds.all_bundles ("ALL")		the roots of every trust domain that is known
 *	spiffe://td			the roots of that trust domain
 *	spiffe://td/path		the peer's identity with that ID
 *
 * What another peer may use, or nobody knows, is nothing: SDS_NONE.
 */
#ifndef MICA_AGENT_SDS_SECRET_H
#define MICA_AGENT_SDS_SECRET_H

#include "keep.h"

#define SDS_SECRET_URL "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

enum sds_kind { SDS_NONE, SDS_CERTIFICATE, SDS_BUNDLE, SDS_ALL_BUNDLES };
struct sds_meaning {
	enum sds_kind kind;
	unsigned identity; /* CERTIFICATE */
};
struct sds_meaning sds_resolve(const struct agent_config *c, const struct keep_view *v,
	uint32_t mask, struct mica_slice name);

/* Appends an envoy.extensions.transport_sockets.tls.v3.Secret under this name. Chain and key are
 * always together. With several trust domains `ALL` is the SPIFFE validator's whatever is asked
 * for: a list of roots would let each sign for all. */
void sds_put_secret(const struct sds_meaning *m, const struct keep_view *v, struct mica_slice name,
	enum agent_validator validator, struct mica_buf *out);
/* One name for each secret that a peer gets who names none: its identities, and our own bundle.
 * Calls `each` with names that are borrowed from the view. */
void sds_each_name(const struct keep_view *v, unsigned n_identities, uint32_t mask,
	void (*each)(void *ctx, const char *name), void *ctx);

#endif
