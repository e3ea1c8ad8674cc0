/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/template.h"
#include "mica/buf.h"
#include "mica/spiffeid.h"

#include "charset.h"

#define DEFAULT_CHARSET "A-Za-z0-9._-"

/* ---- charsets ----------------------------------------------------------------------------- */

static void add_range(struct mica_charset *c, uint8_t from, uint8_t to)
{
	for (unsigned v = from; v <= to; v++)
		mica_charset_add(c, (uint8_t)v);
}

bool mica_charset_read(struct mica_slice text, struct mica_charset *out)
{
	struct mica_charset c = {.bits = {0}};
	bool negated = text.len && text.p[0] == '^', any = false;

	for (size_t i = negated ? 1 : 0; i < text.len; any = true) {
		uint8_t from = text.p[i++];
		if (from == '\\' && i == text.len)
			return false;
		if (from == '\\')
			from = text.p[i++];
		uint8_t to = from;
		/* a '-' that ends the set is itself */
		if (i + 1 < text.len && text.p[i] == '-') {
			to = text.p[i + 1];
			i += 2;
			if (to == '\\' || to < from)
				return false;
		}
		add_range(&c, from, to);
	}
	if (negated)
		for (size_t i = 0; i < MICA_ARRAY_LEN(c.bits); i++)
			c.bits[i] = ~c.bits[i];
	*out = c;
	return any;
}

/* ---- patterns ----------------------------------------------------------------------------- */

#define ATOMS_MAX 63 /* one bit each, and one for the end */

struct mica_pattern {
	unsigned n;
	uint64_t loops; /* bit i: atom i may match any number of octets */
	struct mica_charset atom[ATOMS_MAX];
};

static mica_rc bad_pattern(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "pattern_invalid",
		"pattern: %s; expected literals, * ? [set] [^set] [set]+ [set]* or \\ before one of these",
		what);
}

static bool add_atom(struct mica_pattern *p, const struct mica_charset *c, bool loop)
{
	if (p->n == ATOMS_MAX)
		return false;
	p->atom[p->n] = *c;
	p->loops |= (uint64_t)loop << p->n;
	p->n++;
	return true;
}

/* "[...]" at s: its inside to *set, s behind it. */
static bool cut_set(struct mica_slice *s, struct mica_slice *set)
{
	for (size_t i = 1; i < s->len; i++) {
		if (s->p[i] == ']') {
			*set = mica_slice_sub(*s, 1, i - 1);
			*s = mica_slice_sub(*s, i + 1, s->len);
			return true;
		}
		i += s->p[i] == '\\';
	}
	return false;
}

static const char *read_set(struct mica_pattern *p, struct mica_slice *s)
{
	struct mica_slice inside;
	struct mica_charset c;

	if (!cut_set(s, &inside))
		return "a set has no ']'";
	if (!mica_charset_read(inside, &c))
		return "a set is empty, or one of its ranges goes backward";
	bool plus = s->len && s->p[0] == '+', star = s->len && s->p[0] == '*';
	if (plus || star)
		*s = mica_slice_sub(*s, 1, s->len);
	if (!star && !add_atom(p, &c, false))
		return "too long";
	return (plus || star) && !add_atom(p, &c, true) ? "too long" : NULL;
}

static const char *read_atom(struct mica_pattern *p, struct mica_slice *s)
{
	struct mica_charset c = {.bits = {0}};
	uint8_t ch = s->p[0];

	if (ch == '[')
		return read_set(p, s);
	if (ch == ']' || ch == '+')
		return "']' or '+' without a set";
	if (ch == '\\' && (s->len < 2 || s->p[1] == 0 || !strchr("*?[]\\+", s->p[1])))
		return "'\\' before something that needs none";
	if (ch == '*' || ch == '?')
		add_range(&c, 0, 255);
	else
		mica_charset_add(&c, ch == '\\' ? s->p[1] : ch);
	*s = mica_slice_sub(*s, ch == '\\' ? 2 : 1, s->len);
	return add_atom(p, &c, ch == '*') ? NULL : "too long";
}

