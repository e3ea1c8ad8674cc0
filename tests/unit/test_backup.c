/* SPDX-License-Identifier: Apache-2.0 */
/* Backup, restore and export of a ledger in LMDB. */
#define _GNU_SOURCE /* memmem */
#include "fill.h"

#include "mica/file.h"

#include <ftw.h>
#include <sys/stat.h>

static struct fill fill;
static struct mica_signer *signer;
static char root[64], home[128], file[128], manifest[160], target[128];

static int setup(void **state)
{
	(void)state;
	fill_init(&fill);
	return mica_signer_generate(MICA_KN_ED25519, &signer, NULL) != MICA_OK;
}

static int teardown(void **state)
{
	(void)state;
	fill_clear(&fill);
	mica_signer_free(signer);
	return 0;
}

static int make(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/mica-backup-XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(home, sizeof(home), "%s/store", root);
	snprintf(file, sizeof(file), "%s/backup", root);
	snprintf(manifest, sizeof(manifest), "%s/backup.manifest", root);
	snprintf(target, sizeof(target), "%s/restored", root);
	return 0;
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(path);
}

static int unmake(void **state)
{
	(void)state;
	return nftw(root, drop, 16, FTW_DEPTH | FTW_PHYS);
}

static void start(struct mica_store **s, struct mica_ledger **l)
{
	struct mica_write w = {
		MICA_T_AUTHORITY, MICA_PUT, MICA_LIT("root"), MICA_LIT("certificate")};
	struct mica_change c = {.writes = &w, .n_writes = 1};
	char origin[MICA_NOTE_NAME_MAX];

	assert_ok(mica_store_create(home, NULL, s, e));
	mica_ledger_origin(TD, origin);
	assert_ok(mica_ledger_create(*s, origin, signer, NOW * 1000, e));
	assert_ok(mica_ledger_open(*s, signer, NULL, l, e));
	assert_ok(mica_ledger_commit(*l, &c, 1, NOW * 1000, e));
	assert_ok(mica_store_complete(*s, e));
}

static void checkpoint_of(struct mica_ledger *l, struct mica_buf *out)
{
	struct mica_log_head head;

	mica_ledger_head(l, &head);
	mica_buf_init(out, sizeof(head.note));
	mica_buf_put(out, head.note, head.note_len);
}

static uint64_t told;

static void progress(void *ctx, uint64_t done, uint64_t all)
{
	(void)ctx;
	assert_true(done <= all || all == 0);
	told++;
}

static void checked(struct mica_ledger *l, uint64_t entries)
{
	const struct mica_progress p = {progress, NULL};
	struct mica_check_report r;

	told = 0;
	assert_ok(mica_ledger_check(l, &p, &r, e));
	assert_int_equal(r.entries, entries);
	assert_true(told > 0);
}

/* There, more is issued, lost, and back: the new log says what may be missing. */
static void round_trip(void **state)
{
	struct mica_store *s = NULL, *r = NULL;
	struct mica_ledger *l = NULL, *m = NULL;
	struct mica_restore_report report;
	struct mica_restore how = {.signer = signer, .now_ms = NOW * 1000 + 5000000};
	struct mica_proof proof;
	struct mica_log_head head;
	struct mica_entry en;
	char origin[MICA_NOTE_NAME_MAX];
	uint64_t index;
	uint8_t serial[16];
	MICA_AUTO_BUF known, entry;

	(void)state;
	start(&s, &l);
	fill_ledger(&fill, l, 5000, 100);
	fill_maintain(l);
	fill_ledger(&fill, l, 5300, 100);
	assert_ok(mica_ledger_backup(
		l, file, NOW * 1000, &(struct mica_progress){progress, NULL}, e));
	assert_refused(MICA_CONFLICT, "exists_already", mica_ledger_backup(l, file, 0, NULL, e));
	fill_ledger(&fill, l, 5333, 100); /* after the backup: lost */
	checkpoint_of(l, &known);
	mica_ledger_close(l);
	mica_store_close(s);
	/* not into what is there */
	assert_refused(MICA_CONFLICT, "store_exists", mica_backup_open(file, home, NULL, &r, e));
	assert_ok(mica_backup_open(file, target, NULL, &r, e));
	mica_ledger_origin(TD, origin);
	how.new_origin = origin;
	how.known_checkpoint = mica_buf_slice(&known);
	assert_ok(mica_ledger_restart(r, &how, &report, e));
	assert_int_equal(report.lost_from, 5300);
	assert_int_equal(report.lost_to, 5333);
	assert_int_equal(report.backup_now_ms, fill_time(5300));
	assert_ok(mica_store_complete(r, e));
	mica_store_close(r);
	r = NULL;
	assert_ok(mica_store_open(target, NULL, &r, e));
	assert_ok(mica_ledger_open(r, signer, NULL, &m, e));
	assert_string_equal(mica_ledger_key(m)->name, origin);
	assert_string_not_equal(report.old_origin, origin);
	assert_int_equal(mica_ledger_size(m), 5301);
	/* The entry of the gap names the old log's last known checkpoint. */
	mica_buf_init(&entry, MICA_ENTRY_MAX);
	assert_ok(mica_ledger_entry(m, 5300, &entry, e));
	assert_ok(mica_entry_decode(mica_buf_slice(&entry), &en, e));
	assert_int_equal(en.type, MICA_ENTRY_LOG);
	assert_true(mica_slice_eq_str(en.action, "restored"));
	assert_non_null(memmem(en.detail.p, en.detail.len, "\"lost_to\":5333", 14));
	assert_non_null(
		memmem(en.detail.p, en.detail.len, report.old_origin, strlen(report.old_origin)));
	/* What was recorded before is found as before, and proved under the new name. */
	fill_serial(4242, serial);
	assert_ok(mica_ledger_by_serial(m, serial, &index, e));
	assert_int_equal(index, 4242);
	checked(m, 5301);
	fill_ledger(&fill, m, 5400, 50);
	mica_ledger_head(m, &head);
	assert_ok(mica_ledger_consistency(m, 5300, head.size, &proof, e));
	mica_ledger_close(m);
	mica_store_close(r);
}

