/* SPDX-License-Identifier: Apache-2.0 */
#include "decisions.h"

#include "metrics.h"

#include <pthread.h>
#include <stdio.h>

#define WHYS     (MICA_WHY_NO_RULE + 1)
#define NAME_MAX 520 /* namespace, '/', name */

struct shadow {
	char *policy; /* "NAMESPACE/NAME" */
	uint64_t would_deny, would_allow;
	int64_t last;
};
struct decisions {
	mica_metric_counter n[DECISION_DOORS][WHYS], refused[DECISION_DOORS];
	struct metric_reasons reasons;
	pthread_mutex_t lock; /* of what follows: it is rare that a verdict would change */
	struct shadow shadow[DECISIONS_POLICIES + 1]; /* the last one: all others */
	unsigned n_shadow;
};

static const char *const doors[DECISION_DOORS] = {"ext_authz", "rest"};

struct decisions *decisions_new(void)
{
	struct decisions *d = MICA_NEW(struct decisions);

	pthread_mutex_init(&d->lock, NULL);
	d->shadow[DECISIONS_POLICIES].policy = mica_strdup("other");
	return d;
}

void decisions_free(struct decisions *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i <= DECISIONS_POLICIES; i++)
		mica_free(d->shadow[i].policy);
	pthread_mutex_destroy(&d->lock);
	mica_free(d);
}

/* Under the lock. */
static struct shadow *shadow_of(struct decisions *d, const char *policy)
{
	for (unsigned i = 0; i < d->n_shadow; i++)
		if (strcmp(d->shadow[i].policy, policy) == 0)
			return &d->shadow[i];
	if (d->n_shadow == DECISIONS_POLICIES)
		return &d->shadow[DECISIONS_POLICIES];
	d->shadow[d->n_shadow].policy = mica_strdup(policy);
	return &d->shadow[d->n_shadow++];
}

static void would_change(struct decisions *d, struct mica_slice ns,
	const struct mica_policy_outcome *dry, int64_t now)
{
	char name[NAME_MAX];
	struct shadow *s;

	if (dry->policy)
		snprintf(name, sizeof(name), "%s/%s", dry->policy->ns, dry->policy->name);
	else
		snprintf(name, sizeof(name), "%.*s/*", MICA_FMT(ns));
	pthread_mutex_lock(&d->lock);
	s = shadow_of(d, name);
	if (dry->allowed)
		s->would_allow++;
	else
		s->would_deny++;
	s->last = now;
	pthread_mutex_unlock(&d->lock);
}

void decisions_add(struct decisions *d, enum decision_door door, struct mica_slice ns,
	const struct mica_policy_verdict *v, int64_t now)
{
	mica_metric_add(&d->n[door][v->now.why], 1);
	if (v->now.allowed != v->dry_run.allowed)
		would_change(d, ns, &v->dry_run, now);
}

void decisions_refused(struct decisions *d, enum decision_door door, const char *reason)
{
	mica_metric_add(&d->refused[door], 1);
	metric_reason(&d->reasons, reason);
}

/* ---- telling --------------------------------------------------------------------------------- */

static bool allows(unsigned why)
{
	return why == MICA_WHY_NO_ALLOW_POLICY || why == MICA_WHY_ALLOW_RULE;
}

static void write_verdicts(const struct decisions *d, struct mica_buf *out)
{
	static const char name[] = "mica_policy_decisions_total";

	mica_metric_family(out, name, "counter",
		"Decisions about requests, by where they were asked for, verdict and why.");
	for (unsigned i = 0; i < DECISION_DOORS; i++) {
		for (unsigned why = 0; why < WHYS; why++)
			mica_metric_u64(out, name,
				MICA_METRIC_LABELS({"door", doors[i]},
					{"verdict", allows(why) ? "allow" : "deny"},
					{"why", mica_policy_why_name((enum mica_policy_why)why)}),
				mica_metric_get(&d->n[i][why]));
		mica_metric_u64(out, name,
			MICA_METRIC_LABELS(
				{"door", doors[i]}, {"verdict", "deny"}, {"why", "refused"}),
			mica_metric_get(&d->refused[i]));
	}
}

static void write_refusals(const struct decisions *d, struct mica_buf *out)
{
	static const char name[] = "mica_policy_refusals_total";

	mica_metric_family(out, name, "counter",
		"Requests that were denied before any policy was asked, by reason.");
	for (size_t i = 0; i < METRIC_REASONS; i++) {
		const char *reason = atomic_load(&d->reasons.slot[i].reason);

		if (reason)
			mica_metric_u64(out, name, MICA_METRIC_LABELS({"reason", reason}),
				mica_metric_get(&d->reasons.slot[i].n));
	}
}

/* Of both kinds, since one policy may do both in time. */
static void write_shadow(const struct shadow *s, const char *name, const char *verdict, uint64_t n,
	struct mica_buf *out)
{
	if (n)
		mica_metric_u64(out, name,
			MICA_METRIC_LABELS({"policy", s->policy}, {"verdict", verdict}), n);
}

void decisions_write_metrics(struct decisions *d, struct mica_buf *out)
{
	static const char name[] = "mica_policy_dry_run_changes_total";

	write_verdicts(d, out);
	write_refusals(d, out);
	mica_metric_family(out, name, "counter",
		"Decisions that would have been others with the policy's dry run enforced, by what "
		"they would have been.");
	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i <= DECISIONS_POLICIES; i++) {
		write_shadow(&d->shadow[i], name, "deny", d->shadow[i].would_deny, out);
		write_shadow(&d->shadow[i], name, "allow", d->shadow[i].would_allow, out);
	}
	pthread_mutex_unlock(&d->lock);
}

static void put_door(const struct decisions *d, unsigned door, struct mica_buf *out)
{
	uint64_t n[2] = {0, 0};

	for (unsigned why = 0; why < WHYS; why++)
		n[allows(why)] += mica_metric_get(&d->n[door][why]);
	mica_buf_printf(out, "\"%s\":{\"allowed\":%llu,\"denied\":%llu,\"refused\":%llu}",
		doors[door], (unsigned long long)n[true], (unsigned long long)n[false],
		(unsigned long long)mica_metric_get(&d->refused[door]));
}

static void put_shadow(const struct shadow *s, struct mica_buf *out)
{
	char at[MICA_TIME_SIZE];

	mica_time_format(s->last, at);
	mica_buf_put_str(out, "{\"policy\":");
	mica_buf_put_json_string(out, mica_slice_str(s->policy));
	mica_buf_printf(out, ",\"would_deny\":%llu,\"would_allow\":%llu,\"last\":\"%s\"}",
		(unsigned long long)s->would_deny, (unsigned long long)s->would_allow, at);
}

void decisions_put_json(struct decisions *d, struct mica_buf *out)
{
	bool first = true;

	mica_buf_put_str(out, "{\"decisions\":{");
	for (unsigned i = 0; i < DECISION_DOORS; i++) {
		mica_buf_put_str(out, i ? "," : "");
		put_door(d, i, out);
	}
	mica_buf_put_str(out, "},\"dry_run\":[");
	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i <= DECISIONS_POLICIES; i++) {
		if (d->shadow[i].would_deny + d->shadow[i].would_allow == 0)
			continue;
		mica_buf_put_str(out, first ? "" : ",");
		put_shadow(&d->shadow[i], out);
		first = false;
	}
	pthread_mutex_unlock(&d->lock);
	mica_buf_put_str(out, "]}");
}
