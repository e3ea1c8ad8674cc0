/* SPDX-License-Identifier: Apache-2.0 */
/* What the canary channel has got, or lost, before the live one: for people to see. */
#include "core_impl.h"

#include <inttypes.h>

int mica_core_in_canary(const struct core_authorities *a, int from, int64_t now)
{
	for (unsigned i = (unsigned)from; i < a->n; i++) {
		enum mica_authority_state s = mica_authority_state_at(&a->v[i], now);

		if (s != MICA_AS_EXPIRED &&
			(mica_canary_alone(&a->v[i], now) || mica_canary_gone(&a->v[i], now)))
			return (int)i;
	}
	return -1;
}

static void put_one(
	struct mica_buf *b, const struct core_view *v, const struct mica_authority *a, int64_t now)
{
	bool gone = mica_canary_gone(a, now);

	mica_core_put_string(b, "{", "authority", a->id);
	mica_core_put_string(b, ",", "kind", mica_authority_kind_name(a->kind));
	mica_core_put_string(b, ",", "step", gone ? "remove" : "publish");
	mica_core_put_time(b, ",", "since",
		mica_authority_last(a, gone ? MICA_AE_CANARY_OUT : MICA_AE_CANARY_IN, now));
	mica_core_put_time(b, ",", "until", mica_canary_end(&v->policy->rotation, a, now));
	mica_buf_put_u8(b, '}');
}

void mica_core_put_canary(struct mica_buf *b, const struct core_view *v, int64_t now)
{
	int at = mica_core_in_canary(v->auths, 0, now);
	const char *sep = "";

	mica_buf_printf(b, ",\"canary\":{\"configured\":%s,\"sequence\":%" PRIu64 ",\"steps\":[",
		v->policy->rotation.canary ? "true" : "false",
		v->pub->sequence[MICA_CHANNEL_CANARY]);
	for (; at >= 0; at = mica_core_in_canary(v->auths, at + 1, now)) {
		mica_buf_put_str(b, sep);
		put_one(b, v, &v->auths->v[at], now);
		sep = ",";
	}
	mica_buf_put_str(b, "]}");
}
