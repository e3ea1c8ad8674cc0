/* SPDX-License-Identifier: Apache-2.0 */
/* The two YAML readers: what the strict one takes, the lenient one must take too. */
#include "mica/yaml.h"
#include "mica/mem.h"

enum mode { OFF, ON };
struct item {
	char *name;
	enum mode mode;
	int32_t number;
	char **list;
	unsigned list_count;
};
struct doc {
	char *text, *maybe;
	uint16_t port;
	bool flag;
	struct item one, *items;
	unsigned items_count;
};

static const cyaml_strval_t modes[] = {{"off", OFF}, {"on", ON}};
static const cyaml_schema_value_t string = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, 16)};
static const cyaml_schema_field_t item_fields[] = {
	CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct item, name, 1, 16),
	CYAML_FIELD_ENUM("mode", CYAML_FLAG_OPTIONAL, struct item, mode, modes, 2),
	CYAML_FIELD_INT("number", CYAML_FLAG_OPTIONAL, struct item, number),
	CYAML_FIELD_SEQUENCE(
		"list", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct item, list, &string, 0, 4),
	CYAML_FIELD_END};
static const cyaml_schema_value_t item = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct item, item_fields)};
static const cyaml_schema_field_t doc_fields[] = {
	CYAML_FIELD_STRING_PTR(
		"text", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct doc, text, 0, 32),
	CYAML_FIELD_STRING_PTR("maybe", CYAML_FLAG_POINTER_NULL_STR | CYAML_FLAG_OPTIONAL,
		struct doc, maybe, 0, 32),
	CYAML_FIELD_UINT("port", CYAML_FLAG_OPTIONAL, struct doc, port),
	CYAML_FIELD_BOOL("flag", CYAML_FLAG_OPTIONAL, struct doc, flag),
	CYAML_FIELD_MAPPING("one", CYAML_FLAG_OPTIONAL, struct doc, one, item_fields),
	CYAML_FIELD_SEQUENCE(
		"items", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct doc, items, &item, 0, 4),
	CYAML_FIELD_END};
static const cyaml_schema_value_t schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct doc, doc_fields)};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_slice src = mica_slice(p, len);
	int line, column;
	void *out;

	if (mica_yaml_load(src, "f", &schema, &out, &e) == MICA_OK) {
		if (!mica_yaml_locate(src, "", &line, &column))
			abort();
		(void)mica_yaml_locate(src, "items[1].list[0]", &line, &column);
		mica_yaml_free(&schema, out);
		return 0;
	}
	if (out != NULL || e.rc == MICA_OK || !mica_slice_is_utf8(mica_slice_str(e.text)))
		abort();
	if (e.fine != NULL)
		abort();
	return 0;
}
