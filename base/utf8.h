/* SPDX-License-Identifier: Apache-2.0 */
/* One UTF-8 decoder for everything in base that looks at text. */
#ifndef MICA_BASE_UTF8_H
#define MICA_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the well-formed sequence at p (1..4) with its code point in *cp; 0 when p does
 * not start one: Unicode 15, table 3-7 (no overlong form, no surrogate, at most U+10FFFF). */
size_t mica_utf8_next(const uint8_t *p, size_t n, uint32_t *cp);

/* Code points that move a terminal's cursor, break a line or reorder the text around them:
 * C0, DEL, C1, line and paragraph separators, bidirectional controls, byte order mark. */
bool mica_utf8_unsafe(uint32_t cp);

#endif
