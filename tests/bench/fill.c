/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a ledger through the library and says what it cost:
 *
 *	fill STORE_DIR ENTRIES [BATCH [EXPORT_DIR]]
 *
 * One JSON object on standard output. STORE_DIR is made, or opened when the log key lies beside it
 * (STORE_DIR.key, PKCS #8 in the clear: for benches and tests alone); so a second run measures
 * opening. With EXPORT_DIR the static files, entry bundles included, are written there.
 */
#define _GNU_SOURCE /* memmem */
#include "fill.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/secret.h"

#include <sys/stat.h>

static void load_key(const char *path, struct mica_signer **signer)
{
	struct mica_secret *pkcs8 = NULL;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 4096);
	if (mica_file_read(path, &b, NULL) == MICA_OK) {
		assert_ok(mica_signer_from_pkcs8(mica_buf_slice(&b), signer, e));
		return;
	}
	assert_ok(mica_signer_generate(MICA_KN_ED25519, signer, e));
	assert_ok(mica_signer_pkcs8(*signer, &pkcs8, e));
	assert_ok(mica_file_write_atomic(path, mica_secret_view(pkcs8), 0600, e));
	mica_secret_free(pkcs8);
}

static void open_log(const char *dir, const struct mica_signer *signer, struct mica_store **s,
	struct mica_ledger **l)
{
	char origin[MICA_NOTE_NAME_MAX];

	if (mica_store_open(dir, NULL, s, NULL) != MICA_OK) {
		assert_ok(mica_store_create(dir, NULL, s, e));
		mica_ledger_origin(TD, origin);
		assert_ok(mica_ledger_create(*s, origin, signer, NOW * 1000, e));
		assert_ok(mica_store_complete(*s, e));
	}
	assert_ok(mica_ledger_open(*s, signer, NULL, l, e));
}

/* Time of appends alone: making the entries and what is written behind are told apart. */
struct cost {
	int64_t commit_ns, commit_cpu_ns, maintain_cpu_ns, worst_maintain_ns;
	uint64_t commits;
};

static void append(
	struct fill *f, struct mica_ledger *l, uint64_t to, unsigned batch, struct cost *c)
{
	static struct mica_slice bodies[4096];
	static struct mica_change changes[4096];
	struct mica_buf *b = mica_calloc(batch, sizeof(*b));

	for (unsigned i = 0; i < batch; i++)
		mica_buf_init(&b[i], MICA_ENTRY_MAX);
	for (uint64_t at = mica_ledger_size(l), behind = at; at < to;) {
		unsigned n = to - at < batch ? (unsigned)(to - at) : batch;
		int64_t wall, cpu;

		for (unsigned i = 0; i < n; i++) {
			mica_buf_reset(&b[i]);
			fill_entry(f, at + i, &b[i]);
			bodies[i] = mica_buf_slice(&b[i]);
			changes[i] = (struct mica_change){.entries = &bodies[i], .n_entries = 1};
		}
		wall = mica_mono_ns();
		cpu = mica_thread_cpu_ns();
		assert_ok(mica_ledger_commit(l, changes, n, fill_time(at), e));
		c->commit_ns += mica_mono_ns() - wall;
		c->commit_cpu_ns += mica_thread_cpu_ns() - cpu;
		c->commits++;
		at += n;
		if (at - behind < 2048)
			continue;
		behind = at;
		cpu = mica_thread_cpu_ns();
		wall = mica_mono_ns();
		assert_ok(mica_ledger_maintain(l, NULL, e));
		wall = mica_mono_ns() - wall;
		c->maintain_cpu_ns += mica_thread_cpu_ns() - cpu;
		c->worst_maintain_ns = wall > c->worst_maintain_ns ? wall : c->worst_maintain_ns;
	}
	for (unsigned i = 0; i < batch; i++)
		mica_buf_clear(&b[i]);
	mica_free(b);
}

