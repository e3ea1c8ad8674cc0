/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at the pages of an LMDB 0.9 file without LMDB, which trusts what it reads: a
 * truncated file would end the process with SIGBUS, a damaged one with anything. Before every
 * opening the meta pages and the length are checked; `mica store check` and `mica restore` walk all
 * pages first.
 *
 * Page: pgno 8, pad 2, flags 2, lower 2, upper 2 (or, overflow: pages 4), then node offsets of 2
 * octets up to `lower`; nodes from `upper` on: lo 2, hi 2, flags 2, key length 2, key, data.
 * Numbers are the machine's.
 */
#include "store_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE_HEAD  16
#define NODE_HEAD  8
#define META_MAGIC 0xBEEFC0DEU
#define META_LEN   136
#define DEPTH_MAX  32

enum { P_BRANCH = 1, P_LEAF = 2, P_OVERFLOW = 4, P_META = 8 };
enum { F_BIGDATA = 1, F_SUBDATA = 2 };

struct db {
	uint32_t page_size;
	uint16_t flags, depth;
	uint64_t branch, leaf, overflow, entries, root;
};

struct meta {
	uint32_t magic, version;
	uint64_t address, map_size;
	struct db dbs[2]; /* free pages, main */
	uint64_t last_page, txn;
};
_Static_assert(sizeof(struct db) == 48 && sizeof(struct meta) == META_LEN, "LMDB 0.9, 64 bits");

static mica_rc bad(struct mica_err *e, const char *path, uint64_t page, const char *what)
{
	return mica_fail(e, MICA_CORRUPT, "store_damaged", "%s: page %llu: %s", path,
		(unsigned long long)page, what);
}

static bool read_meta(int fd, off_t at, struct meta *m)
{
	uint8_t page[PAGE_HEAD + META_LEN];
	uint16_t flags;

	if (pread(fd, page, sizeof(page), at) != (ssize_t)sizeof(page))
		return false;
	memcpy(&flags, page + 10, sizeof(flags));
	memcpy(m, page + PAGE_HEAD, META_LEN);
	return flags == P_META && m->magic == META_MAGIC;
}

