/* SPDX-License-Identifier: Apache-2.0 */
/* Examples of what rules ask for, and of what they do not. */
#include "diff.h"

#include <stdarg.h>
#include <stdio.h>

#define OTHER "any-other"

/* ---- atoms -------------------------------------------------------------------------------------
 */

static const char *text_of(struct diff_examples *x, const char *fmt, ...) MICA_PRINTF(2, 3);
static const char *text_of(struct diff_examples *x, const char *fmt, ...)
{
	char text[2 * MICA_POLICY_VALUE_MAX];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return (const char *)arena_text(x->arena, mica_slice_str(text)).p;
}

void diff_atoms_add(struct diff_examples *x, struct diff_atoms *to, struct mica_slice word,
	struct mica_slice text, uint16_t port)
{
	for (unsigned i = 0; i < to->n; i++)
		if (mica_slice_eq(to->v[i].text, text) && to->v[i].port == port)
			return;
	if (to->n == to->room) {
		to->room = to->room ? 2 * to->room : 16;
		to->v = mica_realloc(to->v, to->room, sizeof(to->v[0]));
	}
	to->v[to->n++] = (struct diff_atom){.word = (const char *)arena_text(x->arena, word).p,
		.text = arena_text(x->arena, text),
		.port = port};
}

static void add_peer(struct diff_examples *x, const char *word, const char *id)
{
	diff_atoms_add(x, &x->peers, mica_slice_str(word),
		mica_slice_str(text_of(x, MICA_SPIFFE_SCHEME "%s", id)), 0);
}

/* Something that a pattern matches. */
static const char *example(
	struct diff_examples *x, enum mica_policy_attr attr, const struct mica_policy_value *v)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 2 * MICA_POLICY_VALUE_MAX);
	switch (v->kind) {
	case MICA_VALUE_PREFIX: mica_buf_printf(&b, "%.*sx", MICA_FMT(v->text)); break;
	case MICA_VALUE_SUFFIX:
		mica_buf_printf(
			&b, "%sx%.*s", attr == MICA_ATTR_PATH ? "/" : "", MICA_FMT(v->text));
		break;
	case MICA_VALUE_PRESENT: mica_buf_put_str(&b, OTHER); break;
	case MICA_VALUE_GLOB:
	case MICA_VALUE_TEMPLATE:
		for (size_t i = 0; i < v->text.len; i++) {
			const uint8_t c = v->text.p[i];

			if (c == '{')
				mica_buf_put_u8(&b, 'x');
			else if (c == '*' && v->kind == MICA_VALUE_GLOB)
				mica_buf_put_u8(&b, 'x');
			else if (c != '}' && c != '*')
				mica_buf_put_u8(&b, c);
		}
		break;
	default: mica_buf_put_slice(&b, v->text); break;
	}
	return (const char *)arena_text(x->arena, mica_buf_slice(&b)).p;
}

static const char *pattern(struct diff_examples *x, const struct mica_policy_value *v)
{
	return text_of(x, "%s%.*s%s", v->kind == MICA_VALUE_SUFFIX ? "*" : "", MICA_FMT(v->text),
		v->kind == MICA_VALUE_PREFIX ? "*" : "");
}

/* ---- peers -------------------------------------------------------------------------------------
 */

static void principal_beginning(struct diff_examples *x, const struct mica_policy_value *v)
{
	static const char *const ends[] = {"/" OTHER, OTHER, "sa/" OTHER};
	struct mica_err own = MICA_ERR_INIT;

	/* the longest that is one: an account of a namespace rather than a part of a name */
	for (size_t i = MICA_ARRAY_LEN(ends); i-- > 0;) {
		const char *id = text_of(x, "%.*s%s", MICA_FMT(v->text), ends[i]);
		const char *full = text_of(x, MICA_SPIFFE_SCHEME "%s", id);
		struct mica_spiffe_id parsed;
		const bool part = v->text.len && v->text.p[v->text.len - 1] != '/';

		if (mica_spiffe_id_parse(mica_slice_str(full), &parsed, &own) != MICA_OK ||
			(i == 2 && part))
			continue;
		add_peer(x, pattern(x, v), id);
		return;
	}
}

static void principal(struct diff_examples *x, const struct mica_policy_value *v)
{
	const struct mica_slice t = v->text;

	if (v->kind == MICA_VALUE_EXACT)
		add_peer(x, pattern(x, v), pattern(x, v));
	if (v->kind == MICA_VALUE_PREFIX)
		principal_beginning(x, v);
	if (v->kind != MICA_VALUE_SUFFIX)
		return;
	if (t.len && t.p[0] == '/') {
		add_peer(x, pattern(x, v), text_of(x, "%.*s%.*s", MICA_FMT(x->td), MICA_FMT(t)));
		add_peer(x, pattern(x, v),
			text_of(x, "%.*s/ns/" OTHER "%.*s", MICA_FMT(x->td), MICA_FMT(t)));
	} else {
		add_peer(x, pattern(x, v),
			text_of(x, "%.*s/ns/" OTHER "/sa/x%.*s", MICA_FMT(x->td), MICA_FMT(t)));
	}
}

