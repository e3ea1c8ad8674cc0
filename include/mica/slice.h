/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slice is a borrowed view of bytes: it owns nothing and lives as long as what it
 * points into. Parsers take slices and limits, never C strings.
 */
#ifndef MICA_SLICE_H
#define MICA_SLICE_H

#include "mica/err.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct mica_slice {
	const uint8_t *p; /* may be NULL when len is 0 */
	size_t len;
};

#define MICA_SLICE_NULL ((struct mica_slice){NULL, 0})
#define MICA_LIT(s)     ((struct mica_slice){(const uint8_t *)(s), sizeof(s) - 1})
/* for printf("%.*s") */
#define MICA_FMT(s)                                                                                \
	(int)((s).len > 512 ? 512 : (s).len), (const char *)((s).p ? (s).p : (const uint8_t *)"")

static inline struct mica_slice mica_slice(const void *p, size_t len)
{
	return (struct mica_slice){(const uint8_t *)p, len};
}
static inline struct mica_slice mica_slice_str(const char *s)
{
	return (struct mica_slice){(const uint8_t *)s, s ? strlen(s) : 0};
}
/* [from, from+len), cut to what there is. */
struct mica_slice mica_slice_sub(struct mica_slice s, size_t from, size_t len);
bool mica_slice_eq(struct mica_slice a, struct mica_slice b);
bool mica_slice_eq_str(struct mica_slice a, const char *b);
bool mica_slice_has_prefix(struct mica_slice s, struct mica_slice prefix);
bool mica_slice_has_suffix(struct mica_slice s, struct mica_slice suffix);
int mica_slice_cmp(struct mica_slice a, struct mica_slice b); /* as memcmp, shorter first */
/* Splits at the first `sep`: *head gets what is before, *s what is after. Without a `sep`,
 * *head gets all, *s becomes empty and false is returned. */
bool mica_slice_cut(struct mica_slice *s, uint8_t sep, struct mica_slice *head);
/* Same length and bytes, in time that depends on the lengths only. For secrets. */
bool mica_slice_eq_secret(struct mica_slice a, struct mica_slice b);
/* Every byte is well-formed UTF-8 (no overlong form, no surrogate, at most U+10FFFF). */
bool mica_slice_is_utf8(struct mica_slice s);
/* A fresh NUL-terminated copy (mica_free). A NUL inside is copied too. */
char *mica_slice_dup(struct mica_slice s);
/* Copies into dst[size] with a NUL; LIMIT when it does not fit, INVALID when it holds a NUL. */
mica_rc mica_slice_copy(struct mica_slice s, char *dst, size_t size) MICA_MUST_CHECK;

/* ---- strict numbers and codings: all of the input or INVALID; no sign (but '-' where min < 0
 * is possible), space, leading zero (but "0"), "-0", no silent truncation. Out of range is INVALID,
 * an output that does not fit LIMIT; on failure a number is untouched. Input and output bytes may
 * not overlap. -------------------------------------------------------------------------------- */
mica_rc mica_parse_u64(struct mica_slice s, uint64_t max, uint64_t *out) MICA_MUST_CHECK;
mica_rc mica_parse_i64(struct mica_slice s, int64_t min, int64_t max, int64_t *out) MICA_MUST_CHECK;
/* "90s" "15m" "1h" "30d" or plain seconds; result in seconds within [0, max]. One unit only. */
mica_rc mica_parse_duration(struct mica_slice s, int64_t max, int64_t *out) MICA_MUST_CHECK;

/* Hex: lower or upper case in, lower case out. `*len` in: room, out: bytes written. */
mica_rc mica_hex_decode(struct mica_slice s, uint8_t *out, size_t *len) MICA_MUST_CHECK;
void mica_hex_encode(const void *p, size_t len, char *out /* 2*len + 1 */);

/* RFC 4648 5 without padding, as JOSE uses it: wrong alphabet, padding, white space, a length
 * of 1 mod 4 and non-zero unused bits are INVALID. `*len` as above. */
mica_rc mica_b64url_decode(struct mica_slice s, uint8_t *out, size_t *len) MICA_MUST_CHECK;
size_t mica_b64url_encode(const void *p, size_t len, char *out /* (len*4+2)/3 + 1 */);
#define MICA_B64URL_SIZE(n) (((n)*4 + 2) / 3 + 1)
#define MICA_B64_SIZE(n)    (((n) + 2) / 3 * 4 + 1)
/* RFC 4648 4 with padding, canonical only. */
mica_rc mica_b64_decode(struct mica_slice s, uint8_t *out, size_t *len) MICA_MUST_CHECK;
size_t mica_b64_encode(const void *p, size_t len, char *out /* MICA_B64_SIZE(len) */);

/* RFC 3339 in UTC with seconds and 'Z' ("2026-11-24T12:00:00Z"); years 1970-9999, no leap second;
 * what lies outside is formatted as the nearest end. */
#define MICA_TIME_SIZE 21
mica_rc mica_time_parse(struct mica_slice s, int64_t *unix_seconds) MICA_MUST_CHECK;
void mica_time_format(int64_t unix_seconds, char out[MICA_TIME_SIZE]);

/* "8-4-4-4-12" hex, lower case only, <-> 16 bytes. */
#define MICA_UUID_SIZE 37
mica_rc mica_uuid_parse(struct mica_slice s, uint8_t out[16]) MICA_MUST_CHECK;
void mica_uuid_format(const uint8_t uuid[16], char out[MICA_UUID_SIZE]);

#endif
