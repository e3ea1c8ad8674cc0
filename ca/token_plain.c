/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claims of a bound service-account token as every kube-apiserver writes them: without spaces,
 * without escapes, each member once and none unknown. For these a document tree costs more than all
 * else that is read of a token. Whatever looks otherwise in any way is no mistake, just not read
 * here: it goes the long way, which alone refuses. What is read here is what the long way would
 * have read; a fuzzer compares the two.
 */
#include "token.h"

#define TIME_DIGITS 12

static bool take(struct mica_slice *s, uint8_t c)
{
	if (s->len == 0 || *s->p != c)
		return false;
	*s = mica_slice(s->p + 1, s->len - 1);
	return true;
}

static bool take_string(struct mica_slice *s, struct mica_slice *out)
{
	size_t n = 0;

	if (!take(s, '"'))
		return false;
	while (n < s->len && s->p[n] >= ' ' && s->p[n] < 0x7f && s->p[n] != '"' && s->p[n] != '\\')
		n++;
	*out = mica_slice(s->p, n);
	*s = mica_slice(s->p + n, s->len - n);
	return n > 0 && take(s, '"');
}

/* A number that has no second form; that it ends here is seen by who looks for a comma. */
static bool take_time(struct mica_slice *s, int64_t *out)
{
	size_t n = 0;
	int64_t v = 0;

	while (n < s->len && n <= TIME_DIGITS && s->p[n] >= '0' && s->p[n] <= '9')
		v = v * 10 + (s->p[n++] - '0');
	if (n == 0 || n > TIME_DIGITS || *s->p == '0' || v > TOKEN_TIME_MAX)
		return false;
	*out = v;
	*s = mica_slice(s->p + n, s->len - n);
	return true;
}

static bool take_audiences(struct mica_slice *s, struct token_plain *out)
{
	if (!take(s, '[')) {
		out->n_aud = 1;
		return take_string(s, &out->aud[0]);
	}
	do {
		if (out->n_aud == MICA_TOKEN_AUD_MAX || !take_string(s, &out->aud[out->n_aud++]))
			return false;
	} while (take(s, ','));
	return take(s, ']');
}

/* ---- objects ------------------------------------------------------------------------------- */

/* Reads the value of member `i` into `out`. */
typedef bool take_value(struct mica_slice *s, unsigned i, void *out);

struct shape {
	const char *const *names;
	unsigned n;
	take_value *value;
};

static bool take_member(struct mica_slice *s, const struct shape *shape, unsigned *seen, void *out)
{
	struct mica_slice name;
	unsigned i = 0;

	if (!take_string(s, &name) || !take(s, ':'))
		return false;
	while (i < shape->n && !mica_slice_eq_str(name, shape->names[i]))
		i++;
	if (i == shape->n || (*seen & 1U << i))
		return false;
	*seen |= 1U << i;
	return shape->value(s, i, out);
}

static bool take_object(struct mica_slice *s, const struct shape *shape, void *out)
{
	unsigned seen = 0;

	if (!take(s, '{'))
		return false;
	do {
		if (!take_member(s, shape, &seen, out))
			return false;
	} while (take(s, ','));
	return take(s, '}');
}

static bool ref_value(struct mica_slice *s, unsigned i, void *out)
{
	struct token_plain_ref *r = out;

	return take_string(s, i == 0 ? &r->name : &r->uid);
}

static bool take_ref(struct mica_slice *s, struct token_plain_ref *out)
{
	static const char *const names[] = {"name", "uid"};
	static const struct shape shape = {names, 2, ref_value};

	return take_object(s, &shape, out) && out->name.len > 0;
}

static bool kubernetes_value(struct mica_slice *s, unsigned i, void *out)
{
	struct token_plain *p = out;

	switch (i) {
	case 0: return take_string(s, &p->ns);
	case 1: return take_ref(s, &p->node);
	case 2: return take_ref(s, &p->pod);
	case 3: return take_ref(s, &p->sa);
	default: return take_time(s, &p->warnafter);
	}
}

static bool claim_value(struct mica_slice *s, unsigned i, void *out)
{
	static const char *const names[] = {
		"namespace", "node", "pod", "serviceaccount", "warnafter"};
	static const struct shape kubernetes = {names, 5, kubernetes_value};
	struct token_plain *p = out;

	switch (i) {
	case 0: return take_audiences(s, p);
	case 1: return take_time(s, &p->exp);
	case 2: return take_time(s, &p->iat);
	case 3: return take_string(s, &p->iss);
	case 4: return take_string(s, &p->jti);
	case 5: return take_object(s, &kubernetes, p);
	case 6: return take_time(s, &p->nbf);
	default: return take_string(s, &p->sub);
	}
}

bool mica_token_plain_read(struct mica_slice payload, struct token_plain *out)
{
	static const char *const names[] = {
		"aud", "exp", "iat", "iss", "jti", "kubernetes.io", "nbf", "sub"};
	static const struct shape claims = {names, 8, claim_value};

	*out = (struct token_plain){.n_aud = 0};
	return take_object(&payload, &claims, out) && payload.len == 0 && out->iss.len > 0;
}
