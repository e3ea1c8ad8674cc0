#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and passes the tests. May be run again at any time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/deploy/common.sh"

case ${1:-} in
"") ;;
-h | --help)
	say "usage: check.sh
Builds in \$MICA_BUILD (default: build/ here) and runs make check. For everything that CI runs
besides (sanitizers, end to end, crashes, distcheck): make -C build check-full"
	exit 0
	;;
*) die "no arguments are taken; see --help" ;;
esac

need_packages build check
build_in "$build" --enable-werror
log=$build/check.log
say "testing ..."
started=$(date +%s)
# more than there are cores: some tests wait for time to pass
make -C "$build" -j"$((jobs + 2))" check >"$log" 2>&1 && rc=0 || rc=$?
count() { sed -n "s/^# $1: *//p" "$build/test-suite.log" "$log" 2>/dev/null | head -n 1; }
if [ "$rc" != 0 ]; then
	# What failed, whole; and the build's own words when it did not get that far.
	if [ -n "$(count TOTAL)" ]; then cat "$build/test-suite.log" >&2; else cat "$log" >&2; fi
fi
skipped=$(count SKIP)
if [ "${skipped:-0}" != 0 ]; then
	grep -E '^SKIP' "$log" >&2 || true
fi
say "$(($(date +%s) - started)) s, log: $log"
failed=$(($(count FAIL || echo 0) + $(count ERROR || echo 0) + 0))
[ "$rc" = 0 ] || [ "$failed" != 0 ] || failed=1
say "$(count PASS) passed, $failed failed, ${skipped:-0} skipped"
exit "$rc"
