/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets, who is at the other end of a connection, and how many come from where. */
#define _GNU_SOURCE /* struct ucred */
#include "rpc_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

static mica_rc cannot(struct mica_err *e, int errnum, const char *where)
{
	if (errnum == EADDRINUSE)
		return mica_fail(e, MICA_CONFLICT, "address_in_use",
			"listen on %s: another program listens there", where);
	if (errnum == EADDRNOTAVAIL)
		return mica_fail(e, MICA_INVALID, "listen_address",
			"listen on %s: not an address of this machine", where);
	return mica_fail_errno(e, errnum, "listen on %s", where);
}

static int fd_steal(int *fd)
{
	const int stolen = *fd;
	*fd = -1;
	return stolen;
}

/* ---- TCP ------------------------------------------------------------------------------------ */

union any {
	struct sockaddr sa;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
	struct sockaddr_un un;
};

static socklen_t parse(const struct mica_rpc_listener *l, union any *a)
{
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, l->host, &a->four.sin_addr) == 1) {
		a->four.sin_family = AF_INET;
		a->four.sin_port = htons(l->port);
		return sizeof(a->four);
	}
	if (inet_pton(AF_INET6, l->host, &a->six.sin6_addr) == 1) {
		a->six.sin6_family = AF_INET6;
		a->six.sin6_port = htons(l->port);
		return sizeof(a->six);
	}
	return 0;
}

static bool is_loopback(const union any *a)
{
	return a->sa.sa_family == AF_INET ? ntohl(a->four.sin_addr.s_addr) >> 24 == 127
					  : IN6_IS_ADDR_LOOPBACK(&a->six.sin6_addr);
}

static bool is_any(const union any *a)
{
	return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->six.sin6_addr);
}

static void format(const union any *a, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	if (a->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->four.sin_addr, host, sizeof(host));
		snprintf(out, size, "%s:%u", host, ntohs(a->four.sin_port));
	} else {
		inet_ntop(AF_INET6, &a->six.sin6_addr, host, sizeof(host));
		snprintf(out, size, "[%s]:%u", host, ntohs(a->six.sin6_port));
	}
}

/* "::" stands for all addresses, IPv4 too. */
static int options(int fd, const union any *a)
{
	const int on = 1, only6 = !is_any(a);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
		return -1;
	/* inherited by what is accepted: answers go out at once, whole */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		return -1;
	return a->sa.sa_family == AF_INET6
		? setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6, sizeof(only6))
		: 0;
}

static mica_rc open_tcp(struct rpc_listen *l, struct mica_err *e)
{
	union any a;
	socklen_t len = parse(&l->o, &a);
	if (len == 0)
		return mica_fail(e, MICA_INVALID, "listen_address",
			"%s: expected a numeric IPv4 or IPv6 address", l->o.host);
	format(&a, l->address, sizeof(l->address));
	if (!l->key && !l->plain_anywhere && !is_loopback(&a))
		return mica_fail(e, MICA_INVALID, "listen_address",
			"%s: plaintext is for loopback alone, expected a key for TLS", l->address);
	MICA_AUTO_FD int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || options(fd, &a) != 0 || bind(fd, &a.sa, len) != 0 || listen(fd, BACKLOG) != 0)
		return cannot(e, errno, l->address);
	len = sizeof(a);
	if (getsockname(fd, &a.sa, &len) != 0)
		return cannot(e, errno, l->address);
	format(&a, l->address, sizeof(l->address));
	l->fd = fd_steal(&fd);
	return MICA_OK;
}

/* ---- Unix ----------------------------------------------------------------------------------- */

/* A socket that nobody listens on is what an earlier process left. */
static bool is_stale(const struct sockaddr_un *a, socklen_t len)
{
	struct stat st;
	MICA_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (lstat(a->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode) || fd < 0)
		return false;
	return connect(fd, (const struct sockaddr *)a, len) != 0 && errno == ECONNREFUSED;
}

/* Nobody can connect before listen(2), and by then mode and group are what they shall be. */
static int bind_unix(int fd, const struct sockaddr_un *a, socklen_t len, const struct rpc_listen *l)
{
	if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)a, len) != 0)
		return -1;
	if (l->o.unix_gid >= 0 && lchown(a->sun_path, (uid_t)-1, (gid_t)l->o.unix_gid) != 0)
		return -1;
	if (chmod(a->sun_path, l->o.unix_mode ? (mode_t)l->o.unix_mode : 0660) != 0)
		return -1;
	return listen(fd, BACKLOG);
}

static mica_rc open_unix(struct rpc_listen *l, struct mica_err *e)
{
	const char *path = l->o.unix_path;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const size_t n = strlen(path);
	const socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (n == 0 || n >= sizeof(a.sun_path) || n >= sizeof(l->address))
		return mica_fail(e, MICA_INVALID, "listen_address",
			"%s: expected a path of 1 to %zu bytes for a Unix socket", path,
			sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, n);
	memcpy(l->address, path, n + 1);
	MICA_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return cannot(e, errno, path);
	if (is_stale(&a, len))
		unlink(path);
	if (bind_unix(fd, &a, len, l) != 0)
		return cannot(e, errno, path);
	l->fd = fd_steal(&fd);
	return MICA_OK;
}

