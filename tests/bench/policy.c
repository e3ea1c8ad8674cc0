/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a decision about a request costs, by the number of policies. Two worlds: `spread`, in which
 * ten policies with selectors share a namespace, and `crowded`, in which all are in one namespace
 * and about every workload in it. Each request differs from the last; half of them are denied. One
 * JSON object; each figure is the median over batches, in CPU time of one thread. Besides, what it
 * takes to write the crowded world for an Envoy.
 *
 *	policy [COUNT...]
 */
#include "mica/clock.h"
#include "mica/mem.h"
#include "mica/policy_compile.h"

#include <stdio.h>

#define BATCHES  501
#define BATCH    32
#define REQUESTS 4096

struct world {
	struct mica_policy_set *set;
	double parse_ms, build_ms;
};

/* Policy i allows its own client, under its own paths. */
static void put_policy(struct mica_buf *b, unsigned i, bool crowded)
{
	unsigned ns = crowded ? 0 : i / 10;

	mica_buf_printf(b,
		"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
		"metadata: {name: policy-%u, namespace: team-%u}\nspec:\n",
		i, ns);
	if (!crowded)
		mica_buf_printf(b, "  selector: {matchLabels: {app: app-%u}}\n", i % 10);
	mica_buf_printf(b,
		"  action: %s\n  rules:\n"
		"  - from: [{source: {principals: [\"td/ns/client-%u/sa/web-%u\", "
		"\"td/ns/jobs-%u/*\"]}}]\n"
		"    to: [{operation: {methods: [GET, POST], paths: [\"/api/v%u/*\", \"/health\"]}}]\n"
		"  - from: [{source: {namespaces: [\"ops-%u\"], ipBlocks: [\"10.0.0.0/8\"]}}]\n",
		i % 10 == 9 ? "DENY" : "ALLOW", i, i % 7, i, i % 5, i);
}

static void must(mica_rc rc, const struct mica_err *e)
{
	if (rc == MICA_OK)
		return;
	fprintf(stderr, "policy: %s\n", e->text);
	exit(1);
}

/* As many texts as their bound wants. */
static struct world make_world(unsigned count, bool crowded)
{
	const struct mica_policy **all = mica_calloc(count, sizeof(all[0]));
	struct mica_err e = MICA_ERR_INIT;
	struct world w = {NULL};
	unsigned n = 0;
	int64_t t;

	while (n < count) {
		struct mica_policies some;
		MICA_AUTO_BUF text;

		mica_buf_init(&text, MICA_POLICY_TEXT_MAX);
		for (unsigned k = 0; k < 1000 && n + k < count; k++)
			put_policy(&text, n + k, crowded);
		must(mica_buf_rc(&text, &e), &e);
		t = mica_thread_cpu_ns();
		must(mica_policies_parse(mica_buf_slice(&text), "bench", NULL, &some, &e), &e);
		w.parse_ms += (double)(mica_thread_cpu_ns() - t) / 1e6;
		for (unsigned k = 0; k < some.n; k++)
			all[n++] = mica_policy_ref(some.v[k]);
		mica_policies_clear(&some);
	}
	t = mica_thread_cpu_ns();
	must(mica_policy_set_new(NULL, all, count, &w.set, &e), &e);
	w.build_ms = (double)(mica_thread_cpu_ns() - t) / 1e6;
	for (unsigned i = 0; i < count; i++)
		mica_policy_unref(all[i]);
	mica_free(all);
	return w;
}

struct asked {
	struct mica_policy_request r;
	struct mica_policy_pair labels[3];
	char ns[32], peer[96], path[64], app[16];
};

