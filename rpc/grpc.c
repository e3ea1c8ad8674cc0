/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coding of gRPC over HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md): length-prefixed messages, timeouts,
 * metadata, status. Pure.
 */
#include "rpc_impl.h"

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"

/* ---- lists of names and values -------------------------------------------------------------- */

bool rpc_meta_put(struct rpc_meta *m, struct mica_slice name, struct mica_slice value)
{
	uint8_t *p;
	if (name.len > UINT16_MAX || value.len > UINT16_MAX ||
		!(p = mica_buf_room(&m->b, 4 + name.len + value.len)))
		return false;
	p[0] = (uint8_t)(name.len >> 8), p[1] = (uint8_t)name.len;
	p[2] = (uint8_t)(value.len >> 8), p[3] = (uint8_t)value.len;
	if (name.len > 0)
		memcpy(p + 4, name.p, name.len);
	if (value.len > 0)
		memcpy(p + 4 + name.len, value.p, value.len);
	mica_buf_added(&m->b, 4 + name.len + value.len);
	m->n++;
	return true;
}

bool rpc_meta_next(
	const struct rpc_meta *m, size_t *at, struct mica_slice *name, struct mica_slice *value)
{
	const uint8_t *p = m->b.p + *at;
	if (*at >= m->b.len)
		return false;
	*name = mica_slice(p + 4, (size_t)p[0] << 8 | p[1]);
	*value = mica_slice(name->p + name->len, (size_t)p[2] << 8 | p[3]);
	*at += 4 + name->len + value->len;
	return true;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* "application/grpc" [("+proto" / ";" ...)]; media types know no case (RFC 9110 8.3.1). */
enum rpc_type rpc_content_type(struct mica_slice s)
{
	static const char type[] = "application/grpc";
	const size_t n = sizeof(type) - 1;
	struct mica_slice rest, codec;
	if (s.len < n)
		return RPC_TYPE_OTHER;
	for (size_t i = 0; i < n; i++)
		if ((s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i]) != (uint8_t)type[i])
			return RPC_TYPE_OTHER;
	rest = mica_slice_sub(s, n, s.len);
	if (rest.len == 0 || rest.p[0] == ';' || rest.p[0] == ' ')
		return RPC_TYPE_GRPC;
	if (rest.p[0] != '+')
		return RPC_TYPE_OTHER; /* grpc-web and the like */
	mica_slice_cut(&rest, ';', &codec);
	return mica_slice_eq_str(codec, "+proto") ? RPC_TYPE_GRPC : RPC_TYPE_CODEC;
}

/* TimeoutValue is a positive integer of at most 8 digits; 0 is taken as what it says. */
mica_rc rpc_timeout(struct mica_slice s, int64_t *ms, struct mica_err *e)
{
	static const struct {
		char unit;
		int64_t ns;
	} units[] = {{'H', 3600000000000}, {'M', 60000000000}, {'S', 1000000000}, {'m', 1000000},
		{'u', 1000}, {'n', 1}};
	int64_t v = 0;
	if (s.len < 2 || s.len > 9)
		return mica_fail(e, MICA_INVALID, "bad_timeout",
			"grpc-timeout: expected 1 to 8 digits and a unit out of H M S m u n");
	for (size_t i = 0; i + 1 < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return mica_fail(e, MICA_INVALID, "bad_timeout",
				"grpc-timeout: expected digits and a unit out of H M S m u n");
		v = v * 10 + (s.p[i] - '0');
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(units); i++) {
		if (s.p[s.len - 1] != (uint8_t)units[i].unit)
			continue;
		*ms = units[i].ns >= 1000000 ? v * (units[i].ns / 1000000)
					     : (v * units[i].ns + 999999) / 1000000;
		return MICA_OK;
	}
	return mica_fail(
		e, MICA_INVALID, "bad_timeout", "grpc-timeout: expected a unit out of H M S m u n");
}

