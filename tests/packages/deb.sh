#!/bin/sh
# tests/packages/deb.sh DEB OTHER-DEB [COUNTS]: installs, upgrades, removes and purges the package in a fresh Debian with its
# dependencies, and compares what is left. OTHER-DEB is one of another architecture. The package's program must be one
# that records its calls in /var/log/midge-calls. As root; prints `ok` or `FAILED` for each case.
set -eu
# What is mounted here is nobody else's, and gone when this ends; nor do maintainer scripts reach this machine's network.
[ -n "${DEB_TEST_UNSHARED:-}" ] || DEB_TEST_UNSHARED=yes exec unshare -m -n --propagation private "$0" "$@"
deb=$1 other=$2 counts=${3:-/dev/null}
# tests/packages.sh makes it.
root=${DEB_ROOT:?the root of a Debian with the dependencies of the package}
work=$(mktemp -d)
trap 'umount -R "$work"; rmdir "$work"' EXIT
mount -t tmpfs tmpfs "$work"
wrong=''
# shellcheck source=tests/packages/report.sh
. "$(dirname "$0")/report.sh"

# Each run gets a layer of its own over the root.
fresh() {
    ! mountpoint -q "$work/root" || umount -R "$work/root"
    rm -rf "$work/upper" "$work/layer"
    mkdir -p "$work/upper" "$work/layer" "$work/root"
    mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/layer" "$work/root"
    mount -t proc proc "$work/root/proc"
    cp "$deb" "$work/root/tmp/midge.deb"
    cp "$other" "$work/root/tmp/other.deb"
    files >"$work/before"
}

# files: all but dpkg's own and what is written by all and sundry
files() {
    inside find / \( -path /proc -o -path /tmp -o -path /var/log -o -path /var/lib/dpkg -o -path /var/cache \) -prune -o -print | sort
}

