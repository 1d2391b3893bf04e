# `just` lists the recipes.

_default:
    @just --list

# Everything that a change must pass
ci: fmt clippy floors deny test

# Formatting
fmt:
    cargo fmt --check

# Lints, with warnings denied
clippy:
    cargo clippy --locked --all-targets -- -D warnings

# The map of src/lib.rs: imports go downward only
floors:
    cargo test --locked --test floors

# Licences, advisories, duplicates
deny:
    tests/deny.sh

# All tests; as root, with containerd, runc, CNI plugins and kubectl
test:
    tests/run.sh

# The table of budgets, measured
bench:
    tests/bench.sh

# Release build for this machine
build:
    cargo build --locked --release
