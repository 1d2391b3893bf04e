#!/bin/sh
# packaging/install/install.sh under busybox ash, dash and bash --posix: what it installs, refuses and removes.
#   tests/install.sh [CASE…]     as root; all cases if none is named
# It runs in roots that hold no more than busybox and the programs that a case is about, in namespaces of its own, and
# downloads from an HTTPS server on its loopback device. The binary and the init systems are stand-ins that reject
# what they do not know. Needs busybox-static, dash, bash, curl, wget, openssl, minisign, signify-openbsd, python3, util-linux,
# iproute2 and shellcheck.
# shellcheck disable=SC2015,SC2016,SC2059,SC2086,SC1003
set -eu
cd "$(dirname "$0")/.."
die() { printf 'tests/install.sh: %s\n' "$*" >&2; exit 1; }

if [ "${1:-}" != inside ]; then
    [ "$(id -u)" = 0 ] || die 'run this as root: it makes namespaces'
    for program in busybox dash bash curl wget openssl minisign signify-openbsd python3 unshare ip shellcheck; do
        command -v $program >/dev/null || die "there is no $program: run tests/setup.sh"
    done
    scratch=$(mktemp -d)
    code=0
    # All processes and mounts go with the first process of the namespace.
    unshare --mount --net --pid --uts --ipc --fork --kill-child --mount-proc tests/install.sh inside "$scratch" "$@" || code=$?
    rm -rf --one-file-system "$scratch"
    exit $code
fi

scratch=$2
shift 2
url=https://127.0.0.1:8443
mount -t tmpfs tmpfs "$scratch"
ip link set lo up

# program NAME…: into the base root, with its libraries
program() {
    for name in "$@"; do
        path=$(command -v "$name")
        for file in "$path" $(ldd "$path" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (.*/\1/p'); do
            mkdir -p "$base${file%/*}"
            [ -e "$base$file" ] || cp -L "$file" "$base$file"
        done
    done
}

make_base() {
    base=$scratch/base
    mkdir -p "$base/bin" "$base/usr/bin" "$base/usr/sbin" "$base/etc/ssl/certs" "$base/etc/systemd/system" "$base/proc" \
        "$base/dev" "$base/tmp" "$base/test" "$base/opt" "$base/usr/local/bin" "$base/var/lib" "$base/run"
    cp "$(command -v busybox)" "$base/bin/busybox"
    for applet in $(busybox --list); do
        case $applet in
        sh | ash | wget | uname | dpkg | rpm | apt-get) ;;
        *) ln -s /bin/busybox "$base/usr/bin/$applet" ;;
        esac
    done
    cp "$base/bin/busybox" "$base/bin/sh"
    printf '#!/bin/busybox sh\necho "${FAKE_KERNEL:-x86_64}"\n' >"$base/usr/bin/uname"
    chmod 755 "$base/usr/bin/uname"
    program dash bash
    cp "$tls/ca.crt" "$base/etc/ssl/certs/ca-certificates.crt"
    for device in null zero urandom; do touch "$base/dev/$device"; done
}

# A CA that nobody knows, and the server's certificate; another CA's for what must be refused.
make_certificates() {
    tls=$scratch/tls
    mkdir "$tls"
    for ca in ca other; do
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$ca" \
            -keyout "$tls/$ca.key" -out "$tls/$ca.crt" -addext 'subjectAltName=IP:127.0.0.1' 2>/dev/null
        cat "$tls/$ca.key" "$tls/$ca.crt" >"$tls/$ca.pem"
    done
}

# A release folder of stand-ins, signed; a line tells the builds apart.
make_release() {
    www=$scratch/www
    mkdir -p "$www/stable"
    for cpu in amd64 i386 arm64 armv7 armv6 riscv64; do
        { cat tests/install/midge && echo "# build for $cpu"; } >"$www/stable/midge-$cpu"
    done
    (cd "$www/stable" && sha256sum midge-* >SHA256SUMS)
    minisign -G -W -f -p "$scratch/minisign.pub" -s "$scratch/minisign.key" >/dev/null
    minisign -S -l -s "$scratch/minisign.key" -m "$www/stable/SHA256SUMS" >/dev/null
    key=$(sed -n 2p "$scratch/minisign.pub")
    packaging/install/assemble.sh "$url" "$key" >"$scratch/install.sh"
    cp "$scratch/install.sh" "$www/stable/install.sh"
    cp -a "$www/stable" "$www/v0.1.0"
}

