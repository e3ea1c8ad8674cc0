/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log: one event, one line, as logfmt or JSON, to a file descriptor (stderr).
 * A line is written whole, ordinarily with one write(2); calls are safe from any thread. Only
 *programs (server, agent, cli) log: ca/ and policies/ return errors instead.
 *
 *	MICA_LOG(MICA_INFO, "x509_issued", MICA_S("spiffe_id", id), MICA_I("index", n));
 */
#ifndef MICA_LOG_H
#define MICA_LOG_H

#include "mica/slice.h"

enum mica_log_level { MICA_DEBUG, MICA_INFO, MICA_WARN, MICA_ERROR };
enum mica_log_format { MICA_LOG_LOGFMT, MICA_LOG_JSON };

struct mica_field {
	const char *key; /* lower_snake_case literal; NULL fields are skipped */
	/* MS: a duration in nanoseconds, written as milliseconds with three decimals */
	enum { MICA_F_SLICE, MICA_F_INT, MICA_F_BOOL, MICA_F_MS } kind;
	struct mica_slice s;
	int64_t i;
};
#define MICA_S(k, v)   ((struct mica_field){.key = (k), .kind = MICA_F_SLICE, .s = mica_slice_str(v)})
#define MICA_SL(k, v)  ((struct mica_field){.key = (k), .kind = MICA_F_SLICE, .s = (v)})
#define MICA_MS(k, ns) ((struct mica_field){.key = (k), .kind = MICA_F_MS, .i = (int64_t)(ns)})
#define MICA_I(k, v)   ((struct mica_field){.key = (k), .kind = MICA_F_INT, .i = (int64_t)(v)})
#define MICA_B(k, v)   ((struct mica_field){.key = (k), .kind = MICA_F_BOOL, .i = (v) ? 1 : 0})
/* reason=, error=, detail= of a struct mica_err in one go */
#define MICA_E(e)                                                                                  \
	MICA_S("reason", mica_err_fine(e)), MICA_S("error", (e)->text),                            \
		((struct mica_field){.key = (e)->detail[0] ? "detail" : NULL,                      \
			.kind = MICA_F_SLICE,                                                      \
			.s = mica_slice_str((e)->detail)})

/* Until this is called: logfmt to standard error from MICA_INFO on. Call it before there are
 * threads. */
void mica_log_setup(int fd, enum mica_log_format format, enum mica_log_level min);
void mica_log_level(enum mica_log_level min); /* may change while running */
/* ts= (UTC, milliseconds), level=, event=, then the fields. Lines are cut at 8 KiB and then say
 * truncated=true; a value is escaped so that no byte of it can forge a field or a line, or move the
 * cursor of a terminal; what is not UTF-8 becomes U+FFFD. errno is kept. */
void mica_log_event(
	enum mica_log_level level, const char *event, const struct mica_field *fields, size_t n);
#define MICA_LOG(level, event, ...)                                                                \
	mica_log_event(level, event, (const struct mica_field[]){__VA_ARGS__},                     \
		sizeof((const struct mica_field[]){__VA_ARGS__}) / sizeof(struct mica_field))

/* Between these the lines of this thread wait, some 16 KiB of them, to be written together.
 * Warnings and errors do not, and take along what waits. Not nested. */
void mica_log_hold(void);
void mica_log_release(void);

/* Lines lost since the start, for a metric: a reader that does not read holds up one line for at
 * most 100 ms; the following ones are dropped at once until it reads again. */
uint64_t mica_log_dropped(void);

#endif
