/* SPDX-License-Identifier: Apache-2.0 */
/* When clients shall renew: by the life of what they have, and sooner when a step is helped by it.
 */
#include "mica/rotation.h"

static int64_t lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t greater(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static bool is_bad(const struct mica_authority *a, int64_t now)
{
	enum mica_authority_state s = mica_authority_state_at(a, now);

	return s == MICA_AS_TAINTED || s == MICA_AS_REVOKED;
}

static int64_t bad_since(const struct mica_authority *a, int64_t now)
{
	return lesser(mica_authority_first(a, MICA_AE_TAINTED, now),
		mica_authority_first(a, MICA_AE_REVOKED, now));
}

/* Since when it is known that a root must go; NEVER = it need not. */
static int64_t doomed_since(const struct mica_authority *list, size_t n, size_t root, int64_t now)
{
	int64_t since = is_bad(&list[root], now) ? bad_since(&list[root], now) : MICA_TIME_NEVER;

	for (size_t i = 0; i < n; i++)
		if (list[i].kind == MICA_AUTHORITY_ISSUING && now <= list[i].not_after &&
			strcmp(list[i].parent, list[root].id) == 0 &&
			mica_authority_state_at(&list[i], now) == MICA_AS_TAINTED)
			since = lesser(since, bad_since(&list[i], now));
	return since;
}

/* ---- what is foreseen --------------------------------------------------------------------------
 */

/* A root on its way: when it came, or will come, into a bundle. */
static void call_of_successor(const struct mica_rotation_policy *p, const struct mica_authority *a,
	int64_t now, struct mica_renewal_calls *out)
{
	int64_t live = mica_authority_first(a, MICA_AE_PUBLISHED, now);
	int64_t canary = mica_authority_first(a, MICA_AE_CANARY_IN, now);

	if (mica_authority_state_at(a, now) == MICA_AS_READY)
		return; /* everybody has it */
	if (live == MICA_TIME_NEVER && canary == MICA_TIME_NEVER)
		return; /* it waits for something else */
	out->publish[0] = live == MICA_TIME_NEVER ? mica_canary_end(p, a, now) : live;
	out->publish[1] = lesser(canary, live);
}

static void call_of_due(const struct mica_rotation_policy *p, const struct mica_authority *active,
	struct mica_renewal_calls *out)
{
	int64_t due = mica_rotation_due(p, active);

	out->publish[0] = !p->canary  ? due
		: p->canary_time == 0 ? MICA_TIME_NEVER
				      : due + p->canary_time;
	out->publish[1] = due;
}

/* What still signs below a root that must go. With a standby nothing does. */
static void call_of_compromise(const struct mica_rotation_policy *p,
	const struct mica_authority *list, size_t n, int next, int64_t now,
	struct mica_renewal_calls *out)
{
	int signs = n == 0
		? -1
		: mica_authority_active(list, n, list[0].set, MICA_AUTHORITY_ISSUING, now);
	int64_t since = MICA_TIME_NEVER, known;

	if (signs < 0 || next < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].id, list[signs].parent) == 0)
			since = doomed_since(list, n, i, now);
	known = mica_authority_first(&list[next], MICA_AE_PUBLISHED, now);
	if (since == MICA_TIME_NEVER || known == MICA_TIME_NEVER)
		return;
	out->replace_from = known + mica_rotation_propagation(p, MICA_AUTHORITY_ROOT);
	out->replace_to = greater(out->replace_from, since + p->deadline);
}

void mica_renewal_calls_of(const struct mica_rotation_policy *p, const struct mica_authority *list,
	size_t n, int64_t now, struct mica_renewal_calls *out)
{
	int root =
		n == 0 ? -1 : mica_authority_active(list, n, list[0].set, MICA_AUTHORITY_ROOT, now);
	int next = mica_rotation_successor(list, n, MICA_AUTHORITY_ROOT, now);

	*out = (struct mica_renewal_calls){.publish = {MICA_TIME_NEVER, MICA_TIME_NEVER},
		.spread = greater(p->propagation, lesser(p->ack_timeout, p->max_leaf_ttl) / 2),
		.replace_from = MICA_TIME_NEVER,
		.replace_to = MICA_TIME_NEVER};
	if (next >= 0)
		call_of_successor(p, &list[next], now, out);
	else if (root >= 0 && p->kind[MICA_AUTHORITY_ROOT].automatic &&
		p->root_home == MICA_ROOT_OWN)
		call_of_due(p, &list[root], out);
	call_of_compromise(p, list, n, next, now, out);
}

int64_t mica_renewal_before(const struct mica_rotation_policy *p, const struct mica_authority *list,
	size_t n, size_t at, int64_t now)
{
	/* one that was revoked alone is believed by nobody who reads CRLs */
	int64_t since = mica_authority_state_at(&list[at], now) == MICA_AS_REVOKED
		? bad_since(&list[at], now)
		: MICA_TIME_NEVER;

	if (list[at].kind != MICA_AUTHORITY_ISSUING || now > list[at].not_after)
		return MICA_TIME_NEVER;
	for (size_t i = 0; i < n; i++)
		if (list[i].kind == MICA_AUTHORITY_ROOT &&
			strcmp(list[i].id, list[at].parent) == 0 &&
			mica_authority_is_published(&list[i], now))
			since = lesser(since, doomed_since(list, n, i, now));
	return since == MICA_TIME_NEVER ? since : since + p->deadline;
}

/* ---- one certificate ---------------------------------------------------------------------------
 */

/* At random within [from, to], which may have begun, and is never so narrow that all come at once:
 * a twentieth of what is left of a life. */
static int64_t within(const struct mica_renewal *r, int64_t from, int64_t to)
{
	int64_t start = greater(from, r->now), least = (r->end - r->now) / 20;
	int64_t width = greater(to - start, least);

	return start + (r->random[0] << 8 | r->random[1]) * width / 65536;
}

/* Whether whoever renews at `natural` would come too late, and for what. */
static int64_t called(
	const struct mica_renewal_calls *c, const struct mica_renewal *r, int64_t natural)
{
	int64_t publish = c->publish[r->canary], at = natural;

	if (r->ack && publish > r->now && publish < natural)
		at = within(r, publish, publish + c->spread);
	else if (r->ack && !r->newest && publish <= r->now)
		at = within(r, r->now, publish + c->spread);
	if (c->replace_from < natural)
		at = lesser(at, within(r, c->replace_from, c->replace_to));
	return at;
}

int64_t mica_renewal_after(const struct mica_renewal_calls *c, const struct mica_renewal *r)
{
	int64_t life = r->end - r->now;
	int64_t jitter = (r->random[0] << 8 | r->random[1]) * (life / 10) / 65536;
	int64_t natural = r->now + life / 2 + jitter;

	return lesser(natural, called(c, r, natural));
}
