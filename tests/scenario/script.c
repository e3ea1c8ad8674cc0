/* SPDX-License-Identifier: Apache-2.0 */
#include "script.h"

#include <stdarg.h>
#include <stdio.h>

#define YEAR (INT64_C(365) * 86400)

mica_rc script_fail(const struct script *s, const struct script_line *l, struct mica_err *e,
	const char *fmt, ...)
{
	char what[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return mica_fail(e, MICA_INVALID, "scenario", "%s:%u: %s", s->name, l->no, what);
}

bool script_time(const char *word, int64_t *out)
{
	struct mica_slice rest = mica_slice_str(word), one;
	bool more = rest.len > 0;
	int64_t sum = 0, t;

	if (rest.len == 0 || rest.p[rest.len - 1] == '+')
		return false;
	while (more) {
		more = mica_slice_cut(&rest, '+', &one);
		if (one.len > 1 && one.p[one.len - 1] == 'y') {
			if (mica_parse_i64(mica_slice_sub(one, 0, one.len - 1), 0, SCRIPT_YEARS,
				    &t) != MICA_OK)
				return false;
			t *= YEAR;
		} else if (mica_parse_duration(one, SCRIPT_YEARS * YEAR, &t) != MICA_OK) {
			return false;
		}
		sum += t;
	}
	*out = sum;
	return sum <= SCRIPT_YEARS * YEAR;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Cuts a line into its words, in place. */
static mica_rc cut(const struct script *s, struct script_line *l, char *at, struct mica_err *e)
{
	for (l->n = 0;; l->n++) {
		while (is_blank(*at))
			at++;
		if (*at == '\0' || *at == '#')
			break;
		if (l->n == SCRIPT_WORDS)
			return script_fail(s, l, e, "more than %d words", SCRIPT_WORDS);
		l->w[l->n] = at;
		while (*at && !is_blank(*at))
			at++;
		if (*at)
			*at++ = '\0';
	}
	l->w[l->n] = NULL;
	return MICA_OK;
}

/* Takes "at TIME" away from the front; `until` has a time, too. */
static mica_rc take_time(const struct script *s, struct script_line *l,
	const struct script_line *before, struct mica_err *e)
{
	bool at = strcmp(l->w[0], "at") == 0, until = strcmp(l->w[0], "until") == 0;

	l->at = before ? before->at : 0;
	l->timed = at || until || (before && before->timed);
	if (!at && !until)
		return MICA_OK;
	if (l->n < 2 || !script_time(l->w[1], &l->at))
		return script_fail(s, l, e,
			"expected a time behind \"%s\", as 30d+2h, of at most %d years", l->w[0],
			SCRIPT_YEARS);
	if (before && l->at < before->at)
		return script_fail(
			s, l, e, "%s is before the time of line %u", l->w[1], before->no);
	if (at && l->n == 2)
		return script_fail(s, l, e, "nothing happens at %s", l->w[1]);
	if (until && l->n > 2)
		return script_fail(s, l, e, "expected nothing behind \"until %s\"", l->w[1]);
	l->n -= at ? 2 : 1;
	memmove(l->w, l->w + (at ? 2 : 0), (l->n + 1) * sizeof(l->w[0]));
	l->w[l->n] = NULL;
	return MICA_OK;
}

/* One line that is no configuration. */
static mica_rc add_line(struct script *s, char *text, unsigned no, struct mica_err *e)
{
	struct script_line *l = &s->v[s->n];
	mica_rc rc;

	if (s->n == SCRIPT_LINES - 1)
		return mica_fail(e, MICA_LIMIT, "scenario", "%s:%u: more than %d lines", s->name,
			no, SCRIPT_LINES - 1);
	*l = (struct script_line){.no = no};
	rc = cut(s, l, text, e);
	if (rc == MICA_OK && l->n > 0)
		rc = take_time(s, l, s->n ? l - 1 : NULL, e);
	s->n += rc == MICA_OK && l->n > 0;
	return rc;
}

static mica_rc read_lines(struct script *s, struct mica_err *e)
{
	bool config = false;
	unsigned no = 0;
	mica_rc rc = MICA_OK;

	for (char *at = s->text, *end; at && rc == MICA_OK; at = end) {
		end = strchr(at, '\n');
		if (end)
			*end++ = '\0';
		no++;
		if (config && strcmp(at, "end") == 0) {
			config = false;
		} else if (config) {
			mica_buf_put_str(&s->config, strncmp(at, "  ", 2) == 0 ? at + 2 : at);
		} else if (strcmp(at, "config") == 0 && s->n == 0) {
			config = true;
		} else {
			rc = add_line(s, at, no, e);
		}
		mica_buf_put_u8(&s->config, '\n');
	}
	if (rc == MICA_OK && config)
		return mica_fail(e, MICA_INVALID, "scenario",
			"%s:%u: \"config\" without an \"end\"", s->name, no);
	return rc;
}

mica_rc script_read(
	struct mica_slice text, const char *name, struct script **out, struct mica_err *e)
{
	struct script *s;
	mica_rc rc;

	if (text.len > SCRIPT_MAX || memchr(text.p, 0, text.len))
		return mica_fail(e, MICA_LIMIT, "scenario",
			"%s:1: expected text of at most %d octets", name, SCRIPT_MAX);
	s = MICA_NEW(struct script);
	s->name = name;
	s->text = mica_slice_dup(text);
	mica_buf_init(&s->config, 2 * SCRIPT_MAX);
	rc = read_lines(s, e);
	if (rc == MICA_OK)
		*out = s;
	else
		script_free(s);
	return rc;
}

void script_free(struct script *s)
{
	if (!s)
		return;
	mica_buf_clear(&s->config);
	mica_free(s->text);
	mica_free(s);
}
