/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer that cannot be made without a cap. Errors are sticky: after one
 * append did not fit, every later call is a no-op and mica_buf_rc() says LIMIT; so code that
 * builds something checks once, at the end. Not for sharing between threads.
 */
#ifndef MICA_BUF_H
#define MICA_BUF_H

#include "mica/mem.h"
#include "mica/slice.h"

struct mica_buf {
	uint8_t *p; /* always followed by a NUL, so that text can be used as a C string */
	size_t len, room, cap;
	bool over; /* an append did not fit */
	bool wipe; /* wiped whenever memory is given back */
};

void mica_buf_init(struct mica_buf *b, size_t cap);
void mica_buf_init_secret(struct mica_buf *b, size_t cap); /* wiped when it grows and at the end */
void mica_buf_clear(struct mica_buf *b); /* frees; usable again after an init */
void mica_buf_reset(struct mica_buf *b); /* empties, keeps the memory */
void mica_buf_put(struct mica_buf *b, const void *p, size_t len);
void mica_buf_put_slice(struct mica_buf *b, struct mica_slice s);
void mica_buf_put_str(struct mica_buf *b, const char *s);
void mica_buf_put_u8(struct mica_buf *b, uint8_t v);
void mica_buf_put_be16(struct mica_buf *b, uint16_t v);
void mica_buf_put_be32(struct mica_buf *b, uint32_t v);
void mica_buf_put_be64(struct mica_buf *b, uint64_t v);
void mica_buf_printf(struct mica_buf *b, const char *fmt, ...) MICA_PRINTF(2, 3);
void mica_buf_put_hex(struct mica_buf *b, const void *p, size_t len);
void mica_buf_put_b64(struct mica_buf *b, const void *p, size_t len);
void mica_buf_put_b64url(struct mica_buf *b, const void *p, size_t len);
/* A JSON string with its quotes; not UTF-8 becomes U+FFFD. */
void mica_buf_put_json_string(struct mica_buf *b, struct mica_slice s);
/* Room for `len` more bytes which the caller then writes; NULL when over. Follow by mica_buf_added.
 */
uint8_t *mica_buf_room(struct mica_buf *b, size_t len);
void mica_buf_added(struct mica_buf *b, size_t len);
/* MICA_OK, or LIMIT "too_long" in *e. */
mica_rc mica_buf_rc(const struct mica_buf *b, struct mica_err *e) MICA_MUST_CHECK;
struct mica_slice mica_buf_slice(const struct mica_buf *b);
/* Takes the memory out (mica_free); the buffer is empty afterwards. NULL when over. */
uint8_t *mica_buf_take(struct mica_buf *b, size_t *len);

#define MICA_AUTO_BUF __attribute__((cleanup(mica_buf_clear))) struct mica_buf

/* ---- reading: a cursor with a sticky error, for our own binary records --------------------- */
struct mica_cursor {
	struct mica_slice s; /* what is left */
	bool bad; /* read past the end */
};
struct mica_slice mica_cur_take(struct mica_cursor *c, size_t len); /* empty when bad */
uint8_t mica_cur_u8(struct mica_cursor *c);
uint16_t mica_cur_be16(struct mica_cursor *c);
uint32_t mica_cur_be32(struct mica_cursor *c);
uint64_t mica_cur_be64(struct mica_cursor *c);

#endif