serve() {
    python3 tests/install/https.py "$www" 8443 "$tls/ca.pem" >"$scratch/server.log" 2>&1 &
    python3 tests/install/https.py "$www" 8444 "$tls/other.pem" >>"$scratch/server.log" 2>&1 &
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        ! curl -ksf "$url/stable/SHA256SUMS" >/dev/null || ! curl -ksf https://127.0.0.1:8444/stable/SHA256SUMS >/dev/null || return 0
        sleep 0.5
    done
    die 'the HTTPS server does not answer'
}

# new_root TOOL…: a fresh root with these programs
new_root() {
    root=$scratch/root
    ! mountpoint -q "$root" || umount -R -l "$root"
    rm -rf "$scratch/layer"
    mkdir -p "$root" "$scratch/layer/new" "$scratch/layer/work"
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$scratch/layer/new,workdir=$scratch/layer/work" "$root"
    mount -t proc proc "$root/proc"
    for device in null zero urandom; do mount --bind /dev/$device "$root/dev/$device"; done
    layer=$base base=$root
    program "$@"
    base=$layer
    with systemctl journalctl apt-get
    mkdir -p "$root/run/systemd/system" "$root/etc/init.d"
}

# with NAME…: stand-ins
with() { for name in "$@"; do cp tests/install/init "$root/usr/sbin/$name"; done; }
without_systemd() { rm -rf "$root/run/systemd" "$root/usr/sbin/systemctl"; }
nodes_programs() { inside apt-get -o x update && inside apt-get -o x install -y --no-install-recommends all && rm "$root/test/calls"; }
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/bin "$@"; }

# run VARIABLE=VALUE… [-- ARGUMENT…]: the one line, with what it prints in `output`
run() {
    set -- "$@" "--end"
    variables=
    while [ "$1" != --end ] && [ "$1" != -- ]; do
        variables="$variables '$1'"
        shift
    done
    arguments=
    [ "$1" != -- ] || shift
    while [ "$1" != --end ]; do
        arguments="$arguments '$1'"
        shift
    done
    code=0
    eval "timeout 120 chroot $root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/bin $variables $shell -s - $arguments" <"${script:-$scratch/install.sh}" >"$scratch/output" 2>&1 || code=$?
    [ ! -e "$root/test/rejected" ] || fail "$(cat "$root/test/rejected")"
}
fail() { printf '%s\n' "$*" >&2; sed 's/^/    | /' "$scratch/output" >&2; exit 1; }
works() { run "$@"; [ "$code" = 0 ] || fail "it ends with $code"; }
# refused WORDS …: with one line that says so, and nothing is there
refused() {
    words=$1
    shift
    run "$@"
    [ "$code" != 0 ] || fail "it succeeds, though: $words"
    [ "$(grep -c '^install.sh: [^w]' "$scratch/output")" = 1 ] || fail 'not one line that says why'
    says "^install.sh: .*$words"
}
nothing_installed() {
    found=$(cd "$root" && find usr/local etc/midge etc/systemd etc/init.d tmp var/lib opt run/midge ! -type d 2>/dev/null) || :
    [ -z "$found" ] || fail "it leaves $found"
}
says() { grep -q -e "$1" "$scratch/output" || fail "it does not say: $1"; }
has() { grep -q -e "$2" "$root$1" || { cat "$root$1" >&2; fail "no $2 in $1"; }; }
hasnt() { ! grep -q -e "$2" "$root$1" || { cat "$root$1" >&2; fail "$2 in $1"; }; }
mode() { [ "$(stat -c %a "$root$1")" = "$2" ] || fail "$1 has mode $(stat -c %a "$root$1")"; }
join="MIDGE_URL=https://server:6443 MIDGE_TOKEN=K10abc::server:s3cr3t"

