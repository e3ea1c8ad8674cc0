/* SPDX-License-Identifier: Apache-2.0 */
/* Figures, held against a strict reader of Prometheus' text format 0.0.4. */
#include "tokens.h"

#include "server/known.h"
#include "server/metrics.h"

#include <ctype.h>
#include <pthread.h>

#define LINES 4096

/* ---- a reader ------------------------------------------------------------------------------ */

struct sample {
	char name[96], labels[256];
	double v;
};
static struct sample samples[LINES];
static unsigned n_samples;

static const char *name_end(const char *s)
{
	while (isalnum((unsigned char)*s) || *s == '_')
		s++;
	return s;
}

/* {key="value",...}: escapes only of \, " and newline. */
static const char *skip_labels(const char *s)
{
	assert_true(*s == '{');
	do {
		const char *end = name_end(++s);
		assert_true(end > s && end[0] == '=' && end[1] == '"');
		for (s = end + 2; *s != '"'; s++) {
			assert_true(*s != '\0' && *s != '\n');
			if (*s == '\\') {
				s++;
				assert_true(*s == '\\' || *s == '"' || *s == 'n');
			}
		}
		s++;
	} while (*s == ',');
	assert_true(*s == '}');
	return s + 1;
}

/* A histogram's samples have its name with an ending. */
static bool belongs(const char *name, const char *family, const char *type)
{
	static const char *const ends[] = {"_bucket", "_sum", "_count"};
	size_t len = strlen(family);

	if (strcmp(type, "histogram") != 0)
		return strcmp(name, family) == 0;
	for (size_t i = 0; i < MICA_ARRAY_LEN(ends); i++)
		if (strncmp(name, family, len) == 0 && strcmp(name + len, ends[i]) == 0)
			return true;
	return false;
}

static void read_sample(const char *line, const char *family, const char *type)
{
	struct sample *s = &samples[n_samples++];
	const char *end = name_end(line), *value;
	char *rest;

	assert_true(n_samples < LINES);
	snprintf(s->name, sizeof(s->name), "%.*s", (int)(end - line), line);
	if (!belongs(s->name, family, type))
		fail_msg("%s stands in the family %s", s->name, family);
	value = *end == '{' ? skip_labels(end) : end;
	snprintf(s->labels, sizeof(s->labels), "%.*s", (int)(value - end), end);
	assert_true(*value == ' ');
	s->v = strtod(value + 1, &rest);
	if (*rest != '\0')
		fail_msg("not a number: %s", line);
	for (struct sample *o = samples; o < s; o++)
		if (strcmp(o->name, s->name) == 0 && strcmp(o->labels, s->labels) == 0)
			fail_msg("twice: %s", line);
}

/* "# HELP name text" or "# TYPE name type". */
static bool comment(struct mica_slice line, const char *kind, char name[96], char rest[256])
{
	struct mica_slice word;

	if (!mica_slice_cut(&line, ' ', &word) || !mica_slice_eq_str(word, "#") ||
		!mica_slice_cut(&line, ' ', &word) || !mica_slice_eq_str(word, kind))
		return false;
	assert_true(mica_slice_cut(&line, ' ', &word) && line.len > 0);
	assert_int_equal(mica_slice_copy(word, name, 96), MICA_OK);
	assert_int_equal(mica_slice_copy(line, rest, 256), MICA_OK);
	return true;
}

static void read_all(struct mica_buf *b)
{
	static char seen[LINES][96];
	char family[96] = "", helped[96] = "", type[256] = "";
	struct mica_slice all = mica_buf_slice(b), line;
	unsigned n_seen = 0;

	n_samples = 0;
	assert_true(b->len > 0 && b->p[b->len - 1] == '\n');
	while (mica_slice_cut(&all, '\n', &line)) {
		if (comment(line, "HELP", helped, type))
			continue;
		if (!comment(line, "TYPE", family, type)) {
			char *text = mica_slice_dup(line);
			read_sample(text, family, type);
			mica_free(text);
			continue;
		}
		assert_string_equal(family, helped);
		assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 ||
			strcmp(type, "histogram") == 0);
		/* a counter says so in its name */
		assert_true((strcmp(type, "counter") == 0) == (strstr(family, "_total") != NULL));
		assert_int_equal(strncmp(family, "mica_", 5), 0);
		for (unsigned i = 0; i < n_seen; i++)
			assert_string_not_equal(seen[i], family);
		snprintf(seen[n_seen++], sizeof(seen[0]), "%s", family);
	}
}

static double value(const char *name, const char *labels)
{
	for (unsigned i = 0; i < n_samples; i++)
		if (strcmp(samples[i].name, name) == 0 && strcmp(samples[i].labels, labels) == 0)
			return samples[i].v;
	fail_msg("no %s%s", name, labels);
	return 0;
}

static const char *route(unsigned i, const char **method)
{
	static const char *const names[] = {"/a", "/b/{\"\\\n}"};
	*method = i ? "POST" : "GET";
	return i < 2 ? names[i] : NULL;
}