mica_rc mica_pattern_compile(struct mica_slice text, struct mica_pattern **out, struct mica_err *e)
{
	MICA_AUTO_PATTERN p = MICA_NEW(struct mica_pattern);
	const char *fault = text.len > MICA_PATTERN_MAX ? "too long"
		: text.len == 0                         ? "empty"
							: NULL;

	while (!fault && text.len)
		fault = read_atom(p, &text);
	if (fault)
		return bad_pattern(e, fault);
	*out = MICA_STEAL(p);
	return MICA_OK;
}

/* States reachable without reading: a loop may be left at once. */
static uint64_t closure(const struct mica_pattern *p, uint64_t at)
{
	/* carries ripple through neighbouring loops: at most 63 steps, mostly one */
	for (;;) {
		uint64_t next = at | (at & p->loops) << 1;
		if (next == at)
			return at;
		at = next;
	}
}

bool mica_pattern_match(const struct mica_pattern *p, struct mica_slice value)
{
	uint64_t at = closure(p, 1);

	for (size_t i = 0; i < value.len && at; i++) {
		uint64_t next = 0;
		for (uint64_t left = at & (((uint64_t)1 << p->n) - 1); left; left &= left - 1) {
			unsigned s = (unsigned)__builtin_ctzll(left);
			if (mica_charset_has(&p->atom[s], value.p[i]))
				next |= (uint64_t)1 << (p->loops >> s & 1 ? s : s + 1);
		}
		at = closure(p, next);
	}
	return at >> p->n & 1;
}

void mica_pattern_free(struct mica_pattern *p)
{
	mica_free(p);
}

/* ---- encodings ---------------------------------------------------------------------------- */

static const char hex_digits[] = "0123456789abcdef";

static bool is_plain(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		c == '.' || c == '-';
}

/* One octet's form: 1 to 3 characters. */
static size_t encode_octet(enum mica_template_encoding enc, uint8_t c, bool first, char out[3])
{
	size_t n = 0;

	if (enc == MICA_ENC_NONE ||
		(enc == MICA_ENC_ESCAPE && is_plain(c) && !(first && c == '.'))) {
		out[0] = (char)c;
		return 1;
	}
	if (enc == MICA_ENC_ESCAPE)
		out[n++] = '_';
	if (enc == MICA_ENC_ESCAPE && c == '_') {
		out[n++] = '_';
		return n;
	}
	out[n++] = hex_digits[c >> 4];
	out[n++] = hex_digits[c & 15];
	return n;
}

mica_rc mica_template_encode(
	enum mica_template_encoding enc, struct mica_slice value, char *out, size_t *len)
{
	size_t at = 0;

	for (size_t i = 0; i < value.len; i++) {
		char form[3];
		size_t n = encode_octet(enc, value.p[i], i == 0, form);
		if (n > *len - at)
			return MICA_LIMIT;
		memcpy(out + at, form, n);
		at += n;
	}
	*len = at;
	return MICA_OK;
}

static int hex_value(uint8_t c)
{
	const char *at = c ? strchr(hex_digits, c) : NULL;

	return at ? (int)(at - hex_digits) : -1;
}

/* The octet whose form stands at s, and how long the form is; 0 = none does. */
static size_t decode_octet(enum mica_template_encoding enc, struct mica_slice s, uint8_t *out)
{
	size_t mark = enc == MICA_ENC_ESCAPE ? 1 : 0;

	if (enc == MICA_ENC_NONE || (enc == MICA_ENC_ESCAPE && is_plain(s.p[0]))) {
		*out = s.p[0];
		return 1;
	}
	if (enc == MICA_ENC_ESCAPE && s.p[0] != '_')
		return 0;
	if (enc == MICA_ENC_ESCAPE && s.len >= 2 && s.p[1] == '_') {
		*out = '_';
		return 2;
	}
	if (s.len < mark + 2)
		return 0;
	int high = hex_value(s.p[mark]), low = hex_value(s.p[mark + 1]);
	*out = (uint8_t)(high << 4 | low);
	return high < 0 || low < 0 ? 0 : mark + 2;
}

mica_rc mica_template_decode(
	enum mica_template_encoding enc, struct mica_slice text, uint8_t *out, size_t *len)
{
	size_t at = 0;