/* Of a random policy, in half of the cases by somebody whom it does not know. */
static void make_request(struct asked *a, unsigned count, bool crowded, uint32_t random)
{
	unsigned i = random % count, ns = crowded ? 0 : i / 10, known = random >> 31;

	snprintf(a->ns, sizeof(a->ns), "team-%u", ns);
	snprintf(a->app, sizeof(a->app), "app-%u", i % 10);
	snprintf(a->peer, sizeof(a->peer), "spiffe://td/ns/client-%u/sa/web-%u", i,
		known ? i % 7 : 8);
	snprintf(a->path, sizeof(a->path), "/api/v%u/orders/%u", i % 5, random % 1000);
	a->labels[0] = (struct mica_policy_pair){MICA_LIT("app"), mica_slice_str(a->app)};
	a->labels[1] = (struct mica_policy_pair){MICA_LIT("version"), MICA_LIT("v1")};
	a->labels[2] =
		(struct mica_policy_pair){MICA_LIT("pod-template-hash"), MICA_LIT("5d4f8c7b9")};
	a->r = (struct mica_policy_request){
		.workload = {mica_slice_str(a->ns), a->labels, 3},
		.peer = mica_slice_str(a->peer),
		.http = true,
		.method = MICA_LIT("GET"),
		.path = mica_slice_str(a->path),
		.host = MICA_LIT("orders.example.org"),
		.source_ip = {.len = 4, .b = {10, 1, 2, 3}},
		.port = 8443,
	};
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double decide_us(const struct world *w, unsigned count, bool crowded, double *allowed)
{
	struct asked *asked = mica_calloc(REQUESTS, sizeof(*asked));
	static double us[BATCHES];
	struct mica_policy_verdict v;
	uint32_t random = 1;
	unsigned at = 0, yes = 0;

	for (unsigned i = 0; i < REQUESTS; i++) {
		random = random * 1664525 + 1013904223;
		make_request(&asked[i], count, crowded, random);
	}
	for (unsigned b = 0; b < BATCHES; b++) {
		int64_t t = mica_thread_cpu_ns();

		for (unsigned i = 0; i < BATCH; i++) {
			mica_policy_decide(w->set, &asked[at++ % REQUESTS].r, &v);
			yes += v.now.allowed;
		}
		us[b] = (double)(mica_thread_cpu_ns() - t) / 1e3 / BATCH;
	}
	qsort(us, BATCHES, sizeof(us[0]), by_size);
	*allowed = 100.0 * yes / (BATCHES * BATCH);
	mica_free(asked);
	return us[BATCHES / 2];
}

/* All of them for one workload, which is what a compiler has most to do with. */
static double compile_ms(const struct world *w)
{
	const struct mica_policy_workload workload = {.ns = MICA_LIT("team-0")};
	const struct mica_policy_compile_options o = {
		.target = MICA_TARGET_ENVOY_HTTP, .workload = &workload};
	struct mica_err e = MICA_ERR_INIT;
	double ms[5];

	for (unsigned i = 0; i < MICA_ARRAY_LEN(ms); i++) {
		int64_t t = mica_thread_cpu_ns();
		MICA_AUTO_BUF b;

		mica_buf_init(&b, (size_t)1 << 30);
		must(mica_policy_compile(w->set, &o, &b, NULL, &e), &e);
		ms[i] = (double)(mica_thread_cpu_ns() - t) / 1e6;
	}
	qsort(ms, MICA_ARRAY_LEN(ms), sizeof(ms[0]), by_size);
	return ms[MICA_ARRAY_LEN(ms) / 2];
}

static void measure(unsigned count, bool crowded)
{
	const char *world = crowded ? "crowded" : "spread";
	struct world w = make_world(count, crowded);
	double allowed, us = decide_us(&w, count, crowded, &allowed);

	printf("\"policy_%s_us_%u\": %.3f, \"policy_%s_allowed_%u\": %.1f, ", world, count, us,
		world, count, allowed);
	printf("\"policy_%s_parse_ms_%u\": %.1f, \"policy_%s_build_ms_%u\": %.1f", world, count,
		w.parse_ms, world, count, w.build_ms);
	if (crowded)
		printf(", \"policy_envoy_compile_ms_%u\": %.2f", count, compile_ms(&w));
	mica_policy_set_unref(w.set);
}

int main(int argc, char **argv)
{
	uint64_t counts[16] = {1000, 10000};
	int n = 2;

	for (n = argc > 1 ? 0 : 2; n + 1 < argc && n < 16; n++) {
		if (mica_parse_u64(mica_slice_str(argv[n + 1]), MICA_POLICY_SET_MAX, &counts[n]) !=
				MICA_OK ||
			counts[n] == 0)
			return 2;
	}
	printf("{");
	for (int i = 0; i < 2 * n; i++) {
		printf("%s", i ? ", " : "");
		measure((unsigned)counts[i / 2], i % 2);
	}
	printf("}\n");
	return 0;
}
