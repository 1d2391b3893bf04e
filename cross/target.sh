# shellcheck shell=sh
# Sourced by the scripts beside it, in the checkout's folder: targets.txt, and where things are.
# shellcheck disable=SC2034
tools=$PWD/target/tools
output=${CARGO_TARGET_DIR:-target}
PATH=$tools/cross/bin:$PATH:${HOME:-/root}/.cargo/bin
export PATH

say() { printf 'cross: %s\n' "$*" >&2; }
die() { printf 'cross: %s\n' "$*" >&2; exit 1; }

# names: what a release calls the targets
names() { awk '!/^#/ { print $2 }' cross/targets.txt; }

# target NAME: sets the columns of the target with this name or triple
target() {
    row=$(awk -v name="$1" '!/^#/ && ($1 == name || $2 == name)' cross/targets.txt)
    [ -n "$row" ] || die "there is no target \`$1\`; there are: $(names | tr '\n' ' ')and their triples, see cross/targets.txt"
    read -r triple dist deb openwrt qemu cpu machine arm limit <<ROW
$row
ROW
}

# rust: sets the compiler's version, and its folders
rust() {
    version=$(rustc --version 2>/dev/null | cut -d' ' -f2)
    [ -n "$version" ] || die 'there is no rustc: install Rust, see https://rustup.rs'
    sysroot=$(rustc --print sysroot)
    # What build-std takes for the sysroot: the compiler's own with rust-src in it.
    std=$tools/rust-$version
}

has_std() { [ -n "$(find "$sysroot/lib/rustlib/$triple/lib" -name 'libstd-*.rlib' 2>/dev/null)" ]; }

# has_source SYSROOT: whether there is rust-src in it
has_source() { [ -f "$1/lib/rustlib/src/rust/library/Cargo.lock" ]; }

# source_date: sets the newest time that anything built may write down
source_date() {
    [ -n "${SOURCE_DATE_EPOCH:-}" ] || SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) ||
        die 'this is no git checkout: set SOURCE_DATE_EPOCH to the seconds since 1970 of its release'
    export SOURCE_DATE_EPOCH
}