mica_rc rpc_listen_open(struct rpc_listen *l, struct mica_err *e)
{
	if (l->o.unix_path)
		return open_unix(l, e);
	if (!l->o.host || !l->o.host[0])
		return mica_fail(e, MICA_INVALID, "listen_address",
			"expected an address to listen on, or a path");
	return open_tcp(l, e);
}

void rpc_listen_close(struct rpc_listen *l)
{
	if (l->fd < 0)
		return;
	close(l->fd);
	l->fd = -1;
	if (l->o.unix_path)
		unlink(l->o.unix_path);
}

/* ---- peers ---------------------------------------------------------------------------------- */

static void read_ucred(int fd, struct mica_rpc_peer *out)
{
	struct ucred u = {.pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
	socklen_t len = sizeof(u);
	const bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &len) == 0;
	out->local = true;
	out->uid = known ? (int64_t)u.uid : -1;
	out->gid = known ? (int64_t)u.gid : -1;
	out->pid = known ? (int64_t)u.pid : -1;
}

/* The network that counts as one: an IPv4 address as mapped, the /64 of an IPv6 address. */
void rpc_peer_read(int fd, const struct rpc_listen *l, struct mica_rpc_peer *out)
{
	union any a;
	socklen_t len = sizeof(a);
	const void *bytes = NULL;
	int family = AF_INET;
	out->listener = l->o.name;
	out->uid = out->gid = out->pid = -1;
	if (l->o.unix_path) {
		read_ucred(fd, out);
		return;
	}
	memset(&a, 0, sizeof(a));
	if (getpeername(fd, &a.sa, &len) != 0)
		return;
	if (a.sa.sa_family == AF_INET) {
		bytes = &a.four.sin_addr;
		out->network[10] = out->network[11] = 0xff;
		memcpy(out->network + 12, bytes, 4);
	} else if (IN6_IS_ADDR_V4MAPPED(&a.six.sin6_addr)) {
		memcpy(out->network, &a.six.sin6_addr, 16);
		bytes = out->network + 12;
	} else {
		family = AF_INET6;
		bytes = &a.six.sin6_addr;
		memcpy(out->network, bytes, 8);
	}
	inet_ntop(family, bytes, out->address, sizeof(out->address));
}

/* ---- connections by address ------------------------------------------------------------------ */

struct address {
	struct address *next;
	uint8_t network[16];
	unsigned n;
};
struct rpc_addresses {
	pthread_mutex_t lock;
	struct address **buckets;
	unsigned n_buckets; /* a power of two */
	uint64_t key;
};

struct rpc_addresses *rpc_addresses_new(unsigned expected)
{
	struct rpc_addresses *t = MICA_NEW(struct rpc_addresses);
	pthread_mutex_init(&t->lock, NULL);
	for (t->n_buckets = 64; t->n_buckets < expected && t->n_buckets < 1u << 16;)
		t->n_buckets *= 2;
	t->buckets = mica_calloc(t->n_buckets, sizeof(*t->buckets));
	mica_random(&t->key, sizeof(t->key));
	return t;
}

void rpc_addresses_free(struct rpc_addresses *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	mica_free(t->buckets);
	mica_free(t);
}

static struct address **find(struct rpc_addresses *t, const uint8_t network[16])
{
	uint64_t a, b, h;
	struct address **at;
	memcpy(&a, network, 8);
	memcpy(&b, network + 8, 8);
	h = (a ^ t->key) * 0x9e3779b97f4a7c15;
	h = (h ^ b ^ h >> 29) * 0xbf58476d1ce4e5b9;
	for (at = &t->buckets[(h >> 32) & (t->n_buckets - 1)]; *at; at = &(*at)->next)
		if (memcmp((*at)->network, network, 16) == 0)
			break;
	return at;
}

bool rpc_address_enter(struct rpc_addresses *t, const uint8_t network[16], unsigned max)
{
	struct address **at;
	bool ok;
	pthread_mutex_lock(&t->lock);
	at = find(t, network);
	if (!*at) {
		*at = MICA_NEW(struct address);
		memcpy((*at)->network, network, 16);
	}
	ok = (*at)->n < max;
	(*at)->n += ok;
	pthread_mutex_unlock(&t->lock);
	return ok;
}

void rpc_address_leave(struct rpc_addresses *t, const uint8_t network[16])
{
	struct address **at, *a;
	pthread_mutex_lock(&t->lock);
	at = find(t, network);
	a = *at;
	if (a && --a->n == 0) {
		*at = a->next;
		mica_free(a);
	}
	pthread_mutex_unlock(&t->lock);
}
