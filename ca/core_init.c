/* SPDX-License-Identifier: Apache-2.0 */
/* `mica init`: the one place where a root is made. */
#include "core_impl.h"

#include <stdio.h>

#define AHEAD (1 + MICA_SIGNED_AHEAD)

/* What init makes, until it is in the store. */
struct birth {
	const struct mica_config *config;
	int64_t now_ms, now;
	struct mica_store *store;
	struct mica_ledger *ledger;
	struct mica_kek *kek;
	struct mica_signer *root_key, *issuing_key, *jwt_key, *log_key, *publication_key;
	struct mica_signer *standby_key; /* NULL: there is none */
	/* for a root elsewhere: one to begin with, and those that are signed ahead */
	struct mica_signer *ahead_key[AHEAD];
	struct mica_authority ahead[AHEAD];
	unsigned n_ahead;
	struct mica_cert_issuer *root_issuer;
	struct mica_authority root, issuing, jwt, standby;
	struct mica_buf kek_record;
	struct core_change change;
};

static void birth_clear(struct birth *b)
{
	mica_core_change_clear(&b->change);
	mica_authority_clear(&b->root);
	mica_authority_clear(&b->issuing);
	mica_authority_clear(&b->jwt);
	mica_authority_clear(&b->standby);
	for (unsigned i = 0; i < AHEAD; i++) {
		mica_authority_clear(&b->ahead[i]);
		mica_signer_free(b->ahead_key[i]);
	}
	mica_cert_issuer_free(b->root_issuer);
	mica_signer_free(b->root_key);
	mica_signer_free(b->issuing_key);
	mica_signer_free(b->jwt_key);
	mica_signer_free(b->standby_key);
	mica_ledger_close(b->ledger); /* borrows log key and store */
	mica_signer_free(b->log_key);
	mica_signer_free(b->publication_key);
	mica_kek_free(b->kek);
	mica_buf_clear(&b->kek_record);
	mica_store_close(b->store);
}

static bool is_own(const struct birth *b)
{
	return b->config->authorities.root == MICA_ROOT_OWN;
}

/* ---- keys and certificates ------------------------------------------------------------------- */

static mica_rc make_keys(struct birth *b, const struct mica_secret *passphrase, struct mica_err *e)
{
	const struct {
		enum mica_key_name type;
		struct mica_signer **out;
		bool wanted;
	} keys[] = {{b->config->authorities.key_type, &b->root_key, is_own(b)},
		{b->config->authorities.key_type, &b->issuing_key, is_own(b)},
		{b->config->authorities.key_type, &b->standby_key,
			is_own(b) && b->config->rotation.standby},
		/* ES256: what every reader of JWT-SVIDs and of signed bundles knows. */
		{MICA_KN_P256, &b->jwt_key, true}, {MICA_KN_P256, &b->publication_key, true},
		{MICA_KN_ED25519, &b->log_key, true}};
	mica_rc rc = mica_kek_create(passphrase, &b->kek_record, &b->kek, e);

	for (size_t i = 0; i < MICA_ARRAY_LEN(keys) && rc == MICA_OK; i++)
		if (keys[i].wanted)
			rc = mica_signer_generate(keys[i].type, keys[i].out, e);
	return rc;
}

/* Keys for certificates that a root elsewhere will sign. */
static mica_rc make_ahead(struct birth *b, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (; b->n_ahead < AHEAD && rc == MICA_OK; b->n_ahead++) {
		struct mica_authority *a = &b->ahead[b->n_ahead];
		struct mica_signer **key = &b->ahead_key[b->n_ahead];

		rc = mica_signer_generate(b->config->authorities.key_type, key, e);
		if (rc != MICA_OK)
			return rc;
		snprintf(a->set, sizeof(a->set), "%s", MICA_SET_DEFAULT);
		a->kind = MICA_AUTHORITY_ISSUING;
		mica_pubkey_id_hex(mica_signer_public(*key), a->id);
		mica_buf_put_slice(&a->spki, mica_pubkey_spki(mica_signer_public(*key)));
		rc = mica_authority_add_time(a, MICA_AE_CREATED, b->now, e);
		if (rc == MICA_OK)
			rc = mica_core_pending_fill(b->kek, *key, b->now, a, e);
	}
	return rc;
}

