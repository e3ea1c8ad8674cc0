/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coding of gRPC: the first octet chooses. Framing gives the same messages, and the same
 * verdict, however its octets arrive, and never holds more than its limit.
 */
#include "rpc/rpc_impl.h"

#include <stdlib.h>

#define MAX 64

struct outcome {
	struct mica_buf all;
	bool bad;
	enum mica_rpc_code code;
	const char *reason;
};

static void run(struct mica_slice s, size_t piece, bool encoded, struct outcome *o)
{
	struct rpc_reader r = {.max = MAX, .encoded = encoded};
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF message;
	enum rpc_read rc = RPC_READ_MORE;
	mica_buf_init(&message, MAX);
	mica_buf_init(&o->all, 1 << 24);
	o->bad = false;
	for (size_t at = 0; at < s.len && rc != RPC_READ_BAD; at += piece) {
		struct mica_slice in = mica_slice_sub(s, at, piece);
		while ((rc = rpc_read(&r, &in, &message, &o->code, &e)) == RPC_READ_MESSAGE) {
			mica_buf_put_be32(&o->all, (uint32_t)message.len);
			mica_buf_put_slice(&o->all, mica_buf_slice(&message));
			mica_buf_reset(&message);
		}
		if (rc == RPC_READ_MORE && in.len > 0)
			abort();
	}
	o->bad = rc == RPC_READ_BAD;
	o->reason = e.reason;
	if (message.over || message.len > MAX || (o->bad && !e.reason))
		abort();
	if (!o->bad)
		mica_buf_printf(&o->all, "%d", rpc_reader_between(&r));
}

static void framing(struct mica_slice s, bool encoded)
{
	struct outcome whole, parts;
	for (size_t piece = 1; piece < 8; piece++) {
		run(s, s.len + 1, encoded, &whole);
		run(s, piece, encoded, &parts);
		if (whole.bad != parts.bad ||
			!mica_slice_eq(mica_buf_slice(&whole.all), mica_buf_slice(&parts.all)) ||
			(whole.bad && (whole.code != parts.code || whole.reason != parts.reason)))
			abort();
		mica_buf_clear(&whole.all);
		mica_buf_clear(&parts.all);
	}
}

static void timeout(struct mica_slice s)
{
	struct mica_err e = MICA_ERR_INIT;
	int64_t ms = -1;
	const mica_rc rc = rpc_timeout(s, &ms, &e);
	if (rc == MICA_OK ? ms < 0 || ms > 99999999LL * 3600000 : !e.reason)
		abort();
}

/* What is decoded is what is encoded, with its padding cut. */
static void bin(struct mica_slice s)
{
	MICA_AUTO_FREE uint8_t *out = mica_alloc(s.len + 1);
	size_t len = s.len;
	MICA_AUTO_BUF again;
	if (mica_rpc_bin_decode(s, out, &len) != MICA_OK)
		return;
	while (s.len > 0 && s.p[s.len - 1] == '=')
		s.len--;
	mica_buf_init(&again, s.len + 16);
	rpc_bin_encode(mica_slice(out, len), &again);
	if (!mica_slice_eq(mica_buf_slice(&again), s))
		abort();
}

static void percent(struct mica_slice s)
{
	MICA_AUTO_BUF out;
	mica_buf_init(&out, 3 * s.len + 1);
	rpc_percent_encode(s, &out);
	for (size_t i = 0; i < out.len; i++)
		if (out.p[i] < 0x20 || out.p[i] > 0x7e)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	const struct mica_slice s = mica_slice_sub(mica_slice(p, len), 1, len);
	switch (len ? p[0] % 6 : 0) {
	case 0: framing(s, false); break;
	case 1: framing(s, true); break;
	case 2: timeout(s); break;
	case 3: (void)rpc_content_type(s); break;
	case 4: bin(s); break;
	default: percent(s); break;
	}
	return 0;
}
