#!/bin/sh
# Static binaries and the release folder, on Debian 12 or 13:
#   tests/cross.sh                builds arm64, armv7, armv6 and amd64 into target/dist/v<version>, with all checks; what CI runs
#   tests/cross.sh twice TARGET   builds TARGET in another folder too, and compares: for releases
# For releases only are i386 and riscv64 as well: `just dist` builds and checks them in the same way.
# The last line counts the tests: `N passed, N failed`.
# `check` calls functions.
# shellcheck disable=SC2016,SC2086,SC2317
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
for tool in shellcheck qemu-arm-static readelf curl unshare ip minisign signify-openbsd openssl python3 jq; do
    command -v $tool >/dev/null || { echo "tests/cross.sh: there is no $tool" >&2; exit 1; }
done
tools=$PWD/target/tools
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
release=$PWD/target/dist/v$version
scratch=$(mktemp -d)
signed=$scratch/signed/target/dist/v$version
signature=$signed/SHA256SUMS.minisig
trap 'rm -rf "$scratch"' EXIT
targets="arm64 armv7 armv6 amd64"
passed=0 failed=0

# check WHAT COMMAND…: what it prints is shown only if it fails
check() {
    what=$1
    shift
    # In a condition `set -e` would not hold.
    set +e
    (set -e; "$@") >"$scratch/output" 2>&1
    code=$?
    set -e
    if [ $code = 0 ]; then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$what"
        tail -n 30 "$scratch/output" >&2
    fi
}

# refused WORDS COMMAND…: it fails, and its last line has these words
refused() {
    words=$1
    shift
    if "$@" >"$scratch/said" 2>&1; then echo 'it succeeds'; return 1; fi
    tail -n1 "$scratch/said" | grep -F -- "$words" || { cat "$scratch/said"; return 1; }
}

end() {
    printf '%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" = 0 ]
    exit
}

# copy FOLDER: this checkout without what was built, but for tools
copy() {
    mkdir -p "$1/target/tools"
    git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$1"
    # Links: a venv has its own path in it.
    ln -s "$tools/cross" "$1/target/tools/"
}

# as_rust VERSION COMMAND…: with a compiler of this version, which has neither rust-std nor rust-src
as_rust() {
    printf '#!/bin/sh\ncase $1 in --version) echo rustc %s ;; *) echo /nonexistent ;; esac\n' "$1" >"$scratch/bin/rustc"
    chmod 755 "$scratch/bin/rustc"
    shift
    PATH=$scratch/bin:$PATH "$@"
}

messages() {
    for script in build check setup dist; do
        check "$script.sh refuses a target that is not there" refused 'there is no target `mips`; there are: amd64' cross/$script.sh mips
    done
    check 'build.sh says how to get std' refused 'rustup target add armv7-unknown-linux-musleabihf' as_rust 1.0.0 cross/build.sh armv7
    check 'setup.sh says what to install when Debian has no rust-src' refused 'rustup component add rust-src' as_rust 1.0.0 cross/setup.sh armv7
    check 'a signing key that is not there' refused 'there is no file /nonexistent' env MIDGE_SIGNING_KEY=/nonexistent cross/dist.sh
    check 'a signing key that is none' refused 'Cargo.toml is no secret key' env MIDGE_SIGNING_KEY=Cargo.toml cross/dist.sh
}

# Debian 12 and 13 have this one as long as they live.
source_of_debian() {
    rm -rf "$tools/rust-1.85.0"
    as_rust 1.85.0 cross/setup.sh armv7
    [ -f "$tools/rust-1.85.0/lib/rustlib/src/rust/library/std/src/lib.rs" ]
    rm -rf "$tools/rust-1.85.0"
}

# A binary that would pass for another, or does not do its work, does not get through.
checks_can_fail() {
    check 'another machine' refused 'it is for AArch64, not for ARM' cross/check.sh armv7 "$release/midge-arm64"
    check 'ARMv6 for ARMv7' refused 'not for ARMv7' cross/check.sh armv7 "$release/midge-armv6"
    check 'ARMv7 for ARMv6' refused 'it is for ARMv7, not for ARMv6' cross/check.sh armv6 "$release/midge-armv7"
    check 'linked dynamically' refused 'it is linked dynamically' cross/check.sh amd64 "$(command -v jq)"
    { cat "$release/midge-armv7"; head -c 4000000 /dev/zero; } >"$scratch/big"
    check 'too big' refused 'armv7 may have 4000000' cross/check.sh armv7 "$scratch/big"
    # An ARMv6 binary whose attributes say ARMv7: it runs where it should not.
    python3 - "$release/midge-armv6" "$scratch/marked" <<'PYTHON'
import os, re, sys
with open(sys.argv[1], "rb") as file:
    data, count = re.subn(rb"(aeabi\0.{5,40}?\x06)[\x06-\x09]", lambda found: found[1] + b"\x0a", file.read(), flags=re.DOTALL)
assert count == 1
with open(sys.argv[2], "wb") as file:
    file.write(data)
os.chmod(sys.argv[2], 0o755)
PYTHON
    # It is larger than ARMv7's limit, which is not what is asked here.
    mkdir "$scratch/roomy" && cp -R cross Cargo.toml "$scratch/roomy" && sed -i 's/ 4000000$/ 9000000/' "$scratch/roomy/cross/targets.txt"
    check 'no SIGILL on an ARMv6 CPU' refused 'on an ARMv6 CPU it ends with 0, not by SIGILL' \
        "$scratch/roomy/cross/check.sh" armv7 "$scratch/marked"
}

