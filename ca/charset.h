/* SPDX-License-Identifier: Apache-2.0 */
/* A set of octets. */
#ifndef MICA_CA_CHARSET_H
#define MICA_CA_CHARSET_H

#include "mica/slice.h"

struct mica_charset {
	uint64_t bits[4];
};

static inline void mica_charset_add(struct mica_charset *c, uint8_t v)
{
	c->bits[v >> 6] |= (uint64_t)1 << (v & 63);
}
static inline bool mica_charset_has(const struct mica_charset *c, uint8_t v)
{
	return c->bits[v >> 6] >> (v & 63) & 1;
}
static inline void mica_charset_and(struct mica_charset *c, const struct mica_charset *with)
{
	for (int i = 0; i < 4; i++)
		c->bits[i] &= with->bits[i];
}
/* "a-z0-9_", "^/"; a backslash before an octet takes it as it is. false when empty or a range goes
 * backward. */
bool mica_charset_read(struct mica_slice text, struct mica_charset *out);

#endif
