/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path templates, as Envoy's uri_template reads what Istio makes of them: {*} becomes [c]+ and {**}
 * becomes [c/]*, where c are the characters below ('=' and '*' are not among them).
 */
#include "impl.h"

static const char path_extra[] = "-._~%!$&'()+,;:@";

bool all_in(struct mica_slice s, const char *extra)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i];
		bool plain =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!plain && (c == 0 || strchr(extra, c) == NULL))
			return false;
	}
	return true;
}

bool is_token(struct mica_slice s)
{
	return s.len > 0 && all_in(s, "!#$%&'*+-.^_`|~");
}

bool split_last(struct mica_slice s, struct mica_slice *head, struct mica_slice *tail)
{
	for (size_t i = s.len; i > 0; i--) {
		if (s.p[i - 1] != '/')
			continue;
		*head = mica_slice(s.p, i - 1);
		*tail = mica_slice(s.p + i, s.len - i);
		return true;
	}
	return false;
}

const char *template_fault(struct mica_slice s)
{
	struct mica_slice rest = s, segment;
	bool more, open = false;

	if (s.len == 0 || s.p[0] != '/')
		return "a path template begins with '/'";
	rest = mica_slice_sub(s, 1, s.len);
	do {
		bool one = false, any = false;

		more = mica_slice_cut(&rest, '/', &segment);
		one = mica_slice_eq_str(segment, "{*}");
		any = mica_slice_eq_str(segment, "{**}");
		if ((one || any) && open)
			return "nothing but plain segments may follow {**}";
		open = open || any;
		if (!one && !any && !all_in(segment, path_extra))
			return "a segment is {*}, {**}, or plain characters";
		if (segment.len == 0 && more)
			return "an empty segment is possible at the end only";
	} while (more);
	return NULL;
}

static size_t run(struct mica_slice path, size_t from)
{
	size_t i = from;

	while (i < path.len && all_in(mica_slice(path.p + i, 1), path_extra))
		i++;
	return i - from;
}

/* {**}: what the template has behind it is plain, so it must be the path's end. */
static bool rest_matches(struct mica_slice path, struct mica_slice plain)
{
	if (!mica_slice_has_suffix(path, plain))
		return false;
	for (size_t i = 0; i < path.len - plain.len; i++) {
		if (path.p[i] != '/' && run(path, i) == 0)
			return false;
	}
	return true;
}

bool mica_policy_template_matches(struct mica_slice template, struct mica_slice path)
{
	static const struct mica_slice one = MICA_LIT("{*}"), any = MICA_LIT("{**}");
	size_t t = 0, p = 0;

	while (t < template.len) {
		struct mica_slice left = mica_slice(template.p + t, template.len - t);
		size_t n;

		if (mica_slice_has_prefix(left, any))
			return rest_matches(mica_slice(path.p + p, path.len - p),
				mica_slice_sub(left, any.len, left.len));
		if (mica_slice_has_prefix(left, one)) {
			n = run(path, p);
			if (n == 0)
				return false;
			p += n;
			t += one.len;
			continue;
		}
		if (p >= path.len || path.p[p] != template.p[t])
			return false;
		p++;
		t++;
	}
	return p == path.len;
}
