/* SPDX-License-Identifier: Apache-2.0 */
/* JSON and YAML by one walk. */
#include "emit.h"

#include "mica/slice.h"

static void indent(struct emit *m)
{
	if (!m->dash) {
		for (unsigned i = 1; i < m->depth; i++)
			mica_buf_put_str(m->b, "  ");
	}
	m->dash = false;
}

/* What stands before a value: a comma, a key, a dash. */
static void lead(struct emit *m, struct mica_slice key, bool quoted)
{
	bool first = !m->some[m->depth];

	m->some[m->depth] = true;
	if (m->yaml && m->depth > 0)
		indent(m);
	else if (!m->yaml && !first)
		mica_buf_put_u8(m->b, ',');
	if (m->yaml && m->list[m->depth])
		mica_buf_put_str(m->b, "- ");
	if (key.len == 0)
		return;
	if (quoted || !m->yaml)
		mica_buf_put_json_string(m->b, key);
	else
		mica_buf_put_slice(m->b, key);
	mica_buf_put_str(m->b, m->yaml ? ": " : ":");
}

static void trim_space(struct emit *m)
{
	if (m->b->len && !m->b->over && m->b->p[m->b->len - 1] == ' ')
		m->b->p[--m->b->len] = '\0';
}

void emit_open(struct emit *m, const char *key, bool list)
{
	bool in_list = m->list[m->depth];

	lead(m, mica_slice_str(key), false);
	if (!m->yaml)
		mica_buf_put_u8(m->b, list ? '[' : '{');
	else if (in_list)
		m->dash = true; /* the first member stands behind the dash */
	else if (m->depth > 0) {
		trim_space(m);
		mica_buf_put_u8(m->b, '\n');
	}
	m->depth++;
	m->list[m->depth] = list;
	m->some[m->depth] = false;
}

void emit_end(struct emit *m)
{
	bool list = m->list[m->depth];

	m->depth--;
	if (!m->yaml)
		mica_buf_put_u8(m->b, list ? ']' : '}');
}

static void put_line_end(struct emit *m)
{
	if (m->yaml)
		mica_buf_put_u8(m->b, '\n');
}

void emit_empty(struct emit *m, const char *key)
{
	lead(m, mica_slice_str(key), false);
	mica_buf_put_str(m->b, "{}");
	put_line_end(m);
}

void emit_string(struct emit *m, const char *key, struct mica_slice value)
{
	lead(m, mica_slice_str(key), false);
	mica_buf_put_json_string(m->b, value);
	put_line_end(m);
}

void emit_word(struct emit *m, const char *key, const char *value)
{
	lead(m, mica_slice_str(key), false);
	mica_buf_printf(m->b, m->yaml ? "%s\n" : "\"%s\"", value);
}

void emit_number(struct emit *m, const char *key, unsigned value)
{
	lead(m, mica_slice_str(key), false);
	mica_buf_printf(m->b, "%u", value);
	put_line_end(m);
}

void emit_pair(struct emit *m, struct mica_slice key, struct mica_slice value)
{
	lead(m, key, true);
	mica_buf_put_json_string(m->b, value);
	put_line_end(m);
}

void emit_flow(struct emit *m, const char *key)
{
	lead(m, mica_slice_str(key), false);
	mica_buf_put_u8(m->b, '[');
}

void emit_flow_string(struct emit *m, struct mica_slice value, bool first)
{
	if (!first)
		mica_buf_put_str(m->b, m->yaml ? ", " : ",");
	mica_buf_put_json_string(m->b, value);
}

void emit_flow_end(struct emit *m)
{
	mica_buf_put_u8(m->b, ']');
	put_line_end(m);
}
