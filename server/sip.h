/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4 with 128 bits of output (Aumasson, Bernstein), for tables whose keys others choose:
 * nobody without the key finds two that collide. In the byte order of this machine: hashes never
 * leave it. */
#ifndef MICA_SERVER_SIP_H
#define MICA_SERVER_SIP_H

#include "mica/slice.h"

static inline uint64_t sip_rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void sip_rounds(uint64_t v[4], unsigned n)
{
	while (n-- > 0) {
		v[0] += v[1], v[2] += v[3];
		v[1] = sip_rotl(v[1], 13) ^ v[0], v[3] = sip_rotl(v[3], 16) ^ v[2];
		v[0] = sip_rotl(v[0], 32);
		v[2] += v[1], v[0] += v[3];
		v[1] = sip_rotl(v[1], 17) ^ v[2], v[3] = sip_rotl(v[3], 21) ^ v[0];
		v[2] = sip_rotl(v[2], 32);
	}
}

static inline void sip_block(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_rounds(v, 2);
	v[0] ^= m;
}

static inline void sip128(const uint64_t key[2], struct mica_slice s, uint64_t out[2])
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d ^ 0xee,
		key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
	uint64_t m, last = (uint64_t)s.len << 56;
	for (; s.len >= 8; s = mica_slice(s.p + 8, s.len - 8)) {
		memcpy(&m, s.p, 8);
		sip_block(v, m);
	}
	for (size_t i = 0; i < s.len; i++)
		last |= (uint64_t)s.p[i] << (8 * i);
	sip_block(v, last);
	v[2] ^= 0xee;
	sip_rounds(v, 4);
	out[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	sip_rounds(v, 4);
	out[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
