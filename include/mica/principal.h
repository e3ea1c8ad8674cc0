/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks, and why we believe it. A principal is what a credential proved; evidence is the
 * credential. Both stand in the ledger entry of every certificate, so that an auditor gets
 * from a certificate to the pod that asked. Plain data: no pointer, copied freely.
 */
#ifndef MICA_PRINCIPAL_H
#define MICA_PRINCIPAL_H

#include <stdbool.h>
#include <stdint.h>

#define MICA_TD_MAX          255 /* SPIFFE-ID 2.1, 2.3 */
#define MICA_SPIFFE_ID_MAX   2048 /* SPIFFE-ID 2.3 */
#define MICA_NAME_MAX        63 /* our own short names: issuers, clusters, sets, outlets */
#define MICA_K8S_NAME_MAX    253 /* RFC 1123 subdomain */
#define MICA_K8S_NS_MAX      63 /* RFC 1123 label */
#define MICA_EVIDENCE_ID_MAX 255
#define MICA_INSTANCE_MAX    64 /* of a program in a pod */

/* A Kubernetes object's UID; all zero = unknown. */
struct mica_uid {
	uint8_t b[16];
};

/* The doors of Mica. A token's audience counts on the front it is listed for (8.1). */
enum mica_front {
	MICA_FRONT_REST,
	MICA_FRONT_ISTIO,
	MICA_FRONT_LINKERD,
	MICA_FRONT_CONSUL,
	MICA_FRONT_COUNT
};

enum mica_evidence_kind {
	MICA_EV_TOKEN = 1, /* service-account or OIDC token; id = jti */
	MICA_EV_RENEWAL, /* a valid SVID of ours; id = its serial in hex */
	MICA_EV_PCR, /* PodCertificateRequest; id = its UID */
	MICA_EV_JOIN, /* join token; id = its public handle */
	MICA_EV_ADMIN, /* an administrator's decision; id = who */
	MICA_EV_SELF /* micad for itself (serving certificate, publisher) */
};

/* How far the outlet of a certificate can prove that its holder has a bundle (8.3). */
enum mica_outlet_class { MICA_OUTLET_NONE, MICA_OUTLET_CARRIED, MICA_OUTLET_ACK };

struct mica_principal {
	char issuer[MICA_NAME_MAX + 1]; /* name of the configured issuer that vouches */
	char cluster[MICA_NAME_MAX + 1]; /* "" for an issuer without one */
	char ns[MICA_K8S_NS_MAX + 1];
	char sa[MICA_K8S_NAME_MAX + 1];
	char pod[MICA_K8S_NAME_MAX + 1];
	char node[MICA_K8S_NAME_MAX + 1];
	struct mica_uid sa_uid, pod_uid, node_uid;
	/* For a generic OIDC issuer: its `sub`; "" for Kubernetes. */
	char subject[256];
	/* The name that the issuer's template made; the SPIFFE identity scheme. */
	char spiffe_id[MICA_SPIFFE_ID_MAX + 1];
};

/* A pod that asked for another one's identity (Istio's ztunnel): the credential is its own. It is
 * of the principal's issuer, cluster and node. */
struct mica_asker {
	char ns[MICA_K8S_NS_MAX + 1]; /* "" = the principal asked for itself */
	char sa[MICA_K8S_NAME_MAX + 1];
	char pod[MICA_K8S_NAME_MAX + 1];
	struct mica_uid pod_uid;
};

struct mica_evidence {
	enum mica_evidence_kind kind;
	enum mica_front front;
	char id[MICA_EVIDENCE_ID_MAX +
		1]; /* the token's jti, the request's UID, the previous serial ... */
	/* Last primary evidence (not RENEWAL): 0 index for a primary one, filled at commit. */
	uint64_t origin_index;
	int64_t origin_time;
	int64_t credential_expiry; /* exp of the token, notAfter of the SVID; 0 = none */
	struct mica_asker asker;
};

#endif
