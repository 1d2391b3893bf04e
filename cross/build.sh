#!/bin/sh
# Static release binaries: cross/build.sh TARGET…, names or triples of cross/targets.txt; prints where they are, a line each.
# They link an installed rust-std, else build std from rust-src; cross/setup.sh gets what is needed. The bytes depend on
# the commit, the compiler, zig and these two ways of getting std, and on nothing else: not on folders, nor on the time,
# nor on what is built beside. cargo gets all at once: each ends with minutes on one core, which others use meanwhile.
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

# flags: the compiler's for this target, in the variable that cargo reads for it alone
flags() {
    # zig brings crt1.o and libc. Every ARMv7-A runs Thumb-2, whose instructions take three quarters of the room.
    case $triple in armv7-*) thumb=' -C target-feature=+thumb-mode' ;; *) thumb= ;; esac
    # A panic ends the process: tables to unwind it by would be a sixth of the file on 64-bit CPUs.
    export "CARGO_TARGET_$(echo "$triple" | tr a-z- A-Z_)_RUSTFLAGS=-C link-self-contained=no -C force-unwind-tables=no$thumb$(remap)"
}

# build [CARGO'S OPTIONS]
build() { cargo zigbuild --locked --release --bin midge "$@" >&2; }

[ $# -gt 0 ] || die 'which target? cross/build.sh TARGET…, see cross/targets.txt'
case $PWD in *' '*) die "a blank in the name of this folder is more than compilers take: $PWD" ;; esac
for name in "$@"; do target "$name"; done
rust
command -v cargo-zigbuild >/dev/null || die "there is no cargo-zigbuild: run cross/setup.sh $*"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
linked='' built='' binaries=''
for name in "$@"; do
    target "$name"
    if has_std; then
        say "$dist: with the rust-std of rustc $version"
        linked="$linked --target $triple"
    elif has_source "$std"; then
        say "$dist: with std built from rust-src $version"
        built="$built --target $triple"
    else
        die "no rust-std for $triple and no rust-src: \`rustup target add $triple\` gets the one, cross/setup.sh $dist the other"
    fi
    flags
    binaries="$binaries $output/$triple/release/midge"
done
source_date
# shellcheck disable=SC2086
[ -z "$linked" ] || build $linked
# build-std is not stable, but for this one version it is what it is. Without std's default feature, which is to
# name functions in backtraces: there are no names in a stripped file.
# shellcheck disable=SC2086
[ -z "$built" ] || RUSTC_BOOTSTRAP=1 RUSTC="$std/rustc" build -Z build-std=std,panic_abort -Z build-std-features=optimize_for_size $built
# shellcheck disable=SC2086
printf '%s\n' $binaries
