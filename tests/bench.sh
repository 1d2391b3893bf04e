#!/bin/sh
# The table of budgets, measured with a release build: tests/bench.sh [MIDGE]
# MIDGE_BENCH_IDLE=600 watches idling for ten minutes instead of two.
set -eu
cd "$(dirname "$0")/.."
tests/setup.sh
PATH="$PWD/target/tools/bin:$PATH"
export PATH
if [ $# -gt 0 ]; then
    MIDGE_BINARY=$(realpath "$1")
else
    cargo build --locked --release
    MIDGE_BINARY=$(realpath "${CARGO_TARGET_DIR:-target}/release/midge")
fi
export MIDGE_BINARY
exec cargo test --locked --test bench -- --ignored --nocapture --test-threads=1
