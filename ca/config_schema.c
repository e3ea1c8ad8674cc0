/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads, frees and compares by the tables of config_settings.c. The schema for cyaml is made from
 * them: cyaml fills an array of `struct raw`, one for each row, which says what was given; what was
 * not gets its default here. So each setting stands in one row and nowhere else.
 */
#include "config_impl.h"

#include <arpa/inet.h>
#include <inttypes.h>

/* What cyaml leaves: a pointer (NULL = not given) to text, bool, int, mask, char *[], a section's
 * raws or all raws of the entries; and how many there are in a sequence. */
struct raw {
	void *p;
	uint64_t n;
};

/* A member of unknown pointer type, at `offset` of `base`. */
static void *load_pointer(const void *base, size_t offset)
{
	void *p;

	memcpy(&p, (const uint8_t *)base + offset, sizeof(p));
	return p;
}

static void store(void *base, size_t offset, const void *value, size_t size)
{
	memcpy((uint8_t *)base + offset, value, size);
}

static void *at(void *base, size_t offset)
{
	return (uint8_t *)base + offset;
}

static const void *at_const(const void *base, size_t offset)
{
	return (const uint8_t *)base + offset;
}

static unsigned load_count(const void *base, size_t offset)
{
	unsigned n;

	memcpy(&n, (const uint8_t *)base + offset, sizeof(n));
	return n;
}

/* ---- tables -> schema ---------------------------------------------------------------------- */

/* Memory of one schema, counted beforehand. */
struct schema {
	cyaml_schema_field_t *fields;
	cyaml_schema_value_t *entries; /* of sequences: one for each sequence row */
	unsigned n_fields, n_entries;
};

static void schema_free(struct schema *s)
{
	mica_free(s->fields);
	mica_free(s->entries);
}
#define AUTO_SCHEMA __attribute__((cleanup(schema_free))) struct schema

static unsigned count_fields(const struct setting_table *t)
{
	unsigned n = t->n + 1; /* CYAML_FIELD_END */

	for (unsigned i = 0; i < t->n; i++)
		n += t->rows[i].table ? count_fields(t->rows[i].table) : 0;
	return n;
}

static const cyaml_schema_value_t list_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 2048)};

static cyaml_schema_value_t mapping_of(
	struct schema *s, const struct setting_table *t, unsigned flags);

static cyaml_schema_value_t value_of(struct schema *s, const struct setting *row)
{
	const unsigned flags = CYAML_FLAG_POINTER | (row->required ? 0 : CYAML_FLAG_OPTIONAL);
	/* what may be left empty, with all below it commented out */
	const unsigned empty = flags | CYAML_FLAG_POINTER_NULL;
	cyaml_schema_value_t *entry;

	switch (row->kind) {
	case SETTING_TEXT:
		return (cyaml_schema_value_t){
			CYAML_VALUE_STRING(flags, char, (uint32_t)row->low, (uint32_t)row->high)};
	case SETTING_FLAG: return (cyaml_schema_value_t){CYAML_VALUE_BOOL(flags, bool)};
	case SETTING_CHOICE:
	case SETTING_WORD:
		return (cyaml_schema_value_t){CYAML_VALUE_ENUM(
			flags | CYAML_FLAG_STRICT, int, row->choices, row->n_choices)};
	case SETTING_KEYS:
		return (cyaml_schema_value_t){CYAML_VALUE_FLAGS(
			flags | CYAML_FLAG_STRICT, uint32_t, config_key_names, MICA_KN_COUNT)};
	case SETTING_LIST:
		return (cyaml_schema_value_t){
			CYAML_VALUE_SEQUENCE(empty, char *, &list_entry, 0, (uint32_t)row->high)};
	case SETTING_SECTION: return mapping_of(s, row->table, empty);
	case SETTING_ENTRIES:
		entry = &s->entries[s->n_entries++];
		*entry = mapping_of(s, row->table, CYAML_FLAG_DEFAULT);
		return (cyaml_schema_value_t){.type = CYAML_SEQUENCE,
			.flags = (enum cyaml_flag)empty,
			.data_size = entry->data_size,
			.sequence = {.entry = entry, .max = (uint32_t)row->high}};
	case SETTING_PAIRS:
		/* read from the document: its keys are the user's own */
		return (cyaml_schema_value_t){.type = CYAML_IGNORE, .flags = CYAML_FLAG_OPTIONAL};
	default: /* checked here, so that the message names the bounds */
		return (cyaml_schema_value_t){CYAML_VALUE_STRING(flags, char, 0, 64)};
	}
}

