/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Durability. kill -9 proves atomicity only: the page cache survives it. So the system calls with
 * which LMDB writes and syncs are taken over here and a second file is kept, which holds what a
 * disk would hold after a power cut: writes reach it when they are synced, any part of the others
 * may. It is opened at many instants, and each entry that a commit answered for must be in it. The
 * same test fails for a store that does not sync: that is the control.
 */
#define _GNU_SOURCE /* memmem, O_DSYNC */
#include "fill.h"

#include "mica/file.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define IMAGE_MAX ((size_t)24 << 20)
#define CUTS_MAX  400

/* ---- the disk ------------------------------------------------------------------------------ */

struct pending {
	size_t at, len;
	uint8_t *bytes;
};

static struct {
	bool on, syncs_lost;
	ino_t inode;
	uint8_t *image; /* what is on the disk for certain */
	size_t size;
	struct pending pending[4096]; /* written, not synced */
	unsigned n_pending;
	uint64_t acked; /* size of the tree that was answered for */
	unsigned seed;
	unsigned writes, syncs, n_cuts, every;
	uint64_t data_before_meta; /* a meta page was written while data were pending */
	void (*cut)(void);
} disk;

static unsigned dice(unsigned n)
{
	disk.seed = disk.seed * 1103515245U + 12345U;
	return (disk.seed >> 16) % n;
}

static bool ours(int fd)
{
	struct stat st;

	return disk.on && fstat(fd, &st) == 0 && st.st_ino == disk.inode;
}

static void instant(void)
{
	if (disk.on && disk.cut && disk.n_cuts < CUTS_MAX && dice(disk.every) == 0)
		disk.cut();
}

static void to_disk(const void *p, size_t len, size_t at)
{
	assert_true(at + len <= IMAGE_MAX);
	memcpy(disk.image + at, p, len);
	if (at + len > disk.size)
		disk.size = at + len;
}

static void wrote(int fd, const void *p, size_t len, off_t at)
{
	if (!ours(fd))
		return;
	disk.writes++;
	if (at < 8192 && disk.n_pending > 0)
		disk.data_before_meta++;
	if (fcntl(fd, F_GETFL) & O_DSYNC) {
		to_disk(p, len, (size_t)at);
	} else {
		assert_true(disk.n_pending < MICA_ARRAY_LEN(disk.pending));
		disk.pending[disk.n_pending++] =
			(struct pending){(size_t)at, len, mica_memdup(p, len)};
	}
	instant();
}

static void synced(int fd)
{
	if (!ours(fd))
		return;
	instant();
	disk.syncs++;
	for (unsigned i = 0; i < disk.n_pending; i++) {
		to_disk(disk.pending[i].bytes, disk.pending[i].len, disk.pending[i].at);
		mica_free(disk.pending[i].bytes);
	}
	disk.n_pending = 0;
	instant();
}

/* ---- the system calls, in front of the C library's ---------------------------------------------
 */

#define FRONT __attribute__((visibility("default")))

FRONT ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	ssize_t r = syscall(SYS_pwrite64, fd, p, n, at);

	if (r > 0)
		wrote(fd, p, (size_t)r, at);
	return r;
}
FRONT ssize_t pwrite64(int fd, const void *p, size_t n, off_t at);
FRONT ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
	return pwrite(fd, p, n, at);
}

FRONT ssize_t write(int fd, const void *p, size_t n)
{
	off_t at = ours(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
	ssize_t r = syscall(SYS_write, fd, p, n);

	if (r > 0)
		wrote(fd, p, (size_t)r, at);
	return r;
}

static void wrote_vector(int fd, const struct iovec *v, int n, off_t at, ssize_t done)
{
	for (int i = 0; i < n && done > 0; i++) {
		size_t len = (size_t)done < v[i].iov_len ? (size_t)done : v[i].iov_len;

		wrote(fd, v[i].iov_base, len, at);
		at += (off_t)len;
		done -= (ssize_t)len;
	}
}

FRONT ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	ssize_t r = syscall(SYS_pwritev, fd, v, n, at, 0L);

	wrote_vector(fd, v, n, at, r);
	return r;
}