inside() { chroot "$work/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# dpkg ARGUMENT…: what it prints goes to `output`, what is called to `calls`
dpkg() {
    : >"$work/root/var/log/midge-calls"
    status=0
    inside dpkg "$@" >"$work/output" 2>&1 || status=$?
}
flaw() {
    wrong=yes
    printf '    %s\n' "$*"
}
begin() { name=$1 wrong=''; }
end() { report "$name" "$wrong" "$work/output"; }
succeeds() { [ "$status" = 0 ] || flaw "dpkg exited with $status"; }
prints() { grep -qF -- "$1" "$work/output" || flaw "does not print: $1"; }
# A link may lead nowhere outside of the root.
exists() { [ -e "$work/root$1" ] || [ -L "$work/root$1" ]; }
there() { for path in "$@"; do exists "$path" || flaw "$path is gone"; done; }
gone() { for path in "$@"; do ! exists "$path" || flaw "$path is still there"; done; }
calls() {
    found=$(paste -sd';' "$work/root/var/log/midge-calls")
    [ "$found" = "$1" ] || flaw "called: $found; expected: $1"
}
mode() { [ "$(stat -c '%a %U' "$work/root$2")" = "$1 root" ] || flaw "$2: $(stat -c '%a %U' "$work/root$2")"; }

# with_systemd: systemctl is recorded, and answers yes
with_systemd() {
    mkdir -p "$work/root/run/systemd/system"
    printf '#!/bin/sh\necho "systemctl $*" >>/var/log/midge-calls\n' >"$work/root/usr/bin/systemctl"
    chmod 755 "$work/root/usr/bin/systemctl"
}
# link_unit: enables midge.service as the administrator does
link_unit() {
    mkdir -p "$work/root/etc/systemd/system/multi-user.target.wants"
    ln -s /usr/lib/systemd/system/midge.service "$work/root/etc/systemd/system/multi-user.target.wants/midge.service"
}
# data: what a server with a node has after a while
data() {
    for file in agent/node-key server/token server/registry/journal .lock storage/volume/file; do
        mkdir -p "$work/root/var/lib/midge/$(dirname "$file")"
        echo "$file" >"$work/root/var/lib/midge/$file"
    done
    echo 'node-name: pi-1' >"$work/root/etc/midge/config.yaml"
    echo 'MIDGE_TOKEN=K10aaaa::server:SECRET' >>"$work/root/etc/midge/midge-agent.env"
}
# newer: the same package with a higher version, and other text in a configuration file
newer() {
    dpkg-deb -R "$deb" "$work/newer"
    sed -i 's/^Version: .*/&+newer/' "$work/newer/DEBIAN/control"
    echo '# newer' >>"$work/newer/etc/midge/midge-agent.env"
    dpkg-deb --root-owner-group -b "$work/newer" "$work/root/tmp/newer.deb" >/dev/null
    rm -rf "$work/newer"
}
# nothing_left: neither more nor less is there than before the installation
nothing_left() {
    files | diff "$work/before" - >"$work/left" || flaw "left or lost: $(paste -sd' ' "$work/left")"
}

begin "installation: disabled, says the command, secrets are root's alone"
fresh
dpkg -i /tmp/midge.deb
succeeds
prints 'systemctl enable --now midge'
prints 'set MIDGE_URL and MIDGE_TOKEN in /etc/midge/midge-agent.env'
there /usr/bin/midge /usr/lib/systemd/system/midge.service /usr/lib/systemd/system/midge-agent.service
mode 600 /etc/midge/midge.env
mode 600 /etc/midge/midge-agent.env
gone /etc/systemd/system/multi-user.target.wants/midge.service
calls ''
end

begin 'removal without systemd and without a node'
dpkg -r midge
succeeds
gone /usr/bin/midge
there /etc/midge/midge.env
calls ''
end

begin 'purge of what never ran leaves nothing'
dpkg -P midge
succeeds
nothing_left
end

begin 'upgrade: keeps settings, restarts what runs, stops nothing'
fresh
dpkg -i /tmp/midge.deb
with_systemd
link_unit
data
newer
dpkg --force-confold -i /tmp/newer.deb
succeeds
grep -q SECRET "$work/root/etc/midge/midge-agent.env" || flaw 'the token is lost'
mode 600 /etc/midge/midge-agent.env
there /var/lib/midge/agent/node-key /etc/systemd/system/multi-user.target.wants/midge.service
grep -q '^systemctl.* try-restart ' "$work/root/var/log/midge-calls" || flaw 'no try-restart'
! grep -E ' stop |reset' "$work/root/var/log/midge-calls" || flaw 'something was stopped'
! grep -q SECRET "$work/output" || flaw 'the token is printed'
end

begin 'removal: stops midge, then ends its pods, and keeps the data'
echo 'MIDGE_DATA_DIR=/mnt/disk' >>"$work/root/etc/midge/midge.env"
mkdir -p "$work/root/mnt/disk/agent"
dpkg -r midge
succeeds
grep -v daemon-reload "$work/root/var/log/midge-calls" >"$work/calls"
[ "$(sed -n 1p "$work/calls" | grep -c ' stop .*midge.service.*midge-agent.service')" = 1 ] || flaw "first call: $(sed -n 1p "$work/calls")"
[ "$(sed 1d "$work/calls" | paste -sd';')" = 'reset --data-dir /mnt/disk;reset --data-dir /var/lib/midge' ] ||
    flaw "calls: $(paste -sd';' "$work/calls")"
there /var/lib/midge/agent/node-key /var/lib/midge/server/registry/journal /etc/midge/midge-agent.env
end

begin 'purge: keeps volumes, empties no mount'
mkdir -p "$work/root/srv/photos" "$work/root/var/lib/midge/agent/photos"
: >"$work/root/srv/photos/cat"
mount --bind "$work/root/srv/photos" "$work/root/var/lib/midge/agent/photos"
dpkg -P midge
succeeds
prints '/var/lib/midge/agent stays, for there is a mount in it'
prints '/var/lib/midge/storage stay'
there /srv/photos/cat /var/lib/midge/storage/volume/file
gone /var/lib/midge/server /var/lib/midge/.lock /etc/midge /etc/systemd/system/multi-user.target.wants/midge.service
umount "$work/root/var/lib/midge/agent/photos"
end

begin 'a package of another architecture is refused'
fresh
dpkg -i /tmp/other.deb
[ "$status" != 0 ] || flaw 'dpkg took it'
prints 'does not match system'
gone /usr/bin/midge
end

echo "$passed $failed" >"$counts"
[ "$failed" = 0 ]
