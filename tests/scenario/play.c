/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays the scenarios of this folder: each *.scenario is one test, with the real core and a clock
 * that is moved. All the time, whatever the file says: at most one authority of a kind is active,
 * sequences grow, no certificate is signed by what is not active, and nobody who shows a
 *certificate that has not ended is refused by anybody (virtual.h).
 *
 *	config ... end			micad's configuration, first
 *	holder NAME ack|carried|none [every TIME]
 *					fetches the bundle that often (ack: refresh_hint, none: 3 of
 *					them) and says so; carried: has what came with its
 *certificate call NAME active|successor|standby|retired KIND	 a name for an authority rotate KIND
 *[NAME]		begins a rotation; the new one is NAME
 *	prepare KIND [NAME]		makes one that waits
 *	recover [NAME]			a new root when there is none
 *	activate NAME [force]		rollback KIND [force]		revoke NAME [force]
 *	taint NAME			confirm OUTLET
 *	clock +TIME|-TIME|right		how far the CA's clock is off
 *	clock accept			an administrator believes it
 *	stop | start | kill		the CA; kill is both at once
 *	lost NAME | heard NAME		what a holder says
 *	away NAME | back NAME		a holder as a whole
 *	refuse REASON COMMAND...	the command is refused, and why
 *	forgive				from here on refused holders are counted and nothing more
 *	expect WHAT is|not|above|below VALUE
 *	until TIME			nothing else happens until then
 *
 * WHAT: active KIND; state NAME; published NAME (yes, no); waits KIND; missing; ready (yes, or the
 * reason); clock (agrees, behind, ahead); count KIND STATE; changes KIND (how often another one
 *took over); serves NAME (yes, no: whether that holder has a certificate); failures; refused.
 */
#include "virtual.h"

#include "mica/file.h"
#include "mica/json.h"
#include "script.h"

#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define NAMES 64

struct play {
	const struct script *s;
	const struct script_line *l; /* the one that is played */
	struct virtual *v;
	struct {
		char name[32], id[MICA_KEY_ID_SIZE];
	} name[NAMES];
	unsigned n_names;
	unsigned expected;
	bool lie; /* the first expectation is turned round */
};

