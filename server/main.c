/* SPDX-License-Identifier: Apache-2.0 */
#include "micad.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#define CONFIG_DEFAULT "/etc/mica/micad.yaml"

static const char help[] =
	"usage: micad [--config FILE] [--check-config]\n"
	"\n"
	"The workload-identity CA: validates tokens, signs short-lived SPIFFE certificates, records\n"
	"each of them, and publishes the trust bundle. It stays in the foreground and logs to\n"
	"standard error; a service manager keeps it running (systemd unit: micad.service).\n"
	"\n"
	"  -c, --config FILE   configuration (default " CONFIG_DEFAULT ")\n"
	"      --check-config  say what is wrong with it, with line and column, and exit\n"
	"  -h, --help          this text\n"
	"  -V, --version       the version\n"
	"\n"
	"A new store is made once, by hand:   mica init --config FILE\n"
	"Then:                                micad --config FILE\n"
	"SIGHUP reloads what can change and says what cannot; SIGTERM drains and stops.\n"
	"\n"
	"Exit status: 0 stopped as asked; 1 internal; 2 configuration; 3 wrong passphrase;\n"
	"4 permission; 5 no store (run mica init); 6 another micad has it; 8 the store is damaged;\n"
	"75 a failure that a restart may mend.\n"
	"\n"
	"See micad(8), micad.yaml(5), mica(1).\n";

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
		case 'V': puts("micad " MICA_VERSION); return 0;
		default: fputs("try micad --help\n", stderr); return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "micad: unexpected argument \"%s\"; try micad --help\n",
			argv[optind]);
		return 2;
	}
	return check ? micad_check_config(config) : micad_run(config);
}
