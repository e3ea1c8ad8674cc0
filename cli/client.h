/* SPDX-License-Identifier: Apache-2.0 */
/* Talking to micad: where it is, who asks, and its errors as ours. */
#ifndef MICA_CLI_CLIENT_H
#define MICA_CLI_CLIENT_H

#include "cli.h"

#include "mica/http_client.h"
#include "mica/json.h"

struct client; /* opaque */

enum client_flags {
	/* For administrators: the socket comes first, unless --url is on the command line. */
	CLIENT_ADMIN = 1,
	/* Needs a token or a certificate, unless the socket says who asks. */
	CLIENT_CREDENTIAL = 2
};

/* Options that every command that talks to micad takes. */
#define CLIENT_OPTIONS                                                                             \
	(CLI_BIT(OPT_URL) | CLI_BIT(OPT_CA) | CLI_BIT(OPT_SOCKET) | CLI_BIT(OPT_TOKEN_FILE) |      \
		CLI_BIT(OPT_SVID) | CLI_BIT(OPT_TIMEOUT))

/* INVALID "no_server", "no_credential", "bad_url"; else of files. */
mica_rc client_open(
	struct cli *c, unsigned flags, struct client **out, struct mica_err *e) MICA_MUST_CHECK;
/* The same with a pair of PEM files as the credential, whatever the options say. */
mica_rc client_open_pair(struct cli *c, const char *cert, const char *key, struct client **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* For a log of static files anywhere: no credential. */
mica_rc client_open_url(
	struct cli *c, const char *url, struct client **out, struct mica_err *e) MICA_MUST_CHECK;
void client_free(struct client *k);
bool client_is_local(const struct client *k); /* over the socket */
const char *client_where(const struct client *k); /* for messages and names of state */

struct client_request {
	const char *method; /* NULL = GET */
	const char *path; /* "/v1/status", with its query */
	struct mica_slice body; /* JSON */
	const char *if_none_match, *if_match;
	int64_t timeout_ms; /* 0 = as --timeout says */
	size_t max_body; /* 0 = 1 MiB */
	bool anonymous; /* the token is not sent */
	/* When micad says "not now, try again in N seconds", that is done, as long as the timeout
	 * lasts. */
	bool patient;
	bool (*cancelled)(void *ctx);
	void *ctx;
};
/* OK for 2xx and 304. Else the class and reason of micad's problem document; a front that is not
 * micad's gives "http_status". *out as mica_http_do says. */
mica_rc client_do(struct client *k, const struct client_request *r, struct mica_http_response *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* GET or POST whose answer is a JSON object; `d` borrows from `out`. */
mica_rc client_json(struct client *k, const struct client_request *r,
	struct mica_http_response *out, struct mica_json *d, struct mica_err *e) MICA_MUST_CHECK;

/* Appends "?name=value" or "&name=value", encoded; nothing for an empty value. */
void client_query(struct mica_buf *path, const char *name, struct mica_slice value);

/* What a problem document says, as an error; pure. `status` decides the class. */
mica_rc client_problem(int status, int retry_after, struct mica_slice body, struct mica_err *e);

static inline void client_auto_(struct client **k)
{
	client_free(*k);
}
#define CLIENT_AUTO   __attribute__((cleanup(client_auto_))) struct client *
#define RESPONSE_AUTO __attribute__((cleanup(mica_http_response_clear))) struct mica_http_response

#endif
