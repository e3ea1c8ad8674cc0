/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations: any octets are refused with a reason and a place, or make one that keeps its
 * promises and is the same when read again. */
#include "mica/config.h"

static void check_list(const struct mica_string_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->v[i] == NULL)
			abort();
}

static void check_listen(const struct mica_listen *l)
{
	if ((l->text[0] == '\0') != (l->host[0] == '\0'))
		abort();
}

static void check_issuer(const struct mica_issuer_config *is)
{
	if (!is->name || !is->issuer || !is->cluster || !is->spiffe_path)
		abort();
	if (is->keys.discovery + !!is->keys.jwks_uri + !!is->keys.jwks_file != 1)
		abort();
	if (is->review.mode != MICA_REVIEW_NEVER && !is->review.url)
		abort();
	for (int f = 0; f < MICA_FRONT_COUNT; f++) {
		check_list(&is->audiences[f]);
		if (is->max_token_life[f] < 1)
			abort();
	}
	for (unsigned i = 0; i < is->n_claims; i++)
		if (!is->claims[i].name || !is->claims[i].claim)
			abort();
	for (unsigned i = 0; i < is->n_require; i++)
		if (!is->require[i].claim || !is->require[i].pattern)
			abort();
}

static void check_config(const struct mica_config *c)
{
	const struct mica_string_list *const lists[] = {&c->https.dns_names, &c->https.ip_addresses,
		&c->admins, &c->auditors, &c->jwt.audiences, &c->deny_spiffe_ids, &c->deny_pod_uids,
		&c->warnings};

	for (size_t i = 0; i < MICA_ARRAY_LEN(lists); i++)
		check_list(lists[i]);
	check_listen(&c->https.listen);
	check_listen(&c->https.watch);
	check_listen(&c->metrics);
	if (!!c->passphrase.file + !!c->passphrase.env + !!c->passphrase.credential != 1)
		abort();
	if (c->x509.min_ttl < 1 || c->x509.min_ttl > c->x509.ttl || c->x509.ttl > c->x509.max_ttl ||
		c->x509.key_types == 0 || c->jwt.ttl > c->jwt.max_ttl)
		abort();
	if (c->authorities.issuing_life < 3 * c->x509.max_ttl ||
		c->authorities.root_life < 3 * c->authorities.issuing_life)
		abort();
	for (unsigned i = 0; i < c->n_issuers; i++)
		check_issuer(&c->issuers[i]);
	for (unsigned i = 0; i < c->n_rules; i++)
		if (!c->rules[i].issuer || !c->rules[i].ns || !c->rules[i].sa ||
			c->rules[i].max_ttl > c->authorities.issuing_life / 3)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_config *c = NULL, *again = NULL;
	struct mica_string_list differences = {.n = 0};

	if (mica_config_parse(mica_slice(p, len), "f", &c, &e) != MICA_OK) {
		if (c != NULL || e.rc == MICA_OK || e.text[0] == '\0' ||
			!mica_slice_is_utf8(mica_slice_str(e.text)))
			abort();
		/* what only a lenient reader could take has no place; so far there is nothing */
		if (e.rc == MICA_INVALID && e.line == 0 && mica_slice_is_utf8(mica_slice(p, len)))
			abort();
		return 0;
	}
	check_config(c);
	if (mica_config_parse(mica_slice(p, len), NULL, &again, NULL) != MICA_OK)
		abort();
	mica_config_needs_restart(c, again, &differences);
	if (differences.n != 0)
		abort();
	mica_config_free(again);
	mica_config_free(c);
	return 0;
}
