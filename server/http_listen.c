/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets. */
#include "http_impl.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

static mica_rc cannot(struct mica_err *e, int errnum, const char *what, const char *where)
{
	if (errnum == EADDRINUSE)
		return mica_fail(e, MICA_CONFLICT, "address_in_use",
			"%s %s: another program listens there", what, where);
	if (errnum == EADDRNOTAVAIL)
		return mica_fail(e, MICA_INVALID, "listen_address",
			"%s %s: not an address of this machine", what, where);
	return mica_fail_errno(e, errnum, "%s %s", what, where);
}

static int fd_steal(int *fd)
{
	int stolen = *fd;
	*fd = -1;
	return stolen;
}

/* ---- TCP ----------------------------------------------------------------------------------- */

union any {
	struct sockaddr sa;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

static socklen_t parse(const struct mica_listen *l, union any *a)
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

static mica_rc open_tcp(
	const struct mica_listen *l, char *address, size_t size, int *out, struct mica_err *e)
{
	union any a;
	socklen_t len = parse(l, &a);
	const int on = 1;
	/* "::" stands for all addresses, IPv4 too, whatever the machine's default is */
	const int six_only = !IN6_IS_ADDR_UNSPECIFIED(&a.six.sin6_addr);
	if (len == 0)
		return mica_fail(e, MICA_INVALID, "listen_address",
			"%s: expected a numeric IPv4 or IPv6 address", l->host);
	format(&a, address, size);
	MICA_AUTO_FD int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* NODELAY is inherited by what is accepted: answers go out at once, whole. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
		(a.sa.sa_family == AF_INET6 &&
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &six_only, sizeof(six_only)) !=
				0) ||
		bind(fd, &a.sa, len) != 0 || listen(fd, BACKLOG) != 0)
		return cannot(e, errno, "listen on", address);
	len = sizeof(a);
	if (getsockname(fd, &a.sa, &len) != 0)
		return cannot(e, errno, "listen on", address);
	format(&a, address, size);
	*out = fd_steal(&fd);
	return MICA_OK;
}

/* ---- Unix ---------------------------------------------------------------------------------- */

/* A socket that nobody listens on is what an earlier process left. */
static bool is_stale(const struct sockaddr_un *a, socklen_t len)
{
	struct stat st;
	MICA_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (lstat(a->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode) || fd < 0)
		return false;
	return connect(fd, (const struct sockaddr *)a, len) != 0 && errno == ECONNREFUSED;
}

/* Access lists as the kernel has them (linux/posix_acl_xattr.h), without a library for one. */
#define ACL_NAME "system.posix_acl_access"
struct acl_entry {
	uint16_t tag, perm; /* all little-endian */
	uint32_t id;
};
enum { ACL_OWNER = 1, ACL_OWN_GROUP = 4, ACL_GROUP = 8, ACL_MASK = 0x10, ACL_OTHER = 0x20 };

/* Owner, group and the named groups may connect. */
static int set_access_list(const char *path, const int64_t *gids, size_t n)
{
	struct {
		uint32_t version;
		struct acl_entry v[6];
	} acl = {.version = htole32(2)};
	size_t at = 0;

	acl.v[at++] = (struct acl_entry){htole16(ACL_OWNER), htole16(6), UINT32_MAX};
	acl.v[at++] = (struct acl_entry){htole16(ACL_OWN_GROUP), htole16(6), UINT32_MAX};
	for (size_t i = 0; i < n; i++) /* in ascending order */
		acl.v[at++] = (struct acl_entry){
			htole16(ACL_GROUP), htole16(6), htole32((uint32_t)gids[i])};
	acl.v[at++] = (struct acl_entry){htole16(ACL_MASK), htole16(6), UINT32_MAX};
	acl.v[at++] = (struct acl_entry){htole16(ACL_OTHER), 0, UINT32_MAX};
	return setxattr(path, ACL_NAME, &acl, sizeof(acl.version) + at * sizeof(acl.v[0]), 0);
}

/* A process in a sandbox may not change groups, but it may change the access list of its own file.
 */
static int admit_groups(const char *path, int64_t one, int64_t other)
{
	int64_t gids[2] = {one, other};

	if (one > other) { /* ascending, as the kernel wants them */
		gids[0] = other;
		gids[1] = one;
	}
	if (gids[0] >= 0 && gids[0] != gids[1])
		return set_access_list(path, gids, 2);
	gids[0] = gids[1];
	if (gids[0] < 0 || lchown(path, (uid_t)-1, (gid_t)gids[0]) == 0)
		return 0;
	return errno == EPERM ? set_access_list(path, gids, 1) : -1;
}

/* Nobody can connect before listen(2), and by then mode and groups are what they shall be; the
 * mode of the socket before bind(2) is what the file is made with, less the umask. */
static int bind_unix(
	int fd, const struct sockaddr_un *a, socklen_t len, const struct http_options *o)
{
	if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)a, len) != 0)
		return -1;
	if (chmod(a->sun_path, 0660) != 0 ||
		admit_groups(a->sun_path, o->unix_gid, o->unix_gid2) != 0)
		return -1;
	return listen(fd, BACKLOG);
}

static mica_rc open_unix(
	const struct http_options *o, char *address, size_t size, int *out, struct mica_err *e)
{
	const char *path = o->unix_path;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const size_t n = strlen(path);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (n == 0 || n >= sizeof(a.sun_path) || n >= size)
		return mica_fail(e, MICA_INVALID, "listen_address",
			"%s: expected a path of 1 to %zu bytes for a Unix socket", path,
			sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, n);
	memcpy(address, path, n + 1);
	MICA_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return cannot(e, errno, "listen on", path);
	if (is_stale(&a, len))
		unlink(path);
	if (bind_unix(fd, &a, len, o) != 0)
		return cannot(e, errno, "listen on", path);
	*out = fd_steal(&fd);
	return MICA_OK;
}

mica_rc listen_open(
	const struct http_options *o, char *address, size_t size, int *out, struct mica_err *e)
{
	if (o->unix_path)
		return open_unix(o, address, size, out, e);
	if (!o->listen || !o->listen->host)
		return mica_fail(e, MICA_INVALID, "listen_address",
			"expected an address to listen on, or a path");
	return open_tcp(o->listen, address, size, out, e);
}