static void peers_of(struct diff_examples *x, const struct ctest *t, const struct values *values)
{
	for (unsigned i = 0; i < values->n; i++) {
		const struct mica_policy_value *v = &values->v[i];

		if (t->attr == MICA_ATTR_PRINCIPAL)
			principal(x, v);
		if (t->attr == MICA_ATTR_NAMESPACE && v->kind != MICA_VALUE_PRESENT)
			add_peer(x, text_of(x, "namespace %s", (const char *)v->written.p),
				text_of(x, "%.*s/ns/%s/sa/" OTHER, MICA_FMT(x->td),
					example(x, t->attr, v)));
		if (t->attr == MICA_ATTR_SERVICE_ACCOUNT) {
			const char *id = text_of(x, "%.*s/ns/%.*s/sa/%.*s", MICA_FMT(x->td),
				MICA_FMT(v->ns), MICA_FMT(v->text));
			add_peer(x, id, id);
		}
		if (t->attr == MICA_ATTR_TRUST_DOMAIN)
			add_peer(x, text_of(x, "trust domain %.*s", MICA_FMT(v->text)),
				text_of(x, "%.*s/" OTHER, MICA_FMT(v->text)));
	}
}

/* An end of a principal, in each namespace that a rule names. */
static void ends_in_namespaces(struct diff_examples *x, const struct ctest *end,
	const struct ctest *ns, const struct values *values)
{
	for (unsigned i = 0; i < values->n && i < DIFF_VALUES_MAX; i++)
		for (unsigned k = 0; k < end->is.n && k < DIFF_VALUES_MAX; k++) {
			const struct mica_policy_value *v = &end->is.v[k];
			const char *id = text_of(x, "%.*s/ns/%s%s%.*s", MICA_FMT(x->td),
				example(x, ns->attr, &values->v[i]),
				v->text.len && v->text.p[0] == '/' ? "" : "/sa/x",
				MICA_FMT(v->text));

			if (v->kind == MICA_VALUE_SUFFIX)
				add_peer(x, id, id);
		}
}

/* ---- extras ------------------------------------------------------------------------------------
 */

static bool is_extra(enum mica_policy_attr attr)
{
	switch (attr) {
	case MICA_ATTR_PRINCIPAL:
	case MICA_ATTR_NAMESPACE:
	case MICA_ATTR_SERVICE_ACCOUNT:
	case MICA_ATTR_TRUST_DOMAIN:
	case MICA_ATTR_PORT:
	case MICA_ATTR_METHOD:
	case MICA_ATTR_PATH: return false;
	default: return true;
	}
}

static struct diff_assign assign_of(
	struct diff_examples *x, const struct ctest *t, const struct mica_policy_value *v)
{
	struct diff_assign a = {.test = t, .written = v->written};

	if (v->kind == MICA_VALUE_CIDR)
		a.ip = v->cidr.ip;
	else
		a.text = mica_slice_str(example(x, t->attr, v));
	return a;
}

static void put_assign(struct mica_buf *b, const struct diff_assign *a)
{
	const struct mica_policy_test *t = a->test->test;
	const struct mica_policy_attr_info *info = mica_policy_attr_of(t->attr);

	mica_buf_printf(b, "%s%s", b->len ? ", " : "with ", info->key ? info->key : info->field);
	if (t->attr == MICA_ATTR_HEADER)
		mica_buf_printf(b, "[%.*s]", MICA_FMT(t->name));
	else
		mica_buf_put_slice(b, t->name);
	mica_buf_printf(b, " %.*s", MICA_FMT(a->written));
}

static void add_extra(struct diff_examples *x, const struct diff_assign *v, unsigned n)
{
	struct diff_extra *e = &x->extras[x->n_extras];
	MICA_AUTO_BUF word;

	mica_buf_init(&word, 4096);
	for (unsigned i = 0; i < n; i++)
		put_assign(&word, &v[i]);
	for (unsigned i = 0; i < x->n_extras; i++)
		if (mica_slice_eq_str(mica_buf_slice(&word), x->extras[i].word))
			return;
	if (x->n_extras == DIFF_EXTRAS_MAX) {
		x->complete = false;
		return;
	}
	e->word = (const char *)arena_text(x->arena, mica_buf_slice(&word)).p;
	e->n = n;
	memcpy(e->v, v, n * sizeof(v[0]));
	x->n_extras++;
}

