#!/bin/sh
# tests/packages/openwrt.sh IPK: unpacks it into a small root of busybox, and runs its init script and its maintainer
# scripts there, with stand-ins for procd, UCI and the machine's /proc. Prints `ok` or `FAILED` for each case, and
# how many they were; fails if one failed.
set -eu
package=$(realpath "$1")
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
token=K10aaaa::server:SECRET
name='' wrong=''
# shellcheck source=tests/packages/report.sh
. ./report.sh

# program PATH: a script in the root, from stdin
program() {
    { echo '#!/bin/sh'; cat; } >"$root/$1"
    chmod 755 "$root/$1"
}

mkdir "$work/files"
tar xzOf "$package" ./data.tar.gz | tar xz -C "$work/files"
# Not the program of the package, which may be another machine's.
rm "$work/files/usr/bin/midge"
cp "$(command -v busybox)" "$work/busybox"

# machine: as it is after the installation: root on ext4, cgroup v2, a containerd without a service of its own
machine() {
    rm -rf "$root"
    cp -R "$work/files" "$root"
    for folder in bin dev sbin tmp proc sys/fs/cgroup var/run run; do mkdir -p "$root/$folder"; done
    : >"$root/dev/null"
    ln "$work/busybox" "$root/bin/busybox"
    for applet in sh awk cat grep sed chmod mkdir mv ln rm tee; do ln -s busybox "$root/bin/$applet"; done
    cp rc.common "$root/etc/rc.common"
    chmod 755 "$root/etc/rc.common"
    printf '/dev/root / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n' >"$root/proc/mounts"
    printf 'nodev\tcgroup2\n\text4\n' >"$root/proc/filesystems"
    : >"$root/sys/fs/cgroup/cgroup.controllers"
    echo 'exit 1' | program bin/pidof
    program usr/bin/containerd </dev/null
    echo 'echo "program $*" >>/tmp/calls' | program usr/bin/midge
    echo 'echo "firewall $*" >>/tmp/calls' | program etc/init.d/firewall
}

# service NAME: an init script that is enabled
# shellcheck disable=SC2016
service() { echo '[ "$1" = enabled ]' | program "etc/init.d/$1"; }

# settings LINE…: the configuration, enabled
settings() {
    { echo "config midge 'main'"; echo "option enabled '1'"; printf '%s\n' "$@"; } >"$root/etc/config/midge"
}

begin() {
    name=$1 wrong=''
    machine
}

# run PATH ARGUMENT…: in the root
run() {
    rm -f "$root/tmp/procd" "$root/tmp/log" "$root/tmp/calls" "$root/tmp/bad"
    chroot "$root" /bin/busybox env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" >"$work/output" 2>&1 || true
}
start() { run /etc/init.d/midge start; }

flaw() {
    wrong=yes
    printf '    %s\n' "$*"
}
# has FILE TEXT, lacks FILE TEXT: a line of /tmp/FILE is, or contains, TEXT
has() { grep -qxF -- "$2" "$root/tmp/$1" 2>/dev/null || flaw "/tmp/$1 has no line: $2"; }
lacks() { ! grep -qF -- "$2" "$root/tmp/$1" 2>/dev/null || flaw "/tmp/$1 has: $2"; }
says() { grep -qF -- "$1" "$root/tmp/log" 2>/dev/null || flaw "the log does not say: $1"; }
instances() {
    found=$(sed -n 's/^instance //p' "$root/tmp/procd" 2>/dev/null | tr '\n' ' ')
    [ "$found" = "${1:+$1 }" ] || flaw "instances: ${found:-none}; expected: ${1:-none}"
}
refused() {
    instances ''
    has procd 'rc 1'
    says "$1"
}

end() {
    [ ! -s "$root/tmp/bad" ] || flaw "not for procd or UCI: $(cat "$root/tmp/bad")"
    ! grep -E 'not found|unexpected|syntax|unset' "$work/output" | grep -v '^midge:' || flaw 'the shell complains'
    ! grep -rqF "$token" "$root/tmp" "$work/output" || flaw 'the token can be seen'
    report "$name" "$wrong" "$root/tmp/procd" "$root/tmp/log" "$root/tmp/calls" "$work/output"
}

