/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canary channel of one authority, from its times: CANARY_IN and CANARY_OUT say what that
 * channel's bundle has, PUBLISHED and REMOVED what the live one has.
 */
#include "mica/rotation.h"

bool mica_canary_alone(const struct mica_authority *a, int64_t now)
{
	return mica_authority_in_canary(a, now) && !mica_authority_is_published(a, now);
}

bool mica_canary_gone(const struct mica_authority *a, int64_t now)
{
	return mica_authority_is_published(a, now) && !mica_authority_in_canary(a, now);
}

static bool happened(const struct mica_authority *a, enum mica_authority_event ev, int64_t now)
{
	return mica_authority_first(a, ev, now) != MICA_TIME_NEVER;
}

bool mica_canary_unsure(const struct mica_rotation_policy *p, const struct mica_authority *a,
	int64_t carried, int64_t look_again, int64_t now)
{
	int64_t wait = mica_rotation_propagation(p, a->kind);

	if (!happened(a, MICA_AE_CANARY_OUT, now))
		return false;
	/* whoever has the bundle that came with his certificate has had to renew; by a clock that
	 * was ahead it may last longer than the longest one */
	if (a->kind == MICA_AUTHORITY_ROOT && wait < p->max_leaf_ttl + p->skew)
		wait = p->max_leaf_ttl + p->skew;
	/* nor could anybody fetch it while we were down */
	return mica_canary_gone(a, now) || now < look_again ||
		(a->kind == MICA_AUTHORITY_ROOT && now < carried + p->skew) ||
		now < mica_authority_last(a, MICA_AE_CANARY_IN, now) + wait;
}

int64_t mica_canary_end(
	const struct mica_rotation_policy *p, const struct mica_authority *a, int64_t now)
{
	bool gone = mica_canary_gone(a, now);
	int64_t since = mica_authority_last(a, gone ? MICA_AE_CANARY_OUT : MICA_AE_CANARY_IN, now);

	if (!p->canary)
		return 0;
	return p->canary_time == 0 || since == MICA_TIME_NEVER ? MICA_TIME_NEVER
							       : since + p->canary_time;
}

int64_t mica_canary_retry(
	const struct mica_rotation_policy *p, const struct mica_authority *a, int64_t now)
{
	int64_t pause = p->canary_time ? p->canary_time : p->hold;

	if (!happened(a, MICA_AE_CANARY_IN, now))
		return 0;
	/* never live, and gone */
	if (happened(a, MICA_AE_REMOVED, now) && !happened(a, MICA_AE_PUBLISHED, now))
		return mica_authority_last(a, MICA_AE_REMOVED, now) + pause;
	/* its removal was taken back */
	if (happened(a, MICA_AE_CANARY_OUT, now) && mica_authority_in_canary(a, now))
		return mica_authority_last(a, MICA_AE_CANARY_IN, now) + pause;
	return 0;
}
