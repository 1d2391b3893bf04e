#!/bin/sh
# Installs what the tests need and runs all of them, as root, on Debian 12 or 13: tests/run.sh [STEP…]
# All steps, or those named:
#   format lints schema crates   of the code
#   tests                        unit tests, floors, and the tests on real containerd, CNI plugins and kubectl
#   quickstart                   packaging/quickstart.sh, up and down
#   cross                        static binaries for four CPUs, into target/dist
#   packages yocto install       what is made of them, and how it is installed, in roots of their own
#   readme                       the README's commands, on machines with systemd; needs `cross`
#   vm                           the same on ARM machines under qemu-system; needs `cross`
# For releases only: `just dist` (all CPUs), `tests/cross.sh twice TARGET`, `tests/vm.sh all`, `just bench`.
# The last line counts the tests: `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo 'tests/run.sh: run this as root: tests start containerd and make network namespaces' >&2; exit 1; }

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
start=$(date +%s)
passed=0 failed=0

# step NAME COMMAND…: runs it, and says how long it took; what fails ends all, but for tests
step() {
    name=$1 began=$(date +%s)
    shift
    printf '\n== %s\n' "$name"
    "$@" || { printf '== %s failed\n' "$name" >&2; exit 1; }
    printf '== %s: %s s\n' "$name" "$(($(date +%s) - began))"
}

schema() {
    cargo run -q --locked --manifest-path tests/schema-table/Cargo.toml --target-dir target/schema-table -- --check
}

# Test programs run one after the other, each with two threads: more of these clusters at once, and time
# limits are missed on two cores.
tests() {
    { cargo test --locked --no-fail-fast -- --test-threads=2 2>&1 || echo "cargo test failed" >"$output/failed"; } | tee "$output/tests"
    # shellcheck disable=SC2046
    set -- $(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$output/tests" |
        awk '{ passed += $1; failed += $2 } END { print passed + 0, failed + 0 }')
    passed=$((passed + $1)) failed=$((failed + $2))
    # A program that crashed or was not built has no such line.
    if [ -e "$output/failed" ] && [ "$2" = 0 ]; then failed=$((failed + 1)); fi
    rm -f "$output/failed"
}

quickstart() {
    if tests/quickstart.sh; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# counted COMMAND…: one whose last line is `N passed, N failed`
counted() {
    { "$@" || echo "$1 failed" >"$output/failed"; } | tee "$output/counted"
    # shellcheck disable=SC2046
    set -- $(tail -n1 "$output/counted" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
    passed=$((passed + ${1:-0})) failed=$((failed + ${2:-0}))
    if [ "${1:-0}" = 0 ] || { [ -e "$output/failed" ] && [ "${2:-0}" = 0 ]; }; then failed=$((failed + 1)); fi
    rm -f "$output/failed"
}

[ $# -gt 0 ] || set -- format lints schema crates tests quickstart cross packages yocto install readme vm
step setup tests/setup.sh "$@"
PATH="$PWD/target/tools/bin:$PATH"
export PATH
for name in "$@"; do
    case $name in
    format) step format cargo fmt --check ;;
    lints) step lints cargo clippy --locked --all-targets -- -D warnings ;;
    schema) step schema schema ;;
    crates) step crates tests/deny.sh ;;
    tests) step tests tests ;;
    quickstart) step quickstart quickstart ;;
    cross | packages | yocto | install | vm) step "$name" counted "tests/$name.sh" ;;
    readme) step readme counted tests/readme.py ;;
    *) echo "tests/run.sh: there is no step $name" >&2; exit 2 ;;
    esac
done
printf '\nall took %s s\n' "$(($(date +%s) - start))"
counted=
for name in "$@"; do case $name in format | lints | schema | crates) ;; *) counted=yes ;; esac; done
[ -n "$counted" ] || exit 0
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
