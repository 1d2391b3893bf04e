#!/bin/sh
# The release folder target/dist/v<version>: cross/dist.sh [TARGET…], with all of cross/targets.txt if not given.
# Binaries that passed cross/check.sh, install.sh, packages, an SBOM, SHA256SUMS. Variables:
#   MIDGE_SIGNING_KEY    minisign secret key: SHA256SUMS gets a signature, and install.sh demands it
#   MIDGE_ARTIFACT_URL   where install.sh downloads from, unless it is told otherwise
set -eu
cd "$(dirname "$0")/.."
. cross/target.sh

# What lacks is said before an hour of building.
check_signing() {
    [ -n "${MIDGE_SIGNING_KEY:-}" ] || return 0
    command -v minisign >/dev/null || die 'MIDGE_SIGNING_KEY is set, and there is no minisign: install it'
    [ -r "$MIDGE_SIGNING_KEY" ] || die "MIDGE_SIGNING_KEY: there is no file $MIDGE_SIGNING_KEY"
    minisign -R -s "$MIDGE_SIGNING_KEY" -p "$scratch/minisign.pub" >"$scratch/log" ||
        die "MIDGE_SIGNING_KEY: $MIDGE_SIGNING_KEY is no secret key of minisign's, or its password is another"
    public=$(sed -n 2p "$scratch/minisign.pub")
}

binaries() {
    cross/build.sh "$@" >"$scratch/binaries"
    for name in "$@"; do
        target "$name"
        read -r binary
        cross/check.sh "$name" "$binary" </dev/null
        install -m 755 "$binary" "$release/midge-$dist"
    done <"$scratch/binaries"
}

triples() { awk '!/^#/ { print $1 }' cross/targets.txt; }

sums() {
    (cd "$release" && LC_ALL=C && export LC_ALL && sha256sum -- *) >"$scratch/sums"
    install -m 644 "$scratch/sums" "$release/SHA256SUMS"
    [ -n "$public" ] || return 0
    # Not prehashed, so that signify, usign and openssl can check it too.
    minisign -S -l -s "$MIDGE_SIGNING_KEY" -t "midge $version" -m "$release/SHA256SUMS" -x "$release/SHA256SUMS.minisig" >"$scratch/log" ||
        die 'minisign does not sign'
}

# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(names)
for name in "$@"; do target "$name"; done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
public=
check_signing
source_date
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
release=target/dist/v$version
rm -rf "$release"
mkdir -p "$release"
cross/setup.sh "$@"
binaries "$@"
say 'install.sh, packages, SBOM, sums'
packaging/install/assemble.sh "${MIDGE_ARTIFACT_URL:-}" "$public" >"$release/install.sh"
packaging/build-packages.sh "$release"
# The same file whichever targets are built.
# shellcheck disable=SC2046
cross/sbom.py $(triples) >"$release/midge.cdx.json"
sums
say "$release is complete"
