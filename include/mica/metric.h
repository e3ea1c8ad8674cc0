/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing figures for Prometheus, text format 0.0.4. No registry: a program counts in a struct of
 * its own and writes it, and what others know, with these calls.
 */
#ifndef MICA_METRIC_H
#define MICA_METRIC_H

#include "mica/buf.h"

#include <stdatomic.h>

/* Any thread adds, without a lock. */
typedef atomic_uint_least64_t mica_metric_counter;

static inline void mica_metric_add(mica_metric_counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}
static inline uint64_t mica_metric_get(const mica_metric_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* "# HELP" and "# TYPE"; all values of a family follow it. */
void mica_metric_family(struct mica_buf *out, const char *name, const char *type, const char *help);
/* name{key="value",...} v. Values are escaped. */
struct mica_metric_labels {
	const char *key, *value;
};
void mica_metric_u64(struct mica_buf *out, const char *name,
	const struct mica_metric_labels *labels, size_t n_labels, uint64_t v);
void mica_metric_i64(struct mica_buf *out, const char *name,
	const struct mica_metric_labels *labels, size_t n_labels, int64_t v);
/* In seconds, from nanoseconds. */
void mica_metric_seconds(struct mica_buf *out, const char *name,
	const struct mica_metric_labels *labels, size_t n_labels, int64_t ns);
#define MICA_METRIC_LABELS(...)                                                                    \
	(const struct mica_metric_labels[]){__VA_ARGS__},                                          \
		sizeof((const struct mica_metric_labels[]){__VA_ARGS__}) /                         \
		sizeof(struct mica_metric_labels)

/* What the kernel knows of this process: CPU time, memory, open files. */
void mica_metric_process(struct mica_buf *out);

#endif
