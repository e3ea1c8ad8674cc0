/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/der.h"

static bool fail(struct mica_der *d)
{
	d->bad = true;
	return false;
}

/* X.690 10.1: definite form with the fewest octets. At most three length octets: nothing here is
 * larger than 16 MiB. Returns the octets of the header behind the tag, 0 = refused. */
static size_t read_length(struct mica_slice s, size_t *len)
{
	if (s.len < 2)
		return 0;
	if (s.p[1] < 0x80) {
		*len = s.p[1];
		return 2;
	}
	size_t n = s.p[1] & 0x7f, v = 0;
	if (n == 0 || n > 3 || s.len < 2 + n)
		return 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | s.p[2 + i];
	if (v < 0x80 || v >> (8 * (n - 1)) == 0)
		return 0;
	*len = v;
	return 2 + n;
}

bool mica_der_any(
	struct mica_der *d, uint8_t *tag, struct mica_slice *content, struct mica_slice *whole)
{
	size_t len = 0;
	/* Tag numbers above 30 do not occur in what is read here; tag 0 is BER's end-of-contents.
	 */
	if (d->bad || d->s.len < 2 || (d->s.p[0] & 0x1f) == 0x1f || d->s.p[0] == 0)
		return fail(d);
	size_t head = read_length(d->s, &len);
	if (!head || len > d->s.len - head)
		return fail(d);
	*tag = d->s.p[0];
	*content = mica_slice(d->s.p + head, len);
	if (whole)
		*whole = mica_slice(d->s.p, head + len);
	d->s = mica_slice(d->s.p + head + len, d->s.len - head - len);
	return true;
}

bool mica_der_is(const struct mica_der *d, uint8_t tag)
{
	return !d->bad && d->s.len && d->s.p[0] == tag;
}

bool mica_der_next(
	struct mica_der *d, uint8_t tag, struct mica_slice *content, struct mica_slice *whole)
{
	uint8_t got;
	struct mica_slice c;
	if (!mica_der_is(d, tag))
		return fail(d);
	if (!mica_der_any(d, &got, &c, whole))
		return false;
	if (content)
		*content = c;
	return true;
}

bool mica_der_enter(struct mica_der *d, uint8_t tag, struct mica_der *in)
{
	struct mica_slice c = MICA_SLICE_NULL;
	bool ok = mica_der_next(d, tag, &c, NULL);
	*in = (struct mica_der){c, !ok};
	return ok;
}

bool mica_der_end(const struct mica_der *d)
{
	return !d->bad && d->s.len == 0;
}

bool mica_der_unsigned(struct mica_der *d, struct mica_slice *v)
{
	struct mica_slice c = MICA_SLICE_NULL;
	if (!mica_der_next(d, MICA_DER_INTEGER, &c, NULL))
		return false;
	if (c.len == 0 || c.p[0] & 0x80)
		return fail(d);
	if (c.len > 1 && c.p[0] == 0) {
		if (!(c.p[1] & 0x80))
			return fail(d); /* X.690 8.3.2: not minimal */
		c = mica_slice(c.p + 1, c.len - 1);
	}
	*v = c;
	return true;
}

bool mica_der_u32(struct mica_der *d, uint32_t *v)
{
	struct mica_slice c = MICA_SLICE_NULL;
	if (!mica_der_unsigned(d, &c))
		return false;
	if (c.len > 4)
		return fail(d);
	*v = 0;
	for (size_t i = 0; i < c.len; i++)
		*v = *v << 8 | c.p[i];
	return true;
}

bool mica_der_boolean(struct mica_der *d, bool *v)
{
	struct mica_slice c = MICA_SLICE_NULL;
	if (!mica_der_next(d, MICA_DER_BOOLEAN, &c, NULL))
		return false;
	if (c.len != 1 || (c.p[0] != 0 && c.p[0] != 0xff))
		return fail(d);
	*v = c.p[0] != 0;
	return true;
}

bool mica_der_bits(struct mica_der *d, struct mica_slice *v)
{
	struct mica_slice c = MICA_SLICE_NULL;
	if (!mica_der_next(d, MICA_DER_BIT_STRING, &c, NULL))
		return false;
	if (c.len == 0 || c.p[0] != 0)
		return fail(d);
	*v = mica_slice(c.p + 1, c.len - 1);
	return true;
}

bool mica_der_named_bits(struct mica_der *d, unsigned *v)
{
	struct mica_slice c = MICA_SLICE_NULL;
	*v = 0;
	if (!mica_der_next(d, MICA_DER_BIT_STRING, &c, NULL))
		return false;
	if (c.len == 0 || c.len > 3 || c.p[0] > 7)
		return fail(d);
	if (c.len == 1)
		return c.p[0] == 0 || fail(d);
	/* X.690 11.2.2: the last bit that is written is a 1, and the unused ones are 0. */
	unsigned last = c.p[c.len - 1], unused = c.p[0];
	if ((last & ((1u << unused) - 1)) || !(last & 1u << unused))
		return fail(d);
	for (unsigned i = 0; i < (c.len - 1) * 8; i++)
		*v |= (unsigned)(c.p[1 + i / 8] >> (7 - i % 8) & 1) << i;
	return true;
}

bool mica_der_oid(struct mica_der *d, struct mica_slice *v)
{
	struct mica_slice c = MICA_SLICE_NULL;
	if (!mica_der_next(d, MICA_DER_OID, &c, NULL))
		return false;
	if (c.len == 0 || c.p[c.len - 1] & 0x80)
		return fail(d);
	for (size_t i = 0; i < c.len; i++)
		if (c.p[i] == 0x80 && (i == 0 || !(c.p[i - 1] & 0x80)))
			return fail(d); /* an arc with leading zeros */
	*v = c;
	return true;
}

