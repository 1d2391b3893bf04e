#!/bin/sh
# One story of tests/vm.sh, in network and process namespaces of its own: story.sh DISK_FOLDER MACHINE-STORY LOGS
# Each check that holds is a line of LOGS/passed; the first that does not ends the story.
set -eu
disk=$1 name=$2 logs=$3
story=${name##*-} machine=${name%-*}
arch=${machine%-*} megabytes=${machine#*-}
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
export KUBECONFIG="$work/kubeconfig" KUBECACHEDIR="$work/kube-cache"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
ip link set lo up
server=https://midge.test:6443
node=board-$arch
image=localhost/busybox:test
# Where midge-uninstall.sh must leave nothing.
watched='/etc /opt /root /home /usr/local /var/lib /run/midge* -path /var/lib/containerd -prune -o -print'
. tests/vm/machine.sh
. tests/vm/checks.sh

# What the user's machine reaches: the release over HTTPS, with a certificate that it trusts, and the server.
serve_release() {
    mkdir -p "$work/www"
    ln -s "$MIDGE_DIST" "$work/www/v$version"
    ln -s "$MIDGE_DIST" "$work/www/stable"
    packaging/install/assemble.sh https://midge.test >"$work/www/install.sh"
    tests/vm/certificate.sh "$work/tls" midge.test
    python3 - "$work/www" "$work/tls" >"$logs/https" 2>&1 <<'PYTHON' &
import functools, http.server, ssl, sys
www, tls = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(tls + "/cert.pem", tls + "/key.pem")
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=www)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
PYTHON
    wait_for 20 curl -fs --cacert "$work/tls/ca.pem" --resolve midge.test:443:127.0.0.1 -o /dev/null https://midge.test/stable/SHA256SUMS
}

start_server() {
    "$MIDGE_DIST/midge-amd64" server --disable-agent --data-dir "$work/server" --run-dir "$work/run" \
        --advertise-address 127.0.0.1 --tls-san midge.test --write-kubeconfig "$KUBECONFIG" >>"$logs/server" 2>&1 &
    server_pid=$!
    wait_for 60 kubectl get --raw /readyz
}

stop_server() {
    kill "$server_pid"
    wait "$server_pid" || true
}

# The image is made on the machine, of its own busybox, and found by the agent at its start.
prepare() {
    guest 60 "cat >/etc/ssl/certs/ca-certificates.crt <<'CA'
$(cat "$work/tls/ca.pem")
CA" && guest 300 "mkdir -p /var/lib/midge/agent/images
cat >/tmp/busybox-image.sh <<'SCRIPT'
$(cat packaging/busybox-image.sh)
SCRIPT
sh /tmp/busybox-image.sh /usr/bin/busybox $image /var/lib/midge/agent/images/busybox.tar
rm /tmp/busybox-image.sh" && guest 180 "until systemctl -q is-active containerd; do sleep 1; done
find $watched 2>/dev/null | grep -v midge | sort >/root/before"
}

# install VARIABLE…: the line of the README
install_midge() {
    guest 600 "curl -sfL https://midge.test/install.sh | $* sh -" >"$logs/install" 2>&1 || { cat "$logs/install"; return 1; }
    cat "$logs/install"
}

join() {
    install_midge MIDGE_URL=$server MIDGE_TOKEN="$(cat "$work/server/server/token")"
}

begin() {
    check 'the HTTPS server serves' serve_release
    [ "$story" = server ] || check 'the server runs' start_server
    check 'the machine boots systemd' boot_machine
    check 'the network is up, the CA trusted, the image made' prepare
}

join_and_run() {
    check 'the one-line install joins' join
    check 'the node is Ready' node_ready
    check 'two pods run' run_pods
}

case $story in
full)
    boot_machine() { boot; }
    begin
    join_and_run
    check 'the limit is in the cgroup' limit_is_set
    check 'memory is measured' measure agent
    check 'groups, users, volumes, probes, exec and figures are as asked' parts_hold
    check 'a pod that takes more than its limit is OOMKilled' oom_killed
    check 'midge killed: systemd starts it again, pods go on' killed
    check 'midge stopped: the watchdog starts it again, pods go on' hung
    check 'the machine reboots' reboot_now
    check 'the same pods run again' pods_again
    check 'the power is cut while the server is away' power_cut_alone
    check 'the pods run without the server' pods_alone
    check 'the server is back: the node is Ready, the pods are the same' server_back
    check 'the uninstall leaves nothing' uninstall
    ;;
short)
    boot_machine() { boot; }
    begin
    join_and_run
    check 'the limit is in the cgroup' limit_is_set
    check 'memory is measured' measure agent
    check 'the machine reboots' reboot_now
    check 'the same pods run again' pods_again
    check 'the uninstall leaves nothing' uninstall
    ;;
clock)
    boot_machine() { boot -rtc base=1970-01-02; }
    begin
    check 'the clock is in 1970' clock_back
    join_and_run
    check 'the clock is in 1970 still' clock_is_back
    ;;
nomemory)
    boot_machine() { append=cgroup_disable=memory && boot; }
    begin
    check 'the one-line install joins, and names what is missing' join_without_memory
    check 'the node says so' node_says_so
    check 'a pod without a limit runs' unlimited_pod
    check 'a pod with a limit is told that it has none' limited_pod_told
    ;;
server)
    boot_machine() { forward=,hostfwd=tcp:127.0.0.1:6443-:6443 && boot; }
    begin
    check 'the one-line install makes a cluster' install_midge
    check 'kubectl reaches it' take_kubeconfig
    check 'the node is Ready' node_ready
    check 'two pods run' run_pods
    check 'memory is measured' measure server
    ;;
esac
power_off
