/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent that has joined keeps: it comes back whole, or not at all; tokens are shown once.
 */
#include "pki.h"

#include "agent/join.h"

#include "mica/file.h"
#include "mica/pem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct world {
	struct pki p;
	char dir[64], pass[96], token[96], kept[96];
	struct agent_config *c;
	const struct svid *svid;
};

static void put(const char *path, const char *text)
{
	assert_ok(mica_file_write_atomic(path, mica_slice_str(text), 0600, e));
}

static void configure(struct world *w)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 65536);
	mica_buf_printf(&b,
		"trust_domain: " TD "\nmicad: {url: \"https://m\", bootstrap_file: /r}\n"
		"state: {directory: %s, passphrase_file: %s}\nidentities:\n"
		"  - {name: vm, join: {token_file: %s}, allow: {any: true}}\n"
		"  - {name: vn, join: {token_file: %s}, allow: {any: true}}\n",
		w->dir, w->pass, w->token, w->token);
	assert_ok(agent_config_parse(mica_buf_slice(&b), NULL, &w->c, e));
}

/* As micad gives it. */
static void issue(struct world *w)
{
	const struct mica_leaf_spec spec = pki_spec(&w->p);
	MICA_AUTO_BUF pem, answer, der;

	mica_buf_init(&der, MICA_CERT_MAX);
	assert_ok(mica_leaf_sign(w->p.issuing, &spec, &der, e));
	mica_buf_init(&pem, 65536);
	mica_buf_init(&answer, 65536);
	mica_pem_put(&pem, MICA_PEM_CERT, mica_buf_slice(&der));
	mica_buf_put_str(&answer,
		"{\"renew_after\":\"2026-11-24T12:00:00Z\",\"bundle_sequence\":7,"
		"\"certificate_chain\":");
	mica_buf_put_json_string(&answer, mica_buf_slice(&pem));
	mica_buf_put_u8(&answer, '}');
	assert_ok(svid_read(TD, mica_buf_slice(&answer), w->p.leaf_signer, &w->svid, e));
}

