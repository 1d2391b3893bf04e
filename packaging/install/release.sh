# The binary: downloaded or copied, checked, and placed.

# fetch URL FILE
fetch() {
    case $1 in https://*) ;; *) die "not an https:// address: $1" ;; esac
    quietly "the download of ${1##*/}" fetch_with "$1" "$2" && return
    words=$(grep -i 'error\|certificate' "$scratch/step.log" | head -n 1)
    [ -n "$words" ] || words=$(tail -n 1 "$scratch/step.log")
    room=$(df -Pk "${2%/*}" | awk 'NR == 2 { print $4 }')
    [ "${room:-9999}" -gt 1 ] || words="no space left in ${2%/*}"
    die "cannot download $1: $words"
}

# As little as one byte a second goes on: lines to boards are slow. No redirection leads away from https, where the
# tool can be told so.
fetch_with() {
    if have curl; then
        curl -fsSL --proto '=https' --proto-redir '=https' --connect-timeout 30 --speed-limit 1 --speed-time 60 \
            --retry 2 -o "$2" "$1"
    elif have uclient-fetch; then
        uclient-fetch -T 60 -O "$2" "$1"
    elif ! have wget; then
        echo 'error: there is no curl, wget or uclient-fetch: install curl'
        return 1
    elif wget --help 2>&1 | grep -q BusyBox; then
        wget -T 60 -O "$2" "$1" || return
        # Some builds encrypt without looking at the certificate.
        [ -n "$public_key" ] || ! grep -q 'validation not implemented' "$scratch/step.log" ||
            { echo 'error: this wget does not check certificates, and there is no signature to check: install curl' && return 1; }
    else
        wget -nv -T 60 -t 3 -O "$2" "$1"
    fi
}

# from_release NAME FILE
from_release() {
    if [ -n "$folder" ]; then
        [ -f "$folder/$1" ] || die "there is no $folder/$1"
        cp "$folder/$1" "$2" 2>"$scratch/step.log" || die "cannot copy $folder/$1: $(tail -n 1 "$scratch/step.log")"
    else
        fetch "$release/$1" "$2"
    fi
}

