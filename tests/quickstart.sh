#!/bin/sh
# The quickstart on this machine, twice, and `down`: tests/quickstart.sh [MIDGE]
# It runs in namespaces of its own, so the machine keeps its files, processes and network as they are:
# folders that the quickstart writes to are empty or overlaid, and its network leads nowhere. MIDGE is the
# debug build if not given; the packages must be installed (tests/setup.sh).
set -eu
fail() { printf 'tests/quickstart.sh: %s\n' "$*" >&2; exit 1; }

if [ "${1:-}" != inside ]; then
    midge=${1:-}
    if [ -z "$midge" ]; then
        (cd "$(dirname "$0")/.." && cargo build -q --locked)
        midge=${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/debug/midge
    fi
    midge=$(realpath "$midge")
    scratch=$(mktemp -d)
    code=0
    # When the first process of a process namespace ends, all others in it are killed, and its mounts go.
    unshare --mount --net --pid --uts --ipc --fork --kill-child --mount-proc \
        "$0" inside "$midge" "$scratch" || code=$?
    rm -rf --one-file-system "$scratch"
    exit $code
fi

midge=$2 scratch=$3
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin:$PWD/target/tools/bin
export PATH HOME="$scratch"
hostname quickstart
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/new" "$scratch/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$scratch/new,workdir=$scratch/work" /etc
rm -rf /etc/midge /etc/cni
for path in /var/lib /run /usr/local/bin; do mount -t tmpfs tmpfs $path; done
ip link set lo up
ip link add eth0 type veth peer name cable
ip link set cable up
ip link set eth0 up
ip addr add 192.168.77.1/24 dev eth0
ip route add default via 192.168.77.254

# What there is: files, mounts, processes, interfaces, rules. `look NAME` writes it down.
look() {
    {
        find /var/lib /run /usr/local/bin /etc -xdev | sort
        cut -d' ' -f2 /proc/self/mounts | grep -E '^/(run/(midge|containerd)|var/lib)' | sort || true
        cat /proc/[0-9]*/comm 2>/dev/null | grep -E '^(midge|containerd.*|ctr|kubectl|sleep)$' | sort || true
        ip -o link | cut -d: -f2
        find /sys/fs/cgroup -type d -path '*/midge/*'
        cat /proc/sys/net/ipv4/ip_forward
    } >"$scratch/$1"
    # Tables that are empty count as none.
    iptables-save | grep -E '^-|CNI' >>"$scratch/$1" || true
}
gone() {
    look after
    diff "$scratch/before" "$scratch/after" >&2 || fail "$1 leaves something behind"
}
says() { grep -q "$1" "$scratch/output" || { cat "$scratch/output" >&2; fail "no \`$1\` in what it prints"; }; }
quickstart() { packaging/quickstart.sh "$@" >"$scratch/output" 2>&1 || { cat "$scratch/output" >&2; fail "quickstart.sh $*"; }; }
refused() {
    words=$1
    shift
    ! packaging/quickstart.sh "$@" >"$scratch/output" 2>&1 || fail "quickstart.sh $* succeeds"
    says "$words"
}
pod() { KUBECONFIG=/etc/midge/midge.yaml kubectl get pod hello -o "jsonpath={.metadata.uid}/{.status.containerStatuses[0].restartCount}"; }

look before
refused 'there is no program at' /nowhere/midge
refused 'is no midge' /bin/false
quickstart down
gone 'a failed start'

mkdir /etc/midge
refused 'installed here already: there is /etc/midge' "$midge"
quickstart down
says 'nothing that this script made'
rmdir /etc/midge
gone 'a refused start'

quickstart "$midge"
says '^quickstart  *Ready'
says '^hello  *1/1  *Running'
says '^hello from hello, 10.42.0'
first=$(pod)
quickstart "$midge"
says 'midge is running already'
says '^hello from hello'
[ "$(pod)" = "$first" ] || fail "the second run made another pod: $first, $(pod)"
quickstart down
gone 'down'

# Pods that midge has left behind go too.
quickstart "$midge"
kill -9 "$(cat /var/lib/midge-quickstart/midge.pid)"
quickstart down
gone 'down after midge was killed'