FRONT ssize_t writev(int fd, const struct iovec *v, int n)
{
	off_t at = ours(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
	ssize_t r = syscall(SYS_writev, fd, v, n);

	wrote_vector(fd, v, n, at, r);
	return r;
}

FRONT int fdatasync(int fd)
{
	int r = (int)syscall(SYS_fdatasync, fd);

	if (r == 0)
		synced(fd);
	return r;
}

FRONT int fsync(int fd)
{
	int r = (int)syscall(SYS_fsync, fd);

	if (r == 0)
		synced(fd);
	return r;
}

/* ---- power cuts ---------------------------------------------------------------------------- */

static struct fill fill;
static struct mica_signer *signer;
static char home[64], wreck[64];
static struct mica_buf guard_bytes;
static unsigned lost, torn;

static void path_in(const char *dir, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", dir, name);
}

/* The disk after a cut now: what was synced, and any part of what was not, in sectors. */
static void write_wreck(void)
{
	MICA_AUTO_FREE uint8_t *copy = mica_memdup(disk.image, IMAGE_MAX);
	char path[128];
	size_t size = disk.size;

	for (unsigned i = 0; i < disk.n_pending; i++) {
		const struct pending *p = &disk.pending[i];

		for (size_t at = 0; at < p->len; at += 512)
			if (dice(2))
				memcpy(copy + p->at + at, p->bytes + at,
					p->len - at < 512 ? p->len - at : 512);
		if (p->at + p->len > size)
			size = p->at + p->len;
	}
	path_in(wreck, "store.lmdb", path);
	assert_ok(mica_file_write_atomic(path, mica_slice(copy, size), 0600, e));
	path_in(wreck, "checkpoint", path);
	assert_ok(mica_file_write_atomic(path, mica_buf_slice(&guard_bytes), 0600, e));
}

/* Whether everything that was answered for is there, and the tree is one. */
static bool survives(uint64_t acked)
{
	struct mica_store *s = NULL;
	struct mica_ledger *l = NULL;
	struct mica_check_report r;
	char path[128];
	bool ok;

	path_in(wreck, "store.lmdb", path);
	/* What is not synced can look like anything: LMDB itself must not see it. */
	ok = mica_store_check_file(path, NULL, NULL) == MICA_OK &&
		mica_store_open(wreck, NULL, &s, NULL) == MICA_OK &&
		mica_ledger_open(s, signer, NULL, &l, NULL) == MICA_OK &&
		mica_ledger_size(l) >= acked && mica_ledger_check(l, NULL, &r, NULL) == MICA_OK;
	mica_ledger_close(l);
	mica_store_close(s);
	path_in(wreck, "store.lmdb-lock", path);
	unlink(path);
	return ok;
}

static void cut(void)
{
	bool was = disk.on;

	disk.on = false;
	disk.n_cuts++;
	torn += disk.n_pending > 0;
	write_wreck();
	lost += !survives(disk.acked);
	disk.on = was;
}

static void disk_start(unsigned every)
{
	char path[128];
	struct stat st;
	MICA_AUTO_BUF b;

	path_in(home, "store.lmdb", path);
	mica_buf_init(&b, IMAGE_MAX);
	assert_ok(mica_file_read(path, &b, e));
	memcpy(disk.image, b.p, b.len);
	disk.size = b.len;
	assert_int_equal(stat(path, &st), 0);
	disk.inode = st.st_ino;
	disk.writes = disk.syncs = disk.n_cuts = disk.n_pending = 0;
	disk.data_before_meta = 0;
	disk.acked = 0;
	disk.every = every;
	disk.cut = cut;
	lost = torn = 0;
	disk.on = true;
}

static void disk_stop(void)
{
	disk.on = false;
	for (unsigned i = 0; i < disk.n_pending; i++)
		mica_free(disk.pending[i].bytes);
	disk.n_pending = 0;
}

static void clean(const char *dir)
{
	static const char *const names[] = {"store.lmdb", "store.lmdb-lock", "checkpoint"};
	char path[128];

	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++) {
		path_in(dir, names[i], path);
		unlink(path);
	}
}

/* The same run every time, unless MICA_SEED asks for another (`make proof` does). */
static unsigned test_seed(unsigned otherwise)
{
	const char *text = mica_env("MICA_SEED");
	uint64_t seed = otherwise;

	if (text)
		assert_int_equal(mica_parse_u64(mica_slice_str(text), UINT32_MAX, &seed), MICA_OK);
	return (unsigned)seed;
}

static int setup(void **state)
{
	char path[128];
	struct mica_store *s = NULL;

	(void)state;
	snprintf(home, sizeof(home), "/tmp/mica-durable-XXXXXX");
	snprintf(wreck, sizeof(wreck), "/tmp/mica-wreck-XXXXXX");
	assert_non_null(mkdtemp(home));
	assert_non_null(mkdtemp(wreck));
	disk.image = mica_alloc(IMAGE_MAX);
	disk.seed = test_seed(20261124);
	fill_init(&fill);
	assert_ok(mica_signer_generate(MICA_KN_ED25519, &signer, e));
	assert_ok(mica_store_create(home, NULL, &s, e));
	assert_ok(mica_ledger_create(s, "example.org/log/1122334455667788", signer, 1, e));
	assert_ok(mica_store_complete(s, e));
	mica_store_close(s);
	path_in(home, "checkpoint", path);
	mica_buf_init(&guard_bytes, 4096);
	assert_ok(mica_file_read(path, &guard_bytes, e));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	clean(home);
	clean(wreck);
	rmdir(home);
	rmdir(wreck);
	mica_buf_clear(&guard_bytes);
	mica_free(disk.image);
	mica_signer_free(signer);
	fill_clear(&fill);
	return 0;
}

/* Commits of several sizes, sealing and indexing among them; an instant after each answer, and at
 * random in between. */
