/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#define CONFIG_DEFAULT "/etc/mica/mica-agent.yaml"

static const char help[] =
	"usage: mica-agent [--config FILE] [--check-config]\n"
	"\n"
	"Runs beside a workload: makes its key, gets and renews its certificate from micad with the\n"
	"pod's token, and hands both out on a Unix socket, with the trust bundle:\n"
	"\n"
	"  SPIFFE Workload API   for every SPIFFE library: SPIFFE_ENDPOINT_SOCKET=unix://SOCKET\n"
	"  SDS v3                for Envoy: secrets default, ROOTCA, ALL, SPIFFE IDs, names of yours\n"
	"  files                 for nginx and the like, with a signal or a command on each change\n"
	"\n"
	"  -c, --config FILE   configuration (default " CONFIG_DEFAULT ")\n"
	"      --check-config  say what is wrong with it, with line and column, and exit\n"
	"  -h, --help          this text\n"
	"  -V, --version       the version\n"
	"\n"
	"A small configuration:\n"
	"\n"
	"  trust_domain: example.org\n"
	"  micad:\n"
	"    url: https://mica.example.org:8443\n"
	"    bootstrap_file: /etc/mica/roots.pem       # micad's /v1/bundle.pem\n"
	"  identities:\n"
	"    - name: app\n"
	"      token_file: /var/run/secrets/tokens/mica\n"
	"      allow: {uids: [1000]}                   # who may use it on the socket\n"
	"\n"
	"It stays in the foreground and logs to standard error. SIGHUP asks micad at once for what\n"
	"is new; SIGTERM ends it. Keys are in memory alone, and a new start makes new ones.\n"
	"\n"
	"Exit status: 0 stopped as asked; 1 internal; 2 configuration; 4 permission; 5 no such file;\n"
	"6 the socket is in use; 75 a failure that a restart may mend.\n"
	"\n"
	"See mica-agent(8), mica-agent.yaml(5), docs/AGENT.md.\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	const char *config = CONFIG_DEFAULT;
	bool check = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
		switch (opt) {
		case 'c': config = optarg; break;
		case 'k': check = true; break;
		case 'h': fputs(help, stdout); return 0;
		case 'V': puts("mica-agent " MICA_VERSION); return 0;
		default: fputs("try mica-agent --help\n", stderr); return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "mica-agent: unexpected argument \"%s\"; try mica-agent --help\n",
			argv[optind]);
		return 2;
	}
	return check ? agent_check_config(config) : agent_run(config);
}
