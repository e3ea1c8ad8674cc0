/* SPDX-License-Identifier: Apache-2.0 */
#include "renew.h"

#define SPREAD_PART   32 /* of what is left between renew_after and the end */
#define LEFT_PART     8 /* of the life that is left: the longest wait in front of its end */
#define SECONDS_MAX   (24 * 3600)
#define DOUBLINGS_MAX 7

/* SplitMix64: not for secrets, only so that agents differ. */
static uint64_t draw(struct renew *r)
{
	uint64_t z = (r->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* From low to high, both included. */
static int64_t between(struct renew *r, int64_t low, int64_t high)
{
	return high <= low ? low : low + (int64_t)(draw(r) % (uint64_t)(high - low + 1));
}

void renew_init(struct renew *r, uint64_t seed)
{
	*r = (struct renew){.at = INT64_MIN, .random = seed};
}

bool renew_valid(const struct renew *r, int64_t now)
{
	return r->has && now < r->svid.not_after;
}

void renew_backoff(const struct renew *r, int64_t now, int64_t *low, int64_t *high)
{
	const unsigned doublings = r->failures > DOUBLINGS_MAX ? DOUBLINGS_MAX : r->failures;
	const int64_t left = renew_valid(r, now) ? r->svid.not_after - now : INT64_MAX;

	*high = RENEW_BACKOFF_FIRST << (doublings ? doublings - 1 : 0);
	if (*high > RENEW_BACKOFF_MAX)
		*high = RENEW_BACKOFF_MAX;
	if (*high > left / LEFT_PART)
		*high = left / LEFT_PART;
	if (*high < RENEW_BACKOFF_FIRST)
		*high = RENEW_BACKOFF_FIRST;
	*low = *high / 2;
}

static void wait_for(struct renew *r, int64_t now, int64_t ms)
{
	r->waited_from = now;
	r->at = now + ms;
}

/* A clock that was set back makes a wait longer than it was meant to be. */
static bool clock_went_back(const struct renew *r, int64_t now)
{
	return r->at != INT64_MIN && now < r->waited_from - RENEW_BACKOFF_MAX;
}

enum renew_action renew_next(struct renew *r, int64_t now)
{
	if (clock_went_back(r, now)) {
		const int64_t rest = r->at - r->waited_from;

		/* of a back-off what it was; of a renewal as long as it was meant to last */
		wait_for(r, now, rest);
	}
	return now >= r->at ? RENEW_ASK : RENEW_WAIT;
}

void renew_issued(struct renew *r, int64_t now, const struct renew_times *t)
{
	struct renew_times s = *t;

	if (s.renew_after <= s.not_before || s.renew_after >= s.not_after)
		s.renew_after = s.not_before + (s.not_after - s.not_before) / 2;
	r->has = true;
	r->ended = false;
	r->svid = s;
	r->failures = 0;
	r->at = s.renew_after + between(r, 0, (s.not_after - s.renew_after) / SPREAD_PART);
	r->waited_from = now;
	/* Born past its time, by our clock: not in a loop. */
	if (r->at < now + RENEW_BACKOFF_FIRST)
		wait_for(r, now, between(r, RENEW_BACKOFF_FIRST, 2 * RENEW_BACKOFF_FIRST));
}

void renew_failed(struct renew *r, int64_t now, int retry_after)
{
	int64_t low, high, asked;

	/* short waits in front of the end must not be followed by the longest one behind it */
	if (r->has && !r->ended && !renew_valid(r, now)) {
		r->ended = true;
		r->failures = 0;
	}
	if (r->failures < UINT32_MAX)
		r->failures++;
	renew_backoff(r, now, &low, &high);
	if (retry_after > SECONDS_MAX)
		retry_after = SECONDS_MAX;
	asked = (int64_t)(retry_after > 0 ? retry_after : 0) * 1000;
	if (asked > low) {
		low = asked;
		high = high > asked + asked / 2 ? high : asked + asked / 2;
	}
	wait_for(r, now, between(r, low, high));
}

void renew_hurry(struct renew *r, int64_t now)
{
	if (r->failures == 0 && now < r->at)
		wait_for(r, now, between(r, 0, RENEW_BACKOFF_FIRST));
}
