/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and blocks of them. */
#include "impl.h"

#include <arpa/inet.h>
#include <stdio.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool parse(struct mica_slice s, struct mica_ip *out)
{
	char text[INET6_ADDRSTRLEN];
	struct mica_ip ip = {0};

	if (s.len == 0 || mica_slice_copy(s, text, sizeof(text)) != MICA_OK)
		return false;
	if (inet_pton(AF_INET, text, ip.b) == 1)
		ip.len = 4;
	else if (inet_pton(AF_INET6, text, ip.b) == 1)
		ip.len = 16;
	*out = ip;
	return ip.len > 0;
}

static bool is_mapped(const struct mica_ip *ip)
{
	return ip->len == 16 && memcmp(ip->b, mapped, sizeof(mapped)) == 0;
}

static void unmap(struct mica_ip *ip)
{
	ip->len = 4;
	memmove(ip->b, ip->b + sizeof(mapped), 4);
	memset(ip->b + 4, 0, 12);
}

mica_rc mica_ip_parse(struct mica_slice s, struct mica_ip *out, struct mica_err *e)
{
	struct mica_ip ip = {0};

	if (!parse(s, &ip))
		return mica_fail(e, MICA_INVALID, "ip_invalid",
			"'%.*s' is no address, expected one such as 10.0.0.1 or fd00::1",
			MICA_FMT(s));
	if (is_mapped(&ip))
		unmap(&ip);
	*out = ip;
	return MICA_OK;
}

/* Makes the bits behind the prefix 0; false when there were others. */
static bool mask(struct mica_cidr *c)
{
	bool clean = true;

	for (unsigned i = c->bits; i < 8u * c->ip.len; i++) {
		uint8_t bit = (uint8_t)(0x80 >> (i % 8));

		clean = clean && !(c->ip.b[i / 8] & bit);
		c->ip.b[i / 8] &= (uint8_t)~bit;
	}
	return clean;
}

mica_rc mica_cidr_parse(struct mica_slice s, struct mica_cidr *out, bool *exact, struct mica_err *e)
{
	struct mica_slice rest = s, head;
	struct mica_cidr c = {.bits = 0};
	bool cut = mica_slice_cut(&rest, '/', &head);
	uint64_t bits;

	if (!parse(head, &c.ip))
		return mica_fail(e, MICA_INVALID, "cidr_invalid",
			"'%.*s' is no block of addresses, expected one such as 10.0.0.0/8 or "
			"fd00::/8",
			MICA_FMT(s));
	bits = 8u * c.ip.len;
	if (cut && mica_parse_u64(rest, 8u * c.ip.len, &bits) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "cidr_invalid",
			"'%.*s': expected a prefix of 0 to %u bits", MICA_FMT(s), 8u * c.ip.len);
	if (is_mapped(&c.ip) && bits >= 96) {
		unmap(&c.ip);
		bits -= 96;
	}
	c.bits = (uint8_t)bits;
	*exact = mask(&c);
	*out = c;
	return MICA_OK;
}

bool mica_cidr_has(const struct mica_cidr *c, const struct mica_ip *ip)
{
	unsigned whole = c->bits / 8, rest = c->bits % 8;

	if (ip->len == 0 || ip->len != c->ip.len || memcmp(c->ip.b, ip->b, whole) != 0)
		return false;
	return rest == 0 || ((c->ip.b[whole] ^ ip->b[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

void mica_cidr_format(const struct mica_cidr *c, char out[MICA_IP_SIZE])
{
	char text[INET6_ADDRSTRLEN] = "";

	if (c->ip.len)
		inet_ntop(c->ip.len == 4 ? AF_INET : AF_INET6, c->ip.b, text, sizeof(text));
	snprintf(out, MICA_IP_SIZE, "%s/%u", text, c->bits);
}
