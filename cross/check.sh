#!/bin/sh
# Checks a binary: cross/check.sh TARGET [BINARY], what cross/build.sh made if not given.
# It is static, for the right machine, within its budget, and runs on the oldest CPU of its target: a server answers
# over TLS under qemu-user. Needs qemu-user-static, binutils, curl, iproute2 and util-linux.
set -eu
cd "$(dirname "$0")/.."
. cross/target.sh

fail() { printf 'cross: %s: %s\n' "$binary" "$*" >&2; exit 1; }

# emulator: qemu-user for this target; Debian 13 drops `-static`
emulator() { command -v "qemu-$qemu-static" || command -v "qemu-$qemu" || die "there is no qemu-$qemu-static: install qemu-user-static"; }

check_elf() {
    readelf -hldW "$binary" >"$scratch/elf" 2>/dev/null || fail 'this is no ELF file'
    is=$(sed -n 's/^ *Machine: *//p' "$scratch/elf" | tr -d ' ')
    [ "$is" = "$machine" ] || fail "it is for $is, not for $machine"
    # A static PIE, which riscv64's is, has a dynamic section for its own relocations: it needs no interpreter, no library.
    ! grep -qE '^ *INTERP |\(NEEDED\)' "$scratch/elf" || fail 'it is linked dynamically'
    grep -q 'little endian' "$scratch/elf" || fail 'it is big endian'
}

check_arm() {
    [ "$arm" != - ] || return 0
    grep -q 'hard-float ABI' "$scratch/elf" || fail 'its ABI is not the one with hard float'
    readelf -A "$binary" >"$scratch/arm"
    is=$(sed -n 's/^ *Tag_CPU_arch: //p' "$scratch/arm")
    # v6 and its variants, v6K and v6KZ, are what a Raspberry Pi 1 has; v6T2 is not.
    case $arm:$is in
    v7:v7 | v6:v6 | v6:v6K | v6:v6KZ) ;;
    *) fail "it is for ARM$is, not for ARM$arm" ;;
    esac
    grep -q 'Tag_ABI_VFP_args: VFP registers' "$scratch/arm" || fail 'it does not pass floats in registers'
}

check_size() {
    size=$(wc -c <"$binary")
    [ "$size" -le "$limit" ] || fail "it has $size bytes; $dist may have $limit"
}

check_version() {
    wanted="midge $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)"
    is=$("$@" version) || fail "\`$* version\` fails"
    [ "$is" = "$wanted" ] || fail "its version is \`$is\`, not \`$wanted\`"
}

# An ARMv7 binary must not run on an ARMv6 CPU: if it does, this check of CPUs is none.
check_refused() {
    [ "$arm" = v7 ] || return 0
    code=0
    # shellcheck disable=SC3045
    (ulimit -c 0; "$(emulator)" -cpu arm1176 "$binary" version; exit $?) >"$scratch/refused" 2>&1 || code=$?
    [ $code = $((128 + 4)) ] || fail "on an ARMv6 CPU it ends with $code, not by SIGILL"
}

# serve EMULATOR…: a server in a network of its own answers over TLS, admits its admin and keeps an object
serve() {
    # Not root: a user namespace gives the right to make a network.
    if [ "$(id -u)" = 0 ]; then set -- unshare --net "$0" "in a network" "$@"; else set -- unshare --net --map-root-user "$0" "in a network" "$@"; fi
    scratch=$scratch "$@" || fail 'its server does not do its work on this CPU'
}

talk_to_server() {
    ip link set lo up
    : >"$scratch/config"
    "$@" server --disable-agent --config "$scratch/config" --data-dir "$scratch/data" --run-dir "$scratch/run" \
        --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --write-kubeconfig "$scratch/kubeconfig" >"$scratch/log" 2>&1 &
    server=$!
    # Not asked to end: qemu 7.2 for i386 loses the wake-up of a thread that the end waits for; the kernel does not.
    trap 'kill -9 $server 2>/dev/null; wait $server 2>/dev/null || true' EXIT
    url=https://127.0.0.1:6443
    tries=600
    until curl -ksf --max-time 5 "$url/cacerts" -o "$scratch/ca" && [ -s "$scratch/kubeconfig" ]; do
        tries=$((tries - 1))
        if [ $tries = 0 ] || ! kill -0 $server 2>/dev/null; then wrong 'it does not answer'; fi
        sleep 0.1
    done
    # What the CPU computed, compared with what this machine does.
    grep -q "^K10$(sha256sum <"$scratch/ca" | cut -d' ' -f1)::" "$scratch/data/server/token" || wrong 'the token does not have the sum of the CA'
    [ "$(ask /readyz)" = ok ] || wrong '/readyz is not ok'
    # The admin's token stays out of argument lists.
    sed -n 's/^ *token: */Authorization: Bearer /p' "$scratch/kubeconfig" >"$scratch/admin"
    ask /api/v1/namespaces/default/configmaps -H "@$scratch/admin" -H 'Content-Type: application/json' \
        -d '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "check"}, "data": {"cpu": "good"}}' >/dev/null || wrong 'it takes no object'
    ask /api/v1/namespaces/default/configmaps/check -H "@$scratch/admin" | grep -q '"cpu": *"good"' || wrong 'it does not keep an object'
}

ask() {
    path=$1
    shift
    curl -sSf --max-time 30 --cacert "$scratch/ca" "$@" "$url$path"
}

wrong() {
    printf 'cross: %s\n' "$*" >&2
    tail -n 20 "$scratch/log" >&2
    exit 1
}

if [ "${1:-}" = 'in a network' ]; then
    shift
    talk_to_server "$@"
    exit
fi
[ $# = 1 ] || [ $# = 2 ] || die 'which target? cross/check.sh TARGET [BINARY], see cross/targets.txt'
target "$1"
binary=${2:-$output/$triple/release/midge}
[ -f "$binary" ] || die "there is no $binary: run cross/build.sh $dist"
for tool in readelf curl unshare ip; do command -v "$tool" >/dev/null || die "there is no $tool: install binutils, curl, util-linux and iproute2"; done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
check_elf
check_arm
check_size
set -- "$(emulator)" -cpu "$cpu" "$binary"
check_version "$@"
check_refused
serve "$@"
say "$dist: $size bytes, static, $machine${arm#-}, and serves on $cpu"
