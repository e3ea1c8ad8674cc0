/* SPDX-License-Identifier: Apache-2.0 */
#include "peers.h"

#include "ext_authz.h"
#include "sip.h"

#include "mica/metric.h"
#include "mica/secret.h"
#include "mica/spiffeid.h"

#include <pthread.h>

#define STRIPES    64
#define WAYS       4
#define REFUSED_MS 5000

struct verdict {
	uint64_t hash[2];
	uint64_t generation;
	int64_t from_ms, until_ms; /* 0, 0: there is none */
	mica_rc rc;
	const char *reason; /* of a refusal, a literal */
	char *id; /* of the others */
};

struct peers {
	struct mica_core *core;
	char **aliases;
	unsigned n_aliases;
	uint64_t key[2];
	size_t mask; /* of sets, which have WAYS places */
	struct verdict *v;
	pthread_mutex_t lock[STRIPES];
	mica_metric_counter verified;
};

struct peers *peers_new(
	struct mica_core *core, unsigned max, const char *const *aliases, unsigned n_aliases)
{
	struct peers *p = MICA_NEW(struct peers);
	size_t sets = STRIPES;

	while (sets * WAYS < max)
		sets *= 2;
	p->core = core;
	p->mask = sets - 1;
	p->v = mica_calloc(sets * WAYS, sizeof(*p->v));
	p->aliases = mica_calloc(n_aliases + 1, sizeof(*p->aliases));
	for (unsigned i = 0; i < n_aliases; i++)
		p->aliases[p->n_aliases++] = mica_strdup(aliases[i]);
	mica_random(p->key, sizeof(p->key));
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_mutex_init(&p->lock[i], NULL);
	return p;
}

void peers_free(struct peers *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < (p->mask + 1) * WAYS; i++)
		mica_free(p->v[i].id);
	for (unsigned i = 0; i < p->n_aliases; i++)
		mica_free(p->aliases[i]);
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&p->lock[i]);
	mica_free(p->aliases);
	mica_free(p->v);
	mica_free(p);
}

/* ---- verdicts -------------------------------------------------------------------------------- */

static void copy_id(char id[PEERS_ID_SIZE], const char *from)
{
	size_t len = from ? strnlen(from, PEERS_ID_SIZE - 1) : 0;

	if (len)
		memcpy(id, from, len);
	id[len] = '\0';
}

/* The places of a hash, and their lock. */
static struct verdict *places(struct peers *p, uint64_t hash, pthread_mutex_t **lock)
{
	size_t set = (size_t)hash & p->mask;

	*lock = &p->lock[set % STRIPES];
	return &p->v[set * WAYS];
}

static bool holds(const struct verdict *v, uint64_t generation, int64_t now_ms)
{
	return v->generation == generation && now_ms >= v->from_ms && now_ms < v->until_ms;
}

/* True when there is one that holds. */
static bool find(struct peers *p, const uint64_t hash[2], uint64_t generation, int64_t now_ms,
	struct verdict *out, char id[PEERS_ID_SIZE])
{
	pthread_mutex_t *lock;
	const struct verdict *v = places(p, hash[0], &lock), *end = v + WAYS;

	pthread_mutex_lock(lock);
	while (v < end &&
		!(v->hash[0] == hash[0] && v->hash[1] == hash[1] && holds(v, generation, now_ms)))
		v++;
	if (v < end) {
		*out = *v;
		copy_id(id, v->id);
	}
	pthread_mutex_unlock(lock);
	return v < end;
}

/* In the place of one that does not hold any more, or else of the oldest. */
static void keep(struct peers *p, const struct verdict *v)
{
	pthread_mutex_t *lock;
	struct verdict *set = places(p, v->hash[0], &lock), *to = set;
	char *old;

	pthread_mutex_lock(lock);
	for (unsigned i = 1; i < WAYS && holds(to, v->generation, v->from_ms); i++)
		if (!holds(&set[i], v->generation, v->from_ms) || set[i].from_ms < to->from_ms)
			to = &set[i];
	old = to->id;
	*to = *v;
	pthread_mutex_unlock(lock);
	mica_free(old);
}

static mica_rc judge(struct peers *p, struct mica_slice certificate, int64_t now_ms,
	struct mica_caller *who, struct mica_err *e)
{
	uint8_t der[EXT_AUTHZ_DER_MAX];
	size_t len = 0;
	mica_rc rc;

	mica_metric_add(&p->verified, 1);
	rc = ext_authz_certificate(certificate, der, &len, e);
	if (rc != MICA_OK)
		return rc;
	return mica_core_judge_peer(p->core, mica_slice(der, len), now_ms, who, e);
}

/* Our own trouble is no verdict, and is not kept. */
static mica_rc judge_and_keep(struct peers *p, struct mica_slice certificate, struct verdict *v,
	int64_t now_ms, char id[PEERS_ID_SIZE], struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_caller who;

	v->rc = judge(p, certificate, now_ms, &who, &own);
	v->reason = own.reason;
	v->from_ms = now_ms;
	v->until_ms = now_ms + REFUSED_MS;
	if (v->rc == MICA_OK) {
		/* the last second counts (RFC 5280 4.1.2.5) */
		v->until_ms = (who.evidence.credential_expiry + 1) * 1000;
		copy_id(id, who.principal.spiffe_id);
		v->id = mica_strdup(id);
	}
	if (v->rc == MICA_OK || v->rc == MICA_UNAUTHENTICATED || v->rc == MICA_DENIED)
		keep(p, v);
	if (v->rc != MICA_OK && e && e->rc == MICA_OK)
		*e = own;
	return v->rc;
}

static mica_rc by_certificate(struct peers *p, struct mica_slice certificate, int64_t now_ms,
	char id[PEERS_ID_SIZE], struct mica_err *e)
{
	struct verdict v = {.generation = mica_core_generation(p->core)};
	uint64_t hash[2];

	sip128(p->key, certificate, hash);
	if (!find(p, hash, v.generation, now_ms, &v, id)) {
		memcpy(v.hash, hash, sizeof(hash));
		return judge_and_keep(p, certificate, &v, now_ms, id, e);
	}
	return v.rc == MICA_OK ? MICA_OK
			       : mica_fail(e, v.rc, v.reason, "the peer's certificate was refused");
}

mica_rc peers_judge(struct peers *p, struct mica_slice principal, struct mica_slice certificate,
	int64_t now_ms, char id[PEERS_ID_SIZE], struct mica_err *e)
{
	struct mica_spiffe_id name;
	mica_rc rc;

	id[0] = '\0';
	if (certificate.len) {
		rc = by_certificate(p, certificate, now_ms, id, e);
		if (rc != MICA_OK || principal.len == 0 || mica_slice_eq_str(principal, id))
			return rc;
		return mica_fail(e, MICA_UNAUTHENTICATED, "svid_mismatch",
			"the peer's principal is not the name in its certificate");
	}
	if (principal.len == 0)
		return MICA_OK;
	if (mica_spiffe_id_parse_workload(principal, &name, NULL) != MICA_OK)
		return mica_fail(e, MICA_UNAUTHENTICATED, "peer_not_spiffe",
			"the peer's principal is no SPIFFE ID of a workload");
	rc = mica_core_judge_name(p->core, &name, (const char *const *)p->aliases, p->n_aliases, e);
	if (rc == MICA_OK) {
		memcpy(id, principal.p, principal.len);
		id[principal.len] = '\0';
	}
	return rc;
}

void peers_stats(const struct peers *p, struct peers_stats *out)
{
	out->verified = mica_metric_get(&p->verified);
}