/* ---- time ------------------------------------------------------------------------------- */

/* Days since 1970-01-01 of a date in the Gregorian calendar, and back: years are counted from
 * March, so that the leap day is the last of a year; 400 years are one cycle of 146,097 days. */
static int64_t days_of(int64_t y, unsigned m, unsigned d)
{
	y -= m <= 2;
	int64_t era = y / 400;
	unsigned yoe = (unsigned)(y - era * 400);
	unsigned doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_of(int64_t days, unsigned *y, unsigned *m, unsigned *d)
{
	days += 719468;
	unsigned era = (unsigned)(days / 146097), doe = (unsigned)(days % 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = yoe + era * 400 + (*m <= 2);
}

static unsigned days_in(unsigned y, unsigned m)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	return m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) ? 29 : days[m - 1];
}

bool mica_der_time(struct mica_der *d, int64_t *t)
{
	uint8_t tag;
	struct mica_slice c;
	unsigned f[7]; /* century, year, month, day, hour, minute, second */
	if (!mica_der_any(d, &tag, &c, NULL))
		return false;
	bool utc = tag == MICA_DER_UTC_TIME;
	if ((!utc && tag != MICA_DER_GENERALIZED_TIME) || c.len != (utc ? 13 : 15) ||
		c.p[c.len - 1] != 'Z')
		return fail(d);
	for (size_t i = 0; i < c.len - 1; i++)
		if (c.p[i] < '0' || c.p[i] > '9')
			return fail(d);
	const uint8_t *p = c.p;
	for (unsigned i = utc; i < 7; i++, p += 2)
		f[i] = (unsigned)(p[0] - '0') * 10 + (unsigned)(p[1] - '0');
	if (utc)
		f[0] = f[1] >= 50 ? 19 : 20;
	unsigned y = f[0] * 100 + f[1];
	if (y < 1950 || (!utc && y < 2050) || f[2] < 1 || f[2] > 12 || f[3] < 1 ||
		f[3] > days_in(y, f[2]) || f[4] > 23 || f[5] > 59 || f[6] > 59)
		return fail(d);
	*t = days_of(y, f[2], f[3]) * 86400 + f[4] * 3600 + f[5] * 60 + f[6];
	return true;
}

/* ---- writing ---------------------------------------------------------------------------- */

void mica_derw_put(struct mica_derw *w, const void *p, size_t len)
{
	if (w->over || len > w->at) {
		w->over = true;
		return;
	}
	w->at -= len;
	if (len)
		memcpy(w->p + w->at, p, len);
}

void mica_derw_put_slice(struct mica_derw *w, struct mica_slice s)
{
	mica_derw_put(w, s.p, s.len);
}

void mica_derw_wrap(struct mica_derw *w, size_t mark, uint8_t tag)
{
	uint8_t head[5] = {tag};
	size_t len = mark - w->at, n = 0;
	if (len < 0x80) {
		head[1] = (uint8_t)len;
	} else {
		n = len > 0xffff ? 3 : len > 0xff ? 2 : 1;
		if (len > 0xffffff) {
			w->over = true;
			return;
		}
		head[1] = (uint8_t)(0x80 | n);
		for (size_t i = 0; i < n; i++)
			head[2 + i] = (uint8_t)(len >> 8 * (n - 1 - i));
	}
	mica_derw_put(w, head, 2 + n);
}

void mica_derw_prim(struct mica_derw *w, uint8_t tag, const void *p, size_t len)
{
	size_t mark = mica_derw_mark(w);
	mica_derw_put(w, p, len);
	mica_derw_wrap(w, mark, tag);
}

void mica_derw_unsigned(struct mica_derw *w, const void *p, size_t len)
{
	const uint8_t *b = p;
	size_t mark = mica_derw_mark(w);
	while (len && *b == 0)
		b++, len--;
	mica_derw_put(w, b, len);
	if (len == 0 || *b & 0x80)
		mica_derw_put(w, "", 1);
	mica_derw_wrap(w, mark, MICA_DER_INTEGER);
}

void mica_derw_bits(struct mica_derw *w, const void *p, size_t len)
{
	size_t mark = mica_derw_mark(w);
	mica_derw_put(w, p, len);
	mica_derw_put(w, "", 1);
	mica_derw_wrap(w, mark, MICA_DER_BIT_STRING);
}

void mica_derw_time(struct mica_derw *w, int64_t t)
{
	const int64_t first = -631152000, last = 253402300799; /* 1950-01-01, 9999-12-31 23:59:59 */
	if (t < first || t > last) {
		w->over = true;
		return;
	}
	int64_t days = (t - first) / 86400 + first / 86400; /* rounds down: first is midnight */
	unsigned y, m, d, s = (unsigned)(t - days * 86400);
	date_of(days, &y, &m, &d);
	bool utc = y < 2050;
	const unsigned f[7] = {y / 100, y % 100, m, d, s / 3600, s / 60 % 60, s % 60};
	uint8_t text[15], *p = text;
	for (unsigned i = utc; i < 7; i++) {
		*p++ = (uint8_t)('0' + f[i] / 10);
		*p++ = (uint8_t)('0' + f[i] % 10);
	}
	*p++ = 'Z';
	mica_derw_prim(
		w, utc ? MICA_DER_UTC_TIME : MICA_DER_GENERALIZED_TIME, text, (size_t)(p - text));
}

bool mica_derw_ok(const struct mica_derw *w)
{
	return !w->over;
}

struct mica_slice mica_derw_slice(const struct mica_derw *w)
{
	return w->over ? MICA_SLICE_NULL : mica_slice(w->p + w->at, w->room - w->at);
}
