/* SPDX-License-Identifier: Apache-2.0 */
/* Who may use which identity. */
#include "pki.h"

#include "agent/peers.h"

static void who_gets_what(void **state)
{
	static const char config[] =
		"trust_domain: " TD "\nmicad: {url: \"https://m\", bootstrap_file: /r}\n"
		"identities:\n"
		"  - {name: a, token_file: /t, allow: {uids: [1000, 1001]}}\n"
		"  - {name: b, token_file: /t, allow: {gids: [50]}}\n"
		"  - {name: c, token_file: /t, allow: {any: true}}\n"
		"  - {name: d, token_file: /t, allow: {uids: [0], gids: [1000]}}\n"
		"  - {name: e, token_file: /t, allow: {uids: [4294967295], gids: [4294967295]}}\n";
	static const struct {
		int64_t uid, gid;
		uint32_t mask;
	} rows[] = {
		{1000, 100, 0x05}, {1001, 50, 0x07}, {50, 100, 0x04}, /* a user is no group */
		{100, 1000, 0x0c}, {0, 0, 0x0c}, /* root is a user like others */
		{-1, -1, 0x04}, /* who is unknown is nobody in particular */
	};
	AUTO_AGENT_CONFIG c = NULL;

	(void)state;
	assert_ok(agent_config_parse(mica_slice_str(config), NULL, &c, e));
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		const struct mica_rpc_peer peer = {
			.local = true, .uid = rows[i].uid, .gid = rows[i].gid};
		const struct mica_rpc_peer far = {.uid = rows[i].uid, .gid = rows[i].gid};

		assert_int_equal(peers_identities(c, &peer), rows[i].mask);
		/* over a network nobody has a user */
		assert_int_equal(peers_identities(c, &far), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(who_gets_what)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
