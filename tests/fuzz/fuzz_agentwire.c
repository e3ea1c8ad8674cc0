/* SPDX-License-Identifier: Apache-2.0 */
/* What clients of the agent's socket send: any octets are refused with a reason, or make requests
 * whose every slice lies in the message. */
#include "agent/sds_request.h"
#include "agent/wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mica_slice in;

static void check_slice(struct mica_slice s)
{
	if (s.len > 0 && (s.p < in.p || s.p + s.len > in.p + in.len))
		abort();
}

static void check_names(const struct sds_names *names)
{
	if (names->n > SDS_NAMES_MAX)
		abort();
	for (size_t i = 0; i < names->n; i++) {
		check_slice(names->v[i]);
		if (names->v[i].len > SDS_NAME_MAX || !mica_slice_is_utf8(names->v[i]))
			abort();
	}
}

static void check_request(mica_rc rc, const struct sds_request *r, const struct mica_err *e)
{
	if (rc != MICA_OK) {
		if (rc != e->rc || !e->text[0] ||
			(strcmp(e->reason, "message_invalid") != 0 &&
				strcmp(e->reason, "too_many_names") != 0))
			abort();
		return;
	}
	check_names(&r->names);
	check_names(&r->gone);
	for (size_t i = 0; i < r->n_has; i++) {
		check_slice(r->has[i].name);
		check_slice(r->has[i].version);
	}
	check_slice(r->type_url);
	check_slice(r->nonce);
	check_slice(r->node_id);
	check_slice(r->nack_message);
}

/* What was read is written again, and read the same. */
static void write_again(void)
{
	struct wire w = {.s = in}, again;
	struct mica_wire_field f, g;
	MICA_AUTO_BUF b;

	while (wire_next(&w, &f)) {
		if (f.type != MICA_WIRE_BYTES && f.type != MICA_WIRE_VARINT)
			continue;
		mica_buf_init(&b, in.len + 64);
		if (f.type == MICA_WIRE_BYTES)
			mica_wire_put_bytes(&b, f.number, f.bytes);
		else
			mica_wire_put_varint(&b, f.number, f.value);
		again = (struct wire){.s = mica_buf_slice(&b)};
		if (b.over || !wire_next(&again, &g) || g.number != f.number ||
			g.value != f.value || !mica_slice_eq(g.bytes, f.bytes) || again.s.len != 0)
			abort();
		if (f.type == MICA_WIRE_BYTES &&
			mica_wire_bytes_size(f.number, f.bytes.len) != b.len)
			abort();
		mica_buf_clear(&b);
	}
	mica_buf_init(&b, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sds_request r;
	struct mica_err e = MICA_ERR_INIT;

	in = mica_slice(data, size);
	check_request(sds_request_read(in, &r, &e), &r, &e);
	mica_err_clear(&e);
	check_request(sds_delta_read(in, &r, &e), &r, &e);
	write_again();
	return 0;
}
