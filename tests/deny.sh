#!/bin/sh
# Licences, duplicates and sources of all crates; advisories where their database can be fetched.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/target/tools/bin:$PATH"
cargo deny --all-features check --hide-inclusion-graph licenses bans sources
