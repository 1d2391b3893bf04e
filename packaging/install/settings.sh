# What the service is to be: role, flags, environment file.

newline='
'

# read_arguments WORD…: sets `role`, empty if none is named, and `flags`, one a line
read_arguments() {
    words=$(words_of "${INSTALL_MIDGE_EXEC:-}") || die "INSTALL_MIDGE_EXEC has an unmatched quote: $INSTALL_MIDGE_EXEC"
    for word in "$@"; do
        case $word in *"$newline"*) die 'a flag cannot have a line break in it' ;; esac
        words=${words:+$words$newline}$word
    done
    role=${words%%"$newline"*}
    case $role in
    server | agent)
        flags=${words#"$role"}
        flags=${flags#"$newline"}
        ;;
    -* | '') role='' flags=$words ;;
    *) die "midge runs as server or agent, not as $role" ;;
    esac
    take_secret
}

# words_of TEXT: one a line. xargs takes quotes as a shell does, and nothing else of what a shell does.
words_of() {
    case $1 in *[![:space:]]*) printf '%s\n' "$1" | xargs -n 1 printf '%s\n' 2>/dev/null ;; esac
}

# An argument list can be read by everybody on the machine: a token among the flags goes to the environment.
take_secret() {
    case "$newline$flags" in *"$newline--token"[=$newline]*) ;; *) return 0 ;; esac
    case $flags in
    *--token=*) token=${flags##*--token=} ;;
    *) token=${flags##*--token"$newline"} ;;
    esac
    MIDGE_TOKEN=${token%%"$newline"*}
    export MIDGE_TOKEN
    flags=$(printf '%s\n' "$flags" | sed -e '/^--token$/{N' -e 'd' -e '}' -e '/^--token=/d')
}

# flag NAME: its value among the flags
flag() {
    printf '%s\n' "$flags" | sed -n -e "s/^--$1=//p" -e "/^--$1\$/{n" -e 'p' -e '}' | tail -n 1
}

# given NAME: the value of MIDGE_NAME, or K3S_NAME, of this run or an earlier one
given() {
    eval "value=\${MIDGE_$1:-\${K3S_$1:-}}"
    [ -n "$value" ] || value=$(saved "MIDGE_$1")
    [ -n "$value" ] || value=$(saved "K3S_$1")
    printf '%s' "$value"
}

# saved VARIABLE: its value in the environment file that is there
saved() {
    [ ! -f "${env_file:-}" ] || sed -n "s/^$1=//p" "$env_file" | sed -e 's/^"\(.*\)"$/\1/' -e 's/\\\(.\)/\1/g' | tail -n 1
}

# configured KEY: its value in the configuration file
configured() {
    [ ! -f /etc/midge/config.yaml ] || sed -n "s/^$1:[[:space:]]*//p" /etc/midge/config.yaml | sed 's/^"\(.*\)"$/\1/'
}

# The role: named, or an agent with a URL, or what an earlier run made of this machine, or a server.
choose_role() {
    url=${MIDGE_URL:-${K3S_URL:-}}
    name=midge${INSTALL_MIDGE_NAME:+-$INSTALL_MIDGE_NAME}
    case $name in *[!A-Za-z0-9_.-]*) die "INSTALL_MIDGE_NAME: only letters, digits, '-', '_' and '.', not $INSTALL_MIDGE_NAME" ;; esac
    if [ -z "$role" ] && [ -n "$url" ]; then role=agent; fi
    [ -n "$role" ] || role=$(installed_role)
    [ -n "$role" ] || role=server
    if [ -z "${INSTALL_MIDGE_NAME:-}" ]; then
        [ "$role" = server ] || name=midge-agent
        [ "$(installed_role)" = "$role" ] || [ -z "$(installed_role)" ] ||
            die "midge runs as $(installed_role) here already; to make it $role, first run: midge-uninstall.sh"
    fi
    for one in $(printf '%s' "$url" | tr ',' ' '); do
        case $one in https://?*) ;; *) die "MIDGE_URL must begin with https://, not $one" ;; esac
    done
}

# What an earlier run made of this machine: server or agent, or empty. A service of another name tells it of itself.
installed_role() {
    case $init in
    procd)
        [ ! -f /etc/config/midge ] || [ "$(uci -q get midge.main.enabled)" != 1 ] || uci -q get midge.main.role || :
        ;;
    *)
        if [ -n "${INSTALL_MIDGE_NAME:-}" ]; then
            sed -n 's/^\(ExecStart=.*midge \|role=\)\(server\|agent\).*/\2/p' "$(service_file_of "$name")" 2>/dev/null || :
        elif [ -e /etc/midge/midge-agent.env ] && [ -e "$(service_file_of midge-agent)" ]; then
            echo agent
        elif [ -e /etc/midge/midge.env ] && [ -e "$(service_file_of midge)" ]; then
            echo server
        fi
        ;;
    esac
}