/* What two rules ask for, one the one and one the other, unless it contradicts. */
static void add_both(struct diff_examples *x, unsigned i, unsigned k)
{
	const struct diff_extra *a = &x->extras[i], *b = &x->extras[k];
	struct diff_assign v[2 * DIFF_ASSIGNS];
	const unsigned before = x->n_extras;
	unsigned n = a->n;

	memcpy(v, a->v, n * sizeof(v[0]));
	for (unsigned j = 0; j < b->n; j++) {
		for (unsigned l = 0; l < a->n; l++)
			if (a->v[l].test->attr == b->v[j].test->attr &&
				mica_slice_eq(a->v[l].test->test->name, b->v[j].test->test->name))
				return;
		v[n++] = b->v[j];
	}
	if (n > DIFF_ASSIGNS) {
		x->complete = false;
		return;
	}
	add_extra(x, v, n);
	if (x->n_extras > before) {
		x->extras[before].parts[0] = i;
		x->extras[before].parts[1] = k;
	}
}

static void add_all_both(struct diff_examples *x)
{
	const unsigned n = x->n_extras;

	for (unsigned i = 1; i < n; i++)
		for (unsigned k = i + 1; k < n; k++)
			add_both(x, i, k);
}

/* The tests of a rule that are no peer, method, path or port: of one source, one operation, and the
 * conditions. */
struct together {
	const struct ctest *v[DIFF_ASSIGNS];
	unsigned n;
};

static void together_add(
	struct diff_examples *x, struct together *all, const struct cclause *clause)
{
	for (unsigned i = 0; clause && i < clause->n; i++) {
		if (!is_extra(clause->tests[i].attr))
			continue;
		if (all->n == DIFF_ASSIGNS) {
			x->complete = false;
			return;
		}
		all->v[all->n++] = &clause->tests[i];
	}
}

/* Each has its first value, but for one at a time, which has each of its values. */
static void extras_of(struct diff_examples *x, const struct together *all)
{
	for (unsigned k = 0; k < all->n; k++) {
		const struct ctest *t = all->v[k];
		const unsigned n = t->is.n + t->is_not.n;

		x->complete &= n <= DIFF_VALUES_MAX;
		for (unsigned i = 0; i < n && i < DIFF_VALUES_MAX; i++) {
			struct diff_assign v[DIFF_ASSIGNS];
			unsigned m = 0;

			for (unsigned j = 0; j < all->n; j++) {
				if (j == k)
					v[m++] = assign_of(x, t,
						i < t->is.n ? &t->is.v[i]
							    : &t->is_not.v[i - t->is.n]);
				else if (all->v[j]->is.n)
					v[m++] = assign_of(x, all->v[j], &all->v[j]->is.v[0]);
			}
			add_extra(x, v, m);
		}
	}
}

/* ---- rules -------------------------------------------------------------------------------------
 */

static void values_of(struct diff_examples *x, const struct ctest *t, const struct values *values)
{
	for (unsigned i = 0; i < values->n; i++) {
		const struct mica_policy_value *v = &values->v[i];

		if (t->attr == MICA_ATTR_PORT)
			diff_atoms_add(x, &x->ports, mica_slice_str(text_of(x, "port %u", v->port)),
				MICA_SLICE_NULL, v->port);
		if (v->kind == MICA_VALUE_PRESENT) {
			/* what has none is another case */
			if (t->attr == MICA_ATTR_METHOD)
				diff_atoms_add(
					x, &x->methods, MICA_LIT("no method"), MICA_SLICE_NULL, 0);
			if (t->attr == MICA_ATTR_PATH)
				diff_atoms_add(
					x, &x->paths, MICA_LIT("no path"), MICA_SLICE_NULL, 0);
			continue;
		}
		if (t->attr == MICA_ATTR_METHOD)
			diff_atoms_add(x, &x->methods, mica_slice_str(pattern(x, v)),
				mica_slice_str(example(x, t->attr, v)), 0);
		if (t->attr == MICA_ATTR_PATH)
			diff_atoms_add(x, &x->paths, mica_slice_str(pattern(x, v)),
				mica_slice_str(example(x, t->attr, v)), 0);
	}
}

static void clause_of(struct diff_examples *x, const struct cclause *clause)
{
	for (unsigned i = 0; i < clause->n; i++) {
		const struct ctest *t = &clause->tests[i];

		peers_of(x, t, &t->is);
		peers_of(x, t, &t->is_not);
		values_of(x, t, &t->is);
		values_of(x, t, &t->is_not);
		for (unsigned k = 0; t->attr == MICA_ATTR_NAMESPACE && k < clause->n; k++)
			if (clause->tests[k].attr == MICA_ATTR_PRINCIPAL) {
				ends_in_namespaces(x, &clause->tests[k], t, &t->is);
				ends_in_namespaces(x, &clause->tests[k], t, &t->is_not);
			}
	}
}