static void write_and_read(const struct metrics *m)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 1 << 20);
	metrics_write(m, route, &b);
	mica_metric_process(&b);
	assert_int_equal(mica_buf_rc(&b, NULL), MICA_OK);
	read_all(&b);
}

/* ---- tests --------------------------------------------------------------------------------- */

static void all_is_well_formed(void **state)
{
	struct metrics *m = MICA_NEW(struct metrics);
	(void)state;

	write_and_read(m);
	assert_true(value("mica_issuance_total", "{kind=\"jwt\",outcome=\"failed\"}") == 0);
	assert_true(value("mica_http_requests_total",
			    "{method=\"POST\",route=\"/b/{\\\"\\\\\\n}\",code=\"5xx\"}") == 0);
	assert_true(value("mica_process_resident_memory_bytes", "") > 1e6);
	assert_true(value("mica_process_cpu_seconds_total", "") > 0);
	assert_true(value("mica_process_open_fds", "") >= 1);
	mica_free(m);
}

static void histograms_add_up(void **state)
{
	static const int64_t ns[] = {-5, 0, 50000, 50001, 999999, 1000000, 30000000000};
	struct metrics *m = MICA_NEW(struct metrics);
	double last = 0;
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(ns); i++)
		metric_observe(&m->stage[METRIC_SIGN], ns[i]);
	write_and_read(m);
	assert_true(value("mica_issuance_duration_seconds_bucket",
			    "{stage=\"sign\",le=\"5e-05\"}") == 3);
	assert_true(value("mica_issuance_duration_seconds_bucket",
			    "{stage=\"sign\",le=\"0.0001\"}") == 4);
	assert_true(value("mica_issuance_duration_seconds_bucket",
			    "{stage=\"sign\",le=\"0.001\"}") == 6);
	assert_true(
		value("mica_issuance_duration_seconds_bucket", "{stage=\"sign\",le=\"10\"}") == 6);
	assert_true(value("mica_issuance_duration_seconds_bucket",
			    "{stage=\"sign\",le=\"+Inf\"}") == 7);
	assert_true(value("mica_issuance_duration_seconds_count", "{stage=\"sign\"}") == 7);
	assert_true(value("mica_issuance_duration_seconds_sum", "{stage=\"sign\"}") > 30.002);
	for (unsigned i = 0; i < n_samples; i++) {
		if (strcmp(samples[i].name, "mica_issuance_duration_seconds_bucket") != 0 ||
			!strstr(samples[i].labels, "\"sign\""))
			continue;
		assert_true(samples[i].v >= last);
		last = samples[i].v;
	}
	mica_free(m);
}

static void *count_reasons(void *arg)
{
	static const char *const reasons[] = {"a", "b", "token_invalid", "json_range"};

	for (int i = 0; i < 40000; i++)
		metric_reason(arg, reasons[i % 4]);
	return NULL;
}

static void reasons_are_counted_by_all_threads(void **state)
{
	struct metrics *m = MICA_NEW(struct metrics);
	char other[32];
	pthread_t t[4];
	(void)state;

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count_reasons, &m->refused), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	/* equal words in different places are one reason */
	snprintf(other, sizeof(other), "%s", "token_invalid");
	metric_reason(&m->refused, other);
	write_and_read(m);
	assert_true(value("mica_refusals_total", "{reason=\"a\"}") == 40000);
	assert_true(value("mica_refusals_total", "{reason=\"token_invalid\"}") == 40001);
	assert_true(value("mica_refusals_total", "{reason=\"other\"}") == 0);
	mica_free(m);
}

static void too_many_reasons_are_others(void **state)
{
	struct metric_reasons *r = MICA_NEW(struct metric_reasons);
	(void)state;

	for (int i = 0; i < METRIC_REASONS + 10; i++)
		metric_reason(r, tk_printf("reason_%d", i));
	assert_int_equal(mica_metric_get(&r->other), 10);
	mica_free(r);
}

static void good_credentials_are_recognised(void **state)
{
	struct known *k = known_new(1000), *other = known_new(1000);
	unsigned found = 0;
	(void)state;

	known_add(k, MICA_LIT("token"));
	assert_true(known_has(k, MICA_LIT("token")));
	assert_false(known_has(k, MICA_LIT("tokem")));
	assert_false(known_has(k, MICA_LIT("")));
	assert_false(known_has(other, MICA_LIT("token")));
	for (int i = 0; i < 200; i++)
		known_add(other, mica_slice_str(tk_printf("Bearer some-longer-token-%d", i)));
	for (int i = 0; i < 200; i++)
		found += known_has(
			other, mica_slice_str(tk_printf("Bearer some-longer-token-%d", i)));
	assert_in_range(found, 150, 200); /* some take each other's place */
	for (int i = 200; i < 1000; i++)
		assert_false(known_has(
			other, mica_slice_str(tk_printf("Bearer some-longer-token-%d", i))));
	known_free(k);
	known_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_well_formed),
		cmocka_unit_test(histograms_add_up),
		cmocka_unit_test(reasons_are_counted_by_all_threads),
		cmocka_unit_test_teardown(too_many_reasons_are_others, tk_empty_bin),
		cmocka_unit_test_teardown(good_credentials_are_recognised, tk_empty_bin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