static mica_rc describe(struct birth *b, struct mica_authority *a, enum mica_authority_kind kind,
	const struct mica_signer *key, int64_t life, struct mica_err *e)
{
	static const enum mica_authority_event born[] = {
		MICA_AE_CREATED, MICA_AE_PUBLISHED, MICA_AE_READY, MICA_AE_ACTIVE};
	static const enum mica_key_purpose purposes[] = {[MICA_AUTHORITY_ROOT] = MICA_KEY_ROOT,
		[MICA_AUTHORITY_ISSUING] = MICA_KEY_ISSUING,
		[MICA_AUTHORITY_JWT] = MICA_KEY_JWT};
	mica_rc rc = MICA_OK;

	snprintf(a->set, sizeof(a->set), "%s", MICA_SET_DEFAULT);
	a->kind = kind;
	mica_pubkey_id_hex(mica_signer_public(key), a->id);
	a->not_before = b->now - CORE_CA_BACKDATE;
	a->not_after = b->now + life;
	mica_buf_put_slice(&a->spki, mica_pubkey_spki(mica_signer_public(key)));
	/* Nobody is there yet who could not have it: it is ready. A standby is not used. */
	for (size_t i = 0; i < MICA_ARRAY_LEN(born) && rc == MICA_OK; i++)
		if (born[i] != MICA_AE_ACTIVE || !a->standby)
			rc = mica_authority_add_time(a, born[i], b->now, e);
	if (rc == MICA_OK)
		rc = mica_kek_seal(b->kek, purposes[kind], a->id, key, &a->envelope, e);
	return rc;
}

static mica_rc sign_root(struct birth *b, struct mica_authority *a, const struct mica_signer *key,
	struct mica_err *e)
{
	struct mica_ca_spec s = {.kind = MICA_CA_ROOT, .trust_domain = b->config->trust_domain};
	mica_rc rc = describe(b, a, MICA_AUTHORITY_ROOT, key, b->config->authorities.root_life, e);

	if (rc != MICA_OK)
		return rc;
	s.not_before = a->not_before;
	s.not_after = a->not_after;
	mica_serial_make(b->now_ms, s.serial);
	return mica_root_sign(key, &s, &a->cert, e);
}

static mica_rc make_roots(struct birth *b, struct mica_err *e)
{
	mica_rc rc = sign_root(b, &b->root, b->root_key, e);

	if (rc == MICA_OK)
		rc = mica_cert_issuer_new(
			mica_buf_slice(&b->root.cert), b->root_key, &b->root_issuer, e);
	b->standby.standby = true;
	return rc == MICA_OK && b->standby_key ? sign_root(b, &b->standby, b->standby_key, e) : rc;
}

static mica_rc make_issuing(struct birth *b, struct mica_err *e)
{
	struct mica_ca_spec s = {.kind = MICA_CA_ISSUING, .trust_domain = b->config->trust_domain};
	mica_rc rc = describe(b, &b->issuing, MICA_AUTHORITY_ISSUING, b->issuing_key,
		b->config->authorities.issuing_life, e);

	if (rc != MICA_OK)
		return rc;
	memcpy(b->issuing.parent, b->root.id, sizeof(b->issuing.parent));
	if (b->issuing.not_after > b->root.not_after)
		b->issuing.not_after = b->root.not_after;
	s.not_before = b->issuing.not_before;
	s.not_after = b->issuing.not_after;
	s.key = mica_signer_public(b->issuing_key);
	mica_serial_make(b->now_ms, s.serial);
	return mica_issuing_sign(b->root_issuer, &s, &b->issuing.cert, e);
}

/* ---- the first change ------------------------------------------------------------------------ */

static mica_rc note(struct birth *b, enum mica_entry_type type, const char *action,
	const char *authority, struct mica_slice detail, struct mica_err *e)
{
	struct core_note n = {type, action, authority, detail};

	return mica_core_change_note(&b->change, &n, NULL, b->now_ms, e);
}

static mica_rc put_authority(struct birth *b, const struct mica_authority *a, struct mica_err *e)
{
	MICA_AUTO_BUF record, detail;
	mica_rc rc;

	mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&detail, 256);
	rc = mica_authority_encode(a, &record, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_change_write(&b->change, MICA_PUT, MICA_T_AUTHORITY, mica_slice_str(a->id),
		mica_buf_slice(&record));
	mica_buf_printf(&detail, "{\"kind\":\"%s\"%s}", mica_authority_kind_name(a->kind),
		a->standby ? ",\"standby\":true" : "");
	if (a->kind == MICA_AUTHORITY_ISSUING && a->cert.len == 0)
		return note(
			b, MICA_ENTRY_AUTHORITY, "requested", a->id, mica_buf_slice(&detail), e);
	rc = note(b, MICA_ENTRY_AUTHORITY, "created", a->id, mica_buf_slice(&detail), e);
	if (rc == MICA_OK && !a->standby)
		rc = note(b, MICA_ENTRY_AUTHORITY, "activated", a->id, MICA_SLICE_NULL, e);
	return rc;
}

