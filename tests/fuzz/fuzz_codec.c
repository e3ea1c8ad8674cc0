/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a strict decoder takes, its encoder gives back letter by letter. */
#include "mica/mem.h"
#include "mica/slice.h"

#include <inttypes.h>
#include <stdio.h>

static void same(struct mica_slice in, const char *again)
{
	if (!mica_slice_eq_str(in, again))
		abort();
}

static void coding(struct mica_slice in, mica_rc (*decode)(struct mica_slice, uint8_t *, size_t *),
	size_t (*encode)(const void *, size_t, char *))
{
	size_t len = in.len, exact;
	MICA_AUTO_FREE uint8_t *bytes = mica_alloc(in.len);
	MICA_AUTO_FREE char *text = mica_alloc(MICA_B64_SIZE(in.len));

	if (decode(in, bytes, &len) != MICA_OK)
		return;
	if (encode(bytes, len, text) != in.len)
		abort();
	same(in, text);
	/* the same with exactly the room, and with one byte less */
	exact = len;
	MICA_AUTO_FREE uint8_t *tight = mica_alloc(len);

	if (decode(in, tight, &exact) != MICA_OK || exact != len)
		abort();
	if (len > 0 && (exact = len - 1, decode(in, tight, &exact)) != MICA_LIMIT)
		abort();
}

static void hex(struct mica_slice in)
{
	size_t len = in.len / 2;
	MICA_AUTO_FREE uint8_t *bytes = mica_alloc(len);
	MICA_AUTO_FREE char *text = mica_alloc(2 * len + 1);

	if (mica_hex_decode(in, bytes, &len) != MICA_OK)
		return;
	mica_hex_encode(bytes, len, text);
	for (size_t i = 0; i < in.len; i++) {
		if ((in.p[i] | 0x20) != (uint8_t)(text[i] | 0x20))
			abort();
	}
}

static void small(struct mica_slice in)
{
	char text[64];
	uint8_t uuid[16];
	uint64_t u;
	int64_t i;

	if (mica_parse_u64(in, UINT64_MAX, &u) == MICA_OK) {
		snprintf(text, sizeof(text), "%" PRIu64, u);
		same(in, text);
	}
	if (mica_parse_i64(in, INT64_MIN, INT64_MAX, &i) == MICA_OK) {
		snprintf(text, sizeof(text), "%" PRId64, i);
		same(in, text);
	}
	if (mica_parse_duration(in, INT64_MAX, &i) == MICA_OK && i < 0)
		abort();
	if (mica_time_parse(in, &i) == MICA_OK) {
		mica_time_format(i, text);
		same(in, text);
	}
	if (mica_uuid_parse(in, uuid) == MICA_OK) {
		mica_uuid_format(uuid, text);
		same(in, text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct mica_slice in = mica_slice(p, len);

	coding(in, mica_b64url_decode, mica_b64url_encode);
	coding(in, mica_b64_decode, mica_b64_encode);
	hex(in);
	small(in);
	return 0;
}
