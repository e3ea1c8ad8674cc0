/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials that were good of late. Who shares an address with a flood of bad ones (behind NAT,
 * behind a node's proxy) is recognised by the very credential that was accepted before, and goes on
 * to be checked like everybody; only others of that address are turned away unseen. Nothing is
 * trusted for being here. Holds hashes with a key of this process; bounded; any thread, no lock.
 */
#ifndef MICA_SERVER_KNOWN_H
#define MICA_SERVER_KNOWN_H

#include "mica/slice.h"

struct known; /* opaque */
struct known *known_new(unsigned max); /* rounded up to a power of two */
void known_free(struct known *k); /* NULL is fine */
void known_add(struct known *k, struct mica_slice credential);
bool known_has(const struct known *k, struct mica_slice credential);

#endif
