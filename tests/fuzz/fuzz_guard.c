/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guard lets pass is a request by the letter of a grammar that this target checks on the
 * raw bytes, whatever the lenient parser between them made of it; and both see the same fields.
 */
#include "../unit/lenient.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct mica_slice line(struct mica_slice *raw)
{
	for (size_t i = 0; i + 1 < raw->len; i++) {
		struct mica_slice l = mica_slice(raw->p, i);
		if (raw->p[i] != '\r' || raw->p[i + 1] != '\n')
			continue;
		*raw = mica_slice(raw->p + i + 2, raw->len - i - 2);
		return l;
	}
	abort(); /* a line that does not end in CR LF passed */
}

static bool equal_caseless(struct mica_slice a, const char *b)
{
	if (a.len != strlen(b))
		return false;
	for (size_t i = 0; i < a.len; i++)
		if ((a.p[i] >= 'A' && a.p[i] <= 'Z' ? a.p[i] + 32 : a.p[i]) != (uint8_t)b[i])
			return false;
	return true;
}

static void check_line(struct mica_slice first, const struct guard_request *q)
{
	struct mica_slice method, target;
	must(mica_slice_cut(&first, ' ', &method) && mica_slice_cut(&first, ' ', &target));
	must(mica_slice_eq_str(first, "HTTP/1.1"));
	must(q->path.len > 0 && q->path.p[0] == '/');
	must(q->path.len + (q->path.len < target.len) + q->query.len == target.len);
	must(memcmp(target.p, q->path.p, q->path.len) == 0);
	for (size_t i = 0; i < target.len; i++)
		must(target.p[i] > 0x20 && target.p[i] < 0x7f);
}

static void check_fields(struct mica_slice raw, const struct guard_request *q)
{
	unsigned lengths = 0, encodings = 0, hosts = 0, authorizations = 0;
	struct mica_slice l;
	while ((l = line(&raw)).len > 0) {
		struct mica_slice name;
		must(mica_slice_cut(&l, ':', &name) && name.len > 0);
		for (size_t i = 0; i < name.len; i++)
			must(name.p[i] > 0x20 && name.p[i] < 0x7f &&
				!strchr("(),/:;<=>?@[\\]{}\"", name.p[i]));
		for (size_t i = 0; i < l.len; i++)
			must((l.p[i] >= 0x20 && l.p[i] != 0x7f) || l.p[i] == '\t');
		lengths += equal_caseless(name, "content-length");
		encodings += equal_caseless(name, "transfer-encoding");
		hosts += equal_caseless(name, "host");
		authorizations += equal_caseless(name, "authorization");
	}
	must(raw.len == 0 && hosts == 1 && lengths + encodings <= 1 && authorizations <= 1);
	must(q->chunked == (encodings == 1));
	must(lengths == 1 || q->length == 0);
	must(authorizations == 1 || q->authorization.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct guard_request q;
	struct lenient l;
	if (len < 16384 && lenient_parse(&l, mica_slice(p, len)) && !guard_check(&l.in, &q)) {
		const size_t start = (size_t)((const char *)l.in.block.p - l.block);
		struct mica_slice raw = mica_slice(p + start, l.in.block.len), first = line(&raw);
		check_line(first, &q);
		check_fields(raw, &q);
	}
	if (len < 16384)
		lenient_clear(&l);
	return 0;
}
