/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/pem.h"

#define LINE_MAX_CHARS 76

void mica_pem_put(struct mica_buf *out, const char *label, struct mica_slice der)
{
	(void)mica_buf_room(out, der.len + der.len / 2 + 128); /* at once, and not by doubling */
	mica_buf_put_str(out, "-----BEGIN ");
	mica_buf_put_str(out, label);
	mica_buf_put_str(out, "-----\n");
	for (size_t at = 0; at < der.len; at += 48) { /* 48 octets are 64 characters */
		size_t n = der.len - at < 48 ? der.len - at : 48;
		mica_buf_put_b64(out, der.p + at, n);
		mica_buf_put_u8(out, '\n');
	}
	mica_buf_put_str(out, "-----END ");
	mica_buf_put_str(out, label);
	mica_buf_put_str(out, "-----\n");
}

/* One line without its end; a CR counts only before LF. */
static struct mica_slice next_line(struct mica_slice *in)
{
	struct mica_slice line;
	bool lf = mica_slice_cut(in, '\n', &line);
	if (lf && line.len && line.p[line.len - 1] == '\r')
		line.len--;
	return line;
}

/* "-----BEGIN x-----" or END. */
static bool is_frame(struct mica_slice line, struct mica_slice verb, struct mica_slice *label)
{
	if (!mica_slice_has_prefix(line, verb) || !mica_slice_has_suffix(line, MICA_LIT("-----")) ||
		line.len < verb.len + 5)
		return false;
	*label = mica_slice(line.p + verb.len, line.len - verb.len - 5);
	return true;
}

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "pem_malformed", "PEM: %s", what);
}

/* The lines up to END, joined into `text`. */
static mica_rc read_body(
	struct mica_slice *in, struct mica_slice label, struct mica_buf *text, struct mica_err *e)
{
	size_t width = 0;
	bool last = false;
	for (;;) {
		struct mica_slice end;
		if (!in->len)
			return malformed(e, "no END line");
		struct mica_slice line = next_line(in);
		if (is_frame(line, MICA_LIT("-----END "), &end))
			return mica_slice_eq(end, label) ? MICA_OK
							 : malformed(e, "END does not fit BEGIN");
		if (last || !line.len || line.len > LINE_MAX_CHARS || (width && line.len > width))
			return malformed(e,
				"lines of base64 must be of one length, 1 to 76, but for the last");
		if (width && line.len < width)
			last = true;
		width = line.len;
		mica_buf_put_slice(text, line);
	}
}

mica_rc mica_pem_next(struct mica_slice *in, const char *label, const char *label2,
	struct mica_buf *der, struct mica_err *e)
{
	struct mica_slice line = MICA_SLICE_NULL, got;
	while (in->len && !line.len)
		line = next_line(in);
	if (!line.len)
		return mica_fail(e, MICA_NOT_FOUND, "pem_end", "PEM: no block is left");
	if (!is_frame(line, MICA_LIT("-----BEGIN "), &got))
		return malformed(e, "expected a BEGIN line");
	if (!mica_slice_eq_str(got, label) && !(label2 && mica_slice_eq_str(got, label2)))
		return mica_fail(e, MICA_INVALID, "pem_label", "PEM: expected a block %s", label);

	MICA_AUTO_BUF text;
	mica_buf_init(&text, in->len + 1);
	text.wipe = der->wipe; /* a private key's */
	mica_rc rc = read_body(in, got, &text, e);
	if (rc)
		return rc;
	size_t room = text.len / 4 * 3 + 3, len = room;
	uint8_t *p = mica_buf_room(der, room);
	if (!p)
		return mica_buf_rc(der, e);
	if (mica_b64_decode(mica_buf_slice(&text), p, &len) || !len)
		return malformed(e, "not canonical base64");
	mica_buf_added(der, len);
	return MICA_OK;
}

mica_rc mica_pem_certs(struct mica_slice in, struct mica_buf *der, struct mica_slice *certs,
	size_t max, size_t *n, struct mica_err *e)
{
	size_t from = der->len;
	*n = 0;
	for (;;) {
		struct mica_err mine = MICA_ERR_INIT;
		size_t before = der->len;
		mica_rc rc = mica_pem_next(&in, MICA_PEM_CERT, NULL, der, &mine);
		if (rc == MICA_NOT_FOUND)
			break;
		if (rc)
			return mica_fail(e, rc, mine.reason, "%s", mine.text);
		if (*n == max)
			return mica_fail(e, MICA_LIMIT, "pem_too_many",
				"PEM: more than %zu certificates", max);
		certs[(*n)++] = mica_slice(NULL, der->len - before);
	}
	if (!*n)
		return mica_fail(e, MICA_INVALID, "pem_empty", "PEM: no certificate");
	for (size_t i = 0; i < *n;
		from += certs[i++].len) /* only now does the buffer stand still */
		certs[i].p = der->p + from;
	return MICA_OK;
}