case_server() {
    new_root curl minisign
    works
    has /usr/local/bin/midge 'build for amd64'
    mode /usr/local/bin/midge 755
    mode /etc/midge/midge.env 600
    has /etc/systemd/system/midge.service '^ExecStart=/usr/local/bin/midge server \$MIDGE_ARGS$'
    has /etc/systemd/system/midge.service '^ExecStop=.* stopping .* /usr/local/bin/midge shutdown'
    says 'installing what is missing: containerd runc containernetworking-plugins iptables'
    says 'warning: midge check: cgroups .*cmdline.txt'
    says 'node board is Ready'
    [ -e "$root/test/enabled/midge" ] && [ -e "$root/test/running/midge" ] || fail 'not enabled and running'
    grep -q 'status --wait [0-9]* --data-dir /var/lib/midge' "$root/test/calls" || fail 'it does not wait'
}

case_agent() {
    new_root curl minisign
    works $join MIDGE_NODE_LABEL='a="b c",d=$e`f\\' K3S_NODE_NAME=pi http_proxy=http://proxy:3128 OTHER=no
    mode /etc/midge/midge-agent.env 600
    has /etc/midge/midge-agent.env '^MIDGE_TOKEN="K10abc::server:s3cr3t"$'
    has /etc/midge/midge-agent.env '^K3S_NODE_NAME="pi"$'
    has /etc/midge/midge-agent.env '^http_proxy='
    hasnt /etc/midge/midge-agent.env OTHER
    [ "$(inside sh -c '. /etc/midge/midge-agent.env; printf %s "$MIDGE_NODE_LABEL"')" = 'a="b c",d=$e`f\\' ] ||
        fail "quoted otherwise: $(cat "$root/etc/midge/midge-agent.env")"
    has /etc/systemd/system/midge-agent.service '^EnvironmentFile=-/etc/midge/midge-agent.env$'
    ! grep -rq s3cr3t "$root/test/calls" "$scratch/output" "$root/usr/local" "$root/etc/systemd" || fail 'the token is in an argument list or log'
}

case_flags() {
    new_root curl minisign
    nodes_programs
    works INSTALL_MIDGE_EXEC='agent --node-label "room=the attic"' -- --server https://server:6443 --token K10x::server:s3cr3t --debug
    has /etc/midge/midge-agent.env "^MIDGE_ARGS=\"--node-label 'room=the attic' --server https://server:6443 --debug\"$"
    has /etc/midge/midge-agent.env '^MIDGE_TOKEN="K10x::server:s3cr3t"$'
    works
    says 'nothing has changed'
    has /etc/midge/midge-agent.env "^MIDGE_ARGS=\"--node-label 'room=the attic' --server https://server:6443 --debug\"$"
    refused 'as server or agent, not as serve' -- serve
    refused "can.t be passed in a flag" -- agent --server=https://server:6443 '--node-label=a=b\c'
}

case_again() {
    new_root curl minisign
    works $join
    : >"$root/test/calls"
    works
    says 'is that already'
    says 'nothing has changed: midge-agent is not restarted'
    ! grep -q restart "$root/test/calls" || fail 'it restarts'
    [ ! -e "$root/etc/systemd/system/midge.service" ] || fail 'the agent became a server'
    works INSTALL_MIDGE_FORCE_RESTART=true
    grep -q 'restart midge-agent' "$root/test/calls" || fail 'it does not restart'
    # What is given replaces, by either name; the rest stays.
    works K3S_TOKEN=K10new::server:t
    has /etc/midge/midge-agent.env '^K3S_TOKEN="K10new::server:t"$'
    hasnt /etc/midge/midge-agent.env MIDGE_TOKEN
    has /etc/midge/midge-agent.env '^MIDGE_URL='
    says 'starting midge-agent'
    refused 'midge runs as agent here already' -- server
}

case_upgrade() {
    new_root curl minisign
    works
    echo '# old' >>"$root/usr/local/bin/midge"
    sed -i 's/WatchdogSec=60/WatchdogSec=5/' "$root/etc/systemd/system/midge.service"
    : >"$root/test/calls"
    works
    hasnt /usr/local/bin/midge '# old'
    has /etc/systemd/system/midge.service WatchdogSec=60
    grep -q 'restart midge' "$root/test/calls" && grep -q daemon-reload "$root/test/calls" || fail 'it does not restart'
    sed -i 's/WatchdogSec=60/WatchdogSec=5/' "$root/etc/systemd/system/midge.service"
    works
    says 'starting midge'
}

