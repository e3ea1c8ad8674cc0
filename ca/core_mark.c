/* SPDX-License-Identifier: Apache-2.0 */
#include "core_impl.h"

#define MARK_EVERY 60000 /* ms */
#define VERSION    1

void mica_core_mark_begin(struct core_mark *m, int64_t now_ms)
{
	m->ms = now_ms - MARK_EVERY;
}

void mica_core_mark_put(
	struct mica_core *c, struct core_mark *m, struct core_change *ch, int64_t now_ms)
{
	uint64_t issued = atomic_load(&c->x509_issued);
	MICA_AUTO_BUF b;

	if (ch->n_writes == 0 && (now_ms < m->ms + MARK_EVERY || issued == m->issued))
		return;
	mica_buf_init(&b, 16);
	mica_buf_put_u8(&b, VERSION);
	mica_buf_put_be64(&b, (uint64_t)now_ms);
	mica_core_change_write(
		ch, MICA_PUT, MICA_T_META, mica_slice_str(m->name), mica_buf_slice(&b));
	m->ms = now_ms;
	m->issued = issued;
}

int64_t mica_core_mark_read(struct mica_core *c, const struct core_mark *m, int64_t now_ms)
{
	struct mica_cursor cur;
	int64_t since;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 16);
	if (mica_store_get(c->store, MICA_T_META, mica_slice_str(m->name), &b, NULL, NULL) !=
		MICA_OK)
		return 0;
	cur = (struct mica_cursor){mica_buf_slice(&b), false};
	mica_cur_u8(&cur);
	since = (int64_t)mica_cur_be64(&cur) - MARK_EVERY;
	return cur.bad || since < 0 || since > now_ms ? 0 : since; /* a clock that was ahead */
}
