#!/bin/sh
# Parses the Yocto layer with bitbake's own parser, which PyPI's bitbake-setup carries, and runs what its
# recipes install; classes and configuration of OE-core are stubs (tests/yocto/core). As root, on Debian 12
# or 13. The last line counts the tests.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools/yocto
PATH=$PATH:/usr/sbin:/sbin

die() { printf 'yocto.sh: %s\n' "$*" >&2; exit 1; }
for tool in python3 xz dpkg-deb apt-get; do command -v $tool >/dev/null || die "there is no $tool"; done

mkdir -p "$tools"
# The version is pinned: bitbake's Python interface is its own business.
if [ ! -e "$tools/bitbake-2.19.0" ]; then
    echo '== bitbake from PyPI'
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install -q --disable-pip-version-check bitbake-setup==2.19.0
    touch "$tools/bitbake-2.19.0"
fi

# Configurations of Debian's kernels: which options there are.
if [ ! -d "$tools/configs" ]; then
    echo '== kernel configurations from Debian'
    rm -rf "$tools/deb"
    mkdir -p "$tools/deb"
    # Debian 12 has 6.1, and its backports and Debian 13 later ones.
    package=$(apt-cache search --names-only '^linux-config-[0-9.]*$' | cut -d' ' -f1 | sort -V | tail -n1)
    [ -n "$package" ] || die 'Debian has no linux-config package: run apt-get update'
    (cd "$tools/deb" && apt-get download -q -o APT::Sandbox::User=root "$package" >/dev/null)
    dpkg-deb -x "$tools"/deb/*.deb "$tools/deb"
    mkdir "$tools/deb/configs"
    arch=$(dpkg --print-architecture)
    find "$tools/deb/usr/src" -name "config.${arch}_none_$arch.xz" -exec xz -dc {} + >"$tools/deb/configs/$package"
    [ -s "$tools/deb/configs/$package" ] || die "$package has no configuration of $arch"
    mv "$tools/deb/configs" "$tools/configs"
    rm -rf "$tools/deb"
fi

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
cd "$build"
"$tools/python/bin/python" "$OLDPWD/tests/yocto/check.py" "$OLDPWD" "$build" "$tools/configs"