static bool check_head(struct rpc_reader *r, enum mica_rpc_code *code, struct mica_err *e)
{
	const size_t len = (size_t)r->head[1] << 24 | (size_t)r->head[2] << 16 |
		(size_t)r->head[3] << 8 | r->head[4];
	*code = MICA_RPC_INTERNAL;
	if (r->head[0] > 1) {
		mica_fail(e, MICA_INTERNAL, "bad_message_flag",
			"message: flag %u, expected 0 or 1 before its length", r->head[0]);
		return false;
	}
	if (r->head[0] == 1 && r->encoded) {
		*code = MICA_RPC_UNIMPLEMENTED;
		mica_fail(e, MICA_INVALID, "compression_unsupported",
			"message: it is compressed, expected an uncompressed one");
		return false;
	}
	if (r->head[0] == 1) {
		mica_fail(e, MICA_INTERNAL, "compression_unnamed",
			"message: it says that it is compressed, grpc-encoding does not");
		return false;
	}
	if (len > r->max) {
		*code = MICA_RPC_RESOURCE_EXHAUSTED;
		mica_fail(e, MICA_LIMIT, "message_too_long",
			"message: %zu octets, expected at most %zu", len, r->max);
		return false;
	}
	r->left = len;
	return true;
}

enum rpc_read rpc_read(struct rpc_reader *r, struct mica_slice *in, struct mica_buf *message,
	enum mica_rpc_code *code, struct mica_err *e)
{
	while (in->len > 0) {
		if (r->n_head < sizeof(r->head)) {
			r->head[r->n_head++] = in->p[0];
			*in = mica_slice_sub(*in, 1, in->len);
			if (r->n_head < sizeof(r->head))
				continue;
			if (!check_head(r, code, e))
				return RPC_READ_BAD;
		} else {
			const size_t n = in->len < r->left ? in->len : r->left;
			mica_buf_put(message, in->p, n);
			*in = mica_slice_sub(*in, n, in->len);
			r->left -= n;
		}
		if (r->left == 0) {
			r->n_head = 0;
			return RPC_READ_MESSAGE;
		}
	}
	return RPC_READ_MORE;
}

bool rpc_reader_between(const struct rpc_reader *r)
{
	return r->n_head == 0;
}

/* ---- metadata ------------------------------------------------------------------------------- */

static bool is_bin(struct mica_slice name)
{
	return mica_slice_has_suffix(name, MICA_LIT("-bin"));
}

/* What an application may send: names of [0-9a-z_.-], values of visible ASCII and inner spaces; no
 * name that is ours. */
bool rpc_meta_allowed(struct mica_slice name, struct mica_slice value)
{
	static const char *const ours[] = {"content-type", "te", "connection", "content-length",
		"transfer-encoding", "keep-alive", "upgrade", "host"};
	if (name.len == 0 || mica_slice_has_prefix(name, MICA_LIT("grpc-")))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!((name.p[i] >= 'a' && name.p[i] <= 'z') ||
			    (name.p[i] >= '0' && name.p[i] <= '9') || name.p[i] == '_' ||
			    name.p[i] == '.' || name.p[i] == '-'))
			return false;
	for (size_t i = 0; i < MICA_ARRAY_LEN(ours); i++)
		if (mica_slice_eq_str(name, ours[i]))
			return false;
	if (is_bin(name))
		return true;
	for (size_t i = 0; i < value.len; i++)
		if (value.p[i] < 0x20 || value.p[i] > 0x7e)
			return false;
	return value.len == 0 || (value.p[0] != ' ' && value.p[value.len - 1] != ' ');
}

void rpc_bin_encode(struct mica_slice octets, struct mica_buf *out)
{
	mica_buf_put_b64(out, octets.p, octets.len);
	while (out->len > 0 && out->p[out->len - 1] == '=') /* senders should leave it out */
		out->p[--out->len] = '\0';
}

mica_rc mica_rpc_bin_decode(struct mica_slice value, uint8_t *out, size_t *len)
{
	MICA_AUTO_BUF padded;
	mica_buf_init(&padded, value.len + 3);
	mica_buf_put_slice(&padded, value);
	if (value.len > 0 && value.p[value.len - 1] != '=')
		while (padded.len % 4 != 0 && !padded.over)
			mica_buf_put_u8(&padded, '=');
	if (padded.over)
		return MICA_INVALID;
	return mica_b64_decode(mica_buf_slice(&padded), out, len);
}

