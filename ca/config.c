/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as a whole: parse, load, free, compare. */
#include "config_impl.h"

#include "mica/file.h"

#include <inttypes.h>
#include <stdio.h>

#define FILE_MAX (256 * 1024)

MICA_CLEANUP_STRUCT(mica_config, mica_config_free);
MICA_CLEANUP_STRUCT(mica_yaml_doc, mica_yaml_doc_free);

/* ---- messages ------------------------------------------------------------------------------ */

const char *config_path(char out[CONFIG_PATH_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(out, CONFIG_PATH_MAX, fmt, ap) < 0)
		out[0] = '\0';
	va_end(ap);
	return out;
}

/* The place of `path`, else of what is around it: "a.b[1].c" -> "a.b[1]" -> "a.b" -> "a" -> "". */
static void nearest_place(const struct mica_yaml_doc *doc, const char *path, int *line, int *column)
{
	char at[CONFIG_PATH_MAX];

	snprintf(at, sizeof(at), "%s", path);
	while (!mica_yaml_doc_locate(doc, at, line, column) && at[0]) {
		size_t len = strlen(at) - 1;

		while (len > 0 && at[len] != '.' && at[len] != '[')
			len--;
		at[len] = '\0';
	}
}

static mica_rc refuse(
	const struct config_source *src, const char *path, const char *reason, const char *text)
{
	int line, column;

	nearest_place(src->doc, path, &line, &column);
	return mica_fail_at(src->e, MICA_INVALID, reason, line, column, "%s%s%d:%d: %s%s%s",
		src->name ? src->name : "", src->name ? ":" : "", line, column, path,
		*path ? ": " : "", text);
}

mica_rc config_refuse(
	const struct config_source *src, const char *path, const char *reason, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return refuse(src, path, reason, text);
}

mica_rc config_refuse_why(
	const struct config_source *src, const char *path, const struct mica_err *why)
{
	return refuse(src, path, why->reason, why->text);
}

bool config_given(const struct config_source *src, const char *path)
{
	int line, column;

	return mica_yaml_doc_locate(src->doc, path, &line, &column);
}

void config_list_push(struct mica_string_list *l, const char *text)
{
	l->v = mica_realloc(l->v, l->n + 1, sizeof(char *));
	l->v[l->n++] = mica_strdup(text);
}

void config_list_add(struct mica_string_list *l, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	config_list_push(l, text);
}

const char *config_duration(int64_t seconds, char out[CONFIG_DURATION_SIZE])
{
	static const struct {
		int64_t seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	size_t i = 0;

	while (seconds % units[i].seconds != 0 || (seconds == 0 && units[i].seconds > 1))
		i++;
	snprintf(out, CONFIG_DURATION_SIZE, "%" PRId64 "%c", seconds / units[i].seconds,
		units[i].unit);
	return out;
}

/* ---- the public face ----------------------------------------------------------------------- */

mica_rc mica_config_parse(
	struct mica_slice yaml, const char *name, struct mica_config **out, struct mica_err *e)
{
	MICA_AUTO_STRUCT(mica_config) c = MICA_NEW(struct mica_config);
	MICA_AUTO_STRUCT(mica_yaml_doc) doc = NULL;
	struct config_source src = {.name = name, .e = e};
	mica_rc rc = mica_yaml_doc_new(yaml, name, &doc, e);

	*out = NULL;
	src.doc = doc;
	if (rc == MICA_OK)
		rc = config_read(yaml, &src, c);
	if (rc == MICA_OK)
		rc = config_check(&src, c);
	if (rc == MICA_OK)
		*out = MICA_STEAL(c);
	return rc;
}

mica_rc mica_config_load(const char *path, struct mica_config **out, struct mica_err *e)
{
	MICA_AUTO_BUF text;
	mica_rc rc;

	*out = NULL;
	mica_buf_init(&text, FILE_MAX);
	rc = mica_file_read(path, &text, e);
	return rc == MICA_OK ? mica_config_parse(mica_buf_slice(&text), path, out, e) : rc;
}

void mica_config_free(struct mica_config *c)
{
	if (c == NULL)
		return;
	config_clear(c);
	mica_free(c->linkerd_server);
	mica_string_list_clear(&c->warnings);
	mica_free(c);
}

void mica_config_needs_restart(
	const struct mica_config *a, const struct mica_config *b, struct mica_string_list *out)
{
	config_differences(&config_settings, a, b, false, out);
}

void mica_string_list_clear(struct mica_string_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		mica_free(l->v[i]);
	mica_free(l->v);
	*l = (struct mica_string_list){.n = 0};
}

static bool is_on(const struct mica_listen *l)
{
	return l->text && l->text[0];
}

bool mica_config_has_grpc(const struct mica_config *c)
{
	return is_on(&c->grpc.listen) || is_on(&c->grpc.plaintext) || c->grpc.socket;
}

static size_t add_names(const struct mica_string_list *l, const char **out, size_t n, size_t max)
{
	for (unsigned i = 0; i < l->n; i++) {
		size_t at = 0;

		while (at < n && at < max && strcmp(out[at], l->v[i]) != 0)
			at++;
		if (at < n && at < max)
			continue;
		if (n < max)
			out[n] = l->v[i];
		n++;
	}
	return n;
}

size_t mica_config_dns_names(const struct mica_config *c, const char **out, size_t max)
{
	const struct mica_string_list linkerd = {(char **)(uintptr_t)&c->linkerd_server, 1};
	size_t n = add_names(&c->https.dns_names, out, 0, max);

	if (mica_config_has_grpc(c))
		n = add_names(&c->grpc.dns_names, out, n, max);
	return c->linkerd_server ? add_names(&linkerd, out, n, max) : n;
}

const char *mica_key_name(enum mica_key_name n)
{
	return (unsigned)n < MICA_KN_COUNT ? config_key_names[n].str : NULL;
}
