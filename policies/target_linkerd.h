/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linkerd: one port of one workload, as a list of who is let in.
 *
 * Linkerd only allows: whatever no authorization lets in is denied. So the requests to a port are
 * divided into cells in which every test of every rule has one answer, and each cell is judged by
 * the order that mica/policy_set.h has: DENY, then ALLOW. There are three kinds of cells:
 *
 *	peers     a forest: anybody > whoever is authenticated > pods of the mesh > pods of a
 *	          namespace > an account; a cell is a node without those below it
 *	networks  the blocks of addresses that rules name, without those inside of them
 *	routes    path (the exact ones and prefixes that rules name, without those inside of
 *	          them) and method; and what is not HTTP
 *
 * A test that Linkerd cannot make has no answer in a cell (MAYBE): such a rule of ALLOW does not
 * let in, such a rule of DENY keeps out, and if that matters it is a loss.
 *
 * Of peers only whole nodes can be let in, with all below; a node of which somebody below is kept
 * out is left out, and that is a loss. Networks and routes can be divided as one likes: they have
 * "except", and regular expressions.
 */
#ifndef MICA_TARGET_LINKERD_H
#define MICA_TARGET_LINKERD_H

#include "set_impl.h"
#include "target_impl.h"

/* ---- answers ---------------------------------------------------------------------------------
 */

/* Ordered: "and" is the least, "or" the greatest. QUIET is a MAYBE for peers that are no pods of
 * the mesh, who are not promised to be let in. */
enum lkd_answer { LKD_NO, LKD_QUIET, LKD_MAYBE, LKD_YES };
static inline enum lkd_answer lkd_and(enum lkd_answer a, enum lkd_answer b)
{
	return a < b ? a : b;
}
static inline enum lkd_answer lkd_or(enum lkd_answer a, enum lkd_answer b)
{
	return a > b ? a : b;
}
static inline enum lkd_answer lkd_not(enum lkd_answer a)
{
	if (a == LKD_NO)
		return LKD_YES;
	return a == LKD_YES ? LKD_NO : a;
}

/* ---- cells -----------------------------------------------------------------------------------
 */

enum lkd_peer_kind {
	LKD_ANYBODY, /* its cell: those without identity */
	LKD_AUTHENTICATED, /* its cell: neither pods of the mesh nor named */
	LKD_MESH, /* its cell: pods of namespaces that nobody names */
	LKD_NAMESPACE, /* its cell: accounts that nobody names */
	LKD_ACCOUNT,
	LKD_ID /* another SPIFFE ID */
};
struct lkd_peer {
	enum lkd_peer_kind kind;
	unsigned parent; /* stands before it */
	struct mica_slice ns; /* NAMESPACE */
	/* "td/ns/NS/sa/SA"; of a cell with many what all of them begin with; "" of the first two */
	struct mica_slice principal;
	const char *name; /* as Linkerd writes it: "*", "*.suffix", a DNS name, spiffe://... */
	const char *id; /* ACCOUNT: its SPIFFE ID, by which who has no DNS name is known */
	struct mica_policy_request request; /* of an exact one, or one that stands for all */
	struct subject subject;
};
struct lkd_net {
	struct mica_cidr cidr;
	unsigned parent; /* itself = a root */
};
/* ::ffff:0:0/96: IPv4 as a proxy that listens on an IPv6 socket sees it. Linkerd compares such an
 * address with blocks of IPv6, the engine with those of IPv4. */
extern const struct mica_cidr lkd_mapped;
struct lkd_path {
	struct mica_slice text;
	bool exact; /* else all that begins with it */
	unsigned parent; /* the first is "" and its own */
};

/* Rules of a port: the ALLOW ones, then the DENY ones. */
struct lkd_rule {
	const struct crule *rule;
	const struct mica_policy *policy;
};
#define LKD_NOT_HTTP UINT32_MAX

/* Everything lives in `arena`. */
struct lkd_port {
	struct target_run *t;
	struct arena arena;
	uint16_t port;
	const struct mica_policy_workload *workload;
	struct mica_linkerd linkerd;
	struct mica_slice td; /* of the pods' SPIFFE IDs */
	bool strict_mtls;
	uint32_t *said; /* of each rule of the set: which losses are noted */

	struct lkd_rule *rules;
	unsigned n_rules, n_allow, n_values;
	bool any_allow; /* there is an ALLOW policy */

