/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives a restart: the last good bundle, with the mark of the bootstrap that it came by.
 * Nothing secret. One JSON file in the state directory, replaced as a whole:
 *
 *	{"version":1,"trust_domain":"...","channel":"live","bootstrap":"<hex>","bundle":{...}}
 */
#ifndef MICA_AGENT_STORE_H
#define MICA_AGENT_STORE_H

#include "config.h"
#include "trust.h"

/* NOT_FOUND "no_state": nothing is kept, or it is another trust domain's or channel's; INVALID
 * "state_malformed"; else as mica_file_read. */
mica_rc store_load(const struct agent_config *c, const struct trust **out, uint8_t mark[32],
	struct mica_err *e) MICA_MUST_CHECK;
/* The same, from its text. */
mica_rc store_parse(const struct agent_config *c, struct mica_slice text, const struct trust **out,
	uint8_t mark[32], struct mica_err *e) MICA_MUST_CHECK;
/* Makes the directory (0700). OK also without one in the configuration. */
mica_rc store_save(const struct agent_config *c, const struct trust *t, const uint8_t mark[32],
	struct mica_err *e) MICA_MUST_CHECK;

#endif
