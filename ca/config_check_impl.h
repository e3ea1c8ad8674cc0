/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that check settings against each other share. Each check is INVALID as
 * config_refuse. */
#ifndef MICA_CA_CONFIG_CHECK_IMPL_H
#define MICA_CA_CONFIG_CHECK_IMPL_H

#include "config_impl.h"

struct mica_issuers; /* mica/token.h */
struct mica_join; /* join.h */

struct checking {
	const struct config_source *src;
	struct mica_config *c;
	struct mica_issuers *issuers;
	struct mica_join *join; /* NULL = off */
};

/* ---- config_check_lives.c ----------------------------------------------------------------------
 */

/* That the setting `small`, which is `a` seconds, is not above `large`, which is `b`. */
mica_rc config_check_order(
	struct checking *k, const char *small, int64_t a, const char *large, int64_t b);
mica_rc config_check_lives(struct checking *k);
/* Fills what was not given, too. */
mica_rc config_check_rotation(struct checking *k);

/* ---- config_check_names.c: behind the issuers and join tokens
 * -------------------------------------- */

mica_rc config_check_linkerd(struct checking *k);
mica_rc config_check_rules(struct checking *k);
mica_rc config_check_roles(struct checking *k);
mica_rc config_check_denied(struct checking *k);
mica_rc config_check_canary(struct checking *k);
/* Who can be given a name that has a role. */
void config_warn_of_roles(struct checking *k);

#endif
