/* SPDX-License-Identifier: Apache-2.0 */
/* By what micad is known: at first, after a bundle came, after restarts, and when an administrator
 * says otherwise. */
#include "agentpki.h"

#include "agent/anchor.h"
#include "agent/store.h"

#include "mica/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct world {
	struct pki first, second; /* two authorities that know nothing of each other */
	char dir[64], file[96], state[96];
	struct agent_config *by_file, *by_pin;
	const struct trust *held; /* the bundle of `second`: what was learned */
};

static struct mica_slice root(const struct pki *p)
{
	return mica_buf_slice(&p->root_der);
}

static void put_root(struct mica_buf *out, const struct pki *p)
{
	mica_pem_put(out, MICA_PEM_CERT, root(p));
}

static void put_file(const struct world *w, const struct mica_buf *text)
{
	assert_ok(mica_file_write_atomic(w->file, mica_buf_slice(text), 0600, e));
}

/* The bootstrap file holds the root of `p`, and `behind`. */
static void bootstrap_with(const struct world *w, const struct pki *p, const char *behind)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 65536);
	put_root(&b, p);
	mica_buf_put_str(&b, behind);
	put_file(w, &b);
}

static struct agent_config *config(const struct world *w, const char *how, const char *value)
{
	struct agent_config *c = NULL;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 65536);
	mica_buf_printf(&b,
		"trust_domain: " TD "\nmicad: {url: \"https://m\", %s: \"%s\"}\n"
		"state: {directory: %s}\nidentities:\n"
		"  - {name: app, token_file: /t, allow: {any: true}}\n",
		how, value, w->dir);
	assert_ok(agent_config_parse(mica_buf_slice(&b), NULL, &c, e));
	return c;
}

static void pin_of(const struct pki *p, char out[80])
{
	memcpy(out, "sha256:", 7);
	mica_hex_encode(mica_signer_public(p->root_key)->spki_sha256, 32, out + 7);
}

static int setup(void **state)
{
	struct world *w = MICA_NEW(struct world);
	struct mica_slice learned;
	char pin[80];

	pki_init(&w->first, MICA_KN_P256);
	pki_init(&w->second, MICA_KN_P256);
	snprintf(w->dir, sizeof(w->dir), "/tmp/mica-anchor-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->file, sizeof(w->file), "%s/roots.pem", w->dir);
	snprintf(w->state, sizeof(w->state), "%s/bundle.json", w->dir);
	bootstrap_with(w, &w->first, "");
	w->by_file = config(w, "bootstrap_file", w->file);
	pin_of(&w->first, pin);
	w->by_pin = config(w, "pin", pin);
	learned = root(&w->second);
	w->held = agent_bundle(&learned, 1, 7);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	unlink(w->file);
	unlink(w->state);
	rmdir(w->dir);
	trust_unref(w->held);
	agent_config_free(w->by_file);
	agent_config_free(w->by_pin);
	pki_clear(&w->first);
	pki_clear(&w->second);
	mica_free(w);
	return 0;
}

/* micad is known by exactly this root; NULL = by none yet. */
static void expect(struct anchor *a, const struct trust *held, const struct pki *by, bool bootstrap)
{
	AUTO_ANCHOR_NOW now = {.bootstrap = false};
	MICA_AUTO_BUF want;

	mica_buf_init(&want, 65536);
	if (by)
		put_root(&want, by);
	assert_ok(anchor_get(a, held, &now, e));
	assert_int_equal(now.pem.len, want.len);
	if (want.len > 0)
		assert_memory_equal(now.pem.p, want.p, want.len);
	assert_int_equal(now.bootstrap, bootstrap);
}

/* A bundle came by the bootstrap of now. */
static void finish(struct anchor *a, const struct trust *held)
{
	AUTO_ANCHOR_NOW now = {.bootstrap = false};

	assert_ok(anchor_get(a, held, &now, e));
	anchor_done(a, now.mark);
}

/* ---- by file ------------------------------------------------------------------------------- */

static void the_file_counts_until_a_bundle_came(void **state)
{
	struct world *w = *state;
	struct anchor *a = anchor_new(w->by_file);
	uint8_t mark[32];

	expect(a, NULL, &w->first, true);
	/* there is a bundle, but nobody has vouched for it */
	expect(a, w->held, &w->first, true);
	assert_false(anchor_mark(a, mark));
	finish(a, w->held);
	expect(a, w->held, &w->second, false);
	assert_true(anchor_mark(a, mark));
	/* and when the bundle is lost, the file is there again */
	expect(a, NULL, &w->first, true);
	anchor_free(a);
}

static void another_file_is_an_administrators_word(void **state)
{
	struct world *w = *state;
	struct anchor *a = anchor_new(w->by_file);

	finish(a, w->held);
	bootstrap_with(w, &w->first, "\n"); /* the same roots, said again */
	expect(a, w->held, &w->first, true);
	finish(a, w->held);
	expect(a, w->held, &w->second, false);
	/* written anew with the same content it says nothing */
	bootstrap_with(w, &w->first, "\n");
	expect(a, w->held, &w->second, false);
	anchor_free(a);
}

static void a_file_that_is_none_is_not_another_one(void **state)
{
	struct world *w = *state;
	struct anchor *a = anchor_new(w->by_file);
	AUTO_ANCHOR_NOW now = {.bootstrap = false};
	const struct mica_leaf_spec spec = pki_spec(&w->first);
	MICA_AUTO_BUF b, der;

	finish(a, w->held);
	mica_buf_init(&b, 65536);
	mica_buf_init(&der, 65536);
	mica_buf_put_str(&b, "-----BEGIN CERTIFICATE-----\n");
	put_file(w, &b);
	expect(a, w->held, &w->second, false);
	mica_buf_reset(&b);
	put_file(w, &b);
	expect(a, w->held, &w->second, false);
	/* a leaf vouches for nothing */
	assert_ok(mica_leaf_sign(w->first.issuing, &spec, &der, e));
	mica_pem_put(&b, MICA_PEM_CERT, mica_buf_slice(&der));
	put_file(w, &b);
	expect(a, w->held, &w->second, false);
	unlink(w->file);
	expect(a, w->held, &w->second, false);
	assert_refused(MICA_UNAVAILABLE, "bootstrap_unusable", anchor_get(a, NULL, &now, e));
	anchor_free(a);
}

static void a_spiffe_bundle_bootstraps_too(void **state)
{
	struct world *w = *state;
	struct anchor *a = anchor_new(w->by_file);
	const struct mica_slice one = root(&w->second);
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 65536);
	agent_bundle_json(&one, 1, 3, &b);
	put_file(w, &b);
	expect(a, NULL, &w->second, true);
	anchor_free(a);
}

