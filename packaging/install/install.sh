#!/bin/sh
# Installs midge, a small Kubernetes, as a service of this machine. As root:
#   curl -sfL https://…/install.sh | sh -                                             a server, and a node with it
#   curl -sfL https://…/install.sh | MIDGE_URL=https://SERVER:6443 MIDGE_TOKEN=… sh -   a node that joins SERVER
#   curl -sfL https://…/install.sh | sh -s - server|agent FLAGS…                      flags of `midge server` or `agent`
# Run again, it upgrades; pods go on. What is given replaces what an earlier run was given, the rest stays: a run
# without MIDGE_URL on a machine that is an agent upgrades the agent. midge-uninstall.sh removes midge.
# MIDGE_*, K3S_* and proxy variables go to /etc/midge/midge.env or midge-agent.env (0600). And these, as k3s has them:
#   INSTALL_MIDGE_EXEC            role and flags, before those of the command line
#   INSTALL_MIDGE_NAME            the service is midge-NAME (default: midge, or midge-agent)
#   INSTALL_MIDGE_TYPE            systemd's type of the service (default: notify)
#   INSTALL_MIDGE_VERSION         version to install (default: that of the channel)
#   INSTALL_MIDGE_CHANNEL         channel (default: stable)
#   INSTALL_MIDGE_BIN_DIR         folder of the binary (default: /usr/local/bin; /opt/bin if that can't be written)
#   INSTALL_MIDGE_SYSTEMD_DIR     folder of the unit (default: /etc/systemd/system)
#   INSTALL_MIDGE_SKIP_DOWNLOAD=true       the binary is there already
#   INSTALL_MIDGE_BIN_DIR_READ_ONLY=true   so is all in that folder: no midge-uninstall.sh either
#   INSTALL_MIDGE_SKIP_ENABLE=true         neither enable nor start the service
#   INSTALL_MIDGE_SKIP_START=true          enable it, but do not start it
#   INSTALL_MIDGE_FORCE_RESTART=true       restart it even if nothing has changed
# And midge's own:
#   INSTALL_MIDGE_ARTIFACT_URL    where releases are, over https
#   INSTALL_MIDGE_FOLDER          a folder with the binaries and SHA256SUMS: nothing is downloaded, and no package
#                                 installed. That folder is the default for an install.sh that lies in it
#   INSTALL_MIDGE_PUBLIC_KEY      minisign's public key (RW…) that SHA256SUMS must be signed with, or a file with it
#   INSTALL_MIDGE_SKIP_SIGNATURE=true      do without
# INSTALL_MIDGE_SYMLINK is refused: there is no kubectl, crictl or ctr in midge.
# Exit code: 0 when the node is Ready, or when no start was asked for.

artifact_url='@artifact-url@'
public_key='@public-key@'
wait_seconds=180

say() { printf '==> %s\n' "$*"; }
warn() { printf 'install.sh: warning: %s\n' "$*" >&2; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# quietly WHAT COMMAND…: what it prints is shown if it fails; says every ten seconds that it goes on
quietly() {
    what=$1
    shift
    (
        seconds=0
        while sleep 1; do
            seconds=$((seconds + 1))
            [ $((seconds % 10)) -ne 0 ] || say "$what goes on ($seconds s)" >&2
        done
    ) &
    ticker=$!
    if "$@" >"$scratch/step.log" 2>&1 </dev/null; then outcome=0; else outcome=1; fi
    kill $ticker
    wait $ticker 2>/dev/null || :
    ticker=
    return $outcome
}

clean_up() {
    [ -z "${ticker:-}" ] || kill "$ticker" 2>/dev/null || :
    [ -z "${staged:-}" ] || rm -f "$staged"
    [ -z "${scratch:-}" ] || rm -rf "$scratch"
}

@include cpu.sh
@include release.sh
@include settings.sh
@include node.sh
@include service.sh

# What would otherwise be passed over in silence.
check_variables() {
    for variable in $(env | sed -n 's/^\(INSTALL_[MK][0-9A-Z_]*\)=.*/\1/p'); do
        case $variable in
        INSTALL_MIDGE_EXEC | INSTALL_MIDGE_NAME | INSTALL_MIDGE_TYPE | INSTALL_MIDGE_VERSION | INSTALL_MIDGE_CHANNEL | \
            INSTALL_MIDGE_BIN_DIR | INSTALL_MIDGE_SYSTEMD_DIR | INSTALL_MIDGE_ARTIFACT_URL | INSTALL_MIDGE_FOLDER | \
            INSTALL_MIDGE_PUBLIC_KEY | INSTALL_MIDGE_SKIP_DOWNLOAD | INSTALL_MIDGE_BIN_DIR_READ_ONLY | \
            INSTALL_MIDGE_SKIP_ENABLE | INSTALL_MIDGE_SKIP_START | INSTALL_MIDGE_FORCE_RESTART | INSTALL_MIDGE_SKIP_SIGNATURE) ;;
        INSTALL_MIDGE_SYMLINK)
            [ "$INSTALL_MIDGE_SYMLINK" = skip ] ||
                die 'INSTALL_MIDGE_SYMLINK: there is no kubectl, crictl or ctr in midge to link to; leave it out, and install kubectl beside midge'
            ;;
        INSTALL_MIDGE_*) die "there is no $variable; the first lines of install.sh name what there is" ;;
        INSTALL_K3S_*) warn "$variable is not read: it is called INSTALL_MIDGE_${variable#INSTALL_K3S_} here" ;;
        esac
    done
}

# asked NAME: INSTALL_MIDGE_NAME is true
asked() { eval "[ \"\${INSTALL_MIDGE_$1:-}\" = true ]"; }

main() {
    set -eu
    umask 022
    PATH=${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin:/bin
    export PATH
    case ${1:-} in -h | --help) die 'the first lines of this script say what it takes' ;; esac
    check_variables
    [ "$(id -u)" = 0 ] ||
        die 'run this as root: curl … | sudo -E sh -  (with MIDGE_URL and MIDGE_TOKEN exported; -E keeps them)'
    trap clean_up EXIT
    trap 'exit 1' HUP INT TERM
    scratch=$(mktemp -d) || die "cannot make a folder for temporary files in ${TMPDIR:-/tmp}: is it full?"
    changed=
    find_init
    read_arguments "$@"
    choose_role
    find_places
    [ ! -x /usr/bin/midge ] || [ "$bin" = /usr/bin ] ||
        die 'a package has installed /usr/bin/midge: upgrade that with your package manager, or remove it first'
    check_join
    # Nothing is changed on this machine up to here, and only packages until all that can fail has succeeded.
    get_binary
    install_packages
    place_binary
    place_settings
    place_service
    place_uninstall
    start_containerd
    check_machine
    start_service
    wait_until_ready
}

# In braces: a shell that gets a part of this line runs nothing of it.
{ main "$@"; }
