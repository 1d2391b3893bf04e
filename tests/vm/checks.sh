# What the stories of tests/vm.sh check, with kubectl from outside and in the machine. Sourced by story.sh.
# shellcheck shell=sh disable=SC2154,SC2016
exec 3>&1
what=
trap ended EXIT

# check WHAT COMMAND…: counts it. The command is run in this shell and in no condition: at its first step that
# fails all ends, and `ended` says what is known.
check() {
    what=$1 began=$(date +%s)
    shift
    "$@" >"$work/said" 2>&1
    awk '{ print "    " $0 }' "$work/said"
    printf 'ok %s: %s (%s s)\n' "$name" "$what" "$(($(date +%s) - began))"
    echo "$what" >>"$logs/passed"
    what=
}

ended() {
    code=$?
    trap - EXIT
    set +e
    exec >&3 2>&3
    [ -z "$what" ] || {
        awk '{ print "    " $0 }' "$work/said"
        printf 'FAILED %s: %s (%s s)\n' "$name" "$what" "$(($(date +%s) - began))"
        diagnose
        [ $code != 0 ] || code=1
    }
    rm -rf "$work"
    exit $code
}

diagnose() {
    ! kubectl --request-timeout=5s get --raw /readyz >/dev/null 2>&1 || for command in 'get nodes -o wide' 'get pods -o wide' 'describe pods' "describe node $node" 'get events'; do
        printf -- '-- kubectl %s\n' "$command"
        # shellcheck disable=SC2086
        kubectl --request-timeout=10s $command 2>&1 | tail -n 60
    done
    for file in server https qemu; do
        [ ! -s "$logs/$file" ] || { printf -- '-- %s\n' "$file"; tail -n 15 "$logs/$file"; }
    done
    [ ! -e "$logs/guest" ] || {
        printf -- '-- in the machine\n'
        guest 60 "journalctl --no-pager -n 40 -u midge -u midge-agent; journalctl --no-pager -n 10 -u containerd | cut -c1-300; free -m; ps -e -o pid,stat,rss,args | grep -v ']\$'"
    }
    printf -- '-- the end of the console\n'
    tail -n 30 "$logs/console" | tr -d '\r'
}

node_ready() {
    kubectl wait --for=condition=Ready "node/$node" --timeout=60s
    kubectl get nodes -o wide
}

# pod NAME COMMAND [LIMIT]
pod() {
    cat <<POD
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  restartPolicy: ${restart:-Always}
  containers:
  - name: main
    image: $image
    command: [$2]
    resources: {${3:+limits: {memory: $3\}}}
---
POD
}

run_pods() {
    { pod limited 'sh, -c, "echo hello from $(hostname); exec sleep 1000000"' 32Mi; pod idle 'sleep, "1000000"'; } | kubectl apply -f -
    kubectl wait --for=condition=Ready pod/limited pod/idle --timeout=120s
    wait_for 30 says_hello
    kubectl get pods -o wide
}

# By the link.
says_hello() { kubectl logs limited | grep -q 'hello from limited'; }

# field POD JSONPATH
field() { kubectl get pod "$1" -o jsonpath="{$2}"; }

limit_is_set() {
    guest 30 "cat \$(find /sys/fs/cgroup -path '*$(field limited .metadata.uid)*' -name memory.max)" >"$work/limits"
    cat "$work/limits"
    grep -qx $((32 * 1024 * 1024)) "$work/limits"
}

# group POD FILE: what one of the pod's control groups says, the outermost first
group() {
    guest 30 "cd /sys/fs/cgroup && cat \$(find . -type d -path '*pod$(field "$1" .metadata.uid)*' | sort | head -n1)/$2"
}

# inside POD COMMAND…
inside() {
    pod=$1
    shift
    kubectl exec "$pod" -c main -- "$@"
}

