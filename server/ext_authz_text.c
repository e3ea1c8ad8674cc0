/* SPDX-License-Identifier: Apache-2.0 */
/* Of Envoy's question, what is coded within strings: the path, the certificate. */
#include "ext_authz.h"

#include "mica/pem.h"

static bool hex_digit(uint8_t c, uint8_t *out)
{
	uint8_t low = c | 0x20;

	*out = c >= '0' && c <= '9' ? (uint8_t)(c - '0') : (uint8_t)(low - 'a' + 10);
	return (c >= '0' && c <= '9') || (low >= 'a' && low <= 'f');
}

/* The octet of the escape at `i`. */
static bool escape_at(struct mica_slice s, size_t i, uint8_t *out)
{
	uint8_t high, low;

	if (s.len - i < 3 || !hex_digit(s.p[i + 1], &high) || !hex_digit(s.p[i + 2], &low))
		return false;
	*out = (uint8_t)(high << 4 | low);
	return true;
}

/* ---- paths ----------------------------------------------------------------------------------- */

static bool needs_no_escape(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
		c == '.' || c == '_' || c == '~';
}

/* Escapes of what another server would take for the thing itself; C0 and C1 begin the overlong
 * forms of ASCII, which UTF-8 has not. */
static bool escape_is_plain(uint8_t c)
{
	return c >= 0x20 && c != 0x7f && c != '/' && c != '\\' && c != 0xc0 && c != 0xc1 &&
		!needs_no_escape(c);
}

static bool octets_are_plain(struct mica_slice s)
{
	uint8_t c;

	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || s.p[i] == '\\' || s.p[i] == '#')
			return false;
		if (s.p[i] == '%' && (!escape_at(s, i, &c) || !escape_is_plain(c)))
			return false;
	}
	return true;
}

/* Behind the dots of "." and ".." some servers take off what follows a ';', escaped or not. */
static bool segment_is_plain(struct mica_slice s)
{
	size_t dots = 0;

	while (dots < s.len && s.p[dots] == '.')
		dots++;
	if (dots == 0)
		return s.p[0] != ';';
	return dots > 2 || (dots < s.len && s.p[dots] != ';' && s.p[dots] != '%');
}

bool ext_authz_path_is_plain(struct mica_slice path)
{
	struct mica_slice query = path, rest, segment;
	bool more;

	mica_slice_cut(&query, '?', &rest);
	if (rest.len == 0 || mica_slice_eq_str(rest, "*"))
		return path.len == rest.len;
	if (rest.p[0] != '/' || !octets_are_plain(rest))
		return false;
	rest = mica_slice_sub(rest, 1, rest.len);
	do {
		more = mica_slice_cut(&rest, '/', &segment);
		if (segment.len == 0 ? more : !segment_is_plain(segment))
			return false;
	} while (more);
	return true;
}

/* ---- certificates ---------------------------------------------------------------------------- */

#define PEM_MAX (12 * 1024)

static mica_rc malformed(struct mica_err *e)
{
	return mica_fail(e, MICA_UNAUTHENTICATED, "svid_malformed",
		"the peer's certificate is not PEM in percent-encoding, or too long");
}

/* The octets behind escapes. */
static mica_rc decode(struct mica_slice s, uint8_t out[PEM_MAX], size_t *len, struct mica_err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++, n++) {
		if (n == PEM_MAX)
			return malformed(e);
		out[n] = s.p[i];
		if (s.p[i] != '%')
			continue;
		if (!escape_at(s, i, &out[n]))
			return malformed(e);
		i += 2;
	}
	*len = n;
	return MICA_OK;
}

mica_rc ext_authz_certificate(
	struct mica_slice encoded, uint8_t out[EXT_AUTHZ_DER_MAX], size_t *len, struct mica_err *e)
{
	uint8_t pem[PEM_MAX];
	struct mica_slice text;
	MICA_AUTO_BUF der;
	size_t n = 0;
	mica_rc rc = decode(encoded, pem, &n, e);

	mica_buf_init(&der, EXT_AUTHZ_DER_MAX);
	text = mica_slice(pem, n);
	if (rc == MICA_OK && mica_pem_next(&text, MICA_PEM_CERT, NULL, &der, NULL) != MICA_OK)
		rc = malformed(e);
	if (rc != MICA_OK)
		return rc;
	memcpy(out, der.p, der.len);
	*len = der.len;
	return MICA_OK;
}
