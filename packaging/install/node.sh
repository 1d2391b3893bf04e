# What a node needs of the distribution: containerd, runc, CNI plugins, iptables.

# The package of each for each package manager. What is there stays: Docker's containerd does as well.
install_packages() {
    # A server without a node needs none of it.
    case $flags in *--disable-agent*) return 0 ;; esac
    [ -z "$(given DISABLE_AGENT)" ] || return 0
    missing=
    have containerd || [ -S /var/run/docker/containerd/containerd.sock ] || missing="$missing containerd"
    have runc || have crun || missing="$missing runc"
    has_plugins || missing="$missing plugins"
    have iptables || missing="$missing iptables"
    [ -n "$missing" ] || return 0
    choose_packages
    if [ -n "$folder" ] || [ -z "$packager" ]; then
        die "install these with your package manager, then run this again:$packages"
    fi
    say "installing what is missing:$packages (this takes a while)"
    # shellcheck disable=SC2086
    quietly 'the installation' with_packager $packages || {
        tail -n 10 "$scratch/step.log" >&2
        die "could not install$packages; midge is not installed"
    }
}

has_plugins() { [ -x /opt/cni/bin/bridge ] || [ -x /usr/lib/cni/bridge ] || [ -x /usr/libexec/cni/bridge ]; }

# choose_packages: sets `packager`, and `packages` with its names of what is missing
choose_packages() {
    packager=
    for one in apt-get apk opkg dnf yum zypper pacman; do
        if have $one; then packager=$one && break; fi
    done
    packages=
    for one in $missing; do
        case $one:$packager in
        plugins:apt-get | plugins:dnf | plugins:yum | plugins:) one=containernetworking-plugins ;;
        plugins:*) one=cni-plugins ;;
        iptables:opkg) one='iptables-nft kmod-veth kmod-br-netfilter' ;;
        iptables:apk) [ ! -e /etc/openwrt_release ] || one='iptables-nft kmod-veth kmod-br-netfilter' ;;
        esac
        packages="$packages $one"
    done
}

# with_packager PACKAGE…
with_packager() {
    case $packager in
    apt-get)
        export DEBIAN_FRONTEND=noninteractive
        # With lists that are a little old the packages may be there still.
        apt-get -o DPkg::Lock::Timeout=120 update || :
        apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"
        ;;
    apk) apk add --update-cache "$@" ;;
    opkg) opkg update && opkg install "$@" ;;
    dnf | yum) "$packager" install -y "$@" ;;
    zypper) zypper --non-interactive install "$@" ;;
    pacman) pacman -Sy --noconfirm --needed "$@" ;;
    esac
}

# A containerd that nobody has started yet is enabled and started; OpenWrt's is midge's service's own affair.
start_containerd() {
    ! asked SKIP_ENABLE && ! asked SKIP_START && [ -n "$running" ] && [ "$init" != procd ] && have containerd || return 0
    for socket in /run/containerd /run/k3s/containerd /var/run/docker/containerd; do
        [ ! -S $socket/containerd.sock ] || return 0
    done
    say 'starting containerd'
    case $init in
    systemd) quietly 'the start of containerd' systemctl enable --now containerd ;;
    openrc) rc-update -q add containerd default && quietly 'the start of containerd' rc-service containerd start ;;
    *) false ;;
    esac || warn 'containerd does not run: start it, a node needs it'
}

# check_machine: what `midge check` finds, the memory cgroup above all; a warning is no reason to stop
check_machine() {
    "$bin/midge" check --data-dir "$data_dir" >"$scratch/check" 2>/dev/null </dev/null || :
    # Of containerd and CNI it can't know what procd's service, or an administrator, will start in a moment.
    sed -n 's/^\(warning\|FAILED\) *//p' "$scratch/check" | while IFS= read -r line; do warn "midge check: $line"; done
}
