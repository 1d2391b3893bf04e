# The machine of a story: boot, run a script in it, reboot. Sourced; reads `disk`, `arch`, `megabytes`, `work`, `logs`.
# shellcheck shell=sh disable=SC2154
append='' forward=''

# wait_for SECONDS COMMAND…: until it succeeds
wait_for() {
    until=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$until" ] || { echo "still not so after the time: $*" >&2; return 1; }
        sleep 0.5
    done
}

# boot QEMU_FLAG…: what is written stays in a temporary copy for as long as the machine is not powered off
boot() {
    mkfifo "$work/port.in" "$work/port.out" "$work/monitor.in" "$work/monitor.out"
    cat "$work/monitor.out" >"$logs/monitor" &
    cat "$work/port.out" >"$logs/guest" &
    case $arch in
    arm64) set -- qemu-system-aarch64 -cpu cortex-a53 "$@" ;;
    armhf) set -- qemu-system-arm -cpu cortex-a7 "$@" ;;
    esac
    TMPDIR=$work "$@" -M virt -smp 2 -m "$megabytes" -display none -chardev "pipe,id=monitor,path=$work/monitor" \
        -mon chardev=monitor -serial "file:$logs/console" \
        -kernel "$disk/kernel" -initrd "$disk/initrd" \
        -append "console=ttyAMA0 rw quiet audit=0 panic=-1 $append" \
        -drive "file=$disk/disk.img,format=raw,snapshot=on,if=none,id=disk" -device virtio-blk-device,drive=disk \
        -netdev "user,id=net,ipv6=off$forward" -device virtio-net-device,netdev=net \
        -device virtio-serial-device -chardev "pipe,id=guest,path=$work/port" \
        -device virtserialport,chardev=guest,name=guest >"$logs/qemu" 2>&1 </dev/null &
    qemu=$!
    exec 5>"$work/port.in" 6>"$work/monitor.in"
    wait_for 400 booted 1
}

# booted TIMES
booted() { [ "$(grep -c '^ready ' "$logs/guest")" -ge "$1" ]; }

# guest SECONDS SCRIPT: runs it in the machine, as root; its output and its exit code
guest() {
    send "$2"
    wait_for "$1" grep -q "^end $number " "$logs/guest" || return
    sed -n "/^begin $number\$/,/^end $number /p" "$logs/guest" | sed '1d;$d' | sed '${/^$/d}'
    return "$(sed -n "s/^end $number //p" "$logs/guest")"
}

# send SCRIPT: sets `number`, by which its output is found
send() {
    number=$(($(grep -c '^begin ' "$logs/guest" || true) + 1))
    printf '%s %s\n' "$number" "$(printf '%s\n' "$1" | base64 -w0)" >&5
}

reboot() {
    times=$(grep -c '^ready ' "$logs/guest")
    send 'systemctl reboot'
    wait_for 400 booted $((times + 1))
}

# What was not written to the disk is lost.
cut_power() {
    times=$(grep -c '^ready ' "$logs/guest")
    echo system_reset >&6
    wait_for 400 booted $((times + 1))
}

power_off() {
    kill "$qemu"
    wait "$qemu" || true
}