	for (size_t i = 0; i < text.len;) {
		char form[3];
		uint8_t c = 0;
		size_t n = decode_octet(enc, mica_slice_sub(text, i, text.len), &c);
		/* only the form that the encoder writes ("_61" is not how it says 'a') */
		if (n == 0 || encode_octet(enc, c, at == 0, form) != n ||
			memcmp(form, text.p + i, n) != 0)
			return MICA_INVALID;
		if (at == *len)
			return MICA_LIMIT;
		out[at++] = c;
		i += n;
	}
	*len = at;
	return MICA_OK;
}

/* ---- templates ---------------------------------------------------------------------------- */

#define PARTS_MAX 64

/* A literal, or a placeholder; several make a segment. */
struct part {
	bool placeholder;
	bool last; /* of its segment */
	/* literal: into `literals` */
	uint16_t at, len;
	/* placeholder */
	uint8_t field;
	enum mica_template_encoding enc;
	struct mica_charset in, out; /* what its value may hold, before and after its encoding */
};

struct mica_template {
	enum mica_template_kind kind;
	char text[MICA_TEMPLATE_MAX + 1];
	unsigned n_parts, n_segments;
	uint32_t used; /* bit i: field i */
	struct part part[PARTS_MAX];
	size_t literals_len, prefix_len;
	char literals[MICA_TEMPLATE_MAX + MICA_TEMPLATE_SEGMENTS_MAX * (MICA_NAME_MAX + 1)];
	char prefix[MICA_TEMPLATE_MAX + 1]; /* may hold constants */
	const char *field_name[MICA_TEMPLATE_FIELDS_MAX]; /* copies, for messages and comparison */
	size_t n_fields;
};

struct compiler {
	struct mica_template *t;
	const struct mica_template_field *fields;
	size_t n_fields;
	struct mica_slice text;
	size_t at;
	struct mica_err *e;
};

static mica_rc syntax(const struct compiler *c, const char *what)
{
	return mica_fail_at(c->e, MICA_INVALID, "template_syntax", 0, (int)c->at + 1,
		"template: %s at column %zu; expected literals of [%s] and {field} or {field|encoding}",
		what, c->at + 1, c->t->kind == MICA_TEMPLATE_PATH ? "A-Za-z0-9._-" : "a-z0-9-");
}

static bool is_literal_char(enum mica_template_kind kind, uint8_t ch)
{
	struct mica_slice one = mica_slice(&ch, 1);

	if (kind == MICA_TEMPLATE_DNS)
		return ch == '-' || mica_dns_label_ok(one);
	return ch == '.' || mica_spiffe_segment_ok(one);
}

/* Neighbouring literals of one segment are one part. */
static bool put_literal(struct mica_template *t, bool begins, struct mica_slice s)
{
	struct part *p = t->n_parts ? &t->part[t->n_parts - 1] : NULL;

	if (s.len > sizeof(t->literals) - t->literals_len)
		return false;
	if (begins || p == NULL || p->placeholder) {
		if (t->n_parts == PARTS_MAX)
			return false;
		p = &t->part[t->n_parts++];
		*p = (struct part){.at = (uint16_t)t->literals_len};
	}
	memcpy(t->literals + t->literals_len, s.p, s.len);
	t->literals_len += s.len;
	p->len = (uint16_t)(p->len + s.len);
	return true;
}

static mica_rc unknown_field(const struct compiler *c, struct mica_slice name)
{
	MICA_AUTO_BUF known;

	mica_buf_init(&known, 256);
	for (size_t i = 0; i < c->n_fields; i++)
		mica_buf_printf(&known, "%s%s", i ? ", " : "", c->fields[i].name);
	return mica_fail_at(c->e, MICA_INVALID, "template_unknown_field", 0, (int)c->at + 1,
		"template: {%.*s} is not known; expected one of %s", MICA_FMT(name),
		known.p ? (const char *)known.p : "none");
}

static const struct mica_template_field *find_field(
	const struct compiler *c, struct mica_slice name)
{
	for (size_t i = 0; i < c->n_fields; i++)
		if (mica_slice_eq_str(name, c->fields[i].name))
			return &c->fields[i];
	return NULL;
}

