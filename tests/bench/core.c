/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the core adds to the raw operations of one certificate: authentication by token, prepare,
 * and its share of a commit, on one thread, in CPU time; the best of several rounds. No network and
 * no HTTP. The store lies in memory (/dev/shm), so that no disk is measured. One JSON object; run
 * it by hand.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* the floor is measured by the cheapest calls there are */
#include "coretest.h"

#include "mica/clock.h"

#include <openssl/obj_mac.h>

#define ROUNDS 40
#define BATCH  32
#define N      64 /* operations in a round: as many as are under way with 64 clients */

struct raw {
	EC_KEY *ec;
	ECDSA_SIG *sig;
	RSA *rsa;
	uint8_t hash[32], rsa_sig[512];
	unsigned rsa_len;
};

static void raw_init(struct raw *r, struct ct *t)
{
	memset(r->hash, 7, sizeof(r->hash));
	r->ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
	EC_KEY_generate_key(r->ec);
	r->sig = ECDSA_do_sign(r->hash, 32, r->ec);
	r->rsa = EVP_PKEY_get1_RSA(t->issuer_key);
	RSA_sign(NID_sha256, r->hash, 32, r->rsa_sig, &r->rsa_len, r->rsa);
}

static void raw_all(struct raw *r)
{
	assert_int_equal(ECDSA_do_verify(r->hash, 32, r->sig, r->ec), 1);
	ECDSA_SIG_free(ECDSA_do_sign(r->hash, 32, r->ec));
	assert_int_equal(RSA_verify(NID_sha256, r->hash, 32, r->rsa_sig, r->rsa_len, r->rsa), 1);
}

struct times {
	double raw, auth, prepare, commit;
};

static void keep_best(double *best, int64_t begin, int64_t end)
{
	double us = (double)(end - begin) / 1e3 / N;

	*best = *best == 0 || us < *best ? us : *best;
}

static void one_round(struct ct *t, struct raw *r, struct mica_slice token, struct times *best)
{
	static struct mica_candidate *k[N];
	static struct mica_caller who[N];
	int64_t at[5];

	at[0] = mica_thread_cpu_ns();
	for (unsigned i = 0; i < N; i++)
		raw_all(r);
	at[1] = mica_thread_cpu_ns();
	for (unsigned i = 0; i < N; i++)
		assert_ok(mica_core_authenticate_token(
			t->core, token, MICA_FRONT_REST, NOW_MS, &who[i], NULL, e));
	at[2] = mica_thread_cpu_ns();
	for (unsigned i = 0; i < N; i++) {
		struct mica_x509_request q = ct_request(t, &who[i]);

		assert_ok(mica_core_prepare_x509(t->core, &q, NOW_MS, &k[i], e));
	}
	at[3] = mica_thread_cpu_ns();
	for (unsigned i = 0; i < N; i += BATCH)
		assert_ok(mica_core_commit(t->core, k + i, BATCH, NOW_MS, e));
	at[4] = mica_thread_cpu_ns();
	keep_best(&best->raw, at[0], at[1]);
	keep_best(&best->auth, at[1], at[2]);
	keep_best(&best->prepare, at[2], at[3]);
	keep_best(&best->commit, at[3], at[4]);
	for (unsigned i = 0; i < N; i++)
		mica_candidate_free(k[i]);
}

static void measure(void **state)
{
	struct ct *t = *state;
	struct mica_slice token = ct_token(t, NOW);
	struct times best = {.raw = 0};
	struct raw r;
	double ours;

	raw_init(&r, t);
	for (int i = 0; i < ROUNDS; i++)
		one_round(t, &r, token, &best);
	ours = best.auth + best.prepare + best.commit;
	printf("{\"floor_us\": %.2f,\n \"authenticate_us\": %.2f,\n \"prepare_us\": %.2f,\n"
	       " \"commit_us\": %.2f,\n \"core_us\": %.2f,\n \"core_ratio\": %.4f}\n",
		best.raw, best.auth, best.prepare, best.commit, ours, ours / best.raw);
	EC_KEY_free(r.ec);
	ECDSA_SIG_free(r.sig);
	RSA_free(r.rsa);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(measure, ct_setup, ct_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