static cyaml_schema_value_t mapping_of(
	struct schema *s, const struct setting_table *t, unsigned flags)
{
	cyaml_schema_field_t *f = &s->fields[s->n_fields];

	s->n_fields += t->n + 1;
	for (unsigned i = 0; i < t->n; i++) {
		const size_t place = i * sizeof(struct raw);

		f[i] = (cyaml_schema_field_t){.key = t->rows[i].key,
			.data_offset = (uint32_t)(place + offsetof(struct raw, p)),
			.count_offset = (uint32_t)(place + offsetof(struct raw, n)),
			.count_size = sizeof(uint64_t),
			.value = value_of(s, &t->rows[i])};
	}
	return (cyaml_schema_value_t){.type = CYAML_MAPPING,
		.flags = (enum cyaml_flag)flags,
		.data_size = (uint32_t)(t->n * sizeof(struct raw)),
		.mapping = {.fields = f}};
}

/* ---- values, kind by kind ------------------------------------------------------------------ */

struct reading {
	const struct config_source *src;
	const struct setting *row;
	const struct raw *raw; /* never NULL; p NULL = not given */
	void *base;
	const char *path;
};

static mica_rc check_value(const struct reading *r, const char *path, const char *value)
{
	struct mica_err why = MICA_ERR_INIT;

	if (r->row->check == NULL || r->row->check(mica_slice_str(value), &why) == MICA_OK)
		return MICA_OK;
	return config_refuse_why(r->src, path, &why);
}

static mica_rc read_text(const struct reading *r)
{
	char *text = mica_strdup(r->raw->p ? r->raw->p : r->row->text);

	store(r->base, r->row->offset, &text, sizeof(text));
	return r->raw->p ? check_value(r, r->path, text) : MICA_OK;
}

/* What stands twice was meant to be something else. */
static mica_rc check_entry(const struct reading *r, const struct mica_string_list *l)
{
	const char *value = l->v[l->n - 1];
	char path[CONFIG_PATH_MAX];

	config_path(path, "%s[%u]", r->path, l->n - 1);
	for (unsigned i = 0; i + 1 < l->n; i++)
		if (strcmp(l->v[i], value) == 0)
			return config_refuse(r->src, path, "config_value",
				"\"%.255s\" stands in the list already, as entry %u", value, i + 1);
	return check_value(r, path, value);
}

static mica_rc read_list(const struct reading *r)
{
	struct mica_string_list *l = at(r->base, r->row->offset);
	struct mica_slice words = mica_slice_str(r->row->text), word;
	mica_rc rc = MICA_OK;

	if (!config_given(r->src, r->path)) {
		while (words.len > 0) {
			(void)mica_slice_cut(&words, ' ', &word);
			config_list_add(l, "%.*s", MICA_FMT(word));
		}
		return MICA_OK;
	}
	l->v = mica_calloc(r->raw->n + 1, sizeof(char *));
	for (uint64_t i = 0; i < r->raw->n && rc == MICA_OK; i++) {
		l->v[l->n++] = mica_strdup(((char **)r->raw->p)[i]);
		rc = check_entry(r, l);
	}
	return rc;
}

/* "1.2.3.4:80", "[::1]:80", ":80" (all addresses). */
static bool parse_listen(const char *text, struct mica_listen *out)
{
	const char *colon = strrchr(text, ':');
	struct mica_slice host = mica_slice(text, colon ? (size_t)(colon - text) : 0);
	bool v6 = host.len > 1 && host.p[0] == '[' && host.p[host.len - 1] == ']';
	char name[INET6_ADDRSTRLEN];
	uint8_t b[16];
	uint64_t port;

	if (colon == NULL || mica_parse_u64(mica_slice_str(colon + 1), 65535, &port) != MICA_OK)
		return false;
	out->port = (uint16_t)port;
	if (host.len == 0) {
		out->host = mica_strdup("::");
		return true;
	}
	if (v6)
		host = mica_slice(host.p + 1, host.len - 2);
	if (mica_slice_copy(host, name, sizeof(name)) != MICA_OK ||
		inet_pton(v6 ? AF_INET6 : AF_INET, name, b) != 1)
		return false;
	out->host = mica_strdup(name);
	return true;
}