# With the node's kernel, runc and systemd, on control groups of version 2.
parts_hold() {
    sed "s|IMAGE|$image|" tests/vm/parts.yaml | kubectl apply -f -
    kubectl wait --for=condition=Ready pod -l app=parts --timeout=180s
    # A CPU and 32 MiB; a request of 100m is 102 of cgroup v1's shares, which is this weight.
    [ "$(group guaranteed cpu.max)" = '100000 100000' ]
    [ "$(group guaranteed memory.max)" = $((32 * 1024 * 1024)) ]
    [ "$(group burstable cpu.weight)" = 4 ]
    [ "$(group burstable memory.max)" = max ]
    [ "$(inside guaranteed sh -c 'echo $(id -u) $(id -g) $(id -G)')" = '1000 2000 2000 3000' ]
    inside guaranteed sh -c 'grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status' >"$work/status"
    cat "$work/status"
    tr '\t' ' ' <"$work/status" | tr -s ' ' >"$work/plain"
    grep -qx 'CapEff: 0000000000000000' "$work/plain"
    grep -qx 'NoNewPrivs: 1' "$work/plain"
    grep -qx 'Seccomp: 2' "$work/plain"
    [ "$(inside guaranteed sh -c 'echo $LIMIT')" = $((32 * 1024 * 1024)) ]
    [ "$(inside guaranteed cat /scratch/by-init /words/word)" = "made
before" ]
    inside guaranteed sh -c '! touch /etc/file && touch /memory/file && grep "/memory tmpfs" /proc/mounts'
    inside burstable ps -o pid,args | grep 'sleep 1000000'
    [ "$(inside burstable sh -c 'cat /proc/1/comm')" != sleep ]
    # A client that asks for a code gets it, and what it sends comes back.
    code=0
    echo back | kubectl exec -i burstable -- sh -c 'cat; exit 7' >"$work/back" 2>/dev/null || code=$?
    [ $code = 7 ] && grep -qx back "$work/back"
    kubectl patch configmap words -p '{"data":{"word":"after"}}'
    wait_for 60 word_changed
    wait_for 90 figures_are_there
    kubectl top pod --containers
    kubectl top node
    kubectl delete pod -l app=parts --timeout=60s
}

word_changed() { [ "$(inside guaranteed cat /words/word)" = after ]; }

figures_are_there() { kubectl top pod guaranteed --no-headers && kubectl top node "$node" --no-headers; }

oom_killed() {
    restart=Never pod greedy 'dd, if=/dev/zero, of=/dev/null, bs=64M' 16Mi | kubectl apply -f -
    kubectl wait --for=jsonpath='{.status.containerStatuses[0].state.terminated.reason}'=OOMKilled pod/greedy --timeout=120s
    kubectl get pod greedy
    kubectl delete pod greedy --timeout=60s
}

# What a container that was not touched keeps.
containers() {
    for each in limited idle; do
        field $each '.metadata.uid} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount'
        echo
    done
}

uids() { containers | cut -d' ' -f1; }

main_pid() { guest 60 "systemctl show -p MainPID --value midge-agent"; }

# ended_by SIGNAL: systemd starts midge again, which finds the pods as they were
ended_by() {
    containers >"$work/containers"
    pid=$(main_pid)
    guest 200 "kill -$1 $pid
until new=\$(systemctl show -p MainPID --value midge-agent) && [ \"\$new\" != $pid ] && [ \"\$new\" != 0 ] && systemctl -q is-active midge-agent; do sleep 0.5; done
systemctl show -p NRestarts midge-agent"
    wait_for 60 says_hello
    node_ready
    sleep 5
    containers | diff "$work/containers" -
}

killed() { ended_by KILL; }
# Systemd kills it after the unit's WatchdogSec.
hung() { ended_by STOP; }

# Containers are new after a boot, pods are not.
pods_ran_again() {
    uids | diff "$work/uids" - && [ "$(field limited .status.containerStatuses[0].restartCount)" -gt "$restarts" ] &&
        kubectl wait --for=condition=Ready pod/limited pod/idle --timeout=1s && says_hello
}

reboot_now() {
    uids >"$work/uids"
    restarts=$(field limited .status.containerStatuses[0].restartCount)
    reboot
}

pods_again() {
    wait_for 180 pods_ran_again
    node_ready
    kubectl get pods -o wide
}

power_cut_alone() {
    uids >"$work/uids"
    restarts=$(field limited .status.containerStatuses[0].restartCount)
    stop_server
    cut_power
}

pods_alone() {
    guest 180 "until pgrep -xf 'sleep 1000000' | wc -l | grep -qx 2; do sleep 1; done; pgrep -axf 'sleep 1000000'"
}

server_back() {
    start_server
    pods_again
}

# measure ROLE: a row of the table; kilobytes, as /proc has them
measure() {
    sleep 20
    guest 60 'for process in /proc/[0-9]*; do
    read -r name <$process/comm 2>/dev/null || continue
    case $name in midge* | containerd*) ;; *) continue ;; esac
    awk -v name=$name "/^Rss:/ { rss = \$2 } /^Pss:/ { pss = \$2 } END { print \"process\", name, pss, rss }" $process/smaps_rollup
done
sed -n "s/^\(MemTotal\|MemAvailable\): *\([0-9]*\) kB/memory \1 \2/p" /proc/meminfo' >"$work/memory"
    cat "$work/memory"
    awk -v machine="$arch, $megabytes MB, $1" '
        function mb(kilobytes) { return sprintf("%.1f", kilobytes / 1024) }
        $1 == "process" {
            kind = $2 ~ /^containerd-shim/ ? "shim" : $2
            pss[kind] += $3; rss[kind] += $4; many[kind]++
        }
        $1 == "memory" { memory[$2] = $3 }
        END {
            if (!many["midge"] || !many["containerd"] || !many["shim"]) exit 1
            printf "| %s | %s | %s (%s) | %s (%s) | %d × %s (%s) | %s |\n", machine, mb(memory["MemTotal"]),
                mb(pss["midge"]), mb(rss["midge"]), mb(pss["containerd"]), mb(rss["containerd"]),
                many["shim"], mb(pss["shim"] / many["shim"]), mb(rss["shim"] / many["shim"]), mb(memory["MemAvailable"])
        }' "$work/memory" >"$logs/memory"
}

