/* SPDX-License-Identifier: Apache-2.0 */
#include "peers.h"

static bool in(int64_t id, const uint32_t *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (id == (int64_t)list[i])
			return true;
	return false;
}

uint32_t peers_identities(const struct agent_config *c, const struct mica_rpc_peer *peer)
{
	uint32_t mask = 0;

	if (!peer->local)
		return 0;
	for (unsigned i = 0; i < c->n_identities; i++) {
		const struct agent_identity *id = &c->identities[i];

		if (id->any || in(peer->uid, id->uids, id->n_uids) ||
			in(peer->gid, id->gids, id->n_gids))
			mask |= UINT32_C(1) << i;
	}
	return mask;
}
