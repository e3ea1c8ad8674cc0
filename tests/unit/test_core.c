/* SPDX-License-Identifier: Apache-2.0 */
/* From init to a recorded certificate: the core's main line, and what it refuses on the way. */
#include "coretest.h"

#include "../../ca/core_impl.h"

/* ---- the main line --------------------------------------------------------------------------- */

static void a_token_becomes_a_recorded_certificate(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_entry_keys keys;
	struct mica_issued i;
	struct mica_entry en;
	MICA_AUTO_BUF body;

	mica_candidate_issued(k, &i);
	assert_string_equal(i.spiffe_id, ID);
	assert_int_equal(i.n_chain, 2);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, NOW), X509_V_OK);
	mica_buf_init(&body, MICA_ENTRY_MAX);
	assert_ok(mica_ledger_entry(t->core->ledger, i.ledger_index, &body, e));
	assert_ok(mica_entry_decode(mica_buf_slice(&body), &en, e));
	assert_int_equal(en.type, MICA_ENTRY_X509_ISSUED);
	assert_true(mica_slice_eq(en.certificate, i.chain_der[0]));
	assert_true(mica_slice_eq_str(en.issuer, "prod"));
	assert_true(mica_slice_eq_str(en.ns, "payments"));
	assert_true(mica_slice_eq_str(en.pod, "checkout-1"));
	assert_true(mica_slice_eq_str(en.ev_id, JTI));
	assert_int_equal(en.ev_kind, MICA_EV_TOKEN);
	assert_ok(mica_entry_keys(&en, &keys, e));
	assert_true(mica_slice_eq_str(keys.spiffe_id, ID));
	mica_candidate_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_token_becomes_a_recorded_certificate, ct_setup, ct_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