static mica_rc read_listen(const struct reading *r)
{
	struct mica_listen *l = at(r->base, r->row->offset);
	const char *text = r->raw->p ? r->raw->p : r->row->text;
	bool off = *text == '\0' || strcmp(text, "off") == 0;

	l->text = mica_strdup(off ? "" : text);
	if (!off && !parse_listen(text, l))
		return config_refuse(r->src, r->path, "config_value",
			"\"%.64s\" is not an address to listen on; expected ADDRESS:PORT with a numeric "
			"address (127.0.0.1:8443, \"[::1]:8443\"), \":PORT\" for all addresses, or off",
			text);
	if (off)
		l->host = mica_strdup("");
	return MICA_OK;
}

static mica_rc read_duration(const struct reading *r)
{
	const struct setting *row = r->row;
	int64_t seconds = row->number;
	char low[CONFIG_DURATION_SIZE], high[CONFIG_DURATION_SIZE];

	if (r->raw->p &&
		(mica_parse_duration(mica_slice_str(r->raw->p), row->high, &seconds) != MICA_OK ||
			seconds < row->low))
		return config_refuse(r->src, r->path, "config_value",
			"expected a duration from %s to %s, as 90s, 15m, 1h, 30d or seconds, found \"%.64s\"",
			config_duration(row->low, low), config_duration(row->high, high),
			(const char *)r->raw->p);
	store(r->base, row->offset, &seconds, sizeof(seconds));
	return MICA_OK;
}

static mica_rc read_number(const struct reading *r)
{
	const struct setting *row = r->row;
	int64_t n = row->number;

	if (r->raw->p &&
		mica_parse_i64(mica_slice_str(r->raw->p), row->low, row->high, &n) != MICA_OK)
		return config_refuse(r->src, r->path, "config_value",
			"expected a whole number from %" PRId64 " to %" PRId64 ", found \"%.64s\"",
			row->low, row->high, (const char *)r->raw->p);
	store(r->base, row->offset, &n, sizeof(n));
	return MICA_OK;
}

static mica_rc read_flag(const struct reading *r)
{
	bool flag = r->raw->p ? *(const bool *)r->raw->p : r->row->number != 0;

	store(r->base, r->row->offset, &flag, sizeof(flag));
	return MICA_OK;
}

static mica_rc read_choice(const struct reading *r)
{
	int choice = r->raw->p ? *(const int *)r->raw->p : (int)r->row->number;

	store(r->base, r->row->offset, &choice, sizeof(choice));
	return MICA_OK;
}

static mica_rc read_word(const struct reading *r)
{
	bool second = r->raw->p ? *(const int *)r->raw->p != 0 : r->row->number != 0;

	store(r->base, r->row->offset, &second, sizeof(second));
	return MICA_OK;
}

static mica_rc read_keys(const struct reading *r)
{
	uint32_t mask = r->raw->p ? *(const uint32_t *)r->raw->p : (uint32_t)r->row->number;

	if (r->raw->p && mask == 0)
		return config_refuse(r->src, r->path, "config_value",
			"no key type at all; expected some of p256, p384, rsa2048, rsa3072, rsa4096, ed25519");
	store(r->base, r->row->offset, &mask, sizeof(mask));
	return MICA_OK;
}

