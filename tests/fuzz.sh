#!/bin/sh
# Fuzzes what reads requests: tests/fuzz.sh [TARGET [SECONDS]], all targets for a minute each if not told. Starts from
# tests/fuzz/corpus, keeps what it finds in target/fuzz, and ends with the first input that panics, takes 10 s, or
# takes more than 256 MB. Needs g++. With cargo-fuzz: `cargo fuzz run -s none --fuzz-dir tests/fuzz TARGET`.
set -eu
cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz gives, of which all but the sanitizers are stable.
coverage='-sanitizer-coverage-level=4 -sanitizer-coverage-inline-8bit-counters -sanitizer-coverage-pc-table -sanitizer-coverage-trace-compares'
flags=-Cpasses=sancov-module
for flag in $coverage; do flags="$flags -Cllvm-args=$flag"; done
targets=${1:-$(sed -n 's|^path = "fuzz_targets/\(.*\).rs"|\1|p' tests/fuzz/Cargo.toml)}
# shellcheck disable=SC2046,SC2086
RUSTFLAGS=$flags cargo build -q --locked --release --manifest-path tests/fuzz/Cargo.toml --target "$host" \
    --target-dir "$folder" $(printf -- '--bin %s ' $targets)
for target in $targets; do
    mkdir -p "$folder/corpus/$target" "$folder/artifacts"
    printf '== %s\n' "$target"
    "$folder/$host/release/$target" -max_total_time="${2:-60}" -max_len=65536 -timeout=10 -rss_limit_mb=256 \
        -malloc_limit_mb=128 -print_final_stats=1 -verbosity=0 -artifact_prefix="$folder/artifacts/$target-" \
        "$folder/corpus/$target" "tests/fuzz/corpus/$target"
done
