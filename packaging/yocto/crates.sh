#!/bin/sh
# Prints what midge-crates.inc of the Yocto layer has to be, from Cargo.lock, in the form of OE's
# cargo-update-recipe-crates class; with --write, writes it. Run after each change of Cargo.lock.
# That class itself would take tests/schema-table's Cargo.lock as well.
set -eu
cd "$(dirname "$0")/../.."
file=packaging/yocto/meta-midge/recipes-containers/midge/midge-crates.inc

crates() {
    awk '
        /^name = /     { gsub(/"/, ""); name = $3 }
        /^version = /  { gsub(/"/, ""); version = $3 }
        /^source = /   { crates = $3 ~ /crates\.io-index"$/
                         if (!crates) { print "crates.sh: " name " is not from crates.io" >"/dev/stderr"; exit failed = 1 } }
        /^checksum = / { uris = uris "    crate://crates.io/" name "/" version " \\\n"
                         sums = sums "SRC_URI[" name "-" version ".sha256sum] = " $3 "\n" }
        END {
            if (failed) exit 1
            print "# Made by packaging/yocto/crates.sh\n\n# from Cargo.lock\nSRC_URI += \" \\"
            printf "%s\"\n\n%s", uris, sums
        }' Cargo.lock
}

case ${1:-} in
'') crates ;;
--write)
    crates >"$file.new"
    mv "$file.new" "$file"
    ;;
*)
    echo 'usage: crates.sh [--write]' >&2
    exit 2
    ;;
esac
