#!/bin/sh
# Runs in the machine, as root, what the test sends over a virtio port: a line `NUMBER SCRIPT`, the script
# in base64. Answers with what the script prints between `begin NUMBER` and `end NUMBER EXITCODE`.
port=/dev/virtio-ports/guest
until [ -e $port ]; do sleep 0.2; done
# The port can be opened only once.
exec 3<>$port
echo "ready $(cat /proc/sys/kernel/random/boot_id) $(cut -d' ' -f1 /proc/uptime)" >&3
while read -r number script <&3; do
    echo "begin $number" >&3
    echo "$script" | base64 -d >/run/guest-script
    sh /run/guest-script </dev/null >&3 2>&1 3>&-
    code=$?
    printf '\nend %s %s\n' "$number" $code >&3
done
