/* SPDX-License-Identifier: Apache-2.0 */
/* What operators are told: figures at the edges, and when an agent is ready. */
#include "agentpki.h"

#include "agent/metrics.h"

#include <stdio.h>

#define T0 INT64_C(1800000000000)

static char text[65536];

static void write_out(const struct figures *f, const struct figures_now *n)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, sizeof(text) - 1);
	figures_write(f, n, &b);
	assert_false(b.over);
	memcpy(text, b.p, b.len);
	text[b.len] = '\0';
}

/* A line of its own. */
static void says(const char *line)
{
	const size_t len = strlen(line);

	for (const char *at = text; (at = strstr(at, line)); at++)
		if ((at == text || at[-1] == '\n') && at[len] == '\n')
			return;
	fail_msg("not there: %s", line);
}

static struct figures_now now(void)
{
	return (struct figures_now){.version = "1\"2",
		.now_ms = T0,
		.mono_ms = 1000000,
		.started_ms = T0 - 5000,
		.identities = 2,
		.x509_end_ms = 0,
		.jwt_end_ms = INT64_MAX};
}

static void of_one_that_has_nothing(void **state)
{
	const struct figures f = {.sds_nacks = 0};
	const struct figures_now n = now();

	(void)state;
	write_out(&f, &n);
	says("mica_agent_ready 0");
	says("mica_agent_identities 2");
	says("mica_agent_svids{kind=\"x509\"} 0");
	says("mica_agent_svid_left_seconds{kind=\"x509\"} 0");
	assert_null(strstr(text, "mica_agent_svid_left_seconds{kind=\"jwt\"}"));
	says("mica_agent_bundle_sequence 0");
	says("mica_agent_bundle_age_seconds -1");
	says("mica_agent_micad_reachable{connection=\"requests\"} 0");
	says("mica_agent_failed_seconds{kind=\"x509\"} 0");
	says("mica_agent_start_time_seconds 1799999995");
	says("mica_agent_build_info{version=\"1\\\"2\"} 1");
}

static void of_one_at_work(void **state)
{
	struct figures f = {.sds_nacks = 0};
	struct figures_now n = now();

	(void)state;
	figures_ok(&f, FIGURE_X509);
	figures_ok(&f, FIGURE_X509);
	figures_failed(&f, FIGURE_X509, T0 - 2000);
	figures_failed(&f, FIGURE_FILES, T0);
	figures_reached(&f, FIGURE_WATCH, true);
	figures_reached(&f, FIGURE_REQUESTS, true);
	figures_reached(&f, FIGURE_REQUESTS, false);
	figures_bundle(&f, 1000000 - 42500);
	figures_nack(&f);
	n.ready = true;
	n.x509 = n.identities = 2;
	n.x509_end_ms = T0 + 1999;
	n.jwt = 3;
	n.jwt_end_ms = T0 + 60000;
	n.streams[FIGURE_SDS_DELTA] = 4;
	write_out(&f, &n);
	says("mica_agent_ready 1");
	says("mica_agent_results_total{kind=\"x509\",outcome=\"ok\"} 2");
	says("mica_agent_results_total{kind=\"x509\",outcome=\"failed\"} 1");
	says("mica_agent_results_total{kind=\"files\",outcome=\"failed\"} 1");
	says("mica_agent_results_total{kind=\"jwt\",outcome=\"ok\"} 0");
	says("mica_agent_failed_seconds{kind=\"x509\"} 1799999998");
	says("mica_agent_micad_reachable{connection=\"requests\"} 0");
	says("mica_agent_micad_reachable{connection=\"watch\"} 1");
	says("mica_agent_bundle_age_seconds 42");
	says("mica_agent_svid_left_seconds{kind=\"x509\"} 1");
	says("mica_agent_svid_left_seconds{kind=\"jwt\"} 60");
	says("mica_agent_sds_nacks_total 1");
	says("mica_agent_streams{api=\"sds_delta\"} 4");
	/* who counts nowhere is served all the same */
	figures_ok(NULL, FIGURE_JWT);
	figures_failed(NULL, FIGURE_JWT, T0);
	figures_reached(NULL, FIGURE_WATCH, true);
	figures_bundle(NULL, 1);
	figures_nack(NULL);
}

static void readiness(void **state)
{
	static const char config[] =
		"trust_domain: " TD "\nmicad: {url: \"https://m\", bootstrap_file: /r}\n"
		"identities:\n"
		"  - {name: web, token_file: /t, allow: {any: true}}\n"
		"  - {name: db, token_file: /t, allow: {any: true}}\n";
	AUTO_KEEP_VIEW v = {.version = 0};
	AUTO_AGENT_CONFIG c = NULL;
	struct mica_slice root;
	struct pki p;
	MICA_AUTO_BUF why;

	(void)state;
	mica_buf_init(&why, 4096);
	pki_init(&p, MICA_KN_P256);
	root = mica_buf_slice(&p.root_der);
	assert_ok(agent_config_parse(mica_slice_str(config), NULL, &c, e));
	assert_false(metrics_ready(c, &v, NOW * 1000, &why));
	assert_true(mica_slice_eq_str(mica_buf_slice(&why),
		"no trust bundle\nno valid certificate for the identity web\n"
		"no valid certificate for the identity db\n"));
	v.trust = agent_bundle(&root, 1, 7);
	v.svid[0] = agent_svid(&p, ID);
	mica_buf_reset(&why);
	assert_false(metrics_ready(c, &v, NOW * 1000, &why));
	assert_true(mica_slice_eq_str(
		mica_buf_slice(&why), "no valid certificate for the identity db\n"));
	v.svid[1] = agent_svid(&p, ID);
	mica_buf_reset(&why);
	assert_true(metrics_ready(c, &v, NOW * 1000, &why));
	assert_int_equal(why.len, 0);
	/* to the millisecond */
	assert_true(metrics_ready(c, &v, v.svid[0]->times.not_after - 1, &why));
	assert_false(metrics_ready(c, &v, v.svid[0]->times.not_after, &why));
	pki_clear(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_one_that_has_nothing),
		cmocka_unit_test(of_one_at_work),
		cmocka_unit_test(readiness),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