/* ---- status --------------------------------------------------------------------------------- */

/* Visible ASCII and space but '%' stand for themselves. */
void rpc_percent_encode(struct mica_slice s, struct mica_buf *out)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] >= 0x20 && s.p[i] <= 0x7e && s.p[i] != '%')
			mica_buf_put_u8(out, s.p[i]);
		else
			mica_buf_printf(out, "%%%02X", s.p[i]);
}

static void capitals(const char *s, char *out, size_t size)
{
	size_t i = 0;
	for (; s[i] && i + 1 < size; i++)
		out[i] = s[i] >= 'a' && s[i] <= 'z' ? (char)(s[i] - 'a' + 'A') : s[i];
	out[i] = '\0';
}

/* Packs `m` as the value of an Any. */
static void any(
	Google__Protobuf__Any *a, const char *type, const ProtobufCMessage *m, struct mica_buf *mem)
{
	const size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *p = mica_buf_room(mem, n);
	google__protobuf__any__init(a);
	a->type_url = (char *)(uintptr_t)type;
	a->value.data = p;
	a->value.len = p ? protobuf_c_message_pack(m, p) : 0;
}

static void details(
	enum mica_rpc_code code, const struct mica_err *e, const char *domain, struct mica_buf *out)
{
	Google__Rpc__Status s = GOOGLE__RPC__STATUS__INIT;
	Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
	Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
	Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
	Google__Protobuf__Any a[2], *list[2] = {&a[0], &a[1]};
	MICA_AUTO_BUF info_mem, retry_mem, mem;
	char reason[64];
	uint8_t *p;
	size_t n;
	mica_buf_init(&info_mem, RPC_META_MAX);
	mica_buf_init(&retry_mem, RPC_META_MAX);
	mica_buf_init(&mem, RPC_META_MAX);
	capitals(e->reason, reason, sizeof(reason));
	info.reason = reason;
	info.domain = (char *)(uintptr_t)(domain ? domain : "");
	delay.seconds = e->retry_after;
	retry.retry_delay = &delay;
	any(&a[0], "type.googleapis.com/google.rpc.ErrorInfo", &info.base, &info_mem);
	any(&a[1], "type.googleapis.com/google.rpc.RetryInfo", &retry.base, &retry_mem);
	s.code = (int32_t)code;
	s.message = (char *)(uintptr_t)e->text;
	s.details = list;
	s.n_details = e->retry_after > 0 ? 2 : 1;
	n = google__rpc__status__get_packed_size(&s);
	p = mica_buf_room(&mem, n);
	if (!p)
		return;
	mica_buf_added(&mem, google__rpc__status__pack(&s, p));
	rpc_bin_encode(mica_buf_slice(&mem), out);
}

static void put_error(
	struct rpc_meta *m, enum mica_rpc_code code, const struct mica_err *e, const char *domain)
{
	MICA_AUTO_BUF text, message, bin;
	mica_buf_init(&text, MICA_ERR_TEXT_MAX + 128);
	mica_buf_init(&message, 3 * (MICA_ERR_TEXT_MAX + 128));
	mica_buf_init(&bin, RPC_META_MAX);
	mica_buf_printf(&text, "%s%s%s", e->reason, e->text[0] ? ": " : "", e->text);
	rpc_percent_encode(mica_buf_slice(&text), &message);
	(void)rpc_meta_put(m, MICA_LIT("grpc-message"), mica_buf_slice(&message));
	details(code, e, domain, &bin);
	if (bin.len > 0 && !bin.over)
		(void)rpc_meta_put(m, MICA_LIT("grpc-status-details-bin"), mica_buf_slice(&bin));
}

void rpc_status_put(
	struct rpc_meta *m, enum mica_rpc_code code, const struct mica_err *e, const char *domain)
{
	const char number[3] = {(char)('0' + (int)code / 10), (char)('0' + (int)code % 10), '\0'};
	(void)rpc_meta_put(
		m, MICA_LIT("grpc-status"), mica_slice_str(code < 10 ? number + 1 : number));
	if (code != MICA_RPC_OK && e && e->reason)
		put_error(m, code, e, domain);
}