static mica_rc put_constant(const struct compiler *c, const struct mica_template_field *f,
	struct mica_slice encoding, bool begins)
{
	struct mica_slice value = mica_slice_str(f->constant);
	bool ok = value.len > 0 && encoding.len == 0;

	for (size_t i = 0; ok && i < value.len; i++)
		ok = is_literal_char(c->t->kind, value.p[i]);
	if (ok && put_literal(c->t, begins, value))
		return MICA_OK;
	return mica_fail_at(c->e, MICA_INVALID, "template_syntax", 0, (int)c->at + 1,
		"template: the value of {%s} is \"%s\" here; expected one of [A-Za-z0-9._-], and no encoding",
		f->name, f->constant);
}

static bool find_encoding(
	enum mica_template_kind kind, struct mica_slice s, enum mica_template_encoding *enc)
{
	*enc = MICA_ENC_NONE;
	if (s.len == 0)
		return true;
	if (mica_slice_eq_str(s, "hex"))
		*enc = MICA_ENC_HEX;
	else if (mica_slice_eq_str(s, "escape") && kind == MICA_TEMPLATE_PATH)
		*enc = MICA_ENC_ESCAPE;
	return *enc != MICA_ENC_NONE;
}

/* What stands between two borders must not hold the border. */
static void set_charsets(const struct compiler *c, struct part *p, const char *charset)
{
	static const char *const encoded[MICA_ENC_COUNT] = {
		[MICA_ENC_HEX] = "0-9a-f", [MICA_ENC_ESCAPE] = DEFAULT_CHARSET};
	struct mica_charset safe;

	mica_charset_read(
		mica_slice_str(c->t->kind == MICA_TEMPLATE_DNS ? "a-z0-9-" : DEFAULT_CHARSET),
		&safe);
	if (p->enc == MICA_ENC_NONE) {
		mica_charset_read(mica_slice_str(charset ? charset : DEFAULT_CHARSET), &p->in);
		mica_charset_and(&p->in, &safe);
		p->out = p->in;
		return;
	}
	mica_charset_read(mica_slice_str(encoded[p->enc]), &p->out);
	if (charset)
		mica_charset_read(mica_slice_str(charset), &p->in);
	else
		memset(&p->in, 0xff, sizeof(p->in));
}

static mica_rc read_placeholder(struct compiler *c, bool begins)
{
	struct mica_slice rest = mica_slice_sub(c->text, c->at + 1, c->text.len), name, inside;
	const struct mica_template_field *f;
	enum mica_template_encoding enc;

	if (!mica_slice_cut(&rest, '}', &inside))
		return syntax(c, "a '{' has no '}'");
	size_t len = inside.len + 2;
	bool barred = mica_slice_cut(&inside, '|', &name);
	f = find_field(c, name);
	if (f == NULL)
		return unknown_field(c, name);
	if ((barred && inside.len == 0) || !find_encoding(c->t->kind, inside, &enc))
		return mica_fail_at(c->e, MICA_INVALID, "template_unknown_encoding", 0,
			(int)c->at + 1, "template: the encoding of {%s} is not known; expected %s",
			f->name, c->t->kind == MICA_TEMPLATE_PATH ? "hex or escape" : "hex");
	if (f->constant) {
		mica_rc rc = put_constant(c, f, inside, begins);
		c->at += len;
		return rc;
	}
	if (c->t->n_parts == PARTS_MAX)
		return syntax(c, "too many parts");
	struct part *p = &c->t->part[c->t->n_parts++];
	*p = (struct part){.placeholder = true, .field = (uint8_t)(f - c->fields), .enc = enc};
	set_charsets(c, p, f->charset);
	c->t->used |= (uint32_t)1 << p->field;
	c->at += len;
	return MICA_OK;
}

static uint8_t separator(const struct mica_template *t)
{
	return t->kind == MICA_TEMPLATE_PATH ? '/' : '.';
}