static mica_rc wrong(struct play *p, struct mica_err *e, const char *fmt, ...) MICA_PRINTF(3, 4);
static mica_rc wrong(struct play *p, struct mica_err *e, const char *fmt, ...)
{
	char what[500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return script_fail(p->s, p->l, e, "%s", what);
}

/* ---- words -------------------------------------------------------------------------------------
 */

static mica_rc read_kind(
	struct play *p, const char *word, enum mica_authority_kind *out, struct mica_err *e)
{
	for (int k = 1; k < MICA_AUTHORITY_KIND_COUNT; k++)
		if (strcmp(mica_authority_kind_name((enum mica_authority_kind)k), word) == 0) {
			*out = (enum mica_authority_kind)k;
			return MICA_OK;
		}
	return wrong(p, e, "there is no kind \"%s\": expected root, issuing or jwt", word);
}

static mica_rc read_state(
	struct play *p, const char *word, enum mica_authority_state *out, struct mica_err *e)
{
	for (int s = 1; s < MICA_AS_COUNT; s++)
		if (strcmp(mica_authority_state_name((enum mica_authority_state)s), word) == 0) {
			*out = (enum mica_authority_state)s;
			return MICA_OK;
		}
	return wrong(p, e, "there is no state \"%s\"", word);
}

static const char *named(const struct play *p, const char *name)
{
	for (unsigned i = 0; i < p->n_names; i++)
		if (strcmp(p->name[i].name, name) == 0)
			return p->name[i].id;
	return NULL;
}

static mica_rc read_name(struct play *p, const char *name, const char **id, struct mica_err *e)
{
	*id = named(p, name);
	return *id ? MICA_OK : wrong(p, e, "nothing was called \"%s\"", name);
}

static mica_rc call_it(struct play *p, const char *name, const char *id, struct mica_err *e)
{
	if (p->n_names == NAMES || strlen(name) >= sizeof(p->name[0].name))
		return wrong(p, e, "too many names, or \"%s\" is too long", name);
	if (named(p, name))
		return wrong(p, e, "\"%s\" is called so already", name);
	snprintf(p->name[p->n_names].name, sizeof(p->name[0].name), "%s", name);
	snprintf(p->name[p->n_names++].id, MICA_KEY_ID_SIZE, "%s", id);
	return MICA_OK;
}

static mica_rc read_holder(
	struct play *p, const char *name, struct virtual_holder **h, struct mica_err *e)
{
	*h = virtual_find(p->v, name);
	return *h ? MICA_OK : wrong(p, e, "there is no holder \"%s\"", name);
}

static mica_rc read_force(struct play *p, const char *word, bool *force, struct mica_err *e)
{
	*force = word != NULL;
	return !word || strcmp(word, "force") == 0
		? MICA_OK
		: wrong(p, e, "expected force, or nothing, instead of \"%s\"", word);
}

/* ---- commands ----------------------------------------------------------------------------------
 */

static const struct mica_caller admin = {.roles = MICA_ROLE_ADMIN, .uid = 0, .pid = 1};

static mica_rc do_holder(struct play *p, char *const *w, struct mica_err *e)
{
	static const struct {
		const char *name;
		enum mica_outlet_class outlet;
		int hints;
	} classes[] = {{"ack", MICA_OUTLET_ACK, 1}, {"carried", MICA_OUTLET_CARRIED, 0},
		{"none", MICA_OUTLET_NONE, 3}};
	unsigned i = 0;
	int64_t every;

	while (i < MICA_ARRAY_LEN(classes) && strcmp(classes[i].name, w[2]) != 0)
		i++;
	if (i == MICA_ARRAY_LEN(classes))
		return wrong(p, e, "expected ack, carried or none instead of \"%s\"", w[2]);
	every = classes[i].hints * p->v->config->bundle.refresh_hint;
	if (w[3] && (strcmp(w[3], "every") != 0 || !w[4] || !script_time(w[4], &every) || !every))
		return wrong(p, e, "expected \"every\" and a time");
	return virtual_add(p->v, w[1], classes[i].outlet, every)
		? MICA_OK
		: wrong(p, e, "holder \"%s\" is there already, or there are too many", w[1]);
}

static mica_rc do_call(struct play *p, char *const *w, struct mica_err *e)
{
	enum mica_authority_kind kind;
	char id[MICA_KEY_ID_SIZE];
	bool found;
	mica_rc rc = read_kind(p, w[3], &kind, e);

	if (rc != MICA_OK)
		return rc;
	if (strcmp(w[2], "active") == 0)
		found = virtual_one_of(p->v, kind, MICA_AS_ACTIVE, false, id);
	else if (strcmp(w[2], "retired") == 0)
		found = virtual_one_of(p->v, kind, MICA_AS_RETIRED, false, id);
	else if (strcmp(w[2], "successor") == 0 || strcmp(w[2], "standby") == 0)
		found = virtual_one_of(p->v, kind, MICA_AS_PUBLISHED, w[2][1] == 't', id) ||
			virtual_one_of(p->v, kind, MICA_AS_READY, w[2][1] == 't', id);
	else
		return wrong(p, e,
			"expected active, successor, standby or retired instead of \"%s\"", w[2]);
	return found ? call_it(p, w[1], id, e) : wrong(p, e, "there is no %s %s", w[2], w[3]);
}

static mica_rc do_create(struct play *p, char *const *w, struct mica_err *e)
{
	bool recover = strcmp(w[0], "recover") == 0, prepare = strcmp(w[0], "prepare") == 0;
	enum mica_authority_kind kind = MICA_AUTHORITY_ROOT;
	int64_t now_ms = virtual_clock_ms(p->v);
	const char *name = recover ? w[1] : w[2];
	char id[MICA_KEY_ID_SIZE];
	mica_rc rc = recover ? MICA_OK : read_kind(p, w[1], &kind, e);

	if (rc != MICA_OK)
		return rc;
	rc = recover || prepare
		? mica_core_prepare_authority(p->v->core, kind, recover, &admin, now_ms, id, e)
		: mica_core_rotation_start(p->v->core, kind, &admin, now_ms, id, e);
	return rc == MICA_OK && name ? call_it(p, name, id, e) : rc;
}

static mica_rc do_with_one(struct play *p, char *const *w, struct mica_err *e)
{
	int64_t now_ms = virtual_clock_ms(p->v);
	const char *id;
	bool force;
	mica_rc rc = read_name(p, w[1], &id, e);

	if (rc == MICA_OK)
		rc = read_force(p, w[2], &force, e);
	if (rc != MICA_OK)
		return rc;
	if (strcmp(w[0], "activate") == 0)
		return mica_core_activate(p->v->core, id, force, &admin, now_ms, e);
	if (strcmp(w[0], "revoke") == 0)
		return mica_core_revoke(p->v->core, id, force, &admin, now_ms, e);
	virtual_tainted(p->v, id);
	return mica_core_taint(p->v->core, id, &admin, now_ms, e);
}

static mica_rc do_rollback(struct play *p, char *const *w, struct mica_err *e)
{
	enum mica_authority_kind kind;
	bool force;
	mica_rc rc = read_kind(p, w[1], &kind, e);

	if (rc == MICA_OK)
		rc = read_force(p, w[2], &force, e);
	return rc == MICA_OK
		? mica_core_roll_back(p->v->core, kind, force, &admin, virtual_clock_ms(p->v), e)
		: rc;
}

static mica_rc do_confirm(struct play *p, char *const *w, struct mica_err *e)
{
	return mica_core_confirm(
		p->v->core, mica_slice_str(w[1]), &admin, virtual_clock_ms(p->v), e);
}

static mica_rc do_clock(struct play *p, char *const *w, struct mica_err *e)
{
	int64_t off = 0;

	if (strcmp(w[1], "accept") == 0)
		return mica_core_clock_accept(p->v->core, &admin, virtual_clock_ms(p->v), e);
	if (strcmp(w[1], "right") != 0 &&
		((w[1][0] != '+' && w[1][0] != '-') || !script_time(w[1] + 1, &off)))
		return wrong(p, e, "expected +TIME, -TIME, right or accept");
	p->v->off = w[1][0] == '-' ? -off : off;
	return MICA_OK;
}

static mica_rc do_run(struct play *p, char *const *w, struct mica_err *e)
{
	if (strcmp(w[0], "start") != 0) {
		if (!p->v->core)
			return wrong(p, e, "it is stopped");
		virtual_stop(p->v);
	} else if (p->v->core) {
		return wrong(p, e, "it runs");
	}
	return strcmp(w[0], "stop") == 0 ? MICA_OK : virtual_start(p->v, e);
}

static mica_rc do_with_holder(struct play *p, char *const *w, struct mica_err *e)
{
	struct virtual_holder *h;
	mica_rc rc = read_holder(p, w[1], &h, e);

	if (rc != MICA_OK)
		return rc;
	if (strcmp(w[0], "lost") == 0 || strcmp(w[0], "heard") == 0)
		h->lost = w[0][0] == 'l';
	else
		h->away = w[0][0] == 'a';
	if (!h->away)
		h->next_fetch = p->v->now;
	return MICA_OK;
}

static mica_rc do_forgive(struct play *p, char *const *w, struct mica_err *e)
{
	(void)w;
	(void)e;
	p->v->forgiven = true;
	return MICA_OK;
}

static mica_rc do_until(struct play *p, char *const *w, struct mica_err *e)
{
	(void)p;
	(void)w;
	(void)e;
	return MICA_OK;
}

static mica_rc do_refuse(struct play *p, char *const *w, struct mica_err *e);
static mica_rc do_expect(struct play *p, char *const *w, struct mica_err *e);

static const struct command {
	const char *name;
	unsigned min, max; /* words behind it */
	mica_rc (*run)(struct play *p, char *const *w, struct mica_err *e);
	bool stopped; /* also while the CA is stopped */
} commands[] = {
	{"holder", 2, 4, do_holder, false},
	{"call", 3, 3, do_call, false},
	{"rotate", 1, 2, do_create, false},
	{"prepare", 1, 2, do_create, false},
	{"recover", 0, 1, do_create, false},
	{"activate", 1, 2, do_with_one, false},
	{"revoke", 1, 2, do_with_one, false},
	{"taint", 1, 1, do_with_one, false},
	{"rollback", 1, 2, do_rollback, false},
	{"confirm", 1, 1, do_confirm, false},
	{"clock", 1, 1, do_clock, true},
	{"stop", 0, 0, do_run, false},
	{"kill", 0, 0, do_run, false},
	{"start", 0, 0, do_run, true},
	{"lost", 1, 1, do_with_holder, true},
	{"heard", 1, 1, do_with_holder, true},
	{"away", 1, 1, do_with_holder, true},
	{"back", 1, 1, do_with_holder, true},
	{"forgive", 0, 0, do_forgive, true},
	{"until", 0, 0, do_until, true},
	{"refuse", 2, SCRIPT_WORDS, do_refuse, false},
	{"expect", 3, SCRIPT_WORDS, do_expect, true},
};

static mica_rc run(struct play *p, char *const *w, struct mica_err *e)
{
	unsigned n = 0;

	while (w[n + 1])
		n++;
	for (size_t i = 0; i < MICA_ARRAY_LEN(commands); i++) {
		const struct command *c = &commands[i];

		if (strcmp(c->name, w[0]) != 0)
			continue;
		if (n < c->min || n > c->max)
			return wrong(p, e, "\"%s\" has %u words behind it, expected %u to %u", w[0],
				n, c->min, c->max);
		if (!p->v->core && !c->stopped)
			return wrong(p, e, "\"%s\": the CA is stopped", w[0]);
		return c->run(p, w, e);
	}
	return wrong(p, e, "there is no command \"%s\"", w[0]);
}

static mica_rc do_refuse(struct play *p, char *const *w, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = run(p, w + 2, &own);

	if (rc != MICA_OK && strcmp(own.reason, "scenario") == 0)
		return wrong(p, e, "%s", own.text);
	if (rc == MICA_OK || strcmp(own.reason, w[1]) != 0)
		return wrong(p, e, "expected to be refused with %s, and it was %s", w[1],
			rc == MICA_OK ? "not" : own.reason);
	p->expected++;
	return MICA_OK;
}

/* ---- expectations ------------------------------------------------------------------------------
 */

static void put(struct mica_buf *out, const char *text)
{
	mica_buf_put_str(out, text ? text : "none");
}

static mica_rc see_active(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	enum mica_authority_kind kind;
	char id[MICA_KEY_ID_SIZE] = "none";
	mica_rc rc = read_kind(p, w[0], &kind, e);

	if (rc == MICA_OK)
		(void)virtual_one_of(p->v, kind, MICA_AS_ACTIVE, false, id);
	put(out, id);
	return rc;
}

static mica_rc see_state(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	const char *id;
	mica_rc rc = read_name(p, w[0], &id, e);

	if (rc == MICA_OK)
		put(out, virtual_state(p->v, id));
	return rc;
}

static mica_rc see_published(
	struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	MICA_AUTO_AUTHORITY a;
	const char *id;
	mica_rc rc = read_name(p, w[0], &id, e);

	mica_authority_init(&a);
	if (rc == MICA_OK)
		put(out,
			virtual_authority(p->v, id, &a) &&
					mica_authority_is_published(
						&a, virtual_clock_ms(p->v) / 1000)
				? "yes"
				: "no");
	return rc;
}

/* What `mica rotation status` says. */
static json_t *status(struct play *p)
{
	MICA_AUTO_BUF b;
	json_t *j = NULL;

	mica_buf_init(&b, 1 << 20);
	if (mica_core_rotation_status(p->v->core, virtual_clock_ms(p->v), &b, NULL) == MICA_OK)
		j = json_loadb((const char *)b.p, b.len, JSON_REJECT_DUPLICATES, NULL);
	return j;
}

static mica_rc see_waits(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	enum mica_authority_kind kind;
	mica_rc rc = read_kind(p, w[0], &kind, e);
	json_t *j, *r;
	size_t i;

	if (rc != MICA_OK)
		return rc;
	j = status(p);
	json_array_foreach (json_object_get(j, "rotations"), i, r)
		if (strcmp(json_string_value(json_object_get(r, "kind")), w[0]) == 0)
			put(out, json_string_value(json_object_get(r, "waits_for")));
	json_decref(j);
	return MICA_OK;
}

static mica_rc see_missing(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	json_t *j = status(p);

	(void)w;
	(void)e;
	mica_buf_printf(
		out, "%lld", (long long)json_integer_value(json_object_get(j, "missing_count")));
	json_decref(j);
	return MICA_OK;
}

static mica_rc see_ready(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	int64_t now_ms = virtual_clock_ms(p->v);

	(void)w;
	/* issuers' keys are another matter: they are there */
	if (mica_core_set_jwks(p->v->core, "prod", mica_slice_str(p->v->jwks), now_ms, NULL, NULL,
		    e) != MICA_OK)
		return e->rc;
	put(out, mica_core_ready(p->v->core, now_ms, &own) == MICA_OK ? "yes" : own.reason);
	return MICA_OK;
}

static mica_rc see_clock(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	json_t *j = status(p);

	(void)w;
	(void)e;
	put(out, json_string_value(json_object_get(json_object_get(j, "clock"), "state")));
	json_decref(j);
	return MICA_OK;
}

static mica_rc see_count(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	enum mica_authority_kind kind;
	enum mica_authority_state state;
	mica_rc rc = read_kind(p, w[0], &kind, e);

	if (rc == MICA_OK)
		rc = read_state(p, w[1], &state, e);
	if (rc == MICA_OK)
		mica_buf_printf(out, "%u", virtual_count(p->v, kind, state));
	return rc;
}

static mica_rc see_changes(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	enum mica_authority_kind kind;
	mica_rc rc = read_kind(p, w[0], &kind, e);

	if (rc == MICA_OK)
		mica_buf_printf(out, "%u", p->v->changes[kind]);
	return rc;
}

static mica_rc see_serves(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	struct virtual_holder *h;
	bool has = false;
	mica_rc rc = read_holder(p, w[0], &h, e);

	for (unsigned i = 0; rc == MICA_OK && i < VIRTUAL_LEAVES; i++)
		has = has || (h->leaf[i].cert && h->leaf[i].end >= p->v->now);
	put(out, has ? "yes" : "no");
	return rc;
}

static mica_rc see_figure(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e)
{
	(void)e;
	mica_buf_printf(out, "%llu",
		(unsigned long long)(strcmp(w[-1], "failures") == 0 ? p->v->failures
								    : p->v->refused));
	return MICA_OK;
}

static const struct sight {
	const char *name;
	unsigned n; /* words behind it */
	mica_rc (*see)(struct play *p, char *const *w, struct mica_buf *out, struct mica_err *e);
	bool names; /* the value is a name, or none */
	bool stopped; /* also while the CA is stopped */
} sights[] = {
	{"active", 1, see_active, true, false},
	{"state", 1, see_state, false, false},
	{"published", 1, see_published, false, false},
	{"waits", 1, see_waits, false, false},
	{"missing", 0, see_missing, false, false},
	{"ready", 0, see_ready, false, false},
	{"clock", 0, see_clock, false, false},
	{"count", 2, see_count, false, false},
	{"changes", 1, see_changes, false, false},
	{"serves", 1, see_serves, false, true},
	{"failures", 0, see_figure, false, true},
	{"refused", 0, see_figure, false, true},
};

/* Whether `seen` stands in the relation to `value`. */
static mica_rc compare(struct play *p, const char *seen, const char *relation, const char *value,
	bool *holds, struct mica_err *e)
{
	int64_t a, b;

	if (strcmp(relation, "is") == 0 || strcmp(relation, "not") == 0) {
		*holds = (strcmp(seen, value) == 0) == (relation[0] == 'i');
		return MICA_OK;
	}
	if (strcmp(relation, "above") != 0 && strcmp(relation, "below") != 0)
		return wrong(p, e, "expected is, not, above or below instead of \"%s\"", relation);
	if (mica_parse_i64(mica_slice_str(seen), 0, INT64_MAX, &a) != MICA_OK ||
		mica_parse_i64(mica_slice_str(value), 0, INT64_MAX, &b) != MICA_OK)
		return wrong(p, e, "\"%s\" is for numbers", relation);
	*holds = relation[0] == 'a' ? a > b : a < b;
	return MICA_OK;
}

static const struct sight *find_sight(const char *name)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(sights); i++)
		if (strcmp(sights[i].name, name) == 0)
			return &sights[i];
	return NULL;
}

