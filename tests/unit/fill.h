/* SPDX-License-Identifier: Apache-2.0 */
/* Entries in any number: one certificate is signed, then its serial and name are written over. */
#ifndef TEST_FILL_H
#define TEST_FILL_H

#include "pki.h"

#include "mica/ledger.h"

#include <stdio.h>

#define FILL_ID "spiffe://example.org/ns/payments/sa/checkout-%06u"

struct fill {
	struct pki pki;
	struct mica_buf leaf;
	size_t serial_at, name_at, name_len;
};

static inline size_t fill_find(const struct mica_buf *b, const void *p, size_t len)
{
	const uint8_t *at = memmem(b->p, b->len, p, len);

	assert_non_null(at);
	return (size_t)(at - b->p);
}

static inline void fill_id(uint64_t who, char id[64])
{
	snprintf(id, 64, FILL_ID, (unsigned)(who % 1000000));
}

static inline void fill_init(struct fill *f)
{
	struct mica_leaf_spec spec;
	char id[64];

	pki_init(&f->pki, MICA_KN_P256);
	spec = pki_spec(&f->pki);
	fill_id(0, id);
	spec.uri = id;
	mica_buf_init(&f->leaf, MICA_CERT_MAX);
	assert_ok(mica_leaf_sign(f->pki.issuing, &spec, &f->leaf, e));
	f->serial_at = fill_find(&f->leaf, spec.serial, MICA_SERIAL_LEN);
	f->name_len = strlen(id);
	f->name_at = fill_find(&f->leaf, id, f->name_len);
}

static inline void fill_clear(struct fill *f)
{
	mica_buf_clear(&f->leaf);
	pki_clear(&f->pki);
}

static inline int64_t fill_time(uint64_t i)
{
	return NOW * 1000 + (int64_t)i * 10;
}

/* Serial of entry i: its time, then a number that says which. */
static inline void fill_serial(uint64_t i, uint8_t serial[16])
{
	uint64_t head = __builtin_bswap64((uint64_t)fill_time(i) << 16 | (i & 0x7fff));
	uint64_t tail = __builtin_bswap64(i * 0x9e3779b97f4a7c15u);

	memcpy(serial, &head, 8);
	memcpy(serial + 8, &tail, 8);
}

static inline void fill_pod(uint64_t who, struct mica_uid *out)
{
	memset(out, 0, sizeof(*out));
	out->b[0] = 0xaa;
	memcpy(out->b + 8, &who, sizeof(who));
}

/* Who asks in entry i: 1 in 8 is a busy workload, the others are each their own. */
static inline uint64_t fill_who(uint64_t i)
{
	return i % 8 == 0 ? 7 : i;
}

/* Entry i: mostly certificates, some JWTs, here and there a change. */
static inline void fill_entry(struct fill *f, uint64_t i, struct mica_buf *out)
{
	struct mica_entry en = {.type = MICA_ENTRY_X509_ISSUED,
		.time_ms = fill_time(i),
		.salt = {1},
		.issuer = MICA_LIT("prod"),
		.cluster = MICA_LIT("prod"),
		.ns = MICA_LIT("payments"),
		.sa = MICA_LIT("checkout"),
		.pod = MICA_LIT("checkout-5bf8c9d7c4-x2x9q"),
		.node = MICA_LIT("ip-10-0-12-34.eu-west-1.compute.internal"),
		.sa_uid = {{1, 2, 3}},
		.node_uid = {{4, 5, 6}},
		.ev_kind = MICA_EV_TOKEN,
		.ev_id = MICA_LIT("f2a1b5c4-5a0f-4c43-9b0e-5e4c1f2f7a11"),
		.ev_expiry = NOW + 600,
		.origin_time = NOW};
	char id[64], jti[24];

	fill_id(fill_who(i), id);
	fill_pod(fill_who(i), &en.pod_uid);
	memcpy(f->leaf.p + f->name_at, id, f->name_len);
	fill_serial(i, f->leaf.p + f->serial_at);
	en.certificate = mica_buf_slice(&f->leaf);
	memcpy(en.salt + 8, &i, 8);
	if (i % 16 == 5) {
		snprintf(jti, sizeof(jti), "j%llu", (unsigned long long)i);
		en.type = MICA_ENTRY_JWT_ISSUED;
		en.certificate = MICA_SLICE_NULL;
		en.sub = mica_slice_str(id);
		en.jti = mica_slice_str(jti);
		en.kid = MICA_LIT("k");
		en.aud[0] = MICA_LIT("db");
		en.n_aud = 1;
		en.iat = NOW;
		en.exp = NOW + 60;
	} else if (i % 5000 == 1234) {
		struct mica_entry change = {.type = MICA_ENTRY_AUTHORITY,
			.time_ms = en.time_ms,
			.action = i % 2 ? MICA_LIT("created") : MICA_LIT("tainted"),
			.actor = MICA_ACTOR_SYSTEM};

		memcpy(change.salt, en.salt, sizeof(change.salt));
		en = change;
	}
	assert_ok(mica_entry_encode(&en, out, e));
}

/* Appends entries [from, to) in batches. */
static inline void fill_ledger(struct fill *f, struct mica_ledger *l, uint64_t to, unsigned batch)
{
	struct mica_slice *bodies = mica_calloc(batch, sizeof(*bodies));
	struct mica_change *changes = mica_calloc(batch, sizeof(*changes));
	struct mica_buf all;

	mica_buf_init(&all, (size_t)batch * 2048);
	for (uint64_t i = mica_ledger_size(l); i < to;) {
		unsigned n = 0;
		size_t at = 0;

		mica_buf_reset(&all);
		/* room first: slices point into it */
		assert_non_null(mica_buf_room(&all, (size_t)batch * 1500));
		for (; n < batch && i + n < to; n++) {
			fill_entry(f, i + n, &all);
			bodies[n] = mica_slice(all.p + at, all.len - at);
			at = all.len;
			changes[n] = (struct mica_change){.entries = &bodies[n], .n_entries = 1};
		}
		assert_ok(mica_ledger_commit(l, changes, n, fill_time(i + n), e));
		assert_int_equal(changes[n - 1].index, i + n - 1);
		i += n;
	}
	mica_buf_clear(&all);
	mica_free(bodies);
	mica_free(changes);
}

static inline void fill_maintain(struct mica_ledger *l)
{
	for (bool more = true; more;)
		assert_ok(mica_ledger_maintain(l, &more, e));
}

#endif