static void without_knowledge(void **state)
{
	struct mica_store *s = NULL, *r = NULL;
	struct mica_ledger *l = NULL;
	struct mica_restore_report report;
	struct mica_restore how = {
		.signer = signer, .now_ms = NOW * 1000 + 1, .new_origin = "example.org/log/x"};
	MICA_AUTO_SIGNER stranger = NULL;

	(void)state;
	start(&s, &l);
	fill_ledger(&fill, l, 10, 10);
	assert_ok(mica_ledger_backup(l, file, NOW * 1000, NULL, e));
	assert_ok(mica_backup_open(file, target, NULL, &r, e));
	how.new_origin = mica_ledger_key(l)->name;
	assert_refused(MICA_INVALID, "origin_reused", mica_ledger_restart(r, &how, &report, e));
	how.new_origin = "example.org/log/x";
	how.known_checkpoint = MICA_LIT("nonsense\n\n\xe2\x80\x94 n AAAAAAAA\n");
	assert_refused(MICA_CORRUPT, "note_unsigned", mica_ledger_restart(r, &how, &report, e));
	how.known_checkpoint = MICA_SLICE_NULL;
	assert_ok(mica_signer_generate(MICA_KN_ED25519, &stranger, e));
	how.signer = stranger;
	assert_refused(MICA_CORRUPT, "note_unsigned", mica_ledger_restart(r, &how, &report, e));
	how.signer = signer;
	assert_ok(mica_ledger_restart(r, &how, &report, e));
	assert_int_equal(report.lost_from, 10);
	assert_int_equal(report.lost_to, 10);
	mica_store_close(r);
	mica_ledger_close(l);
	mica_store_close(s);
}

static void spoil_file(const char *path, size_t at)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 64 << 20);
	assert_ok(mica_file_read(path, &b, e));
	assert_true(at < b.len);
	b.p[at] ^= 1;
	assert_ok(mica_file_write_atomic(path, mica_buf_slice(&b), 0600, e));
}

static void refuses(void **state)
{
	struct mica_store *s = NULL, *r = NULL;
	struct mica_ledger *l = NULL;

	(void)state;
	start(&s, &l);
	fill_ledger(&fill, l, 300, 100);
	assert_refused(MICA_NOT_FOUND, "no_such_file", mica_backup_open(file, target, NULL, &r, e));
	assert_ok(mica_ledger_backup(l, file, NOW * 1000, NULL, e));
	spoil_file(file, 20000);
	assert_refused(MICA_CORRUPT, "backup_damaged", mica_backup_open(file, target, NULL, &r, e));
	spoil_file(file, 20000);
	spoil_file(manifest, 1);
	assert_refused(
		MICA_CORRUPT, "backup_manifest", mica_backup_open(file, target, NULL, &r, e));
	spoil_file(manifest, 1);
	spoil_file(manifest, 16); /* its format */
	assert_refused(
		MICA_CORRUPT, "backup_manifest", mica_backup_open(file, target, NULL, &r, e));
	spoil_file(manifest, 16);
	assert_int_equal(access(target, F_OK), -1); /* nothing was made */
	assert_ok(mica_backup_open(file, target, NULL, &r, e));
	mica_store_close(r);
	mica_ledger_close(l);
	mica_store_close(s);
}

static uint64_t size_of(const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", target, name);
	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void exports(void **state)
{
	struct mica_store *s = NULL;
	struct mica_ledger *l = NULL;
	struct stat before, after;
	char path[256];

	(void)state;
	start(&s, &l);
	fill_ledger(&fill, l, 700, 100);
	assert_ok(mica_ledger_export(l, target, false, NULL, e));
	assert_int_equal(size_of("tile/0/000"), 8192);
	assert_int_equal(size_of("tile/0/002.p/188"), 188 * 32);
	assert_int_equal(size_of("tile/1/000.p/2"), 64);
	assert_int_equal(size_of("tile/entries/000"), 0); /* public: no entries */
	assert_true(size_of("checkpoint") > 100);
	snprintf(path, sizeof(path), "%s/tile/0/000", target);
	assert_int_equal(stat(path, &before), 0);
	fill_ledger(&fill, l, 800, 100);
	assert_ok(mica_ledger_export(l, target, true, NULL, e));
	assert_true(size_of("tile/entries/000") > 100000); /* all of them, the first time */
	assert_int_equal(size_of("tile/0/002"), 8192);
	assert_int_equal(size_of("tile/0/002.p/188"), 0); /* the full one is there */
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino); /* not written again */
	mica_ledger_close(l);
	mica_store_close(s);
}

#define in_dir(t) cmocka_unit_test_setup_teardown(t, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(round_trip),
		in_dir(without_knowledge),
		in_dir(refuses),
		in_dir(exports),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