# shellcheck disable=SC2016 # programs and UCI's own quotes
{
url="list url 'https://server:6443'"
secret="option token '$token'"
endpoint='[--container-runtime-endpoint=/run/containerd/containerd.sock]'

begin 'as shipped it starts nothing and says how to'
start
instances ''
has procd 'rc 0'
says 'uci set midge.main.enabled=1'
end

begin 'pods end before midge does when the machine goes down'
settings "$url" "$secret" "option data_dir '/mnt/midge'"
run /etc/init.d/midge shutdown
found=$(paste -sd';' "$root/tmp/calls" 2>/dev/null || true)
[ "$found" = 'program shutdown --data-dir=/mnt/midge;midge stop' ] || flaw "called: $found"
end

begin 'agent, with a containerd of its own'
printf 'nameserver 192.0.2.1\n' >"$root/tmp/resolv.conf.auto"
settings "$url" "list url 'https://other:6443'" "$secret" "option node_name 'router-1'" "list node_label 'place=attic'" "list arg '--debug'"
start
instances 'containerd midge'
has procd 'containerd.command [containerd] [--root] [/opt/midge/containerd] [--state] [/run/containerd] [--log-level] [warn]'
has procd 'containerd.pidfile [/var/run/midge-containerd.pid]'
has procd "midge.command [/usr/bin/midge] [agent] [--data-dir=/opt/midge] [--node-name=router-1] [--node-label=place=attic] [--server=https://server:6443] [--server=https://other:6443] [--token-file=/var/run/midge.token] [--resolv-conf=/tmp/resolv.conf.auto] [--debug] $endpoint"
has procd 'midge.file [/usr/bin/midge] [/etc/midge/config.yaml] [/var/run/midge.token]'
has procd 'midge.respawn [3600] [5] [0]'
has procd 'midge.term_timeout [30]'
has procd 'midge.limits [nofile=65536 65536]'
has procd 'trigger midge'
has procd 'rc 0'
has calls 'modprobe overlay'
lacks calls mount
[ "$(cat "$root/var/run/midge.token")" = "$token" ] || flaw 'the token is not in its file'
[ "$(stat -c %a "$root/var/run/midge.token" "$root/etc/config/midge" | tr '\n' ' ')" = '600 600 ' ] || flaw 'others can read the token'
end

begin 'server without a token'
settings "option role 'server'" "option data_dir '/mnt/disk/midge'"
start
instances 'containerd midge'
has procd "midge.command [/usr/bin/midge] [server] [--data-dir=/mnt/disk/midge] $endpoint"
has procd 'midge.file [/usr/bin/midge] [/etc/midge/config.yaml]'
end

begin 'values with blanks and stars stay whole'
settings "option role 'server'" "list node_label 'a=b c'" "list arg '--tls-san=*'"
start
has procd "midge.command [/usr/bin/midge] [server] [--data-dir=/opt/midge] [--node-label=a=b c] [--tls-san=*] $endpoint"
end

begin "containerd's own service"
service containerd
settings "$url" "$secret"
start
instances midge
grep -qF "$endpoint" "$root/tmp/procd" || flaw 'the socket is not named'
end

begin "dockerd's containerd"
service dockerd
settings "$url" "$secret"
start
instances midge
grep -qF '[--container-runtime-endpoint=/var/run/docker/containerd/containerd.sock]' "$root/tmp/procd" || flaw 'the socket is not named'
end

begin "somebody's containerd"
echo 'echo 4711' | program bin/pidof
settings "$url" "$secret"
start
instances midge
lacks procd container-runtime-endpoint
end

begin 'its own containerd runs already, at a reload'
echo 'echo 4711' | program bin/pidof
mkdir "$root/proc/4711"
echo containerd >"$root/proc/4711/comm"
echo 4711 >"$root/var/run/midge-containerd.pid"
settings "$url" "$secret"
run /etc/init.d/midge reload
instances 'containerd midge'
end

begin 'the number of its own containerd is now of another program'
mkdir "$root/proc/4711"
echo ash >"$root/proc/4711/comm"
echo 4711 >"$root/var/run/midge-containerd.pid"
service containerd
settings "$url" "$secret"
start
instances midge
end

begin 'a socket that is named'
settings "$url" "$secret" "list arg '--container-runtime-endpoint=/run/other.sock'"
start
instances midge
lacks procd /run/containerd/containerd.sock
end

begin 'a node that has joined needs no token'
mkdir -p "$root/opt/midge/agent"
: >"$root/opt/midge/agent/node-key"
settings "$url"
start
instances 'containerd midge'
lacks procd token-file
end

begin 'token in a file'
echo "$token" >"$root/etc/token"
settings "$url" "option token_file '/etc/token'"
start
grep -qF '[--token-file=/etc/token]' "$root/tmp/procd" || flaw 'the file is not named'
end

begin 'the root is an overlay'
echo 'overlayfs:/overlay / overlay rw 0 0' >>"$root/proc/mounts"
settings "$url" "$secret"
start
instances 'containerd midge'
says 'set snapshotter to native'
end

begin 'the root is an overlay, the data folder a disk of its own'
printf 'overlayfs:/overlay / overlay rw 0 0\n/dev/sda1 /opt ext4 rw 0 0\n' >>"$root/proc/mounts"
settings "$url" "$secret"
start
lacks log snapshotter
end

begin 'cgroups that nobody mounted'
rm "$root/sys/fs/cgroup/cgroup.controllers"
settings "$url" "$secret"
start
instances 'containerd midge'
has calls 'mount -t cgroup2 cgroup2 /sys/fs/cgroup'
end

begin 'cgroup v1'
rm "$root/sys/fs/cgroup/cgroup.controllers"
echo 'cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0' >>"$root/proc/mounts"
settings "$url" "$secret"
start
instances 'containerd midge'
lacks calls mount
end

begin 'no cgroups in the kernel'
rm "$root/sys/fs/cgroup/cgroup.controllers"
printf '\text4\n' >"$root/proc/filesystems"
settings "$url" "$secret"
start
refused CONFIG_KERNEL_CGROUPS
end

# refuses NAME TEXT SETTING…
refuses() {
    begin "refuses: $1"
    text=$2
    shift 2
    settings "$@"
    start
    refused "$text"
    end
}
refuses 'no token' "not started: no token: uci set midge.main.token='K10" "$url"
refuses 'no url' "not started: no url: uci add_list midge.main.url=" "$secret"
refuses 'a url for a server' 'url is for the role agent' "$url" "option role 'server'"
refuses 'an unknown role' 'role is server or agent, not master' "$url" "$secret" "option role 'master'"
refuses 'token and token_file' 'not both' "$url" "$secret" "option token_file '/etc/token'"
refuses 'a token_file that is not there' 'there is no token_file /etc/token' "$url" "option token_file '/etc/token'"
refuses 'a data folder in memory' 'data_dir /tmp/midge is in memory' "$url" "$secret" "option data_dir '/tmp/midge'"
refuses 'a relative data folder' 'not an absolute path: midge' "$url" "$secret" "option data_dir 'midge'"

begin 'refuses: no containerd'
rm "$root/usr/bin/containerd"
settings "$url" "$secret"
start
refused 'install the packages containerd and runc'
end

# scripts of the package
tar xzOf "$package" ./control.tar.gz | tar xz -C "$work"
# calls NAME EXPECTED [VARIABLE=VALUE] SCRIPT ARGUMENT…: what the script called, in this order
calls() {
    begin "$1"
    expected=$2
    shift 2
    cp "$work/postinst" "$work/prerm" "$work/postrm" "$root/tmp/"
    cp "$root/etc/rc.common" "$root/tmp/rc.common"
    # Only what is called counts, not what it would do.
    echo 'shift; echo "service $*" >>/tmp/calls' | program etc/rc.common
    echo 'echo /opt/midge' | program sbin/uci
    mkdir -p "$root/opt/midge/agent"
    run /bin/busybox env "$@"
    found=$(paste -sd';' "$root/tmp/calls" 2>/dev/null || true)
    [ "$found" = "$expected" ] || flaw "called: $found"
    end
}
calls 'installation' 'firewall reload;service enable;service start' PKG_UPGRADE=0 sh /tmp/postinst configure
calls 'upgrade by opkg' 'firewall reload;service running;service start' PKG_UPGRADE=1 sh /tmp/postinst configure
calls 'upgrade by apk' 'firewall reload;service running;service start' sh /tmp/postinst 0.2.0 0.1.0
calls 'into an image' '' IPKG_INSTROOT=/image sh /tmp/postinst configure
calls 'before an upgrade by opkg' '' PKG_UPGRADE=1 sh /tmp/prerm upgrade 0.2.0
calls 'removal ends pods while containerd runs' 'service disable;service stop midge;program reset --data-dir /opt/midge;service stop' PKG_UPGRADE=0 sh /tmp/prerm remove
calls 'after a removal' 'firewall reload' PKG_UPGRADE=0 sh /tmp/postrm remove

# The stand-ins do reject: an init script with a flaw must not pass.
# rejects NAME SED-COMMAND WHAT
rejects() {
    begin "stand-in rejects: $1"
    settings "$url" "$secret"
    sed -i "$2" "$root/etc/init.d/midge"
    start
    if grep -qF "$3" "$root/tmp/bad" "$work/output" 2>/dev/null; then rm -f "$root/tmp/bad"; else flaw "it does not say: $3"; fi
    : >"$work/output"
    end
}
rejects 'an unknown parameter' 's/procd_set_param respawn/procd_set_param respwan/' 'no parameter respwan'
rejects 'an instance left open' '/procd_close_instance/d' 'left open'
rejects 'an unknown call' 's/config_get_bool/config_get_boolean/' 'config_get_boolean: not found'
rejects 'no command' '/procd_set_param command/d' 'without a command'
}

echo "$passed $failed" >"${2:-/dev/null}"
[ "$failed" = 0 ]