# find_places: sets `bin`, `env_file`, `data_dir`
find_places() {
    bin=${INSTALL_MIDGE_BIN_DIR:-}
    if [ -z "$bin" ]; then
        bin=/usr/local/bin
        if [ -d /opt/bin ] && ! can_write /usr/local/bin; then bin=/opt/bin; fi
    fi
    case $bin in /*) ;; *) die "INSTALL_MIDGE_BIN_DIR must be an absolute path, not $bin" ;; esac
    case $bin in *[!A-Za-z0-9_./-]*) die "INSTALL_MIDGE_BIN_DIR: a path without blanks and special characters, please, not $bin" ;; esac
    asked BIN_DIR_READ_ONLY || can_write "$bin" || die "cannot write to $bin: name another folder with INSTALL_MIDGE_BIN_DIR"
    [ "$init" = procd ] || can_write /etc/midge || die 'cannot write to /etc/midge'
    env_file=/etc/midge/$name.env
    [ -n "$flags" ] || flags=$(words_of "$(given ARGS)") || die "MIDGE_ARGS has an unmatched quote, now or in $env_file"
    data_dir=$(flag data-dir)
    [ -n "$data_dir" ] || data_dir=$(given DATA_DIR)
    [ -n "$data_dir" ] || data_dir=$(configured data-dir)
    if [ -z "$data_dir" ] && [ "$init" = procd ]; then data_dir=$(uci -q get midge.main.data_dir) || data_dir=/opt/midge; fi
    [ -n "$data_dir" ] || data_dir=/var/lib/midge
    case $data_dir in /*) ;; *) die "the data folder must be an absolute path, not $data_dir" ;; esac
    case $data_dir in *[!A-Za-z0-9_./-]*) die "the data folder: a path without blanks and special characters, please, not $data_dir" ;; esac
    public_key=${INSTALL_MIDGE_PUBLIC_KEY:-$public_key}
    case $public_key in @*) public_key= ;; esac
    if [ -f "$public_key" ]; then public_key=$(grep '^RW' "$public_key") || :; fi
    case $public_key in
    '') ;;
    RW*) [ ${#public_key} = 56 ] || die "INSTALL_MIDGE_PUBLIC_KEY: a minisign key has 56 characters, not ${#public_key}" ;;
    *) die 'INSTALL_MIDGE_PUBLIC_KEY: neither a minisign key (RW…) nor a file with one' ;;
    esac
}

# can_write FOLDER: it, or the one that it would be made in, takes a file. Root may write everywhere but where a file
# system is read-only, and -w does not tell that on all shells.
can_write() {
    place=$1
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    (: >"$place/.midge.new") 2>/dev/null && rm -f "$place/.midge.new"
}

# An agent needs a server's address, and a token unless it has joined.
check_join() {
    [ "$role" = agent ] || return 0
    if [ "$init" = procd ]; then url=${url:-$(uci -q get midge.main.url || :)}; fi
    [ -n "$url$(given URL)$(flag server)$(configured server)" ] ||
        die 'an agent needs the address of its server: set MIDGE_URL=https://SERVER:6443'
    file=$(flag token-file)
    [ -n "$file" ] || file=${MIDGE_TOKEN_FILE:-${K3S_TOKEN_FILE:-}}
    [ -z "$file" ] || [ -r "$file" ] || die "MIDGE_TOKEN_FILE: there is no $file"
    [ -z "$file$(given TOKEN)$(given TOKEN_FILE)$(configured token)$(configured token-file)" ] || return 0
    if [ "$init" = procd ] && uci -q get midge.main.token >/dev/null; then return; fi
    [ -e "$data_dir/agent/node-key" ] ||
        die 'an agent needs a token to join: set MIDGE_TOKEN (on the server: cat /var/lib/midge/server/token), or MIDGE_TOKEN_FILE'
}

# variables: the names of those that the service is given
variables() {
    env | sed -n -e 's/^\(MIDGE_[0-9A-Z_]*\)=.*/\1/p' -e 's/^\(K3S_[0-9A-Z_]*\)=.*/\1/p' \
        -e 's/^\(https*_proxy\)=.*/\1/p' -e 's/^\(HTTPS*_PROXY\)=.*/\1/p' \
        -e 's/^\(no_proxy\)=.*/\1/p' -e 's/^\(NO_PROXY\)=.*/\1/p' | sort -u
}

# in_quotes VALUE: as systemd's EnvironmentFile= and the shell both take it
in_quotes() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"$`]/\\&/g')"; }

