/* SPDX-License-Identifier: Apache-2.0 */
#include "out.h"

#include "mica/mem.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define DEPTH_MAX   24
#define OUT_MAX     ((size_t)64 << 20) /* what one command may say */
#define KEY_WIDTH   20
#define COLUMNS_MAX 6
#define CELLS_MAX   16

enum frame_kind { FRAME_OBJECT, FRAME_LIST, FRAME_TABLE };

struct frame {
	enum frame_kind kind;
	unsigned count; /* members so far */
	bool row; /* an object that is a row of the table around it */
	const struct wr_column *columns;
	size_t n_columns;
};

struct writer {
	int fd;
	enum out_format format;
	bool colour, stream;
	struct mica_buf buf;
	struct frame stack[DEPTH_MAX];
	unsigned depth;
	unsigned hidden; /* objects and lists that text does not show: inside of rows */
	struct mica_buf cells[CELLS_MAX]; /* of the row that is being written */
	bool wrote_object; /* text: a blank line parts what stands at the root */
};

struct writer *wr_new(int fd, enum out_format format, bool colour)
{
	struct writer *w = MICA_NEW(struct writer);

	w->fd = fd;
	w->format = format;
	w->colour = colour;
	mica_buf_init(&w->buf, OUT_MAX);
	for (unsigned i = 0; i < CELLS_MAX; i++)
		mica_buf_init(&w->cells[i], 8192);
	return w;
}

void wr_free(struct writer *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i < CELLS_MAX; i++)
		mica_buf_clear(&w->cells[i]);
	mica_buf_clear(&w->buf);
	mica_free(w);
}

void wr_stream(struct writer *w)
{
	w->stream = true;
}

enum out_format wr_format(const struct writer *w)
{
	return w->format;
}

/* JSON's escapes, but quotes and backslashes stand for themselves here. */
void out_put_safe(struct mica_buf *out, struct mica_slice s)
{
	while (s.len > 0) {
		size_t n = 0, before = out->len;

		while (n < s.len && s.p[n] != '"' && s.p[n] != '\\')
			n++;
		if (n > 0) {
			mica_buf_put_json_string(out, mica_slice_sub(s, 0, n));
			if (out->over)
				return;
			/* without its two quotes */
			memmove(out->p + before, out->p + before + 1, out->len - before - 2);
			out->len -= 2;
			out->p[out->len] = '\0';
		}
		if (n < s.len)
			mica_buf_put_u8(out, s.p[n++]);
		s = mica_slice_sub(s, n, s.len);
	}
}

static struct frame *top(struct writer *w)
{
	return w->depth > 0 ? &w->stack[w->depth - 1] : NULL;
}