static mica_rc read_segment(struct compiler *c)
{
	unsigned first = c->t->n_parts;

	if (c->t->n_segments == MICA_TEMPLATE_SEGMENTS_MAX)
		return syntax(c, "too many segments");
	while (c->at < c->text.len && c->text.p[c->at] != separator(c->t)) {
		bool begins = c->t->n_parts == first;
		mica_rc rc = MICA_OK;
		if (c->text.p[c->at] == '{')
			rc = read_placeholder(c, begins);
		else if (!is_literal_char(c->t->kind, c->text.p[c->at]))
			return syntax(c, "a character that is not allowed");
		else if (put_literal(c->t, begins, mica_slice_sub(c->text, c->at, 1)))
			c->at++;
		else
			return syntax(c, "too many parts");
		if (rc)
			return rc;
	}
	if (c->t->n_parts == first)
		return syntax(c, "an empty segment");
	c->t->part[c->t->n_parts - 1].last = true;
	c->t->n_segments++;
	return MICA_OK;
}

static mica_rc read_segments(struct compiler *c)
{
	bool path = c->t->kind == MICA_TEMPLATE_PATH;

	if (c->text.len == 0 || (path && c->text.p[0] != '/'))
		return syntax(c, path ? "a path begins with '/'" : "empty");
	if (path)
		c->at = 1;
	for (;;) {
		mica_rc rc = read_segment(c);
		if (rc || c->at == c->text.len)
			return rc;
		c->at++;
	}
}

static struct mica_slice literal_of(const struct mica_template *t, const struct part *p)
{
	return mica_slice(t->literals + p->at, p->len);
}

/* Whether the edge of a placeholder is one that its values cannot cross. */
static bool bounds(const struct mica_template *t, const struct part *p, const struct part *literal,
	bool its_end)
{
	struct mica_slice s = literal_of(t, literal);

	return !literal->placeholder && !mica_charset_has(&p->out, s.p[its_end ? s.len - 1 : 0]);
}

static mica_rc check_bounds(const struct compiler *c)
{
	const struct mica_template *t = c->t;

	for (unsigned i = 0; i < t->n_parts; i++) {
		const struct part *p = &t->part[i];
		if (!p->placeholder)
			continue;
		bool left = i == 0 || p[-1].last || bounds(t, p, p - 1, true);
		bool right = p->last || bounds(t, p, p + 1, false);
		if (!left || !right)
			return mica_fail(c->e, MICA_INVALID, "template_ambiguous",
				"template: a value of {%s} may hold what stands beside it, so two different names could look the same; "
				"expected a segment of its own",
				c->fields[p->field].name);
	}
	return MICA_OK;
}

static bool is_literal_segment(const struct part *p)
{
	return !p->placeholder && p->last;
}

/* Literals, together with constants, must be what a name may hold. */
static mica_rc check_literals(const struct compiler *c)
{
	const struct mica_template *t = c->t;

	for (unsigned i = 0; i < t->n_parts; i++) {
		bool whole = (i == 0 || t->part[i - 1].last) && is_literal_segment(&t->part[i]);
		struct mica_slice s = literal_of(t, &t->part[i]);
		if (whole &&
			!(t->kind == MICA_TEMPLATE_PATH ? mica_spiffe_segment_ok(s)
							: mica_dns_label_ok(s)))
			return mica_fail(c->e, MICA_INVALID, "template_syntax",
				"template: \"%.*s\" cannot be a segment of a name", MICA_FMT(s));
	}
	if (t->kind == MICA_TEMPLATE_PATH && is_literal_segment(&t->part[0]) &&
		mica_slice_eq_str(literal_of(t, &t->part[0]), MICA_RESERVED_SEGMENT))
		return mica_fail(c->e, MICA_INVALID, "template_reserved",
			"template: names below /%s are Mica's own; expected another first segment",
			MICA_RESERVED_SEGMENT);
	return MICA_OK;
}

static void make_prefix(struct mica_template *t)
{
	MICA_AUTO_BUF b;
	unsigned i = 0;

	mica_buf_init(&b, sizeof(t->prefix) - 1);
	for (; i < t->n_parts && is_literal_segment(&t->part[i]) && (i == 0 || t->part[i - 1].last);
		i++) {
		if (t->kind == MICA_TEMPLATE_PATH || i)
			mica_buf_put_u8(&b, separator(t));
		mica_buf_put_slice(&b, literal_of(t, &t->part[i]));
	}
	if (i < t->n_parts && (t->kind == MICA_TEMPLATE_PATH || i))
		mica_buf_put_u8(&b, separator(t));
	t->prefix_len = b.over ? 0 : b.len;
	if (t->prefix_len)
		memcpy(t->prefix, b.p, t->prefix_len);
}

