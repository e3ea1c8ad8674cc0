/* SPDX-License-Identifier: Apache-2.0 */
/* How long things live, and what rotation makes of it. */
#include "config_check_impl.h"

#include "mica/rotation.h"

#define ROOT    "authorities.root_life"
#define ISSUING "authorities.issuing_life"
#define JWT     "authorities.jwt_life"

/* Rounded up to a unit that people would write. */
static const char *at_least(int64_t seconds, char out[CONFIG_DURATION_SIZE])
{
	static const int64_t units[] = {86400, 3600, 60};

	for (size_t i = 0; i < MICA_ARRAY_LEN(units); i++)
		if (seconds >= 2 * units[i])
			return config_duration((seconds + units[i] - 1) / units[i] * units[i], out);
	return config_duration(seconds, out);
}

/* ---- lifetimes ----------------------------------------------------------------------------- */

/* Of the settings that contradict each other, one that the document has: it is to be changed. */
static const char *blamed(struct checking *k, const char *a, const char *b, const char *c)
{
	if (config_given(k->src, a))
		return a;
	return config_given(k->src, b) ? b : c;
}

mica_rc config_check_order(
	struct checking *k, const char *small, int64_t a, const char *large, int64_t b)
{
	char ta[CONFIG_DURATION_SIZE], tb[CONFIG_DURATION_SIZE];
	const char *path = blamed(k, small, large, large);

	if (a <= b)
		return MICA_OK;
	return config_refuse(k->src, path, "config_lifetimes",
		"%s (%s) is above %s (%s); expected to lower the one or raise the other", small,
		config_duration(a, ta), large, config_duration(b, tb));
}

static mica_rc check_rule_lives(struct checking *k, unsigned i)
{
	const struct mica_config *c = k->c;
	const struct mica_rule *r = &c->rules[i];
	char ttl[CONFIG_PATH_MAX], max[CONFIG_PATH_MAX];
	mica_rc rc = MICA_OK;

	config_path(ttl, "rules[%u].ttl", i);
	config_path(max, "rules[%u].max_ttl", i);
	if (r->max_ttl)
		rc = config_check_order(k, "x509.min_ttl", c->x509.min_ttl, max, r->max_ttl);
	if (rc == MICA_OK && r->ttl)
		rc = config_check_order(k, "x509.min_ttl", c->x509.min_ttl, ttl, r->ttl);
	if (rc == MICA_OK && r->ttl)
		rc = config_check_order(k, ttl, r->ttl, r->max_ttl ? max : "x509.max_ttl",
			r->max_ttl ? r->max_ttl : c->x509.max_ttl);
	return rc;
}

mica_rc config_check_lives(struct checking *k)
{
	const struct mica_config *c = k->c;
	mica_rc rc =
		config_check_order(k, "x509.min_ttl", c->x509.min_ttl, "x509.ttl", c->x509.ttl);

	if (rc == MICA_OK)
		rc = config_check_order(
			k, "x509.ttl", c->x509.ttl, "x509.max_ttl", c->x509.max_ttl);
	if (rc == MICA_OK)
		rc = config_check_order(k, "jwt.ttl", c->jwt.ttl, "jwt.max_ttl", c->jwt.max_ttl);
	for (unsigned i = 0; i < c->n_rules && rc == MICA_OK; i++)
		rc = check_rule_lives(k, i);
	return rc;
}

/* ---- rotation ------------------------------------------------------------------------------ */

#define DAY ((int64_t)86400)

