/* SPDX-License-Identifier: Apache-2.0 */
/* Opening what init made, changing the configuration while running, and closing. */
#include "core_impl.h"

#define SMALL_MAX 4096

/* ---- records --------------------------------------------------------------------------------- */

static mica_rc get_meta(
	struct mica_core *c, const char *key, struct mica_buf *out, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_store_get(c->store, MICA_T_META, mica_slice_str(key), out, NULL, &own);

	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_CORRUPT, "store_damaged",
			"the store lacks the record \"%s\", which `mica init` writes", key);
	return rc == MICA_OK ? MICA_OK : mica_fail(e, rc, own.reason, "%s", own.text);
}

static mica_rc check_trust_domain(
	struct mica_core *c, const struct mica_config *config, struct mica_err *e)
{
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, SMALL_MAX);
	rc = get_meta(c, "trust_domain", &b, e);
	if (rc != MICA_OK || mica_slice_eq_str(mica_buf_slice(&b), config->trust_domain))
		return rc;
	return mica_fail(e, MICA_INVALID, "trust_domain_mismatch",
		"the configuration is for trust domain %s, the store for %.*s; a trust domain is for ever",
		config->trust_domain, MICA_FMT(mica_buf_slice(&b)));
}

static mica_rc unlock(struct mica_core *c, const struct mica_secret *passphrase, struct mica_err *e)
{
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, SMALL_MAX);
	rc = get_meta(c, "kek", &b, e);
	return rc == MICA_OK ? mica_kek_unlock(passphrase, mica_buf_slice(&b), &c->kek, e) : rc;
}

static mica_rc open_key(struct mica_core *c, enum mica_key_purpose purpose,
	struct mica_signer **out, struct mica_err *e)
{
	const char *name = mica_key_purpose_name(purpose);
	struct mica_err own = MICA_ERR_INIT;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, MICA_AUTHORITY_RECORD_MAX);
	rc = mica_store_get(c->store, MICA_T_KEY, mica_slice_str(name), &b, NULL, &own);
	if (rc == MICA_NOT_FOUND)
		return mica_fail(
			e, MICA_CORRUPT, "store_damaged", "the store lacks its %s key", name);
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	rc = mica_kek_open(c->kek, purpose, name, mica_buf_slice(&b), out, e);
	if (rc != MICA_OK)
		mica_err_context(e, "%s key", name);
	return rc;
}

/* ---- the deny list --------------------------------------------------------------------------- */

static void free_deny(void *part)
{
	struct core_deny *d = part;

	mica_core_denials_clear(&d->d);
	mica_free(d);
}

/* Keys begin with the kind; values are what was denied. */
static bool load_denied(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct core_denials *d = ctx;
	struct mica_uid uid;

	(void)rev;
	if (key.p[0] == 's') {
		MICA_AUTO_FREE char *id = mica_slice_dup(value);

		mica_core_denials_add_id(d, id);
	} else if (key.p[0] == 'p' && value.len == sizeof(uid.b)) {
		memcpy(uid.b, value.p, sizeof(uid.b));
		mica_core_denials_add_pod(d, &uid);
	} else if (key.p[0] == 'k' && value.len == 32) {
		mica_core_denials_add_key(d, value.p);
	}
	return true;
}

