/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <string.h>

/* Without formatting: there is no memory to format with. */
_Noreturn static void out_of_memory(void)
{
	static const char text[] = "mica: out of memory\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(75);
	abort();
}

static size_t product(size_t n, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(n, size, &total) || total > PTRDIFF_MAX)
		out_of_memory();
	return total ? total : 1;
}

void mica_mem_tune(void)
{
	/* by default a thread's heap grows page by page, with an mprotect(2) each, and shrinks
	 * again */
	mallopt(M_TOP_PAD, 1 << 20);
	mallopt(M_TRIM_THRESHOLD, 16 << 20);
	/* the thread's own cache holds what is small; these lists are only merged again and again
	 */
	mallopt(M_MXFAST, 0);
}

void *mica_calloc(size_t n, size_t size)
{
	void *p = calloc(1, product(n, size));

	if (p == NULL)
		out_of_memory();
	return p;
}

void *mica_alloc(size_t size)
{
	return mica_calloc(1, size);
}

void *mica_realloc(void *p, size_t n, size_t size)
{
	void *fresh = realloc(p, product(n, size));

	if (fresh == NULL)
		out_of_memory();
	return fresh;
}

void *mica_memdup(const void *p, size_t n)
{
	void *fresh = mica_alloc(n);

	if (n > 0)
		memcpy(fresh, p, n);
	return fresh;
}

char *mica_strndup(const char *s, size_t n)
{
	size_t len;
	char *fresh;

	if (s == NULL)
		return NULL;
	len = strnlen(s, n);
	fresh = mica_calloc(len + 1, 1);
	memcpy(fresh, s, len);
	return fresh;
}

char *mica_strdup(const char *s)
{
	return s == NULL ? NULL : mica_memdup(s, strlen(s) + 1);
}

void mica_free(void *p)
{
	free(p);
}

/* jemalloc's, where that is linked in (micad). */
int mallctl(const char *name, void *old, size_t *old_len, void *fresh, size_t fresh_len)
	__attribute__((weak));

void mica_mem_trim(void)
{
	if (mallctl)
		mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* 4096 stands for all */
	else
		malloc_trim(0);
}
