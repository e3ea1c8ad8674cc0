/* SPDX-License-Identifier: Apache-2.0 */
/* The table of routes and openapi.json say the same: paths, methods, statuses, listeners, query
 * parameters, who may. */
#include "tokens.h"

#include "server/api_impl.h"

#include "mica/json.h"

static json_t *doc;

static int load(void **state)
{
	json_error_t e;
	struct mica_slice s = api_openapi();
	(void)state;

	doc = json_loadb((const char *)s.p, s.len, JSON_REJECT_DUPLICATES, &e);
	return doc ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	json_decref(doc);
	return 0;
}

/* "#/components/..." */
static json_t *follow(json_t *v)
{
	const char *ref = json_string_value(json_object_get(v, "$ref"));
	struct mica_slice rest = mica_slice_str(ref), part;
	json_t *at = doc;
	bool more;

	if (!ref)
		return v;
	assert_true(mica_slice_cut(&rest, '/', &part) && mica_slice_eq_str(part, "#"));
	do {
		more = mica_slice_cut(&rest, '/', &part);
		at = json_object_get(at, tk_keep(mica_slice_dup(part)));
	} while (more);
	if (!at)
		fail_msg("%s leads nowhere", ref);
	return at;
}

static const char *method_of(const struct api_route *t)
{
	return t->method == HTTP_GET     ? "get"
		: t->method == HTTP_POST ? "post"
		: t->method == HTTP_PUT  ? "put"
					 : "delete";
}

static json_t *operation(const struct api_route *t)
{
	json_t *path = json_object_get(json_object_get(doc, "paths"), t->path);
	json_t *op = json_object_get(path, method_of(t));

	if (!op)
		fail_msg("openapi.json has no %s %s", method_of(t), t->path);
	return op;
}

static bool may_answer(const struct api_route *t, int status)
{
	for (enum api_status s = 0; s < API_STATUS_COUNT; s++)
		if (api_status_code(s) == status)
			return (t->statuses & S(s)) != 0;
	return false;
}

static void every_route_is_described(void **state)
{
	(void)state;
	for (unsigned i = 0; i < api_n_routes; i++) {
		const struct api_route *t = &api_routes[i];
		json_t *op = operation(t), *responses = json_object_get(op, "responses"), *v;
		const char *key;

		for (enum api_status s = 0; s < API_STATUS_COUNT; s++)
			if ((t->statuses & S(s)) &&
				!json_object_get(responses, tk_printf("%d", api_status_code(s))))
				fail_msg("%s %s: %d is not described", method_of(t), t->path,
					api_status_code(s));
		json_object_foreach (responses, key, v) {
			if (!may_answer(t, (int)strtol(key, NULL, 10)))
				fail_msg("%s %s: never answers %s", method_of(t), t->path, key);
			assert_non_null(json_object_get(follow(v), "description"));
		}
		assert_int_equal(
			t->body != API_NO_BODY, json_object_get(op, "requestBody") != NULL);
	}
}

static void nothing_else_is_described(void **state)
{
	json_t *methods, *op;
	const char *path, *method;
	unsigned n = 0;
	(void)state;

	json_object_foreach (json_object_get(doc, "paths"), path, methods) {
		json_object_foreach (methods, method, op) {
			unsigned i = 0;
			while (i < api_n_routes &&
				(strcmp(api_routes[i].path, path) != 0 ||
					strcmp(method_of(&api_routes[i]), method) != 0))
				i++;
			if (i == api_n_routes)
				fail_msg("no route serves %s %s", method, path);
			n++;
		}
	}
	assert_int_equal(n, api_n_routes);
}

