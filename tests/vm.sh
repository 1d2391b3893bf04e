#!/bin/sh
# midge on real machines: arm64 and armhf under qemu-system, made from Debian packages, with systemd. They
# install it with the one line that users are given, from an HTTPS server on loopback, and are looked at from
# outside with kubectl. As root, on Debian 12 or 13; stories run one after the other, without any network.
#   tests/vm.sh [MACHINE-STORY…]   those of CI if none is named: arm64-512-full armhf-256-short
#   tests/vm.sh all                what a release needs
# MACHINE is arm64-512, arm64-256, armhf-512 or armhf-256 (megabytes), STORY one of
#   full      install, join, pod, memory limit and OOM kill, crash, hang, reboot, power cut without server, uninstall
#   short     install, join, pod, memory limit, reboot, uninstall
#   clock     the clock is in 1970: install, join, pod
#   nomemory  the kernel's memory cgroup is off: install and node say so, pods without a limit run
#   server    a cluster of this one machine
# The binaries are those of `just dist`, or of the folder that MIDGE_DIST names. Logs are kept in target/vm/logs.
set -eu
cd "$(dirname "$0")/.."
folder=$PWD/target/vm
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
MIDGE_DIST=$(realpath "${MIDGE_DIST:-target/dist/v$version}")
PATH=$PWD/target/tools/bin:$PATH:/usr/sbin:/sbin
export MIDGE_DIST PATH

die() { printf 'tests/vm.sh: %s\n' "$*" >&2; exit 2; }

case ${1:-} in
-h | --help | help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
'') set -- arm64-512-full armhf-256-short ;;
all)
    set -- arm64-512-full arm64-512-clock arm64-512-nomemory arm64-512-server arm64-256-short arm64-256-server \
        armhf-512-short armhf-512-server armhf-256-full armhf-256-clock armhf-256-nomemory
    ;;
esac
for story in "$@"; do
    case $story in
    arm64-512-* | arm64-256-* | armhf-512-* | armhf-256-*) ;;
    *) die "there is no machine $story: see tests/vm.sh --help" ;;
    esac
    case ${story##*-} in full | short | clock | nomemory | server) ;; *) die "there is no story ${story##*-}: see tests/vm.sh --help" ;; esac
done
[ "$(id -u)" = 0 ] || die 'run this as root: it makes disks and network namespaces'
for program in mmdebstrap qemu-system-aarch64 qemu-system-arm depmod cpio mke2fs xz openssl python3 kubectl unshare ip; do
    command -v "$program" >/dev/null || die "$program is missing: run tests/setup.sh"
done
for binary in amd64 arm64 armv7; do
    [ -x "$MIDGE_DIST/midge-$binary" ] || die "there is no $MIDGE_DIST/midge-$binary: run \`just dist\`, or name a folder with MIDGE_DIST"
done

# disk ARCH SUITE: made anew when what makes it has changed, shared by all stories
disk() {
    made=$folder/$1-$(cat tests/vm/disk.sh tests/vm/guest.sh | sha256sum | cut -c1-12)
    [ ! -e "$made/disk.img" ] || return 0
    began=$(date +%s)
    rm -rf "$folder/$1"-*
    printf '== making the disk of %s (%s)\n' "$1" "$2"
    tests/vm/disk.sh "$1" "$2" "$made" >"$folder/logs/disk-$1.log" 2>&1 || {
        tail -n 30 "$folder/logs/disk-$1.log" >&2
        return 1
    }
    printf '== disk of %s: %s s\n' "$1" "$(($(date +%s) - began))"
}

mkdir -p "$folder/logs"
rm -f "$folder"/logs/*/memory
passed=0 failed=0 start=$(date +%s)
for story in "$@"; do
    case $story in arm64*) disk arm64 trixie ;; *) disk armhf bookworm ;; esac || { failed=$((failed + 1)); continue; }
    logs=$folder/logs/$story
    rm -rf "$logs"
    mkdir -p "$logs"
    printf '\n== %s\n' "$story"
    # What the story starts goes with it, and nothing that it does can reach another machine.
    if unshare --net --mount --pid --fork --kill-child --mount-proc \
        tests/vm/story.sh "$made" "$story" "$logs"; then :; else failed=$((failed + 1)); fi
    passed=$((passed + $(grep -c . "$logs/passed" || true)))
done
if cat "$folder"/logs/*/memory >"$folder/logs/memory" 2>/dev/null; then
    printf '\nMegabytes, with two idle pods:\n\n'
    echo '| machine | MemTotal | midge, PSS (RSS) | containerd, PSS (RSS) | shims, PSS (RSS) | left for pods |'
    echo '|---|---|---|---|---|---|'
    cat "$folder/logs/memory"
fi
printf '\nall took %s s; logs are in %s\n' "$(($(date +%s) - start))" "$folder/logs"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
