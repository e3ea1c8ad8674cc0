/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Envoys send: DiscoveryRequest and DeltaDiscoveryRequest, of which a handful of fields is
 * looked at. Slices point into the message. Pure.
 */
#ifndef MICA_AGENT_SDS_REQUEST_H
#define MICA_AGENT_SDS_REQUEST_H

#include "config.h"

#define SDS_NAMES_MAX 256 /* of one message, and of one stream */
#define SDS_NAME_MAX  2048

struct sds_names {
	struct mica_slice v[SDS_NAMES_MAX];
	size_t n;
};
struct sds_request {
	struct sds_names names; /* resource_names, or resource_names_subscribe */
	struct sds_names gone; /* resource_names_unsubscribe */
	/* initial_resource_versions: what an Envoy that came back has already */
	struct {
		struct mica_slice name, version;
	} has[SDS_NAMES_MAX];
	size_t n_has;
	struct mica_slice type_url, nonce;
	bool has_node;
	struct mica_slice node_id;
	/* What the node's metadata say of how to tell trust, if anything. */
	bool says_validator;
	enum agent_validator validator;
	bool nack;
	struct mica_slice nack_message;
};
/* INVALID "message_invalid"; LIMIT "too_many_names" (also a name that is too long). */
mica_rc sds_request_read(
	struct mica_slice message, struct sds_request *out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc sds_delta_read(
	struct mica_slice message, struct sds_request *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