static mica_rc put_key(struct birth *b, enum mica_key_purpose purpose,
	const struct mica_signer *key, struct mica_err *e)
{
	const char *name = mica_key_purpose_name(purpose);
	MICA_AUTO_BUF envelope, detail;
	char id[MICA_KEY_ID_SIZE];
	mica_rc rc;

	mica_buf_init(&envelope, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&detail, 256);
	rc = mica_kek_seal(b->kek, purpose, name, key, &envelope, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_change_write(
		&b->change, MICA_PUT, MICA_T_KEY, mica_slice_str(name), mica_buf_slice(&envelope));
	mica_pubkey_id_hex(mica_signer_public(key), id);
	mica_buf_printf(&detail, "{\"purpose\":\"%s\",\"id\":\"%s\"}", name, id);
	return note(b, MICA_ENTRY_KEY, "created", NULL, mica_buf_slice(&detail), e);
}

static mica_rc put_bundle(struct birth *b, struct mica_err *e)
{
	struct core_policy policy = {.refresh_hint = b->config->bundle.refresh_hint};
	struct core_authorities a = {.n = is_own(b) ? b->standby_key ? 4 : 3 : 1};
	/* borrowed copies */
	struct mica_authority all[4] = {b->jwt, b->issuing, b->root, b->standby};
	struct core_authority_more more[4] = {{.rev = 0}};
	struct core_content content;
	MICA_AUTO_BUF detail;
	uint8_t hash[32];
	mica_rc rc;

	a.v = all;
	a.more = more;
	more[0].pub = *mica_signer_public(b->jwt_key);
	mica_buf_init(&detail, 256);
	snprintf(policy.trust_domain, sizeof(policy.trust_domain), "%s", b->config->trust_domain);
	mica_core_content(&policy, &a, MICA_CHANNEL_LIVE, b->now, &content);
	rc = mica_sequence_next(0, b->now_ms, &content.b.sequence, e);
	if (rc != MICA_OK)
		return rc;
	mica_bundle_hash(&content.b, hash);
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++)
		mica_core_put_sequence(&b->change, (enum mica_channel)ch, content.b.sequence, hash,
			mica_ledger_key(b->ledger)->name);
	mica_buf_printf(&detail, "{\"sequence\":%llu}", (unsigned long long)content.b.sequence);
	return note(b, MICA_ENTRY_BUNDLE, "published", NULL, mica_buf_slice(&detail), e);
}

static mica_rc fill_change(struct birth *b, struct mica_err *e)
{
	const struct {
		struct mica_authority *a;
		bool there;
	} all[] = {{&b->root, is_own(b)}, {&b->issuing, is_own(b)}, {&b->jwt, true},
		{&b->standby, b->standby_key != NULL}};
	mica_rc rc;

	mica_core_change_write(&b->change, MICA_PUT, MICA_T_META, MICA_LIT("trust_domain"),
		mica_slice_str(b->config->trust_domain));
	mica_core_change_write(
		&b->change, MICA_PUT, MICA_T_META, MICA_LIT("kek"), mica_buf_slice(&b->kek_record));
	mica_core_change_write(
		&b->change, MICA_PUT, MICA_T_META, MICA_LIT("deny"), MICA_LIT("\x01"));
	rc = note(b, MICA_ENTRY_LOG, "created", NULL, MICA_SLICE_NULL, e);
	for (size_t i = 0; i < MICA_ARRAY_LEN(all) && rc == MICA_OK; i++)
		if (all[i].there)
			rc = put_authority(b, all[i].a, e);
	for (unsigned i = 0; i < b->n_ahead && rc == MICA_OK; i++)
		rc = put_authority(b, &b->ahead[i], e);
	if (rc == MICA_OK)
		rc = put_key(b, MICA_KEY_LOG, b->log_key, e);
	if (rc == MICA_OK)
		rc = put_key(b, MICA_KEY_PUBLICATION, b->publication_key, e);
	return rc == MICA_OK ? put_bundle(b, e) : rc;
}

