#!/bin/sh
# The table of budgets, measured with a release build: tests/bench.sh [MIDGE]
# MIDGE_BENCH_IDLE=600 watches idling for ten minutes instead of two; MIDGE_BENCH_NODES=50 MIDGE_BENCH_PODS=500 make
# the fleet another one than 1,000 nodes with 10,000 pods.
set -eu
cd "$(dirname "$0")/.."
tests/setup.sh
tests/setup.sh bench
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
