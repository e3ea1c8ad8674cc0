/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/metric.h"

#include "mica/clock.h"
#include "mica/file.h"

#include <dirent.h>
#include <inttypes.h>

void mica_metric_family(struct mica_buf *out, const char *name, const char *type, const char *help)
{
	mica_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Text format 0.0.4: in a label value \, " and newline are escaped. */
static void put_label_value(struct mica_buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			mica_buf_put_u8(out, '\\');
		if (*s == '\n')
			mica_buf_put_str(out, "\\n");
		else
			mica_buf_put_u8(out, (uint8_t)*s);
	}
}

static void put_name(struct mica_buf *out, const char *name,
	const struct mica_metric_labels *labels, size_t n_labels)
{
	mica_buf_put_str(out, name);
	for (size_t i = 0; i < n_labels; i++) {
		mica_buf_put_u8(out, i ? ',' : '{');
		mica_buf_put_str(out, labels[i].key);
		mica_buf_put_str(out, "=\"");
		put_label_value(out, labels[i].value);
		mica_buf_put_u8(out, '"');
	}
	mica_buf_put_str(out, n_labels ? "} " : " ");
}

void mica_metric_u64(struct mica_buf *out, const char *name,
	const struct mica_metric_labels *labels, size_t n_labels, uint64_t v)
{
	put_name(out, name, labels, n_labels);
	mica_buf_printf(out, "%" PRIu64 "\n", v);
}

void mica_metric_i64(struct mica_buf *out, const char *name,
	const struct mica_metric_labels *labels, size_t n_labels, int64_t v)
{
	put_name(out, name, labels, n_labels);
	mica_buf_printf(out, "%" PRId64 "\n", v);
}

void mica_metric_seconds(struct mica_buf *out, const char *name,
	const struct mica_metric_labels *labels, size_t n_labels, int64_t ns)
{
	put_name(out, name, labels, n_labels);
	mica_buf_printf(out, "%s%" PRId64 ".%09" PRId64 "\n", ns < 0 ? "-" : "",
		(ns < 0 ? -ns : ns) / 1000000000, (ns < 0 ? -ns : ns) % 1000000000);
}

/* ---- the process --------------------------------------------------------------------------- */

/* proc(5): statm is "size resident ..." in pages. */
static uint64_t resident_bytes(void)
{
	MICA_AUTO_BUF b;
	struct mica_err e = MICA_ERR_INIT;
	struct mica_slice s, word;
	uint64_t pages = 0;
	long page = sysconf(_SC_PAGESIZE);

	mica_buf_init(&b, 256);
	if (mica_file_read("/proc/self/statm", &b, &e) != MICA_OK || page <= 0)
		return 0;
	s = mica_buf_slice(&b);
	if (!mica_slice_cut(&s, ' ', &word) || !mica_slice_cut(&s, ' ', &word) ||
		mica_parse_u64(word, UINT64_MAX / (uint64_t)page, &pages) != MICA_OK)
		return 0;
	return pages * (uint64_t)page;
}

static uint64_t open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;
	if (!d)
		return 0;
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the folder itself */
}

void mica_metric_process(struct mica_buf *out)
{
	mica_metric_family(
		out, "mica_process_cpu_seconds_total", "counter", "CPU time of this process.");
	mica_metric_seconds(out, "mica_process_cpu_seconds_total", NULL, 0, mica_process_cpu_ns());
	mica_metric_family(out, "mica_process_resident_memory_bytes", "gauge", "Memory in RAM.");
	mica_metric_u64(out, "mica_process_resident_memory_bytes", NULL, 0, resident_bytes());
	mica_metric_family(out, "mica_process_open_fds", "gauge", "Open files and sockets.");
	mica_metric_u64(out, "mica_process_open_fds", NULL, 0, open_files());
}
