/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DER (X.690) without a schema compiler: a strict reader over slices and a writer that
 * works from the end to the front, so that a length is known when its header is written.
 * The reader takes definite, minimal lengths and single-byte tags only: what is not DER is
 * an error, never repaired. Pure; no allocation.
 */
#ifndef MICA_DER_H
#define MICA_DER_H

#include "mica/slice.h"

enum mica_der_tag {
	MICA_DER_BOOLEAN = 0x01,
	MICA_DER_INTEGER = 0x02,
	MICA_DER_BIT_STRING = 0x03,
	MICA_DER_OCTET_STRING = 0x04,
	MICA_DER_NULL = 0x05,
	MICA_DER_OID = 0x06,
	MICA_DER_UTF8_STRING = 0x0c,
	MICA_DER_PRINTABLE_STRING = 0x13,
	MICA_DER_IA5_STRING = 0x16,
	MICA_DER_UTC_TIME = 0x17,
	MICA_DER_GENERALIZED_TIME = 0x18,
	MICA_DER_SEQUENCE = 0x30,
	MICA_DER_SET = 0x31
};
/* Context-specific: primitive and constructed. */
#define MICA_DER_CTX(n)   ((uint8_t)(0x80 | (n)))
#define MICA_DER_CTX_C(n) ((uint8_t)(0xa0 | (n)))

/* ---- reading ---------------------------------------------------------------------------- */

/* A reader with a sticky error: after one call failed, every later one fails too, so code checks
 * where it matters. Slices that come out point into the input. */
struct mica_der {
	struct mica_slice s; /* what is left */
	bool bad;
};

static inline struct mica_der mica_der(struct mica_slice s)
{
	return (struct mica_der){s, false};
}
/* The next element, whatever it is. `whole` (header and content) may be NULL. */
bool mica_der_any(
	struct mica_der *d, uint8_t *tag, struct mica_slice *content, struct mica_slice *whole);
/* The next element, which must have `tag`; content and whole may be NULL. */
bool mica_der_next(
	struct mica_der *d, uint8_t tag, struct mica_slice *content, struct mica_slice *whole);
/* Steps into the next element, which must have `tag`. */
bool mica_der_enter(struct mica_der *d, uint8_t tag, struct mica_der *in);
/* Whether the next element has `tag`; false at the end. Reads nothing. */
bool mica_der_is(const struct mica_der *d, uint8_t tag);
/* All was read and nothing was bad. */
bool mica_der_end(const struct mica_der *d);

/* INTEGER >= 0 in minimal form; *v without its leading zero octet ("0" is one octet 00). */
bool mica_der_unsigned(struct mica_der *d, struct mica_slice *v);
/* The same, which must fit. */
bool mica_der_u32(struct mica_der *d, uint32_t *v);
/* BOOLEAN 00 or ff. */
bool mica_der_boolean(struct mica_der *d, bool *v);
/* BIT STRING of whole octets (no unused bits). */
bool mica_der_bits(struct mica_der *d, struct mica_slice *v);
/* BIT STRING used as a list of flags, at most 16, in the minimal form of X.690 11.2.2; bit i of *v
 * stands for named bit i. */
bool mica_der_named_bits(struct mica_der *d, unsigned *v);
/* OBJECT IDENTIFIER with well-formed arcs; *v is its content. */
bool mica_der_oid(struct mica_der *d, struct mica_slice *v);
/* Time as RFC 5280 4.1.2.5 has it: UTCTime for 1950..2049, GeneralizedTime from 2050, with seconds,
 * `Z`, a real date. Seconds since 1970. */
bool mica_der_time(struct mica_der *d, int64_t *t);

/* ---- writing ---------------------------------------------------------------------------- */

/* Writes into [p, p+room) from its end. Errors are sticky: check mica_derw_ok() once. */
struct mica_derw {
	uint8_t *p;
	size_t room;
	size_t at; /* p[at .. room) is written */
	bool over;
};

static inline struct mica_derw mica_derw(void *p, size_t room)
{
	return (struct mica_derw){(uint8_t *)p, room, room, false};
}
/* Bytes in front of what is there. */
void mica_derw_put(struct mica_derw *w, const void *p, size_t len);
void mica_derw_put_slice(struct mica_derw *w, struct mica_slice s);
/* A mark; later mica_derw_wrap() puts tag and length in front of all written since. */
static inline size_t mica_derw_mark(const struct mica_derw *w)
{
	return w->at;
}
void mica_derw_wrap(struct mica_derw *w, size_t mark, uint8_t tag);
/* Whole elements. */
void mica_derw_prim(struct mica_derw *w, uint8_t tag, const void *p, size_t len);
/* INTEGER >= 0 from big-endian octets: leading zeros dropped, one added where the sign needs it. */
void mica_derw_unsigned(struct mica_derw *w, const void *p, size_t len);
void mica_derw_bits(struct mica_derw *w, const void *p, size_t len);
/* RFC 5280 4.1.2.5. Years 1950..9999, else over. */
void mica_derw_time(struct mica_derw *w, int64_t t);
bool mica_derw_ok(const struct mica_derw *w);
struct mica_slice mica_derw_slice(const struct mica_derw *w);

#endif
