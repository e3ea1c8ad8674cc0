/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one clock. Programs own a clock and pass `now` down; ca/ and policies/ never ask.
 * Units: seconds since 1970 as int64_t unless a name ends in _ms or _ns.
 */
#ifndef MICA_CLOCK_H
#define MICA_CLOCK_H

#include <stdint.h>

int64_t mica_now(void); /* CLOCK_REALTIME, seconds */
int64_t mica_now_ms(void); /* CLOCK_REALTIME, milliseconds */
int64_t mica_mono_ns(void); /* CLOCK_MONOTONIC; for durations and deadlines */
int64_t mica_mono_ms(void);
int64_t mica_thread_cpu_ns(void); /* CPU time of this thread */
int64_t mica_process_cpu_ns(void);

#endif
