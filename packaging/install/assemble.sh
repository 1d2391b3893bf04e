#!/bin/sh
# Makes install.sh of its parts, one file on standard output:
#   packaging/install/assemble.sh [ARTIFACT_URL] [MINISIGN_PUBLIC_KEY] >install.sh
set -eu
url=${1:-} key=${2:-}
case $url in '' | https://*) ;; *) echo "assemble.sh: not an https:// address: $url" >&2; exit 2 ;; esac
case $url$key in *[!A-Za-z0-9_./:=+~%-]*) echo 'assemble.sh: an address and a public key are what it takes' >&2; exit 2 ;; esac
cd "$(dirname "$0")"

# `@include FILE` on a line of its own is that file. OpenWrt's script may be missing.
URL=$url KEY=$key awk '
    function copy(file, line) {
        while ((outcome = (getline line <file)) > 0) {
            if (line ~ /^@include /) copy(substr(line, 10))
            else {
                at = index(line, "@artifact-url@")
                if (at) line = substr(line, 1, at - 1) ENVIRON["URL"] substr(line, at + 14)
                at = index(line, "@public-key@")
                if (at) line = substr(line, 1, at - 1) ENVIRON["KEY"] substr(line, at + 12)
                print line
            }
        }
        if (outcome < 0 && file !~ /openwrt/) {
            print "assemble.sh: there is no " file >"/dev/stderr"
            exit 1
        }
        close(file)
    }
    BEGIN { copy("install.sh") }'
