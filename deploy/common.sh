# SPDX-License-Identifier: Apache-2.0
# Shared by quickstart.sh, check.sh and CI: packages and the build. Sourced with $here set.
# Quiet about what works; what fails shows its whole output.
build=${MICA_BUILD:-$here/build}
jobs=${MICA_JOBS:-$(nproc)}

say() { printf '%s\n' "$*"; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# quietly TEXT COMMAND...: the output is shown only when the command fails.
quietly() {
	local text=$1 log
	shift
	log=$(mktemp)
	say "$text ..."
	if ! "$@" >"$log" 2>&1; then
		cat "$log" >&2
		rm -f "$log"
		die "failed: $text ($*)"
	fi
	rm -f "$log"
}

# need_packages KIND...: installs what is missing of deploy/debian-packages.
need_packages() {
	local kind missing=() package
	for kind in "$@"; do
		while read -r k package; do
			[ "$k" = "$kind" ] || continue
			dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
				missing+=("$package")
		done <"$here/deploy/debian-packages"
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	local sudo=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || die "install as root: apt-get install ${missing[*]}"
		sudo=(sudo)
	fi
	command -v apt-get >/dev/null ||
		die "this is not a Debian system; install what corresponds to: ${missing[*]}"
	quietly "updating the package lists" "${sudo[@]}" apt-get update -q
	quietly "installing ${missing[*]}" "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -qy --no-install-recommends "${missing[@]}"
}

# build_in DIR CONFIGURE-ARGUMENT...
build_in() {
	local dir=$1
	shift
	if [ ! -x "$here/configure" ] || [ "$here/configure.ac" -nt "$here/configure" ]; then
		quietly "preparing the build" autoreconf -fi "$here"
	fi
	mkdir -p "$dir"
	if [ ! -f "$dir/Makefile" ] || [ "$here/configure" -nt "$dir/config.status" ]; then
		(cd "$dir" && quietly "configuring" "$here/configure" "$@") || exit 1
	fi
	quietly "building" make -C "$dir" -j"$jobs" all
}
