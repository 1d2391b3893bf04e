# The init system: the service's file, its start, and whether it came up.

# find_init: sets `init` to systemd, procd, openrc or none; `running` is empty if it is there but has not booted this
# machine, as where an image is being made
find_init() {
    running=yes
    if [ -d /run/systemd/system ]; then
        init=systemd
    elif [ -x /sbin/procd ] && [ -e /etc/rc.common ]; then
        init=procd
    elif [ -x /sbin/openrc-run ]; then
        init=openrc
        [ -d /run/openrc ] || running=
    elif have systemctl; then
        init=systemd running=
    else
        init=none running=
    fi
}

# service_file_of NAME
service_file_of() {
    case $init in
    systemd) echo "${INSTALL_MIDGE_SYSTEMD_DIR:-/etc/systemd/system}/$1.service" ;;
    openrc) echo "/etc/init.d/$1" ;;
    procd) echo /etc/init.d/midge ;;
    esac
}

systemd_server() {
    cat <<'END_OF_FILE'
@include ../systemd/midge.service
END_OF_FILE
}

systemd_agent() {
    cat <<'END_OF_FILE'
@include ../systemd/midge-agent.service
END_OF_FILE
}

openrc_script() {
    cat <<'END_OF_FILE'
@include ../openrc/midge
END_OF_FILE
}

procd_script() {
    cat <<'END_OF_FILE'
@include ../openwrt/midge.init
END_OF_FILE
}

uninstall_script() {
    cat <<'END_OF_FILE'
@include uninstall.sh
END_OF_FILE
}

place_service() {
    service_file=$(service_file_of "$name")
    [ -z "$service_file" ] || mkdir -p "${service_file%/*}" || die "cannot make ${service_file%/*}"
    case $init in
    systemd)
        case ${INSTALL_MIDGE_TYPE:-} in *[!a-z-]*) die "INSTALL_MIDGE_TYPE: systemd has no type $INSTALL_MIDGE_TYPE" ;; esac
        "systemd_$role" | sed -e "s|/usr/local/bin/midge|$bin/midge|" -e "s|^EnvironmentFile=.*|EnvironmentFile=-$env_file|" \
            -e "s|^Type=.*|Type=${INSTALL_MIDGE_TYPE:-notify}|" | place "$service_file" 644
        ! asked_of_systemd || systemctl daemon-reload
        ;;
    openrc)
        # The name tells the role, unless it is a name of the administrator's.
        openrc_script | if [ -n "${INSTALL_MIDGE_NAME:-}" ]; then sed -e "s|^role=.*|role=$role|" -e '/RC_SVCNAME%-agent/d'; else cat; fi |
            sed "s|/usr/local/bin/midge|$bin/midge|" | place "$service_file" 755
        printf '/var/log/%s.log {\n\tmissingok\n\tnotifempty\n\tcopytruncate\n\tsize 1M\n\trotate 2\n}\n' "$name" >"$scratch/logrotate"
        mkdir -p /etc/logrotate.d
        place "/etc/logrotate.d/$name" 644 <"$scratch/logrotate"
        ;;
    procd)
        [ -z "${INSTALL_MIDGE_NAME:-}" ] || die 'INSTALL_MIDGE_NAME: there is one midge service under procd'
        procd_script | sed "s|/usr/local/bin/midge|$bin/midge|" | place "$service_file" 755
        ;;
    esac
}

asked_of_systemd() { [ "$init" = systemd ] && [ -n "$running" ]; }

place_uninstall() {
    ! asked BIN_DIR_READ_ONLY || return 0
    uninstall=$bin/midge${INSTALL_MIDGE_NAME:+-$INSTALL_MIDGE_NAME}-uninstall.sh
    kept=$changed
    uninstall_script | sed -e "s|@init@|$init|" -e "s|@name@|$name|" -e "s|@bin@|$bin|" -e "s|@data_dir@|$data_dir|" \
        -e "s|@service_file@|$service_file|" -e "s|@env_file@|$env_file|" -e "s|@uninstall@|$uninstall|" | place "$uninstall" 755
    # Nothing that the service has to know of.
    changed=$kept
}

