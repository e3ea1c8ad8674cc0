/* SPDX-License-Identifier: Apache-2.0 */
/* Who may use which identity: by the credentials that the kernel gives of a peer. */
#ifndef MICA_AGENT_PEERS_H
#define MICA_AGENT_PEERS_H

#include "config.h"

#include "mica/rpc.h"

/* Bit i stands for identity i. Supplementary groups do not count: the kernel tells the one that the
 * peer had when it connected. */
uint32_t peers_identities(const struct agent_config *c, const struct mica_rpc_peer *peer);

#endif