	struct lkd_peer *peers;
	unsigned n_peers;
	struct lkd_net *nets;
	unsigned n_nets;
	struct lkd_path *paths;
	unsigned n_paths;
	const char **methods; /* the first is NULL: any other */
	unsigned n_methods;
};

/* Who may send what the port's cells are made of. False: there are too many cells. */
bool lkd_cells_make(struct lkd_port *p);
/* The answer for a cell; `path` LKD_NOT_HTTP: a connection that is not HTTP. What is lost is noted.
 */
bool lkd_judge(struct lkd_port *p, unsigned path, unsigned method, unsigned net, unsigned peer);
/* Notes that a peer's node cannot be let in without those below it. */
void lkd_lose_except(
	struct lkd_port *p, unsigned path, unsigned method, unsigned net, unsigned peer);
/* What a rule can lose besides a test; noted once a rule. */
enum lkd_loss { LKD_EXCEPT = MICA_ATTR_COUNT, LKD_TOO_LARGE, LKD_PORTS, LKD_ROOT };
void lkd_lose_rule(struct lkd_port *p, const struct lkd_rule *r, enum lkd_loss loss);

/* ---- names (target_linkerd_names.c) ----------------------------------------------------------
 */

/* Takes "TD/ns/NS/sa/SA" apart; false when it is not of that form. */
bool lkd_pod_of(struct mica_slice principal, struct mica_slice *td, struct mica_slice *ns,
	struct mica_slice *sa);
/* The same of the end of one, ".../NS/sa/SA". */
bool lkd_pod_of_end(struct mica_slice end, struct mica_slice *ns, struct mica_slice *sa);
/* The namespace of a beginning "TD/ns/NS/..." of a principal of the mesh. */
bool lkd_ns_of_start(struct mica_slice td, struct mica_slice start, struct mica_slice *ns);
void lkd_peers_make(struct lkd_port *p);
/* Whether the peers of a cell have one of the values. */
enum lkd_answer lkd_peer_has(const struct lkd_port *p, const struct lkd_peer *peer,
	const struct ctest *t, const struct values *values);

/* ---- paths (target_linkerd_paths.c) ----------------------------------------------------------
 */

#define LKD_PATH_MAX 1024 /* of a match in an HTTPRoute */
bool lkd_path_is_plain(struct mica_slice s); /* printable ASCII: a regular expression can say it */
/* The regular expression of what begins with `start` and is none of `not_these`, which begin with
 * it. */
void lkd_path_regex(struct mica_buf *b, struct mica_slice start,
	const struct lkd_path *const *not_these, unsigned n);

/* ---- what is let in --------------------------------------------------------------------------
 */

struct lkd_network {
	const struct mica_cidr *cidr;
	const struct mica_cidr **except;
	unsigned n_except;
};
struct lkd_authz {
	const struct lkd_network *networks; /* none = all */
	unsigned n_networks;
	const unsigned *peers; /* none = anybody, with identity or without */
	unsigned n_peers;
};
struct lkd_grant {
	const struct lkd_authz *v; /* none = nobody */
	unsigned n;
};
enum lkd_path_kind { LKD_PATH_ANY, LKD_PATH_EXACT, LKD_PATH_REGEX };
struct lkd_match {
	enum lkd_path_kind kind;
	struct mica_slice path;
	const char *method; /* NULL = any */
	unsigned grant;
};
/* Of matches that a request fulfils the one with a method counts; there are at most two. */
struct lkd_server {
	struct lkd_grant *grants; /* all different */
	unsigned n_grants;
	unsigned not_http; /* grant of what is not HTTP: all matches let in at least that */
	struct lkd_match *matches; /* by grant; none = what is not HTTP counts for all */
	unsigned n_matches;
};

/* Begins one port: collects its rules. `said` has an entry for each rule of the set and is shared
 * by all ports. */
void lkd_port_begin(struct lkd_port *p, struct target_run *t,
	const struct mica_policy_workload *workload, uint16_t port, uint32_t *said);
void lkd_port_clear(struct lkd_port *p);
void lkd_port_judge(struct lkd_port *p, struct lkd_server *out);
/* A proxy's message about a port (target_linkerd_wire.c). */
void lkd_put_message(struct target_run *t, const struct mica_policy_workload *workload,
	uint16_t port, uint32_t *said);

#endif
