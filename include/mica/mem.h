/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: the one owner of malloc. An allocation that fails ends the process with a
 * message: every size here is bounded beforehand by the limits of a parser or a queue.
 */
#ifndef MICA_MEM_H
#define MICA_MEM_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* For a program whose threads take and give back some kilobytes for each request: they ask the
 * kernel for memory by the megabyte. Before there are threads. */
void mica_mem_tune(void);
void *mica_alloc(size_t size); /* zeroed, never NULL */
void *mica_calloc(size_t n, size_t size); /* zeroed, checked for overflow, never NULL */
void *mica_realloc(void *p, size_t n, size_t size); /* never NULL; new bytes are not zeroed */
char *mica_strdup(const char *s); /* NULL stays NULL */
char *mica_strndup(const char *s, size_t n);
void *mica_memdup(const void *p, size_t n); /* n = 0 gives a 1-byte block */
void mica_free(void *p); /* NULL is fine */
/* Gives pages that hold nothing back to the system: after a peak. Takes some milliseconds for
 * hundreds of megabytes. */
void mica_mem_trim(void);

#define MICA_NEW(T) ((T *)mica_alloc(sizeof(T)))

/* Moves a pointer out: the old place becomes NULL, so that its scope cleanup does nothing. */
#define MICA_STEAL(p)                                                                              \
	({                                                                                         \
		__typeof__(p) stolen_ = (p);                                                       \
		(p) = NULL;                                                                        \
		stolen_;                                                                           \
	})

/*
 * Scope cleanup. At file scope, once per type: for a typedef name
 *	MICA_CLEANUP_PTR(X509, X509_free);
 *	MICA_AUTO_PTR(X509) x = NULL;
 * and for a struct tag
 *	MICA_CLEANUP_STRUCT(mica_secret, mica_secret_free);
 *	MICA_AUTO_STRUCT(mica_secret) s = NULL;
 * Always initialise such a variable: its cleanup runs at every return.
 */
#define MICA_CLEANUP_AS_(name, type, free_fn)                                                      \
	__attribute__((unused)) static inline void mica_auto_##name##_(type **p)                   \
	{                                                                                          \
		if (*p)                                                                            \
			free_fn(*p);                                                               \
	}                                                                                          \
	_Static_assert(1, "")
#define MICA_CLEANUP_PTR(T, free_fn)      MICA_CLEANUP_AS_(T, T, free_fn)
#define MICA_CLEANUP_STRUCT(tag, free_fn) MICA_CLEANUP_AS_(struct_##tag, struct tag, free_fn)
#define MICA_AUTO_PTR(T)                  __attribute__((cleanup(mica_auto_##T##_))) T *
#define MICA_AUTO_STRUCT(tag)             __attribute__((cleanup(mica_auto_struct_##tag##_))) struct tag *

static inline void mica_auto_free_(void *p)
{
	void *block;

	memcpy(&block, p, sizeof(block)); /* p points to a pointer of any type */
	mica_free(block);
}
#define MICA_AUTO_FREE __attribute__((cleanup(mica_auto_free_)))

/* MICA_AUTO_FD int fd = -1; closed at the end of its scope unless negative. */
static inline void mica_auto_fd_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define MICA_AUTO_FD __attribute__((cleanup(mica_auto_fd_)))

/* For a large buffer on the stack that is written before it is read: the compiler zeroes all
 * others.
 */
#define MICA_UNINIT __attribute__((uninitialized))

#define MICA_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
