/* SPDX-License-Identifier: Apache-2.0 */
/* Ledger entries: what decodes encodes to the same octets when it has no unknown field, and renders
 * as JSON. */
#include "mica/entry.h"
#include "mica/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_slice in = mica_slice(data, size);
	struct mica_principal p;
	struct mica_evidence v;
	struct mica_entry en, again;
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF json, bytes;
	MICA_AUTO_JSON d = {0};
	const struct mica_json_limits lim = {.bytes = 1 << 20, .depth = 20};

	mica_buf_init(&json, 1 << 20);
	mica_buf_init(&bytes, MICA_ENTRY_MAX);
	if (mica_entry_decode(in, &en, &e) != MICA_OK) {
		if (!e.reason || e.rc != MICA_CORRUPT)
			abort();
		return 0;
	}
	mica_entry_json(&en, 7, MICA_ENTRY_JSON_CERTIFICATE, &json);
	if (mica_json_parse(mica_buf_slice(&json), &lim, &d, NULL) != MICA_OK)
		abort();
	if (mica_entry_get_principal(&en, &p, NULL) == MICA_OK &&
		mica_entry_get_evidence(&en, 7, &v, NULL) == MICA_OK &&
		p.issuer[MICA_NAME_MAX] != 0)
		abort();
	/* What can be written again reads as the same. */
	if (mica_entry_encode(&en, &bytes, NULL) == MICA_OK &&
		(mica_entry_decode(mica_buf_slice(&bytes), &again, NULL) != MICA_OK ||
			again.type != en.type || again.time_ms != en.time_ms ||
			!mica_slice_eq(again.certificate, en.certificate) ||
			!mica_slice_eq(again.detail, en.detail) || bytes.len > size))
		abort();
	return 0;
}
