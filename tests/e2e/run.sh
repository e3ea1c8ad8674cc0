#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# End-to-end tests: the real programs on loopback, independent implementations on the other side.
#
#	tests/e2e/run.sh			the smoke part (make check)
#	tests/e2e/run.sh --all [PYTEST ARG]...	all, among them those on a real Kubernetes API server,
#						which is built when it is not there (kube/build.sh),
#						and those with a real Envoy (envoy.sh)
#
# MICA_BIN or MICA_BUILDDIR is the folder with micad and mica (default: the current one).
set -u
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONDONTWRITEBYTECODE=1
if [ "${1-}" = --all ]; then
	shift
	for get in kube/build.sh envoy.sh; do
		"$here/$get" >/dev/null
		case $? in 0 | 77) ;; *) exit 1 ;; esac
	done
else
	set -- -m smoke "$@"
fi
exec "${PYTHON3:-/usr/bin/python3}" -m pytest -q -rs --tb=short -p no:cacheprovider \
	--rootdir="$here" "$here" "$@"