case_switches() {
    new_root curl minisign
    nodes_programs
    works INSTALL_MIDGE_SKIP_START=true
    [ -e "$root/test/enabled/midge" ] && [ ! -e "$root/test/running/midge" ] || fail 'not enabled, or running'
    new_root curl minisign
    nodes_programs
    works INSTALL_MIDGE_SKIP_ENABLE=true
    [ ! -e "$root/test/enabled/midge" ] && [ ! -e "$root/test/running/midge" ] || fail 'enabled or running'
    new_root curl minisign
    nodes_programs
    works INSTALL_MIDGE_VERSION=0.1.0 INSTALL_MIDGE_NAME=lab INSTALL_MIDGE_TYPE=exec INSTALL_MIDGE_BIN_DIR=/opt/x INSTALL_MIDGE_SYSTEMD_DIR=/lib/systemd/system
    says "from $url/v0.1.0"
    has /lib/systemd/system/midge-lab.service '^ExecStart=/opt/x/midge server'
    has /lib/systemd/system/midge-lab.service '^Type=exec$'
    has /lib/systemd/system/midge-lab.service '^EnvironmentFile=-/etc/midge/midge-lab.env$'
    [ -x "$root/opt/x/midge-lab-uninstall.sh" ] || fail 'no midge-lab-uninstall.sh'
    new_root
    nodes_programs
    refused 'INSTALL_MIDGE_SKIP_DOWNLOAD' INSTALL_MIDGE_SKIP_DOWNLOAD=true
    cp tests/install/midge "$root/usr/local/bin/midge"
    works INSTALL_MIDGE_SKIP_DOWNLOAD=true
    rm "$root/usr/local/bin/midge-uninstall.sh"
    works INSTALL_MIDGE_BIN_DIR_READ_ONLY=true
    [ ! -e "$root/usr/local/bin/midge-uninstall.sh" ] || fail 'it writes to a read-only folder'
    refused 'INSTALL_MIDGE_SYMLINK' INSTALL_MIDGE_SYMLINK=force
    refused 'there is no INSTALL_MIDGE_VERSON' INSTALL_MIDGE_VERSON=1
    mkdir -p "$root/opt/bin"
    mount -t tmpfs -o ro tmpfs "$root/usr/local/bin"
    refused 'there is no /opt/bin/midge' INSTALL_MIDGE_SKIP_DOWNLOAD=true
}

case_offline() {
    new_root minisign
    cp -r "$www/stable" "$root/dist"
    refused 'install these .*: containerd runc' INSTALL_MIDGE_FOLDER=/dist
    nothing_installed
    nodes_programs
    works INSTALL_MIDGE_FOLDER=/dist
    has /usr/local/bin/midge 'build for amd64'
    rm "$root/usr/local/bin/midge"
    inside $shell /dist/install.sh >"$scratch/output" 2>&1 || fail 'install.sh of the folder fails'
    has /usr/local/bin/midge 'build for amd64'
    rm "$root/dist/midge-amd64" "$root/usr/local/bin/midge"
    refused 'there is no /dist/midge-amd64' INSTALL_MIDGE_FOLDER=/dist
    refused 'there is no folder /nowhere' INSTALL_MIDGE_FOLDER=/nowhere
}

case_refused() {
    new_root curl minisign
    refused 'needs a token' MIDGE_URL=https://server:6443
    refused 'must begin with https' MIDGE_URL=http://server:6443 MIDGE_TOKEN=x
    refused 'needs the address' -- agent
    refused 'there is no /nowhere' MIDGE_URL=https://server:6443 MIDGE_TOKEN_FILE=/nowhere
    refused 'not an https://' INSTALL_MIDGE_ARTIFACT_URL=http://127.0.0.1
    refused 'cannot download .*404' INSTALL_MIDGE_VERSION=9.9.9
    refused 'cannot download .*certificate' INSTALL_MIDGE_ARTIFACT_URL=https://127.0.0.1:8444
    refused 'cannot download' INSTALL_MIDGE_ARTIFACT_URL=https://127.0.0.1:9
    touch "$root/test/no-packages"
    refused 'could not install containerd'
    nothing_installed
    # What has joined has a key, and needs no token.
    rm "$root/test/no-packages"
    mkdir -p "$root/var/lib/midge/agent"
    touch "$root/var/lib/midge/agent/node-key"
    works MIDGE_URL=https://server:6443
}

