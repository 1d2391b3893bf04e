#!/bin/sh
# A static release binary: cross/build.sh TARGET, a name or triple of cross/targets.txt; prints where it is.
# It links an installed rust-std, else builds std from rust-src; cross/setup.sh gets what is needed. The bytes depend on
# the commit, the compiler, zig and these two ways of getting std, and on nothing else: not on folders, nor on the time.
set -eu
cd "$(dirname "$0")/.."
. cross/target.sh

# Folders of this machine, out of the messages of panics
remap() {
    cargo fetch -q --locked --target "$triple"
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do printf ' --remap-path-prefix=%s=' "$folder"; done
    mkdir -p "$output"
    # The last that fits is taken: the target folder, which has what build scripts wrote, may be in the checkout or not.
    printf ' --remap-path-prefix=%s= --remap-path-prefix=%s=/target --remap-path-prefix=%s=/rust --remap-path-prefix=%s=/rust' \
        "$PWD" "$(realpath "$output")" "$std/lib/rustlib/src/rust" "target/tools/rust-$version/lib/rustlib/src/rust"
}

[ $# = 1 ] || die 'which target? cross/build.sh TARGET, see cross/targets.txt'
target "$1"
case $PWD in *' '*) die "a blank in the name of this folder is more than compilers take: $PWD" ;; esac
rust
command -v cargo-zigbuild >/dev/null || die "there is no cargo-zigbuild: run cross/setup.sh $dist"
set -- --locked --release --target "$triple" --bin midge
if has_std; then
    say "$dist: with the rust-std of rustc $version"
elif has_source "$std"; then
    say "$dist: with std built from rust-src $version"
    # build-std is not stable, but for this one version it is what it is.
    export RUSTC_BOOTSTRAP=1 RUSTC="$std/rustc"
    set -- -Z build-std=std,panic_abort "$@"
else
    die "no rust-std for $triple and no rust-src: \`rustup target add $triple\` gets the one, cross/setup.sh $dist the other"
fi
source_date
# zig brings crt1.o and libc. Every ARMv7-A runs Thumb-2, whose instructions take three quarters of the room.
case $triple in armv7-*) thumb=' -C target-feature=+thumb-mode' ;; *) thumb= ;; esac
# A panic ends the process: tables to unwind it by would be a sixth of the file on 64-bit CPUs.
RUSTFLAGS="-C link-self-contained=no -C force-unwind-tables=no$thumb$(remap)"
export RUSTFLAGS
cargo zigbuild "$@" >&2
echo "$output/$triple/release/midge"
