#!/bin/sh
# Makes the packages of packaging/build-packages.sh from stand-ins for the binaries, and checks them: same bytes from two
# checkouts, contents, lintian, OpenWrt's scripts against stand-ins for procd and UCI, and the .deb in a fresh Debian
# of this machine's release. As root. What it needs: see `tools` below.
#   tests/packages.sh [FOLDER]   with FOLDER, a release's, only contents and lintian of the packages in it
# The last line counts the checks: `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:$PWD/target/tools/cross/bin
export PATH
[ "$(id -u)" = 0 ] || { echo 'tests/packages.sh: run this as root: it makes a Debian in a folder' >&2; exit 1; }
tools='nfpm mmdebstrap lintian shellcheck busybox gcc python3 dpkg-deb unshare'
for tool in $tools; do
    command -v "$tool" >/dev/null || {
        echo "tests/packages.sh: there is no $tool: run cross/setup.sh for nfpm, and install the Debian packages mmdebstrap lintian shellcheck busybox-static gcc libc6-dev" >&2
        exit 1
    }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
# shellcheck source=tests/packages/report.sh
. tests/packages/report.sh

say() { printf '==> %s\n' "$*"; }
# check NAME COMMAND…: what it prints is shown if it fails
check() {
    name=$1
    shift
    if "$@" >"$work/output" 2>&1; then wrong=''; else wrong=yes; fi
    report "$name" "$wrong" "$work/output"
}
# part COMMAND…: prints its own lines, and leaves its counts in $work/counts
part() {
    echo '0 1' >"$work/counts"
    "$@" || true
    read -r good bad <"$work/counts"
    passed=$((passed + good)) failed=$((failed + bad))
}
fails_with() {
    text=$1
    shift
    if "$@" >"$work/refusal" 2>&1; then return 1; fi
    grep -F -- "$text" "$work/refusal" || { cat "$work/refusal"; return 1; }
}
check_lintian() {
    for deb in "$1"/*.deb; do
        check "lintian $(basename "$deb")" lintian --fail-on error "$deb"
    done
}
finish() {
    printf '%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

if [ -n "${1:-}" ]; then
    part python3 tests/packages/contents.py "$1" "$version" "$SOURCE_DATE_EPOCH" "$work/counts"
    check_lintian "$1"
    finish
    exit
fi

say 'shell scripts'
# shellcheck disable=SC2046
check shellcheck shellcheck -x packaging/build-packages.sh packaging/openwrt/midge.init tests/packages.sh tests/packages/*.sh \
    tests/packages/rc.common $(for name in postinst prerm postrm; do echo packaging/deb/$name packaging/openwrt/$name; done)
check 'midge.init in busybox ash' busybox ash -n packaging/openwrt/midge.init

say 'packages from stand-ins'
# A program that records how it is called; another one for each architecture.
printf '%s\n' '#include <stdio.h>' 'int main(int count, char **argument) {' \
    '    FILE *calls = fopen("/var/log/midge-calls", "a");' '    if (!calls) return 1;' \
    '    for (int i = 1; i < count; i++) fprintf(calls, "%s%s", argument[i], i + 1 < count ? " " : "\n");' \
    '    return fclose(calls);' '}' >"$work/calls.c"
mkdir "$work/one" "$work/two"
gcc -static -s -o "$work/calls" "$work/calls.c"
grep -v '^#' cross/targets.txt | while read -r _ arch _; do
    { cat "$work/calls"; echo "$arch"; } >"$work/one/midge-$arch"
    chmod 755 "$work/one/midge-$arch"
    cp "$work/one/midge-$arch" "$work/two"
done
check 'all packages' packaging/build-packages.sh "$work/one"
mkdir "$work/checkout"
cp -R packaging cross Cargo.toml "$work/checkout"
check 'again, from another folder' "$work/checkout/packaging/build-packages.sh" "$work/two"
check 'both are the same' diff -r "$work/one" "$work/two"
part python3 tests/packages/contents.py "$work/one" "$version" "$SOURCE_DATE_EPOCH" "$work/counts"
# The check can fail.
mv "$work/two/midge-armv7" "$work/two/midge-armv6"
check 'an armhf .deb with a binary of ARMv7 is found' \
    fails_with "FAILED midge_${version}_armhf.deb: program" python3 tests/packages/contents.py "$work/two" "$version" "$SOURCE_DATE_EPOCH"
mkdir "$work/none"
check 'no binaries: says so' fails_with "there is no binary midge-<arch> in $work/none" packaging/build-packages.sh "$work/none"
check 'no folder: says so' fails_with "there is no folder $work/nowhere" packaging/build-packages.sh "$work/nowhere"
check 'one binary: says what is left out' \
    sh -c "cp $work/one/midge-arm64 $work/none && packaging/build-packages.sh $work/none | grep -x 'there is no midge-riscv64: no packages of it'"
own=$(dpkg --print-architecture) other=riscv64
[ "$own" != riscv64 ] || other=arm64
mkdir "$work/own"
cp "$work/one/midge_${version}_$own.deb" "$work/own"
check_lintian "$work/own"

say "OpenWrt's scripts"
part tests/packages/openwrt.sh "$work/one/midge_${version}_x86_64.ipk" "$work/counts"

# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
say "the .deb in a fresh Debian $release"
mirror=$(sed -nE 's,^(URIs:|deb) *(https?://[^ ]+/debian) *.*,\2,p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n1)
check 'a Debian with what the .deb depends on' mmdebstrap -q --variant=essential --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=containerd,runc,containernetworking-plugins,iptables,kmod "$release" "$work/debian" ${mirror:+"$mirror"}
DEB_ROOT=$work/debian
export DEB_ROOT
part tests/packages/deb.sh "$work/one/midge_${version}_$own.deb" "$work/one/midge_${version}_$other.deb" "$work/counts"
finish
