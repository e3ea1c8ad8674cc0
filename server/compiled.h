/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was compiled of the policies in force, kept while there is room: many who enforce the same
 * ask for the same after each change. Keys say everything that a text depends on, the sequence
 * included, so nothing in here is ever wrong, only old. Any thread.
 */
#ifndef MICA_SERVER_COMPILED_H
#define MICA_SERVER_COMPILED_H

#include "mica/core.h"

struct compiled_text {
	const struct mica_snapshot *text; /* the target's */
	const struct mica_snapshot *report; /* JSON */
	unsigned lost;
};
void compiled_text_clear(struct compiled_text *t);

struct compiled; /* opaque */
struct compiled *compiled_new(size_t max_octets);
void compiled_free(struct compiled *c); /* NULL is fine */
/* New references. */
bool compiled_find(struct compiled *c, struct mica_slice key, struct compiled_text *out);
/* References them; what does not fit is not kept. */
void compiled_keep(struct compiled *c, struct mica_slice key, const struct compiled_text *t);

#endif