# The registry's folder and this one would be in the messages of panics.
no_folders() {
    for binary in "$release"/midge-arm*; do
        for folder in "$PWD" "${CARGO_HOME:-$HOME/.cargo}" "$(rustc --print sysroot)"; do
            ! grep -qaF "$folder" "$binary" || { echo "$binary has $folder in it"; return 1; }
        done
    done
}

# The sums are right, and nothing has none.
sums() {
    (cd "$release" && sha256sum -c --quiet SHA256SUMS)
    find "$release" -type f ! -name 'SHA256SUMS*' -printf '%f\n' | sort >"$scratch/files"
    cut -c67- "$release/SHA256SUMS" | sort | diff - "$scratch/files"
    for name in midge-arm64 midge-armv7 midge-armv6 install.sh midge.cdx.json; do grep -qx "$name" "$scratch/files"; done
}

# valid FILE: by the schema of CycloneDX itself
valid() {
    "$tools/cyclonedx/bin/python" - "$1" <<'PYTHON'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
with open(sys.argv[1]) as file:
    sys.exit(str(JsonStrictValidator(SchemaVersion.V1_5).validate_str(file.read()) or "") or None)
PYTHON
}

# What midge certainly links is there, nothing that only runs while it is built, and no reference leads nowhere.
sbom() {
    [ -x "$tools/cyclonedx/bin/pip" ] || python3 -m venv "$tools/cyclonedx"
    "$tools/cyclonedx/bin/pip" install -q --disable-pip-version-check 'cyclonedx-python-lib[json-validation]==11.12.0'
    valid "$release/midge.cdx.json"
    jq -e '[.components[].name] | contains(["ring", "rustls", "rust-std"]) and (any(. == "syn" or . == "cc" or . == "serde_derive") | not)' "$release/midge.cdx.json"
    jq -e '[.components[]["bom-ref"], .metadata.component["bom-ref"]] as $all | [.dependencies[] | .ref, .dependsOn[]] - $all == []' "$release/midge.cdx.json"
    jq 'del(.components[0].name)' "$release/midge.cdx.json" >"$scratch/bad.json"
    if valid "$scratch/bad.json"; then echo 'one without a name is valid too'; return 1; fi
}

# A release of the same bytes in another folder, signed with a key of its own
signed_release() {
    copy "$scratch/signed"
    printf '#!/bin/sh\nprintf "%s/midge-%%s\\n" "$@"\n' "$release" >"$scratch/signed/cross/build.sh"
    minisign -G -W -p "$scratch/key.pub" -s "$scratch/key" >/dev/null
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) MIDGE_SIGNING_KEY=$scratch/key "$scratch/signed/cross/dist.sh" $targets
}

# verified FILE: by all that could check it on somebody's machine
verified() {
    minisign -V -p "$scratch/key.pub" -x "$signature" -m "$1"
    head -n2 "$signature" >"$scratch/signify"
    signify-openbsd -V -p "$scratch/key.pub" -x "$scratch/signify" -m "$1"
    openssl_verifies "$1"
}

openssl_verifies() {
    # An Ed25519 key in DER is these 12 bytes and the key.
    { printf '\060\052\060\005\006\003\053\145\160\003\041\000'; sed -n 2p "$scratch/key.pub" | base64 -d | tail -c 32; } >"$scratch/key.der"
    sed -n 2p "$signature" | base64 -d | tail -c 64 >"$scratch/signature"
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$scratch/key.der" -rawin -in "$1" -sigfile "$scratch/signature"
}

# Sums that were changed are refused, by each of the three.
forged() {
    { cat "$signed/SHA256SUMS"; echo; } >"$scratch/forged"
    if minisign -V -p "$scratch/key.pub" -x "$signature" -m "$scratch/forged"; then return 1; fi
    if signify-openbsd -V -p "$scratch/key.pub" -x "$scratch/signify" -m "$scratch/forged"; then return 1; fi
    if openssl_verifies "$scratch/forged"; then return 1; fi
}

# The key is in install.sh.
same_sums() {
    grep -v install.sh "$signed/SHA256SUMS" >"$scratch/sums"
    grep -v install.sh "$release/SHA256SUMS" | diff "$scratch/sums" -
}

# same TARGET: built here and in another folder, of which nothing may be seen
same() {
    copy "$scratch/another"
    cross/setup.sh "$1"
    here=$(cross/build.sh "$1")
    CARGO_TARGET_DIR=$scratch/another/target
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export CARGO_TARGET_DIR SOURCE_DATE_EPOCH
    "$scratch/another/cross/setup.sh" "$1"
    there=$("$scratch/another/cross/build.sh" "$1")
    cmp "$here" "$there"
}

mkdir "$scratch/bin"
if [ "${1:-}" = twice ]; then
    check "two folders give the same ${2:?which target?}" same "$2"
    end
fi
check 'shellcheck' shellcheck -x cross/*.sh tests/cross.sh
cross/setup.sh $targets
messages
check 'rust-src comes from Debian' source_of_debian
check 'a release folder' cross/dist.sh $targets
checks_can_fail
check 'no folder of this machine is in a binary' no_folders
check 'sums' sums
check 'SBOM' sbom
check 'a release in another folder, signed' signed_release
check 'packages and SBOM are the same there' same_sums
check 'signature, by minisign, signify and openssl' verified "$signed/SHA256SUMS"
check 'forged sums' forged
end