static void keep_field_names(const struct compiler *c)
{
	c->t->n_fields = c->n_fields;
	for (size_t i = 0; i < c->n_fields; i++)
		c->t->field_name[i] = mica_strdup(c->fields[i].name);
}

mica_rc mica_template_compile(enum mica_template_kind kind, struct mica_slice text,
	const struct mica_template_field *fields, size_t n_fields, struct mica_template **out,
	struct mica_err *e)
{
	MICA_AUTO_TEMPLATE t = MICA_NEW(struct mica_template);
	struct compiler c = {.t = t, .fields = fields, .n_fields = n_fields, .text = text, .e = e};

	t->kind = kind;
	if (text.len > MICA_TEMPLATE_MAX)
		return mica_fail(e, MICA_INVALID, "template_too_long",
			"template: %zu octets, expected at most %d", text.len, MICA_TEMPLATE_MAX);
	if (n_fields > MICA_TEMPLATE_FIELDS_MAX)
		return mica_fail(e, MICA_INVALID, "template_too_long",
			"template: %zu fields to choose from, expected at most %d", n_fields,
			MICA_TEMPLATE_FIELDS_MAX);
	mica_rc rc = read_segments(&c);
	if (!rc)
		rc = check_bounds(&c);
	if (!rc)
		rc = check_literals(&c);
	if (rc)
		return rc;
	memcpy(t->text, text.p, text.len);
	keep_field_names(&c);
	make_prefix(t);
	*out = MICA_STEAL(t);
	return MICA_OK;
}

void mica_template_free(struct mica_template *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->n_fields; i++)
		mica_free((char *)t->field_name[i]);
	mica_free(t);
}

/* ---- expanding ---------------------------------------------------------------------------- */

static mica_rc bad_value(
	struct mica_err *e, const struct mica_template *t, const struct part *p, const char *what)
{
	return mica_fail(e, MICA_DENIED, "name_value_invalid",
		"the name %s is made of {%s}, and its value here %s; it is never altered to fit",
		t->text, t->field_name[p->field], what);
}

static mica_rc too_long(struct mica_err *e, const struct mica_template *t)
{
	return mica_fail(e, MICA_DENIED, "name_too_long",
		"the name made by %s would be longer than a name may be", t->text);
}

static mica_rc check_value(const struct mica_template *t, const struct part *p, struct mica_slice v,
	struct mica_err *e)
{
	if (v.len == 0)
		return mica_fail(e, MICA_DENIED, "name_value_missing",
			"the name %s needs {%s}, which this credential does not have", t->text,
			t->field_name[p->field]);
	if (v.len > MICA_TEMPLATE_VALUE_MAX)
		return too_long(e, t);
	for (size_t i = 0; i < v.len; i++)
		if (!mica_charset_has(&p->in, v.p[i]))
			return bad_value(e, t, p, "has a character that a name may not hold");
	return MICA_OK;
}

struct sink {
	char *out;
	size_t room, len;
};

static bool put(struct sink *s, const char *p, size_t len)
{
	if (len > s->room - s->len)
		return false;
	memcpy(s->out + s->len, p, len);
	s->len += len;
	return true;
}

static mica_rc put_part(const struct mica_template *t, const struct part *p,
	const struct mica_slice *values, struct sink *s, struct mica_err *e)
{
	char sep = (char)separator(t);
	bool begins = p == t->part || p[-1].last;
	bool fits = !begins || (t->kind == MICA_TEMPLATE_DNS && p == t->part) || put(s, &sep, 1);

	if (!fits)
		return too_long(e, t);
	if (!p->placeholder)
		return put(s, t->literals + p->at, p->len) ? MICA_OK : too_long(e, t);
	mica_rc rc = check_value(t, p, values[p->field], e);
	if (rc)
		return rc;
	size_t n = s->room - s->len;
	if (mica_template_encode(p->enc, values[p->field], s->out + s->len, &n))
		return too_long(e, t);
	s->len += n;
	return MICA_OK;
}

