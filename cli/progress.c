/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include "mica/clock.h"

#include <stdio.h>
#include <unistd.h>

void progress_show(void *ctx, uint64_t done, uint64_t all)
{
	struct progress_line *p = ctx;
	int64_t now = mica_mono_ms();

	if (!isatty(STDERR_FILENO) || (now - p->last_ms < 200 && done != all))
		return;
	p->last_ms = now;
	p->shown = true;
	dprintf(STDERR_FILENO, "\r%s: %llu of %llu \033[K", p->what, (unsigned long long)done,
		(unsigned long long)all);
}

void progress_end(struct progress_line *p)
{
	if (p->shown)
		dprintf(STDERR_FILENO, "\r\033[K");
	p->shown = false;
}
