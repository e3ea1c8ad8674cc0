/* SPDX-License-Identifier: Apache-2.0 */
#include "join.h"

#include "mica/secret.h"
#include "mica/spiffeid.h"

#include <stdio.h>

/* ---- names --------------------------------------------------------------------------------- */

static const struct mica_template_field fields[] = {{.name = "name"}};

static mica_rc check_name(
	const struct mica_config *config, const struct mica_issuers *issuers, struct mica_err *e)
{
	const char *name = config->join.name;

	if (!name || !mica_dns_label_ok(mica_slice_str(name)))
		return mica_fail(e, MICA_INVALID, "issuer_name_invalid",
			"expected a name of 1 to 63 of [a-z0-9-]");
	if (mica_issuers_named(issuers, name))
		return mica_fail(e, MICA_INVALID, "issuer_name_duplicate",
			"an issuer is called %s; expected another name", name);
	return MICA_OK;
}

/* What a machine is called nobody else can be called, whatever token it has. */
static mica_rc check_path(
	const struct mica_join *j, const struct mica_issuers *issuers, struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT;

	if (!mica_template_uses(j->path, 0))
		return mica_fail(e, MICA_INVALID, "config_value",
			"%s is one name for all machines; expected {name} in it, as /vm/{name}",
			mica_template_text(j->path));
	for (unsigned i = 0; i < issuers->n; i++)
		if (mica_template_disjoint(j->path, issuers->v[i].path, &why) != MICA_OK)
			return mica_fail(e, MICA_INVALID, "names_overlap",
				"issuer %s could speak for names of machines: %s",
				issuers->v[i].name, why.text);
	return MICA_OK;
}

static mica_rc fill(struct mica_join *j, const struct mica_config *config,
	const struct mica_issuers *issuers, const char **setting, struct mica_err *e)
{
	mica_rc rc = check_name(config, issuers, e);

	*setting = "name";
	if (rc != MICA_OK)
		return rc;
	*setting = "spiffe_path";
	snprintf(j->name, sizeof(j->name), "%s", config->join.name);
	j->ttl = config->join.ttl;
	j->max_ttl = config->join.max_ttl;
	j->renewal_max_age = config->join.renewal_max_age;
	rc = mica_spiffe_id_make(
		mica_slice_str(config->trust_domain), MICA_SLICE_NULL, j->td_prefix, e);
	if (rc == MICA_OK)
		rc = mica_template_compile(MICA_TEMPLATE_PATH,
			mica_slice_str(config->join.spiffe_path), fields, MICA_ARRAY_LEN(fields),
			&j->path, e);
	return rc == MICA_OK ? check_path(j, issuers, e) : rc;
}

mica_rc mica_join_new(const struct mica_config *config, const struct mica_issuers *issuers,
	struct mica_join **out, const char **setting, struct mica_err *e)
{
	const char *blamed = "";
	struct mica_join *j;
	mica_rc rc;

	*out = NULL;
	if (!config->join.spiffe_path)
		return MICA_OK;
	j = MICA_NEW(struct mica_join);
	rc = fill(j, config, issuers, &blamed, e);
	if (setting)
		*setting = blamed;
	if (rc == MICA_OK)
		*out = j;
	else
		mica_join_free(j);
	return rc;
}

void mica_join_free(struct mica_join *j)
{
	if (!j)
		return;
	mica_template_free(j->path);
	mica_free(j);
}

bool mica_join_may_name(const struct mica_join *j, struct mica_slice spiffe_id)
{
	struct mica_slice prefix = mica_slice_str(j->td_prefix);

	return spiffe_id.len <= MICA_SPIFFE_ID_MAX && mica_slice_has_prefix(spiffe_id, prefix) &&
		mica_template_matches(
			j->path, mica_slice_sub(spiffe_id, prefix.len, spiffe_id.len));
}

mica_rc mica_join_name(const struct mica_join *j, const char *handle,
	char out[MICA_SPIFFE_ID_MAX + 1], struct mica_err *e)
{
	const struct mica_slice value = mica_slice_str(handle);
	size_t len = strlen(j->td_prefix);

	memcpy(out, j->td_prefix, len);
	return mica_template_expand(
		j->path, &value, 1, out + len, MICA_SPIFFE_ID_MAX + 1 - len, NULL, e);
}

/* ---- texts --------------------------------------------------------------------------------- */

bool mica_join_is_token(struct mica_slice token)
{
	return mica_slice_has_prefix(token, MICA_LIT(JOIN_PREFIX));
}

static bool is_hex(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
			return false;
	return true;
}

bool mica_join_handle(struct mica_slice token, char out[JOIN_HANDLE_SIZE])
{
	const size_t at = sizeof(JOIN_PREFIX) - 1, dash = at + JOIN_HANDLE_LEN;

	if (token.len != JOIN_TEXT_SIZE - 1 || !mica_join_is_token(token) || token.p[dash] != '-' ||
		!is_hex(mica_slice_sub(token, at, JOIN_HANDLE_LEN)) ||
		!is_hex(mica_slice_sub(token, dash + 1, JOIN_SECRET_LEN)))
		return false;
	return mica_slice_copy(mica_slice_sub(token, at, JOIN_HANDLE_LEN), out, JOIN_HANDLE_SIZE) ==
		MICA_OK;
}

void mica_join_make(char text[JOIN_TEXT_SIZE])
{
	uint8_t handle[JOIN_HANDLE_LEN / 2], secret[JOIN_SECRET_LEN / 2];
	char hex[2][JOIN_SECRET_LEN + 1];

	mica_random(handle, sizeof(handle));
	mica_random(secret, sizeof(secret));
	mica_hex_encode(handle, sizeof(handle), hex[0]);
	mica_hex_encode(secret, sizeof(secret), hex[1]);
	snprintf(text, JOIN_TEXT_SIZE, JOIN_PREFIX "%.16s-%.64s", hex[0], hex[1]);
	mica_wipe(secret, sizeof(secret));
	mica_wipe(hex, sizeof(hex));
}
