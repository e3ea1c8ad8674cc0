/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader and the walk that places its errors, over every value of the document. */
#include "mica/json.h"

static const struct mica_json_limits limits = {.bytes = 65536, .depth = 12};

static void placed(const struct mica_err *e, struct mica_slice src)
{
	size_t lines = 1;

	for (size_t i = 0; i < src.len; i++)
		lines += src.p[i] == '\n';
	if (e->line < 1 || e->column < 1 || (size_t)e->line > lines ||
		(size_t)e->column > src.len + 1 || !mica_slice_is_utf8(mica_slice_str(e->text)))
		abort();
}

static void visit(const struct mica_json *d, const json_t *v, unsigned *budget)
{
	struct mica_slice s;
	int64_t i;
	bool b;
	const struct mica_json_member members[] = {
		{.name = "a", .type = MICA_JSON_STRING, .max = 3, .out = &s},
		{.name = "b", .type = MICA_JSON_INT, .min = -5, .max = 5, .out = &i},
		{.name = "c", .type = MICA_JSON_BOOL, .out = &b},
		{.name = "d", .type = MICA_JSON_ANY, .required = true},
	};
	struct mica_err e = MICA_ERR_INIT;
	const char *key;
	json_t *child;

	if (*budget == 0)
		return;
	--*budget;
	if (mica_json_fail(d, v, &e, "r", "x") != MICA_INVALID)
		abort();
	if (!json_is_boolean(v) && !json_is_null(v))
		placed(&e, d->src);
	mica_err_clear(&e);
	if (mica_json_read(d, v, "path", members, MICA_ARRAY_LEN(members), *budget % 2, &e) !=
			MICA_OK &&
		(e.line || json_is_object(v)))
		placed(&e, d->src);
	json_object_foreach ((json_t *)v, key, child) {
		visit(d, child, budget);
	}
	for (size_t k = 0; k < json_array_size(v); k++)
		visit(d, json_array_get(v, k), budget);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_slice src = mica_slice(p, len);
	MICA_AUTO_JSON d, again;
	unsigned budget = 40;
	char *text;
	mica_rc rc = mica_json_parse(src, &limits, &d, &e);

	again = (struct mica_json){.root = NULL};
	if (rc == MICA_INVALID)
		placed(&e, src);
	if (rc != MICA_OK)
		return 0;
	visit(&d, d.root, &budget);
	text = json_dumps(d.root, JSON_ENCODE_ANY | JSON_COMPACT);
	if (text == NULL ||
		mica_json_parse(mica_slice_str(text),
			&(struct mica_json_limits){.bytes = 1 << 20, .depth = 12}, &again,
			&e) != MICA_OK ||
		!json_equal(d.root, again.root))
		abort();
	free(text);
	return 0;
}
