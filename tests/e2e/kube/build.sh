#!/bin/sh
# Builds etcd and kube-apiserver from their Go modules, once, for the tests on a real API server.
#
#   tests/e2e/kube/build.sh           builds what is missing; the folder's name goes to stdout
#   tests/e2e/kube/build.sh --check   builds nothing; exits 0 if both are there
#
# They land in ${MICA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mica}/kube-1.37.2/{etcd,kube-apiserver},
# each moved there when it is whole, so a stopped run is continued by the next (Go keeps what it has
# compiled). Versions and hashes are those of go.mod and go.sum beside this script.
# Exit codes: 0 there, 77 cannot be built here (no Go, no modules): the tests are skipped, 1 failed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
kube=1.37.2
cache=${MICA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mica}
dir=$cache/kube-$kube

skip() {
	echo "##" >&2
	echo "## SKIPPED: the tests on a real Kubernetes API server: $1" >&2
	echo "##" >&2
	exit 77
}

fail() {
	echo "error: $1; the last lines of $dir/build.log:" >&2
	tail -n 20 "$dir/build.log" >&2
	exit 1
}

there() {
	[ -x "$dir/etcd" ] && [ -x "$dir/kube-apiserver" ]
}

# build FOLDER PROGRAM LDFLAGS
build() {
	[ ! -x "$dir/$2" ] || return 0
	echo "building $2 (once; minutes of CPU) into $dir" >&2
	(cd "$here/$1" && go mod download) >"$dir/build.log" 2>&1 ||
		skip "the Go modules of $2 cannot be had: $(tail -n 1 "$dir/build.log")"
	(cd "$here/$1" && nice -n 10 go build -trimpath -ldflags "-s -w $3" \
		-o "$dir/.$2.new" .) >"$dir/build.log" 2>&1 || fail "$2 does not build"
	mv "$dir/.$2.new" "$dir/$2"
}

if there; then
	echo "$dir"
	exit 0
fi
[ "${1-}" != --check ] || exit 77
command -v go >/dev/null || skip "there is no Go compiler (Debian: golang-go), and none is built"

# An older go (from 1.21 on) fetches the toolchain that go.mod asks for as a module.
export GOTOOLCHAIN=auto GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0
(cd "$here/apiserver" && go version) >/dev/null 2>&1 ||
	skip "go is too old ($(GOTOOLCHAIN=local go version)) and cannot fetch $(sed -n 's/^go //p' \
		"$here/apiserver/go.mod")"

mkdir -p "$dir"
exec 9>"$dir/.lock" # whoever comes second waits, then finds both there
flock 9
build etcd etcd ""
build apiserver kube-apiserver "-X k8s.io/component-base/version.gitVersion=v$kube"
rm -f "$dir/build.log"
echo "$dir"
