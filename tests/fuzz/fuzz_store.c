/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store's file that was damaged: what the walk over its pages lets through can be opened,
 * read and written without harm. The input is a list of changes to a good file: page (1), offset
 * (2), new octet (1); the first octet says whether the file is cut off as well.
 */
#include "mica/store.h"
#include "mica/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], path[96];
static struct mica_buf good;

static void clean(void)
{
	char lock[112];

	snprintf(lock, sizeof(lock), "%s-lock", path);
	unlink(lock);
	unlink(path);
	rmdir(dir);
	mica_buf_clear(&good);
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

static mica_rc put(struct mica_store *s, enum mica_table t, const char *key, size_t len)
{
	static uint8_t value[9000];
	struct mica_write w = {t, MICA_PUT, mica_slice_str(key), mica_slice(value, len)};
	struct mica_change c = {.writes = &w, .n_writes = 1};

	return t < MICA_T_RECORD_END ? mica_store_commit(s, &c, 1, NULL, NULL)
				     : mica_store_apply(s, &w, 1, NULL);
}

static void prepare(void)
{
	struct mica_store *s;
	struct stat st;
	char key[32];

	snprintf(dir, sizeof(dir), "/tmp/mica-fuzz-XXXXXX");
	must(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/store.lmdb", dir);
	must(mica_store_create(dir, NULL, &s, NULL) == MICA_OK);
	for (unsigned i = 0; i < 120; i++) {
		snprintf(key, sizeof(key), "key-%03u", i);
		must(put(s, i % 3 ? MICA_T_SNAPSHOT : MICA_T_TILE, key, i * 70) == MICA_OK);
	}
	must(mica_store_complete(s, NULL) == MICA_OK);
	mica_store_close(s);
	mica_buf_init(&good, 4 << 20);
	must(stat(path, &st) == 0 && mica_file_read(path, &good, NULL) == MICA_OK);
	/* the part that is allocated ahead is not needed */
	atexit(clean);
}

static bool look(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	unsigned *sum = ctx;

	for (size_t i = 0; i < value.len; i++)
		*sum += value.p[i];
	*sum += (unsigned)key.len + (unsigned)rev;
	return true;
}

static void use(struct mica_store *s)
{
	unsigned sum = 0;

	for (unsigned t = MICA_T_META; t < MICA_T_END; t++) {
		struct mica_scan scan = {.table = (enum mica_table)t};

		if (t < MICA_T_RECORD_END || t >= MICA_T_ENTRY)
			(void)!mica_store_list(s, &scan, look, &sum, NULL);
	}
	(void)!put(s, MICA_T_SNAPSHOT, "key-050", 8000);
	(void)!put(s, MICA_T_META, "new", 10);
	(void)!put(s, MICA_T_TILE, "key-051", 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_store *s = NULL;
	int fd;

	if (good.len == 0)
		prepare();
	fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
	must(fd >= 0 && write(fd, good.p, good.len) == (ssize_t)good.len);
	if (size > 0 && data[0] & 1)
		must(ftruncate(fd, (off_t)good.len - data[0] * 2048) == 0);
	for (size_t i = 1; i + 4 <= size && i < 200; i += 4)
		must(pwrite(fd, data + i + 3, 1,
			     data[i] * 4096 + (data[i + 1] << 8 | data[i + 2]) % 4096) == 1);
	close(fd);
	if (mica_store_check_file(path, NULL, NULL) == MICA_OK &&
		mica_store_open(dir, NULL, &s, NULL) == MICA_OK) {
		use(s);
		mica_store_close(s);
	}
	return 0;
}