static void emphasis(struct writer *w, struct mica_buf *b, const char *code)
{
	if (w->colour)
		mica_buf_printf(b, "\033[%sm", code);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void json_newline(struct writer *w)
{
	if (w->stream)
		return;
	mica_buf_put_u8(&w->buf, '\n');
	for (unsigned i = 0; i < w->depth; i++)
		mica_buf_put_str(&w->buf, "  ");
}

/* What stands in front of a value: comma, place and key. */
static void json_lead(struct writer *w, const char *key)
{
	struct frame *f = top(w);

	if (!f)
		return;
	if (f->count++ > 0)
		mica_buf_put_u8(&w->buf, ',');
	json_newline(w);
	if (f->kind != FRAME_OBJECT)
		return;
	mica_buf_put_json_string(&w->buf, mica_slice_str(key));
	mica_buf_put_str(&w->buf, w->stream ? ":" : ": ");
}

static void json_scalar(struct writer *w, const char *key, struct mica_slice v, bool quoted)
{
	json_lead(w, key);
	if (quoted)
		mica_buf_put_json_string(&w->buf, v);
	else
		mica_buf_put_slice(&w->buf, v);
	if (w->depth == 0)
		mica_buf_put_u8(&w->buf, '\n');
}

static void json_close(struct writer *w, const struct frame *f)
{
	if (f->count > 0)
		json_newline(w);
	mica_buf_put_u8(&w->buf, f->kind == FRAME_OBJECT ? '}' : ']');
	if (w->depth == 0)
		mica_buf_put_u8(&w->buf, '\n');
}

/* ---- text ---------------------------------------------------------------------------------- */

/* Objects at the root and their lists are not indented: only what is inside of members is. */
static void text_indent(struct writer *w)
{
	for (unsigned i = 1; i < w->depth; i++)
		mica_buf_put_str(&w->buf, "  ");
}

static void text_label(struct writer *w, const char *key, bool pad)
{
	size_t n = 0;

	emphasis(w, &w->buf, "1");
	for (; key[n]; n++)
		mica_buf_put_u8(&w->buf, key[n] == '_' ? ' ' : (uint8_t)key[n]);
	mica_buf_put_u8(&w->buf, ':');
	emphasis(w, &w->buf, "0");
	if (pad)
		mica_buf_put_u8(&w->buf, ' ');
	for (n += 2; pad && n < KEY_WIDTH; n++)
		mica_buf_put_u8(&w->buf, ' ');
}

/* Cells that are empty at the end of a line, and labels without a value behind them. */
static void trim_blanks(struct writer *w)
{
	while (w->buf.len > 0 && w->buf.p[w->buf.len - 1] == ' ')
		w->buf.p[--w->buf.len] = '\0';
}

/* A text of several lines stands below its label, indented. */
static void text_value(struct writer *w, struct mica_slice v)
{
	struct mica_slice line;
	bool several = v.len > 0 && memchr(v.p, '\n', v.len) != NULL;

	if (!several) {
		out_put_safe(&w->buf, v);
		mica_buf_put_u8(&w->buf, '\n');
		return;
	}
	trim_blanks(w);
	mica_buf_put_u8(&w->buf, '\n');
	while (v.len > 0) {
		mica_slice_cut(&v, '\n', &line);
		text_indent(w);
		mica_buf_put_str(&w->buf, "  ");
		out_put_safe(&w->buf, line);
		mica_buf_put_u8(&w->buf, '\n');
	}
}

static void text_cell(struct writer *w, const char *key, struct mica_slice v)
{
	const struct frame *table = &w->stack[w->depth - 2];

	for (size_t i = 0; i < table->n_columns && i < CELLS_MAX; i++)
		if (strcmp(table->columns[i].key, key) == 0) {
			mica_buf_reset(&w->cells[i]);
			out_put_safe(&w->cells[i], v);
		}
}

static void text_scalar(struct writer *w, const char *key, struct mica_slice v, const char *colour)
{
	struct frame *f = top(w);

	if (w->hidden > 0)
		return;
	if (f && f->row) {
		text_cell(w, key, v);
		return;
	}
	text_indent(w);
	if (f && f->kind != FRAME_OBJECT)
		mica_buf_put_str(&w->buf, "- ");
	else if (f)
		text_label(w, key, true);
	if (colour)
		emphasis(w, &w->buf, colour);
	text_value(w, v);
	if (colour)
		emphasis(w, &w->buf, "0");
	if (f)
		f->count++;
}

static void text_heading(struct writer *w, const struct wr_column *columns, size_t n)
{
	text_indent(w);
	emphasis(w, &w->buf, "1");
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(columns[i].key);

		for (size_t k = 0; k < len; k++) {
			char ch = columns[i].key[k];

			mica_buf_put_u8(&w->buf,
				ch == '_'                        ? ' '
					: ch >= 'a' && ch <= 'z' ? (uint8_t)(ch - 'a' + 'A')
								 : (uint8_t)ch);
		}
		for (; i + 1 < n && len < (size_t)columns[i].width + 2; len++)
			mica_buf_put_u8(&w->buf, ' ');
	}
	emphasis(w, &w->buf, "0");
	mica_buf_put_u8(&w->buf, '\n');
}

static void text_row(struct writer *w)
{
	const struct frame *table = top(w);

	text_indent(w);
	for (size_t i = 0; i < table->n_columns && i < CELLS_MAX; i++) {
		size_t len = w->cells[i].len;

		mica_buf_put_slice(&w->buf, mica_buf_slice(&w->cells[i]));
		if (i + 1 == table->n_columns)
			break;
		for (; len < (size_t)table->columns[i].width; len++)
			mica_buf_put_u8(&w->buf, ' ');
		mica_buf_put_str(&w->buf, "  ");
	}
	trim_blanks(w);
	mica_buf_put_u8(&w->buf, '\n');
}

/* A blank line between things at the root; a heading in front of a member; a dash before an object
 * in a list. */