static mica_rc do_expect(struct play *p, char *const *w, struct mica_err *e)
{
	const struct sight *s = find_sight(w[1]);
	const char *value, *seen;
	bool holds = false;
	unsigned n = 0;
	MICA_AUTO_BUF out;
	mica_rc rc;

	while (w[n])
		n++;
	if (!s || n != s->n + 4)
		return wrong(p, e, "expected WHAT is|not|above|below VALUE behind \"expect\"");
	if (!p->v->core && !s->stopped)
		return wrong(p, e, "the CA is stopped");
	value = w[n - 1];
	if (s->names && strcmp(value, "none") != 0 && read_name(p, value, &value, e) != MICA_OK)
		return e->rc;
	mica_buf_init(&out, 1024);
	rc = s->see(p, w + 2, &out, e);
	if (rc != MICA_OK)
		return rc;
	seen = (const char *)out.p;
	rc = compare(p, seen ? seen : "", w[n - 2], value, &holds, e);
	if (rc != MICA_OK)
		return rc;
	holds = holds != p->lie;
	p->lie = false;
	p->expected++;
	return holds ? MICA_OK
		     : wrong(p, e, "expected %s %s %s, and it is %s", w[1], w[n - 2], w[n - 1],
			       seen ? seen : "nothing");
}