static void parameters_agree(void **state)
{
	(void)state;
	for (unsigned i = 0; i < api_n_routes; i++) {
		const struct api_route *t = &api_routes[i];
		json_t *list = json_object_get(operation(t), "parameters"), *p;
		unsigned in_query = 0, in_path = 0, k = 0;
		size_t at;

		json_array_foreach (list, at, p) {
			const char *name = json_string_value(json_object_get(follow(p), "name"));
			const char *in = json_string_value(json_object_get(follow(p), "in"));
			if (strcmp(in, "path") == 0) {
				in_path++;
				assert_non_null(strstr(t->path, tk_printf("{%s}", name)));
			}
			if (strcmp(in, "query") != 0)
				continue;
			for (k = 0; t->params && t->params[k]; k++)
				if (strcmp(t->params[k], name) == 0)
					break;
			if (!t->params || !t->params[k])
				fail_msg("%s: no parameter %s", t->path, name);
			in_query++;
		}
		for (k = 0; t->params && t->params[k];)
			k++;
		assert_int_equal(in_query, k);
		assert_int_equal(in_path, t->kind == API_EXACT ? 0 : t->kind == API_PAIR ? 2 : 1);
	}
}

static void listeners_and_callers_agree(void **state)
{
	static const char *const doors[] = {"https", "watch", "admin", "metrics"};
	static const char *const who[] = {
		"anyone", "caller", "workload", "auditor", "admin", "local_admin"};
	(void)state;

	for (unsigned i = 0; i < api_n_routes; i++) {
		const struct api_route *t = &api_routes[i];
		json_t *op = operation(t), *v;
		unsigned mask = 0;
		size_t at;

		json_array_foreach (json_object_get(op, "x-mica-listeners"), at, v) {
			for (unsigned l = 0; l < API_LISTENER_COUNT; l++)
				if (strcmp(json_string_value(v), doors[l]) == 0)
					mask |= API_ON(l);
		}
		if (mask != t->doors)
			fail_msg("%s: listeners differ", t->path);
		assert_string_equal(
			json_string_value(json_object_get(op, "x-mica-who")), who[t->who]);
	}
}

/* Every body has a schema and an example, and an example is what its schema says as far as members
 * go. */
static void check_example(json_t *content, const char *where)
{
	json_t *media, *v, *required;
	const char *type;
	size_t at;

	json_object_foreach (content, type, media) {
		json_t *schema = follow(json_object_get(media, "schema"));
		json_t *example = json_object_get(media, "example"), *named;
		const char *key;

		assert_non_null(schema);
		json_object_foreach (json_object_get(media, "examples"), key, named) {
			example = json_object_get(named, "value");
		}
		/* nobody reads binary ones */
		if (!example && strcmp(type, "application/octet-stream") != 0 &&
			strcmp(type, "application/pkix-crl") != 0)
			fail_msg("%s: no example of %s", where, type);
		required = json_object_get(schema, "required");
		json_array_foreach (required, at, v) {
			if (!json_object_get(example, json_string_value(v)))
				fail_msg("%s: the example lacks %s", where, json_string_value(v));
		}
		if (!json_is_object(example) || !json_object_get(schema, "properties"))
			continue;
		json_object_foreach (example, key, v) {
			if (!json_object_get(json_object_get(schema, "properties"), key))
				fail_msg("%s: the schema lacks %s", where, key);
		}
	}
}

static void bodies_have_examples(void **state)
{
	(void)state;
	for (unsigned i = 0; i < api_n_routes; i++) {
		const struct api_route *t = &api_routes[i];
		json_t *op = operation(t), *v;
		const char *key;

		check_example(
			json_object_get(json_object_get(op, "requestBody"), "content"), t->path);
		json_object_foreach (json_object_get(op, "responses"), key, v) {
			json_t *content = json_object_get(follow(v), "content");
			bool none = strcmp(key, "204") == 0 || strcmp(key, "304") == 0;
			assert_int_equal(none, content == NULL);
			check_example(content, t->path);
			if (key[0] >= '4')
				assert_non_null(
					json_object_get(content, "application/problem+json"));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_route_is_described, tk_empty_bin),
		cmocka_unit_test(nothing_else_is_described),
		cmocka_unit_test_teardown(parameters_agree, tk_empty_bin),
		cmocka_unit_test(listeners_and_callers_agree),
		cmocka_unit_test_teardown(bodies_have_examples, tk_empty_bin),
	};
	return cmocka_run_group_tests(tests, load, unload);
}
