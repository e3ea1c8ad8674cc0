/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scenarios as text. What a file says is told in the order of time:
 *
 *	# a comment, to the end of its line
 *	config			what stands between is micad's configuration, in YAML, two blanks in
 *	  x509: {ttl: 1h}
 *	end
 *	holder web ack		who uses the CA (play.c has all words)
 *	at 30d rotate root next
 *	at 30d+2h expect state next is active
 *	until 1y
 *
 * `at` may be left out: then it is the time of the line before. A time is a sum of durations since
 * the beginning: 1y, 30d+2h, 90s. Everything that is wrong is told as FILE:LINE: what.
 */
#ifndef TEST_SCENARIO_SCRIPT_H
#define TEST_SCENARIO_SCRIPT_H

#include "mica/buf.h"

#define SCRIPT_MAX   (64 * 1024)
#define SCRIPT_LINES 512
#define SCRIPT_WORDS 12
#define SCRIPT_YEARS 100

struct script_line {
	unsigned no; /* from 1 on */
	int64_t at; /* seconds since the beginning */
	bool timed; /* behind the first `at`, or it is `until` */
	unsigned n;
	char *w[SCRIPT_WORDS + 1]; /* NULL behind the last */
};

struct script {
	const char *name;
	char *text; /* the words live in it */
	struct script_line v[SCRIPT_LINES];
	unsigned n;
	/* YAML, with as many empty lines before it as stand before it in the file: what is wrong in
	 * it has the file's line. */
	struct mica_buf config;
};

/* INVALID "scenario" with FILE:LINE. `name` is borrowed. */
mica_rc script_read(
	struct mica_slice text, const char *name, struct script **out, struct mica_err *e);
void script_free(struct script *s);
/* "1y" "30d+2h" "15m": seconds, at most SCRIPT_YEARS. */
bool script_time(const char *word, int64_t *out);
/* The one way to say what is wrong, and where. */
mica_rc script_fail(const struct script *s, const struct script_line *l, struct mica_err *e,
	const char *fmt, ...) MICA_PRINTF(4, 5);

#endif
