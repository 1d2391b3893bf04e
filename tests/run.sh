#!/bin/sh
# Installs what the tests need and runs all of them: format, lints, floors, crates, unit tests, and the
# tests on real containerd, CNI plugins and kubectl. As root, on Debian 12 or 13.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo 'tests/run.sh: run this as root: tests start containerd and make network namespaces' >&2; exit 1; }
tests/setup.sh
PATH="$PWD/target/tools/bin:$PATH"
export PATH

step() { printf '\n== %s (%s)\n' "$*" "$(date +%T)"; }

step 'format'
cargo fmt --check
step 'lints'
cargo clippy --locked --all-targets -- -D warnings
step 'crates'
tests/deny.sh
step 'tests'
cargo test --locked -- --test-threads=2