static void text_open(struct writer *w, const char *key, enum frame_kind kind)
{
	struct frame *f = top(w);

	if (!f) {
		if (w->wrote_object && !w->stream)
			mica_buf_put_u8(&w->buf, '\n');
		w->wrote_object = true;
		return;
	}
	f->count++;
	if (f->kind == FRAME_TABLE)
		return;
	if (f->kind == FRAME_LIST && kind == FRAME_OBJECT) {
		if (f->count > 1)
			mica_buf_put_u8(&w->buf, '\n');
		return;
	}
	if (!key)
		return;
	text_indent(w);
	text_label(w, key, false);
	mica_buf_put_u8(&w->buf, '\n');
}

/* ---- both ---------------------------------------------------------------------------------- */

static void open_frame(struct writer *w, const char *key, struct frame next)
{
	struct frame *f = top(w);

	if (w->depth == DEPTH_MAX) {
		w->buf.over = true; /* said by wr_flush; our own nesting is far below */
		return;
	}
	if (w->format == OUT_JSON) {
		json_lead(w, key);
		mica_buf_put_u8(&w->buf, next.kind == FRAME_OBJECT ? '{' : '[');
	} else if (w->hidden > 0 || (f && f->row)) {
		w->hidden++;
	} else {
		text_open(w, key, next.kind);
		next.row = f && f->kind == FRAME_TABLE;
		for (unsigned i = 0; next.row && i < CELLS_MAX; i++)
			mica_buf_reset(&w->cells[i]);
	}
	w->stack[w->depth++] = next;
	if (w->format == OUT_TEXT && w->hidden == 0 && next.kind == FRAME_TABLE)
		text_heading(w, next.columns, next.n_columns);
}

void wr_object(struct writer *w, const char *key)
{
	open_frame(w, key, (struct frame){.kind = FRAME_OBJECT});
}

void wr_list(struct writer *w, const char *key)
{
	open_frame(w, key, (struct frame){.kind = FRAME_LIST});
}

void wr_table(struct writer *w, const char *key, const struct wr_column *columns, size_t n)
{
	open_frame(w, key, (struct frame){.kind = FRAME_TABLE, .columns = columns, .n_columns = n});
}

void wr_end(struct writer *w)
{
	struct frame f;

	if (w->depth == 0)
		return;
	f = w->stack[--w->depth];
	if (w->format == OUT_JSON)
		json_close(w, &f);
	else if (w->hidden > 0)
		w->hidden--;
	else if (f.row)
		text_row(w);
	else if (f.kind != FRAME_OBJECT && f.count == 0) {
		text_indent(w);
		mica_buf_put_str(&w->buf, w->depth > 0 ? "  (none)\n" : "(none)\n");
	}
}

static void scalar(struct writer *w, const char *key, struct mica_slice v, bool quoted)
{
	if (w->format == OUT_JSON)
		json_scalar(w, key, v, quoted);
	else
		text_scalar(w, key, v, NULL);
}

void wr_str(struct writer *w, const char *key, struct mica_slice v)
{
	scalar(w, key, v, true);
}

void wr_cstr(struct writer *w, const char *key, const char *v)
{
	if (v)
		scalar(w, key, mica_slice_str(v), true);
	else
		wr_null(w, key);
}

static void number(struct writer *w, const char *key, const char *fmt, int64_t i, uint64_t u)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 32);
	if (fmt)
		mica_buf_printf(&b, "%lld", (long long)i);
	else
		mica_buf_printf(&b, "%llu", (unsigned long long)u);
	scalar(w, key, mica_buf_slice(&b), false);
}

void wr_int(struct writer *w, const char *key, int64_t v)
{
	number(w, key, "i", v, 0);
}

void wr_uint(struct writer *w, const char *key, uint64_t v)
{
	number(w, key, NULL, 0, v);
}

void wr_bool(struct writer *w, const char *key, bool v)
{
	if (w->format == OUT_JSON)
		json_scalar(w, key, mica_slice_str(v ? "true" : "false"), false);
	else
		text_scalar(w, key, mica_slice_str(v ? "yes" : "no"), NULL);
}

void wr_time(struct writer *w, const char *key, int64_t seconds)
{
	char text[MICA_TIME_SIZE];

	mica_time_format(seconds, text);
	scalar(w, key, mica_slice_str(text), true);
}

