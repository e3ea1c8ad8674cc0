/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

bool wire_next(struct wire *w, struct mica_wire_field *f)
{
	mica_rc rc;

	if (w->bad)
		return false;
	rc = mica_wire_next(&w->s, f, NULL);
	w->bad = rc != MICA_OK && rc != MICA_NOT_FOUND;
	return rc == MICA_OK;
}

bool wire_is_bytes(struct wire *w, const struct mica_wire_field *f, uint32_t number)
{
	if (f->number != number)
		return false;
	if (f->type != MICA_WIRE_BYTES)
		w->bad = true;
	return !w->bad;
}

bool wire_is_text(struct wire *w, const struct mica_wire_field *f, uint32_t number)
{
	if (!wire_is_bytes(w, f, number))
		return false;
	if (!mica_slice_is_utf8(f->bytes))
		w->bad = true;
	return !w->bad;
}

void wire_put_text(struct mica_buf *b, uint32_t number, const char *s)
{
	if (s && s[0])
		mica_wire_put_bytes(b, number, mica_slice_str(s));
}
