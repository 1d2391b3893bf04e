#!/bin/sh
# Removes midge from this machine, with all pods: what its install.sh made, and nothing else.
#   midge-uninstall.sh [--volumes]    with --volumes, the data in the pods' volumes too
# It crosses no mount, and can be run again. containerd and other packages stay, for others may use them, and so do
# files in /etc/midge that an administrator wrote.
init=@init@
name=@name@
bin=@bin@
data_dir=@data_dir@
service_file=@service_file@
env_file=@env_file@
uninstall=@uninstall@
newline='
'

say() { printf '==> %s\n' "$*"; }
die() { printf 'midge-uninstall.sh: %s\n' "$*" >&2; exit 1; }

# In procd's service containerd is a second instance, which is still needed.
stop_service() {
    say "stopping $name"
    case $init in
    systemd)
        if [ -d /run/systemd/system ]; then systemctl stop "$name" 2>/dev/null; fi
        systemctl -q disable "$name" 2>/dev/null
        ;;
    openrc)
        rc-service -q "$name" stop 2>/dev/null
        rc-update -q del "$name" default 2>/dev/null
        ;;
    procd)
        ubus call service delete '{"name":"midge","instance":"midge"}' 2>/dev/null
        "$service_file" disable 2>/dev/null
        ;;
    esac
    return 0
}

remove_service() {
    [ "$init" != procd ] || [ ! -x "$service_file" ] || "$service_file" stop
    [ -z "$service_file" ] || rm -f "$service_file"
    rm -f "$env_file"
    case $init in
    systemd)
        if [ -d /run/systemd/system ]; then
            systemctl daemon-reload
            systemctl reset-failed "$name" 2>/dev/null
        fi
        ;;
    openrc) rm -f "/etc/logrotate.d/$name" "/var/log/$name.log" ;;
    procd) rm -f /etc/config/midge ;;
    esac
    return 0
}

# Services of other names that run this binary.
others() {
    [ -n "$service_file" ] || return 1
    for file in "${service_file%/*}"/midge*; do
        [ -f "$file" ] && [ "$file" != "$service_file" ] && grep -q "$bin/midge" "$file" && return
    done
    return 1
}

# Blanks and the like are octal numbers there.
mount_points() { printf '%b' "$(cut -d' ' -f2 /proc/self/mounts | sed 's/\\\([0-7]\)/\\0\1/g')"; }

# remove_tree PATH: all of it but what is mounted in it, and the folders above that. Mounts of one file system in
# itself are mounts too, which no `find -xdev` sees.
remove_tree() {
    case $newline$points$newline in
    *"$newline$1$newline"*) say "something is mounted at $1: it stays as it is" ;;
    *"$newline$1/"*)
        for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
            if [ -e "$entry" ] || [ -L "$entry" ]; then remove_tree "$entry"; fi
        done
        ;;
    *) rm -rf "$1" ;;
    esac
}

# By name: the folder may be one that others keep their things in, too.
remove_data() {
    points=$(mount_points)
    folder=$(readlink -f "$data_dir" 2>/dev/null) || folder=$data_dir
    for part in server agent; do remove_tree "$folder/$part"; done
    # The images of the containerd that procd ran for midge.
    [ "$init" != procd ] || remove_tree "$folder/containerd"
    if [ -n "$volumes" ]; then
        remove_tree "$folder/storage"
    elif [ -e "$folder/storage" ]; then
        say "the pods' volumes stay: $data_dir/storage"
    fi
    if rmdir "$folder" 2>/dev/null && [ -L "$data_dir" ]; then rm -f "$data_dir"; fi
    rmdir /run/midge 2>/dev/null
    rm -f /etc/midge/midge.yaml
    rmdir /etc/midge 2>/dev/null || [ ! -d /etc/midge ] || say "what you wrote stays: $(echo /etc/midge/*)"
}

main() {
    set -u
    PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:/bin
    volumes=
    case ${1:-} in
    '') ;;
    --volumes) volumes=yes ;;
    *) die "it takes --volumes, which removes the data in the pods' volumes too, and nothing else" ;;
    esac
    [ "$(id -u)" = 0 ] || die 'run this as root'
    stop_service
    if others; then
        remove_service
        rm -f "$uninstall"
        say "$name is removed; other services of midge are here, and need the rest"
        return
    fi
    if [ -x "$bin/midge" ]; then
        say 'removing all pods of this machine, and what was made for them'
        "$bin/midge" reset --data-dir "$data_dir" || die 'midge reset failed, as said above; nothing more is removed. Run this again then'
    fi
    remove_service
    remove_data
    rm -f "$bin/midge"
    say 'midge is removed. containerd, runc, the CNI plugins and iptables stay: others may use them'
    rm -f "$uninstall"
}

{ main "$@"; exit; }