/* ---- a play ------------------------------------------------------------------------------------
 */

static mica_rc play_line(struct play *p, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct virtual *v = p->v;
	mica_rc rc;

	virtual_live(v, v->begin + p->l->at);
	if (v->broken[0])
		return wrong(p, e, "before this, after %lld days and %lld s: %s",
			(long long)((v->now - v->begin) / 86400),
			(long long)((v->now - v->begin) % 86400), v->broken);
	rc = run(p, p->l->w, &own);
	if (rc != MICA_OK)
		return strcmp(own.reason, "scenario") == 0
			? mica_fail(e, rc, own.reason, "%s", own.text)
			: wrong(p, e, "%s: %s", own.reason, own.text);
	if (p->l->timed && strcmp(p->l->w[0], "expect") != 0)
		virtual_look(v);
	return v->broken[0] ? wrong(p, e, "%s", v->broken) : MICA_OK;
}

static mica_rc play_all(struct play *p, struct mica_err *e)
{
	mica_rc rc = virtual_new(
		mica_buf_slice((struct mica_buf *)(uintptr_t)&p->s->config), p->s->name, &p->v, e);

	for (unsigned i = 0; i < p->s->n && rc == MICA_OK; i++) {
		p->l = &p->s->v[i];
		rc = play_line(p, e);
	}
	if (rc == MICA_OK && p->expected == 0)
		rc = mica_fail(e, MICA_INVALID, "scenario",
			"%s:1: nothing is expected: it cannot fail", p->s->name);
	return rc;
}

