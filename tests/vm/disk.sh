#!/bin/sh
# Makes what a virtual machine boots from, of Debian packages alone: disk.sh ARCH SUITE FOLDER
# FOLDER gets kernel, initrd and disk.img (ext4). ARCH is arm64 or armhf. As root.
# The packages are unpacked, not installed: that needs no program of that architecture and seconds instead
# of minutes. What their scripts would have set up, and midge's story needs, is done in `configure`.
set -eu
arch=$1 suite=$2 folder=$3
here=$(realpath "$(dirname "$0")")
case $arch in
arm64) kernel=linux-image-arm64 ;;
armhf) kernel=linux-image-armmp ;;
*) echo "disk.sh: no machine of architecture $arch: arm64 or armhf" >&2; exit 2 ;;
esac
mkdir -p "$folder"
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

mirror() {
    for file in /etc/apt/sources.list.d/* /etc/apt/sources.list; do
        [ ! -f "$file" ] || sed -nE 's,^(URIs:|deb) (.* )?*(https?://[^ ]+/debian)/?( .*)?$,\3,p' "$file"
    done | head -n1
}

unpack() {
    packages=systemd-sysv,udev,kmod,containerd,runc,containernetworking-plugins,iptables,iproute2,procps
    packages=$packages,curl,ca-certificates,openssl,busybox-static,base-files,base-passwd,bash,dash,coreutils
    packages=$packages,mount,util-linux,grep,sed,mawk,findutils,diffutils,tar,gzip,hostname,libc-bin,$kernel
    set --
    for unwanted in /usr/share/doc /usr/share/man /usr/share/locale /usr/share/i18n /usr/share/zoneinfo \
        '/boot/System.map*' '*/kernel/sound' '*/kernel/drivers/gpu' '*/kernel/drivers/media' \
        '*/kernel/drivers/net/wireless' '*/kernel/drivers/net/ethernet' '*/kernel/drivers/iio' \
        '*/kernel/drivers/staging' '*/kernel/drivers/infiniband' '*/kernel/drivers/scsi' '*/kernel/drivers/usb' \
        '*/kernel/net/wireless' '*/kernel/net/mac80211'; do
        set -- "$@" --dpkgopt="path-exclude=$unwanted" --dpkgopt="path-exclude=$unwanted/*"
    done
    # Debian 12's packages still have files in /bin and /lib.
    mmdebstrap --quiet --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr --variant=extract --arch="$arch" "$@" --include="$packages" \
        "$suite" "$root" "$(mirror | grep . || echo http://deb.debian.org/debian)"
}

# mask UNIT…: what a machine without a screen, TPM and visitors can do without
mask() {
    for unit in "$@"; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
}

# enable_unit TARGET UNIT
enable_unit() {
    mkdir -p "$root/etc/systemd/system/$1.wants"
    ln -sf "/usr/lib/systemd/system/$2" "$root/etc/systemd/system/$1.wants/$2"
}

