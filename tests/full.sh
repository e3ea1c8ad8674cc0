#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What guards the project besides `make check`: the stages of `make check-full`. Each prints its
# counts and its minutes; the last line adds them up. Skips must be listed in tests/allowed-skips.
#
#	tests/full.sh [STAGE...]		all stages without arguments
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/deploy/common.sh"
out=$build/full
mkdir -p "$out"
passed=0 failed=0 skipped=0

# counts LOG: the sum of automake's and pytest's closing lines.
counts() {
	awk '
	/^# PASS:/ { p += $3 } /^# (FAIL|ERROR|XPASS):/ { f += $3 } /^# SKIP:/ { s += $3 }
	/^=* ?([0-9]+ (passed|failed|skipped|errors?)(, )?)+.* in [0-9.]+s/ {
		gsub(/[=,]/, " ")
		for (i = 1; i < NF; i++) {
			if ($(i + 1) == "passed") p += $i
			if ($(i + 1) == "failed" || $(i + 1) ~ /^errors?$/) f += $i
			if ($(i + 1) == "skipped") s += $i
		}
	}
	END { print p + 0, f + 0, s + 0 }' "$1"
}

# Every skip has a line "NAME: why" in tests/allowed-skips; another one is a failure.
unlisted_skips() {
	sed -n 's/^SKIP:* \([^ :]*\).*/\1/p; s/^SKIPPED \[[0-9]*\] \([^:]*\):.*/\1/p' "$1" | sort -u |
		while read -r name; do
			grep -q "^${name##*/}:" "$here/tests/allowed-skips" || echo "$name"
		done
}

stage() {
	local name=$1 log=$out/$1.log started p f s rc unlisted
	started=$(date +%s)
	"stage_${name//-/_}" >"$log" 2>&1
	rc=$?
	read -r p f s < <(counts "$log")
	unlisted=$(unlisted_skips "$log")
	if [ -n "$unlisted" ]; then
		say "skipped, and tests/allowed-skips does not say why: $unlisted"
		f=$((f + 1))
	fi
	[ "$rc" = 0 ] || [ "$f" != 0 ] || f=1
	[ "$rc$f" != 00 ] || [ "$p" != 0 ] || p=1
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	if [ "$f" != 0 ]; then
		say "---- $name failed; the end of $log:"
		tail -n 150 "$log"
	fi
	say "$(printf '%-12s %5d passed %4d failed %4d skipped  %3d.%d min' "$name" "$p" "$f" "$s" \
		$((($(date +%s) - started) / 60)) $((($(date +%s) - started) % 60 / 6)))"
}

stage_sanitizers() {
	build_in "$build/asan" --enable-werror --enable-sanitizers &&
		make -C "$build/asan" -j"$jobs" check
}
# Most tests wait for something to happen in seconds, so several files run side by side; by
# themselves run those that compare times, or that fill the machine.
alone="test_fair or test_rpc_flood or test_rotation or test_handshakes or test_crash or test_starved \
	or test_agent_envoy or test_istio_life"
e2e() {
	MICA_BIN=$build/asan MICA_TEST_SLOW=3 MICA_CRASH_CYCLES=100 "$here/tests/e2e/run.sh" --all "$@"
}
stage_e2e() {
	local rc=0
	e2e -n "$((jobs + 1))" --dist loadfile -k "not ($alone)" || rc=1
	e2e -k "($alone) and not over_grpc" || rc=1
	return "$rc"
}
# Memory, and what the CPU is spent on, are the program's own only without a sanitizer.
stage_memory() {
	MICA_BIN=$build "$here/tests/e2e/run.sh" --all \
		-k "rpc_flood or does_not_read or test_memory or over_grpc"
}
# Cuts and kills at other instants each time; a failure tells its seed.
stage_proof() {
	make -C "$build" proof PROOF_FLAGS=--short
}
# That it runs to its end: every answer right and in the ledger. Its figures are not judged here.
stage_bench() {
	make -C "$build" bench BENCH_FLAGS=--short
}
stage_distcheck() {
	make -C "$build" -j"$jobs" distcheck DISTCHECK_CONFIGURE_FLAGS=--enable-werror
}

if [ $# = 0 ]; then
	set -- sanitizers e2e memory proof bench distcheck
fi
for name in "$@"; do
	declare -F "stage_${name//-/_}" >/dev/null || die "no stage '$name'"
	stage "$name"
done
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