static mica_rc play(struct mica_slice text, const char *name, bool lie, struct mica_err *e)
{
	struct play *p = MICA_NEW(struct play);
	struct script *s = NULL;
	mica_rc rc = script_read(text, name, &s, e);

	p->s = s;
	p->lie = lie;
	if (rc == MICA_OK)
		rc = play_all(p, e);
	if (rc == MICA_OK)
		print_message(
			"    %lld days, %llu events, %llu certificates, %llu times judged, %llu "
			"refused; roots changed %u times, issuing %u, jwt %u\n",
			(long long)((p->v->now - p->v->begin) / 86400),
			(unsigned long long)p->v->events, (unsigned long long)p->v->issued,
			(unsigned long long)p->v->meetings, (unsigned long long)p->v->failures,
			p->v->changes[MICA_AUTHORITY_ROOT], p->v->changes[MICA_AUTHORITY_ISSUING],
			p->v->changes[MICA_AUTHORITY_JWT]);
	virtual_free(p->v);
	script_free(s);
	mica_free(p);
	return rc;
}

/* ---- tests -------------------------------------------------------------------------------------
 */

#define FILES 64

static char folder[512];

static void load(const char *name, struct mica_buf *out)
{
	struct mica_err own = MICA_ERR_INIT;
	char path[800];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	mica_buf_init(out, SCRIPT_MAX);
	if (mica_file_read(path, out, &own) != MICA_OK)
		fail_msg("%s: %s", path, own.text);
}