/* Each segment that a value had a part in. */
static mica_rc check_result(
	const struct mica_template *t, struct mica_slice name, struct mica_err *e)
{
	static const char dots[] = "makes '.' or '..' of a segment, or not a label of DNS";
	const struct part *p = t->part;
	struct mica_slice rest = name, segment;

	if (t->kind == MICA_TEMPLATE_PATH && mica_spiffe_path_is_reserved(name))
		return mica_fail(e, MICA_DENIED, "name_reserved", "names below /%s are Mica's own",
			MICA_RESERVED_SEGMENT);
	for (unsigned i = 0; i < t->n_segments; i++) {
		if (t->kind == MICA_TEMPLATE_PATH)
			mica_spiffe_next_segment(&rest, &segment);
		else
			mica_slice_cut(&rest, '.', &segment);
		const struct part *at = p;
		while (!p->placeholder && !p->last)
			p++;
		bool ok = t->kind == MICA_TEMPLATE_PATH ? mica_spiffe_segment_ok(segment)
							: mica_dns_label_ok(segment);
		if (!ok)
			return bad_value(e, t, p->placeholder ? p : at, dots);
		while (!p->last)
			p++;
		p++;
	}
	if (t->kind == MICA_TEMPLATE_DNS && mica_dns_name_check(name, NULL))
		return bad_value(e, t, t->part, dots);
	/* can only fail by a mistake of ours, and then nothing leaves */
	return mica_template_matches(t, name)
		? MICA_OK
		: mica_fail(e, MICA_INTERNAL, "template_mismatch",
			  "a name does not fit the template that made it");
}

mica_rc mica_template_expand(const struct mica_template *t, const struct mica_slice *values,
	size_t n_values, char *out, size_t size, size_t *len, struct mica_err *e)
{
	size_t cap = t->kind == MICA_TEMPLATE_DNS ? MICA_K8S_NAME_MAX : MICA_SPIFFE_ID_MAX;
	struct sink s = {.out = out, .room = size == 0 ? 0 : size - 1};

	if (s.room > cap)
		s.room = cap;
	if (n_values < t->n_fields || size == 0)
		return mica_fail(e, MICA_INTERNAL, "template_misuse",
			"a template was given less than it needs");
	mica_rc rc = MICA_OK;
	for (unsigned i = 0; i < t->n_parts && !rc; i++)
		rc = put_part(t, &t->part[i], values, &s, e);
	if (!rc)
		rc = check_result(t, mica_slice(out, s.len), e);
	if (rc) {
		out[0] = '\0'; /* nothing half made */
		return rc;
	}
	out[s.len] = '\0';
	if (len)
		*len = s.len;
	return MICA_OK;
}

/* ---- comparing ---------------------------------------------------------------------------- */

/* The longest run that a placeholder could have made, taken off s; it ends at what bounds it. */
static bool take_value(const struct part *p, struct mica_slice *s)
{
	size_t n = 0;
	uint8_t decoded[MICA_TEMPLATE_VALUE_MAX];
	size_t len = sizeof(decoded);

	while (n < s->len && mica_charset_has(&p->out, s->p[n]))
		n++;
	struct mica_slice v = mica_slice_sub(*s, 0, n);
	*s = mica_slice_sub(*s, n, s->len);
	if (n == 0 || mica_template_decode(p->enc, v, decoded, &len) || len == 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!mica_charset_has(&p->in, decoded[i]))
			return false;
	return true;
}

/* *p starts at a segment's first part and ends behind its last. */
static bool segment_matches(
	const struct mica_template *t, const struct part **p, struct mica_slice s)
{
	for (;; (*p)++) {
		struct mica_slice literal = literal_of(t, *p);
		if ((*p)->placeholder) {
			if (!take_value(*p, &s))
				return false;
		} else if (mica_slice_has_prefix(s, literal)) {
			s = mica_slice_sub(s, literal.len, s.len);
		} else {
			return false;
		}
		if ((*p)->last)
			break;
	}
	(*p)++;
	return s.len == 0;
}