static mica_rc write_first(struct birth *b, struct mica_err *e)
{
	struct mica_change one;
	char origin[MICA_NOTE_NAME_MAX];
	mica_rc rc;

	mica_ledger_origin(b->config->trust_domain, origin);
	rc = mica_ledger_create(b->store, origin, b->log_key, b->now_ms, e);
	if (rc == MICA_OK)
		rc = mica_ledger_open(b->store, b->log_key, NULL, &b->ledger, e);
	if (rc == MICA_OK)
		rc = fill_change(b, e);
	if (rc != MICA_OK)
		return rc;
	one = (struct mica_change){.writes = b->change.writes,
		.n_writes = b->change.n_writes,
		.entries = b->change.entries,
		.n_entries = b->change.n_entries};
	return mica_ledger_commit(b->ledger, &one, 1, b->now_ms, e);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static mica_rc check_config(const struct mica_config *config, struct mica_err *e)
{
	mica_rc rc = mica_trust_domain_check(mica_slice_str(config->trust_domain), e);

	if (rc == MICA_OK &&
		(config->authorities.root_life <= 0 || config->authorities.issuing_life <= 0 ||
			config->authorities.jwt_life <= 0))
		rc = mica_fail(e, MICA_INVALID, "authority_life",
			"authorities: lives must be longer than nothing");
	return rc;
}

static void fill_result(const struct birth *b, struct mica_init_result *out)
{
	const struct mica_note_key *key = mica_ledger_key(b->ledger);
	MICA_AUTO_BUF vkey;

	memset(out, 0, sizeof(*out));
	mica_buf_init(&vkey, MICA_VKEY_MAX);
	mica_vkey_format(key, &vkey);
	snprintf(out->origin, sizeof(out->origin), "%.*s", (int)sizeof(out->origin) - 1, key->name);
	snprintf(out->vkey, sizeof(out->vkey), "%.*s", MICA_FMT(mica_buf_slice(&vkey)));
	memcpy(out->root_id, b->root.id, sizeof(out->root_id));
	memcpy(out->issuing_id, b->issuing.id, sizeof(out->issuing_id));
	out->root_not_after = b->root.not_after;
	out->issuing_not_after = b->issuing.not_after;
	out->pending = b->n_ahead;
}

static mica_rc be_born(struct birth *b, const struct mica_secret *passphrase,
	struct mica_init_result *out, struct mica_err *e)
{
	struct mica_store_options o = {.max_percent = (unsigned)b->config->store.max_disk_percent};
	mica_rc rc = mica_store_create(b->config->store.path, &o, &b->store, e);

	if (rc != MICA_OK)
		return rc;
	rc = make_keys(b, passphrase, e);
	if (rc == MICA_OK && is_own(b))
		rc = make_roots(b, e);
	if (rc == MICA_OK && is_own(b))
		rc = make_issuing(b, e);
	if (rc == MICA_OK && b->config->authorities.root == MICA_ROOT_OFFLINE)
		rc = make_ahead(b, e);
	if (rc == MICA_OK)
		rc = describe(b, &b->jwt, MICA_AUTHORITY_JWT, b->jwt_key,
			b->config->authorities.jwt_life, e);
	if (rc == MICA_OK)
		rc = write_first(b, e);
	if (rc == MICA_OK)
		rc = mica_store_complete(b->store, e);
	if (rc == MICA_OK)
		fill_result(b, out);
	return rc;
}

mica_rc mica_core_init(const struct mica_config *config, const struct mica_secret *passphrase,
	int64_t now_ms, struct mica_init_result *out, struct mica_err *e)
{
	__attribute__((cleanup(birth_clear))) struct birth b = {
		.config = config, .now_ms = now_ms, .now = now_ms / 1000};
	mica_rc rc = check_config(config, e);

	mica_authority_init(&b.root);
	mica_authority_init(&b.issuing);
	mica_authority_init(&b.jwt);
	mica_authority_init(&b.standby);
	for (unsigned i = 0; i < AHEAD; i++)
		mica_authority_init(&b.ahead[i]);
	mica_buf_init(&b.kek_record, 256);
	if (rc != MICA_OK)
		return rc;
	mica_keys_secure_memory();
	rc = be_born(&b, passphrase, out, e);
	if (rc != MICA_OK) {
		mica_ledger_close(MICA_STEAL(b.ledger));
		mica_store_take_undo(MICA_STEAL(b.store));
	}
	return rc;
}