/* As it is, and then with its first expectation turned round: then it has to fail, and where. */
static void one_file(void **state)
{
	struct mica_err own = MICA_ERR_INIT;
	const char *name = *state;
	MICA_AUTO_BUF text;

	load(name, &text);
	if (play(mica_buf_slice(&text), name, false, &own) != MICA_OK)
		fail_msg("%s", own.text);
	own = (struct mica_err)MICA_ERR_INIT;
	if (play(mica_buf_slice(&text), name, true, &own) == MICA_OK)
		fail_msg("%s cannot fail", name);
	if (!strstr(own.text, name) || !strstr(own.text, ": expected "))
		fail_msg("turned round it fails with: %s", own.text);
}

static const struct {
	const char *text, *error;
} bad[] = {
	{"", "t:1: nothing is expected"},
	{"until 1d\n", "t:1: nothing is expected"},
	{"until soon", "t:1: expected a time"},
	{"at 1d", "t:1: nothing happens"},
	{"at 1d+ kill", "t:1: expected a time"},
	{"at 101y kill", "t:1: expected a time"},
	{"\n# x\nat 2d kill\nat 1d kill", "t:4: 1d is before the time of line 3"},
	{"until 1d 2d", "t:1: expected nothing behind"},
	{"dance", "t:1: there is no command \"dance\""},
	{"kill now", "t:1: \"kill\" has 1 words"},
	{"a b c d e f g h i j k l m", "t:1: more than 12 words"},
	{"config\nx509: {ttl: 1h}\n", "t:3: \"config\" without"},
	{"config\n\nx509: {tll: 1h}\nend\n", "t:3:"},
	{"config\nauthorities: {issuing_life: 1h}\nend\n", "t:2:"},
	{"holder a maybe", "t:1: expected ack, carried or none"},
	{"holder a ack\nholder a ack", "t:2: holder \"a\""},
	{"holder a ack every 0s", "t:1: expected \"every\""},
	{"call a active leaf", "t:1: there is no kind \"leaf\""},
	{"call a successor root", "t:1: there is no successor root"},
	{"call a active root\ncall a active jwt", "t:2: \"a\" is called so"},
	{"taint it", "t:1: nothing was called \"it\""},
	{"stop\nrotate root", "t:2: \"rotate\": the CA is stopped"},
	{"start", "t:1: it runs"},
	{"clock 5m", "t:1: expected +TIME"},
	{"away b", "t:1: there is no holder \"b\""},
	{"rotate root\nrotate root", "t:2: rotation_running: "},
	{"rollback jwt now", "t:1: expected force"},
	{"refuse no_way_back rotate jwt",
		"t:1: expected to be refused with no_way_back, and it was "
		"not"},
	{"refuse in_use rollback jwt",
		"t:1: expected to be refused with in_use, and it was no_way_"
		"back"},
	{"refuse x dance", "t:1: t:1: there is no command"},
	{"expect failures is", "t:1: \"expect\" has"},
	{"expect failures is 0 0", "t:1: expected WHAT"},
	{"expect luck is 0", "t:1: expected WHAT"},
	{"expect active root is it", "t:1: nothing was called \"it\""},
	{"expect count root alive is 1", "t:1: there is no state"},
	{"expect failures over 1", "t:1: expected is, not, above or below"},
	{"expect ready above 1", "t:1: \"above\" is for numbers"},
	{"expect failures is 0\n\nexpect ready is no", "t:3: expected ready is no, and it is yes"},
	{"expect failures above 0", "t:1: expected failures above 0, and it is 0"},
	/* and what must not happen is seen to happen */
	{"holder a ack\nholder b none every 4h\nprepare root new\nactivate new force\nat 5h expect failures is 0",
		"t:5: before this, after 0 days"},
};

