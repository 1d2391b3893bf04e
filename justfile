# `just` lists the recipes.

_default:
    @just --list

# Everything that a change must pass, as root
ci:
    tests/run.sh

# Formatting
fmt:
    tests/run.sh format

# Lints, with warnings denied
clippy:
    tests/run.sh lints

# The map of src/lib.rs: imports go downward only
floors:
    cargo test --locked --test floors

# Licences, duplicates, sources of crates
deny:
    tests/run.sh crates

# The schema table is what its sources and overlay say
schema:
    tests/run.sh schema

# All tests, on real containerd, CNI plugins and kubectl; as root
test:
    tests/run.sh tests

# The quickstart twice, then down, in namespaces of its own
quickstart:
    tests/run.sh quickstart

# The table of budgets, measured
bench:
    tests/bench.sh

# Fuzzes what reads requests: a TARGET of tests/fuzz/fuzz_targets or all, for SECONDS each
fuzz TARGET="" SECONDS="60":
    tests/fuzz.sh {{ quote(TARGET) }} {{ quote(SECONDS) }}

# Release build for this machine, or a static one for a TARGET of cross/targets.txt
build TARGET="":
    {{ if TARGET == "" { "cargo build --locked --release" } else { "cross/setup.sh " + quote(TARGET) + " && cross/build.sh " + quote(TARGET) } }}

# All that is downloaded and installed, into target/dist: cross/dist.sh says what it takes
dist *TARGETS:
    cross/dist.sh {{ TARGETS }}
