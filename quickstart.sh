#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, starts micad on an embedded store with a demo token issuer, gets a
# certificate for a token, and shows it. With --keep DIR the playground is left running.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/deploy/common.sh"

keep=
case ${1:-} in
"") ;;
--keep)
	[ $# = 2 ] || die "usage: quickstart.sh [--keep DIR]"
	keep=$2
	;;
-h | --help)
	say "usage: quickstart.sh [--keep DIR]

Without arguments: builds Mica, shows its main job in a temporary folder, and cleans up.
--keep DIR leaves a playground running in DIR (new or empty):
  DIR/env         . it: MICA_URL, MICA_GRPC (host:port), MICA_CA, MICA_ADMIN_SOCKET,
                  MICA_LOG_VKEY, MICA_PID, MICA_TRUST_DOMAIN, MICA_AUDIENCE,
                  MICA_AGENT_SOCKET (Workload API and SDS), MICA_AGENT_PID
  DIR/mint-token  prints a fresh token of the demo issuer; see its --help
  DIR/mica        the command, set up for this playground
  DIR/stop        stops it"
	exit 0
	;;
*) die "unknown argument '$1'; see --help" ;;
esac

need_packages build
build_in "$build"

# ---- a playground ----------------------------------------------------------------------------
if [ -n "$keep" ]; then
	mkdir -p "$keep"
	[ -z "$(ls -A "$keep")" ] || die "$keep is not empty; choose a new folder, or run $keep/stop and remove it"
	dir=$(cd "$keep" && pwd)
else
	dir=$(mktemp -d)
