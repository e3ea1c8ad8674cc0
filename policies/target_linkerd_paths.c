/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd: "begins with this and is none of those" as a regular expression without look-around,
 * which Rust's has not. */
#include "target_linkerd.h"

bool lkd_path_is_plain(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.len <= LKD_PATH_MAX;
}

static void put_octet(struct mica_buf *b, uint8_t c)
{
	if (memchr("\\.+*?()|[]{}^$#&-~", c, 18))
		mica_buf_put_u8(b, '\\');
	mica_buf_put_u8(b, c);
}

/* All that may follow when those of `v`, in order, have the first `at` octets in common. One step
 * is one octet: what goes another way is free, what goes the same way is looked at further. */
static void put_rest(struct mica_buf *b, const struct lkd_path *const *v, unsigned n, size_t at)
{
	bool empty_ok = true;
	unsigned i = 0;

	for (; i < n && v[i]->text.len == at; i++)
		empty_ok = false; /* an exact one: one that goes on anyhow does not get here */
	if (i == n) { /* only texts that end here */
		mica_buf_put_str(b, empty_ok ? ".*" : ".+");
		return;
	}
	mica_buf_put_str(b, "(?:[^");
	for (unsigned k = i; k < n; k++)
		if (k == i || v[k]->text.p[at] != v[k - 1]->text.p[at])
			put_octet(b, v[k]->text.p[at]);
	mica_buf_put_str(b, "].*");
	while (i < n && !b->over) {
		const uint8_t c = v[i]->text.p[at];
		unsigned end = i;
		bool some = true;

		for (; end < n && v[end]->text.p[at] == c; end++)
			some &= v[end]->exact || v[end]->text.len > at + 1;
		if (some) {
			mica_buf_put_u8(b, '|');
			put_octet(b, c);
			put_rest(b, &v[i], end - i, at + 1);
		}
		i = end;
	}
	mica_buf_put_str(b, empty_ok ? ")?" : ")");
}

void lkd_path_regex(struct mica_buf *b, struct mica_slice start,
	const struct lkd_path *const *not_these, unsigned n)
{
	mica_buf_put_u8(b, '^');
	for (size_t i = 0; i < start.len; i++)
		put_octet(b, start.p[i]);
	put_rest(b, not_these, n, start.len);
	mica_buf_put_u8(b, '$');
}