case_tampered() {
    new_root curl minisign
    cp -a "$www/stable" "$www/vbroken"
    echo '# evil' >>"$www/vbroken/midge-amd64"
    refused 'not what SHA256SUMS says' INSTALL_MIDGE_VERSION=broken
    (cd "$www/vbroken" && sha256sum midge-* >SHA256SUMS)
    refused 'is not signed with the key' INSTALL_MIDGE_VERSION=broken
    rm "$www/vbroken/SHA256SUMS.minisig"
    refused 'cannot download .*minisig' INSTALL_MIDGE_VERSION=broken
    : >"$www/vbroken/SHA256SUMS"
    refused 'names no midge-amd64' INSTALL_MIDGE_VERSION=broken INSTALL_MIDGE_SKIP_SIGNATURE=true
    rm -r "$www/vbroken"
    nothing_installed
}

# sign_with TOOL…: with each of them alone the signature is checked
case_signature() {
    for tool in minisign signify-openbsd openssl; do
        new_root curl $tool
        nodes_programs
        works
        rm "$root/usr/local/bin/midge"
        minisign -G -W -f -p "$scratch/other.pub" -s "$scratch/other.key" >/dev/null
        refused 'is not signed with the key' INSTALL_MIDGE_PUBLIC_KEY="$(sed -n 2p "$scratch/other.pub")"
    done
    new_root curl
    refused 'install minisign, signify-openbsd or openssl'
    nothing_installed
    works INSTALL_MIDGE_SKIP_SIGNATURE=true
    refused 'neither a minisign key' INSTALL_MIDGE_PUBLIC_KEY=abc
}

case_no_space() {
    new_root curl minisign
    mount -t tmpfs -o size=4k tmpfs "$root/usr/local/bin"
    dd if=/dev/zero of="$root/usr/local/bin/full" bs=4k count=1 2>/dev/null
    refused 'o space left\|cannot write to'
    [ "$(ls -A "$root/usr/local/bin")" = full ] || fail 'it leaves something'
}

# A cut download runs nothing.
case_cut() {
    new_root curl minisign
    size=$(wc -c <"$scratch/install.sh")
    for cut in 100 5000 15000 30000 $((size - 20)) $((size - 10)) $((size - 5)) $((size - 3)) $((size - 2)); do
        head -c "$cut" "$scratch/install.sh" >"$scratch/cut.sh"
        script=$scratch/cut.sh
        run
        [ ! -e "$root/test/calls" ] || fail "cut at $cut of $size it runs something"
    done
    nothing_installed
}

# header MACHINE CLASS: /bin/sh becomes a program of that machine, which nobody can run
header() { printf "\\177ELF\\$2\\1\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0$1" >"$root/bin/sh"; }
cpu() {
    new_root minisign
    cp -r "$www/stable" "$root/dist"
    nodes_programs
    header "$1" "$2"
    printf '%s\n' "$4" >"$scratch/cpuinfo"
    mount --bind "$scratch/cpuinfo" "$root/proc/cpuinfo"
    set -- "$3" "$5" INSTALL_MIDGE_FOLDER=/dist
    case $2 in
    'there is no'* | this*) refused "$2" "$3" FAKE_KERNEL="$1" ;;
    *) works "$3" FAKE_KERNEL="$1"; has /usr/local/bin/midge "build for $2\$" ;;
    esac
}
case_cpu() {
    # busybox's shell takes its own uname before any other.
    shell=/usr/bin/dash
    cpu '\076\0' 2 x86_64 'flags : sse2' amd64
    cpu '\003\0' 1 x86_64 'flags : fpu sse2' i386
    cpu '\003\0' 1 i686 'flags : fpu mmx' 'this CPU has no SSE2'
    cpu '\267\0' 2 aarch64 'Features : fp asimd' arm64
    cpu '\050\0' 1 aarch64 'Features : fp asimd' armv7
    cpu '\050\0' 1 armv7l 'Features : half thumb vfp vfpv3 vfpv3d16' armv7
    cpu '\050\0' 1 armv6l 'Features : half thumb fastmult vfp edsp java tls' armv6
    cpu '\050\0' 1 armv7l 'Features : half thumb' 'this ARM CPU has no floating'
    cpu '\050\0' 1 armv5tel 'Features : swp half' 'there is no midge for armv5tel'
    cpu '\363\0' 2 riscv64 '' riscv64
    cpu '\010\0' 1 mips '' 'there is no midge for MIPS'
    cpu '\026\0' 2 s390x '' 'there is no midge for s390x'
}

