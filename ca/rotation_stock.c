/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roots whose key is not here: what they have signed ahead, which of it is next, and how long it
 * lasts. Pure, as all of rotation.h.
 */
#include "mica/rotation.h"

static bool is_below(const struct mica_authority *a, const struct mica_authority *root)
{
	return a->kind == MICA_AUTHORITY_ISSUING && a->envelope.len > 0 && a->cert.len > 0 &&
		strcmp(a->parent, root->id) == 0;
}

/* Signed, and not used yet. */
static bool waits(enum mica_authority_state s)
{
	return s == MICA_AS_PUBLISHED || s == MICA_AS_READY;
}

bool mica_rotation_serves(const struct mica_authority *list, size_t n, size_t root, int64_t now)
{
	if (list[root].envelope.len > 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		enum mica_authority_state s = mica_authority_state_at(&list[i], now);

		if (is_below(&list[i], &list[root]) && now >= list[i].not_before &&
			(waits(s) || s == MICA_AS_ACTIVE || s == MICA_AS_RETIRED))
			return true;
	}
	return false;
}

/* Whether `a` is the better next one than `b`. */
static bool is_better(const struct mica_rotation_policy *p, const struct mica_authority *a,
	const struct mica_authority *b, int64_t now)
{
	int64_t lead = mica_rotation_lead(p, MICA_AUTHORITY_ISSUING);
	bool lasts_a = a->not_after - lead > now, lasts_b = b->not_after - lead > now;

	if (p->root_home == MICA_ROOT_FILES)
		return mica_authority_last(a, MICA_AE_READY, now) >
			mica_authority_last(b, MICA_AE_READY, now);
	if (lasts_a != lasts_b)
		return lasts_a;
	return lasts_a ? a->not_after < b->not_after : a->not_after > b->not_after;
}

bool mica_rotation_is_back(
	const struct mica_rotation_policy *p, const struct mica_authority *a, int64_t now)
{
	int64_t ready = mica_authority_last(a, MICA_AE_READY, now);
	int64_t retired = mica_authority_last(a, MICA_AE_RETIRED, now);

	return p->root_home == MICA_ROOT_FILES && ready != MICA_TIME_NEVER &&
		retired != MICA_TIME_NEVER && ready > retired &&
		mica_authority_state_at(a, now) == MICA_AS_RETIRED;
}

static int best(const struct mica_rotation_policy *p, const struct mica_authority *list, size_t n,
	size_t root, bool retired, int64_t now)
{
	int found = -1;

	for (size_t i = 0; i < n; i++) {
		enum mica_authority_state s = mica_authority_state_at(&list[i], now);

		if (!is_below(&list[i], &list[root]) || now < list[i].not_before ||
			list[i].standby ||
			(retired ? s != MICA_AS_RETIRED
				 : !waits(s) && !mica_rotation_is_back(p, &list[i], now)))
			continue;
		if (found < 0 || is_better(p, &list[i], &list[found], now))
			found = (int)i;
	}
	return found;
}

int mica_rotation_ahead(const struct mica_rotation_policy *p, const struct mica_authority *list,
	size_t n, size_t root, bool again, int64_t now)
{
	int next = best(p, list, n, root, false, now);

	return next < 0 && again ? best(p, list, n, root, true, now) : next;
}

/* ---- how long it lasts ------------------------------------------------------------------------
 */

static bool has_standby(const struct mica_authority *list, size_t n, int64_t now)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].kind == MICA_AUTHORITY_ROOT && list[i].standby &&
			waits(mica_authority_state_at(&list[i], now)) &&
			mica_rotation_serves(list, n, i, now))
			return true;
	return false;
}

/* Of one below the root: what it adds. */
static void add(struct mica_rotation_stock *s, const struct mica_rotation_policy *p,
	const struct mica_authority *a, int64_t now, int64_t *since)
{
	enum mica_authority_state st = mica_authority_state_at(a, now);
	int64_t end = a->not_after - mica_rotation_lead(p, MICA_AUTHORITY_ISSUING);
	int64_t at = mica_authority_first(a, MICA_AE_READY, now);

	if (!waits(st) && st != MICA_AS_ACTIVE)
		return;
	s->ahead += waits(st);
	s->covered = end > s->covered ? end : s->covered;
	if (at != MICA_TIME_NEVER && at > *since)
		*since = at;
}

void mica_rotation_stock_of(const struct mica_rotation_policy *p, const struct mica_authority *list,
	size_t n, int64_t now, struct mica_rotation_stock *out)
{
	int root =
		n == 0 ? -1 : mica_authority_active(list, n, list[0].set, MICA_AUTHORITY_ROOT, now);
	int64_t since = 0;

	*out = (struct mica_rotation_stock){.counts = root < 0 || list[root].envelope.len == 0};
	out->counts = out->counts && p->root_home == MICA_ROOT_OFFLINE;
	if (!out->counts)
		return;
	for (size_t i = 0; i < n; i++) {
		if (list[i].kind == MICA_AUTHORITY_ISSUING && list[i].cert.len == 0 &&
			mica_authority_state_at(&list[i], now) == MICA_AS_PENDING)
			out->pending++;
		else if (root >= 0 && is_below(&list[i], &list[root]))
			add(out, p, &list[i], now, &since);
	}
	out->standby = has_standby(list, n, now);
	out->from = out->ahead < MICA_SIGNED_AHEAD ? now : since + (out->covered - since) / 2;
	out->needed = now >= out->from;
}