# The start is not waited for here: the first start of an agent lasts until its server answers.
start_service() {
    [ "$init" != none ] || return 0
    if asked SKIP_ENABLE; then
        say "$name is neither enabled nor started, as INSTALL_MIDGE_SKIP_ENABLE asks"
        return
    fi
    case $init in
    systemd) systemctl enable "$name" >"$scratch/step.log" 2>&1 ;;
    openrc) rc-update -q add "$name" default >"$scratch/step.log" 2>&1 ;;
    procd) "$service_file" enable >"$scratch/step.log" 2>&1 ;;
    esac || die "cannot enable $name: $(tail -n 1 "$scratch/step.log")"
    ! asked SKIP_START && [ -n "$running" ] || return 0
    if [ -z "$changed" ] && is_running && ! asked FORCE_RESTART; then
        say "nothing has changed: $name is not restarted"
        return
    fi
    say "starting $name; pods that run go on"
    case $init in
    systemd)
        # A failure of an earlier start is not one of this.
        systemctl reset-failed "$name" 2>/dev/null || :
        systemctl --no-block restart "$name"
        ;;
    openrc) rc-service -q "$name" restart ;;
    procd) "$service_file" restart ;;
    esac >"$scratch/step.log" 2>&1 </dev/null || die "cannot start $name: $(tail -n 1 "$scratch/step.log")"
}

is_running() {
    case $init in
    systemd) systemctl -q is-active "$name" ;;
    openrc) rc-service -q "$name" status ;;
    procd) "$service_file" running ;;
    esac >/dev/null 2>&1
}

# gave_up: systemd does not start it again, for it ended with 2
gave_up() { [ "$init" = systemd ] && systemctl -q is-failed "$name"; }

where_log() {
    case $init in
    systemd) echo "journalctl -u $name" ;;
    openrc) echo "tail -f /var/log/$name.log" ;;
    procd) echo 'logread -e midge' ;;
    esac
}

last_log() {
    case $init in
    systemd) journalctl -u "$name" -n 5 --no-pager -o cat ;;
    openrc) tail -n 5 "/var/log/$name.log" ;;
    procd) logread -e midge | tail -n 5 ;;
    esac 2>/dev/null | sed 's/^/    /' >&2
}

# wait_until_ready: what it waits for is what `midge status` says
wait_until_ready() {
    if [ "$init" = none ]; then
        tell_how_to_run
        return
    fi
    ! asked SKIP_ENABLE || return 0
    if asked SKIP_START || [ -z "$running" ]; then
        say "$name is enabled, and starts when this machine boots"
        return
    fi
    say "waiting until this machine's node is Ready, $wait_seconds s at most (log: $(where_log))"
    "$bin/midge" status --wait "$wait_seconds" --data-dir "$data_dir" >"$scratch/status" </dev/null &
    waiting=$!
    while kill -0 $waiting 2>/dev/null; do
        # Once it has given up there is nothing to wait for.
        if gave_up; then kill $waiting 2>/dev/null && break; fi
        sleep 1
    done
    if wait $waiting; then
        cat "$scratch/status"
        tell_what_next
        return
    fi
    cat "$scratch/status" >&2
    last_log
    if gave_up; then die "$name does not run, and is not started again until that is mended. The log: $(where_log)"; fi
    die "the node is not Ready after $wait_seconds s; midge goes on trying. The log: $(where_log)"
}

tell_what_next() {
    if [ "$role" = server ]; then
        say "done. Try: KUBECONFIG=/etc/midge/midge.yaml kubectl get nodes"
        say "Further nodes join with MIDGE_URL=https://$(uname -n):6443 and MIDGE_TOKEN, which is in $data_dir/server/token"
    else
        say 'done'
    fi
    asked BIN_DIR_READ_ONLY || say "To remove it: $uninstall"
}

tell_how_to_run() {
    say "midge is installed, but there is no systemd, OpenRC or procd here to run it. Have your supervisor run this as root,"
    say 'with containerd running, and start it again 5 s after it ends:'
    # shellcheck disable=SC2016
    printf '    set -a; . %s; set +a; eval exec %s/midge %s "$MIDGE_ARGS"\n' "$env_file" "$bin" "$role"
}