fi
chmod 700 "$dir"
# The path of a Unix socket has 107 octets at most.
[ ${#dir} -lt 90 ] || die "the path of $dir is too long for a Unix socket in it"
python=$(command -v /usr/bin/python3 || command -v python3)
trust_domain=demo.mica.example
pid= agent= kubelet=

finish() {
	local rc=$?
	if [ -n "$pid" ] && { [ -z "$keep" ] || [ "$rc" != 0 ]; }; then
		kill -TERM "$pid" $agent ${kubelet:+-$kubelet} 2>/dev/null && wait "$pid" 2>/dev/null || true
	fi
	if [ "$rc" != 0 ] && [ -s "$dir/micad.log" ]; then
		say "the log of micad ends with:" >&2
		tail -n 20 "$dir/micad.log" >&2
	fi
	[ -n "$keep" ] || rm -rf "$dir"
	exit "$rc"
}
trap finish EXIT

"$python" "$here/deploy/demo/issuer.py" init "$dir"
(umask 077 && head -c 32 /dev/urandom | base64 >"$dir/passphrase")
cat >"$dir/micad.yaml" <<YAML
# A playground of Mica; deploy/examples/micad.yaml explains every setting.
trust_domain: $trust_domain
store:
  path: $dir/store
  max_disk_percent: 99
passphrase:
  file: $dir/passphrase
https:
  listen: 127.0.0.1:0
  dns_names: [localhost]
  ip_addresses: [127.0.0.1]
grpc:
  listen: 127.0.0.1:0
  dns_names:
    - istiod.istio-system.svc
    - linkerd-identity.linkerd.serviceaccount.identity.linkerd.$trust_domain
admin:
  socket: $dir/admin.sock
metrics:
  listen: 127.0.0.1:0
issuers:
  - name: demo
    kind: kubernetes
    issuer: https://issuer.demo.mica.example
    cluster: demo
    # One clock here: an expired token is expired at once.
    skew: 0
    keys:
      jwks_file: $dir/jwks.json
    audiences:
      rest: [mica]
      istio: [istio-ca]
      linkerd: [identity.l5d.io]
rotation:
  outlets:
    # Nobody here keeps old roots for longer; by default a new root waits for a word of yours.
    - name: linkerd
      propagation: 15m
YAML

mica() { MICA_ADMIN_SOCKET=$dir/admin.sock "$build/mica" "$@"; }
# field NAME: of a JSON object on standard input
field() { "$python" -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

say "making the certificate authority of spiffe://$trust_domain ..."
vkey=$(mica init --config "$dir/micad.yaml" --output json | field vkey)
setsid "$build/micad" --config "$dir/micad.yaml" >"$dir/micad.log" 2>&1 </dev/null &
pid=$!
for _ in $(seq 100); do
	grep -q 'event=ready' "$dir/micad.log" && break
	kill -0 "$pid" 2>/dev/null || die "micad did not start"
	sleep 0.1
done
address=$(sed -n 's/.*event=ready.* https=\([^ ]*\).*/\1/p' "$dir/micad.log" | tr -d '"')
grpc=$(sed -n 's/.*event=ready.* grpc=\([^ ]*\).*/\1/p' "$dir/micad.log" | tr -d '"')
metrics=$(sed -n 's/.*event=ready.* metrics=\([^ ]*\).*/\1/p' "$dir/micad.log" | tr -d '"')
[ -n "$address" ] || die "micad did not get ready within ten seconds"
# Trust begins on this machine: the roots come over the local socket.
mica bundle show --format pem >"$dir/roots.pem"

cat >"$dir/env" <<ENV
export MICA_URL=https://$address
export MICA_GRPC=$grpc
export MICA_CA=$dir/roots.pem
export MICA_ADMIN_SOCKET=$dir/admin.sock
export MICA_METRICS_URL=http://$metrics
export MICA_LOG_VKEY='$vkey'
export MICA_PID=$pid
export MICA_TRUST_DOMAIN=$trust_domain
export MICA_AUDIENCE=mica
export MICA_AUDIT_STATE=$dir/audit-state
ENV
cat >"$dir/mint-token" <<SCRIPT
#!/bin/sh
# Prints a fresh token of the demo issuer.
exec "$python" "$here/deploy/demo/issuer.py" mint "$dir" "\$@"
SCRIPT
cat >"$dir/mica" <<SCRIPT
#!/bin/sh
# mica, set up for this playground.
. "$dir/env"
exec "$build/mica" "\$@"
SCRIPT
cat >"$dir/stop" <<SCRIPT
#!/bin/sh
# Stops the playground; its files stay.
. "$dir/env"
kill -TERM "\$MICA_AGENT_PID" "-\$MICA_KUBELET_PID" 2>/dev/null # the latter with its sleep
kill -TERM "\$MICA_PID" 2>/dev/null || { echo "micad is not running"; exit 0; }
for _ in \$(seq 150); do
	kill -0 "\$MICA_PID" 2>/dev/null || { echo stopped; exit 0; }
	sleep 0.1
done
echo "micad (\$MICA_PID) does not stop; see $dir/micad.log" >&2
exit 1
SCRIPT
chmod 700 "$dir/mint-token" "$dir/mica" "$dir/stop"
. "$dir/env"

# ---- an agent beside a workload, in a playground that stays --------------------------------------
start_agent() {
	local workload=(--namespace shop --serviceaccount web --pod web-1 --ttl 3600)

	(umask 077 && "$dir/mint-token" "${workload[@]}" >"$dir/agent-token")
	# What a kubelet does: a new token long before the old one ends.
	cat >"$dir/kubelet" <<-SCRIPT
		#!/bin/sh
		umask 077
		while sleep 600; do
			"$dir/mint-token" ${workload[*]} >"$dir/agent-token.new" &&
				mv "$dir/agent-token.new" "$dir/agent-token"
		done
	SCRIPT
	cat >"$dir/agent.yaml" <<-YAML
		# deploy/examples/mica-agent.yaml explains every setting.
		trust_domain: $trust_domain
		micad:
		  url: https://$address
		  bootstrap_file: $dir/roots.pem
		state:
		  directory: $dir/agent-state
		socket:
		  path: $dir/agent.sock
		identities:
		  - name: web
		    token_file: $dir/agent-token
		    # So that renewals are seen: DIR/mica audit list, or agent.log.
		    ttl: 2m
		    allow: {any: true}
	YAML
	chmod 700 "$dir/kubelet"
	mkdir -p -m 700 "$dir/agent-state"
	setsid "$dir/kubelet" >/dev/null 2>&1 </dev/null &
	kubelet=$!
	setsid "$build/mica-agent" --config "$dir/agent.yaml" >"$dir/agent.log" 2>&1 </dev/null &
	agent=$!
	for _ in $(seq 100); do
		grep -q 'event=svid_issued' "$dir/agent.log" && break
		kill -0 "$agent" 2>/dev/null || die "mica-agent did not start; see $dir/agent.log"
		sleep 0.1
	done
	cat >>"$dir/env" <<-ENV
		export MICA_AGENT_SOCKET=$dir/agent.sock
		export MICA_AGENT_PID=$agent
		export MICA_KUBELET_PID=$kubelet
	ENV
}
[ -z "$keep" ] || start_agent

# ---- the main job ----------------------------------------------------------------------------
say
say "1. A pod's token, as a sidecar finds it on its disk:"
"$dir/mint-token" --namespace shop --serviceaccount cart >"$dir/token"
"$dir/mica" token explain --token-file "$dir/token"
say
say "2. A certificate for it; the key is made here and never leaves:"
"$dir/mica" svid fetch --token-file "$dir/token" --out "$dir/svid"
say
say "3. What OpenSSL says of the chain, and whose it is:"
openssl verify -CAfile "$dir/roots.pem" -untrusted "$dir/svid/cert.pem" "$dir/svid/cert.pem" |
	sed "s|$dir/||"
openssl x509 -in "$dir/svid/cert.pem" -noout -ext subjectAltName -dates | sed 's/^/   /'
serial=$(openssl x509 -in "$dir/svid/cert.pem" -noout -serial | cut -d= -f2 | tr A-F a-f)
say
say "4. Its entry in the ledger: which pod asked, and why it was believed:"
"$dir/mica" audit show "$serial"
say
say "5. The proof that the entry stands in the ledger, checked against the log's own key:"
"$dir/mica" audit verify "$serial"
say
say "6. What relying parties trust:"
"$dir/mica" bundle show
say
if [ -z "$keep" ]; then
	kill -TERM "$pid"
	wait "$pid"
	pid=
	say "micad has stopped, and the playground is gone. To keep one:  ./quickstart.sh --keep DIR"
	say "Real pods: deploy/examples/micad.yaml has every setting; docs/OPERATIONS.md says how to go on."
else
	say "The playground is running in $dir:"
	say "  . $dir/env; curl --cacert \$MICA_CA \$MICA_URL/v1/bundle"
	say "  $dir/mint-token --namespace shop --serviceaccount web"
	say "  SPIFFE_ENDPOINT_SOCKET=unix://\$MICA_AGENT_SOCKET for SPIFFE programs; the same is Envoy's SDS"
	say "  \$MICA_GRPC speaks Istio's protocol for \$($dir/mint-token --audience istio-ca)"
	say "  $dir/mica status; $dir/mica audit list"
	say "  $dir/stop"
fi
