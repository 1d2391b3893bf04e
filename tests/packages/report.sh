# shellcheck shell=sh
# How a case went, for tests/packages.sh and the scripts beside this: `passed` and `failed` count.
passed=0 failed=0

# report NAME WRONG FILE…: it failed if WRONG is not empty, and what the files hold is shown then
report() {
    if [ -z "$2" ]; then
        passed=$((passed + 1))
        echo "ok     $1"
    else
        failed=$((failed + 1))
        echo "FAILED $1"
        shift 2
        sed 's/^/    | /' "$@" 2>/dev/null || true
    fi
}