static int64_t lookup_ns(struct mica_ledger *l)
{
	uint64_t size = mica_ledger_size(l), index;
	int64_t start = mica_mono_ns();
	unsigned n = 0;
	uint8_t serial[16];

	for (uint64_t i = 0; i < size; i += 1 + size / 1000, n++) {
		fill_serial(i, serial);
		if (mica_ledger_by_serial(l, serial, &index, NULL) == MICA_OK)
			assert_int_equal(index, i);
	}
	return n ? (mica_mono_ns() - start) / n : 0;
}

static bool count(void *ctx, uint64_t index, const struct mica_entry *en, struct mica_slice bytes)
{
	(void)index;
	(void)en;
	(void)bytes;
	++*(unsigned *)ctx;
	return true;
}

static int64_t query_ns(struct mica_ledger *l)
{
	int64_t start = mica_mono_ns();
	unsigned found = 0, n = 0;
	char next[MICA_CURSOR_SIZE], id[64];

	for (uint64_t who = 1; who < 400; who += 8, n++) {
		struct mica_ledger_query q = {.limit = 10};

		fill_id(who, id);
		q.spiffe_id = mica_slice_str(id);
		assert_ok(mica_ledger_query(l, &q, count, &found, next, e));
	}
	return (mica_mono_ns() - start) / n;
}

static int64_t fill_opening(const char *dir, const struct mica_signer *signer,
	struct mica_store **s, struct mica_ledger **l)
{
	int64_t start = mica_mono_ns();

	open_log(dir, signer, s, l);
	return mica_mono_ns() - start;
}

int main(int argc, char **argv)
{
	unsigned batch = 32;
	struct mica_signer *signer = NULL;
	struct mica_ledger *l = NULL;
	struct mica_store *s = NULL;
	struct mica_store_space space;
	struct cost c = {0};
	static struct fill f;
	uint64_t before, want = 0, v = 32;
	int64_t open_ns, serial, query;
	char key[4096];
	MICA_AUTO_BUF vkey;

	mica_buf_init(&vkey, MICA_VKEY_MAX);
	if (argc < 3 || mica_parse_u64(mica_slice_str(argv[2]), MICA_TREE_MAX, &want) != MICA_OK ||
		(argc > 3 && mica_parse_u64(mica_slice_str(argv[3]), 4096, &v) != MICA_OK)) {
		fprintf(stderr, "usage: fill STORE_DIR ENTRIES [BATCH [EXPORT_DIR]]\n");
		return 2;
	}
	batch = v ? (unsigned)v : 1;
	snprintf(key, sizeof(key), "%s.key", argv[1]);
	load_key(key, &signer);
	fill_init(&f);
	open_ns = fill_opening(argv[1], signer, &s, &l);
	before = mica_ledger_size(l);
	append(&f, l, want, batch, &c);
	fill_maintain(l);
	serial = lookup_ns(l);
	query = query_ns(l);
	assert_ok(mica_store_space(s, &space, e));
	mica_vkey_format(mica_ledger_key(l), &vkey);
	if (argc > 4)
		assert_ok(mica_ledger_export(l, argv[4], true, NULL, e));
	{
		double n = want > before ? (double)(want - before) : 1;

		printf("{\"entries\": %llu, \"batch\": %u, \"open_ms\": %.2f, \"vkey\": \"%s\", "
		       "\"commit_us_per_entry\": %.2f, \"commit_cpu_us_per_entry\": %.2f, "
		       "\"maintain_cpu_us_per_entry\": %.2f, \"worst_maintain_ms\": %.1f, "
		       "\"bytes_per_entry\": %.0f, \"by_serial_us\": %.1f, \"by_id_us\": %.1f}\n",
			(unsigned long long)mica_ledger_size(l), batch, (double)open_ns / 1e6,
			(char *)vkey.p, (double)c.commit_ns / n / 1e3,
			(double)c.commit_cpu_ns / n / 1e3, (double)c.maintain_cpu_ns / n / 1e3,
			(double)c.worst_maintain_ns / 1e6,
			(double)space.store_bytes /
				(double)(mica_ledger_size(l) ? mica_ledger_size(l) : 1),
			(double)serial / 1e3, (double)query / 1e3);
	}
	mica_ledger_close(l);
	mica_store_close(s);
	mica_signer_free(signer);
	fill_clear(&f);
	return 0;
}