/* struct mica_claim_map and struct mica_claim_require are two strings each. */
static mica_rc read_pairs(const struct reading *r)
{
	struct mica_yaml_pair pairs[CONFIG_PAIRS_MAX];
	unsigned n = CONFIG_PAIRS_MAX;
	char **strings;
	mica_rc rc = mica_yaml_doc_pairs(r->src->doc, r->path, pairs, &n, r->src->e);

	if (rc != MICA_OK || n == 0)
		return rc;
	strings = mica_calloc(n, 2 * sizeof(char *));
	for (unsigned i = 0; i < n; i++) {
		strings[2 * i] = mica_strdup(pairs[i].key);
		strings[2 * i + 1] = mica_strdup(pairs[i].value);
	}
	store(r->base, r->row->offset, &strings, sizeof(strings));
	store(r->base, r->row->count, &n, sizeof(n));
	return MICA_OK;
}
_Static_assert(sizeof(struct mica_claim_map) == 2 * sizeof(char *), "two strings");
_Static_assert(sizeof(struct mica_claim_require) == 2 * sizeof(char *), "two strings");

static mica_rc read_table(const struct config_source *src, const struct setting_table *t,
	const struct raw *raw, void *base, const char *prefix);

static mica_rc read_section(const struct reading *r)
{
	return read_table(r->src, r->row->table, r->raw->p, r->base, r->path);
}

static mica_rc read_entries(const struct reading *r)
{
	const struct setting_table *t = r->row->table;
	const struct raw *raw = r->raw->p;
	unsigned n = (unsigned)r->raw->n;
	void *entries = mica_calloc(n + 1, t->size);
	mica_rc rc = MICA_OK;

	/* all of them at once: each is cleared, whichever fails */
	store(r->base, r->row->offset, &entries, sizeof(entries));
	store(r->base, r->row->count, &n, sizeof(n));
	for (unsigned i = 0; i < n && rc == MICA_OK; i++) {
		char path[CONFIG_PATH_MAX];

		config_path(path, "%s[%u]", r->path, i);
		rc = read_table(r->src, t, raw + (size_t)i * t->n, at(entries, i * t->size), path);
	}
	return rc;
}

static mica_rc (*const readers[SETTING_KIND_COUNT])(const struct reading *) = {
	[SETTING_TEXT] = read_text,
	[SETTING_LIST] = read_list,
	[SETTING_LISTEN] = read_listen,
	[SETTING_DURATION] = read_duration,
	[SETTING_NUMBER] = read_number,
	[SETTING_FLAG] = read_flag,
	[SETTING_CHOICE] = read_choice,
	[SETTING_WORD] = read_word,
	[SETTING_KEYS] = read_keys,
	[SETTING_PAIRS] = read_pairs,
	[SETTING_SECTION] = read_section,
	[SETTING_ENTRIES] = read_entries,
};

/* `raw` is NULL when nothing of the table was given. */
static mica_rc read_table(const struct config_source *src, const struct setting_table *t,
	const struct raw *raw, void *base, const char *prefix)
{
	static const struct raw none = {.p = NULL};
	mica_rc rc = MICA_OK;

	for (unsigned i = 0; i < t->n && rc == MICA_OK; i++) {
		const struct setting *row = &t->rows[i];
		char path[CONFIG_PATH_MAX];

		config_path(path, "%s%s%s", prefix, *prefix ? "." : "", row->key);
		rc = readers[row->kind](&(struct reading){.src = src,
			.row = row,
			.raw = raw ? &raw[i] : &none,
			.base = base,
			.path = path});
	}
	return rc;
}

mica_rc config_read(struct mica_slice yaml, const struct config_source *src, struct mica_config *c)
{
	const unsigned n = count_fields(&config_settings);
	AUTO_SCHEMA s = {.fields = mica_calloc(n, sizeof(*s.fields)),
		.entries = mica_calloc(n, sizeof(*s.entries))};
	const cyaml_schema_value_t top = mapping_of(&s, &config_settings, CYAML_FLAG_POINTER);
	void *raw = NULL;
	mica_rc rc = mica_yaml_load(yaml, src->name, &top, &raw, src->e);

	if (rc != MICA_OK)
		return rc;
	rc = read_table(src, &config_settings, raw, c, "");
	mica_yaml_free(&top, raw);
	return rc;
}

/* ---- free and compare ---------------------------------------------------------------------- */

static void clear_table(const struct setting_table *t, void *base);

static void clear_pairs(const struct setting *row, void *base)
{
	char **strings = load_pointer(base, row->offset);

	for (unsigned i = 0; i < 2 * load_count(base, row->count); i++)
		mica_free(strings[i]);
	mica_free(strings);
}

