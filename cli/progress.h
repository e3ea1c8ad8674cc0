/* SPDX-License-Identifier: Apache-2.0 */
/* Long work: a line on a terminal that is written over; nothing anywhere else. */
#ifndef MICA_CLI_PROGRESS_H
#define MICA_CLI_PROGRESS_H

#include "mica/store.h"

struct progress_line {
	const char *what;
	int64_t last_ms;
	bool shown;
};
/* As the `fn` of a struct mica_progress; ctx is a struct progress_line. */
void progress_show(void *ctx, uint64_t done, uint64_t all);
void progress_end(struct progress_line *p);

#endif
