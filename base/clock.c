/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/clock.h"

#include <stdlib.h>
#include <time.h>

static int64_t read_ns(clockid_t id)
{
	struct timespec t;

	if (clock_gettime(id, &t) != 0)
		abort(); /* these clocks exist on every Linux: only a sandbox could forbid them */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t mica_now(void)
{
	return read_ns(CLOCK_REALTIME) / 1000000000;
}

int64_t mica_now_ms(void)
{
	return read_ns(CLOCK_REALTIME) / 1000000;
}

int64_t mica_mono_ns(void)
{
	return read_ns(CLOCK_MONOTONIC);
}

int64_t mica_mono_ms(void)
{
	return read_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t mica_thread_cpu_ns(void)
{
	return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

int64_t mica_process_cpu_ns(void)
{
	return read_ns(CLOCK_PROCESS_CPUTIME_ID);
}