void wr_null(struct writer *w, const char *key)
{
	if (w->format == OUT_JSON)
		json_scalar(w, key, MICA_LIT("null"), false);
	else
		text_scalar(w, key, MICA_LIT("-"), NULL);
}

void wr_verdict(struct writer *w, const char *key, bool good, const char *text)
{
	if (w->format == OUT_JSON)
		json_scalar(w, key, mica_slice_str(text), true);
	else
		text_scalar(w, key, mica_slice_str(text), good ? "32" : "31");
}

static void json_members(struct writer *w, const json_t *v)
{
	const char *key;
	json_t *member;
	size_t i;

	if (json_is_object(v)) {
		json_object_foreach ((json_t *)(uintptr_t)v, key, member)
			wr_json(w, key, member);
	} else {
		json_array_foreach (v, i, member)
			wr_json(w, NULL, member);
	}
}

/* Objects with the same few scalars each: text shows them as a table. The columns, 0 when it is no
 * such list. */
static size_t find_columns(const json_t *list, struct wr_column columns[COLUMNS_MAX])
{
	json_t *one, *v;
	const char *key;
	size_t i, n = 0, k;

	json_object_foreach (json_array_get(list, 0), key, v) {
		if (n == COLUMNS_MAX)
			return 0;
		columns[n++] = (struct wr_column){key, 0};
	}
	json_array_foreach (list, i, one) {
		if (!json_is_object(one) || json_object_size(one) != n)
			return 0;
		for (k = 0; k < n; k++) {
			int len = (int)strlen(columns[k].key);

			v = json_object_get(one, columns[k].key);
			if (!v || json_is_object(v) || json_is_array(v))
				return 0;
			if (json_is_string(v) && json_string_length(v) < 80)
				len = (int)json_string_length(v) > len ? (int)json_string_length(v)
								       : len;
			columns[k].width = len > columns[k].width ? len : columns[k].width;
		}
	}
	return n;
}

static void put_array(struct writer *w, const char *key, const json_t *v)
{
	struct wr_column columns[COLUMNS_MAX];
	size_t n = w->format == OUT_TEXT && json_array_size(v) > 0 ? find_columns(v, columns) : 0;

	if (n > 0)
		wr_table(w, key, columns, n);
	else
		wr_list(w, key);
	json_members(w, v);
	wr_end(w);
}

void wr_json(struct writer *w, const char *key, const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		wr_object(w, key);
		json_members(w, v);
		wr_end(w);
		break;
	case JSON_ARRAY: put_array(w, key, v); break;
	case JSON_STRING:
		wr_str(w, key, mica_slice(json_string_value(v), json_string_length(v)));
		break;
	case JSON_INTEGER: wr_int(w, key, json_integer_value(v)); break;
	case JSON_REAL: {
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 64);
		mica_buf_printf(&b, "%.17g", json_real_value(v));
		scalar(w, key, mica_buf_slice(&b), false);
		break;
	}
	case JSON_TRUE: wr_bool(w, key, true); break;
	case JSON_FALSE: wr_bool(w, key, false); break;
	case JSON_NULL: wr_null(w, key); break;
	}
}

void wr_json_table(struct writer *w, const char *key, const json_t *list,
	const struct wr_column *columns, size_t n)
{
	wr_table(w, key, columns, n);
	json_members(w, list);
	wr_end(w);
}

void wr_note(struct writer *w, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (w->format == OUT_JSON)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	text_indent(w);
	out_put_safe(&w->buf, mica_slice_str(line));
	mica_buf_put_u8(&w->buf, '\n');
}

void wr_raw(struct writer *w, struct mica_slice bytes)
{
	mica_buf_put_slice(&w->buf, bytes);
}

mica_rc wr_flush(struct writer *w, struct mica_err *e)
{
	struct mica_slice left = mica_buf_slice(&w->buf);
	mica_rc rc = mica_buf_rc(&w->buf, e);

	while (rc == MICA_OK && left.len > 0) {
		ssize_t n = write(w->fd, left.p, left.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EPIPE)
			break;
		if (n < 0)
			rc = mica_fail_errno(e, errno, "output");
		else
			left = mica_slice_sub(left, (size_t)n, left.len);
	}
	mica_buf_reset(&w->buf);
	return rc;
}
