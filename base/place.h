/* SPDX-License-Identifier: Apache-2.0 */
/* Line and column, both 1-based and in characters, of a byte in a text. */
#ifndef MICA_BASE_PLACE_H
#define MICA_BASE_PLACE_H

#include "mica/slice.h"

static inline void mica_place(struct mica_slice text, size_t at, int *line, int *column)
{
	*line = 1;
	*column = 1;
	for (size_t i = 0; i < at && i < text.len; i++) {
		if (text.p[i] == '\n') {
			++*line;
			*column = 1;
		} else if ((text.p[i] & 0xc0) != 0x80) {
			++*column;
		}
	}
	/* `at` may stand inside a character only when the text is not UTF-8 */
}

#endif