void diff_examples_of(
	struct diff_examples *x, const struct mica_policy_set *s, const struct mica_policy *p)
{
	const struct mica_policy **at = (const struct mica_policy **)s->policies;
	size_t i = 0;

	while (at[i] != p)
		i++;
	for (unsigned k = 0; k < p->n_rules; k++) {
		const struct crule *r = &s->rules[s->first_rule[i] + k];

		for (unsigned a = 0; a < r->n_from; a++)
			clause_of(x, &r->from[a]);
		for (unsigned b = 0; b < r->n_to; b++)
			clause_of(x, &r->to[b]);
		clause_of(x, &r->when);
		for (unsigned a = 0; a < r->n_from || a == 0; a++)
			for (unsigned b = 0; b < r->n_to || b == 0; b++) {
				struct together all = {.n = 0};

				together_add(x, &all, r->n_from ? &r->from[a] : NULL);
				together_add(x, &all, r->n_to ? &r->to[b] : NULL);
				together_add(x, &all, &r->when);
				extras_of(x, &all);
			}
	}
}

static uint16_t unnamed_port(const struct diff_examples *x)
{
	uint16_t port = 65535;

	for (unsigned i = 0; i < x->ports.n; i++)
		if (x->ports.v[i].port == port) {
			port--;
			i = UINT32_MAX;
		}
	return port;
}

void diff_examples_end(struct diff_examples *x, bool anyone)
{
	add_all_both(x);
	if (anyone) {
		add_peer(x, text_of(x, "anyone else of %.*s", MICA_FMT(x->td)),
			text_of(x, "%.*s/ns/" OTHER "/sa/" OTHER, MICA_FMT(x->td)));
		add_peer(x, "anyone of another trust domain", OTHER ".invalid/" OTHER);
		diff_atoms_add(x, &x->peers, MICA_LIT("who has no identity"), MICA_SLICE_NULL, 0);
	}
	diff_atoms_add(x, &x->methods,
		mica_slice_str(x->methods.n ? "any other method" : "any method"), MICA_LIT("OTHER"),
		0);
	diff_atoms_add(x, &x->paths, mica_slice_str(x->paths.n ? "any other path" : "any path"),
		MICA_LIT("/~other"), 0);
	diff_atoms_add(x, &x->ports, mica_slice_str(x->ports.n ? "any other port" : ""),
		MICA_SLICE_NULL, unnamed_port(x));
}

void diff_examples_init(struct diff_examples *x, struct arena *arena, struct mica_slice td)
{
	*x = (struct diff_examples){.arena = arena, .td = td, .complete = true};
	x->extras = mica_calloc(DIFF_EXTRAS_MAX, sizeof(x->extras[0]));
	x->extras[0].word = "";
	x->n_extras = 1;
}

void diff_examples_clear(struct diff_examples *x)
{
	mica_free(x->peers.v);
	mica_free(x->methods.v);
	mica_free(x->paths.v);
	mica_free(x->ports.v);
	mica_free(x->extras);
}

/* ---- requests ----------------------------------------------------------------------------------
 */

static void apply_pair(
	const struct diff_assign *a, struct mica_policy_request *r, struct mica_policy_pair *pairs)
{
	const struct mica_policy_pair one = {a->test->test->name, a->text};

	if (a->test->attr == MICA_ATTR_HEADER) {
		r->headers = pairs;
		pairs[r->n_headers++] = one;
	} else {
		r->claims = pairs + DIFF_ASSIGNS;
		pairs[DIFF_ASSIGNS + r->n_claims++] = one;
	}
}

void diff_apply(const struct diff_extra *extra, struct mica_policy_request *r,
	struct mica_policy_pair *pairs, struct mica_slice *audience)
{
	for (unsigned i = 0; i < extra->n; i++) {
		const struct diff_assign *a = &extra->v[i];

		switch (a->test->attr) {
		case MICA_ATTR_REQUEST_PRINCIPAL:
			if (!split_last(a->text, &r->jwt_issuer, &r->jwt_subject))
				r->jwt_issuer = r->jwt_subject = a->text;
			break;
		case MICA_ATTR_SOURCE_IP: r->source_ip = a->ip; break;
		case MICA_ATTR_REMOTE_IP: r->remote_ip = a->ip; break;
		case MICA_ATTR_DESTINATION_IP: r->destination_ip = a->ip; break;
		case MICA_ATTR_HOST: r->host = a->text; break;
		case MICA_ATTR_AUDIENCE:
			*audience = a->text;
			r->audiences = audience;
			r->n_audiences = 1;
			break;
		case MICA_ATTR_PRESENTER: r->presenter = a->text; break;
		case MICA_ATTR_SNI: r->sni = a->text; break;
		default: apply_pair(a, r, pairs); break;
		}
	}
}