bool mica_template_matches(const struct mica_template *t, struct mica_slice name)
{
	const struct part *p = t->part;
	struct mica_slice rest = name, segment;
	bool path = t->kind == MICA_TEMPLATE_PATH;

	if (path ? mica_spiffe_path_check(name, NULL) || mica_spiffe_path_is_reserved(name)
		 : mica_dns_name_check(name, NULL))
		return false;
	for (unsigned i = 0; i < t->n_segments; i++) {
		bool last = i + 1 == t->n_segments;
		bool there = path ? mica_spiffe_next_segment(&rest, &segment)
				  : mica_slice_cut(&rest, '.', &segment) != last;
		if (!there || !segment_matches(t, &p, segment))
			return false;
	}
	return rest.len == 0;
}

/* The first part of segment n, or NULL. */
static const struct part *nth_segment(const struct mica_template *t, unsigned n)
{
	const struct part *p = t->part;

	if (n >= t->n_segments)
		return NULL;
	for (; n; p++)
		n -= p->last;
	return p;
}

mica_rc mica_template_disjoint(
	const struct mica_template *a, const struct mica_template *b, struct mica_err *e)
{
	for (unsigned i = 0; i < a->n_segments && i < b->n_segments; i++) {
		const struct part *x = nth_segment(a, i), *y = nth_segment(b, i);
		if (is_literal_segment(x) && is_literal_segment(y) &&
			!mica_slice_eq(literal_of(a, x), literal_of(b, y)))
			return MICA_OK;
	}
	return mica_fail(e, MICA_INVALID, "names_overlap",
		"%.200s and %.200s could make one name, or one below the other; expected a literal segment "
		"at the same place in both that differs",
		a->text, b->text);
}

static bool same_part(const struct mica_template *a, const struct part *x,
	const struct mica_template *b, const struct part *y)
{
	if (x->placeholder != y->placeholder || x->last != y->last)
		return false;
	if (!x->placeholder)
		return mica_slice_eq(literal_of(a, x), literal_of(b, y));
	return x->enc == y->enc && !memcmp(&x->in, &y->in, sizeof(x->in)) &&
		strcmp(a->field_name[x->field], b->field_name[y->field]) == 0;
}

bool mica_template_same(const struct mica_template *a, const struct mica_template *b)
{
	if (a->kind != b->kind || a->n_parts != b->n_parts)
		return false;
	for (unsigned i = 0; i < a->n_parts; i++)
		if (!same_part(a, &a->part[i], b, &b->part[i]))
			return false;
	return true;
}

struct mica_slice mica_template_prefix(const struct mica_template *t)
{
	return mica_slice(t->prefix, t->prefix_len);
}

const char *mica_template_text(const struct mica_template *t)
{
	return t->text;
}

bool mica_template_uses(const struct mica_template *t, size_t index)
{
	return index < MICA_TEMPLATE_FIELDS_MAX && (t->used >> index & 1);
}

/* ---- a principal's fields ------------------------------------------------------------------ */

/* Kubernetes names, RFC 1123; the names in a configuration. */
const struct mica_template_field mica_principal_fields[MICA_PF_COUNT] = {
	[MICA_PF_NAMESPACE] = {.name = "namespace", .charset = "a-z0-9-"},
	[MICA_PF_SERVICEACCOUNT] = {.name = "serviceaccount", .charset = "a-z0-9.-"},
	[MICA_PF_POD] = {.name = "pod", .charset = "a-z0-9.-"},
	[MICA_PF_NODE] = {.name = "node", .charset = "a-z0-9.-"},
	[MICA_PF_CLUSTER] = {.name = "cluster"},
	[MICA_PF_ISSUER] = {.name = "issuer"},
};

void mica_principal_values(const struct mica_principal *p, struct mica_slice values[MICA_PF_COUNT])
{
	values[MICA_PF_NAMESPACE] = mica_slice_str(p->ns);
	values[MICA_PF_SERVICEACCOUNT] = mica_slice_str(p->sa);
	values[MICA_PF_POD] = mica_slice_str(p->pod);
	values[MICA_PF_NODE] = mica_slice_str(p->node);
	values[MICA_PF_CLUSTER] = mica_slice_str(p->cluster);
	values[MICA_PF_ISSUER] = mica_slice_str(p->issuer);
}