# Pods end when the machine goes down, and at no other stop.
goes_down_with_openrc() {
    for down in YES ''; do
        RC_GOINGDOWN=$down sh -c 'yesno() { [ "$1" = YES ]; }; RC_SVCNAME=midge-agent; . "$0"; command=echo; stop_pre' \
            "$root/etc/init.d/midge-agent" >"$scratch/output" || fail 'stop_pre fails'
        [ "$(cat "$scratch/output")" = "${down:+shutdown}" ] || fail "going down: ${down:-no}"
    done
}

case_openrc() {
    new_root curl minisign
    without_systemd
    with openrc-run rc-service rc-update
    mkdir -p "$root/sbin" "$root/run/openrc"
    cp tests/install/init "$root/sbin/openrc-run"
    works $join
    mode /etc/init.d/midge-agent 755
    goes_down_with_openrc
    has /etc/logrotate.d/midge-agent /var/log/midge-agent.log
    [ -e "$root/test/enabled/midge-agent" ] && [ -e "$root/test/running/midge-agent" ] || fail 'not enabled and running'
    inside $shell /usr/local/bin/midge-uninstall.sh >"$scratch/output" 2>&1 || fail 'uninstall fails'
    [ ! -e "$root/test/enabled/midge-agent" ] && [ ! -e "$root/test/running/midge-agent" ] || fail 'enabled or running'
    nothing_installed
    [ ! -e "$root/etc/logrotate.d/midge-agent" ] || fail 'logrotate is left'
}

case_procd() {
    new_root curl minisign
    without_systemd
    with uci ubus logread
    mkdir -p "$root/sbin" "$root/etc/config"
    mkdir -p "$root/etc/init.d"
    touch "$root/sbin/procd" "$root/sbin/fw4"
    printf '#!/bin/sh\necho "firewall $*" >>/test/calls\n' >"$root/etc/init.d/firewall"
    chmod 755 "$root/sbin/procd" "$root/sbin/fw4" "$root/etc/init.d/firewall"
    # `#!/bin/sh /etc/rc.common` of a service leads here.
    printf 'echo "procd $*" >>/test/calls\n' >"$root/etc/rc.common"
    works $join -- --debug
    has /etc/config/midge "^set midge.main.role='agent'$"
    has /etc/config/midge "^set midge.main.token='K10abc::server:s3cr3t'$"
    has /etc/config/midge "^add_list midge.main.url='https://server:6443'$"
    has /etc/config/midge "^add_list midge.main.arg='--debug'$"
    mode /etc/config/midge 600
    ! grep -q s3cr3t "$root/test/calls" || fail 'the token is in an argument list'
    grep -q 'procd /etc/init.d/midge restart' "$root/test/calls" || fail 'not started'
    has /usr/share/nftables.d/chain-pre/forward/midge.nft '^iifname "midge'
    grep -q 'firewall reload' "$root/test/calls" || fail 'the firewall does not know of the rule'
    inside $shell /usr/local/bin/midge-uninstall.sh >"$scratch/output" 2>&1 || fail 'uninstall fails'
    rm "$root/etc/init.d/firewall"
    nothing_installed
    [ ! -e "$root/usr/share/nftables.d/chain-pre/forward/midge.nft" ] || fail "the firewall's rule is left"
}

case_none() {
    new_root curl minisign
    without_systemd
    works $join
    says 'eval exec /usr/local/bin/midge agent'
    has /usr/local/bin/midge 'build for amd64'
    inside $shell /usr/local/bin/midge-uninstall.sh >"$scratch/output" 2>&1 || fail 'uninstall fails'
    nothing_installed
}

case_not_ready() {
    new_root curl minisign
    touch "$root/test/sick"
    run
    [ "$code" = 1 ] || fail "it ends with $code"
    says 'not Ready: no server answers'
    says 'the last line of the log'
    says 'journalctl -u midge'
    touch "$root/test/failed"
    run
    says 'does not run, and is not started again'
}

