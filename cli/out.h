/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command says, as text for people or JSON for programs. Commands call a writer and never
 * print; one sequence of calls makes both forms.
 *
 *	text	spiffe id:      spiffe://example.org/ns/a/sa/b	{"spiffe_id": "spiffe://...",
 *		serial:         01a20d61...			 "serial": "01a20d61...", ...}
 *
 * No octet from outside can move the cursor of a terminal, or forge a line: control characters and
 * those that reorder text are escaped in both forms; only wr_raw passes bytes through.
 */
#ifndef MICA_CLI_OUT_H
#define MICA_CLI_OUT_H

#include "mica/buf.h"

#include <jansson.h>

enum out_format { OUT_TEXT, OUT_JSON };

/* A column of a table in text form: the member it shows and the width it is padded to. */
struct wr_column {
	const char *key;
	int width; /* 0 = as long as it is; the last column is never padded */
};

struct writer; /* opaque */

/* Writes to `fd`. `colour`: escape sequences for emphasis. `stream`: each value at the root is
 * complete and is shown at once: JSON has one a line. */
struct writer *wr_new(int fd, enum out_format format, bool colour);
void wr_free(struct writer *w); /* does not flush */
void wr_stream(struct writer *w);
enum out_format wr_format(const struct writer *w);

/* Objects and lists. `key` is NULL at the root and inside of a list. */
void wr_object(struct writer *w, const char *key);
void wr_list(struct writer *w, const char *key);
/* A list of objects; text shows one a line, under a heading, with these columns alone. Columns must
 * outlive the list. */
void wr_table(struct writer *w, const char *key, const struct wr_column *columns, size_t n);
void wr_end(struct writer *w);

void wr_str(struct writer *w, const char *key, struct mica_slice v);
void wr_cstr(struct writer *w, const char *key, const char *v); /* NULL = null */
void wr_int(struct writer *w, const char *key, int64_t v);
void wr_uint(struct writer *w, const char *key, uint64_t v);
void wr_bool(struct writer *w, const char *key, bool v);
void wr_time(struct writer *w, const char *key, int64_t seconds); /* RFC 3339 */
void wr_null(struct writer *w, const char *key);
/* A judgement: text shows it green or red on a terminal. */
void wr_verdict(struct writer *w, const char *key, bool good, const char *text);
/* A whole JSON value. */
void wr_json(struct writer *w, const char *key, const json_t *v);
/* A list of objects as wr_table. */
void wr_json_table(struct writer *w, const char *key, const json_t *list,
	const struct wr_column *columns, size_t n);
/* For people alone: JSON does not have it. A line. */
void wr_note(struct writer *w, const char *fmt, ...) MICA_PRINTF(2, 3);
/* The product itself (a PEM, a token, a script), as it is. Only outside of objects; JSON form has
 * it too, so a command uses it instead of objects. */
void wr_raw(struct writer *w, struct mica_slice bytes);

/* Writes out what there is. As mica_fail_errno, "output" names the place. EPIPE is no error: nobody
 * reads any more. Must be called at the end. */
mica_rc wr_flush(struct writer *w, struct mica_err *e) MICA_MUST_CHECK;

/* Text from outside, safe for a terminal, appended to `out`. */
void out_put_safe(struct mica_buf *out, struct mica_slice s);

static inline void wr_auto_(struct writer **w)
{
	wr_free(*w);
}
#define WR_AUTO __attribute__((cleanup(wr_auto_))) struct writer *

#endif
