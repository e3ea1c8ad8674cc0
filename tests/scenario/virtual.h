/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real core on a store in memory, with a clock that is moved, and those who live by it: holders
 * that fetch bundles, acknowledge, renew, and meet each other. All that ever got a certificate that
 * has not ended is shown to everybody, who judges it by OpenSSL with the bundle that he has at that
 * moment: what is refused is a broken connection.
 *
 * It moves from event to event: whatever is due at a second happens in that second.
 */
#ifndef TEST_SCENARIO_VIRTUAL_H
#define TEST_SCENARIO_VIRTUAL_H

#include "mica/config.h"
#include "mica/core.h"
#include "mica/rotation.h"

#define VIRTUAL_HOLDERS 8
#define VIRTUAL_LEAVES  4 /* that one holder shows: the newest */
#define VIRTUAL_TAINTS  16
#define VIRTUAL_EVENTS  400000 /* the most that one scenario may take */

struct virtual_bundle; /* as somebody fetched it; shared */

struct virtual_leaf {
	struct x509_st *cert; /* NULL = the place is free */
	struct stack_st_X509 *chain;
	char issuing[MICA_KEY_ID_SIZE], root[MICA_KEY_ID_SIZE];
	int64_t end;
	char kid[MICA_KEY_ID_SIZE]; /* of a token that was got with it; "" = none */
	int64_t token_end;
	uint64_t judged[VIRTUAL_HOLDERS]; /* with which bundle, by each */
};

struct virtual_holder {
	char name[32];
	enum mica_outlet_class outlet;
	int64_t every; /* fetches that often; 0 = never: it has what came with its certificate */
	bool lost; /* what it says is not heard */
	bool away; /* it does nothing, and meets nobody */
	struct virtual_bundle *bundle;
	int64_t next_fetch, next_renew;
	struct virtual_leaf leaf[VIRTUAL_LEAVES];
	unsigned n_leaf; /* made so far */
	struct mica_caller caller;
};

struct virtual
{
	char dir[64];
	struct mica_config *config;
	struct mica_rotation_policy policy;
	struct mica_secret *pass;
	struct mica_core *core; /* NULL = it is stopped */
	int64_t begin, now; /* true time, seconds */
	int64_t off; /* of the CA's clock */
	struct virtual_holder holder[VIRTUAL_HOLDERS];
	unsigned n_holder;
	char *csr, *jwks;
	uint64_t sequence; /* the greatest that was published */
	struct {
		char id[MICA_KEY_ID_SIZE];
		int64_t at;
	} taint[VIRTUAL_TAINTS];
	unsigned n_taint;
	char active[MICA_AUTHORITY_KIND_COUNT][MICA_KEY_ID_SIZE];
	/* counted */
	unsigned changes[MICA_AUTHORITY_KIND_COUNT]; /* another one took over */
	uint64_t events, issued, refused, meetings, failures;
	bool forgiven; /* failures are counted, and nothing more */
	char broken[400]; /* the first broken promise */
};

/* `yaml` is what the configuration says besides what every one must. Errors are mica_config_parse's
 * and mica_core_init's. */
mica_rc virtual_new(
	struct mica_slice yaml, const char *name, struct virtual **out, struct mica_err *e);
void virtual_free(struct virtual *v);
/* False when there is no room, or the name is taken. */
bool virtual_add(struct virtual *v, const char *name, enum mica_outlet_class outlet, int64_t every);
struct virtual_holder *virtual_find(struct virtual *v, const char *name);
/* Up to `to`, and all that is due at it; ends early with `broken`. */
void virtual_live(struct virtual *v, int64_t to);
/* What an administrator has done is seen by everybody whose turn it is. */
void virtual_look(struct virtual *v);
void virtual_stop(struct virtual *v);
mica_rc virtual_start(struct virtual *v, struct mica_err *e) MICA_MUST_CHECK;
int64_t virtual_clock_ms(const struct virtual *v); /* the CA's */
void virtual_tainted(struct virtual *v, const char *id);
/* One that there is; NULL = it is gone. The caller unlocks nothing: it is a copy. */
bool virtual_authority(struct virtual *v, const char *id, struct mica_authority *out);
/* The state of one by the CA's clock; "gone". */
const char *virtual_state(struct virtual *v, const char *id);
/* The n-th (from 0 on) of a kind and state; false = there are fewer. */
bool virtual_one_of(struct virtual *v, enum mica_authority_kind kind, enum mica_authority_state s,
	bool standby, char id[MICA_KEY_ID_SIZE]);
unsigned virtual_count(
	struct virtual *v, enum mica_authority_kind kind, enum mica_authority_state s);

#endif