case_uninstall() {
    new_root curl minisign
    nodes_programs
    (cd "$root" && find etc usr var opt run -xdev | sort) >"$scratch/before"
    works
    mkdir -p "$root/var/lib/midge/server/tls" "$root/var/lib/midge/agent/pods/a b/mnt" "$root/var/lib/midge/storage/v" "$root/disk"
    touch "$root/disk/precious" "$root/var/lib/midge/storage/v/data" "$root/etc/midge/config.yaml" "$root/etc/midge/midge.yaml"
    mount --bind "$root/disk" "$root/var/lib/midge/agent/pods/a b/mnt"
    touch "$root/test/sick"
    ! inside $shell /usr/local/bin/midge-uninstall.sh >"$scratch/output" 2>&1 || fail 'it succeeds though reset fails'
    [ -e "$root/usr/local/bin/midge" ] && [ -e "$root/etc/systemd/system/midge.service" ] || fail 'half removed'
    rm "$root/test/sick"
    cp "$root/usr/local/bin/midge-uninstall.sh" "$root/tmp/again.sh"
    inside $shell /usr/local/bin/midge-uninstall.sh >"$scratch/output" 2>&1 || fail 'it fails'
    says 'containerd, runc, .* stay'
    says 'a b/mnt: it stays'
    [ -e "$root/disk/precious" ] || fail 'it crosses a mount'
    [ -e "$root/var/lib/midge/storage/v/data" ] || fail 'it removes volumes'
    [ -e "$root/etc/midge/config.yaml" ] || fail "it removes the administrator's configuration"
    [ ! -e "$root/etc/midge/midge.yaml" ] && [ ! -e "$root/var/lib/midge/server" ] || fail 'something is left'
    grep -q 'midge reset --data-dir /var/lib/midge' "$root/test/calls" || fail 'no reset'
    umount "$root/var/lib/midge/agent/pods/a b/mnt"
    rm "$root/etc/midge/config.yaml"
    inside $shell /tmp/again.sh --volumes >"$scratch/output" 2>&1 || fail 'the second time it fails'
    rm "$root/tmp/again.sh"
    (cd "$root" && find etc usr var opt run -xdev | sort) >"$scratch/after"
    diff "$scratch/before" "$scratch/after" >&2 || fail 'it leaves something, or removes too much'
}

# busybox's own TLS does not look at certificates: that will do only where a signature is checked.
case_wget() {
    # busybox's shell takes its own wget before any other, and Debian's crashes here: this one says what it says.
    shell=/usr/bin/dash
    new_root minisign curl
    mv "$root/usr/bin/curl" "$root/test/curl"
    printf '#!/bin/busybox sh\n[ "$1" != --help ] || { echo BusyBox; exit; }\necho "wget: note: TLS certificate validation not implemented"\nexec /test/curl -kfsS -o "$4" "$5"\n' >"$root/usr/bin/wget"
    chmod 755 "$root/usr/bin/wget"
    works
    packaging/install/assemble.sh "$url" >"$scratch/no-key.sh"
    script=$scratch/no-key.sh
    rm "$root/usr/local/bin/midge"
    refused 'does not check certificates'
    new_root minisign
    script=$scratch/install.sh
    refused 'there is no curl, wget'
    new_root minisign wget
    works
    refused 'cannot download .*404' INSTALL_MIDGE_VERSION=9.9.9
    refused 'cannot download .*certificate' INSTALL_MIDGE_ARTIFACT_URL=https://127.0.0.1:8444
}

case_sound() { shellcheck "$scratch/install.sh" packaging/install/assemble.sh packaging/install/uninstall.sh packaging/openrc/midge tests/install.sh tests/install/midge tests/install/init; }

make_certificates
make_base
make_release
serve
passed=0 failed=0
[ $# -gt 0 ] || set -- server agent flags again upgrade switches offline refused tampered signature no_space cut cpu \
    openrc procd none not_ready uninstall wget sound
for shell in /bin/sh '/usr/bin/dash' '/usr/bin/bash --posix'; do
    for name in "$@"; do
        script=
        if ("case_$name"); then
            passed=$((passed + 1))
            echo "ok      $name ($shell)"
        else
            failed=$((failed + 1))
            echo "FAILED  $name ($shell)"
        fi
    done
done
! mountpoint -q "$scratch/root" || umount -R -l "$scratch/root"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
