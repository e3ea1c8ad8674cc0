/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a document in JSON or in YAML by one walk. JSON is one line without its end; of YAML every
 * line is ended. */
#ifndef MICA_POLICIES_EMIT_H
#define MICA_POLICIES_EMIT_H

#include "mica/buf.h"

#define EMIT_DEPTH 16

struct emit {
	struct mica_buf *b;
	bool yaml;
	unsigned depth;
	bool list[EMIT_DEPTH], some[EMIT_DEPTH]; /* of each level: it is a list; it has an entry */
	bool dash; /* YAML: the line has its "- " already */
};

/* `key` is NULL for the document and for entries of a list. */
void emit_open(struct emit *m, const char *key, bool list);
void emit_end(struct emit *m);
void emit_empty(struct emit *m, const char *key); /* {} */
void emit_string(struct emit *m, const char *key, struct mica_slice value);
/* A word or number that needs no quotes in YAML; in JSON it gets some. */
void emit_word(struct emit *m, const char *key, const char *value);
void emit_number(struct emit *m, const char *key, unsigned value);
/* A member whose key is quoted in YAML, too. */
void emit_pair(struct emit *m, struct mica_slice key, struct mica_slice value);
/* A list of strings in one line: begin, then the strings, then end. */
void emit_flow(struct emit *m, const char *key);
void emit_flow_string(struct emit *m, struct mica_slice value, bool first);
void emit_flow_end(struct emit *m);

#endif