/* The mark is kept beside the bundle, so that the old file does not count again. */
static void over_a_restart(void **state)
{
	struct world *w = *state;
	struct anchor *a = anchor_new(w->by_file);
	AUTO_TRUST held = NULL;
	uint8_t mark[32];

	finish(a, w->held);
	assert_true(anchor_mark(a, mark));
	assert_ok(store_save(w->by_file, w->held, mark, e));
	anchor_free(a);

	memset(mark, 0, sizeof(mark));
	assert_ok(store_load(w->by_file, &held, mark, e));
	a = anchor_new(w->by_file);
	anchor_done(a, mark);
	expect(a, held, &w->second, false);
	/* what was changed while nothing ran counts */
	bootstrap_with(w, &w->first, "\n\n");
	expect(a, held, &w->first, true);
	anchor_free(a);
}

/* ---- by pin -------------------------------------------------------------------------------- */

static void the_root_with_the_pinned_key(void **state)
{
	struct world *w = *state;
	const struct mica_slice both[] = {root(&w->second), root(&w->first)};
	struct anchor *a = anchor_new(w->by_pin);
	AUTO_TRUST told = agent_bundle(both, 2, 1);

	expect(a, NULL, NULL, true);
	assert_ok(anchor_learn_pinned(a, told, e));
	expect(a, NULL, &w->first, true); /* and no other that came along */
	finish(a, w->held);
	expect(a, w->held, &w->second, false);
	anchor_free(a);
}

static void another_key_is_not_pinned(void **state)
{
	struct world *w = *state;
	struct anchor *a = anchor_new(w->by_pin);

	assert_refused(MICA_INVALID, "pin_mismatch", anchor_learn_pinned(a, w->held, e));
	expect(a, NULL, NULL, true);
	anchor_free(a);
}

/* The key alone is public: a certificate around it that it did not sign could say anything. */
static void a_forged_certificate_with_the_pinned_key(void **state)
{
	struct world *w = *state;
	struct anchor *a = anchor_new(w->by_pin);
	AUTO_TRUST told = NULL;
	MICA_AUTO_BUF der, pem;

	mica_buf_init(&der, 65536);
	mica_buf_init(&pem, 65536);
	mica_buf_put_slice(&der, root(&w->first));
	der.p[der.len - 1] ^= 1; /* of its signature */
	mica_pem_put(&pem, MICA_PEM_CERT, mica_buf_slice(&der));
	assert_ok(trust_from_pem(TD, mica_buf_slice(&pem), &told, e));
	assert_refused(MICA_INVALID, "pin_mismatch", anchor_learn_pinned(a, told, e));
	expect(a, NULL, NULL, true);
	anchor_free(a);
}

static void a_pin_over_a_restart(void **state)
{
	struct world *w = *state;
	struct anchor *a = anchor_new(w->by_pin);
	struct agent_config *other;
	uint8_t mark[32];
	char pin[80];

	finish(a, w->held);
	assert_true(anchor_mark(a, mark));
	anchor_free(a);
	a = anchor_new(w->by_pin);
	anchor_done(a, mark);
	expect(a, w->held, &w->second, false);
	anchor_free(a);
	/* another pin begins anew, whatever is held */
	pin_of(&w->second, pin);
	other = config(w, "pin", pin);
	a = anchor_new(other);
	anchor_done(a, mark);
	expect(a, w->held, NULL, true);
	anchor_free(a);
	agent_config_free(other);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_file_counts_until_a_bundle_came),
		TEST(another_file_is_an_administrators_word),
		TEST(a_file_that_is_none_is_not_another_one),
		TEST(a_spiffe_bundle_bootstraps_too),
		TEST(over_a_restart),
		TEST(the_root_with_the_pinned_key),
		TEST(another_key_is_not_pinned),
		TEST(a_forged_certificate_with_the_pinned_key),
		TEST(a_pin_over_a_restart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