static void load(const struct mica_store_options *o, unsigned commits, unsigned every)
{
	struct mica_store *s = NULL;
	struct mica_ledger *l = NULL;

	assert_ok(mica_store_open(home, o, &s, e));
	assert_ok(mica_ledger_open(s, signer, NULL, &l, e));
	disk_start(every);
	for (unsigned i = 0; i < commits; i++) {
		uint64_t to = mica_ledger_size(l) + 1 + i % 7 * 9;

		fill_ledger(&fill, l, to, 64);
		disk.acked = to;
		/* the answer goes out now */
		if (i % 8 == 0)
			cut();
		if (i % 40 == 39)
			assert_ok(mica_ledger_maintain(l, NULL, e));
	}
	disk_stop();
	mica_ledger_close(l);
	mica_store_close(s);
}

static void power_cuts(void **state)
{
	(void)state;
	load(NULL, 90, 12);
	print_message("%u writes, %u syncs, %u cuts, %u with unsynced data: %u lost\n", disk.writes,
		disk.syncs, disk.n_cuts, torn, lost);
	assert_true(disk.writes > 500 && disk.syncs >= 90);
	assert_true(disk.n_cuts > 50 && torn > 10);
	assert_int_equal(disk.data_before_meta, 0);
	assert_int_equal(lost, 0);
}

/* The control: without syncs this test must fail, or it proves nothing. */
static void control_without_syncs(void **state)
{
	const struct mica_store_options o = {.test_nosync = true};

	(void)state;
	load(&o, 30, 12);
	print_message("control: %u writes, %u syncs, %u cuts: %u lost\n", disk.writes, disk.syncs,
		disk.n_cuts, lost);
	assert_int_equal(disk.syncs, 0);
	assert_true(lost > 0);
	assert_true(disk.data_before_meta > 0);
}

/* ---- kill -9 ------------------------------------------------------------------------------- */

struct shared {
	atomic_uint_fast64_t acked;
	struct mica_hash root; /* of that tree */
	atomic_uint sequence; /* odd while it is being written */
};

static void victim(struct shared *sh)
{
	struct mica_store *s = NULL;
	struct mica_ledger *l = NULL;
	struct mica_log_head head;

	if (mica_store_open(home, NULL, &s, NULL) != MICA_OK ||
		mica_ledger_open(s, signer, NULL, &l, NULL) != MICA_OK)
		_exit(1);
	for (unsigned i = 0;; i++) {
		fill_ledger(&fill, l, mica_ledger_size(l) + 1 + i % 5 * 3, 16);
		mica_ledger_head(l, &head);
		atomic_fetch_add(&sh->sequence, 1);
		sh->root = head.root;
		atomic_store(&sh->acked, head.size);
		atomic_fetch_add(&sh->sequence, 1);
		if (i % 16 == 15 && mica_ledger_maintain(l, NULL, NULL) != MICA_OK)
			_exit(1);
	}
}

static mica_rc tile_of(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e)
{
	const struct mica_tile_id id = {false, level, n, width};
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, MICA_TILE_BYTES);
	rc = mica_ledger_tile(ctx, &id, &b, e);
	if (rc == MICA_OK)
		memcpy(out, b.p, b.len);
	return rc;
}

static void after_kill(const struct shared *sh, bool whole)
{
	struct mica_store *s = NULL;
	struct mica_ledger *l = NULL;
	uint64_t acked = atomic_load(&sh->acked);
	struct mica_check_report r;
	struct mica_hash root;

	assert_ok(mica_store_open(home, NULL, &s, e));
	assert_ok(mica_ledger_open(s, signer, NULL, &l, e));
	assert_true(mica_ledger_size(l) >= acked);
	/* What was answered for is the beginning of what there is. */
	if (acked > 0 && atomic_load(&sh->sequence) % 2 == 0) {
		assert_ok(mica_merkle_root(tile_of, l, acked, &root, e));
		assert_true(mica_hash_eq(&root, &sh->root));
	}
	if (whole)
		assert_ok(mica_ledger_check(l, NULL, &r, e));
	mica_ledger_close(l);
	mica_store_close(s);
}

static void wait_for_answers(const struct shared *sh)
{
	uint64_t before = atomic_load(&sh->acked);

	for (unsigned i = 0; i < 60000 && atomic_load(&sh->acked) == before; i++)
		usleep(1000);
}

static void kills(void **state)
{
	struct shared *sh =
		mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned cycles = 100;

	(void)state;
	assert_ptr_not_equal(sh, MAP_FAILED);
	fflush(NULL);
	for (unsigned i = 0; i < cycles; i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			victim(sh);
		/* at its start, or while it answers, however slow the machine is */
		if (i % 2)
			wait_for_answers(sh);
		usleep(3000 + dice(9000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		after_kill(sh, i == cycles - 1);
		atomic_store(&sh->sequence, 0);
	}
	print_message("%u kills, %llu entries answered for\n", cycles,
		(unsigned long long)atomic_load(&sh->acked));
	assert_true(atomic_load(&sh->acked) >= cycles / 2);
	munmap(sh, sizeof(*sh));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(power_cuts, setup, teardown),
		cmocka_unit_test_setup_teardown(control_without_syncs, setup, teardown),
		cmocka_unit_test_setup_teardown(kills, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
