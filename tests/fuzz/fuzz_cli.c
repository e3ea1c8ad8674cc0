/* SPDX-License-Identifier: Apache-2.0 */
/* What the CLI reads from servers and files that it cannot trust: problems, bundles, signed
 * bundles, remembered checkpoints, bundles of entries; and what it shows of them. The first octet
 * chooses. */
#include "cli/audit_verify.h"
#include "cli/client.h"
#include "cli/roots.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void problem(struct mica_slice in)
{
	struct mica_err e = MICA_ERR_INIT;

	/* Whatever came: a class by the status, a reason of ours or a well-formed one of theirs. */
	if (client_problem(400, 0, in, &e) != MICA_INVALID || !e.reason ||
		!mica_slice_is_utf8(mica_slice_str(e.text)))
		abort();
}

static void bundle(struct mica_slice in)
{
	struct mica_json_limits limits = {.bytes = 1 << 20};
	MICA_AUTO_JSON d = {0};
	struct bundle_info b;
	ROOTS_AUTO r;

	roots_init(&r);
	if (mica_json_parse(in, &limits, &d, NULL) != MICA_OK ||
		bundle_read(&d, d.root, &b, &r, NULL) != MICA_OK)
		return;
	for (unsigned i = 0; i < b.n_keys; i++)
		if (b.keys[i].x509 && (b.keys[i].root >= r.n || r.v[b.keys[i].root].len == 0))
			abort();
}

static void jws(struct mica_slice in)
{
	BUNDLE_JWS_AUTO j;
	ROOTS_AUTO none;

	roots_init(&none);
	bundle_jws_init(&j);
	if (bundle_jws_verify(in, &none, 1795521600, &j, NULL) == MICA_OK)
		abort(); /* nothing is trusted */
}

static void state(struct mica_slice in)
{
	struct mica_note_key key;
	struct mica_checkpoint cp;
	struct mica_slice note;
	char origin[MICA_NOTE_NAME_MAX];
	MICA_AUTO_BUF again;

	mica_buf_init(&again, 1 << 20);
	audit_origin(in, origin);
	if (audit_state_read(in, &key, &note, &cp, NULL) != MICA_OK)
		return;
	audit_state_write(&key, note, &again);
	if (!mica_slice_eq(mica_buf_slice(&again), in))
		abort();
}

static mica_rc zeros(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e)
{
	(void)ctx;
	(void)level;
	(void)n;
	(void)e;
	memset(out, 0, (size_t)width * MICA_HASH_LEN);
	return MICA_OK;
}

static mica_rc never(void *ctx, uint64_t index, struct mica_slice entry, struct mica_err *e)
{
	(void)ctx;
	(void)index;
	(void)entry;
	(void)e;
	abort(); /* nobody knows an entry of a tree of zeros */
}

static void entries(struct mica_slice in)
{
	struct audit_tiles tiles = {zeros, NULL};
	struct mica_checkpoint cp = {.size = 300};

	for (uint64_t n = 0; n < 2; n++)
		if (audit_bundle(&cp, &tiles, n, in, never, NULL, NULL) == MICA_OK)
			abort();
}

/* Whatever is shown as text has no control character but the ends of our lines. */
static void show(struct mica_slice in)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 1 << 22);
	out_put_safe(&b, in);
	if (!mica_slice_is_utf8(mica_buf_slice(&b)))
		abort();
	for (size_t i = 0; i < b.len; i++)
		if (b.p[i] < 0x20 || b.p[i] == 0x7f)
			abort();
}

static void answer(struct mica_slice in)
{
	static int null = -1;
	MICA_AUTO_JSON d = {0};

	if (null < 0)
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (mica_json_parse(in, NULL, &d, NULL) != MICA_OK)
		return;
	for (int format = OUT_TEXT; format <= OUT_JSON; format++) {
		WR_AUTO w = wr_new(null, (enum out_format)format, format == OUT_TEXT);

		wr_json(w, NULL, d.root);
		if (wr_flush(w, NULL) != MICA_OK)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const targets[])(struct mica_slice in) = {
		problem, bundle, jws, state, entries, show, answer};

	if (size > 0)
		targets[data[0] % MICA_ARRAY_LEN(targets)](mica_slice(data + 1, size - 1));
	return 0;
}