configure() {
    mkdir -p "$root/opt" "$root/home" "$root/usr/local/bin" "$root/usr/local/sbin"
    for file in passwd group; do cp "$root/usr/share/base-passwd/$file.master" "$root/etc/$file"; done
    # Whom systemd-networkd and udev's rules name.
    echo 'systemd-network:x:998:998::/:/usr/sbin/nologin' >>"$root/etc/passwd"
    printf '%s\n' systemd-network:x:998: systemd-journal:x:997: input:x:996: kvm:x:995: render:x:994: sgx:x:993: \
        >>"$root/etc/group"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    # Nothing to do at the first boot, as after an installation.
    touch "$root/etc/.updated" "$root/var/.updated"
    echo "board-$arch" >"$root/etc/hostname"
    # The host of the machine: the only one there is.
    printf '127.0.0.1 localhost\n10.0.2.2 midge.test\n' >"$root/etc/hosts"
    rm -f "$root/etc/resolv.conf"
    : >"$root/etc/fstab"
    ln -sf ../proc/self/mounts "$root/etc/mtab"
    [ -e "$root/bin/sh" ] || ln -s dash "$root/bin/sh"
    alternative awk /usr/bin/mawk
    for name in iptables ip6tables; do
        for program in '' -save -restore; do alternative $name$program /usr/sbin/xtables-nft-multi; done
    done

    # Emulation is slow: nothing runs that a machine without a screen, disks to find and visitors can do without.
    mkdir -p "$root/etc/systemd/system-generators"
    for generator in "$root"/usr/lib/systemd/system-generators/*; do
        ln -s /dev/null "$root/etc/systemd/system-generators/${generator##*/}"
    done
    mask systemd-logind.service systemd-user-sessions.service getty.target systemd-random-seed.service \
        systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service \
        systemd-binfmt.service proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount \
        sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount \
        kmod-static-nodes.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service \
        systemd-remount-fs.service systemd-journal-flush.service systemd-ask-password-console.path \
        systemd-ask-password-wall.path modprobe@dm_mod.service modprobe@loop.service
    mkdir -p "$root/etc/systemd/system/systemd-udev-trigger.service.d" "$root/etc/systemd/journald.conf.d" \
        "$root/etc/systemd/system.conf.d"
    # A reboot waits so long for pods that do not heed SIGTERM; otherwise 90 s.
    printf '[Manager]\nDefaultTimeoutStopSec=15s\n' >"$root/etc/systemd/system.conf.d/stop.conf"
    printf '[Service]\nExecStart=\nExecStart=udevadm trigger --subsystem-match=net --subsystem-match=virtio-ports\n' \
        >"$root/etc/systemd/system/systemd-udev-trigger.service.d/few.conf"
    printf '%s\n' virtio_net virtio_console >"$root/etc/modules-load.d/machine.conf"
    printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/volatile.conf"
    ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    enable_unit multi-user.target containerd.service
    enable_unit multi-user.target systemd-networkd.service
    enable_unit sockets.target systemd-networkd.socket
    enable_unit network-online.target systemd-networkd-wait-online.service
    printf '[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n' >"$root/etc/systemd/network/wired.network"

    install -m 755 "$here/guest.sh" "$root/usr/sbin/guest"
    printf '[Service]\nExecStart=/usr/sbin/guest\nRestart=always\n[Install]\nWantedBy=multi-user.target\n' \
        >"$root/usr/lib/systemd/system/guest.service"
    enable_unit multi-user.target guest.service
    # The image that pods run is made of the machine's own busybox.
    cp "$root/usr/bin/busybox" "$folder/busybox"
}

# alternative NAME PROGRAM
alternative() {
    [ -e "$root/usr/sbin/$1" ] || [ -e "$root/usr/bin/$1" ] || ln -s "$2" "$root/usr/sbin/$1"
}

# The modules that the disk needs, and a shell that loads them.
make_initrd() {
    version=$(ls "$root/usr/lib/modules")
    find "$root/usr/lib/modules" -name '*.ko.xz' -exec xz -d {} +
    depmod -b "$root" "$version"
    initrd=$work/initrd
    mkdir -p "$initrd/bin" "$initrd/proc" "$initrd/dev" "$initrd/root" "$initrd/modules"
    cp "$root/usr/bin/busybox" "$initrd/bin/"
    cat >"$initrd/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do $b insmod "/modules/$module"; done
tries=100
until [ -b /dev/vda ] || [ $tries = 0 ]; do tries=$((tries - 1)); $b sleep 0.1; done
$b mount -t ext4 /dev/vda /root
$b umount /proc
exec $b switch_root /root /sbin/init
INIT
    chmod 755 "$initrd/init"
    for module in virtio_mmio virtio_blk ext4; do
        modprobe -d "$root" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' | while read -r file; do
        cp "$file" "$initrd/modules/"
        basename "$file" >>"$initrd/modules/order"
    done
    (cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd.gz"
}

unpack
configure
make_initrd
cp "$root"/boot/vmlinuz-* "$folder/kernel"
rm -rf "${root:?}"/boot/*
mke2fs -q -t ext4 -d "$root" "$work/disk.img" 2G
mv "$work/initrd.gz" "$folder/initrd"
mv "$work/disk.img" "$folder/disk.img"
