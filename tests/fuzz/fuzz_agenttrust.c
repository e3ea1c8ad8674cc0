/* SPDX-License-Identifier: Apache-2.0 */
/* What micad, a bootstrap file or the state directory tell an agent, and tokens that it is to
 * validate: any octets are refused with a reason, or make something that is whole. */
#include "agent/ask.h"
#include "agent/store.h"
#include "agent/validate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refusal(mica_rc rc, const struct mica_err *e)
{
	if (rc != e->rc || !e->reason || !e->text[0])
		abort();
}

static void check_trust(const struct trust *t)
{
	size_t all = 0;

	if (t->n_roots == 0 || t->n_roots > TRUST_ROOTS_MAX || t->der.over || t->pem.over ||
		t->jwks.over)
		abort();
	for (size_t i = 0; i < t->n_roots; i++)
		all += trust_root(t, i).len;
	if (all != t->der.len)
		abort();
	for (size_t i = 0; t->keys && i < mica_jwks_count(t->keys); i++)
		if (!mica_jwks_key(t->keys, i)->has_kid)
			abort();
}

static void bundles(struct mica_slice in)
{
	static char td[] = "example.org", none[] = "";
	struct agent_config c = {.trust_domain = td, .state_directory = none};
	struct mica_err e = MICA_ERR_INIT;
	const struct trust *t = NULL;
	uint8_t mark[32];
	mica_rc rc = trust_read(td, in, &t, &e);

	if (rc == MICA_OK) {
		AUTO_TRUST again = NULL;

		check_trust(t);
		if (trust_read(td, mica_buf_slice(&t->json), &again, NULL) != MICA_OK ||
			memcmp(again->hash, t->hash, sizeof(t->hash)) != 0)
			abort();
	} else {
		check_refusal(rc, &e);
	}
	trust_unref(t);
	mica_err_clear(&e);
	rc = trust_from_pem(td, in, &t, &e);
	if (rc == MICA_OK)
		check_trust(t);
	else
		check_refusal(rc, &e);
	trust_unref(t);
	mica_err_clear(&e);
	rc = store_parse(&c, in, &t, mark, &e);
	if (rc == MICA_OK)
		check_trust(t);
	else
		check_refusal(rc, &e);
	trust_unref(t);
}

static void tokens(struct mica_slice in)
{
	AUTO_VALIDATED v = {.claims = {.root = NULL}};
	struct mica_err e = MICA_ERR_INIT;
	const struct jwt *t = NULL;
	mica_rc rc = jwt_read("example.org", in, &t, &e);

	if (rc != MICA_OK)
		check_refusal(rc, &e);
	else if (strlen((const char *)t->token.p) != t->token.len)
		abort();
	jwt_unref(t);
	mica_err_clear(&e);
	/* nothing is trusted: nothing may be good */
	rc = validate_jwt(NULL, 0, in, MICA_LIT("db"), 1795521600, &v, &e);
	if (rc == MICA_OK)
		abort();
	check_refusal(rc, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bundles(mica_slice(data, size));
	tokens(mica_slice(data, size));
	return 0;
}