static int setup(void **state)
{
	struct world *w = MICA_NEW(struct world);

	mica_kek_set_test_cost(10);
	snprintf(w->dir, sizeof(w->dir), "/tmp/mica-join-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->pass, sizeof(w->pass), "%s/pass", w->dir);
	snprintf(w->token, sizeof(w->token), "%s/token", w->dir);
	snprintf(w->kept, sizeof(w->kept), "%s/vm.svid", w->dir);
	put(w->pass, "a passphrase\n");
	pki_init(&w->p, MICA_KN_P256);
	configure(w);
	issue(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char other[96];

	snprintf(other, sizeof(other), "%s/vn.svid", w->dir);
	unlink(other);
	unlink(w->pass);
	unlink(w->token);
	unlink(w->kept);
	rmdir(w->dir);
	svid_unref(w->svid);
	agent_config_free(w->c);
	pki_clear(&w->p);
	mica_free(w);
	return 0;
}

#define AUTO_JOIN __attribute__((cleanup(auto_join_))) struct join *

static struct join *opened(struct world *w)
{
	struct join *j = NULL;

	assert_ok(join_new(w->c, &j, e));
	return j;
}

static void it_comes_back(void **state)
{
	struct world *w = *state;

	for (int turn = 0; turn < 2; turn++) {
		AUTO_JOIN j = opened(w);
		AUTO_SVID s = NULL;

		if (turn == 0) {
			assert_refused(MICA_NOT_FOUND, "no_state", join_load(j, 0, &s, e));
			assert_ok(join_save(j, 0, w->svid, e));
			assert_ok(join_save(j, 0, w->svid, e));
		}
		assert_ok(join_load(j, 0, &s, e));
		assert_string_equal(s->id, ID);
		assert_string_equal(s->serial, w->svid->serial);
		assert_true(mica_slice_eq(mica_buf_slice(&s->der), mica_buf_slice(&w->svid->der)));
		assert_true(mica_slice_eq(
			mica_secret_view(s->pkcs8), mica_secret_view(w->svid->pkcs8)));
		assert_int_equal(s->times.renew_after, w->svid->times.renew_after);
		assert_int_equal(s->bundle_sequence, 7);
	}
}

/* Each octet of the file counts. */
static void nothing_else_is_taken(void **state)
{
	struct world *w = *state;
	AUTO_JOIN j = opened(w);
	AUTO_SVID s = NULL;
	MICA_AUTO_BUF text;
	char path[96];

	mica_buf_init(&text, 1 << 20);
	assert_ok(join_save(j, 0, w->svid, e));
	assert_ok(mica_file_read(w->kept, &text, e));
	for (size_t i = 0; i + 1 < text.len; i += 7) {
		const uint8_t was = text.p[i];
		struct mica_err why = MICA_ERR_INIT;

		text.p[i] = was == '0' ? '1' : '0';
		assert_ok(mica_file_write_atomic(w->kept, mica_buf_slice(&text), 0600, e));
		if (join_load(j, 0, &s, &why) == MICA_OK)
			fail_msg("octet %zu does not count: %.20s", i, (const char *)text.p + i);
		text.p[i] = was;
	}
	/* another identity's */
	snprintf(path, sizeof(path), "%s/vn.svid", w->dir);
	assert_ok(mica_file_write_atomic(path, mica_buf_slice(&text), 0600, e));
	assert_refused(MICA_CORRUPT, "key_envelope_damaged", join_load(j, 1, &s, e));
	/* another passphrase */
	assert_ok(mica_file_write_atomic(w->kept, mica_buf_slice(&text), 0600, e));
	put(w->pass, "another\n");
	AUTO_JOIN other = opened(w);
	assert_refused(MICA_UNAUTHENTICATED, "wrong_passphrase", join_load(other, 0, &s, e));
}

static void a_token_is_shown_once(void **state)
{
	struct world *w = *state;
	struct mica_err why = MICA_ERR_INIT;
	struct join_question *q;
	AUTO_SVID s = NULL;

	for (int turn = 0; turn < 2; turn++) {
		AUTO_JOIN j = opened(w);
		MICA_AUTO_BUF token;

		mica_buf_init_secret(&token, 64);
		if (turn == 0) {
			assert_int_equal(join_token(j, 0, &token, &why), MICA_NOT_FOUND);
			assert_non_null(strstr(why.text, "mica token create` and"));
			mica_buf_clear(&token);
			put(w->token, "mica-join-a\n");
			assert_ok(join_token(j, 0, &token, e));
			/* the same question until it is through */
			q = join_question(j, 0, mica_buf_slice(&token));
			assert_null(q->key);
			assert_ok(mica_signer_generate(MICA_KN_P256, &q->key, e));
			mica_buf_put_str(&q->body, "body");
			q = join_question(j, 0, mica_buf_slice(&token));
			assert_non_null(q->key);
			assert_int_equal(q->body.len, 4);
			assert_null(join_question(j, 0, MICA_LIT("mica-join-b"))->key);
			join_spent(j, 0, mica_buf_slice(&token));
			assert_ok(join_save(j, 0, w->svid, e));
		} else {
			assert_ok(join_load(j, 0, &s, e));
			svid_unref(MICA_STEAL(s));
		}
		/* also after a restart */
		mica_buf_clear(&token);
		assert_int_equal(join_token(j, 0, &token, &why), MICA_NOT_FOUND);
		assert_string_equal(why.reason, "join_needed");
		mica_err_clear(&why);
	}
	AUTO_JOIN j = opened(w);
	MICA_AUTO_BUF token;
	mica_buf_init_secret(&token, 64);
	assert_ok(join_load(j, 0, &s, e));
	mica_buf_clear(&token);
	put(w->token, "mica-join-b\n");
	assert_ok(join_token(j, 0, &token, e));
	join_remove_token(j, 0);
	assert_int_equal(access(w->token, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_else_is_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(a_token_is_shown_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
