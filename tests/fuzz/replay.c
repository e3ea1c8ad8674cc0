/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main of a fuzz target where there is no fuzzing engine: runs every file that is named, or
 * the committed corpus of the target (fuzz_x: tests/fuzz/corpus/x). So each compiler and each
 * `make check` meets all inputs that ever mattered.
 */
#include "mica/file.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static bool replay(const char *path)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF b;
	size_t len;

	mica_buf_init(&b, 16 << 20);
	if (mica_file_read(path, &b, &e) != MICA_OK) {
		fprintf(stderr, "%s\n", e.text);
		return false;
	}
	/* a block of exactly its size, so that a sanitizer sees the first byte read past it */
	len = b.len;
	MICA_AUTO_FREE uint8_t *exact = mica_memdup(b.p, len);

	LLVMFuzzerTestOneInput(exact, len);
	return true;
}

static int replay_folder(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *entry;
	unsigned n = 0, failed = 0;

	if (d == NULL) {
		fprintf(stderr, "%s: no corpus\n", folder);
		return 1;
	}
	while ((entry = readdir(d))) {
		MICA_AUTO_BUF path;

		if (entry->d_name[0] == '.')
			continue;
		mica_buf_init(&path, 4096);
		mica_buf_printf(&path, "%s/%s", folder, entry->d_name);
		failed += !replay((const char *)path.p);
		n++;
	}
	closedir(d);
	printf("%u inputs of %s\n", n, folder);
	return n == 0 || failed > 0;
}

int main(int argc, char **argv)
{
	const char *top = mica_env("MICA_SRCDIR"), *name = strrchr(argv[0], '_');
	MICA_AUTO_BUF folder;
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= !replay(argv[i]);
	if (argc > 1)
		return failed;
	mica_buf_init(&folder, 4096);
	mica_buf_printf(&folder, "%s/tests/fuzz/corpus/%s", top ? top : ".", name ? name + 1 : "");
	return replay_folder((const char *)folder.p);
}