# systemd takes a clock before its own release for wrong, and sets it at the boot; elsewhere nobody does.
clock_back() { guest 30 'date -s @86400'; }
clock_is_back() { guest 30 'date; date +%Y | grep -qx 1970'; }

join_without_memory() {
    join
    grep -q "memory cgroup is off: take .cgroup_disable=memory. out of" "$logs/install"
}

node_says_so() {
    guest 30 "journalctl -u midge-agent --no-pager -o cat | grep 'memory cgroup is off: take .cgroup_disable=memory. out of'
midge check | grep '^warning  *cgroups  *memory limits do not hold: '"
}

unlimited_pod() {
    pod idle 'sleep, "1000000"' | kubectl apply -f -
    kubectl wait --for=condition=Ready pod/idle --timeout=120s
}

limited_pod_told() {
    pod limited 'sleep, "1000000"' 32Mi | kubectl apply -f -
    kubectl wait --for=condition=Ready pod/limited --timeout=120s
    kubectl get events --field-selector reason=LimitNotEnforced -o jsonpath='{.items[*].message}' |
        grep 'memory limit of container main is not enforced: the kernel.s memory cgroup is off'
}

take_kubeconfig() {
    guest 30 'cat /etc/midge/midge.yaml' >"$KUBECONFIG"
    kubectl get --raw /readyz
}

uninstall() {
    kubectl get pods -o wide
    guest 120 'midge-uninstall.sh'
    guest 120 "find $watched 2>/dev/null | sort | comm -13 /root/before - | grep -v '^/root/before\$'"'
systemctl list-units --all --no-legend "midge*"
ps -e -o args | grep -E "[m]idge|[c]ontainerd-shim|sleep 100000[0]"
grep -E "midge|/run/netns|cni" /proc/self/mounts
ip -o link | grep -E "midge|veth|cni"
iptables-save | grep -iE "midge|cni|10\.42\."
find /sys/fs/cgroup -name "*midge*" -o -name "pod*"
ctr namespaces ls -q | grep midge
true' >"$work/left"
    cat "$work/left"
    [ ! -s "$work/left" ]
    kubectl delete node "$node"
}