static void clear_entries(const struct setting *row, void *base)
{
	uint8_t *entries = load_pointer(base, row->offset);

	for (unsigned i = 0; i < load_count(base, row->count); i++)
		clear_table(row->table, entries + i * row->table->size);
	mica_free(entries);
}

static void clear_table(const struct setting_table *t, void *base)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct setting *row = &t->rows[i];
		struct mica_listen *listen;

		switch (row->kind) {
		case SETTING_TEXT: mica_free(load_pointer(base, row->offset)); break;
		case SETTING_LIST: mica_string_list_clear(at(base, row->offset)); break;
		case SETTING_LISTEN:
			listen = at(base, row->offset);
			mica_free(listen->text);
			mica_free(listen->host);
			break;
		case SETTING_PAIRS: clear_pairs(row, base); break;
		case SETTING_SECTION: clear_table(row->table, base); break;
		case SETTING_ENTRIES: clear_entries(row, base); break;
		default: break;
		}
	}
}

void config_clear(struct mica_config *c)
{
	clear_table(&config_settings, c);
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_texts(char *const *a, char *const *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!same_text(a[i], b[i]))
			return false;
	return true;
}

static bool same_list(const void *pa, const void *pb)
{
	const struct mica_string_list *a = pa, *b = pb;

	return a->n == b->n && same_texts(a->v, b->v, a->n);
}

static bool same_value(const struct setting *row, const void *a, const void *b)
{
	static const size_t sizes[SETTING_KIND_COUNT] = {
		[SETTING_DURATION] = sizeof(int64_t),
		[SETTING_NUMBER] = sizeof(int64_t),
		[SETTING_FLAG] = sizeof(bool),
		[SETTING_CHOICE] = sizeof(int),
		[SETTING_WORD] = sizeof(bool),
		[SETTING_KEYS] = sizeof(uint32_t),
	};
	const void *va = at_const(a, row->offset), *vb = at_const(b, row->offset);

	switch (row->kind) {
	case SETTING_TEXT:
		return same_text(load_pointer(a, row->offset), load_pointer(b, row->offset));
	case SETTING_LISTEN:
		return same_text(((const struct mica_listen *)va)->text,
			((const struct mica_listen *)vb)->text);
	case SETTING_LIST: return same_list(va, vb);
	case SETTING_PAIRS:
		return load_count(a, row->count) == load_count(b, row->count) &&
			same_texts(load_pointer(a, row->offset), load_pointer(b, row->offset),
				2 * (size_t)load_count(a, row->count));
	default: return memcmp(va, vb, sizes[row->kind]) == 0;
	}
}

/* `all`: an outer row says that everything below waits for a restart. */
static void differ(const struct setting_table *t, const void *a, const void *b, bool all,
	const char *prefix, struct mica_string_list *out);

static void differ_entries(const struct setting *row, const void *a, const void *b,
	const char *path, struct mica_string_list *out)
{
	const uint8_t *ea = load_pointer(a, row->offset), *eb = load_pointer(b, row->offset);
	unsigned n = load_count(a, row->count);

	if (n != load_count(b, row->count)) {
		config_list_add(out, "%s", path);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		char inner[CONFIG_PATH_MAX];

		config_path(inner, "%s[%u]", path, i);
		differ(row->table, ea + i * row->table->size, eb + i * row->table->size, true,
			inner, out);
	}
}

static void differ(const struct setting_table *t, const void *a, const void *b, bool all,
	const char *prefix, struct mica_string_list *out)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct setting *row = &t->rows[i];
		char path[CONFIG_PATH_MAX];

		config_path(path, "%s%s%s", prefix, *prefix ? "." : "", row->key);
		if (row->kind == SETTING_SECTION)
			differ(row->table, a, b, all, path, out);
		else if (!all && !row->restart)
			continue;
		else if (row->kind == SETTING_ENTRIES)
			differ_entries(row, a, b, path, out);
		else if (!same_value(row, a, b))
			config_list_add(out, "%s", path);
	}
}

void config_differences(const struct setting_table *t, const void *a, const void *b, bool all,
	struct mica_string_list *out)
{
	differ(t, a, b, all, "", out);
}
