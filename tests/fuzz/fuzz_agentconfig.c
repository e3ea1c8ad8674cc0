/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's configuration: any text is refused with a place, or is one that can be run. */
#include "agent/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_err e = MICA_ERR_INIT;
	AUTO_AGENT_CONFIG c = NULL;
	const mica_rc rc = agent_config_parse(mica_slice(data, size), "fuzz", &c, &e);

	if (rc != MICA_OK) {
		if (rc != e.rc || !e.text[0] || c)
			abort();
		return 0;
	}
	if (c->n_identities == 0 || c->n_identities > AGENT_IDENTITIES_MAX ||
		(!c->micad.bootstrap_file) == (!c->micad.pin) || !c->socket.path ||
		strncmp(c->micad.url, "https://", 8) != 0)
		abort();
	for (unsigned i = 0; i < c->n_identities; i++) {
		const struct agent_identity *id = &c->identities[i];

		if (!id->any && id->n_uids == 0 && id->n_gids == 0)
			abort();
		if (id->files.directory && (!id->files.key || (id->files.key_mode & 07)))
			abort();
	}
	return 0;
}