# Sets `folder`, or `release`, where the files of the release are.
find_release() {
    folder=${INSTALL_MIDGE_FOLDER:-}
    version=${INSTALL_MIDGE_VERSION:-}
    if [ -z "$folder$version${INSTALL_MIDGE_CHANNEL:-}${INSTALL_MIDGE_ARTIFACT_URL:-}" ]; then
        case $0 in
        */*.sh) [ ! -f "${0%/*}/SHA256SUMS" ] || folder=${0%/*} ;;
        *.sh) [ ! -f SHA256SUMS ] || folder=. ;;
        esac
    fi
    if [ -n "$folder" ]; then
        [ -d "$folder" ] || die "INSTALL_MIDGE_FOLDER: there is no folder $folder"
        folder=$(cd "$folder" && pwd)
        return
    fi
    release=${INSTALL_MIDGE_ARTIFACT_URL:-$artifact_url}
    case $release in
    https://*) ;;
    '' | @*) die 'this install.sh knows no address to download from: set INSTALL_MIDGE_ARTIFACT_URL, or INSTALL_MIDGE_FOLDER' ;;
    *) die "not an https:// address: $release" ;;
    esac
    case $version in *[!A-Za-z0-9.+~-]*) die "INSTALL_MIDGE_VERSION: there is no version $version" ;; esac
    release=${release%/}/${version:+v${version#v}}
    [ -n "$version" ] || release=$release${INSTALL_MIDGE_CHANNEL:-stable}
}

# get_binary: leaves the checked binary as `staged`, on the file system it is to be on; empty if what is there will do
get_binary() {
    staged=
    find_release
    if asked BIN_DIR_READ_ONLY || asked SKIP_DOWNLOAD || [ "${INSTALL_MIDGE_SKIP_DOWNLOAD:-}" = binary ]; then
        [ -x "$bin/midge" ] || die "there is no $bin/midge, and INSTALL_MIDGE_SKIP_DOWNLOAD says not to download it"
        say "keeping $bin/midge"
        return
    fi
    find_cpu
    say "taking midge for $cpu from ${folder:-$release}"
    from_release SHA256SUMS "$scratch/SHA256SUMS"
    check_signature
    sum=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]midge-$cpu\$/\1/p" "$scratch/SHA256SUMS")
    [ -n "$sum" ] || die "SHA256SUMS of ${folder:-$release} names no midge-$cpu"
    if [ -f "$bin/midge" ] && [ "$(sum_of "$bin/midge")" = "$sum" ]; then
        say "$bin/midge is that already"
        return
    fi
    mkdir -p "$bin" || die "cannot make the folder $bin"
    staged=$bin/.midge.new
    from_release "midge-$cpu" "$staged"
    [ "$(sum_of "$staged")" = "$sum" ] ||
        die "midge-$cpu is not what SHA256SUMS says: a broken download, or not the right file. Nothing is installed"
    chmod 755 "$staged"
    "$staged" version >/dev/null 2>&1 || die "midge-$cpu does not run on this machine (nor from $bin, if that is mounted noexec)"
}

sum_of() { sha256sum "$1" | cut -d' ' -f1; }

place_binary() {
    [ -n "$staged" ] || return 0
    say "installing $bin/midge ($("$staged" version))"
    # A running midge keeps the file that it has.
    mv -f "$staged" "$bin/midge" || die "cannot write $bin/midge"
    staged=
    changed=yes
    relabel "$bin/midge"
}

# relabel FILE: for SELinux
relabel() { ! have restorecon || restorecon "$1" 2>/dev/null || :; }

# SHA256SUMS is signed by the key that this script has or was given.
check_signature() {
    if [ -z "$public_key" ]; then
        say 'no public key is built in or given: the sum is checked, and no signature'
        return
    fi
    if asked SKIP_SIGNATURE; then
        warn 'INSTALL_MIDGE_SKIP_SIGNATURE: the signature is not checked'
        return
    fi
    from_release SHA256SUMS.minisig "$scratch/SHA256SUMS.minisig"
    # signify's format, and usign's, is minisign's without the trusted comment.
    sed -n 1,2p "$scratch/SHA256SUMS.minisig" >"$scratch/signature"
    printf 'untrusted comment: midge\n%s\n' "$public_key" >"$scratch/key"
    (cd "$scratch" && signed) >"$scratch/step.log" 2>&1 && return
    [ ! -e "$scratch/no-tool" ] ||
        die "nothing here can check the signature: install minisign, signify-openbsd or openssl 3, or set INSTALL_MIDGE_SKIP_SIGNATURE=true"
    die "SHA256SUMS of ${folder:-$release} is not signed with the key $public_key. Nothing is installed"
}

signed() {
    if have minisign; then
        minisign -V -q -P "$public_key" -m SHA256SUMS -x SHA256SUMS.minisig
    elif have signify-openbsd; then
        signify-openbsd -V -q -p key -x signature -m SHA256SUMS
    elif have usign; then
        usign -V -q -p key -x signature -m SHA256SUMS
    elif have openssl && openssl pkeyutl -help 2>&1 | grep -q rawin; then
        # Each begins with two bytes for the algorithm and eight for the key's number.
        sed -n 2p key | openssl base64 -d -A | tail -c 32 >raw-key
        sed -n 2p signature | openssl base64 -d -A | tail -c 64 >raw-signature
        # An Ed25519 key as RFC 8410 has it: this, and its 32 bytes.
        { printf '\060\052\060\005\006\003\053\145\160\003\041\000' && cat raw-key; } >key.der
        openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in SHA256SUMS -sigfile raw-signature
    elif have signify; then
        # Debian has another program of this name.
        signify -V -q -p key -x signature -m SHA256SUMS
    else
        touch no-tool
        return 1
    fi
}