/* The longest certificate, and the setting that says so. */
static int64_t longest_leaf(const struct mica_config *c, char whose[CONFIG_PATH_MAX])
{
	int64_t longest = c->x509.max_ttl;

	config_path(whose, "x509.max_ttl");
	for (unsigned i = 0; i < c->n_rules; i++) {
		if (c->rules[i].max_ttl > longest) {
			longest = c->rules[i].max_ttl;
			config_path(whose, "rules[%u].max_ttl", i);
		}
	}
	return longest;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void fill(int64_t *setting, int64_t value)
{
	if (*setting == CONFIG_UNSET)
		*setting = value;
}

/* What was not given follows from lives and hints, so that short ones make a playground. */
static void complete_rotation(struct mica_config *c)
{
	char whose[CONFIG_PATH_MAX];
	int64_t longest = longest_leaf(c, whose), spread = 3 * c->bundle.refresh_hint;

	for (unsigned i = 0; i < c->rotation.n_outlets; i++)
		if (c->rotation.outlets[i].propagation > spread)
			spread = c->rotation.outlets[i].propagation;
	fill(&c->rotation.skew, least(60, c->authorities.issuing_life / 20));
	fill(&c->rotation.propagation, spread);
	fill(&c->rotation.hold, longest + c->rotation.skew);
	fill(&c->rotation.ack_timeout, least(7 * DAY, c->authorities.root_life / 20));
	fill(&c->rotation.trash, least(7 * DAY, c->authorities.issuing_life));
	fill(&c->rotation.deadline, c->rotation.propagation + c->x509.ttl);
}

#define LINKERD_OUTLET "linkerd"

static bool has_linkerd(const struct mica_config *c)
{
	for (unsigned i = 0; i < c->n_issuers; i++)
		if (c->issuers[i].audiences[MICA_FRONT_LINKERD].n > 0)
			return mica_config_has_grpc(c);
	return false;
}

/* Linkerd's proxies have their anchors from their start and tell nobody which (design 8.3): without
 * a word of the operator a new root must not sign. */
static void add_linkerd_outlet(struct mica_config *c)
{
	struct mica_outlet_config *v = c->rotation.outlets;

	if (!has_linkerd(c))
		return;
	for (unsigned i = 0; i < c->rotation.n_outlets; i++)
		if (strcmp(v[i].name, LINKERD_OUTLET) == 0)
			return;
	v = mica_realloc(v, c->rotation.n_outlets + 1, sizeof(*v));
	v[c->rotation.n_outlets++] =
		(struct mica_outlet_config){.name = mica_strdup(LINKERD_OUTLET)};
	c->rotation.outlets = v;
	config_list_add(&c->warnings,
		"rotation.outlets: none is called " LINKERD_OUTLET
		", so a new root waits for `mica rotation confirm " LINKERD_OUTLET "`");
}

static mica_rc check_outlets(struct checking *k)
{
	const struct mica_config *c = k->c;
	char path[CONFIG_PATH_MAX];

	for (unsigned i = 1; i < c->rotation.n_outlets; i++)
		for (unsigned n = 0; n < i; n++)
			if (strcmp(c->rotation.outlets[i].name, c->rotation.outlets[n].name) == 0)
				return config_refuse(k->src,
					config_path(path, "rotation.outlets[%u].name", i),
					"config_value", "entry %u has this name already", n + 1);
	for (unsigned i = 0; i < c->rotation.n_outlets; i++)
		if (strcmp(c->rotation.outlets[i].name, MICA_OUTLET_CANARY) == 0)
			return config_refuse(k->src,
				config_path(path, "rotation.outlets[%u].name", i), "config_value",
				"\"" MICA_OUTLET_CANARY
				"\" is the canary channel's; expected another");
	return MICA_OK;
}

static mica_rc blame_issuing_life(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	char whose[CONFIG_PATH_MAX], t[4][CONFIG_DURATION_SIZE];
	int64_t longest = longest_leaf(k->c, whose);

	return config_refuse(k->src, blamed(k, ISSUING, whose, "bundle.refresh_hint"),
		"config_lifetimes",
		ISSUING
		" (%s) is too short for 3 certificates of %s (%s) and rotation.propagation (%s); "
		"expected at least %s, or a lower %s",
		config_duration(b->have, t[0]), config_duration(longest, t[1]), whose,
		config_duration(p->propagation, t[2]), at_least(b->need, t[3]), whose);
}

static mica_rc blame_root_life(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	char t[3][CONFIG_DURATION_SIZE];

	return config_refuse(k->src, blamed(k, ROOT, ISSUING, ISSUING), "config_lifetimes",
		ROOT
		" (%s) is too short for 3 issuing authorities of %s; expected at least %s, or a "
		"lower " ISSUING,
		config_duration(b->have, t[0]),
		config_duration(p->kind[MICA_AUTHORITY_ISSUING].life, t[1]),
		at_least(b->need, t[2]));
}

static mica_rc blame_jwt_life(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	char t[5][CONFIG_DURATION_SIZE];

	return config_refuse(k->src, blamed(k, JWT, "jwt.max_ttl", "bundle.refresh_hint"),
		"config_lifetimes",
		JWT
		" (%s) is too short for 5 times bundle.refresh_hint (%s), the longest token (jwt.max_ttl, "
		"%s) and rotation.skew (%s); expected at least %s, or a lower jwt.max_ttl",
		config_duration(b->have, t[0]), config_duration(p->refresh_hint, t[1]),
		config_duration(p->max_jwt_ttl, t[2]), config_duration(p->skew, t[3]),
		at_least(b->need, t[4]));
}

static mica_rc blame_propagation(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	bool outlet = p->slowest_outlet == b->need;
	char t[2][CONFIG_DURATION_SIZE];

	return config_refuse(k->src, "rotation.propagation", "config_lifetimes",
		"rotation.propagation (%s) is shorter than %s; expected at least %s",
		config_duration(b->have, t[0]),
		outlet ? "that of the slowest of rotation.outlets" : "3 times bundle.refresh_hint",
		config_duration(b->need, t[1]));
}

static mica_rc blame_hold(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	char whose[CONFIG_PATH_MAX], t[3][CONFIG_DURATION_SIZE];

	(void)longest_leaf(k->c, whose);
	return config_refuse(k->src, "rotation.hold", "config_lifetimes",
		"rotation.hold (%s) is shorter than the longest certificate (%s) and rotation.skew (%s); "
		"expected at least %s",
		config_duration(b->have, t[0]), whose, config_duration(p->skew, t[1]),
		config_duration(b->need, t[2]));
}

static mica_rc blame_rotate_at(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	static const struct {
		const char *path, *life;
		enum mica_authority_kind kind;
		const char *parts;
	} of[MICA_RR_COUNT] = {
		[MICA_RR_ROOT_AT] = {"rotation.root.rotate_at", ROOT, MICA_AUTHORITY_ROOT,
			"canary.time, propagation, ack_timeout, the longest certificate and skew"},
		[MICA_RR_ISSUING_AT] = {"rotation.issuing.rotate_at", ISSUING,
			MICA_AUTHORITY_ISSUING, "propagation, the longest certificate and skew"},
		[MICA_RR_JWT_AT] = {"rotation.jwt.rotate_at", JWT, MICA_AUTHORITY_JWT,
			"canary.time, 5 times bundle.refresh_hint or propagation, jwt.max_ttl and skew"}};
	const char *path = of[b->rule].path, *life = of[b->rule].life;
	int64_t lead = mica_rotation_lead(p, of[b->rule].kind);
	char t[2][CONFIG_DURATION_SIZE];

	return config_refuse(k->src, blamed(k, path, life, life), "config_lifetimes",
		"%s (%lld) leaves too little of %s (%s) for %s (%s together); expected at most %lld, or a "
		"longer %s",
		path, (long long)b->have, life,
		config_duration(p->kind[of[b->rule].kind].life, t[0]), of[b->rule].parts,
		config_duration(lead, t[1]), (long long)b->need, life);
}

/* The inequalities are rotation.h's; what to change is said here. */
mica_rc config_check_rotation(struct checking *k)
{
	static mica_rc (*const blame[MICA_RR_COUNT])(struct checking *,
		const struct mica_rotation_policy *,
		const struct mica_rotation_breach *) = {[MICA_RR_PROPAGATION] = blame_propagation,
		[MICA_RR_HOLD] = blame_hold,
		[MICA_RR_ISSUING_LIFE] = blame_issuing_life,
		[MICA_RR_ROOT_LIFE] = blame_root_life,
		[MICA_RR_JWT_LIFE] = blame_jwt_life,
		[MICA_RR_ROOT_AT] = blame_rotate_at,
		[MICA_RR_ISSUING_AT] = blame_rotate_at,
		[MICA_RR_JWT_AT] = blame_rotate_at};
	struct mica_rotation_policy p;
	struct mica_rotation_breach b;
	mica_rc rc = check_outlets(k);

	if (rc != MICA_OK)
		return rc;
	add_linkerd_outlet(k->c);
	complete_rotation(k->c);
	mica_rotation_policy_of(k->c, &p);
	return mica_rotation_policy_holds(&p, &b) ? MICA_OK : blame[b.rule](k, &p, &b);
}
