/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent counts of itself, and how it is written for Prometheus. Any thread counts, without
 * a lock; a NULL is counted nowhere. What others own (streams, certificates, tokens) is asked of
 * them by metrics.c. Pure but for the counters.
 */
#ifndef MICA_AGENT_FIGURES_H
#define MICA_AGENT_FIGURES_H

#include "mica/metric.h"

/* What goes well or does not: an SVID that was asked for, an exchange about the bundle, a set of
 * files that was to be written, a program that was to be told. */
enum figure_kind {
	FIGURE_X509,
	FIGURE_JWT,
	FIGURE_BUNDLE,
	FIGURE_FILES,
	FIGURE_PROGRAM,
	FIGURE_KINDS
};
/* The two connections to micad: of talk.h and of watch.h. */
enum figure_line { FIGURE_REQUESTS, FIGURE_WATCH, FIGURE_LINES };

struct figures {
	struct {
		mica_metric_counter ok, failed;
		_Atomic int64_t failed_at; /* seconds since 1970; 0 = never */
	} kind[FIGURE_KINDS];
	atomic_bool reached[FIGURE_LINES]; /* the last exchange had an answer */
	_Atomic int64_t
		bundle_ms; /* mica_mono_ms() when micad said that it is the bundle; 0 = never */
	mica_metric_counter sds_nacks;
};
void figures_ok(struct figures *f, enum figure_kind k);
void figures_failed(struct figures *f, enum figure_kind k, int64_t now_ms);
void figures_reached(struct figures *f, enum figure_line l, bool reached);
/* micad's bundle is the one that is held. */
void figures_bundle(struct figures *f, int64_t mono_ms);
void figures_nack(struct figures *f);

enum figure_stream {
	FIGURE_X509_SVID,
	FIGURE_X509_BUNDLES,
	FIGURE_JWT_BUNDLES,
	FIGURE_SDS,
	FIGURE_SDS_DELTA,
	FIGURE_STREAMS
};
/* The rest, at one moment. */
struct figures_now {
	const char *version;
	int64_t now_ms, mono_ms, started_ms;
	bool ready;
	unsigned identities, x509, jwt; /* configured; with a valid SVID; tokens that are kept */
	int64_t x509_end_ms; /* the first end; now or before when an identity has none */
	int64_t jwt_end_ms; /* INT64_MAX = none is kept */
	uint64_t sequence, roots; /* of the bundle; 0 = none */
	unsigned streams[FIGURE_STREAMS];
	uint64_t connections, calls;
};
void figures_write(const struct figures *f, const struct figures_now *now, struct mica_buf *out);

#endif
