/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/slice.h"
#include "mica/mem.h"

#include "utf8.h"

struct mica_slice mica_slice_sub(struct mica_slice s, size_t from, size_t len)
{
	if (from >= s.len)
		return MICA_SLICE_NULL;
	if (len > s.len - from)
		len = s.len - from;
	return mica_slice(s.p + from, len);
}

bool mica_slice_eq(struct mica_slice a, struct mica_slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool mica_slice_eq_str(struct mica_slice a, const char *b)
{
	return mica_slice_eq(a, mica_slice_str(b));
}

bool mica_slice_has_prefix(struct mica_slice s, struct mica_slice prefix)
{
	return s.len >= prefix.len && mica_slice_eq(mica_slice(s.p, prefix.len), prefix);
}

bool mica_slice_has_suffix(struct mica_slice s, struct mica_slice suffix)
{
	if (suffix.len == 0)
		return true;
	return s.len >= suffix.len &&
		mica_slice_eq(mica_slice(s.p + (s.len - suffix.len), suffix.len), suffix);
}

int mica_slice_cmp(struct mica_slice a, struct mica_slice b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int c = common ? memcmp(a.p, b.p, common) : 0;

	if (c != 0)
		return c < 0 ? -1 : 1;
	return (a.len > b.len) - (a.len < b.len);
}

bool mica_slice_cut(struct mica_slice *s, uint8_t sep, struct mica_slice *head)
{
	const uint8_t *at = s->len ? memchr(s->p, sep, s->len) : NULL;
	size_t n;

	if (at == NULL) {
		*head = *s;
		*s = MICA_SLICE_NULL;
		return false;
	}
	n = (size_t)(at - s->p);
	*head = mica_slice(s->p, n);
	*s = mica_slice(at + 1, s->len - n - 1);
	return true;
}

bool mica_slice_eq_secret(struct mica_slice a, struct mica_slice b)
{
	volatile uint8_t diff = 0;

	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		diff = (uint8_t)(diff | (a.p[i] ^ b.p[i]));
	return diff == 0;
}

size_t mica_utf8_next(const uint8_t *p, size_t n, uint32_t *cp)
{
	/* For each lead byte: how many follow, and the range of the first that follows. The
	 * narrowed ranges are what excludes overlong forms, surrogates and > U+10FFFF. */
	uint8_t lead = n ? p[0] : 0xff, low = 0x80, high = 0xbf;
	size_t more;

	if (lead < 0x80) {
		*cp = lead;
		return 1;
	}
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
	if (n < more + 1)
		return 0;
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	*cp = lead & (0x3fu >> more);
	for (size_t i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*cp = *cp << 6 | (p[i] & 0x3fu);
	}
	return more + 1;
}

bool mica_utf8_unsafe(uint32_t cp)
{
	static const struct {
		uint32_t from, to;
	} ranges[] = {
		{0x00, 0x1f}, {0x7f, 0x9f}, {0x061c, 0x061c}, /* Arabic letter mark */
		{0x200b, 0x200f}, /* zero-width characters, direction marks */
		{0x2028, 0x202e}, /* line and paragraph separator, embeddings and overrides */
		{0x2060, 0x206f}, /* word joiner ... isolates ... */
		{0xfeff, 0xfeff}, /* byte order mark */
		{0xfff9, 0xfffb}, /* interlinear annotation */
		{0xe0000, 0xe007f}, /* tags: text that is not seen */
	};

	if (cp >= 0x20 && cp < 0x7f)
		return false;
	for (size_t i = 0; i < MICA_ARRAY_LEN(ranges); i++) {
		if (cp >= ranges[i].from && cp <= ranges[i].to)
			return true;
	}
	return false;
}

bool mica_slice_is_utf8(struct mica_slice s)
{
	uint32_t cp;

	for (size_t i = 0; i < s.len;) {
		size_t n = mica_utf8_next(s.p + i, s.len - i, &cp);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

char *mica_slice_dup(struct mica_slice s)
{
	char *copy = mica_calloc(s.len + 1, 1);

	if (s.len > 0)
		memcpy(copy, s.p, s.len);
	return copy;
}

mica_rc mica_slice_copy(struct mica_slice s, char *dst, size_t size)
{
	if (size == 0)
		return MICA_LIMIT;
	dst[0] = '\0';
	if (s.len >= size)
		return MICA_LIMIT;
	if (s.len > 0 && memchr(s.p, '\0', s.len))
		return MICA_INVALID;
	if (s.len > 0)
		memcpy(dst, s.p, s.len);
	dst[s.len] = '\0';
	return MICA_OK;
}