static void what_is_wrong_is_told_with_its_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_err own = MICA_ERR_INIT;

		if (play(mica_slice_str(bad[i].text), "t", false, &own) == MICA_OK)
			fail_msg("played: %s", bad[i].text);
		if (strncmp(own.text, bad[i].error, strlen(bad[i].error)) != 0)
			fail_msg("%s\n  expected %s\n  has      %s", bad[i].text, bad[i].error,
				own.text);
	}
}

static int is_scenario(const struct dirent *d)
{
	return mica_slice_has_suffix(mica_slice_str(d->d_name), MICA_LIT(".scenario"));
}

int main(void)
{
	static struct CMUnitTest tests[FILES + 1];
	const char *top = mica_env("MICA_SRCDIR"), *only = mica_env("MICA_SCENARIO");
	struct dirent **found;
	unsigned n = 0;
	int files;

	snprintf(folder, sizeof(folder), "%s/tests/scenario", top ? top : ".");
	files = scandir(folder, &found, is_scenario, alphasort);
	if (files < 1 || files > FILES) {
		print_error("%s: expected 1 to %d scenarios\n", folder, FILES);
		return 1;
	}
	for (int i = 0; i < files; i++)
		if (!only || strstr(found[i]->d_name, only))
			tests[n++] = (struct CMUnitTest){.name = found[i]->d_name,
				.test_func = one_file,
				.initial_state = found[i]->d_name};
	if (!only)
		tests[n++] =
			(struct CMUnitTest)cmocka_unit_test(what_is_wrong_is_told_with_its_line);
	n = (unsigned)_cmocka_run_group_tests("scenarios", tests, n, NULL, NULL);
	while (files > 0)
		free(found[--files]);
	free(found);
	return (int)n;
}
