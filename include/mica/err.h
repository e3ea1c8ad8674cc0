/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors. A fallible function returns a mica_rc, which a machine acts on, and
 * fills a caller-owned struct mica_err, which a human reads. The first error
 * wins: filling an error that is already set changes nothing, so an error
 * may be passed down through several calls and keeps its root cause.
 */
#ifndef MICA_ERR_H
#define MICA_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define MICA_MUST_CHECK   __attribute__((warn_unused_result))
#define MICA_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Classes map one to one to HTTP and gRPC codes (mica_rc_http, mica_rc_grpc). */
typedef enum mica_rc {
	MICA_OK = 0,
	MICA_INVALID, /* the caller's input is wrong: 400, INVALID_ARGUMENT */
	MICA_UNAUTHENTICATED, /* no valid credential: 401, UNAUTHENTICATED */
	MICA_DENIED, /* known, but may not: 403, PERMISSION_DENIED */
	MICA_NOT_FOUND, /* 404, NOT_FOUND */
	MICA_CONFLICT, /* somebody else was first, decide again: 409, ABORTED */
	MICA_LIMIT, /* a limit of size or rate: 413 or 429, RESOURCE_EXHAUSTED */
	MICA_UNAVAILABLE, /* our own trouble, try again: 503, UNAVAILABLE */
	MICA_CORRUPT, /* stored data is not what was written: 500, DATA_LOSS */
	MICA_INTERNAL, /* a bug or a failed library: 500, INTERNAL */
	MICA_RC_COUNT
} mica_rc;

#define MICA_ERR_TEXT_MAX 512

struct mica_err {
	mica_rc rc;
	/* Stable, lower_snake_case, a string literal; what the caller may learn. */
	const char *reason;
	/* Finer reason for log, metric and `mica token explain` only; NULL when equal
	 * to `reason`. Never sent to an unauthenticated caller. String literal. */
	const char *fine;
	/* 1-based position in the input that is at fault; 0 = unknown. */
	int line, column;
	/* Seconds after which trying again makes sense; 0 = unsaid. */
	int retry_after;
	/* What was wrong and what was expected, for the caller. UTF-8, one line, no secret. */
	char text[MICA_ERR_TEXT_MAX];
	/* More for the operator's log; never sent to a caller. May be empty. */
	char detail[MICA_ERR_TEXT_MAX];
};

#define MICA_ERR_INIT                                                                              \
	{                                                                                          \
		.rc = MICA_OK                                                                      \
	}

/* Fills *e unless it is set already (e may be NULL) and returns rc. `rc` must not be
 * MICA_OK (it counts as INTERNAL then). What is not UTF-8, control characters and characters
 * that reorder text become '?'; a text that is too long is cut after a whole character. */
mica_rc mica_fail(struct mica_err *e, mica_rc rc, const char *reason, const char *fmt, ...)
	MICA_PRINTF(4, 5);

/* The same with what only the operator may see: the fine reason and a detail text. */
mica_rc mica_fail_fine(struct mica_err *e, mica_rc rc, const char *reason, const char *public_text,
	const char *fine, const char *detail_fmt, ...) MICA_PRINTF(6, 7);

/* The same with a position in the input. */
mica_rc mica_fail_at(struct mica_err *e, mica_rc rc, const char *reason, int line, int column,
	const char *fmt, ...) MICA_PRINTF(6, 7);

/* From errno `errnum`: ENOENT/ENOTDIR -> NOT_FOUND "no_such_file", EACCES/EPERM -> DENIED
 * "permission_denied", EROFS -> DENIED "read_only", EEXIST -> CONFLICT "exists_already",
 * ENOSPC/EDQUOT -> UNAVAILABLE "disk_full", ENOMEM -> UNAVAILABLE "out_of_memory",
 * EMFILE/ENFILE -> UNAVAILABLE "too_many_open_files", else INTERNAL "io_error".
 * Text is "<what>: <strerror>". */
mica_rc mica_fail_errno(struct mica_err *e, int errnum, const char *fmt, ...) MICA_PRINTF(3, 4);

/* Puts "<context>: " before e->text (for "file:key: ..." chains). No-op when e is NULL or unset. */
void mica_err_context(struct mica_err *e, const char *fmt, ...) MICA_PRINTF(2, 3);

/* Makes *e unset again. */
void mica_err_clear(struct mica_err *e);

/* The reason for log and metric: fine if there is one, else reason, else "ok". */
const char *mica_err_fine(const struct mica_err *e);

const char *mica_rc_name(mica_rc rc); /* "INVALID" ... */
int mica_rc_http(mica_rc rc); /* 200, 400, 401, ...; LIMIT is 429 */
int mica_rc_grpc(mica_rc rc); /* 0, 3, 16, ... */
/* Exit status of the programs, see mica(1): 0, INTERNAL 1, INVALID 2, UNAUTHENTICATED 3, DENIED 4,
 * NOT_FOUND 5, CONFLICT 6, LIMIT 7, CORRUPT 8, UNAVAILABLE 75 (EX_TEMPFAIL: start me again). */
int mica_rc_exit(mica_rc rc);

#endif