# args_of: the flags on one line, as systemd and the shell both take them apart
args_of() {
    printf '%s\n' "$flags" | while IFS= read -r word; do
        case $word in
        '') ;;
        *[\'\\\"]*) die "quotes and backslashes can't be passed in a flag: write this one to /etc/midge/config.yaml: $word" ;;
        *[!A-Za-z0-9_./:=,@%+-]*) printf "'%s' " "$word" ;;
        *) printf '%s ' "$word" ;;
        esac
    done
}

# The environment file: what is given now, and of an earlier run's what is not.
place_settings() {
    if [ "$init" = procd ]; then
        place_uci
        return
    fi
    mkdir -p /etc/midge || die 'cannot make /etc/midge'
    if [ -n "$flags" ]; then
        MIDGE_ARGS=$(args_of) || exit 1
        MIDGE_ARGS=${MIDGE_ARGS% }
        export MIDGE_ARGS
    fi
    new=$scratch/settings
    replaced=
    : >"$scratch/now"
    for variable in $(variables); do
        eval "value=\${$variable-}"
        [ -n "$value" ] || continue
        case $value in *"$newline"*) die "$variable has a line break in it" ;; esac
        printf '%s=%s\n' "$variable" "$(in_quotes "$value")" >>"$scratch/now"
        bare=${variable#MIDGE_}
        bare=${bare#K3S_}
        # Of two names of one setting, and of two ways to give a token, the newer must not find the older.
        case $bare in TOKEN | TOKEN_FILE) bare='TOKEN(_FILE)?' ;; esac
        replaced="$replaced|((MIDGE|K3S)_)?$bare"
    done
    {
        [ ! -f "$env_file" ] || grep -Ev "^(${replaced#|})=" "$env_file" || :
        cat "$scratch/now"
    } >"$new"
    if [ -f "$env_file" ] && [ "$(sort "$new")" = "$(sort "$env_file")" ]; then chmod 600 "$env_file"; else place "$env_file" 600 <"$new"; fi
}

# place FILE MODE: its text is standard input; sets `changed` if it was another
place() {
    (umask 077 && cat >"$1.new") || { rm -f "$1.new"; die "cannot write $1: is the disk full?"; }
    chmod "$2" "$1.new"
    if cmp -s "$1.new" "$1"; then
        rm -f "$1.new"
        chmod "$2" "$1"
        return
    fi
    mv -f "$1.new" "$1" || die "cannot write $1"
    changed=yes
    relabel "$1"
}

# OpenWrt's own configuration. By standard input: a token is no argument.
place_uci() {
    [ -f /etc/config/midge ] || echo "config midge 'main'" | place /etc/config/midge 600
    before=$(cat /etc/config/midge)
    {
        uci_set enabled 1
        uci_set role "$role"
        uci_set data_dir "$data_dir"
        uci_set token "${MIDGE_TOKEN:-${K3S_TOKEN:-}}"
        uci_set token_file "${MIDGE_TOKEN_FILE:-${K3S_TOKEN_FILE:-}}"
        uci_set node_name "${MIDGE_NODE_NAME:-${K3S_NODE_NAME:-}}"
        uci_set snapshotter "${MIDGE_SNAPSHOTTER:-}"
        printf '%s\n' "$url" | tr ',' '\n' | uci_list url
        printf '%s\n' "$flags" | uci_list arg
        for variable in $(variables); do
            case ${variable#*_} in
            URL | TOKEN | TOKEN_FILE | NODE_NAME | SNAPSHOTTER | DATA_DIR) ;;
            *) warn "$variable is not passed on: procd's service is configured in /etc/config/midge and /etc/midge/config.yaml" ;;
            esac
        done
        echo 'commit midge'
    } >"$scratch/uci"
    uci -q batch <"$scratch/uci" >/dev/null || die 'uci refuses the configuration'
    chmod 600 /etc/config/midge
    [ "$before" = "$(cat /etc/config/midge)" ] || changed=yes
}

# uci_set OPTION VALUE
uci_set() {
    [ -n "$2" ] || return 0
    case $2 in *[\'$newline]*) die "UCI takes no single quote and no line break in $1" ;; esac
    printf "set midge.main.%s='%s'\n" "$1" "$2"
}

# uci_list LIST: replaces it by the lines of standard input, if there are any
uci_list() {
    first=yes
    while IFS= read -r value; do
        [ -n "$value" ] || continue
        case $value in *\'*) die "UCI takes no single quote in $1" ;; esac
        [ -z "$first" ] || ! uci -q get "midge.main.$1" >/dev/null || echo "delete midge.main.$1"
        first=
        printf "add_list midge.main.%s='%s'\n" "$1" "$value"
    done
}