mica_rc mica_core_deny_load(struct mica_core *c, struct core_deny **out, struct mica_err *e)
{
	CORE_AUTO_PART struct core_deny *d = mica_core_part_new(sizeof(*d), free_deny);
	struct mica_scan scan = {.table = MICA_T_DENY};
	/* First the revision: a list that is newer than it makes a CONFLICT, never a gap. */
	mica_rc rc = mica_core_rev(c, MICA_T_META, MICA_LIT("deny"), &d->rev, e);

	if (rc == MICA_OK)
		rc = mica_store_list(c->store, &scan, load_denied, &d->d, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_denials_sort(&d->d);
	*out = MICA_STEAL(d);
	return MICA_OK;
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* The rules' record follows the configuration: what was decided by other rules conflicts. */
static mica_rc store_rules(
	struct mica_core *c, struct core_policy *p, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_ADMIN, .action = "rules_changed"};
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	MICA_AUTO_BUF record, detail;
	mica_rc rc;

	mica_buf_init(&record, SMALL_MAX);
	mica_buf_init(&detail, SMALL_MAX);
	rc = mica_store_get(c->store, MICA_T_META, MICA_LIT("rules"), &record, &p->rev, NULL);
	if (rc == MICA_OK && record.len == 33 && record.p[0] == 1 &&
		memcmp(record.p + 1, p->hash, 32) == 0)
		return MICA_OK;
	mica_core_change_read(&ch, MICA_T_META, MICA_LIT("rules"), rc == MICA_OK ? p->rev : 0);
	mica_buf_reset(&record);
	mica_buf_put_u8(&record, 1);
	mica_buf_put(&record, p->hash, 32);
	mica_core_change_write(
		&ch, MICA_PUT, MICA_T_META, MICA_LIT("rules"), mica_buf_slice(&record));
	mica_buf_put_str(&detail, "{\"sha256\":\"");
	mica_buf_put_hex(&detail, p->hash, 32);
	mica_buf_put_str(&detail, "\"}");
	n.detail = mica_buf_slice(&detail);
	rc = mica_core_change_note(&ch, &n, NULL, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_change_commit(c, &ch, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_rev(c, MICA_T_META, MICA_LIT("rules"), &p->rev, e);
	return rc;
}

/* A start on a full disk, with a configuration that is not the recorded one: what can be read is
 * read, nothing is issued by rules that nobody can look up. maintain tries again. */
static mica_rc store_rules_or_later(
	struct mica_core *c, struct core_policy *p, int64_t now_ms, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = store_rules(c, p, now_ms, &own);

	atomic_store(&c->rules_unrecorded, rc == MICA_UNAVAILABLE);
	if (rc == MICA_OK || rc == MICA_UNAVAILABLE)
		return MICA_OK;
	if (e && e->rc == MICA_OK)
		*e = own;
	return rc;
}

mica_rc mica_core_record_rules(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	mica_rc rc;

	if (!atomic_load(&c->rules_unrecorded))
		return MICA_OK;
	/* Nobody decides by this policy until the flag is gone, so nobody reads its revision. */
	rc = store_rules(c, v->policy, now_ms, e);
	if (rc == MICA_OK)
		atomic_store(&c->rules_unrecorded, false);
	return rc;
}

/* Keys that the issuers of `to` had in the view before: same name and URL. */
static struct core_keys *carry_keys(
	const struct core_policy *from, const struct core_keys *old, const struct core_policy *to)
{
	unsigned n = mica_issuers_count(to->issuers);
	struct core_keys *keys = mica_core_keys_new(n);

	for (unsigned i = 0; i < n; i++) {
		const struct mica_issuer *is = mica_issuers_at(to->issuers, i);
		const struct mica_issuer *was =
			mica_issuers_named(from->issuers, mica_issuer_name(is));

		if (!was || strcmp(mica_issuer_url(was), mica_issuer_url(is)) != 0)
			continue;
		keys->v[i] = old->v[mica_issuer_index(was)];
		mica_jwks_ref(keys->v[i].jwks);
	}
	return keys;
}

/* A full disk is no reason not to serve what there is: maintain tries again. */
static mica_rc publish_or_later(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_core_publish(c, now_ms, NULL, &own);
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	if (rc == MICA_OK || (rc == MICA_UNAVAILABLE && v->pub))
		return MICA_OK;
	if (e && e->rc == MICA_OK)
		*e = own;
	return rc;
}

static mica_rc configure(
	struct mica_core *c, const struct mica_config *config, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	CORE_AUTO_PART struct core_policy *p = NULL;
	struct core_keys *keys;
	mica_rc rc = mica_core_policy_new(c, config, &p, e);

	if (rc != MICA_OK)
		return rc;
	if (strcmp(p->trust_domain, v->policy->trust_domain) != 0)
		return mica_fail(e, MICA_INVALID, "trust_domain_mismatch",
			"a trust domain is for ever: it is %s, not %s", v->policy->trust_domain,
			p->trust_domain);
	rc = store_rules(c, p, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	atomic_store(&c->rules_unrecorded, false);
	keys = carry_keys(v->policy, v->keys, p);
	mica_core_view_take_set(c, &(struct core_parts){.policy = MICA_STEAL(p), .keys = keys});
	pthread_mutex_lock(&c->review_lock);
	mica_review_cache_forget(c->review, NULL);
	pthread_mutex_unlock(&c->review_lock);
	return publish_or_later(c, now_ms, e);
}

mica_rc mica_core_configure(
	struct mica_core *c, const struct mica_config *config, int64_t now_ms, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	rc = configure(c, config, now_ms, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}

/* ---- opening --------------------------------------------------------------------------------- */

static struct mica_core *new_core(void)
{
	struct mica_core *c = MICA_NEW(struct mica_core);

	pthread_mutex_init(&c->admin, NULL);
	pthread_mutex_init(&c->commit, NULL);
	pthread_mutex_init(&c->review_lock, NULL);
	c->review = mica_review_cache_new(65536);
	c->acks = mica_core_acks_new();
	c->lineage = mica_core_lineage_new();
	c->renewals = mica_core_renewals_new();
	return c;
}

void mica_core_close(struct mica_core *c)
{
	if (!c)
		return;
	mica_core_view_unref(atomic_load(&c->view));
	mica_ledger_close(c->ledger);
	mica_signer_free(c->log_key);
	mica_signer_free(c->publication_key);
	mica_kek_free(c->kek);
	mica_store_close(c->store);
	for (unsigned i = 0; i < CORE_READERS; i++)
		mica_token_reader_free(atomic_load(&c->readers[i]));
	mica_review_cache_free(c->review);
	mica_core_acks_free(c->acks);
	mica_core_lineage_free(c->lineage);
	mica_core_renewals_free(c->renewals);
	for (unsigned i = 0; i < c->n_names; i++)
		mica_free(c->names[i]);
	mica_free(c->names);
	pthread_mutex_destroy(&c->admin);
	pthread_mutex_destroy(&c->commit);
	pthread_mutex_destroy(&c->review_lock);
	mica_free(c);
}

static void auto_close(struct mica_core **c)
{
	mica_core_close(*c);
}

static mica_rc load_view(
	struct mica_core *c, const struct mica_config *config, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_PART struct core_policy *policy = NULL;
	CORE_AUTO_PART struct core_authorities *auths = NULL;
	CORE_AUTO_PART struct core_deny *deny = NULL;
	CORE_AUTO_PART struct core_keys *keys = NULL;
	CORE_AUTO_PART struct core_revoked *revoked = NULL;
	CORE_AUTO_PART struct core_crls *crls = NULL;
	/* Design 8.4: a clock that went back undoes nothing that has happened. */
	int64_t at_ms = mica_core_decision_ms(c, now_ms);
	mica_rc rc = mica_core_policy_new(c, config, &policy, e);

	if (rc == MICA_OK)
		rc = mica_core_authorities_load(
			c, policy->trust_domain, NULL, at_ms / 1000, &auths, e);
	if (rc == MICA_OK)
		rc = store_rules_or_later(c, policy, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_deny_load(c, &deny, e);
	if (rc == MICA_OK)
		rc = mica_core_keys_load(c, policy, &keys, e);
	if (rc == MICA_OK)
		rc = mica_core_revoked_load(c, &revoked, e);
	if (rc == MICA_OK)
		rc = mica_core_crls_load(c, &crls, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_view_take_set(c,
		&(struct core_parts){.policy = MICA_STEAL(policy),
			.auths = MICA_STEAL(auths),
			.deny = MICA_STEAL(deny),
			.keys = MICA_STEAL(keys),
			.revoked = MICA_STEAL(revoked),
			.crls = MICA_STEAL(crls)});
	return MICA_OK;
}

static int64_t no_clock(void)
{
	return 0;
}

static mica_rc open_parts(struct mica_core *c, const struct mica_config *config,
	const struct mica_secret *passphrase, int64_t now_ms, struct mica_open_times *times,
	struct mica_err *e)
{
	struct mica_store_options o = {.max_percent = (unsigned)config->store.max_disk_percent};
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_store_open(config->store.path, &o, &c->store, e);

	if (rc == MICA_OK)
		rc = check_trust_domain(c, config, e);
	if (rc != MICA_OK)
		return rc;
	times->unlock_ns = times->clock();
	rc = unlock(c, passphrase, e);
	times->unlock_ns = times->clock() - times->unlock_ns;
	if (rc == MICA_OK)
		rc = open_key(c, MICA_KEY_LOG, &c->log_key, e);
	if (rc == MICA_OK)
		rc = open_key(c, MICA_KEY_PUBLICATION, &c->publication_key, e);
	if (rc == MICA_OK)
		rc = mica_ledger_open(c->store, c->log_key, NULL, &c->ledger, e);
	if (rc == MICA_OK)
		rc = mica_core_rotation_open(c, now_ms, e);
	if (rc == MICA_OK)
		rc = load_view(c, config, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_policies_open(c, now_ms, e);
	if (rc == MICA_OK) {
		mica_core_look_again(c, now_ms);
		mica_core_acks_begin(c, now_ms);
		mica_core_lineage_begin(c, now_ms);
	}
	mica_core_look_at_space(c, now_ms);
	if (rc == MICA_OK)
		rc = publish_or_later(c, now_ms, e);
	if (rc == MICA_OK && mica_core_policies_publish(c, now_ms, NULL, &own) == MICA_INTERNAL)
		rc = mica_fail(e, MICA_INTERNAL, own.reason, "%s", own.text);
	/* What does not work now maintain tries again, and tells. */
	if (rc == MICA_OK && mica_core_crls_publish(c, now_ms, &own) == MICA_INTERNAL)
		rc = mica_fail(e, MICA_INTERNAL, own.reason, "%s", own.text);
	return rc;
}

mica_rc mica_core_open(const struct mica_config *config, const struct mica_secret *passphrase,
	int64_t now_ms, struct mica_core **out, struct mica_open_times *times, struct mica_err *e)
{
	__attribute__((cleanup(auto_close))) struct mica_core *c = new_core();
	struct mica_open_times t = {.clock = times && times->clock ? times->clock : no_clock};
	int64_t begin = t.clock();
	mica_rc rc;

	mica_keys_secure_memory();
	atomic_store(&c->now_ms, now_ms);
	atomic_store(&c->generation, (uint64_t)now_ms);
	pthread_mutex_lock(&c->admin);
	rc = open_parts(c, config, passphrase, now_ms, &t, e);
	pthread_mutex_unlock(&c->admin);
	if (rc != MICA_OK)
		return rc;
	if (times) {
		times->unlock_ns = t.unlock_ns;
		times->open_ns = t.clock() - begin - t.unlock_ns;
	}
	*out = MICA_STEAL(c);
	return MICA_OK;
}