static bool page_size_ok(uint32_t size)
{
	return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

/* The meta page that counts: the newer of two. LMDB writes them in turn. */
static mica_rc pick_meta(int fd, const char *path, struct meta *m, struct mica_err *e)
{
	struct meta other;

	if (!read_meta(fd, 0, m) || !page_size_ok(m->dbs[0].page_size) ||
		!read_meta(fd, m->dbs[0].page_size, &other))
		return mica_fail(e, MICA_CORRUPT, "store_foreign",
			"%s: this is not a store of Mica (no LMDB file)", path);
	if (m->version != 1 || other.version != 1 ||
		other.dbs[0].page_size != m->dbs[0].page_size ||
		(long)m->dbs[0].page_size != sysconf(_SC_PAGESIZE))
		return mica_fail(e, MICA_CORRUPT, "store_foreign",
			"%s: LMDB format or page size of another machine", path);
	if (other.txn > m->txn)
		*m = other;
	return MICA_OK;
}

static mica_rc check_meta(int fd, const char *path, struct meta *m, struct mica_err *e)
{
	struct stat st;
	mica_rc rc = pick_meta(fd, path, m, e);

	if (rc != MICA_OK)
		return rc;
	if (fstat(fd, &st) != 0)
		return mica_fail_errno(e, errno, "%s", path);
	if (m->last_page < 1 || m->last_page >= ((uint64_t)1 << 47) / m->dbs[0].page_size)
		return bad(e, path, 0, "its number of pages is impossible");
	if ((uint64_t)st.st_size < (m->last_page + 1) * m->dbs[0].page_size)
		return mica_fail(e, MICA_CORRUPT, "store_truncated",
			"%s: %lld octets, expected at least %llu: the file was cut off", path,
			(long long)st.st_size,
			(unsigned long long)((m->last_page + 1) * m->dbs[0].page_size));
	return MICA_OK;
}

mica_rc mica_lmdb_check_meta(int fd, const char *path, struct mica_err *e)
{
	struct meta m;

	return check_meta(fd, path, &m, e);
}

/* ---- the walk ------------------------------------------------------------------------------ */

struct walk {
	const uint8_t *map;
	const char *path;
	uint64_t size, pages; /* of a page; how many */
	uint8_t *seen; /* a bit for each page */
	uint64_t n_seen;
	const struct mica_progress *progress;
	struct mica_err *e;
};

struct tree {
	const struct db *db;
	bool integer_keys, main; /* the free list; the table of tables */
	uint64_t branch, leaf, overflow, entries;
	struct mica_slice last_key;
};

static mica_rc walk_tree(struct walk *w, const struct db *db, bool is_free, bool is_main);

static uint16_t u16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Marks pages [first, first + n); false when one is out of range or was seen. */
static bool mark(struct walk *w, uint64_t first, uint64_t n)
{
	if (first < 2 || n > w->pages || first > w->pages - n)
		return false;
	for (uint64_t i = first; i < first + n; i++) {
		if (w->seen[i / 8] >> (i % 8) & 1)
			return false;
		w->seen[i / 8] |= (uint8_t)(1U << (i % 8));
	}
	w->n_seen += n;
	if (w->progress && w->progress->fn && w->n_seen % 4096 < n)
		w->progress->fn(w->progress->ctx, w->n_seen, w->pages);
	return true;
}

/* Value of a node; a large one lies in pages of its own. */
static mica_rc node_value(struct walk *w, struct tree *t, uint64_t pgno, const uint8_t *node,
	size_t room, struct mica_slice *out)
{
	size_t key = u16(node + 6);
	uint64_t len = (uint64_t)u16(node) | (uint64_t)u16(node + 2) << 16, n, first;
	const uint8_t *page;

	*out = mica_slice(node + NODE_HEAD + key, len);
	if (!(u16(node + 4) & F_BIGDATA))
		return NODE_HEAD + key + len <= room
			? MICA_OK
			: bad(w->e, w->path, pgno, "a value ends behind its page");
	if (NODE_HEAD + key + 8 > room)
		return bad(w->e, w->path, pgno, "a value ends behind its page");
	first = u64(node + NODE_HEAD + key);
	n = (PAGE_HEAD - 1 + len) / w->size + 1;
	if (!mark(w, first, n))
		return bad(w->e, w->path, pgno, "a large value lies where it cannot");
	page = w->map + first * w->size;
	if (u64(page) != first || u16(page + 10) != P_OVERFLOW ||
		((uint64_t)u16(page + 12) | (uint64_t)u16(page + 14) << 16) != n)
		return bad(w->e, w->path, first, "no head of a large value");
	*out = mica_slice(page + PAGE_HEAD, len);
	t->overflow += n;
	return MICA_OK;
}

/* Keys ascend over the whole tree. */
static bool key_follows(struct tree *t, struct mica_slice key)
{
	bool ok;

	if (key.len == 0 || key.len > 511 || (t->integer_keys && key.len != 8))
		return false;
	if (t->last_key.p == NULL)
		ok = true;
	else if (t->integer_keys)
		ok = u64(t->last_key.p) < u64(key.p);
	else
		ok = mica_slice_cmp(t->last_key, key) < 0;
	t->last_key = key;
	return ok;
}

/* A list of free pages: its length, then page numbers that fall. */
static mica_rc check_free(struct walk *w, uint64_t pgno, struct mica_slice v)
{
	uint64_t n, last = UINT64_MAX;

	if (v.len < 8 || v.len % 8 != 0 || (n = u64(v.p)) != v.len / 8 - 1)
		return bad(w->e, w->path, pgno, "a list of free pages has a wrong length");
	for (uint64_t i = 0; i < n; i++) {
		uint64_t page = u64(v.p + 8 + 8 * i);

		if (page >= last || !mark(w, page, 1))
			return bad(w->e, w->path, pgno, "a free page is in use, or free twice");
		last = page;
	}
	return MICA_OK;
}

static mica_rc check_leaf_node(
	struct walk *w, struct tree *t, uint64_t pgno, const uint8_t *node, size_t room)
{
	unsigned flags = u16(node + 4);
	struct mica_slice v;
	struct db sub;
	mica_rc rc;

	if (flags != 0 && flags != F_BIGDATA && !(t->main && flags == F_SUBDATA))
		return bad(w->e, w->path, pgno, "a node of a kind that we do not write");
	if (!key_follows(t, mica_slice(node + NODE_HEAD, u16(node + 6))))
		return bad(w->e, w->path, pgno, "keys out of order");
	rc = node_value(w, t, pgno, node, room, &v);
	if (rc != MICA_OK)
		return rc;
	t->entries++;
	if (t->integer_keys)
		return check_free(w, pgno, v);
	if (flags != F_SUBDATA)
		return MICA_OK;
	if (v.len != sizeof(sub))
		return bad(w->e, w->path, pgno, "a table without its head");
	memcpy(&sub, v.p, sizeof(sub));
	return walk_tree(w, &sub, false, false);
}

static mica_rc walk_page(struct walk *w, struct tree *t, uint64_t pgno, unsigned depth)
{
	const uint8_t *page = w->map + pgno * w->size;
	bool leaf = depth == t->db->depth;
	size_t lower, upper;
	mica_rc rc = MICA_OK;

	if (!mark(w, pgno, 1))
		return bad(w->e, w->path, pgno, "out of range, or used twice");
	lower = u16(page + 12);
	upper = u16(page + 14);
	if (u64(page) != pgno || u16(page + 10) != (leaf ? P_LEAF : P_BRANCH) ||
		lower < PAGE_HEAD || lower % 2 != 0 || upper < lower || upper > w->size)
		return bad(w->e, w->path, pgno, "its head is wrong");
	/* A branch has at least two children, a leaf below the root at least one entry. */
	if ((lower - PAGE_HEAD) / 2 < (leaf ? 1U : 2U))
		return bad(w->e, w->path, pgno, "it is empty");
	leaf ? t->leaf++ : t->branch++;
	for (size_t at = PAGE_HEAD; at < lower && rc == MICA_OK; at += 2) {
		size_t off = u16(page + at);
		const uint8_t *node = page + off;

		if (off < upper || off % 2 != 0 || off + NODE_HEAD > w->size ||
			off + NODE_HEAD + u16(node + 6) > w->size)
			return bad(w->e, w->path, pgno, "a node lies outside");
		if (leaf)
			rc = check_leaf_node(w, t, pgno, node, w->size - off);
		else
			rc = walk_page(w, t,
				(uint64_t)u16(node) | (uint64_t)u16(node + 2) << 16 |
					(uint64_t)u16(node + 4) << 32,
				depth + 1);
	}
	return rc;
}

static mica_rc walk_tree(struct walk *w, const struct db *db, bool is_free, bool is_main)
{
	struct tree t = {db, is_free, is_main, 0, 0, 0, 0, MICA_SLICE_NULL};
	mica_rc rc;

	/* MDB_INTEGERKEY is the free list's alone, whose other bits are the environment's. */
	if ((db->flags & 0x7e) != (is_free ? 8 : 0))
		return bad(w->e, w->path, 0, "a table of a kind that we do not write");
	if (db->root == UINT64_MAX)
		return db->entries == 0 && db->depth == 0
			? MICA_OK
			: bad(w->e, w->path, 0, "a table without a root is not empty");
	if (db->depth < 1 || db->depth > DEPTH_MAX)
		return bad(w->e, w->path, 0, "a table of impossible depth");
	rc = walk_page(w, &t, db->root, 1);
	if (rc != MICA_OK)
		return rc;
	if (t.entries != db->entries || t.leaf != db->leaf || t.branch != db->branch ||
		t.overflow != db->overflow)
		return bad(w->e, w->path, db->root, "a table does not hold what its head counts");
	return MICA_OK;
}

static mica_rc walk_file(int fd, struct walk *w, const struct meta *m)
{
	mica_rc rc;

	w->size = m->dbs[0].page_size;
	w->pages = m->last_page + 1;
	w->map = mmap(NULL, w->pages * w->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (w->map == MAP_FAILED)
		return mica_fail_errno(w->e, errno, "%s", w->path);
	w->seen = mica_calloc(w->pages / 8 + 1, 1);
	/* The trees first: a free page that one of them uses then shows. */
	rc = walk_tree(w, &m->dbs[1], false, true);
	if (rc == MICA_OK)
		rc = walk_tree(w, &m->dbs[0], true, false);
	mica_free(w->seen);
	munmap((void *)(uintptr_t)w->map, w->pages * w->size);
	return rc;
}

mica_rc mica_store_check_file(const char *path, const struct mica_progress *p, struct mica_err *e)
{
	MICA_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct walk w = {.path = path, .progress = p, .e = e};
	struct meta m;
	mica_rc rc;

	if (fd < 0)
		return mica_fail_errno(e, errno, "%s", path);
	rc = check_meta(fd, path, &m, e);
	return rc == MICA_OK ? walk_file(fd, &w, &m) : rc;
}
